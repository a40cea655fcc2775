"""How big pages are and how long slices wait: tables for the laws, a seeded closed loop for their effect."""

import random
import statistics
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lull.domain import pacing
from lull.domain.pacing import PAGE_BYTES_MAX, PAGE_DOCS_MIN, PAGE_DOCS_START, Credit, PageSize

DOCS_MAX = 2_000
HOLD_MS = 20.0


def after(size: PageSize, docs: int, hold_ms: float, bytes_each: int = 400, docs_max: int = DOCS_MAX) -> PageSize:
    return pacing.fitted(
        size, docs=docs, hold_ms=hold_ms, page_bytes=docs * bytes_each, hold_ms_target=HOLD_MS, docs_max=docs_max
    )


# -- one step -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("docs", "hold_ms", "bytes_each", "docs_max", "fitted"),
    [
        (100, 20, 400, 2_000, 100),  # right as it is
        (100, 10, 400, 2_000, 200),
        (100, 1, 400, 2_000, 200),  # doubles, no more
        (100, 40, 400, 2_000, PAGE_DOCS_MIN),
        (100, 400, 400, 2_000, 20),  # 4 ms each: the floor would hold ten times as long as allowed
        (100, 40_000, 400, 2_000, 1),
        (100, 0, 400, 2_000, 200),  # a clock that saw nothing
        (100, 20, 1 << 20, 2_000, 4),  # bytes cap whatever time allows
        (100, 20, 16 << 20, 2_000, 1),  # one of them is above the cap by itself
        (100, 1, 0, 2_000, 200),  # the server decides by itself: no bytes were read
        (100, 1, 400, 150, 150),
        (100, 1, 400, 7, 7),  # an operator's limit is below our floor
        (100, 400, 400, 1, 1),
    ],
)
def test_a_page_tells_the_size_of_the_next(docs: int, hold_ms: float, bytes_each: int, docs_max: int, fitted: int):
    assert after(PageSize(), docs, hold_ms, bytes_each, docs_max).next_docs == fitted


def test_a_page_of_no_documents_tells_nothing_and_ends_a_conflict():
    size = after(PageSize(conflicts=2), 0, 500)
    assert (size.docs, size.ms_per_doc, size.bytes_per_doc, size.conflicts) == (PAGE_DOCS_START, None, None, 1)


def test_one_slow_page_among_fast_ones_does_not_collapse_the_size():
    size = PageSize()
    for _ in range(20):
        size = after(size, size.next_docs, size.next_docs * 0.1)
    steady = size.next_docs
    size = after(size, size.next_docs, 300)
    assert size.next_docs >= PAGE_DOCS_MIN
    for _ in range(15):
        size = after(size, size.next_docs, size.next_docs * 0.1)
    assert size.next_docs == pytest.approx(steady, rel=0.05)


@given(
    st.lists(st.tuples(st.integers(0, 5_000), st.floats(0, 1e6), st.integers(0, 16 << 20)), max_size=30),
    st.integers(1, 10_000), st.floats(1, 200),
)  # fmt: skip
def test_whatever_is_measured_the_next_page_is_within_every_bound(
    pages: list[tuple[int, float, int]], docs_max: int, target: float
):
    size = PageSize(docs=min(PAGE_DOCS_START, docs_max))
    for docs, hold_ms, bytes_each in pages:
        before = size
        size = pacing.fitted(
            size, docs=docs, hold_ms=hold_ms, page_bytes=docs * bytes_each, hold_ms_target=target, docs_max=docs_max
        )
        assert 1 <= size.next_docs <= docs_max
        assert size.docs <= 2 * max(before.docs, PAGE_DOCS_MIN)
        assert size.docs * (size.bytes_per_doc or 0) <= PAGE_BYTES_MAX or size.docs == 1


# -- conflicts ------------------------------------------------------------------------------------


def test_every_conflict_halves_the_page_until_a_hot_document_stands_alone():
    size, sizes = PageSize(docs=1_000), []
    for _ in range(12):
        size = pacing.after_conflict(size)
        sizes.append(size.next_docs)
    assert sizes == [500, 250, 125, 62, 31, 15, 7, 3, 1, 1, 1, 1]


def test_pages_that_succeed_grow_back_at_the_pace_they_shrank():
    size = PageSize(docs=1_000, ms_per_doc=0.02, bytes_per_doc=400)
    for _ in range(50):
        size = pacing.after_conflict(size)
    assert size.next_docs == 1
    sizes = []
    while size.conflicts:
        size = after(size, size.next_docs, size.next_docs * 0.02)
        sizes.append(size.next_docs)
    assert len(sizes) <= 10
    assert sizes == sorted(sizes)
    assert size.next_docs == 1_000


@pytest.mark.parametrize("draw", [0.0, 0.5, 0.999])
def test_the_wait_after_conflicts_grows_is_jittered_and_ends(draw: float):
    waits = [pacing.conflict_pause_ms(conflicts, draw) for conflicts in range(1, 100)]
    assert waits == sorted(waits)
    assert 5 <= waits[0] <= 15
    assert waits[-1] <= 750


def test_two_slices_that_met_do_not_meet_again_at_the_same_moment():
    assert pacing.conflict_pause_ms(3, 0.1) != pacing.conflict_pause_ms(3, 0.9)


# -- the closed loop ------------------------------------------------------------------------------


@dataclass
class Server:
    """Holds ``fixed + each x documents`` milliseconds, times noise; now and then a checkpoint stalls it."""

    fixed_ms: float
    each_ms: float
    noise: float
    bytes_each: int = 400

    def run(self, pages: int, seed: int, size: PageSize | None = None) -> tuple[list[float], list[int], PageSize]:
        draw = random.Random(seed)
        size, holds, sizes = size or PageSize(), [], []
        for _ in range(pages):
            docs = min(size.next_docs, DOCS_MAX)
            quiet = self.fixed_ms + self.each_ms * docs
            stall = 200.0 if draw.random() < 0.01 else 0.0
            size = after(size, docs, quiet * draw.lognormvariate(0, self.noise) + stall, self.bytes_each)
            holds.append(quiet)
            sizes.append(docs)
        return holds, sizes, size


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("noise", [0.0, 0.2, 0.5])
@pytest.mark.parametrize(("fixed_ms", "each_ms"), [(3, 0.03), (5, 0.1), (2, 0.015)])
def test_the_hold_time_settles_near_its_target_under_noise_and_stalls(
    fixed_ms: float, each_ms: float, noise: float, seed: int
):
    holds, _, _ = Server(fixed_ms, each_ms, noise).run(400, seed)
    settled = holds[50:]
    assert HOLD_MS * 0.75 <= statistics.median(settled) <= HOLD_MS * 1.1
    assert statistics.quantiles(settled, n=20)[-1] <= HOLD_MS * 1.6


def test_a_fast_server_gets_the_largest_page_allowed():
    _, sizes, _ = Server(1, 0.004, 0.2).run(400, 1)
    assert statistics.median(sizes[50:]) == DOCS_MAX


def test_a_server_that_turns_ten_times_slower_gets_smaller_pages_within_a_dozen_and_back():
    fast, slow = Server(2, 0.02, 0.2), Server(2, 0.2, 0.2)
    _, sizes, size = fast.run(100, 1)
    usual = statistics.median(sizes[50:])
    holds, _, size = slow.run(60, 2, size)
    assert statistics.median(holds[12:]) <= HOLD_MS * 1.3
    _, sizes, _ = fast.run(100, 3, size)
    assert statistics.median(sizes[50:]) == pytest.approx(usual, rel=0.25)


def test_big_documents_are_paged_by_bytes():
    _, sizes, _ = Server(1, 0.01, 0.2, bytes_each=100_000).run(100, 1)
    assert statistics.median(sizes[20:]) == PAGE_BYTES_MAX // 100_000


def test_a_hot_spot_shrinks_the_pages_and_is_forgotten_soon_after():
    server = Server(3, 0.03, 0.2)
    _, sizes, size = server.run(100, 1)
    usual = statistics.median(sizes[50:])
    for _ in range(20):
        size = pacing.after_conflict(size)
    assert size.next_docs == 1
    _, sizes, _ = server.run(120, 2, size)
    assert statistics.median(sizes[60:]) == pytest.approx(usual, rel=0.25)


# -- throttle -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("docs", "rate", "throttled"),
    [(400, None, 400), (400, 10_000.0, 400), (400, 1_000.0, 250), (400, 4.0, 1), (400, 0.01, 1), (1, 1e9, 1),
     (400, float("inf"), 400)],
)  # fmt: skip
def test_a_throttled_slice_writes_small_pages_often(docs: int, rate: float | None, throttled: int):
    assert pacing.throttled_docs(docs, rate) == throttled


@pytest.mark.parametrize("live", [1, 2, 7, 64])
def test_the_shares_of_all_slices_sum_to_the_jobs_rate(live: int):
    share = pacing.share(1_000.0, live)
    assert share is not None
    assert share * live == pytest.approx(1_000.0)


def test_without_a_rate_there_is_no_share_and_a_slice_that_counts_itself_out_gets_the_whole():
    assert pacing.share(None, 3) is None
    assert pacing.share(1_000.0, 0) == 1_000.0


@pytest.mark.parametrize("rate", [0.5, 3.0, 40.0, 500.0, 100_000.0])
@pytest.mark.parametrize("page_s", [0.0, 0.02])
def test_a_throttled_slice_keeps_its_rate_over_time(rate: float, page_s: float):
    """A page is paid before it is written; the clock moves by waits and by the pages themselves."""
    now, written = 0.0, 0
    docs = pacing.throttled_docs(400, rate)
    credit = pacing.owing(docs, waited_s=0, docs_per_second=rate, now_s=now)
    while written < 200 * docs:
        credit = pacing.accrued(credit, rate, now)
        wait_s = pacing.wait_seconds(credit, rate)
        assert wait_s <= docs / rate + 1e-9
        now += wait_s
        credit = pacing.accrued(credit, rate, now)
        now += page_s
        written += docs
        credit = Credit(credit.docs - docs, credit.at_s)
    assert written / now <= rate * 1.02
    assert written / now >= min(rate, docs / max(page_s, docs / rate)) * 0.95


def test_a_slice_that_begins_anew_owes_a_page_less_what_was_waited_for_it():
    assert pacing.owing(100, waited_s=0, docs_per_second=50, now_s=0) == Credit(-100, 0)
    assert pacing.owing(100, waited_s=1.5, docs_per_second=50, now_s=7) == Credit(-25, 7)
    assert pacing.owing(100, waited_s=3_600, docs_per_second=50, now_s=0) == Credit(0, 0)


def test_idle_time_buys_no_burst():
    credit = pacing.accrued(Credit(0, 0), 1_000.0, now_s=3_600)
    assert credit.docs == 1_000.0 * pacing.THROTTLED_PAGE_SECONDS


def test_a_clock_that_stands_still_earns_nothing():
    assert pacing.accrued(Credit(-5, 10), 1_000.0, now_s=10).docs == -5
    assert pacing.accrued(Credit(-5, 10), 1_000.0, now_s=9).docs == -5

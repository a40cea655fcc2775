"""Counts, progress, rate and ETA are folds of absolute snapshots; and the sums must hold."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lull.domain import ledger
from lull.domain.errors import InvariantBroken
from lull.domain.ledger import RateWindow, Tally, add_waits, eta_seconds, fraction_done, sum_counts, verify
from lull.domain.slice import Counts, PartitionSnapshot

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def counts(seen: int, quarantined: int = 0) -> Counts:
    return Counts(scanned=seen, seen=seen, changed=seen - quarantined, quarantined=quarantined, pages=1)


def snapshot(partition: int, seen: int, *, done: bool = False) -> PartitionSnapshot:
    return PartitionSnapshot(partition=partition, counts=counts(seen), done=done)


# --- tally ------------------------------------------------------------------------------------


def test_a_snapshot_replaces_what_was_known_and_never_adds_to_it():
    tally = Tally()
    tally.begin(0)
    for seen in (10, 20, 20):
        tally.record(snapshot(0, seen))

    assert tally.totals == counts(20)


def test_a_done_partition_moves_into_the_sum_once():
    tally = Tally()
    tally.begin(0)
    for _ in range(3):
        tally.record(snapshot(0, 30, done=True))

    assert (tally.open, tally.done, tally.totals) == ({}, 1, counts(30))


def test_a_late_report_of_a_done_partition_changes_nothing():
    tally = Tally()
    tally.begin(0)
    tally.record(snapshot(0, 30, done=True))
    tally.record(snapshot(0, 20))

    assert (tally.open, tally.done, tally.totals) == ({}, 1, counts(30))


REPORTS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 100), st.booleans()), max_size=40)


@given(REPORTS)
def test_the_totals_are_those_of_the_last_snapshot_of_each_partition(reports: list[tuple[int, int, bool]]):
    tally = Tally()
    for partition in range(6):
        tally.begin(partition)
    last: dict[int, PartitionSnapshot] = {}
    for partition, seen, done in reports:
        tally.record(snapshot(partition, seen, done=done))
        if partition not in last or not last[partition].done:
            last[partition] = snapshot(partition, seen, done=done)

    assert tally.totals == sum_counts(s.counts for s in last.values())
    assert tally.done == sum(s.done for s in last.values())


def test_a_tally_keeps_only_the_open_partitions_one_by_one():
    tally = Tally()
    for partition in range(4_096):
        tally.begin(partition)
        tally.record(snapshot(partition, 10, done=True))

    assert len(tally.model_dump_json()) < 500
    assert tally.totals.seen == 40_960


def test_no_counts_are_zero_counts():
    assert sum_counts([]) == Counts()


@given(st.lists(st.integers(0, 9), min_size=8, max_size=8), st.lists(st.integers(0, 9), min_size=8, max_size=8))
def test_counts_add_field_by_field(some: list[int], more: list[int]):
    names = list(Counts.model_fields)
    left, right = (Counts(**dict(zip(names, values, strict=True))) for values in (some, more))

    assert left.plus(right) == right.plus(left) == sum_counts([left, right])
    assert [getattr(left.plus(right), name) for name in names] == [a + b for a, b in zip(some, more, strict=True)]


# --- the sums that must hold ---------------------------------------------------------------------


def test_a_ledger_with_all_partitions_done_and_balanced_gives_the_final_counts():
    assert verify([snapshot(n, 10, done=True) for n in range(3)], expected=3) == Counts(
        scanned=30, seen=30, changed=30, pages=3
    )


@pytest.mark.parametrize(
    ("snapshots", "expected", "words"),
    [
        ([snapshot(0, 1, done=True)], 2, "ledger holds 1 partitions, the plan made 2"),
        ([snapshot(0, 1, done=True), snapshot(1, 1, done=True)], 1, "ledger holds 2 partitions, the plan made 1"),
        ([snapshot(0, 1, done=True), snapshot(1, 1)], 2, "1 partitions are not done (first: 1)"),
        (
            [PartitionSnapshot(partition=7, counts=Counts(seen=5, changed=3, skipped=1), done=True)],
            1,
            "partition 7: seen 5 is not changed + unchanged + skipped + quarantined (3 + 0 + 1 + 0)",
        ),
    ],
)
def test_a_ledger_that_contradicts_itself_is_never_completed(
    snapshots: list[PartitionSnapshot], expected: int, words: str
):
    with pytest.raises(InvariantBroken) as caught:
        verify(snapshots, expected)

    assert words in str(caught.value)


# --- rate, progress, ETA ---------------------------------------------------------------------------


def test_a_rate_needs_two_moments():
    window = RateWindow()
    assert window.docs_per_second is None
    window.observe(NOON, 0)
    assert window.docs_per_second is None
    window.observe(NOON, 100)
    assert window.docs_per_second is None
    window.observe(NOON + timedelta(seconds=10), 100)
    assert window.docs_per_second == 10


def test_a_rate_is_of_the_last_five_minutes():
    window = RateWindow()
    window.observe(NOON, 0)
    for minute in (7, 8):
        window.observe(NOON + timedelta(minutes=minute), 600 * minute)

    assert [point.scanned for point in window.points] == [4_200, 4_800]
    assert window.docs_per_second == 10


def test_a_cleared_window_has_no_rate():
    window = RateWindow()
    window.observe(NOON, 0)
    window.observe(NOON + timedelta(seconds=1), 5)
    window.clear()

    assert window.docs_per_second is None


@given(st.lists(st.integers(0, 60), max_size=200))
def test_a_window_stays_small(gaps_s: list[int]):
    window, at = RateWindow(), NOON
    for gap_s in gaps_s:
        at += timedelta(seconds=gap_s)
        window.observe(at, 0)
        assert len(window.points) <= 32
        assert (at - window.points[0].at).total_seconds() <= ledger.RATE_WINDOW_SECONDS


@pytest.mark.parametrize(
    ("scanned", "documents", "done", "partitions", "expected"),
    [
        (0, 1_000, 0, 4, 0.0),
        (500, 1_000, 1, 4, 0.5),
        # The estimate was too low: more is passed than was expected, and yet it is not done.
        (1_500, 1_000, 3, 4, 0.999),
        # The estimate was too high: all partitions are done.
        (500, 1_000, 4, 4, 1.0),
        (0, 0, 0, 4, 0.0),
        (0, 0, 0, 0, 0.0),
    ],
)
def test_progress_is_whole_only_when_all_partitions_are_done(
    scanned: int, documents: int, done: int, partitions: int, *, expected: float
):
    assert fraction_done(scanned, documents, done, partitions) == expected


@pytest.mark.parametrize(
    ("scanned", "documents", "rate", "expected"),
    [
        (400, 1_000, 10.0, 60.0),
        (1_500, 1_000, 10.0, 0.0),
        (0, 1_000, None, None),
        (0, 1_000, 0.0, None),
        (0, 9, -1.0, None),
    ],
)
def test_an_eta_is_told_only_when_it_can_be(scanned: int, documents: int, rate: float | None, expected: float | None):
    assert eta_seconds(scanned, documents, rate) == expected


# --- waits -------------------------------------------------------------------------------------------


def test_waits_add_by_reason_the_longest_first():
    assert list(add_waits({"a": 1.0, "b": 2.0}, {"a": 5.0}).items()) == [("a", 6.0), ("b", 2.0)]


@given(st.lists(st.dictionaries(st.text(max_size=3), st.floats(0, 100), max_size=30), max_size=8))
def test_no_wait_is_lost_and_reasons_stay_few(reports: list[dict[str, float]]):
    total: dict[str, float] = {}
    for report in reports:
        total = add_waits(total, report)

    assert len(total) <= ledger.WAIT_REASONS_MAX
    assert sum(total.values()) == pytest.approx(sum(sum(report.values()) for report in reports))

"""What a slice may do on a governor's word: nothing on a stale one, whatever was read before and whatever clocks say."""

import random
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lull.domain.governor.budget import (
    DEBT_SECONDS_MAX,
    FORGET_SECONDS,
    HAND_LABEL,
    PUBLISH_SECONDS,
    SAVED_SECONDS_MAX,
    STALE_LABEL,
    STALE_SECONDS,
    UNGOVERNED,
    Budget,
    JobShare,
    Mode,
    Told,
    leave,
    owed_seconds,
    rested,
)
from lull.domain.governor.law import USED


def said(sequence: int = 1, fence: int = 1, **changes: Any) -> Budget:
    shares = (JobShare(job="mine", duty=0.8, slices=2), JobShare(job="other", duty=0.2, slices=1))
    return Budget(**{"fence": fence, "sequence": sequence, "duty": 1.0, "shares": shares, **changes})


def after(*reads: tuple[float, Budget | None], is_shut_by_hand: bool = False) -> Told:
    told = Told()
    for at_s, budget in reads:
        told = told.heard(budget, at_s, is_shut_by_hand=is_shut_by_hand)
    return told


def moving(**changes: Any) -> Told:
    """A governor that was heard twice, at 9.5 and at 10 s."""
    return after((9.5, said(1, **changes)), (10.0, said(2, **changes)))


# -- the table of leave ---------------------------------------------------------------------------


def test_a_slice_has_its_part_of_its_jobs_share():
    given_ = leave(moving(hold_ms=7.0, docs_max=300, turns=2, reason="pace 40%", label="foreground"), "mine", 10.1)
    assert (given_.is_open, given_.share, given_.hold_ms, given_.docs_max, given_.turns) == (True, 0.4, 7.0, 300, 2)
    assert (given_.reason, given_.label) == ("pace 40%", "foreground")


def test_a_slice_that_the_governor_has_not_seen_yet_has_the_floor():
    assert leave(moving(floor=0.05), "new", 10.1).share == 0.05
    assert not leave(moving(floor=0.0), "new", 10.1).is_open


@pytest.mark.parametrize(
    ("told", "now_s", "label", "reason"),
    [
        (Told(), 10.0, STALE_LABEL, "governor silent: no budget was published yet"),
        (
            after((10.0, said())),
            10.1,
            STALE_LABEL,
            "governor silent: its budget has not moved since this worker looked first",
        ),
        (moving(), 12.25, STALE_LABEL, "governor stale 2.2 s >= 2 s"),
        (moving(is_open=False, reason="lag 3 s >= 2 s", label="lag"), 10.1, "lag", "lag 3 s >= 2 s"),
        (
            after((9.5, said(1)), (10.0, said(2)), is_shut_by_hand=True),
            10.1,
            HAND_LABEL,
            "shut by hand in lull.governor",
        ),
    ],
)
def test_a_shut_gate_says_why(told: Told, now_s: float, label: str, reason: str):
    given_ = leave(told, "mine", now_s)
    assert (given_.is_open, given_.label, given_.reason) == (False, label, reason)


@pytest.mark.parametrize("mode", [Mode.OBSERVE, Mode.OFF])
def test_a_governor_that_only_observes_is_obeyed_by_nobody_not_even_by_its_silence(mode: Mode):
    assert leave(moving(mode=mode, is_open=False), "mine", 10.1) == UNGOVERNED
    assert leave(moving(mode=mode), "mine", 1_000.0) == UNGOVERNED


@pytest.mark.parametrize("mode", list(Mode))
def test_a_hand_on_the_gate_shuts_it_in_every_mode(mode: Mode):
    told = after((9.5, said(1, mode=mode)), (10.0, said(2, mode=mode)), is_shut_by_hand=True)
    assert not leave(told, "mine", 10.1).is_open


# -- silence --------------------------------------------------------------------------------------


def test_a_governor_that_speaks_as_often_as_it_must_is_never_stale():
    assert PUBLISH_SECONDS * 3 < STALE_SECONDS
    told = moving()
    for n in range(100):
        told = told.heard(said(3 + n), 10.5 + n * PUBLISH_SECONDS, is_shut_by_hand=False)
        assert leave(told, "mine", 10.5 + n * PUBLISH_SECONDS + 0.1).is_open


def test_the_first_word_may_have_stood_there_for_a_week():
    told = after((10.0, said(77)), (10.1, said(77)), (10.2, said(77)))
    assert not leave(told, "mine", 10.3).is_open
    assert leave(told.heard(said(78), 10.4, is_shut_by_hand=False), "mine", 10.5).is_open


def test_reading_the_same_word_again_does_not_refresh_it():
    told = moving()
    for n in range(30):
        told = told.heard(said(2), 10.1 + n / 10, is_shut_by_hand=False)
    assert not leave(told, "mine", 13.1).is_open


@pytest.mark.parametrize("old", [said(1), said(90, fence=0)])
def test_a_word_that_stands_before_the_known_one_is_not_heard(old: Budget):
    """An overtaken governor's, or what an election brought back."""
    told = moving().heard(old, 11.9, is_shut_by_hand=False)
    assert told.budget == said(2)
    assert not leave(told, "mine", 12.1).is_open


def test_a_later_governor_is_believed_at_once():
    told = moving().heard(said(1, fence=2), 11.9, is_shut_by_hand=False)
    assert leave(told, "mine", 13.8).is_open


def test_a_budget_that_cannot_be_read_leaves_the_known_one_to_age():
    told = moving().heard(None, 11.9, is_shut_by_hand=False)
    assert leave(told, "mine", 11.9).is_open
    assert not leave(told, "mine", 12.1).is_open


def test_a_governor_whose_ledger_was_lost_is_believed_again_when_it_moves():
    now_s = 10.0 + FORGET_SECONDS + 0.1
    told = moving().heard(said(1, fence=0), now_s, is_shut_by_hand=False)
    assert not leave(told, "mine", now_s).is_open
    assert leave(told.heard(said(2, fence=0), now_s + 0.5, is_shut_by_hand=False), "mine", now_s + 0.6).is_open


READS = st.lists(
    st.tuples(
        st.floats(0.01, 5.0),  # seconds since the reading before
        st.one_of(st.none(), st.tuples(st.integers(0, 3), st.integers(0, 6), st.booleans())),
        st.booleans(),
    ),
    max_size=25,
)


@given(READS, st.floats(0, 4))
def test_no_sequence_of_readings_opens_the_gate_on_stale_data(
    reads: list[tuple[float, tuple[int, int, bool] | None, bool]], later_s: float
):
    """Open means: within two seconds something was read that is newer than all that was read in the half minute before."""
    told, now_s, seen = Told(), 0.0, list[tuple[float, tuple[int, int]]]()
    moved_s = float("-inf")
    is_shut = False
    for gap_s, budget, is_shut in reads:
        now_s += gap_s
        told = told.heard(
            None if budget is None else said(budget[1], budget[0], is_open=budget[2]), now_s, is_shut_by_hand=is_shut
        )
        if budget is not None:
            recent = [order for at_s, order in seen if now_s - at_s <= FORGET_SECONDS]
            if recent and budget[:2] > max(recent):
                moved_s = now_s
            seen.append((now_s, budget[:2]))
    given_ = leave(told, "mine", now_s + later_s)
    if given_.is_open:
        assert now_s + later_s - moved_s <= STALE_SECONDS
        assert not is_shut
        assert told.budget is not None
        assert told.budget.is_open


@given(st.lists(st.tuples(st.floats(0.05, 3), st.integers(0, 2)), max_size=20), st.floats(-1e7, 1e7), st.floats(0, 4))
def test_only_the_readers_own_monotonic_clock_counts(steps: list[tuple[float, int]], ahead_s: float, later_s: float):
    """Two readers whose clocks differ by months, and a governor whose wall clock is wrong, decide alike."""
    here, there = Told(), Told()
    now_s, sequence = 0.0, 0
    for gap_s, more in steps:
        now_s, sequence = now_s + gap_s, sequence + more
        wrong = datetime(2026, 1, 1, tzinfo=UTC) - timedelta(days=sequence)
        here = here.heard(said(sequence, at=wrong), now_s, is_shut_by_hand=False)
        there = there.heard(said(sequence), now_s + round(ahead_s), is_shut_by_hand=False)
    age_s = now_s + later_s - here.moved_at
    if abs(age_s - STALE_SECONDS) > 1e-6:
        mine, theirs = leave(here, "mine", now_s + later_s), leave(there, "mine", now_s + round(ahead_s) + later_s)
        assert (mine.is_open, mine.share) == (theirs.is_open, theirs.share)


# -- rest -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("debt", "cost", "share", "owed"),
    [
        (0.0, 0.010, 1.0, 0.0),
        (0.5, 0.010, 1.5, 0.0),  # unlimited: old debts are forgiven
        (0.0, 0.010, 0.5, 0.010),
        (0.005, 0.010, 0.5, 0.015),
        (0.0, 0.010, 0.25, 0.030),
        (0.0, 1.0, 0.02, DEBT_SECONDS_MAX),
        (0.0, 0.010, 0.0, 1.99),
    ],
)
def test_rest_is_owed_so_that_work_is_its_share_of_the_time(debt: float, cost: float, share: float, owed: float):
    assert owed_seconds(debt, cost, share) == pytest.approx(owed)


@given(st.floats(0.02, 1), st.lists(st.floats(0.001, 0.03), min_size=20, max_size=60))
def test_a_slice_that_rests_what_it_owes_works_its_share(share: float, costs: list[float]):
    rested = sum(owed_seconds(0.0, cost, share) for cost in costs)
    assert sum(costs) / (sum(costs) + rested) == pytest.approx(share)


@given(st.floats(0, 2), st.floats(0, 100), st.floats(-1, 100))
def test_no_debt_is_negative_or_lasts_for_minutes(debt: float, cost: float, share: float):
    assert 0 <= owed_seconds(debt, cost, share) <= DEBT_SECONDS_MAX


@pytest.mark.parametrize(
    ("debt", "passed", "left"),
    [
        (0.030, 0.010, 0.020),
        (0.030, 0.030, 0.0),
        (0.030, 0.040, -0.010),  # it waited for its turn: so much less is owed after the next page
        (-0.040, 0.040, -SAVED_SECONDS_MAX),
        (0.0, 60.0, -SAVED_SECONDS_MAX),  # a standstill is no burst
    ],
)
def test_rest_beyond_the_debt_counts_towards_the_next_page_and_only_a_little(debt: float, passed: float, left: float):
    assert rested(debt, passed) == pytest.approx(left)


READ_S = 0.003
OVERSLEPT_S = 0.002
"""More than was seen of a sleep of fifty milliseconds on a busy machine."""


def used_of(duty: float, slices: int, turns: int, seconds: float = 60.0) -> float:
    """Return work-seconds per second of slices that always have work, each reading between pages, in turns."""
    dice = random.Random(7)
    share = duty / slices
    debts, settled, ready = [0.0] * slices, [0.0] * slices, [0.0] * slices
    taken = [0.0] * turns
    worked = 0.0
    while min(ready) < seconds:
        who = min(range(slices), key=ready.__getitem__)
        asked = ready[who] + READ_S
        turn = min(range(turns), key=taken.__getitem__)
        began = max(asked, taken[turn])
        debt = 0.0 if share >= 1 else rested(debts[who], began - settled[who])
        cost = dice.uniform(0.004, 0.014)
        worked += cost
        taken[turn] = settled[who] = began + cost
        debts[who] = owed_seconds(debt, cost, share)
        ready[who] = settled[who] + (debts[who] + OVERSLEPT_S if debts[who] > 0 else 0.0)
    return worked / max(taken)


@pytest.mark.parametrize("slices", [2, 3, 4, 8])
@pytest.mark.parametrize("duty", [0.05, 0.25, 0.5, 1.0, 2.0])
def test_slices_that_always_have_work_use_what_they_may(duty: float, slices: int):
    """The law grows only a budget of which nine tenths are used: below, no job would ever come to its ceiling."""
    most = min(duty, slices * 0.009 / (0.009 + READ_S))  # a slice alone cannot write while it reads
    assert used_of(duty, slices, turns=ceil(duty)) >= USED * most


@pytest.mark.parametrize("slices", [1, 2, 4])
@pytest.mark.parametrize("duty", [0.05, 0.25, 0.5])
def test_slices_use_no_more_than_they_may(duty: float, slices: int):
    assert used_of(duty, slices, turns=1) <= duty * 1.05


def test_a_share_is_divided_among_the_slices_that_live():
    assert JobShare(job="a", duty=0.9, slices=3).per_slice == pytest.approx(0.3)
    assert JobShare(job="a", duty=0.9, slices=0).per_slice == 0.9


def test_what_is_published_is_what_is_read():
    budget = said(7, reason="canary 41 ms >= 12 ms", at=datetime(2026, 11, 23, 12, tzinfo=UTC))
    assert Budget.model_validate({**budget.model_dump(), "_id": "budget"}) == budget

"""Of two governors one governs and the other stands by; none waits for one that is gone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lull.domain.governor.budget import STALE_SECONDS
from lull.domain.governor.contest import Contest, Holder, origin

OURS, THEIRS = origin("prod", "0199aaaa-1"), origin("staging", "0199bbbb-2")


def holder(sequence: int, fence: int = 4, of: str = THEIRS) -> Holder:
    return Holder(fence, sequence, of, "host:7")


@pytest.mark.parametrize("there", [None, holder(9, of=""), holder(9, of=OURS)])
def test_a_fence_of_nobody_or_of_a_predecessor_is_taken_at_once(there: Holder | None):
    assert Contest(OURS).seen(there, 5.0).may_take(5.0)


def test_a_stranger_is_waited_for_as_long_as_a_budget_is_worth():
    """It may be alive: one look does not tell."""
    contest = Contest(OURS).seen(holder(9), 5.0)
    assert not contest.may_take(5.0 + STALE_SECONDS)
    assert contest.may_take(5.1 + STALE_SECONDS)
    assert contest.remark == ""


@given(gaps=st.lists(st.floats(0, STALE_SECONDS), min_size=1, max_size=30))
def test_a_stranger_that_is_heard_keeps_the_fence(gaps: list[float]):
    contest, now_s = Contest(OURS), 0.0
    for sequence, gap in enumerate(gaps):
        now_s += gap
        contest = contest.seen(holder(sequence), now_s)
        assert not contest.may_take(now_s)


def test_a_stranger_that_falls_silent_is_succeeded():
    contest = Contest(OURS).seen(holder(1), 0.0).seen(holder(2), 1.0).seen(holder(2), 2.9)
    assert not contest.may_take(2.9)
    assert contest.may_take(1.1 + STALE_SECONDS)


def test_another_that_takes_over_meanwhile_is_a_new_one():
    contest = Contest(OURS).seen(holder(9), 0.0).seen(holder(9, fence=5), 1.9)
    assert not contest.may_take(3.0)


def test_the_remark_says_who_governs_and_what_to_do():
    remark = Contest(OURS).seen(holder(1), 0.0).seen(holder(2), 0.5).remark
    for words in (
        "namespace 'staging' run 0199bbbb",
        "process host:7",
        "namespace 'prod' run 0199aaaa",
        "--no-governor",
    ):
        assert words in remark


def test_nothing_is_remarked_of_a_predecessor():
    assert Contest(OURS).seen(holder(1, of=OURS), 0.0).seen(holder(2, of=OURS), 0.5).remark == ""

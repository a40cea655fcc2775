"""How many operations are a foreground's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lull.domain.governor.strangers import ACCOUNTS_LATE_SECONDS, WINDOW_SECONDS, Strangers


def counted(seconds: float, others: float, ours: float = 0.0, told_ours: float | None = None) -> Strangers:
    """Two rates, seen for so long every 0.4 s; of ours *told_ours* is what workers told."""
    found, at_s = Strangers(), 0.0
    while at_s <= seconds:
        told = ours if told_ours is None else told_ours
        found.count(at_s, (others + ours) * at_s, ours=told * at_s, ours_per_second=told)
        at_s += 0.4
    return found


def test_nothing_is_said_before_half_a_window_was_seen():
    assert counted(0.9, 300).per_second is None
    assert counted(1.3, 300).per_second == pytest.approx(300)


@given(others=st.floats(0, 10_000), ours=st.floats(0, 10_000))
def test_what_is_told_is_never_taken_for_a_foreground(others: float, ours: float):
    """And of a foreground no more is missed than what workers may not have told yet."""
    found = counted(10, others, ours).per_second
    assert found is not None
    missed = ours * ACCOUNTS_LATE_SECONDS / (WINDOW_SECONDS / 2)
    assert max(0.0, others - missed) - 1e-6 <= found <= others + 1e-6


def test_what_nobody_told_of_is_a_foreground():
    assert counted(10, 0, ours=400, told_ours=0).per_second == pytest.approx(400)


def test_a_foreground_that_ends_is_gone_after_a_window():
    found = Strangers()
    for step in range(20):
        found.count(step * 0.4, min(step, 10) * 120.0, ours=0, ours_per_second=0)
    assert found.per_second == 0


def test_a_server_that_does_not_tell_makes_the_foreground_unknown():
    found = counted(10, 300)
    found.count(11, None, ours=0, ours_per_second=0)
    assert found.per_second is None

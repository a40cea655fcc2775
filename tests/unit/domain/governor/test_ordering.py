"""Orders of two workflows for one cluster: of each kind the newest holds, and nothing is lost."""

from datetime import UTC, datetime, timedelta

import pytest

from lull.domain.governor.budget import Mode
from lull.domain.governor.objective import Objective
from lull.domain.governor.ordering import merged
from lull.domain.governor.status import Note, Orders

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def note(minutes_ago: float, for_minutes: float | None = None) -> Note:
    at = NOW - timedelta(minutes=minutes_ago)
    return Note(at=at, until=None if for_minutes is None else at + timedelta(minutes=for_minutes))


def shut(minutes_ago: float, for_minutes: float | None = None, *, epoch: int = 7) -> Orders:
    return Orders(epoch=epoch, shut=True, shut_note=note(minutes_ago, for_minutes))


OBSERVING = Orders(epoch=1, mode=Mode.OBSERVE, mode_note=note(1))
OPENED = Orders(epoch=1, shut=False, shut_note=note(1))


@pytest.mark.parametrize(
    ("ours", "theirs", "is_shut", "mode"),
    [
        (OBSERVING, shut(60), True, Mode.OBSERVE),
        (OPENED, shut(60), False, None),
        (OPENED, shut(0.5), True, None),
        (OBSERVING, shut(60, 30), False, Mode.OBSERVE),  # its time was up
        (shut(60), Orders(epoch=9), True, None),
        (Orders(epoch=1), OBSERVING.model_copy(update={"epoch": 3}), False, Mode.OBSERVE),
    ],
)
def test_of_each_kind_the_newest_order_holds(ours: Orders, theirs: Orders, is_shut: bool, mode: Mode | None):  # noqa: FBT001
    found = merged(ours, theirs, NOW)
    assert (found.shut, found.mode) == (is_shut, mode)
    assert found.epoch == max(ours.epoch, theirs.epoch) + 1


def test_limits_come_with_their_note():
    ordered = Orders(epoch=4, limits=Objective(inflation=1.5), limits_note=note(5))
    found = merged(OBSERVING, ordered, NOW)
    assert (found.limits, found.limits_note) == (ordered.limits, ordered.limits_note)
    assert found.mode_note == OBSERVING.mode_note

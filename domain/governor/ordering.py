"""What an operator's order makes of the orders that hold."""

from datetime import UTC, datetime, timedelta

from lull.domain import orders
from lull.domain.governor.budget import Mode
from lull.domain.governor.status import Note, Orders


def told(before: Orders, order: orders.Order, now: datetime) -> Orders:
    """Return what holds after *order*, under a higher epoch."""
    epoch = before.epoch + 1
    match order:
        # Enforce and Shut are written like Observe: the narrower ones come first.
        case orders.Enforce():
            changes = {"mode": Mode.ENFORCE, "mode_note": _note(order, now)}
        case orders.Shut():
            changes = {"shut": True, "shut_note": _note(order, now)}
        case orders.Observe():
            changes = {"mode": Mode.OBSERVE, "mode_note": _note(order, now)}
        case orders.Open():
            changes = {"shut": False, "shut_note": Note(who=order.who, why=order.why, at=now)}
        case orders.SetLimits():
            changes = {"limits": order.objective, "limits_note": _note(order, now)}
        case _:
            return before
    return before.model_copy(update={**changes, "epoch": epoch})


def merged(ours: Orders, theirs: Orders, now: datetime) -> Orders:
    """
    Return what holds where the ledger has orders of another governor's workflow: of each kind the newest order.

    That is one of another namespace, or one that Temporal has forgotten. The epoch is higher than both.
    """
    there = theirs.at(now)
    newer = {
        name: getattr(there, name)
        for value, note in (("mode", "mode_note"), ("limits", "limits_note"), ("shut", "shut_note"))
        if _given_at(getattr(there, note)) > _given_at(getattr(ours, note))
        for name in (value, note)
    }
    return ours.model_copy(update={**newer, "epoch": max(ours.epoch, theirs.epoch) + 1})


def _given_at(note: Note | None) -> datetime:
    return note.at if note else datetime.min.replace(tzinfo=UTC)


def _note(order: orders.Observe | orders.SetLimits, now: datetime) -> Note:
    lasting: timedelta | None = order.lasting
    return Note(who=order.who, why=order.why, at=now, until=now + lasting if lasting else None)


def expired(before: Orders, now: datetime) -> Orders:
    """Return what still holds at *now*, under a higher epoch if anything has ended."""
    holds = before.at(now)
    return before if holds == before else holds.model_copy(update={"epoch": before.epoch + 1})

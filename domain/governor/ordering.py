"""What an operator's order makes of the orders that hold."""

from datetime import datetime, timedelta

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


def _note(order: orders.Observe | orders.SetLimits, now: datetime) -> Note:
    lasting: timedelta | None = order.lasting
    return Note(who=order.who, why=order.why, at=now, until=now + lasting if lasting else None)


def expired(before: Orders, now: datetime) -> Orders:
    """Return what still holds at *now*, under a higher epoch if anything has ended."""
    holds = before.at(now)
    return before if holds == before else holds.model_copy(update={"epoch": before.epoch + 1})

"""What the measured jobs do to an order; the hand-written script calls the same function."""

from typing import Any

from lull.activities.transforms import transform


@transform("bench.total")
def total(order: dict[str, Any]) -> dict[str, Any]:
    """Return the order's total and its next version: applied twice, it would show."""
    return {"total": round(order["price"] * order["quantity"], 2), "version": order["version"] + 1}

"""
A governor's status as metrics: which values of which gauge, and what to call what shuts its gate.

What was not measured has no value. Labels are of closed sets: an operator's words and measured
numbers would make a new series each.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from lull.domain import signals
from lull.domain.governor.law import Zone
from lull.domain.governor.readings import READ_P99, WRITE_P99
from lull.domain.governor.status import GovernorStatus, SignalRow
from lull.domain.signals import Metric

OTHER = "other"
"""From a governor of another version."""
_OPERATIONS = {READ_P99.name: "read", WRITE_P99.name: "write"}


class Point(NamedTuple):
    """One value of a gauge, and its attributes beside the cluster."""

    value: float
    attributes: Mapping[str, str] = {}


def gate_label(status: GovernorStatus) -> str:
    """
    Return what keeps the gate shut, without numbers; empty while it is open.

    A signal's name, the same with ``stale`` or ``mute``, ``blank window``, or ``shut by an operator``.
    """
    if status.is_open:
        return ""
    return status.label or OTHER


def points(metric: Metric, status: GovernorStatus) -> Iterable[Point]:
    """Return the values that one gauge of :data:`lull.domain.signals.GOVERNOR_METRICS` has now."""
    return GAUGES[metric](status)


def _one(value: float | None) -> Iterable[Point]:
    return () if value is None else (Point(value),)


def _zones(status: GovernorStatus) -> Iterable[Point]:
    return [Point(float(zone is status.zone), {"zone": zone.value}) for zone in Zone]


def _utilizations(status: GovernorStatus) -> Iterable[Point]:
    found = ((row, _over_limit(row)) for row in status.signals)
    return [Point(value, {"signal": row.name}) for row, value in found if value is not None]


def _over_limit(row: SignalRow) -> float | None:
    if row.observed is None or row.limit is None or row.limit <= 0:
        return None
    if row.op == "<=":
        return row.limit / row.observed if row.observed > 0 else float("inf")
    return row.observed / row.limit


def _latencies(status: GovernorStatus) -> Iterable[Point]:
    return [
        Point(row.observed, {"operation": _OPERATIONS[row.name]})
        for row in status.signals
        if row.name in _OPERATIONS and row.observed is not None
    ]


GAUGES: dict[Metric, Callable[[GovernorStatus], Iterable[Point]]] = {
    signals.DUTY: lambda status: _one(status.duty),
    signals.USED: lambda status: _one(sum(row.used for row in status.jobs)),
    signals.GATE_OPEN: lambda status: _one(float(status.is_open)),
    signals.ZONE: _zones,
    signals.STARVED: lambda status: _one(float(status.is_starved)),
    signals.JOBS: lambda status: _one(len(status.jobs)),
    signals.UTILIZATION: _utilizations,
    signals.OWN: lambda status: _one(status.own_ratio),
    signals.OWN_LOW: lambda status: _one(status.own_low),
    signals.OWN_LATENCY: lambda status: _one(status.own_ms),
    signals.OWN_OBJECTIVE: lambda status: _one(status.inflation),
    signals.FOREGROUND_LATENCY: _latencies,
    signals.FOREGROUND_OPERATIONS: lambda status: _one(status.foreground_ops),
}

"""A status as metrics: what was not measured is absent, and labels are of closed sets."""

from datetime import UTC, datetime
from typing import Any

import pytest

from lull.domain import signals
from lull.domain.governor import gauges
from lull.domain.governor.budget import Mode
from lull.domain.governor.law import Zone
from lull.domain.governor.status import GovernorStatus, JobRow, SignalRow
from lull.domain.signals import Instrument, Metric


def status(**fields: Any) -> GovernorStatus:
    base = {
        "cluster": "main", "mode": Mode.ENFORCE, "zone": Zone.GROW, "is_open": True, "duty": 0.25, "hold_ms": 10.0,
        "as_of": datetime(2026, 11, 24, tzinfo=UTC),
    }  # fmt: skip
    return GovernorStatus.model_validate(base | fields)


def signal(name: str, observed: float | None, limit: float | None, op: str = ">=") -> SignalRow:
    return SignalRow(name=name, unit="", effect="cut", observed=observed, limit=limit, op=op)


def values(metric: Metric, seen: GovernorStatus) -> list[tuple[float, dict[str, str]]]:
    return [(point.value, dict(point.attributes)) for point in gauges.points(metric, seen)]


def test_every_gauge_of_the_governor_has_a_way_to_be_read():
    assert set(gauges.GAUGES) == {m for m in signals.GOVERNOR_METRICS if m.instrument is Instrument.GAUGE}


def test_what_was_not_measured_is_absent_and_no_zero():
    """Our share is not known until there were blank windows: a zero would be a promise."""
    for metric in (signals.OWN, signals.OWN_LOW, signals.OWN_LATENCY, signals.FOREGROUND_OPERATIONS):
        assert values(metric, status()) == []
    assert values(signals.UTILIZATION, status(signals=(signal("queue", None, 8.0), signal("canary", 4.0, None)))) == []
    assert values(signals.FOREGROUND_LATENCY, status(signals=(signal("read-p99", None, 12.0),))) == []


def test_the_zone_is_one_of_all_and_the_others_are_zero():
    found = {attributes["zone"]: value for value, attributes in values(signals.ZONE, status(zone=Zone.SHED))}
    assert found == {zone.value: float(zone is Zone.SHED) for zone in Zone}


@pytest.mark.parametrize(
    ("observed", "limit", "op", "expected"),
    [
        (4.0, 8.0, ">=", 0.5),
        (12.0, 8.0, ">=", 1.5),
        (30.0, 1.0, "<=", 1 / 30),  # an oplog of thirty hours where one is enough
        (0.0, 1.0, "<=", float("inf")),
    ],
)
def test_a_utilization_is_one_where_jobs_must_stop(observed: float, limit: float, op: str, expected: float):
    seen = status(signals=(signal("oplog-window", observed, limit, op),))
    assert values(signals.UTILIZATION, seen) == [(expected, {"signal": "oplog-window"})]


def test_the_foregrounds_latency_is_told_by_operation():
    rows = (signal("read-p99", 9.0, None), signal("write-p99", 21.0, 30.0), signal("queue", 1.0, 8.0))
    assert values(signals.FOREGROUND_LATENCY, status(signals=rows)) == [
        (9.0, {"operation": "read"}),
        (21.0, {"operation": "write"}),
    ]


def test_what_jobs_may_use_stands_beside_what_they_used():
    rows = tuple(JobRow(job=job, slices=1, share=0.2, used=used) for job, used in (("a", 0.1), ("b", 0.15)))
    assert values(signals.DUTY, status(jobs=rows)) == [(0.25, {})]
    assert values(signals.USED, status(jobs=rows)) == [(0.25, {})]
    assert values(signals.JOBS, status(jobs=rows)) == [(2, {})]


@pytest.mark.parametrize(
    ("fields", "label"),
    [
        ({"is_open": True, "label": "foreground"}, ""),
        ({"label": "lag stale", "reason": "lag stale 4.0 s >= 3 s"}, "lag stale"),
        ({"label": "shut by an operator", "reason": "shut by ann: canary died"}, "shut by an operator"),
        ({"reason": "the moon is full"}, "other"),
    ],
)
def test_a_shut_gate_has_a_label_of_a_closed_set(fields: dict[str, Any], label: str):
    assert gauges.gate_label(status(**{"is_open": False} | fields)) == label

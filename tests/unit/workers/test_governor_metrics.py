"""The governors' instruments over a real SDK: gauges of what is fresh, counters of what shut."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from lull.domain import signals
from lull.domain.governor.budget import Mode
from lull.domain.governor.law import Zone
from lull.domain.governor.status import GovernorStatus, SignalRow
from lull.workers.governor_metrics import FRESH, GovernorMetrics


class Governors:
    """What sits in this process, and what a reader collects of it."""

    def __init__(self) -> None:
        self.statuses: list[GovernorStatus] = []
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader])
        self.metrics = GovernorMetrics(lambda: self.statuses, self.meters)

    def are(self, *statuses: GovernorStatus, now_s: float = 0.0) -> None:
        self.statuses = list(statuses)
        self.metrics.look(now_s)

    def collected(self) -> dict[str, Any]:
        data = self.reader.get_metrics_data()
        return (
            {}
            if data is None
            else {m.name: m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics}
        )

    def points(self, metric: signals.Metric) -> dict[tuple[Any, ...], float]:
        found = self.collected().get(metric.name)
        return {} if found is None else {tuple(p.attributes.values()): p.value for p in found.data.data_points}


@pytest.fixture
def governors() -> Iterator[Governors]:
    made = Governors()
    yield made
    made.meters.shutdown()


def status(cluster: str = "main", **fields: Any) -> GovernorStatus:
    base = {
        "cluster": cluster, "mode": Mode.ENFORCE, "zone": Zone.GROW, "is_open": True, "duty": 0.25, "hold_ms": 10.0,
        "as_of": datetime.now(UTC),
    }  # fmt: skip
    return GovernorStatus.model_validate(base | fields)


def shut(cluster: str = "main") -> GovernorStatus:
    return status(cluster, is_open=False, zone=Zone.STOP, reason="canary 41 ms >= 12 ms", label="canary")


def whole() -> GovernorStatus:
    """A status of which everything is known."""
    rows = [("read-p99", 9.0), ("write-p99", 21.0)]
    return status(
        is_open=False, zone=Zone.STOP, reason="canary 41 ms >= 12 ms", label="canary", own_ratio=1.2, own_low=1.1, own_ms=3.0, foreground_ops=300.0,
        signals=tuple(SignalRow(name=name, unit="ms", effect="cut", observed=ms, limit=30.0) for name, ms in rows),
    )  # fmt: skip


def test_every_metric_of_governors_is_emitted_with_its_unit_meaning_and_attributes_and_no_other_is(
    governors: Governors,
):
    governors.are(whole())
    governors.are(whole(), now_s=0.2)

    emitted = governors.collected()

    assert sorted(emitted) == sorted(metric.name for metric in signals.GOVERNOR_METRICS)
    for metric in signals.GOVERNOR_METRICS:
        assert (emitted[metric.name].unit, emitted[metric.name].description) == (metric.unit, metric.meaning)
        for point in emitted[metric.name].data.data_points:
            assert set(point.attributes) == set(metric.attributes), metric.name


def test_a_gate_that_shuts_is_counted_once_and_its_time_until_it_opens(governors: Governors):
    governors.are(status(), now_s=1.0)
    governors.are(shut(), now_s=1.2)
    governors.are(shut(), now_s=1.4)
    governors.are(shut(), now_s=1.7)
    governors.are(status(), now_s=1.9)
    assert governors.points(signals.GATE_SHUTS) == {("main", "canary"): 1}
    assert governors.points(signals.GATE_SHUT) == {("main", "canary"): pytest.approx(0.5)}


def test_a_gate_that_shuts_again_is_counted_again(governors: Governors):
    for now_s, seen in enumerate([shut(), status(), shut()]):
        governors.are(seen, now_s=now_s)
    assert governors.points(signals.GATE_SHUTS) == {("main", "canary"): 2}


def test_governors_of_two_clusters_are_told_apart(governors: Governors):
    governors.are(status(), shut("other"))
    assert governors.points(signals.GATE_OPEN) == {("main",): 1.0, ("other",): 0.0}
    assert governors.points(signals.GATE_SHUTS) == {("other", "canary"): 1}


def test_a_governor_that_sits_elsewhere_by_now_has_no_gauge(governors: Governors):
    """Its last status would be shown for ever, beside the present one's."""
    governors.are(shut().model_copy(update={"as_of": datetime.now(UTC) - FRESH - timedelta(seconds=1)}))
    assert governors.points(signals.GATE_OPEN) == {}
    assert governors.points(signals.GATE_SHUTS) == {}

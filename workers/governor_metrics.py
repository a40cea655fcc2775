"""
What governors tell the operator's telemetry, from the process in which they live.

It goes the way of everything else: OTLP to one endpoint, under this process's own instance. No port
is opened, so none can be taken.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import partial

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Counter, MeterProvider, Observation

from lull.activities.telemetry import SCOPE
from lull.domain import signals
from lull.domain.governor import gauges
from lull.domain.governor.status import GovernorStatus
from lull.domain.signals import Instrument, Metric

LOOK_SECONDS = 0.2
"""A gate that has shut stays so for half a second at least."""
FRESH = timedelta(seconds=5)
"""What a governor saw longer ago is nobody's present: it may live elsewhere by now."""

Statuses = Callable[[], Iterable[GovernorStatus]]


class GovernorMetrics:
    """The instruments of this process's governors. ``look`` belongs to one thread; gauges are read from any."""

    def __init__(self, statuses: Statuses, meter_provider: MeterProvider | None = None) -> None:
        self._statuses = statuses
        self._shut: dict[str, str] = {}
        """What keeps the gates shut, by cluster."""
        self._looked_s: float | None = None
        self._counters: dict[Metric, Counter] = {}
        meter = metrics.get_meter(SCOPE, meter_provider=meter_provider)
        for metric in signals.GOVERNOR_METRICS:
            if metric.instrument is Instrument.COUNTER:
                self._counters[metric] = meter.create_counter(metric.name, metric.unit, metric.meaning)
            else:
                observe = partial(self._observe, metric)
                meter.create_observable_gauge(metric.name, [observe], metric.unit, metric.meaning)

    async def watch(self) -> None:
        """Gates are looked at for as long as this task lives."""
        while True:
            self.look(time.monotonic())
            await asyncio.sleep(LOOK_SECONDS)

    def look(self, now_s: float) -> None:
        """What has shut since the last look is counted, and the time for which it was shut."""
        passed_s = 0.0 if self._looked_s is None else now_s - self._looked_s
        self._looked_s = now_s
        shut = {status.cluster: label for status in self._fresh() if (label := gauges.gate_label(status))}
        for cluster, label in shut.items():
            attributes = {"cluster": cluster, "label": label}
            if cluster not in self._shut:
                self._counters[signals.GATE_SHUTS].add(1, attributes)
            else:
                self._counters[signals.GATE_SHUT].add(passed_s, attributes)
        self._shut = shut

    def _fresh(self) -> Iterable[GovernorStatus]:
        oldest = datetime.now(UTC) - FRESH
        return (status for status in self._statuses() if status.as_of >= oldest)

    def _observe(self, metric: Metric, _: CallbackOptions) -> Iterable[Observation]:
        return [
            Observation(point.value, {"cluster": status.cluster, **point.attributes})
            for status in self._fresh()
            for point in gauges.points(metric, status)
        ]

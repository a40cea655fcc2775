"""
What slices and pages tell the operator's telemetry: metrics, sampled spans, fields on log lines.

Names, units and attributes come from :mod:`lull.domain.signals` alone. This module uses the
OpenTelemetry API; where nothing is configured the API does nothing, at a few hundred nanoseconds.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Final

from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.metrics import Counter, Histogram, Meter, MeterProvider
from opentelemetry.trace import Span, Status, StatusCode, TracerProvider

from lull.domain import signals
from lull.domain.signals import Instrument, Metric
from lull.domain.slice import Counts, SliceEnd

SCOPE: Final = "lull"
"""The instrumentation scope of every lull metric and span."""

LOG_FIELDS: ContextVar[Mapping[str, object]] = ContextVar("lull_log_fields", default={})  # noqa: B039 - never mutated
"""What every log line of this task or thread says beside its text: job, incarnation, partition, fence."""

# The SDK's default buckets are made for seconds of HTTP; a page aims at 10 to 25 ms and a few thousand documents.
_HOLD_BUCKETS_MS: Final = (1, 2, 5, 10, 15, 20, 25, 35, 50, 75, 100, 200, 500, 1_000, 5_000)
_DOCUMENT_BUCKETS: Final = (1, 10, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)
# One SDK recording costs about 15 us: counters are summed here and added once a second; a page pays for two histograms.
_FLUSH_SECONDS: Final = 1.0
_RESULTS: Final = ("changed", "unchanged", "skipped", "quarantined")
_BUCKETS: Final = {signals.PAGE_HOLD: _HOLD_BUCKETS_MS, signals.PAGE_DOCUMENTS: _DOCUMENT_BUCKETS}


@contextmanager
def log_fields(**fields: object) -> Iterator[None]:
    """Log lines written inside carry *fields* beside those already set."""
    token = LOG_FIELDS.set({**LOG_FIELDS.get(), **fields})
    try:
        yield
    finally:
        LOG_FIELDS.reset(token)


class Telemetry:
    """What slices tell by: their instruments of :mod:`lull.domain.signals`, and the tracer."""

    def __init__(
        self, meter_provider: MeterProvider | None = None, tracer_provider: TracerProvider | None = None
    ) -> None:
        meter = metrics.get_meter(SCOPE, meter_provider=meter_provider)
        self.tracer = trace.get_tracer(SCOPE, tracer_provider=tracer_provider)
        self.counters: dict[Metric, Counter] = {}
        self.histograms: dict[Metric, Histogram] = {}
        for metric in signals.SLICE_METRICS:
            self._create(meter, metric)

    def _create(self, meter: Meter, metric: Metric) -> None:
        if metric.instrument is Instrument.COUNTER:
            self.counters[metric] = meter.create_counter(metric.name, metric.unit, metric.meaning)
        else:
            self.histograms[metric] = meter.create_histogram(
                metric.name, metric.unit, metric.meaning, explicit_bucket_boundaries_advisory=_BUCKETS[metric]
            )


@cache
def default_telemetry() -> Telemetry:
    """Return the instruments of the process's own providers; it does not matter which was set first."""
    return Telemetry()


class SliceTelemetry:
    """
    What one slice tells. Not shared between slices; ``page`` may be called from any one thread.

    Nothing here takes a document, an id or a URI, so none can get out this way.
    """

    def __init__(
        self,
        *,
        job: str,
        kind: str,
        cluster: str,
        partition: int,
        fence: int,
        incarnation: int = 0,
        telemetry: Telemetry | None = None,
    ) -> None:
        self._telemetry = telemetry or default_telemetry()
        self._job, self._kind, self._cluster = job, kind, cluster
        # Attribute mappings are made once: building them would cost more than recording.
        self._of_cluster = {"kind": kind, "cluster": cluster}
        self._of_job = {signals.JOB: job, **self._of_cluster}
        self._span_attributes: dict[str, str | int] = {
            "lull.job": job,
            "lull.partition": partition,
            "lull.fence": fence,
        }
        self._log_fields = {"job": job, "incarnation": incarnation, "partition": partition, "fence": fence}
        self._context: Context | None = None
        self._span: Span = trace.INVALID_SPAN
        self._pages = 0
        self._pages_told = 0
        self._documents = dict.fromkeys(_RESULTS, 0)
        self._flushed_at = time.monotonic()

    @contextmanager
    def slice_span(self, started_ns: int | None = None) -> Iterator[None]:
        """
        What happens inside is one span, and log lines written inside name job, partition and fence.

        An exception marks the span with its type only: messages of drivers and of users'
        functions may hold documents. *started_ns* is Unix time in nanoseconds, where the slice
        began before its fence was known.
        """
        with (
            self._telemetry.tracer.start_as_current_span(
                signals.SPAN_SLICE.name,
                attributes=self._span_attributes,
                start_time=started_ns,
                record_exception=False,
                set_status_on_exception=False,
            ) as span,
            log_fields(**self._log_fields),
        ):
            self._span, self._context = span, trace.set_span_in_context(span)
            try:
                yield
            except BaseException as error:
                span.set_status(Status(StatusCode.ERROR, type(error).__name__))
                raise
            finally:
                self._flush()

    def page(self, delta: Counts, hold_ms: float, started_ns: int) -> None:
        """
        Tell of a committed page: *delta* is the page's own counts; counters follow within a second.

        *hold_ms* runs from its first operation in the transaction to the commit's
        acknowledgement; *started_ns* is when it began, in Unix time.
        """
        for result in _RESULTS:
            self._documents[result] += getattr(delta, result)
        histograms = self._telemetry.histograms
        histograms[signals.PAGE_HOLD].record(hold_ms, self._of_cluster)
        histograms[signals.PAGE_DOCUMENTS].record(delta.seen, self._of_cluster)
        # The first of every slice, so that each slice's trace shows one.
        if self._pages % signals.PAGE_SPAN_EVERY == 0:
            self._page_span(delta, started_ns)
        self._pages += 1
        if time.monotonic() - self._flushed_at >= _FLUSH_SECONDS:
            self._flush()

    def _flush(self) -> None:
        self._flushed_at = time.monotonic()
        counters = self._telemetry.counters
        for result, count in self._documents.items():
            if count:
                counters[signals.DOCUMENTS].add(count, {**self._of_job, "result": result})
                self._documents[result] = 0
        if self._pages > self._pages_told:
            counters[signals.PAGES].add(self._pages - self._pages_told, self._of_job)
            self._pages_told = self._pages

    def _page_span(self, delta: Counts, started_ns: int) -> None:
        # The slice's context is passed by hand: pages may run in a thread that has none.
        span = self._telemetry.tracer.start_span(
            signals.SPAN_PAGE.name,
            context=self._context,
            start_time=started_ns,
            attributes={**self._span_attributes, "lull.page": self._pages, "lull.documents": delta.seen},
        )
        span.end(time.time_ns())

    def conflict(self) -> None:
        """A page was aborted because a foreground write met it."""
        self._telemetry.counters[signals.CONFLICTS].add(1, self._of_cluster)

    def fence_lost(self) -> None:
        """The slice found its fence overtaken."""
        self._telemetry.counters[signals.FENCES_LOST].add(1, self._of_cluster)

    def ended(self, end: SliceEnd, active_s: float, waited_s: Mapping[str, float]) -> None:
        """Tell why the slice returned, and where its seconds went; inside :meth:`slice_span`."""
        counters = self._telemetry.counters
        counters[signals.SLICES].add(1, {**self._of_cluster, "end": end.value})
        counters[signals.SLICE_ACTIVE].add(active_s, self._of_job)
        for reason, seconds in waited_s.items():
            counters[signals.SLICE_WAITED].add(seconds, {**self._of_job, "reason": reason})
        self._span.set_attribute("lull.end", end.value)

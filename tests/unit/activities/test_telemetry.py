"""Telemetry is an interface: every name in ``domain/signals.py`` is emitted, and nothing else is."""

import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from lull.activities.telemetry import LOG_FIELDS, SliceTelemetry, Telemetry, log_fields
from lull.domain import signals
from lull.domain.slice import Counts, SliceEnd

PAGE = Counts(scanned=12, seen=10, changed=4, unchanged=3, skipped=2, quarantined=1, bytes=900, pages=1)


class Recorder:
    """In-memory exporters behind real SDK providers."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.spans = InMemorySpanExporter()
        self.meters = MeterProvider([self.reader])
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.spans))

    def slice(self, fence: int = 4) -> SliceTelemetry:
        return SliceTelemetry(
            job="speed",
            kind="transform",
            cluster="main",
            incarnation=2,
            partition=7,
            fence=fence,
            telemetry=Telemetry(self.meters, self.tracers),
        )

    def metrics(self) -> dict[str, Any]:
        data = self.reader.get_metrics_data()
        assert data is not None
        return {m.name: m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics}

    def points(self, name: str) -> dict[frozenset[tuple[str, Any]], Any]:
        return {frozenset(p.attributes.items()): p for p in self.metrics()[name].data.data_points}


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    made = Recorder()
    yield made
    made.meters.shutdown()
    made.tracers.shutdown()


def whole_slice(recorder: Recorder) -> None:
    told = recorder.slice()
    with told.slice_span():
        told.page(PAGE, 18.5, time.time_ns())
        told.conflict()
        told.fence_lost()
        told.ended(SliceEnd.SLICE_OVER, 29.5, {"throttle": 0.5})


def test_every_metric_of_slices_is_emitted_with_its_unit_meaning_and_attributes_and_no_other_is(recorder: Recorder):
    whole_slice(recorder)

    emitted = recorder.metrics()

    assert sorted(emitted) == sorted(m.name for m in signals.SLICE_METRICS)
    for metric in signals.SLICE_METRICS:
        assert (emitted[metric.name].unit, emitted[metric.name].description) == (metric.unit, metric.meaning)
        for point in emitted[metric.name].data.data_points:
            assert set(point.attributes) == set(metric.attributes), metric.name


def test_every_span_of_signals_is_emitted_with_its_attributes_and_no_other_is(recorder: Recorder):
    whole_slice(recorder)

    emitted = {span.name: set(span.attributes or {}) for span in recorder.spans.get_finished_spans()}

    assert emitted == {span.name: set(span.attributes) for span in signals.SPANS}


def test_documents_are_counted_by_result_and_an_absent_result_is_no_zero(recorder: Recorder):
    told = recorder.slice()
    with told.slice_span():
        told.page(PAGE, 18.5, time.time_ns())
        told.page(Counts(seen=2, changed=2), 3.0, time.time_ns())

    counted = {dict(key)["result"]: point.value for key, point in recorder.points("lull.documents").items()}

    assert counted == {"changed": 6, "unchanged": 3, "skipped": 2, "quarantined": 1}
    assert [p.value for p in recorder.points("lull.pages").values()] == [2]
    assert [(p.count, p.sum) for p in recorder.points("lull.page.hold").values()] == [(2, 21.5)]
    assert [(p.count, p.sum) for p in recorder.points("lull.page.documents").values()] == [(2, 12)]


def test_an_untouched_result_is_absent(recorder: Recorder):
    told = recorder.slice()
    with told.slice_span():
        told.page(Counts(seen=1, changed=1), 1.0, time.time_ns())

    assert [dict(key)["result"] for key in recorder.points("lull.documents")] == ["changed"]


def test_what_a_slice_did_before_it_failed_is_counted(recorder: Recorder):
    def away(told: SliceTelemetry) -> None:
        with told.slice_span():
            told.page(PAGE, 1.0, time.time_ns())
            raise OSError("away")

    with pytest.raises(OSError, match="away"):
        away(recorder.slice())

    assert [p.value for p in recorder.points("lull.pages").values()] == [1]


def test_counters_do_not_wait_for_the_end_of_the_slice(recorder: Recorder, monkeypatch: pytest.MonkeyPatch):
    """A slice lives for half a minute; a dashboard should see pages as they come."""
    now = [100.0]
    monkeypatch.setattr("lull.activities.telemetry.time.monotonic", lambda: now[0])
    told = recorder.slice()
    with told.slice_span():
        told.page(PAGE, 1.0, time.time_ns())
        now[0] += 1.0
        told.page(PAGE, 1.0, time.time_ns())
        assert [p.value for p in recorder.points("lull.pages").values()] == [2]
        told.page(PAGE, 1.0, time.time_ns())

    assert [p.value for p in recorder.points("lull.pages").values()] == [3]


def test_the_end_and_the_seconds_of_a_slice_are_told_by_reason(recorder: Recorder):
    recorder.slice().ended(SliceEnd.WAITING, 1.5, {"throttle": 3.0, "read-p99 41 ms >= 12 ms": 4.0})

    waited = {dict(key)["reason"]: point.value for key, point in recorder.points("lull.slice.waited").items()}
    assert waited == {"throttle": 3.0, "read-p99 41 ms >= 12 ms": 4.0}
    assert [dict(key)["end"] for key in recorder.points("lull.slices")] == ["waiting"]


def test_the_first_page_of_a_slice_and_every_hundredth_after_it_are_spans_inside_the_slice(recorder: Recorder):
    told = recorder.slice()
    with told.slice_span():
        for _ in range(201):
            told.page(PAGE, 1.0, time.time_ns())

    spans = recorder.spans.get_finished_spans()
    (outer,) = [span for span in spans if span.name == "lull.slice"]
    pages = [span for span in spans if span.name == "lull.page"]
    assert [(span.attributes or {})["lull.page"] for span in pages] == [0, 100, 200]
    assert {span.parent.span_id for span in pages if span.parent} == {outer.context.span_id}


def test_a_page_told_from_another_thread_stays_in_the_slices_trace(recorder: Recorder):
    """The page loop may run in a thread, to which no context goes by itself."""
    told = recorder.slice()
    with told.slice_span():
        thread = threading.Thread(target=told.page, args=(PAGE, 1.0, time.time_ns()))
        thread.start()
        thread.join()

    page, outer = recorder.spans.get_finished_spans()
    assert page.context.trace_id == outer.context.trace_id


def test_a_page_span_lasts_from_the_moment_it_was_told_to_have_begun(recorder: Recorder):
    began_ns = time.time_ns() - 20_000_000
    recorder.slice().page(PAGE, 18.5, began_ns)

    (page,) = recorder.spans.get_finished_spans()
    assert page.start_time == began_ns
    assert page.end_time is not None
    assert page.end_time >= began_ns + 20_000_000


def test_an_exception_marks_the_slice_by_its_type_and_nothing_of_its_text_gets_out(recorder: Recorder):
    """A driver's message may quote the document that failed."""
    with pytest.raises(ValueError, match="mail"), recorder.slice().slice_span():
        raise ValueError("duplicate key { mail: 'someone@example.org' }, mongodb://root:pw@host")

    (span,) = recorder.spans.get_finished_spans()
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "ValueError")
    assert not span.events
    assert "example.org" not in span.to_json()
    assert "root:pw" not in span.to_json()


def test_log_lines_inside_a_slice_carry_its_fields_and_lines_after_it_do_not(recorder: Recorder):
    with recorder.slice(fence=9).slice_span(), log_fields(page=3):
        inside = dict(LOG_FIELDS.get())

    assert inside == {"job": "speed", "incarnation": 2, "partition": 7, "fence": 9, "page": 3}
    assert dict(LOG_FIELDS.get()) == {}


def test_nothing_is_emitted_and_nothing_fails_where_nothing_is_configured(caplog: pytest.LogCaptureFixture):
    told = SliceTelemetry(job="speed", kind="transform", cluster="main", partition=0, fence=1)
    with caplog.at_level(logging.WARNING), told.slice_span():
        told.page(PAGE, 1.0, time.time_ns())
        told.ended(SliceEnd.DONE, 1.0, {})
    assert not caplog.records

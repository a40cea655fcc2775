"""
Where traces and metrics go: OTLP over HTTP to one endpoint, or nowhere.

Ours go through the OpenTelemetry SDK. Those of Temporal's core go to the same endpoint by its own
exporter, which speaks OTLP over HTTP as well: no bridge to drain, and nothing experimental.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.util.re import parse_env_headers
from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    OpenTelemetryConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)

from lull.domain.config import TelemetryConfig as Settings

METRICS_EVERY_SECONDS: Final = 10.0
EXPORT_SECONDS_MAX: Final = 3.0
"""Of one export, and of the last one when the worker stops: a dead collector delays no deployment."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where OTLP goes."""

    base: str

    @classmethod
    def of(cls, settings: Settings, environment: Mapping[str, str] | None = None) -> "Endpoint | None":
        """Return the endpoint of the settings, else of ``OTEL_EXPORTER_OTLP_ENDPOINT``, else None."""
        environment = os.environ if environment is None else environment
        base = settings.otlp_endpoint or environment.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")
        return cls(base.rstrip("/")) if base else None

    @property
    def traces(self) -> str:
        """Where spans are posted."""
        return f"{self.base}/v1/traces"

    @property
    def metrics(self) -> str:
        """Where metrics are posted."""
        return f"{self.base}/v1/metrics"


@contextmanager
def exporting(settings: Settings, identity: str) -> Iterator[None]:
    """
    Spans and metrics of this process are exported inside; what is left is sent at the end.

    Does nothing without an endpoint. The global providers can be set once in a process.
    """
    endpoint = Endpoint.of(settings)
    if endpoint is None:
        yield
        return
    tracers, meters = _providers(endpoint, _resource(settings, identity))
    trace.set_tracer_provider(tracers)
    metrics.set_meter_provider(meters)
    try:
        yield
    finally:
        tracers.shutdown()
        meters.shutdown(timeout_millis=EXPORT_SECONDS_MAX * 1_000)


def _providers(endpoint: Endpoint, resource: Resource) -> tuple[TracerProvider, MeterProvider]:
    tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
    spans = OTLPSpanExporter(endpoint=endpoint.traces, timeout=EXPORT_SECONDS_MAX)
    tracers.add_span_processor(BatchSpanProcessor(spans))
    reader = PeriodicExportingMetricReader(
        OTLPMetricExporter(endpoint=endpoint.metrics, timeout=EXPORT_SECONDS_MAX),
        export_interval_millis=METRICS_EVERY_SECONDS * 1_000,
        export_timeout_millis=EXPORT_SECONDS_MAX * 1_000,
    )
    # Exemplars would double what a page pays for being counted.
    meters = MeterProvider(
        [reader], resource=resource, shutdown_on_exit=False, exemplar_filter=AlwaysOffExemplarFilter()
    )
    return tracers, meters


def _resource(settings: Settings, identity: str) -> Resource:
    attributes = {"service.instance.id": identity}
    if not os.environ.get("OTEL_SERVICE_NAME"):
        attributes["service.name"] = settings.service_name
    return Resource.create(attributes)


def temporal_runtime(settings: Settings) -> Runtime:
    """
    Return the runtime of Temporal's core: its log lines are ours, its metrics go where ours go.

    One in a process; each has threads of its own.
    """
    endpoint = Endpoint.of(settings)
    return Runtime(
        telemetry=TelemetryConfig(
            metrics=None if endpoint is None else _core_metrics(endpoint),
            global_tags={} if endpoint is None else {"service_name": settings.service_name},
            logging=LoggingConfig(
                filter=TelemetryFilter(core_level="WARN", other_level="ERROR"),
                forwarding=LogForwardingConfig(
                    logger=logging.getLogger("temporalio.core"), append_target_to_name=False
                ),
            ),
        )
    )


def _core_metrics(endpoint: Endpoint) -> OpenTelemetryConfig:
    return OpenTelemetryConfig(
        url=endpoint.metrics,
        headers=parse_env_headers(os.environ.get("OTEL_EXPORTER_OTLP_HEADERS", ""), liberal=True),
        metric_periodicity=timedelta(seconds=METRICS_EVERY_SECONDS),
        durations_as_seconds=True,
        http=True,
    )

"""
The first span of a job's trace: the request to start it.

Nothing is imported, and nothing sent, unless somebody collects traces: a program that embeds the
client has a tracer provider of its own, and the command line is told of a collector by
``telemetry.otlp_endpoint`` or the standard ``OTEL_EXPORTER_OTLP_ENDPOINT``.
"""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from temporalio.client import Interceptor

FLUSH_SECONDS_MAX = 3.0
"""What a collector that is away may cost a command at its end."""
_VARIABLE = "OTEL_EXPORTER_OTLP_ENDPOINT"


def interceptors(endpoint: str, environment: Mapping[str, str] | None = None) -> "list[Interceptor]":
    """Return what carries the caller's trace into the workflow; spans go to *endpoint* if nobody else takes them."""
    endpoint = endpoint or (os.environ if environment is None else environment).get(_VARIABLE, "")
    if not endpoint:
        return []
    from opentelemetry import trace  # noqa: PLC0415 - a quarter of a second that most commands need not wait
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from temporalio.contrib.opentelemetry import TracingInterceptor  # noqa: PLC0415

    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        trace.set_tracer_provider(_provider(endpoint))
    return [TracingInterceptor()]


def _provider(endpoint: str) -> "TracerProvider":
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    provider = TracerProvider(resource=Resource.create({"service.name": "lull"}))
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=FLUSH_SECONDS_MAX)
    provider.add_span_processor(BatchSpanProcessor(exporter, export_timeout_millis=FLUSH_SECONDS_MAX * 1_000))
    return provider

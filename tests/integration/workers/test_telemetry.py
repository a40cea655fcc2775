"""A real worker that exports over OTLP: what arrives, and what must never leave."""

import asyncio
import json
import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pymongo import MongoClient
from temporalio.client import Client

from lull.domain.kinds import parse_spec
from lull.domain.lifecycle import Status
from lull.domain.queues import CONTROL, workflow_id
from lull.domain.state import JobState
from lull.workers.plugin import lull_plugin
from lull.workflows.job import JobWorkflow

MAIL = "someone@example.org"


@pytest.fixture
def people(mongo_uri: str) -> Iterator[str]:
    """A collection of a thousand people with something to keep to oneself."""
    database = f"workers_{uuid.uuid4().hex[:8]}"
    with MongoClient(mongo_uri) as client:
        client[database].people.insert_many([{"_id": f"{n}-{MAIL}", "mail": MAIL, "n": n} for n in range(1_000)])
        yield database
        client.drop_database(database)


def job_over(database: str) -> JobState:
    spec = {
        "job": f"vat-{database}".replace("_", "-"),
        "kind": "update",
        "source": {"database": database, "collection": "people", "filter": {"mail": MAIL}},
        "update": {"$set": {"seen": True}},
    }
    return JobState(spec=parse_spec(spec))


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
async def tracing_client(temporal_address: str, namespace: str, spans: InMemorySpanExporter) -> Client:
    """A client as an application with tracing has one."""
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    plugin = lull_plugin(tracer=tracers.get_tracer("application"))
    return await Client.connect(temporal_address, namespace=namespace, plugins=[plugin])


async def test_one_trace_leads_from_the_start_of_a_job_to_its_pages_and_no_document_is_in_it(
    spawn: Any, collector: Any, tracing_client: Client, spans: InMemorySpanExporter, people: str
):
    worker = spawn(LULL_TELEMETRY__OTLP_ENDPOINT=collector.endpoint)
    await worker.until_ready()
    state = job_over(people)
    outcome = await tracing_client.execute_workflow(
        JobWorkflow.run, state, id=workflow_id(state.spec.job), task_queue=CONTROL
    )
    assert outcome.status is Status.COMPLETED, outcome
    worker.signal()
    assert await worker.ended() == 0, worker.text

    (started,) = [span for span in spans.get_finished_spans() if span.name == "StartWorkflow:lull.job"]
    arrived = [span for span in collector.spans if span.trace_id.hex() == f"{started.context.trace_id:032x}"]
    names = {span.name for span in arrived}
    assert {"RunWorkflow:lull.job", "RunActivity:lull.slice", "lull.slice", "lull.page"} <= names
    by_id = {span.span_id: span for span in arrived}
    page = next(span for span in arrived if span.name == "lull.page")
    path = [page.name]
    while page.parent_span_id in by_id:
        page = by_id[page.parent_span_id]
        path.append(page.name)
    assert path == ["lull.page", "lull.slice", "RunActivity:lull.slice", "StartActivity:lull.slice"]
    assert page.parent_span_id.hex() == f"{started.context.span_id:016x}"
    assert collector.services == {"lull-worker"}
    sent = "".join(str(one) for one in [*collector.traces, *collector.metrics])
    assert MAIL not in sent
    assert "mongodb://" not in sent


async def test_the_command_that_starts_a_job_begins_its_trace(
    spawn: Any, collector: Any, temporal_address: str, namespace: str, people: str, tmp_path: Path
):
    worker = spawn(LULL_TELEMETRY__OTLP_ENDPOINT=collector.endpoint)
    await worker.until_ready()
    spec = tmp_path / "vat.json"
    spec.write_text(json.dumps(job_over(people).spec.canonical()))
    own = {name: text for name, text in os.environ.items() if not name.startswith(("LULL_", "TEMPORAL_"))}
    command = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "lull", "start", str(spec), "--wait", "--json"),
        env=own
        | {
            "LULL_TEMPORAL__ADDRESS": temporal_address,
            "LULL_TEMPORAL__NAMESPACE": namespace,
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
        },
        cwd=tmp_path,
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert await command.wait() == 0
    worker.signal()
    assert await worker.ended() == 0, worker.text

    (started,) = [span for span in collector.spans if span.name == "StartWorkflow:lull.job"]
    slices = [span for span in collector.spans if span.name == "lull.slice"]
    assert slices
    assert {span.trace_id for span in slices} == {started.trace_id}
    assert collector.services == {"lull", "lull-worker"}


async def test_the_metrics_of_lull_and_of_temporals_core_arrive_at_one_endpoint(
    spawn: Any, collector: Any, client: Client, people: str
):
    worker = spawn(OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint, OTEL_SERVICE_NAME="my-workers")
    await worker.until_ready()
    state = job_over(people)
    await client.execute_workflow(JobWorkflow.run, state, id=workflow_id(state.spec.job), task_queue=CONTROL)
    worker.signal()
    assert await worker.ended() == 0, worker.text

    assert {
        "lull.documents",
        "lull.pages",
        "lull.page.hold",
        "lull.page.documents",
        "lull.slices",
        "lull.slice.active",
    } <= collector.metric_names
    assert any(name.startswith("temporal_") for name in collector.metric_names), collector.metric_names
    assert collector.services == {"my-workers"}


async def test_a_governor_tells_what_it_sees_under_an_instance_of_its_own(
    spawn: Any, collector: Any, until: Any, mongo_uri: str
):
    with MongoClient(mongo_uri) as mongo:
        mongo.lull.governor.delete_many({})
        mongo.lull.governor.insert_one({"_id": "orders", "shut_by_hand": True})
        worker = spawn(LULL_TELEMETRY__OTLP_ENDPOINT=collector.endpoint, LULL_CLUSTERS__MAIN__GOVERNOR="enforce")
        await worker.until_ready()
        await until(lambda: collector.points("lull.governor.gate.shut"), "a governor that tells of its shut gate")
        worker.signal()
        assert await worker.ended() == 0, worker.text
        mongo.lull.governor.delete_many({})

    ordered = {"cluster": "main", "label": "shut by an operator"}
    assert (1, ordered) in collector.points("lull.governor.gate.shuts")
    assert (0.0, {"cluster": "main"}) in collector.points("lull.governor.gate.open")
    assert (1.0, {"cluster": "main", "zone": "stop"}) in collector.points("lull.governor.zone")
    told = {attributes["signal"] for _, attributes in collector.points("lull.governor.signal.utilization")}
    assert {"queue", "lag"} <= told
    (instance,) = collector.instances_of("lull.governor.duty")
    assert instance.startswith("lull-governor@")


async def test_a_collector_that_does_not_answer_delays_no_shutdown(spawn: Any, client: Client, people: str):
    worker = spawn("--log-format", "json", LULL_TELEMETRY__OTLP_ENDPOINT="http://127.0.0.1:1")
    await worker.until_ready()
    state = job_over(people)
    await client.execute_workflow(JobWorkflow.run, state, id=workflow_id(state.spec.job), task_queue=CONTROL)
    worker.signal()
    assert await worker.ended() == 0
    assert worker.lines, "every line it wrote is JSON, the exporter's complaints included"

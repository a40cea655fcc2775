"""The Workers of one process against a real Temporal server, with adapters that stand in for MongoDB's."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from temporalio import activity, workflow
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHistory
from temporalio.worker import Replayer
from typing_extensions import override

from lull.domain import queues
from lull.domain.errors import OperatorError
from lull.domain.guarantee import Guarantee, Promise
from lull.domain.kinds import parse_spec
from lull.domain.ports import PagesPort, PlanningPort
from lull.domain.slice import PartitionSnapshot, Plan, PlanRequest, SliceEnd, SliceReport, SliceTask
from lull.workers.host import Host, Hosting
from lull.workers.in_hand import InHand
from lull.workers.plugin import lull_plugin
from lull.workers.registration import register
from lull.workflows.plan import PlanWorkflow

SPEC = parse_spec(
    {
        "job": "vat",
        "kind": "update",
        "source": {"database": "shop", "collection": "orders", "filter": {"mail": "someone@example.org"}},
        "update": {"$set": {"vat": 1}},
    }
)
PLAN = Plan(guarantee=Guarantee(promise=Promise.EXACTLY_ONCE, why="it is a test"), partitions=3, documents=300)
TASK = SliceTask(job="vat", cluster="main", incarnation=1, partition=7, epoch=0)


class StubPlanning(PlanningPort):
    @override
    async def plan(self, request: PlanRequest) -> Plan:
        if request.spec.job == "refused":
            raise OperatorError("this cannot be planned")
        return PLAN

    @override
    async def open(self, request: Any) -> Any:
        raise NotImplementedError

    @override
    async def doctor(self, request: Any) -> Any:
        raise NotImplementedError


class DutifulPages(PagesPort):
    """A slice that returns at a page boundary once its worker shuts down."""

    def __init__(self) -> None:
        self.began = asyncio.Event()

    @override
    async def run_slice(self, task: SliceTask) -> SliceReport:
        self.began.set()
        while not activity.is_worker_shutdown():
            activity.heartbeat()
            await asyncio.sleep(0.01)
        return SliceReport(end=SliceEnd.DRAINING, snapshot=PartitionSnapshot(partition=task.partition))


@workflow.defn(name="one-slice", sandboxed=False)
class OneSlice:
    @workflow.run
    async def run(self, task: SliceTask) -> SliceReport:
        return await workflow.execute_activity_method(
            PagesPort.run_slice, task, task_queue=queues.PAGES, start_to_close_timeout=timedelta(minutes=5)
        )


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracers(spans: InMemorySpanExporter) -> TracerProvider:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    return provider


@asynccontextmanager
async def hosted(client: Client, pages: PagesPort | None = None, **more: Any) -> AsyncIterator[Host]:
    host = Host(
        client,
        Hosting(
            workflows=[PlanWorkflow, OneSlice],
            control=register([StubPlanning()], serving=[PlanningPort]),
            pages=register([pages or DutifulPages()], serving=[PagesPort]),
            **{"slots": 2, "critical_slots": 1, "grace_s": 20.0, **more},
        ),
    )
    await host.start()
    try:
        yield host
    finally:
        await host.stop(was_busy=True)


async def test_a_host_runs_workflows_and_their_activities(client: Client):
    async with hosted(client):
        plan = await client.execute_workflow(
            PlanWorkflow.run, PlanRequest(spec=SPEC), id=f"plan-{uuid.uuid4()}", task_queue=queues.CONTROL
        )
    assert plan == PLAN


async def test_one_trace_leads_from_the_client_to_the_activity_and_holds_nothing_of_the_spec(
    temporal_address: str, namespace: str, spans: InMemorySpanExporter, tracers: TracerProvider
):
    plugin = lull_plugin(tracer=tracers.get_tracer("test"))
    client = await Client.connect(temporal_address, namespace=namespace, plugins=[plugin])
    async with hosted(client):
        await client.execute_workflow(
            PlanWorkflow.run, PlanRequest(spec=SPEC), id=f"plan-{uuid.uuid4()}", task_queue=queues.CONTROL
        )

    finished = spans.get_finished_spans()
    by_name = {span.name: span for span in finished}
    path = ["StartWorkflow:lull.plan", "RunWorkflow:lull.plan", "StartActivity:lull.plan", "RunActivity:lull.plan"]
    assert set(path) <= set(by_name)
    assert len({by_name[name].context.trace_id for name in path}) == 1
    assert all(by_name[child].parent is not None for child in path[1:])
    assert "example.org" not in "".join(span.to_json() for span in finished)


async def test_an_activitys_error_reaches_the_trace_as_its_sentence_without_a_stack(
    temporal_address: str, namespace: str, spans: InMemorySpanExporter, tracers: TracerProvider
):
    plugin = lull_plugin(tracer=tracers.get_tracer("test"))
    client = await Client.connect(temporal_address, namespace=namespace, plugins=[plugin])
    refused = PlanRequest(spec=SPEC.model_copy(update={"job": "refused"}))
    async with hosted(client):
        with pytest.raises(WorkflowFailureError):
            await client.execute_workflow(
                PlanWorkflow.run, refused, id=f"plan-{uuid.uuid4()}", task_queue=queues.CONTROL
            )

    (ran,) = [span for span in spans.get_finished_spans() if span.name == "RunActivity:lull.plan"]
    assert "this cannot be planned" in str(ran.status.description)
    assert "example.org" not in ran.to_json()


async def test_a_stopping_host_lets_slices_return_and_their_workflow_hears_it(client: Client):
    """No retry, no timeout, no other host needed: the partition can be handed on at once."""
    pages = DutifulPages()
    async with hosted(client, pages):
        handle = await client.start_workflow(OneSlice.run, TASK, id=f"slice-{uuid.uuid4()}", task_queue=queues.CONTROL)
        await pages.began.wait()

    description = await handle.describe()
    assert description.status is WorkflowExecutionStatus.COMPLETED, "the host that stopped has heard its own slice"
    assert (await handle.result()).end is SliceEnd.DRAINING
    events = [event.WhichOneof("attributes") async for event in handle.fetch_history_events()]
    assert events.count("activity_task_started_event_attributes") == 1
    assert "activity_task_timed_out_event_attributes" not in events


async def test_what_is_in_hand_is_known_while_it_runs_and_not_after(temporal_address: str, namespace: str):
    in_hand, pages = InHand(), DutifulPages()
    client = await Client.connect(temporal_address, namespace=namespace, plugins=[lull_plugin(in_hand)])
    async with hosted(client, pages):
        await client.start_workflow(OneSlice.run, TASK, id="lull/vat", task_queue=queues.CONTROL)
        await pages.began.wait()
        assert [str(task) for task in in_hand.tasks] == ["vat partition 7"]
    assert in_hand.tasks == []


async def test_a_plan_replays_in_the_same_sandbox(client: Client):
    async with hosted(client):
        handle = await client.start_workflow(
            PlanWorkflow.run, PlanRequest(spec=SPEC), id=f"plan-{uuid.uuid4()}", task_queue=queues.CONTROL
        )
        await handle.result()
    history = WorkflowHistory.from_json(handle.id, (await handle.fetch_history()).to_json())

    await Replayer(workflows=[PlanWorkflow], plugins=[lull_plugin()]).replay_workflow(history)

"""
A real Temporal server and real workers around the real workflow; behind the ports, a world that the test directs.

The stub world stands where the adapters stand. It stands for no database: it lets a test decide what
each slice returns and when, which a real one would not.
"""

import asyncio
import contextlib
import json
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from temporalio import activity
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError
from temporalio.worker import Worker
from typing_extensions import override

from lull.domain.errors import LullError
from lull.domain.guarantee import Guarantee, Promise
from lull.domain.kinds import parse_spec
from lull.domain.ledger import sum_counts
from lull.domain.lifecycle import ENDED, Status
from lull.domain.ports import LedgerPort, PagesPort, PlanningPort
from lull.domain.queues import CONTROL, PAGES, workflow_id
from lull.domain.slice import (
    CloseRequest,
    Counts,
    Directive,
    DoctorReport,
    DoctorRequest,
    DrainProof,
    JobRef,
    Opened,
    OpenRequest,
    Outcome,
    PartitionSnapshot,
    Plan,
    PlanRequest,
    PublishRequest,
    SliceEnd,
    SliceReport,
    SliceTask,
    Verb,
)
from lull.domain.state import JobState, Progress
from lull.workflows.doctor import DoctorWorkflow
from lull.workflows.job import JobWorkflow
from lull.workflows.plan import PlanWorkflow

WAIT_SECONDS_MAX = 20.0
"""A test that waits longer than this for an event has failed."""
RECORD = "LULL_RECORD_HISTORIES"
"""Set it, run these tests, and tests/replay/histories/ holds what the workflow does now."""
HISTORIES = Path(__file__).parents[2] / "replay" / "histories"
DOCUMENTS = 1_000
"""Of one partition."""


def raised(error: LullError) -> Exception:
    """What an adapter makes of an error of ours."""
    return ApplicationError(str(error), type=error.type_name)


@dataclass
class World(PlanningPort, LedgerPort, PagesPort):
    """A ledger in memory and slices that do as the test says."""

    partitions: int = 4
    obedient: bool = True
    """Slices return when the directive tells them to."""
    slice_end: Callable[[SliceTask], SliceEnd | None] = lambda _task: None
    """What a slice returns at once; None lets it work until it is told something."""
    finished: Outcome | None = None
    refusal: LullError | None = None
    faults: dict[str, LullError] = field(default_factory=dict)
    """Port name -> the error its activity raises."""
    gates: dict[str, asyncio.Event] = field(default_factory=dict)
    """Port name -> what its activity waits for."""
    deaf: bool = False
    """An activity at its gate hears no cancellation."""
    directive: Directive = field(default_factory=Directive)
    published: list[PublishRequest] = field(default_factory=list)
    publishing: int = 0
    publishing_most: int = 0
    fences: int = 0
    closed: list[CloseRequest] = field(default_factory=list)
    opened: list[OpenRequest] = field(default_factory=list)
    tasks: list[SliceTask] = field(default_factory=list)
    live: dict[int, SliceTask] = field(default_factory=dict)
    live_most: int = 0
    counts: dict[int, Counts] = field(default_factory=dict)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def until(self, ready: Callable[[], bool]) -> None:
        """Wait until *ready*, looked at whenever something happens here."""
        async with asyncio.timeout(WAIT_SECONDS_MAX), self.changed:
            await self.changed.wait_for(ready)

    async def let(self, slice_end: Callable[[SliceTask], SliceEnd | None]) -> None:
        """From now on slices return what *slice_end* says."""
        self.slice_end = slice_end
        await self.tell()

    async def _pass(self, port: str) -> None:
        if self.deaf and port in self.gates:
            await asyncio.shield(self.gates[port].wait())
        while port in self.gates and not self.gates[port].is_set():
            activity.heartbeat()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.gates[port].wait(), 0.1)
        if port in self.faults:
            raise raised(self.faults[port])

    @override
    @activity.defn(name="lull.plan")
    async def plan(self, request: PlanRequest) -> Plan:
        await self._pass("plan")
        return self._plan

    @property
    def _plan(self) -> Plan:
        promise = Guarantee(promise=Promise.EXACTLY_ONCE, why="the test says so")
        return Plan(incarnation=1, guarantee=promise, partitions=self.partitions, documents=self.partitions * DOCUMENTS)

    @override
    @activity.defn(name="lull.open")
    async def open(self, request: OpenRequest) -> Opened:
        self.opened.append(request)
        await self.tell()
        await self._pass("open")
        policy = request.spec.on_poison
        self.directive = Directive(
            max_docs_per_second=request.spec.limits.max_docs_per_second,
            poison_max=policy.stop_after if policy.quarantine else 0,
        )
        return Opened(plan=self._plan, finished=self.finished)

    @override
    @activity.defn(name="lull.doctor")
    async def doctor(self, request: DoctorRequest) -> DoctorReport:
        await self._pass("doctor")
        return DoctorReport(checks=())

    @override
    @activity.defn(name="lull.publish")
    async def publish(self, request: PublishRequest) -> None:
        self.publishing += 1
        self.publishing_most = max(self.publishing_most, self.publishing)
        try:
            await self.tell()
            await self._pass("publish")
            if request.directive.epoch > self.directive.epoch:
                self.directive = request.directive
            self.published.append(request)
        finally:
            self.publishing -= 1
        await self.tell()

    @override
    @activity.defn(name="lull.raise_fences")
    async def raise_fences(self, ref: JobRef) -> DrainProof:
        await self._pass("raise_fences")
        self.fences += 1
        await self.tell()
        return DrainProof(raised=self.partitions, done=0, counts=Counts(), at=datetime.now(UTC))

    @override
    @activity.defn(name="lull.close")
    async def close(self, request: CloseRequest) -> Outcome:
        await self._pass("close")
        self.closed.append(request)
        await self.tell()
        return Outcome(
            job=request.job,
            status=request.status,
            message=request.message,
            counts=sum_counts(self.counts.values()),
            active_s=request.active_s,
        )

    @override
    @activity.defn(name="lull.slice")
    async def run_slice(self, task: SliceTask) -> SliceReport:
        self.tasks.append(task)
        self.live[task.partition] = task
        self.live_most = max(self.live_most, len(self.live))
        await self.tell()
        try:
            await self._pass("slice")
            end = await self._end_of(task)
        finally:
            del self.live[task.partition]
            await self.tell()
        return self._report(task, end)

    async def _end_of(self, task: SliceTask) -> SliceEnd:
        async with self.changed:
            while True:
                if (end := self.slice_end(task)) is not None:
                    return end
                if self.obedient and self.directive.epoch >= task.epoch:
                    if self.directive.verb is Verb.PAUSE:
                        return SliceEnd.PAUSED
                    if self.directive.verb is Verb.RETIRE:
                        return SliceEnd.RETIRING
                try:
                    await asyncio.wait_for(self.changed.wait(), 1.0)
                except TimeoutError:
                    activity.heartbeat()

    def _report(self, task: SliceTask, end: SliceEnd) -> SliceReport:
        before = self.counts.get(task.partition, Counts())
        done = end is SliceEnd.DONE
        scanned = DOCUMENTS if done else min(before.scanned + 10, DOCUMENTS)
        poison = before.quarantined + (5 if end is SliceEnd.POISON else 0)
        counts = Counts(
            scanned=scanned, seen=scanned, changed=scanned - poison, quarantined=poison, pages=before.pages + 1
        )
        self.counts[task.partition] = counts
        return SliceReport(
            end=end,
            snapshot=PartitionSnapshot(partition=task.partition, counts=counts, done=done),
            active_s=0.5,
            waited_s={"read-p99 41 ms >= 12 ms": 20.0} if end is SliceEnd.WAITING else {},
            resume_after_s=600.0 if end is SliceEnd.WAITING else 0.0,
        )

    @property
    def control_activities(self) -> list[Callable[..., Any]]:
        return [self.plan, self.open, self.doctor, self.publish, self.raise_fences, self.close]


@dataclass
class Job:
    """A started job and its world."""

    client: Client
    world: World
    handle: WorkflowHandle[Any, Outcome]

    async def progress(self) -> Progress:
        return await self.handle.query(JobWorkflow.progress)

    async def until(self, ready: Callable[[Progress], bool]) -> Progress:
        """Return the first progress that is *ready*; a query is the only way to look."""
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            while not ready(seen := await self.progress()):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        return seen

    async def until_status(self, status: Status) -> Progress:
        return await self.until(lambda seen: seen.status is status)

    async def result(self) -> Outcome:
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            return await self.handle.result()

    async def failure(self) -> BaseException:
        """Return what the workflow ended with, as Temporal tells it."""
        with pytest.raises(WorkflowFailureError) as caught:
            await self.result()
        return caught.value.cause

    async def memo(self) -> dict[str, Any]:
        """Return the outcome that ``describe`` shows without a worker."""
        description = await self.handle.describe()
        outcome: dict[str, Any] = (await description.memo())["outcome"]
        return outcome

    async def labels(self) -> dict[str, str]:
        """Return the search attributes."""
        description = await self.handle.describe()
        pairs = description.typed_search_attributes
        return {pair.key.name: pair.value for pair in pairs if pair.key.name.startswith("Lull")}

    async def details(self) -> str:
        """Return the Markdown that the Web UI shows."""
        return (await self._metadata()).current_details

    async def forms(self) -> dict[str, str]:
        """Return the signals that the Web UI offers, with what it says about them."""
        definition = (await self._metadata()).definition
        return {signal.name: signal.description for signal in definition.signal_definitions}

    async def _metadata(self) -> WorkflowMetadata:
        return await self.handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)


Start = Callable[..., Awaitable[Job]]


@pytest.fixture(scope="session")
async def temporal_client(temporal_address: str) -> Client:
    """A client that speaks pydantic, as lull's own does."""
    return await Client.connect(temporal_address, data_converter=pydantic_data_converter, identity="test")


@pytest.fixture
def world() -> World:
    """A world of four partitions whose slices work until they are told something."""
    return World()


@pytest.fixture
def make_spec() -> Callable[..., Any]:
    """Return an update spec with these fields on top."""
    return spec_of


@pytest.fixture
def control_up(temporal_client: Client, world: World) -> Callable[[], Worker]:
    """A worker for workflows and control activities, to be entered when the test wants it."""
    return lambda: control_worker(temporal_client, world)


@pytest.fixture
def gate(world: World) -> Callable[[str], asyncio.Event]:
    """Hold the activities of a port until the event is set."""
    return lambda port: world.gates.setdefault(port, asyncio.Event())


@pytest.fixture
async def start(request: pytest.FixtureRequest, temporal_client: Client, world: World) -> AsyncIterator[Start]:
    """Start a job in *world*; it and its workers are gone after the test."""
    async with AsyncExitStack() as stack:
        stack.push_async_callback(_release, world)

        async def begin(
            *,
            cached: int = 1000,
            control: bool = True,
            pages: bool = True,
            client: Client = temporal_client,
            **spec: Any,
        ) -> Job:
            if control:
                await stack.enter_async_context(control_worker(client, world, cached=cached))
            if pages:
                await stack.enter_async_context(pages_worker(client, world))
            state = JobState(spec=spec_of(**spec), who="ann")
            handle = await client.start_workflow(
                JobWorkflow.run, state, id=workflow_id(state.spec.job), task_queue=CONTROL
            )
            job = Job(client, world, handle)
            stack.push_async_callback(_end, job)
            if os.environ.get(RECORD) and "[" not in request.node.name:
                stack.push_async_callback(_record, job, request.node.name)
            return job

        yield begin


def spec_of(**fields: Any) -> Any:
    """Return an update spec with these fields on top."""
    return parse_spec(
        {
            "job": f"test-{uuid4().hex[:12]}",
            "kind": "update",
            "source": {"database": "shop", "collection": "orders"},
            "update": {"$set": {"checked": True}},
        }
        | fields
    )


def control_worker(client: Client, world: World, *, cached: int = 1000) -> Worker:
    return Worker(
        client,
        task_queue=CONTROL,
        workflows=[JobWorkflow, PlanWorkflow, DoctorWorkflow],
        activities=world.control_activities,
        max_cached_workflows=cached,
        max_heartbeat_throttle_interval=timedelta(seconds=0.2),
    )


def pages_worker(client: Client, world: World) -> Worker:
    return Worker(
        client,
        task_queue=PAGES,
        activities=[world.run_slice],
        max_heartbeat_throttle_interval=timedelta(seconds=0.2),
    )


async def _release(world: World) -> None:
    for gate in world.gates.values():
        gate.set()
    await world.let(lambda _task: SliceEnd.SLICE_OVER)


async def _record(job: Job, test: str) -> None:
    """Keep the history for the replay tests."""
    history = await job.handle.fetch_history()
    name = re.sub(r"[^a-z0-9]+", "-", test.removeprefix("test_")).strip("-")
    (HISTORIES / f"{name}.json").write_text(json.dumps(json.loads(history.to_json()), separators=(",", ":")) + "\n")


async def _end(job: Job) -> None:
    try:
        await job.handle.terminate("the test is over")
    except RPCError:
        assert (await job.progress()).status in ENDED
    await _release(job.world)

"""
The typed client: everything an operator can ask of jobs, for programs.

    client = await Client.connect()
    started = await client.start(spec)
    outcome = await client.wait(started.job)

Every method raises OperatorError (change the request), NotFound, Unreachable (a service or every
worker is away), or WorldError; each with a sentence for people.
"""

import asyncio
import difflib
import getpass
import json
import socket
import uuid
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Self, TypeVar
from urllib.parse import quote

import temporalio.api.enums.v1 as enums
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client as TemporalClient
from temporalio.client import (
    RPCTimeoutOrCancelledError,
    WorkflowExecution,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
)
from temporalio.common import (
    Priority,
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.exceptions import ApplicationError, CancelledError, TerminatedError
from temporalio.exceptions import TimeoutError as TemporalTimeoutError
from temporalio.service import RPCError, RPCStatusCode

from lull.domain import job as jobs
from lull.domain import queues, signals
from lull.domain.duration import format_duration
from lull.domain.errors import OperatorError
from lull.domain.job import JobSpec
from lull.domain.lifecycle import ENDED, Status
from lull.domain.slice import DoctorReport, DoctorRequest, Outcome, PartitionSnapshot, Plan, PlanRequest
from lull.domain.state import Answer, JobState, Progress
from lull.starter import live
from lull.starter.errors import NotFound, Unreachable, WorldError
from lull.starter.settings import Connection, load_connection
from lull.starter.views import JobStatus, Request, Row, Slice, SliceState, Started, Told

CONNECT_SECONDS_MAX = 4.0
"""With an interpreter's start, a command says within five seconds that nobody answers."""
RPC_TIMEOUT = timedelta(seconds=10)
QUERY_TIMEOUT = timedelta(seconds=5)
"""A query takes a worker milliseconds; a worker that was listed a minute ago may be gone."""
ANSWER_SECONDS_MAX = 60.0
"""How long a plan, an examination or an order's effect is waited for."""
POLLER_FRESH_SECONDS = 75.0
"""A worker's poll lasts a minute: one not seen for longer polls no more."""
TASK_TIMEOUT = timedelta(seconds=5)
"""A worker that died with a workflow task in hand delays a signal's effect by this much at most."""
BACKSTOP_SLACK = timedelta(days=30)
"""What the server's own timeout leaves beyond twice the deadline: a job always ends by its own timer first."""
TEXT_BYTES_MAX = 300
LISTED_MAX = 200

_WORKFLOW = "lull.job"
_MEMO_DIGEST = "digest"
_MEMO_OUTCOME = "outcome"
_SLICE = "lull.slice"
_PRIORITY_KEYS = {jobs.Priority.CRITICAL: 1, jobs.Priority.NORMAL: 3}
_GONE = {WorkflowExecutionStatus.TERMINATED: "terminated", WorkflowExecutionStatus.TIMED_OUT: "timed out"}

AnyT = TypeVar("AnyT")


def claim() -> str:
    """Return ``user@host``: who this process says it works for. A claim, not an authentication."""
    with suppress(OSError, KeyError):
        return f"{getpass.getuser()}@{socket.gethostname()}"
    return socket.gethostname()


class Client:
    """Jobs, asked for and looked at through Temporal alone; no database credentials."""

    def __init__(self, temporal: TemporalClient, *, connection: Connection | None = None, who: str = "") -> None:
        config = temporal.config()
        # Jobs are written by this converter; an application's own client may have another.
        config["data_converter"] = pydantic_data_converter
        self._temporal = TemporalClient(**config)
        self._connection = connection or Connection(temporal.service_client.config.target_host, temporal.namespace)
        self._who = who or claim()

    @classmethod
    async def connect(cls, connection: Connection | None = None, *, who: str = "") -> Self:
        """
        Return a client that has reached Temporal, as settings and environment say where.

        Raises OperatorError for settings that cannot be read, Unreachable within five seconds.
        """
        connection = connection or load_connection()
        try:
            temporal = await TemporalClient.connect(
                connection.address,
                namespace=connection.namespace,
                data_converter=pydantic_data_converter,
                connect_timeout=timedelta(seconds=CONNECT_SECONDS_MAX),
                **connection.options,
            )
        except (RuntimeError, ValueError, RPCError, OSError) as error:
            raise Unreachable(_no_temporal(connection, str(error))) from None
        return cls(temporal, connection=connection, who=who)

    # --- asking for jobs ------------------------------------------------------------------------

    async def plan(self, spec: JobSpec) -> Plan:
        """Return what *spec* would do; nothing is written. Needs a worker."""
        return await self._ask_worker("lull.plan", PlanRequest(spec=spec), Plan, f"plan/{spec.job}")

    async def start(self, spec: JobSpec, *, again: bool = False, who: str = "", why: str = "") -> Started:
        """
        Return the job, started by this call or by the same request before.

        Raises OperatorError with the differences when the job runs with another spec.
        *again* lets a job that has ended run once more.
        """
        handle = await self._start(spec, again=again, who=who or self._who, why=why)
        run_id = handle.first_execution_run_id
        if run_id is not None:
            return self._started(spec, Request.STARTED, run_id, await self._worker_note())
        description = await self._describe(spec.job)
        await self._refuse_other_spec(spec, description)
        note = "it is running already: --again is for jobs that have ended" if again else ""
        return self._started(spec, Request.ATTACHED, description.run_id, note or await self._worker_note())

    async def settle(self, started: Started, seconds: float) -> Started:
        """
        Return *started* with how far the job has come: planned, or refused, if *seconds* are enough for that.

        Without a worker there is nothing to wait for.
        """
        loop = asyncio.get_running_loop()
        until, seen = loop.time() + seconds, await self.status(started.job)
        while seen.is_live and seen.progress.status is Status.PLANNING and loop.time() < until:
            await asyncio.sleep(0.1)
            seen = await self.status(started.job)
        return started.model_copy(update={"progress": seen.progress if seen.is_live or seen.has_ended else None})

    async def _start(self, spec: JobSpec, *, again: bool, who: str, why: str) -> WorkflowHandle[Any, Outcome]:
        async with self._speaking(spec.job):
            return await self._temporal.start_workflow(
                _WORKFLOW,
                JobState(spec=spec, again=again, who=who, why=why),
                id=queues.workflow_id(spec.job),
                task_queue=queues.CONTROL,
                result_type=Outcome,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,  # the ledger knows what was done, for longer
                execution_timeout=_backstop(spec),
                task_timeout=TASK_TIMEOUT,
                memo={_MEMO_DIGEST: spec.digest},
                search_attributes=_search_attributes(spec),
                static_summary=_shortened(f"{spec.effect}: {spec.source.namespace} on {spec.source.cluster}"),
                static_details=_static_details(spec, who, why),
                priority=Priority(priority_key=_PRIORITY_KEYS[spec.priority]),
                rpc_timeout=RPC_TIMEOUT,
            )

    def _started(self, spec: JobSpec, request: Request, run_id: str, note: str) -> Started:
        return Started(
            job=spec.job,
            request=request,
            workflow_id=queues.workflow_id(spec.job),
            run_id=run_id,
            digest=spec.digest,
            link=self.link(spec.job),
            note=note,
        )

    async def _refuse_other_spec(self, spec: JobSpec, running: WorkflowExecutionDescription) -> None:
        if await running.memo_value(_MEMO_DIGEST, default="", type_hint=str) == spec.digest:
            return
        before = (await self._state_at_start(spec.job)).spec
        differences = jobs.diff(before.canonical(), spec.canonical())
        if not differences:
            return  # Written by another version of lull, with other defaults.
        lines = "\n".join(f"  {line}" for line in differences)
        raise OperatorError(
            f"job {spec.job} is running with another spec (running -> asked for):\n{lines}\n"
            f"choose another job id, or cancel it (lull cancel {spec.job}) and start this one with --again; "
            "a running job's pace is changed with lull throttle"
        )

    async def _state_at_start(self, job: str) -> JobState:
        """Return the state the current run began with: from history, for which no worker is needed."""
        async with self._speaking(job):
            events = self._handle(job).fetch_history_events(page_size=1, rpc_timeout=RPC_TIMEOUT)
            event = await anext(events)
            payloads = event.workflow_execution_started_event_attributes.input.payloads
            (state,) = await self._temporal.data_converter.decode(payloads, [JobState])
        assert isinstance(state, JobState)
        return state

    # --- looking at jobs ------------------------------------------------------------------------

    async def progress(self, job: str) -> Progress:
        """Return how far the job is, live between the reports of its slices. See :meth:`status`."""
        return (await self.status(job)).progress

    async def status(self, job: str) -> JobStatus:
        """Return the newest that is known of the job; without a worker, what Temporal itself keeps."""
        description, polled = await asyncio.gather(self._describe(job), self._is_polled(queues.CONTROL))
        answer, why = (None, _no_worker()) if not polled else await self._ask_progress(job, description)
        outcome = await _outcome_in_memo(description)
        if answer is None:
            return self._kept(job, description, outcome, why)
        if answer.outcome is None and outcome is not None:
            answer = answer.model_copy(update={"outcome": outcome})
        slices = await self._slices(description)
        remarks = (*live.remarks(slices), *await self._about_queue(slices), *_about_tasks(description))
        return JobStatus(
            progress=_if_gone(live.merge(answer, slices), description),
            slices=slices,
            remarks=remarks,
            link=self.link(job),
        )

    async def explain(self, job: str) -> list[str]:
        """Return why the job is not running faster, the most telling sentence first. Needs a worker."""
        status, sentences = await asyncio.gather(self.status(job), self._query(job, "explain", list[str]))
        return [*status.remarks, *sentences]

    async def spec(self, job: str) -> dict[str, Any]:
        """Return the canonical spec the job was started with."""
        await self._describe(job)
        return (await self._state_at_start(job)).spec.canonical()

    async def result(self, job: str) -> Outcome:
        """Return how the job ended. Raises WorldError while it runs."""
        description = await self._describe(job)
        if description.status is WorkflowExecutionStatus.RUNNING:
            raise WorldError(f"job {job} has not ended; follow it with lull watch {job}")
        return await self._outcome(job, description)

    async def wait(self, job: str) -> Outcome:
        """Return how the job ended, once it has, however long that takes."""
        handle = self._handle(job)
        async with self._speaking(job):
            with suppress(WorkflowFailureError):
                await handle.result()
        return await self._outcome(job, await self._describe(job))

    async def list(
        self,
        *,
        states: Sequence[str] = (),
        kind: str = "",
        cluster: str = "",
        namespace: str = "",
        limit: int = 50,
    ) -> list[Row]:
        """Return the newest run of each job that Temporal still knows, running ones first."""
        query = _visibility_query(states=states, kind=kind, cluster=cluster, namespace=namespace)
        rows: dict[str, Row] = {}
        async with self._speaking():
            async for execution in self._temporal.list_workflows(query, page_size=100, rpc_timeout=RPC_TIMEOUT):
                row = self._row(execution)
                rows.setdefault(row.job, row)
                if len(rows) >= limit:
                    break
        return sorted(rows.values(), key=lambda row: (row.ended_at is not None, -_epoch(row.started_at)))

    def link(self, job: str) -> str:
        """Return where the Web UI shows the job; empty without a configured address."""
        base = self._connection.ui_url
        place = f"{quote(self._temporal.namespace, safe='')}/workflows/{quote(queues.workflow_id(job), safe='')}"
        return f"{base}/namespaces/{place}" if base else ""

    # --- telling jobs ---------------------------------------------------------------------------

    async def pause(self, job: str, reason: str = "", *, who: str = "") -> Told:
        """The job is told to stop at its next page boundary; recorded even while no worker is up."""
        return await self._signal(job, "pause", {"reason": reason, "who": who or self._who})

    async def pause_and_wait(self, job: str, reason: str = "", *, who: str = "") -> Answer:
        """Return when nothing of the job can commit, with the proof. Needs a worker."""
        return await self._update(job, "pause_and_wait", {"reason": reason, "who": who or self._who})

    async def resume(self, job: str, *, who: str = "") -> Told:
        """The job is told to go on."""
        return await self._signal(job, "resume", {"who": who or self._who})

    async def resume_and_wait(self, job: str, *, who: str = "") -> Answer:
        """Return when the job's slices may run again. Needs a worker."""
        return await self._update(job, "resume_and_wait", {"who": who or self._who})

    async def throttle(
        self,
        job: str,
        max_docs_per_second: float | None,
        *,
        lasting: timedelta | None = None,
        who: str = "",
        why: str = "",
    ) -> Told:
        """The whole job is told this limit, or with None that there is none but its spec's."""
        order = _throttle(max_docs_per_second, lasting, who or self._who, why)
        return await self._signal(job, "throttle", order)

    async def throttle_and_wait(
        self,
        job: str,
        max_docs_per_second: float | None,
        *,
        lasting: timedelta | None = None,
        who: str = "",
        why: str = "",
    ) -> Answer:
        """Return when every slice will see the limit before its next page. Needs a worker."""
        order = _throttle(max_docs_per_second, lasting, who or self._who, why)
        return await self._update(job, "throttle_and_wait", order)

    async def extend_deadline(self, job: str, by: timedelta, *, who: str = "") -> Told:
        """The job's deadline is moved, counted from where it stands."""
        return await self._signal(job, "extend_deadline", {"by": format_duration(by), "who": who or self._who})

    async def cancel(self, job: str, why: str = "", *, who: str = "") -> Told:
        """The job is told to stop for good at its next page boundary, and to clean up."""
        await self._must_run(job, "cancel")
        reason = f"{why} ({who or self._who})" if why else f"by {who or self._who}"
        async with self._speaking(job):
            await self._handle(job).cancel(reason=reason, rpc_timeout=RPC_TIMEOUT)
        return Told(job=job, order="cancel", note=await self._worker_note())

    async def cancel_and_wait(self, job: str, why: str = "", *, who: str = "") -> Outcome:
        """Return how the job ended after it was told to stop. Needs a worker."""
        await self._need_worker()
        await self.cancel(job, why, who=who)
        return await _within(ANSWER_SECONDS_MAX, self.wait(job), f"job {job} was told to cancel and has not ended yet")

    # --- examining ------------------------------------------------------------------------------

    async def doctor(self, cluster: str = "") -> DoctorReport:
        """Return what a worker finds when it examines its clusters. Needs a worker."""
        return await self._ask_worker("lull.doctor", DoctorRequest(cluster=cluster), DoctorReport, "doctor")

    # --- inside ---------------------------------------------------------------------------------

    def _handle(self, job: str) -> WorkflowHandle[Any, Outcome]:
        return self._temporal.get_workflow_handle(queues.workflow_id(job), result_type=Outcome)

    async def _describe(self, job: str) -> WorkflowExecutionDescription:
        try:
            async with self._speaking(job):
                return await self._handle(job).describe(rpc_timeout=RPC_TIMEOUT)
        except NotFound as error:
            near = await self._near(job)
            raise NotFound(f"{error}; did you mean {near}?" if near else str(error)) from None

    async def _near(self, job: str) -> str:
        known: list[str] = []
        with suppress(Unreachable, OperatorError, WorldError):
            known = [row.job for row in await self.list(limit=LISTED_MAX)]
        return " or ".join(difflib.get_close_matches(job, known, n=2))

    async def _must_run(self, job: str, order: str) -> None:
        description = await self._describe(job)
        if description.status is not WorkflowExecutionStatus.RUNNING:
            outcome = await self._outcome(job, description)
            raise OperatorError(f"cannot {order} job {job}: it has ended ({outcome.status}); see lull result {job}")

    async def _signal(self, job: str, name: str, order: dict[str, Any]) -> Told:
        await self._must_run(job, name.replace("_deadline", ""))
        async with self._speaking(job):
            await self._handle(job).signal(name, order, rpc_timeout=RPC_TIMEOUT)
        return Told(job=job, order=name, note=await self._worker_note())

    async def _update(self, job: str, name: str, order: dict[str, Any]) -> Answer:
        await self._must_run(job, name.removesuffix("_and_wait"))
        await self._need_worker()
        update: Awaitable[Answer] = self._handle(job).execute_update(
            name, order, id=uuid.uuid4().hex, result_type=Answer
        )
        async with self._speaking(job):
            try:
                late = f"job {job} was told, and has not confirmed it; it may still happen: lull status {job}"
                return await _within(ANSWER_SECONDS_MAX, update, late)
            except WorkflowUpdateFailedError as error:
                raise _plainly(error.cause) from None

    async def _query(self, job: str, name: str, answer: type[AnyT]) -> AnyT:
        await self._need_worker()
        async with self._speaking(job):
            try:
                found: AnyT = await self._handle(job).query(name, result_type=answer, rpc_timeout=QUERY_TIMEOUT)
            except (WorkflowQueryFailedError, RPCError, RPCTimeoutOrCancelledError) as error:
                raise _no_answer(error) from None
        return found

    async def _ask_progress(self, job: str, description: WorkflowExecutionDescription) -> tuple[Progress | None, str]:
        """Return the workflow's own answer, or None and why there is none."""
        handle = self._temporal.get_workflow_handle(queues.workflow_id(job), run_id=description.run_id)
        try:
            return await handle.query("progress", result_type=Progress, rpc_timeout=QUERY_TIMEOUT), ""
        except (WorkflowQueryFailedError, RPCError, RPCTimeoutOrCancelledError) as error:
            return None, str(_no_answer(error))

    async def _ask_worker(self, workflow: str, request: Any, answer: type[AnyT], name: str) -> AnyT:
        """Return the answer of a short workflow that only reads."""
        await self._need_worker()
        async with self._speaking():
            handle: WorkflowHandle[Any, AnyT] = await self._temporal.start_workflow(
                workflow,
                request,
                id=f"lull-{name}/{uuid.uuid4().hex[:8]}",
                task_queue=queues.CONTROL,
                result_type=answer,
                execution_timeout=timedelta(seconds=ANSWER_SECONDS_MAX),
                rpc_timeout=RPC_TIMEOUT,
            )
            try:
                late = f"no worker answered within {ANSWER_SECONDS_MAX:.0f} s; look at it with lull doctor"
                return await _within(ANSWER_SECONDS_MAX + 1, handle.result(), late)
            except WorkflowFailureError as error:
                raise _plainly(error.cause) from None

    async def _need_worker(self) -> None:
        if not await self._is_polled(queues.CONTROL):
            raise Unreachable(_no_worker())

    async def _worker_note(self) -> str:
        return "" if await self._is_polled(queues.CONTROL) else f"{_no_worker()}; until then nothing happens"

    async def _is_polled(self, queue: str, *, by_activities: bool = False) -> bool:
        """Return whether a worker has polled the queue within the last minute or so."""
        kind = enums.TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW
        if by_activities:
            kind = enums.TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY
        request = DescribeTaskQueueRequest(
            namespace=self._temporal.namespace, task_queue=TaskQueue(name=queue), task_queue_type=kind
        )
        async with self._speaking():
            answer = await self._temporal.workflow_service.describe_task_queue(request, timeout=RPC_TIMEOUT)
        oldest = datetime.now(UTC) - timedelta(seconds=POLLER_FRESH_SECONDS)
        return any(p.last_access_time.ToDatetime(tzinfo=UTC) >= oldest for p in answer.pollers)

    async def _about_queue(self, slices: Sequence[Slice]) -> tuple[str, ...]:
        if not any(s.state is SliceState.QUEUED for s in slices):
            return ()
        for queue in (queues.PAGES, queues.PAGES_CRITICAL):
            if not await self._is_polled(queue, by_activities=True):
                return (f"slices wait for a worker: none polls the queue {queue!r}; start one with lull worker",)
        return ("slices wait for a free slot: every worker is busy",)

    async def _slices(self, description: WorkflowExecutionDescription) -> tuple[Slice, ...]:
        pending = description.raw_description.pending_activities
        return tuple([await self._slice(one) for one in pending if one.activity_type.name == _SLICE])

    async def _slice(self, pending: PendingActivityInfo) -> Slice:
        snapshot: PartitionSnapshot | None = None
        if pending.HasField("heartbeat_details"):
            # Whatever a worker of another version writes there, the status is shown without it.
            with suppress(Exception):
                (snapshot,) = await self._temporal.data_converter.decode(
                    pending.heartbeat_details.payloads, [PartitionSnapshot]
                )
        is_fresh = snapshot is not None and pending.state != enums.PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED
        moment = pending.last_started_time if pending.HasField("last_started_time") else pending.scheduled_time
        return Slice(
            state=_slice_state(pending),
            partition=snapshot.partition if snapshot else None,
            counts=snapshot.counts if snapshot else None,
            waiting_for=snapshot.waiting_for if snapshot and is_fresh else "",
            attempt=pending.attempt,
            failure=pending.last_failure.message if pending.HasField("last_failure") else "",
            worker=pending.last_worker_identity,
            since=moment.ToDatetime(tzinfo=UTC),
        )

    def _kept(
        self, job: str, description: WorkflowExecutionDescription, outcome: Outcome | None, why: str
    ) -> JobStatus:
        """Return what Temporal keeps of a job: labels, memo, its own status; no counts while it runs."""
        labels = {attribute: _label(description, attribute) for attribute in signals.SEARCH_ATTRIBUTES}
        status = outcome.status if outcome else _status(labels[signals.STATE])
        progress = Progress(
            job=job,
            kind=labels[signals.KIND],
            cluster=labels[signals.CLUSTER],
            namespace=labels[signals.NAMESPACE],
            status=status,
            reason=outcome.message if outcome else labels[signals.REASON],
            started_at=description.start_time,
            as_of=datetime.now(UTC),
            outcome=outcome,
        )
        if outcome is not None:
            progress = progress.model_copy(update=_told_by(outcome))
        progress = _if_gone(progress, description)
        return JobStatus(
            progress=progress,
            is_live=False,
            remarks=() if progress.status in ENDED else (why,),
            link=self.link(job),
        )

    async def _outcome(self, job: str, description: WorkflowExecutionDescription) -> Outcome:
        """Return how an ended job ended, from what Temporal keeps."""
        kept = await _outcome_in_memo(description)
        if kept is not None:
            return kept
        async with self._speaking(job):
            try:
                return await self._handle(job).result(rpc_timeout=RPC_TIMEOUT)
            except WorkflowFailureError as error:
                return _failed(job, error, description)

    def _row(self, execution: WorkflowExecution) -> Row:
        job = execution.id.removeprefix(queues.workflow_id(""))
        return Row(
            job=job,
            status=_GONE.get(execution.status or WorkflowExecutionStatus.RUNNING, _label(execution, signals.STATE)),
            kind=_label(execution, signals.KIND),
            cluster=_label(execution, signals.CLUSTER),
            namespace=_label(execution, signals.NAMESPACE),
            reason=_label(execution, signals.REASON),
            started_at=execution.start_time,
            ended_at=execution.close_time,
            link=self.link(job),
        )

    @asynccontextmanager
    async def _speaking(self, job: str = "") -> AsyncIterator[None]:
        """Whatever Temporal refuses inside becomes a sentence with a remedy."""
        try:
            yield
        except RPCError as error:
            raise self._translated(error, job) from None
        except RPCTimeoutOrCancelledError:
            raise Unreachable(_no_temporal(self._connection, "it took too long to answer")) from None

    def _translated(self, error: RPCError, job: str) -> Exception:
        said, origin = error.message, self._connection.origin
        match error.status:
            case RPCStatusCode.NOT_FOUND if "amespace" in said and self._temporal.namespace in said:
                return OperatorError(
                    f"Temporal at {self._connection.address} has no namespace {self._temporal.namespace!r} "
                    f"(from {origin.namespace}); correct it, or create it with: "
                    f"temporal operator namespace create {self._temporal.namespace}"
                )
            case RPCStatusCode.NOT_FOUND:
                return NotFound(f"no job {job!r} is known in namespace {self._temporal.namespace!r}; see lull list")
            case RPCStatusCode.UNAVAILABLE | RPCStatusCode.DEADLINE_EXCEEDED | RPCStatusCode.CANCELLED:
                return Unreachable(_no_temporal(self._connection, said))
            case RPCStatusCode.RESOURCE_EXHAUSTED:
                return Unreachable(f"Temporal at {self._connection.address} is overloaded ({said}); try again later")
            case RPCStatusCode.PERMISSION_DENIED | RPCStatusCode.UNAUTHENTICATED:
                return OperatorError(
                    f"Temporal at {self._connection.address} refuses us ({said}); correct TEMPORAL_API_KEY, "
                    "the TEMPORAL_TLS_ variables or Temporal's profile file"
                )
            case RPCStatusCode.INVALID_ARGUMENT if "earch attribute" in said or "earchAttribute" in said:
                names = " ".join(f"--name {a.name}" for a in signals.SEARCH_ATTRIBUTES)
                return OperatorError(
                    f"this Temporal namespace lacks lull's search attributes ({said}); create them with: "
                    f"temporal operator search-attribute create {names} --type Keyword"
                )
            case _:
                return WorldError(f"Temporal refused: {said}; lull doctor examines it")


# --- words and small decisions ------------------------------------------------------------------


def _no_temporal(connection: Connection, seen: str) -> str:
    return (
        f"cannot reach Temporal at {connection.address} (from {connection.origin.address}): {_cause(seen)}; "
        "start everything with lull dev, or correct the address (TEMPORAL_ADDRESS, or address in [temporal] of lull.toml)"
    )


_CAUSES = {
    "refused": "nothing listens there",
    "dns error": "its name is not known",
    "timed out": "nothing answers there",
    "deadline": "nothing answers there",
    "certificate": "its TLS certificate is not accepted",
    "InvalidContentType": "it does not speak TLS as asked",
    "Unimplemented": "what listens there is not Temporal",
    "frame": "it does not speak what Temporal speaks; TLS may be on one side only",
    "BrokenPipe": "the connection broke; TLS may be on one side only",
    "Unauthenticated": "it refuses these credentials",
    "PermissionDenied": "it refuses these credentials",
}


def _cause(seen: str) -> str:
    return next((words for sign, words in _CAUSES.items() if sign.lower() in seen.lower()), seen.splitlines()[0][:200])


def _no_worker() -> str:
    return f"no worker polls the queue {queues.CONTROL!r}; start one with lull worker"


def _no_answer(error: Exception) -> Unreachable:
    if isinstance(error, RPCError) and "no poller" in error.message:
        return Unreachable(_no_worker())
    if isinstance(error, WorkflowQueryFailedError):
        return Unreachable(f"the worker cannot answer for this job ({error}); is it of another version?")
    return Unreachable("the worker does not answer; it may be gone or stuck: look at its log, or start another")


def _plainly(cause: BaseException | None) -> Exception:
    """Return a worker's refusal as the error it was raised as there."""
    if isinstance(cause, ApplicationError):
        if cause.type == OperatorError.type_name:
            return OperatorError(cause.message)
        return WorldError(f"{cause.message}; lull doctor examines what lull needs")
    if isinstance(cause, TemporalTimeoutError):
        return Unreachable("the worker did not answer in time; look at its log, or start another with lull worker")
    return WorldError(f"the worker gave up: {cause}; look at its log")


async def _within(seconds: float, work: Awaitable[AnyT], late: str) -> AnyT:
    try:
        return await asyncio.wait_for(work, seconds)
    except TimeoutError:
        raise Unreachable(late) from None


def _backstop(spec: JobSpec) -> timedelta | None:
    """Return the server's own timeout: for jobs with a deadline only, and well behind it, as it can be extended."""
    return spec.limits.deadline * 2 + BACKSTOP_SLACK if spec.limits.deadline else None


def _search_attributes(spec: JobSpec) -> TypedSearchAttributes:
    values = {
        signals.STATE: Status.PLANNING.value,
        signals.KIND: spec.kind,
        signals.CLUSTER: spec.source.cluster,
        signals.NAMESPACE: spec.source.namespace[:200],
    }
    return TypedSearchAttributes(
        [SearchAttributePair(SearchAttributeKey.for_keyword(a.name), value) for a, value in values.items()]
    )


def _static_details(spec: JobSpec, who: str, why: str) -> str:
    """Return the request as Markdown, for the Web UI; the Web UI keeps 20,000 bytes."""
    text = json.dumps(spec.canonical(), indent=2, ensure_ascii=False)
    asked = f"Asked for by {who}" + (f": {why}" if why else "")
    shown = text if len(text) <= 15_000 else text[:15_000] + "\n… (shortened)"
    return f"{asked}\n\n{spec.undo}\n\n```json\n{shown}\n```"


def _shortened(text: str) -> str:
    encoded = text.encode("utf-8", "replace")
    return text if len(encoded) <= TEXT_BYTES_MAX else encoded[:TEXT_BYTES_MAX].decode("utf-8", "ignore") + "…"


def _throttle(limit: float | None, lasting: timedelta | None, who: str, why: str) -> dict[str, Any]:
    order: dict[str, Any] = {"max_docs_per_second": limit, "who": who, "why": why}
    return order | ({"for": format_duration(lasting)} if lasting else {})


def _label(execution: WorkflowExecution, attribute: signals.SearchAttribute) -> str:
    return execution.typed_search_attributes.get(SearchAttributeKey.for_keyword(attribute.name), "")


def _status(label: str) -> Status:
    with suppress(ValueError):
        return Status(label)
    return Status.PLANNING


async def _outcome_in_memo(description: WorkflowExecutionDescription) -> Outcome | None:
    with suppress(ValueError):
        return await description.memo_value(_MEMO_OUTCOME, default=None, type_hint=Outcome)
    return None


def _told_by(outcome: Outcome) -> dict[str, Any]:
    return {
        "counts": outcome.counts,
        "documents": outcome.counts.scanned,
        "fraction": 1.0 if outcome.status is Status.COMPLETED else 0.0,
        "partitions": outcome.partitions,
        "partitions_done": outcome.partitions_done,
        "started_at": outcome.started_at,
        "active_s": outcome.active_s,
        "waited_s": outcome.waited_s,
    }


def _if_gone(progress: Progress, description: WorkflowExecutionDescription) -> Progress:
    """Return *progress*, as failed if Temporal ended the workflow without letting it say so."""
    how = _GONE.get(description.status or WorkflowExecutionStatus.RUNNING)
    if how is None or progress.outcome is not None:
        return progress
    why = f"its workflow was {how} in Temporal, so nothing was cleaned up; start it --again to go on"
    return progress.model_copy(update={"status": Status.FAILED, "reason": why})


def _failed(job: str, error: WorkflowFailureError, description: WorkflowExecutionDescription) -> Outcome:
    """Return the outcome that a failed workflow carries, or the one its end amounts to."""
    cause = error.cause
    if isinstance(cause, ApplicationError):
        for detail in cause.details:
            with suppress(ValueError):
                return Outcome.model_validate(detail)
    message = cause.message if isinstance(cause, ApplicationError) else str(cause)
    if isinstance(cause, TerminatedError | TemporalTimeoutError):
        message = f"its workflow was {_GONE[description.status or WorkflowExecutionStatus.TERMINATED]} in Temporal"
    return Outcome(
        job=job,
        status=Status.CANCELLED if isinstance(cause, CancelledError) else Status.FAILED,
        message=message,
        started_at=description.start_time,
        ended_at=description.close_time,
    )


def _slice_state(pending: PendingActivityInfo) -> SliceState:
    if pending.paused:
        return SliceState.HELD
    if pending.state != enums.PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED:
        return SliceState.RUNNING
    return SliceState.RETRYING if pending.attempt > 1 else SliceState.QUEUED


def _about_tasks(description: WorkflowExecutionDescription) -> tuple[str, ...]:
    """Return what is wrong with the workflow's own code, which would otherwise be silence."""
    raw = description.raw_description
    if not raw.HasField("pending_workflow_task") or raw.pending_workflow_task.attempt <= 2:
        return ()
    return (
        f"the job's workflow has been tried {raw.pending_workflow_task.attempt} times without success; "
        "look at the worker's log: its version may not fit this job's history",
    )


def _visibility_query(*, states: Sequence[str], kind: str, cluster: str, namespace: str) -> str:
    parts = [f"WorkflowType = '{_WORKFLOW}'", "ExecutionStatus != 'ContinuedAsNew'"]
    if states:
        parts.append(f"{signals.STATE.name} IN ({', '.join(map(_quoted, states))})")
    for attribute, value in ((signals.KIND, kind), (signals.CLUSTER, cluster), (signals.NAMESPACE, namespace)):
        if value:
            parts.append(f"{attribute.name} = {_quoted(value)}")
    return " AND ".join(parts)


def _quoted(value: str) -> str:
    if set(value) & set("'\"\\\x00\n"):
        raise OperatorError(f"{value!r} has a quote or a backslash in it, which no name here has; write the plain name")
    return f"'{value}'"


def _epoch(moment: datetime | None) -> float:
    return moment.timestamp() if moment else 0.0

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
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Self

from temporalio.client import Client as TemporalClient
from temporalio.client import WorkflowExecutionDescription, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.common import (
    Priority,
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError

from lull.domain import job as jobs
from lull.domain import queues, signals
from lull.domain.duration import format_duration
from lull.domain.errors import LullError, OperatorError
from lull.domain.forecast import Forecast, ForecastRequest
from lull.domain.job import JobSpec
from lull.domain.lifecycle import Status
from lull.domain.slice import DoctorReport, DoctorRequest, Outcome, Plan, PlanRequest
from lull.domain.state import Answer, JobState, Progress
from lull.starter import live, pending, reporting
from lull.starter.door import ANSWER_SECONDS_MAX, RPC_TIMEOUT, Door, no_worker, within
from lull.starter.errors import NotFound, Unreachable, WorldError
from lull.starter.governor_client import Governors
from lull.starter.reporting import Reported
from lull.starter.settings import Connection, load_connection
from lull.starter.views import JobStatus, Request, Row, Slice, SliceState, Started, Told

TASK_TIMEOUT = timedelta(seconds=5)
"""A worker that died with a workflow task in hand delays a signal's effect by this much at most."""
BACKSTOP_SLACK = timedelta(days=30)
"""What the server's own timeout leaves beyond twice the deadline: a job always ends by its own timer first."""
BACKSTOP_MARGIN = timedelta(days=1)
"""What is left of that at least, however often a deadline is extended: a cleanup waits for whatever is away."""
SUMMARY_BYTES_MAX = 300
DETAILS_CHARACTERS_MAX = 4_000
"""The Web UI keeps 20,000 bytes of details, and 400 of a summary."""
NEAR_AMONG_MAX = 200
"""Jobs among which a mistyped id is looked for."""
ASKED_MAX = 20
"""Running jobs that ``list`` asks for their progress."""
START_ATTEMPTS_MAX = 3

_WORKFLOW = "lull.job"
_PRIORITY_KEYS = {jobs.Priority.CRITICAL: 1, jobs.Priority.NORMAL: 3}


def claim() -> str:
    """Return ``user@host``: who this process says it works for. A claim, not an authentication."""
    with suppress(OSError, KeyError):
        return f"{getpass.getuser()}@{socket.gethostname()}"
    return socket.gethostname()


class Client:
    """Jobs, asked for and looked at through Temporal alone; no database credentials."""

    def __init__(self, temporal: TemporalClient, *, connection: Connection | None = None, who: str = "") -> None:
        self._door = Door(temporal, connection)
        self._who = who or claim()

    @classmethod
    async def connect(cls, connection: Connection | None = None, *, who: str = "") -> Self:
        """
        Return a client that has reached Temporal, as settings and environment say where.

        Raises OperatorError for settings that cannot be read, Unreachable within five seconds.
        """
        door = await Door.open(connection or load_connection())
        return cls(door.temporal, connection=door.connection, who=who)

    @property
    def door(self) -> Door:
        """The connection itself, for what this client has no method for."""
        return self._door

    @property
    def governors(self) -> Governors:
        """The clusters' governors, asked and told over the same connection."""
        return Governors(self._door, who=self._who)

    # --- asking for jobs ------------------------------------------------------------------------

    async def plan(self, spec: JobSpec) -> Plan:
        """Return what *spec* would do; nothing is written. Needs a worker."""
        return await self._door.ask_worker("lull.plan", PlanRequest(spec=spec), Plan, f"plan/{spec.job}")

    async def forecast(self, spec: JobSpec, plan: Plan, *, probe: bool = False) -> Forecast:
        """
        Return how long *spec* would take as planned, started now, and what the foreground would feel. Needs a worker.

        With *probe* a few of its pages are written in transactions that are aborted: nothing of them stays.
        """
        request = ForecastRequest(spec=spec, plan=plan, probe=probe)
        return await self._door.ask_worker("lull.forecast", request, Forecast, f"forecast/{spec.job}")

    async def start(self, spec: JobSpec, *, again: bool = False, who: str = "", why: str = "") -> Started:
        """
        Return the job, started by this call or by the same request before.

        Raises OperatorError with the differences when the job runs with another spec.
        *again* lets a job that has ended run once more.
        """
        state = JobState(spec=spec, again=again, who=who or self._who, why=why)
        for _ in range(START_ATTEMPTS_MAX):
            run_id = await self._start(state)
            if run_id is not None:
                return self._started(spec, Request.STARTED, run_id, await self._worker_note())
            description = await self._door.describe(spec.job)
            if description.status is WorkflowExecutionStatus.RUNNING:
                return await self._attach(spec, description, again=again)
        raise WorldError(f"job {spec.job} ends and is started again and again by somebody else; look at lull list")

    async def _start(self, state: JobState) -> str | None:
        """Return the id of the run that was started; None if one is running already."""
        spec = state.spec
        async with self._door.speaking(spec.job):
            try:
                handle = await self._door.temporal.start_workflow(
                    _WORKFLOW,
                    state,
                    id=queues.workflow_id(spec.job),
                    task_queue=queues.CONTROL,
                    # Not USE_EXISTING: its answer does not tell whether this request started the job.
                    id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                    # The ledger remembers what was done, for longer than Temporal.
                    id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                    execution_timeout=_backstop(spec),
                    task_timeout=TASK_TIMEOUT,
                    memo={pending.MEMO_DIGEST: spec.digest},
                    search_attributes=_labels(spec),
                    static_summary=_summary(spec),
                    static_details=_details(state),
                    priority=Priority(priority_key=_PRIORITY_KEYS[spec.priority]),
                    rpc_timeout=RPC_TIMEOUT,
                )
            except WorkflowAlreadyStartedError:
                return None
        return handle.result_run_id

    async def _attach(self, spec: JobSpec, running: WorkflowExecutionDescription, *, again: bool) -> Started:
        if await running.memo_value(pending.MEMO_DIGEST, default="", type_hint=str) != spec.digest:
            await self._refuse_other_spec(spec)
        note = "it is running already; --again is for jobs that have ended" if again else await self._worker_note()
        return self._started(spec, Request.ATTACHED, running.run_id, note)

    async def _refuse_other_spec(self, spec: JobSpec) -> None:
        before = (await self._door.state_at_start(spec.job)).spec
        differences = jobs.diff(before.canonical(), spec.canonical())
        if not differences:
            return  # Written by another version of lull, with other defaults.
        lines = "\n".join(f"  {line}" for line in differences)
        raise OperatorError(
            f"job {spec.job} is running with another spec (running -> asked for):\n{lines}\n"
            f"choose another job id, or cancel it (lull cancel {spec.job}) and start this one with --again; "
            "a running job's pace is changed with lull throttle"
        )

    def _started(self, spec: JobSpec, request: Request, run_id: str | None, note: str) -> Started:
        return Started(
            job=spec.job,
            request=request,
            workflow_id=queues.workflow_id(spec.job),
            run_id=run_id or "",
            digest=spec.digest,
            link=self._door.link(spec.job),
            note=note,
        )

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
        progress = seen.progress if seen.is_live or seen.has_ended else None
        changes = {"progress": progress} | ({"request": Request.FINISHED} if _was_finished_before(seen) else {})
        return started.model_copy(update=changes)

    # --- looking at jobs ------------------------------------------------------------------------

    async def progress(self, job: str) -> Progress:
        """Return how far the job is, live between the reports of its slices. See :meth:`status`."""
        return (await self.status(job)).progress

    async def status(self, job: str) -> JobStatus:
        """Return the newest that is known of the job; without a worker, what Temporal itself keeps."""
        description, is_polled = await asyncio.gather(self._describe(job), self._door.is_polled(queues.CONTROL))
        outcome = await pending.outcome_in_memo(description)
        try:
            if not is_polled:
                raise Unreachable(no_worker())  # noqa: TRY301 - as if the question had been asked in vain
            answer = await self._door.query(job, "progress", Progress, description.run_id)
        except Unreachable as error:
            return await self._kept(job, description, outcome, str(error))
        if outcome is not None:
            # Of a request that was completed before, the workflow itself has counted nothing.
            answer = answer.model_copy(update=pending.told_by(outcome))
        slices = await pending.slices(description, self._door.temporal.data_converter)
        return JobStatus(
            progress=pending.if_gone(live.merge(answer, slices), description),
            slices=slices,
            remarks=(*live.remarks(slices), *await self._about_queue(slices), *pending.task_remarks(description)),
            link=self._door.link(job),
            run_started_at=description.start_time,
        )

    async def _kept(
        self, job: str, description: WorkflowExecutionDescription, outcome: Outcome | None, why: str
    ) -> JobStatus:
        seen = JobStatus(
            progress=pending.kept(job, description, outcome),
            is_live=False,
            link=self._door.link(job),
            run_started_at=description.start_time,
        )
        if seen.has_ended:
            return seen
        slices = await pending.slices(description, self._door.temporal.data_converter)
        remarks = (why, *live.remarks(slices), *pending.task_remarks(description))
        return seen.model_copy(update={"slices": slices, "remarks": remarks})

    async def _about_queue(self, slices: Sequence[Slice]) -> tuple[str, ...]:
        if not any(one.state is SliceState.QUEUED for one in slices):
            return ()
        for queue in (queues.PAGES, queues.PAGES_CRITICAL):
            if not await self._door.is_polled(queue, for_activities=True):
                return (f"slices wait for a worker: none polls the queue {queue!r}; start one with lull worker",)
        return ()

    async def explain(self, job: str) -> list[str]:
        """Return why the job is not running faster, the most telling sentence first. Needs a worker."""
        status = await self.status(job)
        await self._door.need_worker()
        return [*status.remarks, *await self._door.query(job, "explain", list[str])]

    async def spec(self, job: str) -> dict[str, Any]:
        """Return the canonical spec the job was started with."""
        await self._describe(job)
        return (await self._door.state_at_start(job)).spec.canonical()

    async def result(self, job: str) -> Outcome:
        """Return how the job ended. Raises WorldError while it runs."""
        description = await self._describe(job)
        if description.status is WorkflowExecutionStatus.RUNNING:
            raise WorldError(f"job {job} has not ended; follow it with lull watch {job}")
        return await self._outcome(job, description)

    async def wait(self, job: str) -> Outcome:
        """Return how the job ended, once it has, however long that takes."""
        await self._describe(job)
        async with self._door.speaking(job):
            with suppress(WorkflowFailureError):
                await self._door.handle(job).result()
        return await self._outcome(job, await self._describe(job))

    async def _outcome(self, job: str, description: WorkflowExecutionDescription) -> Outcome:
        """Return how an ended job ended, from what Temporal keeps."""
        kept = await pending.outcome_in_memo(description)
        if kept is not None:
            return kept
        async with self._door.speaking(job):
            try:
                return await self._door.handle(job).result(rpc_timeout=RPC_TIMEOUT)
            except WorkflowFailureError as error:
                return pending.outcome_of(job, error, description)

    async def list(
        self,
        *,
        states: Sequence[str] = (),
        kind: str = "",
        cluster: str = "",
        namespace: str = "",
        limit: int = 50,
        with_progress: bool = False,
    ) -> Sequence[Row]:
        """
        Return the newest run of each job that Temporal still knows, running ones first.

        *with_progress* asks a worker how far the first twenty running ones are.
        """
        query = _visibility_query(states=states, kind=kind, cluster=cluster, namespace=namespace)
        rows: dict[str, Row] = {}
        async with self._door.speaking():
            async for execution in self._door.temporal.list_workflows(query, page_size=100, rpc_timeout=RPC_TIMEOUT):
                job = pending.job_of(execution)
                rows.setdefault(job, pending.row(execution, self._door.link(job)))
                if len(rows) >= limit:
                    break
        ordered = sorted(rows.values(), key=lambda row: (row.ended_at is not None, -_epoch(row.started_at)))
        return await self._with_fractions(ordered) if with_progress else ordered

    async def _with_fractions(self, rows: Sequence[Row]) -> Sequence[Row]:
        running = [row.job for row in rows if row.ended_at is None][:ASKED_MAX]
        if not running or not await self._door.is_polled(queues.CONTROL):
            return rows
        answers = await asyncio.gather(*map(self._fraction, running))
        fractions = dict(zip(running, answers, strict=True))
        return [row.model_copy(update={"fraction": fractions.get(row.job)}) for row in rows]

    async def _fraction(self, job: str) -> float | None:
        with suppress(LullError):
            return (await self._door.query(job, "progress", Progress)).fraction
        return None

    # --- telling jobs ---------------------------------------------------------------------------

    async def pause(self, job: str, reason: str = "", *, who: str = "") -> Told:
        """The job is told to stop at its next page boundary; recorded even while no worker is up."""
        return await self._tell(job, "pause", {"reason": reason, "who": who or self._who})

    async def pause_and_wait(self, job: str, reason: str = "", *, who: str = "") -> Answer:
        """Return when nothing of the job can commit, with the proof. Needs a worker."""
        return await self._tell_and_wait(job, "pause", {"reason": reason, "who": who or self._who})

    async def resume(self, job: str, *, who: str = "") -> Told:
        """The job is told to go on."""
        return await self._tell(job, "resume", {"who": who or self._who})

    async def resume_and_wait(self, job: str, *, who: str = "") -> Answer:
        """Return when the job's slices may run again. Needs a worker."""
        return await self._tell_and_wait(job, "resume", {"who": who or self._who})

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
        return await self._tell(job, "throttle", _throttle(max_docs_per_second, lasting, who or self._who, why))

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
        return await self._tell_and_wait(job, "throttle", order)

    async def extend_deadline(self, job: str, by: timedelta, *, who: str = "") -> Told:
        """The job's deadline is moved, counted from where it stands. Raises OperatorError if it has none."""
        await self._must_run(job, "extend")
        backstop = _backstop((await self._door.state_at_start(job)).spec)
        if backstop is None:
            raise OperatorError(f"job {job} has no deadline, so there is nothing to extend; it runs until it is done")
        seen = (await self.status(job)).progress
        if (
            seen.deadline_at
            and seen.started_at
            and seen.deadline_at + by > seen.started_at + backstop - BACKSTOP_MARGIN
        ):
            last = seen.started_at + backstop - BACKSTOP_MARGIN
            raise OperatorError(
                f"job {job} can be extended until {last:%Y-%m-%d %H:%M} UTC at most, because the server's own timeout "
                "was set when it started; extend it by less, or start it --again with a later deadline"
            )
        return await self._tell(job, "extend_deadline", {"by": format_duration(by), "who": who or self._who})

    async def cancel(self, job: str, why: str = "", *, who: str = "") -> Told:
        """The job is told to stop for good at its next page boundary, and to clean up."""
        await self._must_run(job, "cancel")
        reason = f"{why} ({who or self._who})" if why else f"by {who or self._who}"
        async with self._door.speaking(job):
            await self._door.handle(job).cancel(reason=reason, rpc_timeout=RPC_TIMEOUT)
        return Told(job=job, order="cancel", note=await self._worker_note())

    async def cancel_and_wait(self, job: str, why: str = "", *, who: str = "") -> Outcome:
        """Return how the job ended after it was told to stop. Needs a worker."""
        await self._must_run(job, "cancel")
        await self._door.need_worker()
        await self.cancel(job, why, who=who)
        return await within(ANSWER_SECONDS_MAX, self.wait(job), f"job {job} was told to cancel and has not ended yet")

    async def _tell(self, job: str, name: str, order: dict[str, Any]) -> Told:
        await self._must_run(job, name.partition("_")[0])
        await self._door.signal(job, name, order)
        return Told(job=job, order=name, note=await self._worker_note())

    async def _tell_and_wait(self, job: str, name: str, order: dict[str, Any]) -> Answer:
        await self._must_run(job, name)
        return await self._door.update(job, f"{name}_and_wait", order, Answer)

    async def _must_run(self, job: str, order: str) -> None:
        description = await self._describe(job)
        if description.status is not WorkflowExecutionStatus.RUNNING:
            outcome = await self._outcome(job, description)
            raise OperatorError(f"cannot {order} job {job}: it has ended ({outcome.status}); see lull result {job}")

    # --- examining ------------------------------------------------------------------------------

    async def doctor(self, cluster: str = "") -> DoctorReport:
        """Return what a worker finds when it examines its clusters. Needs a worker."""
        return await self._door.ask_worker("lull.doctor", DoctorRequest(cluster=cluster), DoctorReport, "doctor")

    async def report(self, job: str, *, last: timedelta | None = None) -> Reported:
        """
        Return what the job did and what the foreground felt meanwhile. Needs a worker.

        *last* leaves out what was longer ago, counted from the job's end. A job that Temporal has
        forgotten is reported on as long as its ledger stands.
        """
        description, unknown = None, NotFound(f"no ledger has job {job!r} yet; it is being planned, or was refused")
        try:
            description = await self._describe(job)
        except NotFound as error:
            unknown = error
        try:
            found = await reporting.gather(self._door, job, description, last)
        except Unreachable:
            if description is None:
                raise unknown from None
            raise
        if found is None:
            raise unknown
        return found

    # --- inside ---------------------------------------------------------------------------------

    async def _describe(self, job: str) -> WorkflowExecutionDescription:
        try:
            return await self._door.describe(job)
        except NotFound as error:
            near = await self._near(job)
            raise NotFound(f"{error}; did you mean {near}?" if near else str(error)) from None

    async def _near(self, job: str) -> str:
        known: list[str] = []
        with suppress(LullError):
            known = [row.job for row in await self.list(limit=NEAR_AMONG_MAX)]
        return " or ".join(difflib.get_close_matches(job, known, n=2))

    async def _worker_note(self) -> str:
        is_polled = await self._door.is_polled(queues.CONTROL)
        return "" if is_polled else f"{no_worker()}; until then nothing happens"


# --- small decisions ----------------------------------------------------------------------------


def _backstop(spec: JobSpec) -> timedelta | None:
    """Return the server's own timeout: for jobs with a deadline only, and well behind it, as it can be extended."""
    return spec.limits.deadline * 2 + BACKSTOP_SLACK if spec.limits.deadline else None


def _labels(spec: JobSpec) -> TypedSearchAttributes:
    values = {
        signals.STATE: Status.PLANNING.value,
        signals.KIND: spec.kind,
        signals.CLUSTER: spec.source.cluster,
        signals.NAMESPACE: spec.source.namespace[:200],
    }
    return TypedSearchAttributes(
        [SearchAttributePair(SearchAttributeKey.for_keyword(a.name), value) for a, value in values.items()]
    )


def _summary(spec: JobSpec) -> str:
    text = f"{spec.effect}: {spec.source.namespace} on {spec.source.cluster}".encode("utf-8", "replace")
    return text[:SUMMARY_BYTES_MAX].decode("utf-8", "ignore")


def _details(state: JobState) -> str:
    """Return the request as Markdown, for the Web UI."""
    text = json.dumps(state.spec.canonical(), indent=2, ensure_ascii=False)
    shown = text if len(text) <= DETAILS_CHARACTERS_MAX else f"{text[:DETAILS_CHARACTERS_MAX]}\n… (shortened)"
    asked = f"Asked for by {state.who}" + (f": {state.why}" if state.why else "")
    return f"{asked}\n\n{state.spec.undo}\n\n```json\n{shown}\n```"


def _was_finished_before(seen: JobStatus) -> bool:
    """Return whether the job's outcome is that of an earlier run, which this request was answered with."""
    outcome, began = seen.progress.outcome, seen.run_started_at
    if outcome is None or outcome.status is not Status.COMPLETED or not outcome.ended_at or not began:
        return False
    return outcome.ended_at < began and not seen.progress.slices


def _throttle(limit: float | None, lasting: timedelta | None, who: str, why: str) -> dict[str, Any]:
    order: dict[str, Any] = {"max_docs_per_second": limit, "who": who, "why": why}
    return order | ({"for": format_duration(lasting)} if lasting else {})


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

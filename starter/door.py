"""
The door to Temporal: every call that crosses it, and what each refusal means to an operator.

Calls raise NotFound, OperatorError, Unreachable or WorldError, each with a sentence and a remedy.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Self, TypeVar
from urllib.parse import quote

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import (
    Client,
    RPCTimeoutOrCancelledError,
    WorkflowExecutionDescription,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
)
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.exceptions import ApplicationError
from temporalio.exceptions import TimeoutError as TemporalTimeoutError
from temporalio.service import RPCError, RPCStatusCode

from lull.domain import queues, signals
from lull.domain.errors import OperatorError
from lull.domain.slice import Outcome
from lull.domain.state import JobState
from lull.starter import tracing
from lull.starter.errors import NotFound, Unreachable, WorldError
from lull.starter.settings import Connection, Origin

CONNECT_SECONDS_MAX = 4.0
"""With an interpreter's start, a command says within five seconds that nobody answers."""
RPC_TIMEOUT = timedelta(seconds=10)
QUERY_TIMEOUT = timedelta(seconds=5)
"""A query takes a worker milliseconds; a worker that was listed a minute ago may be gone."""
ANSWER_SECONDS_MAX = 60.0
"""How long a plan, an examination or an order's effect is waited for."""
POLLER_FRESH_SECONDS = 75.0
"""A worker's poll lasts a minute: one not seen for longer polls no more."""

AnyT = TypeVar("AnyT")


class Door:
    """One connection to one Temporal namespace."""

    def __init__(self, temporal: Client, connection: Connection | None = None) -> None:
        config = temporal.config()
        # Jobs are written by this converter; an application's own client may have another.
        config["data_converter"] = pydantic_data_converter
        self.temporal = Client(**config)
        given = Origin("the given client", "the given client")
        self.connection = connection or Connection(
            temporal.service_client.config.target_host, temporal.namespace, origin=given
        )

    @classmethod
    async def open(cls, connection: Connection) -> Self:
        """Return a door that Temporal has answered at. Raises Unreachable within five seconds."""
        connecting = Client.connect(
            connection.address,
            namespace=connection.namespace,
            data_converter=pydantic_data_converter,
            interceptors=tracing.interceptors(connection.otlp_endpoint),
            **connection.options,
        )
        try:
            # Not the SDK's own connect_timeout: it ends before the first question, which can wait for half a minute.
            return cls(await asyncio.wait_for(connecting, CONNECT_SECONDS_MAX), connection)
        except TimeoutError:
            raise Unreachable(no_temporal(connection, "deadline")) from None
        except (RuntimeError, ValueError, RPCError, OSError) as error:
            raise Unreachable(no_temporal(connection, str(error))) from None

    def handle(self, job: str, run_id: str | None = None) -> WorkflowHandle[Any, Outcome]:
        """Return the handle of a job's workflow, of its newest run unless said."""
        return self.temporal.get_workflow_handle(queues.workflow_id(job), run_id=run_id, result_type=Outcome)

    def link(self, job: str) -> str:
        """Return where the Web UI shows the job; empty without a configured address."""
        return self.link_to(queues.workflow_id(job))

    def link_to(self, workflow_id: str) -> str:
        """Return where the Web UI shows the workflow; empty without a configured address."""
        base = self.connection.ui_url
        place = f"{quote(self.temporal.namespace, safe='')}/workflows/{quote(workflow_id, safe='')}"
        return f"{base}/namespaces/{place}" if base else ""

    async def describe(self, job: str) -> WorkflowExecutionDescription:
        """Return what Temporal knows of the job's newest run. Raises NotFound."""
        async with self.speaking(job):
            return await self.handle(job).describe(rpc_timeout=RPC_TIMEOUT)

    async def state_at_start(self, job: str) -> JobState:
        """Return the state the current run began with: from history, for which no worker is needed."""
        async with self.speaking(job):
            event = await anext(self.handle(job).fetch_history_events(page_size=1, rpc_timeout=RPC_TIMEOUT))
            payloads = event.workflow_execution_started_event_attributes.input.payloads
            (state,) = await self.temporal.data_converter.decode(payloads, [JobState])
        assert isinstance(state, JobState)
        return state

    async def signal(self, job: str, name: str, order: dict[str, Any]) -> None:
        """The order is in the job's history; a worker obeys it when there is one."""
        async with self.speaking(job):
            await self.handle(job).signal(name, order, rpc_timeout=RPC_TIMEOUT)

    async def update(self, job: str, name: str, order: dict[str, Any], answer: type[AnyT]) -> AnyT:
        """Return what the job answers once the order has had its effect."""
        await self.need_worker()
        late = f"job {job} was told, and has not confirmed it; it may still happen: lull status {job}"
        async with self.speaking(job):
            try:
                asked = self.handle(job).execute_update(name, order, id=uuid.uuid4().hex, result_type=answer)
                return await within(ANSWER_SECONDS_MAX, asked, late)
            except WorkflowUpdateFailedError as error:
                raise plainly(error.cause) from None

    async def query(self, job: str, name: str, answer: type[AnyT], run_id: str | None = None) -> AnyT:
        """Return the workflow's answer. Raises Unreachable when no worker can give it."""
        return await asked(self.handle(job, run_id), name, answer)

    async def ask_worker(self, workflow: str, request: Any, answer: type[AnyT], name: str) -> AnyT:
        """Return the answer of a short workflow that only reads."""
        await self.need_worker()
        late = f"no worker answered within {ANSWER_SECONDS_MAX:.0f} s; look at the worker's log, or start another"
        async with self.speaking():
            handle: WorkflowHandle[Any, AnyT] = await self.temporal.start_workflow(
                workflow,
                request,
                id=f"lull-{name}/{uuid.uuid4().hex[:8]}",
                task_queue=queues.CONTROL,
                result_type=answer,
                execution_timeout=timedelta(seconds=ANSWER_SECONDS_MAX),
                rpc_timeout=RPC_TIMEOUT,
            )
            try:
                return await within(ANSWER_SECONDS_MAX + 1, handle.result(), late)
            except WorkflowFailureError as error:
                raise plainly(error.cause) from None

    async def need_worker(self) -> None:
        """Raise Unreachable unless a worker could answer: better a sentence now than a silence."""
        if not await self.is_polled(queues.CONTROL):
            raise Unreachable(no_worker())

    async def is_polled(self, queue: str, *, for_activities: bool = False) -> bool:
        """Return whether a worker has polled the queue within the last minute or so."""
        kinds = (TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY)
        request = DescribeTaskQueueRequest(
            namespace=self.temporal.namespace, task_queue=TaskQueue(name=queue), task_queue_type=kinds[for_activities]
        )
        async with self.speaking():
            answer = await self.temporal.workflow_service.describe_task_queue(request, timeout=RPC_TIMEOUT)
        oldest = datetime.now(UTC) - timedelta(seconds=POLLER_FRESH_SECONDS)
        return any(p.last_access_time.ToDatetime(tzinfo=UTC) >= oldest for p in answer.pollers)

    @asynccontextmanager
    async def speaking(self, job: str = "") -> AsyncIterator[None]:
        """Whatever Temporal refuses inside becomes a sentence with a remedy."""
        try:
            yield
        except RPCError as error:
            raise self._translated(error, job) from None
        except RPCTimeoutOrCancelledError:
            raise Unreachable(no_temporal(self.connection, "deadline")) from None

    def _translated(self, error: RPCError, job: str) -> Exception:
        where, said = self.connection.address, error.message
        match error.status:
            case RPCStatusCode.NOT_FOUND if "amespace" in said and self.temporal.namespace in said:
                found: Exception = OperatorError(self._no_namespace())
            case RPCStatusCode.NOT_FOUND:
                found = NotFound(f"no job {job!r} is known in namespace {self.temporal.namespace!r}; see lull list")
            case RPCStatusCode.UNAVAILABLE | RPCStatusCode.DEADLINE_EXCEEDED | RPCStatusCode.CANCELLED:
                found = Unreachable(no_temporal(self.connection, said))
            case RPCStatusCode.RESOURCE_EXHAUSTED:
                found = Unreachable(f"Temporal at {where} is overloaded ({said}); try again later")
            case RPCStatusCode.PERMISSION_DENIED | RPCStatusCode.UNAUTHENTICATED:
                found = OperatorError(
                    f"Temporal at {where} refuses us ({said}); correct TEMPORAL_API_KEY, the TEMPORAL_TLS_ "
                    "variables or Temporal's profile file"
                )
            case RPCStatusCode.INVALID_ARGUMENT if "earch attribute" in said or "earchAttribute" in said:
                found = OperatorError(f"this Temporal namespace lacks lull's search attributes; {labels_remedy()}")
            case _:
                found = WorldError(f"Temporal refused: {said}; lull doctor examines it")
        return found

    def _no_namespace(self) -> str:
        name = self.temporal.namespace
        return (
            f"Temporal at {self.connection.address} has no namespace {name!r} (from {self.connection.origin.namespace}); "
            f"correct it, or create it with: temporal operator namespace create {name}"
        )


async def asked(handle: WorkflowHandle[Any, Any], query: str, answer: type[AnyT]) -> AnyT:
    """Return a workflow's answer. Raises Unreachable when no worker can give it."""
    try:
        found: AnyT = await handle.query(query, result_type=answer, rpc_timeout=QUERY_TIMEOUT)
    except (WorkflowQueryFailedError, RPCError, RPCTimeoutOrCancelledError) as error:
        raise _no_answer(error) from None
    return found


async def within(seconds: float, work: Awaitable[AnyT], late: str) -> AnyT:
    """Return what *work* returns. Raises Unreachable, saying *late*, when it takes too long."""
    try:
        return await asyncio.wait_for(work, seconds)
    except TimeoutError:
        raise Unreachable(late) from None


def plainly(cause: BaseException | None) -> Exception:
    """Return a worker's refusal as the error it was raised as there."""
    if isinstance(cause, ApplicationError):
        if cause.type == OperatorError.type_name:
            return OperatorError(cause.message)
        return WorldError(f"{cause.message}; lull doctor examines what lull needs")
    if isinstance(cause, TemporalTimeoutError):
        return Unreachable("the worker did not answer in time; look at its log, or start another with lull worker")
    return WorldError(f"the worker gave up: {cause}; look at its log")


def labels_remedy() -> str:
    """Return how the search attributes are made that ``lull list`` needs."""
    names = " ".join(f"--name {attribute.name}" for attribute in signals.SEARCH_ATTRIBUTES)
    return f"create them with: temporal operator search-attribute create {names} --type Keyword"


def no_worker() -> str:
    """Return the sentence for a queue that nobody polls."""
    return f"no worker polls the queue {queues.CONTROL!r}; start one with lull worker"


def no_temporal(connection: Connection, seen: str) -> str:
    """Return the sentence for a Temporal that does not answer: where, who said so, why, what to do."""
    return (
        f"cannot reach Temporal at {connection.address} (from {connection.origin.address}): {_cause(seen)}; start "
        "everything with lull dev, or correct the address (TEMPORAL_ADDRESS, or address in [temporal] of lull.toml)"
    )


# What the SDK's transport says, in its own words, and what that means. The first match holds.
_CAUSES = {
    "refused": "nothing listens there",
    "dns error": "its name is not known",
    "certificate": "its TLS certificate is not accepted",
    "InvalidContentType": "it does not speak TLS as asked",
    "timed out": "nothing answers there",
    "deadline": "nothing answers there",
    "timeout": "nothing answers there",
    "Unauthenticated": "it refuses these credentials",
    "PermissionDenied": "it refuses these credentials",
    "Unimplemented": "what listens there is not Temporal",
    "frame": "it does not speak what Temporal speaks; TLS may be on one side only",
    "BrokenPipe": "the connection broke; TLS may be on one side only",
    "transport": "the connection broke",
}


def _cause(seen: str) -> str:
    words = next((words for sign, words in _CAUSES.items() if sign.lower() in seen.lower()), "")
    return words or (seen.splitlines() or ["no reason was given"])[0][:200]


def _no_answer(error: Exception) -> Unreachable:
    if isinstance(error, RPCError) and "no poller" in error.message:
        return Unreachable(no_worker())
    if isinstance(error, WorkflowQueryFailedError):
        return Unreachable(f"the worker cannot answer ({error}); its version may not fit: look at its log")
    return Unreachable("the worker does not answer; it may be gone or stuck: look at its log, or start another")

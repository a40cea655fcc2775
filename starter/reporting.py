"""What a report is put together from: a worker's reading of ledger and samples, the job itself, and its history."""

from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from temporalio.api.common.v1 import Payload
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowExecutionDescription, WorkflowExecutionStatus

from lull.domain import orders, signals
from lull.domain.duration import format_duration
from lull.domain.errors import LullError
from lull.domain.message import Message
from lull.domain.orders import ExtendDeadline, Pause, Resume, Throttle
from lull.domain.report import Facts, Report, ReportRequest
from lull.domain.state import Progress
from lull.starter import pending
from lull.starter.door import RPC_TIMEOUT, Door

RUNS_MAX = 30
HISTORY_EVENTS_MAX = 30_000
"""Of a job's history, newest run first: a few seconds of reading."""
ORDERS_SHOWN_MAX = 200


class Happening(Message):
    """One thing that somebody did to the job, or that it did itself."""

    at: datetime
    what: str
    detail: str = ""


class Reported(Report):
    """The answer of ``lull report``."""

    reason: str = ""
    """Why the job is in its status, or what it waits for."""
    happenings: tuple[Happening, ...] = ()
    """In their order."""
    link: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return self.timeline is None or not self.timeline.samples


async def gather(
    door: Door, job: str, description: WorkflowExecutionDescription | None, last: timedelta | None
) -> Reported | None:
    """
    Return everything that is known of *job*; None where no ledger that a worker can see knows it.

    *description* is None where Temporal has forgotten the job; ledger and samples may still have it.
    """
    request = ReportRequest(
        job=job,
        cluster=pending.label(description, signals.CLUSTER) if description else "",
        last_s=last.total_seconds() if last else None,
    )
    found = await door.ask_worker("lull.report", request, Report, f"report/{job}")
    if found.facts is None:
        return None
    answer = Reported(**dict(found), link=door.link(job) if description else "")
    if description is None:
        return answer.model_copy(update={"happenings": _ends(found.facts)})
    progress = await _progress(door, job, description)
    happened = [*_ends(found.facts), *_by_itself(progress), *await _ordered(door, job, description)]
    return answer.model_copy(
        update={
            "facts": _with_progress(found.facts, progress),
            "reason": progress.reason if progress else "",
            "happenings": tuple(sorted(happened, key=lambda one: one.at)),
        }
    )


async def _progress(door: Door, job: str, description: WorkflowExecutionDescription) -> Progress | None:
    """Return what the workflow knows beyond the ledger: how long a job that runs has waited, and for what."""
    if description.status is WorkflowExecutionStatus.RUNNING:
        with suppress(LullError):
            return await door.query(job, "progress", Progress, description.run_id)
    return None


def _with_progress(facts: Facts, progress: Progress | None) -> Facts:
    if progress is None:
        return facts
    return facts.model_copy(
        update={"status": progress.status, "active_s": progress.active_s, "waited_s": progress.waited_s}
    )


def _ends(facts: Facts) -> tuple[Happening, ...]:
    by = facts.who + (f": {facts.why}" if facts.why else "")
    began = Happening(at=facts.started_at, what="started", detail=by)
    if facts.ended_at is None:
        return (began,)
    return (began, Happening(at=facts.ended_at, what=facts.status, detail=facts.message))


def _by_itself(progress: Progress | None) -> tuple[Happening, ...]:
    pause = progress.pause if progress else None
    if pause is None or not pause.by_poison:
        return ()
    return (Happening(at=pause.at, what="paused itself", detail=pause.reason),)


# --- orders, from the workflow's history --------------------------------------------------------------


async def _ordered(door: Door, job: str, description: WorkflowExecutionDescription) -> list[Happening]:
    """Return what operators told the job; without what Temporal has forgotten or would take too long to read."""
    found: list[Happening] = []
    with suppress(LullError):
        async for event in _history(door, job, description.run_id):
            order = _order(event)
            if order is not None:
                found.append(order)
    return sorted(found, key=lambda one: one.at)[-ORDERS_SHOWN_MAX:]


async def _history(door: Door, job: str, run_id: str) -> AsyncIterator[HistoryEvent]:
    """Yield the events of the newest run, then those of the run it continued, and so on."""
    seen = 0
    for _ in range(RUNS_MAX):
        before = ""
        async with door.speaking(job):
            async for event in door.handle(job, run_id).fetch_history_events(rpc_timeout=RPC_TIMEOUT):
                before = before or event.workflow_execution_started_event_attributes.continued_execution_run_id
                seen += 1
                yield event
        if not before or seen >= HISTORY_EVENTS_MAX:
            return
        run_id = before


def _order(event: HistoryEvent) -> Happening | None:
    at = event.event_time.ToDatetime(tzinfo=UTC)
    if event.HasField("workflow_execution_signaled_event_attributes"):
        signal = event.workflow_execution_signaled_event_attributes
        return _told(at, signal.signal_name, signal.input.payloads)
    if event.HasField("workflow_execution_update_accepted_event_attributes"):
        update = event.workflow_execution_update_accepted_event_attributes.accepted_request.input
        return _told(at, update.name.removesuffix("_and_wait"), update.args.payloads)
    if event.HasField("workflow_execution_cancel_requested_event_attributes"):
        return Happening(
            at=at, what="told to cancel", detail=event.workflow_execution_cancel_requested_event_attributes.cause
        )
    return None


def _told(at: datetime, name: str, payloads: Iterable[Payload]) -> Happening | None:
    """Return an order as people read it; None for what was no order, and so changed nothing."""
    raw = [payload.data or None for payload in payloads]
    with suppress(LullError):
        match name:
            case "pause":
                pause = orders.read(Pause, raw)
                return Happening(at=at, what="told to pause", detail=_signed(pause.reason, pause.who))
            case "resume":
                return Happening(at=at, what="told to resume", detail=_signed("", orders.read(Resume, raw).who))
            case "throttle":
                limit = orders.read(Throttle, raw)
                return Happening(at=at, what="throttled", detail=_signed(_pace(limit), limit.who))
            case "extend_deadline":
                more = orders.read(ExtendDeadline, raw)
                return Happening(
                    at=at, what="deadline moved", detail=_signed(f"by {format_duration(more.by)}", more.who)
                )
    return None


def _pace(order: Throttle) -> str:
    if order.max_docs_per_second is None:
        return "no limit"
    lasting = f" for {format_duration(order.lasting)}" if order.lasting else ""
    why = f": {order.why}" if order.why else ""
    return f"{order.max_docs_per_second:,g} docs/s{lasting}{why}"


def _signed(text: str, who: str) -> str:
    return f"{text} ({who})" if text and who else text or (f"by {who}" if who else "")

"""What Temporal itself keeps of a job: pending slices, labels, the memo, the end of its workflow."""

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import (
    WorkflowExecution,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowFailureError,
)
from temporalio.common import SearchAttributeKey
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError, CancelledError, TerminatedError
from temporalio.exceptions import TimeoutError as TemporalTimeoutError

from lull.domain import queues, signals
from lull.domain.lifecycle import Status
from lull.domain.slice import Outcome, PartitionSnapshot
from lull.domain.state import Progress
from lull.starter.views import Row, Slice, SliceState

MEMO_DIGEST = "digest"
MEMO_OUTCOME = "outcome"
SLICE_ACTIVITY = "lull.slice"
TASK_ATTEMPTS_MAX = 2
"""A workflow task may fail once while workers come and go; more often is a defect."""

_GONE = {WorkflowExecutionStatus.TERMINATED: "terminated", WorkflowExecutionStatus.TIMED_OUT: "timed out"}


async def slices(description: WorkflowExecutionDescription, converter: DataConverter) -> tuple[Slice, ...]:
    """Return the slices the workflow waits for at this moment."""
    pending = description.raw_description.pending_activities
    return tuple([await _slice(one, converter) for one in pending if one.activity_type.name == SLICE_ACTIVITY])


async def _slice(pending: PendingActivityInfo, converter: DataConverter) -> Slice:
    snapshot = await _snapshot(pending, converter)
    state = _state(pending)
    moment = pending.last_started_time if pending.HasField("last_started_time") else pending.scheduled_time
    return Slice(
        state=state,
        partition=snapshot.partition if snapshot else None,
        counts=snapshot.counts if snapshot else None,
        waiting_for=snapshot.waiting_for if snapshot and state is SliceState.RUNNING else "",
        attempt=pending.attempt,
        failure=pending.last_failure.message if pending.HasField("last_failure") else "",
        worker=pending.last_worker_identity,
        since=moment.ToDatetime(tzinfo=UTC),
        heard_at=pending.last_heartbeat_time.ToDatetime(tzinfo=UTC)
        if pending.HasField("last_heartbeat_time")
        else None,
    )


async def _snapshot(pending: PendingActivityInfo, converter: DataConverter) -> PartitionSnapshot | None:
    # Whatever a worker of another version writes there, the status is shown without it.
    with suppress(Exception):
        (snapshot,) = await converter.decode(pending.heartbeat_details.payloads, [PartitionSnapshot])
        return PartitionSnapshot.model_validate(snapshot)
    return None


def _state(pending: PendingActivityInfo) -> SliceState:
    if pending.paused:
        return SliceState.HELD
    if pending.state != PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED:
        return SliceState.RUNNING
    return SliceState.RETRYING if pending.attempt > 1 else SliceState.QUEUED


def task_remarks(description: WorkflowExecutionDescription) -> tuple[str, ...]:
    """Return what is wrong with the workflow's own code, which would otherwise be silence."""
    raw = description.raw_description
    if not raw.HasField("pending_workflow_task") or raw.pending_workflow_task.attempt <= TASK_ATTEMPTS_MAX:
        return ()
    remark = (
        f"the workflow has been tried {raw.pending_workflow_task.attempt} times without success; "
        "look at the worker's log: its version may not fit this history"
    )
    return (remark,)


def label(execution: WorkflowExecution, attribute: signals.SearchAttribute) -> str:
    """Return a search attribute; empty when it is not set."""
    return execution.typed_search_attributes.get(SearchAttributeKey.for_keyword(attribute.name), "")


async def outcome_in_memo(description: WorkflowExecutionDescription) -> Outcome | None:
    """Return how the job ended, as its workflow left it for readers without a worker; None while it runs."""
    with suppress(ValueError):
        return await description.memo_value(MEMO_OUTCOME, default=None, type_hint=Outcome)
    return None


def kept(job: str, description: WorkflowExecutionDescription, outcome: Outcome | None) -> Progress:
    """Return the progress that can be told without a worker: no counts while the job runs."""
    progress = Progress(
        job=job,
        kind=label(description, signals.KIND),
        cluster=label(description, signals.CLUSTER),
        namespace=label(description, signals.NAMESPACE),
        status=outcome.status if outcome else _status(label(description, signals.STATE)),
        reason=outcome.message if outcome else label(description, signals.REASON),
        started_at=description.start_time,
        as_of=datetime.now(UTC),
    )
    return if_gone(
        progress
        if outcome is None
        else progress.model_copy(update=told_by(outcome) | {"documents": outcome.counts.scanned}),
        description,
    )


def _status(name: str) -> Status:
    with suppress(ValueError):
        return Status(name)
    return Status.PLANNING


def told_by(outcome: Outcome) -> dict[str, Any]:
    """Return what an outcome says of a job's progress."""
    same = ("counts", "partitions", "partitions_done", "started_at", "active_s", "waited_s")
    return {
        **{name: getattr(outcome, name) for name in same},
        "outcome": outcome,
        "fraction": 1.0 if outcome.status is Status.COMPLETED else _fraction(outcome),
    }


def _fraction(outcome: Outcome) -> float:
    return outcome.partitions_done / outcome.partitions if outcome.partitions else 0.0


def if_gone(progress: Progress, description: WorkflowExecutionDescription) -> Progress:
    """Return *progress*, as failed if Temporal ended the workflow without letting it say so."""
    how = _GONE.get(description.status or WorkflowExecutionStatus.RUNNING)
    if how is None or progress.outcome is not None:
        return progress
    why = f"its workflow was {how} in Temporal, so nothing was cleaned up; start it --again to go on"
    return progress.model_copy(update={"status": Status.FAILED, "reason": why})


def outcome_of(job: str, error: WorkflowFailureError, description: WorkflowExecutionDescription) -> Outcome:
    """Return the outcome that a failed workflow carries, or the one its end amounts to."""
    cause = error.cause
    if isinstance(cause, ApplicationError):
        for detail in cause.details:
            with suppress(ValueError):
                return Outcome.model_validate(detail)
    message = cause.message if isinstance(cause, ApplicationError) else str(cause)
    if isinstance(cause, TerminatedError | TemporalTimeoutError):
        how = _GONE.get(description.status or WorkflowExecutionStatus.RUNNING, "ended")
        message = f"its workflow was {how} in Temporal, so nothing was cleaned up"
    return Outcome(
        job=job,
        status=Status.CANCELLED if isinstance(cause, CancelledError) else Status.FAILED,
        message=message,
        started_at=description.start_time,
        ended_at=description.close_time,
    )


def row(execution: WorkflowExecution, link: str) -> Row:
    """Return one line of ``lull list``."""
    return Row(
        job=job_of(execution),
        status=_GONE.get(execution.status or WorkflowExecutionStatus.RUNNING, label(execution, signals.STATE)),
        kind=label(execution, signals.KIND),
        cluster=label(execution, signals.CLUSTER),
        namespace=label(execution, signals.NAMESPACE),
        reason=label(execution, signals.REASON),
        started_at=execution.start_time,
        ended_at=execution.close_time,
        link=link,
    )


def job_of(execution: WorkflowExecution) -> str:
    """Return the job's id from its workflow's."""
    return execution.id.removeprefix(queues.workflow_id(""))

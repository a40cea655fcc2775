"""
The states of a job and every way between them: one table, from which code, docs and tests are made.

Rule: whatever changes a status goes through :func:`advance`; an arrow that is not in the table
does not exist.
"""

from enum import StrEnum

from lull.domain.errors import OperatorError


class Status(StrEnum):
    """Where a job is. ``-ing`` states are on their way to the state they name."""

    PLANNING = "planning"  # checking the spec against the cluster, claiming, partitioning
    RUNNING = "running"  # slices may commit pages
    PAUSING = "pausing"  # told to pause; slices are finishing the page in hand
    PAUSED = "paused"  # every unfinished partition's fence is raised: nothing can commit
    COMPLETING = "completing"  # all partitions done; the ledger is being checked
    CANCELLING = "cancelling"  # told to stop for good; slices are finishing the page in hand
    EXPIRING = "expiring"  # the deadline has passed; slices are finishing the page in hand
    FAILING = "failing"  # cannot go on; fences are being raised, claims given back
    COMPLETED = "completed"  # done, and the ledger's sums are right
    CANCELLED = "cancelled"  # stopped by an operator at a page boundary
    EXPIRED = "expired"  # stopped by its deadline at a page boundary
    FAILED = "failed"  # stopped by an error no retry can mend
    REFUSED = "refused"  # never started: the request cannot be done as asked


class Event(StrEnum):
    """What happens to a job."""

    PLANNED = "planned"  # the ledger is open
    REFUSE = "refuse"  # the plan says no
    FINISHED_BEFORE = "finished before"  # the same request had already been completed
    PAUSE = "pause"  # an operator, or the poison policy
    RESUME = "resume"
    DRAINED = "drained"  # no slice lives and the fences are raised
    PARTITIONS_DONE = "partitions done"
    CANCEL = "cancel"
    EXPIRE = "expire"  # the deadline
    FAIL = "fail"  # an error no retry can mend
    CLOSED = "closed"  # ledger and claims are closed


TRANSITIONS: dict[tuple[Status, Event], Status] = {
    (Status.PLANNING, Event.PLANNED): Status.RUNNING,
    (Status.PLANNING, Event.REFUSE): Status.REFUSED,
    (Status.PLANNING, Event.FINISHED_BEFORE): Status.COMPLETED,
    (Status.PLANNING, Event.CANCEL): Status.CANCELLING,
    (Status.PLANNING, Event.EXPIRE): Status.EXPIRING,
    (Status.PLANNING, Event.FAIL): Status.FAILING,
    (Status.RUNNING, Event.PAUSE): Status.PAUSING,
    (Status.RUNNING, Event.PARTITIONS_DONE): Status.COMPLETING,
    (Status.RUNNING, Event.CANCEL): Status.CANCELLING,
    (Status.RUNNING, Event.EXPIRE): Status.EXPIRING,
    (Status.RUNNING, Event.FAIL): Status.FAILING,
    (Status.PAUSING, Event.DRAINED): Status.PAUSED,
    # Resumed before it had drained: slices that are still at work simply go on.
    (Status.PAUSING, Event.RESUME): Status.RUNNING,
    # The last page of the last partition was in hand when the pause came.
    (Status.PAUSING, Event.PARTITIONS_DONE): Status.COMPLETING,
    (Status.PAUSING, Event.CANCEL): Status.CANCELLING,
    (Status.PAUSING, Event.EXPIRE): Status.EXPIRING,
    (Status.PAUSING, Event.FAIL): Status.FAILING,
    (Status.PAUSED, Event.RESUME): Status.RUNNING,
    (Status.PAUSED, Event.CANCEL): Status.CANCELLING,
    (Status.PAUSED, Event.EXPIRE): Status.EXPIRING,
    (Status.PAUSED, Event.FAIL): Status.FAILING,
    (Status.COMPLETING, Event.CLOSED): Status.COMPLETED,
    # The sums do not hold: a defect, and its evidence is kept.
    (Status.COMPLETING, Event.FAIL): Status.FAILING,
    (Status.CANCELLING, Event.CLOSED): Status.CANCELLED,
    # Told to stop while planning, and planning found that there is nothing to stop.
    (Status.CANCELLING, Event.FINISHED_BEFORE): Status.COMPLETED,
    (Status.CANCELLING, Event.FAIL): Status.FAILING,
    (Status.EXPIRING, Event.CLOSED): Status.EXPIRED,
    (Status.EXPIRING, Event.FINISHED_BEFORE): Status.COMPLETED,
    (Status.EXPIRING, Event.FAIL): Status.FAILING,
    (Status.FAILING, Event.CLOSED): Status.FAILED,
}

ENDED = frozenset({Status.COMPLETED, Status.CANCELLED, Status.EXPIRED, Status.FAILED, Status.REFUSED})
STOPPING = frozenset({Status.CANCELLING, Status.EXPIRING, Status.FAILING})


def advance(status: Status, event: Event) -> Status:
    """Return the status after *event*, or raise OperatorError if the table has no such arrow."""
    try:
        return TRANSITIONS[status, event]
    except KeyError:
        legal = ", ".join(sorted(e for s, e in TRANSITIONS if s is status)) or "nothing: it has ended"
        raise OperatorError(f"cannot {event} a job that is {status}; what can happen to it now: {legal}") from None


def can(status: Status, event: Event) -> bool:
    """Return whether the table has an arrow for *event* from *status*."""
    return (status, event) in TRANSITIONS

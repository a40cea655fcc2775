"""
How a job's ledger is opened, so that a crash at any step leaves something a later try can mend.

The steps: the job id is claimed (status planning, a new incarnation), older incarnations are fenced
off, the namespace is claimed, partitions are written, and one conditional write sets the job running.
Every try makes an incarnation of its own: a try that was given up but is still writing somewhere can
neither mix its partitions with ours nor set the job running. Until that last write no page can run.
"""

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import NamedTuple

from pymongo.errors import DuplicateKeyError

from lull.activities import claims
from lull.activities.mongo import Document, world_errors
from lull.activities.store import Store, aware, drain_document, ensure_ledger, now, partition_document
from lull.activities.survey import Survey
from lull.domain.errors import FenceLost, OperatorError, TransientError
from lull.domain.job import JobSpec, Walk, diff
from lull.domain.lifecycle import ENDED, Status
from lull.domain.slice import Directive, Opened, OpenRequest, Outcome, Plan, TemporalIds

TRIES_MAX = 10
"""Each lost race means that somebody else changed this very job's document in between."""


class Step(StrEnum):
    """The moments between two writes of an opening, where a crash must be harmless."""

    JOB_CLAIMED = "job claimed"
    PREDECESSORS_FENCED = "predecessors fenced"
    NAMESPACE_CLAIMED = "namespace claimed"
    PARTITIONS_WRITTEN = "partitions written"
    RUNNING = "running"


Passed = Callable[[Step], None]
"""Told of every step when it is done; what it raises ends the opening there."""


class Already(NamedTuple):
    """The request needs no opening: it was opened by this very run, or completed before."""

    opened: Opened


class Fresh(NamedTuple):
    """The job id may be claimed, over the document that was found."""

    over: Document | None

    @property
    def incarnation(self) -> int:
        """The number of the life that begins."""
        return 1 if self.over is None else int(self.over["incarnation"]) + 1


def decide(found: Document | None, request: OpenRequest) -> Already | Fresh:
    """
    Return what to do about the job's document as it was *found*.

    Raises OperatorError where the id is taken, or was used and ``--again`` was not given.
    """
    if found is None:
        return Fresh(None)
    if found["status"] in ENDED:
        return _after_an_end(found, request)
    if found["temporal"] == request.temporal.model_dump():
        return Fresh(found) if found["status"] == Status.PLANNING else Already(_opened(found))
    return _after_a_loss(found, request)


def _after_an_end(found: Document, request: OpenRequest) -> Already | Fresh:
    status, spec = Status(found["status"]), request.spec
    if request.again or status is Status.REFUSED:
        return Fresh(found)
    if found["digest"] != spec.digest:
        raise OperatorError(
            f"job id {spec.job!r} was used for another request, which is {status} ({_difference(found, spec)}); "
            "choose a new job id, or start it with --again to run this request under the old id"
        )
    if status is Status.COMPLETED:
        return Already(Opened(plan=_plan(found), finished=_outcome(found), started_at=aware(found["started_at"])))
    message = _outcome(found).message
    raise OperatorError(
        f"job {spec.job!r} has {_ended(status)} at {_when(found['ended_at'])}{': ' + message if message else ''}; "
        "start it again with --again"
    )


def _after_a_loss(found: Document, request: OpenRequest) -> Fresh:
    """Decide on a job that the ledger believes to be alive under another workflow run."""
    theirs, ours, spec = TemporalIds.model_validate(found["temporal"]), request.temporal, request.spec
    if (theirs.namespace, theirs.workflow_id) != (ours.namespace, ours.workflow_id):
        raise OperatorError(
            f"job id {spec.job!r} is {found['status']} as workflow {theirs.workflow_id!r} in Temporal namespace "
            f"{theirs.namespace!r}; cancel it there, or choose a new job id"
        )
    # A workflow id has one open run at a time: ours is open, so theirs was ended from outside.
    if found["status"] == Status.PLANNING or request.again:
        return Fresh(found)
    changed = "" if found["digest"] == spec.digest else f", with another request ({_difference(found, spec)})"
    raise OperatorError(
        f"job {spec.job!r} was {found['status']}{changed} when its workflow was terminated or timed out "
        f"(last heard of at {_when(found['updated_at'])}); pages it committed stay; --again starts it over from the beginning"
    )


def _difference(found: Document, spec: JobSpec) -> str:
    return "; ".join(diff(found["spec"], spec.canonical()))


def _ended(status: Status) -> str:
    return {Status.EXPIRED: "reached its deadline", Status.CANCELLED: "been cancelled"}.get(status, str(status))


def _when(moment: object) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC" if moment else "an unknown time"


def _plan(found: Document) -> Plan:
    return Plan.model_validate(found["plan"])


def _outcome(found: Document) -> Outcome:
    return Outcome.model_validate(found["outcome"])


def _opened(found: Document) -> Opened:
    return Opened(plan=_plan(found), started_at=aware(found["started_at"]))


def already_open(store: Store, request: OpenRequest) -> Opened | None:
    """Return the answer to a request that needs no opening, else None. Raises as :func:`decide` does."""
    decision = decide(store.job(request.spec.job), request)
    return decision.opened if isinstance(decision, Already) else None


def open_ledger(store: Store, request: OpenRequest, survey: Survey, passed: Passed) -> Opened:
    """
    The ledger says that the job runs, with its partitions and its first directive.

    Raises OperatorError, with nothing left behind, where the job id or its fields are taken, and
    FenceLost where a later try of the same request has overtaken this one.
    """
    ensure_ledger(store.cluster)
    claimed = _claim_job(store, request)
    if isinstance(claimed, Opened):
        return claimed
    passed(Step.JOB_CLAIMED)
    try:
        # The driver's errors become ours in here, so that what the operator must mend is cleaned up after.
        with world_errors(f"opening the ledger of job {request.spec.job!r}"):
            return _fill(store, request, survey, claimed, passed)
    except OperatorError as error:
        _refuse(store, request, claimed, str(error))
        raise


def _claim_job(store: Store, request: OpenRequest) -> Document | Opened:
    for _ in range(TRIES_MAX):
        decision = decide(store.job(request.spec.job), request)
        if isinstance(decision, Already):
            return decision.opened
        claimed = _new_job(request, decision)
        if _replace_job(store, decision.over, claimed):
            return claimed
    raise TransientError(f"the ledger's document of job {request.spec.job!r} changed {TRIES_MAX} times meanwhile")


def _new_job(request: OpenRequest, decision: Fresh) -> Document:
    spec, at = request.spec, now()
    return {
        "_id": spec.job,
        "incarnation": decision.incarnation,
        "spec": spec.canonical(),
        "digest": spec.digest,
        "status": str(Status.PLANNING),
        "directive": first_directive(spec).model_dump(mode="json"),
        "plan": None,
        "walk_index": None,
        "guarantee": None,
        "temporal": request.temporal.model_dump(),
        "who": request.who,
        "why": request.why,
        "started_at": at,
        "updated_at": at,
        "ended_at": None,
        "outcome": None,
    }


def first_directive(spec: JobSpec) -> Directive:
    """Return what slices are told until somebody says otherwise."""
    policy = spec.on_poison
    return Directive(
        max_docs_per_second=spec.limits.max_docs_per_second,
        poison_max=policy.stop_after if policy.quarantine else 0,
    )


def _replace_job(store: Store, over: Document | None, claimed: Document) -> bool:
    if over is None:
        try:
            store.jobs.insert_one(claimed)
        except DuplicateKeyError:
            return False
        return True
    unchanged = {key: over[key] for key in ("_id", "incarnation", "status")}
    return store.jobs.replace_one(unchanged, claimed).matched_count == 1


def _fill(store: Store, request: OpenRequest, survey: Survey, claimed: Document, passed: Passed) -> Opened:
    job, incarnation = claimed["_id"], claimed["incarnation"]
    store.retire_partitions(job, {"$lt": incarnation})
    passed(Step.PREDECESSORS_FENCED)
    claims.acquire(store, request.spec, incarnation)
    passed(Step.NAMESPACE_CLAIMED)
    store.insert_partitions(_partitions(survey, job, incarnation))
    passed(Step.PARTITIONS_WRITTEN)
    plan = survey.plan.model_copy(update={"incarnation": incarnation})
    _set_running(store, claimed, plan, survey.walk_index)
    passed(Step.RUNNING)
    return Opened(plan=plan, started_at=aware(claimed["started_at"]))


def _partitions(survey: Survey, job: str, incarnation: int) -> Iterator[Document]:
    if survey.plan.walk is Walk.DRAIN:
        yield drain_document(job, incarnation)
        return
    for piece in survey.ranges:
        yield partition_document(job, incarnation, piece)


def _set_running(store: Store, claimed: Document, plan: Plan, walk_index: Document) -> None:
    changes = {
        "status": str(Status.RUNNING),
        "plan": plan.model_dump(mode="json"),
        "guarantee": plan.guarantee.model_dump(mode="json"),
        "walk_index": walk_index,
        "updated_at": now(),
    }
    mine = {key: claimed[key] for key in ("_id", "incarnation", "status")}
    if store.jobs.update_one(mine, {"$set": changes}).matched_count != 1:
        raise FenceLost(f"job {claimed['_id']!r}: a later try of the same request has overtaken this one")


def _refuse(store: Store, request: OpenRequest, claimed: Document, message: str) -> None:
    """What this incarnation took is given back, and its document says why."""
    spec, at = request.spec, now()
    mine = {key: claimed[key] for key in ("_id", "incarnation", "status")}
    outcome = Outcome(
        job=spec.job, status=Status.REFUSED, message=message, incarnation=claimed["incarnation"], ended_at=aware(at)
    )
    changes = {
        "status": str(Status.REFUSED),
        "outcome": outcome.model_dump(mode="json"),
        "ended_at": at,
        "updated_at": at,
    }
    store.jobs.update_one(mine, {"$set": changes})
    claims.release(store, spec.source.namespace, spec.job, claimed["incarnation"])
    store.retire_partitions(spec.job, {"$lte": claimed["incarnation"]})

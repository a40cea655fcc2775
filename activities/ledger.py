"""The short writes to the ledger: directives published, fences raised, jobs closed."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import NamedTuple

from pymongo.errors import PyMongoError
from temporalio import activity
from typing_extensions import override

from lull.activities import claims
from lull.activities.errors import as_application_error
from lull.activities.mongo import Clusters, Document, decode_values, world_errors
from lull.activities.store import Store, aware, begun, now
from lull.activities.threads import in_thread
from lull.domain.errors import InvariantBroken, OperatorError
from lull.domain.guarantee import Guarantee
from lull.domain.job import JobSpec
from lull.domain.kinds import parse_spec
from lull.domain.ledger import sum_counts, verify
from lull.domain.lifecycle import ENDED, Status
from lull.domain.ports import LedgerPort
from lull.domain.slice import (
    CloseRequest,
    Counts,
    Directive,
    DrainProof,
    JobRef,
    Outcome,
    Plan,
    PublishRequest,
    Verb,
)

THREADS_MAX = 32
"""Short waits for the server, nothing else: as many as control activities may run at a time."""
POSITIONS_MAX = 100
"""Of a proof: it stays in the workflow's state."""
STILL_MATCHING_MS_MAX = 5_000
"""A count is a courtesy: one that takes longer burdens the foreground more than it tells."""


class Ledger(LedgerPort):
    """Writes to the ledger of the cluster whose documents a job changes."""

    def __init__(self, clusters: Clusters) -> None:
        self._clusters = clusters
        # Its own threads: an order to pause must not wait behind plans that take half a minute.
        self._threads = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="lull-ledger")

    @override
    @as_application_error
    async def publish(self, request: PublishRequest) -> None:
        store = self._store(request)
        await in_thread(self._threads, lambda _: publish(store, request))

    @override
    @as_application_error
    async def raise_fences(self, ref: JobRef) -> DrainProof:
        store = self._store(ref)
        return await in_thread(self._threads, lambda _: raise_fences(store, ref))

    @override
    @as_application_error
    async def close(self, request: CloseRequest) -> Outcome:
        store, run_id = self._store(request), _workflow_run_id()
        return await in_thread(self._threads, lambda _: close(store, request, run_id))

    def _store(self, ref: JobRef) -> Store:
        return Store(self._clusters.get(ref.cluster))


def _workflow_run_id() -> str:
    return (activity.info().workflow_run_id or "") if activity.in_activity() else ""


def publish(store: Store, request: PublishRequest) -> None:
    """
    The directive and the status are in the ledger, unless a newer directive is there or the job has ended.

    Raises OperatorError when the job's id has begun another life since.
    """
    with world_errors(f"publishing to job {request.job!r}"):
        published = store.jobs.update_one(
            {
                "_id": request.job,
                "incarnation": request.incarnation,
                "status": {"$nin": sorted(ENDED)},
                "directive.epoch": {"$lte": request.directive.epoch},
            },
            {
                "$set": {
                    "directive": request.directive.model_dump(mode="json"),
                    "status": str(request.status),
                    "updated_at": now(),
                }
            },
        )
        if published.matched_count != 1:
            _require_same_life(store.job(request.job), request)


def _require_same_life(found: Document | None, ref: JobRef) -> None:
    if found is None:
        raise InvariantBroken(f"the ledger has no job {ref.job!r}; somebody removed it from lull.jobs while it ran")
    if found["incarnation"] != ref.incarnation:
        raise OperatorError(
            f"job {ref.job!r} was started over (incarnation {found['incarnation']}); this run, incarnation "
            f"{ref.incarnation}, writes nothing more"
        )


def raise_fences(store: Store, ref: JobRef) -> DrainProof:
    """Nothing of this incarnation can commit any more; the proof says how far it came."""
    with world_errors(f"raising the fences of job {ref.job!r}"):
        raised = store.raise_fences({"job": ref.job, "incarnation": ref.incarnation})
        snapshots = store.snapshots(ref)
    positions = begun(snapshots)
    return DrainProof(
        raised=raised,
        done=sum(snapshot.done for snapshot in snapshots),
        counts=sum_counts(snapshot.counts for snapshot in snapshots),
        at=_utc(),
        positions={number: positions[number] for number in sorted(positions)[:POSITIONS_MAX]},
    )


def _utc() -> datetime:
    moment = aware(now())
    assert moment is not None
    return moment


class _Sums(NamedTuple):
    counts: Counts
    partitions: int
    done: int


def close(store: Store, request: CloseRequest, run_id: str = "") -> Outcome:
    """
    The job has ended in the ledger as *request* says, and holds nothing; returns the outcome.

    A job that never opened, or has begun another life since, is left alone. *run_id* tells a job
    that was still opening (incarnation 0 in the request) from its namesake.
    """
    with world_errors(f"closing job {request.job!r}"):
        found = store.job(request.job)
        if found is None or not _is_same_life(found, request, run_id):
            return _never_opened(request)
        if found["status"] not in ENDED:
            _end(store, found, request)
            found = store.job(request.job)
        if found is None or found["outcome"] is None:
            # Started over in between: the new life's owner fenced this one off.
            return _never_opened(request)
        _give_back(store, found)
    return Outcome.model_validate(found["outcome"])


def _is_same_life(found: Document, request: CloseRequest, run_id: str) -> bool:
    if request.incarnation:
        return bool(found["incarnation"] == request.incarnation)
    # The workflow did not live to hear that its ledger was opened, or how far the opening came.
    return bool(run_id and found["temporal"]["run_id"] == run_id)


def _never_opened(request: CloseRequest) -> Outcome:
    return Outcome(
        job=request.job,
        status=request.status,
        message=request.message,
        incarnation=request.incarnation,
        ended_at=_utc(),
        active_s=request.active_s,
        waited_s=request.waited_s,
    )


def _end(store: Store, found: Document, request: CloseRequest) -> None:
    ref = JobRef(job=request.job, cluster=request.cluster, incarnation=found["incarnation"])
    if request.status is Status.COMPLETED:
        sums, still_matching = _verified(store, ref, found), _still_matching(store, parse_spec(found["spec"]))
    else:
        store.raise_fences({"job": ref.job, "incarnation": ref.incarnation})
        sums, still_matching = _summed(store, ref), None
    outcome = _outcome(found, request, sums, still_matching)
    directive = Directive.model_validate(found["directive"])
    retired = directive.model_copy(update={"verb": Verb.RETIRE, "epoch": directive.epoch + 1})
    store.jobs.update_one(
        {"_id": ref.job, "incarnation": ref.incarnation, "status": {"$nin": sorted(ENDED)}},
        {
            "$set": {
                "status": str(request.status),
                "outcome": outcome.model_dump(mode="json"),
                "directive": retired.model_dump(mode="json"),
                "ended_at": now(),
                "updated_at": now(),
            }
        },
    )


def _verified(store: Store, ref: JobRef, found: Document) -> _Sums:
    snapshots = store.snapshots(ref)
    plan = Plan.model_validate(found["plan"])
    return _Sums(verify(snapshots, plan.partitions), len(snapshots), len(snapshots))


def _summed(store: Store, ref: JobRef) -> _Sums:
    snapshots = store.snapshots(ref)
    return _Sums(sum_counts(s.counts for s in snapshots), len(snapshots), sum(s.done for s in snapshots))


def _still_matching(store: Store, spec: JobSpec) -> int | None:
    """Count what matches the filter now; None where that says nothing, or cannot be had in five seconds."""
    query = decode_values(spec.source.filter)
    if not query and not spec.may_drain:
        return None
    try:
        return store.cluster.source(spec).count_documents(
            query, maxTimeMS=STILL_MATCHING_MS_MAX, comment=f"lull job={spec.job} close"
        )
    except PyMongoError:
        return None


def _outcome(found: Document, request: CloseRequest, sums: _Sums, still_matching: int | None) -> Outcome:
    return Outcome(
        job=request.job,
        status=request.status,
        message=request.message,
        incarnation=found["incarnation"],
        counts=sums.counts,
        partitions=sums.partitions,
        partitions_done=sums.done,
        still_matching=still_matching,
        guarantee=Guarantee.model_validate(found["guarantee"]) if found["guarantee"] else None,
        started_at=aware(found["started_at"]),
        ended_at=_utc(),
        active_s=request.active_s,
        waited_s=request.waited_s,
    )


def _give_back(store: Store, found: Document) -> None:
    namespace = parse_spec(found["spec"]).source.namespace
    claims.release(store, namespace, found["_id"], found["incarnation"])
    store.retire_partitions(found["_id"], {"$lte": found["incarnation"]})

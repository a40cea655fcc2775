"""
The ledger's collections: what stands in them, and the few ways they are read and written.

Everything here is synchronous and is called from threads. Reads and writes go to the primary at
majority (see :meth:`lull.activities.mongo.Cluster.ledger`); every write that must not overtake
another carries its precondition in its query.
"""

import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pymongo import IndexModel
from pymongo.collection import Collection
from pymongo.errors import CollectionInvalid, OperationFailure, PyMongoError

from lull.activities.mongo import LEDGER_DATABASE, Cluster, Document, Key, pack, world_errors
from lull.domain.partition import Range
from lull.domain.slice import Counts, JobRef, PartitionSnapshot

JOBS, PARTITIONS, CLAIMS, QUARANTINE = "jobs", "partitions", "claims", "quarantine"
GOVERNOR, CANARY, SAMPLES, FOREGROUND = "governor", "canary", "samples", "foreground"
"""The governor's: what it says and hears; the documents it probes; what it saw; what applications report."""
BUDGET_ID, ORDERS_ID, LEARNED_ID, WORKER_PREFIX = "budget", "orders", "learned", "worker/"
"""In ``governor``: its word to workers, the operators' word to both, what is normal, and what each worker spends."""

IDLE, RUNNING, RESTING, DONE, CLOSED = "idle", "running", "resting", "done", "closed"
"""
A partition's status. A resting one waits for the throttle without a slice, and has a share of the
rate all the same. A closed one was not done when its incarnation ended; nobody may take it again.
"""
UNFINISHED = (IDLE, RUNNING, RESTING)
LIVE = (RUNNING, RESTING)
"""Those that share the job's rate."""

RETENTION = timedelta(days=30)
"""How long the partitions of an ended job and its quarantine stay: long enough to ask what happened."""

SESSIONS_KILLED_AT_A_TIME = 500
_INSERT_BATCH = 1_000
_NAMESPACE_EXISTS = 48

INDEXES: dict[str, list[IndexModel]] = {
    JOBS: [IndexModel([("status", 1)], name="status")],
    PARTITIONS: [
        IndexModel([("job", 1), ("incarnation", 1), ("status", 1)], name="job_incarnation_status"),
        IndexModel([("job", 1), ("incarnation", 1), ("number", 1)], name="job_incarnation_number"),
        IndexModel([("expires_at", 1)], name="retention", expireAfterSeconds=0),
    ],
    CLAIMS: [],
    GOVERNOR: [IndexModel([("expires_at", 1)], name="retention", expireAfterSeconds=0)],
    CANARY: [],
    FOREGROUND: [IndexModel([("expires_at", 1)], name="retention", expireAfterSeconds=0)],
    QUARANTINE: [
        IndexModel([("_id.job", 1), ("_id.incarnation", 1)], name="job_incarnation"),
        IndexModel([("expires_at", 1)], name="retention", expireAfterSeconds=0),
    ],
}
"""What each collection of the ledger has beside ``_id``. Job documents stay: they make starting twice starting once."""

_ensured: "weakref.WeakSet[Cluster]" = weakref.WeakSet()
_ensuring = threading.Lock()


def ensure_ledger(cluster: Cluster) -> None:
    """
    The ledger's collections and indexes exist on *cluster*. Asked once per process, then free.

    They are made before any transaction needs them: a transaction that creates a collection
    waits for, and blocks, everything else that does.
    """
    with _ensuring:
        if cluster in _ensured:
            return
        with world_errors(f"the ledger on cluster {cluster.name}"):
            _create(cluster)
        _ensured.add(cluster)


def _create(cluster: Cluster) -> None:
    existing = set(cluster.database(LEDGER_DATABASE).list_collection_names())
    for name, indexes in INDEXES.items():
        if name not in existing:
            _create_collection(cluster, name)
        if indexes:
            cluster.ledger(name).create_indexes(indexes)


def _create_collection(cluster: Cluster, name: str) -> None:
    try:
        cluster.database(LEDGER_DATABASE).create_collection(name)
    except CollectionInvalid:
        return  # Another worker was first.
    except OperationFailure as error:
        if error.code != _NAMESPACE_EXISTS:
            raise


def missing_from_ledger(cluster: Cluster) -> list[str]:
    """Return the collections and indexes :func:`ensure_ledger` would create, as ``collection`` or ``collection.index``."""
    existing = set(cluster.database(LEDGER_DATABASE).list_collection_names())
    missing = []
    for name, indexes in INDEXES.items():
        if name not in existing:
            missing.append(name)
            continue
        there = {index["name"] for index in cluster.ledger(name).list_indexes()}
        missing += [f"{name}.{i.document['name']}" for i in indexes if i.document["name"] not in there]
    return missing


def now() -> datetime:
    """Return the time as the ledger keeps it: UTC, whole milliseconds, without a zone."""
    moment = datetime.now(UTC).replace(tzinfo=None)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def aware(moment: datetime | None) -> datetime | None:
    """Return a time read from the ledger with its zone, which BSON does not keep."""
    return None if moment is None else moment.replace(tzinfo=UTC)


def partition_id(job: str, incarnation: int, number: int) -> str:
    """Return a partition's ``_id`` in the ledger: it carries the incarnation, so that lives never mix."""
    return f"{job}#{incarnation}#{number}"


def partition_document(job: str, incarnation: int, piece: Range[Key]) -> Document:
    """Return a partition that nobody has begun."""
    return _idle_partition(job, incarnation, piece.number, pack(piece.after), pack(piece.upto))


def drain_document(job: str, incarnation: int) -> Document:
    """Return the only partition of a drain: it has no bounds and ends when nothing matches."""
    return _idle_partition(job, incarnation, 0, None, None)


def _idle_partition(job: str, incarnation: int, number: int, after: Any, upto: Any) -> Document:
    return {
        "_id": partition_id(job, incarnation, number),
        "job": job,
        "incarnation": incarnation,
        "number": number,
        "after": after,
        "upto": upto,
        "position": None,
        "fence": 0,
        "session": None,
        "status": IDLE,
        "counts": Counts().model_dump(),
        "updated_at": now(),
        "owner": "",
    }


class Store:
    """One cluster's ledger."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    @property
    def jobs(self) -> Collection[Document]:
        """One document per job id."""
        return self.cluster.ledger(JOBS)

    @property
    def partitions(self) -> Collection[Document]:
        """One document per partition of every incarnation kept."""
        return self.cluster.ledger(PARTITIONS)

    @property
    def claims(self) -> Collection[Document]:
        """One document per namespace."""
        return self.cluster.ledger(CLAIMS)

    @property
    def quarantine(self) -> Collection[Document]:
        """One document per document that could not be processed."""
        return self.cluster.ledger(QUARANTINE)

    def job(self, job: str) -> Document | None:
        """Return the job's document, or None if the ledger has never seen it."""
        return self.jobs.find_one({"_id": job})

    def snapshots(self, ref: JobRef) -> list[PartitionSnapshot]:
        """Return every partition of this incarnation, by number."""
        query = {"job": ref.job, "incarnation": ref.incarnation}
        wanted = {"number": 1, "counts": 1, "fence": 1, "status": 1}
        return [_snapshot(found) for found in self.partitions.find(query, wanted).sort("number", 1)]

    def insert_partitions(self, documents: Iterator[Document]) -> int:
        """Write *documents* in batches and return how many there were."""
        written = 0
        batch: list[Document] = []
        for document in documents:
            batch.append(document)
            if len(batch) == _INSERT_BATCH:
                written += len(self.partitions.insert_many(batch, ordered=False).inserted_ids)
                batch = []
        if batch:
            written += len(self.partitions.insert_many(batch, ordered=False).inserted_ids)
        return written

    def raise_fences(self, query: Document, *, status: str = IDLE) -> int:
        """
        Raise the fence of every unfinished partition that matches *query*; return how many there were.

        No page of theirs can commit any more. Their sessions are ended first: an abandoned
        transaction holds its partition's document, and the raise would wait for it.
        """
        unfinished = query | {"status": {"$in": list(UNFINISHED)}}
        self._kill([s for s in self.partitions.distinct("session", unfinished) if s is not None])
        raised = self.partitions.update_many(
            unfinished,
            {"$inc": {"fence": 1}, "$set": {"status": status, "session": None, "updated_at": now()}},
        )
        return raised.modified_count

    def _kill(self, sessions: Sequence[Any]) -> None:
        for start in range(0, len(sessions), SESSIONS_KILLED_AT_A_TIME):
            chunk = [{"id": session} for session in sessions[start : start + SESSIONS_KILLED_AT_A_TIME]]
            try:
                self.cluster.client.admin.command("killSessions", chunk)
            except PyMongoError:
                # Raising the fence is what counts; it waits for what could not be ended.
                return

    def retire_partitions(self, job: str, incarnations: Document) -> None:
        """
        The unfinished partitions of these incarnations are closed for good, and all of them expire.

        *incarnations* is a query on the number, like ``{"$lt": 3}``.
        """
        query = {"job": job, "incarnation": incarnations}
        self.raise_fences(query, status=CLOSED)
        self.partitions.update_many(
            query | {"expires_at": {"$exists": False}}, {"$set": {"expires_at": now() + RETENTION}}
        )


def _snapshot(found: Document) -> PartitionSnapshot:
    return PartitionSnapshot(
        partition=found["number"],
        counts=Counts.model_validate(found["counts"]),
        fence=found["fence"],
        done=found["status"] == DONE,
    )


def begun(snapshots: Iterable[PartitionSnapshot]) -> dict[int, int]:
    """Return partition -> pages committed, of those that were begun and are not done."""
    return {s.partition: s.counts.pages for s in snapshots if not s.done and s.counts.pages}

"""
A slice's right to commit pages of one partition: a fence, a session, and the position they guard.

Whoever takes a lease first ends its predecessor's session (a killed client leaves its transaction
open until the server reaps it, a minute and more, and foreground writes to those documents wait),
then raises the fence. From then on no page can commit under the old one.
"""

import logging
from dataclasses import dataclass
from typing import Any

from bson.binary import Binary
from pymongo import ReturnDocument
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.errors import PyMongoError

from lull.activities.mongo import Cluster, Document, Key, describe, pack, unpack
from lull.activities.store import CLOSED, DONE, IDLE, PARTITIONS, RESTING, RUNNING, UNFINISHED, partition_id
from lull.domain.errors import FenceLost, InvariantBroken, TransientError
from lull.domain.slice import Counts, PartitionSnapshot, SliceTask

log = logging.getLogger("lull.lease")


TAKES_MAX = 10
"""Each failed one means that somebody else raised the fence in between."""


@dataclass(slots=True)
class Lease:
    """One taken partition. ``position`` and ``counts`` are those committed under this fence."""

    number: int
    fence: int
    position: Key | None
    upto: Key | None
    counts: Counts
    done: bool
    session: ClientSession
    _partitions: Collection[Document]
    _id: str

    def advance(self, session: ClientSession | None, position: Key | None, counts: Counts, *, done: bool) -> None:
        """
        The ledger says *position* and *counts*, if the surrounding transaction commits.

        The page number is part of the precondition: neither an overtaken slice nor a stale retry of
        this one can commit. Raises FenceLost when the fence is no longer ours.
        """
        changes: Document = {"position": pack(position), "counts": counts.model_dump()}
        if done:
            changes |= {"status": DONE, "session": None}
        result = self._partitions.update_one(
            {"_id": self._id, "fence": self.fence, "status": RUNNING, "counts.pages": self.counts.pages},
            {"$set": changes, "$currentDate": {"updated_at": True}},
            session=session,
        )
        if result.matched_count != 1:
            raise FenceLost(
                f"partition {self.number}: fence {self.fence} was overtaken; nothing was committed under it"
            )

    def committed(self, position: Key | None, counts: Counts, *, done: bool) -> None:
        """Remember what the ledger now says."""
        self.position, self.counts, self.done = position, counts, done

    def release(self, *, resting: bool) -> None:
        """The partition is nobody's, *resting* if the throttle holds it. Best effort: a successor ends the session anyway."""
        try:
            self.session.end_session()
            self._partitions.update_one(
                {"_id": self._id, "fence": self.fence, "status": RUNNING},
                {"$set": {"status": RESTING if resting else IDLE, "session": None}},
            )
        except PyMongoError as error:
            log.info("partition %d: could not be given back (%s); its successor will", self.number, describe(error))

    @property
    def snapshot(self) -> PartitionSnapshot:
        """The partition as the ledger has it."""
        return PartitionSnapshot(partition=self.number, counts=self.counts, fence=self.fence, done=self.done)


def take(cluster: Cluster, task: SliceTask, owner: str) -> Lease:
    """
    Return the lease of the task's partition: predecessor's session ended, fence raised at majority.

    A partition that is already done comes back with ``done`` set and its fence as it was. Raises
    InvariantBroken if the ledger does not know the partition, FenceLost if its incarnation has ended.
    """
    return _take(cluster, task, owner, None)


def renew(cluster: Cluster, task: SliceTask, owner: str, lease: Lease) -> Lease:
    """
    Return *lease* anew, as the ledger has it, after an error that left its last page in doubt.

    Raises FenceLost if it was overtaken: the partition is its successor's, or nobody's for a reason.
    """
    return _take(cluster, task, owner, lease.fence)


def _take(cluster: Cluster, task: SliceTask, owner: str, fence: int | None) -> Lease:
    partitions = cluster.ledger(PARTITIONS)
    key = partition_id(task.job, task.incarnation, task.partition)
    session = cluster.client.start_session(causal_consistency=False)
    for _ in range(TAKES_MAX):
        found = partitions.find_one({"_id": key})
        if found is None:
            raise InvariantBroken(
                f"the ledger has no partition {key}; the slice was asked for by an older ledger's workflow"
            )
        if fence is not None and found["fence"] != fence:
            raise FenceLost(f"partition {task.partition}: fence {fence} was overtaken by {found['fence']}")
        if found["status"] == CLOSED:
            raise FenceLost(f"partition {key} was closed: its job has ended, or was started over")
        if found["status"] == DONE:
            return _lease(partitions, found, session)
        end_session(cluster, found.get("session"))
        raised = _raise_fence(partitions, found, session, owner)
        if raised is not None:
            return _lease(partitions, raised, session)
    raise TransientError(f"partition {task.partition}: others raised its fence {TAKES_MAX} times meanwhile")


def _lease(partitions: Collection[Document], found: Document, session: ClientSession) -> Lease:
    return Lease(
        number=found["number"],
        fence=found["fence"],
        position=unpack(found["position"]) or unpack(found["after"]),
        upto=unpack(found["upto"]),
        counts=Counts.model_validate(found["counts"]),
        done=found["status"] == DONE,
        session=session,
        _partitions=partitions,
        _id=found["_id"],
    )


def _raise_fence(
    partitions: Collection[Document], found: Document, session: ClientSession, owner: str
) -> Document | None:
    # The fence it was found with: only then was the session that was ended its last one.
    return partitions.find_one_and_update(
        {"_id": found["_id"], "fence": found["fence"], "status": {"$in": list(UNFINISHED)}},
        {
            "$inc": {"fence": 1},
            "$set": {"status": RUNNING, "session": session.session_id["id"], "owner": owner},
            "$currentDate": {"updated_at": True},
        },
        return_document=ReturnDocument.AFTER,
    )


def end_session(cluster: Cluster, session_id: Any) -> None:
    """A dead predecessor's transaction is aborted on the primary, if it still had one."""
    if not isinstance(session_id, Binary):
        return
    try:
        cluster.client.admin.command("killSessions", [{"id": session_id}])
    except PyMongoError as error:
        # Not ours to insist on: raising the fence waits for the transaction instead.
        log.warning("could not end a predecessor's session: %s", describe(error))

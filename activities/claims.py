"""
Who may write what: one document per namespace, changed by optimistic version.

A job claims the fields it writes before its first page and gives them back when it ends. Claims of
jobs that have ended, or live on as a later incarnation, are nobody's and are dropped in passing.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from pymongo.errors import DuplicateKeyError

from lull.activities.mongo import Document
from lull.activities.store import Store
from lull.domain.errors import FenceLost, OperatorError, TransientError
from lull.domain.job import JobSpec
from lull.domain.lifecycle import ENDED
from lull.domain.mql import paths_overlap

TRIES_MAX = 50
"""Each lost race means that another job's claim went through: fifty in a row is a defect or a stampede."""


@dataclass(frozen=True, slots=True)
class Holder:
    """One job's claim on one namespace."""

    job: str
    incarnation: int
    fields: frozenset[str]

    @classmethod
    def read(cls, stored: Document) -> "Holder":
        """Return the holder that :attr:`stored` wrote."""
        return cls(stored["job"], stored["incarnation"], frozenset(stored["fields"]))

    @property
    def stored(self) -> Document:
        """The ledger's writing."""
        return {"job": self.job, "incarnation": self.incarnation, "fields": sorted(self.fields)}


def acquire(store: Store, spec: JobSpec, incarnation: int) -> None:
    """
    The job's fields are claimed for this incarnation, and nobody else's claim overlaps them.

    Raises OperatorError that names the other job, unless the spec says ``overlap: true``.
    """
    mine = Holder(spec.job, incarnation, spec.fields_written)
    for _ in range(TRIES_MAX):
        found = store.claims.find_one({"_id": spec.source.namespace})
        _leave_if_overtaken(found, mine)
        others = live(store, found, spec.job)
        refuse_overlap(spec, others)
        if _replace(store, spec.source.namespace, found, [*others, mine]):
            return
    raise TransientError(f"the claims on {spec.source.namespace} changed {TRIES_MAX} times while this job made its own")


def _leave_if_overtaken(found: Document | None, mine: Holder) -> None:
    stored = (found or {}).get("holders", [])
    if any(other["job"] == mine.job and other["incarnation"] > mine.incarnation for other in stored):
        raise FenceLost(f"job {mine.job!r}: a later try of the same request has overtaken this one")


def release(store: Store, namespace: str, job: str, incarnation: int) -> None:
    """The job holds nothing on *namespace*, neither for this incarnation nor for an earlier one."""
    mine = {"job": job, "incarnation": {"$lte": incarnation}}
    store.claims.update_one(
        {"_id": namespace, "holders": {"$elemMatch": mine}},
        {"$pull": {"holders": mine}, "$inc": {"version": 1}},
    )


def live(store: Store, found: Document | None, job: str) -> list[Holder]:
    """Return the claims in *found* of jobs that still run, other than *job*'s own."""
    holders = [Holder.read(stored) for stored in (found or {}).get("holders", []) if stored["job"] != job]
    running = _running(store, [holder.job for holder in holders])
    return [holder for holder in holders if running.get(holder.job) == holder.incarnation]


def _running(store: Store, jobs: Collection[str]) -> dict[str, int]:
    if not jobs:
        return {}
    query = {"_id": {"$in": list(jobs)}, "status": {"$nin": sorted(ENDED)}}
    return {found["_id"]: found["incarnation"] for found in store.jobs.find(query, {"incarnation": 1})}


def overlapping(spec: JobSpec, others: Iterable[Holder]) -> dict[str, set[str]]:
    """Return job -> the fields it and *spec* both write; empty when nothing overlaps."""
    met: dict[str, set[str]] = {}
    for other in others:
        shared = {
            theirs if ours == "*" else ours
            for ours in spec.fields_written
            for theirs in other.fields
            if paths_overlap(ours, theirs)
        }
        if shared:
            met[other.job] = shared
    return met


def refuse_overlap(spec: JobSpec, others: Iterable[Holder]) -> None:
    """Raise OperatorError if another job writes what *spec* writes and *spec* does not accept it."""
    met = overlapping(spec, others)
    if met and not spec.overlap:
        raise OperatorError(
            f"{overlap_text(spec, met)}; wait for it or cancel it, or set overlap: true if that is meant"
        )


def overlap_text(spec: JobSpec, met: dict[str, set[str]]) -> str:
    """Return which jobs write what, for people."""
    job = min(met)
    more = f" (and {len(met) - 1} more)" if len(met) > 1 else ""
    fields = "the whole document" if met[job] == {"*"} else ", ".join(sorted(met[job]))
    return f"job {job!r}{more} is running on {spec.source.namespace} and writes {fields} too"


def _replace(store: Store, namespace: str, found: Document | None, holders: list[Holder]) -> bool:
    stored = [holder.stored for holder in holders]
    if found is None:
        try:
            store.claims.insert_one({"_id": namespace, "version": 1, "holders": stored})
        except DuplicateKeyError:
            return False
        return True
    replaced = store.claims.replace_one(
        {"_id": namespace, "version": found["version"]},
        {"_id": namespace, "version": found["version"] + 1, "holders": stored},
    )
    return replaced.matched_count == 1

"""
Everything that is decided about a job before anything is written: checks, walk, partitions, estimate.

``plan`` shows the result and ``open`` acts on it, so that what an operator was shown is what happens.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pymongo.errors import PyMongoError

from lull.activities import cutting, indexes, sources, trial
from lull.activities.mongo import Cluster, Document, Key, decode_values, world_errors
from lull.activities.sources import Source
from lull.activities.threads import Stop
from lull.activities.transforms import Registry
from lull.domain.guarantee import Guarantee, Promise, guarantee
from lull.domain.job import JobSpec, Topology, Walk
from lull.domain.partition import Range
from lull.domain.slice import Plan

DRAIN_FRACTION_MAX = 0.5
"""Above, reading the whole collection in parallel ranges beats one drain through an index."""
COUNT_MS_MAX = 2_000
"""A count for an estimate must not burden the foreground for longer."""
COUNT_ALL_MAX = 20_000
"""So few documents are counted, not sampled."""
SAMPLE_DOCS = 1_000
"""One per cent of matches is seen to within a third of itself; and it is read in milliseconds."""
PASSED_OVER_PER_SECOND = 100_000.0
"""Documents that do not match are read and left: half of the slowest scan measured on two cores."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What was decided. ``plan.incarnation`` is 0: it is given when the ledger is opened."""

    plan: Plan
    ranges: tuple[Range[Key], ...]
    """Empty for a drain."""
    walk_index: Document


def survey(cluster: Cluster, spec: JobSpec, registry: Registry, stop: Stop) -> Survey:
    """
    Return what *spec* would do on *cluster*; writes nothing.

    Raises OperatorError for what cannot be done as asked, TransientError while a server is away.
    """
    cluster.profile.check(cluster.name, spec)
    sources.require_supported_server(cluster)
    promise = guarantee(spec, cluster.topology)
    if spec.function is not None:
        registry.get(spec.function)
    source = sources.examine(cluster, spec)
    explained = trial.check(cluster, spec)
    stop.check()
    walk = _choose_walk(cluster, spec, source, explained)
    pieces = () if walk.drains else tuple(cutting.ranges(cluster, spec, source))
    stop.check()
    plan = _plan(spec, source, promise, walk, len(pieces))
    notes = tuple(_notes(cluster, spec, source, plan, walk.why))
    return Survey(plan.model_copy(update={"notes": notes}), pieces, walk.index)


@dataclass(frozen=True, slots=True)
class _Walk:
    drains: bool
    index: Document
    matching: int | None
    why: str
    """A note for the operator; empty where there is nothing to say."""


def _choose_walk(cluster: Cluster, spec: JobSpec, source: Source, explained: Document) -> _Walk:
    query = decode_values(spec.source.filter)
    if not query:
        return _Walk(False, indexes.ID_WALK, source.documents, "")
    if not spec.may_drain:
        matching = _estimate(cluster, spec, query, source)
        return _Walk(False, indexes.ID_WALK, matching, _passing_over(source, matching))
    candidate = indexes.drain(explained, source)
    matching = _counted(cluster, spec, query, source, candidate.index)
    if matching is None:
        matching = _estimate(cluster, spec, query, source)
    if candidate.index is None:
        return _Walk(False, indexes.ID_WALK, matching, _no_drain(spec, candidate.why_not))
    name = candidate.index["name"]
    if matching is None or matching > DRAIN_FRACTION_MAX * source.documents:
        why = (
            f"about half or more of the documents match: all are read once in parallel instead of draining index {name}"
        )
        return _Walk(False, indexes.ID_WALK, matching, why)
    return _Walk(True, candidate.index, matching, f"drains index {name}: only documents that match are read")


def _passing_over(source: Source, matching: int | None) -> str:
    if matching is None or matching > DRAIN_FRACTION_MAX * source.documents:
        return ""
    return (
        f"about {matching:,} of {source.documents:,} documents match; all are passed over once, because a job that "
        "changes documents in place walks _id, which no update can move"
    )


def _no_drain(spec: JobSpec, why_not: str) -> str:
    if why_not:
        return f"{why_not}: every document is read once"
    keys = indexes.suggested(spec.source.filter)
    remedy = f"; an index on {indexes.keys_text(keys)} would let the purge drain" if keys else ""
    return f"no index serves this filter: every document is read once{remedy}"


def _counted(cluster: Cluster, spec: JobSpec, query: Document, source: Source, index: Document | None) -> int | None:
    """Count through *index*, as far as it matters; None without an index or when it takes too long."""
    if index is None:
        return None
    return _count(cluster, spec, query, limit=int(source.documents * DRAIN_FRACTION_MAX) + 1, hint=index["name"])


def _count(cluster: Cluster, spec: JobSpec, query: Document, **options: Any) -> int | None:
    try:
        return cluster.source(spec).count_documents(
            query, maxTimeMS=COUNT_MS_MAX, comment=f"lull job={spec.job} plan", **options
        )
    except PyMongoError:
        return None


def _estimate(cluster: Cluster, spec: JobSpec, query: Document, source: Source) -> int | None:
    """Return about how many documents match; None when it cannot be told in good time."""
    if source.documents <= COUNT_ALL_MAX:
        return _count(cluster, spec, query)
    stages: list[Document] = [{"$sample": {"size": SAMPLE_DOCS}}, {"$match": query}, {"$count": "matching"}]
    try:
        found = list(
            cluster.source(spec).aggregate(stages, maxTimeMS=COUNT_MS_MAX, comment=f"lull job={spec.job} plan")
        )
    except PyMongoError:
        return None
    return int(source.documents * (found[0]["matching"] if found else 0) / SAMPLE_DOCS)


def _plan(spec: JobSpec, source: Source, promise: Guarantee, walk: _Walk, partitions: int) -> Plan:
    documents = (walk.matching or 0) if walk.drains else source.documents
    changed = walk.matching
    return Plan(
        guarantee=promise,
        walk=Walk.DRAIN if walk.drains else Walk.RANGE,
        index=walk.index["name"] if walk.drains else "_id",
        partitions=1 if walk.drains else partitions,
        documents=documents,
        matching=changed,
        bytes=source.bytes,
        oplog_bytes=None if changed is None else int(changed * spec.oplog_bytes(source.document_bytes)),
        seconds=_seconds(spec, documents, changed),
        effect=spec.effect,
        undo=spec.undo,
    )


def _seconds(spec: JobSpec, documents: int, matching: int | None) -> float | None:
    if matching is None:
        return None
    at_full_speed = matching / spec.docs_per_second_expected + max(0, documents - matching) / PASSED_OVER_PER_SECOND
    limit = spec.limits.max_docs_per_second
    return round(max(at_full_speed, documents / limit if limit else 0.0), 1)


def _notes(cluster: Cluster, spec: JobSpec, source: Source, plan: Plan, walk_note: str) -> Iterator[str]:
    if plan.guarantee.promise is not Promise.EXACTLY_ONCE or cluster.topology is Topology.SHARDED:
        yield str(plan.guarantee)
    if walk_note:
        yield walk_note
    if plan.matching == 0:
        yield "nothing matches the filter now"
    yield from _index_cost(spec, source)
    yield from _collection_notes(source)
    kinds = _kinds_of_id(cluster, spec)
    if len(kinds) > 1:
        yield f"_id is of mixed types (from {kinds[0]} to {kinds[1]}); all of them are walked"


def _index_cost(spec: JobSpec, source: Source) -> Iterator[str]:
    held = indexes.holding(source, spec.fields_written)
    if held:
        names = ", ".join(held[:5]) + (", ..." if len(held) > 5 else "")
        yield f"{len(held)} secondary index{'es' if len(held) > 1 else ''} may be written for each document: {names}"


def _collection_notes(source: Source) -> Iterator[str]:
    if source.options.get("validator"):
        yield "the collection has a validator: documents it refuses go to quarantine"
    if source.options.get("changeStreamPreAndPostImages", {}).get("enabled"):
        yield "change stream pre-images are on: the server also keeps each document as it was before the change"


def _kinds_of_id(cluster: Cluster, spec: JobSpec) -> list[str]:
    """Return the type names of the least and the greatest ``_id``, once if they are the same."""
    with world_errors(f"reading {spec.source.namespace}"):
        ends = [
            cluster.source(spec).find_one({}, {"type": {"$type": "$_id"}}, sort=[("_id", way)], hint=[("_id", 1)])
            for way in (1, -1)
        ]
    return list(dict.fromkeys(_plain_type(end["type"]) for end in ends if end))


def _plain_type(name: str) -> str:
    return "number" if name in {"int", "long", "double", "decimal"} else name

"""
Where a collection is cut into partitions: boundaries in the server's own order, never in Python's.

Python cannot compare an ObjectId with a date, and two collations disagree about strings. So whatever
proposes boundaries, the server sorts them: those that still exist are read back through the ``_id`` index.
"""

from typing import Any

import bson
from pymongo.errors import OperationFailure

from lull.activities.mongo import ID_INDEX, Cluster, Document, Key, both, key_range, world_errors
from lull.activities.sources import Source
from lull.domain.job import JobSpec
from lull.domain.partition import PARTITION_BYTES_MIN, PARTITIONS_MAX, Range, cut, target_bytes, thin

SPLIT_BYTES_MAX = 1 << 30
"""The server's own limit for ``splitVector``."""
SPLIT_MS_MAX = 30_000
"""A covered scan of ``_id``: enough for a hundred million documents; beyond that a sample is as good."""
SAMPLES_PER_PARTITION = 20
"""The sizes of partitions cut at every twentieth of a sorted sample differ by a fifth or so."""
SAMPLE_FRACTION_MAX = 0.045
"""Below 5 % of a collection ``$sample`` walks a random cursor; above, it reads everything."""
READ_ALL_IDS_MAX = 20_000
"""So few keys are read, not sampled."""
BOUNDARY_BYTES_MAX = 4 << 20
"""All boundaries travel in one query."""


def ranges(cluster: Cluster, spec: JobSpec, source: Source) -> list[Range[Key]]:
    """
    Return disjoint ranges of ``_id`` that cover every document there is now; none for an empty collection.

    What is inserted above the last key later belongs to the application.
    """
    with world_errors(f"cutting {spec.source.namespace} into partitions"):
        boundaries = _boundaries(cluster, spec, source)
        last = _last(cluster, spec)
        if last is None:
            return []
        return cut(_in_order(cluster, spec, boundaries, last), last)


def _last(cluster: Cluster, spec: JobSpec) -> Key | None:
    found = cluster.source(spec).find_one({}, {"_id": 1}, sort=[("_id", -1)], hint=ID_INDEX, comment=_comment(spec))
    return None if found is None else Key(found["_id"])


def _boundaries(cluster: Cluster, spec: JobSpec, source: Source) -> list[Any]:
    """Return keys at about every partition's end, in any order, some perhaps twice or gone."""
    if source.bytes < 2 * PARTITION_BYTES_MIN:
        return []
    proposed = _split(cluster, spec, source)
    if proposed is None:
        proposed = _sampled(cluster, spec, source)
    return _bounded(proposed)


def _split(cluster: Cluster, spec: JobSpec, source: Source) -> list[Any] | None:
    """Ask the server's index for split points; None where it may not be asked (a role, a router, Atlas)."""
    # The server splits at half of what it is told, so that chunks have room to grow.
    size = min(2 * target_bytes(source.bytes), SPLIT_BYTES_MAX)
    try:
        found = cluster.database(spec.source.database).command(
            "splitVector",
            spec.source.namespace,
            keyPattern=dict(ID_INDEX),
            maxChunkSizeBytes=size,
            maxTimeMS=SPLIT_MS_MAX,
        )
    except OperationFailure:
        return None
    return [key["_id"] for key in found["splitKeys"]]


def _sampled(cluster: Cluster, spec: JobSpec, source: Source) -> list[Any]:
    wanted = max(2, source.bytes // target_bytes(source.bytes))
    keys = _every_key(cluster, spec) if source.documents <= READ_ALL_IDS_MAX else _sample(cluster, spec, source, wanted)
    # The first interval's end is the first boundary: a boundary at the very first key would cut off one document.
    step = max(1, len(keys) // wanted)
    return keys[step - 1 :: step]


def _every_key(cluster: Cluster, spec: JobSpec) -> list[Any]:
    cursor = cluster.source(spec).find(
        {}, {"_id": 1}, sort=ID_INDEX, hint=ID_INDEX, limit=2 * READ_ALL_IDS_MAX, comment=_comment(spec)
    )
    return [found["_id"] for found in cursor]


def _sample(cluster: Cluster, spec: JobSpec, source: Source, wanted: int) -> list[Any]:
    size = max(1, min(wanted * SAMPLES_PER_PARTITION, int(source.documents * SAMPLE_FRACTION_MAX)))
    stages: list[Document] = [{"$sample": {"size": size}}, {"$project": {"_id": 1}}, {"$sort": {"_id": 1}}]
    return [found["_id"] for found in cluster.source(spec).aggregate(stages, allowDiskUse=True, comment=_comment(spec))]


def _bounded(keys: list[Any]) -> list[Any]:
    """Return at most as many keys as partitions may have ends, and as fit into one query."""
    kept = thin(keys, PARTITIONS_MAX - 1)
    size = len(bson.encode({"keys": kept}))
    return kept if size <= BOUNDARY_BYTES_MAX else thin(kept, max(1, len(kept) * BOUNDARY_BYTES_MAX // size // 2))


def _in_order(cluster: Cluster, spec: JobSpec, boundaries: list[Any], last: Key) -> list[Key]:
    """Return those *boundaries* that exist and lie below *last*, each once, as the index orders them."""
    if not boundaries:
        return []
    query = both({"_id": {"$in": boundaries}}, key_range(None, last))
    cursor = cluster.source(spec).find(query, {"_id": 1}, sort=ID_INDEX, hint=ID_INDEX, comment=_comment(spec))
    keys = [Key(found["_id"]) for found in cursor]
    return keys[:-1] if keys and _same(keys[-1], last) else keys


def _same(one: Key, other: Key) -> bool:
    return bson.encode({"k": one.value}) == bson.encode({"k": other.value})


def _comment(spec: JobSpec) -> str:
    return f"lull job={spec.job} plan"

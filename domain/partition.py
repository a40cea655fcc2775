"""How a source range is cut into partitions. Boundaries are opaque: only activities open them."""

from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

K = TypeVar("K")

PARTITION_BYTES_MIN = 16 << 20
"""Below this a partition costs more in activity calls than it gives in parallelism."""
PARTITION_BYTES_MAX = 1 << 30
PARTITIONS_WANTED = 32
"""Enough that the last ones end together, few enough that each is many pages."""
PARTITIONS_MAX = 4_096


def target_bytes(collection_bytes: int) -> int:
    """Return how many bytes one partition should span."""
    wanted = max(PARTITION_BYTES_MIN, min(PARTITION_BYTES_MAX, collection_bytes // PARTITIONS_WANTED))
    return max(wanted, -(-collection_bytes // PARTITIONS_MAX))


class Range(NamedTuple, Generic[K]):
    """Documents whose key lies above ``after`` (None: from the first) up to and including ``upto``."""

    number: int
    after: K | None
    upto: K


def cut(boundaries: Sequence[K], last: K) -> list[Range[K]]:
    """
    Return disjoint ranges that cover everything up to *last*, numbered from 0.

    *boundaries* are distinct keys in index order, all below *last*.
    """
    uppers = [*boundaries, last]
    lowers: list[K | None] = [None, *boundaries]
    return [Range(n, after, upto) for n, (after, upto) in enumerate(zip(lowers, uppers, strict=True))]


def thin(boundaries: Sequence[K], most: int) -> list[K]:
    """Return at most *most* of *boundaries*, in order and so spread that what lies between them is even."""
    if len(boundaries) <= most:
        return list(boundaries)
    # n boundaries make n + 1 pieces, which become most + 1: the first and the last count like the others.
    pieces = len(boundaries) + 1
    return [boundaries[i * pieces // (most + 1) - 1] for i in range(1, most + 1)]

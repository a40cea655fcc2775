"""Partitions are disjoint, cover the range, and are cut evenly."""

import itertools

from hypothesis import assume, given
from hypothesis import strategies as st

from lull.domain.partition import (
    PARTITION_BYTES_MAX,
    PARTITION_BYTES_MIN,
    PARTITIONS_MAX,
    PARTITIONS_WANTED,
    Range,
    cut,
    target_bytes,
    thin,
)

KEYS = st.sets(st.integers(-50, 50), min_size=1, max_size=40).map(sorted)


def holds(part: Range[int], key: int) -> bool:
    return (part.after is None or part.after < key) and key <= part.upto


@given(KEYS)
def test_every_key_up_to_the_last_lies_in_exactly_one_partition(keys: list[int]):
    *boundaries, last = keys
    parts = cut(boundaries, last)
    for key in range(-60, 61):
        assert sum(holds(part, key) for part in parts) == (1 if key <= last else 0)


@given(KEYS)
def test_partitions_are_numbered_from_zero_in_the_order_of_the_index(keys: list[int]):
    *boundaries, last = keys
    parts = cut(boundaries, last)
    assert [part.number for part in parts] == list(range(len(keys)))
    assert parts[0].after is None
    assert [part.upto for part in parts] == keys
    assert all(right.after == left.upto for left, right in itertools.pairwise(parts))


def test_a_small_collection_is_one_partition():
    assert cut([], "z") == [Range(0, None, "z")]


def test_boundaries_are_opaque_and_may_be_falsy():
    """0, "" and null are keys like any other; only the first partition begins nowhere."""
    assert cut([0, ""], None) == [Range(0, None, 0), Range(1, 0, ""), Range(2, "", None)]


@given(st.lists(st.integers(), unique=True, max_size=200), st.integers(0, 250))
def test_thinning_keeps_order_and_distinctness_and_never_keeps_more_than_asked(boundaries: list[int], most: int):
    kept = thin(boundaries, most)
    assert len(kept) == min(most, len(boundaries))
    assert len(set(kept)) == len(kept)
    assert [boundary for boundary in boundaries if boundary in set(kept)] == kept


@given(st.integers(1, 500), st.integers(1, 500))
def test_thinning_leaves_pieces_of_nearly_one_size(count: int, most: int):
    """Including the first and the last piece: one huge last partition would run alone at the end."""
    assume(most < count)
    kept = thin(range(count), most)
    edges = [-1, *kept, count]
    sizes = [right - left for left, right in itertools.pairwise(edges)]
    assert max(sizes) - min(sizes) <= 1


def test_thinning_to_one_keeps_the_middle():
    assert thin([10, 20, 30], 1) == [20]
    assert thin([10, 20, 30], 0) == []


@given(st.integers(0, 2**60))
def test_a_partition_is_neither_tiny_nor_does_a_collection_have_too_many(collection_bytes: int):
    target = target_bytes(collection_bytes)
    assert target >= PARTITION_BYTES_MIN
    assert -(-collection_bytes // target) <= PARTITIONS_MAX


def test_middling_collections_get_the_wanted_number_and_large_ones_no_huge_partitions():
    assert target_bytes(0) == PARTITION_BYTES_MIN
    assert target_bytes(PARTITIONS_WANTED * (100 << 20)) == 100 << 20
    assert target_bytes(PARTITIONS_WANTED * PARTITION_BYTES_MAX * 4) == PARTITION_BYTES_MAX
    assert target_bytes(PARTITIONS_MAX * PARTITION_BYTES_MAX * 2) == 2 * PARTITION_BYTES_MAX

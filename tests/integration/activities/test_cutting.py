"""Partitions are disjoint and cover: every document lies in exactly one, whatever its ``_id`` is."""

import uuid
from datetime import datetime
from typing import Any

import bson
import pytest
from bson import Binary, Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Timestamp
from bson.son import SON
from pymongo import ASCENDING

from lull.activities import cutting, sources
from lull.activities.mongo import Key, key_range
from lull.domain.partition import cut, target_bytes

EVERY_TYPE = [
    MinKey(), None, float("nan"), float("-inf"), -5, 2.5, Int64(7), Decimal128("8.5"), float("inf"),
    "", "$string", "a.b", "zz", {}, {"a": 1}, SON([("b", 2), ("a", {"c": None})]),
    Binary(b"abc"), Binary(uuid.uuid4().bytes, 4), b"", ObjectId(), ObjectId("0" * 24),
    False, True, datetime(1960, 1, 1), datetime(2026, 1, 1), Timestamp(1, 2), Code("x"), MaxKey(),  # noqa: DTZ001
]  # fmt: skip


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut collections of kilobytes as if they were of gigabytes."""
    monkeypatch.setattr(cutting, "PARTITION_BYTES_MIN", 1)
    monkeypatch.setattr(cutting, "target_bytes", lambda _: 2_000)


@pytest.fixture
def no_split(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a user without the privilege."""
    monkeypatch.setattr(cutting, "_split", lambda *_: None)


def cuts(world: Any) -> Any:
    spec = world.spec()
    return cutting.ranges(world.cluster, spec, sources.examine(world.cluster, spec))


def ids_in(world: Any, piece: Any) -> list[bytes]:
    found = world.database.c.find(key_range(piece.after, piece.upto), {"_id": 1}).hint([("_id", 1)])
    return [bson.encode(each) for each in found]


def assert_cover(world: Any, pieces: Any) -> None:
    in_pieces = [key for piece in pieces for key in ids_in(world, piece)]
    in_order = [bson.encode(each) for each in world.database.c.find({}, {"_id": 1}).sort("_id", ASCENDING)]
    assert in_pieces == in_order
    assert all(ids_in(world, piece) for piece in pieces)


@pytest.mark.usefixtures("small", "no_split")
def test_every_type_of_id_lies_in_exactly_one_partition(world: Any):
    """Cut after every single document, in the server's order: types meet at half of the boundaries."""
    world.database.c.insert_many([{"_id": key, "pad": "x" * 1_000} for key in EVERY_TYPE])
    pieces = cuts(world)
    assert len(pieces) > 10
    assert_cover(world, pieces)


def test_a_boundary_between_any_two_neighbours_is_one(world: Any):
    world.database.c.insert_many([{"_id": key} for key in EVERY_TYPE])
    keys = [Key(found["_id"]) for found in world.database.c.find({}, {"_id": 1}).sort("_id", ASCENDING)]
    assert_cover(world, cut(keys[:-1], keys[-1]))


@pytest.mark.usefixtures("small", "no_split")
@pytest.mark.parametrize("read_all_max", [0, 20_000])
def test_many_ids_of_mixed_types_are_covered(world: Any, monkeypatch: pytest.MonkeyPatch, read_all_max: int):
    """By a random sample, and where there are few by reading them all."""
    monkeypatch.setattr(cutting, "READ_ALL_IDS_MAX", read_all_max)
    keys = [make(n) for n in range(700) for make in (int, str, lambda n: {"n": n}, lambda _: ObjectId())]
    world.database.c.insert_many([{"_id": key} for key in keys])
    pieces = cuts(world)
    assert len(pieces) > 3
    assert_cover(world, pieces)


def test_the_servers_own_split_points_are_used_where_allowed(world: Any):
    """70 MB make two partitions at least, without a look at the documents."""
    world.database.c.insert_many([{"_id": n, "pad": "x" * 100_000} for n in range(700)])
    spec = world.spec()
    source = sources.examine(world.cluster, spec)
    proposed = cutting._split(world.cluster, spec, source)
    assert proposed
    pieces = cuts(world)
    assert [piece.upto.value for piece in pieces[:-1]] == proposed
    assert len(pieces) <= 2 * source.bytes / target_bytes(source.bytes) + 1
    assert_cover(world, pieces)


def test_a_small_collection_is_one_partition(world: Any):
    world.database.c.insert_many([{"_id": n} for n in range(1_000)])
    (piece,) = cuts(world)
    assert (piece.after, piece.upto) == (None, Key(999))


def test_an_empty_collection_is_none(world: Any):
    world.database.create_collection("c")
    assert cuts(world) == []


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("proposed", [[5, 5, 9, 2], [200, 99, 300, 7], [99], ["nowhere", 3], []])
def test_whatever_is_proposed_boundaries_ascend_below_the_last_key(
    world: Any, monkeypatch: pytest.MonkeyPatch, proposed: list[Any]
):
    """Twice the same key, keys out of order, keys that are gone, the last key itself."""
    world.database.c.insert_many([{"_id": n} for n in range(100)])
    monkeypatch.setattr(cutting, "_split", lambda *_: proposed)
    pieces = cuts(world)
    uppers = [piece.upto.value for piece in pieces]
    assert uppers == [*sorted({key for key in proposed if isinstance(key, int) and key < 99}), 99]
    assert_cover(world, pieces)


@pytest.mark.usefixtures("small", "no_split")
def test_ids_are_ordered_by_the_collections_own_collation(world: Any):
    """By bytes, B comes before a; by the collation it does not."""
    world.database.create_collection("c", collation={"locale": "en", "strength": 2})
    world.database.c.insert_many([{"_id": f"{letter}{n}"} for n in range(300) for letter in "aBcDeF"])
    pieces = cuts(world)
    assert len(pieces) > 3
    assert_cover(world, pieces)


@pytest.mark.usefixtures("small", "no_split")
def test_a_clustered_collection_is_covered(world: Any):
    world.database.create_collection("c", clusteredIndex={"key": {"_id": 1}, "unique": True})
    world.database.c.insert_many([{"_id": make(n)} for n in range(900) for make in (int, str)])
    pieces = cuts(world)
    assert len(pieces) > 3
    assert_cover(world, pieces)


@pytest.mark.usefixtures("small", "no_split")
def test_large_ids_make_fewer_partitions_instead_of_a_query_that_is_too_big(
    world: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(cutting, "BOUNDARY_BYTES_MAX", 50_000)
    world.database.c.insert_many([{"_id": f"{n:04}" + "x" * 1_000} for n in range(500)])
    pieces = cuts(world)
    assert 2 < len(pieces) < 50
    assert_cover(world, pieces)

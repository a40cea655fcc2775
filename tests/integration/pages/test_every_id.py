"""Every document is processed exactly once, whatever its ``_id`` is."""

import datetime as dt
import math
import uuid
from typing import Any

import pytest
from bson import Binary, Code, DatetimeMS, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Timestamp

from lull.activities.slices import Slice
from lull.activities.transforms import Replace
from lull.domain.job import JobSpec
from lull.domain.slice import SliceEnd

NAN, INFINITY = math.nan, math.inf
IDS: list[Any] = [
    MinKey(), None, True, False,
    NAN, -INFINITY, INFINITY, -3, 0, 1, 2.5, Int64(2**53 + 1), Int64(-(2**63)), 1e300, 5e-324,
    Decimal128("7.5"), Decimal128("1E+6000"), Decimal128("-1E+6000"),
    "", "a", "A", "$a", "$b", "é", "\U0001f600", "a\x00b", "ab" * 200, "10", "9",
    {}, {"a": 1}, {"a": 1.5, "b": "x"}, {"a": {"b": [1, {"c": None}]}}, {"b": 1, "a": 1}, {"a": "$x"},
    b"", b"abc", Binary(uuid.UUID(int=7).bytes, 4), Binary(uuid.UUID(int=7).bytes, 3), Binary(b"x", 0x80),
    ObjectId(b"000000000000"), ObjectId(b"zzzzzzzzzzzz"), ObjectId(),
    dt.datetime(1969, 7, 20, tzinfo=dt.UTC), dt.datetime(2020, 1, 1, tzinfo=dt.UTC), DatetimeMS(2**60), DatetimeMS(-(2**60)),
    Timestamp(1, 1), Timestamp(2**32 - 1, 7), Code("return 1"), DBRef("c", 1), MaxKey(),
]  # fmt: skip
KINDS = ["update", "transform", "replace", "purge"]


def made(world: Any, kind: str, **fields: Any) -> JobSpec:
    if kind == "update":
        return world.spec("update", update={"$inc": {"n": 1}}, **fields)
    if kind == "transform":
        return world.spec("transform", transform=world.transform(lambda d: {"n": d.get("n", 0) + 1}), **fields)
    if kind == "replace":
        grown = world.transform(lambda d: Replace({**d, "n": d.get("n", 0) + 1}))
        return world.spec("transform", transform=grown, **fields)
    return world.spec("purge", **fields)


def cuts_of(ids: list[Any], partitions: int) -> list[Any]:
    return [ids[len(ids) * i // partitions] for i in range(1, partitions)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("page_docs", "partitions"), [(1, 3), (2, 1), (3, 5), (7, 2), (100, 1)])
async def test_documents_with_every_type_of_id_are_processed_exactly_once(
    world: Any, kind: str, page_docs: int, partitions: int
):
    ids = world.fill([{"_id": key, "v": place} for place, key in enumerate(IDS)])
    counts = await world.run(made(world, kind, page_docs=page_docs), cuts=cuts_of(ids, partitions))
    assert (counts.scanned, counts.seen, counts.changed) == (len(IDS),) * 3
    assert counts.pages >= len(IDS) / page_docs
    left = world.by_id().values()
    assert [d["n"] for d in left] == ([] if kind == "purge" else [1] * len(IDS))
    assert sorted(d["v"] for d in left) == ([] if kind == "purge" else list(range(len(IDS))))


@pytest.mark.parametrize("kind", ["update", "transform"])
async def test_every_type_of_id_can_be_a_position_that_the_next_slice_goes_on_from(
    world: Any, monkeypatch: Any, kind: str
):
    """Null too, which is not the same as no position."""
    world.fill([{"_id": key, "v": place} for place, key in enumerate(IDS)])
    spec = made(world, kind, page_docs=1)
    world.open(spec)
    told, pages = Slice._told_to_stop, [0]

    def after_one_page(self: Slice) -> SliceEnd | None:
        return SliceEnd.SLICE_OVER if self.snapshot.counts.pages > pages[0] else told(self)

    monkeypatch.setattr(Slice, "_told_to_stop", after_one_page)
    while (report := await world.slice(spec)).end is SliceEnd.SLICE_OVER:
        pages[0] += 1
        assert report.snapshot.counts.pages == pages[0] <= len(IDS)
    assert [d["n"] for d in world.by_id().values()] == [1] * len(IDS)


async def test_every_type_of_id_can_bound_a_partition(world: Any):
    ids = world.fill([{"_id": key, "v": place} for place, key in enumerate(IDS)])
    counts = await world.run(made(world, "update"), cuts=ids[:-1])
    assert counts.scanned == len(IDS)
    assert [d["n"] for d in world.by_id().values()] == [1] * len(IDS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("page_docs", "partitions"), [(1, 4), (2, 1), (7, 3)])
@pytest.mark.parametrize("every", [2, 9])
async def test_with_a_filter_exactly_those_that_match_are_processed(
    world: Any, kind: str, page_docs: int, partitions: int, every: int
):
    ids = world.fill([{"_id": key, "v": place, "match": place % every == 1} for place, key in enumerate(IDS)])
    spec = made(world, kind, page_docs=page_docs, filter={"match": True})
    counts = await world.run(spec, cuts=cuts_of(ids, partitions))
    matching = [place for place in range(len(IDS)) if place % every == 1]
    assert (counts.scanned, counts.seen, counts.changed) == (len(IDS), len(matching), len(matching))
    left = {d["v"]: d for d in world.by_id().values()}
    assert sorted(left) == [p for p in range(len(IDS)) if kind != "purge" or p not in matching]
    assert all(d.get("n") == (1 if place in matching else None) for place, d in left.items())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strength", [1, 2, 3])
async def test_a_collection_with_its_own_collation_is_walked_in_its_own_order(world: Any, kind: str, strength: int):
    """Its _id index sorts by the collation: b after á after A, and peach before péché whatever their bytes are."""
    world.client[world.name].create_collection("c", collation={"locale": "fr", "strength": strength})
    words = ["b", "á1", "A2", "Z", "péché", "peach", "pêche2", "côte3", "cote", "é", "E4", "10", "9", "$a", "_", ""]
    keys = [*words, *({"name": word} for word in words), *range(5), None, ObjectId()]
    ids = world.fill([{"_id": key, "kind": "A" if place % 2 else "b"} for place, key in enumerate(keys)])
    assert ids != sorted(ids, key=repr)
    counts = await world.run(made(world, kind, page_docs=3), cuts=cuts_of(ids, 4))
    assert (counts.scanned, counts.seen, counts.changed) == (len(keys),) * 3
    assert [d["n"] for d in world.by_id().values()] == ([] if kind == "purge" else [1] * len(keys))


@pytest.mark.parametrize("kind", KINDS)
async def test_the_upper_bound_is_fixed_documents_beyond_it_belong_to_the_application(world: Any, kind: str):
    world.fill([{"_id": key} for key in range(10)])
    spec = made(world, kind, page_docs=3)
    world.open(spec)
    world.source.insert_many([{"_id": key} for key in (10, 11, "text")])
    await world.slice(spec)
    untouched = [d["_id"] for d in world.source.find({"n": {"$exists": False}})]
    assert untouched == [10, 11, "text"]


async def test_a_partition_that_was_emptied_is_done_at_once(world: Any):
    world.fill([{"_id": key} for key in range(10)])
    spec = made(world, "transform")
    world.open(spec)
    world.source.delete_many({})
    report = await world.slice(spec)
    assert (report.end, report.snapshot.done, report.snapshot.counts.pages) == ("done", True, 0)

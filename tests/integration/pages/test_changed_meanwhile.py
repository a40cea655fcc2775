"""
Documents that change between the read of a page and its write, or while whole jobs run.

The function writes ``w`` from ``v`` and appends to ``applied``; the foreground sets ``v``, counts its
own updates, and notes in ``late`` whether the document was transformed before. So each document tells
by itself whether it was transformed once, from the right ``v``, and whether an update was lost.
"""

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from lull.activities.kinds import transform
from lull.activities.transforms import Replace

Document = dict[str, Any]
DOCS = 120


def function(document: Document) -> Document:
    return {"w": document["v"] * 2, "applied": [*document.get("applied", []), document["v"]]}


def replacing(document: Document) -> Replace:
    return Replace({**document, **function(document)})


def documents(keys: Sequence[int]) -> list[Document]:
    return [{"_id": key, "v": key, "count": 0, "match": True} for key in keys]


def touch(v: int) -> list[Document]:
    """A foreground update: it sees whether the transform was there before it."""
    was_there = {"$gt": [{"$size": {"$ifNull": ["$applied", []]}}, 0]}
    return [{"$set": {"v": v, "count": {"$add": ["$count", 1]}, "late": was_there}}]


def check(document: Document, count: int = 0) -> None:
    """Transformed exactly once, from what was there then; no foreground update lost."""
    assert document["count"] == count, document
    assert len(document["applied"]) == 1, document
    assert document["w"] == document["applied"][0] * 2, document
    if not document.get("late"):
        assert document["w"] == document["v"] * 2, document


def few(world: Any) -> dict[int, int]:
    world.source.update_many({"_id": {"$in": [2, 30, 59]}}, touch(1_000))
    return {2: 1, 30: 1, 59: 1}


def many(world: Any) -> dict[int, int]:
    world.source.update_many({"_id": {"$lt": 45}}, touch(1_000))
    return dict.fromkeys(range(45), 1)


def every(world: Any) -> dict[int, int]:
    world.source.update_many({}, touch(1_000))
    return dict.fromkeys(range(DOCS), 1)


def same_bytes_elsewhere(world: Any) -> dict[int, int]:
    """Another document gets the content that this one was computed from."""
    world.source.update_one({"_id": 5}, touch(6))
    world.source.update_one({"_id": 6}, touch(5))
    return {5: 1, 6: 1}


def inserted(world: Any) -> dict[int, int]:
    world.source.insert_many([{**d, "_id": d["_id"] + 0.5} for d in documents(range(3, 13))])
    return {}


def crowded(world: Any) -> dict[int, int]:
    """More than a page may take in."""
    world.source.insert_many([{**d, "_id": 3 + d["_id"] / 1_000} for d in documents(range(1, 400))])
    return {}


def all_together(world: Any) -> dict[int, int]:
    changed = few(world)
    inserted(world)
    world.source.delete_many({"_id": {"$in": [7, 31]}})
    return changed


@pytest.mark.parametrize("change", [few, many, every, same_bytes_elsewhere, inserted, crowded, all_together])
@pytest.mark.parametrize("page_docs", [7, 60])
@pytest.mark.parametrize("filtered", [False, True], ids=["all", "filtered"])
@pytest.mark.parametrize("how", [function, replacing])
async def test_what_changed_after_the_read_is_computed_from_what_is_there_at_the_write(
    world: Any, hooked: Any, *, change: Callable[[Any], dict[int, int]], page_docs: int, filtered: bool, how: Any
):
    world.source.insert_many(documents(range(DOCS)))
    counts: dict[int, int] = {}
    meanwhile = hooked(how, lambda d: d["_id"] == 0, lambda: counts.update(change(world)))
    spec = world.spec(
        "transform",
        transform=world.transform(meanwhile),
        page_docs=page_docs,
        filter={"match": True} if filtered else {},
    )
    total = await world.run(spec)
    assert meanwhile.fired.is_set()
    found = world.by_id().values()
    for document in found:
        check(document, counts.get(document["_id"], 0))
    assert total.changed == len(found)
    assert total.quarantined == 0


@pytest.mark.parametrize("gone", [[0], [5, 6, 7], [59], list(range(60)), list(range(100)), list(range(DOCS))])
@pytest.mark.parametrize("deleted", [False, True], ids=["no longer matching", "deleted"])
async def test_what_is_gone_or_no_longer_matches_at_the_write_is_left_alone(
    world: Any, hooked: Any, *, gone: list[int], deleted: bool
):
    world.source.insert_many(documents(range(DOCS)))

    def go() -> None:
        if deleted:
            world.source.delete_many({"_id": {"$in": gone}})
        else:
            world.source.update_many({"_id": {"$in": gone}}, {"$set": {"match": False}})

    name = world.transform(hooked(function, lambda d: d["_id"] == 0, go))
    total = await world.run(world.spec("transform", transform=name, page_docs=60, filter={"match": True}))
    for document in world.by_id().values():
        if document["match"]:
            check(document)
        else:
            assert "applied" not in document
    assert total.changed == DOCS - len(gone)
    assert total.skipped == len([key for key in gone if key < 60])


async def test_documents_deleted_behind_a_cut_page_are_counted_once(world: Any, hooked: Any):
    world.source.insert_many(documents(range(DOCS)))

    def change() -> None:
        world.source.update_many({"_id": {"$lt": 30}}, touch(1_000))
        world.source.delete_many({"_id": {"$in": [10, 50]}})

    name = world.transform(hooked(function, lambda d: d["_id"] == 0, change))
    total = await world.run(world.spec("transform", transform=name, page_docs=60))
    assert (total.changed, total.seen) == (DOCS - 2, DOCS - 1)
    assert len(world.ids()) == DOCS - 2


async def test_a_page_that_is_too_changed_ends_before_it_holds_its_documents_long(world: Any, hooked: Any):
    """Twenty documents are computed inside the transaction at most, and then it commits what it has."""
    world.source.insert_many(documents(range(DOCS)))
    name = world.transform(hooked(function, lambda d: d["_id"] == 0, lambda: every(world)))
    spec = world.spec("transform", transform=name, page_docs=60)
    total = await world.run(spec)
    assert total.pages >= 1 + (DOCS - transform.RECOMPUTED_MAX) // 60


@pytest.mark.parametrize("kind", ["update", "transform", "replace"])
async def test_beside_a_foreground_that_writes_the_same_documents_nothing_is_lost_or_done_twice(world: Any, kind: str):
    """The writer goes on until every partition is done; updates, inserts and deletes, by many threads' luck."""
    world.source.insert_many(documents(range(1_500)))
    if kind == "update":
        update = [
            {
                "$set": {
                    "w": {"$multiply": ["$v", 2]},
                    "applied": {"$concatArrays": [{"$ifNull": ["$applied", []]}, ["$v"]]},
                }
            }
        ]
        spec = world.spec("update", update=update, page_docs=40)
    else:
        name = world.transform(function if kind == "transform" else replacing)
        spec = world.spec("transform", transform=name, page_docs=40)
    made, removed, over = Counter[int](), set[int](), threading.Event()

    def write() -> None:
        draw = random.Random(7)
        while not over.is_set():
            key = draw.randrange(1_500)
            if draw.random() < 0.02 and key not in made:
                world.source.delete_one({"_id": key})
                removed.add(key)
            elif draw.random() < 0.3:
                keys = [k for k in range(key, key + 30) if k not in removed and k < 1_500]
                world.source.update_many({"_id": {"$in": keys}}, touch(draw.randrange(10**6)))
                made.update(keys)
            elif key not in removed:
                world.source.update_one({"_id": key}, touch(draw.randrange(10**6)))
                made[key] += 1

    writer = asyncio.create_task(asyncio.to_thread(write))
    try:
        total = await world.run(spec, cuts=[700, 1_100])
    finally:
        over.set()
        await writer
    found = {d["_id"]: d for d in world.by_id().values()}
    assert sorted(found) == [key for key in range(1_500) if key not in removed]
    for key, document in found.items():
        check(document, made[key])
    assert sum(made.values()) > 20
    assert total.changed + total.skipped <= 1_500
    assert total.changed >= len(found)


async def test_increments_of_job_and_foreground_add_up(world: Any):
    world.source.insert_many([{"_id": key, "n": 0} for key in range(1_000)])
    spec = world.spec("update", update={"$inc": {"n": 1_000}}, page_docs=50)
    made, over = Counter[int](), threading.Event()

    def write() -> None:
        draw = random.Random(3)
        while not over.is_set():
            key = draw.randrange(1_000)
            world.source.update_one({"_id": key}, {"$inc": {"n": 1}})
            made[key] += 1

    writer = asyncio.create_task(asyncio.to_thread(write))
    try:
        total = await world.run(spec, cuts=[500])
    finally:
        over.set()
        await writer
    assert {d["_id"]: d["n"] for d in world.by_id().values()} == {key: 1_000 + made[key] for key in range(1_000)}
    assert total.changed == 1_000

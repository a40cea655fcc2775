"""Purges that drain the filter's own index: whatever matches goes, nothing else does, nothing else is touched."""

import asyncio
import random
import threading
from typing import Any

import pytest

from lull.activities.kinds import purge
from lull.activities.lease import Lease
from lull.domain.slice import SliceEnd, Verb

DRAIN = {"name": "k_1", "keys": [["k", 1]]}


@pytest.fixture
def indexed(world: Any) -> Any:
    world.source.create_index("k")
    return world


def matching(world: Any) -> list[Any]:
    return [found["_id"] for found in world.source.find({"k": {"$lt": 100}}, {"_id": 1})]


@pytest.mark.parametrize("page_docs", [1, 7, 2_000])
@pytest.mark.parametrize("keys", [lambda _: 5, lambda i: i, lambda i: -i, lambda i: [None, 7, 7, "x"][i % 4]])
async def test_everything_that_matches_goes_and_nothing_else(indexed: Any, page_docs: int, keys: Any):
    """All with the same key too: there is no position that equal keys could confuse."""
    docs = 60 if page_docs == 1 else 400
    indexed.fill([{"_id": i, "k": keys(i)} for i in range(docs)] + [{"_id": -i, "k": 100 + i} for i in range(1, 50)])
    due = len(matching(indexed))
    counts = await indexed.run(indexed.spec("purge", filter={"k": {"$lt": 100}}, page_docs=page_docs), drain=DRAIN)
    assert (counts.seen, counts.changed, counts.skipped) == (due, due, 0)
    assert matching(indexed) == []
    assert len(indexed.ids()) == docs - due + 49


async def test_ids_of_every_type_are_drained(indexed: Any):
    ids = [1, 1.5, "a", "$a", None, True, {"a": 1}, {}, b"x", float("nan")]
    indexed.fill([{"_id": key, "k": 1} for key in ids])
    counts = await indexed.run(indexed.spec("purge", filter={"k": 1}, page_docs=3), drain=DRAIN)
    assert (counts.changed, indexed.ids()) == (len(ids), [])


async def test_a_compound_index_is_drained_in_any_direction(world: Any):
    world.source.create_index([("tenant", 1), ("at", -1)], name="compound")
    world.fill([{"_id": i, "tenant": "ab"[i % 2], "at": i} for i in range(300)])
    spec = world.spec("purge", filter={"tenant": "a", "at": {"$lt": 200}}, page_docs=13)
    counts = await world.run(spec, drain={"name": "compound", "keys": [["tenant", 1], ["at", -1]]})
    assert counts.changed == 100
    assert world.ids() == [i for i in range(300) if i % 2 or i >= 200]


async def test_a_slice_that_ends_on_the_way_is_gone_on_with(indexed: Any, monkeypatch: Any):
    indexed.fill([{"_id": i, "k": 5} for i in range(200)])
    spec = indexed.spec("purge", filter={"k": 5}, page_docs=10)
    indexed.open(spec, drain=DRAIN)
    written = purge.DrainPurge.write

    def and_pause(self: Any, page: Any, session: Any) -> Any:
        indexed.publish_and_seen(spec, verb=Verb.PAUSE)
        return written(self, page, session)

    with monkeypatch.context() as patched:
        patched.setattr(purge.DrainPurge, "write", and_pause)
        report = await indexed.slice(spec)
    assert (report.end, report.snapshot.counts.changed) == (SliceEnd.PAUSED, 10)
    indexed.publish(spec, verb=Verb.RUN)
    assert (await indexed.slice(spec, epoch=2)).end is SliceEnd.DONE
    assert (indexed.counts(spec).changed, indexed.ids()) == (200, [])


async def test_what_stops_matching_before_its_page_is_written_survives(indexed: Any, monkeypatch: Any):
    indexed.fill([{"_id": i, "k": 5} for i in range(100)])
    spec = indexed.spec("purge", filter={"k": 5}, page_docs=10)
    written = purge.DrainPurge.write
    saved: list[int] = []

    def and_save(self: Any, page: Any, session: Any) -> Any:
        if not saved:
            saved.extend(page.work[3:5])
            indexed.source.update_many({"_id": {"$in": saved}}, {"$set": {"k": 6}})
        return written(self, page, session)

    monkeypatch.setattr(purge.DrainPurge, "write", and_save)
    counts = await indexed.run(spec, drain=DRAIN)
    assert indexed.ids() == saved
    assert counts.changed == 98


async def test_what_comes_to_match_behind_the_cursor_goes_too(indexed: Any, monkeypatch: Any):
    indexed.fill([{"_id": i, "k": 5} for i in range(50)] + [{"_id": i, "k": 900} for i in range(50, 60)])
    spec = indexed.spec("purge", filter={"k": {"$lt": 100}}, page_docs=10)
    written = purge.DrainPurge.write
    pages: list[Any] = []

    def and_more(self: Any, page: Any, session: Any) -> Any:
        pages.append(page)
        if len(pages) == 3:
            indexed.source.update_many({"k": 900}, {"$set": {"k": 1}})
            indexed.source.insert_one({"_id": 99, "k": 0})
        return written(self, page, session)

    monkeypatch.setattr(purge.DrainPurge, "write", and_more)
    counts = await indexed.run(spec, drain=DRAIN)
    assert indexed.ids() == []
    assert counts.changed == 61


async def test_a_page_that_failed_is_handed_out_again_and_the_cursor_goes_on_behind_its_tombstones(
    indexed: Any, monkeypatch: Any
):
    """Conflicts must not walk the index from its beginning, past everything already deleted."""
    indexed.fill([{"_id": i, "k": i} for i in range(400)])
    spec = indexed.spec("purge", filter={"k": {"$lt": 1_000}}, page_docs=20)
    opened: list[int] = []
    conflicts: list[int] = []
    was_opened = purge.DrainPurge._opened

    def counted(self: Any) -> Any:
        opened.append(1)
        return was_opened(self)

    advance = Lease.advance
    draw = random.Random(5)

    def conflicting(self: Lease, *args: Any, **kwargs: Any) -> None:
        if draw.random() < 0.5 and len(conflicts) < 12:
            conflicts.append(1)
            raise indexed.write_conflict()
        advance(self, *args, **kwargs)

    monkeypatch.setattr(purge, "IDS_BATCH", 30)
    monkeypatch.setattr(purge.DrainPurge, "_opened", counted)
    monkeypatch.setattr(Lease, "advance", conflicting)
    counts = await indexed.run(spec, drain=DRAIN)
    assert (counts.changed, indexed.ids()) == (400, [])
    assert len(conflicts) == 12
    assert len(opened) <= 4  # the walk itself, and the asking whether anything is left


async def test_a_document_that_is_passed_over_is_not_met_again(indexed: Any, monkeypatch: Any):
    """A drain has no position to leave it behind: neither this slice nor the next may stumble over it for ever."""
    from lull.activities import slices

    indexed.fill([{"_id": i, "k": 5} for i in range(30)])
    spec = indexed.spec("purge", filter={"k": 5}, page_docs=7, stop_after=1)
    indexed.open(spec, drain=DRAIN)
    written = purge.DrainPurge.write

    def stubborn(self: Any, page: Any, session: Any) -> Any:
        if {11, 23} & set(page.work):
            raise indexed.refusal()
        return written(self, page, session)

    monkeypatch.setattr(purge.DrainPurge, "write", stubborn)
    assert (await indexed.slice(spec)).end is SliceEnd.POISON
    indexed.publish(spec, poison_max=10)
    assert (await indexed.slice(spec, epoch=1)).end is SliceEnd.DONE
    assert slices.HOT_TRIES_MAX
    assert [record["document_id"] for record in indexed.quarantine(spec)] == [11, 23]
    assert (indexed.counts(spec).quarantined, indexed.counts(spec).changed, indexed.ids()) == (2, 28, [11, 23])


async def test_a_purge_touches_only_what_matches(indexed: Any):
    """One percent of the collection: neither finding nor deleting reads the rest."""
    indexed.fill([{"_id": i, "k": i % 100} for i in range(5_000)])
    database = indexed.client[indexed.name]
    spec = indexed.spec("purge", filter={"k": 7}, page_docs=10)
    database.command("profile", 2)
    try:
        counts = await indexed.run(spec, drain=DRAIN)
    finally:
        database.command("profile", 0)
    assert counts.changed == 50
    ours = list(database["system.profile"].find({"command.comment": f"lull job={spec.job} partition=0"}))
    assert sum(each.get("ndeleted", 0) for each in ours) == 50
    examined = sum(each.get("docsExamined", 0) + each.get("keysExamined", 0) for each in ours)
    assert examined <= 50 * 8


async def test_beside_a_foreground_that_writes_the_same_documents_nothing_is_purged_that_does_not_match(indexed: Any):
    """Documents come to match and stop matching; each keeps score of what it was when it was last touched."""
    indexed.fill([{"_id": i, "k": 5, "n": 0} for i in range(1_000)])
    spec = indexed.spec("purge", filter={"k": 5}, page_docs=30)
    over, kept = threading.Event(), set[int]()

    def write() -> None:
        draw = random.Random(1)
        while not over.is_set():
            key = draw.randrange(1_000)
            if indexed.source.update_one({"_id": key}, {"$set": {"k": 6}, "$inc": {"n": 1}}).modified_count:
                kept.add(key)

    writer = asyncio.create_task(asyncio.to_thread(write))
    try:
        counts = await indexed.run(spec, drain=DRAIN)
    finally:
        over.set()
        await writer
    left = {d["_id"]: d for d in indexed.by_id().values()}
    assert set(left) == kept
    assert all(d["k"] == 6 for d in left.values())
    assert counts.changed == 1_000 - len(kept)

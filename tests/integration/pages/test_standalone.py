"""A server without transactions: at least once, and still never over a concurrent change."""

from typing import Any

import pytest

from lull.activities.kinds.transform import TransformPages
from lull.domain.guarantee import Promise
from lull.domain.slice import SliceEnd


@pytest.fixture
def world(standalone: str, make_world: Any) -> Any:
    return make_world(standalone)


async def run(world: Any, spec: Any, **opened: Any) -> Any:
    return await world.run(spec, promise=Promise.AT_LEAST_ONCE, **opened)


async def test_an_idempotent_update_runs_page_by_page(world: Any):
    ids = world.fill([{"_id": key} for key in [1, "a", "$b", None, {"x": 1}, *range(10, 60)]])
    counts = await run(world, world.spec("update", update={"$set": {"done": True}}, page_docs=7), cuts=[ids[20]])
    assert (counts.scanned, counts.changed) == (55, 55)
    assert all(d["done"] for d in world.by_id().values())


@pytest.mark.parametrize("drain", [None, {"name": "k_1", "keys": [["k", 1]]}])
async def test_a_purge_runs_by_range_and_by_index(world: Any, drain: Any):
    world.source.create_index("k")
    world.fill([{"_id": i, "k": i % 3} for i in range(90)])
    counts = await run(world, world.spec("purge", filter={"k": 1}, page_docs=7), drain=drain)
    assert counts.changed == 30
    assert all(d["k"] != 1 for d in world.by_id().values())


async def test_a_transform_writes_each_document_once_where_nothing_breaks(world: Any):
    world.fill([{"_id": i, "v": i} for i in range(100)])
    name = world.transform(lambda d: {"w": d["v"] * 2, "n": d.get("n", 0) + 1})
    counts = await run(world, world.spec("transform", transform=name, page_docs=13))
    assert (counts.seen, counts.changed) == (100, 100)
    assert all((d["w"], d["n"]) == (d["v"] * 2, 1) for d in world.by_id().values())


async def test_a_change_after_the_read_back_is_never_overwritten_and_never_missed(world: Any, monkeypatch: Any):
    """Each write carries what it was computed from; whatever was another by then is computed and written again."""
    world.fill([{"_id": i, "v": i, "n": 0} for i in range(60)])
    updates: list[int] = []
    run_guarded = TransformPages._run_guarded

    def and_change(self: Any, plan: Any, draft: Any) -> int:
        if len(updates) < 12:
            for key in (3, 7, 8, 25):
                world.source.update_one({"_id": key}, {"$set": {"v": 1_000 + len(updates)}, "$inc": {"updates": 1}})
                updates.append(key)
        return run_guarded(self, plan, draft)

    monkeypatch.setattr(TransformPages, "_run_guarded", and_change)
    name = world.transform(lambda d: {"w": d["v"] * 2, "n": d["n"] + 1})
    counts = await run(world, world.spec("transform", transform=name, page_docs=20))
    assert (counts.seen, counts.changed) == (60, 60)
    for document in world.by_id().values():
        assert document["w"] == document["v"] * 2
        assert document["n"] == 1
        assert document.get("updates", 0) == updates.count(document["_id"])


async def test_what_goes_while_its_page_is_written_is_counted_as_gone(world: Any, monkeypatch: Any):
    world.fill([{"_id": i} for i in range(20)])
    run_guarded = TransformPages._run_guarded

    def and_delete(self: Any, plan: Any, draft: Any) -> int:
        world.source.delete_many({"_id": {"$in": [3, 4]}})
        return run_guarded(self, plan, draft)

    monkeypatch.setattr(TransformPages, "_run_guarded", and_delete)
    counts = await run(world, world.spec("transform", transform=world.transform(lambda _: {"n": 1}), page_docs=20))
    assert (counts.seen, counts.changed, counts.skipped) == (20, 18, 2)


async def test_poison_is_recorded_without_transactions_too(world: Any):
    world.fill([{"_id": i, "scalar": 1} for i in range(30)])
    bad = {5: "raise", 6: {"scalar.below": 1}, 29: {"scalar.below": 1}}

    def function(document: Any) -> Any:
        result = bad.get(document["_id"], {"n": document.get("n", 0) + 1})
        if result == "raise":
            raise ValueError("bad")
        return result

    spec = world.spec("transform", transform=world.transform(function), page_docs=10)
    counts = await run(world, spec)
    assert (counts.changed, counts.quarantined) == (27, 3)
    assert [record["document_id"] for record in world.quarantine(spec)] == list(bad)
    assert all(d.get("n") == (None if d["_id"] in bad else 1) for d in world.by_id().values())


async def test_without_a_quarantine_good_documents_before_the_first_are_done(world: Any):
    world.fill([{"_id": i, "n": "text" if i == 13 else 0} for i in range(30)])
    spec = world.spec("update", update={"$inc": {"n": 1}}, quarantine=False, page_docs=5, accept=["at_least_once"])
    world.open(spec, promise=Promise.AT_LEAST_ONCE)
    assert (await world.slice(spec)).end is SliceEnd.POISON
    assert world.partition(spec)["position"] == {"k": 12}

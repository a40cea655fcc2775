"""Pages are sized by bytes as well: nothing grows with the size of documents or of the collection."""

import gc
import tracemalloc
from typing import Any

import pytest

from lull.domain.pacing import PAGE_BYTES_MAX

MB = 1 << 20


@pytest.fixture
def heavy(world: Any) -> Any:
    """Two hundred documents of 100 KB, forty of a megabyte, and three that hardly fit."""
    text = "x" * 100_000
    world.fill([{"_id": i, "text": text} for i in range(100)])
    world.source.insert_many([{"_id": i, "text": text * 10} for i in range(100, 140)])
    for i in (140, 170, 200):
        world.source.insert_one({"_id": i, "text": "x" * (16 * MB - 2_000)})
    world.source.insert_many([{"_id": i, "text": text} for i in range(201, 301)])
    return world


@pytest.mark.parametrize("batch", [False, True])
async def test_heavy_documents_are_all_grown_in_pages_of_a_few_mb(heavy: Any, monkeypatch: Any, *, batch: bool):
    from lull.activities.slices import Slice

    pages: list[int] = []
    failures: list[Exception] = []
    written, failed = Slice._charge, Slice._failed

    def charged(self: Any, counts: Any) -> None:
        pages.append(counts.bytes)
        written(self, counts)

    def recorded(self: Any, page: Any, error: Any) -> bool:
        failures.append(error)
        return failed(self, page, error)

    monkeypatch.setattr(Slice, "_charge", charged)
    monkeypatch.setattr(Slice, "_failed", recorded)
    function = (lambda ds: [{"more": "y" * 1_000} for _ in ds]) if batch else (lambda _: {"more": "y" * 1_000})
    counts = await heavy.run(heavy.spec("transform", transform=heavy.transform(function, batch=batch)))
    assert (counts.changed, counts.quarantined) == (243, 0)
    assert heavy.source.count_documents({"more": {"$exists": True}}) == 243
    assert all(size <= PAGE_BYTES_MAX + 100_000 for size in pages if size < 15 * MB)
    assert sum(size >= 15 * MB for size in pages) == 3
    assert failures == []


async def test_results_far_larger_than_what_they_were_made_from_are_written_in_pages_of_a_few_mb(world: Any):
    """What is written is bounded like what is read: a hundred small documents may become 100 MB."""
    world.fill([{"_id": i} for i in range(120)])
    counts = await world.run(world.spec("transform", transform=world.transform(lambda _: {"text": "x" * MB})))
    assert (counts.changed, counts.quarantined) == (120, 0)
    assert counts.pages >= 120 * MB / (PAGE_BYTES_MAX + MB)


async def test_an_update_of_heavy_documents_begins_with_small_pages_too(heavy: Any):
    """The server decides by itself, so no bytes are seen: the plan's average bounds the pages."""
    counts = await heavy.run(heavy.spec("update", update=[{"$set": {"copy": {"$substrCP": ["$text", 0, 10]}}}]))
    assert counts.changed == 243
    average = (100 * 100_000 * 2 + 40 * MB + 48 * MB) / 243
    assert counts.pages >= 243 * average / PAGE_BYTES_MAX * 0.8


async def test_the_loop_holds_two_pages_and_no_more(world: Any):
    """Memory is measured over ten thousand small documents: the peak is that of pages, not of the walk."""
    world.fill([{"_id": i, "v": i + 1, "text": "x" * 100} for i in range(10_000)])
    spec = world.spec("transform", transform=world.transform(lambda d: {"v": -d["v"]}), page_docs=200)
    world.open(spec)
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        report = await world.slice(spec)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert report.snapshot.counts.changed == 10_000
    page = 200 * 150
    assert peak - before <= page * 40  # two pages as bytes, documents, results and messages
    assert after - before <= page * 5

"""What slices are told: stop, wait, go slower. Pages and credit are counted; nothing here measures time."""

import asyncio
import threading
from typing import Any

import pytest
from pymongo.monitoring import CommandListener
from temporalio.exceptions import ApplicationError

from lull.activities import slices, watch
from lull.activities.mongo import Cluster
from lull.domain.errors import TransientError
from lull.domain.slice import Directive, SliceEnd, Verb

DOCS = 100


@pytest.fixture
def spec(world: Any) -> Any:
    world.fill([{"_id": key} for key in range(DOCS)])
    return world.spec("transform", transform=world.transform(lambda _: {"done": True}), page_docs=10)


@pytest.mark.parametrize(("verb", "end"), [(Verb.PAUSE, SliceEnd.PAUSED), (Verb.RETIRE, SliceEnd.RETIRING)])
async def test_a_slice_that_is_told_to_stop_before_it_begins_writes_no_page(
    world: Any, spec: Any, verb: Verb, end: SliceEnd
):
    world.open(spec, directive=Directive(verb=verb, epoch=3))
    report = await world.slice(spec, epoch=3)
    assert (report.end, report.snapshot.counts.pages) == (end, 0)
    assert world.partition(spec)["status"] == "idle"


@pytest.mark.parametrize(("verb", "end"), [(Verb.PAUSE, SliceEnd.PAUSED), (Verb.RETIRE, SliceEnd.RETIRING)])
async def test_a_slice_that_is_told_to_stop_on_the_way_ends_at_the_next_page_and_goes_on_from_there(
    world: Any, hooked: Any, verb: Verb, end: SliceEnd
):
    world.fill([{"_id": key} for key in range(DOCS)])
    told = hooked(
        lambda d: {"n": d.get("n", 0) + 1}, lambda d: d["_id"] == 35, lambda: world.publish_and_seen(spec, verb=verb)
    )
    spec = world.spec("transform", transform=world.transform(told), page_docs=10)
    world.open(spec)
    report = await world.slice(spec)
    done = report.snapshot.counts.changed
    assert (report.end, done in {30, 40}) == (end, True)
    assert world.partition(spec)["position"] == {"k": done - 1}
    assert [d.get("n", 0) for d in world.by_id().values()] == [1] * done + [0] * (DOCS - done)
    world.publish(spec, verb=Verb.RUN)
    assert (await world.slice(spec, epoch=2)).end is SliceEnd.DONE
    assert [d["n"] for d in world.by_id().values()] == [1] * DOCS


async def test_a_slice_whose_time_is_up_returns_and_the_next_goes_on(world: Any, spec: Any):
    world.open(spec)
    report = await world.slice(spec, seconds_max=0.0)
    assert (report.end, report.snapshot.counts.pages) == (SliceEnd.SLICE_OVER, 0)
    assert (await world.slice(spec)).end is SliceEnd.DONE


async def test_no_page_is_begun_on_a_directive_older_than_the_task(world: Any, spec: Any, monkeypatch: Any):
    """The task names the epoch that the workflow has published; an older one in the ledger is a stale read."""
    monkeypatch.setattr(slices, "BLIND_SECONDS_MAX", 0.3)
    world.open(spec, directive=Directive(epoch=4))
    with pytest.raises(ApplicationError, match="no page is begun without one") as blind:
        await world.slice(spec, epoch=5)
    assert blind.value.type == TransientError.type_name
    assert world.counts(spec).pages == 0
    assert (await world.slice(spec, epoch=4)).end is SliceEnd.DONE


async def test_no_page_is_begun_on_a_view_that_could_not_be_refreshed(world: Any, spec: Any, monkeypatch: Any):
    """The first view is good, the reads after it fail: once it is stale the slice stops where it is."""
    monkeypatch.setattr(slices, "BLIND_SECONDS_MAX", 0.3)
    monkeypatch.setattr(watch, "STALE_SECONDS", 0.3)
    seen = threading.Event()
    read = watch.Watch._read

    def once(self: watch.Watch) -> watch.View:
        if seen.is_set():
            raise watch.PyMongoError("cut off")
        seen.set()
        return read(self)

    monkeypatch.setattr(watch.Watch, "_read", once)
    name = world.transform(lambda _: threading.Event().wait(0.05) or {"done": True})
    spec = world.spec("transform", transform=name, page_docs=2)
    world.open(spec)
    with pytest.raises(ApplicationError, match="no page is begun without one"):
        await world.slice(spec)
    stopped = world.counts(spec)
    assert 0 < stopped.changed < DOCS
    assert world.partition(spec)["status"] == "idle"


# -- rates ----------------------------------------------------------------------------------------


async def test_a_rate_is_the_whole_jobs_however_many_slices_run(world: Any):
    """Two slices for two seconds at 60 a second: 120 are due; each slice alone would do as many."""
    world.fill([{"_id": key} for key in range(2_000)])
    spec = world.spec(
        "update", update={"$set": {"done": True}}, limits={"max_docs_per_second": 60.0, "page_docs_max": 100}
    )
    world.open(spec, cuts=[1_000])
    reports = await asyncio.gather(*(world.slice(spec, number, seconds_max=2.0) for number in range(2)))
    assert all(report.end in {SliceEnd.SLICE_OVER, SliceEnd.WAITING} for report in reports)
    done = world.counts(spec)
    # Until a slice has seen the other one it takes the whole rate for itself: half a second at most.
    assert done.changed <= 120 + 60
    assert done.pages >= done.changed / 15


async def test_at_a_very_low_rate_a_slice_gives_its_slot_back_and_what_was_waited_is_credited(world: Any):
    """One document in fifty seconds: no slice lives that long."""
    world.fill([{"_id": key} for key in range(4)])
    spec = world.spec("update", update={"$inc": {"n": 1}}, limits={"max_docs_per_second": 0.02})
    world.open(spec)
    first = await world.slice(spec, seconds_max=30.0)
    assert (first.end, first.snapshot.counts.pages) == (SliceEnd.WAITING, 0)
    assert first.resume_after_s == pytest.approx(50, abs=1)
    assert world.partition(spec)["status"] == "resting"

    early = await world.slice(spec, seconds_max=30.0, waited_s=10.0)
    assert (early.end, early.snapshot.counts.pages) == (SliceEnd.WAITING, 0)
    assert early.resume_after_s == pytest.approx(40, abs=1)

    for done in range(1, 4):
        report = await world.slice(spec, seconds_max=30.0, waited_s=50.0)
        assert (report.end, report.snapshot.counts.changed) == (SliceEnd.WAITING, done)
        assert report.resume_after_s == pytest.approx(50, abs=1)
    await world.slice(spec, seconds_max=30.0, waited_s=50.0)
    assert [d["n"] for d in world.by_id().values()] == [1] * 4


async def test_partitions_that_rest_keep_their_share_of_the_rate(world: Any):
    """Otherwise each of many resting slices would be owed the whole rate for the time it rested."""
    world.fill([{"_id": key} for key in range(30)])
    spec = world.spec("update", update={"$inc": {"n": 1}}, limits={"max_docs_per_second": 0.02})
    world.open(spec, cuts=[10, 20])
    for number in range(3):
        await world.slice(spec, number, seconds_max=30.0)
    report = await world.slice(spec, 0, seconds_max=30.0)
    assert report.resume_after_s == pytest.approx(150, abs=3)


async def test_a_rate_that_comes_while_a_slice_runs_holds_from_the_next_page(world: Any, hooked: Any):
    """The page in hand is written; the one read ahead for full speed is too big by then, and is read anew."""
    world.fill([{"_id": key} for key in range(1_000)])
    throttled = hooked(
        lambda _: {"n": 1}, lambda d: d["_id"] == 150, lambda: world.publish_and_seen(spec, max_docs_per_second=8.0)
    )
    spec = world.spec("transform", transform=world.transform(throttled), page_docs=100)
    world.open(spec)
    report = await world.slice(spec, seconds_max=2.0)
    assert report.end in {SliceEnd.WAITING, SliceEnd.SLICE_OVER}
    assert 200 < report.snapshot.counts.changed <= 200 + 2 * 8


@pytest.mark.parametrize("rate", [None, 1_000_000.0])
async def test_a_rate_that_is_lifted_ends_the_wait_at_once(world: Any, rate: float | None):
    """The slice waits for fifty seconds; it would end as waiting if nobody told it."""
    world.fill([{"_id": key} for key in range(1_000)])
    spec = world.spec("update", update={"$inc": {"n": 1}}, limits={"max_docs_per_second": 0.02})
    world.open(spec)
    slow = asyncio.create_task(world.slice(spec))
    await world.until_running(spec, 0)
    world.publish(spec, max_docs_per_second=rate)
    report = await asyncio.wait_for(slow, 30)
    assert report.end is SliceEnd.DONE
    assert report.snapshot.counts.changed == 1_000


async def test_one_thread_watches_for_all_slices_of_a_job_and_ends_with_them(world: Any, eventually: Any):
    world.fill([{"_id": key} for key in range(DOCS)])
    spec = world.spec("update", update={"$inc": {"n": 1}}, limits={"max_docs_per_second": 0.02})
    world.open(spec, cuts=[50])
    slow = [asyncio.create_task(world.slice(spec, number)) for number in range(2)]
    name = f"lull-watch-{spec.job}"

    def watching() -> int:
        return sum(thread.name == name for thread in threading.enumerate())

    await world.until_running(spec, 0, 1)
    assert watching() == 1
    world.publish(spec, verb=Verb.PAUSE)
    assert {report.end for report in await asyncio.gather(*slow)} == {SliceEnd.PAUSED}
    await eventually(lambda: not watching())


async def test_every_command_says_whose_it_is(mongo_uri: str, make_world: Any, monkeypatch: Any):
    """So that a DBA sees in currentOp and the profiler which job a command belongs to."""
    from pymongo import MongoClient

    seen: list[tuple[str, Any]] = []

    class Listener(CommandListener):
        def started(self, event: Any) -> None:
            seen.append((event.command_name, event.command))

        def succeeded(self, event: Any) -> None: ...

        def failed(self, event: Any) -> None: ...

    listener = Listener()
    monkeypatch.setattr(
        Cluster, "_connect", lambda self: MongoClient(self.profile.uri.get_secret_value(), event_listeners=[listener])
    )
    world = make_world(mongo_uri)
    world.fill([{"_id": key, "k": key} for key in range(50)])
    world.source.create_index("k")
    plans = [
        (world.spec("transform", transform=world.transform(lambda _: {"n": 1}), filter={"k": {"$gte": 10}}), None),
        (world.spec("update", update={"$set": {"n": 2}}), None),
        (world.spec("purge", filter={"k": {"$lt": 10}}), {"name": "k_1"}),
        (world.spec("purge"), None),
    ]
    for spec, drain in plans:
        seen.clear()
        await world.run(spec, drain=drain)
        ours = [command for name, command in seen if command.get("$db") == world.name and name != "collStats"]
        assert {"find", "delete" if spec.kind == "purge" else "update"} <= {next(iter(command)) for command in ours}
        assert {command.get("comment") for command in ours if "getMore" not in command} == {
            f"lull job={spec.job} partition=0"
        }

"""Who may commit: one slice at a time, and nobody once a fence was raised."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pymongo.errors import OperationFailure
from temporalio.exceptions import ApplicationError

from lull.activities import lease as leases
from lull.activities.mongo import Key
from lull.domain.errors import FenceLost
from lull.domain.slice import Counts, SliceEnd, SliceTask, Verb

PROMPTLY = 20.0
"""Seconds: a bound, not a measurement. The server itself would hold an abandoned transaction for 60 and more."""


def increment(document: dict[str, Any]) -> dict[str, Any]:
    return {"n": document.get("n", 0) + 1}


def task(spec: Any, partition: int = 0) -> SliceTask:
    return SliceTask(job=spec.job, cluster="main", incarnation=1, partition=partition, epoch=0)


@pytest.fixture
def spec(world: Any) -> Any:
    """A transform over twenty documents in pages of five, opened."""
    world.fill([{"_id": key} for key in range(20)])
    made = world.spec("transform", transform=world.transform(increment), page_docs=5)
    world.open(made)
    return made


@pytest.fixture
def lease(world: Any, spec: Any) -> Iterator[leases.Lease]:
    taken = leases.take(world.cluster, task(spec), "first")
    yield taken
    taken.session.end_session()


def counts_of(world: Any) -> list[int]:
    return [document.get("n", 0) for document in world.by_id().values()]


class Foreground:
    """One update of one document, begun in a thread of its own."""

    def __init__(self, world: Any, key: int) -> None:
        self._world, self._key = world, key
        self._thread = threading.Thread(target=self._update, daemon=True)
        self._thread.start()

    def _update(self) -> None:
        self._world.source.update_one({"_id": self._key}, {"$set": {"touched": True}})

    def is_waiting(self) -> bool:
        """Whether the server holds it back, seen once it has been there."""
        operations = self._world.client.admin.aggregate([{"$currentOp": {"idleConnections": False}}])
        ours = f"{self._world.name}.c"
        return any(op.get("ns") == ours and op.get("op") == "update" and op.get("writeConflicts") for op in operations)

    def got_through(self) -> bool:
        self._thread.join(PROMPTLY)
        return not self._thread.is_alive()


def promptly(call: Callable[[], Any]) -> Any:
    """What *call* returns; it fails if that takes as long as the server takes to reap a transaction."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(call).result(PROMPTLY)


def until(condition: Any) -> None:
    """Return when *condition* holds; it is asked again, never slept for blindly."""
    pause = threading.Event()
    for _ in range(int(PROMPTLY / 0.01)):
        if condition():
            return
        pause.wait(0.01)
    pytest.fail("it never came to that")


async def test_a_second_lease_ends_the_first_slice_at_its_next_page_and_nothing_is_done_twice(world: Any, hooked: Any):
    world.fill([{"_id": key} for key in range(40)])
    stolen = hooked(increment, lambda d: d["_id"] == 17, lambda: leases.take(world.cluster, task(spec), "thief"))
    spec = world.spec("transform", transform=world.transform(stolen), page_docs=5)
    world.open(spec)
    with pytest.raises(ApplicationError) as lost:
        await world.slice(spec)
    assert lost.value.type == FenceLost.type_name
    partition = world.partition(spec)
    done = partition["counts"]["changed"]
    assert (partition["status"], partition["owner"], partition["fence"]) == ("running", "thief", 2)
    assert done <= 15
    assert counts_of(world) == [1] * done + [0] * (40 - done)

    report = await world.slice(spec)
    assert (report.end, report.snapshot.fence) == (SliceEnd.DONE, 3)
    assert counts_of(world) == [1] * 40
    assert world.counts(spec).changed == 40


async def test_a_fence_raised_before_its_commit_leaves_the_page_undone(world: Any, hooked: Any):
    """The thief comes after the slice was told to go on, and before it writes."""
    world.fill([{"_id": key} for key in range(5)])
    stolen = hooked(increment, lambda d: d["_id"] == 0, lambda: leases.take(world.cluster, task(spec), "thief"))
    spec = world.spec("transform", transform=world.transform(stolen))
    world.open(spec)
    with pytest.raises(ApplicationError):
        await world.slice(spec)
    assert counts_of(world) == [0] * 5
    assert world.counts(spec) == Counts()


@pytest.mark.parametrize(("verb", "end"), [(Verb.PAUSE, SliceEnd.PAUSED), (Verb.RETIRE, SliceEnd.RETIRING)])
async def test_a_slice_fenced_off_by_an_order_returns_as_ordered(world: Any, hooked: Any, verb: Verb, end: SliceEnd):
    """Fences are raised after the directive is published: the slice must look again before it calls itself robbed."""
    world.fill([{"_id": key} for key in range(5)])

    def order() -> None:
        world.publish(spec, verb=verb)
        world.store.raise_fences({"job": spec.job})

    spec = world.spec("transform", transform=world.transform(hooked(increment, lambda _: True, order)))
    world.open(spec)
    report = await world.slice(spec)
    assert (report.end, report.snapshot.counts) == (end, Counts())
    assert counts_of(world) == [0] * 5
    assert world.partition(spec)["status"] == "idle"


def test_a_page_is_committed_under_its_own_number_only(lease: leases.Lease):
    """A stale retry of the same slice holds the right fence, and still cannot commit a second time."""
    page = Counts(scanned=5, seen=5, changed=5, pages=1)
    lease.advance(None, Key(4), page, done=False)
    with pytest.raises(FenceLost):
        lease.advance(None, Key(4), page, done=False)
    lease.committed(Key(4), page, done=False)
    lease.advance(None, Key(9), page.plus(page), done=False)


def test_a_lease_is_renewed_only_by_its_holder(world: Any, spec: Any, lease: leases.Lease):
    """Otherwise a slice that wakes up late would take the partition from its successor, or after a proven pause."""
    renewed = leases.renew(world.cluster, task(spec), "first", lease)
    assert renewed.fence == lease.fence + 1
    world.store.raise_fences({"job": spec.job})
    with pytest.raises(FenceLost):
        leases.renew(world.cluster, task(spec), "first", renewed)
    assert world.partition(spec)["status"] == "idle"


def test_an_overtaken_transaction_cannot_commit_and_lets_the_foreground_through(
    world: Any, spec: Any, lease: leases.Lease
):
    lease.session.start_transaction()
    world.cluster.source(spec).update_many({"_id": {"$lt": 5}}, {"$set": {"n": 99}}, session=lease.session)
    lease.advance(lease.session, Key(4), Counts(scanned=5, seen=5, changed=5, pages=1), done=False)
    foreground = Foreground(world, 3)
    until(foreground.is_waiting)

    promptly(lambda: leases.take(world.cluster, task(spec), "second"))

    assert foreground.got_through()
    with pytest.raises(OperationFailure):
        lease.session.commit_transaction()
    assert counts_of(world) == [0] * 20
    assert world.partition(spec)["counts"]["pages"] == 0


def test_raising_the_fences_of_a_job_ends_an_open_page_too(world: Any, spec: Any, lease: leases.Lease):
    lease.session.start_transaction()
    lease.advance(lease.session, Key(4), Counts(scanned=5, seen=5, changed=5, pages=1), done=False)
    assert promptly(lambda: world.store.raise_fences({"job": spec.job})) == 1
    with pytest.raises(OperationFailure):
        lease.session.commit_transaction()
    assert world.partition(spec)["position"] is None


async def test_a_worker_killed_inside_a_page_loses_nothing_and_holds_nobody_up(world: Any, spec: Any, mongo_uri: str):
    """kill -9 leaves the transaction open: only the successor, by ending its session, frees the documents."""
    words = [sys.executable, str(Path(__file__).parent / "hang_in_page.py"), mongo_uri, spec.job]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as worker:  # noqa: ASYNC220 - nothing else runs on this loop
        assert worker.stdout is not None
        assert worker.stdout.readline() == "inside\n"
        foreground = Foreground(world, 3)
        until(foreground.is_waiting)
        worker.kill()
        worker.wait()
        assert foreground.is_waiting()
        report = await asyncio.wait_for(world.slice(spec), PROMPTLY)
        assert foreground.got_through()
    assert (report.end, report.snapshot.fence) == (SliceEnd.DONE, 2)
    assert counts_of(world) == [1] * 20
    assert world.counts(spec).changed == 20
    assert world.source.find_one({"_id": 3})["touched"]


async def test_two_slices_over_one_partition_do_each_document_once_between_them(world: Any):
    """Whoever takes the partition last goes on; the other one stops without a trace."""
    world.fill([{"_id": key} for key in range(200)])
    spec = world.spec("transform", transform=world.transform(increment), page_docs=5)
    world.open(spec)
    ends = await asyncio.gather(*(world.slice(spec) for _ in range(4)), return_exceptions=True)
    assert any(getattr(end, "end", None) is SliceEnd.DONE for end in ends)
    assert counts_of(world) == [1] * 200
    assert world.counts(spec).changed == 200


async def test_a_slice_of_a_partition_that_is_done_says_so_and_touches_nothing(world: Any, spec: Any):
    await world.slice(spec)
    before = world.partition(spec)
    assert (await world.slice(spec)).end is SliceEnd.DONE
    assert world.partition(spec) == before


async def test_a_slice_of_another_life_of_the_job_retires(world: Any, spec: Any):
    world.store.jobs.update_one({"_id": spec.job}, {"$set": {"incarnation": 2}})
    assert (await world.slice(spec)).end is SliceEnd.RETIRING
    assert world.partition(spec)["fence"] == 0

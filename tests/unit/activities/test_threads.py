"""How an async activity waits for the driver."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from temporalio.testing import ActivityEnvironment

from lull.activities import threads
from lull.activities.threads import Stop, Stopped, in_thread


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


async def test_what_the_thread_returns_is_returned(pool: ThreadPoolExecutor):
    assert await in_thread(pool, lambda _: threading.current_thread().name) != threading.main_thread().name


async def test_what_the_thread_raises_is_raised(pool: ThreadPoolExecutor):
    def fail(_: Stop) -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await in_thread(pool, fail)


async def test_heartbeats_go_on_while_the_thread_works(pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(threads, "HEARTBEAT_SECONDS", 0.001)
    beaten = threading.Event()
    beats: list[object] = []

    def heard(*details: object) -> None:
        beats.append(details)
        if len(beats) == 3:
            beaten.set()

    environment = ActivityEnvironment()
    environment.on_heartbeat = heard

    async def activity() -> bool:
        return await in_thread(pool, lambda _: beaten.wait(30))

    assert await environment.run(activity)


async def test_a_cancelled_activity_ends_after_its_thread_and_stops_it(pool: ThreadPoolExecutor):
    """However often it is cancelled: whoever cleans up must not be overtaken by a thread still writing."""
    begun, go_on = threading.Event(), threading.Event()
    wrote: list[str] = []

    def work(stop: Stop) -> None:
        begun.set()
        go_on.wait(30)
        wrote.append("the step in hand")
        stop.check()
        wrote.append("the next step")

    task = asyncio.create_task(in_thread(pool, work))
    await asyncio.to_thread(begun.wait, 30)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert wrote == ["the step in hand"]


async def test_work_that_has_not_begun_never_does(pool: ThreadPoolExecutor):
    go_on = threading.Event()
    pool.submit(go_on.wait, 30)
    begun = threading.Event()
    task = asyncio.create_task(in_thread(pool, lambda _: begun.set()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    pool.shutdown()
    assert not begun.is_set()


def test_stop_is_told_at_the_next_check():
    stop = Stop()
    stop.check()
    stop.set()
    with pytest.raises(Stopped):
        stop.check()

"""Weeks of work fit into short histories: everything that matters is carried from run to run."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from lull.domain.lifecycle import Status
from lull.domain.signals import SEARCH_ATTRIBUTES
from lull.domain.slice import SliceEnd
from lull.domain.state import Answer
from lull.embedded.temporal import TemporalServer

SUGGESTED_EVENTS = 50


@pytest.fixture(scope="module")
def hasty_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TemporalServer]:
    """A server that suggests continue-as-new after fifty events."""
    attributes = {attribute.name: "Keyword" for attribute in SEARCH_ATTRIBUTES}
    with TemporalServer(
        tmp_path_factory.mktemp("hasty"),
        search_attributes=attributes,
        dynamic_config={"limit.historyCount.suggestContinueAsNew": SUGGESTED_EVENTS},
    ) as server:
        yield server


@pytest.fixture
async def hasty(hasty_server: TemporalServer) -> Client:
    """A client of the hasty server."""
    return await Client.connect(hasty_server.address, data_converter=pydantic_data_converter, identity="test")


async def test_a_job_continues_as_new_and_loses_nothing(start: Any, world: Any, hasty: Client):
    world.partitions = 20
    job = await start(client=hasty, limits={"deadline": "9h"})
    await job.handle.signal("throttle", {"max_docs_per_second": 900, "for": "8h"})
    await job.handle.signal("thortle", 900)
    await job.until(lambda seen: seen.throttle and seen.warnings)
    first = await job.progress()
    await world.let(_one_after_the_other(world))

    outcome = await job.result()

    seen = await job.progress()
    assert outcome.status is Status.COMPLETED
    assert seen.runs >= 4
    assert (seen.slices, seen.partitions_done, seen.counts.changed) == (40, 20, 20_000)
    assert (seen.deadline_at, seen.throttle, seen.warnings) == (first.deadline_at, first.throttle, first.warnings)
    assert seen.started_at == first.started_at
    assert (len(world.tasks), len(world.opened), len(world.closed)) == (40, 1, 1)
    assert [request.directive.epoch for request in world.published] == [1]
    assert (await job.labels())["LullState"] == "completed"
    assert await _longest_history(job) <= 2 * SUGGESTED_EVENTS


async def test_a_paused_job_continues_as_new_and_stays_paused_with_its_proof(start: Any, world: Any, hasty: Client):
    job = await start(client=hasty)
    await job.handle.signal("pause", {"reason": "freeze", "who": "ann"})
    paused = await job.until_status(Status.PAUSED)
    for _ in range(SUGGESTED_EVENTS // 3):
        await job.handle.signal("pause", "again")

    seen = await job.until(lambda seen: seen.runs >= 2)

    assert (seen.status, seen.pause, seen.proof) == (Status.PAUSED, paused.pause, paused.proof)
    await job.handle.signal("resume")
    await world.let(lambda _task: SliceEnd.DONE)
    assert (await job.result()).status is Status.COMPLETED


async def test_an_update_that_waits_is_answered_before_the_run_ends(start: Any, world: Any, hasty: Client):
    """The SDK's warning about unfinished handlers is an error in these tests."""
    world.partitions = 4_096
    job = await start(client=hasty)
    await world.let(lambda _task: SliceEnd.SLICE_OVER)

    limit = 100
    while (await job.progress()).runs < 4:
        limit += 1
        answer = await job.handle.execute_update("throttle_and_wait", limit, result_type=Answer)
        assert answer.max_docs_per_second == limit


async def test_a_job_is_cancelled_as_well_in_its_fifth_run_as_in_its_first(start: Any, world: Any, hasty: Client):
    world.partitions = 60
    job = await start(client=hasty)
    await world.let(lambda task: SliceEnd.DONE if task.partition < 30 else None)
    await job.until(lambda seen: seen.partitions_done == 30 and seen.running)

    await job.handle.cancel()
    await job.failure()

    assert (await job.progress()).runs >= 3
    assert [closed.status for closed in world.closed] == [Status.CANCELLED]
    assert "done: 30 of 60 partitions" in world.closed[0].message


def _one_after_the_other(world: Any) -> Any:
    """Two slices for each partition; one is always in flight when another returns, so none may be forgotten."""
    asked: Counter[int] = Counter()

    def end(task: Any) -> SliceEnd | None:
        asked[id(task)] += 1
        is_oldest_of_several = len(world.live) > 1 and next(iter(world.live.values())) is task
        if not is_oldest_of_several and asked[id(task)] < 3:
            return None
        return SliceEnd.DONE if world.counts.get(task.partition) else SliceEnd.SLICE_OVER

    return end


async def _longest_history(job: Any) -> int:
    runs = [run async for run in job.client.list_workflows(f"WorkflowId = '{job.handle.id}'")]
    return max(run.history_length for run in runs)

"""Pause, resume, throttle and the deadline: by signal, by update, and typed by hand."""

import asyncio
import subprocess
from typing import Any

import pytest
from temporalio.client import WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from lull.domain.lifecycle import Status
from lull.domain.slice import SliceEnd, Verb
from lull.domain.state import Answer


async def test_pausing_drains_the_slices_and_proves_that_nothing_can_commit(start: Any, world: Any):
    job = await start()
    await world.until(lambda: len(world.live) == 2)

    await job.handle.signal("pause", {"reason": "index build", "who": "ann"})
    seen = await job.until_status(Status.PAUSED)

    assert (world.live, world.fences) == ({}, 1)
    assert (world.directive.verb, world.directive.reason) == (Verb.PAUSE, "index build")
    assert seen.proof is not None
    assert seen.proof.raised == 4
    assert seen.reason == "index build (ann)"
    details = await job.details()
    assert "### paused: index build (ann)" in details
    assert "Nothing of this job can commit" in details
    assert (await job.labels())["LullState"] == "paused"


async def test_a_job_is_not_called_paused_while_a_slice_is_still_at_work(start: Any, world: Any):
    world.obedient = False
    job = await start()
    await world.until(lambda: len(world.live) == 2)
    await job.handle.signal("pause")
    await world.until(lambda: world.directive.verb is Verb.PAUSE)
    # Goes through the workflow and the ledger after the pause: what the pause did is done.
    await job.handle.execute_update("throttle_and_wait", 5)
    assert ((await job.progress()).status, world.fences) == (Status.PAUSING, 0)

    await world.let(lambda _task: SliceEnd.SLICE_OVER)
    await job.until_status(Status.PAUSED)

    assert world.live == {}


async def test_a_resumed_job_goes_on_where_it_was(start: Any, world: Any):
    job = await start()
    await world.until(lambda: len(world.live) == 2)
    await job.handle.signal("pause")
    await job.until_status(Status.PAUSED)
    begun = len(world.tasks)

    await job.handle.signal("resume")
    await world.until(lambda: len(world.live) == 2)
    await world.let(lambda _task: SliceEnd.DONE)

    assert (await job.result()).status is Status.COMPLETED
    assert {task.partition for task in world.tasks[begun : begun + 2]} == {0, 1}
    assert all(task.epoch == world.directive.epoch for task in world.tasks[begun:])


async def test_a_pause_that_comes_while_planning_holds_before_the_first_slice(start: Any, world: Any, gate: Any):
    planning = gate("open")
    job = await start()
    await world.until(lambda: world.opened)
    await job.handle.signal("pause", "not yet")
    await job.until(lambda seen: seen.pause is not None)
    planning.set()

    await job.until_status(Status.PAUSED)

    assert world.tasks == []


async def test_a_signal_sent_before_any_worker_was_up_is_obeyed(start: Any, world: Any, control_up: Any):
    job = await start(control=False, pages=False)
    await job.handle.signal("pause", "first")
    async with control_up():
        await job.until_status(Status.PAUSED)

    assert world.tasks == []


async def test_resuming_before_the_drain_is_over_goes_straight_back(start: Any, world: Any):
    world.obedient = False
    job = await start()
    await world.until(lambda: len(world.live) == 2)
    await job.handle.signal("pause")
    await world.until(lambda: world.directive.verb is Verb.PAUSE)

    await job.handle.signal("resume")
    await world.until(lambda: world.directive.verb is Verb.RUN)

    assert (await job.progress()).status is Status.RUNNING
    assert (world.fences, len(world.tasks)) == (0, 2)


async def test_the_last_pages_of_the_last_partitions_complete_a_pausing_job(start: Any, world: Any):
    world.obedient, world.partitions = False, 2
    job = await start()
    await world.until(lambda: len(world.live) == 2)
    await job.handle.signal("pause")
    await world.until(lambda: world.directive.verb is Verb.PAUSE)

    await world.let(lambda _task: SliceEnd.DONE)

    assert (await job.result()).status is Status.COMPLETED


async def test_one_publish_at_a_time_and_the_newest_last(start: Any, world: Any, gate: Any):
    """Ten changes while one write hangs are one more write, of the newest."""
    publishing = gate("publish")
    job = await start()
    await world.until(lambda: len(world.live) == 2)
    await job.handle.signal("throttle", 100)
    await world.until(lambda: world.publishing == 1)
    for limit in range(101, 111):
        await job.handle.signal("throttle", limit)
    await job.until(lambda seen: seen.throttle is not None and seen.throttle.max_docs_per_second == 110)

    publishing.set()
    await world.until(lambda: world.directive.max_docs_per_second == 110)

    assert world.publishing_most == 1
    assert [request.directive.max_docs_per_second for request in world.published] == [100, 110]
    assert [request.directive.epoch for request in world.published] == [1, 2]


async def test_slices_start_only_when_the_newest_directive_is_in_the_ledger(start: Any, world: Any, gate: Any):
    job = await start()
    await world.until(lambda: len(world.live) == 2)
    publishing = gate("publish")
    await job.handle.signal("throttle", 100)
    await world.until(lambda: world.publishing == 1)
    await world.let(lambda _task: SliceEnd.SLICE_OVER)
    await job.until(lambda seen: seen.slices == 2)
    await world.let(lambda _task: None)
    assert len(world.tasks) == 2
    assert "has not confirmed the newest directive" in "\n".join(await job.handle.query("explain"))

    publishing.set()
    await world.until(lambda: len(world.tasks) == 4)

    assert [task.epoch for task in world.tasks] == [0, 0, 1, 1]


async def test_a_throttle_with_a_duration_is_lifted_when_it_is_over(start: Any, world: Any):
    job = await start(limits={"max_docs_per_second": 2_000})
    await job.handle.signal("throttle", {"max_docs_per_second": 500, "for": "1s", "who": "ann", "why": "sale"})
    await world.until(lambda: world.directive.max_docs_per_second == 500)

    await world.until(lambda: world.directive.max_docs_per_second == 2_000)

    assert (await job.progress()).throttle is None


async def test_too_many_poison_documents_pause_the_job_until_it_gets_a_new_allowance(start: Any, world: Any):
    await world.let(lambda task: SliceEnd.POISON if task.partition == 0 and world.directive.poison_max == 4 else None)
    job = await start(on_poison={"stop_after": 4})

    seen = await job.until_status(Status.PAUSED)

    assert seen.reason == "quarantined 5 > 4 (on_poison.stop_after)"
    assert "lull.quarantine" in await job.details()
    assert seen.next_steps[0].startswith("lull resume")

    await job.handle.signal("resume")
    await world.until(lambda: world.directive.verb is Verb.RUN)
    assert world.directive.poison_max == 9
    await world.let(lambda _task: SliceEnd.DONE)
    assert (await job.result()).status is Status.COMPLETED


# --- typed by hand --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "payload", "words"),
    [
        ("pause", 3, "saw 3"),
        ("pause", {"reasn": "x"}, "did you mean reason?"),
        ("resume", ["x"], "a list means nothing here"),
        ("throttle", -5, "greater than 0"),
        ("throttle", True, "must be a number, not true"),
        ("throttle", {"max_docs": 5}, "max_docs_per_second is missing"),
        ("extend_deadline", "2 hours", "write it like 90s, 30m, 2h30m or 3d"),
        ("puase", "x", "did you mean pause?"),
        ("cancel", None, "lull cancel JOB"),
    ],
)
async def test_a_bad_signal_changes_nothing_and_leaves_a_sentence(start: Any, name: str, payload: object, words: str):
    job = await start(pages=False)
    before = await job.until_status(Status.RUNNING)

    await job.handle.signal(name, payload)
    after = await job.until(lambda seen: seen.warnings)

    assert words in after.warnings[0]
    assert "changed nothing" in after.warnings[0]
    assert (after.status, after.throttle, after.pause) == (before.status, None, None)
    assert after.warnings[0].replace("|", "\\|") in await job.details()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--name", "throttle", "--input", "500"], lambda seen: seen.throttle.max_docs_per_second == 500),
        (["--name", "pause"], lambda seen: seen.pause is not None),
        (["--name", "pause", "--input", '"index build"'], lambda seen: seen.pause.reason == "index build"),
        (["--name", "pause", "--input", "null"], lambda seen: seen.pause is not None),
        (["--name", "pause", "--input", '"a"', "--input", '"b"'], lambda seen: "2 payloads" in seen.warnings[0]),
        (
            ["--name", "pause", "--input", "index build", "--input-meta", "encoding=binary/plain"],
            lambda seen: "it is not JSON" in seen.warnings[0],
        ),
        (
            ["--name", "throttle", "--input", "500", "--input-meta", "encoding=who/knows"],
            lambda seen: seen.throttle.max_docs_per_second == 500,
        ),
        (
            ["--name", "throttle", "--input", "gAAAAAB", "--input-meta", "encoding=binary/encrypted"],
            lambda seen: "throttle changed nothing" in seen.warnings[0],
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
async def test_the_temporal_command_line_can_send_every_signal(
    start: Any, temporal_server: Any, words: list[str], expected: Any
):
    """The platform's own tool, with nothing of ours installed."""
    job = await start(pages=False)
    await job.until_status(Status.RUNNING)

    command = [temporal_server.binary.path, "workflow", "signal", "--address", temporal_server.address]
    sent = await asyncio.to_thread(
        subprocess.run, [*command, "--workflow-id", job.handle.id, *words], capture_output=True, text=True, check=False
    )

    assert sent.returncode == 0, sent.stderr
    seen = await job.until(lambda seen: seen.warnings or seen.throttle or seen.pause)
    assert expected(seen)


async def test_a_signal_that_comes_too_late_is_no_error(start: Any, world: Any, gate: Any):
    closing = gate("close")
    job = await start()
    await world.let(lambda _task: SliceEnd.DONE)
    await job.until_status(Status.COMPLETING)
    for name, payload in [("pause", None), ("resume", None), ("throttle", 5), ("extend_deadline", "1h")]:
        await job.handle.signal(name, payload)
    seen = await job.until(lambda seen: len(seen.warnings) == 4)
    closing.set()

    assert all("changed nothing: the job is completing" in warning for warning in seen.warnings)
    assert (await job.result()).status is Status.COMPLETED


# --- updates ---------------------------------------------------------------------------------------


async def test_pause_and_wait_answers_with_the_proof(start: Any, world: Any):
    job = await start()
    await world.until(lambda: len(world.live) == 2)

    answer = await job.handle.execute_update("pause_and_wait", {"reason": "index build"}, result_type=Answer)

    assert (answer.status, answer.message.split(" is ")[1]) == (
        Status.PAUSED,
        "paused: nothing of this job can commit",
    )
    assert answer.proof is not None
    again = await job.handle.execute_update("pause_and_wait", result_type=Answer)
    assert again.proof == answer.proof

    resumed = await job.handle.execute_update("resume_and_wait", result_type=Answer)
    assert (resumed.status, resumed.epoch) == (Status.RUNNING, world.directive.epoch)


async def test_pause_and_wait_says_what_happened_instead(start: Any, world: Any, gate: Any):
    proving = gate("raise_fences")
    job = await start()
    await world.until(lambda: len(world.live) == 2)
    waiting = asyncio.create_task(job.handle.execute_update("pause_and_wait", result_type=Answer))
    await world.until(lambda: world.directive.verb is Verb.PAUSE)

    await job.handle.cancel(reason="enough")
    answer = await waiting
    proving.set()

    assert (answer.status, answer.proof) == (Status.CANCELLING, None)
    assert answer.message.endswith("is cancelling: cancelled: enough")
    await job.failure()


async def test_throttle_and_wait_answers_when_the_limit_is_in_the_ledger(start: Any, world: Any):
    job = await start()

    answer = await job.handle.execute_update("throttle_and_wait", 500, result_type=Answer)

    assert (answer.max_docs_per_second, answer.epoch) == (500, world.directive.epoch)
    assert world.directive.max_docs_per_second == 500


@pytest.mark.parametrize(
    ("name", "payload", "words"),
    [
        ("resume_and_wait", None, "cannot resume a job that is running; what can happen to it now: "),
        ("pause_and_wait", {"reasn": "x"}, "did you mean reason?"),
        ("throttle_and_wait", "fast", "max_docs_per_second"),
    ],
)
async def test_an_update_that_cannot_be_done_is_rejected_with_the_sentence(
    start: Any, name: str, payload: object, words: str
):
    job = await start(pages=False)
    await job.until_status(Status.RUNNING)

    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await job.handle.execute_update(name, payload)

    assert isinstance(caught.value.cause, ApplicationError)
    assert caught.value.cause.type == "OperatorError"
    assert words in caught.value.cause.message
    assert (await job.progress()).warnings == ()

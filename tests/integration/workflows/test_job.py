"""How a job goes from request to outcome, on a real server."""

from typing import Any

from temporalio.exceptions import ApplicationError, CancelledError

from lull.domain import orders
from lull.domain.errors import InvariantBroken, OperatorError, TransientError
from lull.domain.lifecycle import Status
from lull.domain.slice import Outcome, SliceEnd, Verb
from lull.workflows.job import JobWorkflow


async def test_a_job_runs_all_partitions_and_completes(start: Any, world: Any):
    job = await start()
    await world.let(lambda _task: SliceEnd.DONE)

    outcome = await job.result()

    assert outcome.status is Status.COMPLETED
    assert sorted(task.partition for task in world.tasks) == [0, 1, 2, 3]
    assert world.live_most <= 2
    seen = await job.progress()
    assert (seen.fraction, seen.counts.changed, seen.partitions_done) == (1.0, 4_000, 4)
    assert (await job.memo())["status"] == "completed"


async def test_an_unfinished_partition_goes_on_before_a_new_one_is_begun(start: Any, world: Any):
    """Few partitions are open at a time, so the state stays small however many there are."""
    job = await start(limits={"parallel": 1})
    await world.let(lambda task: SliceEnd.DONE if world.counts.get(task.partition) else SliceEnd.SLICE_OVER)

    await job.result()

    assert [task.partition for task in world.tasks] == [0, 0, 1, 1, 2, 2, 3, 3]


async def test_a_slice_whose_worker_is_draining_goes_on_elsewhere_at_once(start: Any, world: Any):
    job = await start(limits={"parallel": 1})
    await world.let(lambda task: SliceEnd.DONE if world.counts.get(task.partition) else SliceEnd.DRAINING)

    assert (await job.result()).status is Status.COMPLETED


async def test_an_empty_collection_completes_without_a_slice(start: Any, world: Any):
    world.partitions = 0
    job = await start()

    assert (await job.result()).status is Status.COMPLETED
    assert world.tasks == []


async def test_critical_slices_have_their_own_queue(start: Any, world: Any):
    job = await start(priority="critical", limits={"parallel": 1})
    await world.until(lambda: world.opened)

    events = job.handle.fetch_history_events(wait_new_event=True)
    scheduled = await anext(event async for event in events if _is_slice(event))

    attributes = scheduled.activity_task_scheduled_event_attributes
    assert attributes.task_queue.name == "lull-pages-critical"
    assert attributes.priority.priority_key == 1


def _is_slice(event: Any) -> bool:
    return bool(event.activity_task_scheduled_event_attributes.activity_type.name == "lull.slice")


async def test_the_web_ui_is_told_the_whole_story(start: Any, world: Any):
    job = await start()
    await world.let(lambda task: SliceEnd.DONE if task.partition == 0 else None)
    await job.until(lambda seen: seen.partitions_done == 1)

    details = await job.details()

    assert details.startswith("### running")
    for words in ("1 of 4 done", "exactly once", f"lull pause {job.handle.id.removeprefix('lull/')}", "| partition |"):
        assert words in details
    labels = await job.labels()
    assert labels == {
        "LullState": "running",
        "LullKind": "update",
        "LullCluster": "main",
        "LullNamespace": "shop.orders",
    }


async def test_the_web_ui_offers_every_order_and_says_how_to_write_it(start: Any):
    job = await start(pages=False)

    forms = await job.forms()

    assert set(orders.ORDER_NAMES) <= set(forms)
    assert 'nothing, "a reason", or {"reason"' in forms["pause"]


async def test_explain_says_what_holds_a_job_back(start: Any, world: Any):
    job = await start(limits={"max_docs_per_second": 700})
    await world.let(lambda _task: SliceEnd.WAITING)
    await job.until(lambda seen: seen.waited_s and seen.slices == 2)

    sentences = "\n".join(await job.handle.query(JobWorkflow.explain))

    assert "waiting: read-p99 41 ms >= 12 ms" in sentences
    assert "slices waited 40s of 41s (98%): read-p99 41 ms >= 12 ms" in sentences
    assert "the spec limits it to 700 docs/s" in sentences
    assert await job.handle.query(JobWorkflow.spec) == (world.opened[0].spec.canonical())


# --- ends --------------------------------------------------------------------------------------


async def test_a_cancelled_job_stops_at_a_page_boundary_and_says_what_was_done(start: Any, world: Any):
    job = await start()
    await world.until(lambda: len(world.live) == 2)

    await job.handle.cancel(reason="wrong filter")

    assert isinstance(await job.failure(), CancelledError)
    assert world.directive.verb is Verb.RETIRE
    assert (world.fences, world.live) == (1, {})
    (closed,) = world.closed
    assert closed.status is Status.CANCELLED
    assert closed.message.startswith("cancelled: wrong filter; done: 0 of 4 partitions, 20 of about 4,000 documents")
    assert (await job.memo())["status"] == "cancelled"
    assert (await job.labels())["LullReason"] == "cancelled: wrong filter"


async def test_a_job_cancelled_while_planning_is_closed_although_nothing_may_be_open(start: Any, world: Any, gate: Any):
    gate("open")
    job = await start()
    await world.until(lambda: world.opened)

    await job.handle.cancel()

    assert isinstance(await job.failure(), CancelledError)
    assert [(closed.status, closed.incarnation) for closed in world.closed] == [(Status.CANCELLED, 0)]
    assert world.tasks == []


async def test_a_paused_job_can_be_cancelled(start: Any, world: Any):
    job = await start()
    await job.handle.signal("pause")
    await job.until_status(Status.PAUSED)

    await job.handle.cancel()

    assert isinstance(await job.failure(), CancelledError)
    assert world.directive.verb is Verb.RETIRE


async def test_a_cancel_that_comes_while_the_pause_is_being_proven_wins(start: Any, world: Any, gate: Any):
    proving = gate("raise_fences")
    job = await start()
    await world.until(lambda: len(world.live) == 2)
    await job.handle.signal("pause")
    await world.until(lambda: world.directive.verb is Verb.PAUSE and not world.live)

    await job.handle.cancel()
    await job.until_status(Status.CANCELLING)
    proving.set()

    assert isinstance(await job.failure(), CancelledError)


async def test_a_job_ends_at_its_deadline(start: Any, world: Any):
    job = await start(limits={"deadline": "1s"})

    failure = await job.failure()

    assert isinstance(failure, ApplicationError)
    assert failure.type == "DeadlineReached"
    assert failure.message.startswith("deadline reached: running for 1s; done: ")
    assert [closed.status for closed in world.closed] == [Status.EXPIRED]
    assert (world.fences, world.directive.verb) == (1, Verb.RETIRE)


async def test_a_deadline_while_planning_ends_the_planning(start: Any, world: Any, gate: Any):
    gate("open")
    job = await start(limits={"deadline": "1s"})

    failure = await job.failure()

    assert isinstance(failure, ApplicationError)
    assert failure.type == "DeadlineReached"
    assert world.tasks == []


async def test_an_extended_deadline_is_not_reached_when_the_old_one_is(start: Any, world: Any):
    job = await start(limits={"deadline": "2s"})
    await job.handle.signal("extend_deadline", {"by": "1h", "who": "ann"})
    # Set after the deadline and lifted by the clock after it: when it is gone, the old deadline is past.
    await job.handle.signal("throttle", {"max_docs_per_second": 5, "for": "3s"})
    await world.until(lambda: world.directive.max_docs_per_second == 5)
    await world.until(lambda: world.directive.max_docs_per_second is None)

    assert (await job.progress()).status is Status.RUNNING


async def test_a_slice_that_cannot_go_on_fails_the_job_cleanly(start: Any, world: Any):
    job = await start(limits={"parallel": 3})
    await world.until(lambda: len(world.live) == 3)
    world.faults["slice"] = OperatorError("user lull may not write shop.orders; grant it readWrite")
    await world.let(lambda task: SliceEnd.SLICE_OVER if task.partition == 1 else None)

    failure = await job.failure()

    assert isinstance(failure, ApplicationError)
    assert failure.type == "OperatorError"
    assert failure.message.startswith("user lull may not write shop.orders; grant it readWrite; done: 0 of 4")
    assert Outcome.model_validate(failure.details[0]).status is Status.FAILED
    assert (world.live, world.fences, world.closed[0].status) == ({}, 1, Status.FAILED)


async def test_what_the_world_does_is_tried_again_until_it_works(start: Any, world: Any):
    world.faults["slice"] = TransientError("the primary is away")
    job = await start()
    await world.until(lambda: len(world.tasks) >= 4)

    del world.faults["slice"]
    await world.let(lambda _task: SliceEnd.DONE)

    assert (await job.result()).status is Status.COMPLETED


async def test_a_ledger_whose_sums_are_wrong_fails_the_job_even_if_it_cannot_be_closed(start: Any, world: Any):
    world.faults["close"] = InvariantBroken("ledger holds 3 partitions, the plan made 4")
    job = await start()
    await world.let(lambda _task: SliceEnd.DONE)

    failure = await job.failure()

    assert isinstance(failure, ApplicationError)
    assert failure.type == "InvariantBroken"
    assert "and the ledger could not be closed: ledger holds 3 partitions" in failure.message
    assert (await job.memo())["status"] == "failed"


async def test_a_job_that_nobody_can_be_told_about_still_ends(start: Any, world: Any):
    """Publishing fails for good: the slices are fenced off instead."""
    job = await start()
    await world.until(lambda: len(world.live) == 2)
    world.faults["publish"] = OperatorError("user lull may not write lull.jobs")
    world.obedient = False

    await job.handle.signal("pause")
    await job.until_status(Status.FAILING)
    await world.let(lambda _task: SliceEnd.SLICE_OVER)

    failure = await job.failure()
    assert isinstance(failure, ApplicationError)
    assert failure.message.startswith("user lull may not write lull.jobs")
    assert world.fences == 1


async def test_a_refused_job_ends_with_the_refusal_and_touches_nothing(start: Any, world: Any):
    world.faults["open"] = OperatorError("job orders-2026 exists with another spec:\nupdate: a -> b")
    job = await start()

    failure = await job.failure()

    assert isinstance(failure, ApplicationError)
    assert (failure.type, failure.message) == ("OperatorError", str(world.faults["open"]))
    assert (world.tasks, world.published, world.closed, world.fences) == ([], [], [], 0)
    assert (await job.memo())["status"] == "refused"


async def test_a_job_refused_after_it_was_cancelled_does_not_close_what_is_not_its_own(
    start: Any, world: Any, gate: Any
):
    opening = gate("open")
    world.deaf = True
    world.faults["open"] = OperatorError("job orders-2026 exists with another spec")
    job = await start()
    await world.until(lambda: world.opened)

    await job.handle.cancel()
    await job.until_status(Status.CANCELLING)
    opening.set()

    assert isinstance(await job.failure(), CancelledError)
    assert world.closed == []


async def test_a_request_that_was_completed_before_returns_its_outcome(start: Any, world: Any):
    world.finished = Outcome(job="before", status=Status.COMPLETED, message="done last week")
    job = await start()

    assert await job.result() == world.finished
    assert (world.tasks, world.closed) == ([], [])


# --- waiting -------------------------------------------------------------------------------------


async def test_a_partition_that_waited_rests_until_something_changes(start: Any, world: Any):
    """Its slot is given back, and no other partition is begun instead: the foreground is busy for all."""
    await world.let(lambda _task: SliceEnd.WAITING)
    job = await start()
    seen = await job.until(lambda seen: seen.slices == 2)
    assert seen.reason == "waiting: read-p99 41 ms >= 12 ms"
    assert len(world.tasks) == 2

    await world.let(lambda _task: SliceEnd.DONE)
    await job.handle.signal("throttle", 900)

    assert (await job.result()).status is Status.COMPLETED


async def test_a_directive_written_by_hand_is_not_answered_with_a_storm_of_slices(start: Any, world: Any):
    """Someone wrote 'pause' into the ledger: slices obey it, and the workflow asks again only every few seconds."""
    await world.let(lambda _task: SliceEnd.PAUSED)
    job = await start()
    await job.until(lambda seen: seen.slices == 2)

    await job.handle.signal("pause")
    await job.until_status(Status.PAUSED)

    assert len(world.tasks) == 2


async def test_a_drain_does_not_wait_for_workers_that_are_gone(start: Any, world: Any):
    """Slices that nobody takes are given up; the raised fences prove the pause."""
    job = await start(pages=False)
    await job.until(lambda seen: len(seen.running) == 2)

    await job.handle.signal("pause")

    assert (await job.until_status(Status.PAUSED)).proof is not None
    assert world.fences == 1


# --- replay ---------------------------------------------------------------------------------------


async def test_a_whole_life_replayed_on_every_task_takes_the_same_way(start: Any, world: Any):
    """Nothing is cached, so each workflow task replays everything before it."""
    job = await start(cached=0, limits={"deadline": "1h"})
    await world.until(lambda: len(world.live) == 2)
    await job.handle.signal("throttle", {"max_docs_per_second": 500, "for": "1s"})
    await world.until(lambda: world.directive.max_docs_per_second == 500)
    await world.until(lambda: world.directive.max_docs_per_second is None)
    await job.handle.signal("pause", "lunch")
    await job.until_status(Status.PAUSED)
    await job.handle.execute_update("resume_and_wait")
    await world.let(lambda task: SliceEnd.DONE if world.counts.get(task.partition) else SliceEnd.SLICE_OVER)

    assert (await job.result()).status is Status.COMPLETED

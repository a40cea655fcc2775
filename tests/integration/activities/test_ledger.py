"""What publish, raise_fences and close leave in the ledger, however often they are called."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo.errors import OperationFailure, PyMongoError
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from lull.activities import store as store_module
from lull.activities.lease import take
from lull.activities.opening import Step
from lull.activities.store import INDEXES, ensure_ledger, missing_from_ledger
from lull.domain.errors import FenceLost
from lull.domain.lifecycle import ENDED, Status
from lull.domain.slice import CloseRequest, Counts, Directive, Outcome, PublishRequest, SliceTask, Verb


@pytest.fixture
async def spec(world: Any) -> Any:
    """An open job of five partitions."""
    world.database.c.insert_many([{"_id": n} for n in range(100)])
    opened = world.spec()
    await world.open(opened)
    template = world.store.partitions.find_one({"job": opened.job})
    world.store.partitions.insert_many(
        [template | {"_id": f"{opened.job}#1#{number}", "number": number} for number in range(1, 5)]
    )
    world.store.jobs.update_one({"_id": opened.job}, {"$set": {"plan.partitions": 5}})
    return opened


def work(world: Any, spec: Any, number: int, *, pages: int = 1, status: str = "running", changed: int = 10) -> None:
    """Partition *number* has committed pages."""
    counts = Counts(scanned=changed, seen=changed, changed=changed, pages=pages).model_dump()
    world.store.partitions.update_one(
        {"job": spec.job, "number": number}, {"$set": {"counts": counts, "status": status, "fence": 3}}
    )


class TestPublish:
    async def publish(self, world: Any, spec: Any, epoch: int, *, incarnation: int = 1, **fields: Any) -> Any:
        status = fields.pop("status", Status.PAUSING)
        directive = Directive(epoch=epoch, **fields)
        request = PublishRequest(**dict(world.ref(spec, incarnation)), directive=directive, status=status)
        await world.ledger.publish(request)
        return world.store.job(spec.job)

    async def test_the_directive_and_the_status_are_in_the_ledger(self, world: Any, spec: Any):
        job = await self.publish(world, spec, 1, verb=Verb.PAUSE, max_docs_per_second=5.0, reason="index build")
        assert job["status"] == "pausing"
        assert Directive.model_validate(job["directive"]) == Directive(
            verb=Verb.PAUSE, epoch=1, max_docs_per_second=5.0, reason="index build"
        )

    async def test_an_older_directive_never_replaces_a_newer_one(self, world: Any, spec: Any):
        """A retry of an activity that was given up may arrive last."""
        await self.publish(world, spec, 2, verb=Verb.RETIRE, status=Status.CANCELLING)
        job = await self.publish(world, spec, 1, verb=Verb.RUN, status=Status.RUNNING)
        assert (job["directive"]["verb"], job["directive"]["epoch"], job["status"]) == ("retire", 2, "cancelling")

    async def test_the_same_directive_again_changes_nothing_but_the_status(self, world: Any, spec: Any):
        await self.publish(world, spec, 1, verb=Verb.PAUSE)
        job = await self.publish(world, spec, 1, verb=Verb.PAUSE, status=Status.PAUSED)
        assert (job["directive"]["epoch"], job["status"]) == (1, "paused")

    async def test_an_outdated_life_is_refused(self, world: Any, spec: Any):
        await world.open(spec, run="run-2", again=True)
        with pytest.raises(ApplicationError, match=r"started over \(incarnation 2\)") as caught:
            await self.publish(world, spec, 9, verb=Verb.RUN)
        assert caught.value.type == "OperatorError"
        assert world.store.job(spec.job)["directive"]["epoch"] == 0

    async def test_an_ended_job_stays_as_it_is(self, world: Any, spec: Any):
        await world.ledger.close(CloseRequest(**dict(world.ref(spec)), status=Status.CANCELLED))
        job = await self.publish(world, spec, 99, verb=Verb.RUN, status=Status.RUNNING)
        assert (job["directive"]["verb"], job["status"]) == ("retire", "cancelled")

    async def test_a_job_that_somebody_removed_is_a_broken_invariant(self, world: Any, spec: Any):
        world.store.jobs.delete_one({"_id": spec.job})
        with pytest.raises(ApplicationError) as caught:
            await self.publish(world, spec, 1)
        assert caught.value.type == "InvariantBroken"


class TestRaiseFences:
    async def test_every_unfinished_partition_is_fenced_and_counted(self, world: Any, spec: Any):
        work(world, spec, 0, status="done", changed=7, pages=2)
        work(world, spec, 1, changed=3, pages=4)
        proof = await world.ledger.raise_fences(world.ref(spec))
        assert (proof.raised, proof.done, proof.positions) == (4, 1, {1: 4})
        assert (proof.counts.changed, proof.counts.pages) == (10, 6)
        assert [p["fence"] for p in world.partitions(spec)] == [3, 4, 1, 1, 1]
        assert {p["status"] for p in world.partitions(spec)} == {"done", "idle"}
        assert abs(proof.at - datetime.now(UTC)) < timedelta(minutes=1)

    async def test_at_most_a_hundred_positions_are_told(self, world: Any, spec: Any):
        template = world.store.partitions.find_one({"job": spec.job, "number": 4})
        world.store.partitions.insert_many(
            [template | {"_id": f"{spec.job}#1#{n}", "number": n, "counts.pages": 1} for n in range(5, 200)]
        )
        world.store.partitions.update_many({"job": spec.job}, {"$set": {"counts.pages": 1}})
        proof = await world.ledger.raise_fences(world.ref(spec))
        assert (proof.raised, sorted(proof.positions)) == (200, list(range(100)))

    async def test_another_jobs_and_another_lifes_fences_stay(self, world: Any, spec: Any):
        other = world.spec(job="other", update={"$set": {"other": 1}})
        await world.open(other)
        await world.ledger.raise_fences(world.ref(spec, 2))
        await world.ledger.raise_fences(world.ref(spec))
        assert [p["fence"] for p in world.partitions(other)] == [0]

    async def test_a_job_that_never_opened_has_nothing_to_fence(self, world: Any):
        proof = await world.ledger.raise_fences(world.ref(world.spec(job="never"), 0))
        assert (proof.raised, proof.done, proof.positions) == (0, 0, {})

    async def test_an_open_page_cannot_commit_after_the_proof(self, world: Any, spec: Any):
        """A live slice sits inside its page's transaction: the proof ends it, and does not wait a minute for it."""
        with world.client.start_session(causal_consistency=False) as session:
            key = f"{spec.job}#1#0"
            world.store.partitions.update_one(
                {"_id": key}, {"$set": {"status": "running", "session": session.session_id["id"]}, "$inc": {"fence": 1}}
            )
            session.start_transaction()
            world.store.partitions.update_one({"_id": key}, {"$set": {"counts.pages": 1}}, session=session)
            world.database.c.update_one({"_id": 1}, {"$set": {"done": True}}, session=session)
            proof = await asyncio.wait_for(world.ledger.raise_fences(world.ref(spec)), timeout=30)
            assert (proof.raised, proof.positions) == (5, {})
            with pytest.raises(OperationFailure):
                session.commit_transaction()
        assert world.database.c.find_one({"_id": 1}) == {"_id": 1}

    async def test_a_session_that_cannot_be_ended_does_not_stop_the_raise(self, world: Any, spec: Any):
        world.store.partitions.update_many({"job": spec.job}, {"$set": {"session": "not a session"}})
        assert (await world.ledger.raise_fences(world.ref(spec))).raised == 5


class TestClose:
    async def close(self, world: Any, spec: Any, status: Status, *, incarnation: int = 1) -> Outcome:
        ref = world.ref(spec, incarnation)
        return await world.ledger.close(
            CloseRequest(**dict(ref), status=status, message="because", active_s=1.5, waited_s={"gate": 2.0})
        )

    async def test_a_completed_job_is_checked_and_written_down(self, world: Any, spec: Any):
        for number in range(5):
            work(world, spec, number, status="done")
        outcome = await self.close(world, spec, Status.COMPLETED)
        assert (outcome.counts.changed, outcome.partitions, outcome.partitions_done) == (50, 5, 5)
        assert (outcome.active_s, outcome.waited_s, outcome.incarnation) == (1.5, {"gate": 2.0}, 1)
        job = world.store.job(spec.job)
        assert (job["status"], Outcome.model_validate(job["outcome"])) == ("completed", outcome)
        assert job["directive"]["verb"] == "retire"
        assert job["ended_at"] is not None
        assert world.holders() == []
        assert all(p["expires_at"] > datetime.now() for p in world.partitions(spec))  # noqa: DTZ005 - as BSON has it

    @pytest.mark.parametrize("status", sorted(ENDED - {Status.COMPLETED, Status.REFUSED}))
    async def test_a_job_that_ends_early_is_fenced_off_for_good(self, world: Any, spec: Any, status: Status):
        work(world, spec, 0, status="done")
        work(world, spec, 1)
        outcome = await self.close(world, spec, status)
        assert (outcome.status, outcome.message, outcome.partitions_done) == (status, "because", 1)
        assert outcome.counts.changed == 20
        assert [p["status"] for p in world.partitions(spec)] == ["done", *["closed"] * 4]
        assert all(p["fence"] > 3 for p in world.partitions(spec)[1:2])
        assert world.holders() == []

    async def test_a_closed_partition_is_nobodys(self, world: Any, spec: Any):
        """A slice of an ended job that comes late must not begin to commit again."""
        await self.close(world, spec, Status.CANCELLED)
        task = SliceTask(**dict(world.ref(spec)), partition=1, epoch=0)
        with pytest.raises(FenceLost):
            take(world.cluster, task, "late")
        assert world.partitions(spec)[1]["status"] == "closed"

    async def test_closing_again_returns_the_same_outcome(self, world: Any, spec: Any):
        first = await self.close(world, spec, Status.CANCELLED)
        assert await self.close(world, spec, Status.FAILED) == first
        assert world.store.job(spec.job)["status"] == "cancelled"

    async def test_a_crash_after_the_outcome_was_written_is_mended_by_the_retry(
        self, world: Any, spec: Any, monkeypatch: pytest.MonkeyPatch
    ):
        from lull.activities import ledger

        def crash(*_: Any) -> None:
            raise PyMongoError

        with monkeypatch.context() as patched:
            patched.setattr(ledger, "_give_back", crash)
            with pytest.raises(ApplicationError):
                await self.close(world, spec, Status.CANCELLED)
        assert len(world.holders()) == 1
        await self.close(world, spec, Status.CANCELLED)
        assert world.holders() == []

    @pytest.mark.parametrize(
        ("wreck", "complaint"),
        [
            ({"status": "idle"}, "1 partitions are not done"),
            ({"counts.seen": 11}, "seen 11 is not changed"),
            ({"incarnation": 7}, "ledger holds 4 partitions, the plan made 5"),
        ],
    )
    async def test_sums_that_do_not_hold_stop_everything_as_it_is(
        self, world: Any, spec: Any, wreck: Any, complaint: str
    ):
        for number in range(5):
            work(world, spec, number, status="done")
        world.store.partitions.update_one({"job": spec.job, "number": 2}, {"$set": wreck})
        before = (world.store.job(spec.job), world.partitions(spec), world.holders())
        with pytest.raises(ApplicationError, match=complaint) as caught:
            await self.close(world, spec, Status.COMPLETED)
        assert caught.value.type == "InvariantBroken"
        assert (world.store.job(spec.job), world.partitions(spec), world.holders()) == before

    async def test_a_job_that_never_opened_has_an_outcome_without_counts(self, world: Any):
        outcome = await self.close(world, world.spec(job="never"), Status.CANCELLED, incarnation=0)
        assert (outcome.status, outcome.counts, outcome.partitions) == (Status.CANCELLED, Counts(), 0)

    async def test_a_namesake_is_left_alone(self, world: Any, spec: Any):
        """A refused start closes with incarnation 0; the job that holds the id runs on."""
        await self.close(world, spec, Status.FAILED, incarnation=0)
        assert world.store.job(spec.job)["status"] == "running"
        assert len(world.holders()) == 1

    @pytest.mark.parametrize("step", list(Step))
    async def test_a_job_cancelled_while_it_was_opening_is_closed_by_its_run(self, world: Any, step: Step):
        world.database.c.insert_one({"_id": 1})
        environment = ActivityEnvironment()
        spec = world.spec()
        world.open_until(spec, step, run=environment.info.workflow_run_id)
        request = CloseRequest(**dict(world.ref(spec, 0)), status=Status.CANCELLED)
        outcome = await environment.run(world.ledger.close, request)
        assert outcome.status is Status.CANCELLED
        assert world.store.job(spec.job)["status"] == "cancelled"
        assert world.holders() == []

    @pytest.mark.parametrize(
        ("filter_", "kind", "expected"),
        [
            ({"_id": {"$lt": 30}}, "purge", 30),
            ({}, "purge", 100),
            ({"_id": {"$lt": 30}}, "update", 30),
            ({}, "update", None),
        ],
    )
    async def test_what_still_matches_is_counted(self, world: Any, filter_: Any, kind: str, expected: int | None):
        world.database.c.insert_many([{"_id": n} for n in range(100)])
        spec = world.spec(kind, filter=filter_)
        await world.open(spec)
        world.store.partitions.update_many({"job": spec.job}, {"$set": {"status": "done"}})
        assert (await self.close(world, spec, Status.COMPLETED)).still_matching == expected

    async def test_a_count_that_takes_too_long_is_left_out(self, world: Any, monkeypatch: pytest.MonkeyPatch):
        from lull.activities import ledger

        world.database.c.insert_many([{"_id": n, "s": "a" * 1_000} for n in range(5_000)])
        spec = world.spec("purge", filter={"s": {"$regex": "(a+)+$"}})
        await world.open(spec)
        world.store.partitions.update_many({"job": spec.job}, {"$set": {"status": "done"}})
        monkeypatch.setattr(ledger, "STILL_MATCHING_MS_MAX", 1)
        assert (await self.close(world, spec, Status.COMPLETED)).still_matching is None


class TestCancellation:
    async def test_a_cancelled_opening_ends_before_it_raises(self, world: Any, monkeypatch: pytest.MonkeyPatch):
        """Whoever cleans up after the cancellation must not be overtaken by a thread that is still writing."""
        from lull.activities import planning

        world.database.c.insert_one({"_id": 1})
        entered, go_on = threading.Event(), threading.Event()
        surveyed = planning.survey

        def slow(*arguments: Any) -> Any:
            entered.set()
            go_on.wait(30)
            return surveyed(*arguments)

        monkeypatch.setattr(planning, "survey", slow)
        spec = world.spec()
        task = asyncio.create_task(world.open(spec))
        await asyncio.to_thread(entered.wait, 30)
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert world.store.job(spec.job) is None


class TestCollections:
    def test_everything_is_there_after_ensuring_it_however_often(self, world: Any):
        for _ in range(3):
            store_module._ensured.discard(world.cluster)
            ensure_ledger(world.cluster)
        assert missing_from_ledger(world.cluster) == []
        assert set(world.client["lull"].list_collection_names()) >= set(INDEXES)

    def test_many_workers_ensure_it_at_once(self, world: Any, monkeypatch: pytest.MonkeyPatch):
        """On the day the first workers start together, there is nothing yet."""
        from lull.activities import mongo

        for module in (mongo, store_module):
            monkeypatch.setattr(module, "LEDGER_DATABASE", world.name)
        worlds = [type(world)(world.uri) for _ in range(6)]
        with ThreadPoolExecutor(len(worlds)) as pool:
            list(pool.map(lambda each: store_module._create(each.cluster), worlds))
        assert missing_from_ledger(world.cluster) == []
        for each in worlds:
            each.clusters.close()

    def test_entries_expire(self, world: Any):
        ensure_ledger(world.cluster)
        for name in ("partitions", "quarantine"):
            information = world.client["lull"][name].index_information()
            assert information["retention"]["expireAfterSeconds"] == 0

"""Who gets a job id, and that an opening may crash anywhere."""

import asyncio
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from lull.activities import claims, opening
from lull.activities.opening import Step
from lull.activities.survey import survey
from lull.activities.threads import Stop
from lull.domain.errors import FenceLost
from lull.domain.lifecycle import Status
from lull.domain.slice import CloseRequest


@pytest.fixture(autouse=True)
def documents(world: Any) -> None:
    world.database.c.insert_many([{"_id": n, "n": n} for n in range(100)])


async def end(world: Any, spec: Any, status: Status, *, incarnation: int = 1) -> None:
    """End the job in the ledger; a completed one has its partitions done first."""
    if status is Status.COMPLETED:
        world.store.partitions.update_many({"job": spec.job}, {"$set": {"status": "done"}})
    ref = world.ref(spec, incarnation)
    await world.ledger.close(CloseRequest(**dict(ref), status=status, message=f"it {status}"))


async def refused(attempt: Any) -> str:
    with pytest.raises(ApplicationError) as caught:
        await attempt
    assert caught.value.type == "OperatorError"
    return str(caught.value)


async def test_a_new_job_is_written_down_completely(world: Any):
    spec = world.spec(limits={"max_docs_per_second": 50}, on_poison={"stop_after": 7})
    opened = await world.open(spec)
    job = world.store.job(spec.job)
    assert (job["incarnation"], job["status"], job["digest"], job["spec"]) == (
        1,
        "running",
        spec.digest,
        spec.canonical(),
    )
    assert (job["who"], job["why"]) == ("tester", "because")
    assert job["plan"] == opened.plan.model_dump(mode="json")
    directive = job["directive"]
    assert (directive["verb"], directive["epoch"], directive["max_docs_per_second"], directive["poison_max"]) == (
        "run", 0, 50, 7,
    )  # fmt: skip
    assert world.holders() == [{"job": spec.job, "incarnation": 1, "fields": ["done"]}]
    assert [(p["after"], p["upto"], p["status"], p["fence"]) for p in world.partitions(spec)] == [
        (None, {"k": 99}, "idle", 0)
    ]


async def test_without_quarantine_the_first_poison_document_is_one_too_many(world: Any):
    spec = world.spec(on_poison={"quarantine": False})
    await world.open(spec)
    assert world.store.job(spec.job)["directive"]["poison_max"] == 0


async def test_a_spec_with_operators_and_dotted_names_is_read_back_as_it_was(world: Any):
    """The ledger stores ``$`` and ``.`` in names as they are."""
    spec = world.spec(filter={"a.b": {"$gt": {"$date": "2020-01-01T00:00:00Z"}}, "$and": [{"n": {"$exists": True}}]})
    await world.open(spec)
    assert world.store.job(spec.job)["spec"] == spec.canonical()


async def test_an_empty_collection_has_no_partitions(world: Any):
    world.database.c.delete_many({})
    opened = await world.open(world.spec())
    assert (opened.plan.partitions, opened.plan.documents) == (0, 0)


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.EXPIRED])
@pytest.mark.parametrize("is_same", [True, False])
@pytest.mark.parametrize("again", [True, False])
async def test_a_used_job_id(world: Any, status: Status, *, is_same: bool, again: bool):
    """The table: how it ended x same request or another x with or without --again."""
    first = world.spec()
    await world.open(first)
    await end(world, first, status)
    second = first if is_same else world.spec(update={"$set": {"other": 1}})
    if again:
        assert (await world.open(second, run="run-2", again=True)).plan.incarnation == 2
    elif not is_same:
        message = await refused(world.open(second, run="run-2"))
        assert "update.$set.other: (not set) -> 1" in message
        assert "--again" in message
        assert "new job id" in message
    elif status is Status.COMPLETED:
        finished = (await world.open(second, run="run-2")).finished
        assert (finished.status, finished.incarnation) == (Status.COMPLETED, 1)
    else:
        message = await refused(world.open(second, run="run-2"))
        assert f"it {status}" in message
        assert "--again" in message


async def test_a_finished_request_is_answered_even_when_its_collection_is_gone(world: Any):
    spec = world.spec()
    await world.open(spec)
    await end(world, spec, Status.COMPLETED)
    world.database.c.drop()
    assert (await world.open(spec, run="run-2")).finished.status is Status.COMPLETED


async def test_the_same_run_is_given_the_same_answer(world: Any):
    spec = world.spec()
    first = await world.open(spec)
    assert await world.open(spec) == first
    assert len(world.partitions(spec)) == 1


class TestATerminatedPredecessor:
    """The ledger says running, and the workflow that could say otherwise is gone."""

    async def test_is_not_started_over_unasked(self, world: Any):
        spec = world.spec()
        await world.open(spec)
        message = await refused(world.open(spec, run="run-2"))
        assert "terminated or timed out" in message
        assert "--again" in message

    async def test_is_shown_with_its_difference(self, world: Any):
        await world.open(world.spec())
        message = await refused(world.open(world.spec(update={"$set": {"other": 1}}), run="run-2"))
        assert "update.$set.other" in message

    async def test_is_fenced_off_and_replaced_when_asked(self, world: Any):
        spec = world.spec()
        await world.open(spec)
        world.store.partitions.update_one({"job": spec.job}, {"$set": {"status": "running", "fence": 4}})
        opened = await world.open(spec, run="run-2", again=True)
        assert opened.plan.incarnation == 2
        (old,) = world.partitions(spec, 1)
        assert (old["fence"], old["status"]) == (5, "closed")
        assert old["expires_at"] is not None
        assert [holder["incarnation"] for holder in world.holders()] == [2]

    async def test_of_another_temporal_namespace_may_be_alive(self, world: Any):
        spec = world.spec()
        await world.open(spec)
        elsewhere = world.request(spec, run="run-2", again=True, namespace="other")
        assert "cancel it there" in await refused(world.planning.open(elsewhere))


@pytest.mark.parametrize("step", list(Step))
@pytest.mark.parametrize("run", ["run-1", "run-2"])
async def test_an_opening_that_crashed_is_done_again(world: Any, step: Step, run: str):
    """By a retry of the same run, or by the next run after the first was terminated while planning."""
    spec = world.spec()
    world.open_until(spec, step)
    if step is Step.RUNNING and run == "run-2":
        assert "--again" in await refused(world.open(spec, run=run))
        return
    opened = await world.open(spec, run=run)
    incarnation = 1 if step is Step.RUNNING else 2
    job = world.store.job(spec.job)
    assert (opened.plan.incarnation, job["incarnation"], job["status"]) == (incarnation, incarnation, "running")
    assert len(world.partitions(spec, incarnation)) == 1
    assert all(old["status"] == "closed" for old in world.partitions(spec, incarnation - 1))
    assert [holder["incarnation"] for holder in world.holders()] == [incarnation]


@pytest.mark.parametrize("step", [s for s in Step if s is not Step.RUNNING])
async def test_an_opening_that_was_given_up_cannot_overtake_its_successor(world: Any, step: Step):
    """A zombie attempt goes on after a later attempt has opened the ledger: it loses."""
    spec = world.spec()
    request = world.request(spec)
    found = survey(world.cluster, spec, world.registry, Stop())
    successor = []

    def passed(at: Step) -> None:
        if at is step:
            successor.append(opening.open_ledger(world.store, request, found, lambda _: None))

    with pytest.raises(FenceLost):
        opening.open_ledger(world.store, request, found, passed)
    job = world.store.job(spec.job)
    assert (job["incarnation"], job["status"]) == (successor[0].plan.incarnation, "running")
    assert [holder["incarnation"] for holder in world.holders()] == [2]
    assert [p["status"] for p in world.partitions(spec, 2)] == ["idle"]


async def test_a_start_that_lost_the_race_for_an_ended_id_looks_again(world: Any, monkeypatch: pytest.MonkeyPatch):
    """Two runs start an ended job over; one is opened between the other's look and its claim."""
    spec = world.spec()
    await world.open(spec)
    await end(world, spec, Status.CANCELLED)
    original, rivals = opening._replace_job, []

    def overtaken(*arguments: Any) -> bool:
        if not rivals:
            rivals.append("run-2")
            found = survey(world.cluster, spec, world.registry, Stop())
            opening.open_ledger(world.store, world.request(spec, run="run-2", again=True), found, lambda _: None)
        return original(*arguments)

    monkeypatch.setattr(opening, "_replace_job", overtaken)
    assert (await world.open(spec, run="run-3", again=True)).plan.incarnation == 3
    assert [p["status"] for p in world.partitions(spec, 2)] == ["closed"]
    assert world.store.job(spec.job)["temporal"]["run_id"] == "run-3"


class TestClaims:
    async def test_jobs_on_the_same_fields_exclude_each_other(self, world: Any):
        await world.open(world.spec(job="one"))
        message = await refused(world.open(world.spec(job="two", update={"$set": {"done.x": 1}})))
        assert f"{world.name}-one" in message
        assert "overlap: true" in message

    async def test_a_refused_job_leaves_nothing_behind(self, world: Any):
        await world.open(world.spec(job="one"))
        spec = world.spec("purge", job="two")
        await refused(world.open(spec))
        assert world.store.job(spec.job)["status"] == "refused"
        assert len(world.holders()) == 1
        await end(world, world.spec(job="one"), Status.CANCELLED)
        assert (await world.open(spec, run="run-2")).plan.partitions == 1

    async def test_jobs_on_other_fields_run_beside_each_other(self, world: Any):
        await world.open(world.spec(job="one"))
        await world.open(world.spec(job="two", update={"$set": {"other": 1}}))
        assert len(world.holders()) == 2

    async def test_overlap_is_allowed_to_those_who_ask(self, world: Any):
        await world.open(world.spec(job="one"))
        await world.open(world.spec(job="two", overlap=True))
        assert len(world.holders()) == 2

    async def test_a_claim_ends_with_its_job(self, world: Any):
        spec = world.spec(job="one")
        await world.open(spec)
        await end(world, spec, Status.CANCELLED)
        assert world.holders() == []
        await world.open(world.spec("purge", job="two"))

    async def test_a_claim_whose_job_ended_without_giving_it_back_is_nobodys(self, world: Any):
        spec = world.spec(job="one")
        await world.open(spec)
        world.store.jobs.update_one({"_id": spec.job}, {"$set": {"status": "failed"}})
        await world.open(world.spec("purge", job="two"))
        assert [holder["job"] for holder in world.holders()] == [f"{world.name}-two"]

    async def test_a_claim_of_an_outdated_incarnation_is_nobodys(self, world: Any):
        spec = world.spec(job="one")
        await world.open(spec)
        world.store.jobs.update_one({"_id": spec.job}, {"$set": {"incarnation": 2}})
        await world.open(world.spec("purge", job="two"))

    async def test_of_many_overlapping_jobs_at_once_exactly_one_is_opened(self, world: Any):
        specs = [world.spec("purge", job=f"job-{n}") for n in range(8)]
        answers = await asyncio.gather(*(world.open(spec) for spec in specs), return_exceptions=True)
        refusals = [answer for answer in answers if isinstance(answer, ApplicationError)]
        assert len(refusals) == 7
        assert {refusal.type for refusal in refusals} == {"OperatorError"}
        assert len(world.holders()) == 1

    async def test_of_many_jobs_on_fields_of_their_own_all_are_opened(self, world: Any):
        specs = [world.spec(job=f"job-{n}", update={"$set": {f"f{n}": 1}}) for n in range(8)]
        await asyncio.gather(*(world.open(spec) for spec in specs))
        assert {holder["fields"][0] for holder in world.holders()} == {f"f{n}" for n in range(8)}

    async def test_a_lost_race_is_run_again(self, world: Any, monkeypatch: pytest.MonkeyPatch):
        """Another job's claim goes through between our read and our write."""
        original, calls = claims._replace, []

        def losing(*arguments: Any) -> bool:
            calls.append(arguments)
            return len(calls) > 3 and original(*arguments)

        monkeypatch.setattr(claims, "_replace", losing)
        await world.open(world.spec())
        assert len(calls) == 4


async def test_two_starts_of_one_id_with_different_requests_open_one(world: Any):
    """As from two Temporal clusters, which do not know of each other."""
    requests = [
        world.request(world.spec(update={"$set": {f"f{n}": 1}}), run=f"run-{n}", namespace=f"ns-{n}") for n in range(4)
    ]
    answers = await asyncio.gather(*(world.planning.open(r) for r in requests), return_exceptions=True)
    assert sum(not isinstance(answer, BaseException) for answer in answers) == 1
    assert len(world.holders()) == 1

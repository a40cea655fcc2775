"""A server without transactions: what is promised, refused and examined."""

from collections.abc import Iterator
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from lull.domain.guarantee import Promise
from lull.domain.lifecycle import Status
from lull.domain.slice import CloseRequest, DoctorRequest, PlanRequest
from lull.embedded.mongod import Mongod


@pytest.fixture(scope="module")
def standalone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    with Mongod(tmp_path_factory.mktemp("standalone")) as mongod:
        yield mongod


@pytest.fixture
def alone(standalone: Mongod, make_world: Any) -> Iterator[Any]:
    world = make_world(standalone.uri)
    world.database.c.insert_many([{"_id": n} for n in range(10)])
    yield world
    world.close()


async def test_an_idempotent_job_is_opened_and_closed_with_the_weaker_promise(alone: Any):
    spec = alone.spec()
    opened = await alone.open(spec)
    assert opened.plan.guarantee.promise is Promise.AT_LEAST_ONCE
    assert any(note.startswith("at least once: a standalone server") for note in opened.plan.notes)
    assert (await alone.ledger.raise_fences(alone.ref(spec))).raised == 1
    outcome = await alone.ledger.close(CloseRequest(**dict(alone.ref(spec)), status=Status.CANCELLED))
    assert outcome.guarantee == opened.plan.guarantee


async def test_a_job_that_would_be_wrong_under_it_is_refused(alone: Any):
    with pytest.raises(ApplicationError, match="make it a replica set") as caught:
        await alone.open(alone.spec(update={"$inc": {"n": 1}}))
    assert caught.value.type == "OperatorError"
    assert alone.store.job(alone.spec().job) is None


async def test_the_doctor_says_what_to_do(alone: Any):
    checks = {c.name: c for c in (await alone.planning.doctor(DoctorRequest())).checks}
    assert not checks["main: topology"].ok
    assert "replica set" in checks["main: topology"].remedy
    assert not checks["main: transactions"].ok


async def test_a_server_kept_compatible_with_older_ones_is_refused(alone: Any):
    alone.client.admin.command("setFeatureCompatibilityVersion", "5.0")
    try:
        with pytest.raises(ApplicationError, match=r"featureCompatibilityVersion 5.0; lull needs 6.0"):
            await alone.planning.plan(PlanRequest(spec=alone.spec()))
        checks = {c.name: c for c in (await alone.planning.doctor(DoctorRequest())).checks}
        assert not checks["main: version"].ok
    finally:
        alone.client.admin.command("setFeatureCompatibilityVersion", "6.0")

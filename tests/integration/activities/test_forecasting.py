"""Forecasts over a real time series and a real ledger: what governors and earlier jobs left behind is found."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lull.activities.forecasting import Forecasting
from lull.activities.governing.samples import ensure_samples
from lull.activities.mongo import Clusters
from lull.activities.planning import Planning
from lull.activities.store import BUDGET_ID, GOVERNOR, SAMPLES
from lull.domain.config import ClusterProfile
from lull.domain.forecast import Bounds, Confidence, Forecast, ForecastRequest
from lull.domain.governor.budget import Budget
from lull.domain.slice import PlanRequest

Document = dict[str, Any]


class Watched:
    """A cluster profile whose samples nobody else writes, over the world's server."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.name = f"c{uuid.uuid4().hex[:8]}"
        self.clusters = Clusters({self.name: ClusterProfile(uri=world.uri)})
        ensure_samples(self.clusters.get(self.name))
        world.database.c.insert_many([{"_id": n} for n in range(2_000)])
        self.spec = world.spec().model_copy(
            update={"source": world.spec().source.model_copy(update={"cluster": self.name})}
        )

    def sampled(self, seconds: int, **fields: Any) -> None:
        """A governor kept samples of the last so many seconds."""
        now = datetime.now(UTC).replace(tzinfo=None)
        seen = {"n": 20, "p50": 3.0, "p90": 4.0, "max": 6.0}
        base: Document = {
            "governor": {"cluster": self.name}, "mode": "enforce", "zone": "keep", "is_open": True, "reason": "",
            "duty": 0.5, "hold_ms": 10.0, "canary": {"read": seen, "write": seen}, "foreground_ops": 400.0,
            "jobs": [{"job": "other", "slices": 1, "share": 0.5, "used": 0.5}],
        }  # fmt: skip
        documents = [base | {"at": now - timedelta(seconds=ago)} | fields for ago in range(seconds, 0, -1)]
        self.world.client["lull"][SAMPLES].insert_many(documents)

    def said(self, **fields: Any) -> None:
        """The governor has just spoken."""
        said = Budget(sequence=1, at=datetime.now(UTC), **fields)
        self.governor.update_one({"_id": BUDGET_ID}, {"$set": said.model_dump()}, upsert=True)

    @property
    def governor(self) -> Any:
        return self.clusters.get(self.name).ledger(GOVERNOR)

    async def forecast(self) -> Forecast:
        registry = self.world.registry
        plan = await Planning(self.clusters, registry).plan(PlanRequest(spec=self.spec))
        return await Forecasting(self.clusters, registry).forecast(ForecastRequest(spec=self.spec, plan=plan))

    def close(self) -> None:
        self.governor.delete_many({"_id": BUDGET_ID})
        self.world.client["lull"][SAMPLES].delete_many({"governor.cluster": self.name})
        self.clusters.close()


@pytest.fixture
def cluster(world: Any) -> Iterator[Watched]:
    made = Watched(world)
    yield made
    made.close()


async def test_what_jobs_had_beside_the_foreground_is_the_pace(cluster: Watched):
    cluster.sampled(60)
    cluster.said()
    found = await cluster.forecast()
    assert found.pace == Bounds(low=0.5, high=0.5)
    assert "of them with jobs beside the foreground" in found.pace_basis
    assert found.confidence is Confidence.PARTLY, "no page of this job was measured"


async def test_what_was_felt_without_jobs_is_told_with_the_aim(cluster: Watched):
    cluster.sampled(60, jobs=[], zone="idle")
    cluster.said()
    found = await cluster.forecast()
    assert {feel.op for feel in found.feels} == {"read", "write"}
    assert all(feel.beside_ms.high == pytest.approx(feel.without_ms * 1.1) for feel in found.feels)
    assert "no job beside this foreground" in found.pace_basis


async def test_a_probes_own_samples_tell_nothing_of_a_pace(cluster: Watched):
    cluster.sampled(60, jobs=[{"job": "a", "share": 0.5, "used": 0.5}, {"job": "x (probe)", "share": 0.1, "used": 0.1}])
    cluster.said()
    assert "no samples yet" in (await cluster.forecast()).pace_basis


async def test_a_governor_that_was_silent_for_a_while_is_not_heard(cluster: Watched):
    cluster.sampled(60)
    cluster.said()
    cluster.governor.update_one({"_id": BUDGET_ID}, {"$set": {"at": datetime.now(UTC) - timedelta(minutes=5)}})
    assert "no governor has watched this cluster lately" in (await cluster.forecast()).pace_basis


async def test_completed_jobs_of_this_kind_on_this_collection_tell_what_pages_cost(cluster: Watched, world: Any):
    outcome = {"active_s": 2.0, "counts": {"scanned": 10_000}}
    spec = world.spec().canonical()
    world.store.jobs.insert_many(
        [
            {"_id": f"{world.name}-done", "status": "completed", "spec": spec, "outcome": outcome},
            {"_id": f"{world.name}-kind", "status": "completed", "spec": spec | {"kind": "purge"}, "outcome": outcome},
            {"_id": f"{world.name}-failed", "status": "failed", "spec": spec, "outcome": outcome},
            {"_id": f"{world.name}-short", "status": "completed", "spec": spec, "outcome": outcome | {"active_s": 0.1}},
        ]
    )
    found = await cluster.forecast()
    assert found.work_docs_per_second == Bounds(low=4_000, high=6_250)
    assert found.work_basis == "1 job of this kind on this collection before"

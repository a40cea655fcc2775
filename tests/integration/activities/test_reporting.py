"""Reports over a real time series: what a governor wrote is found again, and nothing of anybody's documents."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo.collection import Collection
from temporalio.exceptions import ApplicationError

from lull.activities.governing.samples import ensure_samples
from lull.activities.mongo import Clusters
from lull.activities.reporting import Reporting
from lull.activities.store import SAMPLES
from lull.domain.config import ClusterProfile
from lull.domain.lifecycle import Status
from lull.domain.report import POINTS_MAX, Condition, Report, ReportRequest, Series
from lull.domain.slice import CloseRequest

Document = dict[str, Any]


@dataclass
class Watched:
    """A job on a cluster whose samples nobody else writes, which ran an hour ago."""

    world: Any
    cluster: str = field(default_factory=lambda: f"c{uuid.uuid4().hex[:8]}")
    began: datetime = field(
        default_factory=lambda: (datetime.now(UTC) - timedelta(hours=1)).replace(tzinfo=None, microsecond=0)
    )

    def __post_init__(self) -> None:
        self.clusters = Clusters({self.cluster: ClusterProfile(uri=self.world.uri)})
        self.reporting = Reporting(self.clusters)
        ensure_samples(self.clusters.get(self.cluster))
        self.spec = self.world.spec()

    @property
    def samples(self) -> Collection[Document]:
        return self.world.client["lull"][SAMPLES]

    async def run(self, seconds: float = 120, documents: int = 50) -> None:
        """The job was opened, and completed after so many seconds, each partition in its turn."""
        self.world.database.c.insert_many([{"_id": n, "secret": f"ann-{n}@example.org"} for n in range(documents)])
        await self.world.open(self.spec)
        at = self.began + timedelta(seconds=seconds)
        counts = {"scanned": documents, "seen": documents, "changed": documents, "pages": 1}
        done = {"status": "done", "updated_at": at, **{f"counts.{name}": count for name, count in counts.items()}}
        self.world.store.partitions.update_many({"job": self.spec.job}, {"$set": done})
        ref = self.world.ref(self.spec).model_dump()
        await self.world.ledger.close(
            CloseRequest(**ref, status=Status.COMPLETED, active_s=9.0, waited_s={"canary": 3.0})
        )
        self.world.store.jobs.update_one({"_id": self.spec.job}, {"$set": {"started_at": self.began, "ended_at": at}})

    def sample(self, second: float, *, zone: str = "keep", **fields: Any) -> Document:
        seen = {"n": 20, "p50": 1.0, "p90": 2.0, "max": 9.0}
        return {
            "at": self.began + timedelta(seconds=second), "governor": {"cluster": self.cluster}, "mode": "enforce",
            "zone": zone, "is_open": zone not in {"blank", "stop"}, "reason": "", "duty": 0.5, "hold_ms": 10.0,
            "signals": {"canary": 3.0, "read-p99": 5.0, "oplog-window": 12.0},
            "limits": {"canary": 6.0, "read-p99": 10.0, "oplog-window": 6.0},
            "canary": {"read": seen, "write": {"n": 0}}, "foreground_ops": 400.0, "own_ops": 90.0,
            "own": {"ratio": 1.1, "low": 1.0, "high": 1.2, "ms": 0.1},
            "jobs": [
                {"job": self.spec.job, "slices": 2, "weight": 1.0, "critical": False, "share": 0.3, "used": 0.25},
                {"job": "other", "slices": 1, "weight": 1.0, "critical": False, "share": 0.2, "used": 0.125},
            ],
        } | fields  # fmt: skip

    async def report(self, **fields: Any) -> Report:
        return await self.reporting.report(ReportRequest(job=self.spec.job, cluster=self.cluster, **fields))

    def close(self) -> None:
        self.samples.delete_many({"governor.cluster": self.cluster})
        self.clusters.close()


@pytest.fixture
def watched(world: Any) -> Iterator[Watched]:
    made = Watched(world)
    yield made
    made.close()


def series(found: Report, name: str) -> Series:
    assert found.timeline
    (one,) = (one for one in found.timeline.series if one.name == name)
    return one


async def test_the_jobs_time_is_found_again_with_a_margin_on_both_sides(watched: Watched):
    await watched.run()
    watched.samples.insert_many([watched.sample(n) for n in range(-100, 300)])
    found = await watched.report()
    assert found.timeline
    assert found.facts
    assert found.timeline.from_at == (watched.began - timedelta(seconds=30)).replace(tzinfo=UTC)
    assert found.timeline.samples == 180
    assert found.timeline.at_s[:2] == (0.0, 1.0)
    assert found.facts.steps[-1] == (150.0, 50)


async def test_every_figure_has_its_name(watched: Watched):
    await watched.run()
    watched.samples.insert_many([watched.sample(n) for n in range(10)])
    found = await watched.report()
    expected = {
        "read-p50": 1.0, "read-p90": 2.0, "read-max": 9.0, "read-p99": 5.0, "read-p99 limit": 10.0, "duty": 0.5, "hold": 10.0,
        "share": 0.3, "used": 0.25, "used-by-others": 0.125, "foreground-ops": 400.0, "own-ops": 90.0, "own-ratio": 1.1,
        "own-low": 1.0, "own-high": 1.2, "signal canary": 0.5, "signal read-p99": 0.5, "signal oplog-window": 0.5,
    }  # fmt: skip
    assert found.timeline
    assert {one.name: one.mid[0] for one in found.timeline.series} == expected
    assert {one.mid for one in found.timeline.series} == {(value,) * 10 for value in expected.values()}


async def test_documents_per_second_are_the_jobs_own_and_absent_where_nobody_told(watched: Watched):
    await watched.run()
    told = watched.sample(1)
    for row, docs in zip(told["jobs"], (40.0, 9.0), strict=True):
        row["docs_per_s"] = docs
    watched.samples.insert_many([watched.sample(0), told])
    assert series(await watched.report(), "docs-per-s").mid == (None, 40.0)


async def test_whose_p99_it_is_and_what_a_blank_window_held_come_from_the_samples(watched: Watched):
    await watched.run()
    watched.samples.insert_many(
        [
            watched.sample(0, sources={"read-p99": "reported"}),
            watched.sample(1, zone="blank", phase="between"),
            watched.sample(2, zone="blank", phase="off"),
            watched.sample(3, zone="blank", phase="off"),
        ]
    )
    found = await watched.report()
    assert found.timeline
    assert found.timeline.reported == {"read-p99": 1.0}
    (blank,) = (one for one in found.timeline.felt if one.condition == "blank")
    assert blank.samples == 1


async def test_what_nothing_limits_has_no_pace(watched: Watched):
    """Beside no foreground a budget of 64 work-seconds would flatten every other moment of the plot."""
    await watched.run()
    watched.samples.insert_many([watched.sample(0, zone="quiet", duty=64.0, hold_ms=1_000.0), watched.sample(1)])
    found = await watched.report()
    assert series(found, "duty").mid == (None, 0.5)
    assert series(found, "hold").mid == (None, 10.0)
    assert series(found, "used").mid == (0.25, 0.25)


async def test_what_the_foreground_felt_is_told_by_condition(watched: Watched):
    await watched.run()
    watched.samples.insert_many([watched.sample(n, zone="blank" if n % 20 < 3 else "keep") for n in range(100)])
    found = await watched.report()
    assert found.timeline
    assert {(one.op, one.condition): one.samples for one in found.timeline.felt} == {
        ("read", Condition.WORKING): 80, ("read", Condition.BLANK): 10,
    }  # fmt: skip
    assert series(found, "read-p90 without").mid.count(2.0) == 10


async def test_hours_are_read_in_pieces_without_a_gap_or_an_overlap(watched: Watched):
    watched.began -= timedelta(hours=5)
    await watched.run(seconds=3 * 3_600 + 7)
    watched.samples.insert_many([watched.sample(n * 7.0) for n in range(3 * 3_600 // 7 + 1)])
    found = await watched.report()
    assert found.timeline
    assert found.timeline.samples == 3 * 3_600 // 7 + 1
    assert len(found.timeline.at_s) <= POINTS_MAX


async def test_a_peak_of_one_second_in_hours_is_there(watched: Watched):
    watched.began -= timedelta(hours=5)
    await watched.run(seconds=4 * 3_600)
    watched.samples.insert_many([watched.sample(n * 10.0) for n in range(1_440)])
    watched.samples.insert_one(
        watched.sample(5_001, canary={"read": {"n": 20, "p50": 1.0, "p90": 2.0, "max": 777.0}, "write": {"n": 0}})
    )
    assert max(value or 0 for value in series(await watched.report(), "read-max").high) == 777.0


async def test_only_the_last_of_a_job_is_counted_from_its_end(watched: Watched):
    await watched.run(seconds=120)
    watched.samples.insert_many([watched.sample(n) for n in range(-30, 300)])
    found = await watched.report(last_s=60.0)
    assert found.timeline
    assert found.timeline.from_at == (watched.began + timedelta(seconds=60)).replace(tzinfo=UTC)
    assert found.timeline.samples == 90


async def test_other_clusters_samples_are_not_mixed_in(watched: Watched):
    await watched.run()
    watched.samples.insert_many([watched.sample(n, governor={"cluster": f"{watched.cluster}-2"}) for n in range(10)])
    found = await watched.report()
    watched.samples.delete_many({"governor.cluster": f"{watched.cluster}-2"})
    assert found.timeline
    assert found.timeline.samples == 0


async def test_the_ledger_tells_what_the_job_did(watched: Watched):
    await watched.run()
    facts = (await watched.report()).facts
    assert facts
    assert (facts.status, facts.kind, facts.cluster) == (Status.COMPLETED, "update", watched.cluster)
    assert (facts.counts.changed, facts.partitions_done) == (50, facts.partitions)
    assert (facts.active_s, facts.waited_s) == (9.0, {"canary": 3.0})
    assert facts.ended_at == (watched.began + timedelta(seconds=120)).replace(tzinfo=UTC)
    assert facts.guarantee.startswith("exactly once")
    assert (facts.who, facts.why) == ("tester", "because")


async def test_a_job_that_runs_is_reported_on_as_far_as_it_is(watched: Watched):
    watched.world.database.c.insert_many([{"_id": n} for n in range(50)])
    await watched.world.open(watched.spec)
    watched.began = datetime.now(UTC).replace(tzinfo=None)
    watched.samples.insert_one(watched.sample(-1.0))
    found = await watched.report()
    assert found.facts
    assert found.timeline
    assert (found.facts.status, found.facts.ended_at, found.facts.active_s) == (Status.RUNNING, None, None)
    assert found.timeline.samples == 1


async def test_no_document_and_no_id_of_one_is_in_it(watched: Watched):
    """It passes through Temporal's history."""
    await watched.run()
    watched.samples.insert_one(watched.sample(1))
    assert "example.org" not in (await watched.report()).model_dump_json()


async def test_a_job_is_looked_for_on_every_cluster_when_nobody_says_which(watched: Watched):
    await watched.run()
    found = await watched.reporting.report(ReportRequest(job=watched.spec.job))
    assert found.facts
    assert found.facts.cluster == watched.cluster


async def test_an_unknown_job_has_no_facts(watched: Watched):
    found = await watched.reporting.report(ReportRequest(job="nobody-knows"))
    assert (found.facts, found.timeline) == (None, None)


async def test_unknown_is_not_said_while_a_ledger_is_away(watched: Watched):
    away = "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=200"
    clusters = Clusters({watched.cluster: ClusterProfile(uri=watched.world.uri), "away": ClusterProfile(uri=away)})
    with pytest.raises(ApplicationError) as caught:
        await Reporting(clusters).report(ReportRequest(job="nobody-knows"))
    clusters.close()
    assert caught.value.type == "TransientError"
    assert "away" in str(caught.value)


async def test_a_sample_of_another_version_is_read_as_far_as_it_goes(watched: Watched):
    await watched.run()
    watched.samples.insert_one(
        {"at": watched.began + timedelta(seconds=1), "governor": {"cluster": watched.cluster}, "novelty": 7}
    )
    found = await watched.report()
    assert found.timeline
    assert (found.timeline.samples, found.timeline.series) == (1, ())

"""
What exactly-once costs: each kind against the script one would write by hand, and what Temporal costs.

    make bench              collections of 500,000 documents, five rounds
    QUICK=1 make bench      100,000 documents, two rounds, about three minutes

Rounds alternate job and script, in one run on one server, and medians are compared: this machine
moves by a fifth from minute to minute, both sides of a ratio with it. A job's time is wall time from
the start command to the answer that it has completed, so planning and finishing count against it.
Scripts write as lull does (majority, journal), keep no checkpoint and cannot be stopped or resumed;
each gets its best batch size first.
"""

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from pymongo import IndexModel, UpdateOne
from pymongo.collection import Collection

from benchmarks import bench
from benchmarks.bench import Document, JobRun, Lab, Machine, run_job, show, spec
from benchmarks.transforms import total
from lull.domain.job import JobSpec
from lull.starter.client import Client

SOURCE, WORK, SPARE, LARGE = "bench.orders", "bench.work", "bench.spare", "bench.large"
BATCHES = (500, 1_000, 2_000, 5_000)
BY_EXPIRY = IndexModel([("expires_at", 1)], name="by_expiry")
EMPTY_TRIES = 10
WORKERS = 1

PIPELINE: list[Document] = [
    {"$set": {"total": {"$round": [{"$multiply": ["$price", "$quantity"]}, 2]}, "version": {"$add": ["$version", 1]}}}
]
"""What the transform computes, in the server's own words."""


class Size(NamedTuple):
    """How much is measured."""

    documents: int
    rounds: int
    large: int
    """Documents of the collection from which one in a hundred is purged."""


FULL, QUICK = Size(500_000, 5, 2_000_000), Size(100_000, 2, 400_000)

Script = Callable[[Collection[Document]], int]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Contest:
    """One job against one script: the same work on the same documents."""

    name: str
    limit: str
    """For the ratio of their rates."""
    job: Callable[[int], dict[str, Any]]
    """The spec's fields, without job and namespace, for each turn's number."""
    script: Callable[[int], Script]
    """What is run in each turn."""
    script_name: str
    namespace: str = WORK
    consumes: bool = False
    """Whether all documents are gone afterwards, so that the next turn needs new ones."""
    warms_up: bool = True
    """Whether both sides run once unmeasured first: caches are warm and documents have their final size."""


@dataclass(slots=True)
class Score:
    """What was measured of one contest."""

    contest: Contest
    jobs: list[JobRun] = field(default_factory=list)
    scripts: list[float] = field(default_factory=list)
    """Documents per second."""

    @property
    def job_rate(self) -> float:
        """Documents per second over the whole time of the job, in the median."""
        return bench.median([run.docs_per_second for run in self.jobs])

    @property
    def slices_rate(self) -> float:
        """The same between the first slice's start and the last one's end."""
        return bench.median([run.documents / run.slices_s for run in self.jobs if run.slices_s])

    @property
    def script_rate(self) -> float:
        """Documents per second of the script, in the median."""
        return bench.median(self.scripts)

    @property
    def ratio(self) -> float:
        """The job's rate over the script's."""
        return self.job_rate / self.script_rate

    def row(self) -> dict[str, Any]:
        """Return the same as JSON values."""
        return {
            "contest": self.contest.name,
            "script": self.contest.script_name,
            "job_docs_per_second": round(self.job_rate),
            "job_docs_per_second_in_slices": round(self.slices_rate),
            "script_docs_per_second": round(self.script_rate),
            "ratio": round(self.ratio, 3),
            "ratio_in_slices": round(self.slices_rate / self.script_rate, 3),
            "limit": self.contest.limit,
            "verdict": bench.verdict(self.ratio, self.contest.limit),
            "jobs": [run.row() for run in self.jobs],
            "scripts_docs_per_second": [round(rate) for rate in self.scripts],
        }


# --- what one would write by hand -----------------------------------------------------------------------------


def computing(batch: int) -> Script:
    """Return a script that reads, computes and writes in batches."""

    def run(collection: Collection[Document]) -> int:
        done = 0
        for documents in _batches(collection, batch):
            writes = [UpdateOne({"_id": one["_id"]}, {"$set": total(one)}) for one in documents]
            done += collection.bulk_write(writes, ordered=False).modified_count
        return done

    return run


def _batches(collection: Collection[Document], size: int) -> Iterator[list[Document]]:
    yield from bench.batches(collection.find({}, batch_size=size), size)


def one_update(collection: Collection[Document]) -> int:
    """The server-side limit: one command over everything."""
    return collection.update_many({}, PIPELINE).modified_count


def deleting(batch: int) -> Script:
    """Return a script that deletes ranges of ``_id``, whose bounds it knows beforehand."""

    def run(collection: Collection[Document]) -> int:
        last = collection.find_one(sort=[("_id", -1)])
        assert last is not None
        ranges = range(0, last["_id"] + 1, batch)
        return sum(collection.delete_many({"_id": {"$gte": low, "$lt": low + batch}}).deleted_count for low in ranges)

    return run


def deleting_expired(batch: int, turn: int) -> Script:
    """Return a script that deletes what expires in the turn's days, by ranges of the index on ``expires_at``."""
    expired = {"expires_at": {"$lt": bench.expiry(turn + 1)}}

    def run(collection: Collection[Document]) -> int:
        done = 0
        while True:
            bound = list(collection.find(expired, {"expires_at": 1}).sort("expires_at", 1).skip(batch).limit(1))
            condition = {"expires_at": {"$lt": bound[0]["expires_at"]}} if bound else expired
            done += collection.delete_many(condition).deleted_count
            if not bound:
                return done

    return run


def purging_expired(turn: int) -> dict[str, Any]:
    """Return the same as a spec's fields."""
    moment = bench.expiry(turn + 1).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"kind": "purge", "filter": {"expires_at": {"$lt": {"$date": moment}}}}


def always(value: T) -> Callable[[int], T]:
    """Return what gives *value* in every turn."""
    return lambda _turn: value


# --- measuring --------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Arena:
    """Where contests are held."""

    lab: Lab
    client: Client
    size: Size
    jobs: int = 0

    def timed(self, script: Script, collection: Collection[Document]) -> float:
        """Return the script's rate in documents per second; it must have changed something."""
        self.lab.settle()
        began = time.monotonic()
        done = script(collection)
        seconds = time.monotonic() - began
        if done == 0:
            raise RuntimeError(f"the script changed nothing in {collection.full_name}")
        return done / seconds

    async def run(self, fields: dict[str, Any], namespace: str) -> JobRun:
        """Return one run of the job, under a new id."""
        self.jobs += 1
        self.lab.settle()
        wanted: JobSpec = spec(job=f"bench-{self.jobs}", namespace=namespace, **fields)
        return await run_job(self.lab, self.client, wanted)

    def best(self, make: Callable[[int], Script], namespace: str, renew: Callable[[], None]) -> tuple[int, list[Any]]:
        """Return the batch size with which the script is fastest, and what was measured for each."""
        tried = []
        for batch in BATCHES:
            renew()
            tried.append((batch, round(self.timed(make(batch), self.lab.collection(namespace)))))
        return max(tried, key=lambda one: one[1])[0], [list(one) for one in tried]

    def renew(self, namespace: str) -> None:
        """The collection holds all orders again."""
        self.lab.copy(SOURCE, namespace)

    async def hold(self, contest: Contest) -> Score:
        """Return the score after all rounds: job and script in alternation, each first in every other round."""
        score = Score(contest)
        turns = itertools.count()
        if contest.warms_up:
            self.renew(contest.namespace)
            contest.script(next(turns))(self.lab.collection(contest.namespace))
            await self.run(contest.job(next(turns)), contest.namespace)
        for number in range(self.size.rounds):
            sides = [self._job_turn, self._script_turn]
            for side in sides if number % 2 == 0 else reversed(sides):
                if contest.consumes:
                    self.renew(contest.namespace)
                await side(score, next(turns))
        return score

    async def _job_turn(self, score: Score, turn: int) -> None:
        score.jobs.append(await self.run(score.contest.job(turn), score.contest.namespace))

    async def _script_turn(self, score: Score, turn: int) -> None:
        collection = self.lab.collection(score.contest.namespace)
        score.scripts.append(self.timed(score.contest.script(turn), collection))


async def empty_job(arena: Arena) -> dict[str, Any]:
    """Return what a job costs that has nothing to do."""
    arena.lab.collection("bench.nothing").drop()
    arena.lab.mongo.bench.create_collection("nothing")
    runs = [
        await arena.run({"kind": "update", "update": {"$set": {"seen": True}}}, "bench.nothing")
        for _ in range(EMPTY_TRIES)
    ]
    walls = [run.wall_s for run in runs]
    return {
        "tries": EMPTY_TRIES,
        "median_s": round(bench.median(walls), 3),
        "max_s": round(max(walls), 3),
        "events": runs[-1].events,
        "history_bytes": runs[-1].history_bytes,
    }


def temporal_cost(scores: Sequence[Score]) -> list[dict[str, Any]]:
    """Return what each kind left in Temporal's history, over a million documents."""
    rows = []
    for score in scores:
        documents = sum(run.documents for run in score.jobs)
        events, size = sum(run.events for run in score.jobs), sum(run.history_bytes for run in score.jobs)
        rows.append(
            {
                "job": score.contest.name,
                "documents": documents,
                "events_per_million": round(events * 1_000_000 / documents),
                "history_bytes_per_million": round(size * 1_000_000 / documents),
            }
        )
    return rows


async def contests(arena: Arena) -> tuple[list[Contest], dict[str, Any]]:
    """Return what is to be measured, each script with its best batch size, and how that was found."""
    computed, tried_computing = arena.best(computing, SPARE, lambda: arena.renew(SPARE))
    deleted, tried_deleting = arena.best(deleting, SPARE, lambda: arena.renew(SPARE))
    found = [
        Contest(
            "transform",
            ">= 1.0",
            always({"kind": "transform", "transform": "bench.total"}),
            always(computing(computed)),
            f"read, compute, bulk_write of {computed:,}",
        ),
        Contest(
            "update", ">= 0.9", always({"kind": "update", "update": PIPELINE}), always(one_update), "one update_many"
        ),
        Contest(
            "purge, everything",
            ">= 0.9",
            always({"kind": "purge", "everything": True}),
            always(deleting(deleted)),
            f"delete_many by ranges of {deleted:,}",
            consumes=True,
            warms_up=False,
        ),
        Contest(
            "purge, 1 % by index",
            "",  # a job of a second: shown, because its fixed costs are
            purging_expired,
            lambda turn: deleting_expired(deleted, turn),
            f"delete_many by index ranges of {deleted:,}",
            namespace=LARGE,
            warms_up=False,
        ),
    ]
    return found, {"read-compute-write": tried_computing, "range delete": tried_deleting}


def show_all(scores: Sequence[Score], costs: Sequence[dict[str, Any]], empty: dict[str, Any]) -> None:
    """Print the tables."""
    show(
        "Documents per second: lull's job, start to completed, against a script by hand",
        ("job", "lull", "in its slices", "script", "ratio", "wanted", ""),
        [
            (
                f"{score.contest.name}, vs {score.contest.script_name}",
                score.job_rate,
                score.slices_rate,
                score.script_rate,
                score.ratio,
                score.contest.limit,
                bench.verdict(score.ratio, score.contest.limit),
            )
            for score in scores
        ],
    )
    show(
        "What Temporal keeps, per million documents",
        ("job", "documents", "history events", "history bytes"),
        [(one["job"], one["documents"], one["events_per_million"], one["history_bytes_per_million"]) for one in costs],
    )
    show(
        "A job with nothing to do",
        ("", "median s", "max s", "events", "bytes"),
        [("start to completed", empty["median_s"], empty["max_s"], empty["events"], empty["history_bytes"])],
    )


async def main() -> None:
    """Measure everything; print tables and write one file."""
    size = QUICK if bench.is_quick() else FULL
    machine = Machine()
    with Lab() as lab:
        lab.start_workers(WORKERS)
        lab.seed(SOURCE, size.documents)
        lab.seed(LARGE, size.large, indexes=[BY_EXPIRY])
        average = lab.mongo.bench.command("collStats", "orders")["avgObjSize"]
        arena = Arena(lab, await lab.connect(), size)
        await arena.run({"kind": "update", "update": {"$set": {"total": 0.0}}}, SOURCE)
        bench.console.print(
            f"{size.documents:,} documents of {average} bytes, {size.rounds} rounds; looking for batch sizes"
        )
        wanted, batch_sizes = await contests(arena)
        scores = []
        for contest in wanted:
            scores.append(await arena.hold(contest))
            bench.console.print(f"  {contest.name}: ratio {scores[-1].ratio:.2f}")
        empty = await empty_job(arena)
    costs = temporal_cost(scores)
    show_all(scores, costs, empty)
    bench.write(
        "throughput",
        {
            "documents": size.documents,
            "documents_large": size.large,
            "document_bytes": average,
            "rounds": size.rounds,
            "workers": WORKERS,
            "batch_sizes_docs_per_second": batch_sizes,
            "contests": [score.row() for score in scores],
            "temporal": costs,
            "empty_job": empty,
        },
        machine,
    )


if __name__ == "__main__":
    asyncio.run(main())

"""
Random lives of small jobs: any ids, cuts and page sizes, a foreground that writes, and every fault at once.

Each document keeps its own score, so the end is checked against what the foreground knows it did and
against nothing else: done exactly once, from the value that was there, and no foreground write lost.
"""

import asyncio
import datetime as dt
import random
import threading
from collections import Counter
from typing import Any

import pytest
from bson import Decimal128, Int64, MaxKey, MinKey, ObjectId, Timestamp
from pymongo.errors import AutoReconnect
from temporalio.exceptions import ApplicationError

from lull.activities import lease as leases
from lull.activities import slices
from lull.domain.slice import Counts, SliceEnd, SliceTask, Verb

Document = dict[str, Any]
ROUNDS = 60
WAIT_SECONDS_MAX = 0.005
"""Of the slices' own waits, which are for real servers."""


def ids(draw: random.Random) -> list[Any]:
    """A few dozen distinct ids of many types."""
    odd = [MinKey(), MaxKey(), None, True, False, float("nan"), float("inf"), Decimal128("2.25"), Int64(2**60),
           Timestamp(3, 1), dt.datetime(2024, 5, 1, tzinfo=dt.UTC), ObjectId(b"012345678901"), b"bytes", {}, {"a": 1}]  # fmt: skip
    plain: list[Any] = [*range(-5, 25), *(f"k{i}" for i in range(10)), "", "$k", "é", *({"a": i} for i in range(2, 8))]
    return draw.sample([*odd, *plain], draw.randrange(8, 45))


class Foreground:
    """Writes to random documents until it is told to stop, and knows what it did."""

    def __init__(self, world: Any, keys: list[Any], draw: random.Random, *, saves: bool) -> None:
        self._world, self._keys, self._draw, self._saves = world, keys, draw, saves
        self.updates: Counter[int] = Counter()
        self.saved: set[int] = set()
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.001):
            place = self._draw.randrange(len(self._keys))
            if self._saves:
                self._save(place)
            else:
                self._update(place)

    def _save(self, place: int) -> None:
        """The document stops matching, if it is still there."""
        found = self._world.source.update_one({"place": place}, {"$set": {"match": False}})
        if found.matched_count:
            self.saved.add(place)

    def _update(self, place: int) -> None:
        late = {"$gt": [{"$size": {"$ifNull": ["$applied", []]}}, 0]}
        change = {"v": self._draw.randrange(10**6), "count": {"$add": ["$count", 1]}, "late": late}
        self.updates[place] += self._world.source.update_one({"place": place}, [{"$set": change}]).matched_count


class Chaos:
    """What happens at commits, by the draw."""

    def __init__(self, world: Any, spec: Any, draw: random.Random) -> None:
        self._world, self._spec, self._draw = world, spec, draw
        self._commit = slices._commit
        self._lock = threading.Lock()
        self.faults: Counter[str] = Counter()

    def commit(self, session: Any) -> None:
        fault = self._next()
        if fault == "cut off before":
            raise AutoReconnect("cut off before the commit")
        if fault == "conflict":
            raise self._world.write_conflict()
        if fault == "killed beside":
            self._abandon()
        if fault == "paused":
            self._world.publish(self._spec, verb=Verb.PAUSE)
            self._world.store.raise_fences({"job": self._spec.job})
        self._commit(session)
        if fault == "answer lost":
            raise AutoReconnect("the answer is lost")

    def _next(self) -> str:
        with self._lock:
            wanted = self._draw.choices(
                ["", "cut off before", "conflict", "killed beside", "paused", "answer lost"], [80, 4, 5, 4, 3, 4]
            )
            self.faults[wanted[0]] += 1
            return wanted[0]

    def _abandon(self) -> None:
        """A thief takes some partition, opens a page over all documents, and dies."""
        number = self._draw.randrange(self._world.store.partitions.count_documents({"job": self._spec.job}))
        task = SliceTask(job=self._spec.job, cluster="main", incarnation=1, partition=number, epoch=0)
        lease = leases.take(self._world.cluster, task, "thief")
        if not lease.done:
            lease.session.start_transaction()
            lease.advance(lease.session, lease.position, lease.counts.plus(Counts(pages=1)), done=False)


async def persevere(world: Any, spec: Any, number: int) -> None:
    """As Temporal and the workflow would: try again, and resume what was paused."""
    for _ in range(300):
        try:
            report = await world.slice(spec, number)
        except ApplicationError as error:
            if error.non_retryable:
                raise
            continue
        if report.end is SliceEnd.DONE:
            return
        if report.end is SliceEnd.PAUSED:
            world.publish(spec, verb=Verb.RUN)
    pytest.fail(f"partition {number} never came to its end")


def apply(document: Document) -> Document:
    return {"w": document["v"] * 2, "applied": [*document.get("applied", []), document["v"]]}


ON_THE_SERVER = [
    {"$set": {"w": {"$multiply": ["$v", 2]}, "applied": {"$concatArrays": [{"$ifNull": ["$applied", []]}, ["$v"]]}}}
]


def job(world: Any, draw: random.Random) -> tuple[Any, Document | None]:
    """A spec and the index to drain, if it drains."""
    kind = draw.choice(["transform", "batch", "update", "purge", "drain"])
    fields: Document = {"page_docs": draw.choice([1, 2, 3, 5, 9, 100])}
    if kind in {"purge", "drain"}:
        drain = {"name": "match_1", "keys": [["match", 1]]} if kind == "drain" else None
        return world.spec("purge", filter={"match": True}, **fields), drain
    if draw.random() < 0.3:
        fields["filter"] = {"match": True}
    if kind == "update":
        return world.spec("update", update=ON_THE_SERVER, **fields), None
    function = (lambda ds: [apply(d) for d in ds]) if kind == "batch" else apply
    return world.spec("transform", transform=world.transform(function, batch=kind == "batch"), **fields), None


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    waited = slices.Slice._wait

    def wait(self: Any, reason: str, label: str, seconds: float) -> None:
        waited(self, reason, label, min(seconds, WAIT_SECONDS_MAX))

    monkeypatch.setattr(slices.Slice, "_wait", wait)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("seed", range(ROUNDS))
async def test_whatever_happens_the_end_is_what_the_documents_say(
    world: Any, monkeypatch: pytest.MonkeyPatch, seed: int
):
    draw = random.Random(seed)
    keys = ids(draw)
    world.source.create_index("match")
    ordered = world.fill(
        [{"_id": key, "place": place, "v": place, "count": 0, "match": True} for place, key in enumerate(keys)]
    )
    spec, drain = job(world, draw)
    cuts = [ordered[at] for at in sorted(draw.sample(range(len(ordered) - 1), draw.randrange(4)))]
    partitions = world.open(spec, cuts=cuts, drain=drain)
    chaos = Chaos(world, spec, random.Random(seed + 1))
    monkeypatch.setattr(slices, "_commit", chaos.commit)
    foreground = Foreground(world, keys, random.Random(seed + 2), saves=spec.kind == "purge")
    writing = asyncio.create_task(asyncio.to_thread(foreground.run))
    try:
        await asyncio.gather(*(persevere(world, spec, number) for number in range(partitions)))
    finally:
        foreground.over.set()
        await writing
    check(world, spec, foreground, len(keys))


def check(world: Any, spec: Any, foreground: Foreground, docs: int) -> None:
    left = {d["place"]: d for d in world.by_id().values()}
    counts = world.counts(spec)
    if spec.kind == "purge":
        assert set(left) == foreground.saved
        assert counts.changed == docs - len(left)
        return
    assert set(left) == set(range(docs))
    assert (counts.seen, counts.changed) == (docs, docs)
    for place, document in left.items():
        assert document["count"] == foreground.updates[place], document
        assert len(document["applied"]) == 1, document
        assert document["w"] == document["applied"][0] * 2, document
        assert document.get("late") or document["w"] == document["v"] * 2, document

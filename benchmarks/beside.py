"""
What a foreground feels while jobs run beside it, paced by the governor and not.

    make bench-foreground             every part; about three hours
    QUICK=1 make bench-foreground     the same parts, each in one to five minutes
    python -m benchmarks.beside --only p99 --only surge

Segments of a quarter of a minute alternate, the job on and off, on one server under one open-loop
foreground; each pair begins with the other side than the one before it. The first two seconds of a
segment do not count. The ratio of a pair's sides is judged by the *median of 1-second p99s*, which
needs a sixth of the time that the pooled p99 needs for the same certainty; both are shown, with 80 %
intervals (bootstrap over pairs) and beside the *noise floor*: what random halves of the job-free
segments are to each other. Where the floor is wider than the question, there is no answer yet.

Checkpoints carry a job's cost into the next minute: every score is also held against a longer
job-free baseline from before. How much of the machine the host gave to others stands beside every segment.

*Unpaced* is the same job on the same workers with ``governor = "off"``.
"""

import argparse
import asyncio
import itertools
import json
import random
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from pymongo import MongoClient
from pymongo.errors import PyMongoError
from typing_extensions import override

from benchmarks import bench
from benchmarks.bench import Document, Lab, Machine, run_job, show, spec, wait_until
from benchmarks.foreground import Histogram, between, seconds_between
from lull.activities.store import BUDGET_ID, GOVERNOR
from lull.domain.errors import LullError
from lull.domain.governor.budget import Mode
from lull.domain.lifecycle import Status
from lull.starter.client import Client

ORDERS, OTHER, SPARE = "bench.orders", "bench.other", "bench.spare"
RATE, RATE_HIGH = 300.0, 1_000.0
"""Operations per second of the foreground."""
INCREMENT: Document = {"$inc": {"version": 1}}
UPDATE: dict[str, Any] = {"kind": "update", "update": INCREMENT}
TRANSFORM: dict[str, Any] = {"kind": "transform", "transform": "bench.total"}
PURGE: dict[str, Any] = {"kind": "purge", "everything": True}
SCRIPT_BATCH = 1_000
LAG_LIMIT_S = 1.0
"""As pt-archiver's ``--max-lag``, looked at as often as its ``--check-interval``."""

SWITCH_SECONDS = 2.0
"""After a switch from one side to the other nothing counts."""
WARM_SECONDS = 5.0
"""A governor that has just begun sees the foreground alone for this long."""
LEARN_SECONDS = 60.0
"""A governed job works for this long before it is measured: what the cluster tolerates is learned in some ten-second steps."""
REST_SECONDS = 3.0
"""After work of ours that is not measured, like seeding."""
GOVERNED_SECONDS_MAX = 60.0
FOREGROUND_SECONDS_MAX = 7_200.0
LOOK_SECONDS = 0.2
DRAWS = 400
SEED = 11

P99_LIMIT = "<= 1.1"
THROUGHPUT_LIMIT = ">= 0.25"
IDLE_LIMIT = ">= 0.9"
REACTION_LIMIT_S, REACTION_LIMIT_MAX_S = 1.0, 2.0
REACTION_PART = ">= 0.9"
RECOVERY_LIMIT_S = 30.0
FAIR_LIMIT = "<= 0.1"

BLANK = "blank window"
"""The governor's label for a stop in which it only looks: no answer to anything."""
CUT_PART = 0.95
"""A budget below this part of what it was has been cut."""
BEFORE_SECONDS = 10.0
"""For the rate before a surge."""
WINDOW_SECONDS = 3.0
"""For the rate after it: no recovery is faster."""
RECOVERED = 0.9


class Size(NamedTuple):
    """How much is measured."""

    documents: int
    """So many that a job seldom ends within a segment: between two jobs nothing is done."""
    segment_s: float
    pairs: int
    """Of segments with the governed job and without it."""
    pairs_unpaced: int
    pairs_kinds: int
    """For each of the other kinds; half as many unpaced."""
    baseline: int
    """Job-free segments before the first pair."""
    long_s: float
    pairs_long: int
    surges: int
    surges_alone: int
    """Without a job, for comparison."""
    surge_s: float
    surge_every_s: float
    surge_rate: float
    scans: int
    scan_s: float
    rounds: int
    """Of whole jobs on the idle cluster."""
    windows: int
    window_s: float
    """In which shares are compared."""


FULL = Size(2_000_000, 15, 17, 8, 17, 8, 60, 6, 10, 3, 15, 75, 1_500, 3, 40, 5, 6, 30)
QUICK = Size(1_000_000, 8, 3, 2, 2, 1, 30, 2, 3, 1, 8, 40, 1_500, 1, 20, 2, 2, 20)


# --- segments, and what was felt in them ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of time on one side, without its first seconds."""

    begin_at: float
    end_at: float
    """Seconds since the epoch."""
    steal_percent: float
    documents: int = 0
    """That jobs or scripts finished meanwhile."""

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end_at - self.begin_at


@dataclass(frozen=True, slots=True)
class Felt:
    """What the foreground felt in one segment."""

    p99s_ms: tuple[float, ...]
    """Of every whole second."""
    whole: Histogram


class Pair(NamedTuple):
    """Two neighbouring segments."""

    beside: Felt
    idle: Felt


class Estimate(NamedTuple):
    """A ratio and its 80 % interval."""

    ratio: float
    low: float
    high: float

    @override
    def __str__(self) -> str:
        return f"{self.ratio:.2f} [{self.low:.2f}-{self.high:.2f}]"

    def row(self) -> list[float]:
        """Return the same as JSON values."""
        return [round(value, 4) for value in self]


Statistic = Callable[[Sequence[Felt]], float]


def felt(report: Mapping[str, Any], segment: Segment) -> Felt:
    """
    Return what the foreground's *report* says of a segment. Raises RuntimeError if that is nothing.

    A segment too short for a whole second has those that it touches.
    """
    whole = seconds_between(report, segment.begin_at, segment.end_at)
    return gathered(whole or seconds_between(report, segment.begin_at - 1, segment.end_at + 1))


def gathered(seconds: Sequence[Histogram]) -> Felt:
    """Return whole seconds as one; a second without operations says nothing."""
    p99s_ms = [one.percentile_ms(99) for one in seconds]
    if not any(p99s_ms):
        raise RuntimeError("the foreground did nothing in a segment; look at its log")
    return Felt(tuple(ms for ms in p99s_ms if ms is not None), merged(seconds))


def merged(parts: Sequence[Histogram]) -> Histogram:
    """Return all operations in one histogram."""
    whole = Histogram()
    for part in parts:
        whole.merge(part)
    return whole


def median_p99(parts: Sequence[Felt]) -> float:
    """Return the median of 1-second p99s in milliseconds."""
    return bench.median([ms for part in parts for ms in part.p99s_ms])


def pooled_p99(parts: Sequence[Felt]) -> float:
    """Return the p99 of all operations in milliseconds."""
    return merged([part.whole for part in parts]).percentile_ms(99) or 0.0


def compared(pairs: Sequence[Pair], statistic: Statistic) -> Estimate:
    """
    Return what the job's side is to the other one.

    The interval: the ratio over pairs drawn with replacement, 400 times, always the same ones. Pairs
    and not segments, because the machine's own moods last longer than a pair.
    """
    dice = random.Random(SEED)
    draws = [_ratio([dice.choice(pairs) for _ in pairs], statistic) for _ in range(DRAWS)]
    return Estimate(_ratio(pairs, statistic), *_middle(draws))


def against(beside: Sequence[Felt], baseline: Sequence[Felt], statistic: Statistic) -> Estimate:
    """Return what segments with a job are to others that are nobody's neighbours."""
    dice = random.Random(SEED)
    draws = [
        statistic([dice.choice(beside) for _ in beside]) / statistic([dice.choice(baseline) for _ in baseline])
        for _ in range(DRAWS)
    ]
    return Estimate(statistic(beside) / statistic(baseline), *_middle(draws))


def noise_floor(idle: Sequence[Felt], statistic: Statistic) -> Estimate | None:
    """
    Return what idle is to idle: random halves of the job-free segments against each other; None for fewer than two.

    A half has half an arm's time, so the floor is somewhat wider than the arms' own noise.
    """
    if len(idle) < 2:
        return None
    dice = random.Random(SEED)
    draws = []
    for _ in range(DRAWS):
        mixed = dice.sample(idle, len(idle))
        half = len(mixed) // 2
        draws.append(statistic(mixed[:half]) / statistic(mixed[half : 2 * half]))
    return Estimate(bench.median(draws), *_middle(draws))


def _ratio(pairs: Sequence[Pair], statistic: Statistic) -> float:
    return statistic([pair.beside for pair in pairs]) / statistic([pair.idle for pair in pairs])


def _middle(draws: Sequence[float]) -> tuple[float, float]:
    """Return the bounds of the middle 80 % of the draws."""
    low, high = bench.percentile(draws, 10), bench.percentile(draws, 90)
    assert low is not None
    assert high is not None
    return low, high


# --- what the governor said, and when ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Word:
    """The governor's budget, from the moment at which it was first seen."""

    at: float
    """Seconds since the epoch."""
    is_open: bool
    duty: float
    label: str = ""
    reason: str = ""

    @property
    def is_shut(self) -> bool:
        """Whether it keeps jobs away because of what it saw."""
        return not self.is_open and self.label != BLANK


class Reaction(NamedTuple):
    """How a governor answered one surge."""

    seconds: float | None
    """Until its gate was shut or its budget cut; None if neither came."""
    was_shut: bool
    """It was so already, for another reason: no answer to be counted."""


def word_at(words: Sequence[Word], at: float) -> Word | None:
    """Return the word that was in force at this moment; None before the first one."""
    return next((word for word in reversed(words) if word.at <= at), None)


def reaction(words: Sequence[Word], begin_at: float, end_at: float) -> Reaction:
    """Return how a surge between these moments was answered; blank windows answer nothing."""
    before = word_at([word for word in words if word.label != BLANK], begin_at)
    if before is not None and before.is_shut:
        return Reaction(0.0, was_shut=True)
    for word in words:
        if word.at <= begin_at or word.at > end_at or word.label == BLANK:
            continue
        if word.is_shut or (before is not None and word.duty < before.duty * CUT_PART):
            return Reaction(word.at - begin_at, was_shut=False)
    return Reaction(None, was_shut=False)


def shut_part(words: Sequence[Word], begin_at: float, end_at: float) -> float:
    """Return the share of the time between these moments in which the gate was shut, blank windows aside."""
    first = word_at(words, begin_at)
    inside = [*([first] if first else []), *(word for word in words if begin_at < word.at < end_at)]
    shut_s = 0.0
    for word, following in itertools.zip_longest(inside, inside[1:]):
        until = following.at if following else end_at
        shut_s += (until - max(word.at, begin_at)) if word.is_shut else 0.0
    return shut_s / (end_at - begin_at)


Count = tuple[float, int]
"""A moment, and the documents done by then."""


def rate(counts: Sequence[Count], begin_at: float, end_at: float) -> float | None:
    """Return documents per second between the first and the last count within these moments; None for fewer than two."""
    inside = [count for count in counts if begin_at <= count[0] <= end_at]
    if len(inside) < 2:
        return None
    (first_at, first), (last_at, last) = inside[0], inside[-1]
    return (last - first) / (last_at - first_at)


def recovery(counts: Sequence[Count], begin_at: float, end_at: float, until_at: float) -> float | None:
    """
    Return how long after a disturbance (*begin_at* to *end_at*) the work had 90 % of its earlier rate again.

    Earlier: the ten seconds before. Again: over three seconds, so this is never less. None if it was
    not so until *until_at*, or nothing is known of before.
    """
    earlier = rate(counts, begin_at - BEFORE_SECONDS, begin_at)
    if not earlier:
        return None
    for at, _ in counts:
        if not end_at + WINDOW_SECONDS <= at <= until_at:
            continue
        now = rate(counts, at - WINDOW_SECONDS, at)
        if now is not None and now >= RECOVERED * earlier:
            return at - end_at
    return None


# --- what runs on the job's side ----------------------------------------------------------------------------


class Arm:
    """Something that works on the documents, in segments."""

    def __init__(self, name: str, mode: Mode) -> None:
        self.name = name
        self.mode = mode
        """Of the governor, while it runs."""

    async def prepare(self) -> None:
        """There is work for one more segment; not measured."""

    async def begin(self) -> None:
        """It works."""
        raise NotImplementedError

    async def end(self) -> None:
        """It does not work any more."""
        raise NotImplementedError

    async def close(self) -> None:
        """Nothing of it is left. Idempotent."""

    def tune(self, rates: Mapping[str, float]) -> None:
        """It knows the documents per second of those that ran before it, by name."""

    def documents(self) -> int:
        """Return how many it has finished so far."""
        raise NotImplementedError

    @property
    def is_used_up(self) -> bool:
        """Whether it has nothing left to do, so that the segment is over."""
        return False


@dataclass(slots=True)
class Stream:
    """A job of which there is always one: when it has ended, the next begins."""

    lab: Lab
    client: Client
    name: str
    fields: dict[str, Any]
    namespace: str = ORDERS
    jobs: list[str] = field(default_factory=list)
    """Their ids, the newest last."""
    _is_wanted: asyncio.Event = field(default_factory=asyncio.Event)
    _guard: asyncio.Lock = field(default_factory=asyncio.Lock)
    _keeping: "asyncio.Task[None] | None" = None

    async def go(self) -> None:
        """It works, or is about to."""
        self._is_wanted.set()
        if self._keeping is None:
            self._keeping = asyncio.create_task(self._keep(), name=self.name)
        elif self._keeping.done():
            self._keeping.result()
        else:
            async with self._guard:
                await self._tell(self.client.resume_and_wait)

    async def halt(self) -> None:
        """Nothing of it can commit."""
        self._is_wanted.clear()
        async with self._guard:
            await self._tell(self.client.pause_and_wait)

    async def close(self) -> None:
        """It has ended for good. Raises RuntimeError if a job of it had failed."""
        self._is_wanted.clear()
        if self._keeping is not None:
            if self._keeping.done():
                self._keeping.result()
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        if self.jobs:
            with suppress(LullError):
                await self.client.cancel_and_wait(self.jobs[-1], "measured")

    def documents(self) -> int:
        """Return how many were worked on, over all its jobs."""
        return sum(self.lab.total(job, "seen") for job in list(self.jobs))

    async def _keep(self) -> None:
        while True:
            await self._is_wanted.wait()
            async with self._guard:
                if not self._is_wanted.is_set():
                    continue
                job = f"{self.name}-{len(self.jobs)}"
                await self.client.start(spec(job=job, namespace=self.namespace, **self.fields))
                self.jobs.append(job)
            outcome = await self.client.wait(job)
            if outcome.status is not Status.COMPLETED:
                raise RuntimeError(f"job {job} is {outcome.status}: {outcome.message}")

    async def _tell(self, order: Callable[[str], Awaitable[Any]]) -> None:
        """The newest job has obeyed, or ended just before."""
        if not self.jobs:
            return
        try:
            await order(self.jobs[-1])
        except LullError:
            if not (await self.client.status(self.jobs[-1])).has_ended:
                raise


class Jobs(Arm):
    """One or several jobs, paused between segments."""

    def __init__(self, name: str, mode: Mode, streams: Sequence[Stream]) -> None:
        super().__init__(name, mode)
        self.streams = list(streams)

    @override
    async def begin(self) -> None:
        await asyncio.gather(*(stream.go() for stream in self.streams))

    @override
    async def end(self) -> None:
        await asyncio.gather(*(stream.halt() for stream in self.streams))

    @override
    async def close(self) -> None:
        await asyncio.gather(*(stream.close() for stream in self.streams))

    @override
    def documents(self) -> int:
        return sum(stream.documents() for stream in self.streams)


class Purging(Arm):
    """A purge of everything in a collection of its own, seeded anew for every segment."""

    def __init__(self, name: str, mode: Mode, *, lab: Lab, client: Client, job: str, documents: int) -> None:
        super().__init__(name, mode)
        self._lab = lab
        self._client = client
        self._names = (f"{job}-{number}" for number in itertools.count())
        self._job = ""
        self._most = documents

    @override
    async def prepare(self) -> None:
        await asyncio.to_thread(self._lab.copy, ORDERS, SPARE)
        await asyncio.sleep(REST_SECONDS)

    @override
    async def begin(self) -> None:
        self._job = next(self._names)
        await self._client.start(spec(job=self._job, namespace=SPARE, **PURGE))

    @override
    async def end(self) -> None:
        with suppress(LullError):
            await self._client.cancel_and_wait(self._job, "measured")
        outcome = await self._client.result(self._job)
        if outcome.status not in {Status.COMPLETED, Status.CANCELLED}:
            raise RuntimeError(f"job {self._job} is {outcome.status}: {outcome.message}")

    @override
    def documents(self) -> int:
        return self._lab.total(self._job, "seen")

    @property
    @override
    def is_used_up(self) -> bool:
        return self.documents() >= self._most


class Script(Arm):
    """What one would write by hand: updates by ranges of ``_id``, one after the other, in a thread of this process."""

    def __init__(self, name: str, lab: Lab, documents: int) -> None:
        super().__init__(name, Mode.OFF)
        self._lab = lab
        self._collection = lab.collection(ORDERS)
        self._ranges = itertools.cycle(range(0, documents, SCRIPT_BATCH))
        self._done = 0
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._error: PyMongoError | None = None

    @override
    async def begin(self) -> None:
        self._stopped.clear()
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()

    @override
    async def end(self) -> None:
        self._stopped.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)
        if self._error is not None:
            raise self._error

    @override
    def documents(self) -> int:
        return self._done

    def _run(self) -> None:
        try:
            while not self._stopped.is_set():
                low = next(self._ranges)
                query = {"_id": {"$gte": low, "$lt": low + SCRIPT_BATCH}}
                self._done += self._collection.update_many(query, INCREMENT).modified_count
                self._hold_back()
        except PyMongoError as error:
            self._error = error

    def _hold_back(self) -> None:
        """The script has been as considerate as it is."""


class Sleeping(Script):
    """The same with a sleep after every batch, as long as it takes to be no faster than somebody else."""

    def __init__(self, name: str, lab: Lab, documents: int, *, like: str, unpaced: str) -> None:
        super().__init__(name, lab, documents)
        self.sleep_s = 0.0
        self._like = like
        self._unpaced = unpaced

    @override
    def tune(self, rates: Mapping[str, float]) -> None:
        self.sleep_s = sleep_for(rates[self._like], rates[self._unpaced])

    @override
    def _hold_back(self) -> None:
        self._stopped.wait(self.sleep_s)


class LagOnly(Script):
    """The same, waiting while replicas are behind: pt-archiver's rule."""

    @override
    def _hold_back(self) -> None:
        while self._lag_s() > LAG_LIMIT_S and not self._stopped.wait(LAG_LIMIT_S):
            pass

    def _lag_s(self) -> float:
        written = self._lab.mongo.admin.command("hello")["lastWrite"]
        behind = written["lastWriteDate"] - written["majorityWriteDate"]
        return float(behind.total_seconds())


def sleep_for(wanted: float, unpaced: float) -> float:
    """Return the sleep after a batch that brings *unpaced* documents per second down to *wanted* ones."""
    return max(0.0, SCRIPT_BATCH / wanted - SCRIPT_BATCH / unpaced) if wanted > 0 and unpaced > 0 else 0.0


# --- where they run -----------------------------------------------------------------------------------------


class Watch:
    """What the governor says, looked at fifty times a second, and how far an arm has come, four times a second."""

    WORD_SECONDS = 0.02
    COUNT_EVERY = 12

    def __init__(self, lab: Lab, documents: Callable[[], int]) -> None:
        self._lab = lab
        self._documents = documents
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self.words: list[Word] = []
        self.counts: list[Count] = []

    def start(self) -> None:
        """It watches."""
        self._thread.start()

    def stop(self) -> None:
        """It has seen what it has seen."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        for number in itertools.count():
            if self._stopped.wait(self.WORD_SECONDS):
                return
            word = seen(budget(self._lab), time.time())
            if word is not None and (not self.words or not _says_the_same(self.words[-1], word)):
                self.words.append(word)
            if number % self.COUNT_EVERY == 0:
                documents = self._documents()
                self.counts.append((time.time(), documents))


def budget(lab: Lab) -> Document:
    """Return what the governor published last; empty before its first word."""
    return lab.ledger[GOVERNOR].find_one({"_id": BUDGET_ID}) or {}


def seen(published: Document, at: float) -> Word | None:
    """Return a published budget as a word; None for one without a word."""
    if "is_open" not in published:
        return None
    return Word(at, published["is_open"], published["duty"], published["label"], published["reason"])


def _says_the_same(one: Word, other: Word) -> bool:
    return (one.is_open, one.duty, one.label, one.reason) == (other.is_open, other.duty, other.label, other.reason)


@dataclass(slots=True)
class Stage:
    """A laboratory, and what is done in it again and again."""

    lab: Lab
    client: Client
    size: Size
    numbers: Iterator[int] = field(default_factory=itertools.count)
    """For the ids of jobs."""

    def sized(self, **changes: Any) -> "Stage":
        """Return the same with another amount of measuring."""
        return replace(self, size=self.size._replace(**changes))

    async def govern(self, mode: Mode) -> None:
        """Workers run under a governor of this mode, which has spoken."""
        if self.lab.governor is mode:
            return
        before = budget(self.lab).get("sequence", 0)
        await asyncio.to_thread(self.lab.govern, mode)
        if mode is not Mode.OFF:
            await asyncio.to_thread(self._wait_for_a_word, before)

    def _wait_for_a_word(self, before: int) -> None:
        if not wait_until(lambda: budget(self.lab).get("sequence", 0) > before, GOVERNED_SECONDS_MAX, LOOK_SECONDS):
            raise RuntimeError(f"no governor has spoken for {GOVERNED_SECONDS_MAX:.0f} s; look at the worker's log")

    def stream(self, fields: Mapping[str, Any], namespace: str = ORDERS) -> Stream:
        """Return a job that never ends, under an id of its own."""
        return Stream(self.lab, self.client, f"beside-{next(self.numbers)}", dict(fields), namespace)

    def jobs(self, mode: Mode, *fields: Mapping[str, Any]) -> Jobs:
        """Return one such job of each of *fields*, every one on a collection of its own, under this governor."""
        streams = [self.stream(each, namespace) for each, namespace in zip(fields, (ORDERS, OTHER), strict=False)]
        return Jobs(_arm_name(mode), mode, streams)

    def purging(self, mode: Mode) -> Purging:
        """Return purges under this governor."""
        return Purging(
            _arm_name(mode),
            mode,
            lab=self.lab,
            client=self.client,
            job=f"beside-{next(self.numbers)}",
            documents=self.size.documents,
        )

    async def segment(self, arm: Arm | None = None) -> Segment:
        """Return one segment with the arm at work, or with nobody."""
        if arm is not None:
            await arm.begin()
        await asyncio.sleep(SWITCH_SECONDS)
        if arm is not None and arm.is_used_up:
            raise RuntimeError(f"{arm.name} was done before it could be measured; ask for more --documents")
        ticks, before, begin_at = bench.cpu_ticks(), arm.documents() if arm else 0, time.time()
        await self._pass(arm)
        end_at, after = time.time(), arm.documents() if arm else 0
        steal_percent = bench.steal_percent(ticks, bench.cpu_ticks())
        if arm is not None:
            await arm.end()
        return Segment(begin_at, end_at, steal_percent, after - before)

    async def _pass(self, arm: Arm | None) -> None:
        until = time.monotonic() + self.size.segment_s - SWITCH_SECONDS
        while (left_s := until - time.monotonic()) > 0 and not (arm and arm.is_used_up):  # noqa: ASYNC110 - a ledger is asked
            await asyncio.sleep(min(left_s, LOOK_SECONDS))

    async def _learn(self, arm: Arm) -> None:
        """The governor has seen this arm beside this foreground; a purge that is done by then is begun anew later."""
        await arm.prepare()
        await arm.begin()
        until = time.monotonic() + LEARN_SECONDS
        while time.monotonic() < until and not arm.is_used_up:  # noqa: ASYNC110 - a ledger is asked
            await asyncio.sleep(LOOK_SECONDS)
        await arm.end()

    async def alternate(self, arm: Arm, pairs: int) -> list[tuple[Segment, Segment]]:
        """Return so many pairs of segments, with the arm and without it; every other pair begins without."""
        await self.govern(arm.mode)
        await asyncio.sleep(WARM_SECONDS)
        if arm.mode is Mode.ENFORCE:
            await self._learn(arm)
        found = []
        for number in range(pairs):
            await arm.prepare()
            if number % 2 == 0:
                beside, idle = await self.segment(arm), await self.segment()
            else:
                idle, beside = await self.segment(), await self.segment(arm)
            found.append((beside, idle))
        await arm.close()
        return found


def _arm_name(mode: Mode) -> str:
    return "governed" if mode is Mode.ENFORCE else "unpaced"


# --- scores: parts in which segments alternate --------------------------------------------------------------


@dataclass(slots=True)
class Score:
    """One arm beside one foreground."""

    arm: str
    rate: float
    segments: list[tuple[Segment, Segment]]
    pairs: list[Pair] = field(default_factory=list)
    baseline: list[Felt] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def docs_per_second(self) -> float:
        """Of the arm."""
        beside = [one for one, _ in self.segments]
        return sum(one.documents for one in beside) / sum(one.seconds for one in beside)

    @property
    def ratio(self) -> Estimate:
        """Of medians of 1-second p99s."""
        return compared(self.pairs, median_p99)

    @property
    def floor(self) -> Estimate | None:
        """The same of idle against idle."""
        return noise_floor([*self.baseline, *(pair.idle for pair in self.pairs)], median_p99)

    def attribute(self, report: Mapping[str, Any], baseline: Sequence[Segment]) -> None:
        """What the foreground felt is known of every segment."""
        self.pairs = [Pair(felt(report, beside), felt(report, idle)) for beside, idle in self.segments]
        self.baseline = [felt(report, segment) for segment in baseline]

    def row(self) -> dict[str, Any]:
        """Return the same as JSON values."""
        floor = self.floor
        return {
            "arm": self.arm,
            "foreground_ops_per_second": self.rate,
            "docs_per_second": round(self.docs_per_second),
            "seconds_per_arm": round(sum(one.seconds for one, _ in self.segments)),
            "beside": percentiles([pair.beside for pair in self.pairs]),
            "idle": percentiles([pair.idle for pair in self.pairs]),
            "baseline": percentiles(self.baseline) if self.baseline else None,
            "p99_ratio": self.ratio.row(),
            "p99_ratio_pooled": compared(self.pairs, pooled_p99).row(),
            "p99_ratio_to_baseline": self._to_baseline(),
            "noise_floor": floor.row() if floor else None,
            **self.notes,
            "segments": [_segment_row(*both) for both in zip(self.segments, self.pairs, strict=True)],
        }

    def _to_baseline(self) -> list[float] | None:
        beside = [pair.beside for pair in self.pairs]
        return against(beside, self.baseline, median_p99).row() if self.baseline else None


def percentiles(parts: Sequence[Felt]) -> dict[str, Any]:
    """Return the pooled percentiles of segments, and the median of 1-second p99s."""
    whole = merged([part.whole for part in parts])
    return {
        "operations": whole.total,
        "p50_ms": whole.percentile_ms(50),
        "p95_ms": whole.percentile_ms(95),
        "p99_ms": whole.percentile_ms(99),
        "median_of_1s_p99_ms": round(median_p99(parts), 3),
    }


def _segment_row(segments: tuple[Segment, Segment], pair: Pair) -> dict[str, Any]:
    sides = {}
    for name, segment, part in zip(("beside", "idle"), segments, pair, strict=True):
        sides[name] = {
            "begin_at": round(segment.begin_at, 3),
            "seconds": round(segment.seconds, 3),
            "documents": segment.documents,
            "steal_percent": segment.steal_percent,
            "p99s_ms": part.p99s_ms,
        }
    return sides


async def hold(stage: Stage, foreground_rate: float, arms: Sequence[tuple[Arm, int]]) -> list[Score]:
    """Return every arm's score after so many pairs each, under one foreground."""
    stage.lab.settle()
    foreground = stage.lab.start_foreground(ORDERS, rate=foreground_rate, seconds=FOREGROUND_SECONDS_MAX)
    await asyncio.sleep(REST_SECONDS)
    baseline = [await stage.segment() for _ in range(stage.size.baseline)]
    scores: list[Score] = []
    for arm, pairs in arms:
        arm.tune({score.arm: score.docs_per_second for score in scores})
        scores.append(Score(arm.name, foreground_rate, await stage.alternate(arm, pairs)))
        bench.console.print(f"  {arm.name}: {scores[-1].docs_per_second:,.0f} documents a second")
    report = await asyncio.to_thread(foreground.stop)
    for score in scores:
        score.attribute(report, baseline)
    return scores


Result = dict[str, Any]
COLUMNS = ("latencies in ms", "docs/s", "p50", "p95", "p99", "idle p99", "p99 x", "pooled", "floor")


def show_scores(title: str, rows: Sequence[tuple[str, Score]]) -> None:
    """Print a table of arms; the ratio with its 80 % interval, the ratio of pooled p99s, the noise floor's interval."""
    show(title, COLUMNS, [(name, *_cells(score)) for name, score in rows])


def _cells(score: Score) -> tuple[object, ...]:
    beside, idle = percentiles([pair.beside for pair in score.pairs]), percentiles([pair.idle for pair in score.pairs])
    return (
        score.docs_per_second,
        beside["p50_ms"],
        beside["p95_ms"],
        beside["p99_ms"],
        idle["p99_ms"],
        str(score.ratio),
        compared(score.pairs, pooled_p99).ratio,
        _interval(score.floor),
    )


def _interval(estimate: Estimate | None) -> str:
    return f"{estimate.low:.2f}-{estimate.high:.2f}" if estimate else ""


async def governed_and_unpaced(
    stage: Stage, make: Callable[[Mode], Arm], foreground_rate: float
) -> tuple[list[Score], Result]:
    """Return the scores of one kind of work, governed and unpaced, and what is wanted of them."""
    size = stage.size
    scores = await hold(
        stage, foreground_rate, [(make(Mode.ENFORCE), size.pairs), (make(Mode.OFF), size.pairs_unpaced)]
    )
    governed, unpaced = scores
    throughput = governed.docs_per_second / unpaced.docs_per_second
    return scores, {
        "p99_ratio": governed.ratio.row(),
        "p99_verdict": bench.verdict(governed.ratio.ratio, P99_LIMIT),
        "throughput_ratio": round(throughput, 3),
        "throughput_verdict": bench.verdict(throughput, THROUGHPUT_LIMIT),
        "scores": [score.row() for score in scores],
    }


def show_verdicts(title: str, results: Mapping[str, Result]) -> None:
    """Print what was wanted, case by case."""
    show(
        title,
        ("", "p99 x", "wanted", "", "throughput x", "wanted", ""),
        [
            (
                name,
                str(Estimate(*one["p99_ratio"])),
                P99_LIMIT,
                one["p99_verdict"],
                one["throughput_ratio"],
                THROUGHPUT_LIMIT,
                one["throughput_verdict"],
            )
            for name, one in results.items()
        ],
    )


Case = tuple[Callable[[Mode], Arm], float]
"""What is made for a governor's mode, and the foreground's rate."""


async def hold_cases(stage: Stage, title: str, cases: Mapping[str, Case]) -> Result:
    """Return the results of all cases, printed."""
    results: dict[str, Result] = {}
    rows: list[tuple[str, Score]] = []
    for name, (make, foreground_rate) in cases.items():
        bench.console.print(f"{name}:")
        scores, results[name] = await governed_and_unpaced(stage, make, foreground_rate)
        rows += [(f"{name}, {score.arm}", score) for score in scores]
    show_scores(title, rows)
    show_verdicts("Governed beside idle, and governed to unpaced", results)
    return results


async def part_p99(stage: Stage) -> Result:
    """Return the main figures: an update beside 300 operations a second."""
    cases: dict[str, Case] = {"update, 300 ops/s": (lambda mode: stage.jobs(mode, UPDATE), RATE)}
    return await hold_cases(stage, "The foreground beside a job", cases)


async def part_long(stage: Stage) -> Result:
    """Return the same in segments of a minute, in which the governor's slow decisions and blank windows take part."""
    size = stage.size
    slower = stage.sized(segment_s=size.long_s, pairs=size.pairs_long, pairs_unpaced=size.pairs_long, baseline=1)
    cases: dict[str, Case] = {"update, 300 ops/s": (lambda mode: slower.jobs(mode, UPDATE), RATE)}
    return await hold_cases(slower, f"The same in segments of {size.long_s:.0f} s", cases)


async def part_kinds(stage: Stage) -> Result:
    """Return the same for the other kinds, for a faster foreground and for two jobs at once."""
    pairs = stage.size.pairs_kinds
    stage = stage.sized(pairs=pairs, pairs_unpaced=max(1, pairs // 2))
    cases: dict[str, Case] = {
        "transform, 300 ops/s": (lambda mode: stage.jobs(mode, TRANSFORM), RATE),
        "purge, 300 ops/s": (stage.purging, RATE),
        "update, 1,000 ops/s": (lambda mode: stage.jobs(mode, UPDATE), RATE_HIGH),
        "two updates, 300 ops/s": (lambda mode: stage.jobs(mode, UPDATE, UPDATE), RATE),
    }
    return await hold_cases(stage, "Other kinds, another foreground, two jobs", cases)


async def part_side(stage: Stage) -> Result:
    """Return what scripts by hand do to the foreground, beside what lull does, and how fast each is."""
    lab, size = stage.lab, stage.size
    governed = stage.jobs(Mode.ENFORCE, UPDATE)
    governed.name = "lull"
    script = Script("script, unpaced", lab, size.documents)
    sleeping = Sleeping("script, fixed sleep", lab, size.documents, like=governed.name, unpaced=script.name)
    lag_only = LagOnly("script, lag only", lab, size.documents)
    arms = [(arm, size.pairs) for arm in (governed, script, sleeping, lag_only)]
    scores = await hold(stage, RATE, arms)
    scores[2].notes["sleep_s"] = round(sleeping.sleep_s, 4)
    show_scores(
        f"Side by side; the fixed sleep is {sleeping.sleep_s * 1_000:.0f} ms after {SCRIPT_BATCH:,} documents",
        [(score.arm, score) for score in scores],
    )
    return {"scores": [score.row() for score in scores]}


# --- surges ---------------------------------------------------------------------------------------------------


async def part_surge(stage: Stage) -> Result:
    """Return how quickly the governor answers a foreground that has five times as much to do, and goes on afterwards."""
    size = stage.size
    await stage.govern(Mode.ENFORCE)
    stage.lab.settle()
    total_s = size.surge_every_s * (size.surges + size.surges_alone + 1)
    foreground = stage.lab.start_foreground(
        ORDERS,
        rate=RATE,
        seconds=total_s,
        surge_rate=size.surge_rate,
        surge_from=size.surge_every_s,
        surge_for=size.surge_s,
        surge_every=size.surge_every_s,
    )
    began = time.monotonic()
    await asyncio.sleep(WARM_SECONDS)
    jobs = stage.jobs(Mode.ENFORCE, UPDATE)
    watch = Watch(stage.lab, jobs.documents)
    await jobs.begin()
    watch.start()
    with_job_s = size.surge_every_s * (size.surges + 1) - 4.0
    await asyncio.sleep(with_job_s - (time.monotonic() - began))
    watch.stop()
    await jobs.close()
    await asyncio.sleep(max(0.0, total_s - 2.0 - (time.monotonic() - began)))
    report = await asyncio.to_thread(foreground.stop)
    return surges_result(report, watch, size)


def surges_result(report: Mapping[str, Any], watch: Watch, size: Size) -> Result:
    """Return all surges, printed."""
    rows = [surge_row(report, watch, size, number) for number in range(size.surges)]
    begins = [surge_begin(report, size, size.surges + number) for number in range(size.surges_alone)]
    alone = [between(report, at, at + size.surge_s).percentile_ms(99) for at in begins]
    counted = [row["reaction_s"] for row in rows if not row["was_shut"]]
    quick = sum(seconds is not None and seconds <= REACTION_LIMIT_S for seconds in counted)
    part = quick / len(counted) if counted else None
    slowest = None if None in counted else max(counted, default=None)
    recoveries = [row["recovery_s"] for row in rows]
    recovered_s = None if None in recoveries else max(recoveries, default=None)
    result = {
        "surge_ops_per_second": size.surge_rate,
        "surges": rows,
        "alone_p99_ms": alone,
        "answered_within_1s": part,
        "answered_verdict": bench.verdict(part, REACTION_PART),
        "slowest_s": slowest,
        "slowest_verdict": _verdict_max(counted, slowest, REACTION_LIMIT_MAX_S),
        "longest_recovery_s": recovered_s,
        "recovery_verdict": _verdict_max(recoveries, recovered_s, RECOVERY_LIMIT_S),
    }
    show_surges(result)
    return result


def _verdict_max(values: Sequence[float | None], most: float | None, limit: float) -> str:
    """Return the verdict on the largest value; one that never came is missed."""
    return "missed" if None in values else bench.verdict(most, f"<= {limit}")


def surge_begin(report: Mapping[str, Any], size: Size, number: int) -> float:
    """Return when a surge began, in seconds since the epoch."""
    return float(report["started_at"]) + size.surge_every_s * (number + 1)


def surge_row(report: Mapping[str, Any], watch: Watch, size: Size, number: int) -> Result:
    """Return one surge as JSON values."""
    begin_at = surge_begin(report, size, number)
    end_at, until_at = begin_at + size.surge_s, begin_at + size.surge_every_s
    answer = reaction(watch.words, begin_at, end_at)
    word = next((word for word in watch.words if answer.seconds and word.at == begin_at + answer.seconds), None)
    return {
        "reaction_s": answer.seconds,
        "was_shut": answer.was_shut,
        "reason": word.reason if word else "",
        "shut_percent": round(100 * shut_part(watch.words, begin_at, end_at)),
        "earlier_docs_per_second": rate(watch.counts, begin_at - BEFORE_SECONDS, begin_at),
        "surge_docs_per_second": rate(watch.counts, begin_at, end_at),
        "recovery_s": recovery(watch.counts, begin_at, end_at, until_at),
        "before_p99_ms": between(report, begin_at - BEFORE_SECONDS, begin_at).percentile_ms(99),
        "p99_ms": between(report, begin_at, end_at).percentile_ms(99),
    }


def show_surges(result: Result) -> None:
    """Print surges, and what was wanted."""
    show(
        f"Surges from {RATE:.0f} to {result['surge_ops_per_second']:,.0f} operations a second; latencies in ms",
        ("", "answered s", "shut %", "docs/s before", "in it", "back after s", "p99 before", "in it"),
        [
            (
                f"surge {number}" + (", gate was shut" if row["was_shut"] else ""),
                row["reaction_s"] if row["reaction_s"] is not None else "never",
                row["shut_percent"],
                row["earlier_docs_per_second"],
                row["surge_docs_per_second"],
                row["recovery_s"] if row["recovery_s"] is not None else "never",
                row["before_p99_ms"],
                row["p99_ms"],
            )
            for number, row in enumerate(result["surges"], start=1)
        ]
        + [("without a job", None, None, None, None, None, None, ms) for ms in result["alone_p99_ms"]],
    )
    show(
        "The governor's answers",
        ("", "", "wanted", ""),
        [
            ("part answered within 1 s", result["answered_within_1s"], REACTION_PART, result["answered_verdict"]),
            ("slowest answer s", result["slowest_s"], f"<= {REACTION_LIMIT_MAX_S:g}", result["slowest_verdict"]),
            ("back to 90 % after s", result["longest_recovery_s"], f"<= {RECOVERY_LIMIT_S:g}", result["recovery_verdict"]),
        ],
    )  # fmt: skip


# --- another client's load ------------------------------------------------------------------------------------


class Scans:
    """Another client that aggregates the whole collection, several times at once and over and over."""

    THREADS = 4
    SCAN_MS_MAX = 10_000
    PIPELINE: tuple[Document, ...] = (
        {"$match": {"note": {"$regex": "00.*ff"}}},
        {"$group": {"_id": "$address.zip", "total": {"$sum": "$price"}, "last": {"$max": "$created_at"}}},
        {"$sort": {"total": -1}},
        {"$limit": 10},
    )

    def __init__(self, uri: str) -> None:
        self._client = MongoClient[Document](uri, appname="scans")
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._run, name="scan", daemon=True) for _ in range(self.THREADS)]
        self.scans = 0

    def start(self) -> None:
        """They run."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """None runs any more."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        self._client.close()

    def _run(self) -> None:
        database, _, name = ORDERS.partition(".")
        while not self._stopped.is_set():
            with suppress(PyMongoError):
                list(self._client[database][name].aggregate(list(self.PIPELINE), maxTimeMS=self.SCAN_MS_MAX))
                self.scans += 1


async def part_foreign(stage: Stage) -> Result:
    """Return how a job behaves while somebody else, whom it cannot help, hurts the foreground."""
    size = stage.size
    await stage.govern(Mode.ENFORCE)
    stage.lab.settle()
    foreground = stage.lab.start_foreground(ORDERS, rate=RATE, seconds=FOREGROUND_SECONDS_MAX)
    await asyncio.sleep(WARM_SECONDS)
    jobs = stage.jobs(Mode.ENFORCE, UPDATE)
    watch = Watch(stage.lab, jobs.documents)
    await jobs.begin()
    watch.start()
    moments = []
    for _ in range(size.scans):
        await asyncio.sleep(BEFORE_SECONDS + SWITCH_SECONDS * 2)
        moments.append(await _scan(stage.lab, size.scan_s))
        await asyncio.sleep(RECOVERY_LIMIT_S)
    watch.stop()
    status = (await stage.client.status(jobs.streams[0].jobs[-1])).progress.status
    await jobs.close()
    report = await asyncio.to_thread(foreground.stop)
    rows = [foreign_row(report, watch, *each) for each in moments]
    show_foreign(rows, status)
    return {"scans": rows, "job_status_at_the_end": status, "job_has_failed": status is Status.FAILED}


async def _scan(lab: Lab, seconds: float) -> tuple[float, float, int]:
    """Return when other people's scans began and ended, and how many there were."""
    scans = Scans(lab.uri)
    begin_at = time.time()
    scans.start()
    await asyncio.sleep(seconds)
    await asyncio.to_thread(scans.stop)
    return begin_at, time.time(), scans.scans


def foreign_row(report: Mapping[str, Any], watch: Watch, begin_at: float, end_at: float, scans: int) -> Result:
    """Return one round of scans as JSON values."""
    until_at = end_at + RECOVERY_LIMIT_S
    said = [word.reason for word in watch.words if begin_at <= word.at <= end_at and word.reason]
    return {
        "scans": scans,
        "seconds": round(end_at - begin_at, 1),
        "reaction_s": reaction(watch.words, begin_at, end_at).seconds,
        "shut_percent": round(100 * shut_part(watch.words, begin_at, end_at)),
        "says_not_ours": any("not ours" in reason for reason in said),
        "reasons": list(dict.fromkeys(said))[:20],
        "docs_per_second": [
            rate(watch.counts, begin_at - BEFORE_SECONDS, begin_at),
            rate(watch.counts, begin_at, end_at),
            rate(watch.counts, end_at, until_at),
        ],
        "p99_ms": [
            between(report, begin_at - BEFORE_SECONDS, begin_at).percentile_ms(99),
            between(report, begin_at, end_at).percentile_ms(99),
            between(report, end_at, until_at).percentile_ms(99),
        ],
        "recovery_s": recovery(watch.counts, begin_at, end_at, until_at),
    }


def show_foreign(rows: Sequence[Result], status: Status) -> None:
    """Print what somebody else's scans did."""
    show(
        f"Somebody else's scans: before, during, after; the job is {status} at the end",
        ("", "yields s", "shut %", "not ours", "docs/s", "back s", "p99 ms"),
        [
            (
                f"{row['scans']} scans in {row['seconds']:.0f} s",
                row["reaction_s"] if row["reaction_s"] is not None else "never",
                row["shut_percent"],
                row["says_not_ours"],
                _three(row["docs_per_second"]),
                row["recovery_s"] if row["recovery_s"] is not None else "never",
                _three(row["p99_ms"]),
            )
            for row in rows
        ],
    )


def _three(values: Sequence[float | None]) -> str:
    return ", ".join(bench.shown(value) for value in values)


# --- nobody there, two jobs, the governor itself --------------------------------------------------------------


async def part_idle(stage: Stage) -> Result:
    """Return whole jobs on a cluster without a foreground, governed and unpaced in alternation."""
    found: dict[Mode, list[dict[str, Any]]] = {Mode.OFF: [], Mode.ENFORCE: []}
    for number in range(stage.size.rounds):
        for mode in sorted(found, key=lambda one: (one is Mode.ENFORCE) ^ (number % 2)):
            await stage.govern(mode)
            stage.lab.settle()
            # A governor that has run for longer knows already that nobody is there.
            await asyncio.sleep(WARM_SECONDS)
            job = f"beside-{next(stage.numbers)}"
            run = await run_job(stage.lab, stage.client, spec(job=job, namespace=ORDERS, **UPDATE))
            found[mode].append(run.row())
    rates = {mode: bench.median([row["docs_per_second"] for row in rows]) for mode, rows in found.items()}
    ratio = rates[Mode.ENFORCE] / rates[Mode.OFF]
    verdict = bench.verdict(ratio, IDLE_LIMIT)
    show(
        "A cluster without a foreground: documents per second, start to completed",
        ("", "governed", "unpaced", "ratio", "wanted", ""),
        [("update", rates[Mode.ENFORCE], rates[Mode.OFF], ratio, IDLE_LIMIT, verdict)],
    )
    return {
        "ratio": round(ratio, 3),
        "verdict": verdict,
        "governed": found[Mode.ENFORCE],
        "unpaced": found[Mode.OFF],
    }


async def part_fair(stage: Stage) -> Result:
    """Return how two jobs share, alike and by weight, beside a foreground."""
    await stage.govern(Mode.ENFORCE)
    foreground = stage.lab.start_foreground(ORDERS, rate=RATE, seconds=FOREGROUND_SECONDS_MAX)
    await asyncio.sleep(WARM_SECONDS)
    results = {}
    for weight in (1.0, 3.0):
        results[f"{weight:g}:1"] = await _share(stage, weight)
    await asyncio.to_thread(foreground.stop)
    show(
        "Two jobs beside a foreground",
        ("weights", "docs/s first", "docs/s second", "first's share", "wanted", "off by", "wanted", ""),
        [
            (
                name,
                *one["docs_per_second"],
                one["share"],
                one["wanted_share"],
                one["off_by"],
                FAIR_LIMIT,
                one["verdict"],
            )
            for name, one in results.items()
        ],
    )
    return results


async def _share(stage: Stage, weight: float) -> Result:
    jobs = stage.jobs(Mode.ENFORCE, UPDATE | {"weight": weight}, UPDATE)
    await jobs.begin()
    await asyncio.sleep(SWITCH_SECONDS * 3)
    windows = [await _window(jobs.streams, stage.size.window_s) for _ in range(stage.size.windows)]
    await jobs.close()
    # A window in which one of them began anew, and did nothing meanwhile, says nothing about shares.
    whole = [window for window in windows if window.is_whole] or windows
    first, second = (sum(window.rates[number] for window in whole) / len(whole) for number in (0, 1))
    share, wanted = first / (first + second), weight / (weight + 1)
    off_by = worst_share(share, wanted)
    return {
        "docs_per_second": [round(first), round(second)],
        "windows": len(whole),
        "share": round(share, 4),
        "wanted_share": round(wanted, 4),
        "off_by": round(off_by, 4),
        "verdict": bench.verdict(off_by, FAIR_LIMIT),
    }


class Window(NamedTuple):
    """Two jobs over the same time."""

    rates: tuple[float, ...]
    """Documents per second."""
    is_whole: bool
    """Whether none of them ended meanwhile."""


async def _window(streams: Sequence[Stream], seconds: float) -> Window:
    jobs = [len(stream.jobs) for stream in streams]
    before, began = [stream.documents() for stream in streams], time.monotonic()
    await asyncio.sleep(seconds)
    after, taken = [stream.documents() for stream in streams], time.monotonic() - began
    rates = tuple((late - early) / taken for early, late in zip(before, after, strict=True))
    return Window(rates, is_whole=jobs == [len(stream.jobs) for stream in streams])


def worst_share(share: float, wanted: float) -> float:
    """Return by which part of it the share of one of two is off, whichever of them is off more."""
    return max(abs(share / wanted - 1), abs((1 - share) / (1 - wanted) - 1))


@dataclass(frozen=True, slots=True)
class Metered:
    """A segment, and what the server and the governor's process did in it."""

    segment: Segment
    ops_per_second: float
    cpu_per_second: float
    """Of the governor's process; 0 where there is none."""


async def part_cost(stage: Stage) -> Result:
    """Return what the governor itself costs while no job runs, and its processor time while one does."""
    stage.lab.settle()
    foreground = stage.lab.start_foreground(ORDERS, rate=RATE, seconds=FOREGROUND_SECONDS_MAX)
    metered: dict[Mode, list[Metered]] = {Mode.OFF: [], Mode.ENFORCE: []}
    for number in range(stage.size.pairs):
        for mode in sorted(metered, key=lambda one: (one is Mode.ENFORCE) ^ (number % 2)):
            await stage.govern(mode)
            await asyncio.sleep(WARM_SECONDS)
            metered[mode].append(await _metered(stage, None))
    await stage.govern(Mode.ENFORCE)
    jobs = stage.jobs(Mode.ENFORCE, UPDATE)
    busy = await _metered(stage, jobs)
    await jobs.close()
    report = await asyncio.to_thread(foreground.stop)
    return cost_result(report, metered, busy)


async def _metered(stage: Stage, arm: Arm | None) -> Metered:
    ops, cpu_s, began = operations(stage.lab), governor_cpu_seconds(stage.lab), time.monotonic()
    segment = await stage.segment(arm)
    seconds = time.monotonic() - began
    return Metered(
        segment,
        (operations(stage.lab) - ops) / seconds,
        (governor_cpu_seconds(stage.lab) - cpu_s) / seconds,
    )


def operations(lab: Lab) -> int:
    """Return the reads, writes and commands that the server has counted since its start."""
    return sum(int(count) for count in lab.mongo.admin.command("serverStatus")["opcounters"].values() if _is_int(count))


def _is_int(value: object) -> bool:
    return isinstance(value, int)


def governor_cpu_seconds(lab: Lab) -> float:
    """Return the processor time of the governors' processes so far."""
    found = [pid for worker in lab.live_workers for pid in bench.children(worker.pid) if _is_governor(pid)]
    return sum(bench.cpu_seconds(pid) for pid in found)


def _is_governor(pid: int) -> bool:
    return b"--governor" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")


def cost_result(report: Mapping[str, Any], metered: Mapping[Mode, Sequence[Metered]], busy: Metered) -> Result:
    """Return what it costs, printed."""
    on, off = metered[Mode.ENFORCE], metered[Mode.OFF]
    pairs = [Pair(felt(report, one.segment), felt(report, other.segment)) for one, other in zip(on, off, strict=True)]
    ratio, floor = compared(pairs, median_p99), noise_floor([pair.idle for pair in pairs], median_p99)
    ops = bench.median([one.ops_per_second for one in on]) - bench.median([one.ops_per_second for one in off])
    cpu = bench.median([one.cpu_per_second for one in on])
    show(
        "What the governor itself costs",
        ("", "ops/s", "CPU s/s", "idle p99 x, on to off", "noise floor"),
        [
            ("without a job", ops, cpu, str(ratio), _interval(floor)),
            ("with a job", None, busy.cpu_per_second, None, None),
        ],
    )
    return {
        "ops_per_second": round(ops, 1),
        "cpu_seconds_per_second": round(cpu, 4),
        "cpu_seconds_per_second_with_a_job": round(busy.cpu_per_second, 4),
        "p99_ratio_on_to_off": ratio.row(),
        "noise_floor": floor.row() if floor else None,
        "steal_percent": [one.segment.steal_percent for both in zip(on, off, strict=True) for one in both],
    }


# --- everything -------------------------------------------------------------------------------------------------

PARTS: dict[str, Callable[[Stage], Awaitable[Result]]] = {
    "p99": part_p99,
    "long": part_long,
    "kinds": part_kinds,
    "side": part_side,
    "surge": part_surge,
    "foreign": part_foreign,
    "idle": part_idle,
    "fair": part_fair,
    "cost": part_cost,
}


def parse_arguments(words: Sequence[str] | None = None) -> tuple[list[str], Size]:
    """Return the parts that are asked for, in their order, and how much is measured."""
    parser = argparse.ArgumentParser(description="What a foreground feels while jobs run beside it.")
    parser.add_argument("--only", action="append", choices=PARTS, help="this part; may be repeated")
    parser.add_argument("--documents", type=int, help="of the collection")
    parser.add_argument("--segment", type=float, help="seconds of a segment")
    parser.add_argument("--surge-rate", type=float, help="operations per second in surges")
    parser.add_argument("--pairs", type=int, help="pairs of segments with the governed job and without")
    asked = parser.parse_args(words)
    size = QUICK if bench.is_quick() else FULL
    if asked.documents is not None:
        size = size._replace(documents=asked.documents)
    if asked.segment is not None:
        size = size._replace(segment_s=asked.segment)
    if asked.pairs is not None:
        size = size._replace(pairs=asked.pairs, pairs_kinds=asked.pairs)
    if asked.surge_rate is not None:
        size = size._replace(surge_rate=asked.surge_rate)
    return [name for name in PARTS if not asked.only or name in asked.only], size


def kept(path: Path) -> dict[str, Any]:
    """Return the parts that were measured before and stand in the file."""
    try:
        parts: dict[str, Any] = json.loads(path.read_text())["parts"]
    except (OSError, ValueError, KeyError):
        return {}
    return parts


async def measure(stage: Stage, name: str) -> Result:
    """Return one part, with the machine it was taken on."""
    machine = Machine()
    bench.console.print(f"[bold]{name}[/bold]")
    result = await PARTS[name](stage)
    described = machine.describe()
    bench.console.print(
        f"{described['seconds']:.0f} s; the processors idled {described['idle_percent']} % of it, "
        f"the host gave {described['steal_percent']} % to others\n"
    )
    return {"machine": described, "is_quick": bench.is_quick(), "size": stage.size._asdict(), "result": result}


async def main() -> None:
    """Measure the parts that are asked for; each is printed and written when it is done."""
    names, size = parse_arguments()
    # Told to end, it leaves nothing behind, its folder included.
    if (task := asyncio.current_task()) is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    machine = Machine()
    parts = kept(bench.OUT / "foreground.json")
    with Lab() as lab:
        lab.start_worker()
        lab.seed(ORDERS, size.documents)
        lab.copy(ORDERS, OTHER)
        stage = Stage(lab, await lab.connect(), size)
        for name in names:
            parts[name] = await measure(stage, name)
            bench.write("foreground", {"parts": {key: parts[key] for key in PARTS if key in parts}}, machine)


if __name__ == "__main__":
    asyncio.run(main())

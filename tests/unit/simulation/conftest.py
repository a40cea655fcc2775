"""
A server with a foreground, workers with slices and a governor, in one seeded loop: no clock, no thread, no wait.

The probes, the workers and the ledger between them are modelled; what the governor makes of them is the code
that the one in ``lull.activities.governing`` runs, asked at the same rates.
"""

import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from math import exp

import pytest

from lull.domain.governor import law
from lull.domain.governor.baseline import Base, Op, quantile
from lull.domain.governor.budget import Budget, Mode, Told, leave, owed_seconds
from lull.domain.governor.deciding import Decider, Heard, Publication, Seen, Terms
from lull.domain.governor.law import Aim, Decision, Pace
from lull.domain.governor.listening import BUSY_PER_SECOND, IDLE_PER_SECOND, Kind, Listener
from lull.domain.governor.objective import Objective
from lull.domain.governor.readings import Reading
from lull.domain.governor.shares import Claim
from lull.domain.governor.strangers import Strangers

STEP_S = 0.05
CALM_MS = {Kind.READ: 2.0, Kind.WRITE: 6.0}
OPS_PER_WORK_SECOND = 100.0
"""Of ours, as the server counts them."""


Curve = Callable[[float], float]


# -- the server -----------------------------------------------------------------------------------


@dataclass
class Server:
    """Answers ever later the nearer it is to its capacity; beyond, a queue grows. Its host is shared: noise, stalls."""

    dice: random.Random
    ops_cost: float = 0.0006
    """Of its capacity per foreground operation: 300 a second take 18 %, 1,500 take 90 %."""
    work_cost: float = 0.45
    """Per work-second of ours."""
    noise: float = 0.15
    stalls_per_s: float = 0.05
    checkpoint_every_s: float = 60.0
    checkpoint_s: float = 0.8
    slowness: float = 1.0
    queue_ms: float = 0.0
    _weather: float = 0.0
    _stall_ms: float = 0.0

    def step(self, now_s: float, foreground: float, foreign: float, work: float) -> None:
        load = foreground * self.ops_cost + foreign + work * self.work_cost
        self.queue_ms = max(0.0, self.queue_ms + (load - 1) * STEP_S * 1_000)
        near = min(load, 0.98)
        self._weather = 0.9 * self._weather + self.noise * self.dice.gauss(0, 0.45)
        self._stall_ms = max(0.0, self._stall_ms - STEP_S * 1_000)
        if self.dice.random() < self.stalls_per_s * STEP_S:
            self._stall_ms = self.dice.uniform(20, 120)
        self.slowness = (1 + 0.5 * near**4 / (1 - near)) * exp(self._weather)
        if self.checkpoint_every_s and now_s % self.checkpoint_every_s > self.checkpoint_every_s - self.checkpoint_s:
            self.slowness *= 3

    def latency_ms(self, kind: Kind) -> float:
        return CALM_MS[kind] * self.slowness * self.dice.lognormvariate(0, 0.4) + self.queue_ms + self._stall_ms


# -- the canary -----------------------------------------------------------------------------------


@dataclass
class Probe:
    """One kind of canary operation, one at a time, timed from its intended start."""

    kind: Kind
    due_s: float = 0.0
    every_s: float = 0.5
    free_s: float = 0.0
    op: Op | None = None
    ended: list[Op] = field(default_factory=list)

    def pace(self, now_s: float, *, is_busy: bool) -> None:
        every_s = 1 / (BUSY_PER_SECOND if is_busy else IDLE_PER_SECOND)
        if every_s < self.every_s and self.op is None:
            self.due_s = now_s
        self.every_s = every_s

    def step(self, now_s: float, server: Server, *, is_lost: bool) -> None:
        """Everything that begins or ends before the step's end has happened."""
        end_s = now_s + STEP_S
        while True:
            if self.op is not None:
                if self.free_s > end_s:
                    return
                self.ended.append(self.op)
                self.op = None
                self.due_s += self.every_s
            if self.free_s - self.due_s > 1.0:
                self.due_s = self.free_s
            start_s = max(self.due_s, self.free_s)
            if start_s >= end_s:
                return
            if is_lost:
                # A failure is no latency: the next one is due when this one has been slept over.
                self.free_s = self.due_s = start_s + 0.25
                continue
            self.free_s = start_s + server.latency_ms(self.kind) / 1_000
            self.op = Op(self.due_s, (self.free_s - self.due_s) * 1_000)

    def drained(self) -> list[Op]:
        found, self.ended = self.ended, []
        return found

    def under_way(self, now_s: float) -> list[Op]:
        if self.op is None or now_s < self.op.at_s:
            return []
        return [Op(self.op.at_s, (now_s - self.op.at_s) * 1_000)]


# -- workers --------------------------------------------------------------------------------------


@dataclass
class Slice:
    """Writes pages as it is told; gives its slot back when it has waited for ten seconds, and comes again."""

    job: str
    ready_s: float = 0.0
    waiting_s: float | None = None
    away_until_s: float = float("-inf")


@dataclass
class Worker:
    """One process: reads the budget ten times a second, judges it by its own clock, tells what it spends."""

    slices: list[Slice]
    clock_ahead_s: float = 0.0
    phase_s: float = 0.0
    page_ms_max: float = 20.0
    told: Told = field(default_factory=Told)
    pages: list[tuple[float, str, float]] = field(default_factory=list)
    """Start, job and seconds of every page."""
    running: list[float] = field(default_factory=list)
    busy_s: Counter[str] = field(default_factory=Counter)
    _read_s: float = float("-inf")

    def live(self, now_s: float) -> Counter[str]:
        return Counter(each.job for each in self.slices if now_s >= each.away_until_s)

    def step(self, now_s: float, ledger: Budget | None, slowness: float) -> float:
        """Read the budget when that is due, write pages where that is allowed; return the work begun, in seconds."""
        if now_s - self._read_s >= 0.1 - 1e-9 and now_s >= self.phase_s:
            self._read_s = now_s
            self.told = self.told.heard(ledger, now_s + self.clock_ahead_s, is_shut_by_hand=False)
        end_s, work_s = now_s + STEP_S, 0.0
        here = [each for each in self.slices if now_s >= each.away_until_s]
        for each in here:
            each.ready_s = max(each.ready_s, now_s)
        while here and (mine := min(here, key=lambda each: each.ready_s)).ready_s < end_s:
            work_s += self._page(mine, slowness)
        return work_s

    def _page(self, mine: Slice, slowness: float) -> float:
        given = leave(self.told, mine.job, mine.ready_s + self.clock_ahead_s)
        if not given.is_open:
            self._wait(mine)
            return 0.0
        start_s = self._turn(mine.ready_s, given.turns)
        if start_s > mine.ready_s:
            mine.ready_s = start_s
            return 0.0
        mine.waiting_s = None
        cost_s = min(self.page_ms_max, given.hold_ms or self.page_ms_max) / 1_000 * slowness**0.5
        self.running.append(start_s + cost_s)
        self.pages.append((start_s, mine.job, cost_s))
        self.busy_s[mine.job] += cost_s
        mine.ready_s = start_s + cost_s + owed_seconds(0.0, cost_s, given.share) + 0.0005
        return cost_s

    def _wait(self, mine: Slice) -> None:
        if mine.waiting_s is None:
            mine.waiting_s = mine.ready_s
        mine.ready_s += 0.05
        if mine.ready_s - mine.waiting_s > 10.0:
            mine.waiting_s, mine.away_until_s = None, mine.ready_s + 10.0
            mine.ready_s = mine.away_until_s

    def _turn(self, ready_s: float, turns: int | None) -> float:
        self.running = sorted(end_s for end_s in self.running if end_s > ready_s)
        beyond = len(self.running) - (turns or len(self.running) + 1)
        return self.running[beyond] if beyond >= 0 else ready_s


# -- the governor ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Said:
    """One tick of the governor."""

    now_s: float
    pace: Pace
    decision: Decision
    shares: dict[str, float]


@dataclass
class Governor:
    """Gathers and publishes; hears, decides and divides as the real one does, which is by the same code."""

    dice: random.Random
    probes: dict[Kind, Probe]
    jobs: dict[str, Claim]
    aim: Aim = field(default_factory=lambda: Aim(inflation=4.0))
    may_blank: bool = True
    decider: Decider = field(default_factory=lambda: Decider(Listener(0.0)))
    ledger: Budget | None = None
    sequence: int = 0
    story: list[Said] = field(default_factory=list)
    strangers: Strangers = field(default_factory=Strangers)
    live: Counter[str] = field(default_factory=Counter)
    _publication: Publication = field(default_factory=Publication)
    _spent: deque[tuple[float, float]] = field(default_factory=deque)

    @property
    def bases(self) -> dict[Kind, Base]:
        return self.decider.listener.bases

    @property
    def pace(self) -> Pace:
        return self.decider.pace

    @property
    def used(self) -> float:
        """Work-seconds per second, as workers told it."""
        (first_s, first), (last_s, last) = (self._spent[0], self._spent[-1]) if self._spent else ((0, 0), (0, 0))
        return (last - first) / (last_s - first_s) if last_s > first_s else 0.0

    def look(self, now_s: float, live: Counter[str], busy_s: float) -> None:
        self.live = live
        self._spent.append((now_s, busy_s))
        while len(self._spent) > 2 and now_s - self._spent[1][0] >= 2.0:
            self._spent.popleft()

    def sample(self, now_s: float, operations: float) -> None:
        """The server has counted so many *operations*, but for the canary's."""
        told = self._spent[-1][1] if self._spent else 0.0
        self.strangers.count(
            now_s,
            operations,
            ours=told * OPS_PER_WORK_SECOND,
            ours_per_second=self.used * OPS_PER_WORK_SECOND,
        )

    def tick(self, now_s: float, others: list[Reading]) -> None:
        live = sum(self.live.values())
        for probe in self.probes.values():
            probe.pace(now_s, is_busy=self.decider.listener.is_urgent(now_s, live))
        heard = Heard(
            {kind: probe.drained() for kind, probe in self.probes.items()},
            {kind: probe.under_way(now_s) for kind, probe in self.probes.items()},
        )
        verdict = self.decider.decide(now_s, heard, self._seen(others))
        self.story.append(Said(now_s, self.decider.pace, verdict.decision, verdict.shares))
        if self._publication.is_due(now_s, verdict.budget):
            self._publication.said(now_s, verdict.budget)
            self.sequence += 1
            self.ledger = verdict.budget.model_copy(update={"sequence": self.sequence, "fence": 1})

    def _seen(self, others: list[Reading]) -> Seen:
        return Seen(
            slices=self.live,
            terms={job: Terms(claim.weight, claim.is_critical) for job, claim in self.jobs.items()},
            used=self.used,
            own_ops=self.used * OPS_PER_WORK_SECOND,
            foreground_ops=self.strangers.per_second,
            objective=Objective(inflation=self.aim.inflation),
            server=others,
            mode=Mode.ENFORCE if self.may_blank else Mode.OBSERVE,
            draw=self.dice.random(),
        )


# -- all of it ------------------------------------------------------------------------------------


@dataclass
class World:
    """One run."""

    seed: int = 0
    foreground: Curve = field(default_factory=lambda: lambda _: 300)
    foreign: Curve = field(default_factory=lambda: lambda _: 0)
    """Of the server's capacity, by something that is neither ours nor counted as operations."""
    jobs: dict[str, Claim] = field(default_factory=lambda: {name: Claim(name, 1) for name in ("one", "two")})
    begin_s: float = 0.0
    """When the jobs' slices come."""
    clocks_ahead_s: tuple[float, ...] = (0.0,)
    """One worker process each."""
    loses: Callable[[float], bool] = lambda _: False
    """Whether the canary's operations fail."""
    silent: Callable[[float], bool] = lambda _: False
    """Whether the governor says nothing."""
    others: Callable[[float], list[Reading]] = lambda _: []
    may_blank: bool = True
    aim: Aim = field(default_factory=lambda: Aim(inflation=4.0))
    """More than is ever measured: where nothing else is said, evidence has nothing to cut."""
    is_learned: bool = True
    """Whether it is known what is normal for the canary."""
    ceiling: float = law.DUTY_BUSY
    is_governed: bool = True
    noise: float = 0.15
    stalls_per_s: float = 0.05
    checkpoint_every_s: float = 60.0
    work_cost: float = 0.45

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        self.server = Server(
            self.dice,
            work_cost=self.work_cost,
            noise=self.noise,
            stalls_per_s=self.stalls_per_s,
            checkpoint_every_s=self.checkpoint_every_s,
        )
        self.probes = {kind: Probe(kind) for kind in Kind}
        self.governor = Governor(self.dice, self.probes, self.jobs, self.aim, self.may_blank)
        self.governor.decider.pace = Pace(ceiling=self.ceiling)
        slices = [Slice(claim.job) for claim in self.jobs.values() for _ in range(claim.slices)]
        count = len(self.clocks_ahead_s)
        self.workers = [
            Worker(slices[place::count], ahead_s, phase_s=self.dice.uniform(0, 0.1))
            for place, ahead_s in enumerate(self.clocks_ahead_s)
        ]
        self.felt: list[tuple[float, float]] = []
        """Moment and milliseconds of a sample of the foreground's operations."""
        self._operations = 0.0
        """Of the foreground, counted by the server."""
        if self.is_learned:
            self._learn()

    def _learn(self) -> None:
        for kind in Kind:
            calm = [
                CALM_MS[kind] * self.dice.lognormvariate(0, 0.4) * self.dice.lognormvariate(0, 0.15) for _ in range(300)
            ]
            self.governor.bases[kind] = Base().learned(calm)
            self.governor.decider.listener.is_urgent(0.0, live=1)
            self.governor.decider.listener.hear(0.0, {kind: [Op(-1.0, ms) for ms in calm]}, {}, None)

    def run(self, until_s: float) -> "World":
        work_s, step = 0.0, 0
        while (now_s := step * STEP_S) < until_s:
            foreground = self.foreground(now_s)
            self.server.step(now_s, foreground, self.foreign(now_s), work_s / STEP_S)
            self._operations += max(0.0, foreground * self.dice.gauss(1, 0.1) + self.dice.gauss(0, 4)) * STEP_S
            for _ in range(3 if foreground else 0):
                self.felt.append((now_s, self.server.latency_ms(Kind.READ if self.dice.random() < 0.8 else Kind.WRITE)))
            for probe in self.probes.values():
                probe.step(now_s, self.server, is_lost=self.loses(now_s))
            work_s = sum(
                worker.step(now_s, self.governor.ledger, self.server.slowness)
                for worker in self.workers
                if now_s >= self.begin_s
            )
            self._govern(now_s + STEP_S, step)
            step += 1
        return self

    def _govern(self, now_s: float, step: int) -> None:
        if not self.is_governed or self.silent(now_s):
            return
        if step % 4 == 0:
            live = sum((worker.live(now_s) for worker in self.workers if now_s >= self.begin_s), Counter())
            self.governor.look(now_s, live, sum(sum(worker.busy_s.values()) for worker in self.workers))
        if step % 8 == 0:
            ours = sum(sum(worker.busy_s.values()) for worker in self.workers) * OPS_PER_WORK_SECOND
            self.governor.sample(now_s, self._operations + ours)
        if step % 2 == 0:
            self.governor.tick(now_s, self.others(now_s))

    # -- what came of it --------------------------------------------------------------------------

    def said(self, start_s: float = 0.0, end_s: float = float("inf")) -> list[Said]:
        return [each for each in self.governor.story if start_s <= each.now_s < end_s]

    def pages(self) -> list[tuple[float, str]]:
        """Return when pages began, to the microsecond, and of which job."""
        return sorted((round(at_s, 6), job) for worker in self.workers for at_s, job, _ in worker.pages)

    def work(self, start_s: float, end_s: float, job: str | None = None) -> float:
        """Work-seconds per second."""
        pages = (page for worker in self.workers for page in worker.pages)
        spent = sum(cost for at_s, name, cost in pages if start_s <= at_s < end_s and job in {None, name})
        return spent / (end_s - start_s)

    def p99(self, start_s: float, end_s: float) -> float:
        return quantile(sorted(ms for at_s, ms in self.felt if start_s <= at_s < end_s), 0.99)

    def first(self, start_s: float, wanted: Callable[[Said], bool]) -> float:
        """How long after *start_s* it was so for the first time; infinite if it never was."""
        return next((each.now_s - start_s for each in self.said(start_s) if wanted(each)), float("inf"))

    def longest_pause_s(self, start_s: float, end_s: float) -> float:
        """Return the longest time without a page that began."""
        begun = sorted(at_s for worker in self.workers for at_s, *_ in worker.pages if start_s <= at_s < end_s)
        return max(after - before for before, after in pairwise([start_s, *begun, end_s]))


@pytest.fixture(scope="session")
def make_world() -> type[World]:
    return World

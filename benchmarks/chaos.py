"""
Everything that can die, killed; everything that can stall, frozen; and every document looked at afterwards.

    make chaos              the whole of it, about twenty minutes
    QUICK=1 make chaos      a few of each, about three minutes
    python -m benchmarks.chaos --seed 7 --only kills

Real parts: three ``lull worker`` processes, mongod, Temporal, jobs of three kinds that follow each
other, a foreground process and an application that write the same documents (see
:mod:`benchmarks.arena`), and a witness that replays the ledger (see :mod:`benchmarks.witness`).

What the figures mean:

- *lost*, *twice*, *changed*: documents, each compared with what the seed, the jobs and the books of
  foreground and application say it must be.
- *back at work*: from the SIGKILL to the first page under a newer fence, on the server's clock; the
  slowest of the partitions that the killed worker held counts.
- *pages redone*: per slice that the killed worker ran, pages whose transaction was open on the server
  right after the kill and did not commit. The database does them again, nothing else.
- *documents computed again*: documents that the killed process had handed to the transform's function
  and that lie behind the position from which the successor went on: the page in hand and the one
  read ahead, so two pages at most.
- *old fence*: the change stream names the session of each page's transaction; a page under an old
  fence is one whose session did not come with the partition's newest fence.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pymongo.errors import ExecutionTimeout, PyMongoError

from benchmarks import bench, recording
from benchmarks.arena import Arena, Findings, Scale
from benchmarks.bench import Document, Lab, Machine, Worker, show, wait_until
from benchmarks.witness import Hold
from lull.domain.governor.budget import STALE_SECONDS, Mode

SEED = 2013
WORK_LIMIT_S = 10.0
WRITE_LIMIT_S = 10.0
REDONE_LIMIT = 1
READ_AHEAD_PAGES = 2
MASSACRE_EVERY = 10
"""One kill in so many is one of all workers at once, as when a machine loses power."""
LONG_EVERY = 3
LONG_SECONDS = 25.0
"""One outage in so many is longer than slices, heartbeats and retried calls have patience for."""
GIVE_UP_SECONDS = 120.0
"""How long a successor is waited for before it counts as never come."""
BUSY_SECONDS_MAX = 60.0
OPEN_MS_MAX = 90_000
"""How long a commit is held open at most: longer than the server leaves a transaction alone."""
OPEN_TRIES_MAX = 20
PROBE_MS = 200
NOTICE_SECONDS_MAX = 5.0
OVERTAKEN = "was overtaken"
"""What a slice says in its log when it finds its fence gone."""
TRANSFORMS = "benchmarks.recording"
PARAMETERS = {"enableTestCommands": 1}
"""mongod lets a commit be held open: so a worker can be killed inside a page's transaction, not near it."""

Say = Callable[[str], None]


class Size(NamedTuple):
    """How often each thing happens."""

    kills: int
    zombies: int
    insides: int
    mongods: int
    temporals: int
    both: int
    step_downs: int
    primaries: int
    governors: int
    governors_workers: int
    governors_mongods: int


FULL = Size(
    kills=50,
    zombies=20,
    insides=20,
    mongods=6,
    temporals=6,
    both=4,
    step_downs=8,
    primaries=6,
    governors=10,
    governors_workers=5,
    governors_mongods=5,
)
QUICK = Size(
    kills=5,
    zombies=2,
    insides=2,
    mongods=1,
    temporals=1,
    both=1,
    step_downs=1,
    primaries=1,
    governors=2,
    governors_workers=1,
    governors_mongods=1,
)


@dataclass(slots=True)
class Figure:
    """One line of the table."""

    what: str
    count: int
    limit: str
    values: list[float]
    """What was measured, each time; the largest is held against the limit."""
    unit: str = ""

    @property
    def measured(self) -> float | None:
        """The worst."""
        return max(self.values, default=None)

    @property
    def verdict(self) -> str:
        """``met``, ``missed``, or empty where nothing was measured or there is no limit."""
        return bench.verdict(self.measured, self.limit) if self.limit else ""

    def shown(self) -> str:
        """Return the measured values in a few words."""
        if len(self.values) <= 1:
            return bench.shown(self.measured) + self.unit
        percentiles = [bench.shown(bench.percentile(self.values, percent)) for percent in (50, 99)]
        return f"{percentiles[0]} / {percentiles[1]} / {bench.shown(self.measured)}{self.unit}"

    def row(self) -> dict[str, Any]:
        """Return the same as JSON values."""
        return {
            "what": self.what,
            "count": self.count,
            "limit": self.limit,
            "measured": self.measured,
            "unit": self.unit.strip(),
            "p50": bench.percentile(self.values, 50),
            "p99": bench.percentile(self.values, 99),
            "verdict": self.verdict,
            "values": [round(value, 3) for value in self.values],
        }


@dataclass(slots=True)
class Report:
    """What one scenario has shown."""

    scenario: str
    figures: list[Figure] = field(default_factory=list)
    findings: Findings = field(default_factory=Findings)

    def conclude(self, findings: Findings) -> None:
        """The audit's figures follow the scenario's own."""
        self.findings = findings
        found = findings
        self.figures += [
            Figure("jobs not completed by themselves", found.jobs, "<= 0", [float(len(found.jobs_not_completed))]),
            Figure("documents lost", found.documents, "<= 0", [float(found.lost)]),
            Figure("documents applied twice", found.documents, "<= 0", [float(found.twice)]),
            Figure("documents otherwise changed", found.documents, "<= 0", [float(found.changed)]),
            Figure("foreground updates lost", found.foreground_updates, "<= 0", [float(found.foreground_lost)]),
            Figure("foreground updates twice", found.foreground_updates, "<= 0", [float(found.foreground_extra)]),
            Figure("rules of the ledger broken", found.pages, "<= 0", [float(len(found.violations))]),
            Figure("longest silence of a running job", found.jobs, "", [found.silence_s], " s"),
        ]

    @property
    def is_met(self) -> bool:
        """Whether every limit was kept."""
        return all(figure.verdict != "missed" for figure in self.figures)

    @property
    def broken(self) -> list[str]:
        """What was broken that no slow machine excuses, in words."""
        sentences = [f"{one.what}: {one.shown()}" for one in self.figures if one.verdict == "missed" and not one.unit]
        found = self.findings
        return sentences + found.jobs_not_completed + found.violations + found.samples

    def row(self) -> dict[str, Any]:
        """Return the same as JSON values."""
        return {
            "scenario": self.scenario,
            "verdict": "met" if self.is_met else "missed",
            "figures": [figure.row() for figure in self.figures],
            "findings": self.findings.row(),
        }


# --- what every scenario does -------------------------------------------------------------------------


@dataclass(slots=True)
class Strike:
    """A worker was killed or frozen."""

    at: float
    worker: Worker
    pid: int
    holds: list[Hold]
    open_sessions: set[bytes]

    @property
    def open_pages(self) -> int:
        """Of what it held, how many pages' transactions were open right after."""
        return sum(hold.session in self.open_sessions for hold in self.holds)


def kill(arena: Arena, worker: Worker) -> Strike:
    """Worker is killed -9; what it held, and which of its transactions were open, is known."""
    pid, at = worker.pid, time.time()
    worker.kill()
    return _struck(arena, worker, pid, at)


def freeze(arena: Arena, worker: Worker) -> Strike:
    """The same for SIGSTOP."""
    at = time.time()
    worker.freeze()
    return _struck(arena, worker, worker.pid, at)


def _struck(arena: Arena, worker: Worker, pid: int, at: float) -> Strike:
    sessions = open_transactions(arena.lab)
    arena.witness.catch_up()
    return Strike(at, worker, pid, arena.witness.held_by(pid), sessions)


def open_transactions(lab: Lab) -> set[bytes]:
    """Return the sessions that have a transaction open on the primary now."""
    stages: list[Document] = [
        {"$currentOp": {"allUsers": True, "idleSessions": True}},
        {"$match": {"transaction": {"$exists": True}}},
        {"$project": {"lsid.id": 1}},
    ]
    return {bytes(found["lsid"]["id"]) for found in lab.mongo.admin.aggregate(stages)}


def back_at_work(arena: Arena, strike: Strike) -> float | None:
    """Return how long the slowest of what the worker held had nobody; None if it held nothing."""
    waits = []
    for hold in strike.holds:
        step = arena.witness.wait_successor(hold, GIVE_UP_SECONDS)
        waits.append(GIVE_UP_SECONDS if step is None else max(0.0, step.at - strike.at))
    return max(waits, default=None)


def pages_redone(arena: Arena, strike: Strike) -> list[float]:
    """Return for each slice that was killed how many begun pages did not commit; call it after `back_at_work`."""
    committed = {step.partition for step in arena.witness.steps_since(strike.at) if _is_under(step, strike.holds)}
    return [float(hold.session in strike.open_sessions and hold.partition not in committed) for hold in strike.holds]


def _is_under(step: Any, holds: Sequence[Hold]) -> bool:
    return any(step.partition == hold.partition and step.fence == hold.fence for hold in holds)


def pages_computed_again(arena: Arena, strike: Strike) -> list[float]:
    """Return for each slice of a transform how many pages its function had seen in vain."""
    calls = list(recording.calls(_calls_folder(arena.lab), strike.pid))
    counts = []
    for hold in strike.holds:
        taking = arena.witness.taking(hold.partition, hold.fence + 1)
        if "-transform-" not in hold.job or taking is None:
            continue
        after = -1 if taking.position is None else taking.position["k"]
        upto = taking.upto["k"]
        # The function is called a moment after the fence was raised, on another clock of the same machine.
        vain = {call.key for call in calls if after < call.key <= upto and call.at >= hold.taken_at - 0.01}
        counts.append(len(vain) / arena.scale.page_docs)
    return counts


def _calls_folder(lab: Lab) -> Path:
    return lab.folder / "calls"


def pick(arena: Arena) -> Worker:
    """Return a live worker by lot, mostly one that holds a partition."""
    return arena.dice.choice(arena.lab.live_workers) if arena.dice.random() < 0.1 else pick_busy(arena)


def pick_busy(arena: Arena) -> Worker:
    """Return a live worker that holds a partition, drawn by lot."""

    def busy() -> list[Worker]:
        return [worker for worker in arena.lab.live_workers if arena.witness.held_by(worker.pid)]

    if not wait_until(lambda: bool(busy()), BUSY_SECONDS_MAX):
        raise RuntimeError(f"no worker has had a slice for {BUSY_SECONDS_MAX:g} s")
    return arena.dice.choice(busy())


def a_moment(arena: Arena, seconds_max: float = 1.0) -> None:
    """Any moment of what goes on is as good as another."""
    time.sleep(arena.dice.uniform(0, seconds_max))


# --- scenarios ----------------------------------------------------------------------------------------


def kill_workers(arena: Arena, count: int, say: Say) -> list[Figure]:
    """
    Fault: kill -9 of a worker, now and then of all of them. Moment: any, of planning, reading, writing, committing.

    Survives: every document once, every foreground update, and the position: one page per slice is
    done again at most. The dead come again at once or only after others had their work, by lot.
    """
    toll = Toll()
    while toll.kills < count:
        a_moment(arena)
        is_massacre = toll.kills % MASSACRE_EVERY == MASSACRE_EVERY - 1
        strikes = [kill(arena, worker) for worker in (arena.lab.live_workers if is_massacre else [pick(arena)])]
        comes_at_once = is_massacre or arena.dice.random() < 0.5
        if comes_at_once:
            start_again(arena, strikes)
        for strike in strikes:
            wait_s = toll.add(arena, strike)
            say(
                f"kill {toll.kills} of {count}: worker {strike.worker.index} held {len(strike.holds)} partitions, "
                f"{strike.open_pages} pages open, back at work after {bench.shown(wait_s) or '-'} s"
            )
        if not comes_at_once:
            start_again(arena, strikes)
        for strike in strikes:
            arena.lab.workers[strike.worker.index].wait_ready()
    return toll.figures()


@dataclass(slots=True)
class Toll:
    """What kills have cost."""

    kills: int = 0
    waits: list[float] = field(default_factory=list)
    redone: list[float] = field(default_factory=list)
    computed: list[float] = field(default_factory=list)

    def add(self, arena: Arena, strike: Strike) -> float | None:
        """Return how long what the worker held had nobody, once somebody has it."""
        wait_s = back_at_work(arena, strike)
        self.kills += 1
        self.waits += [] if wait_s is None else [wait_s]
        self.redone += pages_redone(arena, strike)
        self.computed += pages_computed_again(arena, strike)
        return wait_s

    def figures(self) -> list[Figure]:
        """Return the lines of the table."""
        return [
            Figure("kills -9 of a worker", self.kills, "", [float(self.kills)]),
            Figure("... at work: back at work", len(self.waits), f"<= {WORK_LIMIT_S:g}", self.waits, " s"),
            Figure("pages redone per killed slice", len(self.redone), f"<= {REDONE_LIMIT}", self.redone),
            Figure("slices killed inside a page's transaction", len(self.redone), "", [sum(self.redone)]),
            Figure(
                "pages computed again per killed slice", len(self.computed), f"<= {READ_AHEAD_PAGES}", self.computed
            ),
        ]


def start_again(arena: Arena, strikes: Sequence[Strike]) -> None:
    """Those who died run again, as under a supervisor; they may not poll yet."""
    for strike in strikes:
        arena.lab.start_worker(strike.worker.index, wait=False)


def wake_zombies(arena: Arena, count: int, say: Say) -> list[Figure]:
    """
    Fault: a worker stops (SIGSTOP) until others have its partitions, then goes on (SIGCONT).

    Moment: any at which it holds one. Survives: no page is committed under its old fences, which
    the witness proves by session, however eagerly it goes on where it stood.
    """
    refused = holds = 0
    waits: list[float] = []
    for number in range(count):
        a_moment(arena)
        strike = freeze(arena, pick_busy(arena))
        wait_s = back_at_work(arena, strike)
        before = strike.worker.log.read_text().count(OVERTAKEN)
        arena.lab.thaw_worker(strike.worker.index)
        wait_until(lambda: _refusals(strike, before) >= len(strike.holds), NOTICE_SECONDS_MAX)  # noqa: B023
        refused += (found := _refusals(strike, before))
        holds += len(strike.holds)
        waits += [] if wait_s is None else [wait_s]
        say(
            f"zombie {number + 1} of {count}: worker {strike.worker.index} held {len(strike.holds)} partitions, "
            f"others had them after {bench.shown(wait_s) or '-'} s; awake again, it was refused {found} times"
        )
    arena.witness.catch_up()
    under_old = sum("does not hold its fence" in sentence for sentence in arena.witness.violations)
    return [
        Figure("zombies: pages under an old fence", count, "<= 0", [float(under_old)]),
        Figure("their slices that tried and were refused", holds, "", [float(refused)]),
        Figure("others had their work", count, "", waits, " s"),
    ]


def _refusals(strike: Strike, before: int) -> int:
    return strike.worker.log.read_text().count(OVERTAKEN) - before


def kill_inside(arena: Arena, count: int, say: Say) -> list[Figure]:
    """
    Fault: kill -9 of a worker. Moment: all writes of a page are done and its commit is on the way.

    The commit is held open on the server, and a first write to a document of the page is seen to
    wait; then the worker dies. Survives: the foreground. The next write to that document, begun
    right after the kill, is acknowledged as soon as a successor has ended the dead one's session.
    """
    waits: list[float] = []
    works: list[float] = []
    for number in range(count):
        a_moment(arena)
        hold, key = _open_page(arena)
        pid = _pid_of(arena, hold)
        worker = next(one for one in arena.lab.live_workers if one.pid == pid)
        strike = kill(arena, worker)
        wait_s = _write_probe(arena, key)
        _let_go(arena)
        arena.lab.start_worker(worker.index, wait=False)
        work_s = back_at_work(arena, strike)
        arena.lab.workers[worker.index].wait_ready()
        waits += [] if wait_s is None else [wait_s]
        works += [] if work_s is None else [work_s]
        say(
            f"inside {number + 1} of {count}: worker {worker.index} died in a page of {hold.job}, "
            f"a write to its document waited {bench.shown(wait_s) or '-'} s"
        )
    return [
        Figure("killed inside a page: a write to its document waits", count, f"<= {WRITE_LIMIT_S:g}", waits, " s"),
        Figure("back at work", count, f"<= {WORK_LIMIT_S:g}", works, " s"),
    ]


def _open_page(arena: Arena) -> tuple[Hold, int]:
    """Return whose page is held open just before its commit, and a document that it is proven to lock."""
    for _ in range(OPEN_TRIES_MAX):
        _hold_next_commit(arena)
        arena.witness.catch_up()
        for operation in _held_commits(arena):
            hold = arena.witness.hold_of(_session_of(operation))
            key = None if hold is None else _locked_key(arena, hold)
            if hold is not None and key is not None:
                return hold, key
        # A purge's, or an order that the application has just inserted stood there: another page is held.
        _let_go(arena)
    raise RuntimeError(f"in {OPEN_TRIES_MAX} tries no page could be held open")


def _hold_next_commit(arena: Arena) -> None:
    """The next page that is committed stands just before that."""
    admin = arena.lab.mongo.admin
    data = {
        "failCommands": ["commitTransaction"],
        "appName": "lull",
        "blockConnection": True,
        "blockTimeMS": OPEN_MS_MAX,
    }
    entered = admin.command("configureFailPoint", "failCommand", mode={"times": 1}, data=data)["count"]
    admin.command("waitForFailPoint", "failCommand", timesEntered=entered + 1, maxTimeMS=60_000)


def _held_commits(arena: Arena) -> list[Document]:
    """Return the commits that stand before their beginning: their clock does not run yet."""
    is_held = {"command.commitTransaction": 1, "appName": "lull", "microsecs_running": {"$exists": False}}
    return list(arena.lab.mongo.admin.aggregate([{"$currentOp": {"allUsers": True}}, {"$match": is_held}]))


def _let_go(arena: Arena) -> None:
    """No commit is held back any more; those that were have failed, as when somebody kills an operation."""
    for operation in _held_commits(arena):
        arena.lab.mongo.admin.command("killOp", op=operation["opid"])
    # Returns only when nobody stands there any more.
    arena.lab.mongo.admin.command("configureFailPoint", "failCommand", mode="off")


def _session_of(operation: Document) -> bytes:
    return bytes(operation["command"]["lsid"]["id"])


def _locked_key(arena: Arena, hold: Hold) -> int | None:
    """Return the page's first document, if it is an order and a write to it waits."""
    if "-purge-" in hold.job:
        return None
    document = arena.witness.document(hold.partition)
    after = document["position"] or document["after"]
    orders = arena.lab.collection(arena.namespace)
    found = orders.find_one({"_id": {"$gt": after["k"]}} if after else {}, {"_id": 1}, sort=[("_id", 1)])
    if found is None:
        return None
    try:
        orders.database.command(
            "update",
            orders.name,
            updates=[{"q": {"_id": found["_id"]}, "u": {"$inc": {"probe": 1}}}],
            maxTimeMS=PROBE_MS,
        )
    except ExecutionTimeout:
        return int(found["_id"])
    arena.application.books.probes[found["_id"]] += 1
    return None


def _pid_of(arena: Arena, hold: Hold) -> int:
    owner: str = arena.witness.document(hold.partition)["owner"]
    return int(owner.split(maxsplit=1)[0].rpartition(":")[2])


def _write_probe(arena: Arena, key: int) -> float | None:
    """Return how long a write to the document takes; None if the application has deleted it."""
    began = time.monotonic()
    found = arena.lab.collection(arena.namespace).update_one({"_id": key}, {"$inc": {"probe": 1}})
    wait_s = time.monotonic() - began
    arena.application.books.probes[key] += found.matched_count
    return wait_s if found.matched_count else None


def kill_mongod(arena: Arena, count: int, say: Say) -> list[Figure]:
    """
    Fault: kill -9 of the only mongod, started again within three seconds, every third time after 25. Moment: any of a job.

    Survives: every acknowledged page and write, by the journal; slices go on by themselves.
    """

    def strike(number: int) -> None:
        arena.lab.stack.mongo.kill_member(0)
        an_outage(arena, number)
        arena.lab.stack.mongo.start_member(0)
        arena.lab.stack.mongo.wait_primary()

    return [_world(arena, count, say, "mongod killed and started", strike)]


def kill_temporal(arena: Arena, count: int, say: Say) -> list[Figure]:
    """
    Fault: kill -9 of the Temporal server, started again within three seconds, every third time after 25. Moment: any of a job.

    Survives: the workflows, by its database; slices go on meanwhile, and their results are
    delivered or their partitions given to others.
    """

    def strike(number: int) -> None:
        arena.lab.stack.temporal.kill()
        an_outage(arena, number)
        arena.lab.stack.temporal.start()

    return [_world(arena, count, say, "Temporal killed and started", strike)]


def kill_everything(arena: Arena, count: int, say: Say) -> list[Figure]:
    """
    Fault: kill -9 of Temporal, mongod and a worker at once, all started again. Moment: any of a job.

    Survives: everything. What is true about progress stands in the ledger, beside the documents.
    """

    def strike(_number: int) -> None:
        worker = pick(arena)
        arena.lab.stack.temporal.kill()
        arena.lab.stack.mongo.kill_member(0)
        worker.kill()
        a_moment(arena, 3.0)
        arena.lab.stack.mongo.start_member(0)
        arena.lab.stack.mongo.wait_primary()
        arena.lab.stack.temporal.start()
        arena.lab.start_worker(worker.index)

    return [_world(arena, count, say, "both and a worker killed and started", strike)]


def step_down(arena: Arena, count: int, say: Say) -> list[Figure]:
    """
    Fault: the primary of three is told to step down. Moment: any of a job.

    Survives: every page: it was committed by a majority, or it was not committed.
    """

    def strike(_number: int) -> None:
        arena.lab.stack.mongo.step_down()

    return [_world(arena, count, say, "step-downs", strike)]


def kill_primary(arena: Arena, count: int, say: Say) -> list[Figure]:
    """
    Fault: kill -9 of the primary of three, started again when another one has its role. Moment: any of a job.

    Survives: every acknowledged page and write, on the two that are left; the dead one rolls back
    what no majority had.
    """

    def strike(_number: int) -> None:
        mongo = arena.lab.stack.mongo
        primary = mongo.wait_primary()
        mongo.kill_member(primary)
        # The elected one first applies what it had received: seconds of a job's writes, on a busy machine.
        mongo.wait_primary(GIVE_UP_SECONDS)
        a_moment(arena, 3.0)
        mongo.start_member(primary)
        mongo.wait_healthy(GIVE_UP_SECONDS)

    return [_world(arena, count, say, "primary killed, and started again", strike)]


def an_outage(arena: Arena, number: int) -> None:
    """A server is away for a moment, every third time for long."""
    if number % LONG_EVERY == LONG_EVERY - 1:
        time.sleep(LONG_SECONDS)
    else:
        a_moment(arena, 3.0)


def _world(arena: Arena, count: int, say: Say, what: str, strike: Callable[[int], None]) -> Figure:
    """Strike again and again, each time when pages flow again."""
    silences = []
    for number in range(count):
        a_moment(arena, 2.0)
        began_at = time.time()
        strike(number)
        stands_at = time.time()
        is_flowing = arena.witness.wait_step(stands_at, GIVE_UP_SECONDS) is not None
        silences.append(arena.witness.silence_since(began_at) if is_flowing else GIVE_UP_SECONDS)
        say(
            f"{what} {number + 1} of {count}: stood again after {stands_at - began_at:.1f} s, "
            f"at most {silences[-1]:.1f} s without a page"
        )
    return Figure(f"{what}: longest time without a page", count, "", silences, " s")


# --- the governor ---------------------------------------------------------------------------------------

SHUT_LIMIT_S = STALE_SECONDS + 0.5
"""From a governor's last word to the last page that began on it: its expiry, a poll, a page."""
RETURN_LIMIT_S = 10.0


class Word(NamedTuple):
    """What a governor said, as a bystander heard it."""

    at: float
    fence: int
    sequence: int
    pid: int


def last_word(arena: Arena) -> Word:
    """Return what the governor has said last. Raises RuntimeError while it has said nothing."""
    said = arena.lab.ledger["governor"].find_one({"_id": "budget"})
    if said is None or "sequence" not in said:
        raise RuntimeError("no governor has said anything")
    return Word(time.time(), said["fence"], said["sequence"], int(said["owner"].rpartition(":")[2]))


class Silence(NamedTuple):
    """One time without a governor."""

    gone_at: float
    back_at: float
    """When the next one was first heard."""


def _silence(arena: Arena, strike: Callable[[Word], None]) -> Silence:
    """Return when nobody was heard after *strike*; pages that began meanwhile are the witness's to tell."""
    before = last_word(arena)
    strike(before)
    gone_at = time.time()
    heard = before

    def is_back() -> bool:
        nonlocal heard
        with suppress(PyMongoError, RuntimeError):
            heard = last_word(arena)
        return heard.fence > before.fence

    if not wait_until(is_back, GIVE_UP_SECONDS):
        raise RuntimeError(f"no governor came back in {GIVE_UP_SECONDS:g} s")
    return Silence(gone_at, heard.at)


@dataclass(slots=True)
class Silences:
    """What times without a governor have shown."""

    latest: list[float] = field(default_factory=list)
    """From the governor's end to the last page that was committed before another one was heard."""
    returns: list[float] = field(default_factory=list)
    """From the next governor's first word to the next page."""
    absences: list[float] = field(default_factory=list)

    def add(self, arena: Arena, silence: Silence) -> None:
        """One more; the witness has seen the first page after it."""
        step = arena.witness.wait_step(silence.back_at, GIVE_UP_SECONDS)
        self.returns.append(GIVE_UP_SECONDS if step is None else max(0.0, step.at - silence.back_at))
        between = [one.at for one in arena.witness.steps_since(silence.gone_at) if one.at < silence.back_at]
        self.latest.append(max((at - silence.gone_at for at in between), default=0.0))
        self.absences.append(silence.back_at - silence.gone_at)

    def figures(self, what: str) -> list[Figure]:
        """Return three lines of the table."""
        count = len(self.returns)
        return [
            Figure(f"{what}: last page after it", count, f"<= {SHUT_LIMIT_S:g}", self.latest, " s"),
            Figure(f"{what}: until another one was heard", count, "", self.absences, " s"),
            Figure(f"{what}: first page after that", count, f"<= {RETURN_LIMIT_S:g}", self.returns, " s"),
        ]


def _silenced(arena: Arena, count: int, say: Say, what: str, strike: Callable[[Word], None]) -> list[Figure]:
    found = Silences()
    for number in range(count):
        a_moment(arena, 3.0)
        arena.witness.wait_step(time.time(), GIVE_UP_SECONDS)
        found.add(arena, _silence(arena, strike))
        say(
            f"{what} {number + 1} of {count}: last page after {found.latest[-1]:.2f} s, another one heard after "
            f"{found.absences[-1]:.1f} s, first page {found.returns[-1]:.2f} s later"
        )
    return found.figures(what)


def kill_governors(arena: Arena, count: int, say: Say) -> list[Figure]:
    """
    Fault: kill -9 of the governor's process. Moment: any of a job.

    Survives: no page begins on a word that is two seconds old, and the next governor lets work go on.
    """
    return _silenced(arena, count, say, "governor killed", lambda word: os.kill(word.pid, signal.SIGKILL))


def stop_governors_worker(arena: Arena, count: int, say: Say) -> list[Figure]:
    """Fault: SIGTERM of the worker beside which the governor runs, for good. Another worker's takes over."""

    def strike(word: Word) -> None:
        worker = next(one for one in arena.lab.live_workers if word.pid in bench.children(one.pid))
        worker.terminate()
        worker.wait()
        arena.lab.start_worker(worker.index)

    return _silenced(arena, count, say, "governor's worker stopped", strike)


def restart_mongod_under_governor(arena: Arena, count: int, say: Say) -> list[Figure]:
    """Fault: kill -9 of mongod under the governor and all slices; it is started again. Moment: any of a job."""
    returns = []
    for number in range(count):
        a_moment(arena, 3.0)
        arena.lab.stack.mongo.kill_member(0)
        a_moment(arena, 3.0)
        arena.lab.stack.mongo.start_member(0)
        arena.lab.stack.mongo.wait_primary()
        back_at = time.time()
        step = arena.witness.wait_step(back_at, GIVE_UP_SECONDS)
        returns.append(GIVE_UP_SECONDS if step is None else max(0.0, step.at - back_at))
        say(
            f"mongod killed under the governor {number + 1} of {count}: first page {returns[-1]:.2f} s after it was back"
        )
    return [
        Figure(
            "mongod under the governor: first page after it was back", count, f"<= {RETURN_LIMIT_S:g}", returns, " s"
        )
    ]


# --- all of it ----------------------------------------------------------------------------------------

Attack = Callable[[Arena, int, Say], list[Figure]]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One arena: what is done in it, one after the other."""

    name: str
    attacks: Sequence[tuple[Attack, str]]
    """Each with the name of its count in `Size`."""
    members: int = 1
    governor: Mode = Mode.OFF


SCENARIOS = (
    Scenario("kills", [(kill_workers, "kills")]),
    Scenario("zombies", [(wake_zombies, "zombies")]),
    Scenario("inside", [(kill_inside, "insides")]),
    Scenario("world", [(kill_mongod, "mongods"), (kill_temporal, "temporals"), (kill_everything, "both")]),
    Scenario(
        "governor",
        [
            (kill_governors, "governors"),
            (stop_governors_worker, "governors_workers"),
            (restart_mongod_under_governor, "governors_mongods"),
        ],
        governor=Mode.ENFORCE,
    ),
    Scenario("members", [(step_down, "step_downs"), (kill_primary, "primaries")], members=3),
)


def make_lab(members: int = 1, governor: Mode = Mode.OFF) -> Lab:
    """Return a lab whose workers leave a trace of what they compute, and whose mongod can be held."""
    lab = Lab(members=members, load=(TRANSFORMS,), parameters=PARAMETERS, governor=governor)
    _calls_folder(lab).mkdir(parents=True)
    os.environ[recording.FOLDER] = str(_calls_folder(lab))
    return lab


def run(scenario: Scenario, lab: Lab, size: Size, *, seed: int, say: Say, scale: Scale | None = None) -> Report:
    """Return what the scenario has shown in this lab."""
    report = Report(scenario.name)
    with Arena(lab, scenario.name, seed=seed, scale=scale) as arena:
        for attack, count in scenario.attacks:
            report.figures += attack(arena, getattr(size, count), say)
        say("no more attacks; the jobs come to their end and every document is looked at")
        report.conclude(arena.end())
    for sentence in report.broken:
        say(f"BROKEN: {sentence}")
    return report


def run_all(chosen: Sequence[Scenario], size: Size, seed: int, say: Say) -> list[Report]:
    """Return what each scenario has shown; those of one kind share a lab."""
    reports = []
    for kind in dict.fromkeys((scenario.members, scenario.governor) for scenario in chosen):
        with make_lab(*kind) as lab:
            for scenario in chosen:
                if (scenario.members, scenario.governor) == kind:
                    say(f"--- {scenario.name}")
                    reports.append(run(scenario, lab, size, seed=seed, say=say))
    return reports


def print_table(reports: Sequence[Report]) -> None:
    """Print what was measured, for people."""
    rows = [
        (report.scenario, figure.what, figure.count, figure.limit, figure.shown(), figure.verdict)
        for report in reports
        for figure in report.figures
    ]
    show("chaos (several values: p50 / p99 / max)", ("scenario", "what", "of", "limit", "measured", "verdict"), rows)


def sayer() -> Say:
    """Return what prints a line with the seconds since now."""
    began = time.monotonic()
    return lambda line: bench.console.print(
        f"[{time.monotonic() - began:7.1f} s] {line}", highlight=False, markup=False
    )


def parse_arguments(words: Sequence[str] | None = None) -> tuple[int, list[Scenario]]:
    """Return seed and scenarios."""
    names = [scenario.name for scenario in SCENARIOS]
    parser = argparse.ArgumentParser(description="Kill, freeze and restart everything, and count what was lost.")
    parser.add_argument("--seed", type=int, default=SEED, help="of all moments and choices")
    parser.add_argument("--only", choices=names, action="append", help="this scenario only; may be repeated")
    found = parser.parse_args(words)
    return found.seed, [scenario for scenario in SCENARIOS if not found.only or scenario.name in found.only]


def main() -> int:
    """Return 0 if every limit was met, else 1."""
    seed, chosen = parse_arguments()
    machine, say = Machine(), sayer()
    size = QUICK if bench.is_quick() else FULL
    say(f"seed {seed}")
    reports = run_all(chosen, size, seed, say)
    print_table(reports)
    document = {"seed": seed, "quick": bench.is_quick(), "scenarios": [report.row() for report in reports]}
    bench.write("chaos", document, machine)
    return 0 if all(report.is_met for report in reports) else 1


if __name__ == "__main__":
    sys.exit(main())

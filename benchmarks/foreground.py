"""
A foreground: what an application does to a collection while a job runs, and what it feels.

    python -m benchmarks.foreground --uri mongodb://127.0.0.1:27117/ --namespace nyc.flights --seconds 60 --out fg.json

Open loop: every operation has an intended start, fixed in advance by the rate, and its latency
counts from there. A server that stalls for a second therefore shows up as hundreds of slow
operations, not as one. Eight of ten operations read a document by ``_id``; two add one to its
field ``fg``, with majority and journal, and are counted per document, so that an update which the
job overwrote can be told from one that never happened.

A process of its own: nothing that it shares with the job but the machine. Prints one JSON line a
second; writes the whole report to ``--out`` at its end, or at SIGTERM.
"""

import argparse
import json
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bson import json_util
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.errors import PyMongoError
from pymongo.write_concern import WriteConcern

Document = dict[str, Any]

FIELD = "fg"
"""The counter that the foreground raises; nothing else may write it."""
THREADS = 48
"""Operations in flight at most; those that wait for a thread count from their intended start all the same."""
KEYS_MAX = 20_000
ERRORS_KEPT = 10
LOOK_SECONDS = 0.2
"""How late an end is noticed at most."""


@dataclass(frozen=True)
class Load:
    """What the foreground does."""

    uri: str
    namespace: str
    rate: float = 300.0
    """Operations per second."""
    updates: float = 0.2
    """Their share that writes."""
    seconds: float = 60.0
    """It stops by itself after this long."""
    keys: int = KEYS_MAX
    """Documents it touches, drawn at its start; few of them make it meet the job's pages often."""
    seed: int = 2013
    surge_rate: float = 0.0
    """Operations per second during surges; 0 for none."""
    surge_from: float = 0.0
    """Seconds from the start to the first surge."""
    surge_for: float = 0.0
    """Seconds that each lasts."""
    surge_every: float = 0.0
    """Seconds from one surge's beginning to the next one's; 0 for one surge only."""

    def rate_at(self, second: float) -> float:
        """Return the rate that is intended at this moment of the run."""
        into = second - self.surge_from
        if self.surge_rate <= 0 or into < 0:
            return self.rate
        if self.surge_every > 0:
            into %= self.surge_every
        return self.surge_rate if into < self.surge_for else self.rate


class Histogram:
    """Latencies in microseconds, to three digits: percentiles are right within a percent."""

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self.counts: Counter[int] = Counter(counts or {})

    def add(self, latency_us: int) -> None:
        """One more operation took this long."""
        shift = 10 ** max(0, len(str(latency_us)) - 3)
        self.counts[latency_us // shift * shift] += 1

    def merge(self, other: "Histogram") -> None:
        """All of *other*'s operations are in this one too."""
        self.counts.update(other.counts)

    @property
    def total(self) -> int:
        """Operations."""
        return self.counts.total()

    def percentile_ms(self, percent: float) -> float | None:
        """Return the latency that *percent* of the operations did not exceed; None without operations."""
        rank = percent / 100 * self.total
        seen = 0
        for latency_us in sorted(self.counts):
            seen += self.counts[latency_us]
            if seen >= rank:
                return latency_us / 1_000
        return None

    @property
    def max_ms(self) -> float | None:
        """The longest of them."""
        return max(self.counts) / 1_000 if self.counts else None


@dataclass(slots=True)
class Tally:
    """What became of the updates of one document."""

    done: int = 0
    unknown: int = 0
    """The driver gave up: applied at most once each, perhaps not at all."""


@dataclass(slots=True)
class Account:
    """Everything that was measured; shared by the threads under one lock."""

    seconds: dict[int, Histogram] = field(default_factory=dict)
    """By the second of the intended start."""
    ledger: dict[int, Tally] = field(default_factory=dict)
    """By the key's number."""
    reads: int = 0
    updates: int = 0
    missed: int = 0
    """Operations on documents that are no longer there."""
    errors: list[str] = field(default_factory=list)
    errors_total: int = 0
    guard: threading.Lock = field(default_factory=threading.Lock)

    def took(self, second: int, latency_us: int) -> None:
        """One operation, intended in this *second* of the run, took so long."""
        with self.guard:
            self.seconds.setdefault(second, Histogram()).add(latency_us)

    def read(self, *, found: bool) -> None:
        """A read was answered."""
        with self.guard:
            self.reads += 1
            self.missed += not found

    def updated(self, number: int, *, found: bool) -> None:
        """An update was acknowledged."""
        with self.guard:
            self.updates += 1
            self.missed += not found
            if found:
                self.ledger.setdefault(number, Tally()).done += 1

    def failed(self, error: Exception, updated: int | None) -> None:
        """An operation ended with *error*; of an update nobody knows whether it was applied."""
        with self.guard:
            self.errors_total += 1
            self.errors = [*self.errors, f"{type(error).__name__}: {str(error)[:200]}"][:ERRORS_KEPT]
            if updated is not None:
                self.ledger.setdefault(updated, Tally()).unknown += 1


@dataclass(frozen=True, slots=True)
class Operation:
    """One intended operation."""

    due_s: float
    """After the start."""
    number: int
    """Of the key."""
    is_update: bool


class Schedule:
    """The operations in their order, each handed to one thread; ends with the time or when told."""

    def __init__(self, load: Load, keys: int) -> None:
        self._load = load
        self._keys = keys
        self._due_s = 0.0
        self._dice = random.Random(load.seed)
        self._guard = threading.Lock()
        # A plain flag: a signal's handler must not take a lock that the thread it interrupts may hold.
        self.is_over = False

    def next(self) -> Operation | None:
        """Return the next operation; None when there are no more."""
        with self._guard:
            due_s = self._due_s
            if self.is_over or due_s >= self._load.seconds:
                return None
            self._due_s += 1 / self._load.rate_at(due_s)
            return Operation(due_s, self._dice.randrange(self._keys), self._dice.random() < self._load.updates)


class Foreground:
    """The load, running in threads of this process."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.client = MongoClient[Document](load.uri, maxPoolSize=THREADS, appname="foreground")
        database, _, name = load.namespace.partition(".")
        self.collection: Collection[Document] = self.client[database].get_collection(
            name, write_concern=WriteConcern("majority", j=True)
        )
        self.keys = draw_keys(self.collection, load.keys)
        self.schedule = Schedule(load, len(self.keys))
        self.account = Account()
        self.started_at = 0.0
        self._start_s = 0.0

    def run(self) -> None:
        """Every operation of the schedule was tried; one JSON line a second was printed."""
        self.client.admin.command("ping")
        threads = [threading.Thread(target=self._work, name=f"foreground {n}") for n in range(THREADS)]
        self.started_at, self._start_s = time.time(), time.monotonic()
        for thread in threads:
            thread.start()
        self._tell_while_alive(threads)

    def stop(self, *_: object) -> None:
        """No operation begins any more."""
        self.schedule.is_over = True

    def _work(self) -> None:
        while (operation := self.schedule.next()) is not None:
            if not self._wait_until(self._start_s + operation.due_s):
                return
            self._do(operation)
            latency_s = time.monotonic() - self._start_s - operation.due_s
            self.account.took(int(operation.due_s), int(latency_s * 1_000_000))

    def _wait_until(self, moment_s: float) -> bool:
        """Whether the moment came before the end."""
        while (wait_s := moment_s - time.monotonic()) > 0 and not self.schedule.is_over:
            time.sleep(min(wait_s, LOOK_SECONDS))
        return not self.schedule.is_over

    def _do(self, operation: Operation) -> None:
        key = {"_id": self.keys[operation.number]}
        try:
            if operation.is_update:
                matched = self.collection.update_one(key, {"$inc": {FIELD: 1}}).matched_count
                self.account.updated(operation.number, found=matched == 1)
            else:
                self.account.read(found=self.collection.find_one(key) is not None)
        except PyMongoError as error:
            self.account.failed(error, operation.number if operation.is_update else None)

    def _tell_while_alive(self, threads: Sequence[threading.Thread]) -> None:
        second = 0
        while any(thread.is_alive() for thread in threads) and not self.schedule.is_over:
            # A second is told one second later, when most of its operations have been answered.
            if self._wait_until(self._start_s + second + 2):
                say(self._row(second))
            second += 1
        for thread in threads:
            thread.join()

    def _row(self, second: int) -> dict[str, Any]:
        with self.account.guard:
            return row(second, Histogram(self.account.seconds.get(second, Histogram()).counts))

    def report(self) -> dict[str, Any]:
        """Return everything that was measured, as JSON values."""
        account = self.account
        whole = Histogram()
        for one in account.seconds.values():
            whole.merge(one)
        return {
            "load": asdict(self.load) | {"uri": ""},
            "started_at": self.started_at,
            "keys": len(self.keys),
            "reads": account.reads,
            "updates": account.updates,
            "missed": account.missed,
            "errors": account.errors_total,
            "error_samples": account.errors,
            **percentiles(whole),
            "seconds": [
                row(second, histogram) | {"histogram_us": {str(k): v for k, v in sorted(histogram.counts.items())}}
                for second, histogram in sorted(account.seconds.items())
            ],
            "ledger": [
                [_text(self.keys[number]), tally.done, tally.unknown]
                for number, tally in sorted(account.ledger.items())
            ],
        }


def draw_keys(collection: Collection[Document], most: int) -> list[Any]:
    """Return ids from all over the collection, at most so many, in no order; at least one."""
    found = [one["_id"] for one in collection.aggregate([{"$sample": {"size": most}}, {"$project": {"_id": 1}}])]
    # The server may draw a document twice.
    keys = list({_text(key): key for key in found}.values())
    if not keys:
        raise SystemExit(f"{collection.full_name} is empty: a foreground needs documents")
    return keys


def percentiles(histogram: Histogram) -> dict[str, Any]:
    """Return what a table shows of a histogram."""
    return {
        "operations": histogram.total,
        "p50_ms": histogram.percentile_ms(50),
        "p95_ms": histogram.percentile_ms(95),
        "p99_ms": histogram.percentile_ms(99),
        "max_ms": histogram.max_ms,
    }


def row(second: int, histogram: Histogram) -> dict[str, Any]:
    """Return one second of the run."""
    return {"second": second, **percentiles(histogram)}


# --- for those who read a report --------------------------------------------------------------------


def between(report: Mapping[str, Any], begin_at: float, end_at: float) -> Histogram:
    """Return the operations that were intended within these moments (seconds since the epoch)."""
    whole = Histogram()
    for one in seconds_between(report, begin_at, end_at):
        whole.merge(one)
    return whole


def seconds_between(report: Mapping[str, Any], begin_at: float, end_at: float) -> list[Histogram]:
    """Return the same second by second; only seconds that lie wholly within these moments."""
    found = []
    for one in report["seconds"]:
        at = report["started_at"] + one["second"]
        if begin_at <= at and at + 1 <= end_at:
            found.append(Histogram({int(k): v for k, v in one["histogram_us"].items()}))
    return found


@dataclass(frozen=True, slots=True)
class Audit:
    """The foreground's ledger against the documents."""

    updates: int
    """Acknowledged."""
    lost: int
    """Acknowledged, and not in the documents."""
    extra: int
    """In the documents beyond what was acknowledged or may have been applied."""

    @property
    def is_right(self) -> bool:
        """Whether every update is there, once."""
        return not self.lost and not self.extra


def audit(ledger: Iterable[Sequence[Any]], collection: Collection[Document]) -> Audit:
    """
    Compare a report's ``ledger`` with the field ``fg`` of the documents that still exist.

    Every document's count is looked at, so an update of a document the foreground never touched is seen too.
    """
    wanted = {key: (done, unknown) for key, done, unknown in ledger}
    updates = sum(done for done, _ in wanted.values())
    lost = extra = 0
    for document in collection.find({}, {FIELD: 1}, batch_size=20_000):
        done, unknown = wanted.get(_text(document["_id"]), (0, 0))
        there = document.get(FIELD, 0)
        lost += max(0, done - there)
        extra += max(0, there - done - unknown)
    return Audit(updates, lost, extra)


def _text(key: Any) -> str:
    """Return an id of any type as text that only this id has."""
    return json_util.dumps(key)


# --- the process --------------------------------------------------------------------------------------


def say(document: Mapping[str, Any]) -> None:
    """Print one JSON line at once."""
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def parse_arguments(words: Sequence[str] | None = None) -> tuple[Load, Path]:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description="An open-loop foreground on one collection.")
    parser.add_argument("--uri", required=True)
    parser.add_argument("--namespace", required=True, help="database.collection")
    parser.add_argument("--rate", type=float, default=Load.rate, help="operations per second")
    parser.add_argument("--updates", type=float, default=Load.updates, help="share of updates, 0 to 1")
    parser.add_argument("--seconds", type=float, default=Load.seconds, help="ends by itself after this long")
    parser.add_argument("--keys", type=int, default=Load.keys, help="documents it touches")
    parser.add_argument("--seed", type=int, default=Load.seed)
    parser.add_argument("--surge-rate", type=float, default=Load.surge_rate, help="operations per second in surges")
    parser.add_argument("--surge-from", type=float, default=Load.surge_from, help="seconds to the first surge")
    parser.add_argument("--surge-for", type=float, default=Load.surge_for, help="seconds that a surge lasts")
    parser.add_argument(
        "--surge-every", type=float, default=Load.surge_every, help="seconds between beginnings; 0 for one surge"
    )
    parser.add_argument("--out", type=Path, required=True, help="the report, written at the end")
    values = vars(parser.parse_args(words))
    out: Path = values.pop("out")
    return Load(**values), out


def main() -> None:
    """Run the load that the command line describes."""
    load, out = parse_arguments()
    foreground = Foreground(load)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, foreground.stop)
    foreground.run()
    draft = out.with_suffix(".draft")
    draft.write_text(json.dumps(foreground.report()))
    draft.replace(out)


if __name__ == "__main__":
    main()

"""
Where chaos happens: jobs that follow each other, an application that writes the same documents, an audit.

    with Arena(lab, "kills", seed=7) as arena:
        arena.lab.kill_worker(0)
        ...
        findings = arena.end()

Two lanes of jobs run over one collection of orders, an ``update`` that adds one and a ``transform``
that counts and computes, and a third lane purges one small collection after the other. At the same
time a process of its own adds to ``fg`` of the same orders, and an application changes quantities,
inserts and deletes orders and rescues documents from the purges. Everything acknowledged is written
down; at the end each document is compared with what these books say it must be.
"""

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from pymongo import MongoClient
from pymongo.errors import PyMongoError
from temporalio.service import RPCError

from benchmarks import bench, foreground
from benchmarks.bench import MAJORITY, Document, Lab
from benchmarks.witness import Witness
from lull.domain.errors import LullError, OperatorError
from lull.domain.job import JobSpec
from lull.domain.lifecycle import Status
from lull.domain.slice import Outcome
from lull.starter.client import Client

PADS = [bytes([65 + number]).decode() * 2_600 for number in range(7)]
"""So long that a few ten thousand orders are cut into several partitions."""
VOLATILE = ("version", "touched", "total", "quantity", "fg", "probe")
"""Fields of an order that are judged one by one; all others must be as they were seeded."""
EXPIRED = bench.expiry(50)
SAFE = datetime(2099, 1, 1, tzinfo=UTC)
AGAIN_SECONDS = 0.2
END_SECONDS_MAX = 240.0
"""How long a job may take to its end once nobody attacks it any more."""
APPLICATION_RATE = 40.0


@dataclass(frozen=True, slots=True)
class Scale:
    """How much goes on."""

    orders: int = 40_000
    expiring: int = 16_000
    """Documents of each collection that is purged; half of them are."""
    docs_per_second: float = 1_200
    """Of each order job; the purge gets half."""
    foreground_rate: float = 150
    workers: int = 3
    parallel: int = 3
    page_docs: int = 20
    """Small pages: many moments to be killed at."""


@dataclass(slots=True)
class JobRecord:
    """One job from before its start to after its end."""

    spec: JobSpec
    started_at: float
    ended_at: float = 0.0
    outcome: Outcome | None = None


@dataclass(slots=True)
class Findings:
    """What the audit has found."""

    jobs: int = 0
    jobs_not_completed: list[str] = field(default_factory=list)
    documents: int = 0
    lost: int = 0
    """Documents that should be there and are not, or that a completed job has passed by."""
    twice: int = 0
    """Documents that a job was applied to more than once, that came back, or were deleted though they were rescued."""
    changed: int = 0
    """Documents with any other difference."""
    foreground_updates: int = 0
    foreground_lost: int = 0
    foreground_extra: int = 0
    application_writes: int = 0
    unknown_writes: int = 0
    pages: int = 0
    violations: list[str] = field(default_factory=list)
    silence_s: float = 0.0
    """The longest time that a running job went without a page."""
    samples: list[str] = field(default_factory=list)

    @property
    def is_right(self) -> bool:
        """Whether nothing was lost, doubled or broken."""
        numbers = self.lost + self.twice + self.changed + self.foreground_lost + self.foreground_extra
        return not numbers and not self.violations and not self.jobs_not_completed

    def blame(self, count: str, sentence: str) -> None:
        """One more of *count*; the first few are kept in words."""
        setattr(self, count, getattr(self, count) + 1)
        self.samples = [*self.samples, f"{count}: {sentence}"][:20]

    def row(self) -> dict[str, Any]:
        """Return the same as JSON values."""
        return asdict(self)


# --- documents ------------------------------------------------------------------------------------------


def orders(count: int) -> Iterator[Document]:
    """Yield orders with even numbers: the odd ones between them are the application's to insert."""
    for order in bench.orders(count):
        number = order["_id"]
        yield {**order, "_id": 2 * number, "touched": 0, "pad": PADS[number % len(PADS)]}


def total_of(order: Document) -> float:
    """Return what the order's total must be by its current inputs."""
    return float(round(order["price"] * order["quantity"], 2))


@dataclass(slots=True)
class Books:
    """What the application knows of its own writes. Unknown ones may have been applied, or not."""

    inserted: dict[int, tuple[Document, float, float]] = field(default_factory=dict)
    """Order, when it was sent, when it was acknowledged."""
    maybe_inserted: set[int] = field(default_factory=set)
    deleted: set[int] = field(default_factory=set)
    maybe_deleted: set[int] = field(default_factory=set)
    quantities: dict[int, set[int]] = field(default_factory=dict)
    """Every quantity that the order may have now."""
    rescued: dict[str, set[int]] = field(default_factory=dict)
    maybe_rescued: dict[str, set[int]] = field(default_factory=dict)
    probes: Counter[int] = field(default_factory=Counter)
    writes: int = 0
    unknown: int = 0


class Application:
    """Writes the documents that jobs write, one after the other, in a thread; its books are right by construction."""

    def __init__(self, uri: str, namespace: str, scale: Scale, seed: int) -> None:
        self._client = MongoClient[Document](uri, appname="application", serverSelectionTimeoutMS=2_000, tz_aware=True)
        database, _, name = namespace.partition(".")
        self.database = self._client[database]
        self.orders = self.database.get_collection(name, write_concern=MAJORITY)
        self.books = Books()
        self.purged: str | None = None
        """Name of the collection that a purge works on now."""
        self._scale = scale
        self._dice = random.Random(seed)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="application", daemon=True)

    def start(self) -> None:
        """It writes."""
        self._thread.start()

    def stop(self) -> None:
        """It writes no more. Idempotent."""
        self._is_over.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._client.close()

    def _run(self) -> None:
        acts = [self._insert, self._delete, self._reprice, self._reprice, self._rescue, self._rescue]
        while not self._is_over.wait(self._dice.expovariate(APPLICATION_RATE)):
            self._dice.choice(acts)()

    def _write(self, write: Callable[[], Any]) -> Any:
        """Return the server's answer; None if nobody knows whether it was applied."""
        try:
            answer = write()
        except PyMongoError:
            self.books.unknown += 1
            return None
        self.books.writes += 1
        return answer

    def _even(self) -> int:
        return 2 * self._dice.randrange(self._scale.orders)

    def _insert(self) -> None:
        key, like = self._even() + 1, self._dice.randrange(1, 9)
        if key in self.books.inserted or key in self.books.maybe_inserted:
            return
        order = {"_id": key, "price": like + 0.5, "quantity": like, "total": 0.0, "version": 0, "touched": 0}
        sent_at = time.time()
        answer = self._write(lambda: self.orders.insert_one(dict(order)))
        if answer is None:
            self.books.maybe_inserted.add(key)
        self.books.inserted[key] = (order, sent_at, time.time())

    def _delete(self) -> None:
        # A tenth of the orders can be deleted, so that nearly all are there at the end.
        key = self._even() // 20 * 20
        answer = self._write(lambda: self.orders.delete_one({"_id": key}))
        if answer is None:
            self.books.maybe_deleted.add(key)
        elif answer.deleted_count:
            self.books.deleted.add(key)

    def _reprice(self) -> None:
        """A new quantity, and with it the total where there is one: as an application does that knows of the migration."""
        key, quantity = self._even(), self._dice.randrange(1, 99)
        order = next(iter(self._known(key)), None)
        if order is None:
            return
        total: Document = {"$cond": [{"$gt": ["$version", 0]}, total_of({**order, "quantity": quantity}), "$total"]}
        change = [{"$set": {"quantity": quantity, "total": total}}]
        answer = self._write(lambda: self.orders.update_one({"_id": key}, change))
        known = self.books.quantities.setdefault(key, {order["quantity"]})
        if answer is None:
            known.add(quantity)
        elif answer.matched_count:
            self.books.quantities[key] = {quantity}

    def _known(self, key: int) -> Iterator[Document]:
        with suppress(PyMongoError):
            found = self.orders.find_one({"_id": key}, {"price": 1, "quantity": 1})
            if found is not None:
                yield found

    def _rescue(self) -> None:
        """A document that was to be purged is kept: once this is acknowledged, no page may delete it."""
        name, key = self.purged, self._dice.randrange(self._scale.expiring)
        if name is None:
            return
        collection = self.database.get_collection(name, write_concern=MAJORITY)
        doomed = {"_id": key, "expires_at": {"$lt": EXPIRED}}
        answer = self._write(lambda: collection.update_one(doomed, {"$set": {"expires_at": SAFE}}))
        if answer is None:
            self.books.maybe_rescued.setdefault(name, set()).add(key)
        elif answer.matched_count:
            self.books.rescued.setdefault(name, set()).add(key)


# --- jobs -----------------------------------------------------------------------------------------------


class Jobs:
    """Lanes of jobs, each one after the other, asked for in a thread of their own; nobody helps them on."""

    def __init__(self, lab: Lab, lanes: dict[str, Callable[[int], JobSpec]]) -> None:
        self._lab = lab
        self._lanes = lanes
        self._is_over = threading.Event()
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)
        self.records: list[JobRecord] = []

    def start(self) -> None:
        """Each lane has its first job."""
        self._thread.start()

    def end(self, timeout_s: float) -> None:
        """No job is begun any more, and those that run have ended, or were given up."""
        self._is_over.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        try:
            asyncio.run(self._all())
        except BaseException as error:  # noqa: BLE001 - told by end()
            self.error = error

    async def _all(self) -> None:
        client = await self._lab.connect()
        await asyncio.gather(*(self._lane(client, name) for name in self._lanes))

    async def _lane(self, client: Client, name: str) -> None:
        number = 0
        while not self._is_over.is_set():
            spec = await asyncio.to_thread(self._lanes[name], number)
            record = JobRecord(spec, time.time())
            self.records.append(record)
            await _patiently(lambda spec=spec: client.start(spec))  # type: ignore[misc]
            record.outcome = await _patiently(lambda spec=spec: client.wait(spec.job))  # type: ignore[misc]
            record.ended_at = time.time()
            number += 1


async def _patiently(ask: Callable[[], Any]) -> Any:
    """Return the answer, however often Temporal has to be asked: this is the caller's patience, not a help."""
    while True:
        try:
            return await ask()
        except OperatorError:
            raise
        except (LullError, RPCError):
            await asyncio.sleep(AGAIN_SECONDS)


# --- the arena ------------------------------------------------------------------------------------------


class Arena:
    """A lab with jobs, foreground, application and witness; `end` tells what came of it."""

    def __init__(self, lab: Lab, name: str, *, seed: int, scale: Scale | None = None) -> None:
        self.lab = lab
        self.name = name
        self.scale = scale or Scale()
        self.dice = random.Random(seed)
        self.namespace = f"{name}.orders"
        self.witness = Witness(lab.uri)
        self.application = Application(lab.uri, self.namespace, self.scale, seed)
        self.jobs = Jobs(lab, {"update": self._update, "transform": self._transform, "purge": self._purge})
        self._foreground: bench.Foreground | None = None
        self._seed = seed
        self._report: Document = {}
        """The foreground's, once it has ended."""
        self._seeded: dict[int, tuple[bytes, int]] = {}
        """Digest and quantity of every order at the beginning."""

    # --- life -------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        try:
            self._begin()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _begin(self) -> None:
        collection = self.lab.collection(self.namespace)
        for batch in bench.batches(orders(self.scale.orders), 2_000):
            collection.insert_many(batch, ordered=False)
            for one in batch:
                self._seeded[one["_id"]] = (bench.digest(one, ignoring=VOLATILE), one["quantity"])
        self.lab.settle()
        missing = self.scale.workers - len(self.lab.live_workers)
        if missing > 0:
            self.lab.start_workers(missing)
        self.witness.start()
        self._foreground = self.lab.start_foreground(
            self.namespace, rate=self.scale.foreground_rate, updates=0.5, seconds=7_200.0, seed=self._seed
        )
        self.application.start()
        self.jobs.start()
        if self.witness.wait_step(0.0, END_SECONDS_MAX) is None:
            raise RuntimeError(
                f"no page was committed: the jobs did not begin ({self.jobs.error!r}; {self.witness.trouble})"
            )

    def _stop(self) -> None:
        self.application.stop()
        self.witness.stop()
        if self._foreground is not None:
            self._foreground.kill()

    # --- jobs -------------------------------------------------------------------------------------

    def _limits(self, docs_per_second: float) -> Document:
        return {
            "page_docs_max": self.scale.page_docs,
            "parallel": self.scale.parallel,
            "max_docs_per_second": docs_per_second,
        }

    def _update(self, number: int) -> JobSpec:
        return bench.spec(
            job=f"{self.name}-update-{number}",
            kind="update",
            namespace=self.namespace,
            update={"$inc": {"touched": 1}},
            limits=self._limits(self.scale.docs_per_second),
        )

    def _transform(self, number: int) -> JobSpec:
        return bench.spec(
            job=f"{self.name}-transform-{number}",
            kind="transform",
            namespace=self.namespace,
            transform="chaos.total",
            writes=["total", "version"],
            limits=self._limits(self.scale.docs_per_second),
        )

    def _purge(self, number: int) -> JobSpec:
        """Every other collection has an index on the filter's field, so that its purge drains it."""
        name = f"expiring_{number}"
        while not self._filled(name, with_index=number % 2 == 0):
            time.sleep(AGAIN_SECONDS)
        self.application.purged = name
        return bench.spec(
            job=f"{self.name}-purge-{number}",
            kind="purge",
            namespace=f"{self.name}.{name}",
            filter={"expires_at": {"$lt": {"$date": EXPIRED.isoformat()}}},
            limits=self._limits(self.scale.docs_per_second / 2),
        )

    def _filled(self, name: str, *, with_index: bool) -> bool:
        collection = self.lab.collection(f"{self.name}.{name}")
        try:
            collection.drop()
            for batch in bench.batches(bench.orders(self.scale.expiring), 4_000):
                collection.insert_many(batch, ordered=False)
            if with_index:
                collection.create_index("expires_at")
        except PyMongoError:
            return False
        return True

    # --- the end ----------------------------------------------------------------------------------

    def end(self) -> Findings:
        """Return what the audit finds, once the jobs have come to their end by themselves."""
        assert self._foreground is not None, "the arena is open"
        self.jobs.end(END_SECONDS_MAX)
        self.application.stop()
        self._report = self._foreground.stop()
        return self.judge()

    def judge(self) -> Findings:
        """Return what is there, compared with what must be; nobody writes any more."""
        self.witness.catch_up()
        findings, books = Findings(), self.application.books
        findings.application_writes, findings.unknown_writes = books.writes, books.unknown
        findings.pages = self.witness.pages
        findings.violations = self.witness.violations[:20]
        findings.silence_s = max(self.witness.silences().values(), default=0.0)
        self._judge_foreground(findings)
        self._judge_jobs(findings)
        self._judge_orders(findings)
        for record in self.jobs.records:
            if record.spec.kind == "purge":
                self._judge_purge(findings, record)
        return findings

    def _judge_foreground(self, findings: Findings) -> None:
        audit = foreground.audit(self._report["ledger"], self.lab.collection(self.namespace))
        findings.foreground_updates = audit.updates
        findings.foreground_lost, findings.foreground_extra = audit.lost, audit.extra

    def _judge_jobs(self, findings: Findings) -> None:
        for record in self.jobs.records:
            findings.jobs += 1
            ended = record.outcome
            if ended is None:
                findings.jobs_not_completed.append(f"{record.spec.job} did not end in {END_SECONDS_MAX:g} s")
            elif ended.status is not Status.COMPLETED or not ended.counts.balanced:
                findings.jobs_not_completed.append(f"{record.spec.job} is {ended.status}: {ended.message}")

    def _judge_orders(self, findings: Findings) -> None:
        books = self.application.books
        awaited = (self._seeded.keys() | books.inserted.keys()) - books.deleted - books.maybe_deleted
        awaited -= books.maybe_inserted
        for order in self.lab.collection(self.namespace).find({}, batch_size=5_000):
            awaited.discard(order["_id"])
            findings.documents += 1
            self._judge_order(findings, order)
        for key in awaited:
            findings.blame("lost", f"order {key} is gone")

    def _judge_order(self, findings: Findings, order: Document) -> None:
        key, books = order["_id"], self.application.books
        if key in books.deleted:
            findings.blame("twice", f"order {key} was deleted and is there")
            return
        if not self._is_as_seeded(order):
            findings.blame("changed", f"order {key} has fields that nobody wrote")
        for counter, kind in (("version", "transform"), ("touched", "update")):
            low, high = self._applied(key, kind)
            if order[counter] < low:
                findings.blame("lost", f"order {key}: {counter} is {order[counter]}, and {low} jobs have passed")
            if order[counter] > high:
                findings.blame("twice", f"order {key}: {counter} is {order[counter]}, and only {high} jobs have passed")
        if order["total"] != (total_of(order) if order["version"] else 0.0):
            findings.blame("changed", f"order {key}: its total does not belong to its quantity")
        if order.get("probe", 0) != books.probes[key]:
            findings.blame("changed", f"order {key}: {order.get('probe', 0)} probes, {books.probes[key]} written")

    def _is_as_seeded(self, order: Document) -> bool:
        key, books = order["_id"], self.application.books
        if key in self._seeded:
            wanted, quantity = self._seeded[key]
        elif key in books.inserted:
            before = books.inserted[key][0]
            wanted, quantity = bench.digest(before, ignoring=VOLATILE), before["quantity"]
        else:
            return False
        is_same = bench.digest(order, ignoring=VOLATILE) == wanted
        return is_same and order["quantity"] in books.quantities.get(key, {quantity})

    def _applied(self, key: int, kind: str) -> tuple[int, int]:
        """Return how often jobs of *kind* were applied to the order: at least, at most."""
        done = [record for record in self.jobs.records if record.spec.kind == kind and record.outcome]
        if key not in self.application.books.inserted:
            return len(done), len(done)
        _, sent_at, acknowledged_at = self.application.books.inserted[key]
        surely = sum(record.started_at > acknowledged_at for record in done)
        # A job that ran when it came may have passed its place already.
        return surely, sum(record.ended_at >= sent_at for record in done)

    def _judge_purge(self, findings: Findings, record: JobRecord) -> None:
        name, books = record.spec.source.collection, self.application.books
        rescued, maybe = books.rescued.get(name, set()), books.maybe_rescued.get(name, set())
        there = {one["_id"]: one for one in self.lab.collection(f"{self.name}.{name}").find()}
        for order in bench.orders(self.scale.expiring):
            key, found = order["_id"], there.pop(order["_id"], None)
            findings.documents += 1
            is_doomed = order["expires_at"] < EXPIRED
            if found is None:
                if key in rescued or not is_doomed:
                    findings.blame("twice", f"{name} {key} was purged, and it did not match")
            elif is_doomed and key not in rescued | maybe:
                findings.blame("lost", f"{name} {key} matched and was passed by")
            elif bench.digest(found, ignoring=["expires_at"]) != bench.digest(order, ignoring=["expires_at"]):
                findings.blame("changed", f"{name} {key} was changed")
        for key in there:
            findings.blame("changed", f"{name} {key} came from nowhere")

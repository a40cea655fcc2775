"""
What every benchmark, the demo and the chaos suite need: a laboratory of their own, and a table at the end.

    with Lab() as lab:
        lab.start_worker()
        lab.seed("bench.orders", 500_000)
        client = await lab.connect()

A `Lab` is a real MongoDB and a real Temporal server on quiet ports over a folder of its own, with
workers that are ordinary ``lull worker`` processes, started, killed, frozen and ended by number.
Nothing of it survives its end, also not after a kill -9 of the process that made it.
"""

import hashlib
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import bson
from pymongo import IndexModel, MongoClient
from pymongo.collection import Collection as MongoCollection
from pymongo.database import Database
from pymongo.write_concern import WriteConcern
from rich.console import Console
from rich.table import Table
from temporalio.client import Client as TemporalClient
from temporalio.contrib.pydantic import pydantic_data_converter

from benchmarks.foreground import Load
from lull.domain import queues
from lull.domain.governor.budget import Mode
from lull.domain.job import JobSpec
from lull.domain.kinds import parse_spec
from lull.domain.lifecycle import Status
from lull.domain.signals import SEARCH_ATTRIBUTES
from lull.domain.slice import Outcome
from lull.embedded import process
from lull.embedded.mongod import MongodOptions
from lull.embedded.report import Say, silent
from lull.embedded.stack import Stack
from lull.starter.client import Client
from lull.starter.settings import Connection
from lull.workers.records import Phase, Records

ROOT = Path(__file__).parents[1]
"""Of the repository: where modules with transforms are found."""
OUT = ROOT / "benchmarks" / "out"
TRANSFORMS = "benchmarks.transforms"
READY_SECONDS_MAX = 60.0
DRAIN_SECONDS_MAX = 60.0
LOOK_SECONDS = 0.01
SEED_BATCH = 5_000
FIRST_DAY = datetime(2025, 1, 1, tzinfo=UTC)
DAYS = 400
"""Over which orders expire, evenly."""
MAJORITY = WriteConcern("majority", j=True)
"""Of lull's pages, and so of every script that is measured against them."""
UNSAFE = WriteConcern(1, j=False)
"""For seeding only."""

Document = dict[str, Any]
# In a log nothing is cut off: the verdict stands in the last column.
console = Console(width=None if sys.stdout.isatty() else 120)


class Lab:
    """
    A stack, its workers and its clients, over one folder.

    *members* is 1 or 3. The folder is a temporary one, removed at the end, unless *folder* is given.
    *parameters* are mongod's (``--setParameter``). Without a *governor* nobody paces the jobs.
    """

    def __init__(
        self,
        *,
        members: int = 1,
        folder: Path | None = None,
        cache_gib: float = 2.0,
        load: Sequence[str] = (TRANSFORMS,),
        grace_s: float = 30.0,
        parameters: Mapping[str, str | int | float | bool] | None = None,
        governor: Mode = Mode.OFF,
        say: Say = silent,
    ) -> None:
        self._is_ours = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="lull-bench-", dir=os.environ.get("LULL_BENCH_DIR")))
        self.config = self.folder / "lull.toml"
        self.run_folder = self.folder / "run"
        self.records = Records(self.run_folder / "lull")
        self.workers: dict[int, Worker] = {}
        self._load = list(load)
        self._grace_s = grace_s
        self.governor = governor
        self.has_governors = True
        """Whether workers bring a governor's process; without one somebody else must publish budgets."""
        self._mongo: MongoClient[Document] | None = None
        self._foregrounds: list[Foreground] = []
        self.stack = Stack(
            self.folder / "stack",
            members=members,
            search_attributes={attribute.name: "Keyword" for attribute in SEARCH_ATTRIBUTES},
            options=MongodOptions(cache_gib=cache_gib, parameters=parameters or {}),
            say=say,
        )

    # --- life ---------------------------------------------------------------------------------------

    def start(self) -> None:
        """MongoDB and Temporal answer, and ``config`` says where; no worker runs yet."""
        self.stack.start()
        self.run_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._write_config()

    def _write_config(self) -> None:
        temporal = self.stack.temporal
        self.config.write_text(
            f'[temporal]\naddress = "{temporal.address}"\nui_url = "{temporal.ui_url}"\n\n'
            f'[clusters.main]\nuri = "{self.uri}"\ngovernor = "{self.governor}"\n\n'
            f"[worker]\nload = {json.dumps(self._load)}\ngrace_s = {self._grace_s}\n"
        )
        tomllib.loads(self.config.read_text())

    def stop(self) -> None:
        """Nothing of it runs any more; a temporary folder is gone. Idempotent."""
        for foreground in self._foregrounds:
            foreground.kill()
        for worker in self.workers.values():
            worker.kill()
        if self._mongo is not None:
            self._mongo.close()
            self._mongo = None
        self.stack.stop()
        if self._is_ours:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # --- doors ----------------------------------------------------------------------------------------

    @property
    def uri(self) -> str:
        """Of the replica set."""
        return self.stack.mongo.uri

    @property
    def mongo(self) -> MongoClient[Document]:
        """A client of the replica set, one for the lab."""
        if self._mongo is None:
            self._mongo = MongoClient(self.uri)
        return self._mongo

    @property
    def ledger(self) -> Database[Document]:
        """The database ``lull``."""
        return self.mongo["lull"]

    def collection(self, namespace: str, *, unsafe: bool = False) -> MongoCollection[Document]:
        """Return a collection that is written with majority and journal, or quickly with *unsafe*."""
        database, _, name = namespace.partition(".")
        return self.mongo[database].get_collection(name, write_concern=UNSAFE if unsafe else MAJORITY)

    @property
    def environment(self) -> dict[str, str]:
        """What a ``lull`` command needs to find this lab, and no other stack or worker of this user."""
        own = {name: text for name, text in os.environ.items() if not name.startswith(("LULL_", "TEMPORAL_"))}
        return own | {"LULL_CONFIG": str(self.config), "XDG_RUNTIME_DIR": str(self.run_folder)}

    async def connect(self) -> Client:
        """Return lull's typed client."""
        temporal = self.stack.temporal
        return await Client.connect(Connection(temporal.address, temporal.namespace, temporal.ui_url))

    async def connect_temporal(self) -> TemporalClient:
        """Return Temporal's own client."""
        temporal = self.stack.temporal
        return await TemporalClient.connect(
            temporal.address, namespace=temporal.namespace, data_converter=pydantic_data_converter
        )

    def lull(self, *words: str, check: bool = True) -> Any:
        """Return what ``lull WORDS --json`` prints. With *check*, an exit code other than 0 is a RuntimeError."""
        answer = subprocess.run(
            [sys.executable, "-m", "lull", *words, "--json"],
            env=self.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if check and answer.returncode != 0:
            raise RuntimeError(f"lull {' '.join(words)} ended with code {answer.returncode}: {answer.stderr.strip()}")
        return json.loads(answer.stdout) if answer.stdout.strip() else None

    # --- workers ----------------------------------------------------------------------------------------

    def start_worker(self, index: int | None = None, *, slots: int | None = None, wait: bool = True) -> "Worker":
        """Worker *index* (the next number by default) runs and, with *wait*, polls. A dead one is replaced."""
        number = len(self.workers) if index is None else index
        worker = Worker(self, number, slots)
        worker.start()
        self.workers[number] = worker
        if wait:
            worker.wait_ready()
        return worker

    def start_workers(self, count: int, *, slots: int | None = None) -> None:
        """So many more workers run and poll."""
        started = [self.start_worker(slots=slots, wait=False) for _ in range(count)]
        for worker in started:
            worker.wait_ready()

    def govern(self, mode: Mode) -> None:
        """The workers run under a governor of this mode, and poll; running ones end first and are replaced."""
        self.governor = mode
        self._write_config()
        live = self.live_workers
        for worker in live:
            worker.terminate()
        for worker in live:
            worker.wait()
            self.start_worker(worker.index, slots=worker.slots, wait=False)
        for worker in self.live_workers:
            worker.wait_ready()

    def kill_worker(self, index: int) -> None:
        """Worker *index* was ended by SIGKILL."""
        self.workers[index].kill()

    def terminate_worker(self, index: int) -> None:
        """Worker *index* was sent SIGTERM; `Worker.wait` tells when it has ended."""
        self.workers[index].terminate()

    def freeze_worker(self, index: int) -> None:
        """Worker *index* keeps its connections and does nothing (SIGSTOP)."""
        self.workers[index].freeze()

    def thaw_worker(self, index: int) -> None:
        """Worker *index* goes on (SIGCONT)."""
        self.workers[index].thaw()

    @property
    def live_workers(self) -> list["Worker"]:
        """Those whose process is there."""
        return [worker for worker in self.workers.values() if worker.is_running]

    # --- documents ----------------------------------------------------------------------------------------

    def seed(self, namespace: str, count: int, *, indexes: Sequence[IndexModel] = ()) -> None:
        """The collection holds *count* orders, numbered from 0, always the same ones; what was there is gone."""
        collection = self.collection(namespace, unsafe=True)
        collection.drop()
        for batch in batches(orders(count), SEED_BATCH):
            collection.insert_many(batch, ordered=False)
        if indexes:
            collection.create_indexes(list(indexes))
        self.settle()

    def copy(self, source: str, target: str, *, indexes: Sequence[IndexModel] = ()) -> None:
        """The collection *target* holds what *source* does, copied by the server."""
        database, _, name = target.partition(".")
        self.collection(source).aggregate([{"$out": {"db": database, "coll": name}}])
        if indexes:
            self.collection(target).create_indexes(list(indexes))
        self.settle()

    def settle(self) -> None:
        """Everything written is on disk: the next measurement does not pay for the last one's checkpoint."""
        self.mongo.admin.command("fsync")

    def digests(self, namespace: str, *, ignoring: Collection[str] = ()) -> dict[bytes, bytes]:
        """Return a digest of every document without the fields *ignoring*, by its encoded ``_id``."""
        found = self.collection(namespace).find({}, batch_size=20_000)
        return {bson.encode({"": one["_id"]}): digest(one, ignoring=ignoring) for one in found}

    # --- the foreground -----------------------------------------------------------------------------------

    def start_foreground(self, namespace: str, **changes: Any) -> "Foreground":
        """A foreground of its own process runs on the collection; *changes* are fields of `Load`."""
        number = len(self._foregrounds)
        foreground = Foreground(self.folder, Load(uri=self.uri, namespace=namespace, **changes), number)
        self._foregrounds.append(foreground)
        foreground.start()
        return foreground

    # --- the ledger ---------------------------------------------------------------------------------------

    def partitions(self, job: str) -> list[Document]:
        """Return the partitions of the job's newest incarnation, by number."""
        newest = self.ledger.jobs.find_one({"_id": job}) or {}
        query = {"job": job, "incarnation": newest.get("incarnation")}
        return list(self.ledger.partitions.find(query).sort("number"))

    def total(self, job: str, name: str = "scanned") -> int:
        """Return one of the job's counts, summed over its partitions."""
        return sum(int(one["counts"][name]) for one in self.partitions(job))


class Worker:
    """One ``lull worker`` process of a lab."""

    def __init__(self, lab: Lab, index: int, slots: int | None = None) -> None:
        self.index = index
        self.log = lab.folder / f"worker-{index}.log"
        self.slots = slots
        self._lab = lab
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Its process runs; `wait_ready` tells when it polls."""
        command = [sys.executable, "-m", "lull", "worker", "--log-format", "json"]
        if self.slots is not None:
            command += ["--slots", str(self.slots)]
        if not self._lab.has_governors:
            command.append("--no-governor")
        with self.log.open("ab") as log:
            self._process = process.start(command, log=log, environment=self._lab.environment, folder=ROOT)

    def wait_ready(self, timeout_s: float = READY_SECONDS_MAX) -> None:
        """It polls; a RuntimeError with the end of its log if it does not."""
        if not wait_until(lambda: self.is_ready or not self.is_running, timeout_s) or not self.is_ready:
            raise RuntimeError(f"worker {self.index} is not ready: {tail(self.log)}")

    @property
    def is_ready(self) -> bool:
        """Whether it has said that it polls."""
        return any(one.pid == self.pid and one.phase is Phase.READY for one in self._lab.records.live())

    @property
    def is_running(self) -> bool:
        """Whether its process is there; frozen counts."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Of its process, also when that has ended."""
        assert self._process is not None, "start() comes first"
        return self._process.pid

    @property
    def rss_bytes(self) -> int:
        """Memory of the process that is resident now."""
        return resident_bytes(self.pid)

    def kill(self) -> None:
        """It was ended by SIGKILL. Idempotent."""
        if self._process is not None:
            process.end(self._process, grace_seconds=0)

    def terminate(self) -> None:
        """It was sent SIGTERM."""
        assert self._process is not None, "start() comes first"
        self._process.terminate()

    def wait(self, timeout_s: float = DRAIN_SECONDS_MAX) -> int:
        """Return its exit code, once it has ended."""
        assert self._process is not None, "start() comes first"
        return self._process.wait(timeout_s)

    def freeze(self) -> None:
        """It does nothing (SIGSTOP)."""
        assert self._process is not None, "start() comes first"
        self._process.send_signal(19)

    def thaw(self) -> None:
        """It goes on (SIGCONT)."""
        assert self._process is not None, "start() comes first"
        self._process.send_signal(18)


class Foreground:
    """A foreground in a process of its own, with its report and log in *folder*: see :mod:`benchmarks.foreground`."""

    def __init__(self, folder: Path, load: Load, number: int = 0) -> None:
        self.load = load
        self.out = folder / f"foreground-{number}.json"
        self.log = folder / f"foreground-{number}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Its process runs and has measured a first second."""
        words = [f"--{name.replace('_', '-')}={value}" for name, value in asdict(self.load).items()]
        with self.log.open("wb") as log:
            self._process = process.start(
                [sys.executable, "-m", "benchmarks.foreground", *words, f"--out={self.out}"], log=log, folder=ROOT
            )
        wait_until(lambda: bool(self.rows()) or not self.is_running, READY_SECONDS_MAX)
        if not self.rows():
            raise RuntimeError(f"the foreground did not start: {tail(self.log)}")

    @property
    def is_running(self) -> bool:
        """Whether its process is there."""
        return self._process is not None and self._process.poll() is None

    def rows(self) -> list[dict[str, Any]]:
        """Return what it has said so far: one row a second."""
        whole, _, _ = self.log.read_text(errors="replace").rpartition("\n")
        return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]

    def stop(self) -> dict[str, Any]:
        """Return its report; it has ended."""
        assert self._process is not None, "start() comes first"
        if self.is_running:
            self._process.terminate()
        self._process.wait(DRAIN_SECONDS_MAX)
        if not self.out.exists():
            raise RuntimeError(f"the foreground left no report: {tail(self.log)}")
        report: dict[str, Any] = json.loads(self.out.read_text())
        return report

    def kill(self) -> None:
        """It does not run any more. Idempotent."""
        if self._process is not None:
            process.end(self._process, grace_seconds=0)


# --- jobs -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class JobRun:
    """One job from its start command to its end."""

    wall_s: float
    """From the start command to the answer that it has completed."""
    slices_s: float
    """From the start of its first slice to the end of its last."""
    documents: int
    outcome: Outcome
    events: int
    """Of its Temporal history, over all its runs."""
    history_bytes: int
    runs: int

    @property
    def docs_per_second(self) -> float:
        """Documents over the whole time: planning and finishing count."""
        return self.documents / self.wall_s

    def row(self) -> dict[str, Any]:
        """Return the same as JSON values."""
        return {
            "wall_s": round(self.wall_s, 3),
            "slices_s": round(self.slices_s, 3),
            "documents": self.documents,
            "docs_per_second": round(self.docs_per_second),
            "events": self.events,
            "history_bytes": self.history_bytes,
            "workflow_runs": self.runs,
            "partitions": self.outcome.partitions,
            "pages": self.outcome.counts.pages,
        }


def spec(**fields: Any) -> JobSpec:
    """Return a spec; ``namespace`` and ``filter`` stand for its source."""
    database, _, name = str(fields.pop("namespace")).partition(".")
    source = {"database": database, "collection": name, "filter": fields.pop("filter", {})}
    return parse_spec({"source": source, **fields})


async def run_job(lab: Lab, client: Client, wanted: JobSpec) -> JobRun:
    """Return how the job went, which has completed; a RuntimeError if it ended otherwise."""
    began = time.monotonic()
    await client.start(wanted)
    outcome = await client.wait(wanted.job)
    wall_s = time.monotonic() - began
    if outcome.status is not Status.COMPLETED:
        raise RuntimeError(f"job {wanted.job} is {outcome.status}: {outcome.message}")
    return await account(lab, outcome, wall_s)


async def account(lab: Lab, outcome: Outcome, wall_s: float) -> JobRun:
    """Return what Temporal kept of a job that has ended."""
    temporal = await lab.connect_temporal()
    events = size = runs = 0
    moments: list[datetime] = []
    async for run in temporal.list_workflows(f"WorkflowId = '{queues.workflow_id(outcome.job)}'"):
        handle = temporal.get_workflow_handle(run.id, run_id=run.run_id)
        description = await handle.describe()
        runs += 1
        events += description.history_length
        size += description.raw_description.workflow_execution_info.history_size_bytes
        moments += await _slice_moments(handle)
    slices_s = (max(moments) - min(moments)).total_seconds() if moments else 0.0
    return JobRun(wall_s, slices_s, outcome.counts.seen, outcome, events, size, runs)


async def _slice_moments(handle: Any) -> list[datetime]:
    """Return when slices of this run started and ended."""
    slices: set[int] = set()
    moments = []
    async for event in handle.fetch_history_events():
        at = event.event_time.ToDatetime(tzinfo=UTC)
        if event.activity_task_scheduled_event_attributes.activity_type.name == "lull.slice":
            slices.add(event.event_id)
        scheduled = (
            event.activity_task_started_event_attributes.scheduled_event_id
            or event.activity_task_completed_event_attributes.scheduled_event_id
        )
        if scheduled in slices:
            moments.append(at)
    return moments


# --- documents ----------------------------------------------------------------------------------------------


def orders(count: int, seed: int = 7) -> Iterator[Document]:
    """Yield so many orders of about 390 bytes, the same ones each time."""
    dice = random.Random(seed)
    notes = [dice.randbytes(66).hex() for _ in range(997)]
    for number in range(count):
        yield {
            "_id": number,
            "order": f"O-{number:09}",
            "customer": dice.randrange(1_000_000),
            "status": ("paid", "shipped", "returned")[number % 3],
            "quantity": dice.randrange(1, 9),
            "price": dice.randrange(100, 100_000) / 100,
            "total": 0.0,
            "version": 0,
            "created_at": FIRST_DAY + timedelta(seconds=number),
            "expires_at": FIRST_DAY + timedelta(days=dice.randrange(DAYS), seconds=dice.randrange(86_400)),
            "address": {"street": f"{number % 250} Main Street", "city": "Springfield", "zip": f"{number % 99_999:05}"},
            "note": notes[number % 997],
        }


def expiry(percent: int) -> datetime:
    """Return the moment before which so many of a hundred orders expire."""
    return FIRST_DAY + timedelta(days=DAYS * percent / 100)


def digest(document: Mapping[str, Any], *, ignoring: Collection[str] = ()) -> bytes:
    """Return 16 bytes that two documents share only if they have the same fields with the same values."""
    ordered = {name: document[name] for name in sorted(document) if name not in ignoring}
    return hashlib.blake2b(bson.encode(ordered), digest_size=16).digest()


def batches(items: Iterable[Document], size: int) -> Iterator[list[Document]]:
    """Yield *items* in lists of *size*, the last one shorter."""
    batch: list[Document] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


# --- the machine ----------------------------------------------------------------------------------------------


def cpu_ticks() -> dict[str, int]:
    """Return processor time of the whole machine since its start by what it went to; empty where that is not told."""
    try:
        words = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    except OSError:
        return {}
    names = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
    return dict(zip(names, map(int, words), strict=True))


@dataclass(slots=True)
class Machine:
    """What the figures were taken on, and how much of it others used meanwhile."""

    started_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    _began: dict[str, int] = field(default_factory=cpu_ticks)
    _began_s: float = field(default_factory=time.monotonic)

    def describe(self) -> dict[str, Any]:
        """Return model, cores and memory, and the share of processor time idle and stolen since this was made."""
        now = cpu_ticks()
        spent = {name: now[name] - self._began[name] for name in now}
        total = sum(spent.values()) or 1
        return {
            "started_at": self.started_at,
            "seconds": round(time.monotonic() - self._began_s, 1),
            "processor": _first_value(Path("/proc/cpuinfo"), "model name") or platform.processor(),
            "cores": os.cpu_count(),
            "memory": _first_value(Path("/proc/meminfo"), "MemTotal"),
            "python": platform.python_version(),
            "load_average": os.getloadavg(),
            "idle_percent": round(100 * spent.get("idle", 0) / total, 1),
            "steal_percent": steal_percent(self._began, now),
        }


def steal_percent(before: Mapping[str, int], after: Mapping[str, int]) -> float:
    """Return the share of processor time between two readings that the host gave to others."""
    spent = {name: after[name] - before[name] for name in after}
    return round(100 * spent.get("steal", 0) / (sum(spent.values()) or 1), 2)


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    """Return the processes that a process has started itself and that still run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has just ended
        if parent == pid:
            found.append(int(path.parent.name))
    return found


def _first_value(path: Path, name: str) -> str:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def resident_bytes(pid: int) -> int:
    """Return the memory of a process that is resident now."""
    return int(_first_value(Path(f"/proc/{pid}/status"), "VmRSS").split()[0]) * 1024


# --- words ----------------------------------------------------------------------------------------------------


def wait_until(is_so: Callable[[], bool], timeout_s: float, every_s: float = LOOK_SECONDS) -> bool:
    """Whether *is_so* became true in time."""
    deadline = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(every_s)
    return True


def tail(log: Path, characters: int = 1_500) -> str:
    """Return the end of a log."""
    return log.read_text(errors="replace")[-characters:] if log.exists() else f"there is no {log}"


def show(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; its first column names the rows."""
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", min_width=28 if number == 0 else None)
    for cells in rows:
        table.add_row(*(shown(cell) for cell in cells))
    console.print(table)


def shown(value: object) -> str:
    """Return a cell's text: figures with three digits or their thousands apart, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"
    return str(value)


def verdict(value: float | None, limit: str) -> str:
    """Return ``met`` or ``missed`` for a limit written like ``>= 0.9``; empty without a value or a limit."""
    if value is None or not limit:
        return ""
    sign, number = limit.split()
    return "met" if (value >= float(number) if sign == ">=" else value <= float(number)) else "missed"


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Return the smallest value that *percent* of the values do not exceed; None without values."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * int(percent) // 100) - 1)]


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def write(name: str, document: Mapping[str, Any], machine: Machine) -> Path:
    """Return ``benchmarks/out/NAME.json``, which holds *document* and the machine it was taken on."""
    OUT.mkdir(parents=True, exist_ok=True)
    path = OUT / f"{name}.json"
    path.write_text(json.dumps({"machine": machine.describe(), **document}, indent=1, default=str) + "\n")
    console.print(f"written: {path.relative_to(ROOT)}")
    return path


def is_quick() -> bool:
    """Whether ``QUICK=1`` asks for the short form."""
    return os.environ.get("QUICK", "") not in {"", "0"}

"""
``make demo``: lull's main job on real data, with everything that can be done to it on the way.

A year of flights is loaded into an embedded MongoDB; a foreground reads and updates the same
documents all the time; a `transform` job is started with the ``lull`` command, paused, resumed,
throttled, and loses its worker to kill -9. At the end every document is compared with a
computation that shares no code with the job, and every foreground update is accounted for.

Ends with code 1 if anything is missing, wrong or lost. ``KEEP=1`` leaves the stack up.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Self

from pymongo import MongoClient
from pymongo.collection import Collection
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks import foreground
from benchmarks.bench import Foreground
from examples.nyc import expected, flights
from examples.nyc.load import NAMESPACE, load
from lull.embedded.errors import StackError
from lull.embedded.report import Line, Step, StepState

ROOT = Path(__file__).parents[1]
DATA = ROOT / ".lull" / "demo"
SPEC = "examples/nyc/speed.yaml"
JOB = "flights-speed"
MODULE = "examples.nyc.speed"
STOP = f".venv/bin/lull dev stop --data {DATA.relative_to(ROOT)}"

BASELINE_SECONDS = 8.0
"""Of foreground alone, before and after the job."""
SETTLE_SECONDS = 2.0
"""Left out of each comparison: a checkpoint, a worker that has just started."""
PAUSED_SECONDS = 3.0
THROTTLE = 4_000
THROTTLED_SECONDS = 5.0
TICK_SECONDS = 0.1
STILL_SECONDS_MAX = 120.0
"""A job that has committed nothing for so long has something wrong; a slow machine has not."""
FOREGROUND_SECONDS_MAX = 900.0

console = Console(highlight=False)
Document = dict[str, Any]


class DemoFailed(Exception):
    """The demo cannot go on; its message says why."""


@dataclass
class Stack:
    """The embedded stack, through the ``lull`` command only."""

    uri: str
    ui_url: str
    config: str

    @classmethod
    def start(cls) -> Self:
        """A new stack with a worker runs in an empty folder."""
        _lull("dev", "stop", "--data", str(DATA))
        shutil.rmtree(DATA, ignore_errors=True)
        say(f"$ lull dev --detach --data {DATA.relative_to(ROOT)} --load {MODULE}")
        _lull("dev", "--detach", "--data", str(DATA), "--load", MODULE, shown=True)
        found = cls.examine()
        return cls(found["mongo_uri"], found["ui_url"], found["config"])

    @staticmethod
    def examine() -> dict[str, Any]:
        """Return what ``lull dev status`` says."""
        found: dict[str, Any] = json.loads(_lull("dev", "status", "--data", str(DATA), "--json"))
        return found

    @classmethod
    def worker_pid(cls) -> int | None:
        """Return the worker's process id; None while there is none."""
        pid: int | None = next(part["pid"] for part in cls.examine()["parts"] if part["name"] == "Worker")
        return pid

    @staticmethod
    def stop() -> None:
        """Nothing of it runs any more."""
        _lull("dev", "stop", "--data", str(DATA))


def _lull(*words: str, shown: bool = False) -> str:
    """Return what a ``lull`` command prints; DemoFailed with its own words if it fails."""
    answer = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "lull", *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=None if shown else subprocess.PIPE,
        text=True,
        check=False,
    )
    if answer.returncode != 0:
        raise DemoFailed(f"lull {' '.join(words)} ended with code {answer.returncode}: {(answer.stderr or '').strip()}")
    return answer.stdout


def say(text: str, style: str = "") -> None:
    """Print one line above the bar."""
    console.print(text, style=style, markup=False, soft_wrap=True)


def event(text: str) -> None:
    """Print what has just happened."""
    say(f"  → {text}", "cyan")


@dataclass
class Show:
    """The job as an onlooker sees it: a live bar from the ledger and from the foreground's own words."""

    ledger: Any
    foreground: Foreground
    bar: Progress
    task: TaskID
    seen: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=20))
    told: int = 0

    def tick(self) -> None:
        """The bar shows what is true now."""
        now, done = time.monotonic(), self.scanned
        self.seen.append((now, done))
        then, before = self.seen[0]
        rate = (done - before) / (now - then) if now > then else 0.0
        rows = self.foreground.rows()
        self._tell_onlookers_without_terminal(done)
        self.bar.update(
            self.task,
            completed=done,
            status=self.status,
            rate=f"{rate:,.0f} docs/s",
            felt=f"foreground p99 {rows[-1]['p99_ms']:.1f} ms" if rows else "",
        )
        time.sleep(TICK_SECONDS)

    def _tell_onlookers_without_terminal(self, done: int) -> None:
        """Where no bar can be drawn, each further tenth is a line."""
        tenth = done * 10 // flights.COUNT
        if tenth > self.told and not console.is_terminal:
            self.told = tenth
            say(f"  {tenth * 10} %, {self.status}")

    @property
    def scanned(self) -> int:
        """Documents committed, as the ledger has them."""
        pipeline = [{"$match": {"job": JOB}}, {"$group": {"_id": None, "scanned": {"$sum": "$counts.scanned"}}}]
        return next((int(one["scanned"]) for one in self.ledger.partitions.aggregate(pipeline)), 0)

    @property
    def status(self) -> str:
        """Of the job, as the ledger has it."""
        found = self.ledger.jobs.find_one({"_id": JOB}, {"status": 1}) or {"status": "planning"}
        return str(found["status"])

    def wait(self, is_so: Callable[[], bool], what: str) -> None:
        """*is_so* is true; DemoFailed if the job stands still for too long before."""
        moved, before = time.monotonic(), self.scanned
        while not is_so():
            if self.scanned != before:
                moved, before = time.monotonic(), self.scanned
            if time.monotonic() - moved > STILL_SECONDS_MAX:
                raise DemoFailed(f"nothing has moved for {STILL_SECONDS_MAX:.0f} s; waiting for: {what}")
            self.tick()

    def linger(self, seconds: float) -> None:
        """So much time has passed."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.tick()

    def reach(self, percent: float) -> None:
        """So much of the job is done."""
        wanted = int(flights.COUNT * percent / 100)
        self.wait(lambda: self.scanned >= wanted or self.status == "completed", f"{percent:.0f} % of the documents")

    def command(self, environment: dict[str, str], *words: str) -> dict[str, Any]:
        """Return what a ``lull`` command answers; the bar moves on while it runs."""
        say(f"$ lull {' '.join(words)}", "bold")
        with subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "lull", *words, "--json"],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as running:
            while running.poll() is None:
                self.tick()
            answer, errors = running.communicate()
        if running.returncode != 0:
            raise DemoFailed(f"lull {' '.join(words)} ended with code {running.returncode}: {errors.strip()}")
        found: dict[str, Any] = json.loads(answer)
        return found


@dataclass
class Story:
    """What happened, for the table at the end."""

    lines: list[tuple[str, str]] = field(default_factory=list)
    began_at: float = 0.0
    """When the job was started; seconds since the epoch."""
    ended_at: float = 0.0
    failures: list[str] = field(default_factory=list)

    def tell(self, what: str, how: str) -> None:
        """One more line."""
        self.lines.append((what, how))

    def require(self, what: str, *, is_so: bool, seen: str) -> None:
        """One more line, and a failed demo if *is_so* is false."""
        self.tell(what, seen if is_so else f"{seen}  ← WRONG")
        if not is_so:
            self.failures.append(f"{what}: {seen}")


# --- the acts ---------------------------------------------------------------------------------------------------


def run_job(show: Show, stack: Stack, story: Story) -> dict[str, Any]:
    """Return how the job ended, after everything that was done to it."""
    environment = {**os.environ, "LULL_CONFIG": stack.config}
    story.began_at = time.time()
    started = show.command(environment, "start", SPEC, "--why", "the demo")
    event(f"started; in the Web UI: {started['link']}")
    show.reach(10)
    pause_and_resume(show, environment, story)
    show.reach(30)
    throttle_and_lift(show, environment, story)
    show.reach(60)
    kill_worker(show, story)
    show.wait(lambda: show.status not in {"running", "completing"}, "the job to end")
    story.ended_at = time.time()
    return show.command(environment, "result", JOB)


def pause_and_resume(show: Show, environment: dict[str, str], story: Story) -> None:
    """The job was paused with proof, stood still, and runs again."""
    answer = show.command(environment, "pause", JOB, "--reason", "a look at the cluster", "--wait")
    proof = answer["proof"]
    event(f"{answer['message']}: {proof['raised']} fences raised, {proof['done']} partitions were done")
    before = show.scanned
    show.linger(PAUSED_SECONDS)
    written = show.scanned - before
    story.require("written while paused", is_so=written == 0, seen=f"{written:,} documents in {PAUSED_SECONDS:g} s")
    event(show.command(environment, "resume", JOB, "--wait")["message"])


def throttle_and_lift(show: Show, environment: dict[str, str], story: Story) -> None:
    """The job was held to a rate for some seconds."""
    show.command(environment, "throttle", JOB, "--max-docs-per-second", str(THROTTLE), "--why", "rush hour", "--wait")
    event(f"at most {THROTTLE:,} documents per second now")
    began, before = time.monotonic(), show.scanned
    show.linger(THROTTLED_SECONDS)
    rate = (show.scanned - before) / (time.monotonic() - began)
    # A slice may begin with a page's credit, and one page was in hand.
    story.require(f"throttled to {THROTTLE:,} docs/s", is_so=rate <= THROTTLE * 1.25, seen=f"{rate:,.0f} docs/s")
    show.command(environment, "throttle", JOB, "--max-docs-per-second", "off", "--wait")
    event("the limit is lifted")


def kill_worker(show: Show, story: Story) -> None:
    """The only worker was killed, another one took over from the committed position."""
    pid = Stack.worker_pid()
    if pid is None or show.status != "running":
        story.require("worker killed", is_so=False, seen="the job had ended before it could be")
        return
    say(f"$ kill -9 {pid}        # the worker", "bold")
    os.kill(pid, signal.SIGKILL)
    killed, before = time.monotonic(), show.scanned
    show.wait(lambda: show.scanned > before, "another worker to go on")
    seconds = time.monotonic() - killed
    event(f"another worker went on after {seconds:.1f} s, from the committed position")
    story.tell("worker killed with -9", f"back at work after {seconds:.1f} s")


def check_documents(collection: Collection[Document], wanted: dict[str, bytes], story: Story) -> None:
    """Every document was compared with what it must be."""
    wrong = extra = 0
    for document in collection.find({}, batch_size=20_000):
        document.pop(foreground.FIELD, None)
        digest = wanted.pop(document["_id"], None)
        extra += digest is None
        wrong += digest is not None and digest != expected.digest(document)
    seen = f"{flights.COUNT - len(wanted):,} checked, {wrong:,} wrong, {len(wanted):,} missing, {extra:,} too many"
    story.require("documents", is_so=not (wrong or extra or wanted), seen=seen)


def check_foreground(collection: Collection[Document], report: dict[str, Any], story: Story) -> None:
    """Every update of the foreground was accounted for."""
    audit = foreground.audit(report["ledger"], collection)
    seen = f"{audit.updates:,} made, {audit.lost:,} lost, {audit.extra:,} applied twice"
    story.require("foreground updates", is_so=audit.is_right, seen=seen)
    story.require("foreground errors", is_so=report["errors"] == 0, seen=f"{report['errors']:,}")


def check_counts(outcome: dict[str, Any], story: Story) -> None:
    """The job's own counts add up to the collection."""
    counts = outcome["counts"]
    right = counts["seen"] == flights.COUNT and counts["quarantined"] == 0 and outcome["status"] == "completed"
    seen = f"{outcome['status']}: {counts['changed']:,} changed, {counts['skipped']:,} skipped, "
    seen += f"{counts['quarantined']:,} quarantined, in {counts['pages']:,} pages"
    story.require("job", is_so=right, seen=seen)


# --- the table ----------------------------------------------------------------------------------------------------


def show_table(story: Story, report: dict[str, Any]) -> None:
    """Print what happened and what the foreground felt."""
    happened = Table(title="What happened", show_header=False, title_justify="left")
    for what, how in story.lines:
        happened.add_row(what, how)
    console.print(happened)
    felt = Table(title="What the foreground felt", title_justify="left")
    for column in ("", "operations", "p50 ms", "p99 ms"):
        felt.add_column(column, justify="left" if not column else "right")
    for name, begin_at, end_at in (
        ("before the job", report["started_at"] + SETTLE_SECONDS, story.began_at),
        ("during the job", story.began_at, story.ended_at),
        ("after the job", story.ended_at + SETTLE_SECONDS, time.time()),
    ):
        part = foreground.between(report, begin_at, end_at)
        p50, p99 = part.percentile_ms(50), part.percentile_ms(99)
        felt.add_row(name, f"{part.total:,}", f"{p50 or 0:.1f}", f"{p99 or 0:.1f}")
    console.print(felt)


# --- the frame ----------------------------------------------------------------------------------------------------


@contextmanager
def loaded(collection: Collection[Document]) -> Iterator[dict[str, bytes]]:
    """The flights are loaded, and meanwhile somebody else has worked out what must become of them."""
    flights.encoded(Line("Flights", _relay))
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        wanted: Future[dict[str, bytes]] = pool.submit(expected.digests)
        load(collection)
        event(f"{flights.COUNT:,} flights of 2013 are in {NAMESPACE}")
        found = wanted.result()
    yield found


def _relay(step: Step) -> None:
    if step.state is not StepState.RUNNING:
        say(step.text)


@contextmanager
def watching(ledger: Any, load_process: Foreground) -> Iterator[Show]:
    """A bar is shown inside."""
    columns = (
        TextColumn("{task.fields[status]:<10}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}"),
        TextColumn("{task.fields[felt]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(JOB, total=flights.COUNT, status="", rate="", felt="")
        yield Show(ledger, load_process, bar, task)


def play(stack: Stack, story: Story) -> None:
    """Everything was shown and checked."""
    database, _, name = NAMESPACE.partition(".")
    with MongoClient[Document](stack.uri) as client:
        collection = client[database][name]
        with loaded(collection) as wanted:
            load_process = Foreground(DATA, foreground.Load(stack.uri, NAMESPACE, seconds=FOREGROUND_SECONDS_MAX))
        try:
            load_process.start()
            event("a foreground of 300 operations a second runs beside it, in a process of its own")
            with watching(client["lull"], load_process) as show:
                show.linger(BASELINE_SECONDS)
                outcome = run_job(show, stack, story)
                show.linger(BASELINE_SECONDS)
            report = load_process.stop()
        finally:
            load_process.kill()
        check_counts(outcome, story)
        say("checking every document against the independent computation")
        check_documents(collection, wanted, story)
        check_foreground(collection, report, story)
        show_table(story, report)


def run(*, keep: bool) -> int:
    """Return 0 if everything was right, 1 if not. The stack stays up with *keep*."""
    story = Story()
    try:
        stack = Stack.start()
        play(stack, story)
        failures = story.failures
    except (DemoFailed, StackError, RuntimeError) as error:
        failures = [str(error)]
    except KeyboardInterrupt:
        failures = ["interrupted"]
    finally:
        ending(keep=keep)
    for failure in failures:
        say(f"✗ {failure}", "red")
    say("✗ The demo failed" if failures else "✓ Everything is right", "red" if failures else "green")
    return 1 if failures else 0


def ending(*, keep: bool) -> None:
    """The stack was stopped, or it was said where it runs and how to stop it."""
    if not keep:
        Stack.stop()
        return
    try:
        found = Stack.examine()
    except DemoFailed as error:
        say(str(error))
        return
    say(f"\nThe Web UI stays at {found['ui_url']}/namespaces/default/workflows/lull%2F{JOB}")
    say(f"MongoDB stays at {found['mongo_uri']}\nStop both with: {STOP}")


if __name__ == "__main__":
    sys.exit(run(keep=os.environ.get("KEEP", "") not in {"", "0"}))

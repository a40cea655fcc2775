"""
The process that hosts a stack and its worker until it is told to stop.

What dies by itself is started again, with growing pauses, and the log says so. At SIGTERM or
Ctrl-C the worker drains first, then Temporal ends, then MongoDB; a second Ctrl-C kills.
"""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from lull.embedded import process
from lull.embedded.errors import StackError, of_disk
from lull.embedded.report import Line, Say
from lull.embedded.service import STOP_SECONDS_MAX as SERVER_SECONDS_MAX
from lull.embedded.service import Service
from lull.embedded.stack import Stack
from lull.embedded.state import Status, WorkerState

DRAIN_SECONDS_MAX = 30.0
"""How long the worker may take to bring its pages to an end."""

PAUSE_SECONDS_FIRST = 0.5
PAUSE_SECONDS_MAX = 30.0
"""A process that dies at once is not started again more often than this."""

SOUND_SECONDS = 60.0
"""A process that lived so long is well: the next pause is the first again."""

STOP_SECONDS_MAX = DRAIN_SECONDS_MAX + 2 * SERVER_SECONDS_MAX + 5.0
"""The longest orderly stop: the worker's drain, then Temporal's and MongoDB's own limits."""

WATCH_SECONDS = 0.2
"""How often the supervisor looks; a death is noticed within it."""

WriteConfig = Callable[[Path, str, str, str], None]
"""Writes the settings file: path, MongoDB URI, Temporal address, Web UI URL."""


class Backoff:
    """Pauses before the next start: 0.5 s, doubling to 30 s, and from the first again after a sound life."""

    def __init__(self) -> None:
        self._next = PAUSE_SECONDS_FIRST

    def pause_seconds(self, lived_seconds: float) -> float:
        """How long to wait after a life of *lived_seconds*."""
        if lived_seconds >= SOUND_SECONDS:
            self._next = PAUSE_SECONDS_FIRST
        pause, self._next = self._next, min(self._next * 2, PAUSE_SECONDS_MAX)
        return pause


@dataclass
class Kept:
    """Something that is started again when it dies."""

    name: str
    is_running: Callable[[], bool]
    start: Callable[[], None]
    restarts: int = 0
    backoff: Backoff = field(default_factory=Backoff)
    _since: float = field(default_factory=time.monotonic)
    _due: float | None = None

    def look(self, line: Line) -> bool:
        """Start it if it is dead and its pause is over; True if it was started."""
        if self.is_running():
            return False
        now = time.monotonic()
        if self._due is None:
            pause = self.backoff.pause_seconds(now - self._since)
            self._due = now + pause
            line.note(f"{self.name} has ended: it is started again in {pause:g} s")
        return now >= self._due and self._start_again(now)

    def _start_again(self, now: float) -> bool:
        self._due, self._since = None, now
        self.restarts += 1
        self.start()
        return True


class Worker:
    """The worker process: its command, its log, and the settings file that it reads."""

    def __init__(self, command: Sequence[str], *, config: Path, log: Path) -> None:
        self.log = log
        self._command = list(command)
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Its process runs."""
        try:
            with self.log.open("ab") as log:
                environment = {**os.environ, "LULL_CONFIG": str(self._config)}
                self._process = process.start(self._command, log=log, environment=environment)
        except OSError as error:
            raise StackError(f"the worker's command {self._command[0]} cannot be run: {error.strerror}") from error

    def stop(self, grace_seconds: float = DRAIN_SECONDS_MAX) -> bool:
        """It has ended; True if it did so by itself."""
        return self._process is None or process.end(self._process, grace_seconds=grace_seconds)

    def is_running(self) -> bool:
        """Whether its process is there."""
        return self._process is not None and self._process.poll() is None

    def state(self, restarts: int) -> WorkerState:
        """What the state file says of it."""
        running = self._process is not None and self.is_running()
        identity = process.identify(self._process.pid) if self._process and running else None
        return WorkerState(str(self.log), identity, restarts)


class Supervisor:
    """Hosts *stack* and, unless *worker_command* is None, a worker."""

    def __init__(
        self, stack: Stack, *, worker_command: Sequence[str] | None, write_config: WriteConfig, say: Say
    ) -> None:
        self.stack = stack
        self._line = Line("lull dev", say)
        self._worker_line = Line("Worker", say)
        self._write_config = write_config
        files = stack.files
        self._worker = (
            Worker(worker_command, config=files.config, log=files.logs / "worker.log") if worker_command else None
        )
        self._kept: list[Kept] = []
        self._told_to_stop = threading.Event()
        self._is_up = False

    def run(self, on_ready: Callable[[], None]) -> None:
        """
        Everything runs from *on_ready* on until a signal says stop; then nothing does.

        Returns after an orderly stop. Raises StackError where it could not start, and
        KeyboardInterrupt where it was interrupted while starting.
        """
        with _signals(self._interrupted):
            self.stack.start()
            try:
                self._configure()
                self._start_worker()
                self._is_up = True
                on_ready()
                self._watch()
            finally:
                self._stop()

    def _interrupted(self) -> None:
        if self._told_to_stop.is_set():
            self._line.note("told to stop twice: everything is killed")
            process.kill_all()
        self._told_to_stop.set()
        if not self._is_up:
            # Nothing to drain yet: leave the start from wherever it is.
            raise KeyboardInterrupt

    def _configure(self) -> None:
        stack = self.stack
        try:
            self._write_config(stack.files.config, stack.mongo.uri, stack.temporal.address, stack.temporal.ui_url)
        except OSError as error:
            raise of_disk(error, stack.files.config, "choose another data folder with --data") from error

    def _start_worker(self) -> None:
        services = {service.name: service for service in self.stack.services}
        self._kept = [Kept(name, _running(service), service.launch) for name, service in services.items()]
        if self._worker:
            self._worker.start()
            self._kept.append(Kept("the worker", self._worker.is_running, self._worker.start))
            self._worker_line.done(f"Worker started, log {self._worker.log}")
        self._write_down()

    def _watch(self) -> None:
        while not self._told_to_stop.wait(WATCH_SECONDS):
            for kept in self._kept:
                self._look_after(kept)

    def _look_after(self, kept: Kept) -> None:
        try:
            if kept.look(self._line):
                self._line.note(f"{kept.name} is started again; restarts: {kept.restarts}")
                self._write_down()
        except StackError as error:
            # The next look tries again, after a longer pause.
            self._line.note(str(error))

    def _write_down(self) -> None:
        restarts = self._kept[-1].restarts if self._worker else 0
        self.stack.refresh()
        self.stack.write(worker=self._worker and self._worker.state(restarts), config=str(self.stack.files.config))

    def _stop(self) -> None:
        self.stack.write(status=Status.STOPPING)
        if self._worker:
            self._worker_line.going(f"draining the worker, up to {DRAIN_SECONDS_MAX:g} s")
            drained = self._worker.stop()
            self._worker_line.done("Worker stopped" if drained else "Worker killed: it did not drain in time")
        self._line.going("stopping Temporal and MongoDB")
        self.stack.stop()
        self._line.done("Stopped; the data is kept")


def _running(service: Service) -> Callable[[], bool]:
    return lambda: service.is_running


@contextlib.contextmanager
def _signals(interrupted: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C, SIGTERM and a closed terminal call *interrupted* while this lasts."""

    def handle(_number: int, _frame: FrameType | None) -> None:
        interrupted()

    wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, handle) for number in wanted}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

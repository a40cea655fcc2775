"""One server process: started, stopped, killed, frozen and started again on the same ports and data."""

import os
import signal
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Self

from lull.embedded import process
from lull.embedded.errors import ExitCode, StackError, of_disk
from lull.embedded.ports import LOOPBACK, held_by, is_free
from lull.embedded.report import elapsed

READY_SECONDS_MAX = 60.0
"""A server that needs longer has a disk or a recovery that an operator must see."""

STOP_SECONDS_MAX = 20.0
"""How long a graceful stop may take before the process is killed."""


class Service(ABC):
    """
    A server on this machine.

    Ends with the process that started it (on Linux also when that is killed) unless
    ``dies_with_parent`` is False. Use it as a context manager, or call `start` and `stop`.
    """

    name: str

    def __init__(self, data: Path, *, log: Path, dies_with_parent: bool = True) -> None:
        self.data = data
        self.log = log
        self._dies_with_parent = dies_with_parent
        self._process: subprocess.Popen[bytes] | None = None
        self._log_offset = 0

    @abstractmethod
    def _command(self) -> list[str]:
        """What to run."""

    @abstractmethod
    def _environment(self) -> dict[str, str]:
        """In which environment."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether it serves now; asked again every few milliseconds."""

    @abstractmethod
    def _ports(self) -> list[int]:
        """Where it listens."""

    def _explain(self, words: str) -> str | None:
        """What an operator should know and do about the end that *words* of the log tell."""
        del words
        return None

    def start(self) -> None:
        """It runs and answers, or it does not run and a StackError says why. Idempotent."""
        try:
            self.launch()
            self.wait_ready()
        except BaseException:
            self.kill()
            raise

    def launch(self) -> None:
        """Its process runs; `wait_ready` tells when it answers. Does nothing if it runs already."""
        if self.is_running:
            return
        self._require_ports()
        try:
            self.data.mkdir(parents=True, exist_ok=True)
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("ab") as log:
                self._log_offset = os.fstat(log.fileno()).st_size
                self._process = process.start(
                    self._command(),
                    log=log,
                    environment=self._environment(),
                    dies_with_parent=self._dies_with_parent,
                )
        except OSError as error:
            raise of_disk(error, self.data, "choose another data folder") from error

    def _require_ports(self) -> None:
        for port in self._ports():
            if not is_free(port):
                raise StackError(
                    f"port {port} of {LOOPBACK} is taken{held_by(port)}, and {self.name} needs it; "
                    "end that, or choose another port"
                )

    def wait_ready(self, timeout_seconds: float = READY_SECONDS_MAX) -> None:
        """It answers. Raises StackError with the log's reason if it ended, or did not answer in time."""
        answered = process.wait_until(lambda: not self.is_running or self._answers(), timeout_seconds)
        if not self.is_running:
            raise self._ended()
        if not answered:
            raise StackError(
                f"{self.name} (pid {self.pid}) did not answer within {elapsed(timeout_seconds)}; its log is {self.log}",
                ExitCode.UNREACHABLE,
            )

    def _ended(self) -> StackError:
        exit_code = None if self._process is None else self._process.poll()
        words = process.read_from(self.log, self._log_offset)
        reason = self._explain(words) or f"it ended with code {exit_code}; the end of its log: {_last_line(words)}"
        return StackError(f"{self.name} did not start: {reason} (log: {self.log})")

    def stop(self, grace_seconds: float = STOP_SECONDS_MAX) -> None:
        """It has ended in order, or was killed after *grace_seconds*. Idempotent."""
        if self._process is not None:
            process.end(self._process, grace_seconds=grace_seconds)
            self._process = None

    def kill(self) -> None:
        """It was ended by SIGKILL: no shutdown, as in a crash. Idempotent."""
        self.stop(grace_seconds=0)

    def restart(self) -> None:
        """It was stopped in order and answers again, on the same ports and data."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """It keeps its connections and does nothing (SIGSTOP): a stall, or a cut network."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on after `freeze`."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self._process is None or not self.is_running:
            raise StackError(f"{self.name} is not running", ExitCode.NOT_FOUND)
        self._process.send_signal(number)

    @property
    def is_running(self) -> bool:
        """Whether its process is there; frozen counts."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """Its process, while it runs."""
        return self._process.pid if self._process is not None and self.is_running else None

    @property
    def exit_code(self) -> int | None:
        """How it ended by itself; None while it runs or after it was stopped."""
        return None if self._process is None else self._process.poll()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _last_line(words: str) -> str:
    return next((line.strip() for line in reversed(words.splitlines()) if line.strip()), "empty")

"""Several worker processes under one parent: Python computes on one core a process."""

import logging
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import FrameType

from lull.workers.exits import ExitCode

logger = logging.getLogger(__name__)

LOOK_EVERY_SECONDS = 0.1
PAUSE_SECONDS_FIRST = 1.0
PAUSE_SECONDS_MAX = 30.0
"""Between two starts of a process that keeps dying."""
SETTLED_SECONDS = 60.0
"""A process that lived for this long has recovered: its next restart comes at once again."""


@dataclass
class _Child:
    number: int
    command: Sequence[str]
    process: "subprocess.Popen[bytes] | None" = None
    started_at: float = 0.0
    start_after: float = 0.0
    pause: float = field(default=PAUSE_SECONDS_FIRST)


class Supervisor:
    """Keeps one process of each of *commands* running until a signal says stop."""

    def __init__(self, commands: Sequence[Sequence[str]]) -> None:
        self._children = [_Child(number, command) for number, command in enumerate(commands, start=1)]
        self._signals = 0

    def run(self) -> ExitCode:
        """
        Return when every process has ended after SIGTERM or SIGINT, which is passed on, or at once
        when one ends by the operator's mistake: starting it again would not mend that.
        """
        before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            return self._watch()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _watch(self) -> ExitCode:
        while True:
            fatal = self._reap()
            if fatal is not None:
                self._stop_all()
                return fatal
            if self._signals and not self._alive():
                return ExitCode.DONE
            if not self._signals:
                self._start_missing()
            time.sleep(LOOK_EVERY_SECONDS)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._signals += 1
        self._send(signal.SIGTERM)

    def _alive(self) -> list["subprocess.Popen[bytes]"]:
        return [child.process for child in self._children if child.process is not None]

    def _send(self, number: int) -> None:
        for process in self._alive():
            process.send_signal(number)

    def _start_missing(self) -> None:
        for child in self._children:
            if child.process is None and time.monotonic() >= child.start_after:
                # A session of its own: a Ctrl-C at the terminal reaches the parent, which passes it on once.
                child.process = subprocess.Popen(child.command, start_new_session=True)  # noqa: S603 - our own command
                child.started_at = time.monotonic()

    def _reap(self) -> ExitCode | None:
        """Forget processes that have ended. Return the exit code if one ended by the operator's mistake."""
        for child in self._children:
            code = None if child.process is None else child.process.poll()
            if code is None:
                continue
            child.process = None
            if code in {ExitCode.INPUT, ExitCode.UNREACHABLE} and not self._signals:
                return ExitCode(code)
            if not self._signals:
                self._plan_restart(child, code)
        return None

    def _plan_restart(self, child: _Child, code: int) -> None:
        now = time.monotonic()
        if code == 0 or now - child.started_at > SETTLED_SECONDS:
            child.pause = PAUSE_SECONDS_FIRST
        child.start_after = now + (0.0 if code == 0 else child.pause)
        logger.warning(
            "worker process %d ended with %s; starting another in %.0f s",
            child.number,
            _how(code),
            child.start_after - now,
        )
        child.pause = min(child.pause * 2, PAUSE_SECONDS_MAX)

    def _stop_all(self) -> None:
        self._send(signal.SIGTERM)
        for process in self._alive():
            process.wait()


def _how(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


def child_command(arguments: Sequence[str]) -> list[str]:
    """Return the command line of a child with *arguments*, run by this very Python."""
    return [sys.executable, "-m", "lull.workers.main", *arguments]

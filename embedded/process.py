"""
Processes that end with us, or that outlive us on purpose.

On Linux a child asks the kernel to be killed when its parent dies, so nothing survives a
``kill -9`` of a test run. Elsewhere there is no such promise: a killed parent leaves its
children running, and ``lull dev stop`` finds them through the state file.
"""

import os
import platform
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lull.embedded.errors import StackError

IS_LINUX = platform.system() == "Linux"

POLL_SECONDS = 0.02
"""How often a process or a server is asked again; small beside the time a start takes."""

# PR_SET_PDEATHSIG is 1. The parent is compared after the call: it may have died before it.
_DIE_WITH_PARENT = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclass(frozen=True, slots=True)
class Identity:
    """A process for good: its number is used again after it, its birth is not."""

    pid: int
    birth: str

    @property
    def is_alive(self) -> bool:
        """Whether that very process still runs."""
        return birth_of(self.pid) == self.birth

    def signal(self, number: int) -> None:
        """Send *number* to that process if it still runs."""
        if self.is_alive:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return

    def wait_gone(self, timeout_seconds: float) -> bool:
        """Whether it was gone within *timeout_seconds*."""
        return wait_until(lambda: not self.is_alive, timeout_seconds)


def identify(pid: int) -> Identity | None:
    """The process that has this number now; None if there is none."""
    birth = birth_of(pid)
    return None if birth is None else Identity(pid, birth)


def birth_of(pid: int) -> str | None:
    """When process *pid* was born, in a form that no later process shares; None if it is gone."""
    if IS_LINUX:
        return _birth_on_linux(pid)
    answer = subprocess.run(  # noqa: S603 -- fixed command, a number as argument
        ["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    state, _, started = answer.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else started.strip()


def _birth_on_linux(pid: int) -> str | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (OSError, ValueError):
        return None
    # The command name stands in parentheses and may hold spaces; fields count from behind it.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else f"{boot}:{fields[19]}"


def wait_until(is_so: Callable[[], bool], timeout_seconds: float) -> bool:
    """Whether *is_so* became true within *timeout_seconds*."""
    deadline = time.monotonic() + timeout_seconds
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


class _Starter:
    """
    Starts every process from one thread that never ends.

    The kernel's death signal follows the *thread* that started the child: started from a
    pool's thread, a server would die as soon as that pool is done.
    """

    def __init__(self) -> None:
        self._orders: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._guard = threading.Lock()

    def start(self, start: Callable[[], "subprocess.Popen[bytes]"]) -> "subprocess.Popen[bytes]":
        answers: queue.SimpleQueue[subprocess.Popen[bytes] | OSError] = queue.SimpleQueue()

        def order() -> None:
            try:
                answers.put(start())
            except OSError as error:
                answers.put(error)

        self._ensure_thread()
        self._orders.put(order)
        answer = answers.get()
        if isinstance(answer, OSError):
            raise answer
        return answer

    def _ensure_thread(self) -> None:
        with self._guard:
            # A fork leaves the thread behind and its record dead.
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="process starter", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            self._orders.get()()


_starter = _Starter()
_started: set["subprocess.Popen[bytes]"] = set()


def start(
    command: Sequence[str],
    *,
    log: IO[bytes] | int,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    dies_with_parent: bool = True,
) -> "subprocess.Popen[bytes]":
    """
    Start *command* with its output in *log*, in a session of its own.

    A session of its own keeps a Ctrl-C at the terminal from reaching it: who started it
    decides the order in which things stop. ``dies_with_parent=False`` lets it outlive us.
    """
    words = [*_death_wrapper(), *command] if dies_with_parent else list(command)
    process = _starter.start(
        lambda: subprocess.Popen(  # noqa: S603 -- commands are built here, never from a shell line
            words,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=None if environment is None else dict(environment),
            cwd=folder,
            start_new_session=True,
        )
    )
    if dies_with_parent:
        _started.add(process)
    return process


def _death_wrapper() -> list[str]:
    if not IS_LINUX:
        return []
    return [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid())]


def kill_all() -> None:
    """Nothing that this process started, and that was to end with it, runs any more."""
    for process in list(_started):
        end(process, grace_seconds=0)


def end(process: "subprocess.Popen[bytes]", *, grace_seconds: float) -> bool:
    """
    *process* has ended; True if it did so by itself within *grace_seconds* of SIGTERM.

    With no grace it is killed at once.
    """
    ended_itself = grace_seconds > 0 and _ends_when_asked(process, grace_seconds)
    if not ended_itself and process.poll() is None:
        process.kill()
        # A frozen process dies of SIGKILL as well; only the kernel can delay it (disk).
        process.wait()
    _started.discard(process)
    return ended_itself


def _ends_when_asked(process: "subprocess.Popen[bytes]", grace_seconds: float) -> bool:
    process.send_signal(signal.SIGCONT)
    process.terminate()
    try:
        process.wait(grace_seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a tool ended and the end of what it printed."""

    exit_code: int
    output: str

    @property
    def last_words(self) -> str:
        """The last line that says something: where tools put their reason."""
        lines = [line.strip() for line in self.output.splitlines() if line.strip()]
        return lines[-1] if lines else "it printed nothing"


def run_tool(
    command: Sequence[str],
    *,
    log: Path,
    timeout_seconds: float,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    tick: Callable[[float], None] = lambda _seconds: None,
) -> Outcome:
    """
    Run *command* to its end, its output in *log*.

    *tick* is called about twice a second with the seconds gone; what it raises ends the
    tool. Ends it with a StackError after *timeout_seconds*.
    """
    with log.open("wb") as output:
        process = start(command, log=output, environment=environment, folder=folder)
    began = time.monotonic()
    try:
        while True:
            seconds = time.monotonic() - began
            if seconds > timeout_seconds:
                raise StackError(f"{command[0]} did not end within {timeout_seconds:.0f} s; its output is in {log}")
            tick(seconds)
            if wait_until(lambda: process.poll() is not None, timeout_seconds=0.5):
                return Outcome(process.returncode, _tail(log))
    finally:
        end(process, grace_seconds=0)


TAIL_BYTES = 64 * 1024
"""How much of a log is read back to explain an end: a crash says why in its last lines."""


def _tail(log: Path) -> str:
    return read_from(log, max(0, log.stat().st_size - TAIL_BYTES))


def read_from(log: Path, offset: int) -> str:
    """The text of *log* from byte *offset* on; at most its last part."""
    try:
        with log.open("rb") as file:
            file.seek(max(offset, log.stat().st_size - TAIL_BYTES))
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""

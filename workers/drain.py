"""``lull worker drain``: end local workers at a page boundary, and show what they are finishing."""

import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lull.domain.errors import OperatorError
from lull.workers.errors import NotFound
from lull.workers.records import Records, WorkerRecord

LOOK_EVERY_SECONDS = 0.1
MARGIN_SECONDS = 20.0
"""After a worker's own grace time, which it may use up, and its last seconds."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Drained:
    """How one worker ended."""

    pid: int
    identity: str
    drained: bool
    seconds: float
    finishing: tuple[str, ...] = ()
    """What it still had in hand when last heard of; empty once drained."""


def choose(records: Sequence[WorkerRecord], pid: int | None, *, everyone: bool) -> list[WorkerRecord]:
    """
    Return the workers that are meant: the one of *pid*, all with *everyone*, or the only one there is.

    Raises NotFound when there is none, OperatorError when several could be meant.
    """
    if not records:
        raise NotFound("no worker of this user runs on this machine")
    if pid is not None:
        named = [record for record in records if record.pid == pid]
        if not named:
            raise NotFound(f"no worker has pid {pid}; there are {_listed(records)}")
        return named
    # A parent passes the signal on, and would start a child that was drained alone again.
    pids = {record.pid for record in records}
    heads = [record for record in records if record.parent not in pids]
    if not everyone and len(heads) > 1:
        raise OperatorError(f"several workers run here: {_listed(heads)}; name one with --pid N, or say --all")
    return heads


def drain(chosen: Sequence[WorkerRecord], records: Records, say: Say) -> list[Drained]:
    """
    Ask *chosen* to end, wait, and return how each of them did.

    One that does not end within its grace time and a margin is left as it is, not killed.
    """
    began = time.monotonic()
    for record in chosen:
        record.process.signal(signal.SIGTERM)
        say(f"worker {record.pid}: asked to drain")
    deadline = began + max(record.grace_s for record in chosen) + MARGIN_SECONDS
    waiting = {record.pid: record for record in chosen}
    finishing: dict[int, tuple[str, ...]] = {}
    ended: list[Drained] = []
    while waiting and time.monotonic() < deadline:
        _tell_news(records, waiting, finishing, say)
        for record in [record for record in waiting.values() if not record.process.is_alive]:
            del waiting[record.pid]
            ended.append(Drained(record.pid, record.identity, drained=True, seconds=time.monotonic() - began))
            say(f"worker {record.pid}: drained after {ended[-1].seconds:.1f} s")
        time.sleep(LOOK_EVERY_SECONDS)
    late = [
        Drained(r.pid, r.identity, drained=False, seconds=time.monotonic() - began, finishing=finishing.get(r.pid, ()))
        for r in waiting.values()
    ]
    return ended + late


def _tell_news(
    records: Records, waiting: dict[int, WorkerRecord], finishing: dict[int, tuple[str, ...]], say: Say
) -> None:
    for record in records.live():
        is_meant = record.pid in waiting or record.parent in waiting
        if is_meant and record.finishing and finishing.get(record.pid) != record.finishing:
            finishing[record.pid] = record.finishing
            say(f"worker {record.pid}: finishing {', '.join(record.finishing)}")


def _listed(records: Sequence[WorkerRecord]) -> str:
    return ", ".join(f"{record.pid} ({', '.join(record.queues)})" for record in records)

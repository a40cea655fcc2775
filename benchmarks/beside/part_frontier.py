"""
Part ``frontier``: what a foreground feels beside how much work, without a law that chooses.

Three things in the foreground's place of suffering: a job under budgets that do not move, a plain loop of
transactions at the same rates, and a process that does nothing but use a processor for so much of the
time. The last one touches no MongoDB: what it does to the foreground, no tool on MongoDB can avoid on
this machine.
"""

import asyncio
import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from pymongo import MongoClient
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern
from typing_extensions import override

from benchmarks.bench import Document, Lab
from benchmarks.beside.arms import Arm, Jobs, Stream
from benchmarks.beside.scores import hold, show_scores
from benchmarks.beside.sizes import INCREMENT, ORDERS, RATE, UPDATE
from benchmarks.beside.stage import Result, Stage
from lull.activities.store import BUDGET_ID, GOVERNOR
from lull.domain.governor.budget import Budget, JobShare, Mode

SAY_SECONDS = 0.25
BUDGETS = ((0.1, 200), (0.25, 200), (0.5, 200), (0.25, 1_000))
"""Duty in work-seconds per second, and documents of a page."""
HOLD_MS = 10.0
SLICES = 2
"""Of a job at a time, by default."""
RATES = (8_000, 16_000, 31_000)
"""Documents per second of the plain loop."""
PAGE = 80
BURNS = (0.1, 0.25, 0.5)
"""Parts of one processor."""
BURST_SECONDS = 0.01


class Dictated(Jobs):
    """A job whose budget somebody has chosen: nobody looks at the foreground."""

    def __init__(self, duty: float, docs_max: int, lab: Lab, stream: Stream) -> None:
        super().__init__(f"lull at a duty of {duty:g}, pages of {docs_max:,}", Mode.ENFORCE, [stream])
        self._duty = duty
        self._docs_max = docs_max
        self._governor = lab.ledger[GOVERNOR].with_options(write_concern=WriteConcern(1))
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._say, name="dictator", daemon=True)

    @override
    async def begin(self) -> None:
        if not self._thread.is_alive():
            self._thread.start()
        await super().begin()

    @override
    async def close(self) -> None:
        await super().close()
        self._stopped.set()
        await asyncio.to_thread(self._thread.join)

    def _say(self) -> None:
        for number in itertools.count(1):
            shares = tuple(JobShare(job=job, duty=self._duty, slices=SLICES) for job in self.streams[0].jobs[-1:])
            said = Budget(
                sequence=time.monotonic_ns(), duty=self._duty, hold_ms=HOLD_MS, docs_max=self._docs_max, floor=self._duty / SLICES,
                shares=shares, owner=f"benchmark {number}", at=datetime.now(UTC),
            )  # fmt: skip
            self._governor.update_one({"_id": BUDGET_ID}, {"$set": said.model_dump()}, upsert=True)
            if self._stopped.wait(SAY_SECONDS):
                return


class Apart(Arm):
    """Something in a process of its own, ended between segments."""

    def __init__(self, name: str, *words: str) -> None:
        super().__init__(name, Mode.OFF)
        self._words = words
        self._process: subprocess.Popen[str] | None = None
        self._done = 0

    @override
    async def begin(self) -> None:
        command = [sys.executable, "-m", "benchmarks.beside.part_frontier", *self._words]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220 - a moment

    @override
    async def end(self) -> None:
        assert self._process is not None, "begin() comes first"
        await asyncio.to_thread(self._process.communicate, "end\n")

    @override
    async def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()


class Loop(Apart):
    """Transactions of some documents one after the other, at a rate: no ledger, no checkpoints, no workflow."""

    def __init__(self, lab: Lab, docs_per_second: int, documents: int) -> None:
        super().__init__(f"loop of {docs_per_second:,} docs/s", "loop", lab.uri, str(docs_per_second), str(documents))
        self._rate = docs_per_second
        self._began: float | None = None

    @override
    async def begin(self) -> None:
        await super().begin()
        self._began = time.monotonic()

    @override
    def documents(self) -> int:
        return int((time.monotonic() - self._began) * self._rate) if self._began else 0


class Burner(Apart):
    """A process that uses a processor for this part of the time and nothing else."""

    def __init__(self, part: float) -> None:
        super().__init__(f"{part:.0%} of a processor, no MongoDB", "burn", str(part))

    @override
    def documents(self) -> int:
        return 0


@contextmanager
def _dictating(lab: Lab) -> Iterator[None]:
    """Workers obey a budget, and no governor's process is beside them."""
    lab.has_governors = False
    try:
        yield
    finally:
        lab.has_governors = True
        lab.govern(Mode.OFF)


async def part_frontier(stage: Stage) -> Result:
    """Return what the foreground feels beside fixed amounts of work."""
    lab, size = stage.lab, stage.size
    pairs = max(1, size.pairs // 3)
    apart: list[Arm] = [
        *(Burner(part) for part in BURNS),
        *(Loop(lab, docs_per_second, size.documents) for docs_per_second in RATES),
    ]
    with _dictating(lab):
        dictated = [Dictated(*each, lab, stage.stream(UPDATE)) for each in BUDGETS]
        scores = await hold(stage, RATE, [(arm, pairs) for arm in (*apart, *dictated)], has_governor=False)
    show_scores("What so much work does to the foreground, whoever does it", [(one.arm, one) for one in scores])
    return {"scores": [one.row() for one in scores]}


# --- the process -----------------------------------------------------------------------------------


def _watch_for_the_end() -> threading.Event:
    """Return what is set when the parent says so, or is gone."""
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.readline(), ended.set()), daemon=True).start()
    return ended


def burn(part: float) -> None:
    """Use one processor for this part of the time, in bursts of ten milliseconds."""
    ended = _watch_for_the_end()
    while not ended.wait(BURST_SECONDS * (1 / part - 1)):
        until = time.monotonic() + BURST_SECONDS
        while time.monotonic() < until:
            pass


def loop(uri: str, docs_per_second: float, documents: int) -> None:
    """Write pages of eighty documents, each in a transaction, at this rate."""
    ended = _watch_for_the_end()
    client = MongoClient[Document](uri)
    database, _, name = ORDERS.partition(".")
    collection = client[database][name]
    began = time.monotonic()
    for number in itertools.count():
        low = number * PAGE % documents
        with (
            client.start_session() as session,
            session.start_transaction(ReadConcern("snapshot"), WriteConcern("majority")),
        ):
            collection.update_many({"_id": {"$gte": low, "$lt": low + PAGE}}, INCREMENT, session=session)
        if ended.wait(max(0.0, began + (number + 1) * PAGE / docs_per_second - time.monotonic())):
            os._exit(0)


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what == "burn":
        burn(float(rest[0]))
    else:
        loop(rest[0], float(rest[1]), int(rest[2]))

"""
How quickly a job obeys while it works: pauses with proof, and handovers at SIGTERM.

    make bench-control            50 pauses, 20 handovers
    QUICK=1 make bench-control    10 and 5

Under load: the job runs as fast as it can, beside a foreground of 300 operations a second.

A *pause* is measured by its caller: from the request to the answer that nothing of the job can
commit, with the ledger's proof. A *handover* is measured in the ledger: from the SIGTERM to the
first page that another worker has committed to the partition, under a fence of its own; each
partition that the worker had in hand counts. What it finished by itself after the SIGTERM does not.
"""

import asyncio
import itertools
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from benchmarks import bench
from benchmarks.bench import Document, Lab, Machine, Worker, show, spec, wait_until
from lull.domain.errors import LullError
from lull.domain.lifecycle import ENDED, Status
from lull.starter.client import Client

NAMESPACE = "bench.orders"
PARALLEL = 4
WORKERS = 2
PAUSE_LIMIT_S = 1.0
HANDOVER_LIMIT_S = 3.0
STEP_SECONDS_MAX = 60.0
LOOK_SECONDS = 0.005
FOREGROUND_SECONDS_MAX = 3_600.0


class Size(NamedTuple):
    """How much is measured."""

    documents: int
    pauses: int
    handovers: int


FULL, QUICK = Size(1_000_000, 50, 20), Size(300_000, 10, 5)


@dataclass(slots=True)
class Following:
    """Partitions whose worker was told to end, watched until another one works on them."""

    before: dict[int, Document]
    waiting: set[int]
    fences_s: list[float] = field(default_factory=list)
    handovers_s: list[float] = field(default_factory=list)
    by_itself: int = 0
    _taken: dict[int, int] = field(default_factory=dict)
    """Pages that had been committed when the new fence was seen, by partition."""

    def note(self, number: int, now: Document, seconds: float) -> None:
        """What is new about one partition was counted."""
        if now["fence"] == self.before[number]["fence"]:
            if now["status"] == "done":
                self.by_itself += 1
                self.waiting.discard(number)
            return
        pages = now["counts"]["pages"]
        if number not in self._taken:
            self._taken[number] = pages
            self.fences_s.append(seconds)
        if pages > self._taken[number] or now["status"] == "done":
            self.handovers_s.append(seconds)
            self.waiting.discard(number)


@dataclass(slots=True)
class Bench:
    """A job that always runs, and what was measured of it."""

    lab: Lab
    client: Client
    job: str = ""
    pauses_s: list[float] = field(default_factory=list)
    fences_s: list[float] = field(default_factory=list)
    """From SIGTERM to another worker's fence, by partition."""
    handovers_s: list[float] = field(default_factory=list)
    """From SIGTERM to another worker's page, by partition."""
    drains_s: list[float] = field(default_factory=list)
    """From SIGTERM to the worker's end."""
    by_itself: int = 0
    """Partitions that the worker finished after the SIGTERM."""
    moments: random.Random = field(default_factory=lambda: random.Random(11))
    numbers: Any = field(default_factory=itertools.count)

    async def ensure_working(self) -> None:
        """A job runs and has just committed a page."""
        while not self.job or not await self._commits():
            self.job = f"control-{next(self.numbers)}"
            limits = {"parallel": PARALLEL}
            await self.client.start(
                spec(job=self.job, kind="transform", transform="bench.total", namespace=NAMESPACE, limits=limits)
            )

    async def _commits(self) -> bool:
        """Whether the job goes on; False if it has ended instead."""
        before = self.lab.total(self.job, "pages")
        moved = await asyncio.to_thread(wait_until, lambda: self._moved(before), STEP_SECONDS_MAX)
        if not moved:
            raise RuntimeError(f"job {self.job} has committed nothing for {STEP_SECONDS_MAX:.0f} s")
        return not self._has_ended()

    def _moved(self, before: int) -> bool:
        return self._has_ended() or self.lab.total(self.job, "pages") > before

    def _has_ended(self) -> bool:
        found = self.lab.ledger.jobs.find_one({"_id": self.job}, {"status": 1}) or {}
        return found.get("status") in ENDED | {Status.COMPLETING}

    # --- pauses ---------------------------------------------------------------------------------------

    async def pause_once(self) -> None:
        """One more pause was measured; the job runs again."""
        await self.ensure_working()
        await asyncio.sleep(self.moments.uniform(0, 0.5))
        began = time.monotonic()
        try:
            answer = await self.client.pause_and_wait(self.job, "measuring")
        except LullError:
            if self._has_ended():
                return  # it was done in that very moment; the next try has another job
            raise
        seconds = time.monotonic() - began
        if answer.status is not Status.PAUSED:
            return
        if answer.proof is None:
            raise RuntimeError(f"job {self.job} is paused without a proof")
        self.pauses_s.append(seconds)
        self._require_standstill()
        await self.client.resume_and_wait(self.job)

    def _require_standstill(self) -> None:
        """Nothing is committed: looked at twice, with a quarter of a second between."""
        before = self.lab.total(self.job, "pages")
        time.sleep(0.25)
        after = self.lab.total(self.job, "pages")
        if after != before:
            raise RuntimeError(f"job {self.job} committed {after - before} pages after the proof that it cannot")

    # --- handovers --------------------------------------------------------------------------------------

    async def hand_over_once(self) -> None:
        """One worker was ended by SIGTERM, every partition it had was followed, and it runs again."""
        await self.ensure_working()
        victim, partitions = await self._victim()
        if not partitions:
            return
        await asyncio.to_thread(self._follow, victim, partitions)
        await asyncio.to_thread(self.lab.start_worker, victim.index)

    async def _victim(self) -> tuple[Worker, list[int]]:
        """Return the worker with most partitions in hand, and these; none if the job has just ended."""
        held: dict[int, list[int]] = {worker.index: [] for worker in self.lab.live_workers}
        for one in (await self.client.status(self.job)).slices:
            for worker in self.lab.live_workers:
                if one.partition is not None and one.worker.endswith(f":{worker.pid}"):
                    held[worker.index].append(one.partition)
        index = max(held, key=lambda number: len(held[number]))
        return self.lab.workers[index], held[index]

    def _follow(self, victim: Worker, partitions: Sequence[int]) -> None:
        following = Following(self._look(partitions), set(partitions))
        began = time.monotonic()
        victim.terminate()
        ended_s: float | None = None
        while following.waiting or ended_s is None:
            seconds = time.monotonic() - began
            if seconds > STEP_SECONDS_MAX:
                raise RuntimeError(f"partitions {following.waiting} were not taken up in {STEP_SECONDS_MAX:.0f} s")
            if ended_s is None and not victim.is_running:
                ended_s = seconds
            for number, now in self._look(sorted(following.waiting)).items():
                following.note(number, now, seconds)
            time.sleep(LOOK_SECONDS)
        self.drains_s.append(ended_s)
        self.fences_s += following.fences_s
        self.handovers_s += following.handovers_s
        self.by_itself += following.by_itself

    def _look(self, partitions: Sequence[int]) -> dict[int, Document]:
        newest = self.lab.partitions(self.job)
        return {one["number"]: one for one in newest if one["number"] in partitions}


def summary(values: Sequence[float], limit_s: float | None = None) -> dict[str, Any]:
    """Return what a table shows of durations in seconds."""
    p99 = bench.percentile(values, 99)
    return {
        "tries": len(values),
        "p50_s": bench.percentile(values, 50),
        "p99_s": p99,
        "max_s": max(values, default=None),
        "limit_p99_s": limit_s,
        "verdict": bench.verdict(p99, f"<= {limit_s}") if limit_s is not None else "",
        "seconds": [round(value, 4) for value in values],
    }


async def measure(lab: Lab, size: Size) -> Bench:
    """Return everything that was measured."""
    found = Bench(lab, await lab.connect())
    while len(found.pauses_s) < size.pauses:
        await found.pause_once()
    bench.console.print(f"{size.pauses} pauses: p99 {bench.percentile(found.pauses_s, 99):.3f} s")
    while len(found.drains_s) < size.handovers:
        await found.hand_over_once()
    return found


async def main() -> None:
    """Measure everything; print a table and write one file."""
    size = QUICK if bench.is_quick() else FULL
    machine = Machine()
    with Lab() as lab:
        lab.start_workers(WORKERS)
        lab.seed(NAMESPACE, size.documents)
        foreground = lab.start_foreground(NAMESPACE, seconds=FOREGROUND_SECONDS_MAX)
        found = await measure(lab, size)
        report = foreground.stop()
    rows = {
        "pause: request to proof": summary(found.pauses_s, PAUSE_LIMIT_S),
        "SIGTERM: to another worker's first page": summary(found.handovers_s, HANDOVER_LIMIT_S),
        "SIGTERM: to another worker's fence": summary(found.fences_s),
        "SIGTERM: to the worker's end": summary(found.drains_s),
    }
    show(
        "How quickly a job obeys, under load",
        ("", "tries", "p50 s", "p99 s", "max s", "wanted p99 s", ""),
        [
            (name, one["tries"], one["p50_s"], one["p99_s"], one["max_s"], one["limit_p99_s"], one["verdict"])
            for name, one in rows.items()
        ],
    )
    felt = {name: report[name] for name in ("operations", "p50_ms", "p99_ms", "max_ms", "errors")}
    show("The foreground beside it", tuple(felt), [tuple(felt.values())])
    bench.write(
        "control",
        {
            "documents": size.documents,
            "workers": WORKERS,
            "parallel": PARALLEL,
            **rows,
            "partitions_finished_by_the_worker_itself": found.by_itself,
            "foreground": felt,
        },
        machine,
    )


if __name__ == "__main__":
    asyncio.run(main())

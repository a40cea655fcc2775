"""Where arms run, beside a foreground and under a governor that is watched."""

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks import bench
from benchmarks.bench import Document, Lab, wait_until
from benchmarks.beside.arms import Arm, Jobs, Purging, Stream
from benchmarks.beside.segments import Segment
from benchmarks.beside.sizes import (
    GOVERNED_SECONDS_MAX,
    LEARN_SECONDS,
    LOOK_SECONDS,
    ORDERS,
    OTHER,
    SWITCH_SECONDS,
    WARM_SECONDS,
    Size,
)
from benchmarks.beside.words import Count, Word
from lull.activities.store import BUDGET_ID, GOVERNOR
from lull.domain.governor.budget import Mode
from lull.starter.client import Client

Result = dict[str, Any]
"""What a part has found, as JSON values."""


class Watch:
    """What the governor says, looked at fifty times a second, and how far an arm has come, four times a second."""

    WORD_SECONDS = 0.02
    COUNT_EVERY = 12

    def __init__(self, lab: Lab, documents: Callable[[], int]) -> None:
        self._lab = lab
        self._documents = documents
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self.words: list[Word] = []
        self.counts: list[Count] = []

    def start(self) -> None:
        """It watches."""
        self._thread.start()

    def stop(self) -> None:
        """It has seen what it has seen."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        for number in itertools.count():
            if self._stopped.wait(self.WORD_SECONDS):
                return
            word = seen(budget(self._lab), time.time())
            if word is not None and (not self.words or not _says_the_same(self.words[-1], word)):
                self.words.append(word)
            if number % self.COUNT_EVERY == 0:
                documents = self._documents()
                self.counts.append((time.time(), documents))


def budget(lab: Lab) -> Document:
    """Return what the governor published last; empty before its first word."""
    return lab.ledger[GOVERNOR].find_one({"_id": BUDGET_ID}) or {}


def seen(published: Document, at: float) -> Word | None:
    """Return a published budget as a word; None for one without a word."""
    if "is_open" not in published:
        return None
    return Word(at, published["is_open"], published["duty"], published["label"], published["reason"])


def _says_the_same(one: Word, other: Word) -> bool:
    return (one.is_open, one.duty, one.label, one.reason) == (other.is_open, other.duty, other.label, other.reason)


@dataclass(slots=True)
class Stage:
    """A laboratory, and what is done in it again and again."""

    lab: Lab
    client: Client
    size: Size
    numbers: Iterator[int] = field(default_factory=itertools.count)
    """For the ids of jobs."""

    def sized(self, **changes: Any) -> "Stage":
        """Return the same with another amount of measuring."""
        return replace(self, size=self.size._replace(**changes))

    async def govern(self, mode: Mode) -> None:
        """Workers run under a governor of this mode, which has spoken."""
        if self.lab.governor is mode:
            return
        before = budget(self.lab).get("sequence", 0)
        await asyncio.to_thread(self.lab.govern, mode)
        if mode is not Mode.OFF:
            await asyncio.to_thread(self._wait_for_a_word, before)

    def _wait_for_a_word(self, before: int) -> None:
        if not wait_until(lambda: budget(self.lab).get("sequence", 0) > before, GOVERNED_SECONDS_MAX, LOOK_SECONDS):
            raise RuntimeError(f"no governor has spoken for {GOVERNED_SECONDS_MAX:.0f} s; look at the worker's log")

    def stream(self, fields: Mapping[str, Any], namespace: str = ORDERS) -> Stream:
        """Return a job that never ends, under an id of its own."""
        return Stream(self.lab, self.client, f"beside-{next(self.numbers)}", dict(fields), namespace)

    def jobs(self, mode: Mode, *fields: Mapping[str, Any]) -> Jobs:
        """Return one such job of each of *fields*, every one on a collection of its own, under this governor."""
        streams = [self.stream(each, namespace) for each, namespace in zip(fields, (ORDERS, OTHER), strict=False)]
        return Jobs(_arm_name(mode), mode, streams)

    def purging(self, mode: Mode) -> Purging:
        """Return purges under this governor."""
        return Purging(
            _arm_name(mode),
            mode,
            lab=self.lab,
            client=self.client,
            job=f"beside-{next(self.numbers)}",
            documents=self.size.documents,
        )

    async def segment(self, arm: Arm | None = None) -> Segment:
        """Return one segment with the arm at work, or with nobody."""
        if arm is not None:
            await arm.begin()
        await asyncio.sleep(SWITCH_SECONDS)
        if arm is not None and arm.is_used_up:
            raise RuntimeError(f"{arm.name} was done before it could be measured; ask for more --documents")
        ticks, before, begin_at = bench.cpu_ticks(), arm.documents() if arm else 0, time.time()
        await self._pass(arm)
        end_at, after = time.time(), arm.documents() if arm else 0
        steal_percent = bench.steal_percent(ticks, bench.cpu_ticks())
        if arm is not None:
            await arm.end()
        return Segment(begin_at, end_at, steal_percent, after - before)

    async def _pass(self, arm: Arm | None) -> None:
        until = time.monotonic() + self.size.segment_s - SWITCH_SECONDS
        while (left_s := until - time.monotonic()) > 0 and not (arm and arm.is_used_up):  # noqa: ASYNC110 - a ledger is asked
            await asyncio.sleep(min(left_s, LOOK_SECONDS))

    async def _learn(self, arm: Arm) -> None:
        """The governor has seen this arm beside this foreground; a purge that is done by then is begun anew later."""
        await arm.prepare()
        await arm.begin()
        until = time.monotonic() + LEARN_SECONDS
        while time.monotonic() < until and not arm.is_used_up:  # noqa: ASYNC110 - a ledger is asked
            await asyncio.sleep(LOOK_SECONDS)
        await arm.end()

    async def alternate(self, arm: Arm, pairs: int, *, has_governor: bool = True) -> list[tuple[Segment, Segment]]:
        """Return so many pairs of segments, with the arm and without it; every other pair begins without."""
        if has_governor:
            await self.govern(arm.mode)
        elif self.lab.governor is not arm.mode:
            await asyncio.to_thread(self.lab.govern, arm.mode)
        await asyncio.sleep(WARM_SECONDS)
        if arm.mode is Mode.ENFORCE and has_governor:
            await self._learn(arm)
        found = []
        for number in range(pairs):
            await arm.prepare()
            if number % 2 == 0:
                beside, idle = await self.segment(arm), await self.segment()
            else:
                idle, beside = await self.segment(), await self.segment(arm)
            found.append((beside, idle))
        await arm.close()
        return found


def _arm_name(mode: Mode) -> str:
    return "governed" if mode is Mode.ENFORCE else "unpaced"

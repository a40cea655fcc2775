"""What runs on the job's side."""

import asyncio
import itertools
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from pymongo.errors import PyMongoError
from typing_extensions import override

from benchmarks.bench import Lab, spec
from benchmarks.beside.sizes import INCREMENT, LAG_LIMIT_S, ORDERS, PURGE, REST_SECONDS, SCRIPT_BATCH, SPARE
from lull.domain.errors import LullError
from lull.domain.governor.budget import Mode
from lull.domain.lifecycle import Status
from lull.starter.client import Client


class Arm:
    """Something that works on the documents, in segments."""

    def __init__(self, name: str, mode: Mode) -> None:
        self.name = name
        self.mode = mode
        """Of the governor, while it runs."""

    async def prepare(self) -> None:
        """There is work for one more segment; not measured."""

    async def begin(self) -> None:
        """It works."""
        raise NotImplementedError

    async def end(self) -> None:
        """It does not work any more."""
        raise NotImplementedError

    async def close(self) -> None:
        """Nothing of it is left. Idempotent."""

    def tune(self, rates: Mapping[str, float]) -> None:
        """It knows the documents per second of those that ran before it, by name."""

    def documents(self) -> int:
        """Return how many it has finished so far."""
        raise NotImplementedError

    @property
    def is_used_up(self) -> bool:
        """Whether it has nothing left to do, so that the segment is over."""
        return False


@dataclass(slots=True)
class Stream:
    """A job of which there is always one: when it has ended, the next begins."""

    lab: Lab
    client: Client
    name: str
    fields: dict[str, Any]
    namespace: str = ORDERS
    jobs: list[str] = field(default_factory=list)
    """Their ids, the newest last."""
    _is_wanted: asyncio.Event = field(default_factory=asyncio.Event)
    _guard: asyncio.Lock = field(default_factory=asyncio.Lock)
    _keeping: "asyncio.Task[None] | None" = None

    async def go(self) -> None:
        """It works, or is about to."""
        self._is_wanted.set()
        if self._keeping is None:
            self._keeping = asyncio.create_task(self._keep(), name=self.name)
        elif self._keeping.done():
            self._keeping.result()
        else:
            async with self._guard:
                await self._tell(self.client.resume_and_wait)

    async def halt(self) -> None:
        """Nothing of it can commit."""
        self._is_wanted.clear()
        async with self._guard:
            await self._tell(self.client.pause_and_wait)

    async def close(self) -> None:
        """It has ended for good. Raises RuntimeError if a job of it had failed."""
        self._is_wanted.clear()
        if self._keeping is not None:
            if self._keeping.done():
                self._keeping.result()
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        if self.jobs:
            with suppress(LullError):
                await self.client.cancel_and_wait(self.jobs[-1], "measured")

    def documents(self) -> int:
        """Return how many were worked on, over all its jobs."""
        return sum(self.lab.total(job, "seen") for job in list(self.jobs))

    async def _keep(self) -> None:
        while True:
            await self._is_wanted.wait()
            async with self._guard:
                if not self._is_wanted.is_set():
                    continue
                job = f"{self.name}-{len(self.jobs)}"
                await self.client.start(spec(job=job, namespace=self.namespace, **self.fields))
                self.jobs.append(job)
            outcome = await self.client.wait(job)
            if outcome.status is not Status.COMPLETED:
                raise RuntimeError(f"job {job} is {outcome.status}: {outcome.message}")

    async def _tell(self, order: Callable[[str], Awaitable[Any]]) -> None:
        """The newest job has obeyed, or ended just before."""
        if not self.jobs:
            return
        try:
            await order(self.jobs[-1])
        except LullError:
            if not (await self.client.status(self.jobs[-1])).has_ended:
                raise


class Jobs(Arm):
    """One or several jobs, paused between segments."""

    def __init__(self, name: str, mode: Mode, streams: Sequence[Stream]) -> None:
        super().__init__(name, mode)
        self.streams = list(streams)

    @override
    async def begin(self) -> None:
        await asyncio.gather(*(stream.go() for stream in self.streams))

    @override
    async def end(self) -> None:
        await asyncio.gather(*(stream.halt() for stream in self.streams))

    @override
    async def close(self) -> None:
        await asyncio.gather(*(stream.close() for stream in self.streams))

    @override
    def documents(self) -> int:
        return sum(stream.documents() for stream in self.streams)


class Purging(Arm):
    """A purge of everything in a collection of its own, seeded anew for every segment."""

    def __init__(self, name: str, mode: Mode, *, lab: Lab, client: Client, job: str, documents: int) -> None:
        super().__init__(name, mode)
        self._lab = lab
        self._client = client
        self._names = (f"{job}-{number}" for number in itertools.count())
        self._job = ""
        self._most = documents

    @override
    async def prepare(self) -> None:
        await asyncio.to_thread(self._lab.copy, ORDERS, SPARE)
        await asyncio.sleep(REST_SECONDS)

    @override
    async def begin(self) -> None:
        self._job = next(self._names)
        await self._client.start(spec(job=self._job, namespace=SPARE, **PURGE))

    @override
    async def end(self) -> None:
        with suppress(LullError):
            await self._client.cancel_and_wait(self._job, "measured")
        outcome = await self._client.result(self._job)
        if outcome.status not in {Status.COMPLETED, Status.CANCELLED}:
            raise RuntimeError(f"job {self._job} is {outcome.status}: {outcome.message}")

    @override
    def documents(self) -> int:
        return self._lab.total(self._job, "seen")

    @property
    @override
    def is_used_up(self) -> bool:
        return self.documents() >= self._most


class Script(Arm):
    """What one would write by hand: updates by ranges of ``_id``, one after the other, in a thread of this process."""

    def __init__(self, name: str, lab: Lab, documents: int) -> None:
        super().__init__(name, Mode.OFF)
        self._lab = lab
        self._collection = lab.collection(ORDERS)
        self._ranges = itertools.cycle(range(0, documents, SCRIPT_BATCH))
        self._done = 0
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._error: PyMongoError | None = None

    @override
    async def begin(self) -> None:
        self._stopped.clear()
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()

    @override
    async def end(self) -> None:
        self._stopped.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)
        if self._error is not None:
            raise self._error

    @override
    def documents(self) -> int:
        return self._done

    def _run(self) -> None:
        try:
            while not self._stopped.is_set():
                low = next(self._ranges)
                query = {"_id": {"$gte": low, "$lt": low + SCRIPT_BATCH}}
                self._done += self._collection.update_many(query, INCREMENT).modified_count
                self._hold_back()
        except PyMongoError as error:
            self._error = error

    def _hold_back(self) -> None:
        """The script has been as considerate as it is."""


class Sleeping(Script):
    """The same with a sleep after every batch, as long as it takes to be no faster than somebody else."""

    def __init__(self, name: str, lab: Lab, documents: int, *, like: str, unpaced: str) -> None:
        super().__init__(name, lab, documents)
        self.sleep_s = 0.0
        self._like = like
        self._unpaced = unpaced

    @override
    def tune(self, rates: Mapping[str, float]) -> None:
        self.sleep_s = sleep_for(rates[self._like], rates[self._unpaced])

    @override
    def _hold_back(self) -> None:
        self._stopped.wait(self.sleep_s)


class LagOnly(Script):
    """The same, waiting while replicas are behind: pt-archiver's rule."""

    @override
    def _hold_back(self) -> None:
        while self._lag_s() > LAG_LIMIT_S and not self._stopped.wait(LAG_LIMIT_S):
            pass

    def _lag_s(self) -> float:
        written = self._lab.mongo.admin.command("hello")["lastWrite"]
        behind = written["lastWriteDate"] - written["majorityWriteDate"]
        return float(behind.total_seconds())


def sleep_for(wanted: float, unpaced: float) -> float:
    """Return the sleep after a batch that brings *unpaced* documents per second down to *wanted* ones."""
    return max(0.0, SCRIPT_BATCH / wanted - SCRIPT_BATCH / unpaced) if wanted > 0 and unpaced > 0 else 0.0

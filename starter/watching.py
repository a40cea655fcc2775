"""Looking again and again: how fast a job really goes, until it has ended, and outages in between."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Protocol, TypeVar

from lull.domain.lifecycle import Status
from lull.starter.errors import Unreachable
from lull.starter.views import JobStatus

LOOK_SECONDS = 1.0
"""Between looks: slices heartbeat once a second."""
OUTAGE_SECONDS_MAX = 600.0
"""How long Temporal may be away before a watcher gives up; the job itself waits for as long as it takes."""
RATE_WINDOW_SECONDS = 15.0
"""Over which docs/s is measured: long enough to be steady, short enough to show a throttle at once."""


SeenT = TypeVar("SeenT")


class Asks(Protocol):
    """The part of the client that is watched with."""

    async def status(self, job: str) -> JobStatus:
        """Return the newest that is known of the job."""
        ...


class Meter:
    """Documents per second over the last seconds, from counts that only grow; empty again after a pause."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, int]] = deque()

    def observe(self, at: float, seen: JobStatus) -> float | None:
        """Return the rate after this look; None until it can be told."""
        if not seen.is_live or seen.progress.status is not Status.RUNNING:
            self._points.clear()
            return None
        self._points.append((at, seen.progress.counts.scanned))
        while len(self._points) > 2 and at - self._points[0][0] > RATE_WINDOW_SECONDS:
            self._points.popleft()
        (first_at, first), (last_at, last) = self._points[0], self._points[-1]
        return max(last - first, 0) / (last_at - first_at) if last_at > first_at else None


async def looks(look: Callable[[], Awaitable[SeenT]]) -> AsyncGenerator[tuple[SeenT, str]]:
    """
    Yield (what is seen, trouble) about once a second, for as long as somebody wants to know.

    While Temporal is away it is what was seen last, and *trouble* says why. Raises Unreachable
    after ten minutes of that, or at once if it was never reached.
    """
    clock = asyncio.get_running_loop().time
    last: list[SeenT] = []
    away_since: float | None = None
    while True:
        try:
            last, away_since, trouble = [await look()], None, ""
        except Unreachable as error:
            away_since, trouble = away_since or clock(), str(error)
            if not last or clock() - away_since > OUTAGE_SECONDS_MAX:
                raise
        yield last[0], trouble
        await asyncio.sleep(LOOK_SECONDS)


async def follow(client: Asks, job: str) -> AsyncIterator[tuple[JobStatus, float | None, str]]:
    """Yield (status, docs/s, trouble) about once a second until the job has ended. See :func:`looks`."""
    clock = asyncio.get_running_loop().time
    meter = Meter()
    async with aclosing(looks(lambda: client.status(job))) as looking:
        async for seen, trouble in looking:
            yield seen, None if trouble else meter.observe(clock(), seen), trouble
            if seen.has_ended and not trouble:
                return

"""Following a job until it has ended: what changed, how fast it really goes, and outages in between."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Protocol

from lull.domain.lifecycle import Status
from lull.starter.errors import Unreachable
from lull.starter.views import JobStatus

LOOK_SECONDS = 1.0
"""Between looks: slices heartbeat once a second."""
OUTAGE_SECONDS_MAX = 600.0
"""How long Temporal may be away before a watcher gives up; the job itself waits for as long as it takes."""
RATE_WINDOW_SECONDS = 15.0
"""Over which docs/s is measured: long enough to be steady, short enough to show a throttle at once."""


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


async def follow(client: Asks, job: str) -> AsyncIterator[tuple[JobStatus | None, float | None, str]]:
    """
    Yield (status, docs/s, trouble) about once a second until the job has ended.

    While Temporal is away the status is the last one and *trouble* says why. Raises Unreachable
    after ten minutes of that, or at once if it was never reached.
    """
    clock = asyncio.get_running_loop().time
    meter = Meter()
    seen: JobStatus | None = None
    away_since: float | None = None
    while True:
        try:
            seen, away_since = await client.status(job), None
            yield seen, meter.observe(clock(), seen), ""
            if seen.has_ended:
                return
        except Unreachable as error:
            away_since = away_since or clock()
            if seen is None or clock() - away_since > OUTAGE_SECONDS_MAX:
                raise
            yield seen, None, str(error)
        await asyncio.sleep(LOOK_SECONDS)

"""A watcher sees the pace, survives an outage, and gives up in time."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from lull.domain.lifecycle import Status
from lull.domain.slice import Counts
from lull.starter import watching
from lull.starter.errors import Unreachable
from lull.starter.views import JobStatus
from lull.starter.watching import Meter, follow


class Answers:
    """Answers in turn what it was given; the last one for ever."""

    def __init__(self, *answers: JobStatus | Exception) -> None:
        self._answers: Iterator[JobStatus | Exception] = iter(answers)
        self._last: JobStatus | Exception | None = None

    async def status(self, job: str) -> JobStatus:
        del job
        self._last = next(self._answers, self._last)
        if isinstance(self._last, Exception):
            raise self._last
        assert self._last is not None
        return self._last


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "LOOK_SECONDS", 0.001)


async def test_following_ends_with_the_job(progress: Any):
    running, done = JobStatus(progress=progress()), JobStatus(progress=progress(status=Status.COMPLETED))
    seen = [status async for status, _, _ in follow(Answers(running, running, done), "orders-1")]
    assert seen == [running, running, done]


async def test_an_outage_is_shown_and_survived(progress: Any):
    running, done = JobStatus(progress=progress()), JobStatus(progress=progress(status=Status.COMPLETED))
    seen = [trouble async for _, _, trouble in follow(Answers(running, Unreachable("away"), done), "orders-1")]
    assert seen == ["", "away", ""]


async def test_a_temporal_that_was_never_reached_is_an_error_at_once():
    with pytest.raises(Unreachable):
        await anext(follow(Answers(Unreachable("away")), "orders-1"))


async def test_an_outage_that_lasts_is_an_error_in_the_end(progress: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(watching, "OUTAGE_SECONDS_MAX", 0.01)
    async with asyncio.timeout(10):
        with pytest.raises(Unreachable):
            async for _ in follow(Answers(JobStatus(progress=progress()), Unreachable("away")), "orders-1"):
                pass


def test_the_meter_tells_the_pace_of_the_last_seconds(progress: Any):
    meter = Meter()

    def look(at: float, scanned: int, **fields: Any) -> float | None:
        return meter.observe(at, JobStatus(progress=progress(counts=Counts(scanned=scanned), **fields)))

    assert look(0, 0) is None
    assert look(1, 100) == 100
    assert look(10, 1_000) == 100
    assert look(30, 1_000) == 0, "what lies longer back than the window is forgotten"
    assert look(31, 1_100, status=Status.PAUSED) is None
    assert look(32, 1_100) is None, "paused time is not slowness"
    assert look(33, 1_300) == 200

"""Part ``fair``: two jobs that share."""

import asyncio
import time
from collections.abc import Sequence
from typing import NamedTuple

from benchmarks import bench
from benchmarks.bench import show
from benchmarks.beside.arms import Stream
from benchmarks.beside.sizes import (
    FAIR_LIMIT,
    FOREGROUND_SECONDS_MAX,
    ORDERS,
    RATE,
    SWITCH_SECONDS,
    UPDATE,
    WARM_SECONDS,
)
from benchmarks.beside.stage import Result, Stage
from lull.domain.governor.budget import Mode


async def part_fair(stage: Stage) -> Result:
    """Return how two jobs share, alike and by weight, beside a foreground."""
    await stage.govern(Mode.ENFORCE)
    foreground = stage.lab.start_foreground(ORDERS, rate=RATE, seconds=FOREGROUND_SECONDS_MAX)
    await asyncio.sleep(WARM_SECONDS)
    results = {}
    for weight in (1.0, 3.0):
        results[f"{weight:g}:1"] = await _share(stage, weight)
    await asyncio.to_thread(foreground.stop)
    show(
        "Two jobs beside a foreground",
        ("weights", "docs/s first", "docs/s second", "first's share", "wanted", "off by", "wanted", ""),
        [
            (
                name,
                *one["docs_per_second"],
                one["share"],
                one["wanted_share"],
                one["off_by"],
                FAIR_LIMIT,
                one["verdict"],
            )
            for name, one in results.items()
        ],
    )
    return results


async def _share(stage: Stage, weight: float) -> Result:
    jobs = stage.jobs(Mode.ENFORCE, UPDATE | {"weight": weight}, UPDATE)
    await jobs.begin()
    await asyncio.sleep(SWITCH_SECONDS * 3)
    windows = [await _window(jobs.streams, stage.size.window_s) for _ in range(stage.size.windows)]
    await jobs.close()
    # A window in which one of them began anew, and did nothing meanwhile, says nothing about shares.
    whole = [window for window in windows if window.is_whole] or windows
    first, second = (sum(window.rates[number] for window in whole) / len(whole) for number in (0, 1))
    share, wanted = first / (first + second), weight / (weight + 1)
    off_by = worst_share(share, wanted)
    return {
        "docs_per_second": [round(first), round(second)],
        "windows": len(whole),
        "share": round(share, 4),
        "wanted_share": round(wanted, 4),
        "off_by": round(off_by, 4),
        "verdict": bench.verdict(off_by, FAIR_LIMIT),
    }


class Window(NamedTuple):
    """Two jobs over the same time."""

    rates: tuple[float, ...]
    """Documents per second."""
    is_whole: bool
    """Whether none of them ended meanwhile."""


async def _window(streams: Sequence[Stream], seconds: float) -> Window:
    jobs = [len(stream.jobs) for stream in streams]
    before, began = [stream.documents() for stream in streams], time.monotonic()
    await asyncio.sleep(seconds)
    after, taken = [stream.documents() for stream in streams], time.monotonic() - began
    rates = tuple((late - early) / taken for early, late in zip(before, after, strict=True))
    return Window(rates, is_whole=jobs == [len(stream.jobs) for stream in streams])


def worst_share(share: float, wanted: float) -> float:
    """Return by which part of it the share of one of two is off, whichever of them is off more."""
    return max(abs(share / wanted - 1), abs((1 - share) / (1 - wanted) - 1))

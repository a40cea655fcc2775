"""Part ``cost``: the governor itself."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import bench
from benchmarks.bench import Lab, show
from benchmarks.beside.arms import Arm
from benchmarks.beside.ratios import compared, interval, median_p99, noise_floor
from benchmarks.beside.segments import Pair, Segment, felt
from benchmarks.beside.sizes import FOREGROUND_SECONDS_MAX, ORDERS, RATE, UPDATE, WARM_SECONDS
from benchmarks.beside.stage import Result, Stage
from lull.domain.governor.budget import Mode


@dataclass(frozen=True, slots=True)
class Metered:
    """A segment, and what the server and the governor's process did in it."""

    segment: Segment
    ops_per_second: float
    cpu_per_second: float
    """Of the governor's process; 0 where there is none."""


async def part_cost(stage: Stage) -> Result:
    """Return what the governor itself costs while no job runs, and its processor time while one does."""
    stage.lab.settle()
    foreground = stage.lab.start_foreground(ORDERS, rate=RATE, seconds=FOREGROUND_SECONDS_MAX)
    metered: dict[Mode, list[Metered]] = {Mode.OFF: [], Mode.ENFORCE: []}
    for number in range(stage.size.pairs):
        for mode in sorted(metered, key=lambda one: (one is Mode.ENFORCE) ^ (number % 2)):
            await stage.govern(mode)
            await asyncio.sleep(WARM_SECONDS)
            metered[mode].append(await _metered(stage, None))
    await stage.govern(Mode.ENFORCE)
    jobs = stage.jobs(Mode.ENFORCE, UPDATE)
    busy = await _metered(stage, jobs)
    await jobs.close()
    report = await asyncio.to_thread(foreground.stop)
    return cost_result(report, metered, busy)


async def _metered(stage: Stage, arm: Arm | None) -> Metered:
    ops, cpu_s, began = operations(stage.lab), governor_cpu_seconds(stage.lab), time.monotonic()
    segment = await stage.segment(arm)
    seconds = time.monotonic() - began
    return Metered(
        segment,
        (operations(stage.lab) - ops) / seconds,
        (governor_cpu_seconds(stage.lab) - cpu_s) / seconds,
    )


def operations(lab: Lab) -> int:
    """Return the reads, writes and commands that the server has counted since its start."""
    return sum(int(count) for count in lab.mongo.admin.command("serverStatus")["opcounters"].values() if _is_int(count))


def _is_int(value: object) -> bool:
    return isinstance(value, int)


def governor_cpu_seconds(lab: Lab) -> float:
    """Return the processor time of the governors' processes so far."""
    found = [pid for worker in lab.live_workers for pid in bench.children(worker.pid) if _is_governor(pid)]
    return sum(bench.cpu_seconds(pid) for pid in found)


def _is_governor(pid: int) -> bool:
    return b"--governor" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")


def cost_result(report: Mapping[str, Any], metered: Mapping[Mode, Sequence[Metered]], busy: Metered) -> Result:
    """Return what it costs, printed."""
    on, off = metered[Mode.ENFORCE], metered[Mode.OFF]
    pairs = [Pair(felt(report, one.segment), felt(report, other.segment)) for one, other in zip(on, off, strict=True)]
    ratio, floor = compared(pairs, median_p99), noise_floor([pair.idle for pair in pairs], median_p99)
    ops = bench.median([one.ops_per_second for one in on]) - bench.median([one.ops_per_second for one in off])
    cpu = bench.median([one.cpu_per_second for one in on])
    show(
        "What the governor itself costs",
        ("", "ops/s", "CPU s/s", "idle p99 x, on to off", "noise floor"),
        [
            ("without a job", ops, cpu, str(ratio), interval(floor)),
            ("with a job", None, busy.cpu_per_second, None, None),
        ],
    )
    return {
        "ops_per_second": round(ops, 1),
        "cpu_seconds_per_second": round(cpu, 4),
        "cpu_seconds_per_second_with_a_job": round(busy.cpu_per_second, 4),
        "p99_ratio_on_to_off": ratio.row(),
        "noise_floor": floor.row() if floor else None,
        "steal_percent": [one.segment.steal_percent for both in zip(on, off, strict=True) for one in both],
    }

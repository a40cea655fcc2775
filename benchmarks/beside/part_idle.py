"""Part ``idle``: a cluster without a foreground."""

import asyncio
from typing import Any

from benchmarks import bench
from benchmarks.bench import run_job, show, spec
from benchmarks.beside.sizes import IDLE_LIMIT, ORDERS, UPDATE, WARM_SECONDS
from benchmarks.beside.stage import Result, Stage
from lull.domain.governor.budget import Mode


async def part_idle(stage: Stage) -> Result:
    """Return whole jobs on a cluster without a foreground, governed and unpaced in alternation."""
    found: dict[Mode, list[dict[str, Any]]] = {Mode.OFF: [], Mode.ENFORCE: []}
    for number in range(stage.size.rounds):
        for mode in sorted(found, key=lambda one: (one is Mode.ENFORCE) ^ (number % 2)):
            await stage.govern(mode)
            stage.lab.settle()
            # A governor that has run for longer knows already that nobody is there.
            await asyncio.sleep(WARM_SECONDS)
            job = f"beside-{next(stage.numbers)}"
            run = await run_job(stage.lab, stage.client, spec(job=job, namespace=ORDERS, **UPDATE))
            found[mode].append(run.row())
    rates = {mode: bench.median([row["docs_per_second"] for row in rows]) for mode, rows in found.items()}
    ratio = rates[Mode.ENFORCE] / rates[Mode.OFF]
    verdict = bench.verdict(ratio, IDLE_LIMIT)
    show(
        "A cluster without a foreground: documents per second, start to completed",
        ("", "governed", "unpaced", "ratio", "wanted", ""),
        [("update", rates[Mode.ENFORCE], rates[Mode.OFF], ratio, IDLE_LIMIT, verdict)],
    )
    return {
        "ratio": round(ratio, 3),
        "verdict": verdict,
        "governed": found[Mode.ENFORCE],
        "unpaced": found[Mode.OFF],
    }

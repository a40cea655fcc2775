"""
A worker's memory over a long job: it must not grow with what has been done.

    make bench-memory                 five million documents, transform
    KIND=update make bench-memory     the same with an update
    QUICK=1 make bench-memory         one million

Resident memory is read from the system twice a second, beside the ledger's count. The first
twentieth of the job is for warming up; from there on the highest reading counts.
"""

import asyncio
import os
import time
from dataclasses import dataclass
from typing import Any

from benchmarks import bench
from benchmarks.bench import Lab, Machine, Worker, show, spec
from lull.domain.lifecycle import Status
from lull.starter.client import Client

NAMESPACE = "bench.orders"
FULL, QUICK = 5_000_000, 1_000_000
WARM_UP = 0.05
GROWTH_LIMIT_PERCENT = 10.0
SAMPLE_SECONDS = 0.5
TABLE_ROWS = 10
MIB = 1 << 20

KINDS: dict[str, dict[str, Any]] = {
    "transform": {"kind": "transform", "transform": "bench.total"},
    "update": {"kind": "update", "update": {"$inc": {"version": 1}}},
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One reading."""

    at_s: float
    documents: int
    rss_bytes: int


async def watch(lab: Lab, client: Client, worker: Worker, job: str) -> list[Sample]:
    """Return the readings from now to the job's end."""
    began = time.monotonic()
    ending = asyncio.ensure_future(client.wait(job))
    samples = []
    while not ending.done():
        documents = await asyncio.to_thread(lab.total, job)
        samples.append(Sample(time.monotonic() - began, documents, worker.rss_bytes))
        await asyncio.wait({ending}, timeout=SAMPLE_SECONDS)
    outcome = ending.result()
    if outcome.status is not Status.COMPLETED:
        raise RuntimeError(f"job {job} is {outcome.status}: {outcome.message}")
    samples.append(Sample(time.monotonic() - began, outcome.counts.scanned, worker.rss_bytes))
    return samples


def at_share(samples: list[Sample], share: float) -> Sample:
    """Return the first reading at which so much of the job was done."""
    total = samples[-1].documents
    return next(one for one in samples if one.documents >= share * total)


async def main() -> None:
    """Measure; print a table and write one file."""
    kind = os.environ.get("KIND", "transform")
    if kind not in KINDS:
        raise SystemExit(f"KIND={kind} is not measured; use one of {', '.join(KINDS)}")
    documents = QUICK if bench.is_quick() else FULL
    machine = Machine()
    with Lab() as lab:
        worker = lab.start_worker()
        bench.console.print(f"seeding {documents:,} documents")
        lab.seed(NAMESPACE, documents)
        client = await lab.connect()
        await client.start(spec(job="memory", namespace=NAMESPACE, **KINDS[kind]))
        samples = await watch(lab, client, worker, "memory")
    warm = at_share(samples, WARM_UP)
    highest = max(samples[samples.index(warm) :], key=lambda one: one.rss_bytes)
    growth_percent = 100 * (highest.rss_bytes / warm.rss_bytes - 1)
    shares = [WARM_UP, *(tenth / TABLE_ROWS for tenth in range(1, TABLE_ROWS + 1))]
    show(
        f"A worker's resident memory over {samples[-1].documents:,} documents ({kind})",
        ("done", "documents", "after s", "MiB"),
        [
            (f"{share:.0%}", one.documents, one.at_s, one.rss_bytes / MIB)
            for share, one in ((share, at_share(samples, share)) for share in shares)
        ],
    )
    met = bench.verdict(growth_percent, f"<= {GROWTH_LIMIT_PERCENT}")
    show(
        "Growth after the first twentieth",
        ("MiB then", "highest later", "growth %", "wanted", ""),
        [
            (
                f"{warm.rss_bytes / MIB:.1f}",
                highest.rss_bytes / MIB,
                growth_percent,
                f"<= {GROWTH_LIMIT_PERCENT:g} %",
                met,
            )
        ],
    )
    bench.write(
        "memory",
        {
            "kind": kind,
            "documents": samples[-1].documents,
            "seconds": samples[-1].at_s,
            "docs_per_second": samples[-1].documents / samples[-1].at_s,
            "rss_mib_after_5_percent": warm.rss_bytes / MIB,
            "rss_mib_highest_later": highest.rss_bytes / MIB,
            "growth_percent": growth_percent,
            "limit_percent": GROWTH_LIMIT_PERCENT,
            "verdict": met,
            "samples": [(round(one.at_s, 1), one.documents, one.rss_bytes) for one in samples],
        },
        machine,
    )


if __name__ == "__main__":
    asyncio.run(main())

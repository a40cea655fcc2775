"""Part ``foreign``: another client's load, which a job cannot help."""

import asyncio
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from benchmarks import bench
from benchmarks.bench import Document, Lab, show
from benchmarks.beside.sizes import (
    BEFORE_SECONDS,
    FOREGROUND_SECONDS_MAX,
    ORDERS,
    RATE,
    RECOVERY_LIMIT_S,
    SWITCH_SECONDS,
    UPDATE,
    WARM_SECONDS,
)
from benchmarks.beside.stage import Result, Stage, Watch
from benchmarks.beside.words import rate, reaction, recovery, shut_part
from benchmarks.foreground import between
from lull.domain.governor.budget import Mode
from lull.domain.lifecycle import Status


class Scans:
    """Another client that aggregates the whole collection, several times at once and over and over."""

    THREADS = 4
    SCAN_MS_MAX = 10_000
    PIPELINE: tuple[Document, ...] = (
        {"$match": {"note": {"$regex": "00.*ff"}}},
        {"$group": {"_id": "$address.zip", "total": {"$sum": "$price"}, "last": {"$max": "$created_at"}}},
        {"$sort": {"total": -1}},
        {"$limit": 10},
    )

    def __init__(self, uri: str) -> None:
        self._client = MongoClient[Document](uri, appname="scans")
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._run, name="scan", daemon=True) for _ in range(self.THREADS)]
        self.scans = 0

    def start(self) -> None:
        """They run."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """None runs any more."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        self._client.close()

    def _run(self) -> None:
        database, _, name = ORDERS.partition(".")
        while not self._stopped.is_set():
            with suppress(PyMongoError):
                list(self._client[database][name].aggregate(list(self.PIPELINE), maxTimeMS=self.SCAN_MS_MAX))
                self.scans += 1


async def part_foreign(stage: Stage) -> Result:
    """Return how a job behaves while somebody else, whom it cannot help, hurts the foreground."""
    size = stage.size
    await stage.govern(Mode.ENFORCE)
    stage.lab.settle()
    foreground = stage.lab.start_foreground(ORDERS, rate=RATE, seconds=FOREGROUND_SECONDS_MAX)
    await asyncio.sleep(WARM_SECONDS)
    jobs = stage.jobs(Mode.ENFORCE, UPDATE)
    watch = Watch(stage.lab, jobs.documents)
    await jobs.begin()
    watch.start()
    moments = []
    for _ in range(size.scans):
        await asyncio.sleep(BEFORE_SECONDS + SWITCH_SECONDS * 2)
        moments.append(await _scan(stage.lab, size.scan_s))
        await asyncio.sleep(RECOVERY_LIMIT_S)
    watch.stop()
    status = (await stage.client.status(jobs.streams[0].jobs[-1])).progress.status
    await jobs.close()
    report = await asyncio.to_thread(foreground.stop)
    rows = [foreign_row(report, watch, *each) for each in moments]
    show_foreign(rows, status)
    return {"scans": rows, "job_status_at_the_end": status, "job_has_failed": status is Status.FAILED}


async def _scan(lab: Lab, seconds: float) -> tuple[float, float, int]:
    """Return when other people's scans began and ended, and how many there were."""
    scans = Scans(lab.uri)
    begin_at = time.time()
    scans.start()
    await asyncio.sleep(seconds)
    await asyncio.to_thread(scans.stop)
    return begin_at, time.time(), scans.scans


def foreign_row(report: Mapping[str, Any], watch: Watch, begin_at: float, end_at: float, scans: int) -> Result:
    """Return one round of scans as JSON values."""
    until_at = end_at + RECOVERY_LIMIT_S
    said = [word.reason for word in watch.words if begin_at <= word.at <= end_at and word.reason]
    return {
        "scans": scans,
        "seconds": round(end_at - begin_at, 1),
        "reaction_s": reaction(watch.words, begin_at, end_at).seconds,
        "shut_percent": round(100 * shut_part(watch.words, begin_at, end_at)),
        "says_not_ours": any("not ours" in reason for reason in said),
        "reasons": list(dict.fromkeys(said))[:20],
        "docs_per_second": [
            rate(watch.counts, begin_at - BEFORE_SECONDS, begin_at),
            rate(watch.counts, begin_at, end_at),
            rate(watch.counts, end_at, until_at),
        ],
        "p99_ms": [
            between(report, begin_at - BEFORE_SECONDS, begin_at).percentile_ms(99),
            between(report, begin_at, end_at).percentile_ms(99),
            between(report, end_at, until_at).percentile_ms(99),
        ],
        "recovery_s": recovery(watch.counts, begin_at, end_at, until_at),
    }


def show_foreign(rows: Sequence[Result], status: Status) -> None:
    """Print what somebody else's scans did."""
    show(
        f"Somebody else's scans: before, during, after; the job is {status} at the end",
        ("", "yields s", "shut %", "not ours", "docs/s", "back s", "p99 ms"),
        [
            (
                f"{row['scans']} scans in {row['seconds']:.0f} s",
                row["reaction_s"] if row["reaction_s"] is not None else "never",
                row["shut_percent"],
                row["says_not_ours"],
                _three(row["docs_per_second"]),
                row["recovery_s"] if row["recovery_s"] is not None else "never",
                _three(row["p99_ms"]),
            )
            for row in rows
        ],
    )


def _three(values: Sequence[float | None]) -> str:
    return ", ".join(bench.shown(value) for value in values)

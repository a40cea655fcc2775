"""Part ``surge``: a foreground that suddenly has five times as much to do."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import bench
from benchmarks.bench import show
from benchmarks.beside.sizes import (
    BEFORE_SECONDS,
    ORDERS,
    RATE,
    REACTION_LIMIT_MAX_S,
    REACTION_LIMIT_S,
    REACTION_PART,
    RECOVERY_LIMIT_S,
    UPDATE,
    WARM_SECONDS,
    Size,
)
from benchmarks.beside.stage import Result, Stage, Watch
from benchmarks.beside.words import rate, reaction, recovery, shut_part
from benchmarks.foreground import between
from lull.domain.governor.budget import Mode


async def part_surge(stage: Stage) -> Result:
    """Return how quickly the governor answers a foreground that has five times as much to do, and goes on afterwards."""
    size = stage.size
    await stage.govern(Mode.ENFORCE)
    stage.lab.settle()
    total_s = size.surge_every_s * (size.surges + size.surges_alone + 1)
    foreground = stage.lab.start_foreground(
        ORDERS,
        rate=RATE,
        seconds=total_s,
        surge_rate=size.surge_rate,
        surge_from=size.surge_every_s,
        surge_for=size.surge_s,
        surge_every=size.surge_every_s,
    )
    began = time.monotonic()
    await asyncio.sleep(WARM_SECONDS)
    jobs = stage.jobs(Mode.ENFORCE, UPDATE)
    watch = Watch(stage.lab, jobs.documents)
    await jobs.begin()
    watch.start()
    with_job_s = size.surge_every_s * (size.surges + 1) - 4.0
    await asyncio.sleep(with_job_s - (time.monotonic() - began))
    watch.stop()
    await jobs.close()
    await asyncio.sleep(max(0.0, total_s - 2.0 - (time.monotonic() - began)))
    report = await asyncio.to_thread(foreground.stop)
    return surges_result(report, watch, size)


def surges_result(report: Mapping[str, Any], watch: Watch, size: Size) -> Result:
    """Return all surges, printed."""
    rows = [surge_row(report, watch, size, number) for number in range(size.surges)]
    begins = [surge_begin(report, size, size.surges + number) for number in range(size.surges_alone)]
    alone = [between(report, at, at + size.surge_s).percentile_ms(99) for at in begins]
    counted = [row["reaction_s"] for row in rows if not row["was_shut"]]
    quick = sum(seconds is not None and seconds <= REACTION_LIMIT_S for seconds in counted)
    part = quick / len(counted) if counted else None
    slowest = None if None in counted else max(counted, default=None)
    recoveries = [row["recovery_s"] for row in rows]
    recovered_s = None if None in recoveries else max(recoveries, default=None)
    result = {
        "surge_ops_per_second": size.surge_rate,
        "surges": rows,
        "alone_p99_ms": alone,
        "answered_within_1s": part,
        "answered_verdict": bench.verdict(part, REACTION_PART),
        "slowest_s": slowest,
        "slowest_verdict": _verdict_max(counted, slowest, REACTION_LIMIT_MAX_S),
        "longest_recovery_s": recovered_s,
        "recovery_verdict": _verdict_max(recoveries, recovered_s, RECOVERY_LIMIT_S),
    }
    show_surges(result)
    return result


def _verdict_max(values: Sequence[float | None], most: float | None, limit: float) -> str:
    """Return the verdict on the largest value; one that never came is missed."""
    return "missed" if None in values else bench.verdict(most, f"<= {limit}")


def surge_begin(report: Mapping[str, Any], size: Size, number: int) -> float:
    """Return when a surge began, in seconds since the epoch."""
    return float(report["started_at"]) + size.surge_every_s * (number + 1)


def surge_row(report: Mapping[str, Any], watch: Watch, size: Size, number: int) -> Result:
    """Return one surge as JSON values."""
    begin_at = surge_begin(report, size, number)
    end_at, until_at = begin_at + size.surge_s, begin_at + size.surge_every_s
    answer = reaction(watch.words, begin_at, end_at)
    word = next((word for word in watch.words if answer.seconds and word.at == begin_at + answer.seconds), None)
    return {
        "reaction_s": answer.seconds,
        "was_shut": answer.was_shut,
        "reason": word.reason if word else "",
        "shut_percent": round(100 * shut_part(watch.words, begin_at, end_at)),
        "earlier_docs_per_second": rate(watch.counts, begin_at - BEFORE_SECONDS, begin_at),
        "surge_docs_per_second": rate(watch.counts, begin_at, end_at),
        "recovery_s": recovery(watch.counts, begin_at, end_at, until_at),
        "before_p99_ms": between(report, begin_at - BEFORE_SECONDS, begin_at).percentile_ms(99),
        "p99_ms": between(report, begin_at, end_at).percentile_ms(99),
    }


def show_surges(result: Result) -> None:
    """Print surges, and what was wanted."""
    show(
        f"Surges from {RATE:.0f} to {result['surge_ops_per_second']:,.0f} operations a second; latencies in ms",
        ("", "answered s", "shut %", "docs/s before", "in it", "back after s", "p99 before", "in it"),
        [
            (
                f"surge {number}" + (", gate was shut" if row["was_shut"] else ""),
                row["reaction_s"] if row["reaction_s"] is not None else "never",
                row["shut_percent"],
                row["earlier_docs_per_second"],
                row["surge_docs_per_second"],
                row["recovery_s"] if row["recovery_s"] is not None else "never",
                row["before_p99_ms"],
                row["p99_ms"],
            )
            for number, row in enumerate(result["surges"], start=1)
        ]
        + [("without a job", None, None, None, None, None, None, ms) for ms in result["alone_p99_ms"]],
    )
    show(
        "The governor's answers",
        ("", "", "wanted", ""),
        [
            ("part answered within 1 s", result["answered_within_1s"], REACTION_PART, result["answered_verdict"]),
            ("slowest answer s", result["slowest_s"], f"<= {REACTION_LIMIT_MAX_S:g}", result["slowest_verdict"]),
            ("back to 90 % after s", result["longest_recovery_s"], f"<= {RECOVERY_LIMIT_S:g}", result["recovery_verdict"]),
        ],
    )  # fmt: skip

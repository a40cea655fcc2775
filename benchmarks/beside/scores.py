"""Parts in which segments alternate: every arm's score, its table, and the verdict on it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks import bench
from benchmarks.bench import show
from benchmarks.beside.arms import Arm
from benchmarks.beside.ratios import Estimate, against, compared, interval, median_p99, noise_floor, pooled_p99
from benchmarks.beside.segments import Felt, Pair, Segment, felt, merged
from benchmarks.beside.sizes import FOREGROUND_SECONDS_MAX, ORDERS, P99_LIMIT, REST_SECONDS, THROUGHPUT_LIMIT
from benchmarks.beside.stage import Result, Stage
from lull.domain.governor.budget import Mode


@dataclass(slots=True)
class Score:
    """One arm beside one foreground."""

    arm: str
    rate: float
    segments: list[tuple[Segment, Segment]]
    pairs: list[Pair] = field(default_factory=list)
    baseline: list[Felt] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def docs_per_second(self) -> float:
        """Of the arm."""
        beside = [one for one, _ in self.segments]
        return sum(one.documents for one in beside) / sum(one.seconds for one in beside)

    @property
    def ratio(self) -> Estimate:
        """Of medians of 1-second p99s."""
        return compared(self.pairs, median_p99)

    @property
    def floor(self) -> Estimate | None:
        """The same of idle against idle."""
        return noise_floor([*self.baseline, *(pair.idle for pair in self.pairs)], median_p99)

    def attribute(self, report: Mapping[str, Any], baseline: Sequence[Segment]) -> None:
        """What the foreground felt is known of every segment."""
        self.pairs = [Pair(felt(report, beside), felt(report, idle)) for beside, idle in self.segments]
        self.baseline = [felt(report, segment) for segment in baseline]

    def row(self) -> dict[str, Any]:
        """Return the same as JSON values."""
        floor = self.floor
        return {
            "arm": self.arm,
            "foreground_ops_per_second": self.rate,
            "docs_per_second": round(self.docs_per_second),
            "seconds_per_arm": round(sum(one.seconds for one, _ in self.segments)),
            "beside": percentiles([pair.beside for pair in self.pairs]),
            "idle": percentiles([pair.idle for pair in self.pairs]),
            "baseline": percentiles(self.baseline) if self.baseline else None,
            "p99_ratio": self.ratio.row(),
            "p99_ratio_pooled": compared(self.pairs, pooled_p99).row(),
            "p99_ratio_to_baseline": self._to_baseline(),
            "noise_floor": floor.row() if floor else None,
            **self.notes,
            "segments": [_segment_row(*both) for both in zip(self.segments, self.pairs, strict=True)],
        }

    def _to_baseline(self) -> list[float] | None:
        beside = [pair.beside for pair in self.pairs]
        return against(beside, self.baseline, median_p99).row() if self.baseline else None


def percentiles(parts: Sequence[Felt]) -> dict[str, Any]:
    """Return the pooled percentiles of segments, and the median of 1-second p99s."""
    whole = merged([part.whole for part in parts])
    return {
        "operations": whole.total,
        "p50_ms": whole.percentile_ms(50),
        "p95_ms": whole.percentile_ms(95),
        "p99_ms": whole.percentile_ms(99),
        "median_of_1s_p99_ms": round(median_p99(parts), 3),
    }


def _segment_row(segments: tuple[Segment, Segment], pair: Pair) -> dict[str, Any]:
    sides = {}
    for name, segment, part in zip(("beside", "idle"), segments, pair, strict=True):
        sides[name] = {
            "begin_at": round(segment.begin_at, 3),
            "seconds": round(segment.seconds, 3),
            "documents": segment.documents,
            "steal_percent": segment.steal_percent,
            "p99s_ms": part.p99s_ms,
        }
    return sides


async def hold(
    stage: Stage, foreground_rate: float, arms: Sequence[tuple[Arm, int]], *, has_governor: bool = True
) -> list[Score]:
    """Return every arm's score after so many pairs each, under one foreground."""
    stage.lab.settle()
    foreground = stage.lab.start_foreground(ORDERS, rate=foreground_rate, seconds=FOREGROUND_SECONDS_MAX)
    await asyncio.sleep(REST_SECONDS)
    baseline = [await stage.segment() for _ in range(stage.size.baseline)]
    scores: list[Score] = []
    for arm, pairs in arms:
        arm.tune({score.arm: score.docs_per_second for score in scores})
        segments = await stage.alternate(arm, pairs, has_governor=has_governor)
        scores.append(Score(arm.name, foreground_rate, segments))
        bench.console.print(f"  {arm.name}: {scores[-1].docs_per_second:,.0f} documents a second")
    report = await asyncio.to_thread(foreground.stop)
    for score in scores:
        score.attribute(report, baseline)
    return scores


COLUMNS = ("latencies in ms", "docs/s", "p50", "p95", "p99", "idle p99", "p99 x", "pooled", "floor")


def show_scores(title: str, rows: Sequence[tuple[str, Score]]) -> None:
    """Print a table of arms; the ratio with its 80 % interval, the ratio of pooled p99s, the noise floor's interval."""
    show(title, COLUMNS, [(name, *_cells(score)) for name, score in rows])


def _cells(score: Score) -> tuple[object, ...]:
    beside, idle = percentiles([pair.beside for pair in score.pairs]), percentiles([pair.idle for pair in score.pairs])
    return (
        score.docs_per_second,
        beside["p50_ms"],
        beside["p95_ms"],
        beside["p99_ms"],
        idle["p99_ms"],
        str(score.ratio),
        compared(score.pairs, pooled_p99).ratio,
        interval(score.floor),
    )


async def governed_and_unpaced(
    stage: Stage, make: Callable[[Mode], Arm], foreground_rate: float
) -> tuple[list[Score], Result]:
    """Return the scores of one kind of work, governed and unpaced, and what is wanted of them."""
    size = stage.size
    scores = await hold(
        stage, foreground_rate, [(make(Mode.ENFORCE), size.pairs), (make(Mode.OFF), size.pairs_unpaced)]
    )
    governed, unpaced = scores
    throughput = governed.docs_per_second / unpaced.docs_per_second
    return scores, {
        "p99_ratio": governed.ratio.row(),
        "p99_verdict": bench.verdict(governed.ratio.ratio, P99_LIMIT),
        "throughput_ratio": round(throughput, 3),
        "throughput_verdict": bench.verdict(throughput, THROUGHPUT_LIMIT),
        "scores": [score.row() for score in scores],
    }


def show_verdicts(title: str, results: Mapping[str, Result]) -> None:
    """Print what was wanted, case by case."""
    show(
        title,
        ("", "p99 x", "wanted", "", "throughput x", "wanted", ""),
        [
            (
                name,
                str(Estimate(*one["p99_ratio"])),
                P99_LIMIT,
                one["p99_verdict"],
                one["throughput_ratio"],
                THROUGHPUT_LIMIT,
                one["throughput_verdict"],
            )
            for name, one in results.items()
        ],
    )


Case = tuple[Callable[[Mode], Arm], float]
"""What is made for a governor's mode, and the foreground's rate."""


async def hold_cases(stage: Stage, title: str, cases: Mapping[str, Case]) -> Result:
    """Return the results of all cases, printed."""
    results: dict[str, Result] = {}
    rows: list[tuple[str, Score]] = []
    for name, (make, foreground_rate) in cases.items():
        bench.console.print(f"{name}:")
        scores, results[name] = await governed_and_unpaced(stage, make, foreground_rate)
        rows += [(f"{name}, {score.arm}", score) for score in scores]
    show_scores(title, rows)
    show_verdicts("Governed beside idle, and governed to unpaced", results)
    return results

"""What one side is to the other, how sure that is, and how much of it is the machine's own noise."""

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

from typing_extensions import override

from benchmarks import bench
from benchmarks.beside.segments import Felt, Pair, merged
from benchmarks.beside.sizes import DRAWS, SEED


class Estimate(NamedTuple):
    """A ratio and its 80 % interval."""

    ratio: float
    low: float
    high: float

    @override
    def __str__(self) -> str:
        return f"{self.ratio:.2f} [{self.low:.2f}-{self.high:.2f}]"

    def row(self) -> list[float]:
        """Return the same as JSON values."""
        return [round(value, 4) for value in self]


Statistic = Callable[[Sequence[Felt]], float]


def median_p99(parts: Sequence[Felt]) -> float:
    """Return the median of 1-second p99s in milliseconds."""
    return bench.median([ms for part in parts for ms in part.p99s_ms])


def pooled_p99(parts: Sequence[Felt]) -> float:
    """Return the p99 of all operations in milliseconds."""
    return merged([part.whole for part in parts]).percentile_ms(99) or 0.0


def compared(pairs: Sequence[Pair], statistic: Statistic) -> Estimate:
    """
    Return what the job's side is to the other one.

    The interval: the ratio over pairs drawn with replacement, 400 times, always the same ones. Pairs
    and not segments, because the machine's own moods last longer than a pair.
    """
    dice = random.Random(SEED)
    draws = [_ratio([dice.choice(pairs) for _ in pairs], statistic) for _ in range(DRAWS)]
    return Estimate(_ratio(pairs, statistic), *_middle(draws))


def against(beside: Sequence[Felt], baseline: Sequence[Felt], statistic: Statistic) -> Estimate:
    """Return what segments with a job are to others that are nobody's neighbours."""
    dice = random.Random(SEED)
    draws = [
        statistic([dice.choice(beside) for _ in beside]) / statistic([dice.choice(baseline) for _ in baseline])
        for _ in range(DRAWS)
    ]
    return Estimate(statistic(beside) / statistic(baseline), *_middle(draws))


def noise_floor(idle: Sequence[Felt], statistic: Statistic) -> Estimate | None:
    """
    Return what idle is to idle: random halves of the job-free segments against each other; None for fewer than two.

    A half has half an arm's time, so the floor is somewhat wider than the arms' own noise.
    """
    if len(idle) < 2:
        return None
    dice = random.Random(SEED)
    draws = []
    for _ in range(DRAWS):
        mixed = dice.sample(idle, len(idle))
        half = len(mixed) // 2
        draws.append(statistic(mixed[:half]) / statistic(mixed[half : 2 * half]))
    return Estimate(bench.median(draws), *_middle(draws))


def _ratio(pairs: Sequence[Pair], statistic: Statistic) -> float:
    return statistic([pair.beside for pair in pairs]) / statistic([pair.idle for pair in pairs])


def _middle(draws: Sequence[float]) -> tuple[float, float]:
    """Return the bounds of the middle 80 % of the draws."""
    low, high = bench.percentile(draws, 10), bench.percentile(draws, 90)
    assert low is not None
    assert high is not None
    return low, high


def interval(estimate: Estimate | None) -> str:
    """Return a cell: the bounds; empty for none."""
    return f"{estimate.low:.2f}-{estimate.high:.2f}" if estimate else ""

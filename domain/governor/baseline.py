"""
What is normal: the canary's latencies while none of our pages runs, and how ours compare with them.

The base is learned only while we are known to be off (blank windows, no job) and the foreground is
well; it is frozen otherwise, so that congestion is never learned as normal. A foreground that stays
different for minutes without us moves it slowly.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from typing import NamedTuple

SAMPLES_MAX = 400
"""Per kind of operation: about twenty blank windows, ten minutes."""
SAMPLES_MIN = 20
"""Fewer say nothing about a tail."""
EXCESS = 2.0
"""An operation that takes longer than this many base p90s is slow: one in thirty is, on a calm server."""
DRIFT = 1.05
"""How much the base may move at once, when the foreground is another one than it was."""
TOGETHER = 8
"""Operations of the same moment share its weather: so many of them say as much as one."""
Z80 = 1.2816
"""Of a two-sided 80 % interval."""


class Op(NamedTuple):
    """One canary operation."""

    at_s: float
    """Its intended start, of the governor's monotonic clock."""
    ms: float
    """From there; for one that is still under way, at least this."""


def quantile(ordered: Sequence[float], fraction: float) -> float:
    """Return the smallest of these *ordered* values that *fraction* of them do not exceed."""
    # 0.7 of ten is a hair more than seven in binary.
    return ordered[min(len(ordered) - 1, max(0, ceil(fraction * len(ordered) - 1e-9) - 1))]


@dataclass(frozen=True, slots=True)
class Base:
    """What one kind of canary operation takes without us."""

    samples: tuple[float, ...] = ()
    """Milliseconds, oldest first."""
    scale: float = 1.0
    """How far the foreground's own normal has moved since they were taken."""
    _p90: float | None = field(init=False, compare=False, repr=False, default=None)
    """Of the samples: asked for with every operation, so it is sorted out once."""

    def __post_init__(self) -> None:
        if self.is_known:
            object.__setattr__(self, "_p90", quantile(sorted(self.samples), 0.9))

    @property
    def is_known(self) -> bool:
        """Whether there is enough to judge by."""
        return len(self.samples) >= SAMPLES_MIN

    def p(self, fraction: float) -> float | None:
        """Return a quantile in milliseconds; None while not enough is known."""
        return quantile(sorted(self.samples), fraction) * self.scale if self.is_known else None

    @property
    def limit_ms(self) -> float | None:
        """An operation that takes longer is slow."""
        return None if self._p90 is None else EXCESS * self._p90 * self.scale

    def learned(self, more: Sequence[float]) -> "Base":
        """Return the base with healthy samples taken while we were off; they bring it back to scale."""
        if not more:
            return self
        kept = self.samples if self.scale == 1.0 else tuple(ms * self.scale for ms in self.samples)
        return Base((*kept, *more)[-SAMPLES_MAX:])

    def drifted(self, observed_p90_ms: float) -> "Base":
        """Return the base moved a step towards what the foreground has been for minutes without us."""
        p90 = self.p(0.9)
        if p90 is None or p90 <= 0:
            return self
        wanted = observed_p90_ms / p90
        return replace(self, scale=self.scale * min(max(wanted, 1 / DRIFT), DRIFT))


class Share(NamedTuple):
    """How the tail beside our pages compares with the tail without them."""

    ratio: float
    low: float
    high: float
    """An 80 % interval."""
    ours_ms: float
    """The difference of the tails, zero or more: a lower bound of what we cost, since blanks also hold our after-effects."""


def compare(on: Sequence[float], off: Sequence[float], fraction: float = 0.95) -> Share | None:
    """
    Return what the tail of *on* is to the tail of *off*; None while either says too little.

    The interval is that of the two order statistics (binomial, normal approximation), joined. Taken
    for independent, operations would find a difference between two halves of the same calm minute.
    """
    if len(on) < SAMPLES_MIN or len(off) < SAMPLES_MIN:
        return None
    beside, without = _around(sorted(on), fraction), _around(sorted(off), fraction)
    if without.low <= 0:
        return None
    return Share(
        ratio=beside.mid / without.mid,
        low=beside.low / without.high,
        high=beside.high / without.low,
        ours_ms=max(0.0, beside.mid - without.mid),
    )


class _Around(NamedTuple):
    low: float
    mid: float
    high: float


def _around(ordered: Sequence[float], fraction: float) -> _Around:
    count = len(ordered) / TOGETHER
    # Half the joint interval's width each: the two tails are independent.
    spread = Z80 / 2**0.5 * (fraction * (1 - fraction) / count) ** 0.5
    low, high = (quantile(ordered, min(1.0, max(0.0, fraction + side * spread))) for side in (-1, 1))
    return _Around(low, quantile(ordered, fraction), high)


@dataclass(frozen=True, slots=True)
class Tail:
    """The newest canary operations of all kinds, each as a multiple of what is slow for its kind."""

    excesses: tuple[float, ...] = field(default=())

    @property
    def shut_at(self) -> float | None:
        """Three quarters are below this: at 1 the gate shuts."""
        return quantile(sorted(self.excesses), 0.75) if self.excesses else None

    @property
    def open_at(self) -> float | None:
        """Seven eighths are below this: the gate opens again below 1."""
        return quantile(sorted(self.excesses), 0.875) if self.excesses else None

"""Stretches of time, and what the foreground felt in them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from benchmarks.foreground import Histogram, seconds_between


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of time on one side, without its first seconds."""

    begin_at: float
    end_at: float
    """Seconds since the epoch."""
    steal_percent: float
    documents: int = 0
    """That jobs or scripts finished meanwhile."""

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end_at - self.begin_at


@dataclass(frozen=True, slots=True)
class Felt:
    """What the foreground felt in one segment."""

    p99s_ms: tuple[float, ...]
    """Of every whole second."""
    whole: Histogram


class Pair(NamedTuple):
    """Two neighbouring segments."""

    beside: Felt
    idle: Felt


def felt(report: Mapping[str, Any], segment: Segment) -> Felt:
    """
    Return what the foreground's *report* says of a segment. Raises RuntimeError if that is nothing.

    A segment too short for a whole second has those that it touches.
    """
    whole = seconds_between(report, segment.begin_at, segment.end_at)
    return gathered(whole or seconds_between(report, segment.begin_at - 1, segment.end_at + 1))


def gathered(seconds: Sequence[Histogram]) -> Felt:
    """Return whole seconds as one; a second without operations says nothing."""
    p99s_ms = [one.percentile_ms(99) for one in seconds]
    if not any(p99s_ms):
        raise RuntimeError("the foreground did nothing in a segment; look at its log")
    return Felt(tuple(ms for ms in p99s_ms if ms is not None), merged(seconds))


def merged(parts: Sequence[Histogram]) -> Histogram:
    """Return all operations in one histogram."""
    whole = Histogram()
    for part in parts:
        whole.merge(part)
    return whole

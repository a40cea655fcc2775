"""
A governor's samples folded into what can be drawn and compared: pure, so that no peak is lost is a property.

A sample sums up the canary's operations since the one before it, of a second at most (of ten while no job
runs): how many, their median, p90 and maximum. Where a blank window begins and where it ends there is one.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from heapq import nlargest
from typing import NamedTuple

from lull.domain.governor.budget import Mode
from lull.domain.governor.law import Zone
from lull.domain.report import (
    POINTS_MAX,
    STEPS_MAX,
    STOPS_SHOWN_MAX,
    Condition,
    Felt,
    Own,
    Series,
    Stop,
    Stops,
    Timeline,
)

GAP_SECONDS = 12.0
"""Between two samples; after a longer silence nobody knows what was."""
BUSY_GAP_SECONDS = 2.5
"""The same while jobs are there, when a sample sums up one second: the first after an idle time does not tell of it."""
BUCKETS_SECONDS = (1, 2, 3, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 240, 300, 360, 420, 600, 900, 1_800, 3_600)
"""Widths that read well on an axis."""
REASON_CHARACTERS_MAX = 160
DIGITS = 4
"""Of a figure that is drawn."""
REPORTED = "reported"
"""Where a p99 came from: the foreground's own report. The canary's are named so."""
STEPS_PER_DOUBLING = 128
"""Of the histograms that latencies are compared by: right within half a per cent."""


class Latencies(NamedTuple):
    """One kind of canary operation in one sample, in milliseconds."""

    operations: int
    p50: float
    p90: float
    most: float


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample, as far as a report on one job asks."""

    at_s: float
    """Since the timeline's beginning; samples come in their order."""
    condition: Condition
    zone: str = ""
    reason: str = ""
    is_observed_only: bool = False
    """Jobs did not have to obey."""
    figures: Mapping[str, float] = field(default_factory=dict)
    latencies: Mapping[str, Latencies] = field(default_factory=dict)
    """By ``read`` and ``write``."""
    own: Own | None = None
    sources: Mapping[str, str] = field(default_factory=dict)
    """Where the figures ``read-p99`` and ``write-p99`` came from."""
    is_draining: bool = False
    """Pages were ending or beginning when it was taken."""
    is_clean: bool = False
    """The whole time it sums up lay in its condition."""


def condition(*, zone: str, mode: str, is_open: bool, has_jobs: bool) -> Condition:
    """Return what of ours could run; jobs that do not have to obey work whatever the governor says."""
    if not has_jobs:
        return Condition.ALONE
    if mode != Mode.ENFORCE:
        return Condition.WORKING
    if zone == Zone.BLANK:
        return Condition.BLANK
    return Condition.WORKING if is_open else Condition.SHUT


def bucket_seconds(span_s: float, points_max: int = POINTS_MAX) -> float:
    """Return how long a bucket lasts, so that at most *points_max* of them cover *span_s*."""
    wanted = span_s / points_max
    return next((float(width) for width in BUCKETS_SECONDS if width >= wanted), math.ceil(wanted / 3_600) * 3_600.0)


def timeline(samples: Iterable[Sample], from_at: datetime, to_at: datetime, points_max: int = POINTS_MAX) -> Timeline:
    """
    Return *samples* in at most *points_max* moments: of every figure its median, least and greatest.

    Reads the samples once and keeps one bucket of them, however many there are.
    """
    width_s = bucket_seconds((to_at - from_at).total_seconds(), points_max)
    drawing, comparing, stopping = _Drawing(), _Comparing(), _Stopping(from_at)
    bucket: list[Sample] = []
    count = observed_only = 0
    sources: Counter[tuple[str, str]] = Counter()
    own: Own | None = None
    previous: Sample | None = None
    for found in samples:
        sample, previous = _marked(found, previous), found
        if bucket and sample.at_s // width_s != bucket[0].at_s // width_s:
            drawing.add(bucket)
            bucket = []
        bucket.append(sample)
        comparing.add(sample)
        stopping.add(sample)
        count += 1
        observed_only += sample.is_observed_only
        own = sample.own or own
        sources.update(sample.sources.items())
    if bucket:
        drawing.add(bucket)
    return drawing.timeline(from_at, to_at).model_copy(
        update={
            "samples": count,
            "bucket_s": width_s,
            "observed_only": round(observed_only / count, DIGITS) if count else 0.0,
            "felt": comparing.felt(),
            "stops": stopping.stops(),
            "own": own,
            "reported": _reported(sources),
        }
    )


def _reported(sources: Counter[tuple[str, str]]) -> dict[str, float]:
    """Return for each p99 which part of its samples had it from the foreground itself."""
    names = sorted({name for name, _ in sources})
    totals = {name: sum(count for (of, _), count in sources.items() if of == name) for name in names}
    return {name: round(sources[name, REPORTED] / totals[name], DIGITS) for name in names}


def _marked(sample: Sample, previous: Sample | None) -> Sample:
    """Return *sample*, clean if the one before was of the same condition: its operations began after that."""
    if previous is None or previous.condition is not sample.condition or previous.is_draining or sample.is_draining:
        return sample
    if sample.at_s - previous.at_s > GAP_SECONDS:
        return sample
    without = {}
    if sample.condition in {Condition.BLANK, Condition.ALONE}:
        without = {f"{op}-p90 without": latencies.p90 for op, latencies in sample.latencies.items()}
    return replace(sample, is_clean=True, figures={**sample.figures, **without})


# --- what is drawn ----------------------------------------------------------------------------------


class _Spread(NamedTuple):
    low: float
    mid: float
    high: float


class _Drawing:
    """Buckets in their order, reduced to one value each."""

    def __init__(self) -> None:
        self._at_s: list[float] = []
        self._spreads: list[dict[str, _Spread]] = []
        self._zones: dict[str, int] = {}
        self._reasons: dict[str, int] = {"": 0}
        self._zone: list[int] = []
        self._reason: list[int] = []
        self._shut: list[float] = []
        self._blank: list[float] = []

    def add(self, bucket: Sequence[Sample]) -> None:
        """One bucket more, of at least one sample."""
        self._at_s.append(round(bucket[-1].at_s, 1))
        self._spreads.append(_spreads(bucket))
        (zone, _), *_ = Counter(sample.zone for sample in bucket).most_common(1)
        self._zone.append(self._zones.setdefault(zone, len(self._zones)))
        why = _telling(bucket)
        self._reason.append(self._reasons.setdefault(why, len(self._reasons)))
        self._shut.append(_part(bucket, Condition.SHUT))
        self._blank.append(_part(bucket, Condition.BLANK))

    def timeline(self, from_at: datetime, to_at: datetime) -> Timeline:
        """Return the columns."""
        names = dict.fromkeys(name for spreads in self._spreads for name in spreads)
        return Timeline(
            from_at=from_at,
            to_at=to_at,
            at_s=tuple(self._at_s),
            series=tuple(self._series(name) for name in names),
            zone=tuple(self._zone),
            zones=tuple(self._zones),
            shut=tuple(self._shut),
            blank=tuple(self._blank),
            reason=tuple(self._reason),
            reasons=tuple(self._reasons),
        )

    def _series(self, name: str) -> Series:
        found = [spreads.get(name) for spreads in self._spreads]
        low, mid, high = (tuple(None if one is None else one[place] for one in found) for place in range(3))
        return Series(name=name, mid=mid) if low == mid == high else Series(name=name, mid=mid, low=low, high=high)


def _spreads(bucket: Sequence[Sample]) -> dict[str, _Spread]:
    names = dict.fromkeys(name for sample in bucket for name in sample.figures)
    found = {}
    for name in names:
        values = sorted(sample.figures[name] for sample in bucket if name in sample.figures)
        found[name] = _Spread(*(_short(value) for value in (values[0], values[len(values) // 2], values[-1])))
    return found


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _part(bucket: Sequence[Sample], wanted: Condition) -> float:
    return round(sum(sample.condition is wanted for sample in bucket) / len(bucket), 2)


def _telling(bucket: Sequence[Sample]) -> str:
    """Return one reason for a bucket: the first for which the gate was shut, else the first there is."""
    ranked = sorted(
        (sample for sample in bucket if sample.reason), key=lambda sample: sample.condition is not Condition.SHUT
    )
    return ranked[0].reason[:REASON_CHARACTERS_MAX] if ranked else ""


# --- what is compared -------------------------------------------------------------------------------


class _Comparing:
    """What the canary's operations took, by what of ours ran."""

    def __init__(self) -> None:
        self._all: dict[tuple[str, Condition], _Histogram] = {}

    def add(self, sample: Sample) -> None:
        """A sample counts if it tells of one condition alone."""
        if not sample.is_clean:
            return
        for op, latencies in sample.latencies.items():
            self._all.setdefault((op, sample.condition), _Histogram()).add(latencies)

    def felt(self) -> tuple[Felt, ...]:
        """Return the figures, reads before writes, conditions in the order in which they are declared."""
        return tuple(
            self._all[op, state].felt(op, state)
            for op in ("read", "write")
            for state in Condition
            if (op, state) in self._all
        )


class _Histogram:
    def __init__(self) -> None:
        self._medians: Counter[int] = Counter()
        self._tails: Counter[int] = Counter()
        self._operations = 0
        self._samples = 0

    def add(self, seen: Latencies) -> None:
        self._samples += 1
        self._operations += seen.operations
        self._medians[_step(seen.p50)] += seen.operations
        below, upto_90 = math.ceil(seen.operations / 2), math.ceil(seen.operations * 0.9)
        # Below its own median a sample tells nothing, and no p90 or p99 of all of them lies there.
        self._tails[_step(seen.p50)] += below
        self._spread(seen.p50, seen.p90, upto_90 - below)
        self._spread(seen.p90, seen.most, seen.operations - upto_90)

    def _spread(self, above: float, upto: float, count: int) -> None:
        """Count so many operations, evenly from *above* up to and including *upto*."""
        for place in range(1, count + 1):
            self._tails[_step(above + (upto - above) * place / count)] += 1

    def felt(self, op: str, state: Condition) -> Felt:
        return Felt(
            op=op,
            condition=state,
            samples=self._samples,
            operations=self._operations,
            # The median of the seconds' medians; tails cannot be had that way, a rare slow second is all of them.
            p50=_at(self._medians, 0.5),
            p90=_at(self._tails, 0.9),
            p99=_at(self._tails, 0.99),
        )


def _step(ms: float) -> int:
    return round(STEPS_PER_DOUBLING * math.log2(max(ms, 0.001)))


def _at(steps: Counter[int], fraction: float) -> float:
    seen, wanted = 0, fraction * steps.total() - 1e-9
    for step in sorted(steps):
        seen += steps[step]
        if seen >= wanted:
            return _short(2.0 ** (step / STEPS_PER_DOUBLING))
    return 0.0


# --- how long the gate was shut -----------------------------------------------------------------------


class _Stopping:
    """Times for which the gate was shut to jobs; blank windows are none of them."""

    def __init__(self, from_at: datetime) -> None:
        self._from_at = from_at
        self._done: list[Stop] = []
        self._count = 0
        self._seconds = 0.0
        self._now: Stop | None = None
        self._previous_s: float | None = None

    def add(self, sample: Sample) -> None:
        """The sample tells of the time since the one before."""
        since_s = self._previous_s if self._previous_s is not None else sample.at_s - 1.0
        self._previous_s = sample.at_s
        lasted_s = sample.at_s - since_s
        if lasted_s > BUSY_GAP_SECONDS:
            self._end()
            lasted_s = 1.0
        if sample.condition is not Condition.SHUT:
            self._end()
            return
        if self._now is None:
            at = self._from_at + timedelta(seconds=sample.at_s - lasted_s)
            self._now = Stop(at=at, seconds=0.0, reason=sample.reason[:REASON_CHARACTERS_MAX])
        self._now = self._now.model_copy(update={"seconds": self._now.seconds + lasted_s})

    def _end(self) -> None:
        if self._now is None:
            return
        self._count += 1
        self._seconds += self._now.seconds
        rounded = self._now.model_copy(update={"seconds": round(self._now.seconds, 1)})
        self._done = nlargest(STOPS_SHOWN_MAX, [*self._done, rounded], key=lambda stop: stop.seconds)
        self._now = None

    def stops(self) -> Stops:
        """Return them, with one that has not ended as it stands."""
        self._end()
        return Stops(count=self._count, seconds=round(self._seconds, 1), longest=tuple(self._done))


# --- documents ----------------------------------------------------------------------------------------


def steps(moments: Iterable[tuple[float, int]], points_max: int = STEPS_MAX) -> tuple[tuple[float, int], ...]:
    """Return the running sum over *moments* (seconds, documents) in their order, thinned to at most *points_max*."""
    summed = list(_summed(sorted(moments)))
    every = max(1, math.ceil(len(summed) / points_max))
    # Counted from the end: the last one, which is the whole, is always there.
    return tuple(summed[::-1][::every][::-1])


def _summed(moments: Iterable[tuple[float, int]]) -> Iterator[tuple[float, int]]:
    total = 0
    for at_s, documents in moments:
        total += documents
        yield round(at_s, 1), total

"""
How long a job will take at the present foreground, and what that will feel: pure, from what was measured.

Three figures make a forecast, each with what it rests on: **work** (documents a second while pages are
written without a pause), **pace** (which part of the time the governor lets them), and what the canary's
tail was with and without pages. What was not measured is said, together with the command that measures it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from math import isfinite
from typing import NamedTuple, Self

from lull.domain.governor import law
from lull.domain.governor.baseline import quantile
from lull.domain.governor.budget import Mode
from lull.domain.governor.law import Zone
from lull.domain.kinds import AnySpec
from lull.domain.message import Message
from lull.domain.report import Condition, Felt
from lull.domain.samples import Sample, timeline
from lull.domain.slice import VERSION, Plan
from pydantic import Field, model_validator

PARALLEL_GAIN_MAX = 4
"""Slices beyond the fourth wait for the same server; two reach 1.2 to 1.9 times a script's rate on two cores."""
GUESS_LOW, GUESS_HIGH = 0.25, 2.0
"""Around lull's own figure for a kind: indexes and large documents cost more than a newer machine gives."""
COMMIT_MS = (1.0, 10.0)
"""A majority commit where nobody has timed one: a local disk, and three members in one region."""
COUNT_PART = 1 / 3
"""A sampled count of one per cent of a collection is right within a third."""
FELT_OPERATIONS_MIN = 300
"""Below, a p99 is the third slowest operation of somebody's bad second."""
DUTY_SAMPLES_MIN = 10
"""Seconds beside a foreground from which a pace may be told."""
FRESH_SECONDS = 30.0
"""Since the newest sample, of which an idle governor keeps one in ten seconds: later, nobody governs."""
BLANK_PART = (law.BLANK_S + law.BLANK_DRAIN_S) / (law.BLANK_EVERY_S + law.BLANK_JITTER_S / 2)
"""Of the time beside a foreground goes to windows in which it is seen without jobs."""
PAGES_MAX = 8
"""Pages of a probe."""


# --- messages -------------------------------------------------------------------------------------


class Bounds(Message):
    """From the least to the most that is expected."""

    low: float = Field(ge=0)
    high: float = Field(ge=0)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.low <= self.high:
            raise ValueError(f"bounds {self.low:g} to {self.high:g} are upside down; this is a defect of lull")
        return self


class Confidence(StrEnum):
    """How much of a forecast was measured."""

    MEASURED = "measured"  # pages of this job or an earlier one, and the pace, on this cluster
    PARTLY = "partly measured"  # one of the two
    GUESS = "a guess"  # neither


class Wait(Message):
    """A part of the job's time in which it does not work."""

    reason: str
    seconds: Bounds


class Feel(Message):
    """The canary's p99 of one kind of operation, in milliseconds."""

    op: str
    """``read`` or ``write``."""
    without_ms: float
    """Without pages of ours."""
    beside_ms: Bounds
    """Beside them."""
    basis: str


class ProbedPage(Message):
    """One page that was written and taken back."""

    documents: int
    """Passed over, whether they match or not."""
    matching: int
    read_ms: float
    """Reading it, and computing what a transform makes of it."""
    hold_ms: float
    """How long its transaction held its documents."""
    page_bytes: int = 0
    """BSON bytes read or written, whichever is more; 0 where the server works by itself."""


class Probed(Message):
    """What a few real pages cost; all of them were taken back."""

    pages: tuple[ProbedPage, ...] = ()
    poison: int = 0
    """Documents seen that would go to quarantine, at least."""
    conflicts: int = 0
    """Pages given up because somebody else wrote the same documents."""
    waited_s: float = 0.0
    """For the governor's leave."""
    note: str = ""
    """Why there are fewer pages than wanted, or none."""

    @property
    def documents(self) -> int:
        """Documents passed over."""
        return sum(page.documents for page in self.pages)

    @property
    def matching(self) -> int:
        """Of these, how many the job would work on."""
        return sum(page.matching for page in self.pages)


class ForecastRequest(Message):
    """Ask how long a planned job will take; with *probe* a few pages are written and taken back."""

    v: int = VERSION
    spec: AnySpec
    plan: Plan
    probe: bool = False


class Forecast(Message):
    """How long a job will take if it is started now, and what the foreground will feel."""

    documents: int
    documents_basis: str
    work_docs_per_second: Bounds | None = None
    """While pages are written one after the other without a pause."""
    work_basis: str
    pace: Bounds | None = None
    """Work-seconds per second that the job may expect, blank windows and shut gates taken off."""
    pace_basis: str
    docs_per_second: Bounds | None = None
    """What of it is left; None where there is nothing to do."""
    seconds: Bounds
    """From the job's start to its end; the high one is no limit, a foreground may stay busy for hours."""
    waits: tuple[Wait, ...] = ()
    """Which part of ``seconds`` is waiting, and for what."""
    feels: tuple[Feel, ...] = ()
    feel_basis: str
    confidence: Confidence
    unknown: tuple[str, ...] = ()
    """What is not known, each with what would make it known."""
    probe: Probed | None = None


# --- what is put in -------------------------------------------------------------------------------


class Documents(NamedTuple):
    """What there is to do."""

    number: int
    is_exact: bool
    basis: str


class Rate(NamedTuple):
    """Documents per second of work, as something else than a probe tells."""

    bounds: Bounds
    basis: str
    is_measured: bool


class Asked(NamedTuple):
    """What of the spec and the plan bears on the time."""

    kind: str
    parallel: int
    """Slices at a time, partitions allowing."""
    docs_per_second_max: float | None
    weight: float
    inflation: float
    """Aimed at: the strictest of the job's and its cluster's objectives."""


class Standing(NamedTuple):
    """What the governor says at this moment."""

    mode: Mode
    is_heard: bool = False
    is_open: bool = True
    reason: str = ""
    ceiling: float = law.DUTY_BUSY
    """Of duty, as learned from earlier jobs."""
    other_weights: float = 0.0
    """Of the jobs that run now."""


@dataclass(frozen=True, slots=True)
class Watched:
    """Recent samples, folded."""

    samples: int = 0
    span_s: float = 0.0
    beside: int = 0
    """Of the samples, those with jobs that had to obey beside a foreground."""
    quiet: int = 0
    """With jobs, and no foreground to protect."""
    duty: Bounds | None = None
    """Lower and upper quartile while the gate was open."""
    shut_part: float = 0.0
    blank_part: float = 0.0
    """Of the samples beside a foreground."""
    foreground_ops: float | None = None
    """Per second, median of the last minute's samples."""
    felt: tuple[Felt, ...] = ()
    commit_ms: float | None = None
    """Median of the canary's majority writes, which end with a commit."""


NOTHING_WATCHED = Watched()


def watched(samples: Sequence[Sample]) -> Watched:
    """Return *samples*, in their order, as far as a forecast asks."""
    if not samples:
        return NOTHING_WATCHED
    with_jobs = [one for one in samples if one.condition is not Condition.ALONE and not one.is_observed_only]
    beside = [one for one in with_jobs if one.zone != Zone.QUIET]
    duties = sorted(one.figures["duty"] for one in beside if "duty" in one.figures and one.condition is _WORKING)
    newest = [one for one in samples if samples[-1].at_s - one.at_s <= 60]
    return Watched(
        samples=len(samples),
        span_s=max(0.0, samples[-1].at_s - samples[0].at_s),
        beside=len(beside),
        quiet=len(with_jobs) - len(beside),
        duty=Bounds(low=quantile(duties, 0.25), high=quantile(duties, 0.75)) if duties else None,
        shut_part=_part(beside, Condition.SHUT),
        blank_part=_part(beside, Condition.BLANK),
        foreground_ops=_median(newest, "foreground-ops"),
        felt=_felt(samples),
        commit_ms=_median(samples, "write-p50"),
    )


_WORKING = Condition.WORKING
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _part(samples: Sequence[Sample], wanted: Condition) -> float:
    return sum(one.condition is wanted for one in samples) / len(samples) if samples else 0.0


def _median(samples: Iterable[Sample], name: str) -> float | None:
    found = sorted(one.figures[name] for one in samples if name in one.figures)
    return quantile(found, 0.5) if found else None


def _felt(samples: Sequence[Sample]) -> tuple[Felt, ...]:
    # Moments play no part in what was felt: any range of them will do.
    return timeline(samples, _EPOCH, _EPOCH).felt


# --- work -----------------------------------------------------------------------------------------


def steady(pages: Sequence[ProbedPage]) -> list[ProbedPage]:
    """Return the larger half of *pages*: the first ones are small, and mostly cost the way to the server."""
    ordered = sorted((page for page in pages if page.documents > 0), key=lambda page: page.documents)
    return ordered[len(ordered) // 2 :]


def probed_rate(probe: Probed, commit_ms: float | None) -> Rate | None:
    """
    Return documents per second of work as the probe's slowest and fastest page tell; None without one.

    A page is read while the one before it is written, or, where the time is rationed, before: the fastest
    page counts the longer of the two, the slowest both. No page of a probe is committed, and a commit
    is added: half of the canary's median write to all of it.
    """
    pages = steady(probe.pages)
    if not pages:
        return None
    least, most = COMMIT_MS if commit_ms is None else (commit_ms / 2, commit_ms)
    slowest = min(page.documents / max(page.read_ms + page.hold_ms + most, _PAGE_MS_MIN) for page in pages) * 1_000
    fastest = max(page.documents / max(page.read_ms, page.hold_ms + least, _PAGE_MS_MIN) for page in pages) * 1_000
    commit = "a commit of 1 to 10 ms, not timed" if commit_ms is None else f"a commit of {most:.1f} ms, the canary's"
    basis = f"probe: {len(probe.pages)} pages, {probe.documents:,} documents, taken back; {commit}"
    return Rate(Bounds(low=slowest, high=fastest), basis, is_measured=True)


_PAGE_MS_MIN = 0.01


def guessed_rate(kind: str, docs_per_second: float) -> Rate:
    """Return lull's own figure for *kind* with the room that a guess needs."""
    bounds = Bounds(low=docs_per_second * GUESS_LOW, high=docs_per_second * GUESS_HIGH)
    return Rate(bounds, f"lull's own figure for {kind} jobs, not measured on this cluster", is_measured=False)


def earlier_rate(rates: Sequence[float], what: str) -> Rate | None:
    """Return what earlier jobs did per second of work; None where there was none."""
    known = [rate for rate in rates if isfinite(rate) and rate > 0]
    if not known:
        return None
    jobs = "1 job" if len(known) == 1 else f"{len(known)} jobs"
    return Rate(Bounds(low=min(known) * 0.8, high=max(known) * 1.25), f"{jobs} {what}", is_measured=True)


# --- pace -----------------------------------------------------------------------------------------


class Pace(NamedTuple):
    """Which part of the time is work."""

    duty: Bounds
    """While the gate is open."""
    shut_part: float
    blank_part: float
    basis: str
    is_measured: bool
    unknown: str = ""
    is_quiet: bool = False
    """No foreground is there to be protected."""

    @property
    def open_part(self) -> float:
        """Of the time in which pages may begin."""
        return max(0.0, 1 - self.shut_part - self.blank_part)


def pace(seen: Watched, standing: Standing, asked: Asked) -> Pace:
    """Return the pace that a job may expect beside the foreground of *seen*."""
    slices = float(max(1, min(asked.parallel, PARALLEL_GAIN_MAX)))
    full = Bounds(low=1.0, high=slices)
    if standing.mode is not Mode.ENFORCE:
        word = "off" if standing.mode is Mode.OFF else "only observing"
        return Pace(full, 0.0, 0.0, f"full speed: the governor is {word}, jobs obey nobody", is_measured=True)
    if not seen.samples or not standing.is_heard:
        return _unseen(standing)
    found = _beside(seen, standing, asked) or _quiet(seen, full) or _unlearned(seen, standing, asked)
    # However much the governor would allow, a job works with the slices that its spec gives it.
    duty = Bounds(low=min(found.duty.low, slices), high=min(found.duty.high, slices))
    return found._replace(duty=duty)


def _unseen(standing: Standing) -> Pace:
    duty = Bounds(low=law.DUTY_MIN, high=law.DUTY_BUSY)
    why = "no samples: no governor has watched this cluster lately" if not standing.is_heard else "no samples yet"
    basis = f"{why}; from its floor to one page at a time"
    unknown = f"how busy the foreground is: {_WATCH}"
    return Pace(duty, 0.0, BLANK_PART, basis, is_measured=False, unknown=unknown)


_WATCH = "let a worker run for a minute, so that its governor looks, then lull plan SPEC again"


def _beside(seen: Watched, standing: Standing, asked: Asked) -> Pace | None:
    """Return what jobs had beside this foreground; None where none ran."""
    if seen.duty is None or seen.beside < max(DUTY_SAMPLES_MIN, seen.quiet):
        return None
    duty = Bounds(low=_mine(seen.duty.low, standing, asked), high=seen.duty.high)
    basis = f"{minutes(seen.span_s)} of samples, {minutes(seen.beside)} of them with jobs beside the foreground"
    return Pace(duty, seen.shut_part, seen.blank_part, basis, is_measured=True)


def _mine(duty: float, standing: Standing, asked: Asked) -> float:
    """Return this job's share of *duty* if the jobs that run now go on all the time."""
    return duty * asked.weight / (asked.weight + standing.other_weights)


def _quiet(seen: Watched, full: Bounds) -> Pace | None:
    if seen.foreground_ops is None or seen.foreground_ops >= law.QUIET_OPS:
        return None
    ops = f"{seen.foreground_ops:.0f} operations a second < {law.QUIET_OPS:g}"
    basis = f"{minutes(seen.span_s)} of samples: no foreground to protect ({ops}), full speed"
    return Pace(full, 0.0, 0.0, basis, is_measured=True, is_quiet=True)


def _unlearned(seen: Watched, standing: Standing, asked: Asked) -> Pace:
    high = max(standing.ceiling, law.DUTY_MIN)
    low = _mine(min(law.CEILING_START, high), standing, asked)
    ops = "" if seen.foreground_ops is None else f" ({seen.foreground_ops:.0f} operations a second)"
    basis = (
        f"{minutes(seen.span_s)} of samples, no job beside this foreground{ops} in them: "
        f"from where the governor begins, {law.CEILING_START:.0%}, to its ceiling, {high:.0%}"
    )
    unknown = f"what pace this foreground allows: {_START}"
    return Pace(Bounds(low=low, high=max(low, high)), 0.0, BLANK_PART, basis, is_measured=False, unknown=unknown)


def minutes(seconds: float) -> str:
    """Return how long somebody looked, in words."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


# --- all of it ------------------------------------------------------------------------------------


def forecast(
    documents: Documents, asked: Asked, seen: Watched, standing: Standing, rate: Rate, *, probe: Probed | None = None
) -> Forecast:
    """
    Return how long *documents* take at *rate*, beside the foreground that was *seen*.

    More documents never take less time, and a lower duty never does. Both ends of every range are a
    sum of what is said in the bases, not a statistical interval.
    """
    at = pace(seen, standing, asked)
    effective = Bounds(low=at.duty.low * at.open_part, high=at.duty.high * at.open_part)
    free = Bounds(low=rate.bounds.low * effective.low, high=rate.bounds.high * effective.high)
    limit = asked.docs_per_second_max
    docs_per_second = free if limit is None else Bounds(low=min(free.low, limit), high=min(free.high, limit))
    unthrottled, seconds = _seconds(documents, free), _seconds(documents, docs_per_second)
    felt = _feels(seen, standing, asked, at)
    return Forecast(
        documents=documents.number,
        documents_basis=documents.basis,
        work_docs_per_second=rate.bounds,
        work_basis=rate.basis,
        pace=effective,
        pace_basis=at.basis,
        docs_per_second=docs_per_second if documents.number else None,
        seconds=seconds,
        waits=tuple(_waits(at, unthrottled, seconds)),
        feels=felt.feels,
        feel_basis=felt.basis,
        confidence=_confidence(rate, at),
        unknown=tuple(_unknown(rate, at, standing, probe, felt.unknown)),
        probe=probe,
    )


def _seconds(documents: Documents, docs_per_second: Bounds) -> Bounds:
    slack = 0.0 if documents.is_exact else COUNT_PART
    return Bounds(
        low=documents.number * (1 - slack) / max(docs_per_second.high, _RATE_MIN),
        high=documents.number * (1 + slack) / max(docs_per_second.low, _RATE_MIN),
    )


_RATE_MIN = 0.001
"""A document in a quarter of an hour: what is slower has no end that could be told."""


def _waits(at: Pace, unthrottled: Bounds, seconds: Bounds) -> Iterator[Wait]:
    resting = Bounds(low=at.open_part * (1 - min(1.0, at.duty.high)), high=at.open_part * (1 - min(1.0, at.duty.low)))
    parts = {
        "pace": resting,
        "shut gate": Bounds(low=at.shut_part, high=at.shut_part),
        "blank windows": Bounds(low=at.blank_part, high=at.blank_part),
    }
    for reason, part in parts.items():
        if part.high > 0 and unthrottled.high > 0:
            yield Wait(reason=reason, seconds=Bounds(low=unthrottled.low * part.low, high=unthrottled.high * part.high))
    throttled = sorted((max(0.0, seconds.low - unthrottled.low), max(0.0, seconds.high - unthrottled.high)))
    if throttled[1] > 0:
        yield Wait(reason="the spec's throttle", seconds=Bounds(low=throttled[0], high=throttled[1]))


def _confidence(rate: Rate, at: Pace) -> Confidence:
    return (Confidence.GUESS, Confidence.PARTLY, Confidence.MEASURED)[rate.is_measured + at.is_measured]


def _unknown(rate: Rate, at: Pace, standing: Standing, probe: Probed | None, not_felt: str) -> Iterator[str]:
    if not rate.is_measured and probe is None:
        yield "what a page of this job costs here: lull plan SPEC --probe measures it"
    if not rate.is_measured and probe is not None:
        yield f"what a page of this job costs here: the probe could not tell ({probe.note or 'it met no document'})"
    if at.unknown:
        yield at.unknown
    if standing.mode is Mode.ENFORCE and standing.is_heard and not standing.is_open:
        yield f"how long the gate stays shut, as it is now ({standing.reason}): lull governor status shows it"
    if not_felt:
        yield not_felt


# --- what is felt -----------------------------------------------------------------------------------


class _Felt(NamedTuple):
    feels: tuple[Feel, ...]
    basis: str
    unknown: str = ""


def _feels(seen: Watched, standing: Standing, asked: Asked, at: Pace) -> _Felt:
    if standing.mode is Mode.OFF:
        return _Felt((), "nobody looks: the governor is off", f"what the foreground feels: {_GOVERN}")
    bound = _bound(standing, asked, at)
    if not seen.samples:
        return _Felt((), bound, f"what the foreground feels now: {_WATCH}")
    aim = asked.inflation if standing.mode is Mode.ENFORCE and not at.is_quiet else None
    feels = tuple(one for op in ("read", "write") if (one := _feel(op, seen, aim, bound)) is not None)
    if feels or at.is_quiet:
        return _Felt(feels, f"the canary's p99, from {minutes(seen.span_s)} of samples" if feels else bound)
    return _Felt((), bound, f"the foreground's tail beside jobs: {_START}")


_GOVERN = 'set governor = "observe" or "enforce" in the workers\' lull.toml'
_START = "start the job, and lull plan SPEC again after some minutes of it"


def _bound(standing: Standing, asked: Asked, at: Pace) -> str:
    if standing.mode is Mode.OBSERVE:
        return "jobs obey nobody, so nothing bounds it"
    if at.is_quiet:
        return "there is no foreground to protect, only hard limits hold"
    return f"the governor aims at {asked.inflation:g} times the tail without jobs at most; an aim, no promise"


def _feel(op: str, seen: Watched, aim: float | None, bound: str) -> Feel | None:
    """Return what was seen beside jobs, else what is aimed at; None where nothing was seen, or nothing bounds it."""
    without = [_p99(seen, op, condition) for condition in (Condition.BLANK, Condition.ALONE)]
    base = next((ms for ms in without if ms is not None), None)
    beside = _p99(seen, op, Condition.WORKING)
    if base is None:
        return None
    if beside is not None:
        return Feel(op=op, without_ms=base, beside_ms=Bounds(low=beside, high=beside), basis="seen beside jobs")
    if aim is None:
        return None
    return Feel(
        op=op, without_ms=base, beside_ms=Bounds(low=base, high=base * max(1.0, aim)), basis=f"not seen: {bound}"
    )


def _p99(seen: Watched, op: str, condition: Condition) -> float | None:
    found = (one for one in seen.felt if one.op == op and one.condition is condition)
    return next((one.p99 for one in found if one.operations >= FELT_OPERATIONS_MIN), None)

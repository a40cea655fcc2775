"""
One tick of a governor without its probes: what was seen goes in, what workers are told comes out.

Pure: the activity gathers what a tick has seen and publishes what follows; a simulation does the same with
a modelled server. Between the two stands this code, the same for both.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lull.domain.governor import law, readings
from lull.domain.governor.baseline import Base, Op
from lull.domain.governor.budget import PUBLISH_SECONDS, Budget, JobShare, Mode
from lull.domain.governor.law import Aim, Decision, Pace, View, Zone
from lull.domain.governor.listening import Kind, Listener
from lull.domain.governor.objective import Objective
from lull.domain.governor.readings import Reading
from lull.domain.governor.shares import Claim, divide

_FELT = frozenset({readings.READ_P99, readings.WRITE_P99})
"""What applications report of themselves."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What one job's spec asks of the governor."""

    weight: float = 1.0
    is_critical: bool = False
    objective: Objective = field(default_factory=Objective)


class Heard(NamedTuple):
    """The canary's operations: those that ended since the last tick, and those under way with their age."""

    ended: Mapping[Kind, Sequence[Op]]
    under_way: Mapping[Kind, Sequence[Op]]


@dataclass(frozen=True, slots=True)
class Seen:
    """What one tick knows beside the canary."""

    slices: Mapping[str, int]
    """Live ones, by job."""
    terms: Mapping[str, Terms]
    """By job; one that is not known yet has the usual."""
    used: float = 0.0
    """Work-seconds per second of all jobs."""
    own_ops: float = 0.0
    foreground_ops: float | None = None
    """Operations per second that are ours, and that are not; None if not known."""
    objective: Objective = field(default_factory=Objective)
    reported: Sequence[Reading] = ()
    """By applications and by whatever the profile names; they stand before the canary's own figures."""
    server: Sequence[Reading] = ()
    ordered_shut: str = ""
    mode: Mode = Mode.ENFORCE
    draw: float = 0.5
    """In [0, 1), from the caller's dice."""


class Verdict(NamedTuple):
    """What follows from one tick."""

    view: View
    was: Decision | None
    """The decision before this one."""
    decision: Decision
    shares: dict[str, float]
    """Work-seconds per second, by job."""
    budget: Budget
    """What workers are told."""


class Decider:
    """Hears, decides and divides; remembers what the next tick needs."""

    def __init__(self, listener: Listener, pace: Pace | None = None) -> None:
        self.listener = listener
        self.pace = pace or Pace()
        self.decision: Decision | None = None

    def decide(self, now_s: float, heard: Heard, seen: Seen) -> Verdict:
        """Return what jobs may do until the next tick."""
        was = self.decision
        self.listener.hear(now_s, heard.ended, heard.under_way, was)
        aim = aimed(seen.objective)
        view = self._view(now_s, seen, aim)
        self.pace, self.decision = law.decide(self.pace, view, aim)
        if was is not None and was.is_open and self.decision.zone is Zone.STOP:
            self.listener.disown()
        if self.pace.evidence_since_s == now_s:
            self.listener.begin_anew()
        if self.decision.may_drift:
            self.listener.drift()
        shares = divide(self.decision.duty, claims(seen.slices, seen.terms))
        return Verdict(view, was, self.decision, shares, _budget(self.decision, shares, seen))

    def _view(self, now_s: float, seen: Seen, aim: Aim) -> View:
        tail = self.listener.tail()
        own = self.listener.share()
        inflation = Reading(readings.INFLATION, own.ratio if own else None, aim.inflation, now_s if own else None)
        canary = self.listener.reading(tail)
        return View(
            now_s=now_s,
            readings=(canary, *self._felt(now_s, seen), *seen.reported, inflation, *seen.server),
            canary_opens=tail.open_at,
            live=sum(seen.slices.values()),
            used=seen.used,
            foreground_ops=seen.foreground_ops,
            is_reported=any(one.signal in _FELT and one.observed is not None for one in seen.reported),
            own_ops=seen.own_ops,
            own=own,
            own_for_s=self.listener.beside_s,
            is_comparable=self.listener.is_comparable,
            ordered_shut=seen.ordered_shut,
            may_blank=seen.mode is Mode.ENFORCE,
            draw=seen.draw,
        )

    def _felt(self, now_s: float, seen: Seen) -> Iterable[Reading]:
        """Yield the canary's p99 where nobody who knows better has reported one."""
        named = {reading.signal for reading in seen.reported}
        for signal, kind, limit in (
            (readings.READ_P99, Kind.READ, seen.objective.read_p99),
            (readings.WRITE_P99, Kind.WRITE, seen.objective.write_p99),
        ):
            if signal not in named:
                yield Reading(signal, self.listener.p99_ms(kind), limit, now_s, note="canary")

    # --- what outlives it ---------------------------------------------------------------------------

    def learned(self) -> dict[str, Any]:
        """Return what the next governor should know, in plain values."""
        bases = {kind.value: [ms * base.scale for ms in base.samples] for kind, base in self.listener.bases.items()}
        return bases | {"hold_ms": self.pace.hold_ms, "ceiling": min(self.pace.ceiling, law.DUTY_BUSY)}

    @classmethod
    def taught(cls, learned: Mapping[str, Any], began_s: float) -> "Decider":
        """Return one that knows what an earlier one had :meth:`learned`; anything may be missing."""
        bases = {kind: Base().learned([float(ms) for ms in learned.get(kind.value, [])]) for kind in Kind}
        hold_ms, ceiling = (
            float(learned.get("hold_ms") or law.HOLD_MS),
            float(learned.get("ceiling") or law.CEILING_START),
        )
        return cls(Listener(began_s, bases), Pace(hold_ms=hold_ms, ceiling=ceiling, is_exploring=not learned))


def aimed(objective: Objective) -> Aim:
    """Return what the law aims at."""
    return Aim() if objective.inflation is None else Aim(inflation=objective.inflation)


def wanted(profile: Objective, ordered: Objective | None, terms: Iterable[Terms]) -> Objective:
    """Return what holds: the operators' limits over the profile's, and no laxer than any running job asks for."""
    found = ordered.over(profile) if ordered else profile
    for each in terms:
        found = found.strictest(each.objective)
    return found


def claims(slices: Mapping[str, int], terms: Mapping[str, Terms]) -> list[Claim]:
    """Return what each job with slices asks for."""
    usual = Terms()
    return [
        Claim(job, count, known.weight, is_critical=known.is_critical)
        for job, count in slices.items()
        for known in [terms.get(job, usual)]
    ]


def _budget(decision: Decision, shares: Mapping[str, float], seen: Seen) -> Budget:
    return Budget(
        mode=seen.mode,
        is_open=decision.is_open,
        reason=decision.reason,
        label=decision.label,
        duty=decision.duty,
        hold_ms=decision.hold_ms,
        docs_max=decision.docs_max,
        turns=decision.turns,
        floor=decision.floor,
        shares=tuple(JobShare(job=job, duty=duty, slices=seen.slices[job]) for job, duty in sorted(shares.items())),
    )


class Publication:
    """When workers are told: at once what is news to them, and otherwise often enough to be heard."""

    def __init__(self) -> None:
        self._said: Budget | None = None
        self._said_s = float("-inf")

    def is_due(self, now_s: float, budget: Budget) -> bool:
        """Whether *budget* must be published now. Its reason, with numbers that always move, is no news."""
        is_news = self._said is None or not same(self._said, budget)
        return is_news or now_s - self._said_s >= PUBLISH_SECONDS

    def said(self, now_s: float, budget: Budget) -> None:
        """It was published."""
        self._said, self._said_s = budget, now_s


def same(one: Budget, other: Budget) -> bool:
    """Whether both let slices do the same."""
    return one.model_copy(update={"reason": ""}) == other.model_copy(update={"reason": ""})

"""
The governor's law: (pace, what is seen) -> (pace, decision). Pure: moments and dice arrive as arguments.

Three actuators. *Page hold time* first: small pages at full duty beat big pages at low duty in both
the foreground's tail and our throughput. A *gate* second: shut within a tick when the canary's tail
says so, and opened again at the earlier pace. *Duty*, in work-seconds per second over all jobs, third
and slowly: growth waits until the last cut has had time to show, a cut waits for nothing.

Method: zones with separate cooldowns after Spirit's autoscale package; no growth when not limited
after Netflix's concurrency-limits; periodic slowdowns that re-measure the base after LEDBAT++; a
frozen baseline after userver.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import ceil
from typing import NamedTuple

from lull.domain.governor.baseline import Share
from lull.domain.governor.readings import CANARY, Effect, Reading, Stale, worst

# --- where zones begin, as utilization ---
HOLD_FROM = 0.4
SHED_FROM = 0.7
# --- duty ---
DUTY_START = 0.25
CEILING_START = 0.1
"""On a cluster of which nothing is known: what is too little is felt by nobody, and grows."""
DUTY_BUSY = 1.0
"""Beside a foreground, one page at a time; more only on evidence that nobody feels it."""
DUTY_MIN = 0.02
RAMP_EVERY_S = 0.5
"""Slow start doubles so often, once per job that comes to an idle governor."""
RAISE_EVERY_S = 1.0
RAISE = 1.1
RAISE_LONG_OPEN = 1.3
"""Where the gate has stayed open for ``RESHUT_S`` since the last cut, what was in the way has gone."""
USED = 0.9
"""A budget of which less was used is not what limits the work: growing it would be blind."""
CUT = 0.7
HALF = 0.5
SHED = 0.3
"""Cut just below the limit; in proportion before."""
CUT_EVERY_S = 3.0
RAISE_AFTER_CUT_S = 3.0
"""A cut needs this long to show."""
# --- pages ---
HOLD_MS = 10.0
HOLD_MS_MIN = 6.0
"""Of shorter pages the commit and the ledger are most of the cost: more of them hurt more than fewer longer ones."""
HOLD_MS_MAX = 14.0
DOCS_BUSY = 200
"""A page is a burst of the server's processor time: what is shorter than a scheduler's slice hardly delays others."""
UNLIMITED_DOCS = 1_000_000
UNLIMITED_HOLD_MS = 1_000.0
UNLIMITED_TURNS = 64
HOLD_STEP = 0.7
# --- evidence ---
LESSEN_MOST = 0.25
LESSEN = 0.8
"""What is probably too much, and not surely."""
AIM_PART = 0.5
"""Of the inflation that is allowed: growth ends there, because what is measured is uncertain."""
WIDEN = 1.3
WIDEN_SURE = 2.0
"""What surely does no harm comes back quickly, and so does what has never done any; what probably does none, slowly."""
# --- the gate ---
CALM_S = 0.5
"""The tail must have been well for so long before the gate opens."""
CALM_HARD_S = 2.0
RESHUT_S = 10.0
"""A gate that shuts again so soon after it opened was opened at too high a pace."""
MUTE_S = 0.75
"""Beside jobs the canary has enough operations to judge by within a third of a second; a server that stands still lets none end."""
OURS_GONE_S = 1.0
"""With the gate shut for so long nothing of ours runs: what is still slow is not ours."""
# --- progress ---
PATIENCE_S = 20.0
"""Of a job beside a foreground that stays slow without us; then it gets a floor."""
FLOOR_DUTY = 0.02
STARVED_S = 60.0
DRIFT_AFTER_S = 60.0
DRIFT_EVERY_S = 10.0
ANEW_AFTER_S = 15.0
"""Without a job for so long, the next one begins slowly. Slices that gave up waiting come back sooner than that."""
NEAR = 0.9
"""An open gate shuts at 1; a shut one stays so while anything but the canary is nearer to it than this."""
# --- quiet ---
QUIET_OPS = 25.0
"""Operations per second that are not ours: below, nobody is there to be slowed down."""
QUIET_PART = 0.1
"""The count of our own operations is right to within this part of it."""
QUIET_AFTER_S = 1.5
# --- blank windows ---
BLANK_EVERY_S = 20.0
BLANK_JITTER_S = 10.0
"""Not locked to the server's checkpoint of every sixty seconds."""
BLANK_S = 1.2
BLANK_AFTER_SHUT_S = 5.0
LEARN_S = 3.0
"""The first window lasts until the base is known, and no longer than this."""
FIRST_LOOK_S = 3.0
"""From a governor's beginning until it knows who else is there."""
BLANK_DRAIN_S = 0.35
"""From publishing until every slice has finished its page."""
EVIDENCE_LONG_S = 30.0
"""What is not sure has so long to become so; then what is probable must do."""
EVIDENCE_S = 10.0
"""Between two changes that follow from our own share: so long it takes to be measured anew."""


class Zone(StrEnum):
    """Where the governor is."""

    IDLE = "idle"  # no job
    QUIET = "quiet"  # jobs, and no foreground to protect
    GROW = "grow"
    KEEP = "keep"
    SHED = "shed"
    STOP = "stop"
    FLOOR = "floor"  # stopped for long, and not by a hard limit: a little progress all the same
    BLANK = "blank"  # we stop to see the foreground without us


class Phase(StrEnum):
    """Whose traffic the canary meets at this moment."""

    ON = "on"
    OFF = "off"
    BETWEEN = "between"  # our pages are ending or beginning: the canary's figures count for neither


@dataclass(frozen=True, slots=True)
class View:
    """What is seen in one tick."""

    now_s: float
    readings: Sequence[Reading]
    canary_opens: float | None = None
    """The canary's tail by which an open gate is judged, as a multiple of its limit."""
    live: int = 0
    """Slices that run or wait for leave."""
    used: float | None = None
    """Work-seconds per second of all pages committed lately; None if not known."""
    foreground_ops: float | None = None
    """Operations per second that are not ours; None if not known."""
    is_reported: bool = False
    """Whether applications report operations of their own: somebody is there, however few they are."""
    own_ops: float = 0.0
    own: Share | None = None
    """Our share in the canary's tail, measured since ``Pace.evidence_since_s``,"""
    own_for_s: float = 0.0
    """over so many seconds beside our pages: pauses between jobs are no evidence, and do not undo any."""
    is_comparable: bool = True
    """Whether enough is known of the canary's tail without us to measure a share at all."""
    ordered_shut: str = ""
    """By an operator, with the reason; empty if not."""
    may_blank: bool = True
    """Whether slices obey. Where they do not, a shut gate does not mean that nothing of ours runs."""
    draw: float = 0.5
    """In [0, 1), from the caller's dice."""


@dataclass(frozen=True, slots=True)
class Aim:
    """What is wanted of the law."""

    inflation: float = 1.1
    """How much the tail beside our pages may exceed the tail without them; 1.1 is ten per cent."""


@dataclass(frozen=True, slots=True)
class Pace:
    """The law's memory."""

    duty: float = DUTY_START
    hold_ms: float = HOLD_MS
    ceiling: float = CEILING_START
    """Up to which duty grows by itself; moved by evidence alone, and kept from one job to the next."""
    is_exploring: bool = True
    """Evidence has not yet found too much: the ceiling doubles until it does."""
    is_ramping: bool = True
    is_quiet: bool = False
    mute_since_s: float | None = None
    """Since when the canary has had too few operations to judge by, beside jobs."""
    jobs_seen_s: float = float("-inf")
    """When there was a job."""
    quiet_since_s: float | None = None
    shut_since_s: float | None = None
    soft_since_s: float | None = None
    """Since when nothing hard keeps it shut."""
    shut_reading: Reading | None = None
    shut_why: str = ""
    shut_label: str = ""
    calm_since_s: float | None = None
    opened_at_s: float = float("-inf")
    cut_at_s: float = float("-inf")
    raised_at_s: float = float("-inf")
    blank_from_s: float | None = None
    blank_next_s: float | None = None
    evidence_since_s: float = float("-inf")
    drifted_at_s: float = float("-inf")


class Decision(NamedTuple):
    """What follows for workers, and for people."""

    zone: Zone
    is_open: bool
    duty: float
    hold_ms: float
    docs_max: int
    turns: int
    floor: float
    reason: str
    label: str
    phase: Phase
    is_starved: bool = False
    may_drift: bool = False
    """The foreground has been different for minutes without us: its base may move a step."""


class _Stop(NamedTuple):
    why: str
    label: str
    effect: Effect
    reading: Reading | None = None
    """None where nothing was measured: an order, or silence."""


def decide(pace: Pace, view: View, aim: Aim) -> tuple[Pace, Decision]:
    """
    Choose what jobs may do until the next tick.

    Hard limits, operators' orders and stale signals that must not be stale shut the gate whatever
    else is seen. A cut is never delayed by a cooldown of growth. Beside no foreground only hard
    limits hold.
    """
    pace = _listened(_quieted(_begun(pace, view), view), view)
    stop = _must_stop(pace, view)
    if stop is not None:
        pace = _shut(pace, view, stop)
    elif pace.shut_since_s is not None and not _is_calm_long_enough(pace, view):
        pace = _lingering(pace, view)
    elif view.live == 0:
        pace = replace(_opened(pace, view), blank_from_s=None, blank_next_s=None)
    else:
        pace = _blanked(_paced(_opened(pace, view), view, aim), view)
    return _drifted(pace, view, _decision(pace, view))


# --- jobs come and go, the foreground comes and goes ---------------------------------------------------


def _begun(pace: Pace, view: View) -> Pace:
    """With the first job after a while without any the pace begins anew, slowly."""
    if view.live == 0:
        return pace
    seen = replace(pace, jobs_seen_s=view.now_s)
    if not _is_long_idle(pace, view):
        return seen
    return replace(
        seen, is_ramping=True, duty=min(DUTY_START, pace.ceiling), raised_at_s=view.now_s,
        blank_next_s=_first_blank(view),
    )  # fmt: skip


def _is_long_idle(pace: Pace, view: View) -> bool:
    return view.now_s - pace.jobs_seen_s > ANEW_AFTER_S


def _quieted(pace: Pace, view: View) -> Pace:
    is_busy = view.foreground_ops is None or view.foreground_ops > QUIET_OPS + QUIET_PART * view.own_ops
    if is_busy or view.is_reported:
        if not pace.is_quiet:
            return replace(pace, quiet_since_s=None)
        # Somebody has come: what was measured without limits says nothing, and the pace begins anew.
        return replace(
            pace, is_quiet=False, quiet_since_s=None, is_ramping=True, duty=min(DUTY_START, pace.ceiling),
            raised_at_s=view.now_s, evidence_since_s=view.now_s, blank_next_s=_first_blank(view), blank_from_s=None,
        )  # fmt: skip
    since = view.now_s if pace.quiet_since_s is None else pace.quiet_since_s
    return replace(pace, quiet_since_s=since, is_quiet=pace.is_quiet or view.now_s - since >= QUIET_AFTER_S)


def _listened(pace: Pace, view: View) -> Pace:
    if view.live == 0 or pace.is_quiet or view.canary_opens is not None or not _is_expected(view):
        return replace(pace, mute_since_s=None)
    return pace if pace.mute_since_s is not None else replace(pace, mute_since_s=view.now_s)


def _is_expected(view: View) -> bool:
    """Whether the canary is there, and what is normal for it is known."""
    return any(one.signal is CANARY and one.limit is not None for one in view.readings)


# --- the gate --------------------------------------------------------------------------------------


def _must_stop(pace: Pace, view: View) -> _Stop | None:
    """Return why no page may begin now; the hardest reason first."""
    if view.ordered_shut:
        return _Stop(view.ordered_shut, "shut by an operator", Effect.HARD)
    if (blind := _blind(pace, view)) is not None:
        return blind
    effects = (Effect.HARD,) if pace.is_quiet else (Effect.HARD, Effect.GATE, Effect.CUT)
    for effect in effects:
        reading = worst(view.readings, effect)
        if reading is not None and (reading.utilization or 0.0) >= 1.0:
            return _Stop(reading.reason, reading.signal.name, effect, reading)
    if pace.mute_since_s is not None and view.now_s - pace.mute_since_s >= MUTE_S:
        for_s = view.now_s - pace.mute_since_s
        return _Stop(f"{CANARY.name} mute {for_s:.1f} s >= {MUTE_S:g} s", f"{CANARY.name} mute", Effect.GATE)
    return None


def _blind(pace: Pace, view: View) -> _Stop | None:
    for reading in view.readings:
        if reading.signal.stale is Stale.CLOSE and reading.is_stale(view.now_s):
            if pace.is_quiet and reading.signal is CANARY:
                continue
            return _Stop(reading.stale_reason(view.now_s), f"{reading.signal.name} stale", Effect.HARD)
    return None


def _shut(pace: Pace, view: View, stop: _Stop) -> Pace:
    now_s = view.now_s
    soft_since_s = now_s if pace.soft_since_s is None else pace.soft_since_s
    shut = replace(
        pace, shut_since_s=now_s if pace.shut_since_s is None else pace.shut_since_s, calm_since_s=None,
        soft_since_s=None if stop.effect is Effect.HARD else soft_since_s, shut_reading=stop.reading,
        shut_why=stop.why, shut_label=stop.label, is_ramping=pace.is_ramping and stop.reading is None, blank_from_s=None,
    )  # fmt: skip
    factor = _cut_by(pace, view, stop)
    return shut if factor is None else _cut(shut, now_s, factor)


def _cut_by(pace: Pace, view: View, stop: _Stop) -> float | None:
    """Return by what a stop cuts the pace; None where it says nothing about it."""
    now_s = view.now_s
    shut_for_s = 0.0 if pace.shut_since_s is None else now_s - pace.shut_since_s
    # An order is no measurement, silence is none, and what rises while nothing of ours runs is not ours.
    if view.live == 0 or stop.reading is None or shut_for_s >= OURS_GONE_S or now_s - pace.cut_at_s < CUT_EVERY_S:
        return None
    if stop.effect is not Effect.GATE:
        return HALF
    # A surge says nothing about our pace; a gate that will not stay open does.
    return CUT if pace.shut_since_s is None and now_s - pace.opened_at_s < RESHUT_S else None


def _cut(pace: Pace, now_s: float, factor: float) -> Pace:
    duty = max(DUTY_MIN, min(pace.duty, DUTY_BUSY) * factor)
    return replace(pace, duty=duty, ceiling=min(pace.ceiling, DUTY_BUSY), cut_at_s=now_s)


def _lingering(pace: Pace, view: View) -> Pace:
    """Nothing is at its limit any more and the gate still shut: what is near its limit says why."""
    lingering = replace(pace, calm_since_s=_calm_since(pace, view))
    if lingering.calm_since_s is not None or pace.soft_since_s is not None or _is_near(view, Effect.HARD):
        return lingering
    soft = replace(lingering, soft_since_s=view.now_s)
    reading = worst(view.readings, Effect.CUT if _is_near(view, Effect.CUT) else Effect.GATE)
    if reading is None:
        return soft
    return replace(soft, shut_reading=reading, shut_why=_near(reading), shut_label=reading.signal.name)


def _is_well(pace: Pace, view: View) -> bool:
    """Whether everything that can shut the gate is far enough from doing so."""
    if _is_near(view, Effect.HARD) or _is_near(view, Effect.CUT):
        return False
    if view.canary_opens is not None:
        return view.canary_opens < 1.0
    # Too few operations to judge by. Beside jobs that is a bad sign; without any the canary hardly sings.
    return not _is_expected(view) or _is_long_idle(pace, view)


def _is_near(view: View, effect: Effect) -> bool:
    reading = worst(view.readings, effect)
    return reading is not None and (reading.utilization or 0.0) >= NEAR


def _near(reading: Reading) -> str:
    return reading.reason.replace(f" {reading.signal.op} ", " near ")


def _calm_since(pace: Pace, view: View) -> float | None:
    if not (pace.is_quiet or _is_well(pace, view)):
        return None
    return view.now_s if pace.calm_since_s is None else pace.calm_since_s


def _is_calm_long_enough(pace: Pace, view: View) -> bool:
    since = _calm_since(pace, view)
    is_hard = pace.shut_reading is not None and pace.shut_reading.signal.effect is Effect.HARD
    return since is not None and view.now_s - since >= (CALM_HARD_S if is_hard else CALM_S)


def _opened(pace: Pace, view: View) -> Pace:
    if pace.shut_since_s is None:
        return pace
    # Jobs have just waited: a window that has become due meanwhile has a little time.
    blank_s = None if pace.blank_next_s is None else max(pace.blank_next_s, view.now_s + BLANK_AFTER_SHUT_S)
    return replace(
        pace, shut_since_s=None, soft_since_s=None, shut_reading=None, shut_why="", shut_label="", calm_since_s=None,
        opened_at_s=view.now_s, blank_next_s=pace.blank_next_s if _is_learning(view) else blank_s,
    )  # fmt: skip


# --- pace: hold time by our own share, duty by zones ----------------------------------------------------


def _paced(pace: Pace, view: View, aim: Aim) -> Pace:
    if pace.is_quiet or pace.blank_from_s is not None:
        return pace
    return _by_zone(_by_evidence(pace, view, aim), view)


def _by_evidence(pace: Pace, view: View, aim: Aim) -> Pace:
    """
    Fewer pages and smaller ones when our share is too much, more and larger when it is surely not.

    What we add to the tail grows with the work: a ceiling that adds three times too much is cut to a
    third, as far as one step may go.
    """
    own = view.own
    if own is None or view.own_for_s < EVIDENCE_S:
        return pace
    anew = replace(pace, evidence_since_s=view.now_s)
    wanted = 1 + AIM_PART * (aim.inflation - 1)
    is_long = view.own_for_s >= EVIDENCE_LONG_S
    if own.low > aim.inflation:
        return _lessened(anew, min(CUT, max(LESSEN_MOST, (wanted - 1) / (own.ratio - 1))))
    if own.ratio > aim.inflation and is_long:
        return _lessened(anew, LESSEN)
    is_sure = own.high < aim.inflation
    is_fine = is_sure or (own.ratio <= wanted and (is_long or pace.is_exploring))
    return _widened(anew, view, is_sure=is_sure) if is_fine and _is_limiting(pace, view) else pace


def _lessened(pace: Pace, factor: float) -> Pace:
    cut = _cut(pace, pace.evidence_since_s, factor)
    hold_ms = max(HOLD_MS_MIN, pace.hold_ms * HOLD_STEP)
    return replace(cut, ceiling=cut.duty, is_ramping=False, is_exploring=False, hold_ms=hold_ms)


def _widened(pace: Pace, view: View, *, is_sure: bool) -> Pace:
    wider = replace(pace, hold_ms=min(HOLD_MS_MAX, pace.hold_ms / HOLD_STEP))
    if pace.ceiling < DUTY_BUSY:
        factor = WIDEN_SURE if is_sure or pace.is_exploring else WIDEN
        return replace(wider, ceiling=min(DUTY_BUSY, pace.ceiling * factor))
    return replace(wider, ceiling=min(float(view.live), pace.ceiling * RAISE)) if is_sure else wider


def _by_zone(pace: Pace, view: View) -> Pace:
    now_s = view.now_s
    utilization, is_blind = pressure(view)
    if utilization >= SHED_FROM:
        if now_s - pace.cut_at_s < CUT_EVERY_S:
            return pace
        part = min(1.0, (utilization - SHED_FROM) / (1 - SHED_FROM))
        return replace(_cut(pace, now_s, 1 - SHED * part), is_ramping=False)
    if utilization >= HOLD_FROM or is_blind:
        return replace(pace, is_ramping=False) if utilization >= HOLD_FROM else pace
    return _grown(pace, view)


def _grown(pace: Pace, view: View) -> Pace:
    now_s = view.now_s
    if pace.duty >= pace.ceiling:
        return replace(pace, is_ramping=False) if pace.is_ramping else pace
    if pace.is_ramping:
        if now_s - pace.raised_at_s < RAMP_EVERY_S:
            return pace
        return replace(pace, duty=min(pace.ceiling, pace.duty * 2), raised_at_s=now_s)
    waits = now_s - pace.raised_at_s < RAISE_EVERY_S or now_s - pace.cut_at_s < RAISE_AFTER_CUT_S
    if waits or not _is_limiting(pace, view):
        return pace
    is_long_open = now_s - max(pace.opened_at_s, pace.cut_at_s) >= RESHUT_S
    factor = RAISE_LONG_OPEN if is_long_open else RAISE
    return replace(pace, duty=min(pace.ceiling, pace.duty * factor), raised_at_s=now_s)


def _is_limiting(pace: Pace, view: View) -> bool:
    return view.used is not None and view.used >= USED * min(pace.duty, view.live)


def pressure(view: View) -> tuple[float, bool]:
    """Return the highest utilization of what may slow us down gradually, and whether any of it is stale."""
    gradual = [one for one in view.readings if one.signal.effect in {Effect.CUT, Effect.HARD}]
    is_blind = any(one.signal.stale is not Stale.IGNORE and one.is_stale(view.now_s) for one in gradual)
    return max((one.utilization or 0.0 for one in gradual if one.signal.effect is Effect.CUT), default=0.0), is_blind


# --- blank windows ------------------------------------------------------------------------------------


def _next_blank(view: View) -> float:
    return view.now_s + BLANK_EVERY_S + BLANK_JITTER_S * view.draw


def _first_blank(view: View) -> float:
    """At once where nothing is known to judge by; a little later where it is not known yet whether anybody is there."""
    if _is_baseless(view):
        return view.now_s
    if view.is_comparable:
        return _next_blank(view)
    return view.now_s + (FIRST_LOOK_S if view.foreground_ops is None else 0.0)


def _is_learning(view: View) -> bool:
    return _is_baseless(view) or not view.is_comparable


def _is_baseless(view: View) -> bool:
    return any(one.signal is CANARY and one.limit is None for one in view.readings)


def _blanked(pace: Pace, view: View) -> Pace:
    if pace.is_quiet or not view.may_blank:
        return replace(pace, blank_from_s=None)
    if pace.blank_from_s is not None:
        if view.now_s - pace.blank_from_s < (LEARN_S if _is_learning(view) else BLANK_S):
            return pace
        return replace(pace, blank_from_s=None, blank_next_s=_next_blank(view))
    if pace.blank_next_s is None:
        return replace(pace, blank_next_s=_next_blank(view))
    return replace(pace, blank_from_s=view.now_s) if view.now_s >= pace.blank_next_s else pace


# --- what follows ---------------------------------------------------------------------------------------


def _decision(pace: Pace, view: View) -> Decision:
    if pace.shut_since_s is not None:
        return _shut_decision(pace, view)
    if pace.blank_from_s is not None:
        phase = Phase.OFF if view.now_s - pace.blank_from_s >= BLANK_DRAIN_S else Phase.BETWEEN
        return _closed(pace, Zone.BLANK, "blank window: the foreground is measured without us", "blank window", phase)
    if view.live == 0:
        return _unlimited(view, Zone.IDLE) if pace.is_quiet else _governed(pace, Zone.IDLE, Phase.OFF)
    if pace.is_quiet:
        return _unlimited(view, Zone.QUIET)
    utilization, _ = pressure(view)
    zone = Zone.SHED if utilization >= SHED_FROM else Zone.KEEP if utilization >= HOLD_FROM else Zone.GROW
    return _governed(pace, zone, Phase.ON, _slowed_by(pace, view, utilization))


def _slowed_by(pace: Pace, view: View, utilization: float) -> str:
    if utilization >= HOLD_FROM:
        reading = worst(view.readings, Effect.CUT)
        return _near(reading) if reading else ""
    if pace.duty < DUTY_BUSY:
        return f"pace {pace.duty:.0%} of one page at a time"
    return ""


def _shut_decision(pace: Pace, view: View) -> Decision:
    shut_for_s = _since(pace.shut_since_s, view)
    soft_for_s = _since(pace.soft_since_s, view)
    is_starved = view.live > 0 and shut_for_s >= STARVED_S
    if pace.soft_since_s is None:
        why = pace.shut_why
    else:
        why = pace.shut_why + (", not ours" if _is_theirs(pace, view) else _ours(view))
    if soft_for_s >= PATIENCE_S and view.live > 0:
        return Decision(
            Zone.FLOOR, True, FLOOR_DUTY, HOLD_MS_MIN, DOCS_BUSY, 1, FLOOR_DUTY, f"{why}; a floor of progress",
            pace.shut_label, Phase.BETWEEN, is_starved,
        )  # fmt: skip
    phase = Phase.OFF if shut_for_s >= BLANK_DRAIN_S else Phase.BETWEEN
    return _closed(pace, Zone.STOP, why, pace.shut_label, phase)._replace(is_starved=is_starved)


def _since(moment_s: float | None, view: View) -> float:
    return 0.0 if moment_s is None else view.now_s - moment_s


def _is_theirs(pace: Pace, view: View) -> bool:
    """Whether the foreground is still slow although nothing of ours runs."""
    return view.may_blank and pace.calm_since_s is None and _since(pace.shut_since_s, view) >= OURS_GONE_S


def _ours(view: View) -> str:
    return f", of it ours {view.own.ours_ms:.1f} ms" if view.own is not None else ""


def _closed(pace: Pace, zone: Zone, why: str, label: str, phase: Phase) -> Decision:
    return Decision(zone, False, pace.duty, pace.hold_ms, DOCS_BUSY, 1, 0.0, why, label, phase)


def _governed(pace: Pace, zone: Zone, phase: Phase, reason: str = "") -> Decision:
    turns = max(1, ceil(pace.duty))
    label = "foreground" if reason else ""
    return Decision(zone, True, pace.duty, pace.hold_ms, DOCS_BUSY, turns, DUTY_MIN, reason, label, phase)


def _unlimited(view: View, zone: Zone) -> Decision:
    phase = Phase.OFF if zone is Zone.IDLE else Phase.ON
    duty = float(max(1, view.live))
    return Decision(zone, True, duty, UNLIMITED_HOLD_MS, UNLIMITED_DOCS, UNLIMITED_TURNS, 1.0, "", "", phase)


def _drifted(pace: Pace, view: View, decision: Decision) -> tuple[Pace, Decision]:
    """A foreground that has been slow for a minute without us is a new normal, a step at a time."""
    is_slow = pace.shut_reading is not None and pace.shut_reading.signal is CANARY and _is_theirs(pace, view)
    is_lasting = _since(pace.soft_since_s, view) >= DRIFT_AFTER_S
    if not (is_slow and is_lasting and view.now_s - pace.drifted_at_s >= DRIFT_EVERY_S):
        return pace, decision
    return replace(pace, drifted_at_s=view.now_s), decision._replace(may_drift=True)

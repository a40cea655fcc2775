"""
What can be seen of the foreground: every signal's name, unit and freshness rule, and one reading of it.

A reading is normalised to *utilization*: 0 is idle, 1 is where jobs must stop. Reasons share one
grammar: ``<signal> <observed> <op> <limit>``.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Effect(StrEnum):
    """What a signal at its limit does."""

    GATE = "gate"  # shut at once, open at the earlier pace: a surge
    CUT = "cut"  # shut, and go on slower: the load is ours, or lasts
    HARD = "hard"  # shut whatever else is said: the server itself is in danger
    SHOW = "show"  # nothing; people want to see it


class Stale(StrEnum):
    """What a signal that has not been refreshed means."""

    HOLD = "hold"  # no growth
    CLOSE = "close"  # shut: not knowing is as bad as the worst
    IGNORE = "ignore"


class Signal(NamedTuple):
    """One thing that is measured."""

    name: str
    unit: str
    effect: Effect
    stale: Stale
    meaning: str
    op: str = ">="
    """How the observed value meets its limit: ``>=`` or ``<=``."""


CANARY = Signal(
    "canary", "ms", Effect.GATE, Stale.CLOSE, "three quarters of the canary's last operations were faster than this"
)
READ_P99 = Signal("read-p99", "ms", Effect.CUT, Stale.HOLD, "reads of the last ten seconds, one in a hundred is slower")
WRITE_P99 = Signal(
    "write-p99", "ms", Effect.CUT, Stale.HOLD, "writes of the last ten seconds, one in a hundred is slower"
)
INFLATION = Signal(
    "inflation", "x", Effect.SHOW, Stale.IGNORE, "the canary's tail beside our pages over its tail in blank windows"
)
QUEUE = Signal("queue", "operations", Effect.CUT, Stale.HOLD, "operations that wait for a lock or a ticket")
TICKETS = Signal("tickets", "% used", Effect.CUT, Stale.HOLD, "read or write tickets in use, whichever is more")
DIRTY_CACHE = Signal("dirty-cache", "%", Effect.CUT, Stale.HOLD, "of the cache that waits to be written to disk")
DIRTY_CACHE_HARD = Signal(
    "dirty-cache-hard", "%", Effect.HARD, Stale.HOLD, "beyond this, application threads must write pages themselves"
)
FLOW_CONTROL = Signal(
    "flow-control", "ms/s", Effect.HARD, Stale.HOLD, "time for which the server itself slowed writers down"
)
LAG = Signal("lag", "s", Effect.HARD, Stale.CLOSE, "the majority commit point behind the primary's newest write")
MEMBER_LAG = Signal(
    "member-lag",
    "s",
    Effect.CUT,
    Stale.HOLD,
    "the electable secondary that is furthest behind the primary's newest write",
)
OPLOG_WINDOW = Signal(
    "oplog-window", "h", Effect.HARD, Stale.HOLD, "how far back the oplog reaches, which our writes shorten", "<="
)
PROMETHEUS = Signal("prometheus", "", Effect.CUT, Stale.HOLD, "the answer of the profile's query")
HTTP_CHECK = Signal("http-check", "failures", Effect.HARD, Stale.CLOSE, "the profile's URL did not answer with 200")

SIGNALS: tuple[Signal, ...] = (
    CANARY, READ_P99, WRITE_P99, INFLATION, QUEUE, TICKETS, DIRTY_CACHE, DIRTY_CACHE_HARD, FLOW_CONTROL, LAG,
    MEMBER_LAG, OPLOG_WINDOW, PROMETHEUS, HTTP_CHECK,
)  # fmt: skip

FRESH_SECONDS = 3.0
"""A reading older than this is stale. Slower ones say their own."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One signal as it was last seen; ``observed`` is None for what cannot be seen, with ``note`` saying why."""

    signal: Signal
    observed: float | None = None
    limit: float | None = None
    """None where nothing follows from it."""
    at_s: float | None = None
    """Of the governor's monotonic clock; None if it was never seen."""
    note: str = ""
    """For people: a missing grant, a source; never evaluated."""
    fresh_s: float = FRESH_SECONDS
    zero: float = 0.0
    """What is seen on a busy and healthy server: below, nothing is used up."""

    @property
    def utilization(self) -> float | None:
        """Observed over limit, 1 where jobs must stop; None where nothing was seen or nothing follows."""
        if self.observed is None or self.limit is None or self.limit <= 0:
            return None
        if self.signal.op == "<=":
            return self.limit / self.observed if self.observed > 0 else float("inf")
        return max(0.0, self.observed - self.zero) / (self.limit - self.zero) if self.limit > self.zero else None

    def is_stale(self, now_s: float) -> bool:
        """Whether it was seen once, and too long ago. A signal that was switched off is not stale."""
        return self.at_s is not None and now_s - self.at_s > self.fresh_s

    @property
    def reason(self) -> str:
        """The fact in the one grammar, like ``canary 41 ms >= 12 ms``."""
        if self.observed is None or self.limit is None:
            return f"{self.signal.name} not seen"
        unit = self.signal.unit
        return f"{self.signal.name} {figure(self.observed, unit)} {self.signal.op} {figure(self.limit, unit)}"

    def stale_reason(self, now_s: float) -> str:
        """The same for a reading that is too old."""
        age = 0.0 if self.at_s is None else now_s - self.at_s
        return f"{self.signal.name} stale {age:.1f} s >= {self.fresh_s:g} s"


def figure(value: float, unit: str) -> str:
    """Return a value with its unit, to three digits."""
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{text}{unit}" if unit in {"%", "x", ""} else f"{text} {unit}"


def worst(readings: Iterable[Reading], effect: Effect) -> Reading | None:
    """Return the reading of this effect with the highest utilization; None if none has one."""
    found = [
        (reading.utilization, place, reading)
        for place, reading in enumerate(readings)
        if reading.signal.effect is effect
    ]
    seen = [(utilization, -place, reading) for utilization, place, reading in found if utilization is not None]
    return max(seen, key=lambda one: one[:2])[2] if seen else None

"""
What the governor publishes, and how a slice obeys it: pure, so that "no page on a stale budget" is a table.

The budget stands in ``lull.governor`` on the cluster it protects. Staleness is judged by the reader's
own monotonic clock: a sequence that has not moved for two seconds is stale, whatever any clock says.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from math import isinf

from lull.domain.message import Message
from pydantic import Field

STALE_SECONDS = 2.0
FORGET_SECONDS = 30.0
"""Silent for so long, a governor whose ledger was lost may have begun to count anew."""
PUBLISH_SECONDS = 0.5
"""At least so often, changed or not."""
STALE_LABEL = "silent"
HAND_LABEL = "shut by hand"


class Mode(StrEnum):
    """What the governor's decisions mean to slices."""

    ENFORCE = "enforce"  # they obey
    OBSERVE = "observe"  # decided and published, obeyed by nobody
    OFF = "off"  # no governor: the profile says so


class JobShare(Message):
    """One job's part."""

    job: str
    duty: float
    """Work-seconds per second, over all of its slices."""
    slices: int

    @property
    def per_slice(self) -> float:
        """For each of its live slices."""
        return self.duty / max(1, self.slices)


class Budget(Message):
    """The governor's word to all workers of a cluster."""

    v: int = 1
    sequence: int = 0
    """Raised by every publication."""
    fence: int = 0
    """Of the governor that wrote it; a later one has a higher."""
    mode: Mode = Mode.ENFORCE
    is_open: bool = True
    reason: str = ""
    """Why the gate is shut or the pace low, in the one grammar."""
    label: str = ""
    """The same without measured numbers, for the account of waits."""
    duty: float = 0.0
    """Work-seconds per second of all jobs together."""
    hold_ms: float = Field(default=10.0, gt=0)
    """How long a page may hold its documents."""
    docs_max: int = 200
    """Documents of a page."""
    turns: int = 1
    """Pages at a time in one process."""
    floor: float = 0.05
    """For a slice that the governor has not seen yet."""
    shares: tuple[JobShare, ...] = ()
    origin: str = ""
    """Of the governor's workflow: one of another origin is no predecessor, and is not overtaken while it is heard."""
    owner: str = ""
    """Host and process of the governor; for people, like"""
    at: datetime | None = None
    """when it was said."""

    @property
    def order(self) -> tuple[int, int]:
        """Of two budgets the newer one's is higher."""
        return self.fence, self.sequence


class JobSpending(Message):
    """What one job's slices in one process have cost the cluster."""

    job: str
    slices: int
    """That live now."""
    busy_s: float
    """Seconds for which their pages' transactions were open, since the process began."""
    docs: float = 0.0
    """Documents that they have passed since then; zero from a worker that does not tell."""


class Spending(Message):
    """A worker's account to the governor, in absolute numbers; stale when its sequence does not move."""

    sequence: int
    ops: float
    """Reads and writes that the server counts for us, since the process began."""
    jobs: tuple[JobSpending, ...] = ()


@dataclass(frozen=True, slots=True)
class Told:
    """What a reader knows: the newest budget, and when its sequence last moved on the reader's own clock."""

    budget: Budget | None = None
    moved_at: float = float("-inf")
    is_shut_by_hand: bool = False

    def heard(self, budget: Budget | None, now_s: float, *, is_shut_by_hand: bool) -> "Told":
        """
        Return what is known after a reading at *now_s*; None for a budget that was not there.

        The first word is only a word: it may have stood there for a week. It counts as heard when
        it moves on. One that stands before the known one is an overtaken governor's, or was undone by
        an election.
        """
        known = replace(self, is_shut_by_hand=is_shut_by_hand)
        if budget is None:
            return known
        if self.budget is not None and budget.order > self.budget.order:
            return replace(known, budget=budget, moved_at=now_s)
        is_forgotten = self.budget is None or now_s - self.moved_at > FORGET_SECONDS
        return replace(known, budget=budget) if is_forgotten else known

    def is_stale(self, now_s: float) -> bool:
        """Whether the governor has been silent for too long to begin a page on its word."""
        return now_s - self.moved_at > STALE_SECONDS


@dataclass(frozen=True, slots=True)
class Leave:
    """What a slice may do now."""

    is_open: bool
    reason: str = ""
    label: str = ""
    share: float = 1.0
    """Work-seconds per second; 1 or more is not limited."""
    hold_ms: float | None = None
    docs_max: int | None = None
    turns: int | None = None
    """Pages at a time in this process; None for any number."""


UNGOVERNED = Leave(is_open=True)


def leave(told: Told, job: str, now_s: float) -> Leave:
    """Return what a slice of *job* may do: nothing on a stale budget, unless the governor was only observing."""
    if told.is_shut_by_hand:
        return Leave(is_open=False, reason="shut by hand in lull.governor", label=HAND_LABEL)
    budget = told.budget
    if budget is not None and budget.mode is not Mode.ENFORCE:
        return UNGOVERNED
    if budget is None or told.is_stale(now_s):
        return Leave(is_open=False, reason=_silence(told, now_s), label=STALE_LABEL)
    if not budget.is_open:
        return Leave(is_open=False, reason=budget.reason, label=budget.label)
    mine = next((share.per_slice for share in budget.shares if share.job == job), budget.floor)
    return Leave(
        is_open=mine > 0,
        reason=budget.reason,
        label=budget.label,
        share=mine,
        hold_ms=budget.hold_ms,
        docs_max=budget.docs_max,
        turns=budget.turns,
    )


def _silence(told: Told, now_s: float) -> str:
    if told.budget is None:
        return "governor silent: no budget was published yet"
    if isinf(told.moved_at):
        return "governor silent: its budget has not moved since this worker looked first"
    return f"governor stale {now_s - told.moved_at:.1f} s >= {STALE_SECONDS:g} s"


DEBT_SECONDS_MAX = 2.0
"""A slow page is paid for, but not for minutes."""
SAVED_SECONDS_MAX = 0.05
"""
What a slice rested beyond its debt, this much at most, shortens its next rest: it waits for reads and for its turn as
well, and a sleep is never exact. Were that lost with every page, no job would use its share, and a budget
that is not used does not grow. More would be a burst of pages after a standstill.
"""
_SHARE_MIN = 0.005


def rested(debt_s: float, passed_s: float) -> float:
    """Return the debt after *passed_s* without a page; negative for rest that counts towards the next page's."""
    return max(-SAVED_SECONDS_MAX, debt_s - passed_s)


def owed_seconds(debt_s: float, cost_s: float, share: float) -> float:
    """
    Return the rest that is owed after a page that cost *cost_s*, so that work is *share* of the time.

    *debt_s* is what was owed when the page began, as :func:`rested` leaves it.
    """
    if share >= 1:
        return 0.0
    rest = cost_s * (1 / max(share, _SHARE_MIN) - 1)
    return min(debt_s + rest, DEBT_SECONDS_MAX)

"""What people are shown of a governor, and what they may tell it."""

from datetime import datetime
from enum import StrEnum

from lull.domain.governor.budget import Mode
from lull.domain.governor.law import Zone
from lull.domain.governor.objective import Objective
from lull.domain.message import Message

DECISIONS_KEPT = 12


class SignalRow(Message):
    """One signal, as ``lull governor status`` shows it."""

    name: str
    unit: str
    effect: str
    observed: float | None = None
    limit: float | None = None
    op: str = ">="
    age_s: float | None = None
    note: str = ""


class JobRow(Message):
    """One job's part of the budget."""

    job: str
    slices: int
    weight: float = 1.0
    critical: bool = False
    share: float
    """Work-seconds per second that it may use."""
    used: float
    """Work-seconds per second that it used lately."""
    docs_per_s: float = 0.0
    """Documents per second that it passed lately."""


class Moment(Message):
    """One change of mind."""

    at: datetime
    zone: Zone
    reason: str = ""


class GovernorStatus(Message):
    """One screen."""

    cluster: str
    mode: Mode
    zone: Zone
    is_open: bool
    phase: str = ""
    """Whether our pages run, do not, or are ending or beginning; empty from an older governor."""
    reason: str = ""
    label: str = ""
    """The same of a closed set, without measured numbers and operators' words."""
    duty: float
    hold_ms: float
    signals: tuple[SignalRow, ...] = ()
    jobs: tuple[JobRow, ...] = ()
    decisions: tuple[Moment, ...] = ()
    """The newest first."""
    objective: Objective = Objective()
    """What holds now: the cluster's, the running jobs' and the operators' together."""
    inflation: float = 1.0
    """Aimed at; learned where nobody said."""
    foreground_ops: float | None = None
    own_ops: float = 0.0
    own_ratio: float | None = None
    own_low: float | None = None
    own_high: float | None = None
    own_ms: float | None = None
    """Our share in the canary's tail, a lower bound."""
    base_ms: dict[str, float] = {}
    """What is normal, like ``read-p90``."""
    is_starved: bool = False
    contest: str = ""
    """Who else governs the cluster, and what to do; empty while nobody does."""
    workers: int = 0
    orders: "Orders | None" = None
    as_of: datetime


class Told(StrEnum):
    """What an operator can tell a governor."""

    OBSERVE = "observe"
    ENFORCE = "enforce"
    LIMITS = "limits"
    SHUT = "shut"
    OPEN = "open"


class Note(Message):
    """Who told it, and why. ``who`` is a claim, not an authentication."""

    who: str = ""
    why: str = ""
    at: datetime
    until: datetime | None = None
    """None for until told otherwise."""


class Orders(Message):
    """What operators want at present; written to ``lull.governor`` by the governor's workflow."""

    epoch: int = 0
    mode: Mode | None = None
    """None for what the profile says."""
    mode_note: Note | None = None
    limits: Objective | None = None
    limits_note: Note | None = None
    shut: bool = False
    shut_note: Note | None = None

    def at(self, now: datetime) -> "Orders":
        """Return what of it still holds at *now*."""
        gone: dict[str, object] = {}
        if _is_over(self.mode_note, now):
            gone |= {"mode": None, "mode_note": None}
        if _is_over(self.limits_note, now):
            gone |= {"limits": None, "limits_note": None}
        if _is_over(self.shut_note, now):
            gone |= {"shut": False, "shut_note": None}
        return self.model_copy(update=gone) if gone else self

    @property
    def next_end(self) -> datetime | None:
        """The moment at which the first of it ends by itself; None if nothing does."""
        ends = [note.until for note in (self.mode_note, self.limits_note, self.shut_note) if note and note.until]
        return min(ends, default=None)

    @property
    def shut_reason(self) -> str:
        """Why no job runs; empty if nobody shut the gate."""
        if not self.shut:
            return ""
        note = self.shut_note
        by = f" by {note.who}" if note and note.who else ""
        return f"shut{by}" + (f": {note.why}" if note and note.why else "")


def _is_over(note: Note | None, now: datetime) -> bool:
    return note is not None and note.until is not None and note.until <= now


class GovernRequest(Message):
    """Keep the cluster's governor alive for so long, then report."""

    v: int = 1
    cluster: str
    seconds_max: float = 60.0
    origin: str = ""
    """Of the workflow, told from those of other namespaces and servers; empty from an older one."""


class OrderRequest(Message):
    """The ledger has these orders, unless it has newer ones."""

    v: int = 1
    cluster: str
    orders: Orders


class GovernorState(Message):
    """The governor workflow's memory, and the argument of its continue-as-new."""

    v: int = 1
    cluster: str
    orders: Orders = Orders()
    told_epoch: int = 0
    """Of the orders that are in the ledger."""
    last: GovernorStatus | None = None
    warnings: tuple[str, ...] = ()
    runs: int = 1


GovernorStatus.model_rebuild()

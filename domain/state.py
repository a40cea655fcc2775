"""A job's whole memory: one model, which is also the argument of continue-as-new."""

from datetime import datetime

from lull.domain.kinds import AnySpec
from lull.domain.ledger import RateWindow, Tally
from lull.domain.lifecycle import Status
from lull.domain.message import Message
from lull.domain.slice import Counts, Directive, DrainProof, JobRef, Outcome, Plan
from pydantic import BaseModel

WARNINGS_MAX = 10
NOTES_MAX = 20


class PauseNote(Message):
    """Who paused the job, and why. ``who`` is a claim, not an authentication."""

    reason: str = ""
    who: str = ""
    at: datetime
    by_poison: bool = False
    """The job paused itself: resuming takes on another allowance of poison documents."""


class ThrottleNote(Message):
    """A live limit on the whole job, with its end if it has one."""

    max_docs_per_second: float | None
    until: datetime | None = None
    who: str = ""
    why: str = ""


class JobState(BaseModel):
    """Everything the workflow knows; a few KB however long the job runs."""

    v: int = 1
    spec: AnySpec
    again: bool = False
    who: str = ""
    why: str = ""
    status: Status = Status.PLANNING
    plan: Plan | None = None
    directive: Directive = Directive()
    tally: Tally = Tally()
    next_partition: int = 0
    """The lowest partition that was never begun."""
    rate: RateWindow = RateWindow()
    started_at: datetime | None = None
    deadline_at: datetime | None = None
    active_s: float = 0.0
    waited_s: dict[str, float] = {}
    rested_s: dict[int, float] = {}
    """Seconds that throttled partitions were left alone: their next slices have earned them."""
    waiting_for: str = ""
    """Why slices waited when last heard of, in the one grammar; empty when they did not."""
    pause: PauseNote | None = None
    throttle: ThrottleNote | None = None
    poison_max: int | None = None
    proof: DrainProof | None = None
    warnings: list[str] = []
    slices: int = 0
    runs: int = 1
    """Times this job's workflow was continued as new, plus one."""
    ending: str = ""
    """Why the job is ending or has ended before it was done."""
    outcome: Outcome | None = None

    def warn(self, text: str) -> None:
        """Keep a sentence for the operator; the oldest of more than ten is forgotten."""
        self.warnings = [*self.warnings, text][-WARNINGS_MAX:]

    @property
    def ref(self) -> JobRef:
        """Which life of which job this is; incarnation 0 before it is planned."""
        return JobRef(
            job=self.spec.job,
            cluster=self.spec.source.cluster,
            incarnation=self.plan.incarnation if self.plan else 0,
        )


class Progress(Message):
    """The answer of the query ``progress``: what ``lull status`` shows."""

    job: str
    kind: str
    cluster: str
    namespace: str
    status: Status
    reason: str = ""
    """Why it is in this status, or what it waits for."""
    counts: Counts = Counts()
    documents: int = 0
    """Expected, estimated at plan time."""
    fraction: float = 0.0
    docs_per_second: float | None = None
    eta_s: float | None = None
    partitions: int = 0
    partitions_done: int = 0
    running: dict[int, Counts] = {}
    """Partitions with a live slice, as last reported to the workflow."""
    plan: Plan | None = None
    pause: PauseNote | None = None
    throttle: ThrottleNote | None = None
    proof: DrainProof | None = None
    deadline_at: datetime | None = None
    started_at: datetime | None = None
    active_s: float = 0.0
    waited_s: dict[str, float] = {}
    warnings: tuple[str, ...] = ()
    next_steps: tuple[str, ...] = ()
    """What can be typed now."""
    slices: int = 0
    runs: int = 1
    outcome: Outcome | None = None
    as_of: datetime
    spec_digest: str = ""


class Answer(Message):
    """What came of an order that waited for its effect (the updates ``pause_and_wait`` and so on)."""

    status: Status
    message: str
    """One sentence: what is true now."""
    epoch: int = 0
    """Of the directive that is in the ledger."""
    max_docs_per_second: float | None = None
    """The limit that is in the ledger; None for no limit."""
    proof: DrainProof | None = None
    """With ``paused``: that nothing of the job can commit."""

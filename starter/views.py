"""What the client answers with: one model for each question, and one JSON document of each command."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from lull.domain.forecast import Forecast
from lull.domain.governor.objective import Objective
from lull.domain.governor.status import GovernorStatus, Note, Orders
from lull.domain.lifecycle import ENDED
from lull.domain.message import Message
from lull.domain.slice import Check, Counts, Plan
from lull.domain.state import Progress


class Request(StrEnum):
    """What became of a request to start a job."""

    STARTED = "started"  # this request made it start
    ATTACHED = "attached"  # the same request was running already
    FINISHED = "finished before"  # the same request had been completed; nothing was done again


class Started(Message):
    """A job that is there, by this request or by the same one before."""

    job: str
    request: Request
    workflow_id: str
    run_id: str
    digest: str
    link: str = ""
    """Where the Web UI shows it; empty without a configured address."""
    note: str = ""
    """What a person should know; empty when there is nothing."""
    progress: Progress | None = None
    """How far it had come when this was answered; None when no worker could tell."""


class SliceState(StrEnum):
    """What a slice that the job waits for is doing."""

    RUNNING = "running"
    QUEUED = "queued"  # no worker has taken it yet
    RETRYING = "retrying"  # it failed and will be tried again
    HELD = "held"  # paused in Temporal by an operator


class Slice(Message):
    """One slice of a job as Temporal sees it at this moment."""

    state: SliceState
    partition: int | None = None
    """None until its first heartbeat."""
    counts: Counts | None = None
    waiting_for: str = ""
    attempt: int = 1
    failure: str = ""
    """What the attempt before failed with."""
    worker: str = ""
    since: datetime | None = None
    """When this attempt began."""
    heard_at: datetime | None = None
    """When it last gave a sign of life, with these counts."""


class JobStatus(Message):
    """The answer of ``lull status``: the newest that is known, and from where."""

    progress: Progress
    is_live: bool = True
    """Whether a worker answered; otherwise this is what Temporal itself keeps, without counts."""
    slices: tuple[Slice, ...] = ()
    remarks: tuple[str, ...] = ()
    """What keeps the job from running, as far as Temporal can tell: a worker or a server that is away."""
    link: str = ""
    run_started_at: datetime | None = None
    """When the workflow's newest run began, which may be long after the job did."""

    @property
    def has_ended(self) -> bool:
        """Whether nothing will change any more."""
        return self.progress.status in ENDED


class Row(Message):
    """One line of ``lull list``."""

    job: str
    status: str
    kind: str = ""
    cluster: str = ""
    namespace: str = ""
    reason: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    fraction: float | None = None
    """None when nobody was asked, or nobody could tell."""
    link: str = ""


class Preview(Message):
    """What would become of one document, as relaxed extended JSON; never in Temporal's history."""

    before: dict[str, Any]
    after: dict[str, Any] | None
    """None when the document would be deleted."""
    note: str = ""
    """Why it would stay as it is, or what went wrong with it; empty when there is nothing to say."""


class Planned(Message):
    """The answer of ``lull plan``."""

    job: str
    digest: str
    namespace: str = ""
    cluster: str = ""
    plan: Plan
    forecast: Forecast | None = None
    """How long it would take, started now, and what the foreground would feel."""
    forecast_note: str = ""
    """Why there is no forecast, when there is none."""
    previews: tuple[Preview, ...] = ()
    preview_note: str = ""
    """Why there are no samples, when there are none."""


class Told(Message):
    """An order was handed to Temporal; it takes effect within a second if a worker is up."""

    job: str
    order: str
    note: str = ""


class GovernorSeen(Message):
    """The answer of ``lull governor status``: the newest that is known of a cluster's governor."""

    cluster: str
    status: GovernorStatus | None = None
    """None until it has looked for the first time."""
    orders: Orders = Orders()
    """What operators want at present, whether or not the governor has read it yet."""
    warnings: tuple[str, ...] = ()
    """What its workflow remembers of orders that were refused and looks that failed."""
    remarks: tuple[str, ...] = ()
    """What keeps this from being the present, as far as Temporal can tell."""
    as_of: datetime | None = None
    """When the governor saw it."""
    age_s: float | None = None
    """How long ago that was when this was answered."""
    worker: str = ""
    """The process in which it governs; empty while none has taken it."""
    link: str = ""


class GovernorLimits(Message):
    """The answer of ``lull governor limits`` that changes nothing."""

    cluster: str
    objective: Objective | None = None
    """What holds: the profile's, the running jobs' and the operators' together; None while nobody knows."""
    inflation: float | None = None
    """Aimed at; learned where nobody said."""
    ordered: Objective | None = None
    """What operators ordered of it."""
    note: Note | None = None
    """Who ordered it, why, and until when."""
    as_of: datetime | None = None


class GovernorTold(Message):
    """An order was handed to a governor's workflow."""

    cluster: str
    order: str
    epoch: int | None = None
    """Under which the ledger has it; None when that was not waited for."""
    note: str = ""
    """What a person should know; empty when there is nothing."""


class Examined(Message):
    """The answer of ``lull doctor``."""

    ok: bool
    exit_code: int
    checks: tuple[Check, ...]


class Field(Message):
    """One field of a spec, as ``lull kinds KIND`` shows it."""

    path: str
    accepts: str
    default: str
    """Empty when there is none."""
    is_required: bool
    meaning: str = ""


class Kind(Message):
    """One kind of job."""

    kind: str
    gloss: str
    fields: tuple[Field, ...] = ()

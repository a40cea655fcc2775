"""
The messages between workflow and activities.

They carry partition numbers, counts and reasons: never documents, ids, ranges or credentials
(an ``_id`` may be an e-mail address, and Temporal's history is kept).
"""

from datetime import datetime
from enum import StrEnum

from lull.domain.guarantee import Guarantee
from lull.domain.job import Walk
from lull.domain.kinds import AnySpec
from lull.domain.lifecycle import Status
from lull.domain.message import Message
from pydantic import Field

VERSION = 1
"""Of these messages. Activities accept this version and the one before."""

SLICE_SECONDS_MAX = 30.0
"""One activity call: long enough that Temporal costs nothing, short enough that a plan may change."""
HEARTBEAT_TIMEOUT_SECONDS = 5.0
"""A killed worker's slice is given to another after this long."""


class Counts(Message):
    """
    What was done, as absolute numbers since the incarnation began.

    ``seen = changed + unchanged + skipped + quarantined`` always holds; ``scanned`` also counts
    documents passed over because they did not match (an estimate, for progress only).
    """

    scanned: int = 0
    seen: int = 0
    changed: int = 0
    unchanged: int = 0
    skipped: int = 0
    quarantined: int = 0
    bytes: int = 0
    """BSON bytes read to decide; 0 where the server decides by itself."""
    pages: int = 0

    def plus(self, other: "Counts") -> "Counts":
        """Return the sums, field by field."""
        return Counts(**{name: getattr(self, name) + getattr(other, name) for name in Counts.model_fields})

    @property
    def balanced(self) -> bool:
        """Whether every document seen is accounted for."""
        return self.seen == self.changed + self.unchanged + self.skipped + self.quarantined


class Verb(StrEnum):
    """What running slices are told."""

    RUN = "run"
    PAUSE = "pause"  # finish the page in hand and return
    RETIRE = "retire"  # the same, for good


class Directive(Message):
    """What the operator or the workflow wants of running slices; the highest epoch holds."""

    verb: Verb = Verb.RUN
    epoch: int = 0
    max_docs_per_second: float | None = None
    """For the whole job; the slices that live share it."""
    poison_max: int | None = None
    """Slices return once more documents than this are in quarantine, over the whole job."""
    reason: str = ""


class SliceEnd(StrEnum):
    """Why a slice returned."""

    DONE = "done"  # the partition's upper bound is reached
    SLICE_OVER = "slice over"  # its time is up
    PAUSED = "paused"
    RETIRING = "retiring"
    DRAINING = "draining"  # its worker is shutting down; another goes on
    WAITING = "waiting"  # it mostly waited: give the slot back and come again
    POISON = "poison"  # more poison documents than the policy allows


class JobRef(Message):
    """Which job's which life, on which cluster."""

    v: int = VERSION
    job: str
    cluster: str
    incarnation: int


class SliceTask(JobRef):
    """Work on one partition until it is done, the time is up, or the directive says otherwise."""

    partition: int
    epoch: int
    """Of the newest directive when the slice was asked for; an older one in the ledger is not obeyed."""
    seconds_max: float = SLICE_SECONDS_MAX
    waited_s: float = 0.0
    """Seconds the workflow waited by timer before it asked again: a throttled slice has earned them."""


class PartitionSnapshot(Message):
    """A partition as it stands in the ledger: replaces what was known, never adds to it."""

    partition: int
    counts: Counts = Counts()
    fence: int = 0
    done: bool = False
    waiting_for: str = ""
    """Why the slice does not run at this moment; empty when it does. Heartbeats only."""


class SliceReport(Message):
    """What a slice returns."""

    end: SliceEnd
    snapshot: PartitionSnapshot
    active_s: float = 0.0
    waited_s: dict[str, float] = {}
    """Seconds waited, by reason."""
    resume_after_s: float = 0.0
    """With ``waiting``: how long the workflow should wait before it asks again."""
    note: str = ""
    """What a person should know; class names and numbers only."""


class Plan(Message):
    """What will be done, and what it can promise."""

    incarnation: int = 0
    guarantee: Guarantee
    walk: Walk = Walk.RANGE
    index: str = "_id"
    """The index that is walked."""
    partitions: int = 0
    documents: int = 0
    """Documents to pass over, estimated."""
    matching: int | None = None
    """Of these, how many match the filter, estimated from a sample or an index; None when unknown."""
    bytes: int = 0
    """Size of the collection's documents, uncompressed."""
    oplog_bytes: int | None = None
    """What the job will write to the oplog, estimated; None when unknown."""
    seconds: float | None = None
    """How long it should take at full speed, estimated; None when unknown."""
    effect: str = ""
    undo: str = ""
    notes: tuple[str, ...] = ()
    """What an operator should know before saying yes: costs, missing indexes, weaker promises."""


class Outcome(Message):
    """How a job ended, for people and programs."""

    job: str
    status: Status
    message: str = ""
    incarnation: int = 0
    counts: Counts = Counts()
    partitions: int = 0
    partitions_done: int = 0
    still_matching: int | None = None
    """Documents that matched the filter when the job ended (written meanwhile); None when not counted."""
    guarantee: Guarantee | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    active_s: float = 0.0
    waited_s: dict[str, float] = {}


class TemporalIds(Message):
    """Where a job's workflow lives; the janitor retires only jobs of its own cluster and namespace."""

    address: str = ""
    namespace: str = ""
    workflow_id: str = ""
    run_id: str = ""


class PlanRequest(Message):
    """Ask what a spec would do; nothing is written."""

    v: int = VERSION
    spec: AnySpec


class OpenRequest(Message):
    """Claim the job, partition its range and open the ledger."""

    v: int = VERSION
    spec: AnySpec
    again: bool = False
    """Run a finished, failed or cancelled job once more, as a new incarnation."""
    who: str = ""
    why: str = ""
    temporal: TemporalIds = TemporalIds()


class Opened(Message):
    """The ledger is open, or the same request had already been completed."""

    plan: Plan
    finished: Outcome | None = None
    started_at: datetime | None = None


class PublishRequest(JobRef):
    """Write a directive to the ledger, unless a newer one is there."""

    directive: Directive
    status: Status


class DrainProof(Message):
    """Every unfinished partition's fence was raised at majority: nothing of this job can commit."""

    raised: int
    """Partitions whose fence was raised."""
    done: int
    counts: Counts
    at: datetime
    positions: dict[int, int] = Field(default={})
    """Partition -> pages committed, for partitions that were begun and are not done (at most 100)."""


class CloseRequest(JobRef):
    """Bring the ledger to its end: outcome written, claims given back, directive retired."""

    status: Status
    message: str = ""
    who: str = ""
    active_s: float = 0.0
    waited_s: dict[str, float] = {}


class Check(Message):
    """One line of ``lull doctor``."""

    name: str
    ok: bool
    seen: str
    remedy: str = ""


class DoctorRequest(Message):
    """Examine a cluster profile; an empty name means every profile the worker has."""

    v: int = VERSION
    cluster: str = ""


class DoctorReport(Message):
    """What the worker found."""

    checks: tuple[Check, ...]
    governed: tuple[str, ...] = ()
    """Clusters among them whose profile wants a governor; Temporal knows more of it than the worker does."""

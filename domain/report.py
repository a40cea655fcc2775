"""
The messages of a report: what a job did, and what the foreground felt meanwhile, in columns.

Figures, reasons and counts alone, and at most about a megabyte of them: a report passes through
Temporal's history. Documents, ids and ranges never enter it.
"""

from datetime import datetime
from enum import StrEnum

from lull.domain.lifecycle import Status
from lull.domain.message import Message
from lull.domain.slice import VERSION, Counts

POINTS_MAX = 1_500
"""Moments of a timeline: more than a screen has pixels, and with all series well below a megabyte."""
STOPS_SHOWN_MAX = 20
"""The longest times for which the gate was shut."""
STEPS_MAX = 500
"""Points of the curve of documents done."""


class ReportRequest(Message):
    """Report on one job; nothing is written."""

    v: int = VERSION
    job: str
    cluster: str = ""
    """The job's; empty for whichever of the worker's clusters knows it."""
    last_s: float | None = None
    """Only the last so many seconds of the job's time; None for all of it."""


class Condition(StrEnum):
    """What of ours ran when the canary was timed."""

    WORKING = "working"  # at least one job had leave to work
    BLANK = "blank"  # a blank window: jobs stopped so that the foreground is seen without them
    ALONE = "alone"  # no slice of any job lived
    SHUT = "shut"  # jobs waited before a shut gate: the foreground was busy, or the server in danger


class Felt(Message):
    """What one kind of canary operation took in one condition."""

    op: str
    """``read`` or ``write``."""
    condition: Condition
    samples: int
    """Seconds, or parts of one, that lay in this condition from their beginning to their end."""
    operations: int
    p50: float
    p90: float
    p99: float
    """Milliseconds. From each second's median, p90 and maximum, so p99 is near rather than exact."""


class Series(Message):
    """One figure over time, one value per moment of the timeline; None where it was not measured."""

    name: str
    mid: tuple[float | None, ...]
    """The median of the moment's samples."""
    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()
    """Their least and greatest; empty where they are the median everywhere."""


class Stop(Message):
    """One time for which the gate was shut to jobs."""

    at: datetime
    seconds: float
    reason: str = ""


class Stops(Message):
    """All of them, and the longest."""

    count: int = 0
    seconds: float = 0.0
    longest: tuple[Stop, ...] = ()


class Own(Message):
    """What the governor itself measured of its jobs' part in the canary's tail, operation by operation."""

    ratio: float
    low: float
    high: float
    """An 80 % interval."""


class Timeline(Message):
    """What the governor of the job's cluster saw and decided."""

    from_at: datetime
    to_at: datetime
    is_shortened: bool = False
    """Whether it begins after the job did, because the job lasted longer than is drawn."""
    samples: int = 0
    bucket_s: float = 1.0
    at_s: tuple[float, ...] = ()
    """Moments, in seconds since ``from_at``; each is the last sample of its bucket."""
    series: tuple[Series, ...] = ()
    zone: tuple[int, ...] = ()
    """The zone that lasted longest in the bucket, as its place in ``zones``."""
    zones: tuple[str, ...] = ()
    shut: tuple[float, ...] = ()
    blank: tuple[float, ...] = ()
    """Which part of the bucket's samples saw the gate shut, and a blank window."""
    reason: tuple[int, ...] = ()
    """Why the pace was low or the gate shut, as its place in ``reasons``; the first is no reason."""
    reasons: tuple[str, ...] = ("",)
    observed_only: float = 0.0
    """Which part of the samples was taken while jobs did not have to obey."""
    felt: tuple[Felt, ...] = ()
    stops: Stops = Stops()
    own: Own | None = None
    """As it was measured last."""
    reported: dict[str, float] = {}
    """By ``read-p99`` and ``write-p99``: the part of samples that have it from the foreground's own report."""


class Facts(Message):
    """The job as its ledger has it."""

    job: str
    kind: str
    cluster: str
    namespace: str
    status: Status
    incarnation: int
    guarantee: str = ""
    effect: str = ""
    message: str = ""
    who: str = ""
    why: str = ""
    started_at: datetime
    ended_at: datetime | None = None
    counts: Counts = Counts()
    documents: int = 0
    """To pass over, estimated when it was planned."""
    partitions: int = 0
    partitions_done: int = 0
    active_s: float | None = None
    waited_s: dict[str, float] = {}
    """Slices' seconds, by reason. Known to the ledger once the job has ended."""
    steps: tuple[tuple[float, int], ...] = ()
    """Seconds since ``Timeline.from_at``, and documents passed in partitions that were written last by then."""


class Report(Message):
    """The answer to a request; without facts, no ledger that the worker can see knows the job."""

    v: int = VERSION
    as_of: datetime
    facts: Facts | None = None
    timeline: Timeline | None = None

"""
Every metric, span and search attribute lull emits: name, unit, attributes, meaning. Named here once.

The docs' table is made from this module and a test asserts that each one is emitted.
"Not measured" is absent, never zero.
"""

from enum import StrEnum
from typing import NamedTuple


class Instrument(StrEnum):
    """How a metric adds up."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Metric(NamedTuple):
    """One metric."""

    name: str
    instrument: Instrument
    unit: str
    attributes: tuple[str, ...]
    meaning: str


JOB = "lull.job"
"""Not plain ``job``: to Prometheus that is the scraped service, and a metric with two labels of one name is dropped."""

DOCUMENTS = Metric(
    "lull.documents",
    Instrument.COUNTER,
    "{document}",
    (JOB, "kind", "cluster", "result"),
    "documents committed; result is changed, unchanged, skipped or quarantined",
)
PAGES = Metric("lull.pages", Instrument.COUNTER, "{page}", (JOB, "kind", "cluster"), "pages committed")
PAGE_HOLD = Metric(
    "lull.page.hold",
    Instrument.HISTOGRAM,
    "ms",
    ("kind", "cluster"),
    "from a page's first operation in its transaction to the commit's acknowledgement",
)
PAGE_DOCUMENTS = Metric(
    "lull.page.documents", Instrument.HISTOGRAM, "{document}", ("kind", "cluster"), "documents seen in a committed page"
)
CONFLICTS = Metric(
    "lull.page.conflicts",
    Instrument.COUNTER,
    "{conflict}",
    ("kind", "cluster"),
    "pages aborted because a foreground write met them; tried again, smaller",
)
SLICES = Metric("lull.slices", Instrument.COUNTER, "{slice}", ("kind", "cluster", "end"), "slices returned, by reason")
SLICE_ACTIVE = Metric(
    "lull.slice.active", Instrument.COUNTER, "s", (JOB, "kind", "cluster"), "time slices spent working"
)
SLICE_WAITED = Metric(
    "lull.slice.waited",
    Instrument.COUNTER,
    "s",
    (JOB, "kind", "cluster", "reason"),
    "time slices spent waiting, by reason",
)
FENCES_LOST = Metric(
    "lull.fences.lost",
    Instrument.COUNTER,
    "{fence}",
    ("kind", "cluster"),
    "slices that found their fence overtaken and committed nothing more",
)

SLICE_METRICS: tuple[Metric, ...] = (
    DOCUMENTS, PAGES, PAGE_HOLD, PAGE_DOCUMENTS, CONFLICTS, SLICES, SLICE_ACTIVE, SLICE_WAITED, FENCES_LOST,
)  # fmt: skip
"""Told by workers."""

DUTY = Metric(
    "lull.governor.duty",
    Instrument.GAUGE,
    "{budget}",
    ("cluster",),
    "work-seconds per second that all jobs together may use",
)
USED = Metric(
    "lull.governor.used",
    Instrument.GAUGE,
    "{budget}",
    ("cluster",),
    "work-seconds per second that all jobs used lately",
)
GATE_OPEN = Metric(
    "lull.governor.gate.open", Instrument.GAUGE, "{gate}", ("cluster",), "1 while pages may begin, 0 while none may"
)
ZONE = Metric(
    "lull.governor.zone", Instrument.GAUGE, "{zone}", ("cluster", "zone"), "1 for the zone it is in, 0 for the others"
)
STARVED = Metric(
    "lull.governor.starved",
    Instrument.GAUGE,
    "{gate}",
    ("cluster",),
    "1 while the gate has been shut beside jobs for more than a minute",
)
JOBS = Metric("lull.governor.jobs", Instrument.GAUGE, "{job}", ("cluster",), "jobs that have slices")
UTILIZATION = Metric(
    "lull.governor.signal.utilization",
    Instrument.GAUGE,
    "1",
    ("cluster", "signal"),
    "what is seen over its limit; 1 is where jobs must stop",
)
OWN = Metric(
    "lull.governor.own",
    Instrument.GAUGE,
    "1",
    ("cluster",),
    "the canary's tail beside our pages over its tail without them; a lower bound of our share",
)
OWN_LOW = Metric(
    "lull.governor.own.low", Instrument.GAUGE, "1", ("cluster",), "the low end of that ratio's 80 % interval"
)
OWN_LATENCY = Metric(
    "lull.governor.own.latency", Instrument.GAUGE, "ms", ("cluster",), "the same as a difference of the two tails"
)
OWN_OBJECTIVE = Metric(
    "lull.governor.own.objective",
    Instrument.GAUGE,
    "1",
    ("cluster",),
    "what that ratio may be: the objective's inflation",
)
FOREGROUND_LATENCY = Metric(
    "lull.governor.foreground.latency",
    Instrument.GAUGE,
    "ms",
    ("cluster", "operation"),
    "the foreground's p99 over ten seconds, as applications report it or else as the canary feels it",
)
FOREGROUND_OPERATIONS = Metric(
    "lull.governor.foreground.operations",
    Instrument.GAUGE,
    "{operation}",
    ("cluster",),
    "operations per second that are not lull's",
)
GATE_SHUTS = Metric(
    "lull.governor.gate.shuts",
    Instrument.COUNTER,
    "{shut}",
    ("cluster", "label"),
    "times the gate was shut, by what shut it",
)
GATE_SHUT = Metric(
    "lull.governor.gate.shut",
    Instrument.COUNTER,
    "s",
    ("cluster", "label"),
    "time the gate was shut, by what kept it so",
)
GOVERNOR_METRICS: tuple[Metric, ...] = (
    DUTY, USED, GATE_OPEN, ZONE, STARVED, JOBS, UTILIZATION, OWN, OWN_LOW, OWN_LATENCY, OWN_OBJECTIVE,
    FOREGROUND_LATENCY, FOREGROUND_OPERATIONS, GATE_SHUTS, GATE_SHUT,
)  # fmt: skip
"""Told by the process in which the cluster's governor lives. What slices wait for is in ``lull.slice.waited``."""

METRICS: tuple[Metric, ...] = (*SLICE_METRICS, *GOVERNOR_METRICS)


class Span(NamedTuple):
    """One kind of span."""

    name: str
    attributes: tuple[str, ...]
    meaning: str


SPAN_SLICE = Span(
    "lull.slice", ("lull.job", "lull.partition", "lull.fence", "lull.end"), "one slice, inside Temporal's activity span"
)
SPAN_PAGE = Span(
    "lull.page",
    ("lull.job", "lull.partition", "lull.fence", "lull.page", "lull.documents"),
    "one committed page; one in a hundred is recorded",
)
SPANS: tuple[Span, ...] = (SPAN_SLICE, SPAN_PAGE)

PAGE_SPAN_EVERY = 100
"""Pages per recorded page span (the first of every slice is always recorded)."""


class SearchAttribute(NamedTuple):
    """One Temporal search attribute; all are keywords (SQL visibility stores allow ten a namespace)."""

    name: str
    meaning: str


STATE = SearchAttribute("LullState", "the job's status: planning, running, pausing, paused, ...")
KIND = SearchAttribute("LullKind", "update, transform, purge, ...")
CLUSTER = SearchAttribute("LullCluster", "the cluster profile's name")
NAMESPACE = SearchAttribute("LullNamespace", "database.collection")
REASON = SearchAttribute("LullReason", "why the job is in this state, shortened to 200 characters")
SEARCH_ATTRIBUTES: tuple[SearchAttribute, ...] = (STATE, KIND, CLUSTER, NAMESPACE, REASON)

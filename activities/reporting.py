"""Reads what a report is made of: the job's ledger, and its governor's samples. The adapter of ``ReportPort``."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

from pymongo.collection import Collection
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference
from typing_extensions import override

from lull.activities.errors import as_application_error
from lull.activities.mongo import CODEC, LEDGER_DATABASE, Cluster, Clusters, Document, world_errors
from lull.activities.store import SAMPLES, Store, aware, now
from lull.activities.threads import Stop, in_thread
from lull.domain import samples
from lull.domain.errors import TransientError
from lull.domain.governor import readings
from lull.domain.governor.budget import Mode
from lull.domain.governor.law import UNLIMITED_HOLD_MS, Phase, Zone
from lull.domain.guarantee import Guarantee
from lull.domain.kinds import parse_spec
from lull.domain.ledger import sum_counts
from lull.domain.ports import ReportPort
from lull.domain.report import Facts, Own, Report, ReportRequest
from lull.domain.samples import Latencies, Sample
from lull.domain.slice import Counts, JobRef, Outcome, Plan

THREADS_MAX = 2
"""A report of three days reads a quarter of a million samples."""
SPAN_MAX = timedelta(days=5)
"""Four hundred thousand samples take half the minute for which somebody waits."""
MARGIN_PART, MARGIN_MIN, MARGIN_MAX = 0.05, timedelta(seconds=30), timedelta(minutes=10)
"""Drawn before and after the job: the foreground without it."""
AT_A_TIME = timedelta(hours=1)
"""One query: 3,600 samples are sorted in memory, and a cancelled report ends soon."""
READ_MS_MAX = 20_000
PARTITIONS_MAX = 100_000
_COMMENT = "lull report"
UTILIZATION_MAX = 1_000.0
_KINDS = ("read", "write")
_GATING = {signal.name: signal for signal in readings.SIGNALS if signal.effect is not readings.Effect.SHOW}
_IDLE_ZONES = {Zone.IDLE, Zone.QUIET}
"""In which the pace is not limited, so that its figures say nothing."""


class Reporting(ReportPort):
    """Reads what jobs and governors left behind."""

    def __init__(self, clusters: Clusters) -> None:
        self._clusters = clusters
        self._threads = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="lull-report")

    @override
    @as_application_error
    async def report(self, request: ReportRequest) -> Report:
        return await in_thread(self._threads, lambda stop: report(self._clusters, request, stop))


def report(clusters: Clusters, request: ReportRequest, stop: Stop) -> Report:
    """
    Return what is known of the job; writes nothing.

    Raises TransientError where no ledger knows the job and one of them could not be asked.
    """
    at = now()
    store, found = _job(clusters, request)
    if store is None or found is None:
        return Report(as_of=_zoned(at))
    with world_errors(f"reporting on job {request.job!r}"):
        from_at, to_at, is_shortened = _range(found, request.last_s, at)
        seen = read_samples(store.cluster, request.job, from_at, to_at, stop)
        timeline = samples.timeline(seen, _zoned(from_at), _zoned(to_at))
        facts = _facts(store, found, from_at)
    return Report(as_of=_zoned(at), facts=facts, timeline=timeline.model_copy(update={"is_shortened": is_shortened}))


def _job(clusters: Clusters, request: ReportRequest) -> tuple[Store | None, Document | None]:
    away: TransientError | None = None
    for name in [request.cluster] if request.cluster else clusters.names:
        try:
            store = Store(clusters.get(name))
            with world_errors(f"reading the ledger on cluster {name}"):
                found = store.job(request.job)
        except TransientError as error:
            away = error
            continue
        if found is not None:
            return store, found
    if away is not None:
        raise away
    return None, None


def _zoned(moment: datetime) -> datetime:
    zoned = aware(moment)
    assert zoned is not None
    return zoned


def _range(found: Document, last_s: float | None, at: datetime) -> tuple[datetime, datetime, bool]:
    """Return what is drawn of the job's time, and whether less of it than was asked for."""
    began, ended = found["started_at"], found["ended_at"] or at
    first = began if last_s is None else max(began, ended - timedelta(seconds=last_s))
    is_shortened = ended - first > SPAN_MAX
    first = max(first, ended - SPAN_MAX)
    margin = min(max((ended - first) * MARGIN_PART, MARGIN_MIN), MARGIN_MAX)
    # What is left of the first moment is the job's own time, if only a part of it was asked for.
    return first - margin if first == began else first, min(ended + margin, at), is_shortened


# --- samples ------------------------------------------------------------------------------------------


def read_samples(
    cluster: Cluster,
    job: str,
    from_at: datetime,
    to_at: datetime,
    stop: Stop,
    *,
    where: Mapping[str, Any] | None = None,
) -> Iterator[Sample]:
    """Yield the samples of a time in their order, with *job*'s part of them; only those that are as *where* says."""
    kept: Collection[Document] = cluster.database(LEDGER_DATABASE).get_collection(
        SAMPLES,
        codec_options=CODEC,
        # Nobody's foreground should pay for a report, and one that misses the last second is as good.
        read_preference=ReadPreference.SECONDARY_PREFERRED,
        read_concern=ReadConcern("local"),
    )
    since = from_at
    while since < to_at:
        stop.check()
        until = min(since + AT_A_TIME, to_at)
        query = {"governor.cluster": cluster.name, "at": {"$gte": since, "$lt": until}, **(where or {})}
        for found in kept.find(query, {"_id": 0}, comment=_COMMENT).sort("at", 1).max_time_ms(READ_MS_MAX):
            yield _sample(found, job, from_at)
        since = until


def _sample(found: Document, job: str, from_at: datetime) -> Sample:
    jobs: list[Document] = found.get("jobs") or []
    zone = str(found.get("zone", ""))
    mode = str(found.get("mode", ""))
    latencies = {kind: one for kind in _KINDS if (one := _latencies(found, kind)) is not None}
    return Sample(
        at_s=(found["at"] - from_at).total_seconds(),
        condition=samples.condition(
            zone=zone, mode=mode, is_open=bool(found.get("is_open", True)), has_jobs=bool(jobs)
        ),
        zone=zone,
        reason=str(found.get("reason") or ""),
        is_observed_only=bool(jobs) and mode != Mode.ENFORCE,
        figures=dict(_figures(found, latencies, job, zone)),
        latencies=latencies,
        own=_own(found.get("own") or {}) if jobs else None,
        sources=found.get("sources") or {},
        is_draining=found.get("phase") == Phase.BETWEEN,
    )


def _figures(found: Document, latencies: Mapping[str, Latencies], job: str, zone: str) -> Iterator[tuple[str, float]]:
    """Yield what was measured by the name under which it is drawn; what was not is left out."""
    for kind, seen in latencies.items():
        yield f"{kind}-p50", seen.p50
        yield f"{kind}-p90", seen.p90
        yield f"{kind}-max", seen.most
    signals, limits = found.get("signals") or {}, found.get("limits") or {}
    for name in (readings.READ_P99.name, readings.WRITE_P99.name):
        yield from _present(name, signals.get(name))
        yield from _present(f"{name} limit", limits.get(name))
    for name, limit in limits.items():
        if name in signals and name in _GATING:
            utilization = readings.Reading(_GATING[name], signals[name], limit).utilization
            yield from _present(f"signal {name}", None if utilization is None else min(utilization, UTILIZATION_MAX))
    yield from _present("foreground-ops", found.get("foreground_ops"))
    if jobs := found.get("jobs"):
        yield from _present("own-ops", found.get("own_ops"))
        for name in ("ratio", "low", "high"):
            yield from _present(f"own-{name}", (found.get("own") or {}).get(name))
        yield from _pace(found, job, jobs, zone)


def _pace(found: Document, job: str, jobs: list[Document], zone: str) -> Iterator[tuple[str, float]]:
    if zone not in _IDLE_ZONES:
        yield from _present("duty", found.get("duty"))
        if (found.get("hold_ms") or UNLIMITED_HOLD_MS) < UNLIMITED_HOLD_MS:
            yield "hold", float(found["hold_ms"])
        yield "share", sum(float(row["share"]) for row in jobs if row["job"] == job)
    yield from _present("docs-per-s", _docs(jobs, job))
    yield "used", sum(float(row["used"]) for row in jobs if row["job"] == job)
    yield "used-by-others", sum(float(row["used"]) for row in jobs if row["job"] != job)


def _docs(jobs: list[Document], job: str) -> float | None:
    told = [float(row["docs_per_s"]) for row in jobs if row["job"] == job and "docs_per_s" in row]
    return sum(told) if told else None


def _present(name: str, value: Any) -> Iterator[tuple[str, float]]:
    if value is not None:
        yield name, float(value)


def _latencies(found: Document, kind: str) -> Latencies | None:
    seen = (found.get("canary") or {}).get(kind) or {}
    if not seen.get("n"):
        return None
    return Latencies(int(seen["n"]), float(seen["p50"]), float(seen["p90"]), float(seen["max"]))


def _own(seen: Document) -> Own | None:
    if any(seen.get(name) is None for name in ("ratio", "low", "high")):
        return None
    return Own(ratio=seen["ratio"], low=seen["low"], high=seen["high"])


# --- the ledger -----------------------------------------------------------------------------------------


def _facts(store: Store, found: Document, from_at: datetime) -> Facts:
    spec = parse_spec(found["spec"])
    plan = Plan.model_validate(found["plan"]) if found["plan"] else None
    outcome = Outcome.model_validate(found["outcome"]) if found["outcome"] else None
    ref = JobRef(job=spec.job, cluster=store.cluster.name, incarnation=found["incarnation"])
    partitions = _partitions(store, ref)
    return Facts(
        job=spec.job,
        kind=spec.kind,
        cluster=store.cluster.name,
        namespace=spec.source.namespace,
        status=found["status"],
        incarnation=found["incarnation"],
        guarantee=str(Guarantee.model_validate(found["guarantee"])) if found["guarantee"] else "",
        effect=spec.effect,
        message=outcome.message if outcome else str((found.get("directive") or {}).get("reason") or ""),
        who=found.get("who") or "",
        why=found.get("why") or "",
        started_at=_zoned(found["started_at"]),
        ended_at=aware(found["ended_at"]),
        counts=outcome.counts if outcome else sum_counts(Counts.model_validate(p["counts"]) for p in partitions),
        documents=plan.documents if plan else 0,
        partitions=plan.partitions if plan else 0,
        partitions_done=outcome.partitions_done if outcome else sum(p["status"] == "done" for p in partitions),
        active_s=outcome.active_s if outcome else None,
        waited_s=outcome.waited_s if outcome else {},
        steps=samples.steps(
            ((p["updated_at"] - from_at).total_seconds(), int(p["counts"]["scanned"]))
            for p in partitions
            if p["counts"]["scanned"]
        ),
    )


def _partitions(store: Store, ref: JobRef) -> list[Document]:
    """Return what the ledger still has of the partitions, which expire a month after the job's end."""
    query = {"job": ref.job, "incarnation": ref.incarnation}
    wanted = {"_id": 0, "status": 1, "counts": 1, "updated_at": 1}
    return list(store.partitions.find(query, wanted, comment=_COMMENT).limit(PARTITIONS_MAX))

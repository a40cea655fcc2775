"""Reads what a forecast rests on: samples, the governor's word, earlier jobs, a probe. The adapter of ``ForecastPort``."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from pydantic import ValidationError
from typing_extensions import override

from lull.activities import probe
from lull.activities.errors import as_application_error
from lull.activities.leave import BudgetWatches, budget_of
from lull.activities.mongo import Cluster, Clusters, Document, world_errors
from lull.activities.reporting import read_samples
from lull.activities.store import BUDGET_ID, GOVERNOR, LEARNED_ID, ORDERS_ID, Store, now
from lull.activities.survey import PASSED_OVER_PER_SECOND
from lull.activities.threads import Stop, in_thread
from lull.activities.transforms import Registry
from lull.domain.forecast import (
    FRESH_SECONDS,
    Asked,
    Documents,
    Forecast,
    ForecastRequest,
    Probed,
    Rate,
    Standing,
    Watched,
    earlier_rate,
    forecast,
    guessed_rate,
    probed_rate,
    watched,
)
from lull.domain.governor.budget import Budget, Mode
from lull.domain.governor.law import DUTY_BUSY, Aim
from lull.domain.job import JobSpec, Walk
from lull.domain.lifecycle import Status
from lull.domain.ports import ForecastPort
from lull.domain.slice import Plan

THREADS_MAX = 2
"""Probes at a time in one process: they are work, and nobody waits for many of them."""
LOOK_BACK = timedelta(minutes=30)
"""The present foreground: 1,800 samples while jobs run, 180 while none does."""
EARLIER_JOBS_MAX = 5
EARLIER_ACTIVE_SECONDS_MIN, EARLIER_DOCUMENTS_MIN = 0.5, 1_000
"""Of an earlier job that tells a rate: a shorter one mostly began and ended."""
READ_MS_MAX = 5_000
_COMMENT = "lull forecast"


class Forecasting(ForecastPort):
    """Tells how long a planned job will take."""

    def __init__(self, clusters: Clusters, registry: Registry, budgets: BudgetWatches | None = None) -> None:
        self._clusters = clusters
        self._registry = registry
        self._budgets = budgets or BudgetWatches()
        self._threads = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="lull-forecast")

    @override
    @as_application_error
    async def forecast(self, request: ForecastRequest) -> Forecast:
        cluster = self._clusters.get(request.spec.source.cluster)
        return await in_thread(self._threads, lambda stop: self._forecast(cluster, request, stop))

    def _forecast(self, cluster: Cluster, request: ForecastRequest, stop: Stop) -> Forecast:
        spec, plan = request.spec, request.plan
        cluster.profile.check(cluster.name, spec)
        with world_errors(f"forecasting {spec.source.namespace}"):
            seen, standing = _watched(cluster, spec, stop), _standing(cluster, spec)
            earlier = earlier_rate(list(_earlier(cluster, spec)), "of this kind on this collection before")
        # After the samples were read: what a probe does to them is not the present foreground.
        probed = self._probe(cluster, request, stop) if request.probe else None
        rate = _rate(probed, seen) or earlier or _guess(spec, plan)
        return forecast(_documents(plan), _asked(cluster, spec, plan), seen, standing, rate, probe=probed)

    def _probe(self, cluster: Cluster, request: ForecastRequest, stop: Stop) -> Probed:
        spec = request.spec
        if spec.function is not None:
            self._registry.get(spec.function)
        with self._budgets.of(cluster, probe.account_name(spec.job)) as watch:
            return probe.probe(cluster, spec, request.plan, registry=self._registry, watch=watch, stop=stop)


def _rate(probed: Probed | None, seen: Watched) -> Rate | None:
    return None if probed is None else probed_rate(probed, seen.commit_ms)


def _guess(spec: JobSpec, plan: Plan) -> Rate:
    """Return lull's own figure for the kind, over those documents that match and those passed over."""
    documents = max(1, plan.documents)
    matching = documents if plan.matching is None else min(plan.matching, documents)
    seconds = matching / spec.docs_per_second_expected + (documents - matching) / PASSED_OVER_PER_SECOND
    return guessed_rate(spec.kind, documents / seconds)


def _documents(plan: Plan) -> Documents:
    if plan.walk is Walk.DRAIN:
        return Documents(plan.documents, False, "documents that match, counted through the index or sampled")
    return Documents(plan.documents, True, "documents to pass, from the collection's metadata")


def _asked(cluster: Cluster, spec: JobSpec, plan: Plan) -> Asked:
    objective = spec.foreground.strictest(cluster.profile.foreground)
    return Asked(
        kind=spec.kind,
        parallel=max(1, min(spec.limits.parallel, plan.partitions)),
        docs_per_second_max=spec.limits.max_docs_per_second,
        weight=spec.weight,
        inflation=objective.inflation or Aim().inflation,
    )


# --- what was seen ------------------------------------------------------------------------------------


def _watched(cluster: Cluster, spec: JobSpec, stop: Stop) -> Watched:
    at = now()
    # A probe's few seconds tell of the governor's slow start, not of what the foreground allows.
    without_probes: Document = {"jobs.job": {"$not": {"$regex": r" \(probe\)$"}}}
    return watched(list(read_samples(cluster, spec.job, at - LOOK_BACK, at, stop, where=without_probes)))


def _standing(cluster: Cluster, spec: JobSpec) -> Standing:
    """Return what the governor says now, as far as it can be read."""
    if cluster.profile.governor is Mode.OFF:
        return Standing(Mode.OFF)
    ids = [BUDGET_ID, LEARNED_ID, ORDERS_ID]
    found = {each["_id"]: each for each in cluster.ledger(GOVERNOR).find({"_id": {"$in": ids}}, comment=_COMMENT)}
    budget = _budget(found.get(BUDGET_ID))
    if budget is None:
        return Standing(cluster.profile.governor)
    is_by_hand = bool(found.get(ORDERS_ID, {}).get("shut_by_hand"))
    return Standing(
        mode=budget.mode,
        is_heard=True,
        is_open=budget.is_open and not is_by_hand,
        reason="shut by hand in lull.governor" if is_by_hand else budget.reason,
        ceiling=float(found.get(LEARNED_ID, {}).get("ceiling") or DUTY_BUSY),
        other_weights=_other_weights(cluster, spec, budget),
    )


def _budget(found: Document | None) -> Budget | None:
    """Return the governor's word if it is not an old one; judged by the clocks of two machines, so not to the second."""
    try:
        budget = budget_of(found)
    except ValidationError:
        return None  # of a version that this one cannot read
    if budget is None or budget.at is None or abs((now() - budget.at).total_seconds()) > FRESH_SECONDS:
        return None
    return budget


def _other_weights(cluster: Cluster, spec: JobSpec, budget: Budget) -> float:
    others = [
        share.job for share in budget.shares if share.job != spec.job and not share.job.endswith(probe.ACCOUNT_SUFFIX)
    ]
    found = Store(cluster).jobs.find({"_id": {"$in": others}}, {"spec.weight": 1}, comment=_COMMENT)
    return float(sum((each.get("spec") or {}).get("weight", 1.0) for each in found))


def _earlier(cluster: Cluster, spec: JobSpec) -> Iterator[float]:
    """Yield documents per second of work of jobs like this one, the newest first."""
    query: Document = {
        "status": str(Status.COMPLETED),
        "spec.kind": spec.kind,
        "spec.source.database": spec.source.database,
        "spec.source.collection": spec.source.collection,
        "outcome.active_s": {"$gte": EARLIER_ACTIVE_SECONDS_MIN},
        "outcome.counts.scanned": {"$gte": EARLIER_DOCUMENTS_MIN},
    }
    if spec.function is not None:
        query["spec.transform"] = spec.function
    wanted = {"outcome.active_s": 1, "outcome.counts.scanned": 1}
    newest = Store(cluster).jobs.find(query, wanted, comment=_COMMENT).sort("ended_at", -1).limit(EARLIER_JOBS_MAX)
    for found in newest.max_time_ms(READ_MS_MAX):
        yield found["outcome"]["counts"]["scanned"] / found["outcome"]["active_s"]

"""Plans jobs, opens their ledgers, and examines clusters: the adapter of ``PlanningPort``."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from typing_extensions import override

from lull.activities import claims, doctor, opening
from lull.activities.errors import as_application_error
from lull.activities.mongo import Cluster, Clusters, world_errors
from lull.activities.opening import Step
from lull.activities.store import Store
from lull.activities.survey import survey
from lull.activities.threads import Stop, in_thread
from lull.activities.transforms import Registry
from lull.domain.errors import OperatorError
from lull.domain.job import JobSpec
from lull.domain.ports import PlanningPort
from lull.domain.slice import DoctorReport, DoctorRequest, Opened, OpenRequest, Plan, PlanRequest

THREADS_MAX = 8
"""A plan samples and counts: more of them at a time would burden the clusters they look at."""


class Planning(PlanningPort):
    """Looks at clusters and opens ledgers."""

    def __init__(self, clusters: Clusters, registry: Registry) -> None:
        self._clusters = clusters
        self._registry = registry
        self._threads = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="lull-planning")

    @override
    @as_application_error
    async def plan(self, request: PlanRequest) -> Plan:
        cluster = self._clusters.get(request.spec.source.cluster)
        return await in_thread(self._threads, lambda stop: plan(cluster, request.spec, self._registry, stop))

    @override
    @as_application_error
    async def open(self, request: OpenRequest) -> Opened:
        cluster = self._clusters.get(request.spec.source.cluster)
        return await in_thread(self._threads, lambda stop: open_job(cluster, request, self._registry, stop))

    @override
    @as_application_error
    async def doctor(self, request: DoctorRequest) -> DoctorReport:
        return await in_thread(self._threads, lambda _: doctor.examine(self._clusters, self._registry, request.cluster))


def plan(cluster: Cluster, spec: JobSpec, registry: Registry, stop: Stop) -> Plan:
    """Return what *spec* would do; writes nothing."""
    found = survey(cluster, spec, registry, stop).plan
    with world_errors("reading the ledger"):
        notes = tuple(_in_the_way(Store(cluster), spec))
    return found.model_copy(update={"notes": (*found.notes, *notes)})


def _in_the_way(store: Store, spec: JobSpec) -> Iterator[str]:
    """What in the ledger would refuse the job if it were started now."""
    found = store.claims.find_one({"_id": spec.source.namespace})
    try:
        claims.refuse_overlap(spec, claims.live(store, found, spec.job))
    except OperatorError as error:
        yield f"would be refused now: {error}"
    known = store.jobs.find_one({"_id": spec.job}, {"status": 1})
    if known is not None:
        yield f"the job id {spec.job!r} is known: it is {known['status']}"


def open_job(cluster: Cluster, request: OpenRequest, registry: Registry, stop: Stop) -> Opened:
    """The job's ledger is open, or the same request had been opened or completed before."""
    store = Store(cluster)
    cluster.profile.check(cluster.name, request.spec)
    with world_errors("reading the ledger"):
        known = opening.already_open(store, request)
    if known is not None:
        return known
    found = survey(cluster, request.spec, registry, stop)

    def passed(_step: Step) -> None:
        stop.check()

    return opening.open_ledger(store, request, found, passed)

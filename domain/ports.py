"""
The typed signatures of every activity: the only line that workflow and adapter share.

An adapter in ``lull.activities`` subclasses a port; mypy checks the workflow's call and the
adapter's override against the same declaration.
"""

from lull.domain.forecast import Forecast, ForecastRequest
from lull.domain.governor.status import GovernorStatus, GovernRequest, OrderRequest, Orders
from lull.domain.report import Report, ReportRequest
from lull.domain.slice import (
    CloseRequest,
    DoctorReport,
    DoctorRequest,
    DrainProof,
    JobRef,
    Opened,
    OpenRequest,
    Outcome,
    Plan,
    PlanRequest,
    PublishRequest,
    SliceReport,
    SliceTask,
)
from temporalio import activity


class PlanningPort:
    """Looks at clusters and opens ledgers."""

    @activity.defn(name="lull.plan")
    async def plan(self, request: PlanRequest) -> Plan:
        """Return what the spec would do; writes nothing."""
        raise NotImplementedError

    @activity.defn(name="lull.open")
    async def open(self, request: OpenRequest) -> Opened:
        """Claim the job, partition its range, write the ledger. Idempotent for one workflow run."""
        raise NotImplementedError

    @activity.defn(name="lull.doctor")
    async def doctor(self, request: DoctorRequest) -> DoctorReport:
        """Examine clusters: reachable, version, topology, privileges, ledger."""
        raise NotImplementedError


class LedgerPort:
    """Short writes to the ledger."""

    @activity.defn(name="lull.publish")
    async def publish(self, request: PublishRequest) -> None:
        """The directive is in the ledger at majority, unless a newer one is there already."""
        raise NotImplementedError

    @activity.defn(name="lull.raise_fences")
    async def raise_fences(self, ref: JobRef) -> DrainProof:
        """Every unfinished partition's fence is raised at majority: nothing can commit."""
        raise NotImplementedError

    @activity.defn(name="lull.close")
    async def close(self, request: CloseRequest) -> Outcome:
        """
        The job has ended in the ledger, and its claims are given back. Idempotent.

        For ``completed`` the sums are checked first; InvariantBroken leaves everything as it was.
        """
        raise NotImplementedError


class PagesPort:
    """Does the work."""

    @activity.defn(name="lull.slice")
    async def run_slice(self, task: SliceTask) -> SliceReport:
        """Commit pages of one partition until it is done, time is up, or the directive says otherwise."""
        raise NotImplementedError


class GovernorPort:
    """Keeps a cluster's governor alive."""

    @activity.defn(name="lull.govern")
    async def govern(self, request: GovernRequest) -> GovernorStatus:
        """Look, decide and publish until the time is up or the worker ends; heartbeats carry the status."""
        raise NotImplementedError


class GovernorOrdersPort:
    """Short writes to ``lull.governor``."""

    @activity.defn(name="lull.order_governor")
    async def order(self, request: OrderRequest) -> Orders | None:
        """The operators' orders are in the ledger. Returns what is there instead if somebody else has written it."""
        raise NotImplementedError


class ReportPort:
    """Reads what jobs and governors left behind."""

    @activity.defn(name="lull.report")
    async def report(self, request: ReportRequest) -> Report:
        """Return what the job did and what the foreground felt meanwhile; writes nothing."""
        raise NotImplementedError


class ForecastPort:
    """Tells how long a planned job will take."""

    @activity.defn(name="lull.forecast")
    async def forecast(self, request: ForecastRequest) -> Forecast:
        """Return what samples, and a probe if asked for, tell; what a probe writes it takes back."""
        raise NotImplementedError

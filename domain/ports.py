"""
The typed signatures of every activity: the only line that workflow and adapter share.

An adapter in ``lull.activities`` subclasses a port; mypy checks the workflow's call and the
adapter's override against the same declaration.
"""

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

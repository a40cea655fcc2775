"""Ask a worker to examine its clusters."""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from lull.domain.errors import NON_RETRYABLE
    from lull.domain.ports import PlanningPort
    from lull.domain.slice import DoctorReport, DoctorRequest

from lull.workflows.plan import plainly


@workflow.defn(name="lull.doctor")
class DoctorWorkflow:
    """Is everything there that jobs need?"""

    @workflow.run
    async def run(self, request: DoctorRequest) -> DoctorReport:
        """Return what the worker found; a cluster that is away is a finding, not a failure."""
        try:
            return await workflow.execute_activity_method(
                PlanningPort.doctor,
                request,
                start_to_close_timeout=timedelta(minutes=2),
                retry_policy=RetryPolicy(maximum_attempts=2, non_retryable_error_types=list(NON_RETRYABLE)),
                summary=f"examine {request.cluster or 'every cluster'}",
            )
        except ActivityError as error:
            raise plainly(error) from None

"""Ask a worker what a job did and what the foreground felt: no database credentials where it is asked."""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from lull.domain.errors import NON_RETRYABLE
    from lull.domain.ports import ReportPort
    from lull.domain.report import Report, ReportRequest
    from lull.domain.slice import HEARTBEAT_TIMEOUT_SECONDS

from lull.workflows.plan import ATTEMPTS_MAX, plainly


@workflow.defn(name="lull.report")
class ReportWorkflow:
    """What did this job do, and what did the foreground feel?"""

    @workflow.run
    async def run(self, request: ReportRequest) -> Report:
        """Return the report; nothing is written."""
        try:
            return await workflow.execute_activity_method(
                ReportPort.report,
                request,
                start_to_close_timeout=timedelta(minutes=2),
                heartbeat_timeout=timedelta(seconds=4 * HEARTBEAT_TIMEOUT_SECONDS),
                retry_policy=RetryPolicy(maximum_attempts=ATTEMPTS_MAX, non_retryable_error_types=list(NON_RETRYABLE)),
                summary=f"report on {request.job}",
            )
        except ActivityError as error:
            raise plainly(error) from None

"""Ask a worker what a spec would do: no database credentials where the question is asked."""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError

with workflow.unsafe.imports_passed_through():
    from lull.domain.errors import NON_RETRYABLE
    from lull.domain.ports import PlanningPort
    from lull.domain.slice import Plan, PlanRequest

ATTEMPTS_MAX = 3
"""Somebody is waiting for the answer: better to say soon that the cluster is away."""


@workflow.defn(name="lull.plan")
class PlanWorkflow:
    """What would this spec do?"""

    @workflow.run
    async def run(self, request: PlanRequest) -> Plan:
        """Return the plan; nothing is written."""
        try:
            return await workflow.execute_activity_method(
                PlanningPort.plan,
                request,
                start_to_close_timeout=timedelta(minutes=2),
                retry_policy=RetryPolicy(maximum_attempts=ATTEMPTS_MAX, non_retryable_error_types=list(NON_RETRYABLE)),
                summary=f"plan {request.spec.job}",
            )
        except ActivityError as error:
            raise plainly(error) from None


def plainly(error: ActivityError) -> BaseException:
    """Return the error a caller should see: the activity's own sentence, not that an activity failed."""
    cause = error.cause
    if isinstance(cause, ApplicationError):
        return ApplicationError(cause.message, type=cause.type, non_retryable=True)
    return error

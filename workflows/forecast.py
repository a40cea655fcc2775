"""Ask a worker how long a planned job will take: no database credentials where the question is asked."""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from lull.domain.errors import NON_RETRYABLE
    from lull.domain.forecast import Forecast, ForecastRequest
    from lull.domain.ports import ForecastPort
    from lull.domain.slice import HEARTBEAT_TIMEOUT_SECONDS

from lull.workflows.plan import ATTEMPTS_MAX, plainly


@workflow.defn(name="lull.forecast")
class ForecastWorkflow:
    """How long will this job take, and what will the foreground feel?"""

    @workflow.run
    async def run(self, request: ForecastRequest) -> Forecast:
        """Return the forecast; nothing is written, and what a probe writes is taken back."""
        try:
            return await workflow.execute_activity_method(
                ForecastPort.forecast,
                request,
                start_to_close_timeout=timedelta(minutes=1),
                heartbeat_timeout=timedelta(seconds=4 * HEARTBEAT_TIMEOUT_SECONDS),
                retry_policy=RetryPolicy(maximum_attempts=ATTEMPTS_MAX, non_retryable_error_types=list(NON_RETRYABLE)),
                summary=f"forecast {request.spec.job}",
            )
        except ActivityError as error:
            raise plainly(error) from None

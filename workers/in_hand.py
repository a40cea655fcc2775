"""What a worker has in hand at this moment, so that a drain can show what it waits for."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor
from typing_extensions import override

from lull.activities.telemetry import log_fields
from lull.domain.queues import workflow_id
from lull.domain.slice import SliceTask


@dataclass(frozen=True, slots=True)
class Task:
    """One running activity."""

    activity: str
    job: str
    partition: int | None
    began: float
    """Of the monotonic clock."""

    @override
    def __str__(self) -> str:
        return self.job if self.partition is None else f"{self.job} partition {self.partition}"


class InHand(Interceptor):
    """Knows the running activities of every Worker it is given to. Log lines of an activity name its job."""

    def __init__(self) -> None:
        self._tasks: dict[bytes, Task] = {}

    @property
    def tasks(self) -> list[Task]:
        """What runs now, longest first."""
        return sorted(self._tasks.values(), key=lambda task: task.began)

    @override
    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Inbound(next, self)

    @contextmanager
    def holding(self, task: Task) -> Iterator[None]:
        """*task* is among the tasks inside."""
        token = activity.info().task_token
        self._tasks[token] = task
        try:
            yield
        finally:
            self._tasks.pop(token, None)


class _Inbound(ActivityInboundInterceptor):
    def __init__(self, next_: ActivityInboundInterceptor, in_hand: InHand) -> None:
        super().__init__(next_)
        self._in_hand = in_hand

    @override
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        info = activity.info()
        job = (info.workflow_id or "").removeprefix(workflow_id(""))
        partition = next((arg.partition for arg in input.args if isinstance(arg, SliceTask)), None)
        with self._in_hand.holding(Task(info.activity_type, job, partition, time.monotonic())), log_fields(job=job):
            return await super().execute_activity(input)

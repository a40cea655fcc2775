"""
The Temporal Workers of one process, and the order in which they stop.

Control and pages have queues and slots of their own, so a backlog of pages never delays a pause.
Pages stop first: a slice sees the shutdown and returns at its next page boundary, and the control
Worker, still alive, lets its workflow hand the partition to another process at once.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio.client import Client
from temporalio.worker import PollerBehaviorAutoscaling, Worker

from lull.domain import queues
from lull.domain.errors import TransientError
from lull.workers.registration import Activity

logger = logging.getLogger(__name__)

HEARTBEAT_EVERY = timedelta(seconds=1)
"""Of a slice to the server: cancellation and a Web UI's view are that old at most."""
STICKY_SECONDS = 2.0
"""How long a workflow task waits for the process that knows its workflow: that may have been killed."""
CACHED_WORKFLOWS_MAX = 200
"""Each costs memory; one that is not cached is replayed from its history."""
CONTROL_ACTIVITIES_MAX = 20
"""Short ledger operations of all jobs together."""
LINGER_SECONDS = 1.0
"""
How long the control Worker outlives slices that had to return. The server answers their reports with
a workflow task for this very process; a poll given up at that moment loses it for ten seconds (the
task's timeout). Seen: 20 to 100 ms from report to task.
"""
POLLERS = PollerBehaviorAutoscaling(minimum=1, maximum=10, initial=2)


@dataclass(frozen=True, slots=True)
class Hosting:
    """What one process hosts. Zero slots host no such queue."""

    workflows: Sequence[type] = ()
    control: Sequence[Activity] = ()
    pages: Sequence[Activity] = ()
    slots: int = 0
    critical_slots: int = 0
    grace_s: float = 30.0


def served_queues(slots: int, critical_slots: int, *, with_control: bool) -> tuple[str, ...]:
    """Return the queues that a process with these slots polls."""
    polled = {
        queues.CONTROL: with_control,
        queues.PAGES: slots > 0,
        queues.PAGES_CRITICAL: critical_slots > 0,
    }
    return tuple(queue for queue, is_polled in polled.items() if is_polled)


class Stopped(TransientError):
    """A Worker ended although nobody asked it to."""


class Host:
    """Runs the Workers of one process. Used once."""

    def __init__(self, client: Client, hosting: Hosting) -> None:
        self._grace = timedelta(seconds=hosting.grace_s)
        self._pages = [
            self._make(client, task_queue=queue, activities=hosting.pages, max_concurrent_activities=slots)
            for queue, slots in ((queues.PAGES, hosting.slots), (queues.PAGES_CRITICAL, hosting.critical_slots))
            if slots > 0
        ]
        self._control = [self._make_control(client, hosting)] if hosting.workflows else []
        self._running: list[asyncio.Task[None]] = []

    def _make_control(self, client: Client, hosting: Hosting) -> Worker:
        return self._make(
            client,
            task_queue=queues.CONTROL,
            workflows=hosting.workflows,
            activities=hosting.control,
            max_concurrent_activities=CONTROL_ACTIVITIES_MAX,
            max_cached_workflows=CACHED_WORKFLOWS_MAX,
            sticky_queue_schedule_to_start_timeout=timedelta(seconds=STICKY_SECONDS),
            workflow_task_poller_behavior=POLLERS,
        )

    def _make(self, client: Client, **options: Any) -> Worker:
        return Worker(
            client,
            activity_task_poller_behavior=POLLERS,
            graceful_shutdown_timeout=self._grace,
            max_heartbeat_throttle_interval=HEARTBEAT_EVERY,
            default_heartbeat_throttle_interval=HEARTBEAT_EVERY,
            disable_eager_activity_execution=True,
            **options,
        )

    async def start(self) -> None:
        """Every Worker polls. Raises Stopped if one cannot."""
        self._running = [asyncio.create_task(worker.run()) for worker in [*self._pages, *self._control]]
        # A Worker says that it runs once the server has accepted it.
        while not all(worker.is_running for worker in [*self._pages, *self._control]):
            self._raise_ended()
            await asyncio.sleep(0.01)

    async def wait_ended(self) -> None:
        """Return never; raise Stopped when a Worker ends by itself."""
        await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
        self._raise_ended()

    async def stop(self, *, was_busy: bool) -> None:
        """
        Nothing runs any more: pages first, then control.

        Takes at most the grace time, then what still runs is cancelled. *was_busy* says that
        slices ran, whose workflows are to be heard first.
        """
        try:
            await asyncio.gather(*(worker.shutdown() for worker in self._pages))
            if was_busy and self._control:
                await asyncio.sleep(LINGER_SECONDS)
            await asyncio.gather(*(worker.shutdown() for worker in self._control))
        finally:
            await asyncio.gather(*self._running, return_exceptions=True)

    def _raise_ended(self) -> None:
        for task in self._running:
            if task.done():
                error = None if task.cancelled() else task.exception()
                raise Stopped(
                    f"a Temporal Worker ended by itself ({type(error).__name__}: {error}); "
                    "what it had in hand is taken up by other workers; start this one again"
                )

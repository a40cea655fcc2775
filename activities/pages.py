"""
The activity around a slice: it keeps Temporal informed while the page loop works in a thread.

The event loop does nothing but heartbeat, so that a busy page never looks like a dead worker; and
a page loop that has stopped moving is not covered up: its heartbeats stop too.
"""

import asyncio
import contextvars
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from pymongo.read_concern import ReadConcern
from temporalio import activity
from typing_extensions import override

from lull.activities import lease as leases
from lull.activities.errors import as_application_error
from lull.activities.kinds import PartitionWork
from lull.activities.leave import BudgetWatch, BudgetWatches
from lull.activities.mongo import Cluster, Clusters, Document, world_errors
from lull.activities.slices import Slice, SliceParts
from lull.activities.store import JOBS, QUARANTINE
from lull.activities.telemetry import SliceTelemetry
from lull.activities.transforms import Registry
from lull.activities.watch import Watch, Watches
from lull.domain.errors import InvariantBroken
from lull.domain.guarantee import Promise
from lull.domain.kinds import parse_spec
from lull.domain.ports import PagesPort
from lull.domain.slice import VERSION, PartitionSnapshot, Plan, SliceEnd, SliceReport, SliceTask

HEARTBEAT_SECONDS = 0.5
STUCK_SECONDS = 120.0
"""A page that takes longer than this, driver timeouts included, is no longer vouched for."""
SLICES_MAX = 256
"""Threads of one process; slots are the worker's to limit."""
_PROCESS = f"{socket.gethostname()}:{os.getpid()}"
"""Whose hands a partition is in: somebody who looks at the ledger wants to find the process."""


class Pages(PagesPort):
    """Runs slices for any kind of job."""

    def __init__(self, clusters: Clusters, registry: Registry, budgets: BudgetWatches | None = None) -> None:
        self._clusters = clusters
        self._registry = registry
        self._watches = Watches()
        self._budgets = budgets or BudgetWatches()
        self._threads = ThreadPoolExecutor(max_workers=SLICES_MAX, thread_name_prefix="lull-slice")
        self._readers = ThreadPoolExecutor(max_workers=SLICES_MAX, thread_name_prefix="lull-read")

    @override
    @as_application_error
    async def run_slice(self, task: SliceTask) -> SliceReport:
        if task.v > VERSION:
            raise InvariantBroken(
                f"a slice of version {task.v} reached a worker that knows {VERSION}; deploy workers first"
            )
        activity.heartbeat()
        info = activity.info()
        running = _Running(owner=f"{_PROCESS} {info.activity_id}@{info.attempt}")
        # The thread works in this activity's context, so that its spans hang under Temporal's.
        run = partial(contextvars.copy_context().run, self._work, task, running)
        work = asyncio.get_running_loop().run_in_executor(self._threads, run)
        return await _attend(work, running)

    def _work(self, task: SliceTask, running: "_Running") -> SliceReport:
        cluster = self._clusters.get(task.cluster)
        with world_errors(f"cluster {task.cluster}"):
            job = cluster.ledger(JOBS).find_one(
                {"_id": task.job}, {"spec": 1, "plan": 1, "incarnation": 1, "walk_index": 1}
            )
        if job is None or job["incarnation"] != task.incarnation:
            return SliceReport(end=SliceEnd.RETIRING, snapshot=PartitionSnapshot(partition=task.partition))
        work = self._partition_work(cluster, task, job)
        with self._watches.of(cluster, task) as watch, self._budgets.of(cluster, task.job) as budget:
            return self._slice(work, cluster, task, _Heard(watch, budget), running)

    def _slice(
        self, work: PartitionWork, cluster: Cluster, task: SliceTask, heard: "_Heard", running: "_Running"
    ) -> SliceReport:
        with world_errors(f"cluster {task.cluster}"):
            lease = leases.take(cluster, task, running.owner)
        if lease.done:
            return SliceReport(end=SliceEnd.DONE, snapshot=lease.snapshot)
        telemetry = SliceTelemetry(
            job=task.job,
            kind=work.spec.kind,
            cluster=task.cluster,
            partition=task.partition,
            fence=lease.fence,
            incarnation=task.incarnation,
        )
        with telemetry.slice_span():
            mine = replace(work, upto=lease.upto)
            parts = SliceParts(cluster, task, mine, heard.watch, heard.budget, telemetry, running.owner, self._readers)
            running.slice = Slice(parts, lease)
            if running.draining:
                running.slice.drain()
            return running.slice.run()

    def _partition_work(self, cluster: Cluster, task: SliceTask, job: Document) -> PartitionWork:
        spec = parse_spec(job["spec"])
        plan = Plan.model_validate(job["plan"])
        transactional = plan.guarantee.promise is Promise.EXACTLY_ONCE
        source = cluster.source(spec)
        return PartitionWork(
            spec=spec,
            plan=plan,
            # What an election could still undo must not decide that a document is passed over.
            source=source.with_options(read_concern=ReadConcern("majority")) if transactional else source,
            upto=None,  # the lease knows
            walk_index=(job.get("walk_index") or {}).get("name", "_id_"),
            transactional=transactional,
            registry=self._registry,
            comment=f"lull job={task.job} partition={task.partition}",
            quarantine=spec.on_poison.quarantine,
            quarantined=partial(_quarantined, cluster, task),
        )

    def close(self) -> None:
        """No thread of a finished slice is left."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._readers.shutdown(wait=False, cancel_futures=True)


class _Heard(NamedTuple):
    """Whom a slice listens to: its job's workflow and the cluster's governor."""

    watch: Watch
    budget: BudgetWatch


def _quarantined(cluster: Cluster, task: SliceTask) -> list[Any]:
    passed_over = {"_id.job": task.job, "_id.incarnation": task.incarnation, "partition": task.partition}
    return [found["document_id"] for found in cluster.ledger(QUARANTINE).find(passed_over, {"document_id": 1})]


class _Running:
    """What the event loop may know of a slice in its thread."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.slice: Slice | None = None
        self.draining = False
        self.began = time.monotonic()

    def drain(self) -> None:
        self.draining = True
        if self.slice is not None:
            self.slice.drain()

    @property
    def is_stuck(self) -> bool:
        alive_at = self.slice.alive_at if self.slice is not None else self.began
        return time.monotonic() - alive_at > STUCK_SECONDS


async def _attend(work: "asyncio.Future[SliceReport]", running: _Running) -> SliceReport:
    """Heartbeat until the slice returns; on shutdown or cancellation it returns at a page boundary."""
    shutdown = asyncio.create_task(_drain_at_shutdown(running))
    try:
        while not work.done():
            await asyncio.wait([work], timeout=HEARTBEAT_SECONDS)
            _heartbeat(running)
    except asyncio.CancelledError:
        running.drain()
        await asyncio.wait([work])
        raise
    finally:
        shutdown.cancel()
    return work.result()


async def _drain_at_shutdown(running: _Running) -> None:
    await activity.wait_for_worker_shutdown()
    running.drain()


def _heartbeat(running: _Running) -> None:
    if running.is_stuck:
        return
    if running.slice is None:
        activity.heartbeat()
    else:
        activity.heartbeat(running.slice.snapshot)

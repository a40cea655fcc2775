"""
Governors beside a worker: a process of their own, and one workflow per cluster that keeps one of them at work.

Whoever has the profile may govern: every worker brings a governor's process, Temporal gives each
cluster's to one of them, and when that one dies, to another.
"""

import asyncio
import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Sequence

from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError
from temporalio.worker import Worker

from lull.activities.governing.adapter import CLUSTERS_MAX, Governing
from lull.activities.mongo import Clusters
from lull.domain import queues
from lull.domain.governor.budget import Mode
from lull.domain.governor.status import GovernorState
from lull.domain.ports import GovernorPort
from lull.domain.settings import Settings
from lull.workers.connection import connect
from lull.workers.governor_metrics import GovernorMetrics
from lull.workers.host import HEARTBEAT_EVERY
from lull.workers.plugin import lull_plugin
from lull.workers.registration import register
from lull.workers.settings import temporal_connection
from lull.workers.supervisor import child_command
from lull.workers.telemetry import Endpoint, exporting, temporal_runtime
from lull.workflows.governor import GovernorWorkflow

logger = logging.getLogger(__name__)

ENSURE_EVERY_SECONDS = 30.0
"""A governor's workflow that somebody ended is started again so soon."""
RESTART_SECONDS_FIRST = 0.5
RESTART_SECONDS_MAX = 10.0
STOP_SECONDS_MAX = 5.0


def governed(settings: Settings) -> list[str]:
    """Return the clusters that have a governor."""
    return sorted(name for name, profile in settings.clusters.items() if profile.governor is not Mode.OFF)


async def keep_governors(client: Client, clusters: Sequence[str]) -> None:
    """Every cluster's governor workflow runs; looked at for as long as this task lives."""
    while clusters:
        for cluster in clusters:
            try:
                await client.start_workflow(
                    GovernorWorkflow.run,
                    GovernorState(cluster=cluster),
                    id=queues.governor_id(cluster),
                    task_queue=queues.CONTROL,
                    id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                    static_summary=f"governor of {cluster}",
                )
            except RPCError as error:
                logger.warning("the governor of %s was not started (%s); trying again", cluster, error.status.name)
        await asyncio.sleep(ENSURE_EVERY_SECONDS)


class GovernorProcess:
    """The process beside a worker in which governors live; started again whenever it ends."""

    def __init__(self, clusters: Sequence[str]) -> None:
        self._is_wanted = bool(clusters)
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """It runs, if a cluster is governed."""
        if self._is_wanted:
            # A process started by a thread ends with that thread, as far as the kernel's death signal goes.
            self._thread = threading.Thread(target=self._keep, name="lull-governor-process", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """It has ended: what it learned is kept, and another worker's governor takes over."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(STOP_SECONDS_MAX + 1)

    def _keep(self) -> None:
        pause_s = RESTART_SECONDS_FIRST
        while not self._stopped.is_set():
            began = time.monotonic()
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                child_command(["--governor", "--child-of", str(os.getpid())]), start_new_session=True
            )
            while self._process.poll() is None and not self._stopped.wait(0.1):
                pass
            if self._stopped.is_set():
                self._end()
                return
            pause_s = RESTART_SECONDS_FIRST if time.monotonic() - began > RESTART_SECONDS_MAX else pause_s
            logger.warning("the governor's process ended with %s; starting it again", self._process.returncode)
            self._stopped.wait(pause_s)
            pause_s = min(pause_s * 2, RESTART_SECONDS_MAX)

    def _end(self) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def serve_governor(settings: Settings) -> None:
    """Govern until a signal says stop."""
    clusters = Clusters(settings.clusters)
    try:
        with exporting(settings.telemetry, identity()):
            asyncio.run(_serve(settings, clusters))
    finally:
        clusters.close()


def identity() -> str:
    """Return how Temporal shows this process."""
    return f"lull-governor@{os.uname().nodename}:{os.getpid()}"


async def _serve(settings: Settings, clusters: Clusters) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    client = await connect(
        temporal_connection(settings.temporal),
        plugin=lull_plugin(),
        runtime=temporal_runtime(settings.telemetry),
        identity=identity(),
    )
    governing = Governing(clusters)
    worker = Worker(
        client,
        task_queue=queues.GOVERNOR,
        activities=register([governing], serving=[GovernorPort]),
        max_concurrent_activities=CLUSTERS_MAX,
        max_heartbeat_throttle_interval=HEARTBEAT_EVERY,
        default_heartbeat_throttle_interval=HEARTBEAT_EVERY,
        disable_eager_activity_execution=True,
    )
    watching = asyncio.create_task(_measure(settings, governing))
    try:
        async with worker:
            await stop.wait()
    finally:
        watching.cancel()
    governing.close()


async def _measure(settings: Settings, governing: Governing) -> None:
    """What the governors see is exported, where there is somewhere to export it to."""
    if Endpoint.of(settings.telemetry) is not None:
        await GovernorMetrics(lambda: governing.statuses).watch()

"""One worker process, from its first line to its last: connect, host, drain."""

import asyncio
import logging
import os
import signal
import socket
import threading
from collections.abc import Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from temporalio.client import Client
from temporalio.envconfig import ClientConnectConfig

from lull.activities.forecasting import Forecasting
from lull.activities.governing.adapter import GovernorOrders
from lull.activities.leave import BudgetWatches
from lull.activities.ledger import Ledger
from lull.activities.mongo import Clusters
from lull.activities.pages import Pages
from lull.activities.planning import Planning
from lull.activities.reporting import Reporting
from lull.activities.transforms import Registry
from lull.domain.errors import LullError
from lull.domain.ports import GovernorPort, PagesPort
from lull.domain.settings import Settings
from lull.workers.connection import connect
from lull.workers.governors import GovernorProcess, governed, keep_governors
from lull.workers.host import CONTROL_ACTIVITIES_MAX, Host, Hosting, served_queues
from lull.workers.in_hand import InHand
from lull.workers.plugin import lull_plugin
from lull.workers.records import Phase, Records, WorkerRecord, record_of_this_process
from lull.workers.registration import Activity, all_ports, register
from lull.workers.settings import temporal_connection
from lull.workers.telemetry import exporting, temporal_runtime
from lull.workflows.doctor import DoctorWorkflow
from lull.workflows.forecast import ForecastWorkflow
from lull.workflows.governor import GovernorWorkflow
from lull.workflows.job import JobWorkflow
from lull.workflows.plan import PlanWorkflow
from lull.workflows.report import ReportWorkflow

logger = logging.getLogger(__name__)

WORKFLOWS: tuple[type, ...] = (
    JobWorkflow,
    PlanWorkflow,
    ForecastWorkflow,
    DoctorWorkflow,
    GovernorWorkflow,
    ReportWorkflow,
)
SHOW_EVERY_SECONDS = 0.25
"""While draining: how often the record says what is still in hand."""
EXIT_MARGIN_SECONDS = 15.0
"""After the grace time; a thread that still hangs in the driver then is left to the server's reaper."""

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Serving:
    """What one process is asked to be."""

    settings: Settings
    registry: Registry
    slots: int
    critical_slots: int
    with_control: bool = True
    fail_fast: bool = False
    with_governor: bool = True
    """Whether it starts a governor's process beside itself, where a profile wants a governor."""
    parent: int | None = None
    """The lull process that started this one."""


def serve(serving: Serving) -> None:
    """
    Work until a signal says stop, then drain: slices return at a page boundary, nothing is lost.

    A second signal ends the process at once. Raises Unreachable (with ``fail_fast``), Stopped when
    Temporal will not have this worker any more, OperatorError for settings that cannot be used.
    """
    connection = temporal_connection(serving.settings.temporal)
    clusters = Clusters(serving.settings.clusters)
    try:
        with exporting(serving.settings.telemetry, identity()):
            asyncio.run(_serve(serving, connection, clusters))
    finally:
        clusters.close()


def identity() -> str:
    """Return how Temporal shows this process."""
    return f"lull@{socket.gethostname()}:{os.getpid()}"


async def _serve(serving: Serving, connection: ClientConnectConfig, clusters: Clusters) -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(CONTROL_ACTIVITIES_MAX, "lull-control"))
    stop = _stop_at_signals()
    in_hand = InHand()
    hosting = _hosting(serving, clusters)
    record = first_record(serving)
    with recorded(record) as records:
        client = await _unless(stop, _connect(serving, connection, in_hand))
        if client is None:
            return
        host = Host(client, hosting)
        await host.start()
        records.write(record := record.model_copy(update={"phase": Phase.READY, "ready_at": datetime.now(UTC)}))
        _say_ready(serving, record)
        beside = [asyncio.create_task(_look_at_clusters(clusters))]
        governor = GovernorProcess(governed(serving.settings) if serving.with_governor else [])
        governor.start()
        if serving.with_control:
            beside.append(asyncio.create_task(keep_governors(client, governed(serving.settings))))
        try:
            await _unless(stop, host.wait_ended())
        finally:
            for task in beside:
                task.cancel()
            # At the same time: slices are not to wait for a governor that takes its leave.
            leaving = asyncio.create_task(asyncio.to_thread(governor.stop))
            await _drain(host, hosting, in_hand, _Shown(records, record))
            await leaving


def _hosting(serving: Serving, clusters: Clusters) -> Hosting:
    # A process has one account with each governor, and its pages take turns: slices' and probes'.
    budgets = BudgetWatches()
    pages = register([Pages(clusters, serving.registry, budgets)], serving=[PagesPort])
    control: list[Activity] = []
    if serving.with_control:
        adapters = [
            Planning(clusters, serving.registry),
            Ledger(clusters),
            GovernorOrders(clusters),
            Reporting(clusters),
            Forecasting(clusters, serving.registry, budgets),
        ]
        control = register(adapters, serving=all_ports() - {PagesPort, GovernorPort})
    return Hosting(
        workflows=WORKFLOWS if serving.with_control else (),
        control=control,
        pages=pages,
        slots=serving.slots,
        critical_slots=serving.critical_slots,
        grace_s=serving.settings.worker.grace_s,
    )


def _connect(serving: Serving, connection: ClientConnectConfig, in_hand: InHand) -> Coroutine[Any, Any, Client]:
    runtime = temporal_runtime(serving.settings.telemetry)
    plugin = lull_plugin(in_hand)
    return connect(connection, plugin=plugin, runtime=runtime, identity=identity(), fail_fast=serving.fail_fast)


def _stop_at_signals() -> asyncio.Event:
    """Return an event that the first SIGTERM or SIGINT sets; the second ends the process."""
    stop = asyncio.Event()

    def on_signal(number: int) -> None:
        if stop.is_set():
            logger.warning("second signal: ending at once; other workers take up what was in hand within seconds")
            os._exit(1)
        logger.info("%s: draining", signal.Signals(number).name)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal, number)
    return stop


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, _Result]) -> _Result | None:
    """Return what *work* returns, or None as soon as *stop* is set."""
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for task in (working, stopping):
            task.cancel()
        await asyncio.gather(working, stopping, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class _Shown:
    records: Records
    record: WorkerRecord


async def _drain(host: Host, hosting: Hosting, in_hand: InHand, shown: _Shown) -> None:
    _end_anyway_after(hosting.grace_s + EXIT_MARGIN_SECONDS)
    showing = asyncio.create_task(_show(in_hand, shown))
    try:
        await host.stop(was_busy=bool(in_hand.tasks))
    finally:
        showing.cancel()
    logger.info("drained: nothing of this worker runs any more")


async def _show(in_hand: InHand, shown: _Shown) -> None:
    while True:
        finishing = tuple(str(task) for task in in_hand.tasks)
        shown.records.write(shown.record.model_copy(update={"phase": Phase.DRAINING, "finishing": finishing}))
        await asyncio.sleep(SHOW_EVERY_SECONDS)


def _end_anyway_after(seconds: float) -> None:
    def end() -> None:
        logger.error("not drained after %.0f s: ending all the same; other workers take up what is left", seconds)
        os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


def first_record(serving: Serving) -> WorkerRecord:
    """Return what this process says of itself before Temporal has answered."""
    connection = temporal_connection(serving.settings.temporal)
    return record_of_this_process(
        parent=serving.parent,
        identity=identity(),
        queues=served_queues(serving.slots, serving.critical_slots, with_control=serving.with_control),
        slots=serving.slots + serving.critical_slots,
        address=str(connection.get("target_host")),
        namespace=str(connection.get("namespace")),
        grace_s=serving.settings.worker.grace_s,
    )


@contextmanager
def recorded(record: WorkerRecord) -> Iterator[Records]:
    """*record* is there for ``lull worker drain`` inside."""
    records = Records()
    records.write(record)
    try:
        yield records
    finally:
        records.remove(record.pid)


def _say_ready(serving: Serving, record: WorkerRecord) -> None:
    logger.info(
        "ready: %s serves %s with %d slots; Temporal %s, namespace %s; clusters %s; transforms %s",
        record.identity,
        ", ".join(record.queues),
        record.slots,
        record.address,
        record.namespace,
        _listed(serving.settings.clusters),
        _listed(serving.registry),
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


async def _look_at_clusters(clusters: Clusters) -> None:
    """Say which clusters do not answer. Not fatal: slices wait for them, and jobs on the others go on."""
    for name in clusters.names:
        try:
            await asyncio.to_thread(clusters.get(name).hello)
        except LullError as error:
            logger.warning("cluster %s cannot be used now: %s", name, error)

"""``lull doctor``: from this shell's settings to the workers' clusters, each step with its remedy."""

from collections.abc import AsyncIterator

from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, GetSystemInfoRequest
from temporalio.service import RPCError

from lull.domain import queues, signals
from lull.domain.slice import Check
from lull.starter.client import Client
from lull.starter.doctor_governor import governor_checks
from lull.starter.door import RPC_TIMEOUT, Door, labels_remedy
from lull.starter.errors import ExitCode, Unreachable
from lull.starter.settings import Connection, load_connection
from lull.starter.views import Examined

RETENTION_DAYS_MIN = 1
"""Below this, a job that ended on Friday is unknown to Temporal on Monday; the ledger still knows it."""


async def examine(cluster: str = "") -> Examined:
    """Return every finding, the nearest first; what depends on a step that failed is left out."""
    checks: list[Check] = []
    code = ExitCode.DONE
    try:
        async for check in _checks(cluster):
            checks.append(check)  # noqa: PERF401 - those before a failure are kept
    except Unreachable as error:
        checks.append(Check(name=_name_of(checks), ok=False, seen=str(error)))
        code = ExitCode.UNREACHABLE
    is_well = all(check.ok for check in checks)
    return Examined(ok=is_well, exit_code=code or (ExitCode.DONE if is_well else ExitCode.FAILED), checks=tuple(checks))


def _name_of(done: list[Check]) -> str:
    return "temporal" if len(done) < 2 else "worker"


async def _checks(cluster: str) -> AsyncIterator[Check]:
    connection = load_connection()
    yield _settings(connection)
    client = await Client.connect(connection)
    door = client.door
    yield await _server(door)
    yield await _namespace(door)
    yield await _labels(door)
    for queue, is_for_activities in ((queues.CONTROL, False), (queues.PAGES, True), (queues.PAGES_CRITICAL, True)):
        yield await _queue(door, queue, for_activities=is_for_activities)
    report = await client.doctor(cluster)
    for check in report.checks:
        yield check
    for governed in report.governed:
        for check in await governor_checks(client, governed):
            yield check


def _settings(connection: Connection) -> Check:
    seen = str(connection.config) if connection.config else "no lull.toml; environment and defaults"
    return Check(name="settings", ok=True, seen=seen)


async def _server(door: Door) -> Check:
    async with door.speaking():
        info = await door.temporal.workflow_service.get_system_info(GetSystemInfoRequest(), timeout=RPC_TIMEOUT)
    connection = door.connection
    seen = f"{connection.address} (from {connection.origin.address}), server {info.server_version}"
    return Check(name="temporal", ok=True, seen=seen)


async def _namespace(door: Door) -> Check:
    name = door.temporal.namespace
    async with door.speaking():
        found = await door.temporal.workflow_service.describe_namespace(
            DescribeNamespaceRequest(namespace=name), timeout=RPC_TIMEOUT
        )
    days = found.config.workflow_execution_retention_ttl.ToTimedelta().total_seconds() / 86_400
    return Check(
        name="namespace",
        ok=days >= RETENTION_DAYS_MIN,
        seen=f"{name}; ended jobs are shown for {days:g} days",
        remedy=f"keep them longer: temporal operator namespace update --retention 7d {name}",
    )


async def _labels(door: Door) -> Check:
    needed = {attribute.name for attribute in signals.SEARCH_ATTRIBUTES}
    try:
        found = await door.temporal.operator_service.list_search_attributes(
            ListSearchAttributesRequest(namespace=door.temporal.namespace), timeout=RPC_TIMEOUT
        )
    except RPCError as error:
        # Some services do not let their users look; starting a job will show it.
        return Check(name="search attributes", ok=True, seen=f"not told ({error.message})")
    missing = sorted(needed - {*found.custom_attributes})
    seen = f"missing: {', '.join(missing)}" if missing else "all there"
    return Check(name="search attributes", ok=not missing, seen=seen, remedy=labels_remedy())


async def _queue(door: Door, queue: str, *, for_activities: bool) -> Check:
    is_polled = await door.is_polled(queue, for_activities=for_activities)
    seen = "a worker polls it" if is_polled else "nobody polls it"
    return Check(name=f"queue {queue}", ok=is_polled, seen=seen, remedy="start a worker: lull worker")

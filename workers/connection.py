"""To Temporal, however long it takes: a worker is often started before its server."""

import asyncio
import logging

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.envconfig import ClientConnectConfig
from temporalio.plugin import SimplePlugin
from temporalio.runtime import Runtime
from temporalio.service import RPCError, RPCStatusCode

from lull.workers.errors import Unreachable

logger = logging.getLogger(__name__)

TRY_EVERY_SECONDS = 3.0
TRY_SECONDS_MAX = 10.0
"""Of one try: an address behind a silent firewall never answers."""


async def connect(
    connection: ClientConnectConfig, *, plugin: SimplePlugin, runtime: Runtime, identity: str, fail_fast: bool = False
) -> Client:
    """
    Return a client whose namespace is there, however long that takes.

    Says what it waits for at every try. With *fail_fast* raises Unreachable at the first that fails.
    """
    while True:
        try:
            return await asyncio.wait_for(_try(connection, plugin, runtime, identity), TRY_SECONDS_MAX)
        except (RuntimeError, RPCError, TimeoutError) as error:
            sentence = _sentence(connection, error)
        if fail_fast:
            raise Unreachable(sentence)
        logger.warning("%s; trying again every %.0f s", sentence, TRY_EVERY_SECONDS)
        await asyncio.sleep(TRY_EVERY_SECONDS)


async def _try(connection: ClientConnectConfig, plugin: SimplePlugin, runtime: Runtime, identity: str) -> Client:
    client = await Client.connect(**connection, plugins=[plugin], runtime=runtime, identity=identity)
    # A connection says nothing of the namespace, and a worker without one dies.
    await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=client.namespace))
    return client


def _sentence(connection: ClientConnectConfig, error: Exception) -> str:
    address, namespace = connection.get("target_host"), connection.get("namespace")
    status = error.status if isinstance(error, RPCError) else None
    if status is RPCStatusCode.NOT_FOUND:
        return f"Temporal at {address} has no namespace {namespace!r}; create it, or correct temporal.namespace"
    if status in {RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNAUTHENTICATED}:
        return f"Temporal at {address} refuses our credentials; correct TEMPORAL_API_KEY or the TLS certificates"
    return f"Temporal does not answer at {address}; start it, or correct temporal.address (or TEMPORAL_ADDRESS)"

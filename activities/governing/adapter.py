"""
The activity around a governor: a thread looks and decides, the event loop heartbeats what it sees.

A governor lives on from one activity to the next in the same process, so that Temporal is told
something every minute and nothing is learned twice.
"""

import asyncio
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pymongo.errors import DuplicateKeyError, PyMongoError
from temporalio import activity
from typing_extensions import override

from lull.activities.errors import as_application_error
from lull.activities.governing.governor import Governor
from lull.activities.governing.publishing import stored_orders
from lull.activities.mongo import Cluster, Clusters, describe, translated
from lull.activities.store import GOVERNOR, ORDERS_ID, Store, ensure_ledger, now
from lull.activities.threads import in_thread
from lull.domain.errors import TransientError
from lull.domain.governor import contest
from lull.domain.governor.status import GovernorStatus, GovernRequest, OrderRequest, Orders
from lull.domain.ports import GovernorOrdersPort, GovernorPort

log = logging.getLogger("lull.governor")

HEARTBEAT_SECONDS = 0.5
CLUSTERS_MAX = 64
AWAY_SECONDS_MAX = 20.0
"""How long a governor outlasts an election by itself; meanwhile nobody hears it, and every gate is shut."""
STUCK_SECONDS = 10.0
"""A governor whose thread has not moved for so long is not vouched for: another one takes over."""
LINGER_SECONDS = 5.0
"""How long a governor outlives its activity, for the next one to find it."""


class Governing(GovernorPort):
    """Runs the governors of all clusters that this process has profiles of."""

    def __init__(self, clusters: Clusters) -> None:
        self._clusters = clusters
        self._threads = ThreadPoolExecutor(CLUSTERS_MAX, thread_name_prefix="lull-governor")
        self._seats: dict[str, _Seat] = {}

    @override
    @as_application_error
    async def govern(self, request: GovernRequest) -> GovernorStatus:
        # What the attempt before this one saw last stays to be seen until this one has looked.
        before = tuple(activity.info().heartbeat_details)
        activity.heartbeat(*before)
        seat = self._seats.setdefault(request.cluster, _Seat(self._clusters.get(request.cluster)))
        stop = threading.Event()
        work = asyncio.get_running_loop().run_in_executor(
            self._threads, seat.govern, request.seconds_max, stop, _origin(request)
        )
        shutdown = asyncio.create_task(activity.wait_for_worker_shutdown())
        try:
            while not work.done():
                either: list[asyncio.Future[Any]] = [work, shutdown]
                await asyncio.wait(either, timeout=HEARTBEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                if shutdown.done():
                    stop.set()
                    await asyncio.wait([work])
                elif not seat.is_stuck:
                    activity.heartbeat(*([seat.status] if seat.status else before))
        except asyncio.CancelledError:
            stop.set()
            await asyncio.wait([work])
            raise
        finally:
            shutdown.cancel()
        seen = work.result()
        if stop.is_set():
            # Were this an end in order and no worker left, nothing would be pending that tells what was seen last.
            activity.heartbeat(seen)
            raise TransientError(f"the process that governed {request.cluster} has ended; another one takes over")
        return seen

    @property
    def statuses(self) -> list[GovernorStatus]:
        """What each governor that sits here saw last; from any thread."""
        return [status for seat in tuple(self._seats.values()) if (status := seat.status) is not None]

    def close(self) -> None:
        """No governor of this process speaks any more."""
        for seat in self._seats.values():
            seat.leave()
        self._threads.shutdown(wait=False, cancel_futures=True)


class _Seat:
    """Where a cluster's governor sits between two activities."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._turn = threading.Lock()
        self._governor: Governor | None = None
        self._left_at = 0.0
        self.alive_at = time.monotonic()

    @property
    def status(self) -> GovernorStatus | None:
        """What the governor saw last."""
        governor = self._governor
        return governor.status if governor else None

    @property
    def is_stuck(self) -> bool:
        """Whether its thread has not moved for a long time."""
        return time.monotonic() - self.alive_at > STUCK_SECONDS

    def govern(self, seconds: float, stop: threading.Event, origin: str = "") -> GovernorStatus:
        """Return what was seen last, when the time is up or *stop* is set. Raises FenceLost when overtaken."""
        self.alive_at = time.monotonic()
        with self._turn:
            try:
                return self._govern(seconds, stop, origin)
            except BaseException:
                self.leave()
                raise
            finally:
                self._left_at = time.monotonic()

    def leave(self) -> None:
        """Nobody governs from here."""
        governor, self._governor = self._governor, None
        if governor is not None:
            governor.close()

    def _govern(self, seconds: float, stop: threading.Event, origin: str) -> GovernorStatus:
        ends_at = time.monotonic() + seconds
        away_since: float | None = None
        if self._governor is not None and time.monotonic() - self._left_at > LINGER_SECONDS:
            self.leave()  # Another process may have governed meanwhile.
        while not stop.is_set() and (time.monotonic() < ends_at or self.status is None):
            try:
                wait_s = self._seated(origin).tick()
                away_since = None
            except PyMongoError as error:
                away_since = away_since or time.monotonic()
                self._outlast(error, away_since)
                wait_s = HEARTBEAT_SECONDS
            self.alive_at = time.monotonic()
            stop.wait(wait_s)
        if self.status is None:
            raise TransientError(f"governor of {self._cluster.name}: it was told to stop before it had seen anything")
        if stop.is_set():
            status = self.status
            self.leave()
            return status
        return self.status

    def _seated(self, origin: str) -> Governor:
        if self._governor is None:
            governor = Governor(self._cluster, origin)
            governor.start()
            self._governor = governor
        return self._governor

    def _outlast(self, error: PyMongoError, since: float) -> None:
        if time.monotonic() - since > AWAY_SECONDS_MAX:
            raise translated(error, f"governor of {self._cluster.name}") from error
        log.info("the cluster is away (%s); nobody has leave to work until it is back", describe(error))


def _origin(request: GovernRequest) -> str:
    """Return who asks; an older workflow does not say it, and its run must do."""
    info = activity.info()
    return request.origin or contest.origin(info.namespace, info.workflow_run_id or "")


class GovernorOrders(GovernorOrdersPort):
    """Writes what operators want of a governor."""

    def __init__(self, clusters: Clusters) -> None:
        self._clusters = clusters
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="lull-orders")

    @override
    @as_application_error
    async def order(self, request: OrderRequest) -> Orders | None:
        store = Store(self._clusters.get(request.cluster))
        return await in_thread(self._threads, lambda _: order(store, request))


def order(store: Store, request: OrderRequest) -> Orders | None:
    """
    The orders are in ``lull.governor``; a shut by hand that was written there is lifted by an order to open.

    Returns what is there instead, under this epoch or a later one, if another governor's workflow has written it.
    """
    ensure_ledger(store.cluster)
    orders = request.orders
    changes = {"orders": orders.model_dump(mode="json"), "epoch": orders.epoch, "updated_at": now()}
    if not orders.shut:
        changes["shut_by_hand"] = False
    governor = store.cluster.ledger(GOVERNOR)
    is_older = {"epoch": {"$not": {"$gte": orders.epoch}}}
    is_ours = {"epoch": orders.epoch, "orders": changes["orders"]}
    try:
        governor.update_one({"_id": ORDERS_ID, "$or": [is_older, is_ours]}, {"$set": changes}, upsert=True)
    except DuplicateKeyError:
        return stored_orders(governor.find_one({"_id": ORDERS_ID}) or {})
    return None

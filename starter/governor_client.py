"""Clusters' governors: what they see, and telling them; through Temporal alone."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any, TypeVar

from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import WorkflowExecutionDescription, WorkflowExecutionStatus, WorkflowHandle

from lull.domain import orders, queues, signals
from lull.domain.errors import LullError, OperatorError
from lull.domain.governor.status import GovernorState, GovernorStatus, Orders
from lull.starter import pending
from lull.starter.door import ANSWER_SECONDS_MAX, RPC_TIMEOUT, Door, asked, no_worker, within
from lull.starter.errors import NotFound, Unreachable, WorldError
from lull.starter.views import GovernorLimits, GovernorSeen, GovernorTold

ToldT = TypeVar("ToldT", orders.Observe, orders.Enforce, orders.Shut, orders.Open, orders.SetLimits)

GOVERN_ACTIVITY = "lull.govern"
CLUSTERS_MAX = 200
"""Governors that are listed: more clusters than one Temporal namespace was seen to serve."""
LATE_SECONDS = 5.0
"""A governor is heard about once a second, and given up by Temporal after this."""
LOOK_AGAIN_SECONDS = 0.1
"""Between looks whether the ledger has an order."""

_RUNNING = "WorkflowType = 'lull.governor' AND ExecutionStatus = 'Running'"
_UNWRITTEN = "the orders could not be written"
"""How the workflow's warning begins when the ledger refused its orders for good; it goes on trying, and says"""
_WRITTEN = "the orders are in the ledger now"
"""when it had success."""


class Governors:
    """The governors of one Temporal namespace, one per cluster."""

    def __init__(self, door: Door, *, who: str) -> None:
        self._door = door
        self._who = who

    # --- looking --------------------------------------------------------------------------------

    async def running(self) -> dict[str, str]:
        """Return the clusters whose governor runs, each with the zone it was in lately."""
        found: dict[str, str] = {}
        async with self._door.speaking():
            async for execution in self._door.temporal.list_workflows(_RUNNING, rpc_timeout=RPC_TIMEOUT):
                cluster = execution.id.removeprefix(queues.governor_id(""))
                found[cluster] = pending.label(execution, signals.STATE)
                if len(found) >= CLUSTERS_MAX:
                    break
        return dict(sorted(found.items()))

    async def only(self) -> str:
        """Return the one cluster that has a governor. Raises OperatorError where there are more, NotFound without any."""
        found = list(await self.running())
        if not found:
            raise NotFound(f"no governor runs in namespace {self._door.temporal.namespace!r}; {_remedy()}")
        if len(found) > 1:
            raise OperatorError(f"which governor? There are those of {', '.join(found)}; give the cluster's name")
        return found[0]

    async def status(self, cluster: str = "") -> GovernorSeen:
        """
        Return what the cluster's governor sees, a second old at most while it is well.

        *cluster* may be left out where there is only one. Raises Unreachable when there is neither a
        worker to ask nor a governor's heartbeat left.
        """
        cluster = cluster or await self.only()
        description, is_polled = await asyncio.gather(self._describe(cluster), self._door.is_polled(queues.CONTROL))
        beating = _governing(description)
        beat = await self._beat(beating)
        remarks = [*await self._about(beating), *pending.task_remarks(description)]
        state = _kept(cluster, beat)
        try:
            if not is_polled:
                raise Unreachable(no_worker())  # noqa: TRY301 - as if the question had been asked in vain
            state = await self._state(cluster)
        except Unreachable as error:
            if beat is None:
                raise
            remarks.insert(0, f"{error}; orders and warnings since then are not known")
        seen = _newest(beat, state.last)
        age_s = None if seen is None else max(0.0, (datetime.now(UTC) - seen.as_of).total_seconds())
        return GovernorSeen(
            cluster=cluster,
            status=seen,
            orders=state.orders,
            warnings=state.warnings,
            remarks=(*_about_age(age_s), *_about_others(seen), *remarks, *_about_orders(cluster, state, seen)),
            as_of=seen.as_of if seen else None,
            age_s=age_s,
            worker=beating.last_worker_identity if beating and not _is_waiting(beating) else "",
            link=self._door.link_to(queues.governor_id(cluster)),
        )

    async def limits(self, cluster: str = "") -> GovernorLimits:
        """Return what the foreground may feel at most, and who said so."""
        seen = await self.status(cluster)
        return GovernorLimits(
            cluster=seen.cluster,
            objective=seen.status.objective if seen.status else None,
            inflation=seen.status.inflation if seen.status else None,
            ordered=seen.orders.limits,
            note=seen.orders.limits_note if seen.orders.limits else None,
            as_of=seen.as_of,
        )

    # --- telling --------------------------------------------------------------------------------

    async def tell(
        self, cluster: str, order: type[ToldT], fields: Mapping[str, Any], *, who: str = "", wait: bool = False
    ) -> GovernorTold:
        """
        The governor's workflow has the order, recorded even while no worker is up.

        *fields* as the order's model names them, like ``{"for": "30m", "why": "sale"}``. With *wait* it
        returns when the ledger has the order, which needs a worker. Raises OperatorError for what the
        governor would refuse; nothing is sent then.
        """
        payload = written(order, fields, who or self._who)
        cluster = cluster or await self.only()
        await self._describe(cluster)
        if not wait:
            await self._signal(cluster, order, payload)
            return GovernorTold(
                cluster=cluster, order=orders.GOVERNOR_FORMS[order].name, note=await self._worker_note()
            )
        await self._door.need_worker()
        before = await self._state(cluster)
        await self._signal(cluster, order, payload)
        late = f"governor of {cluster} was told, and the ledger has not got it; it may still: lull governor status {cluster}"
        epoch = await within(ANSWER_SECONDS_MAX, self._effect(cluster, before), late)
        return GovernorTold(cluster=cluster, order=orders.GOVERNOR_FORMS[order].name, epoch=epoch)

    async def _signal(self, cluster: str, order: type[ToldT], payload: dict[str, Any]) -> None:
        async with self._speaking(cluster):
            await self._handle(cluster).signal(orders.GOVERNOR_FORMS[order].name, payload, rpc_timeout=RPC_TIMEOUT)

    async def _effect(self, cluster: str, before: GovernorState) -> int:
        """Return the epoch under which the ledger has what was told after *before*."""
        while True:
            state = await self._state(cluster)
            warned = _since(before.warnings, state.warnings)
            is_taken = state.orders.epoch > before.orders.epoch
            if is_taken:
                _raise_unwritten(warned)
            if is_taken and state.told_epoch >= state.orders.epoch:
                return state.told_epoch
            if warned and not is_taken:
                raise OperatorError(f"the governor of {cluster} refused: {warned[-1]}")
            await asyncio.sleep(LOOK_AGAIN_SECONDS)

    # --- inside ---------------------------------------------------------------------------------

    def _handle(self, cluster: str) -> WorkflowHandle[Any, Any]:
        return self._door.temporal.get_workflow_handle(queues.governor_id(cluster))

    async def _state(self, cluster: str) -> GovernorState:
        return await asked(self._handle(cluster), "status", GovernorState)

    async def _describe(self, cluster: str) -> WorkflowExecutionDescription:
        """Return what Temporal knows of the governor. Raises NotFound unless it runs."""
        with suppress(NotFound):
            async with self._speaking(cluster):
                description = await self._handle(cluster).describe(rpc_timeout=RPC_TIMEOUT)
            if description.status is WorkflowExecutionStatus.RUNNING:
                return description
        others: dict[str, str] = {}
        with suppress(LullError):
            others = await self.running()
        there = f"; there are governors of {', '.join(others)}" if others else ""
        raise NotFound(f"{_none_for(cluster)}{there}")

    @asynccontextmanager
    async def _speaking(self, cluster: str) -> AsyncIterator[None]:
        try:
            async with self._door.speaking():
                yield
        except NotFound:
            raise NotFound(_none_for(cluster)) from None

    async def _beat(self, beating: PendingActivityInfo | None) -> GovernorStatus | None:
        """Return what the governor said with its newest heartbeat, however long ago that was."""
        # Whatever a governor of another version writes there, the rest is shown without it.
        with suppress(Exception):
            assert beating is not None
            (said,) = await self._door.temporal.data_converter.decode(beating.heartbeat_details.payloads)
            return GovernorStatus.model_validate(said)
        return None

    async def _about(self, beating: PendingActivityInfo | None) -> list[str]:
        """Return what keeps the governor from looking."""
        if beating is None:
            return []
        found = []
        if beating.paused:
            found.append("an operator holds the governor's activity in Temporal: unpause it there")
        elif beating.HasField("last_failure"):
            found.append(f"the governor failed, this is attempt {beating.attempt}: {beating.last_failure.message}")
        if _is_waiting(beating) and not await self._door.is_polled(queues.GOVERNOR, for_activities=True):
            found.append(
                f"no governor's process polls the queue {queues.GOVERNOR!r}: start a worker with lull worker, "
                "without --no-governor"
            )
        return found

    async def _worker_note(self) -> str:
        is_polled = await self._door.is_polled(queues.CONTROL)
        return "" if is_polled else f"{no_worker()}; until then nothing happens"


def written(order: type[ToldT], fields: Mapping[str, Any], who: str) -> dict[str, Any]:
    """Return the order as its signal carries it. Raises OperatorError for what the governor would refuse."""
    given = {**fields, "who": who}
    payload = {name: orders.clean(value) if isinstance(value, str) else value for name, value in given.items()}
    orders.read(order, [json.dumps(payload).encode()])
    return payload


# --- small decisions ----------------------------------------------------------------------------


def _governing(description: WorkflowExecutionDescription) -> PendingActivityInfo | None:
    waited_for = description.raw_description.pending_activities
    return next((one for one in waited_for if one.activity_type.name == GOVERN_ACTIVITY), None)


def _is_waiting(governing: PendingActivityInfo) -> bool:
    return governing.state == PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED


def _newest(beat: GovernorStatus | None, reported: GovernorStatus | None) -> GovernorStatus | None:
    found = [seen for seen in (beat, reported) if seen is not None]
    return max(found, key=lambda seen: seen.as_of, default=None)


def _kept(cluster: str, beat: GovernorStatus | None) -> GovernorState:
    """Return the workflow's state as far as it can be told without a worker: the orders that the governor has read."""
    holds = beat.orders.at(datetime.now(UTC)) if beat and beat.orders else Orders()
    return GovernorState(cluster=cluster, orders=holds, told_epoch=holds.epoch)


def _about_age(age_s: float | None) -> list[str]:
    if age_s is None:
        return ["the governor has seen nothing yet"]
    if age_s <= LATE_SECONDS:
        return []
    return [f"this is what it saw {age_s:,.0f} s ago; nothing newer was heard"]


def _about_others(seen: GovernorStatus | None) -> list[str]:
    return [seen.contest] if seen and seen.contest else []


def _about_orders(cluster: str, state: GovernorState, seen: GovernorStatus | None) -> list[str]:
    if state.orders.epoch > state.told_epoch:
        return ["the newest order is not in the ledger yet"]
    read = seen.orders if seen else None
    if read and read.shut and not state.orders.shut and read.epoch >= state.orders.epoch:
        return [f"somebody shut the gate by hand in lull.governor; lull governor open {cluster} opens it"]
    return []


def _since(before: tuple[str, ...], after: tuple[str, ...]) -> tuple[str, ...]:
    """Return the warnings that are new in *after*, of which the oldest may have been dropped."""
    for dropped in range(len(before) + 1):
        kept = before[dropped:]
        if after[: len(kept)] == kept:
            return after[len(kept) :]
    raise AssertionError("nothing is the beginning of everything")


def _raise_unwritten(warned: tuple[str, ...]) -> None:
    about = [text for text in warned if text.startswith((_UNWRITTEN, _WRITTEN))]
    if about and about[-1].startswith(_UNWRITTEN):
        raise WorldError(
            f"{about[-1]}; the governor does not know of the order, which is tried again every minute: "
            "mend it, and order again if it should not wait"
        )


def _none_for(cluster: str) -> str:
    return f"no governor runs for {cluster!r}; {_remedy()}"


def _remedy() -> str:
    return (
        'lull worker starts one for each cluster in its settings, but not where governor = "off" says '
        "that there is none"
    )

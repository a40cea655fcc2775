"""
The governor's workflow, one per cluster: keeps one sampling activity alive, and remembers what operators ordered.

It decides nothing about the pace: that happens ten times a second in the activity. What it knows of
the present is what the activity reported last, half a minute ago at most.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue, RetryPolicy, SearchAttributeKey
from temporalio.exceptions import ActivityError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from lull.domain import orders, queues, signals
    from lull.domain.errors import NON_RETRYABLE, OperatorError
    from lull.domain.governor import contest, ordering
    from lull.domain.governor.status import GovernorState, GovernRequest, OrderRequest, Orders
    from lull.domain.ports import GovernorOrdersPort, GovernorPort
    from lull.domain.slice import HEARTBEAT_TIMEOUT_SECONDS

from lull.workflows import governor_details
from lull.workflows.payloads import contents, patient

REPORT_SECONDS = 30.0
"""A report costs six history events; the present is in its heartbeats."""
HISTORY_EVENTS_MAX = 3_000
RETRY_AFTER_SECONDS = 30.0
"""Where an operator has to mend something first, like a profile that no worker has."""
ORDER_RETRY_SECONDS = 1.0
ORDER_RETRY_SECONDS_MAX = 60.0
"""Between two attempts to write orders that the ledger refused for good; doubles from the first to the second."""
_UNTIL_WRITTEN = "orders-until-written"
"""Patch: before it, orders that were refused for good were taken for told."""

_PATIENCE = RetryPolicy(
    initial_interval=timedelta(seconds=0.2),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(seconds=2),
    non_retryable_error_types=list(NON_RETRYABLE),
)
_KEYS = {attribute: SearchAttributeKey.for_keyword(attribute.name) for attribute in signals.SEARCH_ATTRIBUTES}


@workflow.defn(name="lull.governor")
class GovernorWorkflow:
    """One cluster's governor, for as long as the cluster has workers."""

    @workflow.init
    def __init__(self, state: GovernorState) -> None:
        self._state = state
        self._zone = ""
        self._refusals = 0
        """Of the newest orders, one after the other."""
        self._is_refused = False
        """Whether they wait for the next attempt; those of a run that is over are tried by the next one."""

    @workflow.run
    async def run(self, state: GovernorState) -> None:
        """Govern; never returns, but continues as new."""
        del state  # @workflow.init has it.
        self._tell()
        obeying = asyncio.create_task(self._keep_ordering(), name="orders")
        try:
            while not self._is_history_long():
                await self._govern()
            await workflow.wait_condition(
                lambda: (not self._is_behind or self._is_refused) and workflow.all_handlers_finished()
            )
        finally:
            obeying.cancel()
        self._state = self._state.model_copy(update={"runs": self._state.runs + 1})
        workflow.continue_as_new(self._state)

    def _is_history_long(self) -> bool:
        info = workflow.info()
        return info.is_continue_as_new_suggested() or info.get_current_history_length() >= HISTORY_EVENTS_MAX

    async def _govern(self) -> None:
        try:
            seen = await workflow.execute_activity_method(
                GovernorPort.govern,
                GovernRequest(cluster=self._state.cluster, seconds_max=REPORT_SECONDS, origin=_origin()),
                task_queue=queues.GOVERNOR,
                start_to_close_timeout=timedelta(seconds=REPORT_SECONDS * 4),
                heartbeat_timeout=timedelta(seconds=HEARTBEAT_TIMEOUT_SECONDS),
                retry_policy=_PATIENCE,
                summary=f"govern {self._state.cluster}",
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            self._warn(str(error.cause or error))
            await workflow.sleep(RETRY_AFTER_SECONDS, summary="until somebody has mended it")
            return
        self._change(last=seen)

    # --- orders ---------------------------------------------------------------------------------

    async def _keep_ordering(self) -> None:
        """The ledger has the operators' newest orders, and those whose time is up are gone."""
        while True:
            end = self._state.orders.next_end
            left_s = None if end is None else max((end - workflow.now()).total_seconds(), 0.0)
            try:
                await workflow.wait_condition(
                    lambda end=end: self._is_behind or self._state.orders.next_end != end,  # type: ignore[misc]
                    timeout=left_s,
                    timeout_summary="until an order's time is up",
                )
            except TimeoutError:
                self._change(orders=ordering.expired(self._state.orders, workflow.now()))
            if self._is_behind:
                await self._order()

    async def _order(self) -> None:
        wanted = self._state.orders
        try:
            there = await workflow.execute_activity_method(
                GovernorOrdersPort.order,
                OrderRequest(cluster=self._state.cluster, orders=wanted),
                start_to_close_timeout=timedelta(seconds=60),
                retry_policy=_PATIENCE,
                summary="tell the ledger what operators want",
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            self._warn_once(f"the orders could not be written: {error.cause or error} (epoch {wanted.epoch})")
            if workflow.patched(_UNTIL_WRITTEN):
                await self._until_mended(wanted)
                return
        if there is not None:
            # Of another namespace's governor, or of one that Temporal has forgotten: what it was told holds.
            self._change(orders=ordering.merged(self._state.orders, there, workflow.now()))
            return
        if self._refusals:
            self._refusals = 0
            self._warn(f"the orders are in the ledger now (epoch {wanted.epoch})")
        self._change(told_epoch=wanted.epoch)

    async def _until_mended(self, refused: Orders) -> None:
        """It is time for another attempt: after a while, or at once when there are newer orders."""
        self._refusals += 1
        pause_s = min(ORDER_RETRY_SECONDS * 2.0 ** min(self._refusals - 1, 10), ORDER_RETRY_SECONDS_MAX)
        self._is_refused = True
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: self._state.orders.epoch > refused.epoch,
                timeout=pause_s,
                timeout_summary="until refused orders are tried again",
            )
        self._is_refused = False
        # Orders whose time was up meanwhile must not be written as if they held.
        self._change(orders=ordering.expired(self._state.orders, workflow.now()))

    @property
    def _is_behind(self) -> bool:
        return self._state.orders.epoch > self._state.told_epoch

    # --- telling --------------------------------------------------------------------------------

    def _change(self, **fields: Any) -> None:
        self._state = self._state.model_copy(update=fields)
        self._tell()

    def _warn(self, text: str) -> None:
        self._change(warnings=(*self._state.warnings, text)[-10:])

    def _warn_once(self, text: str) -> None:
        if text not in self._state.warnings:
            self._warn(text)

    def _tell(self) -> None:
        workflow.set_current_details(governor_details.markdown(self._state, workflow.now()))
        zone = self._state.last.zone.value if self._state.last else "starting"
        if zone != self._zone:
            self._zone = zone
            workflow.upsert_search_attributes(
                [
                    _KEYS[signals.STATE].value_set(zone),
                    _KEYS[signals.KIND].value_set("governor"),
                    _KEYS[signals.CLUSTER].value_set(self._state.cluster),
                ]
            )

    @workflow.query(description="What the governor saw last, and what it was told")
    def status(self) -> GovernorState:
        """Return the workflow's memory; what the activity sees now is in its heartbeats."""
        return self._state

    # --- signals: they only change the state, and never fail ---------------------------------------

    @workflow.signal(description='Decide and publish, but let no job obey: nothing, or {"for": "30m", "why": "..."}')
    @patient
    def observe(self, *payloads: object) -> None:
        """Only observe."""
        self._obey(lambda: orders.read(orders.Observe, contents(payloads)))

    @workflow.signal(description='Let jobs obey: nothing, or {"for": "30m", "why": "..."}')
    @patient
    def enforce(self, *payloads: object) -> None:
        """Enforce."""
        self._obey(lambda: orders.read(orders.Enforce, contents(payloads)))

    @workflow.signal(description='What the foreground may feel: {"read_p99": "12ms", "inflation": 1.1, "for": "30m"}')
    @patient
    def limits(self, *payloads: object) -> None:
        """Set limits over the profile's."""
        self._obey(lambda: orders.read(orders.SetLimits, contents(payloads)))

    @workflow.signal(description='Stop every job of the cluster: nothing, "why", or {"for": "30m", "why": "..."}')
    @patient
    def shut(self, *payloads: object) -> None:
        """Shut the gate."""
        self._obey(lambda: orders.read(orders.Shut, contents(payloads)))

    @workflow.signal(description='Let the governor decide again: nothing, or {"why": "..."}')
    @patient
    def open(self, *payloads: object) -> None:
        """Lift an order to shut."""
        self._obey(lambda: orders.read(orders.Open, contents(payloads)))

    @workflow.signal(dynamic=True)
    def unknown_signal(self, name: str, _payloads: Sequence[RawValue]) -> None:
        """Leave a warning that names the signal which was probably meant."""
        self._warn(orders.unknown_to_governor(name))

    def _obey(self, read: Callable[[], orders.Order]) -> None:
        try:
            order = read()
        except OperatorError as error:
            self._warn(str(error))
        else:
            self._change(orders=ordering.told(self._state.orders, order, workflow.now()))


def _origin() -> str:
    """The first run: what is continued as new is the same governor."""
    info = workflow.info()
    return contest.origin(info.namespace, info.first_execution_run_id)

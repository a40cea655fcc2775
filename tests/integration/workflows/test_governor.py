"""The governor's workflow on a real server: one activity kept alive, orders written down, everything shown."""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from temporalio import activity
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import Client, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker
from typing_extensions import override

from lull.domain import orders
from lull.domain.errors import OperatorError
from lull.domain.governor.budget import Mode
from lull.domain.governor.law import Zone
from lull.domain.governor.status import (
    GovernorState,
    GovernorStatus,
    GovernRequest,
    JobRow,
    Note,
    OrderRequest,
    Orders,
    SignalRow,
)
from lull.domain.ports import GovernorOrdersPort, GovernorPort
from lull.domain.queues import CONTROL, GOVERNOR, governor_id
from lull.workflows import governor as module
from lull.workflows.governor import GovernorWorkflow

WAIT_SECONDS_MAX = 20.0
HISTORY = Path(__file__).parents[2] / "replay" / "governor" / "orders.json"


def seen(cluster: str) -> GovernorStatus:
    return GovernorStatus(
        cluster=cluster,
        mode=Mode.ENFORCE,
        zone=Zone.STOP,
        is_open=False,
        reason="canary 41 ms >= 12 ms, not ours",
        duty=0.5,
        hold_ms=10,
        signals=(SignalRow(name="canary", unit="ms", effect="gate", observed=41, limit=12, age_s=0.1),),
        jobs=(JobRow(job="orders", slices=2, share=0.5, used=0.4),),
        as_of=datetime.now(UTC),
    )


@dataclass
class Seat(GovernorPort, GovernorOrdersPort):
    """Where a governor would sit: reports when the test says so."""

    reports: asyncio.Queue[GovernorStatus | Exception] = field(default_factory=asyncio.Queue)
    ordered: list[OrderRequest] = field(default_factory=list)
    asked: list[GovernRequest] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Nobody governs at the moment."""
    refuses: bool = False
    """Orders, as a worker does that has no profile of the cluster."""
    there: Orders | None = None
    """What another governor's workflow has written under its own epochs."""

    @override
    @activity.defn(name="lull.govern")
    async def govern(self, request: GovernRequest) -> GovernorStatus:
        self.asked.append(request)
        self.left.clear()
        coming = asyncio.ensure_future(self.reports.get())
        try:
            # Not wait_for: it may swallow a cancellation that comes with its timeout.
            while not coming.done():
                activity.heartbeat()
                await asyncio.wait([coming], timeout=0.5)
        finally:
            coming.cancel()
            self.left.set()
        report = coming.result()
        if isinstance(report, Exception):
            raise report
        return report

    @override
    @activity.defn(name="lull.order_governor")
    async def order(self, request: OrderRequest) -> Orders | None:
        if self.refuses:
            raise ApplicationError("no cluster profile", type=OperatorError.type_name, non_retryable=True)
        if self.there is not None and self.there.epoch >= request.orders.epoch:
            return self.there
        self.ordered.append(request)
        return None


@dataclass
class Governed:
    """A governor's workflow and its seat."""

    handle: WorkflowHandle[Any, None]
    seat: Seat
    cluster: str

    async def state(self) -> GovernorState:
        return await self.handle.query(GovernorWorkflow.status)

    async def until(self, ready: Callable[[GovernorState], bool]) -> GovernorState:
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            while not ready(found := await self.state()):  # noqa: ASYNC110 - a query is the only way to look
                await asyncio.sleep(0.02)
        return found

    async def details(self) -> str:
        metadata = await self.handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
        return metadata.current_details

    async def forms(self) -> dict[str, str]:
        metadata = await self.handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
        return {signal.name: signal.description for signal in metadata.definition.signal_definitions}


@pytest.fixture
async def governed(temporal_client: Client) -> AsyncIterator[Governed]:
    seat, cluster = Seat(), f"c{uuid4().hex[:8]}"
    quick = timedelta(seconds=0.2)
    control = Worker(
        temporal_client,
        task_queue=CONTROL,
        workflows=[GovernorWorkflow],
        activities=[seat.order],
        max_heartbeat_throttle_interval=quick,
    )
    governors = Worker(
        temporal_client, task_queue=GOVERNOR, activities=[seat.govern], max_heartbeat_throttle_interval=quick
    )
    async with control, governors:
        handle = await temporal_client.start_workflow(
            GovernorWorkflow.run, GovernorState(cluster=cluster), id=governor_id(cluster), task_queue=CONTROL
        )
        yield Governed(handle, seat, cluster)
        await over(handle, seat)


async def over(handle: WorkflowHandle[Any, Any], seat: Seat) -> None:
    """The workflow has ended, and its activity too: before their workers do."""
    await handle.terminate("the test is over")
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while not seat.left.is_set() and seat.asked:  # noqa: ASYNC110 - it may never have begun
            await asyncio.sleep(0.05)


async def test_it_keeps_one_governor_at_work_and_shows_what_it_saw_last(governed: Governed):
    await governed.seat.reports.put(seen(governed.cluster))
    state = await governed.until(lambda state: state.last is not None and len(governed.seat.asked) == 2)
    assert state.last is not None
    assert state.last.reason == "canary 41 ms >= 12 ms, not ours"
    details = await governed.details()
    for words in ("### stop, gate shut, enforce: canary 41 ms >= 12 ms, not ours", "| canary | 41 ms | >= 12 ms |",
                  "| orders | 2 | 1 | 0.50 | 0.40 |", f"lull governor shut {governed.cluster}"):  # fmt: skip
        assert words in details
    assert governed.seat.asked[0].origin == f"default/{governed.handle.first_execution_run_id}"
    description = await governed.handle.describe()
    labels = {pair.key.name: pair.value for pair in description.typed_search_attributes}
    assert (labels["LullKind"], labels["LullState"], labels["LullCluster"]) == ("governor", "stop", governed.cluster)


async def test_another_governor_of_the_same_cluster_is_shown(governed: Governed):
    contest = "another governor has this cluster: namespace 'staging'"
    await governed.seat.reports.put(seen(governed.cluster).model_copy(update={"contest": contest}))
    await governed.until(lambda state: state.last is not None)
    assert f"⚠ {contest}" in await governed.details()


async def test_the_web_ui_offers_every_order_and_says_how_to_write_it(governed: Governed):
    forms = await governed.forms()
    assert set(orders.GOVERNOR_ORDER_NAMES) <= set(forms)


async def test_orders_are_written_down_in_turn_with_who_and_why(governed: Governed):
    await governed.handle.signal("shut", {"who": "ann", "why": "incident", "for": "2h"})
    await governed.handle.signal("limits", {"read_p99": "12ms", "inflation": 1.1})
    await governed.handle.signal("observe")
    state = await governed.until(lambda state: state.orders.epoch == 3 == state.told_epoch)
    assert state.orders.shut_reason == "shut by ann: incident"
    assert (state.orders.mode, state.orders.limits.read_p99) == (Mode.OBSERVE, 12.0)  # type: ignore[union-attr]
    assert governed.seat.ordered[-1].orders == state.orders
    assert "- shut by ann at" in await governed.details()
    await governed.handle.signal("open", {"who": "bob"})
    await governed.handle.signal("enforce")
    await governed.handle.signal("limits")
    state = await governed.until(lambda state: state.orders.epoch == 6 == state.told_epoch)
    assert (state.orders.shut, state.orders.mode, state.orders.limits) == (False, Mode.ENFORCE, None)
    if os.environ.get("LULL_RECORD_HISTORIES"):
        history = json.loads((await governed.handle.fetch_history()).to_json())
        HISTORY.parent.mkdir(exist_ok=True)
        HISTORY.write_text(json.dumps(history, separators=(",", ":")) + "\n")


async def test_an_order_with_an_end_ends_by_itself(governed: Governed):
    await governed.handle.signal("shut", {"for": "1s"})
    await governed.until(lambda state: state.orders.shut)
    state = await governed.until(lambda state: not state.orders.shut and state.told_epoch == 2)
    assert governed.seat.ordered[-1].orders.shut is False
    assert state.orders.shut_note is None


@pytest.mark.parametrize(
    ("name", "payload", "warning"),
    [
        ("limits", {"read_p99": "fast"}, "limits changed nothing: .*read_p99: is no latency; write it like 12ms"),
        ("limits", {"inflation": 0.5}, "limits changed nothing: .*inflation"),
        ("shut", {"until": "noon"}, 'shut changed nothing: .*"until" is no field of it'),
        ("shutt", None, "did you mean shut"),
        ("pause", "x", "signals are observe, enforce, shut, open, limits"),
    ],
)
async def test_what_is_no_order_changes_nothing_and_leaves_a_warning(
    governed: Governed, name: str, payload: Any, warning: str
):
    await governed.handle.signal(name, payload)
    state = await governed.until(lambda state: len(state.warnings) == 1)
    assert state.orders.epoch == 0
    assert governed.seat.ordered == []
    assert re.search(warning, state.warnings[0]), state.warnings


async def test_what_an_operator_must_mend_is_a_warning_and_not_the_end(governed: Governed):
    sentence = "this worker has no cluster profile"
    error = ApplicationError(sentence, type=OperatorError.type_name, non_retryable=True)
    await governed.seat.reports.put(error)
    state = await governed.until(lambda state: len(state.warnings) == 1)
    assert sentence in state.warnings[0]
    await governed.handle.signal("shut")
    await governed.until(lambda state: state.told_epoch == 1)


async def test_orders_that_the_ledger_refuses_are_tried_until_it_has_them(governed: Governed):
    governed.seat.refuses = True
    await governed.handle.signal("shut", "incident")
    state = await governed.until(lambda state: len(state.warnings) == 1)
    assert state.warnings[0] == "the orders could not be written: OperatorError: no cluster profile (epoch 1)"
    assert state.told_epoch == 0
    await governed.handle.signal("observe")
    state = await governed.until(lambda state: len(state.warnings) == 2)
    assert (state.orders.epoch, state.told_epoch) == (2, 0)
    assert f"- {state.warnings[1]}" in await governed.details()
    governed.seat.refuses = False
    state = await governed.until(lambda state: state.told_epoch == 2)
    assert [request.orders for request in governed.seat.ordered] == [state.orders]
    assert state.warnings[-1] == "the orders are in the ledger now (epoch 2)"


async def test_orders_of_a_governor_that_temporal_has_forgotten_hold_until_they_are_lifted(governed: Governed):
    """Its workflow was terminated, or lives in another namespace: a new order neither is lost nor undoes its others."""
    note = Note(who="ann", why="incident", at=datetime.now(UTC))
    governed.seat.there = Orders(epoch=7, shut=True, shut_note=note)
    await governed.handle.signal("limits", {"read_p99": "12ms"})
    state = await governed.until(lambda state: state.told_epoch == 8)
    assert (state.orders.shut_reason, state.orders.limits.read_p99) == ("shut by ann: incident", 12.0)  # type: ignore[union-attr]
    assert governed.seat.ordered[-1].orders == state.orders
    await governed.handle.signal("open", {"who": "bob"})
    state = await governed.until(lambda state: state.told_epoch == 9)
    assert not state.orders.shut


async def test_orders_whose_time_is_up_are_not_written_as_if_they_held(governed: Governed):
    governed.seat.refuses = True
    await governed.handle.signal("shut", {"for": "1s"})
    await governed.until(lambda state: not state.orders.shut and state.orders.epoch == 2)
    governed.seat.refuses = False
    await governed.until(lambda state: state.told_epoch == 2)
    assert [request.orders.shut for request in governed.seat.ordered] == [False]


@pytest.mark.parametrize("refuses", [False, True])
async def test_a_long_history_is_continued_as_new_with_all_orders(
    temporal_client: Client,
    monkeypatch: pytest.MonkeyPatch,
    refuses: bool,  # noqa: FBT001
):
    """Also with those that the ledger refuses: a governor does not stop governing for them."""
    monkeypatch.setattr(module, "HISTORY_EVENTS_MAX", 20)
    seat, cluster = Seat(refuses=refuses), f"c{uuid4().hex[:8]}"
    worker = Worker(
        temporal_client,
        task_queue=CONTROL,
        workflows=[GovernorWorkflow],
        activities=[seat.order],
        workflow_runner=UnsandboxedWorkflowRunner(),
    )
    governors = Worker(
        temporal_client,
        task_queue=GOVERNOR,
        activities=[seat.govern],
        max_heartbeat_throttle_interval=timedelta(seconds=0.2),
    )
    async with worker, governors:
        handle = await temporal_client.start_workflow(
            GovernorWorkflow.run, GovernorState(cluster=cluster), id=governor_id(cluster), task_queue=CONTROL
        )
        governed = Governed(temporal_client.get_workflow_handle(handle.id), seat, cluster)
        await governed.handle.signal("shut", "incident")
        for _ in range(4):
            await seat.reports.put(seen(cluster))
        state = await governed.until(lambda state: state.runs >= 2)
        assert state.orders.shut
        seat.refuses = False
        await governed.until(lambda state: state.told_epoch == 1)
        await over(governed.handle, seat)

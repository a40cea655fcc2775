"""Jobs in the middle of their lives, made without a server."""

from datetime import UTC, datetime
from typing import Any

import pytest

from lull.domain.guarantee import Guarantee, Promise
from lull.domain.kinds import parse_spec
from lull.domain.slice import Counts, Opened, PartitionSnapshot, Plan, SliceEnd, SliceReport
from lull.domain.state import JobState
from lull.workflows import control

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.fixture
def noon() -> datetime:
    """When everything in these tests happens."""
    return NOON


@pytest.fixture
def make_job() -> Any:
    """Return a job that runs over the given number of partitions."""

    def make(partitions: int = 4, **fields: Any) -> JobState:
        spec = parse_spec(
            {"job": "orders-2026", "kind": "purge", "source": {"database": "shop", "collection": "orders"}}
            | {"everything": True}
            | fields
        )
        state = JobState(spec=spec, who="ann")
        control.begin(state, NOON)
        promise = Guarantee(promise=Promise.EXACTLY_ONCE, why="fenced pages")
        plan = Plan(incarnation=1, guarantee=promise, partitions=partitions, documents=1_000 * partitions)
        control.opened(state, Opened(plan=plan), NOON)
        return state

    return make


@pytest.fixture
def make_report() -> Any:
    """Return a slice's report on a partition."""

    def make(
        partition: int, end: SliceEnd = SliceEnd.SLICE_OVER, *, quarantined: int = 0, **fields: Any
    ) -> SliceReport:
        counts = Counts(scanned=100, seen=100, changed=100 - quarantined, quarantined=quarantined, pages=3)
        snapshot = PartitionSnapshot(partition=partition, counts=counts, done=end is SliceEnd.DONE)
        return SliceReport(end=end, snapshot=snapshot, active_s=1.0, **fields)

    return make

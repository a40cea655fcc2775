"""Progress as a workflow tells it, and slices as Temporal tells them."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from lull.domain.lifecycle import Status
from lull.domain.slice import Counts
from lull.domain.state import Progress
from lull.starter.views import Slice, SliceState

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.fixture
def progress() -> Callable[..., Progress]:
    """A running job of ten partitions, one of them with a live slice, 1,000 of 10,000 documents passed."""

    def make(**fields: Any) -> Progress:
        base = {
            "job": "orders-1",
            "kind": "update",
            "cluster": "main",
            "namespace": "shop.orders",
            "status": Status.RUNNING,
            "counts": Counts(scanned=1_000, seen=1_000, changed=1_000, pages=10),
            "documents": 10_000,
            "fraction": 0.1,
            "partitions": 10,
            "partitions_done": 1,
            "running": {3: Counts(scanned=200, seen=200, changed=200, pages=2)},
            "as_of": NOW,
        }
        return Progress.model_validate(base | fields)

    return make


@pytest.fixture
def slice_of() -> Callable[..., Slice]:
    """A running slice of partition 3 that has told of 500 documents."""

    def make(**fields: Any) -> Slice:
        base = {
            "state": SliceState.RUNNING,
            "partition": 3,
            "counts": Counts(scanned=500, seen=500, changed=500, pages=5),
        }
        return Slice.model_validate(base | fields)

    return make

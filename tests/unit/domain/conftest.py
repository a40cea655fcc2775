"""What the tests of the laws share: specs that are right, to be bent one field at a time."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from lull.domain.job import JobSpec
from lull.domain.kinds import parse_spec

# No deadline, and no alarm when examples are made slowly: a busy machine is no defect. Derandomized: the same examples in every run. Thirty: all laws in ten seconds.
settings.register_profile(
    "lull",
    max_examples=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("lull")

FIELDS_OF_KIND: dict[str, dict[str, Any]] = {
    "update": {"update": {"$set": {"seen": True}}},
    "transform": {"transform": "nyc.speed"},
    "purge": {},
}

MakeSpec = Callable[..., JobSpec]


def written(kind: str = "update", **changes: Any) -> dict[str, Any]:
    """A spec as an operator writes it, right unless *changes* make it wrong."""
    source = {"database": "nyc", "collection": "flights", "filter": {"air_time": {"$gt": 0}}}
    return {
        "job": "flights-1",
        "kind": kind,
        "source": source | changes.pop("source", {}),
        **FIELDS_OF_KIND.get(kind, {}),
        **changes,
    }


@pytest.fixture(scope="session")
def make_written() -> Callable[..., dict[str, Any]]:
    return written


@pytest.fixture(scope="session")
def make_spec() -> MakeSpec:
    return lambda kind="update", **changes: parse_spec(written(kind, **changes))

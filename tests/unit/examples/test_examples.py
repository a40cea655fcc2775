"""The examples are what people copy first."""

from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from lull.activities.transforms import SKIP
from lull.domain.kinds import KINDS
from lull.starter.specs import load_spec

EXAMPLES = Path(__file__).parents[3] / "examples"
SPECS = sorted(EXAMPLES.rglob("*.yaml"))


@pytest.mark.parametrize("path", SPECS, ids=lambda path: str(path.relative_to(EXAMPLES)))
def test_every_example_is_a_spec(path: Path):
    assert load_spec(str(path)).job


def test_every_kind_has_an_example():
    assert {load_spec(str(path)).kind for path in SPECS} == set(KINDS)


def test_a_flight_gets_its_average_speed_and_its_departure_in_utc():
    """05:15 in New York's winter is 10:15 in UTC, and it left two minutes late."""
    from examples.nyc.speed import speed

    assert speed(_flight()) == {
        "average_speed": {"mph": 370.0, "kmh": 595.5},
        "departed_at": datetime(2013, 1, 1, 10, 17, tzinfo=UTC),
    }


def test_a_flight_without_air_time_is_skipped():
    """It was cancelled or landed elsewhere: it has no speed over this distance."""
    from examples.nyc.speed import speed

    flight = _flight()
    del flight["air_time"]
    assert speed(flight) is SKIP


@pytest.mark.parametrize(
    ("local", "delay", "departed"),
    [
        ((7, 1, 600), 0, datetime(2013, 7, 1, 10, 0, tzinfo=UTC)),  # summer: four hours behind UTC
        ((3, 10, 600), 0, datetime(2013, 3, 10, 10, 0, tzinfo=UTC)),  # clocks went forward at 02:00
        ((11, 3, 600), 0, datetime(2013, 11, 3, 11, 0, tzinfo=UTC)),  # clocks went back at 02:00
        ((11, 2, 2359), 180, datetime(2013, 11, 3, 6, 59, tzinfo=UTC)),  # late across the hour that comes twice
        ((12, 31, 2400), 0, datetime(2014, 1, 1, 5, 0, tzinfo=UTC)),  # 2400 is the next midnight
        ((1, 1, 5), -10, datetime(2013, 1, 1, 4, 55, tzinfo=UTC)),  # 00:05, ten minutes early: the day before, locally
    ],
)
def test_departures_mind_the_clocks(local: tuple[int, int, int], delay: int, departed: datetime):
    from examples.nyc.speed import departed_at

    month, day, hhmm = local
    flight = _flight() | {"month": month, "day": day, "sched_dep_time": hhmm, "dep_delay": delay}
    assert departed_at(flight) == departed


def test_the_transform_agrees_with_the_independent_computation():
    """On January's flights; the demo looks at all of them."""
    from examples.nyc import expected, flights
    from examples.nyc.speed import speed

    for row in islice(flights.rows(), 20_000):
        document = flights.document(row)
        changes = speed(document)
        document.update({} if changes is SKIP else changes)
        assert document == flights.document(row) | expected.added(row)


def _flight() -> dict[str, Any]:
    return {
        "_id": "2013-01-01/UA1545/EWR",
        "year": 2013,
        "month": 1,
        "day": 1,
        "sched_dep_time": 515,
        "dep_delay": 2,
        "origin": "EWR",
        "air_time": 227,
        "distance": 1400,
    }

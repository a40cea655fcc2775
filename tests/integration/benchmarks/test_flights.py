"""The demo's data are the ones that were pinned, in MongoDB as in the archive."""

from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.collection import Collection


@pytest.fixture
def flights(mongo_uri: str) -> Iterator[Collection[dict[str, Any]]]:
    with MongoClient(mongo_uri) as client:
        yield client["flights_tests"]["flights"]
        client.drop_database("flights_tests")


def test_a_year_of_flights_is_loaded_once_and_again_when_it_was_changed(flights: Collection[dict[str, Any]]):
    from examples.nyc.load import is_loaded, load

    assert load(flights) is True
    assert flights.count_documents({}) == 336_776
    assert load(flights) is False
    flights.update_one({}, {"$set": {"distance": 1}})
    assert not is_loaded(flights)

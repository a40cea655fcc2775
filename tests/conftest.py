"""One real MongoDB (a replica set of one) and one real Temporal server for the whole test run."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lull.domain.signals import SEARCH_ATTRIBUTES
from lull.embedded.mongod import ReplicaSet
from lull.embedded.temporal import TemporalServer


@pytest.fixture(scope="session")
def mongo_set(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicaSet]:
    """A replica set of one, shared by all tests: use databases of your own name."""
    with ReplicaSet(folder(tmp_path_factory, "mongo")) as replica_set:
        yield replica_set


@pytest.fixture(scope="session")
def mongo_uri(mongo_set: ReplicaSet) -> str:
    """The address of the shared replica set."""
    return mongo_set.uri


@pytest.fixture(scope="session")
def temporal_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TemporalServer]:
    """A Temporal dev server with lull's search attributes, shared by all tests."""
    attributes = {attribute.name: "Keyword" for attribute in SEARCH_ATTRIBUTES}
    with TemporalServer(folder(tmp_path_factory, "temporal"), search_attributes=attributes) as server:
        yield server


@pytest.fixture(scope="session")
def temporal_address(temporal_server: TemporalServer) -> str:
    """Where clients and workers of a test connect."""
    return temporal_server.address


def folder(factory: pytest.TempPathFactory, name: str) -> Path:
    """Return a new folder that pytest removes in time."""
    return factory.mktemp(name)

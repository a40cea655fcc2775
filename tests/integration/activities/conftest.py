"""A world of its own for each test: a database, job ids, and the adapters over the shared MongoDB."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database

from lull.activities import opening
from lull.activities.ledger import Ledger
from lull.activities.mongo import Cluster, Clusters
from lull.activities.planning import Planning
from lull.activities.store import Store
from lull.activities.survey import survey
from lull.activities.threads import Stop
from lull.activities.transforms import Registry
from lull.domain.config import ClusterProfile
from lull.domain.governor.budget import Mode
from lull.domain.job import JobSpec
from lull.domain.kinds import parse_spec
from lull.domain.slice import JobRef, Opened, OpenRequest, TemporalIds

Document = dict[str, Any]


@dataclass
class World:
    """One cluster profile called main, and one database that nobody else uses."""

    uri: str
    name: str = field(default_factory=lambda: f"t{uuid.uuid4().hex[:10]}")
    namespaces: tuple[str, ...] = ("*.*",)
    registry: Registry = field(default_factory=Registry)

    def __post_init__(self) -> None:
        self.clusters = Clusters({"main": ClusterProfile(uri=self.uri, namespaces=self.namespaces, governor=Mode.OFF)})
        self.planning = Planning(self.clusters, self.registry)
        self.ledger = Ledger(self.clusters)

    @property
    def cluster(self) -> Cluster:
        return self.clusters.get("main")

    @property
    def client(self) -> MongoClient[Document]:
        return self.cluster.client

    @property
    def database(self) -> Database[Document]:
        return self.client[self.name]

    @property
    def store(self) -> Store:
        return Store(self.cluster)

    def spec(self, kind: str = "update", *, job: str = "job", collection: str = "c", **fields: Any) -> JobSpec:
        """A spec of *kind* on this world's database; *fields* replace or add to what it needs."""
        needs: dict[str, Document] = {
            "update": {"update": {"$set": {"done": True}}},
            "purge": {"everything": True},
            "transform": {"transform": "t"},
        }
        source = {"database": self.name, "collection": collection, "filter": fields.pop("filter", {})}
        return parse_spec({"job": f"{self.name}-{job}", "kind": kind, "source": source, **needs[kind], **fields})

    def request(self, spec: JobSpec, *, run: str = "run-1", again: bool = False, **temporal: str) -> OpenRequest:
        ids = TemporalIds(**{"namespace": "default", "workflow_id": f"lull/{spec.job}", "run_id": run, **temporal})
        return OpenRequest(spec=spec, again=again, who="tester", why="because", temporal=ids)

    async def open(self, spec: JobSpec, *, run: str = "run-1", again: bool = False) -> Opened:
        return await self.planning.open(self.request(spec, run=run, again=again))

    def open_until(self, spec: JobSpec, last: opening.Step, *, run: str = "run-1", again: bool = False) -> None:
        """Open the ledger and crash right after *last*."""

        def passed(step: opening.Step) -> None:
            if step is last:
                raise Crash(step)

        found = survey(self.cluster, spec, self.registry, Stop())
        with pytest.raises(Crash):
            opening.open_ledger(self.store, self.request(spec, run=run, again=again), found, passed)

    def ref(self, spec: JobSpec, incarnation: int = 1) -> JobRef:
        return JobRef(job=spec.job, cluster="main", incarnation=incarnation)

    def partitions(self, spec: JobSpec, incarnation: int = 1) -> list[Document]:
        """The ledger's partitions, by number."""
        query = {"job": spec.job, "incarnation": incarnation}
        return list(self.store.partitions.find(query).sort("number", 1))

    def holders(self, collection: str = "c") -> list[Document]:
        """Who claims what on this world's collection."""
        found = self.store.claims.find_one({"_id": f"{self.name}.{collection}"})
        return found["holders"] if found else []

    def close(self) -> None:
        self.client.drop_database(self.name)
        for collection in ("jobs", "partitions", "claims", "quarantine"):
            self.client["lull"][collection].delete_many({"_id": {"$regex": f"^{self.name}"}})
        self.clusters.close()


class Crash(BaseException):
    """What a killed worker does: nothing runs after it, no cleanup either."""


@pytest.fixture(scope="session")
def make_world() -> type[World]:
    """For tests that need another server or profile; they close its ``clusters`` themselves."""
    return World


@pytest.fixture
def world(mongo_uri: str) -> Iterator[World]:
    made = World(mongo_uri)
    yield made
    made.close()

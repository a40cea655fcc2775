"""A governor over a real mongod; the test speaks for workers and operators."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from pymongo.collection import Collection
from pymongo.read_concern import ReadConcern

from lull.activities.governing.governor import Governor
from lull.activities.mongo import Cluster
from lull.activities.store import BUDGET_ID, GOVERNOR, JOBS, ORDERS_ID, SAMPLES, WORKER_PREFIX, ensure_ledger
from lull.domain.config import ClusterProfile
from lull.domain.governor.budget import Budget, JobSpending, Spending
from lull.domain.governor.status import GovernorStatus, Orders

TICKS_MAX = 600


class Bench:
    """One cluster whose governor ticks when the test says so."""

    def __init__(self, uri: str, **profile: Any) -> None:
        self.cluster = Cluster("main", ClusterProfile(uri=uri, **profile))
        ensure_ledger(self.cluster)
        self.forget()
        self.governors: list[Governor] = []
        self._spent: dict[str, Spending] = {}

    @property
    def collection(self) -> Collection[dict[str, Any]]:
        return self.cluster.ledger(GOVERNOR).with_options(read_concern=ReadConcern("local"))

    def governor(self, origin: str = "") -> Governor:
        """A governor that has begun, of a Temporal namespace and workflow run."""
        made = Governor(self.cluster, origin)
        self.governors.append(made)
        made.start()
        return made

    def until(self, governor: Governor, holds: Callable[[GovernorStatus], bool], *, slices: int = 0) -> GovernorStatus:
        """Tick until the status is as wanted, with so many slices of the job ``work`` alive; fails after a minute."""
        for _ in range(TICKS_MAX):
            if slices:
                self.account(slices=slices)
            wait_s = governor.tick()
            if governor.status is not None and holds(governor.status):
                return governor.status
            time.sleep(wait_s)
        raise AssertionError(f"never so: {governor.status}")

    @property
    def budget(self) -> Budget:
        """What workers read."""
        found = self.collection.find_one({"_id": BUDGET_ID})
        assert found is not None
        return Budget.model_validate(found)

    def account(
        self, job: str = "work", *, slices: int = 1, busy_s: float = 0.0, ops: float = 0.0, docs: float = 0.0
    ) -> None:
        """A worker tells of its slices, and of more that they have spent."""
        before = self._spent.get(job, Spending(sequence=0, ops=0.0, jobs=(JobSpending(job=job, slices=0, busy_s=0.0),)))
        told = Spending(
            sequence=before.sequence + 1,
            ops=before.ops + ops,
            jobs=(
                JobSpending(
                    job=job, slices=slices, busy_s=before.jobs[0].busy_s + busy_s, docs=before.jobs[0].docs + docs
                ),
            ),
        )
        self._spent[job] = told
        self.collection.update_one({"_id": f"{WORKER_PREFIX}{job}"}, {"$set": told.model_dump()}, upsert=True)

    def order(self, **fields: Any) -> None:
        """Operators want this."""
        orders = Orders(epoch=1, **fields)
        self.collection.update_one(
            {"_id": ORDERS_ID}, {"$set": {"orders": orders.model_dump(mode="json"), "epoch": 1}}, upsert=True
        )

    def job(self, name: str, **spec: Any) -> None:
        """The ledger knows a job with these fields of its spec."""
        self.cluster.ledger(JOBS).update_one({"_id": name}, {"$set": {"spec": spec, "status": "test"}}, upsert=True)

    def forget(self) -> None:
        self.collection.delete_many({})
        self.cluster.database("lull").drop_collection(SAMPLES)
        self.cluster.ledger(JOBS).delete_many({"status": "test"})

    def close(self) -> None:
        for governor in self.governors:
            governor.close()
        self.forget()
        self.cluster.close()


@pytest.fixture
def make_bench() -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(uri: str, **profile: Any) -> Bench:
        made.append(Bench(uri, **profile))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def bench(make_bench: Callable[..., Bench], mongo_uri: str) -> Bench:
    return make_bench(mongo_uri)


@pytest.fixture
def load(mongo_uri: str) -> Iterator[Callable[[float], None]]:
    """Another client that reads and writes: ``load(300)`` operations a second until the test's end."""
    from pymongo import MongoClient

    over = threading.Event()
    threads: list[threading.Thread] = []
    client: MongoClient[dict[str, Any]] = MongoClient(mongo_uri)
    collection = client["governing-load"]["c"]
    collection.replace_one({"_id": 1}, {"n": 0}, upsert=True)

    def run(per_second: float) -> None:
        while not over.wait(1 / per_second):
            collection.find_one({"_id": 1})

    def start(per_second: float) -> None:
        threads.append(threading.Thread(target=run, args=(per_second,)))
        threads[-1].start()

    yield start
    over.set()
    for thread in threads:
        thread.join()
    client.drop_database("governing-load")
    client.close()


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC)

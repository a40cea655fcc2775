"""A worker brings a governor: in a process of its own, started again when it dies, gone with its worker."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from lull.domain.governor.budget import Budget
from lull.domain.kinds import parse_spec
from lull.domain.lifecycle import Status
from lull.starter.client import Client
from lull.starter.settings import Connection

DOCS = 60_000


@pytest.fixture
def mongo(mongo_uri: str) -> Any:
    client: MongoClient[dict[str, Any]] = MongoClient(mongo_uri)
    client["lull"]["governor"].delete_many({})
    yield client
    client.drop_database("governed")
    client["lull"]["governor"].delete_many({})
    client.close()


def budget(mongo: Any) -> Budget | None:
    found = mongo["lull"]["governor"].find_one({"_id": "budget"})
    return Budget.model_validate(found) if found and "sequence" in found else None


def owner(mongo: Any) -> int:
    said = budget(mongo)
    assert said is not None
    return int(said.owner.rpartition(":")[2])


def is_there(pid: int) -> bool:
    # A child that ended and was not waited for yet is no process any more.
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children(pid: int) -> list[str]:
    """Of all threads: the governor's process is started by one of its own."""
    return [child for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()]


async def test_a_job_runs_under_its_governor_and_outlives_it(
    spawn: Any, mongo: Any, until: Any, temporal_address: str, namespace: str
):
    """Fault: kill -9 of the governor. Moment: amid a job. Survives: every page once, and none without a word."""
    mongo["governed"]["c"].insert_many({"_id": number, "n": 0} for number in range(DOCS))
    worker = spawn(LULL_CLUSTERS__MAIN__GOVERNOR="enforce")
    await worker.until_ready()
    await until(lambda: budget(mongo), "a budget")
    first = owner(mongo)
    assert children(worker.process.pid) == [str(first)]
    client = await Client.connect(Connection(temporal_address, namespace, ""))
    spec = parse_spec(
        {
            "job": f"governed-{os.getpid()}",
            "kind": "update",
            "source": {"database": "governed", "collection": "c"},
            "update": {"$inc": {"n": 1}},
            "limits": {"max_docs_per_second": 6_000},
        }
    )
    await client.start(spec)
    await until(lambda: mongo["governed"]["c"].find_one({"n": 1}), "a page")
    os.kill(first, signal.SIGKILL)
    await until(lambda: owner(mongo) != first, "another governor")
    assert (await client.wait(spec.job)).status is Status.COMPLETED
    assert mongo["governed"]["c"].count_documents({"n": 1}) == DOCS
    second = owner(mongo)
    worker.signal()
    assert await worker.ended() == 0
    await until(lambda: not is_there(second), "the end of the governor's process")


async def test_a_killed_worker_takes_its_governor_along(spawn: Any, mongo: Any, until: Any):
    worker = spawn(LULL_CLUSTERS__MAIN__GOVERNOR="enforce")
    await worker.until_ready()
    await until(lambda: budget(mongo), "a budget")
    governor = owner(mongo)
    worker.signal(signal.SIGKILL)
    await worker.ended()
    await until(lambda: not is_there(governor), "the end of the governor's process")


async def test_a_worker_can_leave_governing_to_others(spawn: Any, mongo: Any):
    worker = spawn("--no-governor", LULL_CLUSTERS__MAIN__GOVERNOR="enforce")
    await worker.until_ready()
    assert children(worker.process.pid) == []
    assert budget(mongo) is None

"""What servers and networks do: nothing is lost, nothing done twice, and nobody has to look after it."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import AutoReconnect
from temporalio.exceptions import ApplicationError

from lull.activities import slices
from lull.activities.lease import Lease
from lull.domain.errors import OperatorError
from lull.domain.slice import SliceEnd
from lull.embedded.mongod import MongodOptions, ReplicaSet

DOCS = 60
APP_NAME = "lull"


@pytest.fixture(scope="module")
def faulty_set(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicaSet]:
    """A replica set of one that fails on demand, and that may be killed."""
    options = MongodOptions(cache_gib=0.25, parameters={"enableTestCommands": 1})
    with ReplicaSet(tmp_path_factory.mktemp("faulty"), options=options) as made:
        yield made


@pytest.fixture
def world(faulty_set: ReplicaSet, make_world: Any) -> Any:
    return make_world(faulty_set.uri)


@contextmanager
def failing(world: Any, commands: list[str], times: int = 2, **how: Any) -> Iterator[Callable[[], int]]:
    """Lull's next commands of these names fail like this; yields a count of those that did."""
    name = {"configureFailPoint": "failCommand"}
    data = {"failCommands": commands, "appName": APP_NAME, **how}
    before = world.client.admin.command({**name, "mode": {"times": times}, "data": data})["count"]
    try:
        yield lambda: world.client.admin.command({**name, "mode": "off"})["count"] - before
    finally:
        world.client.admin.command({**name, "mode": "off"})


def jobs(world: Any) -> dict[str, Callable[[], Any]]:
    """Jobs that show whether a document was done once."""
    function = world.transform(lambda d: {"n": d.get("n", 0) + 1})
    return {
        "transform": lambda: world.spec("transform", transform=function, page_docs=10),
        "update": lambda: world.spec("update", update={"$inc": {"n": 1}}, page_docs=10),
        "purge": lambda: world.spec("purge", filter={"k": 1}, page_docs=10),
    }


async def run_and_check(world: Any, kind: str, spec: Any, failed: Callable[[], int] | None = None) -> None:
    await asyncio.gather(*(world.persevere(spec, number) for number in range(2)))
    assert failed is None or failed() > 0
    counts = world.counts(spec)
    assert (counts.scanned, counts.changed, counts.quarantined) == (DOCS, DOCS, 0)
    assert [d["n"] for d in world.by_id().values()] == ([] if kind == "purge" else [1] * DOCS)


def opened(world: Any, kind: str) -> Any:
    world.fill([{"_id": key, "k": 1} for key in range(DOCS)])
    spec = jobs(world)[kind]()
    world.open(spec, cuts=[25])
    return spec


# Not the codes of a shutdown: after one the driver waits up to ten seconds for a server that never went.
FAULTS: list[tuple[list[str], dict[str, Any]]] = [
    (["commitTransaction"], {"closeConnection": True}),
    (["commitTransaction"], {"closeConnection": True, "times": 8}),
    (["commitTransaction"], {"errorCode": 10107}),
    (["commitTransaction"], {"errorCode": 189, "times": 8}),
    (["commitTransaction"], {"errorCode": 262}),
    (["commitTransaction"], {"errorCode": 112, "errorLabels": ["TransientTransactionError"]}),
    (["commitTransaction"], {"errorCode": 251, "errorLabels": ["TransientTransactionError"]}),
    (["commitTransaction"], {"errorCode": 50, "times": 4}),
    (["commitTransaction"], {"writeConcernError": {"code": 64, "errmsg": "waiting timed out"}, "times": 8}),
    (["update", "delete"], {"closeConnection": True}),
    (["update", "delete"], {"errorCode": 112, "errorLabels": ["TransientTransactionError"], "times": 10}),
    (["update", "delete"], {"errorCode": 10107}),
    (["update", "delete"], {"errorCode": 11601}),
    (["update", "delete"], {"errorCode": 24}),
    (["find", "aggregate", "getMore"], {"closeConnection": True, "times": 6}),
    (["find", "aggregate", "getMore"], {"errorCode": 11602, "times": 6}),
    (["find", "aggregate"], {"errorCode": 262, "times": 4}),
    (["findAndModify"], {"closeConnection": True, "times": 3}),
    (["abortTransaction", "update", "delete"], {"closeConnection": True, "times": 4}),
]


def name_of(value: Any) -> str:
    return (
        ",".join(value)
        if isinstance(value, list)
        else " ".join(f"{k}={v}" for k, v in value.items() if k != "errorLabels")
    )


@pytest.mark.parametrize(("commands", "how"), FAULTS, ids=name_of)
async def test_whatever_fails_each_document_is_done_exactly_once(world: Any, commands: list[str], how: dict[str, Any]):
    spec = opened(world, "transform")
    with failing(world, commands, **how) as failed:
        await run_and_check(world, "transform", spec, failed)


@pytest.mark.parametrize("kind", ["update", "purge"])
@pytest.mark.parametrize("command", ["commitTransaction", "update", "delete", "find"])
async def test_jobs_on_the_server_are_done_exactly_once_too(world: Any, kind: str, command: str):
    spec = opened(world, kind)
    with failing(world, [command], times=4, closeConnection=True):
        await run_and_check(world, kind, spec)


@pytest.mark.parametrize("kind", ["transform", "update", "purge"])
@pytest.mark.parametrize("page", [1, 4])
async def test_a_commit_whose_answer_was_lost_is_found_in_the_ledger(
    world: Any, monkeypatch: Any, kind: str, page: int
):
    """It was committed; whoever asks again must learn that, not do the page again."""
    committed, commits = slices._commit, [0]

    def and_lose(session: Any) -> None:
        committed(session)
        commits[0] += 1
        if commits[0] == page:
            raise AutoReconnect("the answer is lost")

    spec = opened(world, kind)
    monkeypatch.setattr(slices, "_commit", and_lose)
    await run_and_check(world, kind, spec)
    assert world.counts(spec).pages == 7


async def test_an_error_nobody_knows_stops_the_job_and_not_the_loop(world: Any, monkeypatch: Any):
    """The ledger refuses, whatever the page: no document is to blame, and nothing would ever change."""
    monkeypatch.setattr(slices, "HOT_TRIES_MAX", 6)
    monkeypatch.setattr(Lease, "advance", lambda *_args, **_kwargs: (_ for _ in ()).throw(world.refusal()))
    world.fill([{"_id": key} for key in range(DOCS)])
    spec = world.spec("transform", transform=world.transform(lambda _: {"n": 1}), page_docs=10, filter={"match": 1})
    world.open(spec)
    with pytest.raises(ApplicationError, match="the server refused the request") as stopped:
        await world.slice(spec)
    assert stopped.value.type == OperatorError.type_name
    assert world.counts(spec).pages == 0


@pytest.mark.parametrize("how", ["kill", "step down"])
async def test_a_primary_that_goes_and_comes_back_costs_nothing_but_time(
    world: Any, faulty_set: ReplicaSet, hooked: Any, how: str
):
    def go() -> None:
        if how == "step down":
            faulty_set.step_down(1)
        else:
            faulty_set.kill_member(0)
            faulty_set.start_member(0)

    world.fill([{"_id": key} for key in range(DOCS)])
    faults: list[threading.Thread] = []

    def begin() -> None:
        faults.append(threading.Thread(target=go))
        faults[0].start()

    meddling = hooked(lambda d: {"n": d.get("n", 0) + 1}, lambda d: d["_id"] == 12, begin)
    spec = world.spec("transform", transform=world.transform(meddling), page_docs=5)
    world.open(spec, cuts=[25])
    await asyncio.gather(*(world.persevere(spec, number) for number in range(2)))
    await asyncio.to_thread(faults[0].join)
    assert [d["n"] for d in world.by_id().values()] == [1] * DOCS
    assert world.counts(spec).changed == DOCS


@pytest.mark.parametrize("kind", ["transform", "update", "purge"])
async def test_a_document_held_by_the_foreground_is_waited_for_alone(world: Any, kind: str, eventually: Any):
    """Everything before it is committed meanwhile, and the page has shrunk to it."""
    spec = opened(world, kind)
    with MongoClient(world.uri) as client, client.start_session() as session:
        session.start_transaction()
        client[world.name]["c"].update_one({"_id": 17}, {"$set": {"held": True}}, session=session)
        running = asyncio.create_task(world.slice(spec))
        await eventually(lambda: world.partition(spec)["position"] == {"k": 16})
        session.commit_transaction()
        assert (await running).end is SliceEnd.DONE
    await run_and_check(world, kind, spec)


async def test_a_document_that_stays_hot_goes_to_quarantine_and_all_others_are_done(world: Any, monkeypatch: Any):
    monkeypatch.setattr(slices, "HOT_TRIES_MAX", 8)
    spec = opened(world, "transform")
    with MongoClient(world.uri) as client, client.start_session() as session:
        session.start_transaction()
        client[world.name]["c"].update_one({"_id": 17}, {"$set": {"held": True}}, session=session)
        await asyncio.gather(*(world.persevere(spec, number) for number in range(2)))
    (record,) = world.quarantine(spec)
    assert (record["document_id"], record["error"]["code"]) == (17, 112)
    assert [d.get("n", 0) for d in world.by_id().values()] == [int(key != 17) for key in range(DOCS)]
    assert world.counts(spec).quarantined == 1


async def test_an_index_made_meanwhile_only_costs_a_try(world: Any, hooked: Any):
    """DDL takes the collection from under an open snapshot."""
    world.fill([{"_id": key, "k": 1} for key in range(DOCS)])
    made = hooked(
        lambda d: {"n": d.get("n", 0) + 1},
        lambda d: d["_id"] == 12,
        lambda: (world.source.create_index("k"), world.source.create_index("n")),
    )
    spec = world.spec("transform", transform=world.transform(made), page_docs=5)
    counts = await world.run(spec)
    assert counts.changed == DOCS


async def test_a_collection_dropped_meanwhile_ends_the_job_as_emptied(world: Any, hooked: Any):
    world.fill([{"_id": key} for key in range(DOCS)])
    dropped = hooked(lambda _: {"n": 1}, lambda d: d["_id"] == 12, world.source.drop)
    spec = world.spec("transform", transform=world.transform(dropped), page_docs=5)
    counts = await world.run(spec)
    assert counts.changed <= 15
    assert world.ids() == []

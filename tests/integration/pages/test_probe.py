"""Probes: real pages of a job that was never started, of which nothing stays, whatever happens to them."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import pytest
from pymongo import MongoClient
from temporalio.exceptions import ApplicationError

from lull.activities import leave, probe
from lull.activities.forecasting import Forecasting
from lull.activities.kinds.update import UpdatePages
from lull.activities.planning import Planning
from lull.activities.store import BUDGET_ID, GOVERNOR, WORKER_PREFIX
from lull.domain.config import ClusterProfile
from lull.domain.forecast import PAGES_MAX, Confidence, Forecast, ForecastRequest, Probed
from lull.domain.governor.budget import Budget, Spending
from lull.domain.job import JobSpec, Walk
from lull.domain.slice import Plan, PlanRequest

Document = dict[str, Any]
DOCS = 3_000
UNWATCHED = {"governor", "canary", "samples", "system.buckets.samples", "foreground"}
"""Collections of the governor's, which goes on while somebody plans."""


async def planned(world: Any, spec: JobSpec) -> Plan:
    return await Planning(world.clusters, world.registry).plan(PlanRequest(spec=spec))


async def probed(world: Any, spec: JobSpec, plan: Plan | None = None) -> Probed:
    found = await forecast(world, spec, plan)
    assert found.probe is not None
    return found.probe


async def forecast(world: Any, spec: JobSpec, plan: Plan | None = None, *, with_probe: bool = True) -> Forecast:
    plan = plan or await planned(world, spec)
    request = ForecastRequest(spec=spec, plan=plan, probe=with_probe)
    return await Forecasting(world.clusters, world.registry).forecast(request)


class Evidence:
    """What the whole server holds, and what was committed to it since."""

    def __init__(self, world: Any) -> None:
        self._client: MongoClient[Document] = world.client
        self.digests = self.digest()
        self._since = self._newest()

    def digest(self) -> dict[str, Any]:
        """The server's own digest of every collection of every database but its own."""
        names = [name for name in self._client.list_database_names() if name not in {"admin", "config", "local"}]
        found = {}
        for name in names:
            hashes = self._client[name].command("dbHash")["collections"]
            found |= {f"{name}.{each}": value for each, value in hashes.items() if not self._is_unwatched(name, each)}
        return found

    @staticmethod
    def _is_unwatched(database: str, collection: str) -> bool:
        return (database == "lull" and collection in UNWATCHED) or collection == "system.profile"

    def _newest(self) -> Any:
        newest = self._client["local"]["oplog.rs"].find_one(sort=[("$natural", -1)])
        assert newest is not None
        return newest["ts"]

    def committed(self) -> list[Document]:
        """Every entry of the oplog since, the server's own and the governor's aside."""
        entries = self._client["local"]["oplog.rs"].find({"ts": {"$gt": self._since}, "op": {"$ne": "n"}})
        mine = ("config.", "admin.", *(f"lull.{name}" for name in UNWATCHED))
        return [entry for entry in entries if not entry["ns"].startswith(mine) or "applyOps" in entry["o"]]


@contextmanager
def nothing_stays(world: Any) -> Iterator[None]:
    """Not one document, index or entry of the oplog is another one after the block."""
    before = Evidence(world)
    yield
    assert before.digest() == before.digests
    assert before.committed() == []


@pytest.fixture
def documents(world: Any) -> list[Any]:
    ids: list[Any] = world.fill([{"_id": key, "n": key, "a": key % 10} for key in range(DOCS)])
    return ids


def a_spec(world: Any, kind: str, **fields: Any) -> JobSpec:
    needs: dict[str, Any] = {
        "update": lambda: {"update": {"$set": {"done": True}, "$inc": {"n": 1}}},
        "transform": lambda: {"transform": world.transform(lambda document: {"n": document["n"] + 1})},
        "purge": dict,
    }
    spec: JobSpec = world.spec(kind, **({} if "transform" in fields or "update" in fields else needs[kind]()), **fields)
    return spec


def writes(world: Any, spec: JobSpec) -> list[Document]:
    """What the server's profiler saw of this probe's writes."""
    query = {"command.comment": probe.comment(spec.job), "op": {"$in": ["update", "remove", "command"]}}
    seen: list[Document] = list(world.client[world.name]["system.profile"].find(query))
    return [one for one in seen if one.get("nModified") or one.get("ndeleted")]


@pytest.fixture
def profiled(world: Any, documents: list[Any]) -> Iterator[None]:
    assert len(documents) == DOCS
    # The one that the server makes by itself is full after a thousand statements.
    world.client[world.name].create_collection("system.profile", capped=True, size=64 << 20)
    world.client[world.name].command("profile", 2)
    yield
    world.client[world.name].command("profile", 0)


# -- nothing stays ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("profiled")
@pytest.mark.parametrize(
    ("kind", "query"),
    [("update", {}), ("update", {"a": 3}), ("transform", {}), ("transform", {"a": 3}), ("purge", {}), ("purge", {"a": 3})],
)  # fmt: skip
async def test_pages_are_really_written_and_nothing_of_them_stays(world: Any, kind: str, query: Document):
    spec = a_spec(world, kind, filter=query)
    plan = await planned(world, spec)
    with nothing_stays(world):
        found = await probed(world, spec, plan)
    assert (found.poison, found.conflicts, found.note) == (0, 0, "")
    assert 1 < len(found.pages) <= PAGES_MAX
    assert found.matching == (
        found.documents if not query else pytest.approx(found.documents / 10, abs=len(found.pages))
    )
    assert sum(one.get("nModified", 0) + one.get("ndeleted", 0) for one in writes(world, spec)) == found.matching


@pytest.mark.usefixtures("documents")
async def test_a_drain_is_probed_through_its_index_and_nothing_stays(world: Any):
    world.source.create_index("a")
    spec = a_spec(world, "purge", filter={"a": 3})
    plan = await planned(world, spec)
    assert plan.walk is Walk.DRAIN
    with nothing_stays(world):
        found = await probed(world, spec, plan)
    assert found.pages
    assert 0 < found.documents == found.matching <= DOCS / 10


@pytest.mark.usefixtures("documents")
async def test_pages_are_spread_over_the_whole_range_and_meet_no_document_twice(world: Any):
    met: list[Any] = []
    spec = a_spec(world, "transform", transform=world.transform(lambda document: met.append(document["_id"]) or {}))
    await probed(world, spec)
    assert len(met) == len(set(met))
    eighths = {key * PAGES_MAX // DOCS for key in met}
    assert eighths == set(range(PAGES_MAX))


@pytest.mark.usefixtures("documents")
async def test_places_in_a_large_collection_are_sampled(world: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(probe, "KEYS_COUNTED_MAX", 10)
    met: list[Any] = []
    spec = a_spec(world, "transform", transform=world.transform(lambda document: met.append(document["_id"]) or {}))
    with nothing_stays(world):
        found = await probed(world, spec)
    assert len(found.pages) == PAGES_MAX
    assert len(met) == len(set(met))


async def test_a_few_documents_are_one_page_and_none_is_no_page(world: Any):
    spec = a_spec(world, "update")
    world.fill([{"_id": 1}, {"_id": "two"}])
    few = await probed(world, spec)
    world.source.delete_many({})
    none = await probed(world, spec)
    assert (len(few.pages), few.documents) == (1, 2)
    assert (none.pages, none.note) == ((), "")


@pytest.mark.usefixtures("documents")
async def test_a_forecast_without_a_probe_touches_no_document(world: Any):
    spec = a_spec(world, "update")
    world.client[world.name].command("profile", 2)
    with nothing_stays(world):
        found = await forecast(world, spec, with_probe=False)
    world.client[world.name].command("profile", 0)
    assert found.probe is None
    assert writes(world, spec) == []
    assert any("lull plan SPEC --probe" in each for each in found.unknown)


@pytest.mark.usefixtures("documents")
async def test_a_probe_makes_work_measured(world: Any):
    found = await forecast(world, a_spec(world, "update"))
    assert found.confidence is Confidence.MEASURED
    assert found.work_basis.startswith(f"probe: {len(found.probe.pages) if found.probe else 0} pages")
    assert found.seconds.high > 0


# -- what goes wrong ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("documents")
async def test_a_function_that_raises_is_counted_and_fails_nothing(world: Any):
    def odd(document: Document) -> Document:
        if document["_id"] % 2:
            raise ValueError("odd")
        return {"n": 0}

    spec = a_spec(world, "transform", transform=world.transform(odd))
    with nothing_stays(world):
        found = await probed(world, spec)
    assert found.pages
    assert found.poison == pytest.approx(found.documents / 2, abs=len(found.pages))


async def test_a_document_that_the_server_refuses_is_counted_and_fails_nothing(world: Any):
    """An update of many is refused as one: the probe cannot tell how many more there are."""
    world.fill([{"_id": key, "n": "text"} for key in range(DOCS)])
    with nothing_stays(world):
        found = await probed(world, a_spec(world, "update"))
    assert found.pages == ()
    assert found.poison == PAGES_MAX


@pytest.mark.usefixtures("documents")
async def test_results_that_the_server_refuses_are_counted_one_by_one(world: Any):
    """A transform's statements are refused one at a time, and the page is written again without them."""
    spec = a_spec(world, "transform", transform=world.transform(lambda document: {"n.deep": document["_id"]}))
    with nothing_stays(world):
        found = await probed(world, spec)
    assert found.poison >= PAGES_MAX


@pytest.mark.usefixtures("documents")
async def test_a_slow_function_is_met_with_a_few_documents(world: Any, monkeypatch: pytest.MonkeyPatch):
    """The time of the work is what ends a probe, not the number of its pages."""
    monkeypatch.setattr(probe, "WORK_SECONDS_MAX", 0.0)
    met: list[Any] = []
    spec = a_spec(world, "transform", transform=world.transform(lambda document: met.append(document["_id"]) or {}))
    found = await probed(world, spec)
    assert len(found.pages) <= 1
    assert len(met) <= probe.DOCS_START
    assert "s of work >= 0 s" in found.note


@pytest.mark.usefixtures("documents")
async def test_a_probe_yields_to_others_and_their_writes_stay(world: Any):
    """A foreground's open transaction has every document: the probe gives up its pages, not the foreground its own."""
    spec = a_spec(world, "update")
    plan = await planned(world, spec)
    with world.client.start_session() as session, session.start_transaction():
        world.source.update_many({}, {"$set": {"theirs": 1}}, session=session)
        found = await probed(world, spec, plan)
    assert found.pages == ()
    assert found.conflicts >= PAGES_MAX
    assert world.source.count_documents({"theirs": 1, "done": {"$exists": False}}) == DOCS


@pytest.mark.usefixtures("documents")
async def test_a_foreground_write_to_a_page_in_hand_waits_and_succeeds(world: Any, monkeypatch: pytest.MonkeyPatch):
    spec = a_spec(world, "update")
    write, threads = UpdatePages.write, []

    def and_somebody_comes(self: UpdatePages, page: Any, session: Any) -> Any:
        written = write(self, page, session)
        if not threads:
            begun = threading.Event()

            def touch() -> None:
                begun.set()
                world.source.update_one({"_id": 0}, {"$set": {"touched": True}})

            threads.append(threading.Thread(target=touch))
            threads[0].start()
            begun.wait()
        return written

    monkeypatch.setattr(UpdatePages, "write", and_somebody_comes)
    await probed(world, spec)
    threads[0].join()
    assert world.source.find_one({"_id": 0}) == {"_id": 0, "n": 0, "a": 0, "touched": True}


@pytest.mark.usefixtures("documents")
async def test_a_probe_beside_the_running_job_leaves_its_ledger_alone(world: Any):
    spec = a_spec(world, "update")
    plan = await planned(world, spec)
    world.open(spec)
    with nothing_stays(world):
        await probed(world, spec, plan)
    assert world.partition(spec)["fence"] == 0
    assert (await world.slice(spec)).snapshot.counts.changed == DOCS


@pytest.mark.usefixtures("documents")
async def test_a_probe_that_is_killed_inside_a_page_leaves_nothing(world: Any, mongo_uri: str):
    """Nobody aborts its transaction but the server, when its time is up: a foreground write waits that long."""
    spec = a_spec(world, "update")
    world.client.admin.command("setParameter", 1, transactionLifetimeLimitSeconds=3)
    try:
        words = [
            sys.executable,
            str(Path(__file__).parent / "hang_in_probe.py"),
            mongo_uri,
            json.dumps(spec.canonical()),
        ]
        with nothing_stays(world), subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as worker:  # noqa: ASYNC220
            assert worker.stdout is not None
            assert worker.stdout.readline() == "inside\n"
            worker.kill()
            worker.wait()
        world.source.update_one({"_id": 0}, {"$set": {"touched": True}})
    finally:
        world.client.admin.command("setParameter", 1, transactionLifetimeLimitSeconds=60)
    assert world.source.find_one({"_id": 0}) == {"_id": 0, "n": 0, "a": 0, "touched": True}
    assert world.source.count_documents({"done": True}) == 0


@pytest.mark.usefixtures("documents")
async def test_what_would_refuse_the_job_refuses_its_probe(world: Any):
    spec = a_spec(world, "update")
    plan = await planned(world, spec)
    world.clusters.get("main").profile = ClusterProfile(uri=world.uri, namespaces=("other.*",))
    with pytest.raises(ApplicationError, match="does not allow"):
        await forecast(world, spec, plan)


async def test_without_transactions_no_probe_is_possible(standalone: str, make_world: Any):
    world = make_world(standalone)
    world.fill([{"_id": key} for key in range(100)])
    found = await forecast(world, world.spec("update", update={"$set": {"done": True}}))
    assert found.probe is not None
    assert found.probe.pages == ()
    assert "no probe is possible on a standalone server" in found.probe.note
    assert any("no probe is possible" in each for each in found.unknown)
    assert world.source.count_documents({"done": True}) == 0


# -- the governor ------------------------------------------------------------------------------------


class Governor:
    """Says the same again and again, as one does."""

    def __init__(self, world: Any, **fields: Any) -> None:
        self.collection = world.cluster.ledger(GOVERNOR)
        self._budget = Budget(**fields)
        self._silent = threading.Event()
        self._thread = threading.Thread(target=self._speak)

    def __enter__(self) -> Self:
        self.collection.delete_many({})
        self._say(0)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._silent.set()
        self._thread.join()
        self.collection.delete_many({})

    def _speak(self) -> None:
        sequence = 0
        while not self._silent.wait(0.05):
            sequence += 1
            self._say(sequence)

    def _say(self, sequence: int) -> None:
        said = self._budget.model_copy(update={"sequence": sequence, "at": datetime.now(UTC)})
        self.collection.update_one({"_id": BUDGET_ID}, {"$set": said.model_dump()}, upsert=True)

    def spenders(self) -> set[str]:
        """Who has told of pages that took time."""
        found = self.collection.find({"_id": {"$regex": f"^{WORKER_PREFIX}"}})
        jobs = [job for each in found for job in Spending.model_validate(each).jobs]
        return {job.job for job in jobs if job.busy_s > 0}


@pytest.fixture
def governed(make_governed: Any, mongo_uri: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(leave, "LINGER_SECONDS", 0.0)
    monkeypatch.setattr(probe, "WAIT_SECONDS_MAX", 0.5)
    world = make_governed(mongo_uri)
    world.fill([{"_id": key, "n": key} for key in range(DOCS)])
    yield world
    # A watch tells its last account when nobody uses it any more: not after its client was closed.
    for thread in threading.enumerate():
        if thread.name.startswith("lull-budget-"):
            thread.join()


async def test_no_page_is_probed_before_a_shut_gate_and_the_reason_is_told(governed: Any):
    spec = a_spec(governed, "update")
    with Governor(governed, is_open=False, reason="canary 41 ms >= 12 ms"):
        found = await forecast(governed, spec)
    assert found.probe is not None
    assert found.probe.pages == ()
    assert "waiting for the governor: canary 41 ms >= 12 ms" in found.probe.note
    assert any("how long the gate stays shut" in each for each in found.unknown)


async def test_no_page_is_probed_without_a_word_of_the_governor(governed: Any):
    governed.cluster.ledger(GOVERNOR).delete_many({})
    found = await probed(governed, a_spec(governed, "update"))
    assert found.pages == ()
    assert "governor silent" in found.note


async def test_a_probe_takes_pages_as_the_governor_allows_and_accounts_for_them(governed: Any, eventually: Any):
    spec = a_spec(governed, "update")
    with Governor(governed, floor=1.0, docs_max=7, hold_ms=4.0) as governor:
        found = await probed(governed, spec)
        await eventually(lambda: governor.spenders() == {f"{spec.job} (probe)"})
    assert len(found.pages) == PAGES_MAX
    assert max(page.documents for page in found.pages) <= 7


async def test_what_a_page_costs_is_rested_for(governed: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(probe, "WAIT_SECONDS_MAX", 60.0)
    with Governor(governed, floor=0.5):
        found = await probed(governed, a_spec(governed, "update"))
    worked_s = sum(page.read_ms + page.hold_ms for page in found.pages[:-1]) / 1_000
    assert len(found.pages) == PAGES_MAX
    assert found.waited_s >= worked_s

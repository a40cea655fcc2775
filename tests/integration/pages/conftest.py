"""Slices over a ledger made by hand: any cuts, any page size, no Temporal server."""

import asyncio
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import bson
import pytest
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.errors import OperationFailure
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from lull.activities import raw
from lull.activities.mongo import CODEC, Cluster, Clusters, Key
from lull.activities.pages import Pages
from lull.activities.store import Store, drain_document, ensure_ledger, partition_document
from lull.activities.transforms import Registry, Transform
from lull.domain.config import ClusterProfile
from lull.domain.governor.budget import Mode
from lull.domain.guarantee import Guarantee, Promise
from lull.domain.job import JobSpec, Walk
from lull.domain.kinds import parse_spec
from lull.domain.partition import cut
from lull.domain.slice import Counts, Directive, Plan, SliceEnd, SliceReport, SliceTask
from lull.embedded.mongod import Mongod, MongodOptions

Document = dict[str, Any]
FOREVER = 600.0


@dataclass
class World:
    """A database that nobody else uses, and jobs over its collection ``c``."""

    uri: str
    name: str = field(default_factory=lambda: f"p{uuid.uuid4().hex[:10]}")
    registry: Registry = field(default_factory=Registry)
    governor: Mode = Mode.OFF

    def __post_init__(self) -> None:
        self.clusters = Clusters({"main": ClusterProfile(uri=self.uri, governor=self.governor)})
        self.pages = Pages(self.clusters, self.registry)
        self.client: MongoClient[Document] = MongoClient(self.uri, datetime_conversion="DATETIME_AUTO")
        ensure_ledger(self.cluster)

    @property
    def cluster(self) -> Cluster:
        return self.clusters.get("main")

    @property
    def store(self) -> Store:
        return Store(self.cluster)

    @property
    def source(self) -> Collection[Document]:
        """The foreground's own view of the documents."""
        return self.client[self.name].get_collection("c", codec_options=CODEC)

    # -- jobs ------------------------------------------------------------------------------------

    def transform(self, function: Callable[..., Any], *, batch: bool = False) -> str:
        """Register *function* under a name of its own."""
        name = f"t{len(self.registry)}"
        self.registry.add(Transform(name, function, batch))
        return name

    def spec(self, kind: str, **fields: Any) -> JobSpec:
        """A spec over this world's collection; page_docs, filter, stop_after and quarantine are short for their places."""
        source = {"database": self.name, "collection": "c", "filter": fields.pop("filter", {})}
        limits = fields.pop("limits", {})
        if "page_docs" in fields:
            limits["page_docs_max"] = fields.pop("page_docs")
        policy = {key: fields.pop(key) for key in ("stop_after", "quarantine") if key in fields}
        if kind == "purge" and not source["filter"]:
            fields["everything"] = True
        return parse_spec(
            {"job": f"{self.name}-{uuid.uuid4().hex[:6]}", "kind": kind, "source": source, "limits": limits,
             "on_poison": policy, **fields}
        )  # fmt: skip

    def open(
        self,
        spec: JobSpec,
        *,
        cuts: Sequence[Any] = (),
        upto: Any = None,
        drain: Document | None = None,
        promise: Promise = Promise.EXACTLY_ONCE,
        directive: Directive | None = None,
    ) -> int:
        """The ledger holds *spec* with partitions cut at these ids, up to the last document; returns how many."""
        policy = spec.on_poison
        directive = directive or Directive(
            max_docs_per_second=spec.limits.max_docs_per_second,
            poison_max=policy.stop_after if policy.quarantine else 0,
        )
        if drain is not None:
            documents = [drain_document(spec.job, 1)]
        else:
            pieces = cut([Key(each) for each in cuts], Key(self._last_id() if upto is None else upto))
            documents = [partition_document(spec.job, 1, piece) for piece in pieces]
        stats = self.client[self.name].command("collStats", "c")
        plan = Plan(
            incarnation=1,
            guarantee=Guarantee(promise=promise, why="the test says so"),
            walk=Walk.RANGE if drain is None else Walk.DRAIN,
            partitions=len(documents),
            documents=stats["count"],
            bytes=stats["size"],
        )
        self.store.jobs.insert_one(
            {"_id": spec.job, "incarnation": 1, "spec": spec.canonical(), "directive": directive.model_dump(mode="json"),
             "plan": plan.model_dump(mode="json"), "walk_index": drain, "status": "running"}
        )  # fmt: skip
        self.store.insert_partitions(iter(documents))
        return len(documents)

    def _last_id(self) -> Any:
        last = self.source.find_one({}, {"_id": 1}, sort=[("_id", -1)])
        assert last is not None
        return last["_id"]

    def publish(self, spec: JobSpec, **changes: Any) -> None:
        """The directive in the ledger has these values and a higher epoch."""
        found = self.store.jobs.find_one({"_id": spec.job})
        assert found is not None
        directive = Directive.model_validate(
            {**found["directive"], **changes, "epoch": found["directive"]["epoch"] + 1}
        )
        self.store.jobs.update_one({"_id": spec.job}, {"$set": {"directive": directive.model_dump(mode="json")}})

    def publish_and_seen(self, spec: JobSpec, **changes: Any) -> None:
        """As :meth:`publish`, and the slices of this process have seen it: not for their event loop's thread."""
        self.publish(spec, **changes)
        found = self.store.jobs.find_one({"_id": spec.job})
        assert found is not None
        (watch,) = self.pages._watches._watches.values()
        pause = threading.Event()
        for _ in range(6_000):
            if watch.view is not None and watch.view.directive.epoch == found["directive"]["epoch"]:
                return
            pause.wait(0.01)
        raise TimeoutError("the directive was never seen")

    async def slice(self, spec: JobSpec, partition: int = 0, **task: Any) -> SliceReport:
        """What one slice reports."""
        wanted = SliceTask(
            **{"job": spec.job, "cluster": "main", "incarnation": 1, "partition": partition, "epoch": 0,
               "seconds_max": FOREVER, **task}
        )  # fmt: skip
        return await ActivityEnvironment().run(self.pages.run_slice, wanted)

    async def run(self, spec: JobSpec, **opened: Any) -> Counts:
        """Open the job, run every partition at once to its end, and return the balanced sum of their counts."""
        partitions = self.open(spec, **opened)
        reports = await asyncio.gather(*(self.slice(spec, number) for number in range(partitions)))
        assert {report.end for report in reports} == {SliceEnd.DONE}
        return self.counts(spec)

    async def persevere(self, spec: JobSpec, number: int = 0, *, times: int = 50, **task: Any) -> int:
        """The partition is done, asked for again whenever Temporal would; returns how often it was asked for."""
        for attempt in range(1, times + 1):
            try:
                report = await self.slice(spec, number, **task)
            except ApplicationError as error:
                if error.non_retryable:
                    raise
            else:
                if report.end is SliceEnd.DONE:
                    return attempt
        pytest.fail(f"partition {number} was not done after {times} slices")

    # -- the ledger ------------------------------------------------------------------------------

    def partition(self, spec: JobSpec, number: int = 0) -> Document:
        """One partition's document."""
        found = self.store.partitions.find_one({"_id": f"{spec.job}#1#{number}"})
        assert found is not None
        return found

    def counts(self, spec: JobSpec) -> Counts:
        """The sum over all partitions, each of which is balanced."""
        total = Counts()
        for found in self.store.partitions.find({"job": spec.job}):
            counts = Counts.model_validate(found["counts"])
            assert counts.balanced, counts
            assert min(counts.model_dump().values()) >= 0, counts
            total = total.plus(counts)
        return total

    def quarantine(self, spec: JobSpec) -> list[Document]:
        """What was passed over, in the order of the ids."""
        return list(self.store.quarantine.find({"job": spec.job}).sort("document_id", 1))

    async def until_running(self, spec: JobSpec, *numbers: int) -> None:
        """Return when slices have taken these partitions."""
        await eventually(lambda: all(self.partition(spec, number)["status"] == "running" for number in numbers))

    # -- errors as the server raises them --------------------------------------------------------

    @staticmethod
    def write_conflict() -> OperationFailure:
        return OperationFailure("WriteConflict", 112, {"errorLabels": ["TransientTransactionError"]})

    @staticmethod
    def refusal() -> OperationFailure:
        return OperationFailure("a value it cannot take", 2, {"errmsg": "a value it cannot take", "code": 2})

    # -- documents -------------------------------------------------------------------------------

    def fill(self, documents: Sequence[Document]) -> list[Any]:
        """The collection holds *documents*; returns their ids in the order of the index."""
        self.source.insert_many(documents)
        return self.ids()

    def ids(self) -> list[Any]:
        """Every ``_id``, in the order of the index."""
        return [found["_id"] for found in self.source.find({}, {"_id": 1}).hint([("_id", 1)])]

    def by_id(self) -> dict[bytes, Document]:
        """Every document by the bytes of its ``_id``: Python takes 1, 1.0 and true for the same."""
        return {encoded(found["_id"]): found for found in self.source.find().hint([("_id", 1)])}

    def raw(self) -> list[bytes]:
        """Every document as it is stored."""
        return raw.split(raw.find(self.source, {}, limit=1_000_000, comment="").array)

    def close(self) -> None:
        self.pages.close()
        self.client.drop_database(self.name)
        for collection in ("jobs", "partitions", "quarantine"):
            self.client["lull"][collection].delete_many(
                {"$or": [{"_id": {"$regex": f"^{self.name}"}}, {"job": {"$regex": f"^{self.name}"}}]}
            )
        self.client.close()
        self.clusters.close()


def encoded(key: Any) -> bytes:
    """The bytes of a key."""
    return bson.encode({"": key}, codec_options=CODEC)


async def eventually(condition: Callable[[], bool]) -> None:
    """Return when *condition* holds: asked again and again, for a minute at most."""
    for _ in range(6_000):
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it never came to that")


class Hooked:
    """A function for ``transform`` that does something beside, once, when it is first given a certain document."""

    def __init__(
        self, function: Callable[[Document], Any], when: Callable[[Document], bool], then: Callable[[], Any]
    ) -> None:
        self.function, self.when, self.then = function, when, then
        self.fired = threading.Event()
        self._lock = threading.Lock()

    def __call__(self, document: Document) -> Any:
        with self._lock:
            if not self.fired.is_set() and self.when(document):
                self.fired.set()
                self.then()
        return self.function(document)


@pytest.fixture
def world(mongo_uri: str) -> Iterator[World]:
    made = World(mongo_uri)
    yield made
    made.close()


@pytest.fixture
def make_world() -> Iterator[Callable[[str], World]]:
    """Worlds over other servers; closed by the test's end."""
    made: list[World] = []

    def make(uri: str) -> World:
        made.append(World(uri))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def make_governed() -> Iterator[Callable[[str], World]]:
    """Worlds whose profile has a governor; the test speaks for it."""
    made: list[World] = []

    def make(uri: str) -> World:
        made.append(World(uri, governor=Mode.ENFORCE))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture(name="eventually")
def eventually_fixture() -> Callable[[Callable[[], bool]], Any]:
    return eventually


@pytest.fixture
def hooked() -> type[Hooked]:
    return Hooked


@pytest.fixture(scope="package")
def standalone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server without transactions."""
    server = Mongod(tmp_path_factory.mktemp("standalone"), options=MongodOptions(cache_gib=0.25))
    server.start()
    yield server.uri
    server.stop()

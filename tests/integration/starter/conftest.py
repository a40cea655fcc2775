"""The starter against a real Temporal namespace: one with a real worker, and one that no worker ever polls."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymongo
import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client as TemporalClient
from temporalio.service import RPCError

from lull.cli import build_app
from lull.domain.errors import OperatorError
from lull.domain.job import JobSpec
from lull.domain.kinds import parse_spec
from lull.domain.signals import SEARCH_ATTRIBUTES
from lull.embedded.process import end, start
from lull.starter import guard
from lull.starter.client import Client
from lull.starter.settings import Connection
from lull.starter.views import JobStatus

WAIT_SECONDS_MAX = 60.0
"""For anything these tests wait for; what takes longer is broken, not slow."""
UI_URL = "http://127.0.0.1:8233"
DOCUMENTS = 3_000


@pytest.fixture
async def bare_namespace(temporal_address: str) -> Connection:
    """A namespace as an operator makes it who has not read on."""
    name = await _namespace(temporal_address, "bare", labelled=False)
    return Connection(temporal_address, name)


async def _namespace(address: str, prefix: str, *, labelled: bool = True) -> str:
    name = f"{prefix}-{uuid.uuid4().hex[:8]}"
    client = await TemporalClient.connect(address)
    await client.workflow_service.register_namespace(
        RegisterNamespaceRequest(namespace=name, workflow_execution_retention_period=Duration(seconds=86_400))
    )
    attributes = {a.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD for a in SEARCH_ATTRIBUTES if labelled}
    attributes |= {} if labelled else {"Other": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD}
    request = AddSearchAttributesRequest(namespace=name, search_attributes=attributes)
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while True:  # Servers learn of a new namespace within seconds.
        try:
            await client.operator_service.add_search_attributes(request)
        except RPCError:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
        else:
            return name


@pytest.fixture(scope="session")
async def quiet_namespace(temporal_address: str) -> str:
    """A namespace that no worker has ever polled."""
    return await _namespace(temporal_address, "quiet")


@pytest.fixture(scope="session")
async def worked_namespace(temporal_address: str) -> str:
    """A namespace for the worker of these tests alone: queues have fixed names."""
    return await _namespace(temporal_address, "starter")


def environment(folder: Path, address: str, namespace: str) -> dict[str, str]:
    """What a shell of an operator would have."""
    mine = {k: v for k, v in os.environ.items() if not k.startswith(("LULL_", "TEMPORAL_", "OTEL_", "XDG_"))}
    return mine | {
        "HOME": str(folder),
        "XDG_STATE_HOME": str(folder / "state"),
        "LULL_TEMPORAL__ADDRESS": address,
        "LULL_TEMPORAL__NAMESPACE": namespace,
        "LULL_TEMPORAL__UI_URL": UI_URL,
    }


@pytest.fixture(scope="session")
def worker(
    tmp_path_factory: pytest.TempPathFactory, temporal_address: str, worked_namespace: str, mongo_uri: str
) -> Iterator[None]:
    """A real worker for all these tests."""
    with working(tmp_path_factory.mktemp("worker"), temporal_address, worked_namespace, mongo_uri):
        yield


@pytest.fixture
async def mortal(
    tmp_path: Path, temporal_address: str, mongo_uri: str
) -> AsyncIterator[tuple[Connection, "subprocess.Popen[bytes]"]]:
    """A namespace with a worker of its own, which the test may kill."""
    namespace = await _namespace(temporal_address, "mortal")
    with working(tmp_path, temporal_address, namespace, mongo_uri) as process:
        yield Connection(temporal_address, namespace), process


@contextlib.contextmanager
def working(
    folder: Path, address: str, namespace: str, mongo_uri: str, *words: str, governor: str = "off"
) -> Iterator["subprocess.Popen[bytes]"]:
    """A worker is ready, started as an operator starts it; it ends with the block."""
    log = folder / "worker.log"
    variables = environment(folder, address, namespace)
    with log.open("wb") as output:
        process = start(
            [sys.executable, "-m", "lull", "worker", *words],
            log=output,
            environment=variables
            | {
                "LULL_CLUSTERS__MAIN__URI": mongo_uri,
                "LULL_CLUSTERS__MAIN__GOVERNOR": governor,
                "XDG_RUNTIME_DIR": str(folder),
            },
            folder=folder,
        )
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while "ready" not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
    try:
        yield process
    finally:
        end(process, grace_seconds=0)


@pytest.fixture(scope="module")
async def governed(
    tmp_path_factory: pytest.TempPathFactory, temporal_address: str, mongo_uri: str
) -> AsyncIterator[Connection]:
    """A namespace with a worker that governs ``main``; gone with the module, because a cluster has one governor."""
    namespace = await _namespace(temporal_address, "governed")
    with working(tmp_path_factory.mktemp("governed"), temporal_address, namespace, mongo_uri, governor="enforce"):
        yield Connection(temporal_address, namespace, ui_url=UI_URL)


@pytest.fixture
async def mortal_governed(
    tmp_path: Path, temporal_address: str, mongo_uri: str
) -> AsyncIterator[tuple[Connection, "subprocess.Popen[bytes]"]]:
    """The same of its own, which the test may kill."""
    namespace = await _namespace(temporal_address, "mortal-governed")
    with working(tmp_path, temporal_address, namespace, mongo_uri, governor="enforce") as process:
        yield Connection(temporal_address, namespace), process


@pytest.fixture
async def ungoverned(tmp_path: Path, temporal_address: str, mongo_uri: str) -> AsyncIterator[Connection]:
    """A governed cluster whose only worker leaves governing to others."""
    namespace = await _namespace(temporal_address, "ungoverned")
    with working(tmp_path, temporal_address, namespace, mongo_uri, "--no-governor", governor="enforce"):
        yield Connection(temporal_address, namespace)


@pytest.fixture(scope="session")
def worked(temporal_address: str, worked_namespace: str, worker: None) -> Connection:
    """Where a worker works."""
    del worker
    return Connection(temporal_address, worked_namespace, ui_url=UI_URL)


@pytest.fixture(scope="session")
def quiet(temporal_address: str, quiet_namespace: str) -> Connection:
    """Where no worker is up."""
    return Connection(temporal_address, quiet_namespace, ui_url=UI_URL)


@pytest.fixture
async def client(worked: Connection) -> Client:
    """A client where a worker works."""
    return await Client.connect(worked, who="ann@laptop")


@pytest.fixture
async def lonely(quiet: Connection) -> Client:
    """A client where no worker is up."""
    return await Client.connect(quiet, who="ann@laptop")


@dataclass(frozen=True)
class Collection:
    """A collection of the test's own, with documents to change."""

    database: str
    name: str
    mongo: Any

    def spec(self, **fields: Any) -> JobSpec:
        """A job that sets a field in every document."""
        return parse_spec(self.written(**fields))

    def written(self, **fields: Any) -> dict[str, Any]:
        """The same as an operator writes it."""
        base = {
            "job": f"job-{uuid.uuid4().hex[:8]}",
            "kind": "update",
            "source": {"database": self.database, "collection": self.name},
            "update": {"$set": {"done": True}},
        }
        return base | fields

    def slow(self, **fields: Any) -> JobSpec:
        """A job that is still running whatever the test does before it tells it otherwise."""
        return self.spec(**{"limits": {"max_docs_per_second": 100}} | fields)

    def count(self, **query: Any) -> int:
        """How many documents match now."""
        return int(self.mongo.count_documents(query))


@pytest.fixture
def collection(mongo_uri: str) -> Iterator[Collection]:
    """A collection of three thousand documents, gone after the test."""
    connected: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(mongo_uri)
    name = f"orders-{uuid.uuid4().hex[:8]}"
    there = connected["starter"][name]
    there.insert_many([{"_id": n, "status": "old" if n % 3 else "new"} for n in range(DOCUMENTS)])
    yield Collection("starter", name, there)
    there.drop()
    connected.close()


@pytest.fixture
def until() -> Callable[[Callable[[], Awaitable[JobStatus]], Callable[[JobStatus], bool]], Awaitable[JobStatus]]:
    """Wait for an event: ``await until(look, is_so)`` returns the first look that is so."""

    async def wait(look: Callable[[], Awaitable[JobStatus]], is_so: Callable[[JobStatus], bool]) -> JobStatus:
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while True:
            seen = await look()
            if is_so(seen):
                return seen
            assert time.monotonic() < deadline, seen
            await asyncio.sleep(0.05)

    return wait


@pytest.fixture
async def clean_up(worked: Connection) -> AsyncIterator[None]:
    """No job of the test runs on after it: claims would refuse the next one."""
    yield
    client = await Client.connect(worked)
    for row in await client.list(limit=1_000):
        if row.ended_at is None:
            with contextlib.suppress(OperatorError):  # The list is a moment old: it may have ended.
                await client.cancel(row.job, "the test is over")
                await client.wait(row.job)


@dataclass
class Typed:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)


class Shell:
    """An operator's shell in a folder of its own."""

    def __init__(self, folder: Path, variables: dict[str, str], capture: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.variables = variables
        self._capture = capture

    def __call__(self, *words: str) -> Typed:
        """Run a command in this process, which is quick."""
        self._capture.readouterr()
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            for name in [name for name in os.environ if name.startswith(("LULL_", "TEMPORAL_"))]:
                patch.delenv(name)
            for name, value in self.variables.items():
                patch.setenv(name, value)
            code = guard.run(build_app, words)
        printed = self._capture.readouterr()
        return Typed(code, printed.out, printed.err)

    def run(self, *words: str, stdin: str = "") -> Typed:
        """Run a command as a process of its own, which is real."""
        process = self.spawn(*words)
        out, err = process.communicate(stdin, timeout=WAIT_SECONDS_MAX)
        return Typed(process.returncode, out, err)

    def spawn(self, *words: str) -> "subprocess.Popen[str]":
        """Start a command as a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "lull", *words],
            env=self.variables,
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_hear_ctrl_c,  # noqa: PLW1509 - one call, and no lock in it
        )

    def write(self, name: str, spec: dict[str, Any]) -> str:
        """Write a spec and return its name."""
        (self.folder / name).write_text(json.dumps(spec))
        return name


@pytest.fixture
def shell(tmp_path: Path, worked: Connection, capsys: pytest.CaptureFixture[str]) -> Shell:
    """A shell where a worker works."""
    return Shell(tmp_path, environment(tmp_path, worked.address, worked.namespace), capsys)


@pytest.fixture
def shell_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[Connection], Shell]:
    """``shell_at(connection)`` is a shell there."""
    return lambda there: Shell(tmp_path, environment(tmp_path, there.address, there.namespace), capsys)


@pytest.fixture
def governed_shell(tmp_path: Path, governed: Connection, capsys: pytest.CaptureFixture[str]) -> Shell:
    """A shell where a governor governs."""
    return Shell(tmp_path, environment(tmp_path, governed.address, governed.namespace), capsys)


@pytest.fixture
def quiet_shell(tmp_path: Path, quiet: Connection, capsys: pytest.CaptureFixture[str]) -> Shell:
    """A shell where no worker is up."""
    return Shell(tmp_path, environment(tmp_path, quiet.address, quiet.namespace), capsys)


@pytest.fixture
def nowhere_shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    """A shell that has no Temporal to reach."""
    return Shell(tmp_path, environment(tmp_path, "127.0.0.1:1", "default"), capsys)


def _hear_ctrl_c() -> None:
    """A run in the background ignores Ctrl-C, and so would its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)

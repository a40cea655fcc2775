"""A Temporal namespace of its own, real worker processes, and an OTLP endpoint that keeps what it gets."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError

from lull.domain.signals import SEARCH_ATTRIBUTES
from lull.embedded.process import end, start
from lull.workers.plugin import lull_plugin
from lull.workers.records import Records

WAIT_SECONDS_MAX = 60.0
"""For anything these tests wait for; what takes longer is broken, not slow."""


async def until_some(look: Callable[[], Any], what: str) -> Any:
    """Return what *look* returns as soon as it is true."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        await asyncio.sleep(0.02)
    raise AssertionError(f"waited {WAIT_SECONDS_MAX:.0f} s for {what}")


@pytest.fixture(scope="session")
def until() -> Callable[[Callable[[], Any], str], Any]:
    """Wait for an event: ``await until(look, what)``."""
    return until_some


@pytest.fixture(scope="session")
async def namespace(temporal_address: str) -> str:
    """A namespace that only these tests' workers poll: queues have fixed names."""
    name = f"workers-{uuid.uuid4().hex[:8]}"
    client = await Client.connect(temporal_address)
    await client.workflow_service.register_namespace(
        RegisterNamespaceRequest(namespace=name, workflow_execution_retention_period=Duration(seconds=86_400))
    )
    attributes = {a.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD for a in SEARCH_ATTRIBUTES}
    for _ in range(600):  # Servers learn of a new namespace within seconds.
        try:
            await client.operator_service.add_search_attributes(
                AddSearchAttributesRequest(namespace=name, search_attributes=attributes)
            )
        except RPCError:
            await asyncio.sleep(0.1)
        else:
            break
    return name


@pytest.fixture
async def client(temporal_address: str, namespace: str) -> Client:
    """A client as the starter has one."""
    return await Client.connect(temporal_address, namespace=namespace, plugins=[lull_plugin()])


class WorkerProcess:
    """One ``lull worker`` with its log."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.process = process
        self.log = log

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Its log so far, line by line; a line that is no JSON fails the test."""
        return [json.loads(line) for line in self.text.splitlines() if line.endswith("}")]

    @property
    def text(self) -> str:
        return self.log.read_text()

    def says(self, words: str) -> bool:
        return words in self.text

    async def until_it_says(self, words: str) -> None:
        def look() -> bool:
            assert self.says(words) or self.process.poll() is None, f"ended {self.process.returncode}: {self.text}"
            return self.says(words)

        await until_some(look, f"{words!r} in {self.text}")

    async def until_ready(self) -> None:
        await self.until_it_says("ready: ")

    async def ended(self) -> int:
        """Return its exit code once it has ended."""
        await until_some(lambda: self.process.poll() is not None, f"its end: {self.text}")
        return int(self.process.returncode)

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)


class Spawner:
    """Starts workers that end with the test."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = environment
        self.started: list[WorkerProcess] = []

    def __call__(self, *words: str, **variables: str) -> WorkerProcess:
        log = self.folder / f"worker-{len(self.started)}.log"
        with log.open("wb") as output:
            process = start(
                [sys.executable, "-m", "lull.workers.main", *words],
                log=output,
                environment=self.environment | variables,
                folder=self.folder,
            )
        self.started.append(WorkerProcess(process, log))
        return self.started[-1]

    def run(self, *words: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "lull.workers.main", *words],
            capture_output=True,
            text=True,
            env=self.environment | variables,
            cwd=self.folder,
            timeout=WAIT_SECONDS_MAX,
            check=False,
        )

    def drain(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return self.run("drain", *words)


@pytest.fixture
def spawn(tmp_path: Path, temporal_address: str, namespace: str, mongo_uri: str) -> Iterator[Spawner]:
    """Start a real worker process: ``spawn("--slots", "2", LULL_WORKER__GRACE_S="5")``."""
    mine = {k: v for k, v in os.environ.items() if not k.startswith(("LULL_", "TEMPORAL_", "OTEL_"))}
    runtime = tmp_path / "run"
    runtime.mkdir()
    spawner = Spawner(
        tmp_path,
        mine
        | {
            "HOME": str(tmp_path),
            "XDG_RUNTIME_DIR": str(runtime),
            "LULL_TEMPORAL__ADDRESS": temporal_address,
            "LULL_TEMPORAL__NAMESPACE": namespace,
            "LULL_CLUSTERS__MAIN__URI": mongo_uri,
            # Tests of the governor bring their own.
            "LULL_CLUSTERS__MAIN__GOVERNOR": "off",
        },
    )
    yield spawner
    for worker in spawner.started:
        end(worker.process, grace_seconds=0)
    # Children of a parent that a test killed: they should have ended by themselves, and must not outlive a failure.
    for record in Records(runtime / "lull").live():
        record.process.signal(signal.SIGKILL)


class Collector:
    """An OTLP/HTTP endpoint that keeps what it is sent."""

    def __init__(self) -> None:
        self.traces: list[ExportTraceServiceRequest] = []
        self.metrics: list[ExportMetricsServiceRequest] = []
        kept: dict[str, tuple[type[Message], list[Any]]] = {
            "/v1/traces": (ExportTraceServiceRequest, self.traces),
            "/v1/metrics": (ExportMetricsServiceRequest, self.metrics),
        }

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                message, target = kept[self.path]
                target.append(message.FromString(_plain(body, self.headers.get("Content-Encoding"))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    @property
    def spans(self) -> list[Any]:
        return [s for t in self.traces for r in t.resource_spans for c in r.scope_spans for s in c.spans]

    @property
    def metric_names(self) -> set[str]:
        return {m.name for t in self.metrics for r in t.resource_metrics for s in r.scope_metrics for m in s.metrics}

    def points(self, name: str) -> list[tuple[float, dict[str, str]]]:
        """Every value of a gauge or counter so far with its attributes, the newest last."""
        found = [
            m
            for t in self.metrics
            for r in t.resource_metrics
            for s in r.scope_metrics
            for m in s.metrics
            if m.name == name
        ]
        return [
            (point.as_double or point.as_int, {a.key: a.value.string_value for a in point.attributes})
            for metric in found
            for point in getattr(metric, metric.WhichOneof("data")).data_points
        ]

    def instances_of(self, name: str) -> set[str]:
        """Who told a metric."""
        resources = [
            r.resource
            for t in self.metrics
            for r in t.resource_metrics
            if any(m.name == name for s in r.scope_metrics for m in s.metrics)
        ]
        return {a.value.string_value for r in resources for a in r.attributes if a.key == "service.instance.id"}

    @property
    def services(self) -> set[str]:
        resources = [r.resource for t in self.traces for r in t.resource_spans]
        return {a.value.string_value for r in resources for a in r.attributes if a.key == "service.name"}

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def _plain(body: bytes, encoding: str | None) -> bytes:
    import gzip

    return gzip.decompress(body) if encoding == "gzip" else body


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    made = Collector()
    yield made
    made.close()

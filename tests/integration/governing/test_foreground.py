"""What others say of the foreground reaches the governor: applications' reports, a Prometheus query, an HTTP check."""

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from lull import ForegroundReporter
from lull.activities import foreground
from lull.activities.store import FOREGROUND, SAMPLES
from lull.domain.governor.latency import merged, percentile_ms
from lull.domain.governor.law import Zone


@pytest.fixture
def reported(bench: Any, mongo_uri: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of an application that reports every twentieth of a second."""
    monkeypatch.setattr(foreground, "EVERY_SECONDS", 0.05)
    bench.cluster.ledger(FOREGROUND).delete_many({})
    reporter = ForegroundReporter(mongo_uri, application="shop")
    client: MongoClient[dict[str, Any]] = MongoClient(mongo_uri, event_listeners=[reporter])
    yield client
    reporter.close()
    client.drop_database("reported")
    client.close()
    bench.cluster.ledger(FOREGROUND).delete_many({})


def until(holds: Any) -> None:
    pause = threading.Event()
    for _ in range(2_000):
        if holds():
            return
        pause.wait(0.01)
    raise AssertionError("it never came to that")


def test_an_application_reports_its_reads_and_writes_and_nothing_of_its_documents(bench: Any, reported: Any):
    collection = bench.cluster.ledger(FOREGROUND)
    reported["reported"]["c"].insert_one({"_id": "ann@example.org"})

    def tell() -> bool:
        reported["reported"]["c"].find_one({"_id": "ann@example.org"})
        found = collection.find_one({"application": "shop"})
        return found is not None and sum(found["reads"].values()) > 20 and sum(found["writes"].values()) >= 0

    until(tell)
    found = collection.find_one({"application": "shop"})
    assert percentile_ms(merged([found["reads"]]), 99) > 0
    assert "ann" not in json.dumps(found, default=str)
    assert found.keys() == {"_id", "application", "sequence", "at", "expires_at", "reads", "writes"}


def test_a_command_that_fails_counts_too(bench: Any, reported: Any):
    collection = bench.cluster.ledger(FOREGROUND)
    with pytest.raises(OperationFailure):
        reported["reported"]["c"].find_one({"$nonsense": 1})
    until(lambda: sum((collection.find_one({"application": "shop"}) or {"reads": {}})["reads"].values()) == 1)


def test_a_reporter_that_cannot_write_disturbs_nobody(mongo_uri: str):
    reporter = ForegroundReporter("mongodb://127.0.0.1:1/")
    client: MongoClient[dict[str, Any]] = MongoClient(mongo_uri, event_listeners=[reporter])
    assert client["reported"]["c"].find_one({"_id": 1}) is None
    reporter.close()
    client.close()


def test_a_forked_child_reports_for_itself(mongo_uri: str):
    reporter = ForegroundReporter(mongo_uri)
    client: MongoClient[dict[str, Any]] = MongoClient(mongo_uri, event_listeners=[reporter])
    client["reported"]["c"].find_one({"_id": 1})
    mine = reporter._id
    reporter._pid = os.getpid() + 1
    client["reported"]["c"].find_one({"_id": 1})
    assert reporter._id != mine
    reporter.close()
    client.close()


def test_the_governor_holds_a_report_against_the_objective(make_bench: Any, mongo_uri: str, reported: Any):
    bench = make_bench(mongo_uri, foreground={"read_p99": 0.001})
    governor = bench.governor()

    def stopped(status: Any) -> bool:
        for _ in range(10):
            reported["reported"]["c"].find_one({"_id": 1})
        row = next((row for row in status.signals if row.name == "read-p99"), None)
        return row is not None and row.note == "reported" and status.zone is Zone.STOP and "read-p99" in status.reason

    bench.until(governor, stopped, slices=1)


def test_applications_that_report_end_the_quiet_and_a_sample_says_whose_p99_it_has(bench: Any, reported: Any):
    governor = bench.governor()
    bench.until(governor, lambda seen: seen.zone is Zone.QUIET, slices=1)
    samples = bench.cluster.database("lull")[SAMPLES]

    def is_kept(_: Any) -> bool:
        for _number in range(10):
            reported["reported"]["c"].find_one({"_id": 1})
        return samples.find_one({"sources.read-p99": "reported", "zone": {"$ne": Zone.QUIET}}) is not None

    assert bench.until(governor, is_kept, slices=1).zone not in {Zone.QUIET, Zone.IDLE}


class Answers:
    """An HTTP server that answers what the test wants: a status, and a value in Prometheus' words."""

    def __init__(self) -> None:
        self.status, self.value, self.asked = 200, 1.0, []
        answers = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answers.asked.append(self.path)
                body = json.dumps({"data": {"result": [{"value": [0, str(answers.value)]}]}}).encode()
                self.send_response(answers.status)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def answers() -> Iterator[Answers]:
    made = Answers()
    yield made
    made.close()


def test_jobs_run_while_the_http_check_answers_200(make_bench: Any, mongo_uri: str, answers: Answers):
    bench = make_bench(mongo_uri, foreground={"http_check": f"{answers.url}/ok"})
    governor = bench.governor()
    bench.until(governor, lambda seen: seen.is_open and answers.asked, slices=1)
    answers.status = 503
    status = bench.until(governor, lambda seen: not seen.is_open, slices=1)
    assert status.reason == "http-check 1 failures >= 1 failures"
    answers.status = 200
    bench.until(governor, lambda seen: seen.is_open, slices=1)


def test_an_http_check_that_does_not_answer_stops_jobs(make_bench: Any, mongo_uri: str):
    bench = make_bench(mongo_uri, foreground={"http_check": "http://127.0.0.1:1/"})
    status = bench.until(bench.governor(), lambda seen: not seen.is_open, slices=1)
    assert "http-check" in status.reason


def test_the_answer_of_a_prometheus_query_is_held_against_its_limit(
    make_bench: Any, mongo_uri: str, answers: Answers, load: Any
):
    load(200)
    answers.value = 70.0
    query = 'histogram_quantile(0.99, sum(rate(http_seconds_bucket{app="shop"}[1m])) by (le))'
    profile = {"prometheus_url": answers.url, "prometheus_query": query, "prometheus_limit": 50}
    bench = make_bench(mongo_uri, foreground=profile)
    status = bench.until(bench.governor(), lambda seen: seen.zone is Zone.STOP, slices=1)
    assert "prometheus 70 >= 50" in status.reason
    assert "histogram_quantile" in answers.asked[0]

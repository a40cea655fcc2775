"""The foreground is a witness: what it says of lost updates and of stalls must be true."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.collection import Collection

from lull.embedded.mongod import ReplicaSet

NAMESPACE = "foreground_tests.orders"
DOCUMENTS = 200
STALL_SECONDS = 0.6

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def orders(mongo_uri: str) -> Iterator[Collection[dict[str, Any]]]:
    database, _, name = NAMESPACE.partition(".")
    with MongoClient(mongo_uri) as client:
        client[database][name].insert_many([{"_id": f"order {number}"} for number in range(DOCUMENTS)])
        yield client[database][name]
        client.drop_database(database)


@pytest.fixture
def start(root: Path, mongo_uri: str, tmp_path: Path) -> Iterator[Start]:
    """Start a foreground as a process of its own; its report lands in report.json."""
    processes = []

    def begin(**options: object) -> "subprocess.Popen[str]":
        words = [f"--{name}={value}" for name, value in options.items()]
        words += [f"--uri={mongo_uri}", f"--namespace={NAMESPACE}", f"--out={tmp_path / 'report.json'}"]
        command = [sys.executable, "-m", "benchmarks.foreground", *words]
        processes.append(subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True))
        return processes[-1]

    yield begin
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


def _report(process: "subprocess.Popen[str]", tmp_path: Path) -> dict[str, Any]:
    assert process.stdout is not None
    process.stdout.read()
    assert process.wait() == 0
    report: dict[str, Any] = json.loads((tmp_path / "report.json").read_text())
    return report


def test_every_update_it_counts_is_there_once(start: Start, orders: Collection[dict[str, Any]], tmp_path: Path):
    from benchmarks.foreground import Audit, audit

    report = _report(start(seconds=2, rate=300, updates=0.5), tmp_path)
    assert report["operations"] == 600
    assert report["reads"] + report["updates"] == 600
    assert audit(report["ledger"], orders) == Audit(report["updates"], lost=0, extra=0)


def test_an_update_that_something_wrote_over_is_seen(start: Start, orders: Collection[dict[str, Any]], tmp_path: Path):
    """What a job that loses updates does: it writes back what it read before the foreground wrote."""
    from benchmarks.foreground import audit

    report = _report(start(seconds=1, rate=300, updates=1), tmp_path)
    victim = orders.find_one({"fg": {"$gte": 1}})
    assert victim is not None
    orders.update_one({"_id": victim["_id"]}, {"$inc": {"fg": -1}})
    assert audit(report["ledger"], orders).lost == 1


def test_an_update_that_was_applied_twice_is_seen(start: Start, orders: Collection[dict[str, Any]], tmp_path: Path):
    from benchmarks.foreground import audit

    report = _report(start(seconds=1, rate=300, updates=1), tmp_path)
    orders.update_one({}, {"$inc": {"fg": 1}})
    assert audit(report["ledger"], orders).extra == 1


def test_it_ends_at_sigterm_with_its_report(start: Start, orders: Collection[dict[str, Any]], tmp_path: Path):
    from benchmarks.foreground import audit

    process = start(seconds=600, rate=100, updates=0.5)
    assert process.stdout is not None
    process.stdout.readline()
    process.terminate()
    report = _report(process, tmp_path)
    assert 0 < report["operations"] < 60_000
    assert audit(report["ledger"], orders).is_right


@pytest.mark.usefixtures("orders")
def test_a_stall_of_the_server_shows_in_the_tail_although_few_operations_met_it(
    start: Start, mongo_set: ReplicaSet, tmp_path: Path
):
    """
    Counted from the intended start, a stall is as many slow operations as were due in it.

    A load that waits for its answers would have sent a handful and reported a fine p99.
    """
    process = start(seconds=4, rate=200, updates=0.2)
    assert process.stdout is not None
    process.stdout.readline()
    mongo_set.members[0].freeze()
    try:
        time.sleep(STALL_SECONDS)  # the stall itself, not a wait for anything
    finally:
        mongo_set.members[0].thaw()
    report = _report(process, tmp_path)
    slow = sum(
        count
        for second in report["seconds"]
        for latency_us, count in second["histogram_us"].items()
        if int(latency_us) >= STALL_SECONDS / 2 * 1_000_000
    )
    assert report["max_ms"] >= STALL_SECONDS * 1_000 * 0.99  # kept to three digits
    assert slow >= 0.4 * STALL_SECONDS * 200

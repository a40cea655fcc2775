"""What the doctor reads of a governor in the ledger: whether it speaks, what it probes, what it keeps."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from pymongo import MongoClient

from lull.activities import doctor
from lull.activities.governing.governor import Governor
from lull.activities.mongo import Clusters
from lull.activities.transforms import Registry
from lull.domain.config import ClusterProfile
from lull.domain.governor.budget import Mode


@pytest.fixture
def mongo(mongo_uri: str) -> Iterator[Any]:
    """A cluster on which nobody has governed yet."""
    client: MongoClient[dict[str, Any]] = MongoClient(mongo_uri)
    forget(client)
    yield client
    forget(client)
    client.close()


def forget(client: Any) -> None:
    client["lull"]["governor"].delete_many({})
    client["lull"]["canary"].delete_many({})
    client["lull"].drop_collection("samples")


@pytest.fixture
def clusters(mongo_uri: str, mongo: Any) -> Iterator[Clusters]:  # noqa: ARG001 - it is emptied first
    """Its profile wants a governor."""
    made = Clusters({"main": ClusterProfile(uri=mongo_uri, governor=Mode.ENFORCE)})
    yield made
    made.close()


def checks(clusters: Clusters) -> dict[str, Any]:
    """What the doctor finds of the governor."""
    found = {check.name.removeprefix("main: "): check for check in doctor.examine(clusters, Registry(), "main").checks}
    return {name.removeprefix("governor's "): check for name, check in found.items() if name.startswith("governor")}


@contextmanager
def governing(clusters: Clusters) -> Iterator[None]:
    """A governor has spoken, and speaks on inside."""
    governor, over, has_spoken = Governor(clusters.get("main")), threading.Event(), threading.Event()

    def run() -> None:
        governor.start()
        while not over.is_set():
            wait_s = governor.tick()
            has_spoken.set()
            over.wait(wait_s)
        governor.close()

    thread = threading.Thread(target=run)
    thread.start()
    assert has_spoken.wait(60)
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_a_governor_that_speaks_probes_and_keeps_is_well(clusters: Clusters):
    with governing(clusters):
        found = checks(clusters)
    assert {name: check.ok for name, check in found.items()} == {"word": True, "canary": True, "samples": True}
    assert found["canary"].seen == "1,000 documents"
    assert "kept for 30 days" in found["samples"].seen


def test_only_governed_clusters_are_examined_for_a_governor_and_named_to_who_asked(mongo_uri: str):
    both = Clusters({"main": ClusterProfile(uri=mongo_uri, governor=Mode.ENFORCE),
                     "other": ClusterProfile(uri=mongo_uri, governor=Mode.OFF)})  # fmt: skip
    report = doctor.examine(both, Registry(), "")
    both.close()
    assert report.governed == ("main",)
    assert not [check for check in report.checks if check.name.startswith("other: governor")]


def test_without_a_governor_ever_nothing_is_there_and_each_check_says_what_to_do(clusters: Clusters):
    found = checks(clusters)
    assert (found["word"].seen, found["canary"].seen) == ("nobody has spoken yet", "no documents")
    assert "there is no lull.samples" in found["samples"].seen
    assert [check.name for check in found.values() if check.ok or not check.remedy] == []


def test_a_word_that_stands_still_is_silence_however_open_its_gate(clusters: Clusters):
    """As for workers: by the sequence, whatever any clock says."""
    with governing(clusters):
        pass
    found = checks(clusters)["word"]
    assert not found.ok
    assert found.seen.startswith("silent; the last word is ")
    assert "without --no-governor" in found.remedy


def test_a_gate_shut_by_hand_and_a_governor_that_only_observes_are_told(clusters: Clusters, mongo: Any):
    orders = {"mode": "observe", "epoch": 1}
    mongo["lull"]["governor"].insert_one({"_id": "orders", "orders": orders, "epoch": 1})
    with governing(clusters):
        assert "it only observes" in checks(clusters)["word"].seen
        mongo["lull"]["governor"].update_one({"_id": "orders"}, {"$set": {"shut_by_hand": True}})
        assert "shut the gate by hand" in checks(clusters)["word"].seen


def test_a_word_of_another_version_is_told_as_such(clusters: Clusters, mongo: Any):
    mongo["lull"]["governor"].insert_one({"_id": "budget", "sequence": "seven"})
    found = checks(clusters)["word"]
    assert not found.ok
    assert "bring all workers to one version" in found.seen


def test_samples_that_are_no_time_series_or_never_expire_are_wrong_and_the_remedy_mends_it(
    clusters: Clusters, mongo: Any
):
    mongo["lull"].create_collection("samples")
    assert checks(clusters)["samples"].seen == "lull.samples is a collection, not a time series"
    mongo["lull"].drop_collection("samples")
    mongo["lull"].create_collection("samples", timeseries={"timeField": "at", "metaField": "governor"})
    mongo["lull"]["samples"].insert_one({"at": datetime.now(UTC), "governor": {"cluster": "main"}})
    found = checks(clusters)["samples"]
    assert (found.ok, found.seen) == (False, "samples never expire")
    assert "collMod: 'samples', expireAfterSeconds: 2592000" in found.remedy
    mongo["lull"].command("collMod", "samples", expireAfterSeconds=2_592_000)
    assert checks(clusters)["samples"].ok


def test_samples_that_come_no_more_are_wrong(clusters: Clusters, mongo: Any):
    mongo["lull"].create_collection(
        "samples", timeseries={"timeField": "at", "metaField": "governor"}, expireAfterSeconds=2_592_000
    )
    assert checks(clusters)["samples"].seen == "no sample; kept for 30 days"
    mongo["lull"]["samples"].insert_one({"at": datetime(2026, 1, 1, tzinfo=UTC), "governor": {"cluster": "main"}})
    assert "the newest sample is" in checks(clusters)["samples"].seen
    assert not checks(clusters)["samples"].ok

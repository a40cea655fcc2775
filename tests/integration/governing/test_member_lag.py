"""Replication lag over three real members: one that is behind, and so many that majority writes wait."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lull.activities.governing import server
from lull.activities.governing.server import MEMBERS_GRANT, Server, ServerProbe
from lull.activities.mongo import Cluster
from lull.domain.config import ClusterProfile
from lull.domain.governor.readings import Reading
from lull.embedded.mongod import ReplicaSet

PASSWORD = "only for this test"
LOOKS_MAX = 600


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicaSet]:
    """A replica set of three that demands a password."""
    folder: Path = tmp_path_factory.mktemp("three")
    with ReplicaSet(folder, members=3, auth=True) as made:
        made.wait_healthy()
        with made.client() as client:
            # A primary that hears nobody stays one for longer than these tests need, and no secondary waits for another.
            config = client.admin.command("replSetGetConfig")["config"]
            config["version"] += 1
            config["settings"] |= {"electionTimeoutMillis": 60_000, "chainingAllowed": False}
            client.admin.command("replSetReconfig", config)
        yield made


@pytest.fixture
def frozen(three: ReplicaSet) -> Iterator[Callable[[int], None]]:
    """``frozen(2)`` stops so many secondaries until the test's end."""
    primary = three.wait_primary()
    others = [member for index, member in enumerate(three.members) if index != primary]

    def freeze(count: int) -> None:
        for member in others[:count]:
            member.freeze()

    yield freeze
    for member in others:
        member.thaw()
    three.wait_healthy()


@pytest.fixture
def writing(three: ReplicaSet) -> Iterator[None]:
    """The primary is written to, without waiting for anybody."""
    over = threading.Event()
    client = three.client(three.members[three.wait_primary()], w=1)

    def write() -> None:
        while not over.wait(0.05):
            client["lagging"]["c"].update_one({"_id": 1}, {"$inc": {"n": 1}}, upsert=True)

    thread = threading.Thread(target=write)
    thread.start()
    yield
    over.set()
    thread.join()
    client.close()


@pytest.fixture
def probe(three: ReplicaSet, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ServerProbe]]:
    """``probe(uri)`` looks at secondaries with every sample."""
    monkeypatch.setattr(server, "MEMBERS_SECONDS", 0.0)
    made: list[Cluster] = []

    def make(uri: str = "") -> ServerProbe:
        made.append(Cluster("main", ClusterProfile(uri=uri or three.uri)))
        return ServerProbe(made[-1], made[-1].profile.foreground)

    yield make
    for cluster in made:
        cluster.close()


def named(sample: Server, name: str) -> Reading:
    return next(reading for reading in sample.readings if reading.signal.name == name)


def utilization(sample: Server, name: str) -> float:
    return named(sample, name).utilization or 0.0


def until(probe: ServerProbe, holds: Callable[[Server], bool]) -> Server:
    for _ in range(LOOKS_MAX):
        sample = probe.sample()
        if holds(sample):
            return sample
        threading.Event().wait(0.05)
    raise AssertionError(f"never so: {sample.readings}")


@pytest.mark.usefixtures("writing")
def test_one_secondary_that_is_behind_is_seen_though_majority_writes_do_not_wait_for_it(probe: Any, frozen: Any):
    """Two of three are a majority: the commit point moves on, and whoever reads from the third reads the past."""
    looking = probe()
    until(looking, lambda sample: named(sample, "member-lag").utilization is not None)
    frozen(1)
    sample = until(looking, lambda sample: utilization(sample, "member-lag") >= 1.0 > utilization(sample, "lag"))
    assert named(sample, "member-lag").note.startswith("127.0.0.1:")


@pytest.mark.usefixtures("writing")
def test_a_commit_point_that_stands_still_is_lag(probe: Any, frozen: Any):
    looking = probe()
    until(looking, lambda sample: named(sample, "lag").observed == 0)
    frozen(2)
    until(looking, lambda sample: utilization(sample, "lag") >= 1.0)


@pytest.mark.usefixtures("writing")
def test_secondaries_that_keep_up_use_up_nothing(probe: Any):
    looking = probe()
    until(looking, lambda sample: named(sample, "member-lag").utilization == 0)


def test_without_the_right_to_look_it_is_off_and_says_what_to_grant(probe: Any, three: ReplicaSet):
    uri = three.add_user("blind", PASSWORD, ["readWriteAnyDatabase"])
    sample = probe(uri).sample()
    assert (named(sample, "member-lag").observed, named(sample, "member-lag").note) == (None, MEMBERS_GRANT)
    assert named(sample, "lag").observed is not None


def test_a_set_of_one_has_no_other_member(probe: Any, mongo_uri: str):
    sample = probe(mongo_uri).sample()
    assert named(sample, "member-lag").note == "no other electable member"

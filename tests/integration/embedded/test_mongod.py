"""A real mongod keeps what it was given, whatever happens to its processes."""

import contextlib
import socket
import sys
import threading
from pathlib import Path

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from lull.embedded.errors import StackError
from lull.embedded.mongod import Mongod, MongodOptions, ReplicaSet
from lull.embedded.ports import LOOPBACK, free_port
from lull.embedded.report import Line, Step, StepState

pytestmark = pytest.mark.stack


def write(mongo: ReplicaSet) -> None:
    with mongo.client() as client:
        client.shop.orders.insert_one({"_id": 1})


def count(mongo: ReplicaSet) -> int:
    with mongo.client() as client:
        return client.shop.orders.count_documents({})


def test_documents_and_ports_survive_a_stop_a_kill_and_a_new_object(tmp_path: Path):
    mongo = ReplicaSet(tmp_path)
    with mongo:
        write(mongo)
        mongo.restart()
        assert count(mongo) == 1
        mongo.kill_member(0)
        assert mongo.members[0].pid is None
        mongo.start_member(0)
        mongo.wait_primary()
        assert count(mongo) == 1
    with ReplicaSet(tmp_path) as again:
        assert again.uri == mongo.uri
        assert count(again) == 1


def turn_away(server: socket.socket) -> None:
    """mongod asks whoever holds its old port; one that never answers costs it half a minute."""
    with contextlib.suppress(OSError):
        while True:
            server.accept()[0].close()


def test_a_lone_member_whose_port_was_taken_moves_and_keeps_its_documents(tmp_path: Path):
    with ReplicaSet(tmp_path) as mongo:
        write(mongo)
    said: list[Step] = []
    with socket.socket() as stranger:
        stranger.bind((LOOPBACK, mongo.members[0].port))
        stranger.listen()
        threading.Thread(target=turn_away, args=(stranger,), daemon=True).start()
        with ReplicaSet(tmp_path, line=Line("MongoDB", said.append)) as moved:
            assert moved.uri != mongo.uri
            assert count(moved) == 1
    (note,) = (step.text for step in said if step.state is StepState.NOTED)
    assert f"port {mongo.members[0].port} of the last time is taken" in note


def test_three_members_elect_another_primary_after_step_down_and_after_a_kill(tmp_path: Path):
    with ReplicaSet(tmp_path, members=3) as mongo:
        write(mongo)
        first = mongo.wait_primary()
        second = mongo.step_down()
        assert second != first
        mongo.kill_member(second)
        third = mongo.wait_primary()
        assert third != second
        assert count(mongo) == 1
        mongo.start_member(second)
        mongo.wait_healthy()
    with pytest.raises(StackError, match="holds a replica set of 3, and 1 were asked for"):
        ReplicaSet(tmp_path, members=1)
    with pytest.raises(StackError, match="know each other by the ports"):
        ReplicaSet(tmp_path, ports=[free_port()])


def test_with_auth_nobody_reads_without_a_password_and_users_survive(tmp_path: Path):
    with ReplicaSet(tmp_path, auth=True) as mongo:
        write(mongo)
        reader = mongo.add_user("reader", "p@ss/word", [{"role": "read", "db": "shop"}])
        mongo.restart()
        with MongoClient(mongo.uri_for(None, None)) as stranger, pytest.raises(OperationFailure):
            stranger.shop.orders.find_one()
        with MongoClient(reader) as client:
            assert client.shop.orders.find_one() == {"_id": 1}
            with pytest.raises(OperationFailure):
                client.shop.orders.insert_one({})
    with ReplicaSet(tmp_path) as again:
        assert count(again) == 1


def test_options_reach_the_server(tmp_path: Path):
    options = MongodOptions(cache_gib=0.25, oplog_mb=990, parameters={"transactionLifetimeLimitSeconds": 7})
    with ReplicaSet(tmp_path, options=options) as mongo, mongo.client() as client:
        assert (
            client.admin.command("getParameter", transactionLifetimeLimitSeconds=1)["transactionLifetimeLimitSeconds"]
            == 7
        )
        assert client.local.command("collStats", "oplog.rs")["maxSize"] == 990 * 1024**2
        assert client.admin.command("serverStatus")["wiredTiger"]["cache"]["maximum bytes configured"] == 2**28


def test_it_listens_on_the_loopback_address_alone(tmp_path: Path):
    with Mongod(tmp_path / "data") as server, MongoClient(server.uri) as client:
        parsed = client.admin.command("getCmdLineOpts")["parsed"]["net"]
    assert parsed["bindIp"] == LOOPBACK
    assert parsed["unixDomainSocket"] == {"enabled": False}


def test_a_taken_port_and_a_second_mongod_on_the_same_data_are_sentences(tmp_path: Path):
    with Mongod(tmp_path / "data") as server:
        with pytest.raises(StackError, match=rf"port {server.port} .* is taken by mongod \(pid {server.pid}\)"):
            Mongod(tmp_path / "other", port=server.port).start()
        with pytest.raises(StackError, match="another mongod uses"):
            Mongod(tmp_path / "data", log=tmp_path / "second.log").start()
        assert server.hello() is not None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc names the holder on Linux alone")
def test_a_frozen_server_does_not_answer_and_goes_on_when_thawed(tmp_path: Path):
    with Mongod(tmp_path / "data") as server:
        server.freeze()
        assert server.hello() is None
        server.thaw()
        server.wait_ready()
        assert server.hello() is not None
        server.freeze()


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StackError, match=r"cannot write .* Not a directory; choose another data folder"):
        ReplicaSet(tmp_path / "file" / "data").start()

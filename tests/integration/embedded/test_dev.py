"""``lull dev`` as an operator meets it: real servers, a worker, and everything that can be in the way."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pymongo import MongoClient

from lull.embedded.errors import StackError
from lull.embedded.mongod import ReplicaSet
from lull.embedded.ports import LOOPBACK, free_port
from lull.embedded.process import wait_until
from lull.embedded.stack import Ports, Stack
from lull.embedded.state import StackFiles

if TYPE_CHECKING:
    from conftest import Dev

pytestmark = pytest.mark.stack


def test_it_detaches_shows_itself_stops_and_a_second_start_finds_everything_where_it_was(dev: "Dev"):
    started = dev.document(*dev.ports, "--load", "shop.transforms", "--detach")
    assert started["healthy"]
    assert [part["health"] for part in started["parts"]] == ["primary", "serving", "running"]
    assert dev.notes() == [f"started {started['parts'][2]['pid']} --load shop.transforms"]
    assert started["mongo_uri"] in (dev.data / "lull.toml").read_text()

    again = dev.run("--detach")
    assert again.returncode == 0
    assert "A stack runs here already" in again.stdout
    assert started["ui_url"] in again.stdout
    status = dev.run("status")
    assert (status.returncode, started["temporal_address"] in status.stdout) == (0, True)

    processes = dev.processes()
    assert dev.document("stop") == {"status": "stopped", "was_running": True}
    assert not any(one.is_alive for one in processes)
    assert dev.notes()[-1] == "drained"
    assert dev.run("stop").returncode == 0
    gone = dev.run("status")
    assert gone.returncode == 3
    assert "no stack runs in" in gone.stderr

    second = dev.document("--detach", "--no-worker")
    with MongoClient(second["mongo_uri"]) as client:
        client.shop.orders.insert_one({})
    log = (dev.data / "log" / "supervisor.log").read_text()
    assert "downloading" not in log
    assert "building" not in log
    assert second["mongo_uri"] == started["mongo_uri"]
    assert second["ui_url"] == started["ui_url"]
    assert [part["name"] for part in second["parts"]] == ["MongoDB", "Temporal"]


def test_a_worker_and_a_server_that_die_are_started_again_and_the_log_says_so(dev: "Dev"):
    dev.run(*dev.ports, "--detach")
    host, temporal, mongod, worker = dev.processes()
    worker.signal(signal.SIGKILL)
    mongod.signal(signal.SIGKILL)
    assert wait_until(lambda: len(dev.notes()) == 2, 10)
    assert wait_until(lambda: dev.run("status").returncode == 0, 20)
    assert [part.get("restarts") for part in dev.document("status")["parts"]] == [None, None, 1]
    log = (dev.data / "log" / "supervisor.log").read_text()
    assert "the worker has ended: it is started again in 0.5 s" in log
    assert "the worker is started again; restarts: 1" in log
    assert (host.is_alive, temporal.is_alive) == (True, True)


def test_nothing_survives_a_host_that_is_killed_and_the_next_start_finds_its_data(dev: "Dev"):
    dev.run(*dev.ports, "--detach")
    processes = dev.processes()
    processes[0].signal(signal.SIGKILL)
    assert all(one.wait_gone(10) for one in processes)
    assert dev.run("status").returncode == 3
    assert dev.document("--detach", "--no-worker")["healthy"]


def foreground(dev: "Dev", *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(dev.command(*dev.ports, *words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_in_the_foreground_ctrl_c_stops_worker_temporal_and_mongodb_in_this_order(dev: "Dev"):
    host = foreground(dev, "--json")
    assert wait_until(lambda: len(dev.notes()) > 0, 30)
    processes = dev.processes()
    assert wait_until(lambda: len(dev.processes()) == 4, 10)
    host.send_signal(signal.SIGINT)
    out, err = host.communicate(timeout=30)
    assert host.returncode == 0
    assert out.count("\n{") == 0, "one document"
    assert err.index("Worker stopped") < err.index("stopping Temporal and MongoDB") < err.index("Stopped; the data")
    assert not any(one.is_alive for one in processes)


def test_ctrl_c_during_the_start_leaves_nothing_behind(dev: "Dev"):
    host = foreground(dev)
    assert wait_until((dev.data / "log" / "temporal.log").exists, 20)
    host.send_signal(signal.SIGINT)
    _, err = host.communicate(timeout=30)
    assert host.returncode == 1
    assert "interrupted; nothing was left running" in err
    assert "Traceback" not in err
    assert dev.run("status").returncode == 3


def test_a_named_port_that_is_taken_ends_with_code_2_and_names_the_holder(dev: "Dev"):
    with socket.socket() as stranger:
        stranger.bind((LOOPBACK, free_port()))
        stranger.listen()
        port = str(stranger.getsockname()[1])
        for option in ("--mongo-port", "--temporal-port", "--ui-port"):
            answer = dev.run(option, port, "--detach", "--json")
            assert answer.returncode == 2
            assert f"{option} {port} is taken by" in answer.stderr
            assert f"(pid {os.getpid()})" in answer.stderr
            assert '"exit_code": 2' in answer.stdout
    assert not any(one.is_alive for one in StackFiles(dev.data).read().processes)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("words", "environment", "exit_code", "sentence"),
    [
        (["--members", "2"], {}, 2, "a replica set here has 1 or 3 members"),
        ([], {"LULL_MONGOD": "/etc/passwd"}, 2, "is not executable"),
        ([], {"TEMPORAL_CLI_PATH": "/bin/true"}, 2, "does not say its version"),
        (["--data", "/dev/null/x"], {}, 1, "choose another data folder with --data"),
        (["--detach", "--data", "/dev/null/x"], {}, 1, "choose another data folder with --data"),
        (["--detach"], {"LULL_MONGOD": "/etc/passwd"}, 2, "is not executable"),
        (["--mongo-port", "many"], {}, 2, "Invalid value for '--mongo-port'"),
    ],
)
def test_what_is_in_the_way_is_a_sentence_and_never_a_traceback(
    dev: "Dev", words: list[str], environment: dict[str, str], exit_code: int, sentence: str
):
    answer = dev.run(*dev.ports, *words, environment=environment)
    assert answer.returncode == exit_code
    assert sentence in " ".join(answer.stderr.split())
    assert "Traceback" not in answer.stderr + answer.stdout


def test_three_members_and_temporal_share_no_port_even_where_the_preferred_ones_are_taken(tmp_path: Path):
    """The next free port of one member must not be the preferred one of the next."""
    preferred = free_port()
    with socket.socket() as stranger:
        stranger.bind((LOOPBACK, preferred))
        stranger.listen()
        wanted = Ports(mongo=preferred, temporal=preferred + 2, ui=preferred)
        with Stack(tmp_path, members=3, preferred=wanted) as stack:
            ports = [*(member.port for member in stack.mongo.members), stack.temporal.port, stack.temporal.ui_port]
    assert len(set(ports)) == 5
    assert preferred not in ports


def test_a_stack_in_a_test_run_dies_with_it(tmp_path: Path):
    """The programmatic stack of a killed process leaves no server behind."""
    script = (
        "import sys, time, pathlib; from lull.embedded.stack import Stack\n"
        "Stack(pathlib.Path(sys.argv[1])).start(); print('up', flush=True); time.sleep(300)"
    )
    host = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE)
    assert host.stdout is not None
    with host.stdout as words:
        assert words.readline() == b"up\n"
    state = StackFiles(tmp_path).read()
    assert state is not None
    host.kill()
    host.wait()
    assert len(state.processes) == 2
    assert all(one.wait_gone(10) for one in state.processes)


def test_two_stacks_of_one_process_do_not_touch_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A start that fails ends what it began, and nothing of another stack."""
    with ReplicaSet(tmp_path / "mine") as mine:
        monkeypatch.setenv("TEMPORAL_CLI_PATH", "/nowhere")
        failing = Stack(tmp_path / "failing")
        with pytest.raises(StackError, match="/nowhere"):
            failing.start()
        assert failing.services == [] or not any(one.is_running for one in failing.services)
        assert mine.primary_index() == 0

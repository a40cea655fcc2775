"""Ports are given to one, and processes end with whoever started them."""

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lull.embedded import process
from lull.embedded.errors import ExitCode, StackError
from lull.embedded.ports import LOOPBACK, free_port, held_by, is_free, next_free, require_free
from lull.embedded.process import Identity, identify, wait_until

linux = pytest.mark.skipif(not process.IS_LINUX, reason="other systems make no such promise")


@pytest.fixture
def taken():
    with socket.socket() as server:
        server.bind((LOOPBACK, free_port()))
        server.listen()
        yield server.getsockname()[1]


def test_a_port_is_handed_out_once():
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == 50


def test_the_next_free_port_passes_the_taken_one_over(taken: int):
    assert not is_free(taken)
    assert next_free(taken) > taken


@linux
def test_a_named_port_that_is_taken_is_the_operators_error_and_names_the_holder(taken: int):
    with pytest.raises(StackError, match=rf"--mongo-port {taken} is taken by .+ \(pid {os.getpid()}\)") as error:
        require_free(taken, option="--mongo-port")
    assert error.value.exit_code == ExitCode.INPUT


def test_a_number_that_is_no_port_is_refused():
    with pytest.raises(StackError, match="70000 is no port"):
        require_free(70_000, option="--ui-port")


def test_nobody_is_named_for_a_free_port():
    assert held_by(free_port()) == ""


def test_a_process_is_known_by_its_birth_too():
    me = identify(os.getpid())
    assert me is not None
    assert me.is_alive
    assert not Identity(me.pid, "another birth").is_alive


def test_a_signal_never_reaches_a_later_process_of_the_same_number():
    Identity(os.getpid(), "another birth").signal(signal.SIGKILL)


def test_a_zombie_is_not_alive():
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert identify(child.pid) is None
    child.wait()


HOST = """
import sys, time
from lull.embedded import process
child = process.start(["/bin/sleep", "300"], log=sys.stderr.fileno(), dies_with_parent=sys.argv[1] == "yes")
print(child.pid, flush=True)
time.sleep(300)
"""


def start_host(dies_with_parent: str) -> tuple["subprocess.Popen[str]", Identity]:
    host = subprocess.Popen(
        [sys.executable, "-c", HOST, dies_with_parent],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert host.stdout is not None
    with host.stdout as words:
        pid = int(words.readline())
    # The number belongs to the wrapper first and to sleep after it, in one life.
    assert wait_until(lambda: "sleep" in Path(f"/proc/{pid}/comm").read_text(), 5)
    child = identify(pid)
    assert child is not None
    return host, child


@linux
def test_a_child_dies_when_its_parent_is_killed():
    host, child = start_host("yes")
    host.kill()
    host.wait()
    assert child.wait_gone(5)


@linux
def test_a_child_that_is_to_stay_outlives_its_parent():
    host, child = start_host("no")
    host.kill()
    host.wait()
    assert not child.wait_gone(0.3)
    child.signal(signal.SIGKILL)
    assert child.wait_gone(5)


def test_a_child_outlives_the_thread_that_asked_for_it():
    """The kernel's death signal follows the starting thread: a pool's thread ends long before its servers."""
    children = []

    def ask() -> None:
        children.append(process.start(["/bin/sleep", "300"], log=subprocess.DEVNULL))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    (child,) = children
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.3)
    assert process.end(child, grace_seconds=5)


def test_a_process_that_ignores_sigterm_is_killed_after_its_grace(tmp_path: Path):
    script = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(300)"
    )
    log = tmp_path / "log"
    with log.open("wb") as output:
        child = process.start([sys.executable, "-c", script], log=output)
    assert wait_until(lambda: "up" in log.read_text(), 10)
    assert not process.end(child, grace_seconds=0.2)
    assert child.returncode == -signal.SIGKILL


def test_a_tool_that_takes_too_long_is_ended(tmp_path: Path):
    with pytest.raises(StackError, match="did not end within 0 s"):
        process.run_tool(["/bin/sleep", "300"], log=tmp_path / "log", timeout_seconds=0.1)

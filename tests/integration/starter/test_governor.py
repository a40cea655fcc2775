"""Governors as an operator meets them: a real worker's, one that nobody serves, and none at all."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lull.domain import orders, queues
from lull.domain.errors import OperatorError
from lull.domain.governor.status import GovernorState
from lull.starter.client import Client
from lull.starter.errors import NotFound, Unreachable, WorldError
from lull.starter.settings import Connection

WAIT_SECONDS_MAX = 60.0
ELSEWHERE = "elsewhere"
"""A cluster that no worker has a profile of."""


@pytest.fixture
def shell(governed_shell: Any) -> Iterator[Any]:
    """A shell where main's governor works; whatever a test orders is lifted after it."""
    look = ("governor", "status", "main", "--json")
    when(lambda: governed_shell(*look), lambda typed: typed.code == 0 and is_fresh(typed))
    yield governed_shell
    for words in (["open"], ["enforce"], ["limits", "--lift"]):
        assert governed_shell("governor", words[0], "main", *words[1:], "--wait").code == 0


@pytest.fixture
async def client(governed: Connection) -> Client:
    """A client where a governor governs."""
    return await Client.connect(governed, who="ann@laptop")


@pytest.fixture
async def tidy(client: Client) -> AsyncIterator[None]:
    """No job of the test runs on after it."""
    yield
    for row in await client.list(limit=1_000):
        if row.ended_at is None:
            with contextlib.suppress(OperatorError):  # The list is a moment old: it may have ended.
                await client.cancel(row.job, "the test is over")
                await client.wait(row.job)


def when(look: Callable[[], Any], is_so: Callable[[Any], bool]) -> Any:
    """The first look that is so."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not is_so(seen := look()):
        assert time.monotonic() < deadline, seen
        time.sleep(0.1)
    return seen


def is_fresh(typed: Any) -> bool:
    """Whether the governor was heard lately."""
    return typed.document["status"] is not None and typed.document["age_s"] < 5


@pytest.fixture
async def elsewhere(client: Client) -> AsyncIterator[str]:
    """A governor whose cluster the worker does not know, so that it can only warn."""
    await begin(client, ELSEWHERE)
    yield ELSEWHERE
    await client.door.temporal.get_workflow_handle(queues.governor_id(ELSEWHERE)).terminate()


@pytest.fixture
async def deaf(lonely: Client) -> AsyncIterator[str]:
    """A governor's workflow where no worker is up."""
    await begin(lonely, "deaf")
    yield "deaf"
    await lonely.door.temporal.get_workflow_handle(queues.governor_id("deaf")).terminate()


async def begin(client: Client, cluster: str) -> None:
    await client.door.temporal.start_workflow(
        "lull.governor", GovernorState(cluster=cluster), id=queues.governor_id(cluster), task_queue=queues.CONTROL
    )


# -- looking ---------------------------------------------------------------------------------------


def test_the_screen_shows_signals_budget_and_what_is_normal(shell: Any):
    # Until a governor of an earlier test has been silent for long enough, this one stands by.
    shown = when(lambda: shell("governor", "status", "main"), lambda typed: "stands by" not in typed.out)
    assert (shown.code, shown.err) == (0, "")
    assert shown.out.startswith("main  ")
    for word in ("canary", "oplog-window", "work-seconds per second", "normal", "decided", "lull governor shut main"):
        assert word in shown.out
    assert "workflows/lull-governor%2Fmain" in shown.out


def test_the_document_is_seconds_old_and_half_a_minute_only_without_heartbeats(shell: Any):
    """The workflow is told every half minute; what is shown is what the activity said with its last heartbeat."""
    first = shell("governor", "status", "main", "--json").document
    assert {"cluster", "status", "orders", "warnings", "remarks", "as_of", "age_s", "worker", "link"} == {*first}
    later = when(
        lambda: shell("governor", "status", "main", "--json").document, lambda seen: seen["as_of"] > first["as_of"]
    )
    assert later["status"]["cluster"] == "main"
    assert later["age_s"] < 5
    assert later["remarks"] == []


@pytest.mark.usefixtures("tidy")
def test_a_running_job_has_its_share_and_no_governor_is_listed_as_a_job(shell: Any, collection: Any):
    spec = collection.written(limits={"max_docs_per_second": 50})
    assert shell("start", shell.write("slow.json", spec)).code == 0
    seen = when(
        lambda: shell("governor", "status", "main", "--json").document["status"],
        lambda seen: [row["job"] for row in seen["jobs"]] == [spec["job"]],
    )
    assert seen["jobs"][0]["slices"] >= 1
    listed = when(
        lambda: shell("list", "--json").document["jobs"], lambda jobs: spec["job"] in {j["job"] for j in jobs}
    )
    assert not [row for row in listed if "governor" in row["job"] or row["kind"] == "governor"]


def test_the_cluster_may_be_left_out_where_there_is_one_and_must_be_named_where_there_are_more(
    shell: Any, elsewhere: str
):
    typed = when(lambda: shell("governor", "status"), lambda typed: typed.code == 2)
    assert f"There are those of {elsewhere}, main" in typed.err
    assert typed.out == ""


def test_one_governor_needs_no_name(quiet_shell: Any, deaf: str):
    told = when(lambda: quiet_shell("governor", "shut", "--why", "incident"), lambda typed: typed.code == 0)
    assert told.out.startswith(f"the governor of {deaf} was told to shut its gate\n! no worker polls the queue 'lull'")
    assert "until then nothing happens" in told.out


def test_a_governor_that_nobody_serves_and_that_said_nothing_is_a_sentence_and_four(quiet_shell: Any, deaf: str):
    for words in (["status"], ["limits"], ["shut", "--wait"]):
        typed = quiet_shell("governor", words[0], deaf, *words[1:])
        assert (typed.code, typed.out) == (4, "")
        assert "no worker polls the queue 'lull'; start one with lull worker" in typed.err


def test_a_cluster_without_a_governor_is_three_with_what_to_do(shell: Any):
    for command in ("status", "limits", "shut", "open", "observe", "enforce"):
        typed = shell("governor", command, "mian", "--json")
        assert (typed.code, typed.out) == (3, ""), command
        said = json.loads(typed.err)["error"]
        assert said.startswith("no governor runs for 'mian'; lull worker starts one for each cluster in its settings")
        assert 'governor = "off"' in said
        assert "main" in said.rpartition("there are governors of ")[2]


async def test_a_governor_that_was_ended_does_not_run(client: Client):
    await begin(client, "ended")
    await client.door.temporal.get_workflow_handle(queues.governor_id("ended")).terminate()
    with pytest.raises(NotFound, match="no governor runs for 'ended'"):
        await client.governors.status("ended")
    with pytest.raises(NotFound, match="no governor runs for 'ended'"):
        await client.governors.tell("ended", orders.Shut, {})


async def test_a_namespace_without_any_governor_is_not_found(lonely: Client):
    with pytest.raises(NotFound, match="no governor runs in namespace 'quiet-"):
        await when_async(lonely)


async def when_async(client: Client) -> None:
    """Ask for the only governor until an ended one has left the server's list, which is a moment behind."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while time.monotonic() < deadline:
        if not await client.governors.running():
            await client.governors.only()


# -- telling ---------------------------------------------------------------------------------------


def test_a_governor_is_told_to_observe_for_a_while_and_says_so(shell: Any):
    told = shell("governor", "observe", "main", "--for", "30m", "--why", "trial", "--wait")
    assert told.code == 0, told.err
    assert told.out.startswith("the governor of main was told to observe only for 30m; the ledger has it (epoch ")
    seen = when(
        lambda: shell("governor", "status", "main", "--json").document,
        lambda seen: seen["status"]["mode"] == "observe",
    )
    note = seen["orders"]["mode_note"]
    assert (note["why"], "@" in note["who"]) == ("trial", True)
    shown = shell("governor", "status", "main").out
    assert "order       observe by " in shown
    assert ": trial" in shown
    assert "lull governor enforce main" in shown


def test_limits_are_ordered_shown_and_lifted(shell: Any):
    told = shell(
        "governor", "limits", "main", "--read-p99", "12ms", "--inflation", "1.2", "--for", "30m", "--wait", "--json"
    )
    assert told.document["order"] == "limits"
    assert told.document["epoch"] >= 1
    shown = when(
        lambda: shell("governor", "limits", "main", "--json").document,
        lambda found: found["objective"]["read_p99"] == "12ms",
    )
    assert (shown["inflation"], shown["ordered"]["inflation"]) == (1.2, 1.2)
    assert "ordered  read p99 12ms, inflation 1.2x by " in shell("governor", "limits", "main").out
    lifted = shell("governor", "limits", "main", "--lift", "--wait")
    assert "was told that no limits are ordered any more" in lifted.out
    assert shell("governor", "limits", "main", "--json").document["ordered"] is None


@pytest.mark.usefixtures("tidy")
def test_a_shut_gate_stops_a_job_until_it_is_opened(shell: Any, collection: Any):
    """All of it as typed: what the governor shows, and that nothing commits."""
    assert shell("governor", "shut", "main", "--why", "incident", "--wait").code == 0
    when(
        lambda: shell("governor", "status", "main", "--json").document["status"],
        lambda seen: not seen["is_open"] and "incident" in seen["reason"],
    )
    spec = collection.written()
    assert shell("start", shell.write("job.json", spec)).code == 0
    when(
        lambda: shell("governor", "status", "main", "--json").document["status"]["jobs"],
        lambda rows: [row["job"] for row in rows] == [spec["job"]],
    )
    assert collection.count(done=True) == 0
    opened = shell("governor", "open", "main", "--wait")
    assert "the governor of main was told to decide for itself again" in opened.out
    assert shell("watch", spec["job"]).code == 0
    assert collection.count(done=True) == 3_000


def test_wrong_input_changes_nothing(shell: Any):
    before = shell("governor", "status", "main", "--json").document
    for words in (["limits", "--read-p99", "fast"], ["shut", "--for", "soon"], ["limits", "--lift", "--for", "1h"]):
        assert shell("governor", words[0], "main", *words[1:]).code == 2
    after = shell("governor", "status", "main", "--json").document
    assert (after["orders"], after["warnings"]) == (before["orders"], before["warnings"])


async def test_an_order_that_the_ledger_refuses_is_not_said_to_be_there(client: Client, elsewhere: str):
    """The worker has no profile of the cluster: the order is remembered, and no governor can know of it."""
    with pytest.raises(WorldError, match=r"the orders could not be written.*mend it, and order again"):
        await client.governors.tell(elsewhere, orders.Shut, {"why": "incident"}, wait=True)
    seen = await client.governors.status(elsewhere)
    assert seen.status is None
    assert seen.orders.shut
    assert "the governor has seen nothing yet" in seen.remarks
    assert [text for text in seen.warnings if text.startswith("the orders could not be written")]


async def test_an_order_that_the_workflow_refuses_is_the_operators_error(client: Client, shell: Any):
    """As a starter of another version would send it."""
    del shell
    governors = client.governors
    before = await governors._state("main")
    await governors._signal("main", orders.Shut, {"until": "noon"})
    with pytest.raises(
        OperatorError, match=r'the governor of main refused: shut changed nothing: .*"until" is no field'
    ):
        await governors._effect("main", before)


# -- watching --------------------------------------------------------------------------------------


def test_ctrl_c_ends_the_watching_and_not_the_governor(shell: Any):
    with shell.spawn("governor", "status", "main", "--watch") as watching:
        assert "gate" in watching.stderr.readline()
        watching.send_signal(signal.SIGINT)
        out, said = watching.communicate(timeout=30)
    assert watching.returncode == 130
    assert out == ""
    assert "stopped watching; the governor of main goes on" in said
    assert "Traceback" not in said


def test_a_terminal_is_redrawn(shell: Any):
    ours, theirs = pty.openpty()
    watching = subprocess.Popen(
        [sys.executable, "-m", "lull", "governor", "status", "main", "--watch"],
        env=shell.variables | {"TERM": "xterm-256color", "COLUMNS": "140", "LINES": "60"},
        cwd=shell.folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        # A run in the background ignores Ctrl-C, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - one call, and no lock in it
    )
    os.close(theirs)
    seen = b""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while seen.count(b"Ctrl-C stops watching; the governor goes on") < 2 and time.monotonic() < deadline:
        seen += os.read(ours, 65_536)
    watching.send_signal(signal.SIGINT)
    with contextlib.suppress(OSError):  # the terminal's end
        while more := os.read(ours, 65_536):
            seen += more
    assert watching.wait(30) == 130
    os.close(ours)
    assert b"canary" in seen
    assert b"Traceback" not in seen


@pytest.mark.parametrize("is_governor_spared", [False, True])
async def test_when_the_worker_has_died_the_last_heartbeat_is_shown_with_its_age(
    mortal_governed: Any,
    is_governor_spared: bool,  # noqa: FBT001
):
    """What was seen last is told as what it is, also by a governor's process that ends in order because its worker died."""
    connection, process = mortal_governed
    client = await Client.connect(connection)
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not (seen := await heard(client)):
        assert time.monotonic() < deadline
    kill(process.pid, with_children=not is_governor_spared)
    while not seen.remarks or (seen.age_s or 0) <= 5:
        assert time.monotonic() < deadline, seen
        # A question that was on its way to the worker when that died has no answer.
        seen = await heard(client) or seen
    assert seen.status is not None
    assert seen.remarks[0].startswith("this is what it saw ")
    told = await client.governors.tell("main", orders.Shut, {"for": "30m"})
    assert told.epoch is None


def kill(pid: int, *, with_children: bool) -> None:
    """SIGKILL, to the governor's process first: it is in a group of its own."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split() if with_children else []
    for child in children:
        os.kill(int(child), signal.SIGKILL)
    os.killpg(pid, signal.SIGKILL)


async def heard(client: Client) -> Any:
    """What main's governor saw, once its worker polls and it has seen something."""
    try:
        seen = await client.governors.status("main")
    except (NotFound, Unreachable):
        return None
    return seen if seen.status else None


def test_tab_completes_clusters_that_have_a_governor(shell: Any):
    def complete() -> Any:
        typed = {"_LULL_COMPLETE": "complete_bash", "COMP_WORDS": "lull governor status m", "COMP_CWORD": "3"}
        return subprocess.run(
            [sys.executable, "-m", "lull"],
            env=shell.variables | typed,
            cwd=shell.folder,
            capture_output=True,
            text=True,
            check=False,
        )

    completed = when(complete, lambda typed: "main" in typed.stdout.split())
    assert completed.stderr == ""

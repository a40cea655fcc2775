"""``lull doctor`` on a governed cluster: with a governor at work, and with nobody who governs."""

import subprocess
import time
from collections.abc import Callable
from typing import Any

from lull.starter.settings import Connection

WAIT_SECONDS_MAX = 60.0
GOVERNORS = (
    "governor's word", "governor's canary", "governor's samples", "governor", "foreground", "signals",
)  # fmt: skip


def examined(shell: Any) -> dict[str, Any]:
    """Every check by its name, and the exit code under ``code``."""
    typed = shell("doctor", "--json")
    assert typed.err == ""
    assert typed.document["exit_code"] == typed.code
    return {check["name"]: check for check in typed.document["checks"]} | {"code": typed.code}


def when(look: Callable[[], Any], is_so: Callable[[Any], bool]) -> Any:
    """The first look that is so."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not is_so(seen := look()):
        assert time.monotonic() < deadline, seen
    return seen


def test_a_governor_at_work_is_well_and_says_where_it_lives_and_what_it_sees(
    mortal_governed: tuple[Connection, "subprocess.Popen[bytes]"], shell_at: Any
):
    shell = shell_at(mortal_governed[0])
    # Its first look at the server may still be under way.
    found = when(lambda: examined(shell), lambda found: found["code"] == 0 and "lag" in found["main: signals"]["seen"])
    assert {f"main: {name}" for name in GOVERNORS} <= {*found}
    assert "from lull-governor@" in found["main: governor"]["seen"]
    assert "jobs obey it" in found["main: governor"]["seen"]
    assert found["main: governor's word"]["seen"].startswith("fresh; ")
    assert "gate" in found["main: foreground"]["seen"]
    assert "a time series, kept for 30 days" in found["main: governor's samples"]["seen"]


def test_the_screen_names_what_the_document_names(
    mortal_governed: tuple[Connection, "subprocess.Popen[bytes]"], shell_at: Any
):
    shell = shell_at(mortal_governed[0])
    found = when(lambda: examined(shell), lambda found: "main: signals" in found)
    printed = shell("doctor").out
    assert [name for name in found if name != "code" and name not in printed] == []


def test_a_governed_cluster_whose_workers_all_leave_governing_to_others_is_wrong_and_says_what_to_start(
    ungoverned: Connection, shell_at: Any
):
    """Jobs would wait for ever: no page begins without a governor's word."""
    shell = shell_at(ungoverned)
    found = when(lambda: examined(shell), lambda found: "no process governs" in found["main: governor"]["remedy"])
    assert found["code"] == 1
    assert not found["main: governor"]["ok"]
    assert "without --no-governor" in found["main: governor"]["remedy"]
    assert not found["main: governor's word"]["ok"]
    assert "no page begins" in found["main: governor's word"]["remedy"]

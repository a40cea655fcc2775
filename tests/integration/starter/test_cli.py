"""What an operator types: streams, exit codes and documents, against a real server and a real worker."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("clean_up")


@pytest.fixture
def job(shell: Any, collection: Any) -> str:
    """A job that is still running whatever the test does before it tells it otherwise."""
    spec = collection.written(limits={"max_docs_per_second": 50})
    started = shell("start", shell.write("slow.json", spec))
    assert started.code == 0, started.err
    return str(spec["job"])


# -- a job's life ----------------------------------------------------------------------------------


def test_a_job_is_planned_started_and_watched_to_its_end(shell: Any, collection: Any, mongo_uri: str):
    """The whole journey, each step a process of its own, as it is typed."""
    shell.variables["LULL_CLUSTERS__MAIN__URI"] = mongo_uri
    spec = collection.written()
    shell.write("job.json", spec)
    planned = shell.run("plan", "job.json")
    started = shell.run("start", "job.json", "--why", "OPS-7")
    watched = shell.run("watch", spec["job"])
    result = shell.run("result", spec["job"], "--json")
    assert (planned.code, started.code, watched.code, result.code) == (0, 0, 0, 0)
    assert "exactly once" in planned.out
    assert "done: - → true" in planned.out, "what becomes of sampled documents"
    assert "nothing was written" in planned.out
    assert f"/workflows/lull%2F{spec['job']}" in started.out
    assert "completed" in watched.out
    assert result.document["counts"]["changed"] == 3_000
    assert collection.count(done=True) == 3_000


def test_a_plan_says_how_long_it_takes_and_a_probe_says_it_better(shell: Any, collection: Any):
    """Each is a process of its own; documents and ledger are as they were."""
    spec = collection.written()
    shell.write("job.json", spec)
    without = shell.run("plan", "job.json", "--samples", "0")
    within = shell.run("plan", "job.json", "--samples", "0", "--probe")
    (told,) = [shell("plan", "job.json", "--samples", "0", "--probe", "--json").document["forecast"]]
    assert (without.code, within.code, without.err, within.err) == (0, 0, "", "")
    assert "partly measured" in without.out
    assert "what a page of this job costs here: lull plan SPEC --probe measures it" in without.out
    assert "full speed: the governor is off" in within.out
    assert "taken back" in within.out
    assert "not known: what a page" not in within.out
    assert told["confidence"] == "measured"
    assert 1 < len(told["probe"]["pages"]) <= 8
    assert 0 < told["seconds"]["low"] <= told["seconds"]["high"]
    assert collection.count(done=True) == 0
    assert shell("status", spec["job"]).code == 3, "a probe is no job"


def test_a_probe_of_what_cannot_be_planned_is_refused_and_needs_a_worker(shell: Any, quiet_shell: Any, collection: Any):
    spec = collection.written()
    quiet_shell.write("job.json", spec)
    shell.write("none.json", spec | {"source": spec["source"] | {"collection": "nothing-there"}})
    lonely, refused = quiet_shell("plan", "job.json", "--probe"), shell("plan", "none.json", "--probe")
    assert (lonely.code, refused.code) == (4, 2)
    assert "no worker polls the queue 'lull'; start one with lull worker" in lonely.err
    assert "does not exist" in refused.err


def test_a_spec_comes_from_stdin_with_overrides(shell: Any, collection: Any):
    spec = collection.written()
    started = shell.run("start", "-", "--set", "limits.parallel=4", "--wait", "--json", stdin=json.dumps(spec))
    assert started.code == 0, started.err
    assert started.document["status"] == "completed"


def test_start_wait_follows_a_job_to_its_end(shell: Any, collection: Any):
    spec = collection.written()
    ended = shell.run("start", shell.write("job.json", spec), "--wait")
    assert ended.code == 0
    assert "3,000 changed" in ended.out


def test_a_job_is_paused_looked_at_and_resumed(shell: Any, job: str):
    paused = shell("pause", job, "--reason", "index build", "--wait")
    seen = shell("status", job)
    listed = shell("list")
    resumed = shell("resume", job, "--wait")
    assert "nothing of this job can commit" in paused.out
    assert "index build" in seen.out
    assert f"next: lull resume {job}" in seen.out
    assert job in listed.out
    assert f"{job} is running" in resumed.out


def test_a_throttle_is_shown_with_who_until_when_and_why(shell: Any, job: str):
    told = shell("throttle", job, "--max-docs-per-second", "40", "--for", "2h", "--why", "sale", "--wait")
    seen = shell("status", job)
    explained = shell("explain", job)
    assert (told.code, seen.code, explained.code) == (0, 0, 0)
    assert "throttle" in seen.out
    assert "40 docs/s until" in seen.out
    assert "sale" in seen.out
    assert "throttled to 40 docs/s" in explained.out


def test_a_cancelled_job_ends_watching_with_one(shell: Any, job: str):
    assert shell("cancel", job, "--why", "wrong filter").code == 0
    watched = shell("watch", job)
    assert watched.code == 1
    assert "wrong filter" in watched.out


def test_another_spec_under_a_running_id_is_refused_with_two_and_the_differences(shell: Any, job: str):
    refused = shell("start", "slow.json", "--set", "limits.parallel=4")
    assert refused.code == 2
    assert refused.out == ""
    assert "limits.parallel: (not set) -> 4" in refused.err
    assert f"lull cancel {job}" in refused.err


def test_a_job_refused_while_planning_is_refused_at_the_terminal(shell: Any, collection: Any):
    spec = collection.written(kind="transform", transform="nobody.knows")
    del spec["update"]
    refused = shell("start", shell.write("job.json", spec))
    assert refused.code == 2
    assert "nobody.knows" in refused.err


SAMPLED = """
import json
from lull import hooks
from lull.domain.kinds import parse_spec
spec = parse_spec(json.load(open("job.json")))
shown = hooks.preview(spec, 2, {load})
print(json.dumps(shown if isinstance(shown, str) else [one.model_dump() for one in shown]))
"""


def test_samples_of_a_transform_need_its_module_and_say_so(shell: Any, collection: Any, mongo_uri: str):
    spec = collection.written(kind="transform", transform="shop.double")
    del spec["update"]
    shell.write("job.json", spec)
    (shell.folder / "shop_jobs.py").write_text(
        'from lull import transform\n\n@transform("shop.double")\ndef double(d):\n    return {"double": d["_id"] * 2}\n'
    )

    def sampled(load: list[str]) -> Any:
        program = SAMPLED.format(load=load)
        ran = subprocess.run(
            [sys.executable, "-c", program], cwd=shell.folder, env=shell.variables, capture_output=True, check=True
        )
        return json.loads(ran.stdout)

    assert "this shell has no credentials for cluster main ([clusters.main] in lull.toml)" in sampled([])
    shell.variables["LULL_CLUSTERS__MAIN__URI"] = mongo_uri
    assert "shop.double is not known here; name its module with --load" in sampled([])
    assert [one["after"]["double"] for one in sampled(["shop_jobs"])] == [0, 2]


# -- documents ---------------------------------------------------------------------------------------


def test_every_command_prints_one_document_and_nothing_else(shell: Any, collection: Any, job: str):
    spec = collection.written(overlap=True)
    shell.write("job.json", spec)
    commands: dict[str, tuple[list[str], set[str]]] = {
        "plan": (["plan", "job.json", "--samples", "0"], {"job", "plan", "previews", "forecast"}),
        "plan --probe": (["plan", "job.json", "--probe", "--samples", "0"], {"job", "plan", "forecast"}),
        "start": (["start", "job.json"], {"job", "link", "request", "digest", "progress"}),
        "status": (["status", job], {"progress", "slices", "remarks", "is_live"}),
        "explain": (["explain", job], {"job", "reasons"}),
        "list": (["list"], {"jobs"}),
        "throttle": (["throttle", job, "--max-docs-per-second", "40"], {"job", "order"}),
        "throttle --wait": (["throttle", job, "--max-docs-per-second", "off", "--wait"], {"status", "epoch"}),
        "pause": (["pause", job, "--reason", "x"], {"job", "order"}),
        "pause --wait": (["pause", job, "--reason", "x", "--wait"], {"status", "proof"}),
        "resume": (["resume", job], {"job", "order"}),
        "resume --wait": (["pause", job, "--reason", "x", "--wait"], {"status", "message"}),
        "watch": (["watch", spec["job"]], {"job", "status", "counts"}),
        "result": (["result", spec["job"]], {"job", "status", "counts"}),
        "cancel --wait": (["cancel", job, "--wait"], {"job", "status"}),
        "doctor": (["doctor"], {"ok", "checks", "exit_code"}),
        "doctor --print-roles": (["doctor", "--print-roles"], {"mongosh"}),
        "kinds": (["kinds"], {"kinds"}),
        "kinds KIND": (["kinds", "update"], {"kind", "fields"}),
    }
    for name, (words, keys) in commands.items():
        typed = shell(*words, "--json")
        assert keys <= {*typed.document}, (name, typed)
        assert typed.err == "", name


def test_an_error_is_one_document_on_stderr_and_stdout_stays_empty(shell: Any):
    typed = shell("status", "no-such-job", "--json")
    assert typed.code == 3
    assert typed.out == ""
    assert json.loads(typed.err)["exit_code"] == 3
    assert "no job 'no-such-job' is known" in json.loads(typed.err)["error"]


# -- what is not there ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [["status", "a"], ["list"], ["pause", "a", "--reason", "x"], ["watch", "a"], ["result", "a"], ["cancel", "a"]],
)
def test_an_unreachable_temporal_is_a_sentence_and_four(nowhere_shell: Any, words: list[str]):
    typed = nowhere_shell(*words)
    assert typed.code == 4
    assert typed.out == ""
    assert "cannot reach Temporal at 127.0.0.1:1 (from LULL_TEMPORAL__ADDRESS): nothing listens there" in typed.err
    assert "lull dev" in typed.err


def test_without_a_worker_commands_that_need_one_end_with_four(quiet_shell: Any, collection: Any):
    started = quiet_shell("start", quiet_shell.write("job.json", collection.written()))
    planned = quiet_shell("plan", "job.json")
    examined = quiet_shell("doctor")
    assert (started.code, planned.code, examined.code) == (0, 4, 4)
    assert "until then nothing happens" in started.out
    assert "no worker polls the queue 'lull'; start one with lull worker" in planned.err
    assert "nobody polls it" in examined.out
    assert "lull worker" in examined.out


def test_doctor_says_well_when_all_is_well(shell: Any):
    examined = shell("doctor")
    assert examined.code == 0, examined.out
    assert "main: reachable" in examined.out
    assert "wrong" not in examined.out


def test_an_address_says_where_it_was_written(nowhere_shell: Any, tmp_path: Path):
    del nowhere_shell.variables["LULL_TEMPORAL__ADDRESS"], nowhere_shell.variables["LULL_TEMPORAL__NAMESPACE"]
    (tmp_path / "lull.toml").write_text('[temporal]\naddress = "127.0.0.1:2"\n')
    assert "at 127.0.0.1:2 (from lull.toml)" in nowhere_shell("list").err
    nowhere_shell.variables["TEMPORAL_ADDRESS"] = "127.0.0.1:3"
    assert "at 127.0.0.1:3 (from TEMPORAL_ADDRESS)" in nowhere_shell("list").err


# -- processes -----------------------------------------------------------------------------------------


def test_ctrl_c_ends_the_watching_and_not_the_job(shell: Any, job: str):
    with shell.spawn("watch", job) as watching:
        watching.stderr.readline()  # It looks.
        watching.send_signal(signal.SIGINT)
        _, said = watching.communicate(timeout=30)
    assert watching.returncode == 130
    assert f"job {job} goes on" in said
    assert "Traceback" not in said
    assert shell("status", job, "--json").document["progress"]["status"] == "running"


def test_a_reader_that_goes_away_is_no_error(shell: Any):
    with shell.spawn("kinds", "update") as listing:
        listing.stdout.close()
        said = listing.stderr.read()
    assert (listing.returncode, said) == (0, "")


def test_a_terminal_gets_a_bar_and_is_asked_before_documents_are_deleted(shell: Any, collection: Any):
    """Scripts are never asked; somebody at a terminal is, and may say no."""
    spec = collection.written(kind="purge", source={**collection.written()["source"], "filter": {"status": "old"}})
    del spec["update"]
    shell.write("purge.json", spec)
    refused = at_a_terminal(shell, "n\n", "start", "purge.json")
    assert refused.code == 2
    assert "will delete documents of" in refused.out
    assert collection.count() == 3_000
    accepted = at_a_terminal(shell, "y\n", "start", "purge.json", "--wait")
    assert accepted.code == 0, accepted.out
    assert "━" in accepted.out
    assert "100.0%" in accepted.out
    assert collection.count() == 1_000


def test_a_script_is_not_asked(shell: Any, collection: Any):
    spec = collection.written(kind="purge", source={**collection.written()["source"], "filter": {"status": "old"}})
    del spec["update"]
    assert shell.run("start", shell.write("purge.json", spec), "--wait").code == 0
    assert collection.count() == 1_000


def at_a_terminal(shell: Any, keys: str, *words: str) -> Any:
    """Run a command at a pseudo-terminal, where *keys* are typed."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "lull", *words],
        env=shell.variables | {"TERM": "xterm-256color", "COLUMNS": "120"},
        cwd=shell.folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    chunks: list[bytes] = []

    def read() -> None:
        while True:
            try:
                chunk = os.read(ours, 65_536)
            except OSError:  # the other end is closed
                return
            if not chunk:
                return
            chunks.append(chunk)

    reader = threading.Thread(target=read)
    reader.start()
    os.write(ours, keys.encode())
    code = process.wait(60)
    reader.join(10)
    os.close(ours)
    return type(shell.run("kinds"))(code, b"".join(chunks).decode(), "")


def test_tab_completes_the_ids_of_jobs(shell: Any, job: str):
    deadline = time.monotonic() + 30  # Visibility is a little behind.
    while True:
        completed = subprocess.run(
            [sys.executable, "-m", "lull"],
            env=shell.variables | {"_LULL_COMPLETE": "complete_bash", "COMP_WORDS": f"lull status {job[:6]}", "COMP_CWORD": "2"},
            cwd=shell.folder,
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
        if job in completed.stdout.split():
            break
        assert time.monotonic() < deadline, completed
    assert completed.stderr == ""


def test_tab_is_silent_where_nothing_answers(nowhere_shell: Any):
    completed = subprocess.run(
        [sys.executable, "-m", "lull"],
        env=nowhere_shell.variables
        | {"_LULL_COMPLETE": "complete_bash", "COMP_WORDS": "lull status a", "COMP_CWORD": "2"},
        cwd=nowhere_shell.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (completed.stdout.strip(), completed.stderr) == ("", "")

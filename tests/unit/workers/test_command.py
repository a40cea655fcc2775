"""What an operator types, and what is said of every mistake in it, before anything is hosted."""

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from lull.activities.transforms import REGISTRY
from lull.domain.errors import OperatorError
from lull.workers.assembly import load_modules
from lull.workers.main import build_app
from lull.workers.records import Records, record_of_this_process
from lull.workers.supervisor import Supervisor


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    for variable in ("LULL_CONFIG", "LULL_CLUSTERS__MAIN__URI"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(sys, "path", sys.path[:])
    # What a test's module registers must not be there for the next one.
    monkeypatch.setattr(REGISTRY, "_transforms", {})


def lull_worker(*words: str) -> Result:
    return CliRunner().invoke(build_app(), list(words))


def test_without_a_cluster_profile_there_is_nothing_to_work_on():
    done = lull_worker()
    assert (done.exit_code, done.stdout) == (2, "")
    assert "no cluster profile is configured" in done.stderr


def test_a_mistake_in_the_settings_is_one_sentence(tmp_path: Path):
    (tmp_path / "lull.toml").write_text("[worker]\nslot = 3\n")
    done = lull_worker()
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == "lull worker: lull.toml: slot in [worker] is no setting; did you mean 'slots'?\n"


@pytest.mark.parametrize(
    "words", [["--slots", "0"], ["--queue", "fast"], ["--processes", "many"], ["drain", "--pid", "x"], ["--slot", "1"]]
)
def test_a_wrong_option_ends_with_2_and_is_named(words: list[str]):
    done = lull_worker(*words)
    assert done.exit_code == 2
    assert words[-2] in done.stderr


@pytest.mark.parametrize("words", [[], ["drain"]])
def test_help_shows_an_example(words: list[str]):
    done = lull_worker(*words, "--help")
    assert done.exit_code == 0
    assert "Example: lull worker" in done.stdout


@pytest.mark.parametrize(
    ("module", "text", "sentence"),
    [
        ("loaded_a", None, "there is no module 'loaded_a' to load; start the worker in the folder that holds it"),
        ("loaded_b.more", "", "there is no module 'loaded_b.more' to load"),
        ("loaded_c", "import nowhere_at_all", "cannot load module 'loaded_c': ModuleNotFoundError at loaded_c.py:1"),
        ("loaded_d", "\n1 / 0", "cannot load module 'loaded_d': ZeroDivisionError at loaded_d.py:2"),
        ("loaded_e", "def x(:", "cannot load module 'loaded_e': SyntaxError"),
        (
            "loaded_f",
            "from lull.activities.transforms import *\nfor _ in 'ab': transform('x')(lambda d: SKIP)",
            "transform 'x' is registered twice",
        ),
    ],
)
def test_a_module_that_cannot_be_loaded_is_told_with_its_reason(
    tmp_path: Path, module: str, text: str | None, sentence: str
):
    if text is not None:
        (tmp_path / f"{module.split('.', maxsplit=1)[0]}.py").write_text(text)
    with pytest.raises(OperatorError) as caught:
        load_modules([module])
    assert sentence in str(caught.value)


def test_a_module_named_twice_is_loaded_once_and_its_transforms_are_there(tmp_path: Path):
    (tmp_path / "loaded_g.py").write_text(
        "from lull.activities.transforms import SKIP, transform\ntransform('shop.vat')(lambda document: SKIP)\n"
    )
    load_modules(["loaded_g", "loaded_g"])
    assert list(REGISTRY) == ["shop.vat"]


def test_the_working_directory_takes_the_place_of_no_installed_package(tmp_path: Path):
    """A file of the operator's called like one of ours, or of the library's, is not ours."""
    (tmp_path / "typer.py").write_text("raise SystemExit")
    load_modules([])
    assert sys.path[-1] == str(tmp_path)


def test_a_drain_without_workers_ends_with_3():
    done = lull_worker("drain", "--all")
    assert (done.exit_code, done.stdout) == (3, "")
    assert "no worker of this user runs on this machine" in done.stderr


def test_a_drain_of_one_and_all_is_refused():
    assert lull_worker("drain", "--all", "--pid", "1").exit_code == 2


def test_a_drain_that_names_nobody_says_who_is_there():
    record = record_of_this_process(
        identity="lull@host:1", queues=("lull",), slots=1, address="a", namespace="n", grace_s=1.0
    )
    Records().write(record)
    done = lull_worker("drain", "--pid", "1", "--json")
    assert (done.exit_code, done.stdout) == (3, "")
    assert f"there are {record.pid} (lull)" in done.stderr


def exits_with(code: int) -> list[str]:
    return [sys.executable, "-c", f"raise SystemExit({code})"]


@pytest.mark.parametrize("code", [2, 4])
def test_a_parent_gives_up_on_what_no_restart_mends(code: int):
    assert Supervisor([exits_with(code)] * 2).run() == code


def test_a_parent_waits_longer_before_every_restart_up_to_a_limit(monkeypatch: pytest.MonkeyPatch):
    """A process that dies at its start would otherwise keep a core busy with starting."""
    supervisor, pauses, now = Supervisor([exits_with(1)]), [], [1000.0]
    monkeypatch.setattr("lull.workers.supervisor.time.monotonic", lambda: now[0])
    (child,) = supervisor._children
    for _ in range(7):
        child.started_at = now[0]
        supervisor._plan_restart(child, 1)
        pauses.append(child.start_after - now[0])
    child.started_at = now[0] - 61
    supervisor._plan_restart(child, 1)
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert child.start_after - now[0] == 1.0


def test_a_drained_process_is_replaced_at_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lull.workers.supervisor.time.monotonic", lambda: 1000.0)
    supervisor = Supervisor([exits_with(0)])
    (child,) = supervisor._children
    supervisor._plan_restart(child, 0)
    assert child.start_after == 1000.0

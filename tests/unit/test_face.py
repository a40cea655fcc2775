"""The face is cheap to import, is one command, and is all that an installation puts into an application's way."""

import json
import shutil
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SITE = next(Path(path) for path in sys.path if path.endswith("site-packages"))


def python(program: str, *, executable: Path | None = None, folder: Path | None = None) -> Any:
    """What the program prints as JSON, run in a process that has imported nothing yet."""
    ran = subprocess.run(
        [executable or sys.executable, "-c", textwrap.dedent(program)],
        cwd=folder or "/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


HEAVY = ["pymongo", "bson", "temporalio", "opentelemetry", "pydantic", "rich", "yaml"]


def imported_by(program: str) -> set[str]:
    report = f"\nimport sys, json\njson.dump([m for m in {HEAVY} if m in sys.modules], sys.__stdout__)"
    return {*python(textwrap.dedent(program) + report)}


# -- imports -----------------------------------------------------------------------------------------


def test_importing_lull_imports_nothing_else():
    """A foreground application that imports lull pays for what it takes."""
    assert imported_by("import lull") == set()


def test_the_face_has_what_users_code_imports():
    names = python(
        """
        import json, lull
        from lull import SKIP, UNCHANGED, UNSET, Client, ForegroundReporter, Replace, transform
        assert transform is lull.transform
        print(json.dumps([each.__module__ for each in (Client, transform, Replace, ForegroundReporter)]))
        """
    )
    assert names == [
        "lull.starter.client", "lull.activities.transforms", "lull.activities.transforms", "lull.activities.foreground"
    ]  # fmt: skip


def test_a_name_the_face_does_not_have_is_refused_with_those_it_has():
    import lull

    with pytest.raises(AttributeError, match="lull has no transfrom; it has SKIP, UNCHANGED"):
        _ = lull.transfrom
    assert {"Client", "transform"} <= {*dir(lull)}


def test_taking_the_client_imports_no_driver():
    assert imported_by("from lull import Client").isdisjoint({"pymongo", "bson", "opentelemetry"})


def typed(*words: str) -> str:
    return f"""
        import contextlib, io
        from lull.cli import build_app
        from lull.starter import guard
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            guard.run(build_app, {list(words)!r})
    """


def test_help_imports_neither_driver_nor_sdk():
    """Half a second of every Tab and every --help would be theirs."""
    assert imported_by(typed("--help")).isdisjoint({"pymongo", "bson", "temporalio", "opentelemetry", "pydantic"})


def test_looking_at_a_job_imports_no_driver():
    assert imported_by(typed("status", "orders-1")).isdisjoint({"pymongo", "bson", "opentelemetry"})


# -- one command -------------------------------------------------------------------------------------


def run(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "lull", *words], cwd="/", capture_output=True, text=True, check=False
    )  # fmt: skip


def test_python_m_lull_is_the_command():
    assert run("--version").stdout == f"lull {version('lull')}\n"


COMMANDS = [
    "plan", "start", "list", "status", "watch", "explain", "pause", "resume", "throttle", "extend", "cancel", "result",
    "doctor", "kinds", "worker", "dev",
]  # fmt: skip


def test_help_lists_every_room_s_commands(capsys: pytest.CaptureFixture[str]):
    from lull.cli import build_app
    from lull.starter import guard

    assert guard.run(build_app, ["--help"]) == 0
    listed = capsys.readouterr().out
    assert [command for command in COMMANDS if f" {command} " not in listed] == []


@pytest.mark.parametrize("command", [*COMMANDS, "worker drain", "dev status", "dev stop"])
def test_every_command_has_help_with_an_example(command: str, capsys: pytest.CaptureFixture[str]):
    from lull.cli import build_app
    from lull.starter import guard

    assert guard.run(build_app, [*command.split(), "--help"]) == 0
    assert f"Example: lull {command}" in " ".join(capsys.readouterr().out.split())


def test_a_mistyped_command_is_refused_with_the_near_one():
    mistyped = run("pasue", "orders-1")
    assert mistyped.returncode == 2
    assert "no such command 'pasue'" in mistyped.stderr
    assert "'pause'" in mistyped.stderr


# -- an installation -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: building writes beside the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    leave = shutil.ignore_patterns(".*", "tests", "build", "*.egg-info", "__pycache__", "benchmarks", "docs")
    shutil.copytree(ROOT, folder / "source", symlinks=True, ignore=leave)
    built = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation",
         "--wheel-dir", folder, folder / "source"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    return next(folder.glob("lull-*.whl"))


@pytest.fixture(scope="module")
def application(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """An application with rooms of its own, in an environment where only the wheel is installed."""
    folder = tmp_path_factory.mktemp("application")
    environment = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    executable = environment / "bin" / "python"
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", executable, "install", "--quiet", "--no-deps", "--no-index", wheel],
        check=True,
    )  # fmt: skip
    # Our dependencies; what is reached through a .pth is not searched for further ones, so not our own sources.
    site = next((environment / "lib").glob("python*/site-packages"))
    (site / "dependencies.pth").write_text(f"{SITE}\n")
    for room in ("domain", "workflows", "activities"):
        (folder / room).mkdir()
        (folder / room / "__init__.py").write_text('OWNER = "the application"\n')
    yield executable, folder
    shutil.rmtree(folder)


def test_only_lull_becomes_importable_from_us(application: tuple[Path, Path]):
    executable, folder = application
    found = python(
        """
        import importlib.metadata, importlib.util, json
        files = importlib.metadata.files("lull")
        tops = {str(f).split("/")[0] for f in files if not str(f).startswith("..") and "dist-info" not in str(f)}
        import domain, workflows, activities
        rooms = ["starter", "workers", "embedded"]
        print(json.dumps({
            "tops": sorted(tops),
            "owners": [domain.OWNER, workflows.OWNER, activities.OWNER],
            "others": [room for room in rooms if importlib.util.find_spec(room)],
        }))
        """,
        executable=executable,
        folder=folder,
    )
    assert found == {"tops": ["lull"], "owners": ["the application"] * 3, "others": []}


def test_every_room_comes_from_the_installation(application: tuple[Path, Path]):
    executable, folder = application
    places = python(
        """
        import importlib, json
        names = ["lull.domain.kinds.purge", "lull.activities.kinds.purge", "lull.workflows.job", "lull.workers.main",
                 "lull.starter.cli", "lull.embedded.cli", "lull.cli", "lull.hooks"]
        print(json.dumps([importlib.import_module(name).__file__ for name in names]))
        """,
        executable=executable,
        folder=folder,
    )
    assert all(place.startswith(str(folder / "venv")) for place in places), places


def test_the_installed_command_runs_in_the_application_s_folder(application: tuple[Path, Path]):
    executable, folder = application
    ran = subprocess.run(
        [executable.parent / "lull", "kinds", "--json"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert {kind["kind"] for kind in json.loads(ran.stdout)["kinds"]} == {"purge", "transform", "update"}


def test_the_wheel_carries_what_is_no_module(wheel: Path):
    """The stack is built from module files, and type checkers look for py.typed."""
    names = {*zipfile.ZipFile(wheel).namelist()}
    assert {"lull/py.typed", "lull/embedded/temporal_build/go.mod", "lull/embedded/temporal_build/go.sum"} <= names

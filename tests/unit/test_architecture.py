"""The arrows between the rooms hold, and the machines that hold them work: each is shown to catch a trespasser."""

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGE_DIR: dict[str, str] = PYPROJECT["tool"]["setuptools"]["package-dir"]
ROOMS = sorted(name.removeprefix("lull.") for name in PACKAGE_DIR if name.count(".") == 1)
CONTRACTS: list[dict[str, Any]] = PYPROJECT["tool"]["importlinter"]["contracts"]


# -- rooms and links ------------------------------------------------------------------------------


def test_every_room_stands_at_the_root_and_is_linked_under_lull():
    assert ROOMS == ["activities", "domain", "embedded", "starter", "workers", "workflows"]
    for room in ROOMS:
        assert (ROOT / "lull" / room).readlink() == Path("..", room)
        assert (ROOT / room / "__init__.py").is_file()


def test_lull_holds_nothing_but_links_and_the_face():
    links = {path.name for path in (ROOT / "lull").iterdir() if path.is_symlink()}
    folders = {path.name for path in (ROOT / "lull").iterdir() if path.is_dir() and not path.is_symlink()}
    assert links == set(ROOMS)
    assert folders <= {"__pycache__"}


def test_every_package_is_shipped_from_where_it_stands():
    """Wheel, sdist and editable install are made from this mapping; a package it forgets is missing at the user's."""
    folders = {path.parent for room in ROOMS for path in (ROOT / room).rglob("__init__.py")}
    standing = {f"lull.{folder.relative_to(ROOT).as_posix().replace('/', '.')}": folder for folder in folders}
    assert set(PYPROJECT["tool"]["setuptools"]["packages"]) == {"lull", *standing}
    assert {name: ROOT / path for name, path in PACKAGE_DIR.items()} == {"lull": ROOT / "lull", **standing}


def test_every_module_of_a_room_lies_in_a_package():
    """A folder without ``__init__.py`` would work here, and be missing from the wheel."""
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            assert (path.parent / "__init__.py").is_file(), path


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_not_importable_by_its_bare_name(room: str):
    """Applications that install lull have a domain/ and workflows/ of their own."""
    ran = subprocess.run([sys.executable, "-c", f"import {room}"], capture_output=True, text=True, cwd="/", check=False)
    assert "ModuleNotFoundError" in ran.stderr


def test_ruff_leaves_out_every_link_so_that_each_room_is_linted_once():
    assert sorted(PYPROJECT["tool"]["ruff"]["extend-exclude"]) == [f"lull/{room}" for room in ROOMS]


# -- contracts ------------------------------------------------------------------------------------


def linted(folder: Path) -> str:
    """What import-linter says of the package ``lull`` in *folder*, in one line of words."""
    ran = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--config", ROOT / "pyproject.toml"],
        capture_output=True, text=True, check=False, cwd=folder, env={"PYTHONPATH": str(folder)},
    )  # fmt: skip
    return " ".join(ran.stdout.split())


def test_the_arrows_between_the_rooms_hold():
    assert f"Contracts: {len(CONTRACTS)} kept, 0 broken." in linted(ROOT)


TRESPASSES = [
    ("domain", "import time", "time"),
    ("domain", "from pymongo import MongoClient", "pymongo"),
    ("domain", "import lull.activities", "lull.activities"),
    ("domain", "from temporalio import workflow", "temporalio"),
    ("workflows", "import bson", "bson"),
    ("workflows", "import lull.activities", "lull.activities"),
    ("workflows", "import lull.starter", "lull.starter"),
    ("workflows", "from opentelemetry import trace", "opentelemetry"),
    ("activities", "import lull.workflows", "lull.workflows"),
    ("activities", "def late():\n    import lull.workers", "lull.workers"),
    ("starter", "import pymongo.errors", "pymongo"),
    ("starter", "import lull.workers", "lull.workers"),
    ("embedded", "import lull.domain", "lull.domain"),
]


@pytest.fixture
def small_house(tmp_path: Path) -> Path:
    """A package of the same rooms with nothing in them but what the contracts name."""
    for room in ROOMS:
        (tmp_path / "lull" / room).mkdir(parents=True)
        (tmp_path / "lull" / room / "__init__.py").touch()
    (tmp_path / "lull" / "__init__.py").touch()
    (tmp_path / "lull" / "cli.py").touch()
    (tmp_path / "lull" / "domain" / "ports.py").write_text("from temporalio import activity\n")
    return tmp_path


def test_a_trespasser_in_any_room_is_caught(small_house: Path):
    assert f"Contracts: {len(CONTRACTS)} kept, 0 broken." in linted(small_house)
    for number, (room, trespass, _) in enumerate(TRESPASSES):
        (small_house / "lull" / room / f"trespasser{number}.py").write_text(trespass + "\n")
    report = linted(small_house)
    missed = [
        trespass
        for number, (room, trespass, target) in enumerate(TRESPASSES)
        if f"lull.{room}.trespasser{number} -> {target} (l." not in report
    ]
    assert missed == []


def forbidden_to(room: str) -> set[str]:
    contracts = [c for c in CONTRACTS if c["type"] == "forbidden" and c["source_modules"] == [f"lull.{room}"]]
    return {module for contract in contracts for module in contract["forbidden_modules"]}


@pytest.mark.parametrize(
    ("room", "forbidden"),
    [
        ("domain", {"bson", "pymongo", "opentelemetry", "time", "random", "os", "lull.workflows", "lull.activities", "lull.workers", "lull.starter", "lull.embedded"}),
        ("workflows", {"bson", "pymongo", "opentelemetry", "lull.activities", "lull.workers", "lull.starter", "lull.embedded"}),
        ("activities", {"lull.workflows", "lull.workers", "lull.starter", "lull.embedded"}),
        ("starter", {"bson", "pymongo", "lull.activities", "lull.workers", "lull.embedded"}),
        ("embedded", {"lull.domain", "lull.workflows", "lull.activities", "lull.workers", "lull.starter"}),
    ],
)  # fmt: skip
def test_every_room_is_forbidden_what_it_must_not_know(room: str, forbidden: set[str]):
    """The contracts themselves: one that was softened to make a build pass would keep every promise and hold none."""
    assert forbidden <= forbidden_to(room)


# -- the linter's bans ----------------------------------------------------------------------------


def violations(snippet: str, where: str) -> set[str]:
    """The rules ruff finds broken by *snippet* if it stood at *where*."""
    ran = subprocess.run(
        [Path(sys.executable).with_name("ruff"), "check", "--no-cache", "--output-format=concise", "--stdin-filename", ROOT / where, "-"],
        input=snippet, capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert ran.returncode in {0, 1}, ran.stderr
    return {line.split(":", 3)[3].split()[0] for line in ran.stdout.splitlines() if line.count(":") >= 3}


@pytest.mark.parametrize(
    "snippet",
    [
        "import time\n",
        "import random\n",
        "from random import choice\n",
        "import os.path\n",
        "from pathlib import Path\n",
        "import secrets\n",
        "import uuid\n",
        "from time import monotonic as clock\n",
        "from datetime import datetime\n\nNOW = datetime.now()\n",
        "import datetime as dt\n\nNOW = dt.datetime.utcnow()\n",
        "import datetime as dt\n\nTODAY = dt.date.today()\n",
    ],
)
@pytest.mark.parametrize("where", ["domain/law.py", "domain/kinds/law.py"])
def test_the_linter_bans_clock_dice_and_io_from_the_domain(snippet: str, where: str):
    assert "TID251" in violations(snippet, where)


def test_the_linter_lets_the_domain_name_times_and_the_other_rooms_read_clocks():
    assert "TID251" not in violations("from datetime import datetime, timedelta\n", "domain/law.py")
    assert "TID251" not in violations("import time\n", "activities/clock.py")


def test_the_linter_bans_the_clock_of_the_builtin_modules_even_under_another_name():
    assert "TID251" in violations("import time as t\n\nNOW = t.time()\n", "domain/law.py")

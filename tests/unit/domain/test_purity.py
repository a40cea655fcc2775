"""
The laws load no driver, no room and no telemetry: seen in a fresh interpreter, whatever the linters say.

``import-linter`` reads the imports; this test runs them.
"""

import ast
import json
import pkgutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import lull.domain

ROOT = Path(__file__).parents[3]
MODULES = sorted(
    module.name for module in pkgutil.walk_packages(lull.domain.__path__, "lull.domain.") if not module.ispkg
)
PURE = [name for name in MODULES if name != "lull.domain.ports"]

FORBIDDEN = {
    "bson", "pymongo", "gridfs", "opentelemetry", "typer", "click", "rich", "yaml", "requests", "dns",
    "lull.workflows", "lull.activities", "lull.workers", "lull.starter", "lull.embedded", "lull.cli",
}  # fmt: skip


@cache
def loaded_by(*modules: str) -> frozenset[str]:
    """Every module in ``sys.modules`` after a fresh interpreter imported these."""
    code = f"import sys, json, {', '.join(modules)}; print(json.dumps(sorted(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    return frozenset(json.loads(ran.stdout))


def offending(loaded: frozenset[str], forbidden: set[str]) -> list[str]:
    return sorted(name for name in loaded if any(name == bad or name.startswith(bad + ".") for bad in forbidden))


def test_the_whole_of_the_domain_loads_no_driver_and_no_other_room():
    assert offending(loaded_by(*MODULES), FORBIDDEN) == []


def test_only_the_ports_know_temporal():
    assert offending(loaded_by(*PURE), {"temporalio"}) == []
    assert "temporalio.activity" in loaded_by("lull.domain.ports")


@pytest.mark.parametrize("path", sorted((ROOT / "domain").rglob("*.py")), ids=lambda path: path.name)
def test_a_law_reads_no_clock_throws_no_dice_and_opens_nothing(path: Path):
    """By name and by attribute: what the linter bans by import may also be reached in other ways."""
    tree = ast.parse(path.read_text())
    imported = {
        alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    imported |= {(node.module or "").split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported.isdisjoint(
        {"time", "random", "secrets", "uuid", "os", "io", "socket", "threading", "asyncio", "pathlib", "tempfile"}
    )
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert called.isdisjoint({"open", "print", "input", "eval", "exec", "__import__", "id"})
    assert not any(name.endswith((".now", ".utcnow", ".today")) for name in called)


@pytest.mark.parametrize("path", sorted((ROOT / "domain").rglob("*.py")), ids=lambda path: path.name)
def test_a_law_keeps_nothing_between_calls(path: Path):
    """No ``global``, and no module-level name that is written again: workflows replay these functions."""
    tree = ast.parse(path.read_text())
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Global | ast.Nonlocal)]

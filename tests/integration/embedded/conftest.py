"""Servers of these tests' own: each test stops, kills or moves them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lull.embedded.ports import free_port
from lull.embedded.process import Identity

FACE = Path(__file__).with_name("face.py")


class Dev:
    """``lull dev`` as an operator types it, over one data folder, on ports of its own."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.ports = (
            *("--mongo-port", str(free_port()), "--temporal-port", str(free_port())),
            *("--ui-port", str(free_port())),
        )

    def command(self, *words: str) -> list[str]:
        return [sys.executable, str(FACE), "--data", str(self.data), *words]

    def run(self, *words: str, environment: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.command(*words),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, **(environment or {})},
        )

    def document(self, *words: str) -> dict[str, Any]:
        """The one JSON document on stdout."""
        answer = self.run(*words, "--json")
        document: dict[str, Any] = json.loads(answer.stdout)
        return document

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads((self.data / "stack.json").read_text())
        return state

    def processes(self) -> list[Identity]:
        """Everything that the state file names, host first."""
        state = self.state()
        servers = [state["temporal"]["server"], *state["mongo"]["members"]]
        found = [state["host"], *(server["process"] for server in servers), (state["worker"] or {}).get("process")]
        return [Identity(**one) for one in found if one]

    def notes(self) -> list[str]:
        """What the worker says happened to it."""
        path = self.data / "worker-notes.txt"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Dev]:
    dev = Dev(tmp_path / "data")
    yield dev
    if (dev.data / "stack.json").exists():
        dev.run("stop")

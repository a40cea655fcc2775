"""
A transform that leaves a trace of every call, which survives a kill -9 of the process that made it.

Each process appends to a file of its own in the folder that ``CHAOS_CALLS`` names: what has been
handed to the kernel outlives the process.
"""

import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import transforms
from lull.activities.transforms import transform

FOLDER = "CHAOS_CALLS"
_CALL = struct.Struct("<qd")


class Call(NamedTuple):
    """One call of the function."""

    key: int
    """The document's ``_id``."""
    at: float
    """Seconds since the epoch."""


def file_of(folder: Path, pid: int) -> Path:
    """Return where the process leaves its trace."""
    return folder / f"calls-{pid}"


def calls(folder: Path, pid: int) -> Iterator[Call]:
    """Yield every call the process has made."""
    path = file_of(folder, pid)
    whole = path.read_bytes() if path.exists() else b""
    yield from (Call(*found) for found in _CALL.iter_unpack(whole[: len(whole) // _CALL.size * _CALL.size]))


def _open() -> int:
    folder = os.environ.get(FOLDER)
    path = file_of(Path(folder), os.getpid()) if folder else Path(os.devnull)
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


_trace = _open()


@transform("chaos.total")
def total(order: dict[str, Any]) -> dict[str, Any]:
    """Return what ``bench.total`` does, once the call has been written down."""
    os.write(_trace, _CALL.pack(order["_id"], time.time()))
    return transforms.total(order)

"""
What this machine's workers say of themselves, in files, for ``lull worker drain``.

One JSON file per process in ``$XDG_RUNTIME_DIR/lull`` (or ``/tmp/lull-<uid>``), readable by its owner
alone. A file outlives its worker only when that was killed; it is then removed by whoever reads it.
"""

import os
import stat
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from lull.domain.errors import OperatorError
from lull.embedded.process import Identity, identify


class Phase(StrEnum):
    """How far a worker is."""

    STARTING = "starting"  # Temporal has not answered yet
    READY = "ready"  # its pollers run
    DRAINING = "draining"  # it takes nothing new


class WorkerRecord(BaseModel):
    """One worker process."""

    model_config = ConfigDict(frozen=True)

    pid: int
    birth: str
    parent: int | None = None
    """The lull process that started it and starts it again, if there is one."""
    identity: str
    """As Temporal shows it."""
    queues: tuple[str, ...]
    slots: int
    address: str
    namespace: str
    grace_s: float
    started_at: datetime
    ready_at: datetime | None = None
    phase: Phase = Phase.STARTING
    finishing: tuple[str, ...] = ()
    """What a draining worker still has in hand."""

    @property
    def process(self) -> Identity:
        """The process, safe against a number used again."""
        return Identity(self.pid, self.birth)


class Records:
    """The files of one folder."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or runtime_folder(os.environ)

    def write(self, record: WorkerRecord) -> None:
        """The record replaces this process's earlier one; readers see the one or the other."""
        self._ensure_folder()
        new = self.folder / f".worker-{record.pid}.new"
        new.write_text(record.model_dump_json(indent=1))
        new.replace(self._path(record.pid))

    def remove(self, pid: int) -> None:
        """Nothing is said of this process any more."""
        self._path(pid).unlink(missing_ok=True)

    def live(self) -> list[WorkerRecord]:
        """Return the records of workers that run, oldest first; files of dead ones are removed."""
        found = []
        for path in sorted(self.folder.glob("worker-*.json")) if self.folder.is_dir() else []:
            record = _read(path)
            if record is None or not record.process.is_alive:
                path.unlink(missing_ok=True)
            else:
                found.append(record)
        return sorted(found, key=lambda record: (record.started_at, record.pid))

    def _path(self, pid: int) -> Path:
        return self.folder / f"worker-{pid}.json"

    def _ensure_folder(self) -> None:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            seen = self.folder.lstat()
        except OSError as error:
            raise OperatorError(
                f"cannot use {self.folder}: {error.strerror}; correct that or set XDG_RUNTIME_DIR"
            ) from None
        # /tmp is everybody's: another user's folder, or a link, could steer what drain signals.
        if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != os.getuid() or seen.st_mode & 0o077:
            raise OperatorError(
                f"{self.folder} is not a folder that only you can read; remove it, or set XDG_RUNTIME_DIR to another one"
            )


def runtime_folder(environment: Mapping[str, str]) -> Path:
    """Return where this user's workers write their records."""
    base = environment.get("XDG_RUNTIME_DIR")
    return Path(base) / "lull" if base else Path(f"/tmp/lull-{os.getuid()}")  # noqa: S108 - owner and mode are checked


def record_of_this_process(**said: Any) -> WorkerRecord:
    """Return a first record of the running process."""
    itself = identify(os.getpid())
    if itself is None:
        raise OSError("the system does not tell when this process was born")
    return WorkerRecord(pid=itself.pid, birth=itself.birth, started_at=datetime.now(UTC), **said)


def _read(path: Path) -> WorkerRecord | None:
    try:
        return WorkerRecord.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None

"""
What is written down about a stack: which processes, where, since when.

Beside the state lies a lock that the host of the stack holds while it lives. The lock says
whether a stack runs; the state says which. So a state file that survived a power loss
deceives nobody.
"""

import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from lull.embedded.errors import StackError, of_disk
from lull.embedded.process import Identity, identify

STATE_VERSION = 1

LOCK_PATIENCE_SECONDS = 1.0
"""`is_hosted` holds the lock for an instant; a host that starts in that instant tries again."""


class Status(StrEnum):
    """What the host of a stack last wrote."""

    STARTING = "starting"
    """It finds and starts the servers; the first time this takes minutes."""
    RUNNING = "running"
    """Everything answered."""
    STOPPING = "stopping"
    """It was told to stop and waits for the worker and the servers."""
    STOPPED = "stopped"
    """It stopped; the ports are kept for the next time."""
    FAILED = "failed"
    """It could not start; *error* says why."""


@dataclass(frozen=True, slots=True)
class Server:
    """One process of the stack."""

    port: int
    log: str
    process: Identity | None = None


@dataclass(frozen=True, slots=True)
class MongoState:
    """The replica set."""

    uri: str
    version: str
    members: list[Server]


@dataclass(frozen=True, slots=True)
class TemporalState:
    """The dev server."""

    address: str
    ui_url: str
    ui_port: int
    version: str
    server: Server


@dataclass(frozen=True, slots=True)
class WorkerState:
    """The worker that the stack keeps alive."""

    log: str
    process: Identity | None
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class StackState:
    """Everything another process can know about a stack."""

    status: Status
    host: Identity
    started_at: str
    mongo: MongoState | None = None
    temporal: TemporalState | None = None
    worker: WorkerState | None = None
    config: str | None = None
    error: str | None = None
    version: int = field(default=STATE_VERSION)

    @property
    def is_up(self) -> bool:
        """Whether the servers, the worker and the settings file are all there."""
        return self.status is Status.RUNNING and self.config is not None

    @property
    def processes(self) -> list[Identity]:
        """What the host started, in the order in which it is to be ended."""
        found = [self.worker and self.worker.process, self.temporal and self.temporal.server.process]
        found += [member.process for member in (self.mongo.members if self.mongo else [])]
        return [process for process in found if process]

    def changed(self, **changes: Any) -> Self:
        """The same with *changes*."""
        return replace(self, **changes)


class StackFiles:
    """Where a stack keeps what under its data folder."""

    def __init__(self, data: Path) -> None:
        self.data = data.absolute()
        self.state = self.data / "stack.json"
        self.lock = self.data / "stack.lock"
        self.config = self.data / "lull.toml"
        self.logs = self.data / "log"
        self.mongo = self.data / "mongo"
        self.temporal = self.data / "temporal"

    def prepare(self) -> None:
        """The folders are there and may be written."""
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
            self.lock.touch()
        except OSError as error:
            raise of_disk(error, self.data, "choose another data folder with --data") from error

    def read(self) -> StackState | None:
        """What was written last; None if nothing was, or if it cannot be understood."""
        try:
            return _from_document(json.loads(self.state.read_text()))
        except (OSError, ValueError, KeyError, TypeError):
            # A torn or foreign file tells nothing; whether a stack runs is the lock's to say.
            return None

    def write(self, state: StackState) -> None:
        """*state* replaces what was written, as a whole."""
        draft = self.state.with_suffix(".draft")
        try:
            draft.touch(mode=0o600)  # the URI may carry a password
            draft.write_text(json.dumps(asdict(state), indent=1))
            draft.replace(self.state)
        except OSError as error:
            raise of_disk(error, self.state, "choose another data folder with --data") from error

    def is_hosted(self) -> bool:
        """Whether a living process hosts a stack here."""
        if not self.lock.exists():
            return False
        with self.lock.open("r+") as lock:
            return not _try_lock(lock.fileno())

    @contextlib.contextmanager
    def hosted(self) -> Iterator[None]:
        """This process hosts the stack here, and nobody else does; the kernel gives it back at its end."""
        self.prepare()
        with self.lock.open("r+") as lock:
            deadline = time.monotonic() + LOCK_PATIENCE_SECONDS
            while not _try_lock(lock.fileno()):
                if time.monotonic() > deadline:
                    raise AlreadyHosted(f"another process hosts a stack in {self.data}; run 'lull dev status'")
                time.sleep(0.05)
            yield


class AlreadyHosted(StackError):
    """Somebody else has the lock."""


def _try_lock(descriptor: int) -> bool:
    import fcntl  # noqa: PLC0415 -- there is none on Windows, where this module must still import

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def this_process() -> Identity:
    """Us."""
    identity = identify(os.getpid())
    assert identity is not None, "we run"
    return identity


def _from_document(document: dict[str, Any]) -> StackState:
    if document["version"] != STATE_VERSION:
        raise ValueError(f"state version {document['version']}, and {STATE_VERSION} is known")
    mongo, temporal, worker = document["mongo"], document["temporal"], document["worker"]
    return StackState(
        **{
            **document,
            "status": Status(document["status"]),
            "host": Identity(**document["host"]),
            "mongo": mongo and MongoState(**{**mongo, "members": [_server(one) for one in mongo["members"]]}),
            "temporal": temporal and TemporalState(**{**temporal, "server": _server(temporal["server"])}),
            "worker": worker and WorkerState(**{**worker, "process": _identity(worker["process"])}),
        }
    )


def _server(document: dict[str, Any]) -> Server:
    return Server(**{**document, "process": _identity(document["process"])})


def _identity(document: dict[str, Any] | None) -> Identity | None:
    return Identity(**document) if document else None

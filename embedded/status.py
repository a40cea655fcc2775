"""What a stack is doing now, asked of the stack itself and not only of what was written down."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from lull.embedded.ports import LOOPBACK
from lull.embedded.process import Identity
from lull.embedded.state import StackFiles, StackState, Status
from lull.embedded.temporal import namespace_answers

ASK_MS_MAX = 1_000
"""A server on this machine that has not answered in a second is not healthy."""

Health = Literal["primary", "secondary", "serving", "running", "starting", "not answering", "not running"]
WELL: frozenset[Health] = frozenset({"primary", "secondary", "serving", "running"})


@dataclass(frozen=True, slots=True)
class Part:
    """One process of a stack, as found now."""

    name: str
    health: Health
    pid: int | None
    port: int | None
    version: str | None
    log: str
    restarts: int | None = None

    @property
    def is_well(self) -> bool:
        """Whether it does its work."""
        return self.health in WELL


@dataclass(frozen=True, slots=True)
class Finding:
    """A stack as found now."""

    state: StackState
    parts: list[Part]

    @property
    def is_well(self) -> bool:
        """Whether every part serves."""
        return self.state.status is Status.RUNNING and all(part.is_well for part in self.parts)

    def document(self) -> dict[str, Any]:
        """The same for a machine."""
        state = self.state
        return {
            "status": str(state.status),
            "healthy": self.is_well,
            "host_pid": state.host.pid,
            "started_at": state.started_at,
            "mongo_uri": state.mongo and state.mongo.uri,
            "temporal_address": state.temporal and state.temporal.address,
            "ui_url": state.temporal and state.temporal.ui_url,
            "config": state.config,
            "parts": [asdict(part) for part in self.parts],
        }


def examine(files: StackFiles) -> Finding | None:
    """The stack of this data folder; None if none runs there, whatever a state file says."""
    if not files.is_hosted():
        return None
    state = files.read()
    return None if state is None else Finding(state, [*_mongo(state), *_temporal(state), *_worker(state)])


def _mongo(state: StackState) -> list[Part]:
    if state.mongo is None:
        return []
    return [
        Part(
            "MongoDB",
            _alive(member.process) or _mongo_health(member.port),
            _pid(member.process),
            member.port,
            state.mongo.version,
            member.log,
        )
        for member in state.mongo.members
    ]


def _mongo_health(port: int) -> Health:
    try:
        client: MongoClient[dict[str, Any]] = MongoClient(
            LOOPBACK, port, directConnection=True, serverSelectionTimeoutMS=ASK_MS_MAX, socketTimeoutMS=ASK_MS_MAX
        )
        with client:
            hello = client.admin.command("hello")
    except PyMongoError:
        return "not answering"
    if hello.get("isWritablePrimary"):
        return "primary"
    return "secondary" if hello.get("secondary") else "starting"


def _temporal(state: StackState) -> list[Part]:
    if state.temporal is None:
        return []
    server = state.temporal.server
    health = _alive(server.process) or _temporal_health(state.temporal.ui_port)
    return [Part("Temporal", health, _pid(server.process), server.port, state.temporal.version, server.log)]


def _temporal_health(ui_port: int) -> Health:
    return "serving" if namespace_answers(ui_port, "default", ASK_MS_MAX / 1_000) else "not answering"


def _worker(state: StackState) -> list[Part]:
    if state.worker is None:
        return []
    health = _alive(state.worker.process) or "running"
    pid = _pid(state.worker.process)
    return [Part("Worker", health, pid, None, None, state.worker.log, state.worker.restarts)]


def _alive(process: Identity | None) -> Health | None:
    """Why there is no need to ask it; None if it is there."""
    return None if process is not None and process.is_alive else "not running"


def _pid(process: Identity | None) -> int | None:
    return process.pid if process is not None and process.is_alive else None

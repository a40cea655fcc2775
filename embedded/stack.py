"""MongoDB and Temporal together: found, started side by side, written down, stopped in order."""

import contextlib
import signal
from collections.abc import Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from lull.embedded import process
from lull.embedded.errors import ExitCode, StackError
from lull.embedded.mongod import MongodOptions, ReplicaSet
from lull.embedded.mongod_binary import find_mongod
from lull.embedded.ports import free_port, held_by, is_free, next_free, require_free
from lull.embedded.report import Line, Say, Step, silent
from lull.embedded.service import STOP_SECONDS_MAX, Service
from lull.embedded.state import MongoState, Server, StackFiles, StackState, Status, TemporalState, this_process
from lull.embedded.temporal import TemporalServer
from lull.embedded.temporal_binary import find_temporal


@dataclass(frozen=True, slots=True)
class Ports:
    """Ports by role; None leaves the choice to the stack. Further members take the ports after *mongo*."""

    mongo: int | None = None
    temporal: int | None = None
    ui: int | None = None


PREFERRED = Ports(mongo=27_117, temporal=7_233, ui=8_233)
"""What people expect to type: Temporal's own, and one beside MongoDB's own, which may be in use."""


class Stack:
    """
    A replica set and a Temporal server over one data folder.

    After `start` both answer, and `files.state` says where.
    Ports that were *named* must be free; the others are those of the last time, or the
    *preferred* ones, or the next free ones, which is said. Everything ends with this process.
    """

    def __init__(
        self,
        data: Path,
        *,
        members: int | None = None,
        auth: bool | None = None,
        named: Ports | None = None,
        preferred: Ports | None = None,
        search_attributes: Mapping[str, str] | None = None,
        dynamic_config: Mapping[str, Any] | None = None,
        options: MongodOptions | None = None,
        say: Say = silent,
    ) -> None:
        self.files = StackFiles(data)
        self._members = members
        self._auth = auth
        self._named = named or Ports()
        self._preferred = preferred or Ports()
        self._search_attributes = search_attributes
        self._dynamic_config = dynamic_config
        self._options = options
        self._listener = say
        self._is_given_up = False
        self._mongo_line = Line("MongoDB", self._say)
        self._temporal_line = Line("Temporal", self._say)
        self._mongo: ReplicaSet | None = None
        self._temporal: TemporalServer | None = None
        self._hosting = contextlib.ExitStack()
        self.state = StackState(Status.STOPPED, this_process(), _now())

    def start(self) -> None:
        """Both answer, or neither runs and a StackError says why."""
        self._hosting.enter_context(self.files.hosted())
        try:
            last = self.files.read()
            end_leftovers(last)
            if last is not None:
                self.state = last
            self.write(
                status=Status.STARTING, host=this_process(), started_at=_now(), worker=None, config=None, error=None
            )
            self._start_both(last)
        except BaseException as error:
            self._abandon(error)
            raise
        self.write(status=Status.RUNNING, mongo=self._mongo_state(), temporal=self._temporal_state())

    def _start_both(self, last: StackState | None) -> None:
        """Each is started as soon as it is found: one may be built while the other answers."""
        with ThreadPoolExecutor(2, thread_name_prefix="stack start") as pool:
            starts = [pool.submit(self._start_mongo), pool.submit(self._start_temporal, last)]
            try:
                _first_error(starts)
            except BaseException:
                self._give_up(starts)
                raise

    def _give_up(self, starts: list["Future[None]"]) -> None:
        """Neither start goes on: the next word of each raises, and what it started is killed."""
        self._is_given_up = True
        while wait(starts, timeout=0.1).not_done:
            self._kill_services()
        self._kill_services()

    def _kill_services(self) -> None:
        for service in self.services:
            service.kill()

    def _say(self, step: Step) -> None:
        if self._is_given_up:
            raise StackError("the start was given up")
        self._listener(step)

    def _start_mongo(self) -> None:
        line = self._mongo_line
        line.going("looking for mongod")
        binary = find_mongod(line)
        line.going(f"starting mongod {binary.version_text} from {binary.source}")
        self._mongo = ReplicaSet(
            self.files.mongo,
            members=self._members,
            auth=self._auth,
            ports=self._mongo_ports(),
            options=self._options,
            binary=binary,
            logs=self.files.logs,
            line=line,
        )
        self._mongo.start()
        line.done(f"MongoDB {binary.version_text} at {', '.join(one.address for one in self.mongo.members)}")

    def _start_temporal(self, last: StackState | None) -> None:
        line = self._temporal_line
        line.going("looking for temporal")
        binary = find_temporal(line)
        line.going(f"starting Temporal {binary.version_text} from {binary.source}")
        known = last.temporal if last else None
        known_port, known_ui_port = (known.server.port, known.ui_port) if known else (None, None)
        self._temporal = TemporalServer(
            self.files.temporal,
            port=self._port("--temporal-port", self._named.temporal, known_port, self._preferred.temporal),
            ui_port=self._port("--ui-port", self._named.ui, known_ui_port, self._preferred.ui),
            search_attributes=self._search_attributes,
            dynamic_config=self._dynamic_config,
            binary=binary,
            log=self.files.logs / "temporal.log",
        )
        self._temporal.start()
        line.done(f"Temporal {binary.version_text} at {self.temporal.address}, Web UI {self.temporal.ui_url}")

    def _mongo_ports(self) -> list[int] | None:
        """Ports for a set that has none yet, or that were named; None: those that it remembers."""
        if self._named.mongo is not None:
            count = self._members or ReplicaSet.members_of(self.files.mongo) or 1
            return [require_free(self._named.mongo + offset, option="--mongo-port") for offset in range(count)]
        if ReplicaSet.members_of(self.files.mongo) is not None:
            return None
        ports = [_preferred_port(self._mongo_line, self._preferred.mongo)]
        while len(ports) < (self._members or 1):
            ports.append(free_port() if self._preferred.mongo is None else next_free(ports[-1] + 1))
        return ports

    def _port(self, option: str, named: int | None, known: int | None, preferred: int | None) -> int:
        """The named port, else that of the last time, else the preferred one, else the next free one."""
        if named is not None:
            return require_free(named, option=option)
        if known is not None and is_free(known):
            return known
        return _preferred_port(self._temporal_line, known or preferred)

    @property
    def services(self) -> list[Service]:
        """Every server process that the stack has so far, in the order in which they are to end."""
        found: list[Service] = [self._temporal] if self._temporal else []
        return found + list(self._mongo.members if self._mongo else [])

    @property
    def mongo(self) -> ReplicaSet:
        """The replica set of a started stack."""
        return _started(self._mongo)

    @property
    def temporal(self) -> TemporalServer:
        """The Temporal server of a started stack."""
        return _started(self._temporal)

    def write(self, **changes: Any) -> None:
        """The state file says what it said and *changes*."""
        self.state = self.state.changed(**changes)
        self.files.write(self.state)

    def refresh(self) -> None:
        """The state file names the processes that run now."""
        self.write(mongo=self._mongo_state(), temporal=self._temporal_state())

    def stop(self, grace_seconds: float = STOP_SECONDS_MAX) -> None:
        """Both have ended, Temporal before MongoDB, and the data folder is free. Idempotent."""
        if self.state.status is Status.STOPPED:
            return
        self.write(status=Status.STOPPING)
        self.temporal.stop(grace_seconds)
        self.mongo.stop(grace_seconds)
        self.write(status=Status.STOPPED, worker=None)
        self._hosting.close()

    def kill(self) -> None:
        """Both were ended by SIGKILL."""
        self.stop(grace_seconds=0)

    def _abandon(self, error: BaseException) -> None:
        """Nothing runs after a start that failed, and the state file says why."""
        self._kill_services()
        reason = str(error) or type(error).__name__
        # The disk may be what failed; then the error itself is all there is.
        with contextlib.suppress(StackError):
            self.write(status=Status.FAILED, error=reason)
        self._hosting.close()

    def _mongo_state(self) -> MongoState:
        return MongoState(
            self.mongo.uri, self.mongo.binary.version_text, [_server(one, one.port) for one in self.mongo.members]
        )

    def _temporal_state(self) -> TemporalState:
        one = self.temporal
        server = _server(one, one.port)
        return TemporalState(one.address, one.ui_url, one.ui_port, one.binary.version_text, server)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _preferred_port(line: Line, wanted: int | None) -> int:
    """*wanted* or the next free one above it, which is said; a quiet one if nothing is wanted."""
    if wanted is None:
        return free_port()
    port = next_free(wanted)
    if port != wanted:
        line.note(f"port {wanted} is taken{held_by(wanted)}: {line.name} takes {port}")
    return port


Part = TypeVar("Part")


def _started(part: Part | None) -> Part:
    if part is None:
        raise StackError("the stack is not started; call start() first", ExitCode.NOT_FOUND)
    return part


def _server(service: Service, port: int) -> Server:
    return Server(port, str(service.log), process.identify(service.pid) if service.pid else None)


def _first_error(starts: list["Future[None]"]) -> None:
    """Raise what failed first, without waiting for the rest."""
    # In slices, so that a Ctrl-C is seen while a build runs.
    pending = set(starts)
    while pending:
        done, pending = wait(pending, timeout=0.2, return_when=FIRST_EXCEPTION)
        for start in done:
            start.result()


def end_leftovers(state: StackState | None, grace_seconds: float = STOP_SECONDS_MAX) -> int:
    """
    How many processes of a dead host still ran; none does any more.

    On Linux they die with their host. A number that now belongs to another process is left
    alone: a process is known by its birth as well.
    """
    found = [one for one in (state.processes if state else []) if one.is_alive]
    for one in found:
        one.signal(signal.SIGTERM)
        if not one.wait_gone(grace_seconds):
            one.signal(signal.SIGKILL)
            one.wait_gone(grace_seconds)
    return len(found)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

"""A real ``mongod`` on the loopback address, alone or as a replica set of one or three."""

import json
import secrets
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote_plus

from pymongo import MongoClient
from pymongo.errors import ConfigurationError, OperationFailure, PyMongoError
from typing_extensions import override

from lull.embedded.binaries import Binary
from lull.embedded.errors import ExitCode, StackError, of_disk
from lull.embedded.mongod_binary import find_mongod
from lull.embedded.ports import LOOPBACK, free_port, held_by, is_free, next_free
from lull.embedded.process import wait_until
from lull.embedded.report import Line
from lull.embedded.service import STOP_SECONDS_MAX, Service

SET_NAME = "lull"
MEMORY_FILE = "replica_set.json"

MOVE_SECONDS_MAX = 60.0
"""mongod asks whoever holds its old port whether that is itself; a stranger may leave it waiting for 30 s."""

_UNAUTHORIZED = 13
_ALREADY_INITIALIZED = 23
_NOT_YET_INITIALIZED = 94
_NOBODY_CAUGHT_UP = 262

Document = dict[str, Any]
Parameter = str | int | float | bool

ELECTION_TIMEOUT_MS = 1_000
"""MongoDB's default of 10 s is made for networks; on one machine a second without a heartbeat is a death."""

HEARTBEAT_INTERVAL_MS = 250
"""A quarter of the election timeout: one lost heartbeat is no death."""

PRIMARY_SECONDS_MAX = 30.0
"""How long a set may be without a primary before that is an error."""

STEP_DOWN_TRIES_MAX = 20
"""A primary is asked again when no other member caught up with it in two seconds."""

# A member waits 15 s at SIGTERM for others to take over; here nobody comes while all stop.
_PARAMETERS: Mapping[str, Parameter] = {"shutdownTimeoutMillisForSignaledShutdown": 100}


@dataclass(frozen=True, slots=True)
class MongodOptions:
    """What may differ between one mongod and another."""

    cache_gib: float = 1.0
    """WiredTiger's cache; by default it would take half of the machine."""
    oplog_mb: int | None = None
    """Size of the oplog; 990 is the least. MongoDB's own choice (5 % of the disk) if None."""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    """``--setParameter`` by name."""
    arguments: Sequence[str] = ()
    """Further words of the command line."""


class Mongod(Service):
    """
    One mongod process over one data folder.

    With *replica_set* it is a member of that set, which somebody must initiate: see
    `ReplicaSet`. *port* stays the same over restarts; a quiet free one if None.
    """

    def __init__(
        self,
        data: Path,
        *,
        port: int | None = None,
        replica_set: str | None = None,
        key_file: Path | None = None,
        options: MongodOptions | None = None,
        binary: Binary | None = None,
        log: Path | None = None,
        dies_with_parent: bool = True,
    ) -> None:
        super().__init__(data, log=log or data.with_suffix(".log"), dies_with_parent=dies_with_parent)
        self.port = port or free_port()
        self.name = f"mongod on port {self.port}"
        self.replica_set = replica_set
        self.key_file = key_file
        self.options = options or MongodOptions()
        self.binary = binary or find_mongod()

    @property
    def address(self) -> str:
        """``127.0.0.1:27117``."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def uri(self) -> str:
        """Speaks with this process alone, whatever its role in a set."""
        return f"mongodb://{self.address}/?directConnection=true"

    def hello(self) -> Document | None:
        """What it says of itself; None if it does not answer within half a second."""
        try:
            with _short_client(self.uri) as client:
                return client.admin.command("hello")
        except PyMongoError:
            return None

    @override
    def _answers(self) -> bool:
        return not is_free(self.port) and self.hello() is not None

    @override
    def _ports(self) -> list[int]:
        return [self.port]

    @override
    def _environment(self) -> dict[str, str]:
        return self.binary.full_environment()

    @override
    def _command(self) -> list[str]:
        options = self.options
        command = [
            *(str(self.binary.path), "--dbpath", str(self.data), "--port", str(self.port)),
            *("--bind_ip", LOOPBACK, "--nounixsocket", "--quiet"),
            *("--wiredTigerCacheSizeGB", f"{options.cache_gib:g}"),
        ]
        if self.replica_set:
            command += ["--replSet", self.replica_set]
        if self.key_file:
            command += ["--keyFile", str(self.key_file)]
        if options.oplog_mb:
            command += ["--oplogSize", str(options.oplog_mb)]
        return [*command, *_parameter_words({**_PARAMETERS, **options.parameters}), *options.arguments]

    @override
    def _explain(self, words: str) -> str | None:
        for sign, meaning in _KNOWN_ENDS.items():
            if sign in words:
                return meaning.format(port=self.port, data=self.data, version=self.binary.version_text)
        return _first_failure(words)


_OTHER_GENERATION = (
    "{data} was written by another generation of MongoDB than this mongod {version} can read; "
    "use the mongod that wrote it (LULL_MONGOD), or another data folder"
)

_KNOWN_ENDS = {
    "Address already in use": "port {port} is taken; end what holds it or choose another port",
    "Wrong mongod version": _OTHER_GENERATION,
    "UPGRADE PROBLEM": _OTHER_GENERATION,
    "unsupported WiredTiger file version": _OTHER_GENERATION,
    "No space left on device": "the disk that holds {data} is full; free some space there",
    "DBPathInUse": "another mongod uses {data}; stop it or choose another data folder",
    "Unable to lock the lock file": "another mongod uses {data}; stop it or choose another data folder",
    "Permission denied": "it may not write {data}; correct the folder's owner or choose another",
    "error while loading shared libraries": (
        "this machine lacks a library that mongod {version} needs (the log names it); "
        "install that library, or a MongoDB of this system's own"
    ),
}
"""What a mongod's log says when it gives up, and what that means for an operator."""


def _first_failure(words: str) -> str | None:
    """The first error or fatal line of mongod's JSON log, which is the cause; the rest is consequence."""
    for line in words.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and entry.get("s") in {"E", "F"}:
            return f"{entry.get('msg')} {json.dumps(entry.get('attr', {}))[:400]}"
    return None


def _parameter_words(parameters: Mapping[str, Parameter]) -> list[str]:
    words = []
    for name, value in parameters.items():
        plain = str(value).lower() if isinstance(value, bool) else str(value)
        words += ["--setParameter", f"{name}={plain}"]
    return words


def _short_client(uri: str, timeout_ms: int = 500) -> MongoClient[Document]:
    return MongoClient(
        uri, serverSelectionTimeoutMS=timeout_ms, connectTimeoutMS=timeout_ms, socketTimeoutMS=timeout_ms * 10
    )


@dataclass(frozen=True, slots=True)
class _Memory:
    """What a set must find again after a restart: its configuration holds the ports."""

    ports: list[int]
    user: str | None = None
    password: str | None = None
    is_initiated: bool = False

    @staticmethod
    def read(path: Path) -> "_Memory | None":
        try:
            return _Memory(**json.loads(path.read_text()))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, TypeError) as error:
            raise StackError(
                f"cannot read {path} ({error}); it holds the ports of the replica set beside it: "
                "restore it, or delete the folder to start over"
            ) from error

    def suits(self, members: int | None, auth: bool | None, ports: Sequence[int] | None) -> bool:  # noqa: FBT001
        """Whether a set that was never initiated is the one that is asked for now."""
        same_size = members in {None, len(self.ports)}
        same_ports = ports is None or list(ports) == self.ports
        return same_size and same_ports and bool(auth) == bool(self.user)

    def write(self, path: Path) -> None:
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(self), indent=1))


class ReplicaSet:
    """
    A replica set of *members* processes under one folder, initiated and writable after `start`.

    Opened again over the same folder it has the same ports, users and documents. With *auth*
    it demands a password; `uri` carries that of its root user.
    """

    def __init__(
        self,
        data: Path,
        *,
        members: int | None = None,
        auth: bool | None = None,
        ports: Sequence[int] | None = None,
        options: MongodOptions | None = None,
        binary: Binary | None = None,
        logs: Path | None = None,
        dies_with_parent: bool = True,
        line: Line | None = None,
    ) -> None:
        self.data = data
        self._line = line or Line("MongoDB")
        self._memory_file = data / MEMORY_FILE
        known = _Memory.read(self._memory_file)
        self._moved_from = known.ports[0] if known else None
        self._memory = self._recall(known, members=members, auth=auth, ports=ports)
        self.binary = binary or find_mongod(self._line)
        self._key_file = data / "keyfile" if self._memory.user else None
        self.members = [
            Mongod(
                data / f"member-{number}",
                port=port,
                replica_set=SET_NAME,
                key_file=self._key_file,
                options=options,
                binary=self.binary,
                log=(logs or data) / f"mongod-{number}.log",
                dies_with_parent=dies_with_parent,
            )
            for number, port in enumerate(self._memory.ports, start=1)
        ]

    @staticmethod
    def members_of(data: Path) -> int | None:
        """How many members the initiated set in this folder has; None if there is none yet."""
        memory = _Memory.read(data / MEMORY_FILE)
        return len(memory.ports) if memory and memory.is_initiated else None

    def _recall(
        self, known: _Memory | None, *, members: int | None, auth: bool | None, ports: Sequence[int] | None
    ) -> _Memory:
        if known is None or (not known.is_initiated and not known.suits(members, auth, ports)):
            count = members or len(ports or [0])
            chosen = list(ports) if ports else [free_port() for _ in range(count)]
            return _Memory(chosen, "root", secrets.token_urlsafe(18)) if auth else _Memory(chosen)
        if members not in {None, len(known.ports)}:
            raise StackError(
                f"{self.data} holds a replica set of {len(known.ports)}, and {members} were asked for; "
                "leave the number out, or use another data folder",
                ExitCode.INPUT,
            )
        if ports is None:
            return self._moved(known)
        if len(known.ports) > 1 and list(ports) != known.ports:
            raise StackError(
                f"{self.data} holds a replica set whose members know each other by the ports "
                f"{_listed(known.ports)}, not {_listed(ports)}; leave the port out, or use another data folder",
                ExitCode.INPUT,
            )
        return replace(known, ports=list(ports))

    def _moved(self, known: _Memory) -> _Memory:
        """The remembered ports, or the next free one where a stranger holds the only member's port."""
        if len(known.ports) > 1 or is_free(known.ports[0]):
            return known
        port = next_free(known.ports[0] + 1)
        self._line.note(
            f"port {known.ports[0]} of the last time is taken{held_by(known.ports[0])}: MongoDB moves to {port}"
        )
        return replace(known, ports=[port])

    @property
    def uri(self) -> str:
        """What a client needs: all members, the set's name and, with auth, the root user."""
        return self.uri_for(self._memory.user, self._memory.password)

    def uri_for(self, user: str | None, password: str | None) -> str:
        """The same address for another user of the ``admin`` database."""
        hosts = ",".join(member.address for member in self.members)
        login = f"{quote_plus(user)}:{quote_plus(password or '')}@" if user else ""
        return f"mongodb://{login}{hosts}/?replicaSet={SET_NAME}" + ("&authSource=admin" if user else "")

    def start(self) -> None:
        """Every member runs and a primary takes writes, or none runs and a StackError says why."""
        try:
            self._start()
        except PyMongoError as error:
            self.kill()
            where = ", ".join(member.address for member in self.members)
            raise StackError(
                f"MongoDB at {where} runs and could not be made ready: {error} (log: {self.members[0].log})"
            ) from error
        except BaseException:
            self.kill()
            raise

    def _start(self) -> None:
        self._prepare_folder()
        for member in self.members:
            member.launch()
        for member in self.members:
            member.wait_ready()
        self._ensure_initiated()
        self.wait_primary()
        self._ensure_root_user()
        self.wait_healthy()
        self._memory.write(self._memory_file)
        self._moved_from = self._memory.ports[0]

    def stop(self, grace_seconds: float = STOP_SECONDS_MAX) -> None:
        """Every member has ended in order, or was killed after *grace_seconds*."""
        with ThreadPoolExecutor(len(self.members)) as pool:
            list(pool.map(lambda member: member.stop(grace_seconds), self.members))

    def kill(self) -> None:
        """Every member was ended by SIGKILL, as when the machine loses power."""
        for member in self.members:
            member.kill()

    def restart(self) -> None:
        """Stopped in order and writable again, same ports, same documents."""
        self.stop()
        self.start()

    def kill_member(self, index: int) -> None:
        """Member *index* was ended by SIGKILL."""
        self.members[index].kill()

    def stop_member(self, index: int) -> None:
        """Member *index* has ended in order."""
        self.members[index].stop()

    def start_member(self, index: int) -> None:
        """Member *index* runs and answers; it may still be catching up."""
        self.members[index].start()

    def primary_index(self) -> int | None:
        """Which member takes writes now; None if none says so."""
        for index, member in enumerate(self.members):
            if member.is_running and (member.hello() or {}).get("isWritablePrimary"):
                return index
        return None

    def wait_primary(self, timeout_seconds: float = PRIMARY_SECONDS_MAX) -> int:
        """The index of the primary, as soon as there is one."""
        wait_until(lambda: self.primary_index() is not None or not self.is_running, timeout_seconds)
        index = self.primary_index()
        if index is None:
            raise StackError(
                f"the replica set has had no primary for {timeout_seconds:g} s; its logs are beside "
                f"{self.members[0].log}",
                ExitCode.UNREACHABLE,
            )
        return index

    @property
    def is_running(self) -> bool:
        """Whether any member runs."""
        return any(member.is_running for member in self.members)

    def wait_healthy(self, timeout_seconds: float = PRIMARY_SECONDS_MAX) -> None:
        """Every running member is primary or secondary: the set can lose one and go on."""
        if not wait_until(lambda: not self._late_members(), timeout_seconds):
            late = ", ".join(member.address for member in self._late_members())
            raise StackError(f"no member yet after {timeout_seconds:g} s: {late}", ExitCode.UNREACHABLE)

    def _late_members(self) -> list[Mongod]:
        return [member for member in self.members if member.is_running and not _serves(member)]

    def step_down(self, seconds: int = 5) -> int:
        """
        The primary gave up its role and there is a primary again; returns its index.

        It does not stand for election for *seconds*: with three members another one is
        elected in about a second, a single member comes back after that time.
        """
        primary = self.members[self.wait_primary()]
        tries = 1
        while not self._steps_down(primary, seconds):
            if tries == STEP_DOWN_TRIES_MAX:
                raise StackError(
                    f"no other member caught up with {primary.address} in {tries} tries; it writes too fast"
                )
            tries += 1
        return self.wait_primary()

    def _steps_down(self, primary: Mongod, seconds: int) -> bool:
        """Return whether it did; under load the others may not catch up in time, and it stays what it is."""
        with self.client(primary) as client:
            try:
                client.admin.command(
                    "replSetStepDown",
                    seconds,
                    secondaryCatchUpPeriodSecs=min(seconds - 1, 2),
                    force=len(self.members) == 1,
                )
            except OperationFailure as error:
                if error.code != _NOBODY_CAUGHT_UP:
                    raise
                return False
        return True

    def client(self, member: Mongod | None = None, **options: Any) -> MongoClient[Document]:
        """A client of the set, or of one *member* alone, logged in as root where that is needed."""
        if member is None:
            return MongoClient(self.uri, **options)
        login = {"username": self._memory.user, "password": self._memory.password} if self._memory.user else {}
        return MongoClient(member.uri, **{**login, **options})

    def add_user(self, user: str, password: str, roles: Sequence[Any]) -> str:
        """*user* exists in ``admin`` with *roles*; returns the URI with its login."""
        with self.client() as client:
            client.admin.command("createUser", user, pwd=password, roles=list(roles))
        return self.uri_for(user, password)

    def _prepare_folder(self) -> None:
        try:
            self.data.mkdir(parents=True, exist_ok=True)
            # A port that moved is written down when the set has followed, not before.
            if not self._memory.is_initiated:
                self._memory.write(self._memory_file)
            if self._key_file and not self._key_file.exists():
                self._key_file.touch(mode=0o600)
                self._key_file.write_text(secrets.token_hex(64))
        except OSError as error:
            raise of_disk(error, self.data, "choose another data folder") from error

    def _ensure_initiated(self) -> None:
        """The set has its configuration, with today's ports in it."""
        first = self.members[0]
        if not self._memory.is_initiated:
            self._initiate(first)
            self._memory = replace(self._memory, is_initiated=True)
            self._memory.write(self._memory_file)
        elif len(self.members) == 1 and self._moved_from != first.port:
            self._move_configuration(first)

    def _initiate(self, first: Mongod) -> None:
        with _short_client(first.uri, 10_000) as client:
            try:
                client.admin.command("replSetInitiate", self._configuration())
            except OperationFailure as error:
                # The last start got so far and was cut off before it wrote that down.
                if error.code not in {_ALREADY_INITIALIZED, _UNAUTHORIZED}:
                    raise

    def _move_configuration(self, only: Mongod) -> None:
        """A lone member whose port changed finds itself in its configuration again."""
        self._line.going("waiting for mongod to find that its old port is no longer its own")
        if not wait_until(lambda: self._known_configuration(only) is not None, MOVE_SECONDS_MAX):
            raise StackError(
                f"mongod did not load its replica set configuration within {MOVE_SECONDS_MAX:g} s; "
                f"free port {self._moved_from} and start again (log: {only.log})"
            )
        known = self._known_configuration(only)
        assert known is not None, "it was there a moment ago"
        known["members"][0]["host"] = only.address
        known["version"] += 1
        with self.client(only) as client:
            client.admin.command("replSetReconfig", known, force=True)

    def _known_configuration(self, member: Mongod) -> Document | None:
        """What *member* is configured with; None while it has not loaded that."""
        try:
            with self.client(member) as client:
                config: Document = client.admin.command("replSetGetConfig")["config"]
        except OperationFailure as error:
            if error.code == _NOT_YET_INITIALIZED:
                return None
            raise
        return config

    def _configuration(self) -> Document:
        return {
            "_id": SET_NAME,
            "members": [{"_id": index, "host": member.address} for index, member in enumerate(self.members)],
            "settings": {
                "electionTimeoutMillis": ELECTION_TIMEOUT_MS,
                "heartbeatIntervalMillis": HEARTBEAT_INTERVAL_MS,
            },
        }

    def _ensure_root_user(self) -> None:
        """The root user can log in; made through the loopback exception, which holds until then."""
        if self._memory.user is None:
            return
        primary = self.members[self.wait_primary()]
        try:
            with _short_client(primary.uri, 10_000) as client:
                client.admin.command("createUser", self._memory.user, pwd=self._memory.password, roles=["root"])
        except OperationFailure:
            # Users exist: the exception is closed. Ours is proven by logging in.
            self._prove_login(primary)

    def _prove_login(self, member: Mongod) -> None:
        try:
            with self.client(member) as client:
                client.admin.command("ping")
        except (OperationFailure, ConfigurationError) as error:
            raise StackError(f"the password in {self._memory_file} is not that of {self.data}: {error}") from error

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _listed(ports: Sequence[int]) -> str:
    return ", ".join(str(port) for port in ports)


def _serves(member: Mongod) -> bool:
    hello = member.hello() or {}
    return bool(hello.get("isWritablePrimary") or hello.get("secondary"))

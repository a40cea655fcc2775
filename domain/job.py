"""
What an operator asks for: the job specification, validated with remedies.

A kind of job subclasses :class:`JobSpec` in ``domain/kinds/`` and answers its questions; nothing
else in lull asks "which kind is it?".
"""

import hashlib
import json
import re
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, ClassVar, NamedTuple, Self

from lull.domain import mql
from lull.domain.duration import Duration
from lull.domain.governor.objective import Objective
from lull.domain.strict import Strict
from pydantic import BeforeValidator, Field, StringConstraints, field_validator, model_validator

FORBIDDEN_DATABASES = frozenset({"admin", "config", "local", "lull"})
NAMESPACE_BYTES_MAX = 255
SPEC_BYTES_MAX = 128 << 10
"""A spec is part of the workflow's state, which every continue-as-new and every plan carries through Temporal."""

JobId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,99}$")]
Name = Annotated[str, StringConstraints(min_length=1, max_length=120)]


class Priority(StrEnum):
    """Which queue a job's slices wait in."""

    NORMAL = "normal"
    CRITICAL = "critical"  # reserved slots; another job's backlog never delays it


class Accept(StrEnum):
    """A weaker promise that an operator takes on knowingly."""

    SHARDED = "sharded"  # a sharded cluster: recognised, not proven by our tests
    AT_LEAST_ONCE = "at_least_once"  # a page may be applied again after a crash


class Walk(StrEnum):
    """How a job goes through its documents."""

    RANGE = "range"  # every document once, in the order of _id, which no update can move
    DRAIN = "drain"  # the next documents that match, through the filter's index; what was taken is gone


class Source(Strict):
    """The documents a job works on."""

    cluster: Name = "main"
    database: Name
    collection: Name
    filter: dict[str, Any] = {}

    @field_validator("database")
    @classmethod
    def _allowed_database(cls, name: str) -> str:
        if name in FORBIDDEN_DATABASES:
            raise ValueError(f"lull never touches the databases {', '.join(sorted(FORBIDDEN_DATABASES))}; got {name!r}")
        if re.search(r'[/\\. "$*<>:|?\x00]', name) or len(name.encode()) > 63:
            raise ValueError(
                f'{name!r} is no MongoDB database name: at most 63 bytes, without / \\ . space " $ * < > : | ?'
            )
        return name

    @field_validator("collection")
    @classmethod
    def _allowed_collection(cls, name: str) -> str:
        if name.startswith("system.") or "$" in name or "\x00" in name:
            raise ValueError(f"{name!r} is no ordinary collection; lull never touches system collections")
        if name.startswith(".") or name.endswith(".") or ".." in name:
            raise ValueError(f"{name!r} is no MongoDB collection name: a dot stands between two words of it")
        return name

    @field_validator("filter")
    @classmethod
    def _walkable(cls, query: dict[str, Any]) -> dict[str, Any]:
        return mql.check_filter(query)

    @model_validator(mode="after")
    def _fits_the_server(self) -> Self:
        if len(self.namespace.encode()) > NAMESPACE_BYTES_MAX:
            raise ValueError(
                f"database.collection is {len(self.namespace.encode())} bytes long, more than the "
                f"{NAMESPACE_BYTES_MAX} that MongoDB allows; check the name"
            )
        return self

    @property
    def namespace(self) -> str:
        """``database.collection``."""
        return f"{self.database}.{self.collection}"


class Limits(Strict):
    """What a job may take. Absent means not limited, or lull's own choice."""

    max_docs_per_second: float | None = Field(None, gt=0, le=10_000_000)
    """For the whole job, however many slices run."""
    deadline: Duration | None = None
    """Wall-clock time from the first start; the job then stops at a page boundary and is retired."""
    parallel: int = Field(2, ge=1, le=64)
    """Slices at a time. Two keep one core of a server busy while the other waits for a commit."""
    page_hold_ms: float = Field(20, ge=1, le=200)
    """How long a page's transaction may hold its documents; foreground writes to them wait that long."""
    page_docs_max: int = Field(2_000, ge=1, le=10_000)


class PoisonPolicy(Strict):
    """What happens to documents that cannot be processed."""

    quarantine: bool = True
    """Record the document and go on; false pauses the job at the first one."""
    stop_after: int = Field(100, ge=0, le=1_000_000)
    """Pause the job when more than this many are in quarantine."""


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class Topology(StrEnum):
    """What stands behind a cluster profile."""

    STANDALONE = "standalone"
    REPLICA_SET = "replica set"
    SHARDED = "sharded cluster"


OPLOG_ENTRY_BYTES = 150
"""An oplog entry beside what was written: namespace, collection id, ``_id``, times."""


class ServerUpdate(NamedTuple):
    """An update command's body, as JSON."""

    update: dict[str, Any] | list[dict[str, Any]]
    array_filters: list[dict[str, Any]]


class JobSpec(Strict):
    """One request. Subclasses add a kind's fields and answer for it."""

    gloss: ClassVar[str] = ""
    """One line for ``lull --help`` and the docs."""
    actions: ClassVar[frozenset[str]] = frozenset({"update"})
    """MongoDB privileges on the collection beside reading it."""
    docs_per_second_expected: ClassVar[float] = 20_000
    """At full speed, for estimates: half of what one process reaches on two cores that it shares with the server."""

    job: JobId
    kind: str
    source: Source
    limits: Limits = Limits()
    on_poison: PoisonPolicy = PoisonPolicy()
    accept: Annotated[frozenset[Accept], BeforeValidator(_as_list)] = frozenset()
    priority: Priority = Priority.NORMAL
    weight: float = Field(1.0, ge=0.01, le=100)
    """Beside other jobs on the cluster: one of weight 3 gets three times what one of weight 1 gets."""
    foreground: Objective = Objective()
    """What the foreground may feel while this job runs; the strictest of all running jobs and the cluster's own holds."""
    overlap: bool = False
    """Run although another job writes the same fields of the same collection."""

    @property
    def fields_written(self) -> frozenset[str]:
        """The field paths this job may write; ``*`` is the whole document."""
        return frozenset({"*"})

    @property
    def is_idempotent(self) -> bool:
        """Whether applying a page twice surely gives what applying it once gives."""
        raise NotImplementedError

    @property
    def may_drain(self) -> bool:
        """Whether what a page took is gone, so that the filter's own index can be walked."""
        return False

    @property
    def undo(self) -> str:
        """What cancelling can and cannot take back, in one sentence."""
        raise NotImplementedError

    @property
    def effect(self) -> str:
        """What the job does to a document, in a few words for the plan."""
        raise NotImplementedError

    @property
    def function(self) -> str | None:
        """The registered transform that the job calls; None if it calls none."""
        return None

    @property
    def server_update(self) -> ServerUpdate | None:
        """The update that the server runs for the job; None if it runs none."""
        return None

    def oplog_bytes(self, document_bytes: float) -> float:
        """Return what changing one document of this size writes to the oplog, at most; an estimate."""
        return OPLOG_ENTRY_BYTES + document_bytes

    @model_validator(mode="after")
    def _deadline_is_sane(self) -> Self:
        if self.limits.deadline is not None and self.limits.deadline < timedelta(seconds=1):
            raise ValueError("limits.deadline must be at least 1s")
        return self

    @model_validator(mode="after")
    def _is_small(self) -> Self:
        size = len(json.dumps(self.canonical()))
        if size > SPEC_BYTES_MAX:
            raise ValueError(
                f"the spec is {size:,} bytes long, more than {SPEC_BYTES_MAX:,}; "
                "instead of listing documents, mark them by a field and filter on it"
            )
        return self

    def canonical(self) -> dict[str, Any]:
        """Return the spec as JSON values without defaults: equal requests give equal values."""
        dumped: dict[str, Any] = self.model_dump(mode="json", exclude_defaults=True)
        # The order of a set of strings is another one in every process.
        sets = {
            name: sorted(map(str, value)) for name, value in self if isinstance(value, frozenset) and name in dumped
        }
        return dumped | {"kind": self.kind} | sets

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical spec, 16 hex digits: enough to tell two requests apart."""
        text = json.dumps(self.canonical(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def diff(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Return the differences of two canonical specs, one readable line each, by dotted path; empty if there are none."""
    before, after = _flatten(old), _flatten(new)
    paths = sorted(before.keys() | after.keys())
    pairs = [(path, before.get(path, "(not set)"), after.get(path, "(not set)")) for path in paths]
    return [f"{path}: {was} -> {now}" for path, was, now in pairs if was != now]


def _flatten(value: Any, path: str = "") -> dict[str, str]:
    """Return JSON texts by path: compared as texts, because to Python 1, 1.0 and true are equal, to MongoDB not."""
    if isinstance(value, dict) and value:
        flat: dict[str, str] = {}
        for key, inner in value.items():
            # Quoted, so that {"a.b": 1} and {"a": {"b": 1}}, which select other documents, have other paths.
            name = json.dumps(key, ensure_ascii=False) if "." in key else key
            flat |= _flatten(inner, f"{path}.{name}" if path else name)
        return flat
    return {path: json.dumps(value, ensure_ascii=False, sort_keys=True)}

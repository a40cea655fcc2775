"""
Clients by cluster profile, error classification, and the one place that opens a position.

A position is an index key of any BSON type. It is wrapped as ``{"k": value}`` in the ledger and as
:class:`Key` in memory, so that "the key null" and "no key" are never confused.
"""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from bson import json_util
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import BSONError
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import (
    BulkWriteError,
    ConfigurationError,
    ConnectionFailure,
    DocumentTooLarge,
    OperationFailure,
    PyMongoError,
    WTimeoutError,
)
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference
from pymongo.write_concern import WriteConcern

from lull.domain.config import ClusterProfile, profile_of
from lull.domain.errors import LullError, OperatorError, TransientError
from lull.domain.failure import ErrorClass, classify
from lull.domain.job import JobSpec, Topology

Document = dict[str, Any]

LEDGER_DATABASE = "lull"
MAJORITY = WriteConcern("majority", j=True)
"""Of every ledger write and every page, whatever the profile's URI says."""
SERVER_SELECTION_TIMEOUT_MS = 5_000
CODEC: CodecOptions[Document] = CodecOptions(
    # Dates beyond year 9999 exist in real collections; they come as DatetimeMS instead of an error.
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
)

ID_INDEX = [("_id", 1)]
_JSON = json_util.JSONOptions(tz_aware=False, datetime_conversion=DatetimeConversion.DATETIME_AUTO)


class Key(NamedTuple):
    """One index key; its value may be anything BSON knows, null included."""

    value: Any


def pack(key: Key | None) -> Document | None:
    """Return the ledger's writing of *key*."""
    return None if key is None else {"k": key.value}


def unpack(stored: Document | None) -> Key | None:
    """Return the key that :func:`pack` wrote."""
    return None if stored is None else Key(stored["k"])


def key_range(after: Key | None, upto: Key | None) -> Document:
    """
    Return a query for keys above *after* up to and including *upto*, in index order, across BSON types.

    Query operators compare within one type only, so the general form is ``$expr``; where both ends
    are of one well-ordered type, nothing of another type lies between them and the plain form,
    which the server evaluates a third faster, says the same. ``$literal``: a string may begin with ``$``.
    """
    if after is not None and upto is not None and _bracket(after.value) == _bracket(upto.value) is not None:
        return {"_id": {"$gt": after.value, "$lte": upto.value}}
    bounds = []
    if after is not None:
        bounds.append({"$gt": ["$_id", {"$literal": after.value}]})
    if upto is not None:
        bounds.append({"$lte": ["$_id", {"$literal": upto.value}]})
    return {"$expr": {"$and": bounds}} if bounds else {}


def _bracket(value: Any) -> str | None:
    """Return the name of the BSON comparison bracket if plain comparison is exact in it, else None."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int) or (isinstance(value, float) and value == value):  # noqa: PLR0124 - NaN
        return "number"
    name = type(value).__name__
    return name if name in {"str", "ObjectId", "datetime"} else None


def decode_values(value: Any) -> Any:
    """
    Return a spec's JSON with extended JSON turned into BSON values: ``{"$date": …}``, ``{"$oid": …}``.

    Only an object that is nothing but such a value is one: the parser of the driver would read
    ``{"$regex": "^a", "$ne": "ab"}`` as the expression alone and drop the condition beside it.
    Raises OperatorError for extended JSON that cannot be read.
    """
    if isinstance(value, Mapping):
        inner = {key: decode_values(each) for key, each in value.items()}
        return _extended(inner) if inner.keys() in _EXTENDED else inner
    return [decode_values(each) for each in value] if isinstance(value, list) else value


_EXTENDED = [
    *({name} for name in ("$oid", "$date", "$uuid", "$binary", "$timestamp", "$regularExpression", "$symbol")),
    *({name} for name in ("$numberLong", "$numberInt", "$numberDouble", "$numberDecimal", "$minKey", "$maxKey")),
    {"$binary", "$type"},
]


def _extended(value: Document) -> Any:
    try:
        return json_util.object_hook(value, json_options=_JSON)
    except (BSONError, ValueError, TypeError, KeyError, ArithmeticError) as error:
        raise OperatorError(
            f"{json.dumps(value, default=str)} in the spec is not the extended JSON it looks like "
            f"({type(error).__name__}); write values like {{$date: 2026-01-31T00:00:00Z}}"
        ) from None


def both(one: Document, other: Document) -> Document:
    """Return the conjunction of two queries."""
    if not one or not other:
        return one or other
    return {"$and": [one, other]}


class Cluster:
    """One cluster profile's client, and what is known of the server behind it."""

    def __init__(self, name: str, profile: ClusterProfile) -> None:
        self.name = name
        self.profile = profile
        self._lock = threading.Lock()
        self._client: MongoClient[Document] | None = None
        self._topology: Topology | None = None

    @property
    def client(self) -> MongoClient[Document]:
        """The client, made on first use. Raises OperatorError for a URI that cannot be read."""
        with self._lock:
            if self._client is None:
                self._client = self._connect()
            return self._client

    def _connect(self) -> MongoClient[Document]:
        try:
            return MongoClient(
                self.profile.uri.get_secret_value(),
                appname="lull",
                serverSelectionTimeoutMS=SERVER_SELECTION_TIMEOUT_MS,
                connectTimeoutMS=SERVER_SELECTION_TIMEOUT_MS,
                # A page's answer comes in milliseconds; a peer silent for this long is gone.
                socketTimeoutMS=60_000,
                document_class=dict,
                datetime_conversion="DATETIME_AUTO",
            )
        except (PyMongoError, ValueError) as error:
            # The driver's own message may repeat the URI, password included.
            raise OperatorError(
                f"clusters.{self.name}.uri is not a MongoDB URI the driver accepts ({type(error).__name__}); "
                "write it like mongodb://user:password@host:27017/?replicaSet=name in the worker's lull.toml"
            ) from None

    @property
    def topology(self) -> Topology:
        """What stands behind the profile, asked once. Raises TransientError while nothing answers."""
        if self._topology is None:
            self._topology = _topology(self.hello())
        return self._topology

    def hello(self) -> Document:
        """Return the primary's (or router's) own description."""
        with world_errors(f"cluster {self.name}"):
            return self.client.admin.command("hello")

    def ledger(self, collection: str) -> Collection[Document]:
        """Return a collection of the ledger: read and written at majority on the primary."""
        return self.client.get_database(LEDGER_DATABASE).get_collection(
            collection,
            codec_options=CODEC,
            read_preference=ReadPreference.PRIMARY,
            read_concern=ReadConcern("majority"),
            write_concern=MAJORITY,
        )

    def source(self, spec: JobSpec) -> Collection[Document]:
        """Return the collection a job works on: read on the primary, written at majority."""
        return self.database(spec.source.database).get_collection(
            spec.source.collection,
            codec_options=CODEC,
            read_preference=ReadPreference.PRIMARY,
            write_concern=MAJORITY,
        )

    def database(self, name: str) -> Database[Document]:
        """Return a database of this cluster."""
        return self.client.get_database(name)

    def close(self) -> None:
        """Connections are closed."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None


def _topology(hello: Document) -> Topology:
    if hello.get("msg") == "isdbgrid":
        return Topology.SHARDED
    return Topology.REPLICA_SET if "setName" in hello else Topology.STANDALONE


class Clusters:
    """Every cluster profile this worker has."""

    def __init__(self, profiles: Mapping[str, ClusterProfile]) -> None:
        self._profiles = dict(profiles)
        self._clusters = {name: Cluster(name, profile) for name, profile in self._profiles.items()}

    def get(self, name: str) -> Cluster:
        """Return the cluster called *name*. Raises OperatorError that names those there are."""
        profile_of(self._profiles, name)
        return self._clusters[name]

    @property
    def names(self) -> list[str]:
        """Profile names, sorted."""
        return sorted(self._clusters)

    def close(self) -> None:
        """Every client is closed."""
        for cluster in self._clusters.values():
            cluster.close()


def error_class(error: BaseException, *, in_commit: bool = False, in_page: bool = True) -> ErrorClass:
    """
    Return what *error*, raised by the driver or by BSON encoding, means for the next step.

    *in_page* is false where none of the job's documents is written, so that none can be to blame.
    """
    if isinstance(error, DocumentTooLarge):
        return ErrorClass.TOO_BIG
    if isinstance(error, BSONError | OverflowError):
        return ErrorClass.POISON
    if isinstance(error, PyMongoError):
        return _driver_error_class(error, in_commit=in_commit, in_page=in_page)
    return ErrorClass.DEFECT


def _driver_error_class(error: PyMongoError, *, in_commit: bool, in_page: bool) -> ErrorClass:
    labels = [label for label in _LABELS if error.has_error_label(label)]
    if isinstance(error, BulkWriteError):
        return classify(_bulk_code(error), labels, in_page=in_page)
    if isinstance(error, WTimeoutError | ConnectionFailure):
        return classify(None, labels, in_commit=in_commit)
    if isinstance(error, OperationFailure):
        return classify(error.code, labels, in_commit=in_commit, in_page=in_page)
    if isinstance(error, ConfigurationError):
        return ErrorClass.OPERATOR
    return classify(None, labels, in_commit=in_commit)


_LABELS = ("TransientTransactionError", "UnknownTransactionCommitResult", "RetryableWriteError")


def _bulk_code(error: BulkWriteError) -> int | None:
    details = error.details or {}
    problems = [*details.get("writeErrors", []), *details.get("writeConcernErrors", [])]
    return problems[0].get("code") if problems else None


def describe(error: BaseException) -> str:
    """
    Return *error* without anything of a document: class name, server code and code name.

    Server messages quote keys and values (a duplicate key, say), and may be kept for years where
    this text goes: Temporal's history, logs, the ledger.
    """
    name = type(error).__name__
    if isinstance(error, BulkWriteError):
        return f"{name} (code {_bulk_code(error)})"
    if isinstance(error, OperationFailure):
        details = error.details if isinstance(error.details, Mapping) else {}
        return f"{name} (code {error.code} {details.get('codeName', '')})".replace(" )", ")")
    return name


@contextmanager
def world_errors(what: str) -> Iterator[None]:
    """Turn the driver's errors inside the block into OperatorError or TransientError about *what*."""
    try:
        yield
    except PyMongoError as error:
        raise translated(error, what) from error


def translated(error: PyMongoError, what: str) -> LullError:
    """Return *error* as the operator's or the world's, in a sentence without document contents."""
    if error_class(error, in_page=False) is not ErrorClass.OPERATOR:
        return TransientError(f"{what}: {describe(error)}; it is tried again until it answers")
    if isinstance(error, OperationFailure) and error.code in {13, 8000}:
        return OperatorError(
            f"{what}: the worker's user lacks a privilege ({describe(error)}); grant what `lull doctor --print-roles` prints"
        )
    if isinstance(error, OperationFailure) and error.code == 18:
        return OperatorError(
            f"{what}: authentication failed; check user, password and authSource in the worker's lull.toml"
        )
    return OperatorError(f"{what}: the server refused the request ({describe(error)})")

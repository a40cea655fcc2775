"""
What a job would make of a few documents, worked out without writing: for the eyes of ``lull plan``.

Documents are read with the operator's own credentials and shown to nobody else: nothing here passes
through Temporal. Update operators are translated into an aggregation that the server runs over the
document; what cannot be translated exactly is named instead of guessed.
"""

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bson import json_util
from pymongo.errors import OperationFailure

from lull.activities.mongo import Cluster, Document, decode_values, describe, error_class, world_errors
from lull.activities.transforms import UNSET, Registry, Replace, Verdict
from lull.domain.config import ClusterProfile
from lull.domain.failure import ErrorClass
from lull.domain.job import JobSpec

SAMPLES = 3
READ_MS_MAX = 5_000
"""A filter without an index may need a whole scan to find one document: then nothing is shown."""
_MAX_TIME_EXPIRED = 50


@dataclass(frozen=True, slots=True)
class BeforeAfter:
    """One document as relaxed extended JSON, before the job and after it."""

    before: Document
    after: Document | None
    """None where the document would be gone, or where *note* says why it is not shown."""
    note: str = ""
    """What a person should know: "deleted", "unchanged", what could not be shown."""


@dataclass(frozen=True, slots=True)
class _Made:
    """What becomes of a document: stages to run over it, or none and a word about it."""

    stages: list[Document]
    note: str = ""


def sample(spec: JobSpec, profile: ClusterProfile, registry: Registry, samples: int = SAMPLES) -> list[BeforeAfter]:
    """
    Return up to *samples* matching documents with what the job would make of them; writes nothing.

    Empty when nothing matches, or nothing was found in five seconds. Raises OperatorError for an unknown
    transform or what the server refuses, TransientError while it is away.
    """
    profile.check(spec.source.cluster, spec)
    cluster = Cluster(spec.source.cluster, profile)
    try:
        with world_errors(f"reading {spec.source.namespace}"):
            return [_shown(cluster, spec, registry, document) for document in _documents(cluster, spec, samples)]
    finally:
        cluster.close()


def _documents(cluster: Cluster, spec: JobSpec, samples: int) -> list[Document]:
    query = decode_values(spec.source.filter)
    cursor = cluster.source(spec).find(query, limit=samples, max_time_ms=READ_MS_MAX, comment=_comment(spec))
    try:
        return list(cursor)
    except OperationFailure as error:
        if error.code == _MAX_TIME_EXPIRED:
            return []
        raise


def _shown(cluster: Cluster, spec: JobSpec, registry: Registry, before: Document) -> BeforeAfter:
    made = _made(spec, registry, before)
    if not made.stages:
        return BeforeAfter(_relaxed(before), None, made.note)
    after, note = _run(cluster, spec, before, made)
    return BeforeAfter(_relaxed(before), None if after is None else _relaxed(after), note)


def _made(spec: JobSpec, registry: Registry, before: Document) -> _Made:
    if spec.server_update is not None:
        return _updated(decode_values(spec.server_update.update), before)
    if spec.function is not None:
        return _transformed(registry, spec.function, before)
    return _Made([], spec.effect)


def _run(cluster: Cluster, spec: JobSpec, before: Document, made: _Made) -> tuple[Document | None, str]:
    stages: list[Document] = [{"$match": {"_id": {"$eq": before["_id"]}}}, *made.stages]
    try:
        found = list(cluster.source(spec).aggregate(stages, maxTimeMS=READ_MS_MAX, comment=_comment(spec)))
    except OperationFailure as error:
        if error_class(error) is not ErrorClass.POISON:
            raise
        # One document's values do not suit the update: it would go to quarantine, and the job on.
        return None, f"the server would refuse this document ({describe(error)}); it would go to quarantine"
    if not found:
        return None, "gone meanwhile"
    return found[0], made.note or ("unchanged" if found[0] == before else "")


def _updated(update: Any, before: Document) -> _Made:
    if isinstance(update, list):
        return _Made(update)
    stages: list[Document] = []
    hidden = []
    for operator, fields in update.items():
        translate = _TRANSLATIONS.get(operator)
        for path, argument in fields.items():
            if (
                translate is None
                or not _is_plain(path, before)
                or (operator == "$rename" and not _is_plain(argument, before))
            ):
                hidden.append(f"{operator} on {path}")
            else:
                stages += translate(path, argument)
    note = f"not shown: {', '.join(hidden)}" if hidden else ""
    return _Made(stages, note)


def _is_plain(path: str, before: Document) -> bool:
    """Whether *path* means the same to an update operator and to an aggregation, in this document."""
    value: Any = before
    for name in path.split("."):
        # Aggregations see through arrays where updates want a position.
        if not name or name.isdigit() or name.startswith("$") or isinstance(value, list):
            return False
        value = value.get(name) if isinstance(value, Mapping) else None
    return True


def _is_missing(path: str) -> Document:
    return {"$eq": [{"$type": f"${path}"}, "missing"]}


def _set(path: str, value: Any) -> Iterator[Document]:
    yield {"$set": {path: {"$literal": value}}}


def _unset(path: str, _: Any) -> Iterator[Document]:
    yield {"$unset": path}


def _inc(path: str, by: Any) -> Iterator[Document]:
    yield _computed(path, {"$add": [_number(path), {"$literal": by}]}, {"$literal": by})


def _mul(path: str, by: Any) -> Iterator[Document]:
    yield _computed(path, {"$multiply": [_number(path), {"$literal": by}]}, {"$multiply": [0, {"$literal": by}]})


def _number(path: str) -> Document:
    # An update refuses null where an aggregation passes it on: a text makes the aggregation refuse it too.
    return {"$ifNull": [f"${path}", "not a number"]}


def _min(path: str, value: Any) -> Iterator[Document]:
    yield _computed(
        path,
        {"$cond": [{"$lt": [{"$literal": value}, f"${path}"]}, {"$literal": value}, f"${path}"]},
        {"$literal": value},
    )


def _max(path: str, value: Any) -> Iterator[Document]:
    yield _computed(
        path,
        {"$cond": [{"$gt": [{"$literal": value}, f"${path}"]}, {"$literal": value}, f"${path}"]},
        {"$literal": value},
    )


def _computed(path: str, there: Document, missing: Document) -> Document:
    return {"$set": {path: {"$cond": [_is_missing(path), missing, there]}}}


def _rename(path: str, new: str) -> Iterator[Document]:
    yield {"$set": {new: {"$cond": [_is_missing(path), f"${new}", f"${path}"]}}}
    yield {"$unset": path}


def _current_date(path: str, kind: Any) -> Iterator[Document]:
    is_timestamp = isinstance(kind, Mapping) and kind.get("$type") == "timestamp"
    yield {"$set": {path: "$$CLUSTER_TIME" if is_timestamp else "$$NOW"}}


_TRANSLATIONS = {
    "$set": _set,
    "$unset": _unset,
    "$inc": _inc,
    "$mul": _mul,
    "$min": _min,
    "$max": _max,
    "$rename": _rename,
    "$currentDate": _current_date,
}


def _transformed(registry: Registry, name: str, before: Document) -> _Made:
    transform = registry.get(name)
    try:
        (result,) = transform.results([copy.deepcopy(before)])
    except Exception as error:  # noqa: BLE001 - users' code may raise anything; the job would quarantine it
        return _Made([], f"{name} raises {type(error).__name__}: {error}; this document would go to quarantine")
    if isinstance(result, Verdict):
        return _Made([], str(result.value))
    if isinstance(result, Replace):
        return _Made([{"$replaceWith": {"$literal": {"_id": before["_id"], **result.document}}}])
    changes: Document = {
        "$set": {path: value for path, value in result.items() if value is not UNSET},
        "$unset": {path: "" for path, value in result.items() if value is UNSET},
    }
    made = _updated({operator: fields for operator, fields in changes.items() if fields}, before)
    return made if made.stages or made.note else _Made([], "unchanged")


def _relaxed(document: Document) -> Document:
    """Return *document* as JSON values: dates and ids as ``{"$date": …}``, plain numbers as numbers."""
    shown: Document = json.loads(json_util.dumps(document, json_options=json_util.RELAXED_JSON_OPTIONS))
    return shown


def _comment(spec: JobSpec) -> str:
    return f"lull job={spec.job} preview"

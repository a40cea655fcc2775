"""
What the server says of a spec's query language before a single document is touched.

Everything is explained, never run. A refusal at this point speaks of the spec alone, so that, unlike
any later message of the server, it may be shown.
"""

from collections.abc import Mapping
from typing import Any

import bson
from bson.errors import BSONError
from pymongo.errors import DocumentTooLarge, OperationFailure

from lull.activities.mongo import Cluster, Document, decode_values, error_class, translated, world_errors
from lull.domain.errors import OperatorError
from lull.domain.failure import ErrorClass
from lull.domain.job import JobSpec

_PRIVILEGE_CODES = frozenset({13, 18, 8000})


def check(cluster: Cluster, spec: JobSpec) -> Document:
    """Return the server's explanation of the job's filter. Raises OperatorError for what it would refuse."""
    query = encodable(decode_values(spec.source.filter), "source.filter")
    explained = _explain(
        cluster, spec, "source.filter", {"find": spec.source.collection, "filter": query, "comment": _comment(spec)}
    )
    if spec.server_update is not None:
        _check_update(cluster, spec, query)
    return explained


def _check_update(cluster: Cluster, spec: JobSpec, query: Document) -> None:
    assert spec.server_update is not None
    one: Document = {
        "q": query,
        "u": encodable(decode_values(spec.server_update.update), "update"),
        "multi": True,
        "hint": {"_id": 1},
    }
    if spec.server_update.array_filters:
        one["arrayFilters"] = encodable(decode_values(spec.server_update.array_filters), "array_filters")
    _explain(cluster, spec, "update", {"update": spec.source.collection, "updates": [one], "comment": _comment(spec)})


def encodable(value: Any, field: str) -> Any:
    """Return *value*, or raise OperatorError if BSON has no place for something in it."""
    try:
        bson.encode({"value": value})
    except (BSONError, OverflowError, UnicodeError, RecursionError) as error:
        raise OperatorError(
            f"{field} holds a value that MongoDB cannot store ({error}); integers end at 64 bits, and text is UTF-8 without "
            "zero bytes in field names"
        ) from None
    return value


def _explain(cluster: Cluster, spec: JobSpec, field: str, command: Document) -> Document:
    with world_errors(f"explaining {field}"):
        try:
            return cluster.database(spec.source.database).command("explain", command, verbosity="queryPlanner")
        except OperationFailure as error:
            raise _refusal(error, field) from None
        except DocumentTooLarge:
            raise OperatorError(f"{field} is larger than a MongoDB command may be (16 MB)") from None


def _refusal(error: OperationFailure, field: str) -> Exception:
    if error.code in _PRIVILEGE_CODES or error_class(error) in {ErrorClass.WORLD, ErrorClass.CONFLICT}:
        return translated(error, f"explaining {field}")
    details = error.details if isinstance(error.details, Mapping) else {}
    return OperatorError(
        f"{field}: the server refuses it: {details.get('errmsg', 'without a reason')}; correct the spec"
    )


def _comment(spec: JobSpec) -> str:
    return f"lull job={spec.job} plan"

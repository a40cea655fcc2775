"""
A user's function over documents as the server sent them: what becomes of each, so that one it fails on harms no other.

Everything that can go wrong with a document goes wrong here, before any transaction: bytes that are
no UTF-8, exceptions, results that no document can become or that BSON has no place for.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import bson
from bson.errors import BSONError

from lull.activities import raw
from lull.activities.kinds import Poison
from lull.activities.mongo import CODEC, Document
from lull.activities.transforms import SKIP, UNCHANGED, UNSET, BadResult, Replace, Result, Transform, Verdict
from lull.domain.errors import OperatorError

Outcome: TypeAlias = Document | Verdict | Poison
"""What becomes of a document: an update statement (``q`` and ``u``), or the reason why there is none."""

STATEMENT_BYTES_MAX = (16 << 20) + (8 << 10)
"""A document of 16 MB and what stands around it: a longer statement could neither be sent nor stored."""

_LENIENT = CODEC.with_options(unicode_decode_error_handler="replace")


@dataclass(frozen=True, slots=True)
class Computed:
    """Parallel lists, in the order of the documents."""

    ids: list[Any]
    outcomes: list[Outcome]
    written_bytes: int
    """BSON bytes of all statements."""

    def within(self, bytes_max: int) -> "Computed":
        """Return as many as may be written in one page, from the first: at least one. Itself if that is all."""
        if self.written_bytes <= bytes_max:
            return self
        total = 0
        for place, outcome in enumerate(self.outcomes):
            more = _encoded_bytes([outcome])
            if place and total + more > bytes_max:
                return Computed(self.ids[:place], self.outcomes[:place], total)
            total += more
        return self


class Computation:
    """One registered function under one spec. Keeps nothing: threads may share it."""

    def __init__(self, transform: Transform, writes: frozenset[str]) -> None:
        self._transform = transform
        self._allowed = None if "*" in writes else tuple((path, path + ".") for path in writes)

    def over(self, array: bytes) -> Computed:
        """
        Return what becomes of the documents in *array*.

        The function sees documents of its own: whatever it does to them reaches nobody else.
        Raises OperatorError for an ``_id`` that cannot be read, because it cannot be walked past.
        """
        try:
            documents = raw.decode(array)
        except BSONError as error:
            return self._one_by_one(array, _readable_ids(array), error)
        ids = [_own(document["_id"]) for document in documents]
        try:
            return _weighed(ids, self._outcomes(ids, documents))
        except BaseException as error:  # noqa: BLE001 - in this thread nothing but the function's own: sys.exit() too
            return self._one_by_one(array, ids, error)

    def _one_by_one(self, array: bytes, ids: list[Any], error: BaseException) -> Computed:
        """Compute again in halves, or document by document: the function has failed on one of them."""
        if len(ids) == 1:
            return Computed(ids, [Poison.of(ids[0], error)], 0)
        each = raw.split(array)
        size = (len(each) + 1) // 2 if self._transform.batch else 1
        parts = [self.over(raw.join(each[at : at + size])) for at in range(0, len(each), size)]
        outcomes = [outcome for part in parts for outcome in part.outcomes]
        return Computed(ids, outcomes, sum(part.written_bytes for part in parts))

    def _outcomes(self, ids: list[Any], documents: list[Document]) -> list[Outcome]:
        results = self._transform.results(documents)
        if self._allowed is not None:
            self._require_allowed(results, self._allowed)
        return [_outcome(key, result) for key, result in zip(ids, results, strict=True)]

    def _require_allowed(self, results: list[Result], allowed: tuple[tuple[str, str], ...]) -> None:
        for result in results:
            paths = ["*"] if isinstance(result, Replace) else result if isinstance(result, Mapping) else []
            for path in paths:
                if not any(path == field or path.startswith(below) for field, below in allowed):
                    raise ValueError(f"writes {path!r}, which the spec's writes does not name")


def _own(key: Any) -> Any:
    # An embedded document is the only _id that a function could change by changing its argument.
    return copy.deepcopy(key) if isinstance(key, dict) else key


def _outcome(key: Any, result: Result) -> Outcome:
    if isinstance(result, Replace):
        return {"q": {"_id": key}, "u": {"_id": key, **result.document}}
    if result is SKIP or result is UNCHANGED:
        return result
    fields = result if isinstance(result, dict) else dict(result)
    if not fields:
        return UNCHANGED
    unset = [name for name, value in fields.items() if value is UNSET]
    return {"q": {"_id": key}, "u": _with_unset(fields, unset) if unset else {"$set": fields}}


def _with_unset(fields: Document, unset: list[str]) -> Document:
    change: Document = {"$unset": dict.fromkeys(unset, "")}
    changed = {name: value for name, value in fields.items() if value is not UNSET}
    return {"$set": changed, **change} if changed else change


def _weighed(ids: list[Any], outcomes: list[Outcome]) -> Computed:
    """Return the outcomes with what they weigh. Raises what the encoder raises on a value that BSON lacks."""
    written_bytes = _encoded_bytes(outcomes)
    if written_bytes > STATEMENT_BYTES_MAX:
        outcomes = [_light(key, outcome) for key, outcome in zip(ids, outcomes, strict=True)]
        written_bytes = _encoded_bytes(outcomes)
    return Computed(ids, outcomes, written_bytes)


def _light(key: Any, outcome: Outcome) -> Outcome:
    weight = _encoded_bytes([outcome])
    if weight <= STATEMENT_BYTES_MAX:
        return outcome
    return Poison.of(key, BadResult(f"the result is {weight:,} bytes long; a document has 16 MB at most"))


def _encoded_bytes(outcomes: list[Outcome]) -> int:
    """Return how long the statements are together."""
    return len(bson.encode({"": [outcome for outcome in outcomes if isinstance(outcome, dict)]}, codec_options=CODEC))


def _readable_ids(array: bytes) -> list[Any]:
    """Return the ids of documents of which some hold text that is no UTF-8."""
    try:
        documents = raw.decode(array, _LENIENT)
    except BSONError as error:
        raise OperatorError(
            f"a document cannot be read at all ({type(error).__name__}); look for it with validate(), mend or remove it"
        ) from None
    ids = [document["_id"] for document in documents]
    for each, key in zip(raw.split(array), ids, strict=True):
        # _id stands first in every stored document.
        if not each.startswith(bson.encode({"_id": key}, codec_options=CODEC)[4:-1], 4):
            raise OperatorError("an _id holds text that is no UTF-8, and cannot be walked past; mend or remove it")
    return ids

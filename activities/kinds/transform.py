"""
``transform``: a registered Python function over a page of documents, computed before its transaction.

Inside the transaction the page's range is read again, raw, and compared byte for byte with what
was computed from. The same bytes: written. A few that changed: computed anew there and then; more:
the page ends before the first of them. From that read on, snapshot isolation turns a competing
write into a write conflict, so a concurrent update is never lost.
"""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import bson
from bson.errors import BSONError
from pymongo import ReplaceOne, UpdateOne
from pymongo.client_session import ClientSession
from pymongo.errors import OperationFailure
from typing_extensions import override

from lull.activities.kinds import Page, PageAdapter, PageAgain, PartitionWork, Poison, Written
from lull.activities.mongo import CODEC, ID_INDEX, Document, Key, both, decode_values, error_code_class, key_range
from lull.activities.transforms import SKIP, UNCHANGED, UNSET, Replace, Result, Transform
from lull.domain.errors import InvariantBroken
from lull.domain.failure import ErrorClass
from lull.domain.kinds import transform
from lull.domain.pacing import PAGE_BYTES_MAX
from lull.domain.slice import Counts

MESSAGE_CHARS_MAX = 500
"""Of a poison document's error; the quarantine is for finding documents, not for keeping logs."""
RECOMPUTED_MAX = 20
"""Documents computed anew inside a transaction, which other writers may be waiting for."""
_COMMAND_BYTES_MAX = 2 << 20
"""Above this many bytes read, writes go through the driver's bulk API, which splits large messages."""

_LENIENT = CODEC.with_options(unicode_decode_error_handler="replace")

Operation = tuple[Document, Document, bool]
"""Filter, update or replacement, and whether it is a replacement."""


@dataclass(slots=True)
class Computed:
    """What a page was computed from, and what came out; parallel lists in index order."""

    query: Document
    raw: bytes
    ids: list[Any]
    results: list[Result | Poison]
    scanned: int
    refused: dict[bytes, Poison] = field(default_factory=dict)
    """Documents the server would not write, by their raw bytes."""


class TransformPages(PageAdapter):
    """Write what the function makes of each document."""

    def __init__(self, work: PartitionWork, spec: transform.Spec) -> None:
        self.work = work
        self.filter: Document = decode_values(spec.source.filter)
        self._transform: Transform = work.registry.get(spec.transform)
        self._writes = spec.writes

    # -- reading and computing, one page ahead -------------------------------------------------

    @override
    def read(self, after: Key | None, docs: int) -> Page | None:
        upto, scanned = self._stride(after, docs) if self.filter else (None, docs)
        query = both(key_range(after, upto or self.work.upto), self.filter)
        raw, is_all = self._first_batch(query, docs)
        if not raw:
            return self._passed_over(after, upto, scanned)
        documents, unreadable = _decoded(raw)
        if not is_all or (upto is None and len(documents) == docs):
            upto, last = Key(documents[-1]["_id"]), False
        else:
            last, upto = upto is None, upto or self.work.upto
        ids = [document["_id"] for document in documents]
        scanned = scanned if self.filter and is_all else len(ids)
        results = self._compute(raw, documents) if unreadable is None else self._bisect(ids, raw, unreadable)
        computed = Computed(both(key_range(after, upto), self.filter), raw, ids, results, scanned)
        return Page(after, upto, docs, last, computed)

    def _stride(self, after: Key | None, docs: int) -> tuple[Key | None, int]:
        """Bound a filtered page by documents passed over, so that it ends however few match."""
        cursor = self.work.source.find(
            key_range(after, self.work.upto),
            {"_id": 1},
            hint=ID_INDEX,
            skip=docs - 1,
            limit=1,
            comment=self.work.comment,
        )
        found = next(cursor, None)
        if found is not None:
            return Key(found["_id"]), docs
        query = key_range(after, self.work.upto)
        return None, self.work.source.count_documents(query, hint=ID_INDEX, limit=docs, comment=self.work.comment)

    def _first_batch(self, query: Document, docs: int) -> tuple[bytes, bool]:
        """Return at most *docs* raw documents and about 4 MB of them, and whether those are all there are."""
        cursor = self.work.source.find_raw_batches(
            query, hint=ID_INDEX, limit=docs, batch_size=docs, comment=self.work.comment
        )
        try:
            raw: Any = next(cursor, b"")
            kept = _capped(raw)
            return kept, len(kept) == len(raw) and not cursor.alive
        finally:
            cursor.close()

    def _passed_over(self, after: Key | None, upto: Key | None, scanned: int) -> Page | None:
        if (upto is None and scanned == 0) or not self.filter:
            return None
        end = upto or self.work.upto
        return Page(after, end, scanned, last=upto is None, work=Computed({}, b"", [], [], scanned))

    def _compute(self, raw: bytes, documents: list[Document]) -> list[Result | Poison]:
        """Return each document's result; a document the function fails on becomes Poison."""
        ids = [document["_id"] for document in documents]
        try:
            results = self._transform.results(documents)
            self._check_writes(results)
        except Exception as error:  # noqa: BLE001 - a user's function may raise anything
            return self._bisect(ids, raw, error)
        return list(results)

    def _bisect(self, ids: list[Any], raw: bytes, error: Exception) -> list[Result | Poison]:
        if len(ids) == 1:
            return [Poison(ids[0], type(error).__name__, str(error)[:MESSAGE_CHARS_MAX])]
        # The function may have changed the documents it was given before it failed: decode them anew.
        raws = _split(raw)
        size = (len(raws) + 1) // 2 if self._transform.batch else 1
        parts = [b"".join(raws[at : at + size]) for at in range(0, len(raws), size)]
        return [result for part in parts for result in self._compute_part(part)]

    def _compute_part(self, raw: bytes) -> list[Result | Poison]:
        documents, unreadable = _decoded(raw)
        if unreadable is not None:
            return self._bisect([document["_id"] for document in documents], raw, unreadable)
        return self._compute(raw, documents)

    def _check_writes(self, results: list[Result]) -> None:
        if "*" in self._writes:
            return
        for result in results:
            paths = ["*"] if isinstance(result, Replace) else result if isinstance(result, Mapping) else []
            stray = [path for path in paths if not any(_within(path, allowed) for allowed in self._writes)]
            if stray:
                raise ValueError(f"writes {stray[0]!r}, which the spec's writes does not name")

    # -- writing -------------------------------------------------------------------------------

    @override
    def write(self, page: Page, session: ClientSession | None) -> Written:
        computed: Computed = page.work
        if not computed.raw:
            return Written(Counts(scanned=computed.scanned, pages=1), page.upto, page.last)
        now = self._read_again(computed.query, len(computed.ids), session)
        if now == computed.raw:
            plan = _Plan(now, list(computed.ids), list(computed.results), page.upto, page.last)
        else:
            plan = self._reconcile(page, now)
        if computed.refused:
            plan.replace(computed.refused)
        if not self.work.quarantine:
            plan.end_before_poison(page.after)
        return self._apply(plan, computed, session)

    def _read_again(self, query: Document, docs: int, session: ClientSession | None) -> bytes:
        # Twice the page: documents inserted into its range since are computed too, within bounds.
        cursor = self.work.source.find_raw_batches(
            query,
            hint=ID_INDEX,
            limit=2 * docs + 10,
            batch_size=2 * docs + 10,
            session=session,
            comment=self.work.comment,
        )
        return b"".join(cast("Iterable[bytes]", cursor))

    def _reconcile(self, page: Page, now: bytes) -> "_Plan":
        """Match what is there now with what was computed from; compute a few anew, end before too many."""
        computed: Computed = page.work
        known = {raw: place for place, raw in enumerate(_split(computed.raw))}
        plan = _Plan(now, [], [], page.upto, page.last)
        recomputed = 0
        raws = _split(now)
        for raw in raws:
            place = known.get(raw)
            if place is not None:
                plan.add(computed.ids[place], computed.results[place])
                continue
            if recomputed == RECOMPUTED_MAX:
                break
            recomputed += 1
            documents, _ = _decoded(raw)
            plan.add(documents[0]["_id"], self._compute_part(raw)[0])
        if len(plan.ids) < len(raws) or len(raws) >= _read_again_max(len(computed.ids)):
            plan.end_at_last()
        plan.gone = _gone(computed.ids, plan)
        return plan

    def _apply(self, plan: "_Plan", computed: Computed, session: ClientSession | None) -> Written:
        operations: list[Operation] = []
        places: list[int] = []
        unchanged = skipped = 0
        poison: list[Poison] = []
        for place, (key, result) in enumerate(zip(plan.ids, plan.results, strict=True)):
            if isinstance(result, Poison):
                poison.append(result)
            elif result is SKIP:
                skipped += 1
            elif result is UNCHANGED or result == {}:
                unchanged += 1
            else:
                operations.append(_operation(key, result))
                places.append(place)
        modified = self._run(operations, places, plan, computed, session) if operations else 0
        counts = Counts(
            scanned=max(computed.scanned, len(plan.ids)) if plan.whole else len(plan.ids),
            seen=len(plan.ids) + plan.gone,
            changed=modified,
            unchanged=unchanged + len(operations) - modified,
            skipped=skipped + plan.gone,
            quarantined=len(poison),
            bytes=len(plan.raw),
            pages=1,
        )
        return Written(counts, plan.upto, plan.last, tuple(poison), plan.blocked)

    def _run(
        self,
        operations: list[Operation],
        places: list[int],
        plan: "_Plan",
        computed: Computed,
        session: ClientSession | None,
    ) -> int:
        """The operations are in the transaction; returns how many documents they changed."""
        if session is None:
            return self._run_guarded(operations, places, plan)
        if len(plan.raw) > _COMMAND_BYTES_MAX:
            return self._run_bulk(operations, session)
        # A plain command: building it costs half of what the bulk API's operation objects cost.
        reply = self.work.source.database.command(
            {
                "update": self.work.source.name,
                "updates": [{"q": query, "u": change} for query, change, _ in operations],
                "ordered": True,
                "comment": self.work.comment,
            },
            session=session,
        )
        if reply.get("writeErrors"):
            self._refuse(reply["writeErrors"][0], places, plan, computed)
        if reply["n"] != len(operations):
            raise InvariantBroken(
                f"{reply['n']} of {len(operations)} documents were found again in the transaction that had just read them"
            )
        return int(reply["nModified"])

    def _run_bulk(self, operations: list[Operation], session: ClientSession) -> int:
        requests = [
            ReplaceOne(query, change) if whole else UpdateOne(query, change) for query, change, whole in operations
        ]
        result = self.work.source.bulk_write(requests, ordered=True, session=session, comment=self.work.comment)
        return result.modified_count

    def _run_guarded(self, operations: list[Operation], places: list[int], plan: "_Plan") -> int:
        """Without transactions each write carries the document it was computed from in its filter."""
        raws = _split(plan.raw)
        modified = 0
        for (query, change, whole), place in zip(operations, places, strict=True):
            guard = {**query, "$expr": {"$eq": ["$$ROOT", {"$literal": bson.decode(raws[place], CODEC)}]}}
            write = self.work.source.replace_one if whole else self.work.source.update_one
            result = write(guard, change, comment=self.work.comment)
            modified += result.modified_count
        return modified

    def _refuse(self, problem: Mapping[str, Any], places: list[int], plan: "_Plan", computed: Computed) -> None:
        code = problem.get("code")
        if error_code_class(code) is not ErrorClass.POISON:
            raise OperationFailure("a write in a page failed", code, {"codeName": problem.get("codeName", "")})
        place = places[problem["index"]]
        message = str(problem.get("errmsg", ""))[:MESSAGE_CHARS_MAX]
        computed.refused[_split(plan.raw)[place]] = Poison(plan.ids[place], "WriteError", message, code)
        raise PageAgain

    @override
    def rewind(self) -> None:
        pass

    @override
    def suspect(self, page: Page) -> Any:
        computed: Computed = page.work
        return computed.ids[0] if computed.ids else None


@dataclass(slots=True)
class _Plan:
    """What a page's transaction will write, worked out against the documents of now."""

    raw: bytes
    ids: list[Any]
    results: list[Result | Poison]
    upto: Key | None
    last: bool
    whole: bool = True
    """Whether the page reaches as far as it was read."""
    gone: int = 0
    blocked: Poison | None = None

    def add(self, key: Any, result: Result | Poison) -> None:
        self.ids.append(key)
        self.results.append(result)

    def end_at_last(self) -> None:
        """The page ends at the last document taken in."""
        self.upto, self.last, self.whole = Key(self.ids[-1]), False, False

    def replace(self, refused: Mapping[bytes, Poison]) -> None:
        """Documents the server would not write become poison."""
        for place, raw in enumerate(_split(self.raw)[: len(self.ids)]):
            self.results[place] = refused.get(raw, self.results[place])

    def end_before_poison(self, after: Key | None) -> None:
        """Without a quarantine the page ends before its first poison document."""
        for place, result in enumerate(self.results):
            if isinstance(result, Poison):
                self.blocked = result
                self.upto = Key(self.ids[place - 1]) if place else after
                del self.ids[place:], self.results[place:]
                self.last = self.whole = False
                return


def _gone(ids: list[Any], plan: _Plan) -> int:
    """Count the documents computed from that are no longer there, or no longer match."""
    there = {_hashable(key) for key in plan.ids}
    missing = sum(_hashable(key) not in there for key in ids)
    if plan.whole:
        return missing
    # The page was cut: those behind the cut will be met again.
    order = [_hashable(key) for key in ids]
    last = max((i for i, key in enumerate(order) if key in there), default=-1)
    return sum(key not in there for key in order[: last + 1])


def _read_again_max(docs: int) -> int:
    """Twice the page: documents inserted into its range since are computed too, within bounds."""
    return 2 * docs + 10


def _hashable(key: Any) -> bytes:
    return bson.encode({"k": key})


def _decoded(raw: bytes) -> tuple[list[Document], BSONError | None]:
    """Return the documents; with an error, only their ids are to be trusted: some text is no UTF-8."""
    try:
        return bson.decode_all(raw, CODEC), None
    except BSONError as error:
        return bson.decode_all(raw, _LENIENT), error


def _operation(key: Any, result: Result) -> Operation:
    if isinstance(result, Replace):
        return {"_id": key}, {"_id": key, **result.document}, True
    fields = dict(result) if isinstance(result, Mapping) else {}
    unset = {name: "" for name, value in fields.items() if value is UNSET}
    changed = {name: value for name, value in fields.items() if value is not UNSET} if unset else fields
    change: Document = {"$set": changed} if changed else {}
    if unset:
        change["$unset"] = unset
    return {"_id": key}, change, False


def _within(path: str, allowed: str) -> bool:
    return allowed == path or path.startswith(allowed + ".") or (path != "*" and allowed == "*")


def _split(raw: bytes) -> list[bytes]:
    """Return the concatenated BSON documents of *raw*, one by one."""
    documents = []
    at, end = 0, len(raw)
    while at < end:
        (size,) = struct.unpack_from("<i", raw, at)
        documents.append(raw[at : at + size])
        at += size
    return documents


def _capped(raw: bytes) -> bytes:
    """Return the documents of *raw* that begin within 4 MB, at least one."""
    if len(raw) <= PAGE_BYTES_MAX:
        return raw
    at = 0
    while at < len(raw):
        (size,) = struct.unpack_from("<i", raw, at)
        if at and at + size > PAGE_BYTES_MAX:
            break
        at += size
    return raw[:at]


def adapter(work: PartitionWork) -> PageAdapter:
    """Return the adapter of a transform job."""
    if not isinstance(work.spec, transform.Spec):
        raise TypeError(f"a transform adapter was given a {work.spec.kind} job")
    return TransformPages(work, work.spec)

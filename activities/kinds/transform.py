"""
``transform``: a registered Python function over a page of documents, computed before its transaction.

Inside the transaction the page's range is read again, raw, and compared byte for byte with what
was computed from. The same bytes: written. A few that changed: computed anew there and then; more:
the page ends before the first of them. From that read on, snapshot isolation turns a competing
write into a write conflict, so a concurrent update is never lost.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import bson
from bson.raw_bson import RawBSONDocument
from pymongo.client_session import ClientSession
from pymongo.errors import WriteError
from typing_extensions import override

from lull.activities import raw
from lull.activities.kinds import Page, PageAdapter, PageAgain, PartitionWork, Poison, Written
from lull.activities.kinds.computing import Computation, Computed, Outcome
from lull.activities.kinds.ranges import Stride, only_match, stride_of
from lull.activities.mongo import Document, Key, both, decode_values, error_class, key_range
from lull.activities.transforms import SKIP
from lull.domain.errors import InvariantBroken
from lull.domain.failure import ErrorClass
from lull.domain.kinds import transform
from lull.domain.pacing import PAGE_BYTES_MAX
from lull.domain.slice import Counts

RECOMPUTED_MAX = 20
"""Documents computed anew inside a transaction, which other writers may be waiting for."""


@dataclass(slots=True)
class Draft:
    """What a page was computed from, and what came out."""

    query: Document
    array: bytes
    computed: Computed
    scanned: int
    refused: dict[bytes, Poison] = field(default_factory=dict)
    """Documents the server would not write, by their raw bytes."""
    applied: dict[bytes, tuple[Document, int]] = field(default_factory=dict)
    """Without transactions: statements already run, by id, and how many documents each changed (one or none)."""

    def statement_applied(self, key: Any) -> Document | None:
        """Return the statement that was run for the document already; None in a transaction, which is all or nothing."""
        found = self.applied.get(_hashable(key)) if self.applied else None
        return found[0] if found else None


class TransformPages(PageAdapter):
    """Write what the function makes of each document."""

    def __init__(self, work: PartitionWork, spec: transform.Spec) -> None:
        self.work = work
        self.filter: Document = decode_values(spec.source.filter)
        self._computation = Computation(work.registry.get(spec.transform), spec.writes)
        self._hold_seconds = spec.limits.page_hold_ms / 1_000
        # Read, read again, write; a filter's stride.
        self.ops = 4.0 if self.filter else 3.0

    # -- reading and computing, one page ahead -------------------------------------------------

    @override
    def read(self, after: Key | None, docs: int) -> Page | None:
        # A filtered page is bounded by documents passed over, so that it ends however few match.
        stride = stride_of(self.work, after, docs) if self.filter else Stride(None, docs)
        query = both(key_range(after, stride.upto or self.work.upto), self.filter)
        array, is_all = self._found(query, docs)
        if array == raw.EMPTY:
            return self._nothing_matches(after, stride)
        everything = self._computation.over(array)
        computed = everything.within(PAGE_BYTES_MAX)
        count = len(computed.ids)
        if computed is not everything:
            array, is_all = raw.join(raw.split(array)[:count]), False
        is_whole = is_all and (stride.upto is not None or count < docs)
        upto = (stride.upto or self.work.upto) if is_whole else Key(computed.ids[-1])
        scanned = stride.docs if is_whole and self.filter else count
        draft = Draft(both(key_range(after, upto), self.filter), array, computed, scanned)
        return Page(after, upto, count, is_whole and stride.upto is None, draft)

    def _found(self, query: Document, docs: int) -> raw.Found:
        """Return at most *docs* documents and about 4 MB of them, and whether more of these match."""
        found = raw.find(self.work.source, query, limit=docs, comment=self.work.comment)
        array = raw.within(found.array, PAGE_BYTES_MAX)
        return raw.Found(array, found.is_all and array is found.array)

    def _nothing_matches(self, after: Key | None, stride: Stride) -> Page | None:
        if not self.filter or not stride.docs:
            return None
        draft = Draft({}, raw.EMPTY, Computed([], [], 0), stride.docs)
        return Page(after, stride.upto or self.work.upto, 0, stride.upto is None, draft)

    # -- writing -------------------------------------------------------------------------------

    @override
    def write(self, page: Page, session: ClientSession | None) -> Written:
        draft: Draft = page.work
        if draft.array == raw.EMPTY:
            return Written(Counts(scanned=draft.scanned, pages=1), page.upto, page.last)
        now = raw.find(
            self.work.source, draft.query, limit=_again_max(draft), comment=self.work.comment, session=session
        )
        if now.array == draft.array:
            plan = _Plan(now.array, list(draft.computed.ids), list(draft.computed.outcomes), page.upto, page.last)
        else:
            plan = self._reconcile(page, now, in_transaction=session is not None)
        if draft.refused:
            plan.replace(draft.refused)
        if not self.work.quarantine:
            plan.end_before_poison(page.after)
        return self._apply(plan, draft, session)

    def _reconcile(self, page: Page, now: raw.Found, *, in_transaction: bool) -> "_Plan":
        """Match what is there now with what was computed from; compute a few anew, end before too many."""
        draft: Draft = page.work
        computed = draft.computed
        known = {each: place for place, each in enumerate(raw.split(draft.array))}
        plan = _Plan(now.array, [], [], page.upto, page.last)
        anew = _Anew(self._hold_seconds) if in_transaction else None
        there = raw.split(now.array)
        for each in there:
            place = known.get(each)
            if place is not None:
                plan.add(computed.ids[place], computed.outcomes[place])
                continue
            if anew is not None and anew.is_too_much:
                break
            one = self._computation.over(raw.join([each]))
            plan.add(one.ids[0], draft.statement_applied(one.ids[0]) or one.outcomes[0])
            if anew is not None:
                anew.add(one.written_bytes)
        if len(plan.ids) < len(there) or not now.is_all or len(there) >= _again_max(draft):
            plan.end_at_last()
        plan.gone = _gone(computed.ids, plan)
        return plan

    def _apply(self, plan: "_Plan", draft: Draft, session: ClientSession | None) -> Written:
        writes = [outcome for outcome in plan.outcomes if isinstance(outcome, dict)]
        poison = tuple(outcome for outcome in plan.outcomes if isinstance(outcome, Poison))
        skipped = sum(outcome is SKIP for outcome in plan.outcomes)
        if session is None:
            modified = self._run_guarded(plan, draft)
        else:
            modified = self._run(writes, plan, draft, session) if writes else 0
        counts = Counts(
            scanned=max(draft.scanned, len(plan.ids)) if plan.whole else len(plan.ids),
            seen=len(plan.ids) + plan.gone,
            changed=modified,
            unchanged=len(plan.ids) - skipped - len(poison) - modified,
            skipped=skipped + plan.gone,
            quarantined=len(poison),
            bytes=len(plan.array),
            pages=1,
        )
        page_bytes = max(len(plan.array), draft.computed.written_bytes)
        return Written(counts, plan.upto, plan.last, poison, plan.blocked, page_bytes)

    def _run(self, writes: list[Document], plan: "_Plan", draft: Draft, session: ClientSession) -> int:
        """The statements are in the transaction; returns how many documents they changed."""
        reply = self._update(writes, session)
        if reply.get("writeErrors"):
            problem = reply["writeErrors"][0]
            places = [place for place, outcome in enumerate(plan.outcomes) if isinstance(outcome, dict)]
            _refuse(problem, places[problem["index"]], plan, draft)
            raise PageAgain
        if reply["n"] != len(writes):
            raise InvariantBroken(
                f"{reply['n']} of {len(writes)} documents were found again in the transaction that had just read them"
            )
        return int(reply["nModified"])

    def _update(self, statements: list[Document], session: ClientSession | None = None) -> Document:
        # A plain command: building it costs half of what the bulk API's operation objects cost.
        source = self.work.source
        command = {"update": source.name, "updates": statements, "ordered": True, "comment": self.work.comment}
        return source.database.command(command, session=session)

    def _run_guarded(self, plan: "_Plan", draft: Draft) -> int:
        """
        Without transactions each write carries the document it was computed from in its filter.

        Raises PageAgain when some of them were others by then: the page is read and computed again
        for these. Returns how many documents of the page were changed.
        """
        modified = missed = 0
        there = raw.split(plan.array)
        for place, outcome in enumerate(plan.outcomes):
            if not isinstance(outcome, dict):
                continue
            key = _hashable(plan.ids[place])
            if key not in draft.applied:
                guard = {**outcome["q"], "$expr": {"$eq": ["$$ROOT", {"$literal": RawBSONDocument(there[place])}]}}
                reply = self._update([{"q": guard, "u": outcome["u"]}])
                if reply.get("writeErrors"):
                    _refuse(reply["writeErrors"][0], place, plan, draft)
                if not reply["n"]:
                    missed += 1
                    continue
                draft.applied[key] = outcome, int(reply["nModified"])
            modified += draft.applied[key][1]
        if missed:
            raise PageAgain
        return modified

    @override
    def suspect(self, page: Page) -> Key | None:
        return only_match(self.work, self.filter, page)

    @override
    def rewind(self) -> None:
        pass

    @override
    def close(self) -> None:
        pass


@dataclass(slots=True)
class _Anew:
    """What was computed anew inside a transaction, and whether it holds its documents long enough."""

    seconds_max: float
    began: float = field(default_factory=time.monotonic)
    docs: int = 0
    written_bytes: int = 0

    def add(self, written_bytes: int) -> None:
        self.docs += 1
        self.written_bytes += written_bytes

    @property
    def is_too_much(self) -> bool:
        """Never before the first: a page whose documents all change all the time still gets on."""
        return self.docs > 0 and (
            self.docs >= RECOMPUTED_MAX
            or self.written_bytes > PAGE_BYTES_MAX
            or time.monotonic() - self.began > self.seconds_max
        )


@dataclass(slots=True)
class _Plan:
    """What a page's transaction will write, worked out against the documents of now."""

    array: bytes
    ids: list[Any]
    outcomes: list[Outcome]
    upto: Key | None
    last: bool
    whole: bool = True
    """Whether the page reaches as far as it was read."""
    gone: int = 0
    blocked: Poison | None = None

    def add(self, key: Any, outcome: Outcome) -> None:
        self.ids.append(key)
        self.outcomes.append(outcome)

    def end_at_last(self) -> None:
        """The page ends at the last document taken in."""
        self.upto, self.last, self.whole = Key(self.ids[-1]), False, False

    def replace(self, refused: Mapping[bytes, Poison]) -> None:
        """Documents the server would not write become poison."""
        for place, each in enumerate(raw.split(self.array)[: len(self.ids)]):
            self.outcomes[place] = refused.get(each, self.outcomes[place])

    def end_before_poison(self, after: Key | None) -> None:
        """Without a quarantine the page ends before its first poison document."""
        for place, outcome in enumerate(self.outcomes):
            if isinstance(outcome, Poison):
                self.blocked = outcome
                self.upto = Key(self.ids[place - 1]) if place else after
                del self.ids[place:], self.outcomes[place:]
                self.last = self.whole = False
                return


def _refuse(problem: Mapping[str, Any], place: int, plan: _Plan, draft: Draft) -> None:
    """The document at *place* is poison from now on. Raises WriteError if it may not be to blame."""
    error = WriteError(str(problem.get("errmsg", "")), problem.get("code"), problem)
    if error_class(error) is not ErrorClass.POISON:
        raise error
    draft.refused[raw.split(plan.array)[place]] = Poison.of(plan.ids[place], error)


def _gone(ids: list[Any], plan: _Plan) -> int:
    """Count the documents computed from that are no longer there, or no longer match."""
    there = {_hashable(key) for key in plan.ids}
    order = [_hashable(key) for key in ids]
    if not plan.whole:
        # Those behind the cut will be met again.
        last = max((i for i, key in enumerate(order) if key in there), default=-1)
        order = order[: last + 1]
    return sum(key not in there for key in order)


def _again_max(draft: Draft) -> int:
    """Twice the page: documents inserted into its range since are computed too, within bounds."""
    return 2 * len(draft.computed.ids) + 10


def _hashable(key: Any) -> bytes:
    return bson.encode({"k": key})


def adapter(work: PartitionWork) -> PageAdapter:
    """Return the adapter of a transform job."""
    if not isinstance(work.spec, transform.Spec):
        raise TypeError(f"a transform adapter was given a {work.spec.kind} job")
    return TransformPages(work, work.spec)

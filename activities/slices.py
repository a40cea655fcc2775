"""
The page loop: one slice of one partition, in a thread of its own.

Gate and directive, next page, transaction, position; again. While a page is written the next one
is read. Every wait ends early when the directive changes, and nothing is held open across one.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future, wait
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from bson.errors import BSONError
from pymongo import ReplaceOne
from pymongo.client_session import ClientSession
from pymongo.errors import DocumentTooLarge, PyMongoError
from pymongo.read_concern import ReadConcern

from lull.activities import lease as leases
from lull.activities.kinds import Page, PageAdapter, PageAgain, PartitionWork, Poison, Written, adapter_for
from lull.activities.lease import Lease
from lull.activities.leave import BudgetWatch
from lull.activities.mongo import MAJORITY, Cluster, Document, Key, describe, error_class, pack, translated
from lull.activities.store import PARTITIONS, QUARANTINE, RETENTION
from lull.activities.telemetry import SliceTelemetry
from lull.activities.watch import View, Watch
from lull.domain import pacing
from lull.domain.errors import FenceLost, OperatorError, TransientError
from lull.domain.failure import ErrorClass
from lull.domain.governor.budget import UNGOVERNED, Leave, owed_seconds, rested
from lull.domain.job import Walk
from lull.domain.slice import Counts, PartitionSnapshot, Plan, SliceEnd, SliceReport, SliceTask, Verb

log = logging.getLogger("lull.slice")

WORLD_PATIENCE_SECONDS = 20.0
"""How long a slice outlasts an election by itself, before it gives its slot back."""
BLIND_SECONDS_MAX = 10.0
"""How long a slice waits for a directive it can trust."""
COMMIT_TRIES_MAX = 3
HOT_TRIES_MAX = 40
"""Conflicts in a row on a page of one document, half a minute's worth, before it counts as poison."""
GATED_SECONDS_MAX = 10.0
"""A slice that has waited for the governor for so long gives its slot back: a critical job may need it."""
_LEDGER_OPS = 1.0
"""Of a page: the partition's document."""
_LOOK_SECONDS = 0.05
"""While it waits for the governor, whose word is read ten times a second."""
_SNAPSHOT = ReadConcern("snapshot")
_WAIT_SECONDS_MAX = 1.0
"""A page read longer ago than this is read again."""


class _Ahead(NamedTuple):
    """What is read while the page before it is written."""

    docs: int
    page: Future[Page | None]


@dataclass(frozen=True, slots=True)
class SliceParts:
    """What a slice is made of."""

    cluster: Cluster
    task: SliceTask
    work: PartitionWork
    watch: Watch
    budget: BudgetWatch
    telemetry: SliceTelemetry
    owner: str
    readers: Executor
    """Lasting threads: a new one for every slice would leave the allocator a new arena, and memory would grow."""


class Slice:
    """One slice. ``run`` belongs to one thread; ``snapshot``, ``alive_at`` and ``drain`` to any."""

    def __init__(self, parts: SliceParts, lease: Lease) -> None:
        self._parts = parts
        self._limits = parts.work.spec.limits
        self._lease = lease
        self._adapter: PageAdapter = adapter_for(parts.work)
        self._size = pacing.first(_expected_bytes(parts.work.plan))
        self._ahead: _Ahead | None = None
        self._again: Page | None = None
        """A page that is written once more, knowing better."""
        self._drain = threading.Event()
        self._started = time.monotonic()
        self._credit: pacing.Credit | None = None
        self._leave: Leave = UNGOVERNED
        self._debt_s = 0.0
        """Rest that is owed to the governor for pages already written; below 0 for rest beyond what was owed."""
        self._settled_at = self._started
        """Until when the debt is reckoned, on the monotonic clock."""
        self._waited: dict[str, float] = {}
        self._waiting_for = ""
        self._resume_after = 0.0
        self._note = ""
        self._failures = 0
        """Of the page in hand and smaller ones, in a row."""
        self._away_since: float | None = None
        self.alive_at = self._started
        """When the loop last moved, on the monotonic clock: a stuck slice must not heartbeat."""

    # -- what others may call --------------------------------------------------------------------

    def drain(self) -> None:
        """Return at the next page boundary; the worker is shutting down."""
        self._drain.set()
        self._parts.watch.wake()

    @property
    def snapshot(self) -> PartitionSnapshot:
        """The partition as committed, and what the slice waits for."""
        return self._lease.snapshot.model_copy(update={"waiting_for": self._waiting_for})

    def run(self) -> SliceReport:
        """Commit pages until there is a reason to return, and return it."""
        end = None
        try:
            end = self._until_end()
        finally:
            if self._ahead is not None:
                wait([self._ahead.page])
            with suppress(PyMongoError):
                self._adapter.close()
            self._lease.release(resting=end is SliceEnd.WAITING)
        seconds = time.monotonic() - self._started
        active = max(0.0, seconds - sum(self._waited.values()))
        self._parts.telemetry.ended(end, active, self._waited)
        return SliceReport(
            end=end,
            snapshot=self._lease.snapshot,
            active_s=active,
            waited_s=self._waited,
            resume_after_s=self._resume_after,
            note=self._note,
        )

    # -- the loop --------------------------------------------------------------------------------

    def _until_end(self) -> SliceEnd:
        try:
            return self._outlasting()
        except FenceLost:
            return self._overtaken()

    def _outlasting(self) -> SliceEnd:
        while True:
            try:
                return self._pages()
            except PyMongoError as error:
                end = self._recover(error)
                if end is not None:
                    return end

    def _pages(self) -> SliceEnd:
        while not self._lease.done:
            end = self._told_to_stop() or self._paid() or self._allowed()
            if end is not None:
                return end
            if not self._in_turn():
                return SliceEnd.POISON
            self._away_since = None
        return SliceEnd.DONE

    def _told_to_stop(self) -> SliceEnd | None:
        self.alive_at = time.monotonic()
        if self._drain.is_set():
            return SliceEnd.DRAINING
        view = self._view()
        if view is None:
            return SliceEnd.DRAINING
        over = SliceEnd.SLICE_OVER if self._seconds_left() <= 0 else None
        return _ENDS.get(view.directive.verb, over)

    def _seconds_left(self) -> float:
        return self._parts.task.seconds_max - (time.monotonic() - self._started)

    def _view(self, since: float = 0.0) -> View | None:
        """
        Return a view that may be trusted, waiting for one; None when told to drain meanwhile.

        It was read at *since*, of the monotonic clock, or later.
        """
        blind_since = time.monotonic()
        while True:
            view, now = self._parts.watch.view, time.monotonic()
            if view is not None and view.read_at >= since and self._is_trusted(view, now):
                return view
            if now - blind_since > BLIND_SECONDS_MAX:
                raise TransientError(
                    f"the directive could not be read for {BLIND_SECONDS_MAX:g} s; no page is begun without one"
                )
            if self._drain.is_set():
                return None
            self._wait("directive", "the ledger: directive stale", 0.2)

    def _is_trusted(self, view: View, now: float) -> bool:
        return not view.is_stale(now) and view.directive.epoch >= self._parts.task.epoch

    def _wait(self, reason: str, label: str, seconds: float) -> None:
        """Wait, early ended by any change of the directive; the time counts as waited for *reason*."""
        began = time.monotonic()
        self._waiting_for = label
        self._parts.watch.wait(seconds)
        self._waiting_for = ""
        self.alive_at = time.monotonic()
        self._waited[reason] = self._waited.get(reason, 0.0) + self.alive_at - began

    # -- throttle --------------------------------------------------------------------------------

    def _rate(self) -> float | None:
        view = self._parts.watch.view
        return None if view is None else pacing.share(view.directive.max_docs_per_second, view.live)

    def _docs(self) -> int:
        docs = min(pacing.held(self._size, self._hold_ms), self._docs_max)
        return pacing.throttled_docs(docs, self._rate())

    def _paid(self) -> SliceEnd | None:
        """Wait until the throttle lets another page through, or return why the slice ends instead."""
        while (rate := self._rate()) is not None:
            now = time.monotonic()
            if self._credit is None:
                waited_s = self._parts.task.waited_s
                self._credit = pacing.owing(self._docs(), waited_s=waited_s, docs_per_second=rate, now_s=now)
            self._credit = pacing.accrued(self._credit, rate, now)
            seconds = pacing.wait_seconds(self._credit, rate)
            if seconds <= 0:
                return None
            # A wait of a moment is waited out: giving the slot back costs the workflow three events.
            if seconds > max(self._seconds_left(), _WAIT_SECONDS_MAX):
                self._resume_after = seconds
                return SliceEnd.WAITING
            if seconds > _WAIT_SECONDS_MAX:
                self._forget_ahead()
            # In short waits: an order that came just before one of them is not overslept for long.
            self._wait("throttle", f"throttle: {rate:g} docs/s for this slice", min(seconds, _WAIT_SECONDS_MAX))
            if (end := self._told_to_stop()) is not None:
                return end
        self._credit = None
        return None

    def _charge(self, counts: Counts) -> None:
        if self._credit is not None:
            self._credit = pacing.Credit(self._credit.docs - max(1, counts.seen), self._credit.at_s)

    # -- governor --------------------------------------------------------------------------------

    @property
    def _hold_ms(self) -> float:
        """How long a page may hold its documents: as the spec says, or the governor if that is less."""
        return min(self._limits.page_hold_ms, self._leave.hold_ms or self._limits.page_hold_ms)

    @property
    def _docs_max(self) -> int:
        return min(self._limits.page_docs_max, self._leave.docs_max or self._limits.page_docs_max)

    def _allowed(self) -> SliceEnd | None:
        """Wait until the governor lets another page through, or return why the slice ends instead."""
        began = time.monotonic()
        while True:
            self._leave = self._parts.budget.leave(self._parts.task.job)
            self._settle()
            if self._leave.is_open and self._debt_s <= 0:
                return None
            waited = time.monotonic() - began
            if waited > GATED_SECONDS_MAX:
                self._resume_after = GATED_SECONDS_MAX
                return SliceEnd.WAITING
            if waited > _WAIT_SECONDS_MAX:
                self._forget_ahead()
            self._wait_for_leave()
            if (end := self._told_to_stop()) is not None:
                return end

    def _wait_for_leave(self) -> None:
        leave = self._leave
        if leave.is_open:
            pace = f"governor: {leave.reason or f'{leave.share:.0%} of the time for this slice'}"
            self._wait("governor pace", pace, min(self._debt_s, _LOOK_SECONDS))
        else:
            self._wait(f"governor: {leave.label}", f"the foreground: {leave.reason}", _LOOK_SECONDS)

    def _settle(self) -> None:
        """Whatever has passed since the last page was rest: for its own sake, for a read, or for the turn."""
        now = time.monotonic()
        self._debt_s = 0.0 if self._leave.share >= 1 else rested(self._debt_s, now - self._settled_at)
        if not self._leave.is_open:
            self._debt_s = max(0.0, self._debt_s)
        self._settled_at = now

    def _in_turn(self) -> bool:
        """Read and write a page when it is this slice's turn; what it cost is owed as rest."""
        asked = time.monotonic()
        with self._parts.budget.turns.turn(self._leave.turns):
            self._settle()
            began = self._settled_at
            self._waited["governor pace"] = self._waited.get("governor pace", 0.0) + began - asked
            try:
                return self._one_page()
            finally:
                self._settled_at = time.monotonic()
                cost_s = self._settled_at - began
                self._debt_s = owed_seconds(self._debt_s, cost_s, self._leave.share)
                self._parts.budget.account.spent(self._parts.task.job, cost_s, self._adapter.ops + _LEDGER_OPS)

    def _one_page(self) -> bool:
        """The next page is committed, or nothing is left to do. Returns whether the slice may go on."""
        page = self._next_page()
        if page is None:
            self._finish()
            return True
        return self._write(page)

    # -- reading ---------------------------------------------------------------------------------

    @property
    def _reads_ahead(self) -> bool:
        """
        Whether the next page is read while this one is written.

        Not where the time is rationed: what runs beside our own page takes a second core from the foreground.
        """
        return self._rate() is None and self._leave.share >= 1

    def _next_page(self) -> Page | None:
        page, self._again = self._again, None
        if page is not None:
            return page
        rate, docs = self._rate(), self._docs()
        if self._ahead is not None and rate is not None and self._ahead.docs > docs:
            self._forget_ahead()  # It was read before there was a throttle.
        ahead, self._ahead = self._ahead, None
        page = self._read(self._lease.position, docs) if ahead is None else ahead.page.result()
        if page is not None and not page.last and self._reads_ahead:
            self._read_ahead(page.upto, docs)
        return page

    def _read_ahead(self, after: Key | None, docs: int) -> None:
        self._ahead = _Ahead(docs, self._parts.readers.submit(self._read, after, docs))

    def _read(self, after: Key | None, docs: int) -> Page | None:
        namespace = self._parts.work.spec.source.namespace
        try:
            return self._adapter.read(after, docs)
        except PyMongoError as error:
            if error_class(error) in {ErrorClass.WORLD, ErrorClass.CONFLICT}:
                raise
            raise OperatorError(str(translated(error, f"reading {namespace}"))) from error
        except BSONError as error:
            raise OperatorError(
                f"reading {namespace}: an _id that is no valid BSON cannot be walked past ({type(error).__name__}); "
                "mend or remove that document"
            ) from None

    def _forget_ahead(self) -> None:
        """What was read ahead is dropped: the next page is read from the committed position."""
        self._again = None
        if self._ahead is not None:
            with suppress(PyMongoError, OperatorError):
                self._ahead.page.result()
            self._ahead = None
        self._adapter.rewind()

    # -- writing ---------------------------------------------------------------------------------

    def _write(self, page: Page) -> bool:
        """Commit the page, or make the next one smaller. Returns whether the slice may go on."""
        try:
            written = self._in_transaction(lambda session: self._adapter.write(page, session))
        except PageAgain:
            self._again = page
            return True
        except (PyMongoError, DocumentTooLarge) as error:
            return self._failed(page, error)
        self._failures = 0
        if written.upto != page.upto:
            self._forget_ahead()
        self._charge(written.counts)
        if written.blocked is not None:
            return self._stop_before(written.blocked)
        return not written.poison or not self._too_much_poison()

    def _stop_before(self, poison: Poison) -> bool:
        self._note = f"{poison.error_type} in partition {self._lease.number}; the position stands before it"
        return False

    def _in_transaction(self, write: Callable[[ClientSession | None], Written]) -> Written:
        """The written page and its position are committed together, or neither is."""
        session = self._lease.session if self._parts.work.transactional else None
        began_ns, began = time.time_ns(), time.monotonic()
        if session is not None:
            session.start_transaction(read_concern=_SNAPSHOT, write_concern=MAJORITY)
        try:
            written = write(session)
            counts = self._lease.counts.plus(written.counts)
            self._quarantine(written.poison, session)
            self._lease.advance(session, written.upto, counts, done=written.last)
        except BaseException:
            _abort(session)
            raise
        held_ms = (time.monotonic() - began) * 1_000
        _commit(session)
        self._lease.committed(written.upto, counts, done=written.last)
        self._parts.budget.account.passed(self._parts.task.job, written.counts.scanned)
        self._parts.telemetry.page(written.counts, (time.monotonic() - began) * 1_000, began_ns)
        self._size = pacing.fitted(
            self._size,
            docs=written.counts.scanned,
            hold_ms=held_ms,
            page_bytes=written.page_bytes,
            hold_ms_target=self._hold_ms,
            docs_max=self._docs_max,
        )
        return written

    def _finish(self) -> None:
        """Nothing is left below the upper bound: the partition is done."""
        self._lease.advance(None, self._lease.upto, self._lease.counts, done=True)
        self._lease.committed(self._lease.upto, self._lease.counts, done=True)

    # -- failing ---------------------------------------------------------------------------------

    def _failed(self, page: Page, error: PyMongoError | DocumentTooLarge) -> bool:
        kind = error_class(error)
        if kind not in {ErrorClass.CONFLICT, ErrorClass.POISON, ErrorClass.TOO_BIG}:
            raise error
        self._failures += 1
        self._size = pacing.after_conflict(self._size, page.docs)
        self._forget_ahead()
        is_conflict = kind is ErrorClass.CONFLICT
        if is_conflict:
            self._parts.telemetry.conflict()
        if page.docs <= 1 and not (is_conflict and self._failures <= HOT_TRIES_MAX):
            return self._pass_over(page, error)
        if is_conflict:
            self._back_off("write conflict", f"write-conflict: {self._failures} in a row")
        return True

    def _back_off(self, reason: str, label: str) -> None:
        pause_ms = pacing.conflict_pause_ms(self._failures, random.random())  # noqa: S311 - jitter
        self._wait(reason, label, pause_ms / 1_000)

    def _pass_over(self, page: Page, error: PyMongoError | DocumentTooLarge) -> bool:
        """The one document of *page* goes to quarantine, or the slice ends before it."""
        suspect = self._adapter.suspect(page)
        if suspect is None:
            return self._nobodys_fault(error)
        poison = Poison.of(suspect.value, error)
        if not self._parts.work.quarantine:
            return self._stop_before(poison)
        counts = Counts(scanned=1, seen=1, quarantined=1, pages=1)
        self._in_transaction(lambda _session: Written(counts, page.upto, page.last, (poison,)))
        self._failures = 0
        return not self._too_much_poison()

    def _nobodys_fault(self, error: PyMongoError | DocumentTooLarge) -> bool:
        """What failed is gone, or others came beside it: read again. Raises *error* if that never helps."""
        if self._failures > HOT_TRIES_MAX:
            raise error
        self._back_off("page refused", f"page-refused: {describe(error)}, {self._failures} in a row")
        return True

    def _quarantine(self, poison: Iterable[Poison], session: ClientSession | None) -> None:
        entries = [self._entry(each) for each in poison]
        if entries:
            self._parts.cluster.ledger(QUARANTINE).bulk_write(
                [ReplaceOne({"_id": entry["_id"]}, entry, upsert=True) for entry in entries], session=session
            )

    def _entry(self, poison: Poison) -> Document:
        task, now = self._parts.task, datetime.now(UTC)
        return {
            "_id": {"job": task.job, "incarnation": task.incarnation, "id": poison.document_id},
            "job": task.job,
            "incarnation": task.incarnation,
            "namespace": self._parts.work.spec.source.namespace,
            "document_id": poison.document_id,
            "error": {"type": poison.error_type, "message": poison.message, "code": poison.code},
            "attempt": 1,
            "partition": task.partition,
            "position": pack(self._lease.position),
            "at": now,
            "expires_at": now + RETENTION,
        }

    def _too_much_poison(self) -> bool:
        """Whether the whole job has more documents in quarantine than its policy allows."""
        view = self._parts.watch.view
        most = view.directive.poison_max if view is not None else None
        if most is None:
            return False
        task = self._parts.task
        match = {"$match": {"job": task.job, "incarnation": task.incarnation}}
        total = {"$group": {"_id": None, "quarantined": {"$sum": "$counts.quarantined"}}}
        found = next(iter(self._parts.cluster.ledger(PARTITIONS).aggregate([match, total])), None)
        return found is not None and found["quarantined"] > most

    def _overtaken(self) -> SliceEnd:
        """Another slice has the partition, or whoever must be sure that nothing runs has raised its fence."""
        self._parts.telemetry.fence_lost()
        log.warning("fence %d was overtaken; nothing was committed under it", self._lease.fence)
        # Whoever raises fences has published the reason before: a view from now on shows it.
        view = self._view(since=time.monotonic())
        end = None if view is None else _ENDS.get(view.directive.verb)
        if end is None:
            raise FenceLost(f"partition {self._lease.number}: fence {self._lease.fence} was overtaken")
        return end

    def _recover(self, error: PyMongoError) -> SliceEnd | None:
        """Outlast what the world does: wait, take the lease anew, go on from what the ledger says."""
        kind = error_class(error)
        if kind not in {ErrorClass.WORLD, ErrorClass.COMMIT_UNKNOWN, ErrorClass.CONFLICT}:
            raise translated(error, f"writing {self._parts.work.spec.source.namespace}") from error
        now = time.monotonic()
        self._away_since = self._away_since or now
        log.info("the server is away (%s); the position is read from the ledger", describe(error))
        if now - self._away_since > WORLD_PATIENCE_SECONDS:
            raise translated(error, f"cluster {self._parts.cluster.name}") from error
        self._forget_ahead()
        self._adapter.close()
        self._wait("server away", f"cluster {self._parts.cluster.name}: {describe(error)}", 0.1 + 0.4 * random.random())  # noqa: S311
        if self._drain.is_set():
            return SliceEnd.DRAINING
        with suppress(PyMongoError):
            self._lease.session.end_session()
            self._lease = leases.renew(self._parts.cluster, self._parts.task, self._parts.owner, self._lease)
        return None


_ENDS = {Verb.PAUSE: SliceEnd.PAUSED, Verb.RETIRE: SliceEnd.RETIRING}


def _expected_bytes(plan: Plan) -> float:
    """Return the average size of a document to be walked, as planned; 0 if that is not known."""
    is_known = plan.walk is Walk.RANGE and plan.documents > 0
    return plan.bytes / plan.documents if is_known else 0.0


def _abort(session: ClientSession | None) -> None:
    if session is not None and session.in_transaction:
        with suppress(PyMongoError):
            session.abort_transaction()


def _commit(session: ClientSession | None) -> None:
    """The transaction is committed at majority. An unknown result is asked for again, then raised."""
    if session is None:
        return
    for attempt in range(1, COMMIT_TRIES_MAX + 1):
        try:
            session.commit_transaction()
        except PyMongoError as error:
            unknown = error_class(error, in_commit=True) is ErrorClass.COMMIT_UNKNOWN
            if not unknown or attempt == COMMIT_TRIES_MAX:
                raise
        else:
            return

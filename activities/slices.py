"""
The page loop: one slice of one partition, in a thread of its own.

Gate and directive, next page, transaction, position; again. While a page is written the next one
is read. Every wait ends early when the directive changes, and nothing is held open across one.
"""

import logging
import random
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pymongo.client_session import ClientSession
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern

from lull.activities import lease as leases
from lull.activities.kinds import Page, PageAdapter, PageAgain, PartitionWork, Poison, Written, adapter_for
from lull.activities.lease import Lease
from lull.activities.mongo import MAJORITY, Cluster, describe, error_class, pack, translated
from lull.activities.telemetry import SliceTelemetry
from lull.activities.watch import View, Watch
from lull.domain import pacing
from lull.domain.errors import FenceLost, OperatorError, TransientError
from lull.domain.failure import ErrorClass
from lull.domain.slice import Counts, PartitionSnapshot, SliceEnd, SliceReport, SliceTask, Verb

log = logging.getLogger("lull.slice")

WORLD_PATIENCE_SECONDS = 20.0
"""How long a slice outlasts an election by itself, before it gives its slot back."""
BLIND_SECONDS_MAX = 10.0
"""How long a slice waits for a directive it can trust."""
COMMIT_TRIES_MAX = 3
HOT_TRIES_MAX = 40
"""Conflicts in a row on a page of one document, half a minute's worth, before it counts as poison."""
QUARANTINE_DAYS = 30
_SNAPSHOT = ReadConcern("snapshot")
_WAIT_SECONDS_MAX = 1.0
"""A page read longer ago than this is read again."""


@dataclass(frozen=True, slots=True)
class SliceParts:
    """What a slice is made of."""

    cluster: Cluster
    task: SliceTask
    work: PartitionWork
    watch: Watch
    telemetry: SliceTelemetry
    owner: str


class Slice:
    """One slice. ``run`` belongs to one thread; ``snapshot``, ``alive_at`` and ``drain`` to any."""

    def __init__(self, parts: SliceParts, lease: Lease) -> None:
        self._parts = parts
        self._limits = parts.work.spec.limits
        self._lease = lease
        self._adapter: PageAdapter = adapter_for(parts.work)
        self._size = pacing.PageSize()
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lull-read")
        self._ahead: Future[Page | None] | None = None
        self._drain = threading.Event()
        self._started = time.monotonic()
        self._credit: pacing.Credit | None = None
        self._waited: dict[str, float] = {}
        self._waiting_for = ""
        self._resume_after = 0.0
        self._note = ""
        self._conflicts = 0
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
        try:
            end = self._until_end()
        finally:
            self._reader.shutdown(wait=True, cancel_futures=True)
            self._adapter.rewind()
            self._lease.release()
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
        while True:
            try:
                return self._pages()
            except FenceLost:
                return self._overtaken()
            except PyMongoError as error:
                end = self._recover(error)
                if end is not None:
                    return end

    def _pages(self) -> SliceEnd:
        while not self._lease.done:
            end = self._told_to_stop() or self._paid()
            if end is not None:
                return end
            page = self._next_page()
            if page is None:
                self._finish()
            elif not self._write(page):
                return SliceEnd.POISON
            self._away_since = None
        return SliceEnd.DONE

    def _told_to_stop(self) -> SliceEnd | None:
        self.alive_at = time.monotonic()
        if self._drain.is_set():
            return SliceEnd.DRAINING
        view = self._view()
        if view is None or view.directive.verb is Verb.RETIRE:
            return SliceEnd.DRAINING if view is None else SliceEnd.RETIRING
        if view.directive.verb is Verb.PAUSE:
            return SliceEnd.PAUSED
        return SliceEnd.SLICE_OVER if self._seconds_left() <= 0 else None

    def _seconds_left(self) -> float:
        return self._parts.task.seconds_max - (time.monotonic() - self._started)

    def _view(self) -> View | None:
        """Return a view that may be trusted, waiting for one; None when told to drain meanwhile."""
        blind_since = time.monotonic()
        while True:
            view, now = self._parts.watch.view, time.monotonic()
            if view is not None and not view.is_stale(now) and view.directive.epoch >= self._parts.task.epoch:
                return view
            if now - blind_since > BLIND_SECONDS_MAX:
                raise TransientError(
                    f"the directive could not be read for {BLIND_SECONDS_MAX:g} s; no page is begun without one"
                )
            if self._drain.is_set():
                return None
            self._wait("directive", "the ledger: directive stale", 0.2)

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
        return pacing.throttled_docs(min(self._size.next_docs, self._limits.page_docs_max), self._rate())

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
            if seconds > self._seconds_left():
                self._resume_after = seconds
                return SliceEnd.WAITING
            if seconds > _WAIT_SECONDS_MAX:
                self._forget_ahead()
            self._wait("throttle", f"throttle: {rate:g} docs/s for this slice", seconds)
            if (end := self._told_to_stop()) is not None:
                return end
        return None

    def _charge(self, counts: Counts) -> None:
        if self._credit is not None:
            self._credit = pacing.Credit(self._credit.docs - max(1, counts.seen), self._credit.at_s)

    # -- reading ---------------------------------------------------------------------------------

    def _next_page(self) -> Page | None:
        if self._ahead is None:
            self._ahead = self._reader.submit(self._read, self._lease.position, self._docs())
        page = self._ahead.result()
        self._ahead = None
        if page is not None and not page.last and self._rate() is None:
            self._ahead = self._reader.submit(self._read, page.upto, self._docs())
        return page

    def _read(self, after: Any, docs: int) -> Page | None:
        try:
            return self._adapter.read(after, docs)
        except PyMongoError as error:
            if error_class(error) in {ErrorClass.WORLD, ErrorClass.CONFLICT}:
                raise
            raise OperatorError(str(translated(error, f"reading {self._parts.work.spec.source.namespace}"))) from error

    def _forget_ahead(self) -> None:
        """What was read ahead is dropped: the next page is read from the committed position."""
        if self._ahead is not None:
            with suppress(PyMongoError, OperatorError):
                self._ahead.result()
            self._ahead = None
        self._adapter.rewind()

    # -- writing ---------------------------------------------------------------------------------

    def _write(self, page: Page) -> bool:
        """Commit the page, or make the next one smaller. Returns whether the slice may go on."""
        try:
            written = self._transact(page)
        except PyMongoError as error:
            return self._failed(page, error)
        self._conflicts = 0
        if written.upto != page.upto:
            self._forget_ahead()
        self._charge(written.counts)
        if written.blocked is not None:
            self._note = (
                f"{written.blocked.error_type} in partition {self._lease.number}; the position stands before it"
            )
            return False
        return not written.poison or not self._too_much_poison()

    def _transact(self, page: Page) -> Written:
        while True:
            with suppress(PageAgain):
                return self._in_transaction(lambda session: self._adapter.write(page, session))

    def _in_transaction(self, write: Any) -> Written:
        """The written page and its position are committed together, or neither is."""
        session = self._lease.session if self._parts.work.transactional else None
        began_ns, began = time.time_ns(), time.monotonic()
        if session is not None:
            session.start_transaction(read_concern=_SNAPSHOT, write_concern=MAJORITY)
        try:
            written: Written = write(session)
            counts = self._lease.counts.plus(written.counts)
            self._quarantine(written.poison, session)
            self._lease.advance(session, written.upto, counts, done=written.last)
        except BaseException:
            _abort(session)
            raise
        held_ms = (time.monotonic() - began) * 1_000
        _commit(session)
        self._lease.committed(written.upto, counts, done=written.last)
        self._parts.telemetry.page(written.counts, (time.monotonic() - began) * 1_000, began_ns)
        self._size = pacing.fitted(
            self._size,
            docs=written.counts.scanned,
            hold_ms=held_ms,
            page_bytes=written.counts.bytes,
            hold_ms_target=self._limits.page_hold_ms,
            docs_max=self._limits.page_docs_max,
        )
        return written

    def _finish(self) -> None:
        """Nothing is left below the upper bound: the partition is done."""
        self._lease.advance(None, self._lease.upto, self._lease.counts, done=True)
        self._lease.committed(self._lease.upto, self._lease.counts, done=True)

    # -- failing ---------------------------------------------------------------------------------

    def _failed(self, page: Page, error: PyMongoError) -> bool:
        kind = error_class(error)
        alone = page.docs <= 1
        if kind is ErrorClass.CONFLICT:
            self._conflicts += 1
            self._parts.telemetry.conflict()
            if not (alone and self._conflicts > HOT_TRIES_MAX):
                self._shrink()
                pause_ms = pacing.conflict_pause_ms(self._conflicts, random.random())  # noqa: S311 - jitter
                self._wait("write conflict", f"write-conflict: {self._conflicts} in a row", pause_ms / 1_000)
                return True
        elif kind not in {ErrorClass.POISON, ErrorClass.TOO_BIG}:
            raise error
        elif not alone:
            self._shrink()
            return True
        return self._pass_over(page, error)

    def _shrink(self) -> None:
        self._size = pacing.after_conflict(self._size)
        self._forget_ahead()

    def _pass_over(self, page: Page, error: PyMongoError) -> bool:
        """The one document of *page* goes to quarantine, or the slice ends before it."""
        self._forget_ahead()
        self._conflicts = 0
        suspect = self._adapter.suspect(page)
        if suspect is None:
            return True
        if not self._parts.work.quarantine:
            self._note = f"{describe(error)} in partition {self._lease.number}; the position stands before it"
            return False
        details = getattr(error, "details", None) or {}
        message = str(details.get("errmsg", error))[:500]
        poison = Poison(suspect.value, type(error).__name__, message, getattr(error, "code", None))
        counts = Counts(scanned=1, seen=1, quarantined=1, pages=1)
        self._in_transaction(lambda _session: Written(counts, page.upto, page.last, (poison,)))
        return not self._too_much_poison()

    def _quarantine(self, poison: Iterable[Poison], session: ClientSession | None) -> None:
        task = self._parts.task
        quarantine = self._parts.cluster.ledger("quarantine")
        now = datetime.now(UTC)
        for each in poison:
            key = {"job": task.job, "incarnation": task.incarnation, "id": each.document_id}
            entry = {
                "_id": key,
                "job": task.job,
                "incarnation": task.incarnation,
                "namespace": self._parts.work.spec.source.namespace,
                "document_id": each.document_id,
                "error": {"type": each.error_type, "message": each.message, "code": each.code},
                "attempt": 1,
                "partition": task.partition,
                "position": pack(self._lease.position),
                "at": now,
                "expires_at": now + timedelta(days=QUARANTINE_DAYS),
            }
            quarantine.replace_one({"_id": key}, entry, upsert=True, session=session)

    def _too_much_poison(self) -> bool:
        """Whether the whole job has more documents in quarantine than its policy allows."""
        view = self._parts.watch.view
        most = view.directive.poison_max if view is not None else None
        if most is None:
            return False
        task = self._parts.task
        match = {"$match": {"job": task.job, "incarnation": task.incarnation}}
        total = {"$group": {"_id": None, "quarantined": {"$sum": "$counts.quarantined"}}}
        found = next(iter(self._parts.cluster.ledger("partitions").aggregate([match, total])), None)
        return found is not None and found["quarantined"] > most

    def _overtaken(self) -> SliceEnd:
        """Another slice has the partition, or whoever must be sure that nothing runs has raised its fence."""
        self._parts.telemetry.fence_lost()
        log.warning("fence %d was overtaken; nothing was committed under it", self._lease.fence)
        end = self._told_to_stop()
        if end in {SliceEnd.PAUSED, SliceEnd.RETIRING}:
            return end
        raise FenceLost(f"partition {self._lease.number}: fence {self._lease.fence} was overtaken")

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
        with suppress(PyMongoError):
            self._forget_ahead()
        self._wait("server away", f"cluster {self._parts.cluster.name}: {describe(error)}", 0.1 + 0.4 * random.random())  # noqa: S311
        if self._drain.is_set():
            return SliceEnd.DRAINING
        with suppress(PyMongoError):
            self._lease.session.end_session()
        with suppress(PyMongoError):
            self._lease = leases.take(self._parts.cluster, self._parts.task, self._parts.owner)
        return None


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

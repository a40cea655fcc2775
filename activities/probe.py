"""
A few real pages of a job that has not been started, each in a transaction that is always aborted.

Nothing of a probe is ever committed: no document, no position, no claim, no quarantine; an aborted
transaction leaves no entry in the oplog either. While a page lasts it holds its documents like a real
one, as long as the spec and the governor allow. Pages are spread over the whole range, and begin small:
a slow function or a heavy index is met with a few documents.
"""

import random
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

import bson
from bson.errors import BSONError
from pymongo.client_session import ClientSession
from pymongo.errors import DocumentTooLarge, PyMongoError
from pymongo.read_concern import ReadConcern

from lull.activities.kinds import Page, PageAdapter, PageAgain, PartitionWork, Written, adapter_for
from lull.activities.leave import BudgetWatch
from lull.activities.mongo import ID_INDEX, MAJORITY, Cluster, Document, Key, describe, error_class, translated
from lull.activities.threads import Stop
from lull.activities.transforms import Registry
from lull.domain import pacing
from lull.domain.errors import OperatorError
from lull.domain.failure import ErrorClass
from lull.domain.forecast import PAGES_MAX, Probed, ProbedPage
from lull.domain.governor.budget import UNGOVERNED, Leave, owed_seconds
from lull.domain.guarantee import Promise, guarantee
from lull.domain.job import JobSpec, Walk
from lull.domain.partition import cut, thin
from lull.domain.slice import Plan

WORK_SECONDS_MAX = 2.0
"""Of all pages together, reading and computing included: none begins that would surely take longer."""
WAIT_SECONDS_MAX = 15.0
"""For the governor's leave, all pages together: somebody waits for the answer."""
DOCS_START = 5
"""Of the first page: a function that takes a tenth of a second must not take ten."""
DOCS_GROWTH_MAX = 10
TRIES_MAX = 3
"""Of one page that meets other writers, or a document that cannot be processed."""
REFUSED_MAX = 10
"""Documents of one page that the server refuses one after the other: it is written again without them."""
KEYS_COUNTED_MAX = 20_000
"""In collections of so many documents the places of pages are counted off; in larger ones they are sampled."""
SAMPLES_PER_PAGE = 20
DRAIN_GAP_MAX = 5_000
"""Keys of a drain's index that are passed over between two pages."""
_LOOK_SECONDS = 0.05
_SNAPSHOT = ReadConcern("snapshot")


def account_name(job: str) -> str:
    """Return under which name the governor sees a probe: the job itself may be running, and has an account of its own."""
    return f"{job}{ACCOUNT_SUFFIX}"


ACCOUNT_SUFFIX = " (probe)"
"""No job id holds a space."""


def comment(job: str) -> str:
    """Return what stands in every command of a probe."""
    return f"lull job={job} probe"


def probe(cluster: Cluster, spec: JobSpec, plan: Plan, *, registry: Registry, watch: BudgetWatch, stop: Stop) -> Probed:
    """
    Return what a few pages of *spec* cost; all of them were taken back.

    Documents that would go to quarantine are counted; other writers are yielded to. Raises OperatorError
    for what would end the job at its first page too, and Stopped.
    """
    # Asked anew: what a message says of the topology must not decide whether something can be taken back.
    if guarantee(spec, cluster.topology).promise is not Promise.EXACTLY_ONCE:
        return Probed(
            note=f"no probe is possible on a {cluster.topology} server: without transactions a page that was written "
            "could not be taken back; a replica set of one member is enough"
        )
    with cluster.client.start_session(causal_consistency=False) as session:
        run = _Probe(spec, plan, watch, stop, session)
        try:
            for place in _places(cluster, spec, plan, registry):
                run.at(place)
                if run.is_over:
                    break
        except PyMongoError as error:
            run.end(error)
    return run.probed


# --- where ------------------------------------------------------------------------------------------


class _Place(NamedTuple):
    """Where one page is read and written."""

    adapter: PageAdapter
    after: Key | None
    docs_max: int


def _places(cluster: Cluster, spec: JobSpec, plan: Plan, registry: Registry) -> Iterator[_Place]:
    work = PartitionWork(
        spec=spec,
        plan=plan,
        source=cluster.source(spec).with_options(read_concern=ReadConcern("majority")),
        upto=None,
        walk_index=plan.index if plan.walk is Walk.DRAIN else "_id_",
        transactional=True,
        registry=registry,
        comment=comment(spec.job),
        quarantine=True,
        quarantined=list,
    )
    return _drained(work) if plan.walk is Walk.DRAIN else _spread(work)


def _spread(work: PartitionWork) -> Iterator[_Place]:
    """Yield the beginnings of ranges that are disjoint and cover everything, so that no document is met twice."""
    last = work.source.find_one({}, {"_id": 1}, sort=[("_id", -1)], hint=ID_INDEX, comment=work.comment)
    if last is None:
        return
    documents = work.source.estimated_document_count(comment=work.comment)
    keys = _counted_off(work, documents) if documents <= KEYS_COUNTED_MAX else _sampled(work)
    upper = _packed(last["_id"])
    boundaries = [Key(key) for key in keys if _packed(key) != upper]
    for piece in cut(boundaries, Key(last["_id"])):
        yield _Place(adapter_for(replace(work, upto=piece.upto)), piece.after, work.spec.limits.page_docs_max)


def _counted_off(work: PartitionWork, documents: int) -> list[object]:
    """Return keys at even distances, as the index orders them: a covered scan of at most twenty thousand."""
    step = documents // PAGES_MAX
    if step < DOCS_START:
        return []
    found = work.source.find({}, {"_id": 1}, sort=ID_INDEX, hint=ID_INDEX, limit=KEYS_COUNTED_MAX, comment=work.comment)
    return [each["_id"] for each in found][step - 1 :: step][: PAGES_MAX - 1]


def _sampled(work: PartitionWork) -> list[object]:
    """Return some keys, each once, as the server orders them."""
    stages: list[Document] = [
        {"$sample": {"size": PAGES_MAX * SAMPLES_PER_PAGE}},
        {"$project": {"_id": 1}},
        {"$sort": {"_id": 1}},
    ]
    found = [each["_id"] for each in work.source.aggregate(stages, comment=work.comment)]
    return thin(list({_packed(key): key for key in found}.values()), PAGES_MAX - 1)


def _packed(key: object) -> bytes:
    return bson.encode({"k": key})


def _drained(work: PartitionWork) -> Iterator[_Place]:
    """Yield the same index again and again, each time some keys further; behind its last key it would begin anew."""
    adapter = adapter_for(work)
    half = (work.plan.matching or 0) // PAGES_MAX // 2
    gap = min(half, DRAIN_GAP_MAX)
    try:
        for _ in range(PAGES_MAX if gap else 1):
            yield _Place(adapter, None, half or DOCS_START)
            if gap and adapter.read(None, gap) is None:
                return
    finally:
        with suppress(PyMongoError):
            adapter.close()


# --- what -------------------------------------------------------------------------------------------


class _Probe:
    """What was seen so far, and what it has cost."""

    def __init__(self, spec: JobSpec, plan: Plan, watch: BudgetWatch, stop: Stop, session: ClientSession) -> None:
        self._spec, self._watch, self._stop, self._session = spec, watch, stop, session
        self._size = pacing.first(_expected_bytes(plan))
        self._leave: Leave = UNGOVERNED
        self._debt_s = 0.0
        self._seconds_per_doc: float | None = None
        self._docs_before = DOCS_START / DOCS_GROWTH_MAX
        self._worked_s = self._waited_s = self._held_ms = 0.0
        self._pages: list[ProbedPage] = []
        self._poison = self._conflicts = 0
        self._note = ""

    @property
    def probed(self) -> Probed:
        """All of it."""
        return Probed(
            pages=tuple(self._pages),
            poison=self._poison,
            conflicts=self._conflicts,
            waited_s=round(self._waited_s, 3),
            note=self._note,
        )

    @property
    def is_over(self) -> bool:
        """Whether no page may begin any more."""
        if self._worked_s >= WORK_SECONDS_MAX and not self._note:
            self._note = f"ended after {self._worked_s:.1f} s of work >= {WORK_SECONDS_MAX:g} s"
        return bool(self._note) or len(self._pages) >= PAGES_MAX

    def end(self, error: PyMongoError) -> None:
        """The server would not have it. Raises OperatorError where it never would."""
        if error_class(error, in_page=False) is ErrorClass.OPERATOR:
            raise translated(error, f"probing {self._spec.source.namespace}") from error
        self._note = f"ended because the server was away ({describe(error)})"

    def at(self, place: _Place) -> None:
        """A page at *place* was written and taken back, or given up."""
        refused = 0
        for tried in range(1, TRIES_MAX + 1):
            if not self._allowed():
                break
            docs = min(self._docs(refused + tried - 1), place.docs_max)
            try:
                self._in_turn(place, docs)
                break
            except (PyMongoError, DocumentTooLarge, PageAgain) as error:
                refused += self._is_refused(error)
                place.adapter.rewind()
                if (refused and docs == 1) or self.is_over:
                    break
        self._poison += bool(refused)

    def _is_refused(self, error: Exception) -> bool:
        """Return whether a document is to blame; else others wrote meanwhile. Raises what is neither."""
        if isinstance(error, PageAgain):
            return True
        kind = error_class(error)
        if kind is ErrorClass.CONFLICT:
            self._conflicts += 1
            time.sleep(pacing.conflict_pause_ms(1, random.random()) / 1_000)  # noqa: S311 - jitter
            return False
        if kind in {ErrorClass.POISON, ErrorClass.TOO_BIG}:
            return True
        raise error

    # -- leave -------------------------------------------------------------------------------------

    def _allowed(self) -> bool:
        """Wait until the governor lets a page through; whether it did in time."""
        while True:
            self._stop.check()
            self._leave = self._watch.leave(account_name(self._spec.job))
            if self._leave.is_open and self._debt_s <= 0:
                return True
            if self._waited_s >= WAIT_SECONDS_MAX:
                why = self._leave.reason or f"{self._leave.share:.0%} of the time for it"
                self._note = f"ended after {self._waited_s:.0f} s of waiting for the governor: {why}"
                return False
            began = time.monotonic()
            time.sleep(min(self._debt_s, _LOOK_SECONDS) if self._leave.is_open else _LOOK_SECONDS)
            waited_s = time.monotonic() - began
            self._waited_s += waited_s
            self._debt_s = max(0.0, self._debt_s - waited_s)

    def _docs(self, halvings: int) -> int:
        """Return documents for the next page: as a slice would take, within what is left of the probe's time."""
        limits, leave = self._spec.limits, self._leave
        most = min(limits.page_docs_max, leave.docs_max or limits.page_docs_max)
        docs = float(min(pacing.held(self._size, self._hold_ms), most, int(self._docs_before * DOCS_GROWTH_MAX)))
        if self._seconds_per_doc:
            left_s = max(0.0, WORK_SECONDS_MAX - self._worked_s) / max(1, PAGES_MAX - len(self._pages))
            docs = min(docs, left_s / self._seconds_per_doc)
        return max(1, pacing.throttled_docs(int(docs), limits.max_docs_per_second) >> halvings)

    @property
    def _hold_ms(self) -> float:
        limit = self._spec.limits.page_hold_ms
        return min(limit, self._leave.hold_ms or limit)

    def _in_turn(self, place: _Place, docs: int) -> None:
        with self._watch.turns.turn(self._leave.turns):
            began = time.monotonic()
            try:
                self._page(place, docs)
            finally:
                cost_s = time.monotonic() - began
                self._worked_s += cost_s
                self._owe(cost_s, docs)
                self._watch.account.spent(account_name(self._spec.job), cost_s, place.adapter.ops)

    def _owe(self, cost_s: float, docs: int) -> None:
        rate = self._spec.limits.max_docs_per_second
        owed_s = owed_seconds(self._debt_s, cost_s, self._leave.share)
        self._debt_s = max(owed_s, docs / rate if rate else 0.0)

    # -- a page --------------------------------------------------------------------------------------

    def _page(self, place: _Place, docs: int) -> None:
        began = time.monotonic()
        page = self._read(place, docs)
        if page is None:
            return
        read_at = time.monotonic()
        written = self._written(place.adapter, page)
        held_ms = self._held_ms
        counts = written.counts
        self._poison += counts.quarantined
        self._pages.append(
            ProbedPage(
                documents=counts.scanned,
                matching=counts.seen,
                read_ms=round((read_at - began) * 1_000, 3),
                hold_ms=round(held_ms, 3),
                page_bytes=written.page_bytes,
            )
        )
        self._learn(counts.scanned, held_ms, written.page_bytes, time.monotonic() - began)

    def _read(self, place: _Place, docs: int) -> Page | None:
        try:
            return place.adapter.read(place.after, docs)
        except BSONError as error:
            raise OperatorError(
                f"probing {self._spec.source.namespace}: an _id that is no valid BSON cannot be walked past "
                f"({type(error).__name__}); mend or remove that document"
            ) from None

    def _written(self, adapter: PageAdapter, page: Page) -> Written:
        """Return what the page did. Raises PageAgain where the server goes on refusing documents of it."""
        for _ in range(REFUSED_MAX):
            with suppress(PageAgain):
                return self._written_and_taken_back(adapter, page)
        raise PageAgain

    def _written_and_taken_back(self, adapter: PageAdapter, page: Page) -> Written:
        began = time.monotonic()
        self._session.start_transaction(read_concern=_SNAPSHOT, write_concern=MAJORITY)
        try:
            return adapter.write(page, self._session)
        finally:
            self._held_ms = (time.monotonic() - began) * 1_000
            # A transaction that cannot be aborted from here is aborted by the server. None is ever committed.
            with suppress(PyMongoError):
                self._session.abort_transaction()

    def _learn(self, docs: int, held_ms: float, page_bytes: int, cost_s: float) -> None:
        if not docs:
            return
        self._seconds_per_doc = cost_s / docs
        self._docs_before = max(self._docs_before, float(docs))
        if docs > DOCS_START:
            self._size = pacing.fitted(
                self._size,
                docs=docs,
                hold_ms=held_ms,
                page_bytes=page_bytes,
                hold_ms_target=self._hold_ms,
                docs_max=self._spec.limits.page_docs_max,
            )


def _expected_bytes(plan: Plan) -> float:
    """Return the average size of a document to be walked; 0 if that is not known."""
    return plan.bytes / plan.documents if plan.walk is Walk.RANGE and plan.documents > 0 else 0.0

"""
What the governor lets slices do, read from the cluster ten times a second; whose turn it is; and what was spent.

One thread per cluster and process, however many jobs and slices run. A slice asks for leave before
every page. Without word from the governor nobody has leave: see :mod:`lull.domain.governor.budget`.
The same thread tells the governor which jobs have slices here, and what their pages cost.
"""

import os
import socket
import threading
import time
import uuid
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

from pydantic import ValidationError
from pymongo.collection import Collection
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from lull.activities.mongo import Cluster, Document
from lull.activities.store import BUDGET_ID, GOVERNOR, ORDERS_ID, WORKER_PREFIX, now
from lull.domain.governor.budget import UNGOVERNED, Budget, JobSpending, Leave, Mode, Spending, Told, leave

POLL_SECONDS = 0.1
SPENDING_SECONDS = 0.25
"""Between two accounts to the governor, while slices live."""
SPENDING_RETENTION = timedelta(minutes=10)
LINGER_SECONDS = 30.0
"""How long the governor is still listened to after the last slice: the next one has its leave at once."""
FORGET_SECONDS = 60.0
"""How long a job is still accounted for after its last slice here."""
TURN_SECONDS_MAX = 0.5
"""A page that takes longer than this is stuck, and others do not wait for it."""
_QUICK = WriteConcern(1)
"""What an election undoes here is written anew within half a second."""


class Turns:
    """How many pages of one process are written at a time, in the order in which they asked."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._queue: deque[object] = deque()
        self._taken = 0

    @contextmanager
    def turn(self, most: int | None) -> Iterator[None]:
        """It is this slice's turn inside, or it has waited for half a second; None for no limit."""
        if most is None:
            yield
            return
        ticket = object()
        with self._changed:
            self._queue.append(ticket)
            self._changed.wait_for(lambda: self._taken < most and self._queue[0] is ticket, TURN_SECONDS_MAX)
            self._queue.remove(ticket)
            self._taken += 1
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._taken -= 1
                self._changed.notify_all()


class Account:
    """What this process's slices on one cluster have spent, since it began."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._slices: Counter[str] = Counter()
        self._busy_s: defaultdict[str, float] = defaultdict(float)
        self._docs: Counter[str] = Counter()
        self._left_at: dict[str, float] = {}
        self._ops = 0.0
        self._sequence = 0

    def enter(self, job: str) -> None:
        """One more slice of *job* lives here."""
        with self._guard:
            self._slices[job] += 1

    def exit(self, job: str) -> None:
        """One slice of *job* less."""
        with self._guard:
            self._slices[job] -= 1
            self._left_at[job] = time.monotonic()

    def spent(self, job: str, seconds: float, ops: float) -> None:
        """A page of *job* was open for so long, and cost so many reads and writes."""
        with self._guard:
            self._busy_s[job] += seconds
            self._ops += ops

    def passed(self, job: str, docs: int) -> None:
        """A page of *job* with so many documents was committed."""
        with self._guard:
            self._docs[job] += docs

    def looked(self) -> None:
        """The budget was read, and by every job's watch its directive."""
        with self._guard:
            self._ops += 1 + sum(count > 0 for count in self._slices.values())

    def told(self) -> Spending:
        """Return the account, which is told to the governor now: that too is an operation."""
        with self._guard:
            self._sequence += 1
            self._ops += 1
            self._forget(time.monotonic())
            jobs = [
                JobSpending(job=job, slices=self._slices[job], busy_s=self._busy_s[job], docs=self._docs[job])
                for job in sorted(self._slices)
            ]
            return Spending(sequence=self._sequence, ops=self._ops, jobs=tuple(jobs))

    def _forget(self, now_s: float) -> None:
        """Jobs whose last slice has long gone are not told of any more; one that comes back begins at zero again."""
        for job in [job for job, left_at in self._left_at.items() if now_s - left_at > FORGET_SECONDS]:
            del self._left_at[job]
            if not self._slices[job]:
                self._busy_s.pop(job, None)
                self._docs.pop(job, None)
                del self._slices[job]


class BudgetWatch:
    """The newest word of one cluster's governor, and our own to it."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._is_off = cluster.profile.governor is Mode.OFF
        self._told = Told()
        self._heard = threading.Event()
        self._is_due = threading.Event()
        self._told_at = 0.0
        self._id = f"{WORKER_PREFIX}{socket.gethostname()}:{os.getpid()}/{uuid.uuid4().hex[:8]}"
        self.account = Account()
        self.turns = Turns()
        self.users = 0
        self.left_at = 0.0
        """When the last of them went; both are guarded by whoever keeps the watches."""

    def start(self, is_left: Callable[["BudgetWatch"], bool]) -> None:
        """Polling has begun, where there is a governor to be heard; it ends once *is_left* says so."""
        if not self._is_off:
            name = f"lull-budget-{self._cluster.name}"
            threading.Thread(target=self._poll, args=(is_left,), name=name, daemon=True).start()

    def leave(self, job: str) -> Leave:
        """Return what a slice of *job* may do at this moment."""
        if self._is_off:
            return UNGOVERNED
        # A slice that begins waits for the first answer instead of being told that nobody was heard.
        self._heard.wait(POLL_SECONDS)
        return leave(self._told, job, time.monotonic())

    def changed(self) -> None:
        """The governor is told at once: a slice has begun or ended."""
        self._is_due.set()

    def _poll(self, is_left: Callable[["BudgetWatch"], bool]) -> None:
        while not is_left(self):
            with suppress(PyMongoError, ValidationError):
                self._read()
            with suppress(PyMongoError):
                self._tell_when_due()
            self._is_due.wait(POLL_SECONDS)
        with suppress(PyMongoError):
            self._tell()

    def _read(self) -> None:
        # Local: a budget that an election undoes is replaced within half a second.
        collection = self._governor.with_options(read_concern=ReadConcern("local"))
        self.account.looked()
        found = {
            each["_id"]: each
            for each in collection.find({"_id": {"$in": [BUDGET_ID, ORDERS_ID]}}, comment="lull budget")
        }
        is_shut = bool(found.get(ORDERS_ID, {}).get("shut_by_hand"))
        self._told = self._told.heard(budget_of(found.get(BUDGET_ID)), time.monotonic(), is_shut_by_hand=is_shut)
        self._heard.set()

    def _tell_when_due(self) -> None:
        if self._is_due.is_set() or time.monotonic() - self._told_at >= SPENDING_SECONDS:
            self._is_due.clear()
            self._tell()

    def _tell(self) -> None:
        self._told_at = time.monotonic()
        spending = self.account.told().model_dump()
        at = now()
        fields = {**spending, "at": at, "expires_at": at + SPENDING_RETENTION}
        self._governor.update_one({"_id": self._id}, {"$set": fields}, upsert=True, comment="lull budget")

    @property
    def _governor(self) -> Collection[Document]:
        return self._cluster.ledger(GOVERNOR).with_options(write_concern=_QUICK)


def budget_of(found: Document | None) -> Budget | None:
    """Return what stands in the ledger as a budget, None for nothing. Raises ValidationError for what cannot be read."""
    # A fence without a word: a governor has begun, and not spoken yet.
    return None if found is None or "sequence" not in found else Budget.model_validate(found)


class BudgetWatches:
    """The budget watches of this process, one per cluster, shared by all slices on it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watches: dict[str, BudgetWatch] = {}

    @contextmanager
    def of(self, cluster: Cluster, job: str) -> Iterator[BudgetWatch]:
        """Yield the watch of a cluster to a slice of *job*; it outlives its last user by half a minute."""
        watch = self._taken(cluster)
        watch.account.enter(job)
        watch.changed()
        try:
            yield watch
        finally:
            watch.account.exit(job)
            watch.changed()
            with self._lock:
                watch.users -= 1
                watch.left_at = time.monotonic()

    def _taken(self, cluster: Cluster) -> BudgetWatch:
        with self._lock:
            watch = self._watches.get(cluster.name)
            is_new = watch is None
            if watch is None:
                watch = self._watches[cluster.name] = BudgetWatch(cluster)
            watch.users += 1
        if is_new:
            watch.start(self._is_left)
        return watch

    def _is_left(self, watch: BudgetWatch) -> bool:
        """Whether nobody has used *watch* for a while; then it is forgotten."""
        with self._lock:
            if watch.users or time.monotonic() - watch.left_at < LINGER_SECONDS:
                return False
            self._watches = {name: each for name, each in self._watches.items() if each is not watch}
            return True

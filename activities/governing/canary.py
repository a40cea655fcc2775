"""
The canary: a few small reads and writes a second like the foreground's own, timed from their intended start.

Open loop: an operation that is late counts as late from the moment it should have begun, and one that
has not returned counts with its age, so a server that stands still is seen while it stands still.
"""

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable

from pymongo import UpdateOne
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError, PyMongoError
from pymongo.read_concern import ReadConcern

from lull.activities.mongo import Cluster, Document, describe
from lull.activities.store import CANARY
from lull.domain.governor.baseline import Op
from lull.domain.governor.listening import BUSY_PER_SECOND, IDLE_PER_SECOND, Kind

log = logging.getLogger("lull.governor")

DOCUMENTS = 1_000
BEHIND_SECONDS_MAX = 1.0
"""An operation that should have begun longer ago is not made up for; the one before it tells the story."""
FAILED_SECONDS = 0.25
KEPT_MAX = 1_000


class Canary:
    """Two threads, one per kind, until closed."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._closed = threading.Event()
        self._probes = {
            Kind.READ: _Probe(self._read, self._closed),
            Kind.WRITE: _Probe(self._write, self._closed),
        }

    def start(self) -> None:
        """The documents are there, and the threads run."""
        seed(self._collection)
        for kind, probe in self._probes.items():
            threading.Thread(target=probe.run, name=f"lull-canary-{kind}", daemon=True).start()

    def close(self) -> None:
        """No operation begins any more."""
        self._closed.set()

    def pace(self, *, is_busy: bool) -> None:
        """The canary sings as often as it is needed."""
        for probe in self._probes.values():
            probe.set_rate(BUSY_PER_SECOND if is_busy else IDLE_PER_SECOND)

    def drained(self) -> dict[Kind, list[Op]]:
        """Return the operations that ended since this was last asked."""
        return {kind: probe.drained() for kind, probe in self._probes.items()}

    def under_way(self, now_s: float) -> dict[Kind, list[Op]]:
        """Return the operations that have not ended, with their age so far."""
        return {kind: probe.under_way(now_s) for kind, probe in self._probes.items()}

    @property
    def operations(self) -> int:
        """So many have ended since the beginning."""
        return sum(probe.ended for probe in self._probes.values())

    @property
    def _collection(self) -> Collection[Document]:
        return self._cluster.ledger(CANARY)

    def _read(self) -> None:
        local = self._collection.with_options(read_concern=ReadConcern("local"))
        local.find_one({"_id": _draw()}, comment="lull canary")

    def _write(self) -> None:
        self._collection.update_one({"_id": _draw()}, {"$inc": {"n": 1}}, comment="lull canary")


class _Probe:
    """One kind of operation, over and over."""

    def __init__(self, act: Callable[[], None], closed: threading.Event) -> None:
        self._act = act
        self._closed = closed
        self._ended: deque[Op] = deque(maxlen=KEPT_MAX)
        self._due_s: float | None = None
        self._every_s = 1 / IDLE_PER_SECOND
        self._hurry = threading.Event()
        self.ended = 0

    def set_rate(self, per_second: float) -> None:
        every_s = 1 / per_second
        if every_s < self._every_s:
            self._hurry.set()
        self._every_s = every_s

    def drained(self) -> list[Op]:
        found = []
        while self._ended:
            found.append(self._ended.popleft())
        return found

    def under_way(self, now_s: float) -> list[Op]:
        """The one that has not ended, and those that should have begun behind it."""
        due_s = self._due_s
        if due_s is None or now_s < due_s:
            return []
        late = int(min(now_s - due_s, BEHIND_SECONDS_MAX) / self._every_s)
        starts = [now_s - step * self._every_s for step in range(late)] + [due_s]
        return [Op(start_s, (now_s - start_s) * 1_000) for start_s in starts]

    def run(self) -> None:
        due_s = time.monotonic()
        while not self._closed.is_set():
            if self._hurry.wait(max(0.0, due_s - time.monotonic())):
                self._hurry.clear()
                due_s = time.monotonic()
            if time.monotonic() - due_s > BEHIND_SECONDS_MAX:
                due_s = time.monotonic()
            if not self._closed.is_set() and not self._once(due_s):
                due_s = time.monotonic()
            due_s += self._every_s

    def _once(self, due_s: float) -> bool:
        """Return whether the server answered; those after a failure are not late by its fault."""
        self._due_s = due_s
        try:
            self._act()
        except PyMongoError as error:
            # Not a latency: its silence makes the reading stale, and that shuts the gate.
            log.info("the canary failed: %s", describe(error))
            self._due_s = None
            self._closed.wait(FAILED_SECONDS)
            return False
        self._due_s = None
        self._ended.append(Op(due_s, (time.monotonic() - due_s) * 1_000))
        self.ended += 1
        return True


def seed(collection: Collection[Document]) -> None:
    """The documents that the canary reads and writes are there."""
    if collection.estimated_document_count() >= DOCUMENTS:
        return
    writes = [
        UpdateOne({"_id": number}, {"$setOnInsert": {"n": 0, "pad": "x" * 300}}, upsert=True)
        for number in range(DOCUMENTS)
    ]
    try:
        collection.bulk_write(writes, ordered=False)
    except BulkWriteError as error:
        log.info("seeding the canary: %s", describe(error))  # Another governor was first.


def _draw() -> int:
    return random.randrange(DOCUMENTS)  # noqa: S311 - spread, not secrecy

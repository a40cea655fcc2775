"""
What running slices are told: the job's directive, read from the ledger ten times a second.

One thread per job and process, however many slices run; a slice looks before every page. A view
that could not be refreshed for two seconds is stale, and no page is begun on a stale view.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from pymongo.errors import PyMongoError

from lull.activities.mongo import Cluster, Document
from lull.activities.store import JOBS, LIVE, PARTITIONS
from lull.domain.slice import Directive, JobRef, Verb

POLL_SECONDS = 0.1
STALE_SECONDS = 2.0
"""Measured on this process's own monotonic clock."""


@dataclass(frozen=True, slots=True)
class View:
    """The directive as last read."""

    directive: Directive
    live: int
    """Partitions of the job that share its rate now, on any worker; at least one."""
    read_at: float
    """Of the monotonic clock."""

    def is_stale(self, now: float) -> bool:
        """Whether it is too old to begin a page on."""
        return now - self.read_at > STALE_SECONDS


class Watch:
    """The newest :class:`View` of one job's directive."""

    def __init__(self, cluster: Cluster, ref: JobRef) -> None:
        self._cluster = cluster
        self._ref = ref
        self._changed = threading.Condition()
        self._view: View | None = None
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self.users = 0

    @property
    def view(self) -> View | None:
        """The newest view; None until the first one is read."""
        return self._view

    def start(self) -> None:
        """Polling has begun."""
        self._thread = threading.Thread(target=self._poll, name=f"lull-watch-{self._ref.job}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Polling has ended."""
        self._closed.set()
        with self._changed:
            self._changed.notify_all()

    def wait(self, seconds: float) -> None:
        """Return when the directive changes, when somebody calls :meth:`wake`, or after *seconds*."""
        with self._changed:
            self._changed.wait(seconds)

    def wake(self) -> None:
        """Whoever waits looks again."""
        with self._changed:
            self._changed.notify_all()

    def _poll(self) -> None:
        while not self._closed.is_set():
            # After an error the view grows stale, which is what its readers must know.
            with suppress(PyMongoError):
                self._show(self._read())
            self._closed.wait(POLL_SECONDS)

    def _show(self, view: View) -> None:
        old, self._view = self._view, view
        if old is None or (old.directive, old.live) != (view.directive, view.live):
            self.wake()

    def _read(self) -> View:
        asked_at = time.monotonic()
        found = self._cluster.ledger(JOBS).find_one(
            {"_id": self._ref.job}, {"directive": 1, "incarnation": 1}, comment=f"lull job={self._ref.job} watch"
        )
        directive = self._directive(found)
        live = self._live() if directive.max_docs_per_second is not None else 1
        return View(directive, max(1, live), asked_at)

    def _directive(self, found: Document | None) -> Directive:
        if found is None or found["incarnation"] != self._ref.incarnation:
            return Directive(verb=Verb.RETIRE, epoch=1 << 62, reason="the ledger holds another life of this job")
        return Directive.model_validate(found["directive"])

    def _live(self) -> int:
        return self._cluster.ledger(PARTITIONS).count_documents(
            {"job": self._ref.job, "incarnation": self._ref.incarnation, "status": {"$in": list(LIVE)}},
            comment=f"lull job={self._ref.job} watch",
        )


class Watches:
    """The watches of this process, shared by the slices of a job."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watches: dict[tuple[str, str, int], Watch] = {}

    @contextmanager
    def of(self, cluster: Cluster, ref: JobRef) -> Iterator[Watch]:
        """Yield the watch of a job; it lives as long as somebody uses it."""
        key = (cluster.name, ref.job, ref.incarnation)
        with self._lock:
            watch = self._watches.get(key)
            if watch is None:
                watch = self._watches[key] = Watch(cluster, ref)
                watch.start()
            watch.users += 1
        try:
            yield watch
        finally:
            with self._lock:
                watch.users -= 1
                if watch.users == 0:
                    del self._watches[key]
                    watch.close()

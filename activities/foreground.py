"""
An application's own report of what it feels, for the governor: one line where it makes its client.

    from lull import ForegroundReporter

    client = MongoClient(uri, event_listeners=[ForegroundReporter(uri)])

Once a second the latencies of the last five go to ``lull.foreground`` on the same cluster, through a
connection of their own, as a histogram. Nothing in here raises into the
application, and nothing of its commands but their names and durations is looked at.
"""

import logging
import os
import socket
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from pymongo import MongoClient, monitoring
from pymongo.errors import PyMongoError
from pymongo.write_concern import WriteConcern
from typing_extensions import override

from lull.activities.mongo import LEDGER_DATABASE, describe
from lull.activities.store import FOREGROUND, now
from lull.domain.governor.latency import bucket

log = logging.getLogger("lull.foreground")

READS: Final = frozenset({"find", "getMore", "aggregate", "count", "distinct"})
WRITES: Final = frozenset({"insert", "update", "delete", "findAndModify", "bulkWrite"})
EVERY_SECONDS: Final = 1.0
WINDOW: Final = 5
"""Reports that one histogram covers: at a hundred operations a second, enough for a tail."""
AWAY_SECONDS: Final = 10.0
"""Between two tries while reports cannot be written."""
TIMEOUT_MS: Final = 2_000
RETENTION: Final = timedelta(minutes=10)


class ForegroundReporter(monitoring.CommandListener):
    """
    Listens to a client's commands and reports their latencies to the governor of its cluster.

    *uri* is the cluster's, with credentials that may insert and update in ``lull.foreground``
    (``lull doctor --print-roles`` prints the grant). *application* names the reporter in the report.
    Safe across forks: a child reports for itself.
    """

    def __init__(self, uri: str, *, application: str = "", **client_options: Any) -> None:
        self._uri = uri
        self._options = client_options
        self._application = application
        self._guard = threading.Lock()
        self._pid = 0
        self._stopped = threading.Event()
        self._reset()

    def _reset(self) -> None:
        self._seconds: deque[dict[str, Counter[int]]] = deque([_empty()], maxlen=WINDOW)
        self._sequence = 0
        self._id = f"{socket.gethostname()}:{os.getpid()}/{uuid.uuid4().hex[:8]}"

    @override
    def started(self, event: monitoring.CommandStartedEvent) -> None:
        """Nothing to do: the durations come with the ends."""

    @override
    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Count it."""
        self._count(event)

    @override
    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Count it all the same: the application waited for it."""
        self._count(event)

    def _count(self, event: monitoring.CommandSucceededEvent | monitoring.CommandFailedEvent) -> None:
        kind = "reads" if event.command_name in READS else "writes" if event.command_name in WRITES else None
        if kind is None or event.database_name == LEDGER_DATABASE:
            return
        if self._pid != os.getpid():
            self._begin()
        place = bucket(event.duration_micros / 1_000)
        with self._guard:
            self._seconds[-1][kind][place] += 1

    def _begin(self) -> None:
        with self._guard:
            if self._pid == os.getpid():
                return
            self._pid = os.getpid()
            self._reset()
        threading.Thread(target=self._report, name="lull-foreground", daemon=True).start()

    def close(self) -> None:
        """No more reports; the governor forgets this process within seconds."""
        self._stopped.set()

    def _report(self) -> None:
        client: MongoClient[dict[str, Any]] | None = None
        away_until = 0.0
        while not self._stopped.wait(EVERY_SECONDS):
            report = self._turn()
            if time.monotonic() < away_until:
                continue
            try:
                client = client or self._connect()
                self._write(client, report)
            except (PyMongoError, ValueError) as error:
                away_until = time.monotonic() + AWAY_SECONDS
                log.info("the foreground's report was not written (%s); trying again", describe(error))
        if client is not None:
            client.close()

    def _turn(self) -> dict[str, dict[str, int]]:
        """Return the histograms of the window, and begin another second."""
        with self._guard:
            window = list(self._seconds)
            self._seconds.append(_empty())
        sums = {kind: sum((second[kind] for second in window), Counter[int]()) for kind in ("reads", "writes")}
        return {kind: {str(place): count for place, count in sorted(found.items())} for kind, found in sums.items()}

    def _connect(self) -> MongoClient[dict[str, Any]]:
        wanted: dict[str, Any] = {
            "appname": "lull-foreground",
            "maxPoolSize": 1,
            "serverSelectionTimeoutMS": TIMEOUT_MS,
            "connectTimeoutMS": TIMEOUT_MS,
            "socketTimeoutMS": TIMEOUT_MS,
        }
        return MongoClient(self._uri, **(wanted | self._options))

    def _write(self, client: MongoClient[dict[str, Any]], report: Mapping[str, Mapping[str, int]]) -> None:
        self._sequence += 1
        at = now()
        fields = {
            "application": self._application,
            "sequence": self._sequence,
            "at": at,
            "expires_at": at + RETENTION,
            **report,
        }
        collection = client[LEDGER_DATABASE].get_collection(FOREGROUND, write_concern=WriteConcern(1))
        collection.update_one({"_id": self._id}, {"$set": fields}, upsert=True, comment="lull foreground")


def _empty() -> dict[str, Counter[int]]:
    return {"reads": Counter(), "writes": Counter()}

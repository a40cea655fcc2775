"""
What others say of the foreground: the applications' own reports, a Prometheus query, an HTTP check.

Each is asked in a thread of its own, so that one that hangs delays nothing; what it said last is kept with its age.
"""

import json
import logging
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern

from lull.activities.mongo import Cluster, Document, describe
from lull.activities.store import FOREGROUND
from lull.domain.governor import readings
from lull.domain.governor.latency import merged, percentile_ms
from lull.domain.governor.objective import Foreground, Objective
from lull.domain.governor.readings import Reading

log = logging.getLogger("lull.governor")

REPORT_SECONDS = 1.0
PROMETHEUS_SECONDS = 5.0
HTTP_SECONDS = 1.0
TIMEOUT_SECONDS = 2.0
ANSWER_BYTES_MAX = 1 << 20
OPERATIONS_MIN = 20
"""Of a report: fewer have no tail."""
_SCHEMES = ("http", "https")


@dataclass(frozen=True, slots=True)
class _Said:
    value: float | None
    at_s: float
    note: str = ""


class Outside:
    """All sources that a profile names, until closed."""

    def __init__(self, cluster: Cluster, wanted: Foreground) -> None:
        self._cluster = cluster
        self._wanted = wanted
        self._closed = threading.Event()
        self._said: dict[str, _Said] = {}
        self._reports = _Reports()
        self.operations = 0
        """Reads that the server counted for us."""

    def start(self) -> None:
        """Every source is asked from now on."""
        self._ask_every("reports", REPORT_SECONDS, self._read_reports)
        if self._wanted.prometheus_url and self._wanted.prometheus_query:
            self._ask_every("prometheus", PROMETHEUS_SECONDS, self._ask_prometheus)
        if self._wanted.http_check:
            self._ask_every("http-check", HTTP_SECONDS, self._ask_http)

    def close(self) -> None:
        """Nobody is asked any more."""
        self._closed.set()

    def readings(self, now_s: float, objective: Objective) -> list[Reading]:
        """Return what was said last, of those that say anything."""
        found = self._reports.readings(now_s, objective)
        wanted = self._wanted
        if wanted.prometheus_url and wanted.prometheus_query:
            said = self._said.get("prometheus", _Said(None, now_s, "not answered yet"))
            fresh_s = 3 * PROMETHEUS_SECONDS
            found.append(
                Reading(readings.PROMETHEUS, said.value, wanted.prometheus_limit, said.at_s, said.note, fresh_s)
            )
        if wanted.http_check:
            said = self._said.get("http-check", _Said(None, now_s, "not answered yet"))
            found.append(Reading(readings.HTTP_CHECK, said.value, 1.0, said.at_s, said.note))
        return found

    def _ask_every(self, name: str, seconds: float, ask: Callable[[], None]) -> None:
        def run() -> None:
            while not self._closed.is_set():
                ask()
                self._closed.wait(seconds)

        threading.Thread(target=run, name=f"lull-{name}", daemon=True).start()

    def _read_reports(self) -> None:
        self.operations += 1
        try:
            found = list(
                self._cluster.ledger(FOREGROUND)
                .with_options(read_concern=ReadConcern("local"))
                .find({}, limit=1_000, comment="lull governor")
            )
        except PyMongoError as error:
            log.info("the foreground's reports were not read: %s", describe(error))
        else:
            self._reports.hear(found, time.monotonic())

    def _ask_prometheus(self) -> None:
        query = urllib.parse.urlencode({"query": self._wanted.prometheus_query})
        try:
            status, body = _get(f"{self._wanted.prometheus_url.rstrip('/')}/api/v1/query?{query}")
            value = float(json.loads(body)["data"]["result"][0]["value"][1])
        except (OSError, ValueError, LookupError, TypeError) as error:
            # The value before it stays, and grows old.
            before = self._said.get("prometheus", _Said(None, time.monotonic()))
            self._said["prometheus"] = _Said(before.value, before.at_s, f"no answer: {type(error).__name__}")
        else:
            self._said["prometheus"] = _Said(value, time.monotonic(), f"status {status}" if status != 200 else "")

    def _ask_http(self) -> None:
        try:
            status, _ = _get(self._wanted.http_check)
        except OSError as error:
            self._said["http-check"] = _Said(1.0, time.monotonic(), f"no answer: {type(error).__name__}")
        else:
            self._said["http-check"] = _Said(0.0 if status == 200 else 1.0, time.monotonic(), f"status {status}")


def _get(url: str) -> tuple[int, bytes]:
    """Return status and body. Raises OSError when there is no answer; an answer of any status is one."""
    if urllib.parse.urlsplit(url).scheme not in _SCHEMES:
        raise OSError("only http and https are asked")
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 - the scheme was looked at
            return answer.status, answer.read(ANSWER_BYTES_MAX)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, b""


class _Reports:
    """Reports of all application processes, made one."""

    def __init__(self) -> None:
        self._moved: dict[str, tuple[int, float]] = {}
        """Sequence and when it last moved, on our clock."""
        self._newest: dict[str, Document] = {}

    def hear(self, documents: Iterable[Document], now_s: float) -> None:
        for document in documents:
            key, sequence = str(document["_id"]), int(document.get("sequence", 0))
            if self._moved.get(key, (None, 0.0))[0] != sequence:
                self._moved[key] = (sequence, now_s)
            self._newest[key] = document

    def readings(self, now_s: float, objective: Objective) -> list[Reading]:
        fresh = [key for key, (_, moved) in self._moved.items() if now_s - moved <= readings.FRESH_SECONDS]
        if not fresh:
            return []
        at_s = max(self._moved[key][1] for key in fresh)
        found = []
        for signal, kind, limit in (
            (readings.READ_P99, "reads", objective.read_p99),
            (readings.WRITE_P99, "writes", objective.write_p99),
        ):
            histogram: Counter[int] = merged(self._newest[key].get(kind, {}) for key in fresh)
            if histogram.total() >= OPERATIONS_MIN:
                note = f"reported by {len(fresh)} processes" if len(fresh) > 1 else "reported"
                found.append(Reading(signal, percentile_ms(histogram, 99), limit, at_s, note))
        return found

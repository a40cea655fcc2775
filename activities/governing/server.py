"""
What the server says of itself: queues, tickets, dirty cache, flow control, lag, oplog window, operations.

One ``serverStatus`` of the few sections needed (a third of a millisecond; the whole of it costs four
times as much) and one ``hello`` a sample, and a ``replSetGetStatus`` a second where there are secondaries.
What a privilege hides is switched off with the grant that shows it.
"""

import time
from dataclasses import dataclass, field, replace
from typing import Any

from pymongo.errors import OperationFailure

from lull.activities.mongo import Cluster, Document, describe
from lull.domain.governor import readings
from lull.domain.governor.objective import Foreground
from lull.domain.governor.readings import Reading, Signal

WANTED = {"opLatencies", "globalLock", "wiredTiger", "flowControl", "oplog", "oplogTruncation", "metrics"}
_SECTIONS = (
    "activeIndexBuilds", "asserts", "batchedDeletes", "catalogStats", "connections", "defaultRWConcern",
    "electionMetrics", "extra_info", "featureCompatibilityVersion", "health", "indexBulkBuilder", "indexStats",
    "internalTransactions", "locks", "logicalSessionRecordCache", "mem", "mirroredReads", "network", "opcounters",
    "opcountersRepl", "planCache", "query", "queryAnalyzers", "queues", "readConcernCounters", "readPreferenceCounters", "repl",
    "scramCache", "security", "sharding", "shardSplits", "spillWiredTiger", "storageEngine", "tcmalloc", "tenantMigrations", "trafficRecording",
    "transactions", "transportSecurity", "ttl", "twoPhaseCommitCoordinator", "watchdog", "writeBacksQueued",
)  # fmt: skip
"""Of ``serverStatus`` that nobody here looks at; a name the server does not know does no harm."""
_COMMAND: Document = {"serverStatus": 1, **dict.fromkeys(_SECTIONS, 0), "oplog": 1, "comment": "lull governor"}
_UNAUTHORIZED = 13
_GRANT = 'not granted: db.grantPrivilegesToRole("lullWorker", [{{resource: {{cluster: true}}, actions: ["{action}"]}}])'
GRANT = _GRANT.format(action="serverStatus")
MEMBERS_GRANT = _GRANT.format(action="replSetGetStatus")
MEMBERS_SECONDS = 1.0
"""Between two looks at the secondaries, whose operation times are whole seconds anyway."""
LAG_NORMAL_S = 1.0
"""A secondary that keeps up is seen a second behind whenever a second begins between two writes."""
_SECONDARY = 2
DIRTY_TARGET_PERCENT = 5.0
"""Down to which the server's own eviction works: a server that is written to stands there, and is well."""
DIRTY_HARD_FACTOR = 1.5
TICKETS_PERCENT_MAX = 90.0
FLOW_CONTROL_MS_MAX = 10.0
"""Per second; a healthy primary shows none."""


@dataclass(frozen=True, slots=True)
class Server:
    """One sample."""

    at_s: float
    readings: tuple[Reading, ...]
    ops: float | None = None
    """Reads and writes since the first sample, everybody's; None where the server does not tell."""


@dataclass(slots=True)
class ServerProbe:
    """Takes samples; keeps the last one, of which the next is the difference."""

    cluster: Cluster
    wanted: Foreground
    _before: Document | None = field(default=None)
    _before_s: float = 0.0
    _is_denied: bool = False
    _ops: float = 0.0
    _members: Reading = field(default=Reading(readings.MEMBER_LAG))
    _members_s: float = float("-inf")
    _members_note: str = ""
    """Why the secondaries cannot be looked at; empty while they can."""

    def sample(self) -> Server:
        """Return what the server says now. Raises PyMongoError when it says nothing."""
        hello: Document = self.cluster.client.admin.command({"hello": 1, "comment": "lull governor"})
        lags = (self._lag(hello), self._member_lag(hello))
        status = self._status()
        now_s = time.monotonic()
        if status is None:
            denied = tuple(Reading(signal, note=GRANT) for signal in _STATUS_SIGNALS)
            return Server(now_s, (*denied, *lags))
        before, seconds = self._before, now_s - self._before_s
        self._before, self._before_s = status, now_s
        seen = (
            *self._gauges(status, now_s),
            self._flow(status, before, seconds, now_s),
            self._oplog(status, now_s),
            *lags,
        )
        if before is None or seconds <= 0:
            return Server(now_s, seen)
        self._ops += _ops(status, before)
        return Server(now_s, seen, self._ops)

    def _status(self) -> Document | None:
        if self._is_denied:
            return None
        try:
            return self.cluster.client.admin.command(_COMMAND)
        except OperationFailure as error:
            if error.code != _UNAUTHORIZED:
                raise
            self._is_denied = True
            return None

    def _lag(self, hello: Document) -> Reading:
        """The commit point that applications' majority writes wait for; known to everybody, to the second."""
        write: Document = hello.get("lastWrite", {})
        newest, majority = write.get("opTime"), write.get("majorityOpTime")
        if not newest or not majority:
            return Reading(readings.LAG, note="no replica set")
        return Reading(
            readings.LAG, max(0.0, newest["ts"].time - majority["ts"].time), self.wanted.lag_s, time.monotonic()
        )

    def _member_lag(self, hello: Document) -> Reading:
        """
        The electable secondary that is furthest behind: one alone does not hold the commit point back.

        Delayed and hidden members can never become primary and may be behind; one that does not answer is not behind.
        """
        hosts = hello.get("hosts", [])
        if len(hosts) < 2 or self._members_note:
            return Reading(readings.MEMBER_LAG, note=self._members_note or "no other electable member")
        now_s = time.monotonic()
        if now_s - self._members_s >= MEMBERS_SECONDS:
            self._members_s = now_s
            self._members = self._furthest_behind(set(hosts))
        return self._members

    def _furthest_behind(self, hosts: set[str]) -> Reading:
        try:
            members = self.cluster.client.admin.command({"replSetGetStatus": 1, "comment": "lull governor"})["members"]
        except OperationFailure as error:
            self._members_note = MEMBERS_GRANT if error.code == _UNAUTHORIZED else f"not told ({describe(error)})"
            return Reading(readings.MEMBER_LAG, note=self._members_note)
        newest = max((one["optime"]["ts"].time for one in members if one.get("self")), default=0)
        behind = {
            one["name"]: max(0, newest - one["optime"]["ts"].time)
            for one in members
            if one["state"] == _SECONDARY and one["name"] in hosts
        }
        if not behind:
            return Reading(readings.MEMBER_LAG, note="no electable secondary answers")
        limit = self.wanted.lag_s
        name = max(behind, key=behind.__getitem__)
        zero = min(LAG_NORMAL_S, limit / 2)
        return Reading(readings.MEMBER_LAG, float(behind[name]), limit, time.monotonic(), note=name, zero=zero)

    def _gauges(self, status: Document, now_s: float) -> list[Reading]:
        found = [_seen(readings.QUEUE, _path(status, "globalLock", "currentQueue", "total"), self.wanted.queue, now_s)]
        found.append(_seen(readings.TICKETS, _tickets(status), TICKETS_PERCENT_MAX, now_s))
        dirty = _dirty_percent(status)
        limit = self.wanted.dirty_cache_percent
        zero = min(DIRTY_TARGET_PERCENT, limit / 2)
        found.append(replace(_seen(readings.DIRTY_CACHE, dirty, limit, now_s), zero=zero))
        found.append(_seen(readings.DIRTY_CACHE_HARD, dirty, limit * DIRTY_HARD_FACTOR, now_s))
        return found

    def _flow(self, status: Document, before: Document | None, seconds: float, now_s: float) -> Reading:
        spent, was = (
            _path(status, "flowControl", "timeAcquiringMicros"),
            _path(before or {}, "flowControl", "timeAcquiringMicros"),
        )
        if spent is None or was is None or seconds <= 0:
            return Reading(readings.FLOW_CONTROL, None, FLOW_CONTROL_MS_MAX)
        # The counter also moves by microseconds for writers that were not slowed down.
        return _seen(readings.FLOW_CONTROL, (spent - was) / 1_000 / seconds, FLOW_CONTROL_MS_MAX, now_s)

    def _oplog(self, status: Document, now_s: float) -> Reading:
        oplog = status.get("oplog") or {}
        if "latestOptime" not in oplog or "earliestOptime" not in oplog:
            return Reading(readings.OPLOG_WINDOW, note="this server does not tell its oplog's window")
        if not _path(status, "oplogTruncation", "truncateCount"):
            return Reading(readings.OPLOG_WINDOW, note="nothing was dropped from the oplog since this server began")
        hours = (oplog["latestOptime"].time - oplog["earliestOptime"].time) / 3_600
        return _seen(readings.OPLOG_WINDOW, hours, self.wanted.oplog_window_h or None, now_s)


_STATUS_SIGNALS = (
    readings.QUEUE, readings.TICKETS, readings.DIRTY_CACHE, readings.DIRTY_CACHE_HARD, readings.FLOW_CONTROL,
    readings.OPLOG_WINDOW,
)  # fmt: skip


def _seen(signal: Signal, observed: float | None, limit: float | None, now_s: float) -> Reading:
    if observed is None:
        return Reading(signal, note="this server does not tell it")
    return Reading(signal, float(observed), limit, now_s)


def _path(document: Document, *names: str) -> Any:
    """Return the value under these names; None where there is none."""
    found: Any = document
    for name in names:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _tickets(status: Document) -> float | None:
    """Return the share in use where the pools are fixed; newer servers size them by themselves, and say nothing."""
    pools = status.get("wiredTiger", {}).get("concurrentTransactions", {})
    used = [
        100 * pool["out"] / pool["totalTickets"]
        for pool in pools.values()
        if isinstance(pool, dict) and pool.get("totalTickets", 0) >= 128  # the fixed pools' size
    ]
    return max(used, default=None)


def _dirty_percent(status: Document) -> float | None:
    cache = status.get("wiredTiger", {}).get("cache", {})
    dirty, most = cache.get("tracked dirty bytes in the cache"), cache.get("maximum bytes configured")
    return None if dirty is None or not most else 100 * dirty / most


def _ops(status: Document, before: Document) -> float:
    """Return reads and writes since *before*; what secondaries fetch of the oplog is nobody's foreground."""
    counted = sum(_delta(status, before, "opLatencies", kind, "ops") for kind in ("reads", "writes"))
    return max(0.0, counted - _delta(status, before, "metrics", "repl", "network", "oplogGetMoresProcessed", "num"))


def _delta(status: Document, before: Document, *names: str) -> float:
    now, was = _path(status, *names), _path(before, *names)
    # A restarted server counts from zero again.
    return 0.0 if now is None or was is None or now < was else float(now - was)

"""What a governor saw and decided, kept for a month: ``lull.samples``, a time series of one document a second."""

import logging
from collections import deque
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from pymongo.errors import CollectionInvalid, OperationFailure, PyMongoError
from pymongo.write_concern import WriteConcern

from lull.activities.mongo import LEDGER_DATABASE, Cluster, Document, describe
from lull.activities.store import SAMPLES
from lull.domain.governor.baseline import Op, quantile
from lull.domain.governor.listening import Kind
from lull.domain.governor.readings import CANARY, READ_P99, WRITE_P99
from lull.domain.governor.status import GovernorStatus, SignalRow
from lull.domain.samples import REPORTED

log = logging.getLogger("lull.governor")

RETENTION = timedelta(days=30)
BUSY_SECONDS = 1.0
IDLE_SECONDS = 10.0
"""Between two samples, by whether jobs run."""
_NAMESPACE_EXISTS = 48
_FELT = frozenset({READ_P99.name, WRITE_P99.name})


def ensure_samples(cluster: Cluster) -> None:
    """The time series exists. Raises PyMongoError when it cannot be made."""
    try:
        cluster.database(LEDGER_DATABASE).create_collection(
            SAMPLES,
            timeseries={"timeField": "at", "metaField": "governor", "granularity": "seconds"},
            expireAfterSeconds=int(RETENTION.total_seconds()),
        )
    except CollectionInvalid:
        return
    except OperationFailure as error:
        if error.code != _NAMESPACE_EXISTS:
            raise


class SampleWriter:
    """Writes a sample a second, and where a blank window begins and ends; one that cannot be written is lost, no more."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._is_ready = False
        self._taken_s = float("-inf")
        self.operations = 0

    def take(
        self, now_s: float, status: GovernorStatus, recent: Mapping[Kind, deque[Op]], *, is_turn: bool = False
    ) -> None:
        """
        This moment is kept, if one is due or something turns.

        A blank window lasts about as long as a sample, and would hardly ever have one for itself.
        """
        every_s = BUSY_SECONDS if status.jobs else IDLE_SECONDS
        if now_s - self._taken_s < every_s and not is_turn:
            return
        since_s, self._taken_s = max(self._taken_s, now_s - every_s), now_s
        try:
            self._write(sample(status, recent, since_s))
        except PyMongoError as error:
            log.info("a sample was not kept: %s", describe(error))

    def _write(self, document: Document) -> None:
        if not self._is_ready:
            ensure_samples(self._cluster)
            self._is_ready = True
        self.operations += 1
        samples = self._cluster.database(LEDGER_DATABASE).get_collection(SAMPLES, write_concern=WriteConcern(1))
        samples.insert_one(document, comment="lull governor")


def sample(status: GovernorStatus, recent: Mapping[Kind, deque[Op]], since_s: float) -> Document:
    """Return what is kept of one moment: figures and reasons, no document and no id of one."""
    return {
        "at": status.as_of,
        "governor": {"cluster": status.cluster},
        "mode": status.mode.value,
        "zone": status.zone.value,
        "is_open": status.is_open,
        "reason": status.reason,
        "duty": status.duty,
        "hold_ms": status.hold_ms,
        "phase": status.phase,
        "sources": {row.name: _source(row) for row in status.signals if row.name in _FELT and row.observed is not None},
        "signals": {row.name: row.observed for row in status.signals if row.observed is not None},
        "limits": {row.name: row.limit for row in status.signals if row.limit is not None},
        "canary": {kind.value: _latencies(recent[kind], since_s) for kind in Kind},
        "foreground_ops": status.foreground_ops,
        "own_ops": status.own_ops,
        "own": {"ratio": status.own_ratio, "low": status.own_low, "high": status.own_high, "ms": status.own_ms},
        "jobs": [row.model_dump() for row in status.jobs],
    }


def _source(row: SignalRow) -> str:
    return CANARY.name if row.note == CANARY.name else REPORTED


def _latencies(ops: deque[Op], since_s: float) -> dict[str, Any]:
    newest = sorted(op.ms for op in ops if op.at_s + op.ms / 1_000 > since_s)
    if not newest:
        return {"n": 0}
    return {
        "n": len(newest),
        "p50": round(quantile(newest, 0.5), 3),
        "p90": round(quantile(newest, 0.9), 3),
        "p95": round(quantile(newest, 0.95), 3),
        "p99": round(quantile(newest, 0.99), 3),
        "max": round(newest[-1], 3),
    }

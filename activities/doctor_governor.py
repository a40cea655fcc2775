"""What ``lull doctor`` sees of a governor in the ledger: its word, the documents it probes, what it keeps."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from pydantic import ValidationError

from lull.activities.governing.samples import RETENTION
from lull.activities.leave import budget_of
from lull.activities.mongo import LEDGER_DATABASE, Cluster, Document, world_errors
from lull.activities.store import BUDGET_ID, CANARY, GOVERNOR, ORDERS_ID, SAMPLES, aware
from lull.domain.errors import OperatorError
from lull.domain.governor.budget import STALE_SECONDS, Budget, Mode, Told

LOOK_SECONDS = 0.1
"""As often as workers look."""
SAMPLE_AGE_MAX = timedelta(seconds=60)
"""A governor without jobs keeps a sample every ten seconds; its clock and ours may differ."""
_SILENT = (
    "start a worker with lull worker, without --no-governor (one that has just begun needs some seconds), or read "
    "the log of the one that is up: without a word from the governor no page begins"
)


def word(cluster: Cluster) -> tuple[bool, str, str]:
    """Return whether the governor speaks: as for a worker, a word counts as fresh when its sequence moves."""
    told, is_shut_by_hand = _listened(cluster)
    budget = told.budget
    if budget is None:
        return False, "nobody has spoken yet", _SILENT
    if told.is_stale(time.monotonic()):
        return (
            False,
            f"silent; the last word is {_age(budget.at)} old, of {budget.owner or 'an unknown process'}",
            _SILENT,
        )
    if is_shut_by_hand:
        return True, f"fresh; {budget.owner} speaks, and somebody shut the gate by hand in lull.governor", ""
    obeyed = "" if budget.mode is Mode.ENFORCE else ", obeyed by nobody: it only observes"
    gate = "open" if budget.is_open else f"shut ({budget.reason})"
    return True, f"fresh; {budget.owner} speaks{obeyed}; gate {gate}", ""


def _listened(cluster: Cluster) -> tuple[Told, bool]:
    """Return what is known after the sequence has moved, or after so long that it is known to stand still."""
    told, is_shut_by_hand = Told(), False
    governor = cluster.ledger(GOVERNOR)
    until = time.monotonic() + STALE_SECONDS
    while True:
        with world_errors("the governor's word"):
            found = {each["_id"]: each for each in governor.find({"_id": {"$in": [BUDGET_ID, ORDERS_ID]}})}
        is_shut_by_hand = bool(found.get(ORDERS_ID, {}).get("shut_by_hand"))
        now_s = time.monotonic()
        told = told.heard(_budget(found.get(BUDGET_ID)), now_s, is_shut_by_hand=is_shut_by_hand)
        if not told.is_stale(now_s) or now_s >= until:
            return told, is_shut_by_hand
        time.sleep(LOOK_SECONDS)


def _budget(found: Document | None) -> Budget | None:
    try:
        return budget_of(found)
    except ValidationError:
        raise OperatorError(
            "the governor's word is of a version that this worker cannot read; bring all workers to one version"
        ) from None


def _age(at: datetime | None) -> str:
    moment = aware(at)
    return "of unknown age" if moment is None else f"{(datetime.now(UTC) - moment).total_seconds():,.0f} s"


def canary(cluster: Cluster) -> tuple[bool, str, str]:
    """Return whether the documents that the governor probes are there."""
    with world_errors("lull.canary"):
        count = cluster.ledger(CANARY).estimated_document_count()
    return (
        count > 0,
        f"{count:,} documents" if count else "no documents",
        "restart a worker: its governor seeds lull.canary",
    )


def samples(cluster: Cluster) -> tuple[bool, str, str]:
    """Return whether what the governor sees is kept: in a time series, for a while, and lately."""
    with world_errors("lull.samples"):
        database = cluster.database(LEDGER_DATABASE)
        there = next(iter(database.list_collections(filter={"name": SAMPLES})), None)
        newest = database.get_collection(SAMPLES).find_one({}, {"at": 1}, sort=[("at", -1)]) if there else None
    if there is None:
        return (
            False,
            "there is no lull.samples",
            "restart a worker: its governor makes the collection, or logs why it cannot",
        )
    if there["type"] != "timeseries":
        remedy = "drop lull.samples and restart a worker: its governor makes it anew"
        return False, f"lull.samples is a {there['type']}, not a time series", remedy
    if "expireAfterSeconds" not in there["options"]:
        remedy = f"db.getSiblingDB('lull').runCommand({{collMod: 'samples', expireAfterSeconds: {RETENTION.total_seconds():.0f}}})"
        return False, "samples never expire", remedy
    days = there["options"]["expireAfterSeconds"] / 86_400
    if newest is None or (age := datetime.now(UTC) - newest["at"].replace(tzinfo=UTC)) > SAMPLE_AGE_MAX:
        seen = "no sample" if newest is None else f"the newest sample is {age.total_seconds():,.0f} s old"
        return (
            False,
            f"{seen}; kept for {days:g} days",
            "read the log of the worker that governs: it says why no sample is kept",
        )
    return (
        True,
        f"a time series, kept for {days:g} days; the newest sample is {max(0.0, age.total_seconds()):.0f} s old",
        "",
    )


CHECKS: dict[str, Callable[[Cluster], tuple[bool, str, str]]] = {
    "governor's word": word,
    "governor's canary": canary,
    "governor's samples": samples,
}
"""Of a cluster that is governed, after the others."""

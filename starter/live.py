"""
The newest that is known of a job: the workflow's answer, and over it what its slices say between reports.

A slice reports when it returns, every half minute; its heartbeats come every second. Both carry
absolute counts of one partition, so the newer replaces the older and nothing is added twice.
"""

from collections.abc import Iterable, Sequence

from lull.domain.ledger import eta_seconds, fraction_done
from lull.domain.lifecycle import Status
from lull.domain.slice import Counts
from lull.domain.state import Progress
from lull.starter.views import Slice, SliceState

RATE_SECONDS_MIN = 2.0
"""A slice's first page is a poor measure of its pace."""
REMARKS_MAX = 5
"""Slices fail alike: the first few say it all."""


def merge(progress: Progress, slices: Iterable[Slice]) -> Progress:
    """Return *progress* with the counts of running partitions replaced by newer ones from heartbeats."""
    running, counts, rate = dict(progress.running), progress.counts, 0.0
    for one in slices:
        was, now = running.get(one.partition or 0), one.counts
        # A heartbeat can be older than the report that came after it.
        if was is None or now is None or one.partition is None or now.pages < was.pages or now.scanned < was.scanned:
            continue
        running[one.partition] = now
        counts = _replaced(counts, was, now)
        rate += _docs_per_second(one, now.scanned - was.scanned)
    docs_per_second = rate or progress.docs_per_second
    return progress.model_copy(
        update={
            "running": running,
            "counts": counts,
            "docs_per_second": docs_per_second,
            "reason": progress.reason or _waiting_for(progress.status, slices),
            "fraction": _fraction(progress, counts),
            "eta_s": eta_seconds(counts.scanned, progress.documents, docs_per_second),
        }
    )


def _docs_per_second(one: Slice, scanned: int) -> float:
    """Return the pace of a slice since it began; 0 while it is too young to tell, or was started anew."""
    if one.state is not SliceState.RUNNING or one.attempt > 1 or one.since is None or one.heard_at is None:
        return 0.0
    seconds = (one.heard_at - one.since).total_seconds()
    return scanned / seconds if seconds >= RATE_SECONDS_MIN else 0.0


def _replaced(total: Counts, was: Counts, now: Counts) -> Counts:
    return Counts(
        **{name: getattr(total, name) - getattr(was, name) + getattr(now, name) for name in Counts.model_fields}
    )


def _fraction(progress: Progress, counts: Counts) -> float:
    if progress.fraction >= 1.0:
        return progress.fraction
    return fraction_done(counts.scanned, progress.documents, progress.partitions_done, progress.partitions)


def _waiting_for(status: Status, slices: Iterable[Slice]) -> str:
    """Return what every running slice waits for; empty when one of them works."""
    running = [s for s in slices if s.state is SliceState.RUNNING]
    if status is not Status.RUNNING or not running or not all(s.waiting_for for s in running):
        return ""
    return f"waiting: {running[0].waiting_for}"


def remarks(slices: Sequence[Slice]) -> tuple[str, ...]:
    """Return one sentence for each slice that cannot run, as far as Temporal can tell."""
    found = [_remark(s) for s in slices if s.state is not SliceState.RUNNING or s.failure]
    return tuple(dict.fromkeys(text for text in found if text))[:REMARKS_MAX]


def _remark(one: Slice) -> str:
    who = "a slice" if one.partition is None else f"partition {one.partition}"
    if one.state is SliceState.HELD:
        return f"{who} is paused in Temporal itself; unpause that activity there"
    if one.failure:
        again = "trying again" if one.state is SliceState.RUNNING else "will be tried again"
        return f"{who}: attempt {one.attempt - 1 if one.attempt > 1 else 1} failed ({one.failure}); {again}"
    return ""

"""
The fold of partition snapshots into counts, progress, rate and ETA; and the sums that must hold.

The ledger in MongoDB is the truth; a :class:`Tally` is the workflow's view of it.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from lull.domain.errors import InvariantBroken
from lull.domain.slice import Counts, PartitionSnapshot
from pydantic import BaseModel

RATE_WINDOW_SECONDS = 300.0
_RATE_POINTS_MAX = 32


class Tally(BaseModel):
    """What is known of a job's partitions: those begun and not done one by one, the done ones summed."""

    open: dict[int, PartitionSnapshot] = {}
    closed: Counts = Counts()
    done: int = 0

    def begin(self, partition: int) -> None:
        """The partition is open, with nothing counted yet."""
        self.open[partition] = PartitionSnapshot(partition=partition)

    def record(self, snapshot: PartitionSnapshot) -> None:
        """Replace what was known of an open partition; a done one moves into the sum, once."""
        if snapshot.partition not in self.open:
            return
        if snapshot.done:
            del self.open[snapshot.partition]
            self.closed = self.closed.plus(snapshot.counts)
            self.done += 1
        else:
            self.open[snapshot.partition] = snapshot

    @property
    def totals(self) -> Counts:
        """Everything counted so far."""
        return sum_counts([self.closed, *(snapshot.counts for snapshot in self.open.values())])


WAIT_REASONS_MAX = 20
"""Reasons carry measured numbers; without a bound the workflow's state would grow with them."""
OTHER_REASONS = "other reasons"


def add_waits(total: Mapping[str, float], more: Mapping[str, float]) -> dict[str, float]:
    """Return seconds waited by reason, the longest first; beyond twenty the shortest are summed as one."""
    added = dict(total)
    for reason, seconds in more.items():
        added[reason] = added.get(reason, 0.0) + seconds
    rest = added.pop(OTHER_REASONS, 0.0)
    ranked = sorted(added.items(), key=lambda pair: (-pair[1], pair[0]))
    kept = dict(ranked[: WAIT_REASONS_MAX - 1])
    rest += sum(seconds for _, seconds in ranked[WAIT_REASONS_MAX - 1 :])
    return kept | ({OTHER_REASONS: rest} if rest else {})


def sum_counts(counts: Iterable[Counts]) -> Counts:
    """Return the sums, field by field."""
    found = list(counts)
    return Counts(**{name: sum(getattr(each, name) for each in found) for name in Counts.model_fields})


def verify(snapshots: Iterable[PartitionSnapshot], expected: int) -> Counts:
    """
    Return the job's final counts, read from the ledger.

    Raises InvariantBroken unless exactly *expected* partitions exist, all are done, and every
    document seen in each is accounted for.
    """
    found = list(snapshots)
    if len(found) != expected:
        raise InvariantBroken(
            f"ledger holds {len(found)} partitions, the plan made {expected}; nothing was closed, look at lull.partitions"
        )
    undone = [s.partition for s in found if not s.done]
    if undone:
        raise InvariantBroken(
            f"{len(undone)} partitions are not done (first: {undone[0]}); nothing was closed, look at lull.partitions"
        )
    for snapshot in found:
        if not snapshot.counts.balanced:
            raise InvariantBroken(
                f"partition {snapshot.partition}: seen {snapshot.counts.seen} is not changed + unchanged + skipped + quarantined "
                f"({snapshot.counts.changed} + {snapshot.counts.unchanged} + {snapshot.counts.skipped} + {snapshot.counts.quarantined})"
            )
    return sum_counts(s.counts for s in found)


class RatePoint(BaseModel):
    """Documents scanned by a moment."""

    at: datetime
    scanned: int


class RateWindow(BaseModel):
    """The last minutes of progress, from which rate and ETA are told; emptied by every pause."""

    points: list[RatePoint] = []

    def observe(self, at: datetime, scanned: int) -> None:
        """Add a point and forget what is older than five minutes or more than 32 points back."""
        self.points = [p for p in self.points if (at - p.at).total_seconds() <= RATE_WINDOW_SECONDS][
            1 - _RATE_POINTS_MAX :
        ]
        self.points.append(RatePoint(at=at, scanned=scanned))

    def clear(self) -> None:
        """Forget everything: paused time is not slowness."""
        self.points = []

    @property
    def docs_per_second(self) -> float | None:
        """None until two points lie apart."""
        if len(self.points) < 2:
            return None
        first, last = self.points[0], self.points[-1]
        seconds = (last.at - first.at).total_seconds()
        return (last.scanned - first.scanned) / seconds if seconds > 0 else None


def fraction_done(scanned: int, documents: int, done: int, partitions: int) -> float:
    """
    Return progress between 0 and 1.

    The document count is an estimate from plan time, so it never claims more than the partitions
    do: 1.0 is said only when all of them are done.
    """
    if partitions and done >= partitions:
        return 1.0
    by_documents = scanned / documents if documents else 0.0
    return min(by_documents, 0.999)


def eta_seconds(scanned: int, documents: int, docs_per_second: float | None) -> float | None:
    """Return how long the rest takes at this rate; None when it cannot be told."""
    if not docs_per_second or docs_per_second <= 0:
        return None
    return max(documents - scanned, 0) / docs_per_second

"""What workers tell of their slices and their spending, made into claims and rates."""

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pydantic import ValidationError

from lull.activities.mongo import Document
from lull.domain.governor.budget import JobSpending, Spending

SILENT_SECONDS = 2.0
"""A worker whose account has not moved for so long, on our clock, is gone."""
FORGET_SECONDS = 1_200.0
"""By then its document has expired; one that comes back before is the same process, and counts on."""
WINDOW_SECONDS = 2.0
"""Over which rates are taken."""


@dataclass(slots=True)
class _Worker:
    spending: Spending
    moved_at: float


@dataclass(frozen=True, slots=True)
class _Totals:
    at_s: float
    ops: float
    busy_s: dict[str, float]
    docs: dict[str, float]


@dataclass(slots=True)
class Workers:
    """All worker processes that have slices on the cluster."""

    ops: float = 0.0
    """Reads and writes that they were told to have done, since we listen."""
    _known: dict[str, _Worker] = field(default_factory=dict)
    _busy_s: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    _docs: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    _history: deque[_Totals] = field(default_factory=deque)

    def hear(self, documents: Iterable[Document], now_s: float) -> None:
        """Take in the accounts as they stand in the ledger now."""
        for document in documents:
            try:
                self._hear(document["_id"], Spending.model_validate(document), now_s)
            except ValidationError:
                continue  # of a version that this one cannot read
        for key in [key for key, worker in self._known.items() if now_s - worker.moved_at > FORGET_SECONDS]:
            del self._known[key]
        self._history.append(_Totals(now_s, self.ops, dict(self._busy_s), dict(self._docs)))
        while len(self._history) > 2 and now_s - self._history[1].at_s >= WINDOW_SECONDS:
            self._history.popleft()

    def _hear(self, key: str, spending: Spending, now_s: float) -> None:
        before = self._known.get(key)
        if before is None and not self._history:
            # What was spent before we began to listen is past.
            self._known[key] = _Worker(spending, now_s)
            return
        before = before or _Worker(Spending(sequence=0, ops=0.0), now_s)
        if spending.sequence == before.spending.sequence:
            return
        self.ops += max(0.0, spending.ops - before.spending.ops)
        nothing = JobSpending(job="", slices=0, busy_s=0.0)
        was = {job.job: job for job in before.spending.jobs}
        for job in spending.jobs:
            self._busy_s[job.job] += max(0.0, job.busy_s - was.get(job.job, nothing).busy_s)
            self._docs[job.job] += max(0.0, job.docs - was.get(job.job, nothing).docs)
        self._known[key] = _Worker(spending, now_s)

    def slices(self, now_s: float) -> dict[str, int]:
        """Return live slices by job, of workers that are heard."""
        found: Counter[str] = Counter()
        for worker in self._known.values():
            if now_s - worker.moved_at <= SILENT_SECONDS:
                for job in worker.spending.jobs:
                    found[job.job] += job.slices
        return {job: count for job, count in found.items() if count > 0}

    def heard(self, now_s: float) -> int:
        """Return how many worker processes are heard."""
        return sum(now_s - worker.moved_at <= SILENT_SECONDS for worker in self._known.values())

    @property
    def ops_per_second(self) -> float:
        """Reads and writes of all slices and what belongs to them, over the last seconds."""
        first, last = self._ends()
        return (last.ops - first.ops) / (last.at_s - first.at_s) if last.at_s > first.at_s else 0.0

    def used(self) -> dict[str, float]:
        """Return work-seconds per second by job, over the last seconds."""
        first, last = self._ends()
        return _rates(first.busy_s, last.busy_s, last.at_s - first.at_s)

    def docs(self) -> dict[str, float]:
        """Return documents per second by job, over the last seconds."""
        first, last = self._ends()
        return _rates(first.docs, last.docs, last.at_s - first.at_s)

    def _ends(self) -> tuple[_Totals, _Totals]:
        nothing = _Totals(0.0, 0.0, {}, {})
        return (self._history[0], self._history[-1]) if self._history else (nothing, nothing)


def _rates(first: Mapping[str, float], last: Mapping[str, float], seconds: float) -> dict[str, float]:
    """Return what has grown, per second."""
    if seconds <= 0:
        return {}
    rates = {job: (total - first.get(job, 0.0)) / seconds for job, total in last.items()}
    return {job: rate for job, rate in rates.items() if rate > 0}

"""
What the canary's operations teach: the tail of this moment, what is normal without us, and our share in the tail.

Pure: operations and moments arrive as arguments. Which operations teach what depends on what the governor had
decided when they ended: beside our pages they are one arm of a comparison, without them the other.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from lull.domain.governor import readings
from lull.domain.governor.baseline import Base, Op, Share, Tail, compare, quantile
from lull.domain.governor.law import Decision, Phase, Zone
from lull.domain.governor.readings import Reading

BUSY_PER_SECOND = 20.0
"""Operations of each kind while jobs run: a tail over three quarters of a second."""
IDLE_PER_SECOND = 2.0
LEARN_SECONDS = 1.5
"""At first the canary sings at full rate: a base from the idle rate would take ten seconds."""
TAIL_SECONDS = 0.75
TAIL_OPS_MIN = 10
SURGE_SECONDS = 1.5
"""From a surge's beginning to the gate's answer, with room."""
P99_SECONDS = 10.0
AFTER_SECONDS = 5.0
"""After jobs the canary sings on at full rate: at the idle rate writes are a tenth quicker, and no measure of busy ones."""
ON_SECONDS = 100.0
OFF_SECONDS = 600.0
OFF_MIN = 100
"""Of operations at full rate without us; fewer are no tail to compare with."""
SHARE_SECONDS = 1.0
"""Between two comparisons: they sort thousands of operations."""
RECENT_KEPT_MAX = 400
ON_KEPT_MAX = int(2 * BUSY_PER_SECOND * ON_SECONDS)
"""Of both kinds."""
OFF_KEPT_MAX = 2_000
"""Fifty seconds at full rate: of ten minutes with jobs, what blank windows take."""
DRIFT_OPS = 200
"""Ten seconds at full rate: what the foreground has been lately."""


class Kind(StrEnum):
    """What a canary operation does."""

    READ = "read"  # one document by _id
    WRITE = "write"  # one counter raised, at majority and journalled


class Lesson(StrEnum):
    """What an operation teaches."""

    NORMAL = "normal"  # what is normal; not while the tail says that the foreground is unwell
    WITHOUT = "without"  # the tail without our pages, at full rate
    BESIDE = "beside"  # the tail beside our pages


_TEACHES = {
    (Phase.OFF, Zone.IDLE): frozenset({Lesson.NORMAL, Lesson.WITHOUT}),
    (Phase.OFF, Zone.BLANK): frozenset({Lesson.NORMAL, Lesson.WITHOUT}),
}


def lessons(was: Decision | None) -> frozenset[Lesson]:
    """
    Return what operations teach that end while *was* holds; None before the first decision.

    A gate that is shut was shut by a foreground that is not as usual: that is learned from never.
    Pages without limits, beside nobody, tell nothing of pages beside a foreground.
    """
    if was is None:
        return _TEACHES[Phase.OFF, Zone.IDLE]
    if was.phase is Phase.ON and was.zone is not Zone.QUIET:
        return frozenset({Lesson.BESIDE})
    return _TEACHES.get((was.phase, was.zone), frozenset())


class _Heard(NamedTuple):
    """One operation, when it was heard of."""

    at_s: float
    kind: Kind
    ms: float


class Listener:
    """Hears the canary; ``hear`` first in every tick, whatever is asked after it is of that moment."""

    def __init__(self, began_s: float, bases: Mapping[Kind, Base] | None = None) -> None:
        self.bases: dict[Kind, Base] = dict.fromkeys(Kind, Base()) | dict(bases or {})
        self.recent: dict[Kind, deque[Op]] = {kind: deque(maxlen=RECENT_KEPT_MAX) for kind in Kind}
        """Operations that have ended, oldest first."""
        self._began_s = began_s
        self._now_s = began_s
        self._under_way: dict[Kind, list[Op]] = {kind: [] for kind in Kind}
        self._beside: deque[_Heard] = deque(maxlen=ON_KEPT_MAX)
        self._without: deque[_Heard] = deque(maxlen=OFF_KEPT_MAX)
        self._jobs_s = float("-inf")
        self._share: Share | None = None
        self._share_s = float("-inf")

    def is_urgent(self, now_s: float, live: int) -> bool:
        """Whether the canary must sing at full rate: beside *live* slices, for a while after them, and at first."""
        if live > 0:
            self._jobs_s = now_s
        return now_s - self._jobs_s < AFTER_SECONDS or now_s - self._began_s < LEARN_SECONDS

    def hear(
        self,
        now_s: float,
        ended: Mapping[Kind, Sequence[Op]],
        under_way: Mapping[Kind, Sequence[Op]],
        was: Decision | None,
    ) -> None:
        """Take in what *ended* since this was last called, and what is *under_way* with its age at *now_s*."""
        self._now_s = now_s
        for kind in Kind:
            self.recent[kind].extend(ended.get(kind, ()))
            self._under_way[kind] = [op for op in under_way.get(kind, ()) if now_s - op.at_s <= TAIL_SECONDS]
        taught = lessons(was)
        if Lesson.NORMAL in taught and (self.tail().shut_at or 0.0) >= 1.0:
            taught -= {Lesson.NORMAL}
        for kind, ops in ended.items():
            self._learn(kind, [op.ms for op in ops], taught)

    def _learn(self, kind: Kind, latencies: Sequence[float], taught: frozenset[Lesson]) -> None:
        if Lesson.NORMAL in taught:
            self.bases[kind] = self.bases[kind].learned(latencies)
        if Lesson.BESIDE in taught:
            self._beside.extend(_Heard(self._now_s, kind, ms) for ms in latencies)
        if Lesson.WITHOUT in taught and self.is_urgent(self._now_s, 0):
            self._without.extend(_Heard(self._now_s, kind, ms) for ms in latencies)

    def begin_anew(self) -> None:
        """What was measured beside our pages is forgotten: they are others from now on."""
        self._beside.clear()

    def disown(self) -> None:
        """What was heard last beside our pages was somebody's surge, and no measure of them: a gate has just shut."""
        while self._beside and self._now_s - self._beside[-1].at_s <= SURGE_SECONDS:
            self._beside.pop()

    def drift(self) -> None:
        """What is normal has moved a step towards what the foreground has been lately."""
        for kind in Kind:
            newest = sorted(op.ms for op in list(self.recent[kind])[-DRIFT_OPS:])
            if newest:
                self.bases[kind] = self.bases[kind].drifted(quantile(newest, 0.9))

    # --- what was heard -----------------------------------------------------------------------------

    def tail(self) -> Tail:
        """Return the newest operations of all kinds; an empty tail while they are too few."""
        excesses = [
            op.ms / limit
            for kind, base in self.bases.items()
            if (limit := base.limit_ms)
            for op in (*self._since(kind, TAIL_SECONDS), *self._under_way[kind])
        ]
        return Tail(tuple(excesses) if len(excesses) >= TAIL_OPS_MIN else ())

    def reading(self, tail: Tail) -> Reading:
        """Return the canary as a signal, in milliseconds of the kind that is worse off."""
        # One that has never answered is as silent as one that has stopped.
        heard_s = max((ops[-1].at_s + ops[-1].ms / 1_000 for ops in self.recent.values() if ops), default=self._began_s)
        kind, limit_ms = self.worse_kind()
        if limit_ms is None:
            return Reading(readings.CANARY, note="learning what is normal")
        observed = None if tail.shut_at is None else tail.shut_at * limit_ms
        return Reading(readings.CANARY, observed, limit_ms, heard_s, note=f"{kind}s")

    def worse_kind(self) -> tuple[Kind, float | None]:
        """Return the kind whose newest operations exceed their base more, and that base's limit in milliseconds."""
        worst, most = Kind.WRITE, float("-inf")
        for kind in Kind:
            limit = self.bases[kind].limit_ms
            newest = sorted(op.ms for op in self._since(kind, TAIL_SECONDS))
            if limit and newest and quantile(newest, 0.75) / limit > most:
                worst, most = kind, quantile(newest, 0.75) / limit
        return worst, self.bases[worst].limit_ms

    def p99_ms(self, kind: Kind) -> float | None:
        """Return the p99 of ten seconds; None while fewer than a quarter of their operations were heard."""
        newest = sorted(op.ms for op in self._since(kind, P99_SECONDS))
        return quantile(newest, 0.99) if len(newest) >= P99_SECONDS * BUSY_PER_SECOND / 4 else None

    def share(self) -> Share | None:
        """
        Return our share in the tail as it was compared at most a second ago; None while too little is known.

        Without us is in blank windows and shortly after jobs, over ten minutes: a few windows are no tail to
        compare with. One stall of the host's in them, and anything looks harmless for minutes.
        """
        now_s = self._now_s
        if now_s - self._share_s >= SHARE_SECONDS:
            self._share_s = now_s
            while self._beside and now_s - self._beside[0].at_s > ON_SECONDS:
                self._beside.popleft()
            is_enough = self.is_comparable
            beside, without = self._excesses(self._beside), self._excesses(self._without)
            self._share = self._in_ms(compare(beside, without)) if is_enough else None
        return self._share

    @property
    def beside_s(self) -> float:
        """Seconds at full rate beside our pages that a share is measured from."""
        return len(self._beside) / (len(Kind) * BUSY_PER_SECOND)

    @property
    def is_comparable(self) -> bool:
        """Whether enough is known of the tail without us."""
        while self._without and self._now_s - self._without[0].at_s > OFF_SECONDS:
            self._without.popleft()
        return len(self._without) >= OFF_MIN

    def _excesses(self, heard: Iterable[_Heard]) -> list[float]:
        """Return what was heard as multiples of what is slow for its kind."""
        limits = {kind: limit for kind, base in self.bases.items() if (limit := base.limit_ms)}
        return [one.ms / limits[one.kind] for one in heard if one.kind in limits]

    def _in_ms(self, share: Share | None) -> Share | None:
        """Return a share that was measured in multiples of the limit with its difference in milliseconds."""
        _, limit_ms = self.worse_kind()
        return share if share is None or limit_ms is None else share._replace(ours_ms=share.ours_ms * limit_ms)

    def _since(self, kind: Kind, seconds: float) -> Iterator[Op]:
        """Yield the operations that have ended and began in the last *seconds*, newest first."""
        # One thread per kind begins them one after the other: the first that is too old ends it.
        for op in reversed(self.recent[kind]):
            if self._now_s - op.at_s > seconds:
                return
            yield op

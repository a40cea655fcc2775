"""
What the canary's operations teach: the tail of this moment, what is normal without us, and our share in the tail.

Pure: operations and moments arrive as arguments. Which operations teach what depends on what the governor had
decided when they ended: beside our pages they are one arm of a comparison, without them the other.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum

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
ON_SECONDS = 60.0
SHARE_SECONDS = 1.0
"""Between two comparisons: they sort thousands of operations."""
RECENT_KEPT_MAX = 400
ON_KEPT_MAX = 4_000
DRIFT_OPS = 200
"""Ten seconds at full rate: what the foreground has been lately."""


class Kind(StrEnum):
    """What a canary operation does."""

    READ = "read"  # one document by _id
    WRITE = "write"  # one counter raised, at majority and journalled


class Lesson(StrEnum):
    """What an operation teaches."""

    NORMAL = "normal"  # what is normal; not while the tail says that the foreground is unwell
    BESIDE = "beside"  # the tail beside our pages


_WITHOUT_US = {(Phase.OFF, Zone.IDLE), (Phase.OFF, Zone.BLANK)}


def lessons(was: Decision | None) -> frozenset[Lesson]:
    """
    Return what operations teach that end while *was* holds; None before the first decision.

    A gate that is shut was shut by a foreground that is not as usual: that is learned from never.
    Pages without limits, beside nobody, tell nothing of pages beside a foreground.
    """
    if was is None:
        return frozenset({Lesson.NORMAL})
    if was.phase is Phase.ON and was.zone is not Zone.QUIET:
        return frozenset({Lesson.BESIDE})
    return frozenset({Lesson.NORMAL} if (was.phase, was.zone) in _WITHOUT_US else ())


class Listener:
    """Hears the canary; ``hear`` first in every tick, whatever is asked after it is of that moment."""

    def __init__(self, began_s: float, bases: Mapping[Kind, Base] | None = None) -> None:
        self.bases: dict[Kind, Base] = dict.fromkeys(Kind, Base()) | dict(bases or {})
        self.recent: dict[Kind, deque[Op]] = {kind: deque(maxlen=RECENT_KEPT_MAX) for kind in Kind}
        """Operations that have ended, oldest first."""
        self._began_s = began_s
        self._now_s = began_s
        self._under_way: dict[Kind, list[Op]] = {kind: [] for kind in Kind}
        self._beside: deque[tuple[float, float]] = deque(maxlen=ON_KEPT_MAX)
        """Moment and latency as a multiple of the base's limit."""
        self._share: Share | None = None
        self._share_s = float("-inf")

    def is_urgent(self, now_s: float, live: int) -> bool:
        """Whether the canary must sing at full rate: beside *live* slices, and at first."""
        return live > 0 or now_s - self._began_s < LEARN_SECONDS

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
        # The limit from before this tick: an operation is not measured by what it teaches.
        limit = self.bases[kind].limit_ms
        if Lesson.NORMAL in taught:
            self.bases[kind] = self.bases[kind].learned(latencies)
        if limit is not None and Lesson.BESIDE in taught:
            self._beside.extend((self._now_s, ms / limit) for ms in latencies)

    def begin_anew(self) -> None:
        """What was measured beside our pages is forgotten: they are others from now on."""
        self._beside.clear()

    def disown(self) -> None:
        """What was heard last beside our pages was somebody's surge, and no measure of them: a gate has just shut."""
        while self._beside and self._now_s - self._beside[-1][0] <= SURGE_SECONDS:
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

        What it is without us is what is normal: some twenty blank windows. A few of them alone are no
        tail to compare with: one stall of the host's in a window, and anything looks harmless for minutes.
        """
        now_s = self._now_s
        if now_s - self._share_s >= SHARE_SECONDS:
            self._share_s = now_s
            beside = [excess for at_s, excess in self._beside if now_s - at_s <= ON_SECONDS]
            self._share = self._in_ms(compare(beside, self._normal()))
        return self._share

    def _in_ms(self, share: Share | None) -> Share | None:
        """Return a share that was measured in multiples of the limit with its difference in milliseconds."""
        _, limit_ms = self.worse_kind()
        return share if share is None or limit_ms is None else share._replace(ours_ms=share.ours_ms * limit_ms)

    def _normal(self) -> list[float]:
        """Return what is normal, as multiples of the limits."""
        return [
            ms * base.scale / limit for base in self.bases.values() if (limit := base.limit_ms) for ms in base.samples
        ]

    def _since(self, kind: Kind, seconds: float) -> Iterator[Op]:
        """Yield the operations that have ended and began in the last *seconds*, newest first."""
        # One thread per kind begins them one after the other: the first that is too old ends it.
        for op in reversed(self.recent[kind]):
            if self._now_s - op.at_s > seconds:
                return
            yield op

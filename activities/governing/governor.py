"""
One cluster's governor: ten times a second it looks, decides and, when something has changed, says so.

Belongs to one thread. What it has learned outlives it: in memory from one activity to the next, and in
``lull.governor`` from one process to the next.
"""

import logging
import random
import time
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError
from pymongo.errors import PyMongoError

from lull.activities.governing import outside
from lull.activities.governing.canary import BUSY_PER_SECOND, Canary, Kind
from lull.activities.governing.publishing import Ledger
from lull.activities.governing.samples import SampleWriter
from lull.activities.governing.server import Server, ServerProbe
from lull.activities.governing.workers import Workers
from lull.activities.mongo import Cluster, Document, describe
from lull.domain.governor import law, readings
from lull.domain.governor.baseline import Base, Op, Share, Tail, compare, quantile
from lull.domain.governor.budget import PUBLISH_SECONDS, Budget, JobShare, Mode
from lull.domain.governor.law import Aim, Decision, Pace, Phase, View, Zone
from lull.domain.governor.objective import Objective
from lull.domain.governor.readings import Reading
from lull.domain.governor.shares import Claim, divide
from lull.domain.governor.status import DECISIONS_KEPT, GovernorStatus, JobRow, Moment, Orders, SignalRow
from lull.domain.job import Priority

log = logging.getLogger("lull.governor")

BUSY_TICK_SECONDS = 0.1
IDLE_TICK_SECONDS = 0.25
LOOK_SECONDS = {True: 0.2, False: 0.25}
"""At workers' accounts and operators' orders, by whether jobs run."""
SERVER_SECONDS = {True: 0.4, False: 1.0}
JOBS_SECONDS = 1.0
"""At the jobs' weights and objectives."""
TAIL_SECONDS = 0.75
TAIL_OPS_MIN = 10
P99_SECONDS = 10.0
ON_SECONDS = 60.0
OFF_SECONDS = 300.0
OFF_MIN = 150
ON_KEPT_MAX = 4_000
OFF_KEPT_MAX = 800
OTHERS_SECONDS = 2.0
"""Over which operations that are not ours are counted."""
ACCOUNTS_LATE_SECONDS = 0.5
"""From a page to its account being read here."""
KEEP_SECONDS = 60.0
"""Between two times that what was learned is written down, for whoever governs next."""
LEARN_SECONDS = 1.5
"""At first the canary sings at full rate: a base from the idle rate would take ten seconds."""


@dataclass(frozen=True, slots=True)
class _Job:
    weight: float
    is_critical: bool
    objective: Objective


class Governor:
    """One cluster's. ``tick`` and ``close`` belong to one thread, ``status`` to any."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._wanted = cluster.profile.foreground
        self._ledger = Ledger(cluster)
        self._samples = SampleWriter(cluster)
        self._canary = Canary(cluster)
        self._server = ServerProbe(cluster, self._wanted)
        self._outside = outside.Outside(cluster, self._wanted)
        self._workers = Workers()
        self._began_s = time.monotonic()
        self._pace = Pace()
        self._decision: Decision | None = None
        self._bases: dict[Kind, Base] = dict.fromkeys(Kind, Base())
        self._recent: dict[Kind, deque[Op]] = {kind: deque(maxlen=400) for kind in Kind}
        self._on: deque[tuple[float, float]] = deque(maxlen=ON_KEPT_MAX)
        """Moment and latency as a multiple of the base's limit, beside our pages."""
        self._off: deque[tuple[float, float]] = deque(maxlen=OFF_KEPT_MAX)
        """The same in blank windows."""
        self._seen: Server | None = None
        self._seen_s = self._looked_s = self._jobs_s = self._published_s = float("-inf")
        self._kept_s = self._began_s
        self._orders = Orders()
        self._jobs: dict[str, _Job] = {}
        self._own: Share | None = None
        self._own_s = float("-inf")
        self._moments: deque[Moment] = deque(maxlen=DECISIONS_KEPT)
        self._strangers: deque[tuple[float, float]] = deque()
        """Moment, and operations since the beginning that are not known to be ours."""
        self._foreground_ops: float | None = None
        self.status: GovernorStatus | None = None

    # -- life ------------------------------------------------------------------------------------

    def start(self) -> None:
        """It is the cluster's governor: any other one has been overtaken. Raises PyMongoError while nothing answers."""
        learned = self._ledger.take()
        for kind in Kind:
            samples = [float(ms) for ms in learned.get(kind.value, [])]
            self._bases[kind] = Base().learned(samples)
        self._pace = Pace(
            hold_ms=float(learned.get("hold_ms") or law.HOLD_MS), ceiling=float(learned.get("ceiling") or law.DUTY_BUSY)
        )
        self._canary.start()
        self._canary.pace(is_busy=True)
        self._outside.start()

    def close(self) -> None:
        """Its threads end, and what it has learned is kept."""
        self._canary.close()
        self._outside.close()
        try:
            self._ledger.keep(self._learned())
        except PyMongoError as error:
            log.info("what was learned was not kept: %s", describe(error))

    def _learned(self) -> dict[str, Any]:
        samples = {kind.value: [ms * base.scale for ms in base.samples] for kind, base in self._bases.items()}
        return samples | {"hold_ms": self._pace.hold_ms, "ceiling": min(self._pace.ceiling, law.DUTY_BUSY)}

    # -- one tick --------------------------------------------------------------------------------

    def tick(self) -> float:
        """
        Look, decide, and say so if it is news. Return how long to wait until the next tick.

        Raises FenceLost when another governor has taken over, PyMongoError when the cluster is away.
        """
        now_s = time.monotonic()
        self._look(now_s)
        slices = self._workers.slices(now_s)
        live = sum(slices.values())
        self._canary.pace(is_busy=live > 0 or now_s - self._began_s < LEARN_SECONDS)
        self._listen(now_s)
        view = self._view(now_s, live)
        was = self._decision
        self._pace, self._decision = law.decide(self._pace, view, self._aim())
        if self._pace.evidence_since_s == now_s:
            self._on.clear()
        if self._decision.may_drift:
            self._drift()
        self._speak(now_s, was, self._decision, slices, view)
        return BUSY_TICK_SECONDS if live else IDLE_TICK_SECONDS

    def _look(self, now_s: float) -> None:
        is_busy = self._workers.slices(now_s) != {}
        if now_s - self._looked_s >= LOOK_SECONDS[is_busy]:
            self._looked_s = now_s
            accounts, orders = self._ledger.heard()
            self._workers.hear(accounts, now_s)
            self._orders = orders.at(datetime.now(UTC))
        if now_s - self._seen_s >= SERVER_SECONDS[is_busy]:
            self._seen_s = now_s
            self._seen = self._server.sample()
            self._foreground_ops = self._others(self._seen)
        if now_s - self._jobs_s >= JOBS_SECONDS or self._workers.slices(now_s).keys() - self._jobs.keys():
            self._jobs_s = now_s
            self._jobs = {job: _job(spec) for job, spec in self._ledger.jobs(self._workers.slices(now_s)).items()}

    def _others(self, seen: Server) -> float | None:
        """Return operations per second that are neither our pages', nor our ledger's, nor the canary's, nor ours."""
        if seen.ops is None:
            return None
        ours = self._ledger.operations + self._samples.operations + self._canary.operations + self._outside.operations
        self._strangers.append((seen.at_s, seen.ops - ours - self._workers.ops))
        while seen.at_s - self._strangers[0][0] > OTHERS_SECONDS:
            self._strangers.popleft()
        (since_s, before), (_, after) = self._strangers[0], self._strangers[-1]
        if seen.at_s - since_s < OTHERS_SECONDS / 2:
            return self._foreground_ops
        # Workers tell late: what they may have done since is not a foreground.
        untold = self._workers.ops_per_second * ACCOUNTS_LATE_SECONDS
        return max(0.0, (after - before - untold) / (seen.at_s - since_s))

    # -- the canary --------------------------------------------------------------------------------

    def _listen(self, now_s: float) -> None:
        phase = self._decision.phase if self._decision else Phase.OFF
        zone = self._decision.zone if self._decision else Zone.IDLE
        for kind, ops in self._canary.drained().items():
            self._recent[kind].extend(ops)
            self._learn(kind, [op.ms for op in ops], phase, zone, now_s)

    def _learn(self, kind: Kind, latencies: list[float], phase: Phase, zone: Zone, now_s: float) -> None:
        base = self._bases[kind]
        limit = base.limit_ms
        if phase is Phase.OFF and zone in {Zone.IDLE, Zone.BLANK} and not self._is_unwell(now_s):
            self._bases[kind] = base.learned(latencies)
        if limit is None:
            return
        if phase is Phase.OFF and zone is Zone.BLANK:
            self._off.extend((now_s, ms / limit) for ms in latencies)
        elif phase is Phase.ON and zone is not Zone.QUIET:
            self._on.extend((now_s, ms / limit) for ms in latencies)

    def _is_unwell(self, now_s: float) -> bool:
        tail = self._tail(now_s).shut_at
        return tail is not None and tail >= 1.0

    def _tail(self, now_s: float) -> Tail:
        under_way = self._canary.under_way(now_s)
        excesses = [
            op.ms / limit
            for kind in Kind
            if (limit := self._bases[kind].limit_ms)
            for op in (*self._recent[kind], *under_way[kind])
            if now_s - op.at_s <= TAIL_SECONDS
        ]
        return Tail(tuple(excesses) if len(excesses) >= TAIL_OPS_MIN else ())

    def _canary_reading(self, now_s: float, tail: Tail) -> Reading:
        # One that has never answered is as silent as one that has stopped.
        newest = max((ops[-1].at_s + ops[-1].ms / 1_000 for ops in self._recent.values() if ops), default=self._began_s)
        kind, base_ms = self._worse_kind(now_s)
        if base_ms is None:
            return Reading(readings.CANARY, note="learning what is normal")
        if tail.shut_at is None:
            return Reading(readings.CANARY, None, base_ms, newest, note=f"{kind}s")
        return Reading(readings.CANARY, tail.shut_at * base_ms, base_ms, newest, note=f"{kind}s")

    def _worse_kind(self, now_s: float) -> tuple[Kind, float | None]:
        """Return the kind whose newest operations exceed their base more, and that base's limit."""
        worst, most = Kind.WRITE, float("-inf")
        for kind in Kind:
            limit = self._bases[kind].limit_ms
            newest = sorted(op.ms for op in self._recent[kind] if now_s - op.at_s <= TAIL_SECONDS)
            if limit and newest and quantile(newest, 0.75) / limit > most:
                worst, most = kind, quantile(newest, 0.75) / limit
        return worst, self._bases[worst].limit_ms

    def _drift(self) -> None:
        for kind in Kind:
            newest = sorted(op.ms for op in self._recent[kind])[-200:]
            if newest:
                self._bases[kind] = self._bases[kind].drifted(quantile(newest, 0.9))

    # -- what is seen --------------------------------------------------------------------------------

    def _view(self, now_s: float, live: int) -> View:
        tail = self._tail(now_s)
        return View(
            now_s=now_s,
            readings=self._readings(now_s, tail),
            canary_opens=tail.open_at,
            live=live,
            used=sum(self._workers.used().values()),
            foreground_ops=self._foreground_ops,
            own_ops=self._workers.ops_per_second,
            own=self._share(now_s),
            ordered_shut=self._orders.shut_reason,
            may_blank=self._mode is Mode.ENFORCE,
            draw=random.random(),  # noqa: S311 - jitter
        )

    def _share(self, now_s: float) -> Share | None:
        if now_s - self._own_s >= 1.0:
            self._own_s = now_s
            on = [excess for at_s, excess in self._on if now_s - at_s <= ON_SECONDS]
            off = [excess for at_s, excess in self._off if now_s - at_s <= OFF_SECONDS]
            _, limit = self._worse_kind(now_s)
            # Until there were some blank windows, what was normal before the job must do.
            self._own = _in_ms(compare(on, off if len(off) >= OFF_MIN else self._normal()), limit)
        return self._own

    def _normal(self) -> list[float]:
        """Return what is normal, as multiples of the limits."""
        return [
            ms * base.scale / limit for base in self._bases.values() if (limit := base.limit_ms) for ms in base.samples
        ]

    def _readings(self, now_s: float, tail: Tail) -> tuple[Reading, ...]:
        objective = self._objective()
        p99 = {kind: self._p99(kind, now_s) for kind in Kind}
        reported = self._outside.readings(now_s, objective)
        own = self._own
        named = {reading.signal.name for reading in reported}
        canaries = (
            Reading(readings.READ_P99, p99[Kind.READ], objective.read_p99, now_s, note="canary"),
            Reading(readings.WRITE_P99, p99[Kind.WRITE], objective.write_p99, now_s, note="canary"),
        )
        return (
            self._canary_reading(now_s, tail),
            *(reading for reading in canaries if reading.signal.name not in named),
            *reported,
            Reading(readings.INFLATION, own.ratio if own else None, self._aim().inflation, now_s if own else None),
            *(self._seen.readings if self._seen else ()),
        )

    def _p99(self, kind: Kind, now_s: float) -> float | None:
        newest = sorted(op.ms for op in self._recent[kind] if now_s - op.at_s <= P99_SECONDS)
        return quantile(newest, 0.99) if len(newest) >= P99_SECONDS * BUSY_PER_SECOND / 4 else None

    def _objective(self) -> Objective:
        profile = Objective(**{name: getattr(self._wanted, name) for name in Objective.model_fields})
        wanted = self._orders.limits.over(profile) if self._orders.limits else profile
        for job in self._jobs.values():
            wanted = wanted.strictest(job.objective)
        return wanted

    def _aim(self) -> Aim:
        inflation = self._objective().inflation
        return Aim() if inflation is None else Aim(inflation=inflation)

    @property
    def _mode(self) -> Mode:
        return self._orders.mode or self._cluster.profile.governor

    # -- what is said ----------------------------------------------------------------------------------

    def _speak(
        self, now_s: float, was: Decision | None, decision: Decision, slices: dict[str, int], view: View
    ) -> None:
        shares = self._shares(decision, slices)
        if was is None or (was.zone, was.label) != (decision.zone, decision.label):
            self._moments.appendleft(Moment(at=datetime.now(UTC), zone=decision.zone, reason=decision.reason))
            log.info("%s%s", decision.zone, f": {decision.reason}" if decision.reason else "")
        is_news = was is None or was._replace(reason="") != decision._replace(reason="")
        budget = self._budget(decision, shares, slices)
        if is_news or self._ledger.differs(budget) or now_s - self._published_s >= PUBLISH_SECONDS:
            self._published_s = now_s
            self._ledger.publish(budget)
        self.status = self._status(decision, shares, slices, view)
        self._samples.take(now_s, self.status, self._recent)
        if now_s - self._kept_s >= KEEP_SECONDS:
            self._kept_s = now_s
            self._ledger.keep(self._learned())

    def _shares(self, decision: Decision, slices: dict[str, int]) -> dict[str, float]:
        claims = [
            Claim(job, count, known.weight if known else 1.0, is_critical=bool(known and known.is_critical))
            for job, count in slices.items()
            for known in [self._jobs.get(job)]
        ]
        return divide(decision.duty, claims)

    def _budget(self, decision: Decision, shares: dict[str, float], slices: dict[str, int]) -> Budget:
        return Budget(
            mode=self._mode,
            is_open=decision.is_open,
            reason=decision.reason,
            label=decision.label,
            duty=decision.duty,
            hold_ms=decision.hold_ms,
            docs_max=decision.docs_max,
            turns=decision.turns,
            floor=decision.floor,
            shares=tuple(JobShare(job=job, duty=duty, slices=slices[job]) for job, duty in sorted(shares.items())),
        )

    def _status(
        self, decision: Decision, shares: dict[str, float], slices: dict[str, int], view: View
    ) -> GovernorStatus:
        used = self._workers.used()
        own = self._own
        return GovernorStatus(
            cluster=self._cluster.name,
            mode=self._mode,
            zone=decision.zone,
            is_open=decision.is_open,
            reason=decision.reason,
            duty=round(decision.duty, 4),
            hold_ms=round(decision.hold_ms, 2),
            signals=tuple(_row(reading, view.now_s) for reading in view.readings),
            jobs=tuple(self._job_row(job, shares[job], slices[job], used.get(job, 0.0)) for job in sorted(shares)),
            decisions=tuple(self._moments),
            objective=self._objective(),
            inflation=self._aim().inflation,
            foreground_ops=_rounded(self._foreground_ops, 1),
            own_ops=round(view.own_ops, 1),
            own_ratio=_rounded(own.ratio if own else None),
            own_low=_rounded(own.low if own else None),
            own_high=_rounded(own.high if own else None),
            own_ms=_rounded(own.ours_ms if own else None),
            base_ms=self._base_ms(),
            is_starved=decision.is_starved,
            workers=self._workers.heard(view.now_s),
            orders=self._orders if self._orders != Orders(epoch=self._orders.epoch) else None,
            as_of=datetime.now(UTC),
        )

    def _job_row(self, job: str, share: float, slices: int, used: float) -> JobRow:
        known = self._jobs.get(job)
        return JobRow(
            job=job,
            slices=slices,
            weight=known.weight if known else 1.0,
            critical=bool(known and known.is_critical),
            share=round(share, 4),
            used=round(used, 4),
        )

    def _base_ms(self) -> dict[str, float]:
        return {
            f"{kind}-p{round(fraction * 100)}": round(found, 2)
            for kind in Kind
            for fraction in (0.5, 0.9, 0.99)
            if (found := self._bases[kind].p(fraction)) is not None
        }


def _row(reading: Reading, now_s: float) -> SignalRow:
    return SignalRow(
        name=reading.signal.name,
        unit=reading.signal.unit,
        effect=reading.signal.effect.value,
        observed=_rounded(reading.observed),
        limit=_rounded(reading.limit),
        op=reading.signal.op,
        age_s=None if reading.at_s is None else round(max(0.0, now_s - reading.at_s), 1),
        note=reading.note,
    )


def _rounded(value: float | None, digits: int = 3) -> float | None:
    return None if value is None else round(value, digits)


def _in_ms(share: Share | None, limit_ms: float | None) -> Share | None:
    """Return a share that was measured in multiples of the limit with its difference in milliseconds."""
    return share if share is None or limit_ms is None else share._replace(ours_ms=share.ours_ms * limit_ms)


def _job(spec: Document) -> _Job:
    try:
        objective = Objective.model_validate(spec.get("foreground") or {})
    except ValidationError:
        objective = Objective()  # written by a version that this one cannot read
    return _Job(float(spec.get("weight") or 1.0), spec.get("priority") == Priority.CRITICAL.value, objective)

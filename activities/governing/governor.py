"""
One cluster's governor: ten times a second it looks, decides and, when something has changed, says so.

Belongs to one thread. What it has learned outlives it: in memory from one activity to the next, and in
``lull.governor`` from one process to the next.
"""

import logging
import random
import time
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime

from pydantic import ValidationError
from pymongo.errors import PyMongoError

from lull.activities.governing import outside
from lull.activities.governing.canary import Canary
from lull.activities.governing.publishing import Ledger, holder
from lull.activities.governing.samples import SampleWriter
from lull.activities.governing.server import Server, ServerProbe
from lull.activities.governing.workers import Workers
from lull.activities.mongo import Cluster, Document, describe
from lull.domain.governor import deciding
from lull.domain.governor.budget import Mode
from lull.domain.governor.contest import Contest
from lull.domain.governor.deciding import Decider, Heard, Publication, Seen, Terms, Verdict
from lull.domain.governor.law import HOLD_MS, Decision, Phase, Zone
from lull.domain.governor.listening import Kind, Listener
from lull.domain.governor.objective import Objective
from lull.domain.governor.readings import Reading
from lull.domain.governor.status import DECISIONS_KEPT, GovernorStatus, JobRow, Moment, Orders, SignalRow
from lull.domain.governor.strangers import Strangers
from lull.domain.job import Priority

log = logging.getLogger("lull.governor")

BUSY_TICK_SECONDS = 0.1
IDLE_TICK_SECONDS = 0.25
LOOK_SECONDS = {True: 0.2, False: 0.25}
"""At workers' accounts and operators' orders, by whether jobs run."""
SERVER_SECONDS = {True: 0.4, False: 1.0}
JOBS_SECONDS = 1.0
"""At the jobs' weights and objectives."""
KEEP_SECONDS = 60.0
"""Between two times that what was learned is written down, for whoever governs next."""


class Governor:
    """One cluster's. ``tick`` and ``close`` belong to one thread, ``status`` to any."""

    def __init__(self, cluster: Cluster, origin: str = "") -> None:
        self._cluster = cluster
        self._wanted = cluster.profile.foreground
        self._ledger = Ledger(cluster, origin)
        self._contest = Contest(origin)
        self._is_seated = False
        self._samples = SampleWriter(cluster)
        self._canary = Canary(cluster)
        self._server = ServerProbe(cluster, self._wanted)
        self._outside = outside.Outside(cluster, self._wanted)
        self._workers = Workers()
        self._began_s = time.monotonic()
        self._decider = Decider(Listener(self._began_s))
        self._publication = Publication()
        self._strangers = Strangers()
        self._seen: Server | None = None
        self._seen_s = self._looked_s = self._jobs_s = float("-inf")
        self._kept_s = self._began_s
        self._orders = Orders()
        self._terms: dict[str, Terms] = {}
        self._profile = Objective(**{name: getattr(self._wanted, name) for name in Objective.model_fields})
        self._moments: deque[Moment] = deque(maxlen=DECISIONS_KEPT)
        self.status: GovernorStatus | None = None

    # -- life ------------------------------------------------------------------------------------

    def start(self) -> None:
        """
        It is the cluster's governor, or stands by while one of another origin is heard.

        Raises PyMongoError while nothing answers.
        """
        self._is_seated = self._take(time.monotonic())

    def _take(self, now_s: float) -> bool:
        """Return whether any other governor of the cluster has been overtaken."""
        there = self._ledger.there()
        self._contest = self._contest.seen(holder(there), now_s)
        learned = self._ledger.take(there) if self._contest.may_take(now_s) else None
        if learned is None:
            self.status = self._standing_by(there or {})
            return False
        self._began_s = now_s
        self._decider = Decider.taught(learned, now_s)
        self._canary.start()
        self._canary.pace(is_busy=True)
        self._outside.start()
        return True

    def _standing_by(self, there: Document) -> GovernorStatus:
        return GovernorStatus(
            cluster=self._cluster.name,
            mode=Mode(there.get("mode", self._cluster.profile.governor)),
            zone=Zone.IDLE,
            is_open=bool(there.get("is_open", True)),
            reason="stands by: another governor has the fence",
            label=str(there.get("label") or ""),
            duty=float(there.get("duty", 0.0)),
            hold_ms=float(there.get("hold_ms", HOLD_MS)),
            contest=self._contest.remark,
            as_of=datetime.now(UTC),
        )

    def close(self) -> None:
        """Its threads end, and what it has learned is kept."""
        self._canary.close()
        self._outside.close()
        if not self._is_seated:
            return
        try:
            self._ledger.keep(self._decider.learned())
        except PyMongoError as error:
            log.info("what was learned was not kept: %s", describe(error))

    # -- one tick --------------------------------------------------------------------------------

    def tick(self) -> float:
        """
        Look, decide, and say so if it is news. Return how long to wait until the next tick.

        Raises FenceLost when another governor has taken over, PyMongoError when the cluster is away.
        """
        now_s = time.monotonic()
        if not self._is_seated:
            self._is_seated = self._take(now_s)
            return IDLE_TICK_SECONDS
        self._look(now_s)
        slices = self._workers.slices(now_s)
        live = sum(slices.values())
        self._canary.pace(is_busy=self._decider.listener.is_urgent(now_s, live))
        heard = Heard(self._canary.drained(), self._canary.under_way(now_s))
        seen = self._gathered(now_s, slices)
        self._speak(now_s, self._decider.decide(now_s, heard, seen), seen)
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
            self._count(self._seen)
        if now_s - self._jobs_s >= JOBS_SECONDS or self._workers.slices(now_s).keys() - self._terms.keys():
            self._jobs_s = now_s
            self._terms = {job: _terms(spec) for job, spec in self._ledger.jobs(self._workers.slices(now_s)).items()}

    def _count(self, seen: Server) -> None:
        """Of the server's operations ours are our pages', our ledger's, the canary's and our own looks."""
        ours = self._ledger.operations + self._samples.operations + self._canary.operations + self._outside.operations
        self._strangers.count(
            seen.at_s, seen.ops, ours=ours + self._workers.ops, ours_per_second=self._workers.ops_per_second
        )

    def _gathered(self, now_s: float, slices: Mapping[str, int]) -> Seen:
        ordered = self._orders.limits
        objective = deciding.wanted(self._profile, ordered, self._terms.values())
        return Seen(
            slices=slices,
            terms=self._terms,
            used=sum(self._workers.used().values()),
            own_ops=self._workers.ops_per_second,
            foreground_ops=self._strangers.per_second,
            objective=objective,
            reported=self._outside.readings(now_s, objective),
            server=self._seen.readings if self._seen else (),
            ordered_shut=self._orders.shut_reason,
            mode=self._mode,
            draw=random.random(),  # noqa: S311 - jitter
        )

    @property
    def _mode(self) -> Mode:
        return self._orders.mode or self._cluster.profile.governor

    # -- what is said ----------------------------------------------------------------------------------

    def _speak(self, now_s: float, verdict: Verdict, seen: Seen) -> None:
        was, decision = verdict.was, verdict.decision
        if was is None or (was.zone, was.label) != (decision.zone, decision.label):
            self._moments.appendleft(Moment(at=datetime.now(UTC), zone=decision.zone, reason=decision.reason))
            log.info("%s%s", decision.zone, f": {decision.reason}" if decision.reason else "")
        if self._publication.is_due(now_s, verdict.budget):
            self._ledger.publish(verdict.budget)
            self._publication.said(now_s, verdict.budget)
        self.status, before = self._status(verdict, seen), self.status
        self._keep(now_s, was, decision, before)
        if now_s - self._kept_s >= KEEP_SECONDS:
            self._kept_s = now_s
            self._ledger.keep(self._decider.learned())

    def _keep(self, now_s: float, was: Decision | None, decision: Decision, before: GovernorStatus | None) -> None:
        """A sample is kept where one is due; that which ends a blank window still tells of the window."""
        assert self.status is not None
        recent = self._decider.listener.recent
        if before is not None and _is_blank(was) and not _is_blank(decision):
            ended = before.model_copy(update={"as_of": self.status.as_of})
            self._samples.take(now_s, ended, recent, is_turn=True)
        self._samples.take(now_s, self.status, recent, is_turn=_is_blank(decision) and not _is_blank(was))

    def _status(self, verdict: Verdict, seen: Seen) -> GovernorStatus:
        used, docs = self._workers.used(), self._workers.docs()
        view, decision, shares, own = verdict.view, verdict.decision, verdict.shares, verdict.view.own
        return GovernorStatus(
            cluster=self._cluster.name,
            mode=self._mode,
            zone=decision.zone,
            is_open=decision.is_open,
            phase=decision.phase.value,
            reason=decision.reason,
            label=decision.label,
            duty=round(decision.duty, 4),
            hold_ms=round(decision.hold_ms, 2),
            signals=tuple(_row(reading, view.now_s) for reading in view.readings),
            jobs=tuple(
                self._job_row(job, shares[job], seen.slices[job], used.get(job, 0.0), docs.get(job, 0.0))
                for job in sorted(shares)
            ),
            decisions=tuple(self._moments),
            objective=seen.objective,
            inflation=deciding.aimed(seen.objective).inflation,
            foreground_ops=_rounded(view.foreground_ops, 1),
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

    def _job_row(self, job: str, share: float, slices: int, used: float, docs: float) -> JobRow:
        known = self._terms.get(job, Terms())
        return JobRow(
            job=job,
            slices=slices,
            weight=known.weight,
            critical=known.is_critical,
            share=round(share, 4),
            used=round(used, 4),
            docs_per_s=round(docs, 1),
        )

    def _base_ms(self) -> dict[str, float]:
        bases = self._decider.listener.bases
        return {
            f"{kind}-p{round(fraction * 100)}": round(found, 2)
            for kind in Kind
            for fraction in (0.5, 0.9, 0.99)
            if (found := bases[kind].p(fraction)) is not None
        }


def _is_blank(decision: Decision | None) -> bool:
    """Whether nothing of ours runs because a blank window wants it so."""
    return decision is not None and decision.zone is Zone.BLANK and decision.phase is Phase.OFF


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


def _terms(spec: Document) -> Terms:
    try:
        objective = Objective.model_validate(spec.get("foreground") or {})
    except ValidationError:
        objective = Objective()  # written by a version that this one cannot read
    return Terms(float(spec.get("weight") or 1.0), spec.get("priority") == Priority.CRITICAL.value, objective)

"""
What orders, reports and the passing of time make of a job's state.

Plain functions on :class:`JobState`: the moment arrives as an argument, nothing here waits, and
the workflow only has to do what the state then says.
"""

from collections.abc import Container, Iterator
from datetime import datetime, timedelta

from lull.domain import orders
from lull.domain.duration import format_duration
from lull.domain.errors import OperatorError
from lull.domain.failure import RULES, ErrorClass
from lull.domain.ledger import add_waits
from lull.domain.lifecycle import ENDED, STOPPING, Event, Status, advance, can
from lull.domain.slice import Directive, DrainProof, Opened, SliceEnd, SliceReport, Verb
from lull.domain.state import JobState, PauseNote, ThrottleNote

REST_SECONDS_MIN = 1.0
"""A slice that waited is never asked again at once, whatever it says."""
REST_SECONDS_MAX = 300.0
HELD_SECONDS = 5.0
"""Rest of a partition whose slice obeyed a directive that is not ours: someone wrote to the ledger."""
MOSTLY = 0.5
"""A slice that waited for more than this share of its time was held back rather than slow."""

_TOO_LATE = STOPPING | ENDED | {Status.COMPLETING}


def begin(state: JobState, now: datetime) -> None:
    """The job has a start, a deadline and an allowance of poison documents, if it had none."""
    if state.started_at is None:
        state.started_at = now
        deadline = state.spec.limits.deadline
        state.deadline_at = now + deadline if deadline else None
    if state.poison_max is None:
        state.poison_max = _allowance(state)


def opened(state: JobState, answer: Opened, now: datetime) -> None:
    """The ledger is open: run, unless a pause or an end was asked for in the meantime."""
    state.plan = answer.plan
    state.started_at = answer.started_at or state.started_at
    # The adapter wrote this first directive together with the ledger.
    state.directive = Directive(
        verb=Verb.RUN, max_docs_per_second=state.spec.limits.max_docs_per_second, poison_max=_allowance(state)
    )
    if state.status is not Status.PLANNING:
        return
    state.status = advance(state.status, Event.PLANNED)
    if state.pause is not None:
        state.status = advance(state.status, Event.PAUSE)
    else:
        state.rate.observe(now, state.tally.totals.scanned)


def _allowance(state: JobState) -> int:
    return state.spec.on_poison.stop_after if state.spec.on_poison.quarantine else 0


# --- orders ---------------------------------------------------------------------------------


def check_pause(state: JobState) -> None:
    """Raise OperatorError unless pausing can have an effect, now or when planning ends."""
    if state.status not in {Status.PLANNING, Status.PAUSING, Status.PAUSED}:
        advance(state.status, Event.PAUSE)


def pause(state: JobState, order: orders.Pause, now: datetime) -> None:
    """The job is told to pause; while it is planning, this is remembered. Told twice is told once."""
    if state.status in _TOO_LATE:
        state.warn(f"pause changed nothing: the job is {state.status}")
    elif state.status in {Status.PAUSING, Status.PAUSED}:
        if state.pause and order.reason not in {"", state.pause.reason}:
            state.warn(f"pause ({order.reason}) changed nothing: already {state.status} ({state.pause.reason})")
    else:
        _pause(state, PauseNote(reason=order.reason, who=order.who, at=now))


def _pause(state: JobState, note: PauseNote) -> None:
    state.pause = note
    state.waiting_for = ""
    state.rate.clear()
    if can(state.status, Event.PAUSE):
        state.status = advance(state.status, Event.PAUSE)


def check_resume(state: JobState) -> None:
    """Raise OperatorError unless the job is paused, pausing, or about to be."""
    if not (state.status is Status.PLANNING and state.pause):
        advance(state.status, Event.RESUME)


def resume(state: JobState, order: orders.Resume, now: datetime) -> None:
    """The job runs again; after a pause by poison, with a fresh allowance on top of what is quarantined."""
    if state.status in _TOO_LATE:
        state.warn(f"resume{_by(order.who)} changed nothing: the job is {state.status}")
        return
    if state.pause and state.pause.by_poison:
        state.poison_max = max(state.tally.totals.quarantined, state.poison_max or 0) + _allowance(state)
    state.pause = None
    state.proof = None
    if can(state.status, Event.RESUME):
        state.status = advance(state.status, Event.RESUME)
        state.rate.clear()
        state.rate.observe(now, state.tally.totals.scanned)


def check_throttle(state: JobState) -> None:
    """Raise OperatorError when nothing is left to throttle."""
    if state.status in _TOO_LATE:
        raise OperatorError(f"cannot throttle a job that is {state.status}; nothing was changed")


def throttle(state: JobState, order: orders.Throttle, now: datetime) -> None:
    """The whole job has this limit, or the spec's own again."""
    if state.status in _TOO_LATE:
        state.warn(f"throttle changed nothing: the job is {state.status}")
    elif order.max_docs_per_second is None:
        state.throttle = None
    else:
        state.throttle = ThrottleNote(
            max_docs_per_second=order.max_docs_per_second,
            until=now + order.lasting if order.lasting else None,
            who=order.who,
            why=order.why,
        )


def extend_deadline(state: JobState, order: orders.ExtendDeadline) -> None:
    """The deadline is later by what was asked for."""
    if state.status in _TOO_LATE:
        state.warn(f"extend_deadline changed nothing: the job is {state.status}")
    elif state.deadline_at is None:
        state.warn("extend_deadline changed nothing: this job has no deadline; it runs until it is done")
    else:
        state.deadline_at += order.by


def _by(who: str) -> str:
    return f" by {who}" if who else ""


# --- what the state wants ---------------------------------------------------------------------


def wanted(state: JobState) -> Directive:
    """Return the directive that should be in the ledger; its epoch is that of the one that is."""
    rate = state.throttle.max_docs_per_second if state.throttle else state.spec.limits.max_docs_per_second
    if state.status in {Status.PAUSING, Status.PAUSED}:
        verb, reason = Verb.PAUSE, state.pause.reason if state.pause else ""
    elif state.status is Status.RUNNING:
        verb, reason = Verb.RUN, ""
    elif state.status in STOPPING:
        # Whatever else is asked for, a retiring job is told nothing more.
        return state.directive.model_copy(update={"verb": Verb.RETIRE, "reason": state.ending})
    else:
        return state.directive
    return Directive(
        verb=verb, epoch=state.directive.epoch, max_docs_per_second=rate, poison_max=state.poison_max, reason=reason
    )


def due(state: JobState, in_flight: Container[int]) -> Iterator[int]:
    """Yield the partitions that may have a slice, unfinished ones before new ones."""
    yield from (number for number in sorted(state.tally.open) if number not in in_flight)
    partitions = state.plan.partitions if state.plan else 0
    while state.next_partition < partitions:
        number = state.next_partition
        state.next_partition += 1
        state.tally.begin(number)
        yield number


def all_done(state: JobState) -> bool:
    """Whether every partition of the plan is done."""
    return state.plan is not None and state.tally.done >= state.plan.partitions


# --- reports ------------------------------------------------------------------------------------


def fold(state: JobState, report: SliceReport, now: datetime) -> None:
    """The report is part of the state; too many poison documents pause the job."""
    state.slices += 1
    state.active_s += report.active_s
    state.waited_s = add_waits(state.waited_s, report.waited_s)
    state.tally.record(report.snapshot)
    if report.end is not SliceEnd.WAITING:
        state.rested_s.pop(report.snapshot.partition, None)
    if report.note:
        state.warn(report.note)
    if state.status is not Status.RUNNING:
        return
    state.rate.observe(now, state.tally.totals.scanned)
    state.waiting_for = _held_back_by(report)
    if report.end is SliceEnd.POISON:
        _pause(state, _poison_note(state, now))


def _held_back_by(report: SliceReport) -> str:
    waited = sum(report.waited_s.values())
    if report.end is not SliceEnd.WAITING and waited <= MOSTLY * (waited + report.active_s):
        return ""
    return max(report.waited_s, key=lambda reason: report.waited_s[reason], default="")


def _poison_note(state: JobState, now: datetime) -> PauseNote:
    seen, most = state.tally.totals.quarantined, state.poison_max or 0
    setting = "on_poison.stop_after" if state.spec.on_poison.quarantine else "on_poison.quarantine: false"
    # The slices count together in the ledger; our own view may lag behind by what others found.
    return PauseNote(reason=f"quarantined {max(seen, most + 1)} > {most} ({setting})", at=now, by_poison=True)


def poison_remedy() -> str:
    """Return what to do about a pause by poison documents."""
    return RULES[ErrorClass.POISON].remedy


def rest_seconds(report: SliceReport) -> float:
    """Return how long to leave the report's partition alone while the job runs."""
    if report.end is SliceEnd.WAITING:
        return min(max(report.resume_after_s, REST_SECONDS_MIN), REST_SECONDS_MAX)
    return HELD_SECONDS if report.end in {SliceEnd.PAUSED, SliceEnd.RETIRING} else 0.0


def rested(state: JobState, report: SliceReport, seconds: float) -> None:
    """A throttled partition's next slice has earned the time it was left alone, however often it was."""
    if report.end is SliceEnd.WAITING:
        partition = report.snapshot.partition
        state.rested_s[partition] = state.rested_s.get(partition, 0.0) + seconds


def drained(state: JobState, proof: DrainProof) -> None:
    """The pause is proven, unless the job was told something else in the meantime."""
    if state.status is Status.PAUSING:
        state.proof = proof
        state.status = advance(state.status, Event.DRAINED)


# --- time and ends --------------------------------------------------------------------------------


def next_moment(state: JobState) -> datetime | None:
    """Return when :func:`tick` will next have something to do."""
    if state.status in _TOO_LATE:
        return None
    moments = [m for m in (state.deadline_at, state.throttle.until if state.throttle else None) if m]
    return min(moments, default=None)


def tick(state: JobState, now: datetime) -> None:
    """A throttle whose time is up is lifted; a deadline that has passed ends the job."""
    if state.throttle and state.throttle.until and state.throttle.until <= now:
        state.throttle = None
    if state.deadline_at and state.deadline_at <= now:
        limit = state.deadline_at - (state.started_at or state.deadline_at)
        stop(state, Event.EXPIRE, f"deadline reached: running for {format_duration(_whole(limit))}")


def _whole(span: timedelta) -> timedelta:
    return timedelta(seconds=round(span.total_seconds()))


def stop(state: JobState, event: Event, why: str) -> bool:
    """Return whether the job is now ending for this reason; it is not when it is ending already."""
    if not can(state.status, event):
        return False
    state.status = advance(state.status, event)
    state.ending = why
    state.waiting_for = ""
    return True

"""What a job tells people: progress, explanation, and the Markdown that the Web UI shows."""

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta

from lull.domain.duration import format_duration
from lull.domain.ledger import eta_seconds, fraction_done
from lull.domain.lifecycle import ENDED, STOPPING, Status
from lull.domain.slice import Counts
from lull.domain.state import JobState, Progress
from lull.workflows import control

BAR_CELLS = 30
RUNNING_SHOWN_MAX = 16
"""Rows of the partitions' table; the Web UI keeps 20,000 bytes of details."""
WAITS_SHOWN_MAX = 5
LABEL_CHARACTERS_MAX = 200


def progress(state: JobState, in_flight: Collection[int], now: datetime) -> Progress:
    """Return what ``lull status`` shows."""
    counts, plan = state.tally.totals, state.plan
    documents = plan.documents if plan else 0
    partitions = plan.partitions if plan else 0
    rate = state.rate.docs_per_second if state.status is Status.RUNNING else None
    done = state.status is Status.COMPLETED
    return Progress(
        job=state.spec.job,
        kind=state.spec.kind,
        cluster=state.spec.source.cluster,
        namespace=state.spec.source.namespace,
        status=state.status,
        reason=reason(state),
        counts=state.outcome.counts if state.outcome else counts,
        documents=documents,
        fraction=1.0 if done else fraction_done(counts.scanned, documents, state.tally.done, partitions),
        docs_per_second=rate,
        eta_s=eta_seconds(counts.scanned, documents, rate),
        partitions=partitions,
        partitions_done=state.tally.done,
        running={n: s.counts for n, s in sorted(state.tally.open.items()) if n in in_flight},
        plan=plan,
        pause=state.pause,
        throttle=state.throttle,
        proof=state.proof,
        deadline_at=state.deadline_at,
        started_at=state.started_at,
        active_s=state.active_s,
        waited_s=state.waited_s,
        warnings=tuple(state.warnings),
        next_steps=next_steps(state),
        slices=state.slices,
        runs=state.runs,
        outcome=state.outcome,
        as_of=now,
        spec_digest=state.spec.digest,
    )


def reason(state: JobState) -> str:
    """Return why the job is in its status, or what it waits for; empty when there is nothing to say."""
    if state.status is Status.RUNNING and state.waiting_for:
        return f"waiting: {state.waiting_for}"
    return settled_reason(state)


def settled_reason(state: JobState) -> str:
    """Return the reason without measured numbers, which would change with every report."""
    if state.status in STOPPING | ENDED:
        return state.ending
    if state.status in {Status.PLANNING, Status.PAUSING, Status.PAUSED} and state.pause:
        return state.pause.reason + (f" ({state.pause.who})" if state.pause.who else "")
    if state.status is Status.RUNNING and state.throttle:
        return _throttled(state)
    return ""


def label(state: JobState) -> str:
    """Return the reason as a search attribute's value."""
    return settled_reason(state)[:LABEL_CHARACTERS_MAX]


def explain(state: JobState, in_flight: Collection[int], behind_since: datetime | None, now: datetime) -> list[str]:
    """Return why the job is not running faster, the most telling sentence first."""
    return [
        *_about_status(state),
        *_about_ledger(behind_since, now),
        *_about_pace(state),
        *_about_waits(state),
        *_about_window(state, in_flight),
        *_about_deadline(state, now),
        *(f"planned: {note}" for note in (state.plan.notes if state.plan else ())),
        *(f"warning: {text}" for text in state.warnings),
    ]


def _about_status(state: JobState) -> Iterator[str]:
    why = reason(state)
    yield f"the job is {state.status}" + (f": {why}" if why else "")
    if state.pause:
        yield f"paused at {_clock(state.pause.at)}{_by(state.pause.who)}; resume it to go on"
        if state.pause.by_poison:
            yield f"to do: {control.poison_remedy()}"


def _about_ledger(behind_since: datetime | None, now: datetime) -> Iterator[str]:
    if behind_since:
        waiting = _span((now - behind_since).total_seconds())
        yield (
            f"the ledger has not confirmed the newest directive for {waiting}; "
            "if this lasts, MongoDB or every worker is away: look at the workflow's pending activities"
        )


def _about_pace(state: JobState) -> Iterator[str]:
    limit = state.spec.limits.max_docs_per_second
    if state.throttle:
        yield _throttled(state) + "; throttle off lifts it"
    elif limit is not None:
        yield f"the spec limits it to {_number(limit)} docs/s (limits.max_docs_per_second); throttle can override it"


def _about_waits(state: JobState) -> Iterator[str]:
    total = state.active_s + sum(state.waited_s.values())
    for why, seconds in list(state.waited_s.items())[:WAITS_SHOWN_MAX]:
        if seconds > 0:
            yield f"slices waited {_span(seconds)} of {_span(total)} ({seconds / total:.0%}): {why}"


def _about_window(state: JobState, in_flight: Collection[int]) -> Iterator[str]:
    if state.status is not Status.RUNNING or state.plan is None:
        return
    parallel, left = state.spec.limits.parallel, state.plan.partitions - state.tally.done
    yield f"{len(in_flight)} of {parallel} slices are in flight (limits.parallel)"
    if left < parallel:
        yield f"{left} of {state.plan.partitions} partitions are left, fewer than the {parallel} that could run at a time"


def _about_deadline(state: JobState, now: datetime) -> Iterator[str]:
    if state.deadline_at and state.status not in ENDED:
        left = (state.deadline_at - now).total_seconds()
        yield f"the deadline is {_clock(state.deadline_at)}, in {_span(max(left, 0.0))}; extend_deadline moves it"


def next_steps(state: JobState) -> tuple[str, ...]:
    """Return what can be typed now."""
    job = state.spec.job
    if state.status in {Status.PLANNING, Status.RUNNING}:
        steps = (f'lull pause {job} --reason "..."', f"lull throttle {job} --max-docs-per-second 500 --for 2h")
        return (*steps, f"lull cancel {job}")
    if state.status in {Status.PAUSING, Status.PAUSED}:
        return (f"lull resume {job}", f"lull cancel {job}")
    if state.status in {Status.CANCELLED, Status.EXPIRED, Status.FAILED}:
        return ("lull start SPEC --again",)
    if state.status is Status.REFUSED:
        return ("lull plan SPEC", "lull start SPEC")
    return (f"lull result {job}",)


def conclusion(state: JobState) -> str:
    """Return what was and was not done, for the outcome."""
    counts, plan = state.tally.totals, state.plan
    if plan is None:
        return f"{state.ending}; nothing was changed" if state.ending else ""
    done = f"{state.tally.done:,} of {plan.partitions:,} partitions"
    if state.status is Status.COMPLETING:
        return f"{done} done; {_counts(counts)}"
    return (
        f"{state.ending}; done: {done}, {counts.scanned:,} of about {plan.documents:,} documents passed "
        f"({_counts(counts)}); not done: the rest; {state.spec.undo}"
    )


# --- Markdown ---------------------------------------------------------------------------------


def markdown(state: JobState, in_flight: Collection[int], behind_since: datetime | None, now: datetime) -> str:
    """Return the whole story for the Web UI, at most some KB."""
    seen = progress(state, in_flight, now)
    parts = [
        _heading(seen),
        _bar(seen),
        _facts(seen),
        _throttle_and_deadline(seen),
        *(f"⚠ {line}" for line in _about_ledger(behind_since, now)),
        _proof(seen),
        _partitions(seen),
        _waits(state),
        _listed("Plan", seen.plan.notes if seen.plan else ()),
        _listed("Warnings", seen.warnings),
        _listed("What can be done now", [f"`{step}`" for step in seen.next_steps]),
        f"*as of {_clock(now)}; {seen.slices} slices in {seen.runs} runs; for now: `lull watch {seen.job}`*",
    ]
    return "\n\n".join(part for part in parts if part)


def _heading(seen: Progress) -> str:
    why = f": {_escaped(seen.reason)}" if seen.reason else ""
    to_do = f"\n\nTo do: {control.poison_remedy()}." if seen.pause and seen.pause.by_poison else ""
    return f"### {seen.status}{why}{to_do}"


def _bar(seen: Progress) -> str:
    filled = int(seen.fraction * BAR_CELLS)
    bar = "█" * filled + "░" * (BAR_CELLS - filled)
    eta = f", about {_span(seen.eta_s)} to go" if seen.eta_s is not None else ""
    rate = f" at {_number(seen.docs_per_second)} docs/s" if seen.docs_per_second is not None else ""
    return f"`{bar}` **{seen.fraction:.1%}**{rate}{eta}"


def _facts(seen: Progress) -> str:
    guarantee = _escaped(str(seen.plan.guarantee)) if seen.plan else "known when planned"
    rows = [
        ("job", f"{seen.kind} `{seen.namespace}` on {seen.cluster}"),
        ("documents", f"{seen.counts.scanned:,} of about {seen.documents:,} passed"),
        ("counts", _counts(seen.counts)),
        ("partitions", f"{seen.partitions_done:,} of {seen.partitions:,} done"),
        ("worked", f"{_span(seen.active_s)}, waited {_span(sum(seen.waited_s.values()))}"),
        ("guarantee", guarantee),
    ]
    return "| | |\n|---|---|\n" + "\n".join(f"| {name} | {value} |" for name, value in rows)


def _counts(counts: Counts) -> str:
    return (
        f"{counts.changed:,} changed · {counts.unchanged:,} unchanged · {counts.skipped:,} skipped · "
        f"{counts.quarantined:,} quarantined · {counts.pages:,} pages"
    )


def _throttle_and_deadline(seen: Progress) -> str:
    lines = []
    if seen.throttle:
        lines.append(_escaped(_throttle_line(seen.throttle.max_docs_per_second, seen.throttle.until)))
    if seen.deadline_at:
        lines.append(f"deadline {_clock(seen.deadline_at)}")
    return " · ".join(lines)


def _proof(seen: Progress) -> str:
    if seen.proof is None:
        return ""
    begun = ", ".join(f"partition {n}: {pages:,} pages" for n, pages in sorted(seen.proof.positions.items())[:8])
    return (
        f"**Nothing of this job can commit**: at {_clock(seen.proof.at)} the fences of {seen.proof.raised:,} "
        f"unfinished partitions were raised at majority; {seen.proof.done:,} are done. {begun}"
    ).rstrip()


def _partitions(seen: Progress) -> str:
    rows = list(seen.running.items())
    if not rows:
        return ""
    lines = [f"| {n} | {c.scanned:,} | {c.changed:,} | {c.pages:,} |" for n, c in rows[:RUNNING_SHOWN_MAX]]
    more = [f"| … {len(rows) - RUNNING_SHOWN_MAX} more | | | |"] if len(rows) > RUNNING_SHOWN_MAX else []
    return "\n".join(["| partition | passed | changed | pages |", "|--:|--:|--:|--:|", *lines, *more])


def _waits(state: JobState) -> str:
    return _listed("Waits", [_escaped(line) for line in _about_waits(state)])


def _listed(title: str, lines: Collection[str]) -> str:
    return f"**{title}**\n\n" + "\n".join(f"- {line}" for line in lines) if lines else ""


# --- words -------------------------------------------------------------------------------------


def _throttled(state: JobState) -> str:
    note = state.throttle
    if note is None:
        return ""
    why = f": {note.why}" if note.why else ""
    return _throttle_line(note.max_docs_per_second, note.until) + _by(note.who) + why


def _throttle_line(docs_per_second: float | None, until: datetime | None) -> str:
    limit = "unlimited" if docs_per_second is None else f"{_number(docs_per_second)} docs/s"
    return f"throttled to {limit}" + (f" until {_clock(until)}" if until else "")


def _by(who: str) -> str:
    return f" by {who}" if who else ""


def _clock(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _span(seconds: float) -> str:
    return format_duration(timedelta(seconds=round(seconds, 1 if seconds < 10 else 0)))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:g}"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")

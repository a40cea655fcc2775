"""A governor in words, for the Web UI: one screen of Markdown."""

from collections.abc import Collection, Iterator
from datetime import datetime

from lull.domain.governor.readings import figure
from lull.domain.governor.status import GovernorState, GovernorStatus, Note, Orders, SignalRow


def markdown(state: GovernorState, now: datetime) -> str:
    """Return the whole story."""
    parts = [
        _heading(state),
        *(_screen(state.last) if state.last else ["Nothing was seen yet: a governor process of a worker must run."]),
        _listed("Orders", list(orders_in_words(state.orders))),
        _listed("Warnings", state.warnings),
        _listed("What can be done now", [f"`{step}`" for step in _next_steps(state)]),
        _foot(state, now),
    ]
    return "\n\n".join(part for part in parts if part)


def _foot(state: GovernorState, now: datetime) -> str:
    seen_at = state.last.as_of if state.last else now
    return f"*as of {_clock(seen_at)}, half a minute old at most; for now: `lull governor status {state.cluster}`*"


def _heading(state: GovernorState) -> str:
    seen = state.last
    if seen is None:
        return f"### governor of {state.cluster}: starting"
    why = f": {escaped(seen.reason)}" if seen.reason else ""
    return f"### {seen.zone}, gate {'open' if seen.is_open else 'shut'}, {seen.mode}{why}"


def _screen(seen: GovernorStatus) -> Iterator[str]:
    if seen.contest:
        yield f"⚠ {escaped(seen.contest)}"
    if seen.is_starved:
        yield "⚠ jobs have waited for more than a minute: the foreground stays slow without them"
    yield _facts(seen)
    yield _signals(seen.signals)
    yield _jobs(seen)
    yield _listed("Last decisions", [f"{_clock(m.at)} {m.zone} {escaped(m.reason)}".rstrip() for m in seen.decisions])


def _facts(seen: GovernorStatus) -> str:
    ours = "not known yet"
    if seen.own_ratio is not None:
        ours = f"{seen.own_ratio:.2f}x [{seen.own_low:.2f} to {seen.own_high:.2f}], at least {seen.own_ms:.1f} ms"
    foreground = "not known yet" if seen.foreground_ops is None else f"about {seen.foreground_ops:,.0f} operations/s"
    rows = [
        ("budget", f"{seen.duty:.2f} work-seconds per second, pages of {seen.hold_ms:.1f} ms"),
        ("foreground", foreground),
        ("jobs", f"about {seen.own_ops:,.0f} operations/s from {seen.workers} workers"),
        ("our share in its tail", ours),
        ("normal", ", ".join(f"{name} {ms:.1f} ms" for name, ms in seen.base_ms.items()) or "not known yet"),
    ]
    return "| | |\n|---|---|\n" + "\n".join(f"| {name} | {value} |" for name, value in rows)


def _signals(rows: Collection[SignalRow]) -> str:
    lines = [
        f"| {row.name} | {_value(row.observed, row)} | {row.op} {_value(row.limit, row)} | {row.effect} | {escaped(row.note)} |"
        for row in rows
    ]
    return "\n".join(["| signal | seen | limit | effect | |", "|---|--:|--:|---|---|", *lines])


def _value(value: float | None, row: SignalRow) -> str:
    return "" if value is None else figure(value, row.unit)


def _jobs(seen: GovernorStatus) -> str:
    if not seen.jobs:
        return ""
    lines = [
        f"| {row.job} | {row.slices} | {row.weight:g}{' critical' if row.critical else ''} | {row.share:.2f} | {row.used:.2f} |"
        for row in seen.jobs
    ]
    return "\n".join(["| job | slices | weight | share | used |", "|---|--:|--:|--:|--:|", *lines])


def orders_in_words(orders: Orders) -> Iterator[str]:
    """Yield one sentence for each order that holds."""
    if orders.shut:
        yield f"shut{_who(orders.shut_note)}"
    if orders.mode is not None:
        yield f"{orders.mode}{_who(orders.mode_note)}"
    if orders.limits is not None:
        wanted = orders.limits.model_dump(mode="json", exclude_none=True)
        yield f"limits {', '.join(f'{name} {value}' for name, value in wanted.items())}{_who(orders.limits_note)}"


def _who(note: Note | None) -> str:
    if note is None:
        return ""
    by = f" by {note.who}" if note.who else ""
    why = f": {note.why}" if note.why else ""
    return escaped(f"{by} at {_clock(note.at)}" + (f" until {_clock(note.until)}" if note.until else "") + why)


def _next_steps(state: GovernorState) -> Iterator[str]:
    cluster = state.cluster
    if state.orders.shut:
        yield f"lull governor open {cluster}"
    else:
        yield f'lull governor shut {cluster} --why "..." --for 30m'
    is_observing = state.last is not None and state.last.mode == "observe"
    yield f"lull governor {'enforce' if is_observing else 'observe'} {cluster} --for 30m"
    yield f"lull governor limits {cluster} --read-p99 12ms --for 30m"


def _listed(title: str, lines: Collection[str]) -> str:
    return f"**{title}**\n\n" + "\n".join(f"- {line}" for line in lines) if lines else ""


def _clock(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def escaped(text: str) -> str:
    """Return *text* as it stands in a table of Markdown."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")

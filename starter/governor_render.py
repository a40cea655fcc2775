"""What people see of a governor. Nothing here asks anything; values in, renderables out."""

import operator
from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lull.domain.governor.budget import Mode
from lull.domain.governor.law import Zone
from lull.domain.governor.objective import Objective, format_milliseconds
from lull.domain.governor.readings import Effect, figure
from lull.domain.governor.status import GovernorStatus, JobRow, Moment, Note, Orders, SignalRow
from lull.starter import render
from lull.starter.errors import printable
from lull.starter.views import GovernorLimits, GovernorSeen

_COLOURS = {
    Zone.IDLE: "cyan",
    Zone.QUIET: "green",
    Zone.GROW: "green",
    Zone.KEEP: "green",
    Zone.SHED: "yellow",
    Zone.STOP: "bold red",
    Zone.FLOOR: "red",
    Zone.BLANK: "cyan",
}
_OPERATORS = {">=": operator.ge, "<=": operator.le}


def status(seen: GovernorSeen, *, with_next: bool = True) -> RenderableType:
    """Return the whole screen."""
    parts: list[RenderableType] = [_heading(seen), _facts(seen)]
    if seen.status:
        tables = (_signals(seen.status.signals), _jobs(seen.status.jobs), *_decisions(seen.status.decisions))
        parts += [part for table in tables for part in ("", table)]
    marked = (*_alarms(seen), *seen.remarks, *seen.warnings)
    parts += ["", *(Text(f"! {printable(text)}", style="yellow") for text in marked)] if marked else []
    if with_next:
        parts += ["", Text("next: " + "\n      ".join(_next_steps(seen)), style="dim")]
    return Group(*parts)


def line(seen: GovernorSeen) -> list[str]:
    """Return the parts of one line in a log."""
    if seen.status is None:
        return ["starting", *seen.remarks]
    budget = f"{seen.status.duty:.2f} work-seconds per second over {_many(len(seen.status.jobs), 'job')}"
    return [seen.status.zone, _gate(seen.status), seen.status.mode, seen.status.reason, budget, *seen.remarks]


def news(seen: GovernorSeen) -> tuple[object, ...]:
    """Return what must have changed before a log is worth another line."""
    known = seen.status
    about = (known.zone, known.is_open, known.mode) if known else ()
    return (about, seen.orders.epoch, len(seen.warnings), bool(seen.remarks))


def limits(found: GovernorLimits) -> RenderableType:
    """Return what the foreground may feel, and who said so."""
    table = render.pairs()
    table.add_row("holds", "not known yet" if found.objective is None else _objective(found.objective, "nothing given"))
    if found.inflation is not None:
        table.add_row("aims at", f"an inflation of {figure(found.inflation, 'x')} at most")
    ordered = "nothing" if found.ordered is None else _objective(found.ordered, "nothing") + _who(found.note)
    table.add_row("ordered", Text(printable(ordered)))
    return Group(Text(printable(found.cluster), style="bold"), table)


# --- facts ------------------------------------------------------------------------------------------


def _heading(seen: GovernorSeen) -> Text:
    text = Text(printable(seen.cluster), style="bold")
    if seen.status is None:
        return text.append("  starting", style="not bold cyan")
    text.append(f"  {seen.status.zone}", style=f"not bold {_COLOURS[seen.status.zone]}")
    text.append(f"  {_gate(seen.status)}  {_mode(seen.status)}", style="not bold")
    return text.append(f"  {printable(seen.status.reason)}" if seen.status.reason else "", style="not bold")


def _gate(seen: GovernorStatus) -> str:
    return f"gate {'open' if seen.is_open else 'shut'}"


def _mode(seen: GovernorStatus) -> str:
    return f"{seen.mode} (jobs do not obey)" if seen.mode is Mode.OBSERVE else str(seen.mode)


def _facts(seen: GovernorSeen) -> Table:
    table = render.pairs()
    for name, value in (*(_figures(seen.status) if seen.status else ()), *_orders(seen.orders)):
        table.add_row(name, Text(printable(value)))
    if seen.as_of is not None and seen.age_s is not None:
        table.add_row("seen", f"{render.clock(seen.as_of)}, {render.span(seen.age_s)} ago")
    if seen.link:
        table.add_row("web ui", Text(seen.link))
    return table


def _figures(seen: GovernorStatus) -> Iterator[tuple[str, str]]:
    yield "budget", f"{seen.duty:.2f} work-seconds per second, each page held for {figure(seen.hold_ms, 'ms')} at most"
    foreground = "not known yet" if seen.foreground_ops is None else f"about {seen.foreground_ops:,.0f} operations/s"
    yield "foreground", foreground
    yield "jobs", f"about {seen.own_ops:,.0f} operations/s from {_many(seen.workers, 'worker')}"
    yield "our share", f"{_share(seen)}; {figure(seen.inflation, 'x')} at most is aimed at"
    yield "normal", ", ".join(f"{name} {figure(ms, 'ms')}" for name, ms in seen.base_ms.items()) or "not known yet"
    yield "limits", _objective(seen.objective, "learned from what is normal")


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _share(seen: GovernorStatus) -> str:
    """Return how much longer the foreground's tail is for our pages, with its interval."""
    if seen.own_ratio is None:
        return "in the foreground's tail is not known yet"
    interval = "" if seen.own_low is None or seen.own_high is None else f" [{seen.own_low:.2f} to {seen.own_high:.2f}]"
    least = "" if seen.own_ms is None else f", at least {figure(seen.own_ms, 'ms')}"
    return f"the foreground's tail is {seen.own_ratio:.2f}x{interval} of what it is without us{least}"


def _objective(wanted: Objective, otherwise: str) -> str:
    latencies = {"read p99": wanted.read_p99, "write p99": wanted.write_p99}
    parts = [f"{name} {format_milliseconds(ms)}" for name, ms in latencies.items() if ms is not None]
    parts += [] if wanted.inflation is None else [f"inflation {wanted.inflation:g}x"]
    return ", ".join(parts) or otherwise


def _orders(orders: Orders) -> Iterator[tuple[str, str]]:
    """Yield one line for each order that holds."""
    if orders.shut:
        yield "order", f"shut{_who(orders.shut_note)}"
    if orders.mode is not None:
        yield "order", f"{orders.mode}{_who(orders.mode_note)}"
    if orders.limits is not None:
        yield "order", f"limits {_objective(orders.limits, 'none')}{_who(orders.limits_note)}"


def _who(note: Note | None) -> str:
    if note is None:
        return ""
    by = f" by {note.who}" if note.who else ""
    until = f"until {render.clock(note.until)}" if note.until else "until told otherwise"
    return f"{by} at {render.clock(note.at)}, {until}" + (f": {note.why}" if note.why else "")


def _alarms(seen: GovernorSeen) -> Iterator[str]:
    if seen.status and seen.status.is_starved:
        yield "jobs have waited for more than a minute: the foreground stays slow without them"


# --- tables -----------------------------------------------------------------------------------------


def _table(*columns: str, right: Sequence[str] = ()) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left", overflow="fold")
    return table


def _signals(rows: Sequence[SignalRow]) -> Table:
    table = _table("signal", "seen", "limit", "effect", "age", "note", right=("seen", "limit", "age"))
    for row in rows:
        seen = "-" if row.observed is None else figure(row.observed, row.unit)
        limit = "" if row.limit is None else f"{row.op} {figure(row.limit, row.unit)}"
        age = "never" if row.age_s is None else render.span(row.age_s)
        cells = (seen, limit, row.effect, age, printable(row.note))
        table.add_row(Text(printable(row.name)), *map(Text, cells), style=_style(row))
    return table


def _style(row: SignalRow) -> str:
    if row.observed is None:
        return "yellow" if row.note else "dim"
    meets = _OPERATORS.get(row.op, operator.ge)
    if row.limit is not None and row.effect != Effect.SHOW and meets(row.observed, row.limit):
        return "red"
    return ""


def _jobs(rows: Sequence[JobRow]) -> RenderableType:
    if not rows:
        return Text("no job runs", style="dim")
    table = _table("job", "slices", "weight", "share", "used", right=("slices", "weight", "share", "used"))
    for row in rows:
        weight = f"{row.weight:g}" + (" critical" if row.critical else "")
        table.add_row(Text(printable(row.job)), f"{row.slices}", weight, f"{row.share:.2f}", f"{row.used:.2f}")
    return table


def _decisions(moments: Sequence[Moment]) -> Iterator[RenderableType]:
    if moments:
        table = _table("decided", "zone", "reason")
        for one in moments:
            zone = Text(one.zone, style=_COLOURS[one.zone])
            table.add_row(render.clock(one.at), zone, Text(printable(one.reason)))
        yield table


def _next_steps(seen: GovernorSeen) -> Iterator[str]:
    cluster = printable(seen.cluster)
    is_shut = seen.orders.shut or bool(seen.status and seen.status.orders and seen.status.orders.shut)
    yield f"lull governor open {cluster}" if is_shut else f"lull governor shut {cluster} --for 30m --why TEXT"
    is_observing = seen.status is not None and seen.status.mode is Mode.OBSERVE
    yield f"lull governor {'enforce' if is_observing else 'observe'} {cluster} --for 30m"
    yield f"lull governor limits {cluster} --read-p99 12ms --for 30m"

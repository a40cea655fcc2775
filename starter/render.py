"""What people see: tables, bars and sentences. Nothing here asks anything; values in, renderables out."""

import json
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from lull.domain.duration import format_duration
from lull.domain.forecast import Bounds, Feel, Forecast, Probed
from lull.domain.lifecycle import ENDED, Status
from lull.domain.slice import Check, Counts, DrainProof, Outcome, Plan
from lull.domain.state import Answer, Progress
from lull.starter.views import JobStatus, Kind, Planned, Preview, Row, Slice, SliceState, Started

BAR_CELLS = 30
SLICES_SHOWN_MAX = 8
WAITS_SHOWN_MAX = 3
PIPE_WIDTH = 160
"""Columns where there is no terminal: a log's line may be long, and a cut cell is lost."""

_COLOURS = {
    Status.PLANNING: "cyan",
    Status.RUNNING: "green",
    Status.PAUSING: "yellow",
    Status.PAUSED: "yellow",
    Status.COMPLETING: "green",
    Status.CANCELLING: "magenta",
    Status.EXPIRING: "magenta",
    Status.FAILING: "red",
    Status.COMPLETED: "bold green",
    Status.CANCELLED: "magenta",
    Status.EXPIRED: "red",
    Status.FAILED: "bold red",
    Status.REFUSED: "bold red",
}


def console(*, to_stderr: bool = False) -> Console:
    """Return where people read."""
    stream = sys.stderr if to_stderr else sys.stdout
    return Console(
        stderr=to_stderr, width=None if stream.isatty() else PIPE_WIDTH, highlight=False, emoji=False, soft_wrap=False
    )


# --- words ------------------------------------------------------------------------------------------


def span(seconds: float) -> str:
    """Return a time span for people: two units at most, ``3h12m``."""
    if seconds < 10:
        return f"{max(seconds, 0.0):.1f}s"
    whole = timedelta(seconds=round(seconds))
    if whole >= timedelta(days=1):
        whole = timedelta(hours=round(whole.total_seconds() / 3600))
    elif whole >= timedelta(hours=1):
        whole = timedelta(minutes=round(whole.total_seconds() / 60))
    return format_duration(whole)


def size(count: float) -> str:
    """Return bytes for people: ``1.4 GB``."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(count) < 1000 or unit == "TB":
            return f"{count:,.0f} {unit}" if unit == "B" or abs(count) >= 100 else f"{count:,.1f} {unit}"
        count /= 1000
    raise AssertionError("the loop returns")


def number(value: float) -> str:
    """Return a rate for people."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def clock(moment: datetime | None) -> str:
    """Return a moment in the reader's own time zone."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S") if moment else ""


def coloured(status: str) -> Text:
    """Return a status as it is shown everywhere."""
    known = {str(s): colour for s, colour in _COLOURS.items()}
    return Text(status, style=known.get(status, "red"))


def counts_line(counts: Counts) -> str:
    """Return counts in one line; what is zero and rare is left out."""
    parts = [f"{counts.changed:,} changed", f"{counts.unchanged:,} unchanged"]
    parts += [f"{counts.skipped:,} skipped"] if counts.skipped else []
    parts += [f"{counts.quarantined:,} quarantined"] if counts.quarantined else []
    return " · ".join(parts)


# --- a job --------------------------------------------------------------------------------------------


def status(seen: JobStatus, *, rate: float | None = None, with_next: bool = True) -> RenderableType:
    """Return everything about a job; *rate* is a measured one, in place of the workflow's."""
    progress = seen.progress
    parts: list[RenderableType] = [_heading(progress)]
    parts += [bar(progress, rate)] if seen.is_live or progress.outcome else []
    parts.append(_facts(seen))
    parts += [_slices(seen.slices)] if seen.slices else []
    parts += [Text(f"! {text}", style="yellow") for text in (*seen.remarks, *progress.warnings)]
    if with_next and progress.next_steps:
        parts.append(Text("next: " + "\n      ".join(progress.next_steps), style="dim"))
    return Group(*parts)


def _heading(progress: Progress) -> Text:
    text = Text.assemble((progress.job, "bold"), "  ", coloured(progress.status))
    return text.append(f"  {progress.reason}" if progress.reason else "")


def bar(progress: Progress, rate: float | None = None) -> Text:
    """Return the progress bar with its figures: share, documents, docs/s, time to go."""
    filled = int(progress.fraction * BAR_CELLS)
    text = Text.assemble(
        ("━" * filled, _COLOURS[progress.status]),
        ("━" * (BAR_CELLS - filled), "bright_black"),
        (f" {progress.fraction:6.1%}", "bold"),
        f"  {progress.counts.scanned:,}/{progress.documents:,} docs",
    )
    measured = rate if rate is not None else progress.docs_per_second
    if progress.status is Status.RUNNING and measured is not None:
        text.append(f"  {number(measured)} docs/s")
    left = eta(progress, rate)
    return text.append(f"  about {span(left)} to go") if left is not None else text


def bar_words(progress: Progress, rate: float | None = None) -> str:
    """Return the bar's figures alone, for a log."""
    return bar(progress, rate).plain.lstrip("━").strip()


def eta(progress: Progress, rate: float | None = None) -> float | None:
    """Return the seconds to go at the measured rate; None when it cannot be told."""
    if progress.status is not Status.RUNNING:
        return None
    if rate is None:
        return progress.eta_s
    return max(progress.documents - progress.counts.scanned, 0) / rate if rate > 0 else None


def _facts(seen: JobStatus) -> Table:
    progress = seen.progress
    table = pairs()
    table.add_row("job", f"{progress.kind} {escape(progress.namespace)} on {escape(progress.cluster)}")
    if seen.is_live or progress.outcome:
        table.add_row("documents", counts_line(progress.counts))
        table.add_row("partitions", f"{progress.partitions_done:,} of {progress.partitions:,} done")
    if progress.plan:
        table.add_row("guarantee", escape(str(progress.plan.guarantee)))
    for name, value in _times(progress):
        table.add_row(name, escape(value))
    if progress.proof:
        table.add_row("proof", escape(proof(progress.proof)))
    if seen.link:
        table.add_row("web ui", escape(seen.link))
    return table


def _times(progress: Progress) -> list[tuple[str, str]]:
    rows = []
    if progress.throttle:
        limit = progress.throttle.max_docs_per_second
        until = f" until {clock(progress.throttle.until)}" if progress.throttle.until else ", until it is lifted"
        why = " ".join(part for part in (progress.throttle.who, progress.throttle.why) if part)
        pace = f"{number(limit)} docs/s" if limit else "none"
        rows.append(("throttle", f"{pace}{until}" + (f" ({why})" if why else "")))
    if progress.started_at:
        rows.append(("started", clock(progress.started_at)))
    if progress.deadline_at and progress.status not in ENDED:
        left = (progress.deadline_at - datetime.now(UTC)).total_seconds()
        rows.append(("deadline", f"{clock(progress.deadline_at)}, in {span(max(left, 0))}"))
    worked = progress.active_s + sum(progress.waited_s.values())
    if worked:
        rows.append(("worked", f"{span(progress.active_s)}" + _waits(progress, worked)))
    return rows


def _waits(progress: Progress, worked: float) -> str:
    waits = sorted(progress.waited_s.items(), key=lambda pair: -pair[1])[:WAITS_SHOWN_MAX]
    shown = [f"waited {span(s)} ({s / worked:.0%}): {why}" for why, s in waits if s >= 0.01 * worked]
    return "".join(f"; {text}" for text in shown)


def proof(found: DrainProof) -> str:
    """Return why nothing of a paused job can commit."""
    return (
        f"at {clock(found.at)} the fences of {found.raised:,} unfinished partitions were raised at majority: "
        f"nothing of this job can commit ({found.done:,} partitions are done)"
    )


def _slices(slices: Sequence[Slice]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("slice", "state", "passed", "changed", "pages", "waits for", "worker"):
        table.add_column(name, justify="right" if name in {"passed", "changed", "pages"} else "left", overflow="fold")
    for one in slices[:SLICES_SHOWN_MAX]:
        counts = one.counts
        figures = [f"{counts.scanned:,}", f"{counts.changed:,}", f"{counts.pages:,}"] if counts else ["", "", ""]
        state = one.state + (f" ({one.attempt})" if one.attempt > 1 else "")
        who = "?" if one.partition is None else str(one.partition)
        table.add_row(
            who, Text(state, style=_SLICE_COLOURS[one.state]), *figures, escape(one.waiting_for), escape(one.worker)
        )
    if len(slices) > SLICES_SHOWN_MAX:
        table.add_row(f"… {len(slices) - SLICES_SHOWN_MAX} more")
    return table


_SLICE_COLOURS = {
    SliceState.RUNNING: "green",
    SliceState.QUEUED: "yellow",
    SliceState.RETRYING: "red",
    SliceState.HELD: "yellow",
}


def started(answer: Started) -> RenderableType:
    """Return what became of a request to start a job."""
    text = Text.assemble((answer.job, "bold"), f"  {answer.request}")
    if answer.progress:
        text.append("  ").append_text(coloured(answer.progress.status))
    if answer.link:
        text.append(f"\n{answer.link}", style="blue underline")
    if answer.note:
        text.append(f"\n! {answer.note}", style="yellow")
    verb = "result" if answer.progress and answer.progress.outcome else "watch"
    return text.append(f"\nnext: lull {verb} {answer.job}", style="dim")


def outcome(answer: Outcome) -> RenderableType:
    """Return how a job ended."""
    heading = Text.assemble((answer.job, "bold"), "  ", coloured(answer.status))
    heading.append(f"  {answer.message}" if answer.message else "")
    table = pairs()
    table.add_row("documents", counts_line(answer.counts))
    table.add_row("partitions", f"{answer.partitions_done:,} of {answer.partitions:,} done")
    if answer.still_matching:
        table.add_row("still match", f"{answer.still_matching:,} documents match the filter now")
    if answer.guarantee:
        table.add_row("guarantee", escape(str(answer.guarantee)))
    if answer.started_at and answer.ended_at:
        table.add_row("took", span((answer.ended_at - answer.started_at).total_seconds()))
    return Group(heading, table)


def told(answer: Answer) -> RenderableType:
    """Return what came of an order that waited for its effect."""
    text = Text(answer.message)
    return text.append(f"\n{proof(answer.proof)}", style="dim") if answer.proof else text


# --- lists ----------------------------------------------------------------------------------------------


def rows(found: Sequence[Row]) -> RenderableType:
    """Return jobs as a table."""
    if not found:
        return Text("no jobs; lull start SPEC starts one", style="dim")
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("job", "status", "done", "kind", "namespace", "cluster", "started", "reason"):
        table.add_column(name, justify="right" if name == "done" else "left", overflow="fold")
    for row in found:
        done = "" if row.fraction is None else f"{row.fraction:.0%}"
        cells = (row.kind, row.namespace, row.cluster, clock(row.started_at), row.reason)
        table.add_row(Text(row.job, style="bold"), coloured(row.status), done, *map(escape, cells))
    return table


def checks(found: Sequence[Check]) -> RenderableType:
    """Return examinations, what is wrong with its remedy."""
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    for _ in range(3):
        table.add_column(overflow="fold")
    for check in found:
        mark = Text("ok", style="green") if check.ok else Text("wrong", style="bold red")
        remedy = f"\n→ {check.remedy}" if check.remedy and not check.ok else ""
        table.add_row(mark, check.name, Text(check.seen + remedy))
    return table


# --- plans ------------------------------------------------------------------------------------------------


def planned(answer: Planned) -> RenderableType:
    """Return what a spec would do."""
    where = f"  would {answer.plan.effect}: {answer.namespace} on {answer.cluster}"
    parts: list[RenderableType] = [Text.assemble((answer.job, "bold"), where), _plan_table(answer.plan)]
    parts += [Text(f"! {note}", style="yellow") for note in answer.plan.notes]
    parts += [_forecast(answer.forecast)] if answer.forecast else []
    parts += [Text(answer.forecast_note, style="dim")] if answer.forecast_note else []
    parts += [_preview(preview) for preview in answer.previews]
    parts += [Text(answer.preview_note, style="dim")] if answer.preview_note else []
    return Group(*parts, Text(_nothing_written(answer.forecast), style="dim"))


def _nothing_written(forecast: Forecast | None) -> str:
    is_probed = forecast is not None and forecast.probe is not None and forecast.probe.pages
    return "nothing was written: every page of the probe was taken back" if is_probed else "nothing was written"


def _forecast(found: Forecast) -> RenderableType:
    """Return how long it would take, each figure with what it rests on, and what is not known."""
    table = pairs()
    table.add_row("started now", escape(_took(found)))
    waits = [f"{between(wait.seconds, _long_span)} {wait.reason}" for wait in found.waits]
    if waits and found.documents:
        table.add_row("of it waiting", escape("; ".join(waits)))
    if found.work_docs_per_second:
        table.add_row("pages alone", escape(f"{_rate(found.work_docs_per_second)} ({found.work_basis})"))
    if found.pace:
        table.add_row("pace", escape(f"{between(found.pace, lambda part: f'{part:.0%}')} ({found.pace_basis})"))
    for feel in found.feels:
        table.add_row(f"{feel.op}s feel", escape(_felt(feel)))
    if not found.feels:
        table.add_row("they feel", escape(found.feel_basis))
    if found.probe:
        table.add_row("probe", escape(_probed(found.probe)))
    return Group(table, *(Text(f"? not known: {each}", style="yellow") for each in found.unknown))


def _took(found: Forecast) -> str:
    if not found.documents:
        return "nothing to do"
    at = datetime.now(UTC)
    ends = between(found.seconds, lambda seconds: clock(at + timedelta(seconds=min(seconds, _ETA_SECONDS_MAX))))
    pace = f", {_rate(found.docs_per_second)}" if found.docs_per_second else ""
    return f"{between(found.seconds, _long_span)}{pace}; ends {ends}; {found.confidence}"


_ETA_SECONDS_MAX = 100 * 365 * 86_400.0
"""No calendar of Python's goes on for ever."""


def _long_span(seconds: float) -> str:
    return span(min(seconds, _ETA_SECONDS_MAX))


def _rate(found: Bounds) -> str:
    return f"{between(found, number)} docs/s"


def between(found: Bounds, words: Callable[[float], str]) -> str:
    """Return a range for people; one figure where its two ends read the same."""
    low, high = words(found.low), words(found.high)
    return low if low == high else f"{low} to {high}"


def _felt(feel: Feel) -> str:
    return (
        f"p99 {feel.without_ms:.1f} ms without it → {between(feel.beside_ms, lambda ms: f'{ms:.1f}')} ms ({feel.basis})"
    )


def _probed(probe: Probed) -> str:
    parts = [f"{len(probe.pages)} pages, {probe.documents:,} documents, {probe.matching:,} of them match"]
    if probe.pages:
        holds = sorted(page.hold_ms for page in probe.pages)
        parts.append(f"held for {between(Bounds(low=holds[0], high=holds[-1]), lambda ms: f'{ms:.1f}')} ms")
    parts += [f"at least {probe.poison:,} would go to quarantine"] if probe.poison else []
    parts += [f"{probe.conflicts:,} met other writers"] if probe.conflicts else []
    parts += [f"waited {span(probe.waited_s)} for the governor"] if probe.waited_s >= 0.1 else []
    return "; ".join([*parts, *([probe.note] if probe.note else [])])


def _plan_table(plan: Plan) -> Table:
    table = pairs()
    matching = "" if plan.matching is None else f", about {plan.matching:,} of them match"
    table.add_row("guarantee", escape(str(plan.guarantee)))
    table.add_row("documents", f"about {plan.documents:,} to pass{matching}; {size(plan.bytes)}")
    table.add_row("walk", f"{plan.walk} over index {escape(plan.index)}, {plan.partitions:,} partitions")
    if plan.seconds is not None:
        table.add_row("time", f"about {span(plan.seconds)} at full speed")
    if plan.oplog_bytes is not None:
        table.add_row("oplog", f"about {size(plan.oplog_bytes)}")
    table.add_row("undo", escape(plan.undo))
    return table


def pairs() -> Table:
    """Return a table of names and values without lines."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _preview(preview: Preview) -> RenderableType:
    """Return what becomes of one document: the fields that change, one line each."""
    name = _value(preview.before.get("_id"))
    text = Text.assemble(("sample ", "dim"), name, (f"  {preview.note}" if preview.note else "", "yellow"))
    if preview.after is None:
        return text
    changes = changed_fields(preview.before, preview.after)
    for path, before, after in changes[:FIELDS_SHOWN_MAX]:
        text.append(f"\n  {path}: ")
        text.append("-" if before is ABSENT else _value(before), style="red")
        text.append(" → ")
        text.append("-" if after is ABSENT else _value(after), style="green")
    if len(changes) > FIELDS_SHOWN_MAX:
        text.append(f"\n  … {len(changes) - FIELDS_SHOWN_MAX} more fields", style="dim")
    return text


ABSENT = object()
FIELDS_SHOWN_MAX = 12
VALUE_CHARACTERS_MAX = 60


def changed_fields(before: object, after: object, path: str = "") -> list[tuple[str, object, object]]:
    """Return (path, before, after) of what differs in two documents, in their own order; lists are one value."""
    if not (isinstance(before, dict) and isinstance(after, dict)) or _is_extended(before) or _is_extended(after):
        return [] if _same(before, after) else [(path, before, after)]
    found: list[tuple[str, object, object]] = []
    for name in dict.fromkeys([*before, *after]):
        below = f"{path}.{name}" if path else str(name)
        found += changed_fields(before.get(name, ABSENT), after.get(name, ABSENT), below)
    return found


def _same(before: object, after: object) -> bool:
    # To Python 1, 1.0 and True are equal; to MongoDB they are not.
    return before is after or (ABSENT not in (before, after) and json.dumps(before) == json.dumps(after))


def _is_extended(value: dict[str, object]) -> bool:
    """Return whether this is one value in extended JSON, like ``{"$date": …}``."""
    return len(value) <= 2 and any(str(name).startswith("$") for name in value)


def _value(value: object) -> str:
    if isinstance(value, dict) and _is_extended(value):
        value = next(iter(value.values()))
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= VALUE_CHARACTERS_MAX else f"{text[:VALUE_CHARACTERS_MAX]}…"


def kinds(found: Sequence[Kind]) -> RenderableType:
    """Return the kinds with what they do."""
    table = pairs()
    for one in found:
        table.add_row(Text(one.kind, style="bold"), one.gloss)
    return Group(table, Text("fields of one: lull kinds KIND", style="dim"))


def kind(one: Kind) -> RenderableType:
    """Return one kind's fields."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for name in ("field", "accepts", "default", "meaning"):
        table.add_column(name, overflow="fold")
    for field in one.fields:
        default = "required" if field.is_required else field.default
        table.add_row(
            Text(field.path, style="bold" if field.is_required else ""),
            escape(field.accepts),
            escape(default),
            escape(field.meaning),
        )
    return Group(Text.assemble((one.kind, "bold"), f"  {one.gloss}"), table)

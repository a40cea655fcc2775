"""
A report as one HTML file: tables that need nothing, and plots that its own script draws.

Nothing is fetched, and the page itself forbids it; whatever people wrote (ids, reasons, names) is text there.
"""

import base64
import hashlib
import html
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.resources import files
from string import Template
from typing import NamedTuple

from lull.domain.lifecycle import ENDED, Status
from lull.domain.report import Condition, Facts, Felt, Own, Stop, Timeline
from lull.starter.render import counts_line, number, span
from lull.starter.reporting import Happening, Reported

SAMPLES_MIN = 10
_REPORTED, _CANARYS = "the foreground's own report", "the canary's"
"""Seconds in a condition; fewer are shown, and compared only with that said."""
HAPPENINGS_SHOWN_MAX = 60

_CONDITIONS = {
    Condition.WORKING: "jobs working",
    Condition.BLANK: "blank windows",
    Condition.ALONE: "no job there",
    Condition.SHUT: "gate shut",
}
_GLOSSES = {
    Condition.WORKING: "at least one job of the cluster had leave to work",
    Condition.BLANK: "jobs stopped for a moment, so that the foreground is seen without them",
    Condition.ALONE: "no slice of any job lived: before, after, or while jobs waited elsewhere",
    Condition.SHUT: "jobs stood before a shut gate: the foreground was busy, or the server in danger",
}
_OPS = ("read", "write")
_BESIDE, _WITHOUT = (Condition.WORKING,), (Condition.BLANK, Condition.ALONE)


def page(found: Reported) -> str:
    """Return the whole page. *found* has facts."""
    facts = found.facts
    assert facts is not None, "a job that nobody knows has no page"
    script, css = _part("report.js"), _part("report.css")
    return Template(_part("report.html")).substitute(
        title=_text(f"{facts.job}: lull report"),
        # The page runs this script and no other, whatever else might get into it.
        script_hash=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
        css=css,
        job=_text(facts.job),
        status=_text(facts.status),
        status_class=_STATUS_CLASSES.get(facts.status, "busy"),
        verdict=_text(" ".join(verdict(found.timeline))),
        notices="\n".join(f'<p class="notice">{_text(line)}</p>' for line in notices(found)),
        facts=_facts(found, facts),
        felt=_felt(found.timeline),
        drawn_hidden=" hidden" if found.is_empty else "",
        waits=_waits(facts),
        stops=_stops(found.timeline),
        happenings=_happenings(found.happenings),
        footer=f"Made by lull {_text(version('lull'))} at {_time(found.as_of)} from the job's ledger, the samples of "
        "its cluster's governor and the job's orders. No documents, no ids of documents.",
        data=_data(found, facts),
        script=script,
    )


_STATUS_CLASSES = {
    Status.COMPLETED: "good",
    Status.FAILED: "bad",
    Status.EXPIRED: "bad",
    Status.REFUSED: "bad",
    Status.CANCELLED: "",
}


def _part(name: str) -> str:
    return files("lull.starter").joinpath("page", name).read_text(encoding="utf-8").rstrip("\n")


# --- sentences ----------------------------------------------------------------------------------------


def verdict(timeline: Timeline | None) -> Iterator[str]:
    """Yield what a reader in a hurry should know: what it cost the foreground, and how often it gave way."""
    if timeline is None or not timeline.samples:
        yield "Nobody measured the foreground while this job ran."
        return
    pairs = _compared(timeline.felt)
    if pairs:
        each = ", ".join(
            f"{one.op}s {one.ratio:.2f}x ({_ms(one.beside.p90)} against {_ms(one.without.p90)} ms)" for one in pairs
        )
        yield f"The canary's p90 beside our jobs was, compared with {_CONDITIONS[pairs[0].without.condition]}: {each}."
    else:
        beside, without = (_most(timeline.felt, states) for states in (_BESIDE, _WITHOUT))
        yield f"{beside:,} seconds were measured with jobs and {without:,} without, too few to compare."
    stops = timeline.stops
    if stops.count:
        yield f"The gate was shut {stops.count:,} time{'s' * (stops.count > 1)}, for {span(stops.seconds)} in all."
    else:
        yield "The gate was never shut to jobs."


def _most(felt: Sequence[Felt], states: Sequence[Condition]) -> int:
    return max((one.samples for one in felt if one.condition in states), default=0)


class _Pair(NamedTuple):
    op: str
    beside: Felt
    without: Felt

    @property
    def ratio(self) -> float:
        return self.beside.p90 / self.without.p90 if self.without.p90 else float("nan")


def _compared(felt: Sequence[Felt]) -> list[_Pair]:
    """Return working jobs beside the best there is to compare them with: blank windows, which lie between."""
    known = {(one.op, one.condition): one for one in felt if one.samples >= SAMPLES_MIN}
    for state in _WITHOUT:
        pairs = [
            _Pair(op, known[op, Condition.WORKING], known[op, state])
            for op in _OPS
            if (op, Condition.WORKING) in known and (op, state) in known
        ]
        if pairs:
            return pairs
    return []


def _sources(reported: Mapping[str, float]) -> Iterator[str]:
    """Yield for each p99 whether the foreground or the canary told it."""
    for name, part in reported.items():
        if part in {0.0, 1.0}:
            yield f"{name} is {_REPORTED if part else _CANARYS}"
        else:
            yield f"{name} is {_REPORTED} in {part:.0%} of the samples, elsewhere {_CANARYS}"


def notices(found: Reported) -> Iterator[str]:
    """Yield what a reader must know before trusting the figures."""
    timeline = found.timeline
    if found.is_empty:
        yield (
            "There are no samples, so there is nothing to draw: no governor watched the cluster in that time, "
            "or it is longer ago than samples are kept (30 days)."
        )
    if timeline is not None and timeline.is_shortened:
        yield "The job lasted longer than is drawn: plots and latencies are those of its last five days."
    if timeline is not None and timeline.reported:
        yield f"{' and '.join(_sources(timeline.reported))}."
    if timeline is not None and timeline.observed_only > 0:
        yield (
            f"For {timeline.observed_only:.0%} of the samples the governor only observed: jobs did not have to obey, "
            "and there were no blank windows."
        )
    if found.facts is not None and found.facts.status not in ENDED:
        yield "The job has not ended; these are its figures so far."


# --- tables ---------------------------------------------------------------------------------------------


def _facts(found: Reported, facts: Facts) -> str:
    ended = facts.ended_at or found.as_of
    lasted_s = max((ended - facts.started_at).total_seconds(), 0.001)
    rows = [
        ("kind", _text(facts.kind)),
        ("namespace", f"{_text(facts.namespace)} on {_text(facts.cluster)}"),
        ("started", _time(facts.started_at)),
        ("ended", _time(facts.ended_at) if facts.ended_at else "not yet"),
        ("lasted", span(lasted_s)),
        (
            "documents",
            f"{facts.counts.scanned:,} passed" + (f" of about {facts.documents:,}" if facts.documents else ""),
        ),
        ("of them", counts_line(facts.counts)),
        ("pace", f"{number(facts.counts.scanned / lasted_s)} docs/s over its whole time"),
        ("partitions", f"{facts.partitions_done:,} of {facts.partitions:,} done"),
        ("worked and waited", _worked(facts)),
        ("asked for by", _text(facts.who + (f": {facts.why}" if facts.why else "")) or "-"),
        ("incarnation", str(facts.incarnation)),
    ]
    wide = [("guarantee", _text(facts.guarantee))] if facts.guarantee else []
    wide += [("it says", _text(found.reason or facts.message))] if found.reason or facts.message else []
    wide += [("web ui", _link(found.link))] if found.link else []
    return (
        '<dl class="facts">'
        + "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in rows)
        + "".join(f'<div class="wide"><dt>{name}</dt><dd>{value}</dd></div>' for name, value in wide)
        + "</dl>"
    )


def _link(address: str) -> str:
    """Return a link that somebody may follow; nothing of it is loaded before."""
    if not address.startswith(("http://", "https://")):
        return _text(address)
    return f'<a href="{_text(address)}" rel="noreferrer">{_text(address)}</a>'


def _worked(facts: Facts) -> str:
    if facts.active_s is None:
        return "not known while no worker can be asked"
    waited_s = sum(facts.waited_s.values())
    return f"{span(facts.active_s)} and {span(waited_s)}, summed over slices"


def _felt(timeline: Timeline | None) -> str:
    felt = timeline.felt if timeline else ()
    if not felt:
        return '<p class="soft">Nothing was measured.</p>'
    by = {(one.op, one.condition): one for one in felt}
    body = "".join(_felt_row(by, state) for state in Condition if any((op, state) in by for op in _OPS))
    ratios = "".join(_ratio_row(by, state) for state in _WITHOUT)
    own = timeline.own if timeline else None
    return (
        '<div class="scroll"><table><caption>The canary: small reads and writes like the foreground\'s own, in ms, '
        "from the moment they should have begun. Only seconds that lay in one condition altogether.</caption>"
        '<thead><tr><th></th><th colspan="3" class="first">reads</th><th colspan="3" class="first">writes</th>'
        '<th class="n first">seconds</th><th class="n">operations</th></tr>'
        '<tr><th></th>' + '<th class="n first">p50</th><th class="n">p90</th><th class="n">p99</th>' * 2
        + '<th class="first"></th><th></th></tr></thead>'
        f"<tbody>{body}{ratios}</tbody></table></div>{_own(own)}"
    )  # fmt: skip


def _felt_row(by: dict[tuple[str, Condition], Felt], state: Condition) -> str:
    found = [by.get((op, state)) for op in _OPS]
    cells = "".join(_three((_ms(one.p50), _ms(one.p90), _ms(one.p99)) if one else None) for one in found)
    samples = max(one.samples for one in found if one)
    operations = sum(one.operations for one in found if one)
    return (
        f'<tr><th scope="row" title="{_text(_GLOSSES[state])}">{_CONDITIONS[state]}</th>{cells}'
        f'<td class="n first">{samples:,}</td><td class="n">{operations:,}</td></tr>'
    )


def _ratio_row(by: dict[tuple[str, Condition], Felt], state: Condition) -> str:
    pairs = [(by.get((op, Condition.WORKING)), by.get((op, state))) for op in _OPS]
    known = [(one, other) for one, other in pairs if one and other]
    if not known:
        return ""
    fewest = min(min(one.samples, other.samples) for one, other in known)
    few = "" if fewest >= SAMPLES_MIN else f' title="from {fewest} seconds only: too few to rely on"'
    cells = "".join(
        _three(_ratios(one, other) if one and other else None, "few" if few else "") for one, other in pairs
    )
    note = "few" if few else ""
    return (
        f'<tr class="ratio"{few}><th scope="row" class="{note}">jobs working ÷ {_CONDITIONS[state]}</th>{cells}'
        f'<td class="n first {note}">{"too few" if few else ""}</td><td></td></tr>'
    )


def _ratios(one: Felt, other: Felt) -> tuple[str, str, str]:
    pairs = ((one.p50, other.p50), (one.p90, other.p90), (one.p99, other.p99))
    first, second, third = (f"{beside / without:.2f}x" if without else "-" for beside, without in pairs)
    return first, second, third


def _three(values: tuple[str, str, str] | None, kind: str = "") -> str:
    first, *rest = values or ("-", "-", "-")
    return f'<td class="n first {kind}">{first}</td>' + "".join(f'<td class="n {kind}">{value}</td>' for value in rest)


def _own(own: Own | None) -> str:
    if own is None:
        return ""
    return (
        "<p class=\"note\">The governor's own last measurement, operation by operation: the canary's p90 beside our pages was "
        f"<b>{own.ratio:.2f}x</b> of its p90 in blank windows (80 % interval {own.low:.2f} to {own.high:.2f}).</p>"
    )


def _waits(facts: Facts) -> str:
    if facts.active_s is None and not facts.waited_s:
        return '<p class="soft">Not known: the ledger has it when the job has ended, its workflow while it runs.</p>'
    active_s = facts.active_s or 0.0
    rows = [("working", active_s, "work"), *((why, s, "") for why, s in sorted(facts.waited_s.items(), key=_longest))]
    total, most = sum(s for _, s, _ in rows), max(s for _, s, _ in rows)
    if total <= 0:
        return '<p class="soft">It neither worked nor waited yet.</p>'
    body = "".join(_wait_row(why, seconds, kind, total, most) for why, seconds, kind in rows)
    return (
        '<div class="scroll"><table><caption>Seconds of all slices together, which run beside each other.</caption>'
        '<thead><tr><th>reason</th><th class="n">time</th><th class="n">part</th><th></th></tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _longest(wait: tuple[str, float]) -> float:
    return -wait[1]


def _wait_row(why: str, seconds: float, kind: str, total: float, most: float) -> str:
    part, length = seconds / total, 100 * seconds / most
    bar = (
        '<svg viewBox="0 0 100 14" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect width="{length:.2f}" height="14" class="{kind}"></rect></svg>'
    )
    return (
        f'<tr><th scope="row" class="text">{_text(why)}</th><td class="n">{span(seconds)}</td>'
        f'<td class="n">{part:.1%}</td><td class="bar">{bar}</td></tr>'
    )


def _stops(timeline: Timeline | None) -> str:
    stops = timeline.stops if timeline else None
    if stops is None or not stops.count:
        return '<p class="soft">Never, as far as samples tell.</p>'
    shown = len(stops.longest)
    which = "" if shown == stops.count else f"; the longest {shown}"
    body = "".join(_stop_row(stop) for stop in sorted(stops.longest, key=lambda stop: stop.at))
    return (
        f'<div class="scroll"><table><caption>{stops.count:,} times for {span(stops.seconds)} in all{which}. '
        "Blank windows are not counted.</caption>"
        '<thead><tr><th>from</th><th class="n">for</th><th>at first because of</th></tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _stop_row(stop: Stop) -> str:
    return (
        f'<tr><td class="when">{_time(stop.at)}</td><td class="n">{span(stop.seconds)}</td>'
        f'<td class="text">{_text(stop.reason)}</td></tr>'
    )


def _happenings(found: Sequence[Happening]) -> str:
    if not found:
        return '<p class="soft">Nothing is known.</p>'
    left_out = len(found) - HAPPENINGS_SHOWN_MAX
    shown = [*found[:1], *found[1:][-(HAPPENINGS_SHOWN_MAX - 1) :]]
    body = "".join(
        f'<tr><td class="when">{_time(one.at)}</td><td class="when">{_text(one.what)}</td><td class="text">{_text(one.detail)}</td></tr>'
        for one in shown
    )
    caption = f"<caption>{left_out:,} earlier ones are not shown.</caption>" if left_out > 0 else ""
    return f'<div class="scroll"><table>{caption}<tbody>{body}</tbody></table></div>'


# --- for the script -------------------------------------------------------------------------------------


def _data(found: Reported, facts: Facts) -> str:
    document = {
        "timeline": found.timeline.model_dump(mode="json", exclude={"felt", "stops", "own"})
        if found.timeline
        else None,
        "started_at": facts.started_at.isoformat(),
        "ended_at": facts.ended_at.isoformat() if facts.ended_at else None,
        "steps": facts.steps,
        "happenings": [one.model_dump(mode="json") for one in found.happenings],
        "paused": [(begin.isoformat(), end and end.isoformat()) for begin, end in pauses(found.happenings)],
    }
    text = json.dumps(document, separators=(",", ":"))
    # Inside a script element nothing is escaped but the end of it, and what looks like a comment.
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def pauses(happenings: Iterable[Happening]) -> list[tuple[datetime, datetime | None]]:
    """Return from when to when the job was paused; None for a pause that lasts."""
    found: list[tuple[datetime, datetime | None]] = []
    since: datetime | None = None
    for one in happenings:
        if one.what in {"told to pause", "paused itself"}:
            since = since or one.at
        elif since is not None and one.what in {"told to resume", "told to cancel", *ENDED}:
            found.append((since, one.at))
            since = None
    return [*found, (since, None)] if since else found


# --- words ------------------------------------------------------------------------------------------------


def _text(value: str) -> str:
    return html.escape(value, quote=True)


def _time(moment: datetime) -> str:
    utc = moment.astimezone(UTC)
    return f'<time datetime="{utc:%Y-%m-%dT%H:%M:%SZ}">{utc:%Y-%m-%d %H:%M:%S} UTC</time>'


def _ms(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"

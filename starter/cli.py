"""
The job commands of ``lull``, as an operator types them.

Every command prints tables for people or, with ``--json``, one document. Errors are raised, and
end in :mod:`lull.starter.guard`. What needs Temporal is imported when a command needs it.
"""

import asyncio
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from typer.core import TyperGroup

from lull.domain.errors import LullError, OperatorError
from lull.domain.lifecycle import Status
from lull.starter import governor_cli, report_cli
from lull.starter.commands import Json, Wait, Why, duration, print_json, print_line, print_text, run, show
from lull.starter.completion import complete_job, complete_kind
from lull.starter.errors import ExitCode

if TYPE_CHECKING:
    from lull.domain.forecast import Forecast
    from lull.domain.job import JobSpec
    from lull.domain.slice import Outcome, Plan
    from lull.domain.state import Progress
    from lull.starter.client import Client
    from lull.starter.views import Preview

PreviewSource = Callable[["JobSpec", int, Sequence[str]], "Sequence[Preview] | str"]
"""
From a spec, how many documents and which modules to load: samples of what would become of documents,
read with the operator's own credentials; or why there are none.
"""
RolesSource = Callable[[], str]
"""What to paste into mongosh so that a worker's user has the least it needs."""

EXIT_CODES = (
    "Exit codes: 0 done, 1 the job or the world failed, 2 the input was wrong, 3 not found, 4 a service cannot be "
    'reached. With --json an error is one JSON object on stderr: {"error": ..., "exit_code": ...}.'
)
SETTLE_SECONDS = 3.0
"""How long ``start`` looks whether the job is refused: planning a small collection takes less."""

Job = Annotated[str, typer.Argument(metavar="JOB", help="The job's id.", autocompletion=complete_job)]
Spec = Annotated[str, typer.Argument(metavar="SPEC", help="A YAML or JSON file, or - for stdin.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Override a field, like limits.parallel=4; repeat for more."),
]


def build_app(
    *, preview: PreviewSource | None = None, roles: RolesSource | None = None, group: type[TyperGroup] = TyperGroup
) -> typer.Typer:
    """Return the job commands; *preview* reads sampled documents for ``plan``, *roles* tells ``doctor`` what to print."""
    app = typer.Typer(
        name="lull",
        cls=group,
        help="Long-lived background jobs over live MongoDB collections that wait for the lull.",
        epilog=EXIT_CODES,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"obj": Injected(preview, roles), "help_option_names": ["-h", "--help"]},
    )
    for name, command, panel, example in _COMMANDS:
        app.command(name, epilog=f"Example: {example}", rich_help_panel=panel)(command)
    app.add_typer(governor_cli.build_app(), name="governor", rich_help_panel=_CLUSTERS)
    return app


class Injected(NamedTuple):
    """What the face brings, because this room may not know a driver."""

    preview: PreviewSource | None = None
    roles: RolesSource | None = None


# --- commands -------------------------------------------------------------------------------------


def plan(
    context: typer.Context,
    spec: Spec,
    *,
    sets: Set = None,
    probe: Annotated[
        bool, typer.Option("--probe", help="Write a few of its pages and take them back, to see what they cost.")
    ] = False,
    samples: Annotated[int, typer.Option(min=0, max=20, help="Documents to show before and after.")] = 3,
    load: Annotated[
        list[str] | None,
        typer.Option("--load", metavar="MODULE", help="Import this module, whose transform the samples need."),
    ] = None,
    as_json: Json = False,
) -> None:
    """
    Show what SPEC would do: guarantee, partitions, time, what the foreground will feel. Nothing stays written.

    The time is told from what the cluster's governor has seen; --probe also runs a few real pages, beside the
    foreground and as the governor allows, in transactions that are aborted. The samples are read with this shell's own credentials ([clusters.NAME] in lull.toml), not a worker's.
    """
    from lull.starter import render  # noqa: PLC0415
    from lull.starter.specs import load_spec  # noqa: PLC0415
    from lull.starter.views import Planned  # noqa: PLC0415

    request = load_spec(spec, sets or [])
    found, forecast = run(lambda client: _planned(client, request, probe=probe))
    shown = _previews(context.obj, request, samples, load or [])
    answer = Planned(
        job=request.job,
        digest=request.digest,
        namespace=request.source.namespace,
        cluster=request.source.cluster,
        plan=found,
        forecast=None if isinstance(forecast, str) else forecast,
        forecast_note=forecast if isinstance(forecast, str) else "",
        previews=() if isinstance(shown, str) else tuple(shown),
        preview_note=shown if isinstance(shown, str) else "",
    )
    show(answer, render.planned(answer), as_json=as_json)


async def _planned(client: "Client", spec: "JobSpec", *, probe: bool) -> "tuple[Plan, Forecast | str]":
    """Return the plan and its forecast, or why there is none: what was not asked for must not fail a plan."""
    with _busy("planning"):
        found = await client.plan(spec)
    with _busy("writing a few pages and taking them back" if probe else "looking at what the governor saw"):
        try:
            return found, await client.forecast(spec, found, probe=probe)
        except LullError as error:
            if probe:
                raise
            return found, f"no forecast: {error}"


@contextmanager
def _busy(what: str) -> Iterator[None]:
    """Somebody who sits before a terminal sees what is waited for; elsewhere nothing is written."""
    from lull.starter import render  # noqa: PLC0415

    screen = render.console(to_stderr=True)
    if screen.is_terminal:
        with screen.status(what):
            yield
    else:
        yield


def _previews(injected: Injected, spec: "JobSpec", samples: int, load: list[str]) -> "Sequence[Preview] | str":
    if not samples:
        return ()
    if injected.preview is None:
        return "documents are not shown here"
    try:
        return injected.preview(spec, samples, load)
    except LullError as error:
        return f"no documents are shown: {error}"


def start(
    spec: Spec,
    *,
    sets: Set = None,
    again: Annotated[bool, typer.Option("--again", help="Run a job that has ended once more.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Follow it to its end.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before a job that deletes documents.")] = False,
    why: Why = "",
    as_json: Json = False,
) -> None:
    """
    Start the job in SPEC; starting it twice is starting it once.

    The same spec again shows the running job or its result; another spec under the same id is
    refused with the differences. At a terminal, a job that deletes documents asks first.
    """
    from lull.starter import render  # noqa: PLC0415
    from lull.starter.specs import load_spec  # noqa: PLC0415

    request = load_spec(spec, sets or [])
    if not yes and not as_json and spec != "-":
        _confirm(request)

    async def ask(client: "Client") -> None:
        answer = await client.start(request, again=again, why=why)
        if wait:
            if not as_json:
                print_text(render.started(answer))
            await _watch(client, answer.job, as_json=as_json)
            return
        settled = await client.settle(answer, SETTLE_SECONDS)
        _raise_refusal(settled.progress)
        show(settled, render.started(settled), as_json=as_json)
        if settled.progress and settled.progress.outcome:
            raise typer.Exit(_code(settled.progress.outcome))

    run(ask)


def _confirm(spec: "JobSpec") -> None:
    """Ask before documents are deleted, where somebody sits who can answer; scripts are never asked."""
    if "remove" not in spec.actions or not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        return
    what = f"{spec.source.namespace} on {spec.source.cluster}"
    query = json.dumps(spec.source.filter, ensure_ascii=False)
    sys.stderr.write(f"{spec.job} will {spec.effect} documents of {what} that match {query[:300]}\n{spec.undo}\n")
    typer.confirm("Start it?", abort=True, err=True)


def _raise_refusal(progress: "Progress | None") -> None:
    if progress and progress.status is Status.REFUSED:
        raise OperatorError(f"job {progress.job} was refused: {progress.reason}")


def status(job: Job, *, as_json: Json = False) -> None:
    """Show how far a job is, what it waits for and what can be done."""
    from lull.starter import render  # noqa: PLC0415

    seen = run(lambda client: client.status(job))
    show(seen, render.status(seen), as_json=as_json)


def watch(job: Job, *, as_json: Json = False) -> None:
    """
    Follow a job to its end. Ctrl-C ends the watching, not the job.

    Ends with 0 if the job completed, else 1. With --json nothing is printed before the outcome.
    """
    run(lambda client: _watch(client, job, as_json=as_json))


def explain(job: Job, *, as_json: Json = False) -> None:
    """Say why a job is not running faster, the most telling reason first."""
    sentences = run(lambda client: client.explain(job))
    if as_json:
        print_json({"job": job, "reasons": sentences})
    else:
        for sentence in sentences:
            print_line(f"- {sentence}")


def list_jobs(
    *,
    state: Annotated[list[Status] | None, typer.Option(help="Only jobs in this state; repeat for more.")] = None,
    kind: Annotated[str, typer.Option(help="Only jobs of this kind.")] = "",
    cluster: Annotated[str, typer.Option(help="Only jobs on this cluster profile.")] = "",
    namespace: Annotated[str, typer.Option(help="Only jobs on this database.collection.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 50,
    as_json: Json = False,
) -> None:
    """List jobs, running ones first."""
    from lull.starter import render  # noqa: PLC0415

    found = run(
        lambda client: client.list(
            states=state or (), kind=kind, cluster=cluster, namespace=namespace, limit=limit, with_progress=True
        )
    )
    if as_json:
        print_json({"jobs": [row.model_dump(mode="json") for row in found]})
    else:
        print_text(render.rows(found))


def pause(
    job: Job,
    *,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Shown to everybody who looks.")],
    wait: Wait = False,
    as_json: Json = False,
) -> None:
    """
    Stop a job at its next page boundary; nothing is lost.

    With --wait it returns with the proof that nothing of the job can commit any more.
    """
    if wait:
        _show_answer(run(lambda client: client.pause_and_wait(job, reason)), as_json=as_json)
    else:
        _show_told(run(lambda client: client.pause(job, reason)), "told to pause", as_json=as_json)


def resume(job: Job, *, wait: Wait = False, as_json: Json = False) -> None:
    """Let a paused job go on where it stopped."""
    if wait:
        _show_answer(run(lambda client: client.resume_and_wait(job)), as_json=as_json)
    else:
        _show_told(run(lambda client: client.resume(job)), "told to resume", as_json=as_json)


def throttle(
    job: Job,
    *,
    limit: Annotated[
        str, typer.Option("--max-docs-per-second", metavar="N|off", help="For the whole job; off lifts the limit.")
    ],
    lasting: Annotated[
        str, typer.Option("--for", metavar="DURATION", help="Lifted by itself after this, like 2h.")
    ] = "",
    why: Why = "",
    wait: Wait = False,
    as_json: Json = False,
) -> None:
    """Limit a job's pace, live, from its next page on."""
    rate, end = _rate(limit), duration("--for", lasting)
    if rate is None and end is not None:
        raise OperatorError("--for has no meaning with off: lifting a limit has no end; leave it out")
    words = "told to lift its throttle" if rate is None else f"told to do at most {rate:g} docs/s"
    words += f" for {lasting}" if end else ""
    if wait:
        answer = run(lambda client: client.throttle_and_wait(job, rate, lasting=end, why=why))
        _show_answer(answer, as_json=as_json)
    else:
        _show_told(run(lambda client: client.throttle(job, rate, lasting=end, why=why)), words, as_json=as_json)


def extend(
    job: Job,
    *,
    by: Annotated[str, typer.Option("--by", metavar="DURATION", help="Like 2h; counted from where it stands.")],
    as_json: Json = False,
) -> None:
    """Move a job's deadline."""
    more = duration("--by", by)
    if more is None:
        raise OperatorError("--by needs a duration like 90s, 30m or 2h")
    told = run(lambda client: client.extend_deadline(job, more))
    _show_told(told, f"given {by} more", as_json=as_json)


def cancel(job: Job, *, wait: Wait = False, why: Why = "", as_json: Json = False) -> None:
    """Stop a job for good at its next page boundary, and clean up. What was committed stays."""
    from lull.starter import render  # noqa: PLC0415

    if wait:
        outcome = run(lambda client: client.cancel_and_wait(job, why))
        show(outcome, render.outcome(outcome), as_json=as_json)
    else:
        _show_told(run(lambda client: client.cancel(job, why)), "told to cancel", as_json=as_json)


def result(job: Job, *, as_json: Json = False) -> None:
    """Show how a job ended. Ends with 0 if it completed, else 1."""
    from lull.starter import render  # noqa: PLC0415

    outcome = run(lambda client: client.result(job))
    show(outcome, render.outcome(outcome), as_json=as_json)
    raise typer.Exit(_code(outcome))


def doctor(
    context: typer.Context,
    *,
    cluster: Annotated[str, typer.Option(help="Only this cluster profile. Default: all the worker has.")] = "",
    print_roles: Annotated[
        bool, typer.Option("--print-roles", help="Print the least a worker's MongoDB user needs, for mongosh.")
    ] = False,
    as_json: Json = False,
) -> None:
    """
    Examine every service, index, privilege and version that jobs need, and say what to do.

    Ends with 0 if all is well, 4 if Temporal or every worker is away, else 1.
    """
    from lull.starter import render  # noqa: PLC0415
    from lull.starter.doctor import examine  # noqa: PLC0415

    if print_roles:
        _print_roles(context.obj, as_json=as_json)
        return
    found = asyncio.run(examine(cluster))
    show(found, render.checks(found.checks), as_json=as_json)
    raise typer.Exit(found.exit_code)


def _print_roles(injected: Injected, *, as_json: bool) -> None:
    if injected.roles is None:
        raise OperatorError("roles are printed by the lull command, not by this program")
    text = injected.roles()
    if as_json:
        print_json({"mongosh": text})
    else:
        print_line(text.rstrip())


def kinds(
    kind: Annotated[
        str, typer.Argument(metavar="[KIND]", help="Show this kind's fields.", autocompletion=complete_kind)
    ] = "",
    *,
    as_json: Json = False,
) -> None:
    """List the kinds of job there are, or one kind's fields with what they accept."""
    from lull.starter import catalogue, render  # noqa: PLC0415

    if kind:
        entry = catalogue.entry(kind)
        show(entry, render.kind(entry), as_json=as_json)
    elif as_json:
        print_json({"kinds": [entry.model_dump(mode="json") for entry in catalogue.entries()]})
    else:
        print_text(render.kinds(catalogue.entries()))


_JOBS, _TELL, _LOOK, _CLUSTERS = "Start", "Tell a job", "Look", "Clusters"
_COMMANDS: list[tuple[str, Callable[..., None], str, str]] = [
    ("plan", plan, _JOBS, "lull plan backfill.yaml --probe --samples 5"),
    ("start", start, _JOBS, "lull start backfill.yaml --set limits.parallel=4 --why 'OPS-7'"),
    ("list", list_jobs, _LOOK, "lull list --state running --cluster main"),
    ("status", status, _LOOK, "lull status orders-2026"),
    ("watch", watch, _LOOK, "lull watch orders-2026"),
    ("explain", explain, _LOOK, "lull explain orders-2026"),
    ("pause", pause, _TELL, "lull pause orders-2026 --reason 'index build' --wait"),
    ("resume", resume, _TELL, "lull resume orders-2026"),
    ("throttle", throttle, _TELL, "lull throttle orders-2026 --max-docs-per-second 500 --for 2h --why sale"),
    ("extend", extend, _TELL, "lull extend orders-2026 --by 2h"),
    ("cancel", cancel, _TELL, "lull cancel orders-2026 --wait --why 'wrong filter'"),
    ("result", result, _LOOK, "lull result orders-2026 --json"),
    ("report", report_cli.report, _LOOK, "lull report orders-2026 -o report.html --since 2h"),
    ("doctor", doctor, _LOOK, "lull doctor --cluster main"),
    ("kinds", kinds, _LOOK, "lull kinds update"),
]


# --- inside -----------------------------------------------------------------------------------------


async def _watch(client: "Client", job: str, *, as_json: bool) -> None:
    from lull.starter import render  # noqa: PLC0415
    from lull.starter.screen import Screen  # noqa: PLC0415
    from lull.starter.watching import follow  # noqa: PLC0415

    screen = Screen(is_silent=as_json)
    try:
        async for seen, rate, trouble in follow(client, job):
            screen.show(seen, rate, trouble)
    except asyncio.CancelledError:
        screen.close()
        sys.stderr.write(
            f"stopped watching; job {job} goes on: lull watch {job} looks again, lull pause {job} stops it\n"
        )
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    finally:
        screen.close()
    outcome = await client.result(job)
    show(outcome, render.outcome(outcome), as_json=as_json)
    raise typer.Exit(_code(outcome))


def _code(outcome: "Outcome") -> int:
    codes = {Status.COMPLETED: ExitCode.DONE, Status.REFUSED: ExitCode.INPUT}
    return codes.get(outcome.status, ExitCode.FAILED)


def _rate(text: str) -> float | None:
    if text.strip().lower() == "off":
        return None
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not 0 < rate <= 10_000_000:
        raise OperatorError(
            f"--max-docs-per-second {text!r} is no pace; give a number above 0 and at most 10,000,000, or off"
        )
    return rate


def _show_answer(answer: Any, *, as_json: bool) -> None:
    from lull.starter import render  # noqa: PLC0415

    show(answer, render.told(answer), as_json=as_json)


def _show_told(told: Any, words: str, *, as_json: bool) -> None:
    note = f"\n! {told.note}" if told.note else ""
    if as_json:
        print_json(told.model_dump(mode="json"))
    else:
        print_line(f"{told.job} was {words}{note}")

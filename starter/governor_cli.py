"""``lull governor``: looking at the governor of a cluster, and telling it."""

import asyncio
import sys
from collections.abc import Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lull.domain.errors import OperatorError
from lull.starter.commands import Json, Wait, Why, duration, print_json, print_line, run, show
from lull.starter.completion import complete_governed
from lull.starter.errors import ExitCode

if TYPE_CHECKING:
    from lull.starter.client import Client
    from lull.starter.governor_client import ToldT
    from lull.starter.views import GovernorTold

Cluster = Annotated[
    str,
    typer.Argument(
        metavar="CLUSTER",
        help="The cluster's profile; needed where there are more.",
        autocompletion=complete_governed,
    ),
]
Lasting = Annotated[
    str, typer.Option("--for", metavar="DURATION", help="Ends by itself after this, like 30m; else it holds on.")
]


def build_app() -> typer.Typer:
    """Return the group of the governors' commands."""
    app = typer.Typer(
        help="Look at what paces the jobs of a cluster, and tell it.",
        epilog="Example: lull governor status main",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
    )
    for name, command, example in _COMMANDS:
        app.command(name, epilog=f"Example: {example}")(command)
    return app


# --- commands ---------------------------------------------------------------------------------------


def status(
    cluster: Cluster = "",
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Look again every second, until Ctrl-C.")] = False,
    as_json: Json = False,
) -> None:
    """Show what a governor sees and decides, who gets what, and which orders hold."""
    from lull.starter import governor_render  # noqa: PLC0415

    if watch and as_json:
        raise OperatorError("--watch never ends, so there is no document for --json; leave one of them out")
    if watch:
        run(lambda client: _watch(client, cluster))
        return
    seen = run(lambda client: client.governors.status(cluster))
    show(seen, governor_render.status(seen), as_json=as_json)


def observe(
    cluster: Cluster = "", *, lasting: Lasting = "", why: Why = "", wait: Wait = False, as_json: Json = False
) -> None:
    """Let a governor decide and publish, while jobs do not obey: how to come to trust it."""
    from lull.domain.orders import Observe  # noqa: PLC0415

    fields = _timed(lasting, why)
    _tell(cluster, Observe, fields, f"told to observe only{_for(lasting)}", wait=wait, as_json=as_json)


def enforce(
    cluster: Cluster = "", *, lasting: Lasting = "", why: Why = "", wait: Wait = False, as_json: Json = False
) -> None:
    """Let jobs obey a governor that was only observing."""
    from lull.domain.orders import Enforce  # noqa: PLC0415

    fields = _timed(lasting, why)
    _tell(cluster, Enforce, fields, f"told to enforce{_for(lasting)}", wait=wait, as_json=as_json)


def shut(
    cluster: Cluster = "", *, lasting: Lasting = "", why: Why = "", wait: Wait = False, as_json: Json = False
) -> None:
    """Stop every job of a cluster at its next page boundary; nothing is lost."""
    from lull.domain.orders import Shut  # noqa: PLC0415

    fields = _timed(lasting, why)
    _tell(cluster, Shut, fields, f"told to shut its gate{_for(lasting)}", wait=wait, as_json=as_json)


def open_gate(cluster: Cluster = "", *, why: Why = "", wait: Wait = False, as_json: Json = False) -> None:
    """Let a governor that was shut decide for itself again."""
    from lull.domain.orders import Open  # noqa: PLC0415

    _tell(cluster, Open, _timed("", why), "told to decide for itself again", wait=wait, as_json=as_json)


def limits(
    cluster: Cluster = "",
    *,
    read_p99: Annotated[str, typer.Option("--read-p99", metavar="LATENCY", help="Of the foreground, like 12ms.")] = "",
    write_p99: Annotated[str, typer.Option("--write-p99", metavar="LATENCY", help="The same of its writes.")] = "",
    inflation: Annotated[
        str,
        typer.Option(
            "--inflation", metavar="RATIO", help="Its tail beside jobs over without: 1.1 allows ten per cent."
        ),
    ] = "",
    lift: Annotated[bool, typer.Option("--lift", help="What was ordered before holds no more.")] = False,
    lasting: Lasting = "",
    why: Why = "",
    wait: Wait = False,
    as_json: Json = False,
) -> None:
    """
    Limit what the foreground may feel; without an option, show what holds.

    The limits given here go before the profile's, and replace all that were ordered before.
    """
    from lull.domain.orders import SetLimits  # noqa: PLC0415

    given = _limits(read_p99=read_p99, write_p99=write_p99, inflation=inflation)
    if not given and not lift:
        _show_limits(cluster, {"--for": lasting, "--why": why, "--wait": wait}, as_json=as_json)
        return
    if lift and (given or lasting):
        raise OperatorError("--lift takes away what was ordered, at once and for good; leave out the limits and --for")
    words = " ".join(f"{name.replace('_', ' ')} {value}" for name, value in given.items())
    words = f"told to keep {words}{_for(lasting)}" if given else "told that no limits are ordered any more"
    _tell(cluster, SetLimits, given | _timed(lasting, why), words, wait=wait, as_json=as_json)


_COMMANDS: list[tuple[str, Callable[..., None], str]] = [
    ("status", status, "lull governor status main --watch"),
    ("observe", observe, "lull governor observe main --for 30m --why trial"),
    ("enforce", enforce, "lull governor enforce main"),
    ("limits", limits, "lull governor limits main --read-p99 12ms --inflation 1.1 --for 30m --why sale"),
    ("shut", shut, "lull governor shut main --for 30m --why incident"),
    ("open", open_gate, "lull governor open main --why 'incident over'"),
]


# --- inside -----------------------------------------------------------------------------------------


def _timed(lasting: str, why: str) -> dict[str, Any]:
    duration("--for", lasting)
    return {name: value for name, value in (("for", lasting), ("why", why)) if value}


def _for(lasting: str) -> str:
    return f" for {lasting}" if lasting else ""


_LATENCY = "a latency above 0 and at most 60s, like 12ms or 0.5s"
_ACCEPTED = {
    "read_p99": _LATENCY,
    "write_p99": _LATENCY,
    "inflation": "a number above 1 and at most 10: 1.1 allows ten per cent",
}


def _limits(**texts: str) -> dict[str, Any]:
    """Return the limits that were given. Raises OperatorError that names the option which is wrong."""
    from pydantic import ValidationError  # noqa: PLC0415

    from lull.domain.governor.objective import Objective  # noqa: PLC0415

    given: dict[str, Any] = {name: text for name, text in texts.items() if text}
    for name, text in given.items():
        try:
            known = Objective.model_validate({name: text})
        except ValidationError:
            option = f"--{name.replace('_', '-')}"
            raise OperatorError(f"{option} {text!r} is no limit and changed nothing; give {_ACCEPTED[name]}") from None
        given[name] = known.inflation if name == "inflation" else text
    return given


def _show_limits(cluster: str, others: dict[str, str | bool], *, as_json: bool) -> None:
    from lull.starter import governor_render  # noqa: PLC0415

    alone = [option for option, value in others.items() if value]
    if alone:
        raise OperatorError(
            f"without a limit there is no use for {' and '.join(alone)}; give --read-p99, --write-p99 or --inflation, "
            "or --lift"
        )
    found = run(lambda client: client.governors.limits(cluster))
    show(found, governor_render.limits(found), as_json=as_json)


def _tell(cluster: str, order: "type[ToldT]", fields: dict[str, Any], words: str, *, wait: bool, as_json: bool) -> None:
    from lull.starter.governor_client import written  # noqa: PLC0415

    written(order, fields, "")  # Wrong input is wrong wherever Temporal is.
    told = run(lambda client: client.governors.tell(cluster, order, fields, wait=wait))
    _show_told(told, words, as_json=as_json)


def _show_told(told: "GovernorTold", words: str, *, as_json: bool) -> None:
    if as_json:
        print_json(told.model_dump(mode="json"))
        return
    effect = "" if told.epoch is None else f"; the ledger has it (epoch {told.epoch})"
    note = f"\n! {told.note}" if told.note else ""
    print_line(f"the governor of {told.cluster} was {words}{effect}{note}")


async def _watch(client: "Client", cluster: str) -> None:
    from lull.starter import governor_render  # noqa: PLC0415
    from lull.starter.screen import Board  # noqa: PLC0415
    from lull.starter.watching import looks  # noqa: PLC0415

    name = cluster or await client.governors.only()
    board = Board()
    try:
        async with aclosing(looks(lambda: client.governors.status(name))) as looking:
            async for seen, trouble in looking:
                if board.is_terminal:
                    picture = governor_render.status(seen, with_next=False)
                    board.draw(picture, trouble, "Ctrl-C stops watching; the governor goes on")
                else:
                    board.log((governor_render.news(seen), bool(trouble)), [*governor_render.line(seen), trouble])
    except asyncio.CancelledError:
        board.close()
        sys.stderr.write(f"stopped watching; the governor of {name} goes on: lull governor status {name} looks again\n")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    finally:
        board.close()

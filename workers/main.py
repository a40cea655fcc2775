"""``lull worker``: hosts workflows and activities, and ``lull worker drain`` ends that on purpose."""

import dataclasses
import json
from enum import StrEnum
from typing import Annotated

import typer

from lull.domain.errors import LullError, OperatorError
from lull.workers.drain import Drained, choose, drain
from lull.workers.exits import exits
from lull.workers.logs import LogFormat
from lull.workers.records import Records


class Queue(StrEnum):
    """A queue that a worker can be kept for."""

    CRITICAL = "critical"


_EPILOG = "Example: lull worker --load shop.jobs --slots 4"
_DRAIN_EPILOG = "Example: lull worker drain --all"


def build_app() -> typer.Typer:
    """Return the command ``worker`` with its subcommand ``drain``."""
    app = typer.Typer(name="worker", help="Host workflows and activities.", epilog=_EPILOG, invoke_without_command=True)
    app.callback(epilog=_EPILOG)(run_worker)
    app.command("drain", epilog=_DRAIN_EPILOG)(drain_workers)
    return app


def run_worker(
    context: typer.Context,
    *,
    queue: Annotated[Queue | None, typer.Option(help="Serve this queue only: a worker kept for critical jobs.")] = None,
    load: Annotated[
        list[str] | None,
        typer.Option(metavar="MODULE", help="Import this module; its @transform functions can be named in specs."),
    ] = None,
    slots: Annotated[int | None, typer.Option(min=1, max=200, help="Slices at a time (default: worker.slots).")] = None,
    processes: Annotated[int, typer.Option(min=1, max=64, help="Worker processes; one core each.")] = 1,
    log_format: Annotated[
        LogFormat | None, typer.Option(help="text at a terminal, json elsewhere, unless said.")
    ] = None,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="End with exit code 4 if Temporal does not answer.")
    ] = False,
    governor: Annotated[bool, typer.Option("--governor", hidden=True)] = False,
    no_governor: Annotated[
        bool, typer.Option("--no-governor", help="Start no governor's process beside this worker: others govern.")
    ] = False,
    child_of: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """
    Host workflows and activities until SIGTERM or Ctrl-C.

    Then slices return at their next page boundary and other workers go on with them. A second
    signal ends it at once, which loses nothing either but costs the others a few seconds.
    """
    if context.invoked_subcommand is not None:
        return
    with exits():
        # Temporal, the driver and the exporters take a second to import, which no other command should pay.
        from lull.workers.assembly import Asked, work  # noqa: PLC0415

        asked = Asked(
            critical_only=queue is Queue.CRITICAL,
            load=tuple(load or ()),
            slots=slots,
            processes=processes,
            log_format=log_format,
            fail_fast=fail_fast,
            governor_only=governor,
            with_governor=not no_governor,
            child_of=child_of,
        )
        code = work(asked)
    raise typer.Exit(code)


def drain_workers(
    *,
    pid: Annotated[int | None, typer.Option(help="The worker with this process id.")] = None,
    everyone: Annotated[bool, typer.Option("--all", help="Every worker of this user on this machine.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """
    End workers of this machine on purpose, and wait.

    Their slices return at a page boundary; workers elsewhere go on within a second or two.
    """
    with exits():
        if pid is not None and everyone:
            raise OperatorError("--pid and --all exclude each other; give one of them")
        records = Records()
        ended = drain(choose(records.live(), pid, everyone=everyone), records, _silent if as_json else typer.echo)
        if as_json:
            typer.echo(json.dumps({"workers": [dataclasses.asdict(one) for one in ended]}))
        _require_drained(ended)


def _silent(_line: str) -> None:
    """Nothing but the document goes to stdout."""


def _require_drained(ended: list[Drained]) -> None:
    late = [one for one in ended if not one.drained]
    if late:
        raise LullError(
            f"not drained after {max(one.seconds for one in late):.0f} s: "
            + "; ".join(f"{one.pid} still has {', '.join(one.finishing) or 'nothing it tells of'}" for one in late)
            + "; look at its log, or end it with kill -9: other workers take up what it had"
        )


if __name__ == "__main__":
    build_app()(prog_name="lull worker")

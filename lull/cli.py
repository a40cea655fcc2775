"""
The ``lull`` command, put together from the commands each room brings.

``worker`` and ``dev`` are imported when they are typed: ``lull status`` needs no driver, and
``--help`` no half second.
"""

import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, NoReturn

import typer
from typer.core import TyperGroup
from typing_extensions import override

from lull.starter import cli, guard

if TYPE_CHECKING:
    from lull.domain.job import JobSpec
    from lull.starter.views import Preview


def main() -> NoReturn:
    """Run the command line of this process and end it."""
    guard.exit_with(build_app, sys.argv[1:])


def build_app() -> typer.Typer:
    """Return the whole command."""
    app = cli.build_app(preview=_preview, roles=_roles, group=_Group)
    app.callback()(_options)
    for name, late in _LATE.items():
        app.command(name, help=late.help, rich_help_panel="Services")(_stand_in)
    return app


class _Late(NamedTuple):
    """A command that is imported when it is typed."""

    help: str
    build: Callable[[], typer.Typer]


def _worker() -> typer.Typer:
    from lull.workers import main as worker  # noqa: PLC0415 - the driver, telemetry and the SDK's core

    return worker.build_app()


def _dev() -> typer.Typer:
    from lull.embedded.cli import build_app as build_dev  # noqa: PLC0415
    from lull.hooks import dev_hooks  # noqa: PLC0415

    return build_dev(dev_hooks())


_LATE = {
    "worker": _Late("Host workflows and activities; drain ends that on purpose.", _worker),
    "dev": _Late("Run MongoDB, Temporal with its Web UI, and a worker on this machine.", _dev),
}


class _Group(TyperGroup):
    """Shows stand-ins in its help, and runs the commands they stand for."""

    @override
    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        if name in _LATE:
            command = typer.main.get_command(_LATE[name].build())
        return name, command, rest


def _stand_in() -> None:
    raise AssertionError("the group runs the real command")


def _version(wanted: bool) -> None:  # noqa: FBT001 - Typer's callback
    if wanted:
        typer.echo(f"lull {version('lull')}")
        raise typer.Exit


def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Long-lived background jobs over live MongoDB collections that wait for the lull."""


def _preview(spec: "JobSpec", samples: int, load: Sequence[str]) -> "Sequence[Preview] | str":
    from lull import hooks  # noqa: PLC0415

    return hooks.preview(spec, samples, load)


def _roles() -> str:
    from lull import hooks  # noqa: PLC0415

    return hooks.print_roles()

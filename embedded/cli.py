"""
``lull dev``: a whole stack on one machine, in the foreground or detached.

Built by `build_app`, because this room may not know what the stack is for: the face brings
the worker's command, the search attributes and the settings file's form.
"""

import functools
import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ParamSpec

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lull.embedded import process
from lull.embedded.errors import ExitCode, StackError
from lull.embedded.report import Line, Say, Step, StepState
from lull.embedded.screen import Screen, addresses
from lull.embedded.stack import PREFERRED, Ports, Stack, end_leftovers
from lull.embedded.state import AlreadyHosted, StackFiles, StackState
from lull.embedded.status import Finding, examine
from lull.embedded.supervisor import STOP_SECONDS_MAX, Supervisor, WriteConfig

DEFAULT_DATA = Path(".lull")

OTHER_START_SECONDS_MAX = 3_600.0
"""How long to wait for a start that another process has begun: a cold build, with room."""


def _write_nothing(_path: Path, _mongo_uri: str, _temporal_address: str, _ui_url: str) -> None:
    """A stack without settings file."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """What the stack is for, brought by whoever puts the command together."""

    search_attributes: Mapping[str, str] = field(default_factory=dict)
    """Name → Temporal's type."""
    dynamic_config: Mapping[str, Any] = field(default_factory=dict)
    """Temporal's dynamic configuration, as Python values."""
    worker_command: Sequence[str] = (sys.executable, "-m", "lull", "worker")
    """Runs a worker; gets ``--load MODULE`` added, and the settings file's path in ``LULL_CONFIG``."""
    dev_command: Sequence[str] = (sys.executable, "-m", "lull", "dev")
    """Runs this very command; used to detach."""
    write_config: WriteConfig = _write_nothing
    """Writes the settings file: path, MongoDB URI, Temporal address, Web UI URL."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the operator typed."""

    data: Path
    members: int | None
    ports: Ports
    worker: bool
    load: list[str]

    def words(self) -> list[str]:
        """The same as words of a command line."""
        words = ["--data", str(self.data)]
        options = {
            "--members": self.members,
            "--mongo-port": self.ports.mongo,
            "--temporal-port": self.ports.temporal,
            "--ui-port": self.ports.ui,
        }
        for option, value in options.items():
            words += [option, str(value)] if value is not None else []
        for module in self.load:
            words += ["--load", module]
        return words if self.worker else [*words, "--no-worker"]


Data = Annotated[Path | None, typer.Option("--data", help="Folder of the stack's data. Default: .lull", metavar="DIR")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout and nothing else there.")]
Port = Annotated[int | None, typer.Option(help="This port or an error. Default: the usual one or the next free one.")]


def build_app(hooks: Hooks | None = None) -> typer.Typer:
    """The ``dev`` command with its subcommands, for the stack that *hooks* describe."""
    hooks = hooks or Hooks()
    app = typer.Typer(no_args_is_help=False, pretty_exceptions_enable=False, rich_markup_mode="rich")

    @app.callback(invoke_without_command=True)
    def dev(
        context: typer.Context,
        *,
        data: Data = None,
        members: Annotated[
            int | None, typer.Option(help="Size of the replica set: 1, or 3 to try fail-over.", metavar="1|3")
        ] = None,
        mongo_port: Port = None,
        temporal_port: Port = None,
        ui_port: Port = None,
        load: Annotated[
            list[str] | None, typer.Option("--load", help="Module that the worker loads; repeat for more.")
        ] = None,
        detach: Annotated[bool, typer.Option("--detach", help="Return when all is healthy; it keeps running.")] = False,
        no_worker: Annotated[bool, typer.Option("--no-worker", help="Servers only.")] = False,
        as_json: Json = False,
        supervised: Annotated[bool, typer.Option("--supervised", hidden=True)] = False,
    ) -> None:
        """
        Runs MongoDB, Temporal with its Web UI, and a worker on this machine.

        The first start may take minutes: what is not installed is fetched or built, once.

        Example: lull dev --detach --load shop.transforms
        """
        context.obj = data
        if context.invoked_subcommand is not None:
            return
        ports = Ports(mongo_port, temporal_port, ui_port)
        wanted = Wanted((data or DEFAULT_DATA).absolute(), members, ports, not no_worker, load or [])
        if supervised:
            _supervised(wanted, hooks)
        else:
            _start(wanted, hooks, detach=detach, as_json=as_json)

    @app.command()
    def status(context: typer.Context, *, data: Data = None, as_json: Json = False) -> None:
        """
        Shows what runs: processes, ports, health, versions, logs. Exit code 3 if no stack is there.

        Example: lull dev status --json
        """
        _status(_files(context, data), as_json=as_json)

    @app.command()
    def stop(context: typer.Context, *, data: Data = None, as_json: Json = False) -> None:
        """
        Stops the worker, Temporal and MongoDB in this order and waits. Does nothing if nothing runs.

        Example: lull dev stop
        """
        _stop(_files(context, data), as_json=as_json)

    return app


def _files(context: typer.Context, data: Path | None) -> StackFiles:
    return StackFiles(data or context.obj or DEFAULT_DATA)


Parameters = ParamSpec("Parameters")


def _for_operators(command: Callable[Parameters, None]) -> Callable[Parameters, None]:
    """What goes wrong in *command* is a sentence on stderr and an exit code, never a traceback."""

    @functools.wraps(command)
    def wrapped(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        as_json = bool(kwargs.get("as_json"))
        try:
            command(*args, **kwargs)
        except typer.Exit:
            raise
        except StackError as error:
            _fail(str(error), error.exit_code, as_json=as_json)
        except KeyboardInterrupt:
            _fail("interrupted; nothing was left running", ExitCode.WORLD, as_json=as_json)
        except Exception as error:
            if os.environ.get("LULL_DEBUG"):
                raise
            _fail(_defect(error), ExitCode.WORLD, as_json=as_json)

    return wrapped


def _defect(error: Exception) -> str:
    return f"a defect in lull: {type(error).__name__}: {error}; LULL_DEBUG=1 shows where"


def _fail(message: str, exit_code: ExitCode, *, as_json: bool) -> None:
    Console(stderr=True).print(f"[red]✗[/red] {escape(message)}", soft_wrap=True)
    if as_json:
        _print_json({"error": message, "exit_code": int(exit_code)})
    raise typer.Exit(int(exit_code))


def _print_json(document: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
    sys.stdout.flush()


@_for_operators
def _start(wanted: Wanted, hooks: Hooks, *, detach: bool, as_json: bool) -> None:
    _require_usable(wanted)
    screen = Screen(Console(stderr=True))
    files = StackFiles(wanted.data)
    try:
        if files.is_hosted():
            _join(files, screen, as_json=as_json)
        elif detach:
            _detach(wanted, hooks, files, screen)
            _show(files, screen, as_json=as_json, head="The stack runs")
        else:
            _foreground(wanted, hooks, screen, as_json=as_json)
    except AlreadyHosted:
        # Another one began between our look and our start.
        _join(files, screen, as_json=as_json)
    finally:
        screen.close()


def _require_usable(wanted: Wanted) -> None:
    if platform.system() == "Windows":
        raise StackError(
            "lull dev runs on Linux and macOS; on Windows use WSL, or servers of your own: see 'lull worker --help'"
        )
    if wanted.members not in {None, 1, 3}:
        raise StackError(f"--members {wanted.members}: a replica set here has 1 or 3 members", ExitCode.INPUT)


def _join(files: StackFiles, screen: Screen, *, as_json: bool) -> None:
    """Somebody else's stack is there: wait until it is up and show it."""
    line = Line("lull dev", screen)

    def is_settled() -> bool:
        state = files.read()
        if not files.is_hosted() or (state is not None and state.is_up):
            return True
        line.going("a stack is starting here already: waiting for it")
        return False

    process.wait_until(is_settled, OTHER_START_SECONDS_MAX)
    state = files.read()
    if state is None or not state.is_up or not files.is_hosted():
        reason = state.error if state and state.error else "it has been stopped"
        raise StackError(f"the stack that was starting in {files.data} is not there: {reason}")
    _show(files, screen, as_json=as_json, head="A stack runs here already")


def _foreground(wanted: Wanted, hooks: Hooks, screen: Screen, *, as_json: bool) -> None:
    supervisor = _supervisor(wanted, hooks, screen)
    files = supervisor.stack.files
    supervisor.run(lambda: _show(files, screen, as_json=as_json, head="The stack runs; Ctrl-C stops it"))


def _supervisor(wanted: Wanted, hooks: Hooks, say: Say) -> Supervisor:
    stack = Stack(
        wanted.data,
        members=wanted.members,
        named=wanted.ports,
        preferred=PREFERRED,
        search_attributes=hooks.search_attributes,
        dynamic_config=hooks.dynamic_config,
        say=say,
    )
    loads = [word for module in wanted.load for word in ("--load", module)]
    command = [*hooks.worker_command, *loads] if wanted.worker else None
    return Supervisor(stack, worker_command=command, write_config=hooks.write_config, say=say)


def _detach(wanted: Wanted, hooks: Hooks, files: StackFiles, screen: Screen) -> None:
    """A stack runs in a session of its own and stays when we go."""
    files.prepare()
    log = files.logs / "supervisor.log"
    command = [*hooks.dev_command, *wanted.words(), "--supervised"]
    with log.open("ab") as errors:
        host = subprocess.Popen(  # noqa: S603 -- our own command
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, start_new_session=True
        )
    try:
        failure = _relay(host, screen)
    except BaseException:
        host.terminate()
        host.wait(STOP_SECONDS_MAX)
        raise
    if failure is not None:
        host.wait(STOP_SECONDS_MAX)
        raise failure
    if host.poll() is not None:
        raise StackError(f"the stack's host ended without a word (code {host.poll()}); its log is {log}")
    # It outlives us on purpose; told so, Python does not warn of a child left behind.
    host.returncode = 0


def _relay(host: "subprocess.Popen[bytes]", screen: Say) -> StackError | None:
    """Show what the host says until it is ready (None), failed (its error) or gone (None)."""
    assert host.stdout is not None
    with host.stdout as words:
        for word in words:
            document = json.loads(word)
            if "ready" in document:
                return None
            if "failed" in document:
                return StackError(document["failed"], ExitCode(document["exit_code"]))
            screen(Step(document["name"], document["text"], StepState(document["state"])))
    return None


def _supervised(wanted: Wanted, hooks: Hooks) -> None:
    """The other side of `_relay`: hosts the stack, says what it does on stdout until it is ready."""
    log = Screen(Console(stderr=True, no_color=True), with_time=True)

    def say(step: Step) -> None:
        _tell(asdict(step))
        log(step)

    try:
        _supervisor(wanted, hooks, say).run(_ready)
    except StackError as error:
        _tell({"failed": str(error), "exit_code": int(error.exit_code)})
        raise typer.Exit(int(error.exit_code)) from error
    except KeyboardInterrupt:
        _tell({"failed": "interrupted", "exit_code": int(ExitCode.WORLD)})
        raise typer.Exit(int(ExitCode.WORLD)) from None
    except Exception as error:
        _tell({"failed": _defect(error), "exit_code": int(ExitCode.WORLD)})
        raise  # its stderr is the log


def _ready() -> None:
    _tell({"ready": True})
    # Whoever waited has gone; what is said from now on is for the log alone.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def _tell(document: Mapping[str, Any]) -> None:
    try:
        os.write(sys.stdout.fileno(), json.dumps(document).encode() + b"\n")
    except BrokenPipeError:
        # The command that waited was ended; the stack it asked for is still wanted.
        return


def _show(files: StackFiles, screen: Screen, *, as_json: bool, head: str) -> None:
    screen.close()
    found = examine(files)
    if found is None:
        raise StackError(f"the stack in {files.data} ended as soon as it was up; its logs are in {files.logs}")
    if as_json:
        _print_json(found.document())
        return
    console = Console()
    console.print(f"\n[bold green]{head}[/bold green]")
    console.print(addresses(found.state), crop=False)
    console.print(
        "\nNext: [bold]lull plan SPEC[/bold] shows what a job would do, [bold]lull dev status[/bold] what runs, "
        "[bold]lull dev stop[/bold] stops it."
    )


@_for_operators
def _status(files: StackFiles, *, as_json: bool) -> None:
    found = examine(files)
    if found is None:
        raise StackError(f"no stack runs in {files.data}; 'lull dev' starts one", ExitCode.NOT_FOUND)
    if as_json:
        _print_json(found.document())
    else:
        _print_status(found)
    if not found.is_well:
        raise typer.Exit(int(ExitCode.UNREACHABLE))


def _print_status(found: Finding) -> None:
    console = Console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("part", "health", "pid", "port", "version", "log"):
        table.add_column(column, overflow="fold")
    for part in found.parts:
        colour = "green" if part.is_well else "red"
        again = f", restarts: {part.restarts}" if part.restarts else ""
        cells = (part.pid, part.port, part.version, part.log)
        table.add_row(
            part.name,
            f"[{colour}]{part.health}[/{colour}]{again}",
            *("" if cell is None else str(cell) for cell in cells),
        )
    console.print(f"The stack is [bold]{found.state.status}[/bold] since {found.state.started_at}")
    console.print(table)
    console.print(addresses(found.state), crop=False)


@_for_operators
def _stop(files: StackFiles, *, as_json: bool) -> None:
    screen = Screen(Console(stderr=True))
    try:
        was_running = _stop_host(files, Line("lull dev", screen))
    finally:
        screen.close()
    if as_json:
        _print_json({"status": "stopped", "was_running": was_running})


def _stop_host(files: StackFiles, line: Line) -> bool:
    """Nothing of the stack runs any more; True if something did."""
    state = files.read()
    was_running = files.is_hosted()
    if was_running and state is not None:
        _end_host(files, state, line)
    leftovers = end_leftovers(state)
    if leftovers:
        line.note(f"ended {leftovers} processes that a dead host had left behind")
    line.done("Stopped; the data is kept" if was_running or leftovers else f"Nothing runs in {files.data}")
    return was_running or leftovers > 0


def _end_host(files: StackFiles, state: StackState, line: Line) -> None:
    line.going("stopping: the worker drains, then Temporal and MongoDB end")
    state.host.signal(signal.SIGTERM)
    if not process.wait_until(lambda: not (files.is_hosted() or state.host.is_alive), STOP_SECONDS_MAX):
        line.note(f"the host (pid {state.host.pid}) did not stop within {STOP_SECONDS_MAX:g} s: it is killed")
        state.host.signal(signal.SIGKILL)
        state.host.wait_gone(STOP_SECONDS_MAX)

"""What people see of a start: one line per part, with a spinner where there is a terminal."""

import re
import threading
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn
from rich.table import Table

from lull.embedded.report import Step, StepState
from lull.embedded.state import StackState


class Screen:
    """
    Listens to a start and shows it on *console*.

    Without a terminal each new thing a part does is one line; a growing number is not new.
    """

    def __init__(self, console: Console, *, with_time: bool = False) -> None:
        self._console = console
        self._with_time = with_time
        self._guard = threading.Lock()
        self._tasks: dict[str, TaskID] = {}
        self._said: dict[str, str] = {}
        self._progress: Progress | None = None
        if console.is_terminal:
            self._progress = Progress(
                SpinnerColumn(), TextColumn("{task.description}"), console=console, transient=True
            )
            self._progress.start()

    def __call__(self, step: Step) -> None:
        """Show *step*."""
        with self._guard:
            if step.state is StepState.RUNNING:
                self._show_passing(step)
            else:
                self._show_lasting(step)

    def close(self) -> None:
        """No spinner turns any more; lasting lines still appear."""
        with self._guard:
            if self._progress:
                self._progress.stop()
                self._progress = None

    def _show_passing(self, step: Step) -> None:
        if self._progress is None:
            self._say_once(step)
        elif step.name in self._tasks:
            self._progress.update(self._tasks[step.name], description=escape(step.text))
        else:
            self._tasks[step.name] = self._progress.add_task(escape(step.text))

    def _say_once(self, step: Step) -> None:
        kind = re.sub(r"\d+", "", step.text)
        if self._said.get(step.name) != kind:
            self._said[step.name] = kind
            self._print(f"  {escape(step.name)}: {escape(step.text)}")

    def _show_lasting(self, step: Step) -> None:
        if self._progress and step.state is StepState.DONE and step.name in self._tasks:
            self._progress.remove_task(self._tasks.pop(step.name))
        mark = "[green]✓[/green]" if step.state is StepState.DONE else "[yellow]![/yellow]"
        self._print(f"{mark} {escape(step.text)}")

    def _print(self, text: str) -> None:
        time = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} " if self._with_time else ""
        # A log's lines are found by their words: they are not broken at some width.
        self._console.print(f"{time}{text}", soft_wrap=True, highlight=False)


def addresses(state: StackState) -> Table:
    """Where everything is."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(no_wrap=True, overflow="ignore")  # an address is copied whole
    if state.mongo:
        table.add_row("MongoDB", escape(state.mongo.uri))
    if state.temporal:
        table.add_row("Temporal", state.temporal.address)
        table.add_row("Web UI", f"[link={state.temporal.ui_url}]{state.temporal.ui_url}[/link]")
    if state.config:
        table.add_row("Settings", escape(state.config))
    if state.temporal:
        table.add_row("Logs", escape(str(Path(state.temporal.server.log).parent)))
    return table

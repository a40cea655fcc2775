"""Where something is watched: redrawn in place at a terminal, a line now and then in a log."""

import time
from collections.abc import Hashable
from datetime import datetime

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from lull.starter import render
from lull.starter.views import JobStatus

LINE_SECONDS = 10.0
"""Between lines in a log, unless something changed."""


class Board:
    """A picture at a terminal, lines in a log."""

    def __init__(self) -> None:
        self._console = render.console(to_stderr=not render.console().is_terminal)
        self._live: Live | None = None
        self._told: Hashable = None
        self._told_at = 0.0

    @property
    def is_terminal(self) -> bool:
        """Whether there is something to draw on."""
        return self._console.is_terminal

    def draw(self, picture: RenderableType, trouble: str, hint: str) -> None:
        """The reader sees the newest picture, and below it what is wrong and what can be done."""
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()
        extra = [Text(f"! {trouble}", style="red")] if trouble else []
        extra += [Text(hint, style="dim")] if hint else []
        self._live.update(Group(picture, *extra), refresh=True)

    def log(self, about: Hashable, parts: list[str], *, is_last: bool = False) -> None:
        """A line is written if *about* has changed, or after ten seconds, or at the end."""
        if about == self._told and time.monotonic() - self._told_at < LINE_SECONDS and not is_last:
            return
        self._told, self._told_at = about, time.monotonic()
        line = "  ".join([f"{datetime.now().astimezone():%H:%M:%S}", *(part for part in parts if part)])
        self._console.print(line, markup=False)

    def close(self) -> None:
        """The last picture stays, and the terminal is as it was."""
        if self._live is not None:
            self._live.stop()
            self._live = None


class Screen:
    """Shows a job; *is_silent* shows nothing, for ``--json``."""

    def __init__(self, *, is_silent: bool) -> None:
        self._board = Board()
        self._is_silent = is_silent

    def show(self, seen: JobStatus, rate: float | None, trouble: str) -> None:
        """The reader sees the newest."""
        progress = seen.progress
        if self._is_silent:
            return
        if self._board.is_terminal:
            hint = "" if seen.has_ended else "Ctrl-C stops watching; the job goes on"
            self._board.draw(render.status(seen, rate=rate, with_next=False), trouble, hint)
        else:
            about = (progress.status, progress.reason, seen.remarks, bool(trouble))
            parts = [progress.status, render.bar_words(progress, rate), progress.reason, *seen.remarks, trouble]
            self._board.log(about, parts, is_last=seen.has_ended)

    def close(self) -> None:
        """The last picture stays, and the terminal is as it was."""
        self._board.close()

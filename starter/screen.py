"""Where a job is watched: redrawn in place at a terminal, a line now and then in a log."""

import time
from datetime import datetime

from rich.console import Group
from rich.live import Live
from rich.text import Text

from lull.starter import render
from lull.starter.views import JobStatus

LINE_SECONDS = 10.0
"""Between lines in a log, unless something changed."""


class Screen:
    """Shows what a watcher sees; *is_silent* shows nothing, for ``--json``."""

    def __init__(self, *, is_silent: bool) -> None:
        self._console = render.console(to_stderr=not render.console().is_terminal)
        self._live: Live | None = None
        self._is_silent = is_silent
        self._told: tuple[object, ...] = ()
        self._told_at = 0.0

    def show(self, seen: JobStatus | None, rate: float | None, trouble: str) -> None:
        """The reader sees the newest."""
        if seen is None or self._is_silent:
            return
        if self._console.is_terminal:
            self._draw(seen, rate, trouble)
        else:
            self._log(seen, rate, trouble)

    def close(self) -> None:
        """The last picture stays, and the terminal is as it was."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _draw(self, seen: JobStatus, rate: float | None, trouble: str) -> None:
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()
        picture = render.status(seen, rate=rate, with_next=False)
        extra = [Text(f"! {trouble}", style="red")] if trouble else []
        hint = Text("Ctrl-C stops watching; the job goes on", style="dim")
        self._live.update(Group(picture, *extra, *([] if seen.has_ended else [hint])), refresh=True)

    def _log(self, seen: JobStatus, rate: float | None, trouble: str) -> None:
        progress = seen.progress
        key = (progress.status, progress.reason, seen.remarks, bool(trouble))
        if key == self._told and time.monotonic() - self._told_at < LINE_SECONDS and not seen.has_ended:
            return
        self._told, self._told_at = key, time.monotonic()
        parts = [f"{datetime.now().astimezone():%H:%M:%S}", progress.status, render.bar_words(progress, rate)]
        parts += [text for text in (progress.reason, *seen.remarks, trouble) if text]
        self._console.print("  ".join(parts), markup=False)

"""
The per-user cache of programs that were fetched or built.

One folder per program, version and platform. A folder appears whole or not at all: it is
filled beside its place and renamed. Each carries a manifest of its files' sizes, by which
damage is noticed before it is run.
"""

import contextlib
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from lull.embedded.errors import StackError, of_disk
from lull.embedded.report import Line, elapsed

MANIFEST = "manifest.json"

LOCK_WAIT_SECONDS = 1_800.0
"""The longest another process may take: a cold build on a small machine, with room."""

_REMEDY = "set LULL_CACHE to a folder that you may write"


def default_root() -> Path:
    """``$LULL_CACHE``, else ``$XDG_CACHE_HOME/lull``, else ``~/.cache/lull``."""
    if chosen := os.environ.get("LULL_CACHE"):
        return Path(chosen).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "lull"


def platform_key() -> str:
    """``linux-x86_64``, ``linux-aarch64``, ``darwin-arm64``, …"""
    return f"{sys.platform}-{platform.machine().lower()}".replace("amd64", "x86_64")


class Cache:
    """Folders by key under one root."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = default_root() if root is None else root

    def entry(self, key: str, line: Line) -> Path | None:
        """The whole, undamaged folder of *key*; None if there is none. A damaged one is named."""
        folder = self.root / key
        damage = _damage(folder)
        if damage is None:
            return folder
        if folder.exists():
            line.note(f"the cached {folder} is damaged ({damage}); it is fetched again")
        return None

    def fill(self, key: str, line: Line, make: Callable[[Path], None]) -> Path:
        """
        The folder of *key*, made by *make* unless it is there.

        *make* fills an empty folder that becomes visible only when it returns. Of two
        processes that come at once, one makes it and the other waits.
        """
        if (found := self.entry(key, line)) is not None:
            return found
        with self._locked(key, line):
            return self.entry(key, Line(line.name)) or self._make(key, make)

    def workshop(self, key: str) -> Path:
        """A folder beside the entries that survives a failed making, for the next try to go on from."""
        folder = self.root / f"making-{key}"
        with self._writing():
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _make(self, key: str, make: Callable[[Path], None]) -> Path:
        with self._writing(), tempfile.TemporaryDirectory(prefix=f".{key}-", dir=self.root) as staging:
            made = Path(staging) / "made"
            made.mkdir()
            make(made)
            (made / MANIFEST).write_text(json.dumps({"files": _sizes(made)}, indent=1))
            final = self.root / key
            # Only a damaged folder can be in the way; rename replaces none that has files.
            shutil.rmtree(final, ignore_errors=True)
            made.rename(final)
            return final

    @contextlib.contextmanager
    def _locked(self, key: str, line: Line) -> Iterator[None]:
        import fcntl  # noqa: PLC0415 -- there is none on Windows, where this module must still import

        with self._writing():
            self.root.mkdir(parents=True, exist_ok=True)
            lock = (self.root / f"{key}.lock").open("w")
        with lock:
            _wait_for(lambda: fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB), key, line)
            yield

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise of_disk(error, self.root, _REMEDY) from error


def _wait_for(lock: Callable[[], None], key: str, line: Line) -> None:
    began = time.monotonic()
    while True:
        try:
            return lock()
        except BlockingIOError:
            waited = time.monotonic() - began
        if waited > LOCK_WAIT_SECONDS:
            raise StackError(f"another process has been making {key} for {elapsed(waited)}; end it and try again")
        line.going(f"another process is making {key}: waiting, {elapsed(waited)}")
        time.sleep(0.2)


def _damage(folder: Path) -> str | None:
    try:
        wanted = json.loads((folder / MANIFEST).read_text())["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return "its manifest cannot be read"
    found = _sizes(folder)
    for name, size in wanted.items():
        if found.get(name) != size:
            return f"{name} has {found.get(name, 'no')} bytes, not {size}"
    return None


def _sizes(folder: Path) -> dict[str, int]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != MANIFEST)
    return {str(path.relative_to(folder)): path.stat().st_size for path in files}


def require_room(folder: Path, gib: float, purpose: str) -> None:
    """*folder*'s disk has *gib* GiB to spare, or a sentence says that *purpose* needs them."""
    free_gib = shutil.disk_usage(folder).free / 1024**3
    if free_gib < gib:
        raise StackError(
            f"{purpose} needs {gib:g} GiB of free disk under {folder}, and {free_gib:.1f} GiB are free; "
            f"free some, or {_REMEDY} on another disk"
        )

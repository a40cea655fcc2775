"""Programs on this machine: where they are and whether they can be used."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lull.embedded.errors import ExitCode, StackError

Version = tuple[int, ...]

ASK_SECONDS_MAX = 20.0
"""How long a program may take to tell its version; the first read of 140 MB from a slow disk included."""


@dataclass(frozen=True, slots=True)
class Binary:
    """A program that was run once and told its version."""

    path: Path
    version: Version
    source: str
    """Where it was found, for people: ``PATH``, ``the cache``."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """What it needs beside our own environment."""

    @property
    def version_text(self) -> str:
        """``6.0.27``."""
        return dotted(self.version)

    def full_environment(self) -> dict[str, str]:
        """Our environment and what it needs."""
        return {**os.environ, **self.environment}


class Unusable(StackError):
    """A program is there, and cannot be used; the message says why."""


def dotted(version: Version) -> str:
    """``6.0.27``."""
    return ".".join(str(number) for number in version)


def inspect(
    path: Path,
    *,
    source: str,
    pattern: str,
    minimum: Version,
    environment: Mapping[str, str] | None = None,
    flag: str = "--version",
) -> Binary:
    """
    *path* as a program that runs here and is at least *minimum*.

    *pattern* finds the version in what *flag* prints. Raises Unusable with what was
    seen: no such file, not executable, another architecture, a missing library, too old.
    """
    answer = _ask_version(path, flag, source, dict(environment or {}))
    match = re.search(pattern, answer)
    if match is None:
        raise Unusable(f"{path} ({source}) does not say its version; it printed {answer[:200].strip()!r}")
    version = tuple(int(number) for number in match[1].split("."))
    if version < minimum:
        raise Unusable(f"{path} ({source}) is {dotted(version)}, and {dotted(minimum)} or newer is needed")
    return Binary(path, version, source, dict(environment or {}))


def _ask_version(path: Path, flag: str, source: str, environment: dict[str, str]) -> str:
    if not path.is_file():
        raise Unusable(f"{path} ({source}) is not a file")
    try:
        answer = subprocess.run(  # noqa: S603 -- the program the operator or the cache names
            [path, flag],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            timeout=ASK_SECONDS_MAX,
            check=False,
        )
    except PermissionError as error:
        raise Unusable(f"{path} ({source}) is not executable; run 'chmod +x {path}'") from error
    except OSError as error:
        raise Unusable(f"{path} ({source}) does not run on this machine: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise Unusable(f"{path} ({source}) did not tell its version within {ASK_SECONDS_MAX:g} s") from error
    text = answer.stdout.decode(errors="replace")
    if answer.returncode != 0:
        raise Unusable(f"{path} ({source}) does not run on this machine: {_first_line(text, answer.returncode)}")
    return text


def _first_line(text: str, exit_code: int) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), f"it ended with code {exit_code}")


def named_by(variable: str) -> Path | None:
    """The file that the environment variable names; None where it is unset or empty."""
    value = os.environ.get(variable)
    return Path(value).expanduser() if value else None


def on_path(name: str) -> Path | None:
    """The first executable *name* on PATH."""
    found = shutil.which(name)
    return Path(found) if found else None


def as_input_error(error: Unusable, variable: str) -> StackError:
    """The operator named this program: theirs to correct."""
    return StackError(f"{error}; correct {variable} or unset it", ExitCode.INPUT)

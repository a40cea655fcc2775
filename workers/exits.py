"""What the shell learns, the same numbers in every command; and no traceback for an operator."""

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import PurePath

import typer

from lull.domain.errors import LullError, OperatorError
from lull.workers.errors import NotFound, Unreachable
from lull.workers.logs import redact


class ExitCode(IntEnum):
    """How a command ended."""

    DONE = 0
    WORLD = 1
    """The job or the world failed."""
    INPUT = 2
    """The operator's input was wrong."""
    NOT_FOUND = 3
    UNREACHABLE = 4
    """A service cannot be reached."""


@contextmanager
def exits() -> Iterator[None]:
    """An error inside ends the command with one sentence on stderr and its exit code."""
    try:
        yield
    except LullError as error:
        _end(str(error), _code(error))
    except Exception as error:  # noqa: BLE001 - the last place: nobody should read a traceback
        _end(f"unexpected {type(error).__name__} at {_place(error)}; please report it: {error}", ExitCode.WORLD)


def _code(error: LullError) -> ExitCode:
    if isinstance(error, OperatorError):
        return ExitCode.INPUT
    if isinstance(error, NotFound):
        return ExitCode.NOT_FOUND
    return ExitCode.UNREACHABLE if isinstance(error, Unreachable) else ExitCode.WORLD


def _end(sentence: str, code: ExitCode) -> None:
    sys.stderr.write(f"lull worker: {redact(sentence)}\n")
    raise typer.Exit(code)


def _place(error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{PurePath(last.filename).name}:{last.lineno}"

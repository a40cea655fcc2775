"""Errors of asking: what was not found, and what cannot be reached; and what each one ends a command with."""

from enum import IntEnum
from typing import ClassVar

from lull.domain.errors import LullError, OperatorError, TransientError


class ExitCode(IntEnum):
    """What a command tells the shell."""

    DONE = 0
    FAILED = 1  # the job or the world failed
    INPUT = 2  # the operator's input was wrong
    NOT_FOUND = 3
    UNREACHABLE = 4  # a service cannot be reached, or no worker is up
    INTERRUPTED = 130  # Ctrl-C, as every shell knows it


class NotFound(OperatorError):
    """No job of this name is known."""

    type_name: ClassVar[str] = "NotFound"


class Unreachable(TransientError):
    """A service that is needed for the answer does not answer."""

    type_name: ClassVar[str] = "Unreachable"


class WorldError(LullError):
    """It was asked right, and could not be done."""

    type_name: ClassVar[str] = "WorldError"


def exit_code(error: LullError) -> ExitCode:
    """Return what a command ends with after *error*."""
    if isinstance(error, NotFound):
        return ExitCode.NOT_FOUND
    if isinstance(error, OperatorError):
        return ExitCode.INPUT
    if isinstance(error, Unreachable):
        return ExitCode.UNREACHABLE
    return ExitCode.FAILED


def printable(text: str) -> str:
    """Return *text* with what would break a line, or steer a terminal, as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)

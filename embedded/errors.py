"""What an operator reads when a stack cannot be had."""

import errno
from enum import IntEnum
from pathlib import Path


class ExitCode(IntEnum):
    """What the shell learns; the same numbers in every command."""

    DONE = 0
    """It is as asked."""
    WORLD = 1
    """The machine, the disk, the network or a server failed."""
    INPUT = 2
    """The operator asked for something that cannot be."""
    NOT_FOUND = 3
    """There is no stack here."""
    UNREACHABLE = 4
    """A service is there and does not answer."""


class StackError(Exception):
    """
    The stack cannot be had, and *message* says what happened, what was seen and what to do.

    ``exit_code`` is what the command ends with.
    """

    def __init__(self, message: str, exit_code: ExitCode = ExitCode.WORLD) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def of_disk(error: OSError, path: Path, remedy: str) -> StackError:
    """Say what the operating system refused at *path*, and *remedy*."""
    if error.errno == errno.ENOSPC:
        return StackError(f"the disk that holds {path} is full; free some space there, or {remedy}")
    reason = error.strerror or str(error)
    return StackError(f"cannot write {path}: {reason}; {remedy}")

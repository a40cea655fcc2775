"""The two errors that only commands know: the exit code tells them apart."""

from lull.domain.errors import LullError, TransientError


class Unreachable(TransientError):
    """A service does not answer, or not as it should."""


class NotFound(LullError):
    """What was named is not there."""

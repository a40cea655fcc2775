"""
The three kinds of error there are: the operator's, the world's and ours.

Every message says what happened, what was seen, the limit, and what to do.
"""

from typing import ClassVar


class LullError(Exception):
    """An error lull raises on purpose; its message is a sentence for people."""

    type_name: ClassVar[str] = "LullError"


class OperatorError(LullError):
    """What was asked cannot be done as asked. Never retried: change the request."""

    type_name: ClassVar[str] = "OperatorError"


class TransientError(LullError):
    """The world is not ready (a server is away, a lock is held). Retried with backoff, without limit."""

    type_name: ClassVar[str] = "TransientError"


class FenceLost(TransientError):
    """Another slice, or whoever must be sure that nothing runs, has raised this partition's fence."""

    type_name: ClassVar[str] = "FenceLost"


class InvariantBroken(LullError):
    """The ledger contradicts itself: a defect. The job stops and keeps its evidence."""

    type_name: ClassVar[str] = "InvariantBroken"


# Temporal matches these by name: no retry changes the answer.
NON_RETRYABLE: tuple[str, ...] = (OperatorError.type_name, InvariantBroken.type_name)

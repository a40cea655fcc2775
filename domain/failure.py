"""
What is retried, and how: error class x policy -> action, one table for code and docs.

Server error codes are classified here by number and label, without a driver.
"""

from collections.abc import Collection
from enum import StrEnum
from typing import NamedTuple


class ErrorClass(StrEnum):
    """What went wrong, as far as the next step is concerned."""

    CONFLICT = "write conflict"  # a foreground write and ours met; nothing was written
    WORLD = "server away"  # network, election, shutdown, overload
    COMMIT_UNKNOWN = "commit result unknown"  # the ledger knows
    POISON = "poison document"  # this document cannot be processed, however often it is tried
    TOO_BIG = "page too big"  # for one transaction or one message
    FENCED = "fence lost"  # another slice owns the partition
    OPERATOR = "operator's"  # a privilege, an option, a collection that is gone
    DEFECT = "ours"


class Action(StrEnum):
    """What the page loop does about it."""

    SHRINK = "abort, wait a jittered moment, try a smaller page"
    RETRY = "give the slice back; Temporal tries again with backoff, without limit"
    READ_LEDGER = "resolve by reading the ledger at majority"
    BISECT = "halve the page until the document stands alone; quarantine it"
    LEAVE = "stop at once; the partition is another's"
    FAIL = "fail the job, cleanly; no retry can mend it"


class Rule(NamedTuple):
    """One row of the table."""

    action: Action
    remedy: str


RULES: dict[ErrorClass, Rule] = {
    ErrorClass.CONFLICT: Rule(
        Action.SHRINK,
        "none needed; many of them mean that the job and the foreground write the same documents",
    ),
    ErrorClass.WORLD: Rule(Action.RETRY, "none needed; if it lasts, look at the cluster"),
    ErrorClass.COMMIT_UNKNOWN: Rule(Action.READ_LEDGER, "none needed"),
    ErrorClass.POISON: Rule(
        Action.BISECT,
        "look at lull.quarantine for this job, mend the documents or the transform, then resume",
    ),
    ErrorClass.TOO_BIG: Rule(Action.SHRINK, "none needed; a single document that is too big goes to quarantine"),
    ErrorClass.FENCED: Rule(Action.LEAVE, "none needed"),
    ErrorClass.OPERATOR: Rule(Action.FAIL, "mend what the message names, then start the job with --again"),
    ErrorClass.DEFECT: Rule(Action.FAIL, "keep lull.partitions as evidence and report the defect"),
}

_CONFLICT_CODES = frozenset({112})  # WriteConflict
_OPERATOR_CODES = frozenset(
    {
        8000, 13, 18, 33, 11,  # AtlasError(auth), Unauthorized, AuthenticationFailed, ... UserNotFound
        26, 166,  # NamespaceNotFound, CommandNotSupportedOnView
        2, 9,  # BadValue, FailedToParse: the request itself
        17007, 51091,  # bad hint, bad regular expression
    }
)  # fmt: skip
_TOO_BIG_CODES = frozenset(
    {10334, 17280, 17419, 17420, 334}
)  # BSONObjectTooLarge family, TransactionTooLarge(334 is ExceededMemory)
_DOCUMENT_CODES = frozenset(
    {
        121,  # DocumentValidationFailure
        11000, 11001,  # DuplicateKey
        14, 28, 40, 52, 53, 54, 55, 57, 58,  # TypeMismatch, PathNotViable, ConflictingUpdateOperators, field-name rules
        59, 66, 74,  # ... ImmutableField
        16837, 16836, 16554, 16555, 16606, 16612, 16702, 16004, 16007,  # expression type errors
        241,  # ConversionFailure
    }
)  # fmt: skip
_WORLD_CODES = frozenset(
    {
        6, 7, 89, 91, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436, 63, 150, 13388, 234,  # retryable
        50, 202, 290, 246, 251, 225, 24, 46, 136, 133, 64, 79, 237, 43, 206, 175, 217, 267, 256, 100, 73, 14031,
    }
)  # fmt: skip


def classify(code: int | None, labels: Collection[str] = (), *, in_commit: bool = False) -> ErrorClass:
    """
    Return the class of a server or network error.

    *code* is the server's, None for a network error; *labels* are the driver's error labels.
    """
    if in_commit and "UnknownTransactionCommitResult" in labels:
        return ErrorClass.COMMIT_UNKNOWN
    if code is None:
        return ErrorClass.WORLD
    known = _CLASS_OF_CODE.get(code)
    if known is not None:
        return known
    if not _RETRYABLE_LABELS.isdisjoint(labels):
        return ErrorClass.WORLD
    # An unknown code may lie in one document: bisecting finds out, and never loses a good one.
    return ErrorClass.POISON


_RETRYABLE_LABELS = frozenset({"TransientTransactionError", "RetryableWriteError"})
_CLASS_OF_CODE: dict[int, ErrorClass] = {
    **dict.fromkeys(_WORLD_CODES, ErrorClass.WORLD),
    **dict.fromkeys(_TOO_BIG_CODES, ErrorClass.TOO_BIG),
    **dict.fromkeys(_DOCUMENT_CODES, ErrorClass.POISON),
    **dict.fromkeys(_OPERATOR_CODES, ErrorClass.OPERATOR),
    **dict.fromkeys(_CONFLICT_CODES, ErrorClass.CONFLICT),
}

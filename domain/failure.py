"""
What is retried, and how: error class x policy -> action, one table for code and docs.

Server error codes are classified here by number and label, without a driver.
"""

from collections.abc import Collection
from enum import StrEnum
from typing import NamedTuple


class ErrorClass(StrEnum):
    """What went wrong, as far as the next step is concerned."""

    CONFLICT = "write conflict"  # something else wanted the same documents or locks; nothing was written
    WORLD = "server away"  # network, election, shutdown, overload; an operation that somebody ended
    COMMIT_UNKNOWN = "commit result unknown"  # the ledger knows
    POISON = "poison document"  # this document cannot be processed, however often it is tried
    TOO_BIG = "page too big"  # for one transaction or one message
    FENCED = "fence lost"  # another slice owns the partition
    OPERATOR = "operator's"  # a privilege, an option, a collection that is no ordinary one
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

CODES: dict[ErrorClass, dict[int, str]] = {
    ErrorClass.CONFLICT: {
        24: "LockTimeout",  # a DDL command holds the collection; inside a transaction we wait 5 ms only
        112: "WriteConflict",
        239: "SnapshotTooOld",
        246: "SnapshotUnavailable",  # an index was made or dropped after the snapshot was taken
        250: "StaleChunkHistory",
        272: "MigrationConflict",
        365: "TemporarilyUnavailable",  # no room in the cache: a smaller page may fit
    },
    ErrorClass.WORLD: {
        # network
        6: "HostUnreachable",
        7: "HostNotFound",
        89: "NetworkTimeout",
        202: "NetworkInterfaceExceededTimeLimit",
        303: "SplitHorizonChange",
        9001: "SocketException",
        # elections, fail-over, shutdown
        91: "ShutdownInProgress",
        133: "FailedToSatisfyReadPreference",
        149: "NoConfigPrimary",
        189: "PrimarySteppedDown",
        216: "ElectionInProgress",
        10058: "LegacyNotPrimary",
        10107: "NotWritablePrimary",
        11600: "InterruptedAtShutdown",
        11602: "InterruptedDueToReplStateChange",
        13435: "NotPrimaryNoSecondaryOk",
        13436: "NotPrimaryOrSecondary",
        # majority cannot be reached at the moment
        64: "WriteConcernTimeout",
        100: "UnsatisfiableWriteConcern",  # members are gone; with too few configured it is the same code
        134: "ReadConcernMajorityNotAvailableYet",
        # somebody ended the operation: a DBA's killOp, our successor's killSessions, a time limit.
        # Without these a kill would look like a poison document.
        43: "CursorNotFound",
        50: "MaxTimeMSExpired",
        175: "QueryPlanKilled",
        206: "NoSuchSession",
        217: "IncompleteTransactionHistory",
        225: "TransactionTooOld",
        237: "CursorKilled",
        251: "NoSuchTransaction",
        256: "TransactionCommitted",
        262: "ExceededTimeLimit",
        267: "PreparedTransactionInProgress",
        279: "ClientDisconnect",
        281: "TransactionCoordinatorSteppingDown",
        282: "TransactionCoordinatorReachedAbortDecision",
        290: "TransactionExceededLifetimeLimitSeconds",  # a stall of a minute; the page is too small for that
        355: "InterruptedDueToStorageChange",
        11601: "Interrupted",
        46841: "ClientMarkedKilled",
        10045600: "InterruptedDueToFCVChange",
        # busy, full, in the middle of maintenance
        46: "LockBusy",
        117: "ConflictingOperationInProgress",
        215: "DatabaseDropPending",
        261: "TooManyLogicalSessions",
        264: "TooManyFilesOpen",
        314: "ObjectIsBusy",
        371: "UserWritesBlocked",  # a migration tool holds all writes off for a while
        391: "ReauthenticationRequired",
        402: "ResourceExhausted",
        407: "PooledConnectionAcquisitionExceededTimeLimit",
        433: "AdmissionQueueOverflow",
        449: "RateLimitExceeded",
        450: "PooledConnectionAcquisitionRejected",
        462: "IngressRequestRateLimitExceeded",
        12586: "BackgroundOperationInProgressForDatabase",
        12587: "BackgroundOperationInProgressForNamespace",
        14031: "OutOfDiskSpace",
        # routers whose view of the shards is old
        63: "StaleShardVersion",
        150: "StaleEpoch",
        249: "StaleDbVersion",
        406: "MigrationBlockingOperationCoordinatorCleaningUp",
        412: "UpdatesStillPending",
        453: "InterruptedDueToReshardingCriticalSection",
        13388: "StaleConfig",
        91331: "RetriableRemoteCommandFailure",
    },
    ErrorClass.TOO_BIG: {
        146: "ExceededMemoryLimit",
        257: "TransactionTooLarge",
        388: "TransactionTooLargeForCache",
        10334: "BSONObjectTooLarge",  # a message, or one document that grew past 16 MB
        17419: "document too large after the update",
        17420: "document too large to upsert",
    },
    ErrorClass.POISON: {
        # What one document's values can cause in an update that is right for all others.
        2: "BadValue",  # $push onto a string, $divide by zero, $inc beyond 64 bits, $[] where no array is
        14: "TypeMismatch",
        15: "Overflow",  # nested too deep
        16: "InvalidLength",
        22: "InvalidBSON",
        28: "PathNotViable",
        34: "CannotBackfillArray",
        40: "ConflictingUpdateOperators",  # with $[] it depends on the document's arrays
        52: "DollarPrefixedFieldName",
        53: "InvalidIdField",
        54: "NotSingleValueField",
        55: "InvalidDBRef",
        56: "EmptyFieldName",
        57: "DottedFieldName",
        61: "ShardKeyNotFound",
        66: "ImmutableField",  # a pipeline that computes _id or a shard key
        111: "NotExactValueField",
        121: "DocumentValidationFailure",
        159: "DurationOverflow",
        171: "CannotIndexParallelArrays",
        201: "CannotBuildIndexKeys",
        241: "ConversionFailure",
        283: "WouldChangeOwningShard",
        357: "InvalidBSONType",
        378: "NonConformantBSON",
        11000: "DuplicateKey",
        11001: "DuplicateKey, in an update",
        16755: "geo keys cannot be extracted",
        # Codes of expressions that met a value they cannot take (above 15,000, hundreds of them)
        # are not listed: a code nobody knows is bisected too.
    },
    ErrorClass.OPERATOR: {
        # who we are
        11: "UserNotFound",
        13: "Unauthorized",
        18: "AuthenticationFailed",
        31: "RoleNotFound",
        334: "MechanismUnavailable",
        8000: "AtlasError",
        # what is there
        20: "IllegalOperation",  # a capped collection in a transaction, a standalone server
        26: "NamespaceNotFound",
        27: "IndexNotFound",
        73: "InvalidNamespace",
        123: "NotAReplicaSet",
        166: "CommandNotSupportedOnView",
        167: "OptionNotSupportedOnView",
        169: "CommandOnShardedViewNotSupportedOnMongod",
        263: "OperationNotSupportedInTransaction",
        361: "CollectionUUIDMismatch",
        # what was asked: no document is needed to see that it is wrong
        9: "FailedToParse",
        59: "CommandNotFound",
        72: "InvalidOptions",
        115: "CommandNotSupported",
        168: "InvalidPipelineOperator",
        224: "QueryFeatureNotAllowed",
        291: "NoQueryExecutionPlans",
        292: "QueryExceededMemoryLimitNoDiskUseAllowed",
        323: "APIStrictError",
        411: "QueryRejectedBySettings",
        10003: "CannotGrowDocumentInCappedNamespace",
        15998: "field path with an empty part",
        16020: "expression with the wrong number of arguments",
        16410: "field path with a dollar sign",
        17276: "undefined variable",
        40324: "unknown pipeline stage",
        40413: "IDLDuplicateField",
        40414: "IDLFailedToParse",
        40415: "IDLUnknownField",
        51091: "regular expression is invalid",
    },
}
"""
The server's error codes that lull knows, by what follows from them. Each stands in one class.

Names are those of the server's own list (``src/mongo/base/error_codes.yml``); lower-case ones are
glosses of codes it has no name for. That documents cause the codes under POISON was tried on 6.0.
"""

_CLASS_OF_CODE = {code: error_class for error_class, codes in CODES.items() for code in codes}
_RETRYABLE_LABELS = frozenset({"TransientTransactionError", "RetryableWriteError"})
_NOBODYS_FAULT = frozenset({1, 8, 11000, 11001})
"""InternalError, UnknownError, and a duplicate key among our own writes: two of them raced."""


def classify(
    code: int | None, labels: Collection[str] = (), *, in_commit: bool = False, in_page: bool = True
) -> ErrorClass:
    """
    Return the class of a server or network error.

    *code* is the server's, None for a network error; *labels* are the driver's error labels.
    *in_page* is false where no document of the job's is written, as while planning: what the
    server refuses there is the request, and bisecting would find nothing.
    """
    if in_commit and _may_have_committed(code, labels):
        return ErrorClass.COMMIT_UNKNOWN
    found = _found(code, labels)
    if in_page or found not in {ErrorClass.POISON, ErrorClass.TOO_BIG}:
        return found
    return ErrorClass.WORLD if code in _NOBODYS_FAULT else ErrorClass.OPERATOR


def _may_have_committed(code: int | None, labels: Collection[str]) -> bool:
    if "UnknownTransactionCommitResult" in labels:
        return True
    # The server promises with this label that nothing was written.
    aborted = "TransientTransactionError" in labels
    return not aborted and _found(code, labels) is ErrorClass.WORLD


def _found(code: int | None, labels: Collection[str]) -> ErrorClass:
    if code is None:
        return ErrorClass.WORLD
    known = _CLASS_OF_CODE.get(code)
    if known is not None:
        return known
    if not _RETRYABLE_LABELS.isdisjoint(labels):
        return ErrorClass.WORLD
    # An unknown code may lie in one document: bisecting finds out, and never loses a good one.
    return ErrorClass.POISON

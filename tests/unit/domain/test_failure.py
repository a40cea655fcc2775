"""Every error has one class, every class one rule; which code means what was tried on a real server."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lull.domain.failure import CODES, RULES, Action, ErrorClass, classify

TRANSIENT = "TransientTransactionError"
UNKNOWN_COMMIT = "UnknownTransactionCommitResult"


def test_every_class_has_a_rule_with_a_remedy():
    assert set(RULES) == set(ErrorClass)
    assert all(rule.remedy for rule in RULES.values())


def test_every_action_is_taken_by_some_class():
    assert {rule.action for rule in RULES.values()} == set(Action)


def test_no_code_stands_in_two_classes():
    codes = [code for named in CODES.values() for code in named]
    assert len(set(codes)) == len(codes)


def test_every_code_is_classified_as_it_is_listed():
    assert {code: classify(code) for named in CODES.values() for code in named} == {
        code: error_class for error_class, named in CODES.items() for code in named
    }


@pytest.mark.parametrize(
    ("code", "error_class"),
    [
        (112, ErrorClass.CONFLICT),  # WriteConflict
        (24, ErrorClass.CONFLICT),  # LockTimeout: an index is being built
        (None, ErrorClass.WORLD),  # the network
        (10107, ErrorClass.WORLD),  # NotWritablePrimary: an election
        (189, ErrorClass.WORLD),  # PrimarySteppedDown
        (91, ErrorClass.WORLD),  # ShutdownInProgress
        (64, ErrorClass.WORLD),  # WriteConcernTimeout
        (14031, ErrorClass.WORLD),  # OutOfDiskSpace: the operator mends the cluster, the job waits
        (371, ErrorClass.WORLD),  # UserWritesBlocked
        (121, ErrorClass.POISON),  # DocumentValidationFailure
        (11000, ErrorClass.POISON),  # DuplicateKey
        (14, ErrorClass.POISON),  # TypeMismatch: $inc of a text
        (28, ErrorClass.POISON),  # PathNotViable: a field below a number
        (66, ErrorClass.POISON),  # ImmutableField
        (241, ErrorClass.POISON),  # ConversionFailure: $toInt of a word
        (171, ErrorClass.POISON),  # CannotIndexParallelArrays
        (10334, ErrorClass.TOO_BIG),  # BSONObjectTooLarge
        (257, ErrorClass.TOO_BIG),  # TransactionTooLarge
        (13, ErrorClass.OPERATOR),  # Unauthorized
        (18, ErrorClass.OPERATOR),  # AuthenticationFailed
        (334, ErrorClass.OPERATOR),  # MechanismUnavailable
        (26, ErrorClass.OPERATOR),  # NamespaceNotFound
        (73, ErrorClass.OPERATOR),  # InvalidNamespace
        (166, ErrorClass.OPERATOR),  # CommandNotSupportedOnView
        (168, ErrorClass.OPERATOR),  # InvalidPipelineOperator
        (9, ErrorClass.OPERATOR),  # FailedToParse
    ],
)
def test_knows_whose_an_error_is(code: int | None, error_class: ErrorClass):
    assert classify(code) is error_class


def test_one_document_with_a_bad_value_does_not_fail_the_job():
    """``$push`` onto a text, ``$divide`` by a zero, ``$inc`` beyond 64 bits: the server says BadValue to all."""
    assert RULES[classify(2)].action is Action.BISECT


@pytest.mark.parametrize("code", [11601, 251, 290, 237, 46841, 50])
def test_an_operation_that_somebody_ended_is_no_poison(code: int):
    """A DBA's killOp and our successor's killSessions come without any label; the documents are blameless."""
    assert classify(code) is ErrorClass.WORLD


@pytest.mark.parametrize("code", [28689, 40400, 5166403, 16755, 999_999])
def test_an_unknown_code_is_looked_for_in_single_documents(code: int):
    """Expressions have hundreds of codes for values they cannot take."""
    assert classify(code) is ErrorClass.POISON


@pytest.mark.parametrize("label", [TRANSIENT, "RetryableWriteError"])
def test_an_unknown_code_that_the_server_calls_transient_is_the_worlds(label: str):
    assert classify(999_999, [label]) is ErrorClass.WORLD


def test_a_known_code_is_what_it_is_whatever_its_labels():
    assert classify(112, [TRANSIENT]) is ErrorClass.CONFLICT
    assert classify(11000, ["RetryableWriteError"]) is ErrorClass.POISON


# -- where no document is written -----------------------------------------------------------------


@pytest.mark.parametrize("code", [2, 14, 40, 146, 28689, 31002])
def test_what_the_server_refuses_while_planning_is_the_operators(code: int):
    """Otherwise a plan with a wrong filter would be tried again for ever."""
    assert classify(code, in_page=False) is ErrorClass.OPERATOR


@pytest.mark.parametrize("code", [None, 112, 10107, 11601, 11000, 1, 8])
def test_what_passes_stays_to_be_tried_again_where_no_document_is_written(code: int | None):
    assert RULES[classify(code, in_page=False)].action in {Action.RETRY, Action.SHRINK}


# -- commits --------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [None, 64, 91, 10107, 50, 11601, 6, 89])
@pytest.mark.parametrize("labels", [(), (UNKNOWN_COMMIT,), ("RetryableWriteError",)])
def test_a_commit_that_the_world_interrupted_may_have_happened(code: int | None, labels: tuple[str, ...]):
    """With the driver's label or without: only the ledger knows."""
    assert classify(code, labels, in_commit=True) is ErrorClass.COMMIT_UNKNOWN


def test_a_commit_that_was_surely_aborted_is_not_asked_about():
    assert classify(251, [TRANSIENT], in_commit=True) is ErrorClass.WORLD
    assert classify(112, [TRANSIENT], in_commit=True) is ErrorClass.CONFLICT


def test_the_label_of_an_unknown_commit_wins_over_any_code():
    assert classify(112, [UNKNOWN_COMMIT], in_commit=True) is ErrorClass.COMMIT_UNKNOWN


def test_outside_a_commit_there_is_no_unknown_commit():
    assert classify(None, [UNKNOWN_COMMIT]) is ErrorClass.WORLD


@given(
    st.none() | st.integers() | st.sampled_from([code for named in CODES.values() for code in named]),
    st.sets(st.sampled_from([TRANSIENT, UNKNOWN_COMMIT, "RetryableWriteError", "other"])),
    st.booleans(),
    st.booleans(),
)
def test_every_error_has_a_rule(code: int | None, labels: set[str], in_commit: bool, in_page: bool):  # noqa: FBT001
    found = classify(code, labels, in_commit=in_commit, in_page=in_page)
    assert found in RULES
    assert found not in {ErrorClass.FENCED, ErrorClass.DEFECT}

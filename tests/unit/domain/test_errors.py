"""Three kinds of error: the operator's and ours are never retried, the world's always."""

import pytest

from lull.domain import errors
from lull.domain.errors import NON_RETRYABLE, FenceLost, InvariantBroken, LullError, OperatorError, TransientError

ALL = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, LullError)]


@pytest.mark.parametrize("error", ALL)
def test_every_error_travels_under_its_own_name(error: type[LullError]):
    """Temporal matches by name: a subclass that forgot its own would be retried, or not, as its parent is."""
    assert error.type_name == error.__name__


@pytest.mark.parametrize("error", ALL)
def test_every_error_belongs_to_exactly_one_kind(error: type[LullError]):
    kinds = [kind for kind in (OperatorError, TransientError, InvariantBroken) if issubclass(error, kind)]
    assert len(kinds) == (0 if error is LullError else 1)


@pytest.mark.parametrize("error", ALL)
def test_no_retry_changes_the_operators_request_or_a_defect_and_every_retry_may_change_the_world(
    error: type[LullError],
):
    assert (error.type_name in NON_RETRYABLE) is issubclass(error, OperatorError | InvariantBroken)


def test_a_lost_fence_is_the_worlds():
    assert issubclass(FenceLost, TransientError)


def test_what_is_never_retried_is_named_once_each():
    assert sorted(NON_RETRYABLE) == ["InvariantBroken", "OperatorError"]

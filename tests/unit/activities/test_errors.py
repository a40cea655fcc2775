import asyncio
from typing import Any

import pytest
from pymongo.errors import AutoReconnect, DuplicateKeyError, OperationFailure
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError

from lull.activities.errors import as_application_error
from lull.domain.errors import FenceLost, InvariantBroken, OperatorError, TransientError

SECRET = "alice@example.org"


async def raised(error: BaseException) -> ApplicationError:
    @as_application_error
    async def activity() -> None:
        raise error

    with pytest.raises(ApplicationError) as caught:
        await activity()
    return caught.value


@pytest.mark.parametrize(
    ("error", "type_name", "is_final"),
    [
        (OperatorError("x"), "OperatorError", True),
        (InvariantBroken("x"), "InvariantBroken", True),
        (TransientError("x"), "TransientError", False),
        (FenceLost("x"), "FenceLost", False),
        (AutoReconnect(SECRET), "TransientError", False),
        (OperationFailure(SECRET, 13), "OperatorError", True),
        (KeyError(SECRET), "InvariantBroken", True),
    ],
)
async def test_every_error_is_the_operators_the_worlds_or_ours(error: Exception, type_name: str, *, is_final: bool):
    failure = await raised(error)
    assert (failure.type, failure.non_retryable) == (type_name, is_final)


@pytest.mark.parametrize(
    "error",
    [
        DuplicateKeyError(f"dup key: {{ mail: {SECRET!r} }}", 11000, {"keyValue": {"mail": SECRET}}),
        OperationFailure(f"bad value {SECRET}", 2),
        KeyError(SECRET),
        ValueError(SECRET),
    ],
)
async def test_nothing_of_a_document_reaches_the_history(error: Exception):
    """Not in the message, not in the stack, not in a cause or context."""
    chained = TransientError("the world")
    chained.__cause__ = error
    for failure in (await raised(error), await raised(chained)):
        written: Any = Failure()
        converter = DataConverter.default
        converter.failure_converter.to_failure(failure, converter.payload_converter, written)
        assert SECRET not in str(written)


async def test_a_defect_names_its_place():
    failure = await raised(KeyError("x"))
    assert "KeyError" in str(failure)
    assert "test_errors.py:" in str(failure)


async def test_temporals_own_errors_and_cancellation_pass():
    failure = ApplicationError("mine", type="Mine")
    assert await raised(failure) is failure

    @as_application_error
    async def cancelled() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await cancelled()


async def test_what_it_returns_is_returned():
    @as_application_error
    async def activity(number: int) -> int:
        return number + 1

    assert await activity(1) == 2

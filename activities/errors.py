"""
What an activity may tell Temporal of an error: its kind and one sentence, never a document.

Temporal keeps failures in the workflow's history, with their whole chain of causes. A server's
message quotes keys and values, and a Python error may repeat a field name, so neither passes.
"""

import functools
import traceback
from collections.abc import Callable, Coroutine
from pathlib import PurePath
from typing import Any, ParamSpec, TypeVar

from pymongo.errors import PyMongoError
from temporalio.exceptions import ApplicationError, FailureError

from lull.activities.mongo import describe, translated
from lull.domain.errors import NON_RETRYABLE, InvariantBroken, LullError

P = ParamSpec("P")
R = TypeVar("R")


def as_application_error(run: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, Coroutine[Any, Any, R]]:
    """
    Make an activity of *run* whose errors carry lull's own type name and no document.

    The kinds in ``domain.errors`` keep their sentence; the driver's become the operator's or the
    world's; anything else is ours and stops the job. Temporal's own errors and cancellation pass.
    """

    @functools.wraps(run)
    async def shielded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await run(*args, **kwargs)
        except FailureError:
            raise
        except Exception as error:  # noqa: BLE001 - the last place that sees it before it is written down
            failure = application_error(error)
        # The original must not travel along, neither as the cause nor as the context.
        raise failure from None

    return shielded


def application_error(error: Exception) -> ApplicationError:
    """Return *error* as Temporal may keep it. Only the operator's and ours are never retried."""
    known = _known(error)
    return ApplicationError(str(known), type=known.type_name, non_retryable=known.type_name in NON_RETRYABLE)


def _known(error: Exception) -> LullError:
    if isinstance(error, LullError):
        return error
    if isinstance(error, PyMongoError):
        return translated(error, "MongoDB")
    return InvariantBroken(
        f"unexpected {describe(error)} at {_place(error)}: a defect of lull; the job's partitions are kept as "
        "evidence in lull.partitions, please report it with this line"
    )


def _place(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return "an unknown place"
    last = frames[-1]
    return f"{PurePath(last.filename).name}:{last.lineno}"

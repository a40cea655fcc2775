"""Raw signal and update payloads: whatever arrives is handed on, so that nothing is dropped unseen."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from temporalio.common import RawValue

HandlerT = TypeVar("HandlerT", bound=Callable[..., Any])


def patient(handler: HandlerT) -> HandlerT:
    """
    Let a handler ``(self, *payloads)`` be called with any number of payloads, undecoded.

    The SDK drops a signal whose payload does not fit the handler's type, and a wrong number of
    payloads blocks the workflow. It is shown one raw parameter; the handler takes what comes.
    """
    parameters = [
        inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD),
        inspect.Parameter("payload", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=RawValue),
    ]
    returns = handler.__annotations__.get("return")
    handler.__signature__ = inspect.Signature(parameters, return_annotation=returns)  # type: ignore[attr-defined]
    handler.__annotations__ = {"payload": RawValue, "return": returns}
    return handler


def contents(payloads: Sequence[object]) -> list[bytes | None]:
    """Return each payload's bytes: JSON as its sender wrote it, whatever it claims to be."""
    return [_content(payload) for payload in payloads]


def _content(payload: object) -> bytes | None:
    if not isinstance(payload, RawValue):
        # With more than one payload the SDK decodes them; their number alone is the fault.
        return None
    if payload.payload.metadata.get("encoding") == b"binary/null":
        return b"null"
    return payload.payload.data or None

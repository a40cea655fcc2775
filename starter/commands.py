"""What every command is made of: common options, a connected client, and how an answer is printed."""

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from lull.domain.errors import OperatorError

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.console import RenderableType

    from lull.starter.client import Client

AnyT = TypeVar("AnyT")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Wait = Annotated[bool, typer.Option("--wait", help="Return when it is so, not when it was told.")]
Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="Recorded with who asked.")]


def run(ask: Callable[["Client"], Coroutine[Any, Any, AnyT]]) -> AnyT:
    """Return what *ask* returns, asked with a connected client."""
    from lull.starter.client import Client  # noqa: PLC0415 - only a command that asks pays for the SDK

    async def connected() -> AnyT:
        return await ask(await Client.connect())

    return asyncio.run(connected())


def duration(option: str, text: str) -> timedelta | None:
    """Return what stands behind *option*; None for nothing. Raises OperatorError that names the option."""
    from lull.domain.duration import parse_duration  # noqa: PLC0415

    if not text:
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise OperatorError(f"{option}: {error}") from None


def show(model: "BaseModel", text: "RenderableType", *, as_json: bool) -> None:
    """Print an answer, for programs or for people."""
    if as_json:
        print_json(model.model_dump(mode="json"))
    else:
        print_text(text)


def print_json(document: Any) -> None:
    """Print one document."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def print_text(renderable: "RenderableType") -> None:
    """Print a table, a bar or a sentence."""
    from lull.starter import render  # noqa: PLC0415

    render.console().print(renderable)


def print_line(text: str) -> None:
    """Print one line as it is."""
    sys.stdout.write(text + "\n")

"""
Which values a spec may carry: JSON, and of it what MongoDB can store.

YAML reads more than that: a date, ``on`` as true, a key that is a number. Passed on as JSON these
would silently become other values in a filter, so they are refused here with their right writing.
"""

import datetime as dt
import math
from collections.abc import Iterator, Mapping
from typing import Any

DEPTH_MAX = 100
"""MongoDB's own limit for nested documents."""
VALUES_MAX = 100_000
"""A spec travels in every Temporal message of its job; and YAML aliases can write billions in ten lines."""
_INT64 = range(-(2**63), 2**63)
_SHOWN_CHARACTERS_MAX = 40


def walk(value: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield every (key, value) pair inside *value*. Raises ValueError beyond 100 levels."""
    if depth > DEPTH_MAX:
        raise ValueError(f"nested deeper than {DEPTH_MAX} levels, MongoDB's own limit; flatten it")
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield str(key), inner
            yield from walk(inner, depth + 1)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from walk(inner, depth + 1)


def check_values(value: Any, where: str) -> None:
    """Raise ValueError, with the right writing, unless everything inside *value* is JSON that MongoDB can store."""
    for count, inner in enumerate(_nodes(value, where)):
        if count >= VALUES_MAX:
            raise ValueError(
                f"{where} holds more than {VALUES_MAX:,} values; mark the documents by a field and filter on it"
            )
        problem = _problem(inner)
        if problem:
            raise ValueError(f"{_shown(inner)} in {where} {problem}")


def _nodes(value: Any, where: str, depth: int = 0) -> Iterator[Any]:
    """Yield *value*, and every key and value inside it."""
    if depth > DEPTH_MAX:
        raise ValueError(f"{where} is nested deeper than {DEPTH_MAX} levels, MongoDB's own limit; flatten it")
    yield value
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield _key(key, where)
            yield from _nodes(inner, where, depth + 1)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _nodes(inner, where, depth + 1)


def _key(key: object, where: str) -> str:
    if not isinstance(key, str):
        raise ValueError(  # noqa: TRY004 - pydantic wants ValueError
            f"the key {_shown(key)} in {where} is no text; put it in quotes (YAML reads on, no and numbers as other things)"
        )
    if "\x00" in key:
        raise ValueError(f"the key {_shown(key)} in {where} holds a zero byte, which no field name may; remove it")
    return key


def _problem(value: object) -> str:
    """Return what is wrong with a single value and how to write it; empty if nothing is."""
    match value:
        case None | bool() | list() | tuple() | Mapping():
            return ""
        case str():
            return (
                "" if _is_unicode(value) else "holds half a surrogate pair, which is no character; write the whole one"
            )
        case int():
            return "" if value in _INT64 else 'is beyond 64 bits; write {"$numberDecimal": "..."}'
        case float():
            return (
                ""
                if math.isfinite(value)
                else 'is no JSON number; write {"$numberDouble": "NaN"}, "Infinity" or "-Infinity"'
            )
        case dt.date():
            return 'is a date, which JSON does not know; write {"$date": "2026-01-31T00:00:00Z"}, or put text in quotes'
        case _:
            return (
                f'is a {type(value).__name__}, not JSON; write extended JSON like {{"$oid": ...}} or {{"$binary": ...}}'
            )


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def shown(name: str) -> str:
    """Return a key as an error shows it: as it is, or in quotes and cut short if it is not one printable word."""
    plain = name.isprintable() and " " not in name and 0 < len(name) <= _SHOWN_CHARACTERS_MAX
    return name if plain else _shown(name)


def _shown(value: object) -> str:
    if isinstance(value, int) and value not in _INT64:
        return "a number"  # Python refuses to write thousands of digits
    text = str(value) if isinstance(value, dt.date) else ascii(value)
    return text if len(text) <= _SHOWN_CHARACTERS_MAX else f"{text[:_SHOWN_CHARACTERS_MAX]}…"

"""Durations as operators write them: ``90s``, ``30m``, ``2h30m``, ``6h``, ``3d``."""

import re
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer

_UNITS = {"d": timedelta(days=1), "h": timedelta(hours=1), "m": timedelta(minutes=1), "s": timedelta(seconds=1)}
# ASCII: other scripts' digits would be read by Python and by nobody else.
_DURATION = re.compile(r"(?=.)(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?", re.ASCII)
_MAX = timedelta(days=366)
_SHOWN_CHARACTERS_MAX = 40


def parse_duration(value: object) -> timedelta:
    """
    Return *value* as a time span of at least a microsecond and at most 366 days.

    Accepts ``"2h30m"``, a number of seconds, or a timedelta. Raises ValueError with the remedy.
    """
    span = _span(value)
    if span is None:
        raise ValueError(f"cannot read {_shown(value)} as a duration; write it like 90s, 30m, 2h30m or 3d")
    if not timedelta(0) < span <= _MAX:
        raise ValueError(f"a duration must be more than zero and at most 366d, not {_shown(value)}")
    return span


def format_duration(span: timedelta) -> str:
    """Return *span*, which is not negative, in its shortest exact writing; ``parse_duration`` reads it back."""
    parts = []
    for unit in ("d", "h", "m"):
        count, span = divmod(span, _UNITS[unit])
        parts.append(f"{count}{unit}" if count else "")
    parts.append(f"{span.seconds}.{span.microseconds:06}".rstrip("0").rstrip(".") + "s" if span else "")
    return "".join(parts) or "0s"


def _span(value: object) -> timedelta | None:
    """Return *value* as a time span, a far too long one for what no timedelta can hold; None if it is none."""
    if isinstance(value, timedelta):
        return value
    try:
        seconds = _seconds(value)
        return None if seconds is None else timedelta(seconds=seconds)
    except OverflowError:
        return timedelta.max


def _seconds(value: object) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if value == value else None  # noqa: PLR0124 - only NaN differs from itself
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        return None
    return sum(
        float(count) * unit.total_seconds()
        for count, unit in zip(match.groups(), _UNITS.values(), strict=True)
        if count
    )


def _shown(value: object) -> str:
    """Return *value* in one short line, as an error shows it."""
    if isinstance(value, int) and value.bit_length() > 64:
        return "a number of more than 64 bits"  # Python refuses to write thousands of digits
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS_MAX else f"{text[:_SHOWN_CHARACTERS_MAX]}…"


Duration = Annotated[timedelta, BeforeValidator(parse_duration), PlainSerializer(format_duration, return_type=str)]

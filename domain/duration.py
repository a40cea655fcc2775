"""Durations as operators write them: ``90s``, ``30m``, ``2h30m``, ``6h``, ``3d``."""

import re
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer

_UNITS_SECONDS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0}
_DURATION = re.compile(r"(?=.)(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?")
_SECONDS_MAX = 366 * 86_400.0


def parse_duration(value: object) -> timedelta:
    """
    Return *value* as a time span between zero (excluded) and 366 days.

    Accepts ``"2h30m"``, a number of seconds, or a timedelta. Raises ValueError with the remedy.
    """
    seconds = _seconds(value)
    if seconds is None:
        raise ValueError(f"cannot read {value!r} as a duration; write it like 90s, 30m, 2h30m or 3d")
    if not 0 < seconds <= _SECONDS_MAX:
        raise ValueError(f"a duration must be more than zero and at most 366d, not {value!r}")
    return timedelta(seconds=seconds)


def format_duration(span: timedelta) -> str:
    """Return *span* in its shortest exact writing, which ``parse_duration`` reads back."""
    seconds = span.total_seconds()
    parts = []
    for unit in ("d", "h", "m"):
        count, seconds = divmod(seconds, _UNITS_SECONDS[unit])
        parts.append(f"{int(count)}{unit}" if count else "")
    parts.append(f"{seconds:.3f}".rstrip("0").rstrip(".") + "s" if seconds else "")
    return "".join(parts) or "0s"


def _seconds(value: object) -> float | None:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        return None
    return sum(
        float(count) * unit for count, unit in zip(match.groups(), _UNITS_SECONDS.values(), strict=True) if count
    )


Duration = Annotated[timedelta, BeforeValidator(parse_duration), PlainSerializer(format_duration, return_type=str)]

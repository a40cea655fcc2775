"""
What an operator wants for the foreground: the service-level objective of a cluster, or of one job beside it.

Nothing needs to be said: without an objective the limits are learned from what is normal.
"""

import re
from typing import Annotated, Any

from lull.domain.strict import Strict
from pydantic import BeforeValidator, Field, PlainSerializer

_MILLISECONDS = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s)", re.ASCII)


def parse_milliseconds(value: Any) -> Any:
    """Return ``12ms`` or ``0.5s`` as milliseconds; plain numbers are milliseconds already. Raises ValueError."""
    if not isinstance(value, str):
        return value
    match = _MILLISECONDS.fullmatch(value.strip())
    if match is None:
        raise ValueError("is no latency; write it like 12ms or 0.5s")
    return float(match[1]) * (1_000 if match[2] == "s" else 1)


def format_milliseconds(value: float | None) -> str | None:
    """Return what :func:`parse_milliseconds` reads back."""
    return None if value is None else f"{value:g}ms"


Milliseconds = Annotated[
    float,
    BeforeValidator(parse_milliseconds),
    Field(gt=0, le=60_000),
    PlainSerializer(format_milliseconds, return_type=str),
]


class Objective(Strict):
    """What the foreground may feel at most, jobs included."""

    read_p99: Milliseconds | None = None
    """Of the foreground's own report if it makes one, else of the canary's reads."""
    write_p99: Milliseconds | None = None
    inflation: float | None = Field(None, gt=1, le=10)
    """The tail beside our pages over the tail without them: 1.1 allows ten per cent."""

    def strictest(self, other: "Objective") -> "Objective":
        """Return what satisfies both."""
        return Objective(
            read_p99=_least(self.read_p99, other.read_p99),
            write_p99=_least(self.write_p99, other.write_p99),
            inflation=_least(self.inflation, other.inflation),
        )

    def over(self, below: "Objective") -> "Objective":
        """Return this objective where it says something, *below* elsewhere."""
        return Objective(
            read_p99=self.read_p99 if self.read_p99 is not None else below.read_p99,
            write_p99=self.write_p99 if self.write_p99 is not None else below.write_p99,
            inflation=self.inflation if self.inflation is not None else below.inflation,
        )


def _least(one: float | None, other: float | None) -> float | None:
    found = [value for value in (one, other) if value is not None]
    return min(found, default=None)


class Foreground(Objective):
    """``[clusters.NAME.foreground]`` in a worker's settings: the objective, and where else to look."""

    lag_s: float = Field(2.0, gt=0, le=600)
    """
    Of the majority commit point, and of each electable secondary, behind the primary's newest write.

    MongoDB's flow control begins at 10 s.
    """
    oplog_window_h: float = Field(1.0, ge=0, le=720)
    """Below, no job runs: change streams of applications would lose their place."""
    dirty_cache_percent: float = Field(10.0, gt=0, le=20)
    queue: float = Field(8.0, gt=0, le=10_000)
    """Operations that wait for a lock or a ticket."""
    prometheus_url: str = Field("", pattern=r"^(https?://\S+)?$")
    """Base address of a Prometheus server, asked every few seconds."""
    prometheus_query: str = Field("", max_length=2_000)
    """Its first value is held against the limit."""
    prometheus_limit: float | None = Field(None, gt=0)
    http_check: str = Field("", pattern=r"^(https?://\S+)?$")
    """Asked every second; jobs run while it answers 200."""

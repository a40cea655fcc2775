"""
The demo's transform: what a flight's row implies, written into it.

A worker serves it after ``lull worker --load examples.nyc.speed``.
"""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from lull.activities.transforms import SKIP, Result, transform

ZONES = {airport: ZoneInfo("America/New_York") for airport in ("EWR", "JFK", "LGA")}
KM_PER_MILE = 1.609344


@transform("nyc.speed")
def speed(flight: dict[str, Any]) -> Result:
    """
    Return the flight's average speed and when it left the gate, in UTC.

    Skipped: a flight without ``air_time``. It was cancelled or landed elsewhere, so it has no
    speed over this distance. An origin that is not in `ZONES` is a KeyError, and thus a poison document.
    """
    minutes = flight.get("air_time")
    if not minutes:
        return SKIP
    miles = flight["distance"]
    return {
        "average_speed": {
            "mph": round(miles * 60 / minutes, 1),
            "kmh": round(miles * KM_PER_MILE * 60 / minutes, 1),
        },
        "departed_at": departed_at(flight),
    }


def departed_at(flight: dict[str, Any]) -> datetime:
    """Return when the flight left the gate: its scheduled local time, in UTC, plus its delay."""
    midnight = datetime(flight["year"], flight["month"], flight["day"], tzinfo=ZONES[flight["origin"]])
    # Wall-clock arithmetic up to here: on the two days when the clocks change, 06:00 is still 06:00.
    scheduled = midnight + clock(flight["sched_dep_time"])
    # The delay is time that passed, so it is added in UTC, where every hour has sixty minutes.
    return scheduled.astimezone(UTC) + timedelta(minutes=flight["dep_delay"])


def clock(hhmm: int) -> timedelta:
    """Return how far into its day a clock shows *hhmm*: 517 is 05:17, and 2400 is the next midnight."""
    hours, minutes = divmod(hhmm, 100)
    return timedelta(hours=hours, minutes=minutes)

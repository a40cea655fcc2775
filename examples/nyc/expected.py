"""
What the job must come to, computed another way.

From the table's own UTC column and with exact decimal arithmetic; no code, no time-zone rule and
no rounding of the transform is used here. So what the two agree on is probably right.
"""

import hashlib
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import bson

from examples.nyc import flights

_TENTH = Decimal("0.1")
_KM_PER_MILE = Decimal("1.609344")


def digests() -> dict[str, bytes]:
    """Return the digest of every flight as it must be after the job, by ``_id``."""
    return {document["_id"]: digest(document) for document in documents()}


def documents() -> Iterator[dict[str, Any]]:
    """Yield every flight as it must be after the job."""
    for row in flights.rows():
        yield flights.document(row) | added(row)


def digest(document: Mapping[str, Any]) -> bytes:
    """Return 16 bytes that two documents share only if they have the same fields with the same values."""
    ordered = {name: document[name] for name in sorted(document)}
    return hashlib.blake2b(bson.encode(ordered), digest_size=16).digest()


def added(row: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields that the job adds to this row."""
    if "air_time" not in row:
        return {}
    # Of the double that is nearest to the quotient, as the transform's is; 3,498 flights are exact ties.
    mph = Decimal(int(row["distance"]) * 60 / int(row["air_time"]))
    kmh = Decimal(row["distance"]) * 60 * _KM_PER_MILE / Decimal(row["air_time"])
    return {
        "average_speed": {"mph": _rounded(mph), "kmh": _rounded(kmh)},
        "departed_at": datetime.fromisoformat(row["time_hour"])
        + timedelta(minutes=int(row["minute"]) + int(row["dep_delay"])),
    }


def _rounded(value: Decimal) -> float:
    return float(value.quantize(_TENTH, rounding=ROUND_HALF_EVEN))

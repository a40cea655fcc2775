from datetime import datetime
from typing import Any

import pytest
from bson import Binary, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp

from lull.activities.mongo import decode_values
from lull.domain.errors import OperatorError

HEX = "65a1b2c3d4e5f60718293a4b"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ({"$oid": HEX}, ObjectId(HEX)),
        ({"$date": "2026-01-31T00:00:00Z"}, datetime(2026, 1, 31)),  # noqa: DTZ001 - BSON dates carry no zone
        ({"$date": {"$numberLong": "0"}}, datetime(1970, 1, 1)),  # noqa: DTZ001
        ({"$numberLong": "5"}, Int64(5)),
        ({"$numberDecimal": "1.5"}, Decimal128("1.5")),
        (
            {"$uuid": "c8edabc3-f738-4ca3-b68d-ab92a91478a3"},
            Binary(bytes.fromhex("c8edabc3f7384ca3b68dab92a91478a3"), 4),
        ),
        ({"$timestamp": {"t": 1, "i": 2}}, Timestamp(1, 2)),
        ({"$minKey": 1}, MinKey()),
        ({"$maxKey": 1}, MaxKey()),
        ({"$regularExpression": {"pattern": "^a", "options": "i"}}, Regex("^a", "i")),
        ({"at": {"$lt": {"$date": "2026-01-31T00:00:00Z"}}}, {"at": {"$lt": datetime(2026, 1, 31)}}),  # noqa: DTZ001
        ([{"$in": [{"$oid": HEX}, None, 1.5, "$x"]}], [{"$in": [ObjectId(HEX), None, 1.5, "$x"]}]),
    ],
)
def test_extended_json_becomes_the_value_it_writes(written: Any, meant: Any):
    assert decode_values(written) == meant


@pytest.mark.parametrize(
    "query",
    [
        {"name": {"$regex": "^a", "$ne": "ab"}},
        {"name": {"$regex": "^a", "$options": "i"}},
        {"name": {"$not": {"$regex": "^a"}}},
        {"x": {"$type": 2}},
        {"owner": {"$ref": "people", "$id": 5}},
    ],
)
def test_operators_that_resemble_extended_json_stay_as_they_are(query: dict[str, Any]):
    """A condition that silently vanished from a purge's filter would delete what it was to keep."""
    assert decode_values(query) == query


@pytest.mark.parametrize("wrong", [{"$oid": "x"}, {"$date": "yesterday"}, {"$numberLong": "many"}, {"$uuid": 5}])
def test_unreadable_extended_json_is_the_operators_error(wrong: dict[str, Any]):
    with pytest.raises(OperatorError, match="extended JSON"):
        decode_values({"a": wrong})

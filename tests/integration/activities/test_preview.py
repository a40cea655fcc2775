"""Before and after, without writing: what is shown must be what the server would do."""

from typing import Any

import pytest

from lull.activities.preview import sample
from lull.activities.transforms import SKIP, UNCHANGED, UNSET, Replace, Transform
from lull.domain.config import ClusterProfile
from lull.domain.errors import OperatorError

BEFORE = {"_id": 1, "n": 2, "f": 1.5, "s": "$x", "a": {"b": 3, "c": None}, "l": [1, 2], "nil": None}


def shown(world: Any, spec: Any, samples: int = 3) -> Any:
    return sample(spec, ClusterProfile(uri=world.uri), world.registry, samples)


@pytest.mark.parametrize(
    "update",
    [
        {"$set": {"n": "$f", "a.b": {"x": 1}, "new.deep": [1]}},
        {"$unset": {"n": "", "a.b": "", "nothing": ""}},
        {"$inc": {"n": 5, "a.b": -1, "missing": 2}},
        {"$mul": {"n": 3, "missing": 3, "f": 2}},
        {"$min": {"n": 1, "f": 9, "missing": 4}},
        {"$max": {"n": 1, "f": 9, "s": "a", "missing": 4}},
        {"$rename": {"n": "m", "nothing": "f"}},
        {"$set": {"x": 1}, "$unset": {"n": ""}, "$inc": {"f": 1}},
        [{"$set": {"sum": {"$add": ["$n", "$f"]}}}, {"$unset": "a"}],
        [{"$replaceWith": {"_id": "$_id", "only": "$s"}}],
    ],
)
def test_an_update_shows_exactly_what_the_server_then_does(world: Any, update: Any):
    world.database.c.insert_one(BEFORE)
    (seen,) = shown(world, world.spec(update=update))
    assert (seen.before, world.database.c.find_one()) == (BEFORE, BEFORE)
    world.database.c.update_one({}, update)
    assert seen.after == world.database.c.find_one()
    assert seen.note == ""


@pytest.mark.parametrize(
    ("update", "hidden"),
    [
        ({"$push": {"l": 3}}, "$push on l"),
        ({"$set": {"l.0": 3}}, "$set on l.0"),
        ({"$set": {"l.x": 3}}, "$set on l.x"),
        ({"$inc": {"l.$[]": 3}}, "$inc on l.$[]"),
        ({"$addToSet": {"l": 3}, "$pull": {"a": 1}}, "$addToSet on l, $pull on a"),
    ],
)
def test_what_cannot_be_shown_is_said(world: Any, update: Any, hidden: str):
    world.database.c.insert_one(BEFORE)
    (seen,) = shown(world, world.spec(update=update))
    assert (seen.after, seen.note) == (None, f"not shown: {hidden}")


def test_the_rest_is_shown_beside_what_cannot_be(world: Any):
    world.database.c.insert_one(BEFORE)
    (seen,) = shown(world, world.spec(update={"$push": {"l": 3}, "$set": {"n": 9}}))
    assert (seen.after["n"], seen.after["l"], seen.note) == (9, [1, 2], "not shown: $push on l")


@pytest.mark.parametrize("update", [{"$inc": {"s": 1}}, {"$inc": {"nil": 1}}, {"$mul": {"a": 2}}])
def test_a_document_that_the_server_would_refuse_is_announced(world: Any, update: Any):
    world.database.c.insert_one(BEFORE)
    (seen,) = shown(world, world.spec(update=update))
    assert seen.after is None
    assert "quarantine" in seen.note


def mutating(document: Any) -> Any:
    document["n"] = 99
    return {"a.b": 1, "f": UNSET}


def failing(document: Any) -> Any:
    return document["nothing"]


@pytest.mark.parametrize(
    ("function", "after", "note"),
    [
        (mutating, BEFORE | {"a": {"b": 1, "c": None}} | {"f": ...}, ""),
        (lambda _: Replace({"whole": "$n"}), {"_id": 1, "whole": "$n"}, ""),
        (lambda _: {"n": 2}, BEFORE, "unchanged"),
        (lambda _: {}, None, "unchanged"),
        (lambda _: UNCHANGED, None, "unchanged"),
        (lambda _: SKIP, None, "skipped"),
        (failing, None, "t raises KeyError: 'nothing'; this document would go to quarantine"),
    ],
)
def test_a_transform_is_called_and_its_result_shown(world: Any, function: Any, after: Any, note: str):
    world.registry.add(Transform("t", function))
    world.database.c.insert_one(BEFORE)
    (seen,) = shown(world, world.spec("transform"))
    wanted = after and {key: value for key, value in after.items() if value is not ...}
    assert (seen.before, seen.after, seen.note) == (BEFORE, wanted, note)


def test_an_unknown_transform_is_named(world: Any):
    world.database.c.insert_one(BEFORE)
    with pytest.raises(OperatorError, match="no transform 't'"):
        shown(world, world.spec("transform"))


def test_a_purge_shows_what_will_be_gone(world: Any):
    world.database.c.insert_many([{"n": n} for n in range(5)])
    seen = shown(world, world.spec("purge", filter={"n": {"$lt": 2}}))
    assert [(each.before["n"], each.after, each.note) for each in seen] == [(0, None, "delete"), (1, None, "delete")]
    assert world.database.c.count_documents({}) == 5


def test_documents_are_relaxed_extended_json(world: Any):
    from bson import ObjectId

    key = ObjectId()
    world.database.c.insert_one({"_id": key})
    (seen,) = shown(world, world.spec())
    assert seen.before == {"_id": {"$oid": str(key)}}


def test_only_allowed_collections_are_read(world: Any):
    with pytest.raises(OperatorError, match="does not allow"):
        sample(world.spec(), ClusterProfile(uri=world.uri, namespaces=("other.*",)), world.registry)

"""What a job may say to MongoDB, and what can be known of it without asking MongoDB."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lull.domain import mql

Update = dict[str, Any] | list[dict[str, Any]]


# -- code and stages that write elsewhere ---------------------------------------------------------


@pytest.mark.parametrize("operator", ["$where", "$function", "$accumulator", "$code", "$_internalJsEmit", "$_anything"])
@pytest.mark.parametrize(
    "bury",
    [
        lambda operator: {operator: "x"},
        lambda operator: {"$expr": {operator: {"body": "f", "args": [], "lang": "js"}}},
        lambda operator: {"$and": [{"a": 1}, {"$or": [{"b": {"$elemMatch": {operator: 1}}}]}]},
        lambda operator: {"a": {"$not": {"$in": [[{operator: 1}]]}}},
        lambda operator: {"$expr": {"$literal": {operator: 1}}},
        lambda operator: {"$expr": {"$let": {"vars": {"x": {operator: 1}}, "in": "$$x"}}},
    ],
)
def test_code_that_runs_on_the_server_is_refused_however_deep_it_is_buried(operator: str, bury: Any):
    with pytest.raises(ValueError, match=r"\$\w+ in filter (runs JavaScript|is internal)"):
        mql.check_filter(bury(operator))
    with pytest.raises(ValueError, match=r"\$\w+ in update (runs JavaScript|is internal)"):
        mql.check_update([{"$set": {"a": bury(operator)}}])
    with pytest.raises(ValueError, match="array_filters"):
        mql.refuse_code([{"x": bury(operator)}], "array_filters")


@pytest.mark.parametrize("stage", ["$out", "$merge"])
def test_stages_that_write_elsewhere_are_refused_in_every_place(stage: str):
    for update in ([{stage: "other"}], [{"$set": {"a": 1}}, {stage: {"into": "other"}}], {"$set": {"a": {stage: "b"}}}):
        with pytest.raises(ValueError, match="writes past the ledger"):
            mql.check_update(update)


def test_names_that_only_look_like_operators_are_fields():
    mql.check_filter({"where": 1, "function": 1, "a.$where_not": 1, "out": {"merge": "$where"}, "note": "$function"})


# -- filters --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"a": 1},
        {"$and": [{"a": 1}], "$or": [{"b": 1}], "$nor": [{"c": 1}], "$comment": "why"},
        {"$expr": {"$gt": ["$a", "$b"]}},
        {"$jsonSchema": {"required": ["a"]}},
        {"at": {"$lt": {"$date": "2026-01-31T00:00:00Z"}}, "_id": {"$ne": {"$oid": "0" * 24}}},
        {"": 1, "ключ": "значение", "a.0.b": {"$exists": False}},
    ],
)
def test_ordinary_filters_pass_unchanged(query: dict[str, Any]):
    assert mql.check_filter(query) is query


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"$text": {"$search": "x"}}, "cannot be walked"),
        ({"$or": [{"a": 1}, {"$text": {"$search": "x"}}]}, "cannot be walked"),
        ({"loc": {"$near": [0, 0]}}, "sorts by distance"),
        ({"loc": {"$nearSphere": [0, 0]}}, "sorts by distance"),
        ({"loc": {"$geoNear": [0, 0]}}, "sorts by distance"),
        ({"$expr": {"$lt": [{"$rand": {}}, 0.1]}}, "another answer whenever a page asks again"),
        ({"$and": [{"$sampleRate": 0.1}]}, "another answer whenever a page asks again"),
        ({"$set": {"a": 1}}, "cannot stand at the top of a filter"),
        ({"$gt": 5}, "cannot stand at the top of a filter"),
        ({"$": 5}, "cannot stand at the top of a filter"),
    ],
)
def test_filters_that_cannot_be_walked_page_by_page_are_refused_with_the_reason(query: dict[str, Any], reason: str):
    with pytest.raises(ValueError, match=reason):
        mql.check_filter(query)


@pytest.mark.parametrize(
    ("query", "everything"),
    [
        ({}, True),
        ({"$comment": "yes, all"}, True),
        ({"$and": [{}, {"$comment": "x"}]}, True),
        ({"$or": [{"a": 1}, {}]}, True),
        ({"$and": [{"$or": [{"$and": [{}]}]}]}, True),
        ({"$expr": True}, True),
        ({"_id": {"$exists": True}}, True),
        ({"a": 1}, False),
        ({"$or": [{"a": 1}, {"b": 1}]}, False),
        ({"$and": [{}, {"a": 1}]}, False),
        ({"$comment": "x", "a": 1}, False),
        ({"$or": []}, False),
        ({"$or": "x"}, False),
        ({"$expr": False}, False),
        ({"_id": {"$exists": False}}, False),
        ({"$nor": [{}]}, False),
    ],
)
def test_knows_a_filter_that_plainly_matches_everything(query: dict[str, Any], *, everything: bool):
    assert mql.matches_everything(query) is everything


# -- updates --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "update",
    [
        {"$set": {"a": 1, "b.c": {"$date": "2026-01-31T00:00:00Z"}}, "$unset": {"d": ""}, "$inc": {"n": 1}},
        {"$push": {"a": {"$each": [1, 2], "$slice": -5, "$sort": 1}}, "$pull": {"b": {"$gte": 3}}},
        {"$set": {"a": {"$binary": {"base64": "", "subType": "00"}}, "b": {"$numberDecimal": "1"}}},
        {"$rename": {"old": "new.place"}},
        {"$set": {"grades.$[element].mean": 1, "items.$[].seen": True}},
        [{"$set": {"a": {"$add": ["$b", 1]}}}, {"$unset": "b"}, {"$unset": ["c", "d.e"]}, {"$project": {"x": 0}}],
        [{"$replaceRoot": {"newRoot": "$a"}}, {"$replaceWith": {"$mergeObjects": ["$$ROOT", {"b": 1}]}}],
    ],
)
def test_ordinary_updates_pass_unchanged(update: Update):
    assert mql.check_update(update) is update


@pytest.mark.parametrize(
    ("update", "reason"),
    [
        ({}, "is empty and would change nothing"),
        ([], "is an empty pipeline"),
        ([{}], "an empty stage is not an update stage"),
        ([{"$set": {"a": 1}, "$unset": "b"}], r"\$set, \$unset is not an update stage"),
        ([{"$match": {"a": 1}}], r"\$match is not an update stage"),
        ([{"$lookup": {"from": "b"}}], "is not an update stage"),
        ([{"$set": "a"}], "needs at least one field"),
        ([{"$addFields": {}}], "needs at least one field"),
        ([{"$project": None}], "needs at least one field"),
        ([{"$unset": 5}], "takes a field name or a list"),
        ([{"$unset": {"a": 1}}], "takes a field name or a list"),
        ([{"$unset": []}], "takes a field name or a list"),
        ([{"$unset": ["a", None]}], "takes a field name or a list"),
        ([{"$unset": ""}], "takes a field name or a list"),
        ([{"$replaceRoot": "$a"}], "needs newRoot"),
        ({"name": "new"}, "a whole replacement is a transform"),
        ({"$set": {"a": 1}, "b": 2}, "a whole replacement is a transform"),
        ({"$setOnInsert": {"a": 1}}, "not an update operator lull runs"),
        ({"$set": {}}, "needs at least one field"),
        ({"$set": [1]}, "needs at least one field"),
        ({"$inc": None}, "needs at least one field"),
        ({"$rename": {"a": {"b": 1}}}, "takes the new name"),
        ({"$rename": {"a": None}}, "takes the new name"),
        ({"$set": {"_id": 1}}, "writes _id"),
        ({"$set": {"_id.part": 1}}, "writes _id"),
        ({"$rename": {"_id": "old"}}, "writes _id"),
        ({"$rename": {"new": "_id"}}, "writes _id"),
        ([{"$set": {"_id": "$other"}}], "writes _id"),
        ([{"$unset": ["a", "_id"]}], "writes _id"),
    ],
)
def test_updates_that_cannot_run_are_refused_with_the_reason(update: Update, reason: str):
    with pytest.raises(ValueError, match=reason):
        mql.check_update(update)


def test_fields_whose_names_begin_like_the_id_may_be_written():
    mql.check_update({"$set": {"_ids": 1, "_id2.a": 1, "a._id": 1}})


@pytest.mark.parametrize(
    "update",
    [
        {"$set": {"total": {"$add": ["$price", "$tax"]}}},
        {"$set": {"a": {"b": [{"$cond": ["$x", 1, 2]}]}}},
        {"$min": {"a": {"$toInt": "$a"}}},
    ],
)
def test_an_expression_without_a_pipeline_is_refused_because_the_server_would_store_it(update: Update):
    with pytest.raises(ValueError, match=r"would be stored as it stands.*put the stage into a list"):
        mql.check_update(update)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=3)
       | st.dictionaries(st.sampled_from(["$set", "$unset", "$rename", "$inc", "$project", "$or", "$expr", "a", "_id", ""])
                         | st.text(max_size=3), inner, max_size=3), max_leaves=12))  # fmt: skip
def test_whatever_is_asked_the_answer_is_a_value_or_a_value_error(value: Any):
    for check in (mql.check_filter, mql.check_update):
        if isinstance(value, dict) or (
            check is mql.check_update and isinstance(value, list) and all(isinstance(stage, dict) for stage in value)
        ):
            try:
                checked = check(value)
            except ValueError:
                continue
            if check is mql.check_update:
                assert isinstance(mql.is_idempotent(checked), bool)
                assert all(isinstance(path, str) for path in mql.fields_written(checked))


@pytest.mark.parametrize("name", ["$\n", "$" + "x" * 10_000, "$_\r\n", "\x1b[31m$set", "$\u2028", "", "a b"])
def test_a_message_about_a_name_stays_one_printable_line(name: str):
    for check, value in (
        (mql.check_filter, {name if name.startswith("$") else "$" + name: 1}),
        (mql.check_update, {name: 1}),
        (mql.check_update, [{name: 1}] * 3),
        (mql.check_update, [dict.fromkeys([name, *map(str, range(1_000))], 1)]),
        (mql.check_update, {"$set": {"a": {"$" + name: 1}}}),
    ):
        with pytest.raises(ValueError, match=r"filter|update|inside|stage") as caught:
            check(value)  # type: ignore[operator]
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 500


# -- which fields ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("update", "fields"),
    [
        ({"$set": {"a.b": 1, "c": 2}, "$inc": {"n": 1}}, {"a.b", "c", "n"}),
        ({"$rename": {"old": "new"}, "$unset": {"x": 1}}, {"old", "new", "x"}),
        ([{"$set": {"a": 1}}, {"$addFields": {"b.c": 1}}], {"a", "b.c"}),
        ([{"$unset": "a"}, {"$unset": ["b", "c.d"]}], {"a", "b", "c.d"}),
        ([{"$set": {"a": 1}}, {"$project": {"b": 0}}], {"a", "*"}),
        ([{"$replaceRoot": {"newRoot": "$a"}}], {"*"}),
        ([{"$replaceWith": {"a": 1}}], {"*"}),
    ],
)
def test_names_the_fields_an_update_writes(update: Update, fields: set[str]):
    assert mql.fields_written(update) == fields


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a", "a"), ("a", "a.b"), ("a", "a.b.c"), ("a.b", "a.b.c"), ("*", "anything.at.all"), ("*", "*"),
        ("a.0", "a.1"), ("a.0.b", "a.$[].b"), ("a.$.b", "a.5"), ("a.$[x].b", "a.b.c"), ("a.b", "a.10.b"), ("0.a", "0"),
    ],
)  # fmt: skip
def test_these_paths_overlap(one: str, other: str):
    assert mql.paths_overlap(one, other)
    assert mql.paths_overlap(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [("a", "b"), ("a.b", "a.bc"), ("a.b", "a.c"), ("ab", "a.b"), ("a.b", "b.a"), ("A", "a"), ("a.0.b", "a.$[].c"),
     ("0", "1"), ("é", "e\u0301"), ("a²", "a")],
)  # fmt: skip
def test_these_paths_do_not_overlap(one: str, other: str):
    assert not mql.paths_overlap(one, other)
    assert not mql.paths_overlap(other, one)


PATHS = st.lists(st.sampled_from(["a", "b", "ab", "0", "1", "$", "$[]", "$[x]"]), min_size=1, max_size=4).map(".".join)


@given(PATHS, PATHS)
def test_overlap_is_symmetric_and_everything_overlaps_itself_and_its_parents(one: str, other: str):
    assert mql.paths_overlap(one, other) is mql.paths_overlap(other, one)
    for length in range(1, len(one.split(".")) + 1):
        assert mql.paths_overlap(one, ".".join(one.split(".")[:length]))


# -- idempotency ----------------------------------------------------------------------------------

IDEMPOTENT: list[Update] = [
    {"$set": {"a": 1}},
    {"$set": {"a": "$a"}},  # text, not a path: this is no pipeline
    {"$unset": {"a": ""}, "$rename": {"b": "c"}, "$min": {"d": 1}, "$max": {"e": 1}},
    {"$addToSet": {"a": 1}, "$pull": {"b": 1}, "$pullAll": {"c": [1]}},
    {"$set": {"a.$[].b": 1, "a.$[x].c": 2}},
    [{"$set": {"a": 1}}],
    [{"$set": {"a": "$b"}}],
    [{"$set": {"a": {"$add": ["$b", "$c.d", 1]}}}],
    [{"$set": {"a.b": "$a.bc"}}],
    [{"$set": {"ab": "$a"}}],
    [{"$set": {"a": {"$literal": "$a"}}}],
    [{"$set": {"a": {"$literal": {"$add": ["$a", {"$rand": {}}]}}}}],
    [{"$set": {"a": {"$let": {"vars": {"x": "$b"}, "in": {"$multiply": ["$$x", 2]}}}}}],
    [{"$set": {"a": {"$map": {"input": "$b", "as": "row", "in": {"$map": {"input": "$$row.c", "in": "$$this.a"}}}}}}],
    [{"$set": {"a": {"$reduce": {"input": "$b", "initialValue": 0, "in": {"$add": ["$$value", "$$this"]}}}}}],
    [{"$set": {"a": {"$cond": ["$b", "$$REMOVE", 1]}}}],
    [{"$set": {"a": "$$ROOT.b"}}],
    [{"$set": {"a": "$$CURRENT.b.c"}}],
    [{"$unset": ["a", "b"]}],
    [{"$project": {"a": 0}}],
    [{"$project": {"a": 1, "b": 1}}],
    [{"$replaceWith": {"a": 1}}],
]

NOT_SURELY_IDEMPOTENT: list[Update] = [
    {"$inc": {"a": 1}},
    {"$mul": {"a": 2}},
    {"$push": {"a": 1}},
    {"$pop": {"a": 1}},
    {"$bit": {"a": {"xor": 1}}},
    {"$currentDate": {"a": True}},
    {"$set": {"a": 1}, "$inc": {"b": 1}},
    {"$set": {"a.$": 2}},  # the first match is another one when the first has changed
    {"$set": {"a.$.b": 2}},
    {"$set": {"a.$[x]": 2, "a.$[y]": 3}},  # x makes 1 a 2, y makes 2 a 3: twice makes 1 a 3
    [{"$set": {"a": {"$add": ["$a", 1]}}}],
    [{"$set": {"a.b": {"$add": ["$a", 1]}}}],
    [{"$set": {"a": {"$add": ["$a.b", 1]}}}],
    [{"$set": {"a": "$b", "b": "$a"}}],
    [{"$set": {"b": "$a"}}, {"$set": {"a": 1}}],
    [{"$set": {"new": "$old"}}, {"$unset": "old"}],
    [{"$set": {"a": {"$concatArrays": ["$a", [1]]}}}],
    [{"$set": {"a": {"$let": {"vars": {"x": "$a"}, "in": {"$add": ["$$x", 1]}}}}}],
    [{"$set": {"a": {"$let": {"vars": {"all": "$$ROOT"}, "in": {"$add": ["$$all.a", 1]}}}}}],
    [{"$set": {"a": {"$let": {"vars": {"CURRENT": "$a"}, "in": {"$add": ["$b", 1]}}}}}],
    [{"$set": {"a": {"$map": {"input": "$a", "in": {"$map": {"input": "$$this", "in": {"$add": ["$$this", 1]}}}}}}}],
    [{"$set": {"copy": "$$ROOT"}}],
    [{"$set": {"copy": "$$CURRENT"}}],
    [{"$set": {"a": {"$add": ["$$ROOT.a", 1]}}}],
    [{"$set": {"a": {"$add": [{"$getField": "a"}, 1]}}}],
    [{"$set": {"a": {"$switch": {"branches": [{"case": True, "then": {"$add": ["$a", 1]}}], "default": 0}}}}],
    [{"$set": {"a.0.b": "$a.b"}}],
    [{"$set": {"at": "$$NOW"}}],
    [{"$set": {"at": {"$dateTrunc": {"date": "$$CLUSTER_TIME", "unit": "day"}}}}],
    [{"$set": {"draw": {"$rand": {}}}}],
    [{"$replaceWith": {"$mergeObjects": ["$$ROOT", {"n": {"$add": ["$n", 1]}}]}}],
    [{"$replaceRoot": {"newRoot": "$a"}}],
    [{"$project": {"a": {"$add": ["$a", 1]}}}],
]


@pytest.mark.parametrize("update", IDEMPOTENT, ids=repr)
def test_knows_that_applying_it_twice_changes_nothing_more(update: Update):
    mql.check_update(update)
    assert mql.is_idempotent(update)


@pytest.mark.parametrize("update", NOT_SURELY_IDEMPOTENT, ids=repr)
def test_never_calls_idempotent_what_may_not_be(update: Update):
    mql.check_update(update)
    assert not mql.is_idempotent(update)


OPERANDS = st.recursive(
    st.integers(-3, 3) | st.sampled_from(["$a", "$b", "$c"]),
    lambda inner: st.builds(lambda left, right: {"$add": [left, right]}, inner, inner),
    max_leaves=4,
)
PIPELINES = st.lists(
    st.dictionaries(st.sampled_from("abc"), OPERANDS, min_size=1, max_size=2).map(lambda fields: {"$set": fields})
    | st.sampled_from("abc").map(lambda field: {"$unset": field}),
    min_size=1,
    max_size=3,
)


def evaluated(expression: Any, document: dict[str, int]) -> int | None:
    """``$add`` over fields as MongoDB does it: a missing operand makes the sum null."""
    if isinstance(expression, int):
        return expression
    if isinstance(expression, str):
        return document.get(expression[1:])
    parts = [evaluated(part, document) for part in expression["$add"]]
    return None if None in parts else sum(part for part in parts if part is not None)


def applied(pipeline: list[dict[str, Any]], document: dict[str, int | None]) -> dict[str, int | None]:
    for stage in pipeline:
        ((name, body),) = stage.items()
        if name == "$unset":
            document = {key: value for key, value in document.items() if key != body}
        else:
            found = {key: evaluated(value, document) for key, value in body.items()}  # type: ignore[arg-type]
            missing = {key for key, value in body.items() if isinstance(value, str) and value[1:] not in document}
            document = {key: value for key, value in (document | found).items() if key not in missing}
    return document


DOCUMENTS = [
    {key: value for key, value in zip("abc", values, strict=True) if value is not None}
    for values in itertools.product([None, 1, 5], repeat=3)
]


@given(PIPELINES)
def test_what_is_called_idempotent_is_so_on_every_document(pipeline: list[dict[str, Any]]):
    """Against a small model of ``$set``, ``$unset`` and ``$add``."""
    if mql.is_idempotent(pipeline):
        for document in DOCUMENTS:
            once = applied(pipeline, dict(document))
            assert applied(pipeline, once) == once

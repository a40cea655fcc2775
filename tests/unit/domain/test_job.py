"""A request is validated with remedies, written one way, told from another by its digest, and compared readably."""

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lull.domain.job import FORBIDDEN_DATABASES, NAMESPACE_BYTES_MAX, SPEC_BYTES_MAX, JobSpec, diff
from lull.domain.kinds import KINDS, parse_spec
from lull.domain.strict import Strict

MakeSpec = Callable[..., JobSpec]
MakeWritten = Callable[..., dict[str, Any]]


def refusal(make_spec: MakeSpec, **changes: Any) -> tuple[str, str]:
    """The dotted field and the sentence of the one error there is."""
    with pytest.raises(ValidationError) as caught:
        make_spec(**changes)
    (error,) = caught.value.errors()
    return ".".join(map(str, error["loc"])), error["msg"]


# -- validation -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "field", "sentence"),
    [
        ({"job": "Flights"}, "job", "should match pattern"),
        ({"job": ""}, "job", "should match pattern"),
        ({"job": "a" * 101}, "job", "should match pattern"),
        ({"job": "a\n"}, "job", "should match pattern"),
        ({"job": "../a"}, "job", "should match pattern"),
        ({"job": "é"}, "job", "should match pattern"),
        ({"job": 7}, "job", "valid string"),
        ({"job": "\ud800"}, "job", "valid string"),
        ({"updates": {}}, "updates", "Extra inputs"),
        ({"limits": {"paralel": 2}}, "limits.paralel", "Extra inputs"),
        ({"limits": {"parallel": 0}}, "limits.parallel", "greater than or equal to 1"),
        ({"limits": {"parallel": 65}}, "limits.parallel", "less than or equal to 64"),
        ({"limits": {"parallel": 1.5}}, "limits.parallel", "fractional"),
        ({"limits": {"parallel": 10**400}}, "limits.parallel", "less than or equal"),
        ({"limits": {"max_docs_per_second": 0}}, "limits.max_docs_per_second", "greater than 0"),
        ({"limits": {"max_docs_per_second": float("nan")}}, "limits.max_docs_per_second", "finite"),
        ({"limits": {"max_docs_per_second": float("inf")}}, "limits.max_docs_per_second", "finite"),
        ({"limits": {"max_docs_per_second": 10**400}}, "limits.max_docs_per_second", "valid number"),
        ({"limits": {"deadline": "soon"}}, "limits.deadline", "write it like 90s"),
        ({"limits": {"deadline": 10**400}}, "limits.deadline", "at most 366d"),
        ({"limits": {"deadline": "0.5s"}}, "", "limits.deadline must be at least 1s"),
        ({"limits": {"page_hold_ms": 500}}, "limits.page_hold_ms", "less than or equal to 200"),
        ({"on_poison": {"stop_after": -1}}, "on_poison.stop_after", "greater than or equal to 0"),
        ({"accept": ["sharding"]}, "accept.0", "'sharded' or 'at_least_once'"),
        ({"priority": "high"}, "priority", "'normal' or 'critical'"),
        ({"source": {"filter": {"$where": "1"}}}, "source.filter", "runs JavaScript"),
        ({"source": {"filter": None}}, "source.filter", "valid dictionary"),
        ({"source": {"filter": {1: 1}}}, "source.filter.1.[key]", "valid string"),
        ({"source": {"database": "a.b"}}, "source.database", "no MongoDB database name"),
        ({"source": {"database": "a b"}}, "source.database", "no MongoDB database name"),
        ({"source": {"database": "x" * 64}}, "source.database", "at most 63 bytes"),
        ({"source": {"database": "é" * 32}}, "source.database", "at most 63 bytes"),
        ({"source": {"database": ""}}, "source.database", "at least 1 character"),
        ({"source": {"collection": "system.users"}}, "source.collection", "never touches system collections"),
        ({"source": {"collection": "a$b"}}, "source.collection", "no ordinary collection"),
        ({"source": {"collection": "a\x00b"}}, "source.collection", "no ordinary collection"),
        ({"source": {"collection": ".a"}}, "source.collection", "a dot stands between"),
        ({"source": {"collection": "a..b"}}, "source.collection", "a dot stands between"),
        ({"source": {"collection": "a."}}, "source.collection", "a dot stands between"),
        ({"source": {"collection": "é" * 120, "database": "x" * 63}}, "source", "more than the 255"),
        ({"source": {"collection": "\ud800"}}, "source.collection", "valid string"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_with_its_field_and_the_limit(
    make_spec: MakeSpec, changes: dict[str, Any], field: str, sentence: str
):
    seen_field, seen_sentence = refusal(make_spec, **changes)
    assert seen_field == field
    assert sentence in seen_sentence


@pytest.mark.parametrize(
    "changes",
    [
        {"limits": {"parallel": True}},
        {"limits": {"max_docs_per_second": True}},
        {"limits": {"max_docs_per_second": False}},
        {"limits": {"page_hold_ms": True}},
        {"limits": {"page_docs_max": True}},
        {"on_poison": {"stop_after": False}},
    ],
)
def test_true_is_not_one(make_spec: MakeSpec, changes: dict[str, Any]):
    """YAML reads ``yes`` and ``on`` as true: a job would crawl at one document per second."""
    assert "must be a number, not" in refusal(make_spec, **changes)[1]


def test_fields_of_yes_or_no_stay_so(make_spec: MakeSpec):
    spec = make_spec(overlap=True, on_poison={"quarantine": False})
    assert (spec.overlap, spec.on_poison.quarantine) == (True, False)


@pytest.mark.parametrize("database", sorted(FORBIDDEN_DATABASES))
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_no_kind_ever_touches_the_servers_databases_or_the_ledger(make_spec: MakeSpec, kind: str, database: str):
    with pytest.raises(ValidationError, match="lull never touches the databases admin, config, local, lull"):
        make_spec(kind, source={"database": database})


def test_a_namespace_as_long_as_mongodb_allows_is_fine(make_spec: MakeSpec):
    database, collection = "x" * 63, "é" * ((NAMESPACE_BYTES_MAX - 64) // 2)
    assert len(make_spec(source={"database": database, "collection": collection}).source.namespace.encode()) >= 254


def test_a_spec_that_lists_its_documents_is_refused_before_temporal_chokes_on_it(make_spec: MakeSpec):
    listed = {"_id": {"$in": ["x" * 20] * (SPEC_BYTES_MAX // 20)}}
    with pytest.raises(ValidationError, match="mark them by a field and filter on it"):
        make_spec(source={"filter": listed})


def test_a_spec_cannot_be_changed_after_it_was_checked(make_spec: MakeSpec):
    with pytest.raises(ValidationError, match="frozen"):
        make_spec().job = "other"


def test_defaults_are_modest(make_spec: MakeSpec):
    limits = make_spec().limits
    assert limits.max_docs_per_second is None
    assert limits.deadline is None
    assert limits.parallel == 2
    assert 10 <= limits.page_hold_ms <= 25


# -- one writing ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_canonical_writing_reads_back_as_the_same_request(make_spec: MakeSpec, kind: str):
    spec = make_spec(
        kind,
        accept=["sharded", "at_least_once"],
        priority="critical",
        limits={"deadline": "1h30m", "max_docs_per_second": 0.1, "page_hold_ms": 7},
        on_poison={"quarantine": False},
    )
    travelled = json.loads(json.dumps(spec.canonical()))
    again = parse_spec(travelled)
    assert again == spec
    assert again.canonical() == spec.canonical() == travelled
    assert again.digest == spec.digest


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_canonical_writing_leaves_defaults_out_and_says_its_kind(make_spec: MakeSpec, kind: str):
    canonical = make_spec(kind).canonical()
    assert canonical["kind"] == kind
    assert not {"limits", "on_poison", "accept", "priority", "overlap"} & canonical.keys()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {"limits": {}}),
        ({}, {"limits": {"parallel": 2, "deadline": None}, "overlap": False, "accept": []}),
        ({}, {"source": {"cluster": "main"}}),
        ({"limits": {"deadline": "6h"}}, {"limits": {"deadline": "360m"}}),
        ({"limits": {"deadline": "6h"}}, {"limits": {"deadline": timedelta(hours=6)}}),
        ({"limits": {"max_docs_per_second": 500}}, {"limits": {"max_docs_per_second": 500.0}}),
        ({"accept": "sharded"}, {"accept": ["sharded"]}),
        ({"accept": ["sharded", "at_least_once"]}, {"accept": ["at_least_once", "sharded", "sharded"]}),
    ],
)
def test_requests_that_mean_the_same_have_one_digest(make_spec: MakeSpec, one: dict[str, Any], other: dict[str, Any]):
    assert make_spec(**one).digest == make_spec(**other).digest
    assert diff(make_spec(**one).canonical(), make_spec(**other).canonical()) == []


@pytest.mark.parametrize(
    ("one", "other", "line"),
    [
        ({}, {"job": "flights-2"}, 'job: "flights-1" -> "flights-2"'),
        ({}, {"limits": {"parallel": 4}}, "limits.parallel: (not set) -> 4"),
        ({"overlap": True}, {}, "overlap: true -> (not set)"),
        ({"source": {"filter": {"a": 1}}}, {"source": {"filter": {"a": True}}}, "source.filter.a: 1 -> true"),
        ({"source": {"filter": {"a": 1}}}, {"source": {"filter": {"a": 1.0}}}, "source.filter.a: 1 -> 1.0"),
        ({"source": {"filter": {"a": 1}}}, {"source": {"filter": {"a": "1"}}}, 'source.filter.a: 1 -> "1"'),
        ({"source": {"filter": {"a": 0}}}, {"source": {"filter": {"a": None}}}, "source.filter.a: 0 -> null"),
        ({"source": {"filter": {"a": {}}}}, {"source": {"filter": {"a": []}}}, "source.filter.a: {} -> []"),
        ({"source": {"filter": {"a": "é"}}}, {"source": {"filter": {"a": "e"}}}, 'source.filter.a: "é" -> "e"'),
        ({"source": {"filter": {"a": {"b": 1}}}}, {"source": {"filter": {"a.b": 1}}}, 'source.filter."a.b": (not set) -> 1'),
        ({"update": {"$set": {"a": [1, 2]}}}, {"update": {"$set": {"a": [2, 1]}}}, "update.$set.a: [1, 2] -> [2, 1]"),
    ],
)  # fmt: skip
def test_requests_that_differ_have_other_digests_and_a_line_that_says_where(
    make_spec: MakeSpec, one: dict[str, Any], other: dict[str, Any], line: str
):
    before, after = make_spec(**one), make_spec(**other)
    assert before.digest != after.digest
    assert line in diff(before.canonical(), after.canonical())


ODD = st.recursive(st.sampled_from([None, True, False, 0, 1, 1.0, -0.0, "", "1", "a.b"]),
                   lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "b", "a.b", '"a', ""]), inner, max_size=2),
                   max_leaves=4)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["a", "b", "a.b", "c"]), ODD, max_size=2), st.dictionaries(st.sampled_from(["a", "b", "a.b", "c"]), ODD, max_size=2))  # fmt: skip
def test_two_digests_differ_exactly_when_the_diff_has_lines(one: dict[str, Any], other: dict[str, Any]):
    """A request that is refused as another one must say what is other about it."""

    def spec(query: dict[str, Any]) -> JobSpec:
        source = {"database": "d", "collection": "c", "filter": query}
        return parse_spec({"job": "j", "kind": "transform", "transform": "t", "source": source})

    lines = diff(spec(one).canonical(), spec(other).canonical())
    assert (spec(one).digest != spec(other).digest) is bool(lines)


def test_the_digest_of_a_set_is_the_same_in_every_process(make_written: MakeWritten):
    """Python orders a set of strings anew in every process; a restart would meet "another spec" under its own name."""
    spec = make_written(
        "transform", writes=["speed", "at", "delay", "origin.tz", "gate"], accept=["at_least_once", "sharded"]
    )
    code = f"from lull.domain.kinds import parse_spec; print(parse_spec({spec!r}).digest)"
    digests = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert digests == {parse_spec(spec).digest + "\n"}


def test_the_digest_is_what_it_was_when_ledgers_were_written_with_it(make_spec: MakeSpec):
    """Pinned: a release that computes another digest refuses every job that is under way."""
    assert make_spec("update").digest == "574f06b9b624e14b"
    assert make_spec("transform", writes=["b", "a"], limits={"deadline": "6h"}).digest == "ea890e503b0abc8f"
    assert make_spec("purge", accept="sharded").digest == "c1851eec2ed9d436"


# -- answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_answers_every_question_in_a_sentence(make_spec: MakeSpec, kind: str):
    spec = make_spec(kind)
    assert spec.gloss
    assert spec.effect
    assert spec.undo
    assert spec.fields_written
    assert spec.is_idempotent in {True, False}
    assert spec.may_drain in {True, False}
    assert spec.source.namespace == "nyc.flights"


def test_a_purge_of_everything_must_be_meant(make_spec: MakeSpec):
    for query in ({}, {"$comment": "cleanup"}, {"$and": [{}]}):
        with pytest.raises(ValidationError, match="everything: true if that is meant"):
            make_spec("purge", source={"filter": query})
        assert make_spec("purge", source={"filter": query}, everything=True).effect == "delete"


def test_a_purge_built_in_python_is_guarded_like_one_read_from_a_file(make_spec: MakeSpec):
    source = make_spec("update", source={"filter": {}}).source
    with pytest.raises(ValidationError, match="everything: true if that is meant"):
        KINDS["purge"](job="a", kind="purge", source=source)


def test_an_update_is_as_idempotent_as_what_it_says(make_spec: MakeSpec):
    assert make_spec("update", update={"$set": {"a": 1}}).is_idempotent
    assert not make_spec("update", update={"$inc": {"a": 1}}).is_idempotent
    assert not make_spec("transform").is_idempotent
    assert make_spec("purge").is_idempotent


def test_array_filters_are_checked_like_filters(make_spec: MakeSpec):
    with pytest.raises(ValidationError, match=r"\$where in array_filters"):
        make_spec("update", array_filters=[{"x": {"$where": "1"}}])
    with pytest.raises(ValidationError, match="100"):
        make_spec("update", array_filters=[{"x": 1}] * 101)


def test_a_union_of_a_number_and_nothing_is_a_number_too():
    class Bounded(Strict):
        most: int | None = None
        share: float = 1.0
        on: bool = False

    assert Bounded(on=True).on
    for field in ("most", "share"):
        with pytest.raises(ValidationError, match="must be a number, not true"):
            Bounded(**{field: True})

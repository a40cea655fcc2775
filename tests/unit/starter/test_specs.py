"""A spec is right, or each of its mistakes is one line: the field, what was seen, what is accepted."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from lull.domain.errors import OperatorError
from lull.domain.kinds import KINDS
from lull.starter import catalogue
from lull.starter.specs import load_spec, override, spec_of

UPDATE = {
    "job": "orders-1",
    "kind": "update",
    "source": {"database": "shop", "collection": "orders"},
    "update": {"$set": {"status": "done"}},
}


def changed(**fields: Any) -> dict[str, Any]:
    """The spec with these fields; None takes one away."""
    merged = UPDATE | fields
    return {name: value for name, value in merged.items() if value is not None}


def lines(value: Any) -> list[str]:
    with pytest.raises(OperatorError) as caught:
        spec_of(value, "job.yaml")
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        (changed(job="A B"), 'job: saw "A B"; it takes text: at most 100 of a-z 0-9 . _ -, beginning with a letter or digit'),
        (changed(jbo="x"), "jbo is no field of update jobs; did you mean job?"),
        (changed(limits={"paralel": 3}), "limits.paralel is no field of update jobs; did you mean limits.parallel?"),
        (changed(parallel=3), "parallel is no field of update jobs; did you mean limits.parallel?"),
        (changed(limits={"parallel": 99}), "limits.parallel: saw 99; it takes a whole number from 1 to 64 (default 2)"),
        (changed(limits={"parallel": True}), "limits.parallel: must be a number, not true"),
        (changed(limits=[]), "limits: saw []; it takes a mapping with max_docs_per_second, deadline, parallel, page_hold_ms, page_docs_max"),
        (changed(source=None), "source is missing; give a mapping with cluster, database, collection, filter"),
        (changed(source={"database": "d"}), "source.collection is missing; give text of 1 to 120 characters"),
        (changed(update=None), "update is missing; give a mapping or a list of mappings"),
        (changed(update=5), "update: saw 5; it takes a mapping or a list of mappings"),
        (changed(priority="high"), 'priority: saw "high"; it takes normal or critical (default normal)'),
        (changed(accept="everything"), 'accept: saw "everything"; it takes a list of sharded or at_least_once (default [])'),
        (changed(kind=None), "kind is missing; use one of purge, transform, update"),
        (changed(kind="updat"), "kind 'updat' is not known; did you mean 'update'?"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_field_sight_and_remedy(spec: dict[str, Any], line: str):
    assert lines(spec) == [line]


def test_every_mistake_of_a_spec_is_told_at_once():
    spec = changed(job="A B", limits={"parallel": 0, "deadline": "tomorrow"}, source={"databse": "shop"})
    assert {line.split()[0].rstrip(":") for line in lines(spec)} == {
        "job", "limits.parallel", "limits.deadline", "source.database", "source.collection", "source.databse",
    }  # fmt: skip


def test_a_union_is_one_mistake_and_not_one_for_each_of_its_branches():
    assert len(lines(changed(update="$set"))) == 1
    assert len(lines(changed(update=[1]))) == 1


@pytest.mark.parametrize("value", [[], "text", 5, True, [UPDATE]])
def test_what_is_no_mapping_is_no_spec(value: Any):
    (line,) = lines(value)
    assert "a spec is a mapping of fields; see lull kinds" in line


def test_a_message_has_an_end():
    told = lines(changed(**{f"field{n}": n for n in range(500)}))
    assert len(told) == 21
    assert told[-1] == "… and 480 more"


# -- files ---------------------------------------------------------------------------------------


def refusal(source: str, *sets: str) -> str:
    with pytest.raises(OperatorError) as caught:
        load_spec(source, sets)
    return str(caught.value)


def test_a_spec_is_read_from_yaml_and_json_alike(tmp_path: Path):
    (tmp_path / "a.json").write_text(json.dumps(UPDATE))
    (tmp_path / "a.yaml").write_text(
        "job: orders-1\nkind: update\nsource: {database: shop, collection: orders}\nupdate: {$set: {status: done}}\n"
    )
    assert load_spec(str(tmp_path / "a.json")).digest == load_spec(str(tmp_path / "a.yaml")).digest


def test_a_dash_is_stdin(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(UPDATE).encode())))
    assert load_spec("-").job == "orders-1"


def test_what_cannot_be_read_is_said(tmp_path: Path):
    assert "there is no file" in refusal(str(tmp_path / "absent.yaml"))
    assert "is a directory; name a spec inside it" in refusal(str(tmp_path))
    assert "cannot read" in refusal("a\x00b")
    (tmp_path / "empty.yaml").write_text("")
    assert "is empty; a spec needs at least job, kind and source" in refusal(str(tmp_path / "empty.yaml"))
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    assert "is not UTF-8 text" in refusal(str(tmp_path / "binary"))


def test_the_examples_are_specs():
    found = sorted((Path(__file__).parents[3] / "examples").glob("*.yaml"))
    assert {load_spec(str(path)).kind for path in found} == {*KINDS}


# -- overrides -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("limits.parallel=4", {"limits": {"parallel": 4}}),
        ("update.$set.status=gone", {"update": {"$set": {"status": "gone"}}}),
        ('source.filter."address.city"=Rome', {"source": {"filter": {"address.city": "Rome"}}}),
        ("source.filter={a: {$gt: 2026-01-31}}", {"source": {"filter": {"a": {"$gt": {"$date": "2026-01-31T00:00:00Z"}}}}}),
        ("limits.deadline=6h", {"limits": {"deadline": "6h"}}),
        ("source.filter.a==", {"source": {"filter": {"a": "="}}}),
        ("limits.deadline=", {"limits": {"deadline": None}}),
    ],
)  # fmt: skip
def test_set_puts_a_typed_value_in_its_place(setting: str, expected: dict[str, Any]):
    def contains(whole: Any, part: Any) -> bool:
        if isinstance(part, dict):
            return all(name in whole and contains(whole[name], inner) for name, inner in part.items())
        return bool(whole == part)

    assert contains(override(UPDATE, [setting]), expected)


def test_set_changes_nothing_but_its_place_and_not_the_original():
    before = json.dumps(UPDATE)
    assert override(UPDATE, ["limits.parallel=4"]) == UPDATE | {"limits": {"parallel": 4}}
    assert json.dumps(UPDATE) == before


def test_set_reaches_into_lists_and_adds_to_their_end():
    pipeline = {"update": [{"$set": {"a": 1}}]}
    assert override(pipeline, ["update.0.$set.a=2"]) == {"update": [{"$set": {"a": 2}}]}
    assert override(pipeline, ["update.1={$unset: b}"]) == {"update": [{"$set": {"a": 1}}, {"$unset": "b"}]}


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("limits.parallel", "is not path=value; write it like --set limits.parallel=4"),
        ("=4", "is not path=value"),
        ("a..b=1", "is not path=value"),
        ("job.name=x", 'would stand inside "orders-1", which has no fields'),
        ("limits.parallel=on", "--set limits.parallel, line 1: on can be text or a truth value"),
        ("limits.parallel=[", "--set limits.parallel, line 1"),
    ],
)
def test_a_set_that_cannot_be_obeyed_names_itself_and_the_remedy(setting: str, problem: str):
    with pytest.raises(OperatorError) as caught:
        override(UPDATE, [setting])
    assert problem in str(caught.value)
    assert "--set" in str(caught.value)


@pytest.mark.parametrize("index", ["2", "-1", "x", "999999999999"])
def test_a_place_outside_a_list_is_refused_with_those_there_are(index: str):
    with pytest.raises(OperatorError, match=r"use 0 to 1 \(1 adds one\)"):
        override({"update": [{}]}, [f"update.{index}=1"])


# -- the catalogue -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_catalogue_shows_every_field_of_a_kind_with_what_it_accepts(kind: str):
    entry = catalogue.entry(kind)
    paths = [field.path for field in entry.fields]
    assert {"job", "kind", "source.database", "source.filter", "limits.parallel", "on_poison.stop_after"} <= {*paths}
    assert all(field.accepts not in {"", "a value"} for field in entry.fields)
    assert {field.path for field in entry.fields if field.is_required} >= {"job", "kind", "source.collection"}
    parallel = next(field for field in entry.fields if field.path == "limits.parallel")
    assert (parallel.accepts, parallel.default) == ("a whole number from 1 to 64", "2")
    assert parallel.meaning.startswith("Slices at a time.")


def test_a_kind_that_is_not_there_is_refused_with_the_near_one():
    with pytest.raises(OperatorError, match="did you mean purge"):
        catalogue.entry("perge")

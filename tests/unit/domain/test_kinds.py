"""A job kind is one file in domain/kinds, one adapter of the same name, and an example."""

import ast
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

import lull.domain.kinds
from lull.domain.job import JobSpec
from lull.domain.kinds import KINDS, AnySpec, parse_spec

MakeSpec = Callable[..., JobSpec]
MakeWritten = Callable[..., dict[str, Any]]

ROOT = Path(__file__).parents[3]
FILES = sorted(path.stem for path in (ROOT / "domain" / "kinds").glob("*.py") if path.stem != "__init__")
EXAMPLES = sorted((ROOT / "examples").glob("**/*.yaml"))


def test_every_file_is_a_kind_of_its_own_name_and_there_is_no_other_list():
    assert list(KINDS) == FILES
    assert all(KINDS[name].__module__ == f"lull.domain.kinds.{name}" for name in FILES)


@pytest.mark.parametrize("kind", FILES)
def test_every_kind_has_an_adapter_of_the_same_name(kind: str):
    assert (ROOT / "activities" / "kinds" / f"{kind}.py").is_file()


@pytest.mark.parametrize("kind", FILES)
def test_every_kind_has_an_example(kind: str):
    assert kind in {yaml.safe_load(path.read_text())["kind"] for path in EXAMPLES}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_a_valid_spec(path: Path):
    assert parse_spec(yaml.safe_load(path.read_text())).kind in KINDS


def test_nothing_outside_its_files_asks_which_kind_a_job_is():
    """A new kind must need no branch anywhere: no room compares a kind, or names one in a string."""
    rooms = ["domain", "workflows", "activities", "workers", "starter", "lull"]
    sources = [path for room in rooms for path in (ROOT / room).rglob("*.py") if path.parent.name != "kinds"]
    asking = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sources
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Compare)
        for side in [node.left, *node.comparators]
        if isinstance(side, ast.Constant) and side.value in KINDS
    ]
    assert asking == []


@pytest.mark.parametrize("kind", FILES)
def test_reads_a_mapping_as_the_spec_of_its_kind(make_written: MakeWritten, kind: str):
    spec = parse_spec(make_written(kind))
    assert type(spec) is KINDS[kind]
    assert parse_spec(spec) is spec


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("updat", "kind 'updat' is not known; did you mean 'update'?"),
        ("Transform", "did you mean 'transform'?"),
        ("prune", "did you mean 'purge'?"),
        ("zzz", f"use one of {', '.join(FILES)}"),
        ("", f"use one of {', '.join(FILES)}"),
        (None, f"kind is missing; use one of {', '.join(FILES)}"),
        (7, "kind 7 is not known"),
        (True, "kind True is not known"),
        (["update"], "kind ['update'] is not known"),
        ({"update": 1}, "is not known"),
        ("\ud800", "is not known"),
    ],
)
def test_an_unknown_kind_is_refused_with_the_one_that_was_probably_meant(
    make_written: MakeWritten, kind: Any, sentence: str
):
    with pytest.raises(ValueError, match="kind") as caught:
        parse_spec(make_written() | {"kind": kind})
    assert sentence in str(caught.value)


def test_the_sentence_about_an_unknown_kind_stays_short(make_written: MakeWritten):
    with pytest.raises(ValueError, match="not known") as caught:
        parse_spec(make_written() | {"kind": "update" * 100_000})
    assert len(str(caught.value)) < 300


def test_a_mapping_without_kind_says_so(make_written: MakeWritten):
    spec = make_written()
    del spec["kind"]
    with pytest.raises(ValueError, match="kind is missing"):
        parse_spec(spec)


@pytest.mark.parametrize("value", [None, [], "update", 7, b"", object(), ["job"]])
def test_what_is_no_mapping_is_refused(value: Any):
    with pytest.raises(ValueError, match=r"a spec is a mapping of fields, not \w+; see examples/"):
        parse_spec(value)


def test_a_field_of_another_kind_is_an_unknown_field(make_written: MakeWritten):
    with pytest.raises(ValidationError, match=r"transform\s+Extra inputs are not permitted"):
        parse_spec(make_written("update", transform="nyc.speed"))


SPECS = TypeAdapter(AnySpec)


@pytest.mark.parametrize("kind", FILES)
def test_a_message_carries_any_spec_and_brings_it_back(make_spec: MakeSpec, kind: str):
    spec = make_spec(kind, accept=["sharded"])
    assert SPECS.validate_json(SPECS.dump_json(spec)) == spec


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
                        st.sampled_from(["job", "kind", "source", "database", "collection", "filter", "limits", "update",
                                         "transform", "accept", "everything", "$set", "a"]) | st.text(max_size=3)
                        | st.integers() | st.booleans(), inner, max_size=5), max_leaves=15))  # fmt: skip
def test_whatever_is_read_the_answer_is_a_spec_or_a_value_error(value: Any):
    with suppress(ValueError):
        assert isinstance(parse_spec(value), JobSpec)


@given(st.fixed_dictionaries({}, optional={
    "limits": st.dictionaries(st.sampled_from(["parallel", "deadline", "page_hold_ms", "max_docs_per_second"]),
                              st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)),
    "accept": st.none() | st.text(max_size=9) | st.lists(st.sampled_from(["sharded", "at_least_once", 1, None])),
    "source": st.dictionaries(st.sampled_from(["database", "collection", "cluster", "filter"]),
                              st.none() | st.text() | st.dictionaries(st.text(), st.integers())),
    "overlap": st.integers() | st.text(), "priority": st.text(), "job": st.text(), "on_poison": st.text() | st.booleans(),
}))  # fmt: skip
@pytest.mark.parametrize("kind", FILES)
def test_a_spec_bent_in_any_field_is_read_or_refused_and_what_is_read_can_travel(
    make_written: MakeWritten, kind: str, changes: dict[str, Any]
):
    try:
        spec = parse_spec(make_written(kind) | changes)
    except ValueError:
        return
    assert SPECS.validate_json(SPECS.dump_json(spec)) == spec


def test_kinds_are_found_by_being_there_not_by_a_list_of_names():
    listed = {name for name in FILES if f'"{name}"' in Path(str(lull.domain.kinds.__file__)).read_text()}
    assert listed == set()

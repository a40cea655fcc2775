"""A spec's values are JSON that MongoDB can store; what YAML or Python reads beyond that is refused with its writing."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lull.domain.values import DEPTH_MAX, VALUES_MAX, check_values, walk

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(JSON)
def test_takes_all_json(value: Any):
    check_values(value, "filter")


@pytest.mark.parametrize(
    "value",
    [
        2**63 - 1,
        -(2**63),
        "",
        "\x00",
        "é",
        "🐘",
        "\U0010ffff",
        (1, 2),
        {"": {"a": [None]}},
        {"$date": "2026-01-31T00:00:00Z"},
    ],
)
def test_takes_the_corners_of_json(value: Any):
    check_values(value, "filter")


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("{at: {$gt: 2026-01-31}}", r"2026-01-31 in filter is a date.*\$date"),
        ("{at: {$gt: 2026-01-31T10:00:00Z}}", r"is a date.*\$date"),
        ("{on: 1}", "the key True in filter is no text; put it in quotes"),
        ("{a: {1: x}}", "the key 1 in filter is no text"),
        ("{~: 1}", "the key None in filter is no text"),
        ("{a: !!set {x, y}}", r"is a set, not JSON"),
        ("{a: !!binary aGVsbG8=}", r"is a bytes, not JSON.*\$binary"),
        ("{a: .nan}", r"nan in filter is no JSON number.*\$numberDouble"),
        ("{a: -.inf}", r"-inf in filter is no JSON number"),
        ("{a: 99999999999999999999}", r"beyond 64 bits.*\$numberDecimal"),
        ('{a: "\\uD800"}', "half a surrogate pair"),
        ('{a: "x\\uDFFF"}', "half a surrogate pair"),
        ('{"\\uD800": 1}', "half a surrogate pair"),
        ('{"a\\0b": 1}', "zero byte"),
    ],
)
def test_refuses_what_yaml_reads_beyond_json_and_shows_the_right_writing(text: str, remedy: str):
    """Passed on, a date would become text, and compare with no date in the collection."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        pytest.skip("this reader of YAML refuses it already")
    with pytest.raises(ValueError, match=remedy):
        check_values(value, "filter")


class Opaque:
    pass


@pytest.mark.parametrize(
    "value", [b"x", {1, 2}, Opaque(), 1j, dt.timedelta(1), dt.time(1), range(3), 10**5_000, memoryview(b"")],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_refuses_every_other_python_value_in_one_short_sentence(value: Any):
    with pytest.raises(ValueError, match="in update") as caught:
        check_values({"a": [value]}, "update")
    assert len(str(caught.value)) < 200


def nested(levels: int, wrap: Callable[[Any], Any]) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = wrap(value)
    return value


@pytest.mark.parametrize("wrap", [lambda inner: {"a": inner}, lambda inner: [inner]], ids=["documents", "arrays"])
def test_takes_a_hundred_levels_and_refuses_one_more_or_a_hundred_thousand(wrap: Callable[[Any], Any]):
    check_values(nested(DEPTH_MAX, wrap), "filter")
    for levels in (DEPTH_MAX + 1, 100_000):
        with pytest.raises(ValueError, match="deeper than 100 levels"):
            check_values(nested(levels, wrap), "filter")


def test_refuses_a_value_that_contains_itself():
    loop: dict[str, Any] = {}
    loop["a"] = [loop]
    with pytest.raises(ValueError, match="deeper than 100 levels"):
        check_values(loop, "filter")


def test_a_few_lines_of_aliases_that_write_billions_are_refused_at_once():
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(ValueError, match="more than 100,000 values"):
        check_values(yaml.safe_load("\n".join(lines)), "filter")


def test_counts_keys_and_values_up_to_the_limit():
    check_values([0] * (VALUES_MAX - 1), "filter")
    with pytest.raises(ValueError, match="holds more than"):
        check_values([0] * VALUES_MAX, "filter")


def test_walk_yields_every_pair_at_every_level():
    value = {"a": {"b": [{"c": 1}, ({"d": 2},)]}, "e": "text"}
    assert [key for key, _ in walk(value)] == ["a", "b", "c", "d", "e"]


def test_walk_gives_up_on_what_is_too_deep():
    with pytest.raises(ValueError, match="deeper than 100 levels"):
        list(walk(nested(DEPTH_MAX + 1, lambda inner: [inner])))

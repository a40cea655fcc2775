"""YAML and JSON are read without surprises: what could silently become another request is refused."""

import json

import pytest

from lull.domain.errors import OperatorError
from lull.starter.reading import BYTES_MAX, decode, parse, shown


def refusal(text: str) -> str:
    with pytest.raises(OperatorError) as caught:
        parse(text, "job.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1", {"a": 1}),
        ("a: 1_000", {"a": 1000}),
        ("a: -0x1f", {"a": -31}),
        ("a: 1.5", {"a": 1.5}),
        ("a: true", {"a": True}),
        ("a: ~", {"a": None}),
        ("a:", {"a": None}),
        ('a: "on"', {"a": "on"}),
        ("a: '010'", {"a": "010"}),
        ("a: =", {"a": "="}),
        ("a: 0o7", {"a": "0o7"}),
        ("{a: [b, c]}", {"a": ["b", "c"]}),
        ("x: &x [1, 2]\ny: *x", {"x": [1, 2], "y": [1, 2]}),
        ("", None),
        ("# nothing", None),
    ],
)
def test_what_is_plain_is_read_as_it_looks(text: str, value: object):
    assert parse(text, "job.yaml") == value


def test_names_are_text_whatever_yaml_makes_of_them():
    assert parse("on: 1\nno: 2\n1: 3\n2026-01-31: 4\n~: 5", "job.yaml") == {
        "on": 1, "no": 2, "1": 3, "2026-01-31": 4, "~": 5,
    }  # fmt: skip


def test_a_clock_time_is_text_and_not_ninety_seconds():
    """To YAML 1.1, 1:30 is the number ninety."""
    assert parse("a: 1:30", "job.yaml") == {"a": "1:30"}


def test_a_number_of_json_is_a_number_in_yaml_too():
    """YAML 1.1 reads 1e3 as text; a spec moved from JSON to YAML would match nothing."""
    assert parse("a: 1e3", "job.yaml") == parse('{"a": 1e3}', "job.json") == {"a": 1000.0}


@pytest.mark.parametrize(
    ("written", "date"),
    [
        ("2026-01-31", "2026-01-31T00:00:00Z"),
        ("2026-01-31 10:00:00", "2026-01-31T10:00:00.000Z"),
        ("2026-01-31T10:00:00.25Z", "2026-01-31T10:00:00.250Z"),
        ("2026-01-31 10:00:00 +2", "2026-01-31T08:00:00.000Z"),
    ],
)
def test_a_date_becomes_extended_json_in_utc(written: str, date: str):
    assert parse(f"a: {written}", "job.yaml") == {"a": {"$date": date}}


@pytest.mark.parametrize("word", ["on", "off", "yes", "no", "On", "NO"])
def test_a_word_that_may_be_a_truth_value_is_refused_with_both_writings(word: str):
    said = refusal(f"job: j\nfilter:\n  country: {word}")
    assert "line 3" in said
    assert f'"{word}" in quotes' in said
    assert "true or false" in said


@pytest.mark.parametrize(
    ("text", "problem", "remedy"),
    [
        ("a: 010", "octal", "without the leading zero, or in quotes"),
        ("a: 1\nb: 2\na: 3", 'the key "a" stands there twice', "remove one"),
        ('{"a": 1, "a": 2}', 'the key "a" stands there twice', "remove one"),
        ("a: {b: 1, b: 2}", 'the key "b" stands there twice', "remove one"),
        ("a: " + "9" * 5_000, "beyond 64 bits", "$numberDecimal"),
        ('{"a": ' + "9" * 5_000 + "}", "beyond 64 bits", "$numberDecimal"),
        ('{"a": NaN}', "NaN is no JSON number", "$numberDouble"),
        ('{"a": -Infinity}', "-Infinity is no JSON number", "$numberDouble"),
        ("a: !!python/object/apply:os.system [ls]", "python/object", "remove"),
        ("a: !secret x", "!secret", "remove the tag"),
        ("a: !!int x", '"x" is no whole number', "correct it, or put it in quotes"),
        ("a: 2001-99-99", "is no timestamp", "correct it, or put it in quotes"),
        ("? [1]\n: 2", "a key is a list", "a key is text"),
        ("<<: {a: 1}", "<< is not read here", "write the fields out"),
        ("a: 1\n---\nb: 2", "a second document begins here", "split the file"),
        ("a: *b", "undefined alias", "correct that place"),
        ("a: [1, 2", "neither YAML nor JSON", "correct that place"),
        ("\x00", "control character", "is it a binary file?"),
        ('a: "\\ud800"', "half a surrogate pair", "write the whole one"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_place_and_remedy(text: str, problem: str, remedy: str):
    said = refusal(text)
    assert "job.yaml" in said
    assert problem in said
    assert remedy in said
    assert len(said) < 400, "an error is a sentence, not a dump"


def test_a_megabyte_of_brackets_is_one_sentence():
    assert "nested deeper than 100 levels" in refusal("[" * 1_000_000)
    assert "nested deeper than 100 levels" in refusal("a: " + "[" * 200 + "]" * 200)
    assert "nested deeper than 100 levels" in refusal("&a [*a]")


def test_ten_lines_of_aliases_do_not_become_a_billion_values():
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10))
    assert "more than 100,000 values, aliases included" in refusal(bomb)


def test_bytes_that_are_no_text_are_refused_with_their_position():
    for content in (b"\xff\xfe\x00", b"a: \xc3\x28", bytes(range(256))):
        with pytest.raises(OperatorError, match=r"job.yaml is not UTF-8 text \(byte \d+\); save it as UTF-8"):
            decode(content, "job.yaml")


def test_a_byte_order_mark_is_no_part_of_the_text():
    assert decode(b"\xef\xbb\xbfjob: j", "job.yaml") == "job: j"


def test_what_is_too_long_is_refused_before_it_is_parsed():
    with pytest.raises(OperatorError, match="longer than 1 MB"):
        decode(b" " * (BYTES_MAX + 1), "job.yaml")


def test_what_an_error_shows_is_short_and_on_one_line():
    assert shown("x" * 1_000) == '"' + "x" * 59 + "…"
    assert shown(10**100) == "a number beyond 64 bits"
    assert shown({"a": object}) == json.dumps({"a": str(object)})
    assert "\n" not in shown("a\nb")

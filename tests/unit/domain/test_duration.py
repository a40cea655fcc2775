"""Durations: what operators write, read back exactly, and nothing else."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from lull.domain.duration import Duration, format_duration, parse_duration

YEAR = timedelta(days=366)


class Timed(BaseModel):
    span: Duration


@pytest.mark.parametrize(
    ("written", "span"),
    [
        ("90s", timedelta(seconds=90)),
        ("30m", timedelta(minutes=30)),
        ("2h30m", timedelta(hours=2, minutes=30)),
        ("3d", timedelta(days=3)),
        ("1d2h3m4s", timedelta(days=1, hours=2, minutes=3, seconds=4)),
        ("0.25s", timedelta(milliseconds=250)),
        ("0d5s", timedelta(seconds=5)),
        ("  6h\n", timedelta(hours=6)),
        ("366d", YEAR),
        (90, timedelta(seconds=90)),
        (0.5, timedelta(milliseconds=500)),
        (timedelta(minutes=1), timedelta(minutes=1)),
    ],
)
def test_reads_durations_as_people_write_them(written: object, span: timedelta):
    assert parse_duration(written) == span


@pytest.mark.parametrize(
    "written",
    [
        "", " ", "6", "h", "6 h", "2h 30m", "30m2h", "1h1h", "2H", "1.5h", "-1h", "+1h", "1e3s", "0x1s", "1_0s", "1,5s",
        "٣h", "²h", "1h\x00", "PT1H", "one hour", "nan", "inf", b"1h", None, True, False, [], {}, float("nan"), object(),
    ],
)  # fmt: skip
def test_refuses_what_is_no_duration_and_shows_how_to_write_one(written: object):
    with pytest.raises(ValueError, match="write it like 90s, 30m, 2h30m or 3d"):
        parse_duration(written)


@pytest.mark.parametrize(
    "written",
    ["0s", "0d0h", 0, -1, -0.5, "0.0000001s", 1e-9, "366d0.000001s", "367d", 1e300, float("inf"), 10**400, -(10**400),
     "9" * 500 + "d", timedelta(0), timedelta(-1), timedelta.max],
)  # fmt: skip
def test_refuses_durations_outside_the_year_and_names_the_limit(written: object):
    with pytest.raises(ValueError, match="more than zero and at most 366d"):
        parse_duration(written)


@pytest.mark.parametrize(
    "written",
    ["x" * 100_000, "9" * 100_000 + "d", 10**10_000, ["x" * 100_000]],
    ids=["text", "digits", "number", "list"],
)
def test_an_error_stays_one_short_line_however_long_the_input(written: object):
    with pytest.raises(ValueError, match="duration") as caught:
        parse_duration(written)
    assert len(str(caught.value)) < 200


@given(st.integers(min_value=1, max_value=int(YEAR.total_seconds()) * 1_000_000))
def test_what_is_formatted_reads_back_as_the_same_span(microseconds: int):
    span = timedelta(microseconds=microseconds)
    assert parse_duration(format_duration(span)) == span


@given(st.one_of(st.text(), st.integers(), st.floats(), st.binary(), st.booleans(), st.none()))
def test_reading_gives_a_span_within_bounds_or_a_value_error(value: object):
    try:
        span = parse_duration(value)
    except ValueError:
        return
    assert timedelta(0) < span <= YEAR


@pytest.mark.parametrize(
    ("span", "written"),
    [
        (timedelta(hours=2, minutes=30), "2h30m"),
        (timedelta(days=3), "3d"),
        (timedelta(seconds=90), "1m30s"),
        (timedelta(microseconds=1), "0.000001s"),
        (timedelta(seconds=10), "10s"),
        (timedelta(seconds=100), "1m40s"),
        (timedelta(days=1, microseconds=500_000), "1d0.5s"),
        (timedelta(0), "0s"),
    ],
)
def test_formats_the_shortest_exact_writing(span: timedelta, written: str):
    assert format_duration(span) == written


def test_a_field_takes_either_writing_and_travels_as_text():
    assert Timed(span="360m").model_dump(mode="json") == {"span": "6h"}  # type: ignore[arg-type]
    assert Timed.model_validate_json('{"span": 5400}').span == timedelta(hours=1, minutes=30)


@pytest.mark.parametrize("value", [True, None, "soon"])
def test_a_field_refuses_the_rest_as_a_validation_error(value: Any):
    with pytest.raises(ValidationError, match="write it like"):
        Timed(span=value)

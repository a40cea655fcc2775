"""What an operator wants for the foreground: written like ``12ms``, joined so that all are satisfied."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lull.domain.governor.objective import Foreground, Objective, format_milliseconds, parse_milliseconds

OBJECTIVES = st.builds(
    Objective,
    read_p99=st.none() | st.floats(0.1, 60_000),
    write_p99=st.none() | st.floats(0.1, 60_000),
    inflation=st.none() | st.floats(1.01, 10),
)
FIELDS = sorted(Objective.model_fields)


@pytest.mark.parametrize(
    ("written", "milliseconds"),
    [("12ms", 12.0), ("0.5s", 500.0), (" 12 ms ", 12.0), ("1.25 s", 1_250.0), (12, 12), (12.5, 12.5)],
)
def test_a_latency_is_written_with_its_unit(written: object, *, milliseconds: float):
    assert Objective.model_validate({"read_p99": written}).read_p99 == milliseconds


@pytest.mark.parametrize("written", ["12", "ms", "12 minutes", "-3ms", "1e3ms", "0ms", "61s", "", -1, 0, 60_001])
def test_what_is_no_latency_is_refused(written: object):
    with pytest.raises(ValidationError):
        Objective.model_validate({"write_p99": written})


@pytest.mark.parametrize("inflation", [1.0, 0.9, 11.0, 0])
def test_an_inflation_is_above_one_and_not_absurd(inflation: float):
    with pytest.raises(ValidationError):
        Objective(inflation=inflation)


def test_a_field_that_nobody_knows_is_refused():
    with pytest.raises(ValidationError):
        Objective.model_validate({"read_p95": "12ms"})


@given(st.floats(0.001, 60_000).map(lambda ms: float(f"{ms:g}")))
def test_what_is_written_reads_back(milliseconds: float):
    text = format_milliseconds(milliseconds)
    if text is not None and "e" not in text:
        assert parse_milliseconds(text) == pytest.approx(milliseconds)


def test_an_objective_reads_back_from_its_own_words():
    objective = Objective(read_p99=12.0, inflation=1.1)
    assert objective.model_dump() == {"read_p99": "12ms", "write_p99": None, "inflation": 1.1}
    assert Objective.model_validate(objective.model_dump()) == objective


@given(OBJECTIVES, OBJECTIVES)
def test_the_strictest_satisfies_both(one: Objective, other: Objective):
    both = one.strictest(other)
    for field in FIELDS:
        wanted = [value for value in (getattr(one, field), getattr(other, field)) if value is not None]
        assert getattr(both, field) == min(wanted, default=None)
    assert both == other.strictest(one)


@given(OBJECTIVES, OBJECTIVES)
def test_an_order_stands_over_the_profile_where_it_says_something(order: Objective, profile: Objective):
    joined = order.over(profile)
    for field in FIELDS:
        mine = getattr(order, field)
        assert getattr(joined, field) == (mine if mine is not None else getattr(profile, field))


def test_nothing_wanted_is_nothing_limited_and_the_server_is_protected_all_the_same():
    assert Objective() == Objective(read_p99=None, write_p99=None, inflation=None)
    assert (Foreground().lag_s, Foreground().oplog_window_h, Foreground().dirty_cache_percent) == (2.0, 1.0, 10.0)


@pytest.mark.parametrize(
    "wrong", [{"prometheus_url": "ftp://x"}, {"http_check": "no url"}, {"lag_s": 0}, {"dirty_cache_percent": 21}]
)
def test_a_foreground_that_cannot_be_watched_is_refused(wrong: dict[str, object]):
    with pytest.raises(ValidationError):
        Foreground.model_validate(wrong)

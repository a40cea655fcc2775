"""Folding samples: nothing that stood out is lost, and only like is compared with like."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lull.domain.report import POINTS_MAX, STOPS_SHOWN_MAX, Condition, Felt, Own, Timeline
from lull.domain.samples import GAP_SECONDS, Latencies, Sample, bucket_seconds, condition, steps, timeline

FROM = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
WORKING, BLANK, ALONE, SHUT = Condition.WORKING, Condition.BLANK, Condition.ALONE, Condition.SHUT


def folded(samples: list[Sample], span_s: float, points_max: int = POINTS_MAX) -> Timeline:
    return timeline(samples, FROM, FROM + timedelta(seconds=span_s), points_max)


def sample(at_s: float, state: Condition = WORKING, p90: float = 2.0, **fields: object) -> Sample:
    latencies = {"read": Latencies(20, p90 / 2, p90, p90 * 3)}
    return Sample(**{"at_s": at_s, "condition": state, "zone": "keep", "latencies": latencies, **fields})  # type: ignore[arg-type]


# -- what is drawn ----------------------------------------------------------------------------------


@given(
    values=st.lists(st.floats(0.001, 10_000), min_size=1, max_size=300),
    every_s=st.floats(0.5, 40),
    points_max=st.integers(2, 50),
)
def test_no_peak_is_lost_and_no_more_is_drawn_than_fits(values: list[float], every_s: float, points_max: int):
    """The worst second of three days is what the report is read for."""
    samples = [sample(place * every_s, figures={"x": value}) for place, value in enumerate(values)]
    found = folded(samples, len(values) * every_s, points_max)
    (series,) = (one for one in found.series if one.name == "x")
    highs = [value for value in series.high or series.mid if value is not None]
    lows = [value for value in series.low or series.mid if value is not None]
    assert max(highs) == pytest.approx(max(values), rel=1e-3)
    assert min(lows) == pytest.approx(min(values), rel=1e-3)
    assert len(found.at_s) == len(series.mid) == len(found.zone) == len(found.shut) == len(found.reason)
    assert len(found.at_s) <= points_max + 1
    assert list(found.at_s) == sorted(found.at_s)


def test_a_second_each_is_drawn_as_it_is():
    found = folded([sample(float(n), figures={"x": float(n)}) for n in range(60)], 60)
    (series,) = (one for one in found.series if one.name == "x")
    assert found.bucket_s == 1
    assert series.mid == tuple(map(float, range(60)))
    assert (series.low, series.high) == ((), ())


def test_what_was_not_measured_is_absent_and_not_zero():
    found = folded([sample(0, figures={"x": 1.0}), sample(1), sample(2, figures={"x": 3.0})], 3)
    (series,) = (one for one in found.series if one.name == "x")
    assert series.mid == (1.0, None, 3.0)


@pytest.mark.parametrize(("span_s", "width_s"), [(60, 1), (1_500, 1), (1_501, 2), (259_200, 180), (30 * 86_400, 1_800)])
def test_a_bucket_is_as_wide_as_it_must_be(span_s: float, width_s: float):
    assert bucket_seconds(span_s) == width_s


def test_three_days_of_every_series_stay_below_a_megabyte():
    figures = {f"signal number-{n}": 1.234567 + n for n in range(30)}
    samples = [sample(n * 30.0, figures={**figures, "x": n / 7}, reason=f"canary {n} ms >= 8 ms") for n in range(8_640)]
    assert len(folded(samples, 259_200).model_dump_json()) < 1_000_000


def test_a_bucket_tells_which_part_of_it_was_shut_and_why_it_was():
    samples = [
        sample(0, reason="budget"), sample(1, SHUT, reason="canary 41 ms >= 12 ms", zone="stop"),
        sample(2, BLANK, zone="blank"), sample(3, zone="keep"),
    ]  # fmt: skip
    found = folded(samples, 4, points_max=1)
    assert (found.shut, found.blank) == ((0.25,), (0.25,))
    assert found.reasons[found.reason[0]] == "canary 41 ms >= 12 ms"
    assert found.zones[found.zone[0]] == "keep"


def test_nothing_gives_an_empty_timeline():
    found = folded([], 60)
    assert (found.samples, found.at_s, found.felt, found.stops.count, found.own) == (0, (), (), 0, None)


# -- what is compared -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ({"zone": "idle", "mode": "enforce", "is_open": True, "has_jobs": False}, ALONE),
        ({"zone": "stop", "mode": "enforce", "is_open": False, "has_jobs": False}, ALONE),
        ({"zone": "keep", "mode": "enforce", "is_open": True, "has_jobs": True}, WORKING),
        ({"zone": "quiet", "mode": "enforce", "is_open": True, "has_jobs": True}, WORKING),
        ({"zone": "stop", "mode": "enforce", "is_open": False, "has_jobs": True}, SHUT),
        ({"zone": "blank", "mode": "enforce", "is_open": False, "has_jobs": True}, BLANK),
        ({"zone": "stop", "mode": "observe", "is_open": False, "has_jobs": True}, WORKING),
    ],
)
def test_the_condition_is_what_of_ours_could_run(seen: dict[str, Any], expected: Condition):
    assert condition(**seen) is expected


def felt(found: Timeline) -> dict[Condition, Felt]:
    return {one.condition: one for one in found.felt}


def test_a_second_that_began_in_another_condition_counts_for_none():
    """It sums up operations of both."""
    states = [WORKING, WORKING, WORKING, BLANK, BLANK, WORKING, WORKING]
    found = felt(folded([sample(float(n), state) for n, state in enumerate(states)], 10))
    assert {state: one.samples for state, one in found.items()} == {WORKING: 3, BLANK: 1}
    assert found[BLANK].operations == 20


def test_a_blank_window_of_part_of_a_second_counts_from_where_its_pages_have_ended():
    """Samples stand where it begins and where it ends; while pages were ending it was no blank window yet."""
    seen = [
        sample(0.0),
        sample(1.0, BLANK, p90=9.0, is_draining=True),
        sample(1.3, BLANK, p90=9.0),
        sample(2.1, BLANK, p90=2.0),
        sample(2.2),
    ]
    found = felt(folded(seen, 3))
    assert (found[BLANK].samples, found[BLANK].p90) == (1, pytest.approx(2.0, rel=0.01))


def test_it_is_told_whose_p99_was_drawn():
    canarys, reported = {"read-p99": "canary", "write-p99": "canary"}, {"read-p99": "reported", "write-p99": "canary"}
    seen = [sample(0, sources=canarys), sample(1, sources=reported), sample(2, sources=reported), sample(3)]
    assert folded(seen, 4).reported == {"read-p99": 0.6667, "write-p99": 0.0}


def test_after_a_gap_nobody_knows_what_was():
    assert felt(folded([sample(0), sample(GAP_SECONDS + 1)], 60)) == {}


def test_the_tail_without_us_is_drawn_beside_the_tail_with_us():
    found = folded([sample(0, ALONE), sample(10, ALONE, p90=3.0), sample(11), sample(12)], 20)
    (series,) = (one for one in found.series if one.name == "read-p90 without")
    assert series.mid == (None, 3.0, None, None)


def test_the_ratio_of_like_operations_is_found_again():
    """Twice as slow is twice as slow, at every fraction."""
    on = [sample(float(n), p90=4.0) for n in range(100)]
    off = [sample(100.0 + n, BLANK, p90=2.0) for n in range(100)]
    found = felt(folded(on + off, 300))
    for fraction in ("p50", "p90", "p99"):
        assert getattr(found[WORKING], fraction) / getattr(found[BLANK], fraction) == pytest.approx(2, rel=0.01)
    assert found[WORKING].p50 == pytest.approx(2.0, rel=0.01)
    assert found[WORKING].p90 == pytest.approx(4.0, rel=0.01)
    assert found[WORKING].p99 == pytest.approx(12.0, rel=0.01)


def test_one_slow_second_in_fifty_is_in_the_p99_and_not_in_the_p90():
    samples = [sample(float(n), p90=100.0 if n % 50 == 10 else 2.0) for n in range(1_000)]
    found = felt(folded(samples, 1_000))[WORKING]
    assert found.p50 == pytest.approx(1.0, rel=0.01)
    assert found.p90 < 5
    assert found.p99 > 50


def test_the_governors_own_measurement_is_the_last_one():
    first, last = Own(ratio=2, low=1, high=3), Own(ratio=1.1, low=1, high=1.2)
    assert folded([sample(0, own=first), sample(1, own=last), sample(2)], 3).own == last


def test_how_much_was_only_observed_is_told():
    assert folded([sample(float(n), is_observed_only=n < 3) for n in range(4)], 4).observed_only == 0.75


# -- how long the gate was shut ----------------------------------------------------------------------


def test_a_stop_lasts_from_the_sample_before_it_to_its_last_one():
    states = [WORKING, SHUT, SHUT, SHUT, WORKING, BLANK, WORKING, SHUT]
    found = folded([sample(float(n), state, reason=f"reason {n}") for n, state in enumerate(states)], 10).stops
    assert (found.count, found.seconds) == (2, 4.0)
    first, second = found.longest
    assert (first.at, first.seconds, first.reason) == (FROM, 3.0, "reason 1")
    assert (second.at, second.seconds) == (FROM + timedelta(seconds=6), 1.0)


def test_a_stop_after_an_idle_time_does_not_reach_back_into_it():
    """Idle governors write every ten seconds; a sample beside jobs sums up one."""
    found = folded([sample(0, ALONE), sample(10, SHUT), sample(11, SHUT), sample(12)], 20).stops
    assert (found.count, found.seconds) == (1, 2.0)


def test_of_many_stops_the_longest_are_kept_and_all_are_counted():
    samples = []
    for place in range(100):
        lasting = 1 + place % 10
        samples += [sample(place * 20.0 + n, SHUT if 0 < n <= lasting else WORKING) for n in range(12)]
    found = folded(samples, 2_000).stops
    assert found.count == 100
    assert found.seconds == 550
    assert len(found.longest) == STOPS_SHOWN_MAX
    assert min(stop.seconds for stop in found.longest) == 9


# -- documents ---------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.floats(0, 1e5), st.integers(0, 10_000)), max_size=200), st.integers(1, 50))
def test_the_curve_of_documents_ends_with_all_of_them(moments: list[tuple[float, int]], points_max: int):
    found = steps(moments, points_max)
    assert len(found) <= points_max
    if moments:
        assert found[-1][1] == sum(documents for _, documents in moments)
    assert list(found) == sorted(found)

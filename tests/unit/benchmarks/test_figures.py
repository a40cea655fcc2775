"""Figures are only worth printing if their arithmetic is right."""

import pytest


def test_percentiles_of_a_histogram_are_within_a_percent():
    from benchmarks.foreground import Histogram

    histogram = Histogram()
    for latency_us in range(1, 100_001):
        histogram.add(latency_us)
    assert histogram.total == 100_000
    assert histogram.percentile_ms(50) == pytest.approx(50, rel=0.01)
    assert histogram.percentile_ms(99) == pytest.approx(99, rel=0.01)
    assert histogram.max_ms == pytest.approx(100, rel=0.01)


def test_one_slow_operation_in_a_hundred_is_not_the_99th_percentile_but_two_are():
    from benchmarks.foreground import Histogram

    one, two = Histogram({1_000: 99, 900_000: 1}), Histogram({1_000: 98, 900_000: 2})
    assert (one.percentile_ms(99), two.percentile_ms(99)) == (1.0, 900.0)


def test_without_operations_there_is_no_percentile():
    from benchmarks.foreground import Histogram

    assert Histogram().percentile_ms(99) is None
    assert Histogram().max_ms is None


def test_a_part_of_a_run_holds_only_seconds_that_lie_wholly_within_it():
    from benchmarks.foreground import between

    seconds = [{"second": number, "histogram_us": {"1000": 10}} for number in range(10)]
    report = {"started_at": 1_000.0, "seconds": seconds}
    assert between(report, 1_002.5, 1_006.0).total == 30


@pytest.mark.parametrize(("percent", "expected"), [(50, 25), (99, 50), (98, 49), (1, 1)])
def test_the_percentile_of_few_values_is_one_of_them(percent: int, expected: int):
    from benchmarks.bench import percentile

    assert percentile(list(range(1, 51)), percent) == expected


@pytest.mark.parametrize(
    ("value", "limit", "expected"),
    [(1.0, ">= 1.0", "met"), (0.99, ">= 1.0", "missed"), (1.0, "<= 1.0", "met"), (1.01, "<= 1.0", "missed")],
)
def test_a_limit_is_met_at_its_very_value(value: float, limit: str, expected: str):
    from benchmarks.bench import verdict

    assert verdict(value, limit) == expected


def test_orders_are_the_same_each_time_and_one_in_a_hundred_expires_in_the_first_four_days():
    from benchmarks.bench import expiry, orders

    seeded = list(orders(20_000))
    assert seeded == list(orders(20_000))
    assert sum(one["expires_at"] < expiry(1) for one in seeded) == pytest.approx(200, rel=0.2)

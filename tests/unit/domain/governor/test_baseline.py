"""What is normal is learned while nothing of ours runs; what is ours is told from the weather."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lull.domain.governor.baseline import DRIFT, EXCESS, SAMPLES_MAX, SAMPLES_MIN, Base, Tail, compare, quantile

MILLISECONDS = st.floats(0.01, 10_000)


# -- quantiles ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "fraction", "expected"),
    [(10, 0.9, 9), (10, 0.7, 7), (10, 0.75, 8), (100, 0.99, 99), (8, 0.875, 7), (4, 0.75, 3), (1, 0.5, 1), (7, 0.0, 1), (7, 1.0, 7)],
)  # fmt: skip
def test_a_quantile_is_the_smallest_value_that_enough_do_not_exceed(count: int, fraction: float, expected: int):
    assert quantile(range(1, count + 1), fraction) == expected


@given(st.lists(MILLISECONDS, min_size=1, max_size=60), st.floats(0, 1))
def test_a_quantile_is_one_of_the_values_and_grows_with_its_fraction(values: list[float], fraction: float):
    ordered = sorted(values)
    found = quantile(ordered, fraction)
    assert found in values
    assert sum(value <= found for value in values) >= fraction * len(values) - 1e-6
    assert quantile(ordered, fraction / 2) <= found <= quantile(ordered, 1.0) == ordered[-1]


# -- the base -------------------------------------------------------------------------------------


def test_a_base_of_too_few_samples_judges_nothing():
    few, enough = Base().learned([1.0] * (SAMPLES_MIN - 1)), Base().learned([1.0] * SAMPLES_MIN)
    assert (few.is_known, few.p(0.9), few.limit_ms) == (False, None, None)
    assert (enough.is_known, enough.p(0.9), enough.limit_ms) == (True, 1.0, EXCESS)


@given(st.lists(st.lists(MILLISECONDS, max_size=90), max_size=12))
def test_the_newest_samples_are_the_base(windows: list[list[float]]):
    base = Base()
    for window in windows:
        base = base.learned(window)
    assert base.samples == tuple([ms for window in windows for ms in window][-SAMPLES_MAX:])


def test_nothing_learned_is_nothing_changed():
    drifted = Base().learned([1.0] * 50).drifted(9.0)
    assert drifted.learned([]) is drifted


@pytest.mark.parametrize(("observed", "step"), [(100.0, DRIFT), (0.1, 1 / DRIFT), (10.2, 1.02), (10.0, 1.0)])
def test_a_base_moves_a_small_step_at_once(observed: float, step: float):
    assert Base().learned([10.0] * 50).drifted(observed).p(0.9) == pytest.approx(10.0 * step)


@given(st.floats(1, 500), st.floats(1, 500))
def test_a_base_that_drifts_arrives_and_stays(normal: float, other: float):
    base = Base().learned([normal] * 50)
    for _ in range(200):
        base = base.drifted(other)
    assert base.p(0.9) == pytest.approx(other)


def test_a_base_that_is_not_known_does_not_drift():
    assert Base().drifted(50.0) == Base()


def test_learning_after_a_drift_goes_on_from_where_it_is_and_comes_back_to_scale():
    drifted = Base().learned([10.0] * 50).drifted(100.0)
    learned = drifted.learned([10.5])
    assert (learned.scale, learned.p(0.9)) == (1.0, drifted.p(0.9))
    for _ in range(SAMPLES_MAX):
        learned = learned.learned([3.0])
    assert learned.p(0.9) == 3.0


# -- our own share --------------------------------------------------------------------------------


def calm(seed: int, count: int, slowness: float = 1.0) -> list[float]:
    dice = random.Random(seed)
    return [2.0 * slowness * dice.lognormvariate(0, 0.4) for _ in range(count)]


def weathered(dice: random.Random, count: int) -> list[float]:
    """Latencies of a host that is slower for a second or so, now and then."""
    found, weather = [], 0.0
    for _ in range(count):
        weather = 0.95 * weather + 0.06 * dice.gauss(0, 1)
        found.append(2.0 * dice.lognormvariate(weather, 0.4))
    return found


@pytest.mark.parametrize(("on", "off"), [(0, 500), (SAMPLES_MIN - 1, 500), (500, SAMPLES_MIN - 1), (0, 0)])
def test_too_few_operations_compare_to_nothing(on: int, off: int):
    assert compare([1.0] * on, [1.0] * off) is None


def test_a_tail_of_nothing_compares_to_nothing():
    assert compare([1.0] * 50, [0.0] * 50) is None


@pytest.mark.parametrize("seed", range(5))
def test_a_share_that_is_much_too_large_is_surely_found(seed: int):
    own = compare(calm(seed, 1_600, 1.8), calm(seed + 100, 340))
    assert own is not None
    assert 1.1 < own.low < own.ratio < own.high
    assert own.ours_ms == pytest.approx(2.7, rel=0.3)


def test_no_share_is_never_less_than_nothing():
    own = compare(calm(1, 400, 0.5), calm(2, 400))
    assert own is not None
    assert own.ours_ms == 0.0
    assert own.high < 1.0


def test_weather_is_seldom_taken_for_ours():
    """Neighbouring operations are alike. Taken for independent, they would condemn us on a calm host, time and again."""
    dice = random.Random(7)
    shares = [compare(weathered(dice, 800), weathered(dice, 340)) for _ in range(200)]
    condemned = [own for own in shares if own is not None and own.low > 1.1]
    assert len(condemned) <= 4
    assert sum(own is not None and own.low <= 1.0 <= own.high for own in shares) >= 160


@given(st.lists(MILLISECONDS, min_size=20, max_size=80), st.lists(MILLISECONDS, min_size=20, max_size=80))
def test_the_interval_is_around_the_ratio(on: list[float], off: list[float]):
    own = compare(on, off)
    assert own is not None
    assert 0 < own.low <= own.ratio <= own.high


# -- the tail that rules the gate -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("slow", "count", "shuts", "opens"),
    [
        (0, 30, False, True),
        (2, 30, False, True),  # one in thirty is slow on a calm server
        (4, 30, False, False),  # an open gate stays open, a shut one shut
        (7, 30, False, False),
        (8, 30, True, False),  # more than a quarter
        (30, 30, True, False),
    ],
)
def test_a_quarter_of_slow_operations_shuts_and_an_eighth_keeps_shut(
    slow: int, count: int, *, shuts: bool, opens: bool
):
    tail = Tail((*[3.0] * slow, *[0.5] * (count - slow)))
    assert tail.shut_at is not None
    assert tail.open_at is not None
    assert (tail.shut_at >= 1.0, tail.open_at < 1.0) == (shuts, opens)


def test_no_operations_are_no_tail():
    assert (Tail().shut_at, Tail().open_at) == (None, None)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=60))
def test_what_opens_the_gate_never_shuts_it(excesses: list[float]):
    """Otherwise it would flutter."""
    tail = Tail(tuple(excesses))
    assert tail.shut_at is not None
    assert tail.open_at is not None
    assert tail.shut_at <= tail.open_at


def test_noise_stays_far_from_what_shuts_the_gate():
    """On a calm server one operation in thirty is slow; it takes a quarter of them."""
    base = Base().learned(calm(3, 400))
    assert base.limit_ms is not None
    assert sum(ms > base.limit_ms for ms in calm(4, 10_000)) / 10_000 < 1 / 25

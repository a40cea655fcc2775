"""What is seen of the foreground: one scale for every signal, one grammar for every reason, one rule for what is old."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lull.domain.governor import readings
from lull.domain.governor.readings import SIGNALS, Effect, Reading, Signal, Stale, figure, worst

# -- utilization ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signal", "observed", "limit", "utilization"),
    [
        (readings.CANARY, 12.0, 12.0, 1.0),
        (readings.CANARY, 3.0, 12.0, 0.25),
        (readings.CANARY, 0.0, 12.0, 0.0),
        (readings.CANARY, None, 12.0, None),  # not seen is not zero
        (readings.CANARY, 12.0, None, None),  # nothing follows from it
        (readings.CANARY, 12.0, 0.0, None),
        (readings.OPLOG_WINDOW, 4.0, 1.0, 0.25),  # the other way round: less is worse
        (readings.OPLOG_WINDOW, 1.0, 1.0, 1.0),
        (readings.OPLOG_WINDOW, 0.5, 1.0, 2.0),
        (readings.OPLOG_WINDOW, 0.0, 1.0, float("inf")),
    ],
)
def test_one_is_where_jobs_must_stop_whatever_the_signal(
    signal: Signal, observed: float | None, limit: float | None, *, utilization: float | None
):
    assert Reading(signal, observed, limit).utilization == utilization


# -- age ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at_s", "fresh_s", "is_stale"),
    [
        (97.0, 3.0, False),
        (96.9, 3.0, True),
        (90.0, 15.0, False),  # a slow one says so
        (100.5, 3.0, False),
        (None, 3.0, False),  # switched off, which is another thing than silent
    ],
)
def test_a_reading_is_stale_when_it_was_seen_once_and_too_long_ago(
    at_s: float | None, fresh_s: float, *, is_stale: bool
):
    assert Reading(readings.LAG, 0.1, 2.0, at_s, fresh_s=fresh_s).is_stale(100.0) is is_stale


# -- the grammar ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reading", "reason"),
    [
        (Reading(readings.CANARY, 41.23, 12.0), "canary 41.2 ms >= 12 ms"),
        (Reading(readings.DIRTY_CACHE, 10.0, 10.0), "dirty-cache 10% >= 10%"),
        (Reading(readings.OPLOG_WINDOW, 0.5, 1.0), "oplog-window 0.5 h <= 1 h"),
        (Reading(readings.PROMETHEUS, 1234.5, 1000.0), "prometheus 1,234 >= 1,000"),
        (Reading(readings.LAG, None, 2.0), "lag not seen"),
    ],
)
def test_a_reason_is_signal_observed_op_limit(reading: Reading, reason: str):
    assert reading.reason == reason


def test_silence_is_said_in_the_same_grammar():
    assert Reading(readings.CANARY, 3.0, 12.0, 10.0).stale_reason(15.25) == "canary stale 5.2 s >= 3 s"


@given(st.floats(0, 1e9), st.sampled_from(sorted({signal.unit for signal in SIGNALS})))
def test_a_figure_is_short_and_reads_back(value: float, unit: str):
    text = figure(value, unit)
    assert len(text) <= len("1,000,000,000 operations")
    assert float(text.removesuffix(unit).replace(",", "")) == pytest.approx(
        value, rel=0.01, abs=0.5 if value >= 100 else 1e-9
    )


# -- the worst ------------------------------------------------------------------------------------


def test_the_worst_of_an_effect_is_the_one_nearest_to_its_own_limit():
    queue, dirty = Reading(readings.QUEUE, 7.0, 8.0), Reading(readings.DIRTY_CACHE, 9.0, 10.0)
    lag = Reading(readings.LAG, 60.0, 2.0)
    assert worst([queue, dirty, lag], Effect.CUT) is dirty
    assert worst([queue, dirty, lag], Effect.HARD) is lag
    assert worst([queue, dirty, lag], Effect.GATE) is None


def test_of_equals_the_first_is_told_so_that_reasons_do_not_flicker():
    first, second = Reading(readings.QUEUE, 8.0, 8.0), Reading(readings.DIRTY_CACHE, 10.0, 10.0)
    assert worst([first, second], Effect.CUT) is first


def test_what_was_not_seen_is_never_the_worst():
    assert worst([Reading(readings.QUEUE, None, 8.0), Reading(readings.DIRTY_CACHE, 1.0, None)], Effect.CUT) is None


# -- the table of signals -------------------------------------------------------------------------


def test_every_signal_has_a_name_of_its_own_a_direction_and_a_meaning():
    assert len({signal.name for signal in SIGNALS}) == len(SIGNALS)
    assert {signal.op for signal in SIGNALS} == {">=", "<="}
    assert all(signal.meaning for signal in SIGNALS)


def test_silence_closes_the_gate_where_it_may_mean_the_worst():
    assert {signal.name for signal in SIGNALS if signal.stale is Stale.CLOSE} == {"canary", "lag", "http-check"}


def test_what_endangers_the_server_itself_is_hard():
    hard = {signal.name for signal in SIGNALS if signal.effect is Effect.HARD}
    assert hard == {"dirty-cache-hard", "flow-control", "lag", "oplog-window", "http-check"}

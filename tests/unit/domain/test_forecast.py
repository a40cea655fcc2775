"""Forecasts: never more certain than what was measured, and never shorter for more work or less leave."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lull.domain.forecast import (
    DUTY_SAMPLES_MIN,
    FELT_OPERATIONS_MIN,
    Asked,
    Bounds,
    Confidence,
    Documents,
    Forecast,
    Probed,
    ProbedPage,
    Rate,
    Standing,
    Watched,
    earlier_rate,
    forecast,
    guessed_rate,
    minutes,
    probed_rate,
    steady,
    watched,
)
from lull.domain.governor.budget import Mode
from lull.domain.governor.law import CEILING_START, DUTY_BUSY, DUTY_MIN, QUIET_OPS
from lull.domain.report import Condition, Felt
from lull.domain.samples import Latencies, Sample

WORKING, BLANK, ALONE, SHUT = Condition.WORKING, Condition.BLANK, Condition.ALONE, Condition.SHUT
RATE = Rate(Bounds(low=1_000, high=2_000), "measured by the test", is_measured=True)
GUESS = guessed_rate("update", 10_000)
HEARD = Standing(Mode.ENFORCE, is_heard=True)


def asked(**fields: Any) -> Asked:
    defaults: dict[str, Any] = {
        "kind": "update", "parallel": 2, "docs_per_second_max": None, "weight": 1.0, "inflation": 1.1,
    }  # fmt: skip
    return Asked(**(defaults | fields))


def told(count: int = 10_000, *, seen: Watched | None = None, standing: Standing = HEARD, **fields: Any) -> Forecast:
    rate, probe, is_exact = fields.pop("rate", RATE), fields.pop("probe", None), fields.pop("is_exact", True)
    documents = Documents(count, is_exact, "counted by the test")
    return forecast(documents, asked(**fields), Watched() if seen is None else seen, standing, rate, probe=probe)


def felt(op: str, condition: Condition, p99: float, operations: int = 10_000) -> Felt:
    return Felt(op=op, condition=condition, samples=100, operations=operations, p50=p99 / 4, p90=p99 / 2, p99=p99)


def beside(duty: float = 0.5, *, shut: float = 0.0, blank: float = 0.0, **fields: Any) -> Watched:
    """A quarter of an hour with jobs beside a foreground."""
    defaults: dict[str, Any] = {
        "samples": 900, "span_s": 900.0, "beside": 900, "duty": Bounds(low=duty, high=duty), "shut_part": shut,
        "blank_part": blank, "foreground_ops": 300.0,
    }  # fmt: skip
    return Watched(**(defaults | fields))


QUIET = Watched(samples=180, span_s=1_800.0, foreground_ops=3.0)
UNLEARNED = Watched(samples=180, span_s=1_800.0, foreground_ops=300.0)


# -- laws ----------------------------------------------------------------------------------------------

parts = st.floats(0, 1)
watchings = st.builds(
    lambda duty, spread, shut, blank, ops, samples: Watched(
        samples=samples, span_s=float(samples), beside=samples, duty=Bounds(low=duty, high=duty + spread),
        shut_part=shut * (1 - blank), blank_part=blank, foreground_ops=ops,
    ),
    st.floats(0, 2), st.floats(0, 2), parts, parts, st.none() | st.floats(0, 1e6), st.integers(0, 2_000),
)  # fmt: skip
standings = st.builds(
    Standing,
    mode=st.sampled_from(Mode), is_heard=st.booleans(), is_open=st.booleans(), ceiling=st.floats(0, 4),
    other_weights=st.floats(0, 100),
)  # fmt: skip
askings = st.builds(
    asked, parallel=st.integers(1, 64), docs_per_second_max=st.none() | st.floats(0.001, 1e7),
    weight=st.floats(0.01, 100), inflation=st.floats(1.01, 10),
)  # fmt: skip
rates = st.builds(
    lambda low, more, is_measured: Rate(Bounds(low=low, high=low + more), "", is_measured),
    st.floats(0, 1e6), st.floats(0, 1e6), st.booleans(),
)  # fmt: skip
counts = st.integers(0, 10**12)
works = st.builds(Documents, counts, st.booleans(), st.just(""))


@given(works, counts, askings, watchings, standings, rates)
def test_more_documents_never_take_less_time(
    documents: Documents, more: int, job: Asked, seen: Watched, standing: Standing, rate: Rate
):
    short = forecast(documents, job, seen, standing, rate).seconds
    long = forecast(documents._replace(number=documents.number + more), job, seen, standing, rate).seconds
    assert short.low <= long.low
    assert short.high <= long.high


@given(counts, st.floats(0, 4), st.floats(0, 4), parts, askings, standings)
def test_a_lower_duty_never_takes_less_time(
    count: int, one: float, other: float, shut: float, job: Asked, standing: Standing
):
    low, high = sorted((one, other))
    documents = Documents(count, True, "")
    long, short = (forecast(documents, job, beside(duty, shut=shut), standing, RATE).seconds for duty in (low, high))
    assert short.low <= long.low
    assert short.high <= long.high


@given(works, askings, watchings, standings, rates)
def test_no_figure_is_negative_or_upside_down_and_nothing_waits_longer_than_all_of_it(
    documents: Documents, job: Asked, seen: Watched, standing: Standing, rate: Rate
):
    """Bounds check themselves; here that no input whatsoever makes them fail, and that parts stay parts."""
    found = forecast(documents, job, seen, standing, rate)
    assert 0 <= found.seconds.low <= found.seconds.high
    for wait in found.waits:
        assert wait.seconds.low <= found.seconds.low * (1 + 1e-9)
        assert wait.seconds.high <= found.seconds.high * (1 + 1e-9)
    assert Forecast.model_validate_json(found.model_dump_json()) == found, "it crosses Temporal unchanged"


@given(counts, askings, watchings, standings, rates)
def test_a_throttle_is_kept(count: int, job: Asked, seen: Watched, standing: Standing, rate: Rate):
    found = forecast(Documents(count, True, ""), job, seen, standing, rate)
    if job.docs_per_second_max is not None and found.docs_per_second is not None:
        assert found.docs_per_second.high <= job.docs_per_second_max


@given(watchings, standings, rates)
def test_what_was_not_measured_is_said_with_what_would_measure_it(seen: Watched, standing: Standing, rate: Rate):
    found = told(seen=seen, standing=standing, rate=rate)
    assert (found.confidence is Confidence.MEASURED) <= rate.is_measured
    assert rate.is_measured or any("lull plan SPEC --probe" in each for each in found.unknown)


def test_bounds_cannot_be_upside_down():
    with pytest.raises(ValidationError, match="upside down"):
        Bounds(low=2, high=1)
    with pytest.raises(ValidationError):
        Bounds(low=-1, high=1)


# -- pace ----------------------------------------------------------------------------------------------

OFF, OBSERVE = Standing(Mode.OFF), Standing(Mode.OBSERVE, is_heard=True)


@pytest.mark.parametrize(
    ("seen", "standing", "low", "high", "basis"),
    [
        (Watched(), OFF, 1.0, 2.0, "full speed: the governor is off"),
        (beside(0.1), OBSERVE, 1.0, 2.0, "only observing"),
        (QUIET, HEARD, 1.0, 2.0, "no foreground to protect (3 operations a second < 25), full speed"),
        (beside(0.5), HEARD, 0.5, 0.5, "15 min of samples, 15 min of them with jobs beside the foreground"),
        (beside(0.5, shut=0.25, blank=0.25), HEARD, 0.25, 0.25, "with jobs beside the foreground"),
        (beside(0.6), HEARD._replace(other_weights=2.0), 0.2, 0.6, "with jobs beside the foreground"),
        (beside(8.0), HEARD, 2.0, 2.0, "with jobs beside the foreground"),
        (beside(0.5, beside=DUTY_SAMPLES_MIN - 1), HEARD, CEILING_START, DUTY_BUSY, "no job beside this foreground"),
        (UNLEARNED, HEARD._replace(ceiling=0.8), CEILING_START, 0.8, f"from where the governor begins, {CEILING_START:.0%}, to its ceiling, 80%"),
        (UNLEARNED, HEARD._replace(ceiling=0.05), 0.05, 0.05, "its ceiling, 5%"),
        (Watched(), HEARD, DUTY_MIN, DUTY_BUSY, "no samples yet"),
        (UNLEARNED, Standing(Mode.ENFORCE), DUTY_MIN, DUTY_BUSY, "no governor has watched this cluster lately"),
    ],
)  # fmt: skip
def test_the_pace_is_what_jobs_had_beside_this_foreground_or_what_the_governor_would_begin_with(
    seen: Watched, standing: Standing, low: float, high: float, basis: str
):
    """Blank windows are taken off what was not seen; what was seen has its own."""
    found = told(seen=seen, standing=standing)
    is_unseen = found.confidence is not Confidence.MEASURED
    open_part = 1 - next((w.seconds.low / found.seconds.low for w in found.waits if w.reason == "blank windows"), 0.0)
    assert found.pace is not None
    assert basis in found.pace_basis
    scale = open_part if is_unseen else 1.0
    assert found.pace.low == pytest.approx(low * scale)
    assert found.pace.high == pytest.approx(high * scale)


def test_beside_twenty_five_operations_a_second_there_is_a_foreground():
    quiet, busy = (told(seen=Watched(samples=9, foreground_ops=ops)) for ops in (QUIET_OPS - 0.01, QUIET_OPS))
    assert (quiet.confidence, busy.confidence) == (Confidence.MEASURED, Confidence.PARTLY)


def test_the_time_is_documents_over_work_times_pace_and_says_what_of_it_is_waiting():
    found = told(100_000, seen=beside(0.5, shut=0.1, blank=0.1))
    assert found.docs_per_second == Bounds(low=400, high=800)
    assert found.seconds == Bounds(low=125, high=250)
    assert {wait.reason: (wait.seconds.low, wait.seconds.high) for wait in found.waits} == {
        "pace": (pytest.approx(50), pytest.approx(100)),
        "shut gate": (pytest.approx(12.5), pytest.approx(25)),
        "blank windows": (pytest.approx(12.5), pytest.approx(25)),
    }


def test_what_a_throttle_costs_is_waiting_for_the_throttle():
    found = told(100_000, seen=QUIET, docs_per_second_max=100.0)
    assert found.seconds == Bounds(low=1_000, high=1_000)
    (wait,) = found.waits
    assert (wait.reason, wait.seconds) == ("the spec's throttle", Bounds(low=900, high=975))


def test_an_estimated_count_widens_the_time():
    seconds = told(3_000, seen=QUIET, is_exact=False).seconds
    assert (seconds.low, seconds.high) == (pytest.approx(0.5), pytest.approx(4.0))


def test_nothing_to_do_takes_no_time():
    found = told(0, seen=beside())
    assert (found.seconds, found.docs_per_second, found.waits) == (Bounds(low=0, high=0), None, ())


def test_a_gate_that_is_shut_now_is_not_known_to_open():
    found = told(seen=beside(), standing=HEARD._replace(is_open=False, reason="canary 41 ms >= 12 ms"))
    shut = "how long the gate stays shut, as it is now (canary 41 ms >= 12 ms): lull governor status shows it"
    assert shut in found.unknown


# -- work ------------------------------------------------------------------------------------------------


def page(documents: int, hold_ms: float = 10.0, read_ms: float = 0.0) -> ProbedPage:
    return ProbedPage(documents=documents, matching=documents, read_ms=read_ms, hold_ms=hold_ms)


def test_a_probe_counts_its_larger_pages_and_adds_a_commit():
    """The first pages are small: they mostly cost the way to the server."""
    probe = Probed(pages=(page(5, 50), page(100, 8, 10), page(200, 18), page(400, 38, 100)))
    assert steady(probe.pages) == [page(200, 18), page(400, 38, 100)]
    rate = probed_rate(probe, commit_ms=2.0)
    assert rate is not None
    assert rate.bounds.low == pytest.approx(400 / 140 * 1_000), "read, then written and committed"
    assert rate.bounds.high == pytest.approx(200 / 19 * 1_000), "read while the page before was written"
    assert rate.basis == "probe: 4 pages, 705 documents, taken back; a commit of 2.0 ms, the canary's"


def test_a_commit_that_nobody_timed_takes_one_to_ten_milliseconds():
    rate = probed_rate(Probed(pages=(page(100, 9.0),)), commit_ms=None)
    assert rate is not None
    assert rate.bounds.high == pytest.approx(10_000)
    assert rate.bounds.low == pytest.approx(100 / 19 * 1_000)
    assert "not timed" in rate.basis


@pytest.mark.parametrize("pages", [(), (page(0),)])
def test_a_probe_that_met_nothing_tells_no_rate(pages: tuple[ProbedPage, ...]):
    assert probed_rate(Probed(pages=pages), 1.0) is None
    found = told(rate=GUESS, seen=QUIET, probe=Probed(pages=pages, note="waited 15 s"))
    assert "the probe could not tell (waited 15 s)" in found.unknown[0]
    assert found.confidence is Confidence.PARTLY


def test_earlier_jobs_tell_a_rate_with_a_fifth_to_either_side():
    rate = earlier_rate([1_000.0, 2_000.0], "like this")
    assert rate == Rate(Bounds(low=800, high=2_500), "2 jobs like this", is_measured=True)
    assert earlier_rate([], "") is None
    assert earlier_rate([0.0, float("inf")], "") is None


@pytest.mark.parametrize(
    ("rate", "seen", "confidence"),
    [
        (RATE, QUIET, Confidence.MEASURED),
        (RATE, UNLEARNED, Confidence.PARTLY),
        (GUESS, beside(), Confidence.PARTLY),
        (GUESS, UNLEARNED, Confidence.GUESS),
    ],
)
def test_confidence_is_how_much_was_measured(rate: Rate, seen: Watched, confidence: Confidence):
    assert told(rate=rate, seen=seen).confidence is confidence


# -- what is felt ------------------------------------------------------------------------------------------


def test_what_was_felt_beside_jobs_is_what_will_be_felt():
    seen = beside(felt=(felt("read", WORKING, 6.0), felt("read", BLANK, 4.0), felt("read", ALONE, 3.0)))
    (feel,) = told(seen=seen).feels
    assert (feel.op, feel.without_ms, feel.beside_ms) == ("read", 4.0, Bounds(low=6, high=6))


def test_what_was_not_felt_yet_is_aimed_at_and_not_promised():
    seen = Watched(samples=180, span_s=1_800.0, foreground_ops=300.0, felt=(felt("write", ALONE, 10.0),))
    (feel,) = told(seen=seen, inflation=1.2).feels
    assert (feel.without_ms, feel.beside_ms) == (10.0, Bounds(low=10, high=12))
    assert "aims at 1.2 times the tail without jobs at most; an aim, no promise" in feel.basis


@pytest.mark.parametrize(
    ("seen", "standing", "basis", "unknown"),
    [
        (beside(felt=(felt("read", BLANK, 4.0),)), OFF, "nobody looks: the governor is off", 'governor = "observe"'),
        (beside(felt=(felt("read", BLANK, 4.0),)), OBSERVE, "obey nobody", "tail beside jobs: start the job"),
        (Watched(), HEARD, "aims at 1.1 times", "what the foreground feels now"),
        (UNLEARNED, HEARD, "aims at 1.1 times", "tail beside jobs"),
        (QUIET, HEARD, "no foreground to protect", None),
        (
            Watched(samples=9, foreground_ops=300.0, felt=(felt("read", ALONE, 4.0, FELT_OPERATIONS_MIN - 1),)),
            HEARD, "aims at 1.1 times", "tail beside jobs",
        ),
    ],
)  # fmt: skip
def test_where_nothing_was_felt_nothing_is_told(seen: Watched, standing: Standing, basis: str, unknown: str | None):
    found = told(seen=seen, standing=standing)
    assert found.feels == ()
    assert basis in found.feel_basis
    assert (unknown is None) != any(unknown is not None and unknown in each for each in found.unknown)


# -- folding -------------------------------------------------------------------------------------------------


def sample(at_s: float, condition: Condition = WORKING, **fields: Any) -> Sample:
    figures = {"foreground-ops": 100.0} | fields.pop("figures", {})
    latencies = {"read": Latencies(20, 1.0, 2.0, 5.0)}
    return Sample(
        **({"at_s": at_s, "condition": condition, "zone": "keep", "figures": figures, "latencies": latencies} | fields)
    )


def test_samples_are_folded_into_duty_parts_and_tails():
    samples = [sample(n, figures={"duty": n / 100, "write-p50": 2.0}) for n in range(60)]
    samples += [sample(60.0 + n, SHUT, figures={"duty": 0.02}) for n in range(20)]
    samples += [sample(80.0 + n, BLANK) for n in range(20)]
    found = watched(samples)
    assert (found.samples, found.span_s, found.beside, found.quiet) == (100, 99, 100, 0)
    assert found.duty == Bounds(low=0.14, high=0.44), "quartiles while the gate was open"
    assert (found.shut_part, found.blank_part) == (0.2, 0.2)
    assert (found.foreground_ops, found.commit_ms) == (100.0, 2.0)
    assert {one.condition for one in found.felt} == {WORKING, SHUT, BLANK}


def test_only_jobs_that_obey_beside_a_foreground_tell_of_a_pace():
    found = watched(
        [sample(0, ALONE), sample(1, zone="quiet"), sample(2, is_observed_only=True, figures={"duty": 1.0})]
    )
    assert (found.beside, found.quiet, found.duty, found.shut_part) == (0, 1, None, 0.0)


def test_the_present_foreground_is_the_last_minutes():
    """A quiet night says nothing of the morning."""
    night = [sample(n * 10.0, ALONE, figures={"foreground-ops": 1.0}) for n in range(100)]
    morning = [sample(1_000 + n * 10.0, ALONE, figures={"foreground-ops": 400.0}) for n in range(8)]
    assert watched([*night, *morning]).foreground_ops == 400.0


def test_nothing_was_watched():
    assert watched([]) == Watched()


@given(st.lists(st.tuples(st.sampled_from(Condition), st.floats(0, 1e6)), max_size=50))
def test_any_samples_can_be_folded(seen: list[tuple[Condition, float]]):
    found = watched([sample(float(n), one, figures={"duty": duty}) for n, (one, duty) in enumerate(seen)])
    assert found.shut_part + found.blank_part <= 1 + 1e-9
    told(seen=found)


@pytest.mark.parametrize(("seconds", "words"), [(0, "0 s"), (89, "89 s"), (90, "2 min"), (840, "14 min")])
def test_how_long_somebody_looked(seconds: float, words: str):
    assert minutes(seconds) == words

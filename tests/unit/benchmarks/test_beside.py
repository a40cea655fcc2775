"""What is said of a foreground is only worth reading if the arithmetic behind it is right."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest


def seconds_of(*p99s_ms: float) -> Any:
    """Return a segment whose seconds have these p99s."""
    from benchmarks.beside.segments import gathered
    from benchmarks.foreground import Histogram

    return gathered([Histogram({1_000: 90, int(ms * 1_000): 10}) for ms in p99s_ms])


def pairs_of(*ratios: float, idle_ms: float = 10.0) -> Sequence[Any]:
    from benchmarks.beside.segments import Pair

    return [Pair(seconds_of(*[ratio * idle_ms] * 3), seconds_of(*[idle_ms] * 3)) for ratio in ratios]


def words_of(*said: tuple[float, bool, float, str]) -> Sequence[Any]:
    """Return what a governor said: moment, gate, duty, label."""
    from benchmarks.beside.words import Word

    return [Word(at, is_open, duty, label, label) for at, is_open, duty, label in said]


# --- segments ---------------------------------------------------------------------------------------


def test_a_segment_is_given_the_seconds_that_lie_wholly_within_it():
    """A second in which both sides ran belongs to neither."""
    from benchmarks.beside.segments import Segment, felt

    rows = [{"second": number, "histogram_us": {str((number + 1) * 1_000): 10}} for number in range(8)]
    report = {"started_at": 100.0, "seconds": rows}
    found = felt(report, Segment(begin_at=102.5, end_at=105.9, steal_percent=0.0))
    assert found.p99s_ms == (4.0, 5.0)
    assert found.whole.total == 20


def test_a_segment_too_short_for_a_whole_second_has_those_that_it_touches():
    from benchmarks.beside.segments import Segment, felt

    rows = [{"second": number, "histogram_us": {str((number + 1) * 1_000): 10}} for number in range(8)]
    assert felt({"started_at": 100.0, "seconds": rows}, Segment(102.4, 103.2, 0.0)).p99s_ms == (3.0, 4.0)


def test_a_segment_without_operations_is_an_error_and_not_a_figure():
    from benchmarks.beside.segments import Segment, felt

    with pytest.raises(RuntimeError, match="did nothing"):
        felt({"started_at": 100.0, "seconds": []}, Segment(100.0, 110.0, 0.0))


# --- estimators -------------------------------------------------------------------------------------


def test_one_stalled_second_moves_the_pooled_p99_and_not_the_median_of_seconds():
    """That is why the median of 1-second p99s needs so much less time to say something."""
    from benchmarks.beside.ratios import median_p99, pooled_p99

    calm, stalled = seconds_of(*[10.0] * 9), seconds_of(*[10.0] * 8, 900.0)
    assert (median_p99([calm]), median_p99([stalled])) == (10.0, 10.0)
    assert (pooled_p99([calm]), pooled_p99([stalled])) == (10.0, 900.0)


def test_pairs_that_agree_leave_no_doubt_and_pairs_that_do_not_a_wide_interval():
    from benchmarks.beside.ratios import compared, median_p99

    agreed = compared(pairs_of(1.2, 1.2, 1.2, 1.2), median_p99)
    assert tuple(agreed) == pytest.approx((1.2, 1.2, 1.2))
    doubtful = compared(pairs_of(0.8, 1.2, 1.0, 1.6, 1.1), median_p99)
    assert doubtful.ratio == pytest.approx(1.1)
    assert doubtful.low < 1.1 < doubtful.high


def test_an_interval_is_the_same_each_time():
    from benchmarks.beside.ratios import compared, median_p99

    pairs = pairs_of(0.9, 1.3, 1.0, 1.1)
    assert compared(pairs, median_p99) == compared(pairs, median_p99)


def test_a_machine_that_becomes_slower_from_pair_to_pair_does_not_widen_the_interval():
    """Both sides of a pair have the machine's mood in common."""
    from benchmarks.beside.ratios import compared, pooled_p99
    from benchmarks.beside.segments import Pair

    pairs = [Pair(seconds_of(1.5 * ms, 1.5 * ms), seconds_of(ms, ms)) for ms in (4.0, 6.0, 8.0, 10.0)]
    assert tuple(compared(pairs, pooled_p99)) == pytest.approx((1.5, 1.5, 1.5))


def test_the_noise_floor_is_around_one_and_as_wide_as_the_idle_segments_differ():
    from benchmarks.beside.ratios import median_p99, noise_floor

    quiet = noise_floor([seconds_of(10.0, 10.0) for _ in range(6)], median_p99)
    loud = noise_floor([seconds_of(ms, ms) for ms in (6.0, 8.0, 9.0, 11.0, 14.0, 20.0)], median_p99)
    assert quiet is not None
    assert loud is not None
    assert tuple(quiet) == (1.0, 1.0, 1.0)
    assert loud.low < 0.9
    assert loud.high > 1.1


def test_one_idle_segment_has_no_noise_floor():
    from benchmarks.beside.ratios import median_p99, noise_floor

    assert noise_floor([seconds_of(10.0)], median_p99) is None


def test_the_baseline_is_nobody_s_neighbour():
    from benchmarks.beside.ratios import against, median_p99

    found = against([seconds_of(12.0), seconds_of(12.0)], [seconds_of(10.0)] * 3, median_p99)
    assert tuple(found) == pytest.approx((1.2, 1.2, 1.2))


def test_a_score_counts_documents_over_the_job_s_side_alone():
    from benchmarks.beside.scores import Score
    from benchmarks.beside.segments import Segment

    segments = [
        (Segment(at, at + 10.0, 1.0, documents), Segment(at + 12, at + 22, 2.0))
        for at, documents in ((0, 100), (30, 300))
    ]
    assert Score("governed", 300.0, segments).docs_per_second == 20.0


def test_a_score_s_row_is_json_and_holds_steal_beside_every_segment():
    from benchmarks.beside.scores import Score
    from benchmarks.beside.segments import Segment

    segments = [(Segment(0.0, 10.0, 1.5, 100), Segment(12.0, 22.0, 2.5)) for _ in range(2)]
    score = Score("governed", 300.0, segments, list(pairs_of(1.0, 1.2)), [seconds_of(10.0)])
    row = json.loads(json.dumps(score.row()))
    assert [(one["beside"]["steal_percent"], one["idle"]["steal_percent"]) for one in row["segments"]] == [
        (1.5, 2.5)
    ] * 2
    assert row["p99_ratio"][0] == pytest.approx(1.1)
    assert row["noise_floor"] is not None


# --- what the governor said -------------------------------------------------------------------------


def test_a_surge_is_answered_when_the_gate_shuts():
    from benchmarks.beside.words import reaction

    found = reaction(words_of((90, True, 1.0, ""), (100.5, False, 1.0, "canary")), 100, 115)
    assert found == (0.5, False)


def test_a_surge_is_answered_when_the_budget_is_cut():
    from benchmarks.beside.words import reaction

    assert reaction(words_of((90, True, 1.0, ""), (100.8, True, 0.7, "")), 100, 115) == (pytest.approx(0.8), False)


def test_a_blank_window_answers_nothing():
    """In it the gate is shut as well, by the clock and not by what was seen."""
    from benchmarks.beside.words import reaction

    said = words_of((90, True, 1.0, ""), (100.2, False, 1.0, "blank window"), (101.4, True, 1.0, ""))
    assert reaction(said, 100, 115) == (None, False)


def test_a_gate_that_was_shut_already_is_no_answer_to_be_counted():
    from benchmarks.beside.words import reaction

    assert reaction(words_of((90, True, 1.0, ""), (99.0, False, 1.0, "canary")), 100, 115) == (0.0, True)


def test_an_answer_after_the_surge_is_none():
    from benchmarks.beside.words import reaction

    assert reaction(words_of((90, True, 1.0, ""), (115.5, False, 1.0, "canary")), 100, 115).seconds is None


def test_growth_is_no_answer():
    from benchmarks.beside.words import reaction

    assert reaction(words_of((90, True, 0.5, ""), (101, True, 0.55, "")), 100, 115).seconds is None


def test_the_shut_part_counts_from_the_word_that_was_in_force_at_the_beginning():
    from benchmarks.beside.words import shut_part

    said = words_of((90, False, 1.0, "canary"), (102, True, 1.0, ""), (106, False, 1.0, "canary"), (108, True, 1.0, ""))
    assert shut_part(said, 100, 110) == pytest.approx(0.4)


def test_the_shut_part_leaves_blank_windows_aside_and_ends_with_the_time():
    from benchmarks.beside.words import shut_part

    said = words_of(
        (90, True, 1.0, ""), (101, False, 1.0, "blank window"), (102, True, 1.0, ""), (105, False, 1.0, "x")
    )
    assert shut_part(said, 100, 110) == pytest.approx(0.5)


def test_a_published_budget_without_a_word_is_none():
    """A governor that has taken over and not spoken yet leaves a fence only."""
    from benchmarks.beside.stage import seen

    assert seen({"_id": "budget", "fence": 3}, 100.0) is None


# --- back to work -----------------------------------------------------------------------------------


def counts_of(*rates: tuple[float, float, float]) -> list[tuple[float, int]]:
    """Return counts four times a second: from, to, documents per second."""
    counts, documents = [], 0.0
    for begin_at, end_at, per_second in rates:
        for step in range(int((end_at - begin_at) * 4)):
            counts.append((begin_at + step / 4, round(documents)))
            documents += per_second / 4
    return counts


def test_recovery_is_counted_from_the_surge_s_end_to_the_end_of_the_first_good_window():
    from benchmarks.beside.words import recovery

    counts = counts_of((80, 100, 1_000), (100, 115, 0), (115, 120, 100), (120, 150, 1_000))
    found = recovery(counts, 100, 115, 150)
    # Three seconds of which at most three tenths may be slow.
    assert found == pytest.approx(7.75, abs=0.5)


def test_no_recovery_is_faster_than_the_window_it_is_seen_in():
    from benchmarks.beside.words import recovery

    counts = counts_of((80, 150, 1_000))
    assert recovery(counts, 100, 115, 150) == pytest.approx(3.0, abs=0.25)


def test_work_that_stays_slow_has_not_recovered():
    from benchmarks.beside.words import recovery

    assert recovery(counts_of((80, 100, 1_000), (100, 150, 800)), 100, 115, 150) is None


def test_without_an_earlier_rate_there_is_no_recovery():
    from benchmarks.beside.words import recovery

    assert recovery(counts_of((110, 150, 1_000)), 100, 115, 150) is None


@pytest.mark.parametrize(("counts", "expected"), [([(1.0, 10), (3.0, 50)], 20.0), ([(1.0, 10)], None), ([], None)])
def test_a_rate_needs_two_counts(counts: list[tuple[float, int]], expected: float | None):
    from benchmarks.beside.words import rate

    assert rate(counts, 0.0, 5.0) == expected


# --- verdicts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0.4, 1.9], "met"), ([0.4, 2.1], "missed"), ([0.4, None], "missed"), ([], "")],
)
def test_an_answer_that_never_came_misses_every_limit(values: list[float | None], expected: str):
    from benchmarks.beside.part_surge import _verdict_max

    most = None if None in values else max((value for value in values if value is not None), default=None)
    assert _verdict_max(values, most, 2.0) == expected


def test_surges_are_held_against_their_limits():
    from benchmarks.beside.part_surge import surges_result
    from benchmarks.beside.sizes import QUICK
    from benchmarks.beside.stage import Watch
    from benchmarks.foreground import Histogram

    size = QUICK._replace(surges=2, surges_alone=1, surge_s=8, surge_every_s=40)
    seconds = [{"second": n, "histogram_us": dict(Histogram({5_000: 300}).counts)} for n in range(160)]
    report = {"started_at": 1_000.0, "seconds": [{**one, "histogram_us": {"5000": 300}} for one in seconds]}
    watch = Watch.__new__(Watch)
    watch.words = list(
        words_of(
            (1_000, True, 1.0, ""),
            (1_040.5, False, 1.0, "canary"),
            (1_048.5, True, 1.0, ""),
            (1_081.5, False, 1.0, "x"),
        )
    )
    watch.counts = counts_of((1_000, 1_040, 1_000), (1_040, 1_048, 0), (1_048, 1_080, 1_000), (1_080, 1_120, 0))
    found = surges_result(report, watch, size)
    assert [row["reaction_s"] for row in found["surges"]] == pytest.approx([0.5, 1.5])
    assert (found["answered_within_1s"], found["answered_verdict"]) == (0.5, "missed")
    assert found["slowest_verdict"] == "met"
    assert (found["longest_recovery_s"], found["recovery_verdict"]) == (None, "missed")
    assert found["alone_p99_ms"] == [5.0]


@pytest.mark.parametrize(
    ("share", "wanted", "expected"),
    [(0.5, 0.5, 0.0), (0.55, 0.5, 0.1), (0.75, 0.75, 0.0), (0.725, 0.75, 0.1), (0.8, 0.75, 0.2)],
)
def test_the_smaller_job_s_share_counts_as_much_as_the_larger_one_s(share: float, wanted: float, expected: float):
    from benchmarks.beside.part_fair import worst_share

    assert worst_share(share, wanted) == pytest.approx(expected)


def test_the_fixed_sleep_makes_up_for_what_the_script_would_do_too_fast():
    from benchmarks.beside.arms import sleep_for
    from benchmarks.beside.sizes import SCRIPT_BATCH

    sleep_s = sleep_for(wanted=4_000, unpaced=16_000)
    assert SCRIPT_BATCH / (SCRIPT_BATCH / 16_000 + sleep_s) == pytest.approx(4_000)


def test_a_script_that_is_slower_anyway_does_not_sleep():
    from benchmarks.beside.arms import sleep_for

    assert sleep_for(wanted=5_000, unpaced=4_000) == 0.0


# --- the command line, the file ---------------------------------------------------------------------


def test_parts_are_measured_in_their_own_order_whatever_the_order_they_are_asked_in(monkeypatch: pytest.MonkeyPatch):
    from benchmarks.beside.__main__ import PARTS, parse_arguments
    from benchmarks.beside.sizes import FULL, QUICK

    monkeypatch.delenv("QUICK", raising=False)
    assert parse_arguments([]) == (list(PARTS), FULL)
    monkeypatch.setenv("QUICK", "1")
    names, size = parse_arguments(["--only", "cost", "--only", "p99", "--pairs", "4", "--segment", "12"])
    assert names == ["p99", "cost"]
    assert size == QUICK._replace(pairs=4, pairs_kinds=4, segment_s=12.0)


def test_every_arm_has_two_hundred_seconds_in_the_full_form():
    from benchmarks.beside.sizes import FULL, SWITCH_SECONDS

    # A segment's first and last second are seldom whole.
    assert min(FULL.pairs, FULL.pairs_kinds) * (FULL.segment_s - SWITCH_SECONDS - 1) >= 200


def test_a_file_that_is_not_there_or_not_ours_keeps_nothing(tmp_path: Path):
    from benchmarks.beside.__main__ import kept

    path = tmp_path / "foreground.json"
    assert kept(path) == {}
    path.write_text("{}")
    assert kept(path) == {}
    path.write_text('{"parts": {"p99": {"result": 1}}}')
    assert kept(path) == {"p99": {"result": 1}}


# --- the foreground's surges ------------------------------------------------------------------------


def load(**changes: float) -> Any:
    from benchmarks.foreground import Load

    return Load(uri="", namespace="a.b", **changes)


def due(wanted: Any) -> list[float]:
    from benchmarks.foreground import Schedule

    schedule = Schedule(wanted, keys=10)
    return [operation.due_s for operation in iter(schedule.next, None)]


def test_surges_change_the_intended_starts_themselves():
    """Latency counts from there: a rate that changes by waiting for answers would hide the surge's own queue."""
    moments = due(load(rate=8, seconds=12, surge_rate=32, surge_from=2, surge_for=1, surge_every=5))
    by_second = [sum(second <= at < second + 1 for at in moments) for second in range(12)]
    assert by_second == [8, 8, 32, 8, 8, 8, 8, 32, 8, 8, 8, 8]


def test_without_surges_operations_are_evenly_spaced():
    assert due(load(rate=4, seconds=1)) == [0.0, 0.25, 0.5, 0.75]


def test_one_surge_comes_once():
    wanted = load(rate=10, surge_rate=50, surge_from=2, surge_for=1)
    assert [wanted.rate_at(second) for second in (0, 2, 2.9, 3, 7)] == [10, 50, 50, 10, 10]


# --- processor time ---------------------------------------------------------------------------------


def test_steal_is_a_part_of_all_time_between_two_readings():
    from benchmarks.bench import steal_percent

    before, after = {"user": 100, "idle": 100, "steal": 10}, {"user": 150, "idle": 140, "steal": 20}
    assert steal_percent(before, after) == 10.0
    assert steal_percent({}, {}) == 0.0

"""What follows from what is seen: tables for the zones, properties for what must never happen, sequences for the rest."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lull.domain.governor import law, readings
from lull.domain.governor.baseline import Share
from lull.domain.governor.law import Aim, Decision, Pace, Phase, View, Zone
from lull.domain.governor.readings import SIGNALS, Effect, Reading, Stale

BASE_MS = 10.0
TOLERANT = Pace(ceiling=law.DUTY_BUSY)
"""What was learned on a cluster that bears a page at a time."""
WELL = {"canary": 0.3, "opens": 0.5, "used": 1.0, "foreground_ops": 300.0, "live": 2}
SURGE = {"canary": 2.0, "opens": 3.0}
SURELY_TOO_MUCH = Share(1.8, 1.5, 2.2, 4.0)
A_LITTLE_TOO_MUCH = Share(1.13, 1.11, 1.15, 0.4)
PROBABLY_TOO_MUCH = Share(1.15, 0.98, 1.4, 0.4)
NEARLY_TOO_MUCH = Share(1.08, 0.8, 1.6, 0.2)
PROBABLY_FINE = Share(1.04, 0.8, 1.6, 0.2)
SURELY_FINE = Share(1.0, 0.9, 1.05, 0.0)


@dataclass
class Governor:
    """Sees the same for a while, ten times a second."""

    ticks: int = 1_000
    began_s: float = 100.0
    pace: Pace = TOLERANT
    said: list[Decision] = field(default_factory=list)
    paces: list[Pace] = field(default_factory=list)
    aim: Aim = field(default_factory=Aim)

    def see(self, for_s: float = 0.1, others: Sequence[Reading] = (), **seen: Any) -> Decision:
        seen = WELL | seen
        canary, opens = seen.pop("canary"), seen.pop("opens")
        canary_age_s = seen.pop("canary_age_s", 0.0)
        for _ in range(max(1, round(for_s * 10))):
            self.ticks += 1
            observed = None if canary is None else canary * BASE_MS
            read = Reading(readings.CANARY, observed, BASE_MS, self.now_s - canary_age_s)
            fresh = [one if one.at_s is None else replace(one, at_s=self.now_s - one.at_s) for one in others]
            # Beside pages all the time, for as long as these tests look.
            seen["own_for_s"] = self.now_s - max(self.pace.evidence_since_s, self.began_s)
            view = View(now_s=self.now_s, readings=(read, *fresh), canary_opens=opens, **seen)
            self.pace, decision = law.decide(self.pace, view, self.aim)
            self.said.append(decision)
            self.paces.append(self.pace)
        return self.said[-1]

    @property
    def now_s(self) -> float:
        return self.ticks / 10

    def zones(self) -> list[Zone]:
        return [decision.zone for decision in self.said]


def at(utilization: float, signal: readings.Signal = readings.QUEUE, age_s: float = 0.0) -> Reading:
    """A reading that is so old whenever it is looked at."""
    return Reading(signal, 10 / utilization if signal.op == "<=" else utilization * 10, 10.0, age_s)


def running() -> Governor:
    """Beside a foreground, at one page at a time."""
    governor = Governor()
    governor.see(5.0)
    assert governor.pace.duty == law.DUTY_BUSY
    return governor


# -- zones ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "others", "zone", "is_open"),
    [
        ({"live": 0}, [], Zone.IDLE, True),
        ({}, [], Zone.GROW, True),
        ({}, [at(0.39)], Zone.GROW, True),
        ({}, [at(0.40)], Zone.KEEP, True),
        ({}, [at(0.69)], Zone.KEEP, True),
        ({}, [at(0.70)], Zone.SHED, True),
        ({}, [at(0.99)], Zone.SHED, True),
        ({}, [at(1.0)], Zone.STOP, False),
        ({}, [at(0.2), at(0.8, readings.DIRTY_CACHE)], Zone.SHED, True),  # the worst rules
        ({"canary": 0.99}, [], Zone.GROW, True),  # the gate's signal slows nobody down by degrees
        ({"canary": 1.0}, [], Zone.STOP, False),
        ({}, [at(0.99, readings.LAG)], Zone.GROW, True),
        ({}, [at(1.0, readings.LAG)], Zone.STOP, False),
        ({}, [at(9.0, readings.INFLATION)], Zone.GROW, True),  # shown to people, acted on by nobody
        ({}, [at(1.0, readings.OPLOG_WINDOW)], Zone.STOP, False),
        ({"ordered_shut": "shut by ann"}, [], Zone.STOP, False),
        ({"canary_age_s": 3.5}, [], Zone.STOP, False),
    ],
)
def test_the_zones(seen: dict[str, Any], others: list[Reading], zone: Zone, *, is_open: bool):
    governor = running()
    decision = governor.see(others=others, **seen)
    assert (decision.zone, decision.is_open) == (zone, is_open)


@pytest.mark.parametrize(
    ("seen", "others", "reason", "label"),
    [
        ({"canary": 4.1}, [], "canary 41 ms >= 10 ms", "canary"),
        ({}, [at(2.0)], "queue 20 operations >= 10 operations", "queue"),
        ({}, [at(0.8)], "queue 8 operations near 10 operations", "foreground"),
        ({}, [at(1.0, readings.LAG, age_s=9.0)], "lag stale 9.0 s >= 3 s", "lag stale"),
        ({"ordered_shut": "shut by ann: a release"}, [], "shut by ann: a release", "shut by an operator"),
        ({"own": SURELY_TOO_MUCH, "canary": 2.0}, [], "canary 20 ms >= 10 ms, of it ours 4.0 ms", "canary"),
    ],
)
def test_reasons_are_facts_and_labels_hold_no_numbers(
    seen: dict[str, Any], others: list[Reading], reason: str, label: str
):
    decision = running().see(others=others, **seen)
    assert (decision.reason, decision.label) == (reason, label)
    assert not any(char.isdigit() for char in decision.label)


def test_of_several_reasons_the_hardest_is_told():
    decision = running().see(canary=3.0, others=[at(2.0), at(1.5, readings.FLOW_CONTROL)])
    assert decision.label == "flow-control"


# -- what must never happen -----------------------------------------------------------------------

AGES = st.floats(0, 8)
UTILIZATIONS = st.floats(0, 3)
OTHER_READINGS = st.lists(
    st.builds(at, st.floats(0.01, 3), st.sampled_from([one for one in SIGNALS if one is not readings.CANARY]), AGES),
    max_size=4,
)
SIGHTS = st.fixed_dictionaries(
    {
        "for_s": st.sampled_from([0.1, 0.5, 2.0, 6.0, 25.0]),
        "others": OTHER_READINGS,
        "canary": st.none() | UTILIZATIONS,
        "opens": st.none() | UTILIZATIONS,
        "canary_age_s": AGES,
        "live": st.integers(0, 3),
        "used": st.none() | st.floats(0, 3),
        "foreground_ops": st.none() | st.sampled_from([0.0, 20.0, 300.0]),
        "own": st.none() | st.sampled_from([SURELY_TOO_MUCH, PROBABLY_FINE, SURELY_FINE]),
        "ordered_shut": st.sampled_from(["", "", "", "shut by ann"]),
        "may_blank": st.booleans(),
        "draw": st.floats(0, 0.99),
    }
)
STORIES = st.lists(SIGHTS, min_size=1, max_size=8)


def seen_after(story: list[dict[str, Any]], **last: Any) -> tuple[Governor, Decision]:
    governor = Governor()
    for sight in story:
        governor.see(**sight)
    return governor, governor.see(**last)


@given(STORIES, st.sampled_from([one for one in SIGNALS if one.stale is Stale.CLOSE]), st.floats(3.1, 100))
def test_no_story_opens_the_gate_on_a_stale_signal_that_closes(
    story: list[dict[str, Any]], signal: readings.Signal, age_s: float
):
    """Not when it was well when last seen, and not for a floor of progress."""
    if signal is readings.CANARY:
        _, decision = seen_after(story, canary=0.1, opens=0.1, canary_age_s=age_s)
        quiet = seen_after([*story, {"for_s": 2.0, "foreground_ops": 0.0}], canary_age_s=age_s, foreground_ops=0.0)[1]
        assert quiet.zone in {Zone.QUIET, Zone.STOP, Zone.FLOOR}
    else:
        _, decision = seen_after(story, others=[at(0.01, signal, age_s)])
    assert (decision.is_open, decision.floor) == (False, 0.0)


@given(STORIES, SIGHTS, st.sampled_from([one for one in SIGNALS if one.effect is Effect.HARD]), st.floats(1.0, 50))
def test_a_hard_stop_wins_over_whatever_else_is_seen(
    story: list[dict[str, Any]], last: dict[str, Any], signal: readings.Signal, utilization: float
):
    """In quiet, in a blank window, on the floor, in slow start: nothing begins, for as long as it lasts."""
    governor, _ = seen_after(story)
    before = len(governor.said)
    governor.see(**last | {"for_s": 30.0, "others": [*last["others"], at(utilization, signal)]})
    assert {decision.is_open for decision in governor.said[before:]} == {False}


@given(STORIES, SIGHTS)
def test_an_operators_order_wins_over_whatever_else_is_seen(story: list[dict[str, Any]], last: dict[str, Any]):
    _, decision = seen_after(story, **last | {"ordered_shut": "shut by ann"})
    assert (decision.zone, decision.is_open, decision.reason) == (Zone.STOP, False, "shut by ann")


@given(STORIES)
def test_whatever_is_seen_the_pace_stays_within_its_bounds(story: list[dict[str, Any]]):
    governor, _ = seen_after(story)
    for pace, decision in zip(governor.paces, governor.said, strict=True):
        assert law.DUTY_MIN <= pace.duty <= 3
        assert law.HOLD_MS_MIN <= pace.hold_ms <= law.HOLD_MS_MAX
        assert decision.duty > 0
        assert decision.turns >= 1
        assert decision.is_open or decision.floor == 0
        assert decision.is_open or decision.reason


@given(STORIES)
def test_the_canarys_figures_count_as_without_us_only_when_nothing_of_ours_may_run(story: list[dict[str, Any]]):
    """Else congestion would be learned as normal."""
    governor, _ = seen_after(story)
    for decision in governor.said:
        if decision.phase is Phase.OFF and decision.zone is not Zone.IDLE:
            assert not decision.is_open


@given(STORIES)
def test_pace_grows_only_where_the_zone_says_so_and_is_never_cut_and_raised_at_once(story: list[dict[str, Any]]):
    governor, _ = seen_after(story)
    for before, after, decision in zip(governor.paces, governor.paces[1:], governor.said[1:], strict=False):
        is_anew = after.duty == min(law.DUTY_START, after.ceiling)
        if after.duty > before.duty and not is_anew:
            assert decision.zone in {Zone.GROW, Zone.BLANK}
            assert decision.is_open or decision.zone is Zone.BLANK
        assert not (after.cut_at_s > before.cut_at_s and after.duty > before.duty and not is_anew)


# -- growth ---------------------------------------------------------------------------------------


def test_a_job_that_comes_to_an_idle_governor_starts_slowly_and_is_at_full_pace_in_a_second():
    governor = Governor()
    governor.see(30.0, live=0)
    governor.see(1.3)
    duties = [decision.duty for decision in governor.said if decision.zone is Zone.GROW]
    assert (duties[0], duties[-1]) == (law.DUTY_START, law.DUTY_BUSY)
    assert sorted(set(duties)) == [0.25, 0.5, 1.0]


def test_slow_start_is_once():
    governor = running()
    governor.see(0.5, others=[at(2.0)])
    governor.see(12.0)
    steps = [after.duty / before.duty for before, after in zip(governor.paces[50:], governor.paces[51:], strict=False)]
    assert max(steps) <= law.RAISE + 1e-9


def test_slices_that_give_up_waiting_and_come_back_find_the_pace_they_left():
    governor = running()
    governor.see(3.0, others=[at(0.85)])
    duty = governor.pace.duty
    governor.see(10.0, live=0)
    governor.see(0.1, used=0.0)
    assert governor.pace.duty == duty < law.DUTY_BUSY
    assert not governor.pace.is_ramping


def test_a_budget_that_is_not_used_does_not_grow():
    governor = running()
    governor.see(0.5, others=[at(2.0)])
    cut = governor.pace.duty
    governor.see(30.0, used=cut * 0.8)
    assert governor.pace.duty == cut
    governor.see(30.0, used=None)
    assert governor.pace.duty == cut
    governor.see(30.0, used=1.0)
    assert governor.pace.duty == law.DUTY_BUSY


def test_what_is_blind_does_not_grow():
    governor = running()
    governor.see(0.5, others=[at(2.0)])
    cut = governor.pace.duty
    governor.see(30.0, others=[at(0.1, age_s=20.0)])
    assert governor.pace.duty == cut


def test_growth_waits_until_the_last_cut_has_had_time_to_show():
    governor = running()
    governor.see(0.1, others=[at(2.0)])
    cut_s, cut = governor.now_s, governor.pace.duty
    while governor.pace.duty == cut:
        governor.see()
    assert governor.now_s - cut_s >= law.RAISE_AFTER_CUT_S - 0.1


def test_a_cut_is_never_delayed_by_a_cooldown_of_growth():
    """After a raise an overload must be answered at once; only after a cut the signal needs time to show it."""
    governor = running()
    governor.see(0.1, others=[at(2.0)])
    cut = governor.pace.duty
    while governor.pace.duty == cut:
        governor.see()
    raised = governor.pace.duty
    decision = governor.see(0.1, others=[at(1.0)])
    assert (decision.is_open, governor.pace.duty) == (False, raised * law.HALF)


def test_cuts_follow_each_other_only_when_the_last_one_has_had_time_to_show():
    governor = running()
    governor.see(30.0, others=[at(0.85)])
    cuts = [
        pace.cut_at_s
        for before, pace in zip(governor.paces, governor.paces[1:], strict=False)
        if pace.duty < before.duty
    ]
    assert len(cuts) >= 5
    assert all(after - before >= law.CUT_EVERY_S - 0.11 for before, after in pairwise(cuts))


@pytest.mark.parametrize(("utilization", "factor"), [(0.71, 0.99), (0.85, 0.85), (0.99, 0.71)])
def test_shedding_is_in_proportion(utilization: float, factor: float):
    governor = running()
    governor.see(0.1, others=[at(utilization)])
    assert governor.pace.duty == pytest.approx(factor, abs=0.01)


def test_growth_back_is_fast_where_the_gate_has_long_stayed_open():
    governor = running()
    governor.pace = replace(governor.pace, duty=law.DUTY_MIN, cut_at_s=governor.now_s, is_ramping=False)
    began_s = governor.now_s
    while governor.pace.duty < 0.9:
        governor.see()
    assert governor.now_s - began_s < 25.0


# -- the gate -------------------------------------------------------------------------------------


def test_a_surge_shuts_in_the_tick_in_which_it_is_seen_and_opens_at_the_earlier_pace():
    governor = running()
    governor.see(12.0)
    assert not governor.see(0.1, **SURGE).is_open
    governor.see(5.0, **SURGE)
    decision = governor.see(0.7)
    assert (decision.is_open, decision.duty) == (True, law.DUTY_BUSY)


def test_a_gate_that_shuts_again_soon_was_opened_at_too_high_a_pace():
    governor = running()
    governor.see(0.1, **SURGE)
    governor.see(2.0)
    governor.see(0.1, **SURGE)
    assert governor.pace.duty == pytest.approx(law.CUT)


def test_a_gate_that_shuts_now_and_then_by_noise_keeps_its_pace():
    governor = running()
    for _ in range(30):
        governor.see(0.2, **SURGE)
        governor.see(12.0)
    assert governor.pace.duty == law.DUTY_BUSY


def test_a_gate_opens_only_after_the_tail_has_been_well_for_a_while():
    governor = running()
    governor.see(0.1, **SURGE)
    for _ in range(20):
        governor.see(0.3)
        assert not governor.see(0.1, canary=0.9, opens=1.1).is_open
    assert governor.see(law.CALM_S + 0.2).is_open


def test_after_a_hard_stop_the_calm_must_last_longer():
    governor = running()
    governor.see(0.1, others=[at(1.2, readings.FLOW_CONTROL)])
    assert not governor.see(law.CALM_HARD_S - 0.2, others=[at(0.2, readings.FLOW_CONTROL)]).is_open
    assert governor.see(0.5, others=[at(0.2, readings.FLOW_CONTROL)]).is_open


def test_beside_jobs_a_canary_that_cannot_be_judged_by_shuts_the_gate_before_it_is_stale():
    """A server that stands still lets no operation end: there is no tail then, and no latency to see."""
    governor = running()
    decision = governor.see(law.MUTE_S + 0.2, canary=None, opens=None)
    assert (decision.is_open, decision.label) == (False, "canary mute")
    assert not governor.see(5.0, canary=None, opens=None).is_open


def test_a_gate_that_a_surge_has_shut_is_not_opened_by_a_canary_that_falls_silent():
    governor = running()
    governor.see(1.0, **SURGE)
    governor.see(0.7, canary=None, opens=None)
    assert not governor.said[-1].is_open
    assert governor.see(0.7).is_open


@pytest.mark.parametrize(
    "seen", [{"ordered_shut": "shut by ann"}, {"canary_age_s": 9.0}, {"canary": None, "opens": None}]
)
def test_an_order_and_silence_say_nothing_about_the_pace(seen: dict[str, Any]):
    governor = running()
    governor.see(30.0, **seen)
    governor.see(2.0)
    assert governor.said[-1].is_open
    assert governor.pace.duty == law.DUTY_BUSY


def test_what_rises_while_nothing_of_ours_runs_cuts_nothing():
    governor = running()
    governor.see(12.0)
    governor.see(2.0, **SURGE)
    governor.see(30.0, others=[at(3.0)], **SURGE)
    assert governor.pace.duty == law.DUTY_BUSY


def test_a_lasting_cut_signal_halves_once_not_until_nothing_is_left():
    """A p99 of ten seconds stays over its limit for ten seconds, however well the server has become."""
    governor = running()
    governor.see(10.0, others=[at(1.5)])
    assert governor.pace.duty == law.HALF


# -- progress -------------------------------------------------------------------------------------


def test_a_foreground_that_stays_slow_without_us_is_said_to_be_so():
    governor = running()
    governor.see(0.5, **SURGE)
    assert "not ours" not in governor.said[-1].reason
    assert governor.see(1.0, **SURGE).reason == "canary 20 ms >= 10 ms, not ours"


@pytest.mark.parametrize(("seen", "others"), [(SURGE, []), ({}, [at(1.3)])])
def test_nobody_starves_beside_a_soft_stop_that_lasts(seen: dict[str, Any], others: list[Reading]):
    governor = running()
    governor.see(law.PATIENCE_S - 0.1, others=others, **seen)
    assert governor.said[-1].zone is Zone.STOP
    decision = governor.see(0.3, others=others, **seen)
    assert (decision.zone, decision.is_open, decision.duty, decision.floor) == (
        Zone.FLOOR, True, law.FLOOR_DUTY, law.FLOOR_DUTY,
    )  # fmt: skip
    assert decision.reason.endswith("a floor of progress")
    assert not decision.is_starved
    assert governor.see(law.STARVED_S - law.PATIENCE_S, others=others, **seen).is_starved


@pytest.mark.parametrize(
    "others", [[at(1.0, readings.LAG)], [at(0.1, readings.LAG, 9.0)], [at(2.0), at(1.1, readings.FLOW_CONTROL)]]
)
def test_there_is_no_floor_under_a_hard_stop_and_people_are_told(others: list[Reading]):
    governor = running()
    governor.see(300.0, others=others, **SURGE)
    assert Zone.FLOOR not in governor.zones()
    assert governor.said[-1].is_starved


def test_patience_begins_when_the_last_hard_stop_has_ended():
    """An hour's order says nothing about how long the foreground has been slow."""
    governor = running()
    governor.see(300.0, ordered_shut="shut by ann")
    assert governor.see(law.PATIENCE_S - 0.2, **SURGE).zone is Zone.STOP
    assert governor.see(0.5, **SURGE).zone is Zone.FLOOR


def test_a_canary_near_its_limit_after_a_hard_stop_starves_nobody():
    """Too well to shut a gate, not well enough to open one: what keeps it shut is no longer the hard limit."""
    governor = running()
    governor.see(1.0, others=[at(1.2, readings.LAG)])
    decision = governor.see(1.0, canary=0.9, opens=1.2, others=[at(0.1, readings.LAG)])
    assert decision.reason.startswith("canary 9 ms near 10 ms")
    assert governor.see(law.PATIENCE_S, canary=0.9, opens=1.2, others=[at(0.1, readings.LAG)]).zone is Zone.FLOOR


def test_patience_is_not_lost_when_slices_rest_between_two_waits():
    governor = running()
    for _ in range(2):
        governor.see(10.0, **SURGE)
        governor.see(10.0, live=0, canary=None, opens=None)
    assert governor.see(0.1, **SURGE).zone is Zone.FLOOR


def test_the_floor_ends_with_the_stop_and_the_earlier_pace_is_back():
    governor = running()
    governor.see(12.0)
    governor.see(40.0, **SURGE)
    decision = governor.see(2.5)
    assert (decision.zone, decision.duty) == (Zone.GROW, law.DUTY_BUSY)


# -- what is normal -------------------------------------------------------------------------------


def drifts(governor: Governor) -> int:
    return sum(decision.may_drift for decision in governor.said)


def test_the_base_may_drift_a_step_now_and_then_after_a_minute_without_us():
    governor = running()
    governor.see(law.DRIFT_AFTER_S - 1, **SURGE)
    assert drifts(governor) == 0
    governor.see(32.0, **SURGE)
    assert drifts(governor) == 4


@pytest.mark.parametrize(
    ("seen", "others"),
    [
        ({}, []),
        ({"may_blank": False, **SURGE}, []),  # nobody obeys: what is slow may be ours
        ({"canary_age_s": 9.0, **SURGE}, []),  # silence is no new normal
        ({"ordered_shut": "shut by ann", **SURGE}, []),
        (SURGE, [at(1.1, readings.LAG)]),
        ({}, [at(1.5)]),  # the server's own signal, not the canary's
    ],
)
def test_the_base_does_not_drift_where_it_may_be_ours_or_is_something_else(seen: dict[str, Any], others: list[Reading]):
    governor = running()
    governor.see(200.0, others=others, **seen)
    assert drifts(governor) == 0


def test_an_observer_never_says_that_it_is_not_ours():
    governor = running()
    governor.see(90.0, may_blank=False, **SURGE)
    assert not any("not ours" in decision.reason for decision in governor.said)


# -- quiet ----------------------------------------------------------------------------------------


def test_beside_no_foreground_nothing_is_limited():
    governor = running()
    decision = governor.see(law.QUIET_AFTER_S + 0.2, foreground_ops=3.0)
    assert (decision.zone, decision.duty, decision.floor) == (Zone.QUIET, 2.0, 1.0)
    assert (decision.hold_ms, decision.turns) == (law.UNLIMITED_HOLD_MS, law.UNLIMITED_TURNS)
    assert governor.see(1.0, foreground_ops=3.0, **SURGE).zone is Zone.QUIET


@pytest.mark.parametrize(
    ("ops", "own", "is_quiet"),
    [(25.0, 0.0, True), (26.0, 0.0, False), (120.0, 1_000.0, True), (130.0, 1_000.0, False), (None, 0.0, False)],
)
def test_quiet_is_below_what_our_own_count_may_be_wrong_by(ops: float | None, own: float, *, is_quiet: bool):
    decision = running().see(3.0, foreground_ops=ops, own_ops=own)
    assert (decision.zone is Zone.QUIET) is is_quiet


def test_quiet_needs_to_last_and_ends_at_once():
    governor = running()
    assert governor.see(law.QUIET_AFTER_S - 0.1, foreground_ops=0.0).zone is Zone.GROW
    assert governor.see(0.3, foreground_ops=0.0).zone is Zone.QUIET
    decision = governor.see(0.1, foreground_ops=40.0)
    assert (decision.zone, decision.duty, decision.turns) == (Zone.GROW, law.DUTY_START, 1)


def test_an_idle_and_quiet_governor_lets_the_first_slice_begin_at_full_pace():
    governor = Governor()
    decision = governor.see(5.0, live=0, foreground_ops=0.0)
    assert (decision.zone, decision.floor) == (Zone.IDLE, 1.0)


# -- blank windows --------------------------------------------------------------------------------


def windows(governor: Governor) -> list[tuple[int, int]]:
    """First and last tick of every blank window."""
    found: list[tuple[int, int]] = []
    for tick, zone in enumerate(governor.zones()):
        if zone is Zone.BLANK and (tick == 0 or governor.zones()[tick - 1] is not Zone.BLANK):
            found.append((tick, tick))
        elif zone is Zone.BLANK:
            found[-1] = (found[-1][0], tick)
    return found


@pytest.mark.parametrize("draw", [0.0, 0.37, 0.99])
def test_every_half_minute_we_stop_to_see_the_foreground_without_us(draw: float):
    governor = Governor()
    governor.see(200.0, draw=draw)
    ticks = [-1, *(tick for window in windows(governor) for tick in window)]
    gaps_s = [(begin - end) / 10 for end, begin in zip(ticks[0::2], ticks[1::2], strict=False)]
    assert len(gaps_s) >= 5
    assert all(20.0 <= gap_s <= 30.3 for gap_s in gaps_s)


def test_a_window_is_short_and_measured_only_when_our_pages_have_ended():
    governor = Governor()
    governor.see(40.0)
    ((first, last),) = windows(governor)
    phases = [decision.phase for decision in governor.said[first : last + 1]]
    assert phases[:5] == [Phase.BETWEEN] * 4 + [Phase.OFF]
    assert set(phases[4:]) == {Phase.OFF}
    assert len(phases) == pytest.approx(law.BLANK_S * 10, abs=1)
    assert governor.said[last + 1].phase is Phase.ON


@pytest.mark.parametrize(
    "seen", [{"live": 0}, {"foreground_ops": 0.0}, {"may_blank": False}, {"ordered_shut": "shut by ann"}, SURGE]
)
def test_there_is_no_window_where_nothing_of_ours_runs_or_nobody_is_there_or_nobody_obeys(seen: dict[str, Any]):
    governor = Governor()
    governor.see(200.0, **seen)
    assert Zone.BLANK not in governor.zones()


@pytest.mark.parametrize("seen", [{"may_blank": False}, {"live": 0}, SURGE])
def test_a_window_ends_when_there_is_no_more_reason_for_it(seen: dict[str, Any]):
    """Measured on while nobody obeys, our own load would be learned as normal."""
    governor = Governor()
    while Zone.BLANK not in governor.zones():
        governor.see()
    assert governor.see(**seen).zone is not Zone.BLANK


def test_beside_a_foreground_that_is_not_known_yet_we_look_before_we_begin():
    """The first job on a fresh cluster: without a base the canary protects nobody."""
    pace, said = Pace(), []
    for tick in range(100):
        known = BASE_MS if tick >= 14 else None
        read = Reading(readings.CANARY, None if known is None else 3.0, known, tick / 10)
        view = View(tick / 10, (read,), 0.3, live=1, used=1.0, foreground_ops=300.0)
        pace, decision = law.decide(pace, view, Aim())
        said.append(decision.zone)
    assert said[:14] == [Zone.BLANK] * 14
    assert said[14:] == [Zone.GROW] * 86


def test_a_base_that_cannot_be_learned_holds_a_job_up_for_seconds_not_for_ever():
    pace, said = Pace(), []
    for tick in range(100):
        view = View(tick / 10, (Reading(readings.CANARY, at_s=tick / 10),), live=1, used=1.0, foreground_ops=300.0)
        pace, decision = law.decide(pace, view, Aim())
        said.append(decision.zone)
    assert said.count(Zone.BLANK) == law.LEARN_S * 10


# -- our own share --------------------------------------------------------------------------------


def test_on_a_cluster_of_which_nothing_is_known_pages_are_few_until_there_is_evidence():
    governor = Governor(pace=Pace())
    governor.see(120.0)
    assert {decision.duty for decision in governor.said} == {law.CEILING_START}
    governor.see(law.EVIDENCE_S, own=SURELY_FINE, used=law.CEILING_START)
    assert governor.pace.ceiling == law.CEILING_START * law.WIDEN_SURE
    governor.see(3 * law.EVIDENCE_S, own=SURELY_FINE)
    assert governor.pace.duty == law.DUTY_BUSY


@pytest.mark.parametrize(
    ("own", "factor"),
    [
        (SURELY_TOO_MUCH, law.LESSEN_MOST),
        (A_LITTLE_TOO_MUCH, (1.05 - 1) / (1.13 - 1)),
        (NEARLY_TOO_MUCH, 1.0),
        (PROBABLY_FINE, 1.0),  # already at one page at a time
    ],
)
def test_a_share_that_is_too_large_makes_pages_fewer_in_proportion(own: Share, factor: float):
    """Sixteen times the aim: a quarter, as far as one step goes."""
    governor = running()
    governor.see(law.EVIDENCE_S, own=own)
    assert governor.pace.ceiling == pytest.approx(factor)
    assert governor.pace.duty <= governor.pace.ceiling


def test_until_it_was_too_much_once_the_ceiling_doubles_and_then_it_grows_by_a_third():
    governor = Governor(pace=Pace())
    governor.see(2 * law.EVIDENCE_S + 1, own=PROBABLY_FINE)
    assert governor.pace.ceiling == pytest.approx(law.CEILING_START * 2**2)
    governor.see(law.EVIDENCE_LONG_S, own=PROBABLY_TOO_MUCH)
    cut = governor.pace.ceiling
    assert cut == pytest.approx(law.CEILING_START * 2**2 * law.LESSEN)
    governor.see(law.EVIDENCE_LONG_S, own=PROBABLY_FINE)
    assert governor.pace.ceiling == pytest.approx(cut * law.WIDEN)


def test_what_is_only_probable_has_time_to_become_sure():
    governor = running()
    governor.see(law.EVIDENCE_LONG_S - 6, own=PROBABLY_TOO_MUCH)
    assert governor.pace.ceiling == law.DUTY_BUSY
    governor.see(7.0, own=PROBABLY_TOO_MUCH)
    assert governor.pace.ceiling == pytest.approx(law.LESSEN)


def test_pages_that_get_fewer_get_smaller_too():
    governor = running()
    governor.see(4 * law.EVIDENCE_S, own=SURELY_TOO_MUCH)
    holds = sorted({pace.hold_ms for pace in governor.paces}, reverse=True)
    assert holds == pytest.approx([10.0, 7.0, law.HOLD_MS_MIN])


def test_pages_never_get_fewer_than_the_least_by_evidence():
    governor = running()
    governor.see(300.0, own=SURELY_TOO_MUCH)
    assert (governor.pace.duty, governor.pace.hold_ms) == (law.DUTY_MIN, law.HOLD_MS_MIN)
    assert governor.said[-1].is_open


def test_what_evidence_has_cut_does_not_grow_back_by_itself():
    governor = running()
    governor.see(100.0, own=SURELY_TOO_MUCH)
    cut = governor.pace.duty
    governor.see(60.0, own=None)
    assert governor.pace.duty == cut < law.DUTY_BUSY


def test_what_evidence_has_cut_is_remembered_from_job_to_job():
    """The next job must not teach the foreground the same lesson."""
    governor = running()
    governor.see(100.0, own=SURELY_TOO_MUCH)
    cut = governor.pace.ceiling
    governor.see(60.0, live=0)
    governor.see(5.0)
    assert max(decision.duty for decision in governor.said[-50:]) == cut


def test_what_evidence_has_cut_comes_back_when_it_was_probably_an_error():
    governor = running()
    governor.see(30.0, own=SURELY_TOO_MUCH)
    for _ in range(600):
        governor.see(1.0, own=PROBABLY_FINE, used=governor.pace.duty)
    assert governor.pace.duty == law.DUTY_BUSY


def test_more_than_one_page_at_a_time_needs_evidence_that_nobody_feels_it():
    governor = running()
    governor.see(120.0, own=PROBABLY_FINE)
    assert governor.pace.duty == law.DUTY_BUSY
    governor.see(600.0, own=SURELY_FINE, used=2.0)
    assert (governor.pace.hold_ms, governor.pace.duty) == (law.HOLD_MS_MAX, 2.0)
    assert governor.said[-1].turns == 2


def test_a_cut_takes_back_what_only_evidence_gave():
    governor = running()
    governor.see(600.0, own=SURELY_FINE, used=2.0)
    governor.see(0.1, others=[at(1.0)])
    governor.see(30.0, used=2.0)
    assert governor.pace.duty == law.DUTY_BUSY


def test_evidence_needs_time_to_be_measured_anew():
    governor = running()
    governor.see(100.0, own=SURELY_TOO_MUCH)
    moments = sorted({pace.evidence_since_s for pace in governor.paces})[1:]
    assert all(after - before >= law.EVIDENCE_S - 0.1 for before, after in pairwise(moments))

"""The law beside a server, in minutes that take milliseconds: what the foreground feels, and what jobs get."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from lull.domain.governor import law, readings
from lull.domain.governor.law import Zone
from lull.domain.governor.readings import Reading
from lull.domain.governor.shares import Claim

MakeWorld = Callable[..., Any]
SEEDS = range(3)
SURGES = range(10)
BEGIN_S, END_S = 30.3, 50.3


def during(start_s: float, end_s: float, inside: float, outside: float) -> Callable[[float], float]:
    """A level that jumps at one moment, and back at another."""
    return lambda now_s: inside if start_s <= now_s < end_s else outside


# -- beside a steady foreground -------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_beside_a_steady_foreground_two_jobs_work_at_full_pace_within_seconds_and_stay_there(
    make_world: MakeWorld, seed: int
):
    world = make_world(seed=seed).run(80)
    assert world.first(0, lambda said: said.pace.duty >= 1.0) < 4
    assert world.work(5, 80) > 0.75
    assert world.governor.pace.hold_ms >= 7.0
    assert sum(said.pace.duty for said in world.said(5)) / len(world.said(5)) > 0.85


def test_the_foregrounds_tail_stays_near_what_it_is_without_us(make_world: MakeWorld):
    beside = [make_world(seed=seed, aim=law.Aim(1.1)).run(60).p99(5, 60) for seed in SEEDS]
    alone = [make_world(seed=seed, is_governed=False).run(60).p99(5, 60) for seed in SEEDS]
    assert sum(beside) / sum(alone) < 1.6


@pytest.mark.parametrize("seed", SEEDS)
def test_noise_shuts_the_gate_now_and_then_and_does_not_collapse_the_pace(make_world: MakeWorld, seed: int):
    """A shared host that stalls every five seconds: shuts by noise must not be answered with a slower pace each time."""
    world = make_world(seed=seed, noise=0.3, stalls_per_s=0.2).run(100)
    assert any(said.decision.zone is Zone.STOP for said in world.said(5))
    assert world.work(5, 100) > 0.6
    assert min(said.pace.duty for said in world.said(5)) >= 0.2


@pytest.mark.parametrize("seed", SEEDS)
def test_the_servers_checkpoint_of_every_minute_cuts_nothing_for_long(make_world: MakeWorld, seed: int):
    world = make_world(seed=seed, stalls_per_s=0.0).run(140)
    for checkpoint_s in (60, 120):
        assert world.work(checkpoint_s + 3, checkpoint_s + 18) > 0.7  # a blank window falls into most of these


def test_blank_windows_do_not_keep_step_with_the_checkpoint(make_world: MakeWorld):
    """Else one of the two arms would hold all of the bumps."""
    world = make_world(seed=5).run(400)
    zones = [(said.now_s, said.decision.zone) for said in world.said()]
    begun = [now_s for (_, before), (now_s, zone) in pairwise(zones) if zone is Zone.BLANK is not before]
    assert len(begun) >= 10
    assert len({int(now_s % 60 // 10) for now_s in begun}) >= 4


def test_pages_that_the_foreground_feels_get_smaller_and_fewer(make_world: MakeWorld):
    """Each costs so much here that one at a time triples the tail."""
    minded, ignored = (make_world(seed=2, work_cost=0.72, aim=law.Aim(times)).run(200) for times in (1.25, 10.0))
    assert minded.p99(120, 200) < 0.75 * ignored.p99(120, 200)
    assert min(said.pace.hold_ms for said in minded.said()) < law.HOLD_MS
    assert minded.work(120, 200) > 0.15


# -- a surge --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def surges(make_world: MakeWorld):
    """From 300 to 1,500 operations per second and back, twenty seconds later."""
    surge = during(BEGIN_S, END_S, 1_500, 300)
    return [make_world(seed=seed, foreground=surge, aim=law.Aim(2.0)).run(80) for seed in SURGES]


def test_a_surge_shuts_the_gate_within_a_second(surges: list[Any]):
    delays_s = sorted(
        world.first(BEGIN_S, lambda said: said.decision.zone in {Zone.STOP, Zone.BLANK}) for world in surges
    )
    assert delays_s[8] <= 1.0
    assert delays_s[-1] <= 2.0


def test_slices_obey_a_fraction_of_a_second_later(surges: list[Any]):
    for world in surges:
        assert world.work(BEGIN_S + 2, END_S) < 0.05


def test_after_a_surge_the_earlier_pace_is_back_in_time(surges: list[Any]):
    for world in surges:
        before = world.work(10, BEGIN_S)
        assert any(world.work(start_s, start_s + 5) >= 0.9 * before for start_s in range(51, 75))


def test_a_surge_is_felt_as_without_us_once_the_gate_is_shut(surges: list[Any], make_world: MakeWorld):
    alone = make_world(seed=0, foreground=during(BEGIN_S, END_S, 1_500, 300), is_governed=False).run(60)
    assert surges[0].p99(BEGIN_S + 2, END_S) < 1.5 * alone.p99(BEGIN_S + 2, END_S)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("level", [1_000, 1_150, 1_250])
def test_a_foreground_that_fits_alone_and_not_beside_us_gets_its_room(make_world: MakeWorld, seed: int, level: int):
    """The gate flutters at first; what it cannot say, the pace has to learn."""
    world = make_world(seed=seed, foreground=during(20, 80, level, 300)).run(140)
    assert world.p99(40, 80) < 120
    assert 0.01 < world.work(40, 80) < 0.5
    assert any(world.work(start_s, start_s + 3) >= 0.5 for start_s in range(80, 137))


# -- what is not ours -----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_a_load_that_is_not_ours_is_named_a_floor_is_kept_and_all_goes_on_afterwards(make_world: MakeWorld, seed: int):
    world = make_world(seed=seed, foreign=during(30, 90, 0.7, 0.0)).run(125)
    assert any("not ours" in said.decision.reason for said in world.said(31, 40))
    assert world.first(30, lambda said: said.decision.zone is Zone.FLOOR) == pytest.approx(law.PATIENCE_S, abs=5)
    assert 0.005 < world.work(60, 90) < 0.1
    assert world.longest_pause_s(60, 90) < 3
    assert any(world.work(start_s, start_s + 5) > 0.85 for start_s in range(90, 120))


def test_a_foreign_load_that_lasts_becomes_the_new_normal(make_world: MakeWorld):
    """For minutes the job has its floor; then what cannot be changed is no longer held against it."""
    world = make_world(seed=1, foreign=during(30, 900, 0.66, 0.0), work_cost=0.1).run(400)
    assert world.governor.bases["read"].limit_ms > 1.2 * make_world(seed=1).governor.bases["read"].limit_ms
    assert world.work(50, 90) < 0.1
    assert world.work(340, 400) > 3 * world.work(50, 90)


def test_a_server_in_danger_stops_everything_and_gives_no_floor(make_world: MakeWorld):
    def flow(now_s: float) -> list[Reading]:
        return [Reading(readings.FLOW_CONTROL, 500.0 if 20 <= now_s < 60 else 0.0, 10.0, now_s)]

    world = make_world(others=flow).run(80)
    assert world.work(21, 60) == 0
    assert {said.decision.label for said in world.said(20.2, 60)} == {"flow-control"}
    assert world.work(70, 80) > 0.8


def test_a_server_that_stands_still_is_seen_while_it_stands_still(make_world: MakeWorld):
    """No operation of the canary ends then: there is no latency to see, and that is what is seen."""
    world = make_world(seed=1, foreign=during(20, 21, 8, 0.0)).run(60)
    assert world.first(20, lambda said: not said.decision.is_open) < 2.0
    assert world.work(22, 26) == 0
    assert world.work(45, 60) > 0.8


# -- nobody there ---------------------------------------------------------------------------------


def test_beside_nobody_jobs_are_not_limited(make_world: MakeWorld):
    world = make_world(foreground=lambda _: 0).run(30)
    assert {said.decision.zone for said in world.said(3)} == {Zone.QUIET}
    assert world.work(5, 30) > 1.8


def test_a_foreground_that_comes_is_met_with_a_slow_start_and_one_that_goes_with_full_speed(make_world: MakeWorld):
    world = make_world(foreground=during(20, 40, 300, 0)).run(60)
    assert world.first(20, lambda said: said.decision.zone is not Zone.QUIET) < 1.0
    assert world.work(22, 24) < 0.6
    assert world.first(40, lambda said: said.decision.zone is Zone.QUIET) < 4.0
    assert world.work(50, 60) > 1.8


def test_no_window_is_blanked_where_it_would_tell_nothing(make_world: MakeWorld):
    quiet, watching = make_world(foreground=lambda _: 0).run(70), make_world(may_blank=False).run(70)
    idle = make_world(begin_s=100.0).run(70)
    for world in (quiet, watching, idle):
        assert Zone.BLANK not in {said.decision.zone for said in world.said()}


# -- silence --------------------------------------------------------------------------------------


def test_a_canary_whose_samples_are_lost_shuts_the_gate(make_world: MakeWorld):
    world = make_world(seed=1, loses=lambda now_s: 20 <= now_s < 30).run(50)
    assert world.first(20, lambda said: not said.decision.is_open) < 2.0
    assert world.work(22, 30) == 0
    assert world.said(29)[0].decision.label == "canary stale"
    assert world.work(35, 50) > 0.8


def test_single_samples_that_are_lost_do_no_harm(make_world: MakeWorld):
    world = make_world(loses=lambda now_s: now_s % 1.7 < 0.06).run(60)
    assert world.work(5, 60) > 0.75


def test_a_governor_that_falls_silent_stops_every_slice_within_two_seconds(make_world: MakeWorld):
    world = make_world(clocks_ahead_s=(0.0, 0.0), silent=lambda now_s: 20 <= now_s < 30).run(50)
    last_s = max(at_s for worker in world.workers for at_s, *_ in worker.pages if at_s < 30)
    assert last_s < 22.7  # two seconds after the last word was read, which was said half a second before at most
    assert world.work(35, 50) > 0.8


def test_nothing_begins_before_the_governor_has_been_heard(make_world: MakeWorld):
    assert make_world(silent=lambda _: True).run(30).work(0, 30) == 0


def test_workers_whose_clocks_differ_by_hours_do_just_the_same(make_world: MakeWorld):
    alike, apart = (
        make_world(
            seed=3, clocks_ahead_s=ahead, foreground=during(30, 40, 1_500, 300), silent=lambda now_s: 55 <= now_s < 60
        ).run(70)
        for ahead in ((0.0, 0.0), (7_200.0, -5_000.0))
    )
    assert apart.pages() == alike.pages()
    assert apart.work(57.7, 60) == 0


# -- several jobs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("clocks_ahead_s", [(0.0,), (0.0, 3_600.0)])
def test_of_two_jobs_the_one_of_weight_three_gets_three_times_as_much(
    make_world: MakeWorld, clocks_ahead_s: tuple[float, ...]
):
    jobs = {"heavy": Claim("heavy", 2, 3.0), "light": Claim("light", 2, 1.0)}
    world = make_world(jobs=jobs, clocks_ahead_s=clocks_ahead_s).run(60)
    assert world.work(10, 60, "heavy") / world.work(10, 60, "light") == pytest.approx(3.0, rel=0.1)


def test_beside_a_critical_job_the_other_one_keeps_its_floor(make_world: MakeWorld):
    jobs = {"bulk": Claim("bulk", 1, 100.0), "repair": Claim("repair", 2, 1.0, is_critical=True)}
    world = make_world(jobs=jobs).run(60)
    assert world.work(10, 60, "repair") > 0.7
    assert world.work(10, 60, "bulk") == pytest.approx(0.02, rel=0.5)


# -- a fresh cluster ------------------------------------------------------------------------------


def test_on_a_fresh_cluster_the_first_job_waits_until_it_is_known_what_is_normal(make_world: MakeWorld):
    world = make_world(is_learned=False, foreground=during(20, 30, 1_500, 300)).run(40)
    assert world.first(0, lambda said: said.decision.zone is Zone.GROW) < law.LEARN_S
    assert world.work(5, 15) > 0.8
    assert world.first(20, lambda said: said.decision.zone is Zone.STOP) < 2.0


@pytest.mark.parametrize("seed", SEEDS)
def test_on_a_server_of_which_nothing_is_known_work_begins_small_and_grows_by_evidence(
    make_world: MakeWorld, seed: int
):
    """The foreground has not paid for what was learned."""
    world = make_world(seed=seed, ceiling=law.CEILING_START, work_cost=0.1).run(200)
    assert world.work(3, 10) < 1.5 * law.CEILING_START
    assert world.work(120, 200) > 0.6


@pytest.mark.parametrize("seed", SEEDS)
def test_pages_that_hurt_stay_few(make_world: MakeWorld, seed: int):
    """At one page at a time the tail here is three times what it is alone."""
    world = make_world(seed=seed, ceiling=law.CEILING_START, work_cost=0.72, aim=law.Aim(1.1)).run(400)
    alone = make_world(seed=seed, is_governed=False).run(400)
    assert world.p99(100, 400) < 1.6 * alone.p99(100, 400)
    assert world.work(100, 400) > law.DUTY_MIN

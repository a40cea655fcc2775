"""What the canary's operations teach, and what is made of them."""

from collections.abc import Sequence
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lull.domain.governor import law
from lull.domain.governor.baseline import SAMPLES_MAX, Base, Op
from lull.domain.governor.law import Decision, Phase, Zone
from lull.domain.governor.listening import (
    AFTER_SECONDS,
    DRIFT_OPS,
    LEARN_SECONDS,
    OFF_MIN,
    OFF_SECONDS,
    ON_SECONDS,
    SURGE_SECONDS,
    TAIL_OPS_MIN,
    TAIL_SECONDS,
    Kind,
    Lesson,
    Listener,
    lessons,
)

CALM = Base(samples=tuple([4.0, 5.0, 6.0] * 20))
"""Its p90 is 6 ms, so slow is 12 ms."""
LIMIT = 12.0


def decision(phase: Phase, zone: Zone) -> Decision:
    return Decision(zone, True, 1.0, law.HOLD_MS, law.DOCS_BUSY, 1, 0.0, "", "", phase)


BLANK = decision(Phase.OFF, Zone.BLANK)
WORKING = decision(Phase.ON, Zone.GROW)
IDLE = decision(Phase.OFF, Zone.IDLE)


def listener(**bases: Base) -> Listener:
    return Listener(0.0, {kind: bases.get(kind.value, CALM) for kind in Kind})


def comparing() -> Listener:
    """One that has heard enough without our pages, at full rate."""
    one = listener()
    assert one.is_urgent(0.0, live=1)
    for kind in Kind:
        one.hear(0.0, {kind: [Op(-0.1, ms) for ms in CALM.samples]}, {}, BLANK)
    return one


def hear(one: Listener, now_s: float, latencies: Sequence[float], was: Decision | None, kind: Kind = Kind.READ) -> None:
    """Operations that all began a tenth of a second ago."""
    one.hear(now_s, {kind: [Op(now_s - 0.1, ms) for ms in latencies]}, {}, was)


# -- which operations teach what ---------------------------------------------------------------------


def test_without_pages_normal_is_learned_in_blank_windows_and_while_there_is_no_job():
    taught = {(p, z): lessons(decision(p, z)) for p, z in product(Phase, Zone)}
    assert taught[Phase.OFF, Zone.IDLE] == taught[Phase.OFF, Zone.BLANK] == {Lesson.NORMAL, Lesson.WITHOUT}
    assert {place for place, found in taught.items() if Lesson.NORMAL in found} == {
        (Phase.OFF, Zone.IDLE),
        (Phase.OFF, Zone.BLANK),
    }


def test_beside_pages_everything_counts_but_pages_without_limits():
    for zone in Zone:
        assert lessons(decision(Phase.ON, zone)) == (frozenset() if zone is Zone.QUIET else {Lesson.BESIDE})


def test_while_pages_begin_or_end_nothing_is_taught():
    assert {lessons(decision(Phase.BETWEEN, zone)) for zone in Zone} == {frozenset()}


def test_before_the_first_decision_nothing_of_ours_runs():
    assert lessons(None) == {Lesson.NORMAL, Lesson.WITHOUT}


@pytest.mark.parametrize("was", [None, IDLE, BLANK])
def test_normal_is_learned_while_the_foreground_is_well(was: Decision | None):
    one = listener()
    hear(one, 1.0, [5.0] * 12, was)
    assert len(one.bases[Kind.READ].samples) == len(CALM.samples) + 12
    assert one.bases[Kind.WRITE] == CALM


@pytest.mark.parametrize("was", [None, IDLE, BLANK])
def test_a_foreground_that_is_unwell_is_never_learned_as_normal(was: Decision | None):
    one = listener()
    hear(one, 1.0, [LIMIT * 2] * 12, was)
    assert one.bases == dict.fromkeys(Kind, CALM)


@pytest.mark.parametrize("was", [WORKING, decision(Phase.OFF, Zone.STOP), decision(Phase.BETWEEN, Zone.BLANK)])
def test_nothing_is_normal_beside_pages_or_a_shut_gate(was: Decision):
    one = listener()
    hear(one, 1.0, [5.0] * 12, was)
    assert one.bases[Kind.READ] == CALM


# -- the tail ----------------------------------------------------------------------------------------


def test_few_operations_are_no_tail():
    one = listener()
    hear(one, 1.0, [5.0] * (TAIL_OPS_MIN - 1), WORKING)
    assert one.tail().shut_at is None
    hear(one, 1.0, [5.0], WORKING)
    assert one.tail().shut_at == pytest.approx(5 / LIMIT)


def test_an_operation_under_way_counts_with_its_age():
    one = listener()
    late = [Op(0.5, 500.0)] * TAIL_OPS_MIN
    one.hear(1.0, {}, {Kind.WRITE: late}, WORKING)
    assert one.tail().shut_at == pytest.approx(500 / LIMIT)


def test_a_kind_whose_normal_is_not_known_is_not_in_the_tail():
    one = listener(write=Base())
    hear(one, 1.0, [500.0] * 20, WORKING, Kind.WRITE)
    assert one.tail().excesses == ()


@given(ages=st.lists(st.floats(0, 20), max_size=80))
def test_the_tail_is_what_began_lately_however_much_was_heard_before(ages: list[float]):
    """Held against a look at every operation: the walk back stops at the first that is too old."""
    one = listener()
    starts = sorted(20.0 - age for age in ages)
    one.hear(20.0, {Kind.READ: [Op(at_s, 6.0) for at_s in starts]}, {}, WORKING)
    lately = [at_s for at_s in starts if 20.0 - at_s <= TAIL_SECONDS]
    assert len(one.tail().excesses) == (len(lately) if len(lately) >= TAIL_OPS_MIN else 0)


# -- the reading -------------------------------------------------------------------------------------


def test_the_reading_is_told_in_milliseconds_of_the_kind_that_is_worse_off():
    one = listener(write=Base(samples=tuple([40.0] * 60)))
    one.hear(1.0, {Kind.READ: [Op(0.9, 24.0)] * 12, Kind.WRITE: [Op(0.9, 40.0)] * 4}, {}, WORKING)
    reading = one.reading(one.tail())
    assert (reading.note, reading.limit, reading.observed) == ("reads", LIMIT, pytest.approx(24.0))
    assert reading.at_s == pytest.approx(0.94)


def test_a_canary_that_never_answered_is_as_old_as_the_governor():
    one = Listener(7.0, dict.fromkeys(Kind, CALM))
    one.hear(12.0, {}, {}, WORKING)
    assert one.reading(one.tail()).is_stale(12.0)


def test_without_a_base_the_reading_says_that_it_learns():
    one = Listener(0.0)
    hear(one, 1.0, [5.0], None)
    reading = one.reading(one.tail())
    assert (reading.observed, reading.limit, reading.note) == (None, None, "learning what is normal")


def test_the_p99_needs_a_quarter_of_its_operations():
    one = listener()
    hear(one, 10.0, [5.0] * 49, WORKING)
    assert one.p99_ms(Kind.READ) is None
    hear(one, 10.0, [80.0], WORKING)
    assert one.p99_ms(Kind.READ) == 80.0


# -- our share ---------------------------------------------------------------------------------------


def test_our_share_is_what_exceeds_the_tail_without_us():
    one = comparing()
    hear(one, 1.0, [12.0] * 200, WORKING)
    share = one.share()
    assert share is not None
    assert (share.ratio, share.ours_ms) == (pytest.approx(2.0), pytest.approx(6.0))


def test_without_enough_to_compare_with_there_is_no_share():
    one = listener()
    hear(one, 1.0, [12.0] * 200, WORKING)
    assert (one.is_comparable, one.share()) == (False, None)


def test_what_was_heard_at_the_idle_rate_is_not_compared():
    """Writes are a tenth quicker then."""
    one = listener()
    hear(one, AFTER_SECONDS + 1, [6.0] * OFF_MIN, IDLE)
    assert not one.is_comparable
    one.is_urgent(AFTER_SECONDS + 1, live=1)
    hear(one, AFTER_SECONDS + 2, [6.0] * OFF_MIN, IDLE)
    assert one.is_comparable
    hear(one, 3 * OFF_SECONDS, [], IDLE)
    assert not one.is_comparable


def test_a_foreground_that_has_become_slower_by_itself_is_not_held_against_us():
    one = comparing()
    for at_s in range(1, 4):
        one.is_urgent(at_s, live=1)
        for kind in Kind:
            one.hear(at_s, {kind: [Op(at_s - 0.1, 9.0)] * SAMPLES_MAX}, {}, BLANK)
    hear(one, 4.0, [9.0] * 200, WORKING)
    share = one.share()
    assert share is not None
    assert share.ratio == pytest.approx(1.0)


def test_a_stall_in_a_blank_window_makes_nothing_look_harmless():
    one = comparing()
    hear(one, 1.0, [6.0] * 40 + [60.0] * 4, BLANK)
    hear(one, 2.0, [12.0] * 200, WORKING)
    share = one.share()
    assert share is not None
    assert share.ratio == pytest.approx(2.0)


def test_it_is_compared_once_a_second_and_forgets_what_is_older_than_a_minute():
    one = comparing()
    hear(one, 1.0, [12.0] * 200, WORKING)
    first = one.share()
    hear(one, 1.5, [48.0] * 200, WORKING)
    assert one.share() == first
    hear(one, 2.0 + ON_SECONDS, [], WORKING)
    assert one.share() is None


def test_evidence_is_as_long_as_pages_ran_and_no_longer_than_it_is_remembered():
    one = comparing()
    for at_s in (1.0, 60.0):
        hear(one, at_s, [6.0] * 400, WORKING)
        hear(one, at_s + 1, [6.0] * 400, IDLE)
    one.share()
    assert one.beside_s == 20.0
    hear(one, 2.0 + ON_SECONDS, [], WORKING)
    one.share()
    assert one.beside_s == 10.0


def test_what_shut_the_gate_is_not_held_against_our_pages():
    """A surge's first second fell into the time beside our pages."""
    one = comparing()
    hear(one, 1.0, [6.0] * 200, WORKING)
    hear(one, 1.0 + 2 * SURGE_SECONDS, [60.0] * 40, WORKING)
    one.disown()
    hear(one, 1.1 + 2 * SURGE_SECONDS, [], WORKING)
    share = one.share()
    assert share is not None
    assert share.ratio == pytest.approx(1.0)


def test_pages_of_another_kind_begin_a_new_comparison():
    one = comparing()
    hear(one, 1.0, [12.0] * 200, WORKING)
    one.begin_anew()
    assert one.share() is None


# -- drift, and how often it sings --------------------------------------------------------------------


def test_the_base_drifts_towards_the_newest_operations_not_the_slowest():
    one = listener()
    hear(one, 1.0, [60.0] * 200, WORKING)
    hear(one, 2.0, [3.0] * DRIFT_OPS, WORKING)
    one.drift()
    assert one.bases[Kind.READ].scale < 1.0
    assert one.bases[Kind.WRITE] == CALM


@pytest.mark.parametrize(("now_s", "live", "urgent"), [(0.5, 0, True), (LEARN_SECONDS + 1, 0, False), (60.0, 1, True)])
def test_the_canary_sings_fast_beside_jobs_and_at_first(now_s: float, live: int, urgent: bool):  # noqa: FBT001
    assert listener().is_urgent(now_s, live) is urgent

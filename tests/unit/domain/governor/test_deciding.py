"""One tick, from what was seen to what workers are told."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lull.domain.governor import deciding, law, readings
from lull.domain.governor.baseline import Base, Op
from lull.domain.governor.budget import PUBLISH_SECONDS, Budget, JobShare, Mode
from lull.domain.governor.deciding import Decider, Heard, Publication, Seen, Terms
from lull.domain.governor.law import Zone
from lull.domain.governor.listening import Kind, Listener
from lull.domain.governor.objective import Objective
from lull.domain.governor.readings import Reading

CALM = Base(samples=tuple([4.0, 5.0, 6.0] * 20))
WORK = Seen(slices={"work": 2}, terms={}, foreground_ops=300.0, used=0.2)


def decider() -> Decider:
    """One that has heard enough without our pages."""
    listener = Listener(0.0, dict.fromkeys(Kind, CALM))
    assert listener.is_urgent(0.0, live=1)
    calm = [Op(-0.1, ms) for ms in CALM.samples]
    listener.hear(0.0, dict.fromkeys(Kind, calm), {}, None)
    return Decider(listener)


def heard(now_s: float, ms: float = 5.0) -> Heard:
    ops = [Op(now_s - 0.1, ms)] * 12
    return Heard(dict.fromkeys(Kind, ops), {})


def test_workers_are_told_what_was_decided_and_divided():
    terms = {"heavy": Terms(weight=3.0), "light": Terms()}
    verdict = decider().decide(10.0, heard(10.0), replace(WORK, slices={"light": 1, "heavy": 1}, terms=terms))
    budget = verdict.budget
    assert (budget.is_open, budget.duty, budget.mode) == (True, law.CEILING_START, Mode.ENFORCE)
    assert [share.job for share in budget.shares] == ["heavy", "light"]
    assert budget.shares[0].duty == pytest.approx(3 * budget.shares[1].duty)


def test_a_slow_canary_shuts_the_gate_in_the_same_tick():
    one = decider()
    assert one.decide(10.0, heard(10.0), WORK).decision.is_open
    verdict = one.decide(10.1, heard(10.1, 200.0), WORK)
    assert (verdict.decision.zone, verdict.budget.is_open, verdict.was is not None) == (Zone.STOP, False, True)
    assert verdict.budget.label == "canary"


def test_what_shut_the_gate_is_nobodys_evidence_against_our_pages():
    one = decider()
    for tick in range(100, 110):
        one.decide(tick / 10, heard(tick / 10), WORK)
    one.decide(13.0, heard(13.0, 200.0), WORK)
    share = one.decide(14.1, Heard({}, {}), WORK).view.own
    assert share is not None
    assert share.ratio == pytest.approx(1.0, abs=0.3)


def test_an_order_reaches_workers_with_its_reason():
    verdict = decider().decide(10.0, heard(10.0), replace(WORK, ordered_shut="shut by ann"))
    assert (verdict.budget.is_open, verdict.budget.reason) == (False, "shut by ann")


def test_what_applications_report_stands_before_the_canarys_own_figures():
    reported = Reading(readings.READ_P99, 3.0, 12.0, 10.0, "reported")
    view = decider().decide(10.0, heard(10.0), replace(WORK, reported=(reported,))).view
    notes = {one.signal.name: one.note for one in view.readings}
    assert (notes["read-p99"], notes["write-p99"]) == ("reported", "canary")


@pytest.mark.parametrize(
    ("reported", "is_quiet"),
    [
        ([], True),
        ([Reading(readings.READ_P99, 3.0, None, 10.0, "reported")], False),
        ([Reading(readings.WRITE_P99, 3.0, 2.0, 10.0, "reported")], False),
        ([Reading(readings.WRITE_P99, None, 2.0, 10.0, "reported")], True),
        ([Reading(readings.PROMETHEUS, 3.0, 20.0, 10.0)], True),
    ],
)
def test_a_foreground_that_reports_is_there_however_few_operations_are_counted(
    reported: list[Reading],
    is_quiet: bool,  # noqa: FBT001
):
    """A slow one has few operations because it is slow."""
    one = decider()
    for step in range(30):
        now_s = 10.0 + step / 10
        one.decide(now_s, heard(now_s), replace(WORK, foreground_ops=0.0, reported=reported))
    assert one.pace.is_quiet is is_quiet


def test_a_violated_objective_of_a_few_reported_operations_stops_jobs():
    one = decider()
    slow = Reading(readings.READ_P99, 900.0, 12.0, 13.0, "reported")
    for step in range(30):
        now_s = 10.0 + step / 10
        verdict = one.decide(now_s, heard(now_s), replace(WORK, foreground_ops=2.0, reported=[slow]))
    assert (verdict.decision.zone, verdict.decision.label) == (Zone.STOP, "read-p99")


def test_no_window_is_blanked_where_slices_do_not_obey():
    assert not decider().decide(10.0, heard(10.0), replace(WORK, mode=Mode.OBSERVE)).view.may_blank


def test_what_the_evidence_came_from_is_forgotten_when_it_has_led_to_something():
    one = decider()
    one.decide(9.9, heard(9.9), WORK)
    at_s = 10.0
    while at_s < 60 and one.pace.hold_ms == law.HOLD_MS:
        one.decide(at_s, heard(at_s, 11.0), replace(WORK, used=1.0))
        at_s += 0.1
    assert one.pace.hold_ms < law.HOLD_MS
    assert not one.listener._beside


def test_what_was_learned_is_known_to_the_next_one():
    one = decider()
    one.pace = replace(one.pace, hold_ms=7.0, ceiling=0.3)
    after = Decider.taught(one.learned(), 0.0)
    assert after.listener.bases == one.listener.bases
    assert (after.pace.hold_ms, after.pace.ceiling) == (7.0, 0.3)


def test_a_base_that_has_moved_is_kept_where_it_is():
    one = Decider(Listener(0.0, {Kind.READ: Base((4.0,) * 30, scale=1.5)}))
    assert one.learned()["read"] == [6.0] * 30


def test_nothing_learned_is_the_beginning():
    after = Decider.taught({}, 0.0)
    assert (after.pace, after.listener.bases) == (law.Pace(), dict.fromkeys(Kind, Base()))


LIMITS = st.none() | st.floats(1, 100)
OBJECTIVES = st.builds(Objective, read_p99=LIMITS, write_p99=LIMITS, inflation=st.none() | st.floats(1.01, 10))


@given(profile=OBJECTIVES, ordered=st.none() | OBJECTIVES, jobs=st.lists(OBJECTIVES, max_size=4))
def test_no_job_makes_the_objective_laxer_and_operators_stand_before_the_profile(
    profile: Objective, ordered: Objective | None, jobs: list[Objective]
):
    found = deciding.wanted(profile, ordered, [Terms(objective=job) for job in jobs])
    for name in Objective.model_fields:
        base = getattr(ordered, name) if ordered and getattr(ordered, name) is not None else getattr(profile, name)
        values = [value for value in (base, *(getattr(job, name) for job in jobs)) if value is not None]
        assert getattr(found, name) == min(values, default=None)


def test_a_job_that_is_not_known_yet_asks_for_the_usual():
    (claim,) = deciding.claims({"new": 2}, {})
    assert (claim.job, claim.slices, claim.weight, claim.is_critical) == ("new", 2, 1.0, False)


# -- when workers are told ----------------------------------------------------------------------------

SAID = Budget(reason="pace 25% of one page at a time", shares=(JobShare(job="work", duty=0.25, slices=1),))


@pytest.mark.parametrize(
    ("budget", "after_s", "due"),
    [
        (SAID, 0.1, False),
        (SAID, PUBLISH_SECONDS, True),
        (SAID.model_copy(update={"reason": "canary 41 ms near 42 ms"}), 0.1, False),
        (SAID.model_copy(update={"is_open": False}), 0.1, True),
        (SAID.model_copy(update={"shares": ()}), 0.1, True),
    ],
)
def test_news_is_told_at_once_and_the_same_twice_a_second(budget: Budget, after_s: float, due: bool):  # noqa: FBT001
    publication = Publication()
    assert publication.is_due(5.0, SAID)
    publication.said(5.0, SAID)
    assert publication.is_due(5.0 + after_s, budget) is due


def test_what_could_not_be_published_is_due_again():
    publication = Publication()
    assert publication.is_due(5.0, SAID)
    assert publication.is_due(5.1, SAID)

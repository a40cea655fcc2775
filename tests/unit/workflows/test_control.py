"""Orders, reports and time change a job's state as the lifecycle allows, and in no other way."""

from datetime import datetime, timedelta
from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lull.domain import orders
from lull.domain.errors import OperatorError
from lull.domain.kinds import parse_spec
from lull.domain.lifecycle import ENDED, STOPPING, Event, Status
from lull.domain.slice import SliceEnd, Verb
from lull.domain.state import JobState
from lull.workflows import control


def test_pausing_twice_keeps_the_first_reason_and_says_so(make_job: Any, noon: datetime):
    job = make_job()
    control.pause(job, orders.Pause(reason="freeze", who="ann"), noon)
    control.pause(job, orders.Pause(reason="lunch"), noon)

    assert job.pause.reason == "freeze"
    assert job.warnings == ["pause (lunch) changed nothing: already pausing (freeze)"]


def test_pausing_twice_in_the_same_words_is_pausing_once(make_job: Any, noon: datetime):
    job = make_job()
    control.pause(job, orders.Pause(reason="freeze"), noon)
    control.pause(job, orders.Pause(reason="freeze"), noon)
    control.pause(job, orders.Pause(), noon)

    assert job.warnings == []


def test_a_pause_forgets_the_rate_because_paused_time_is_no_slowness(make_job: Any, make_report: Any, noon: datetime):
    job = make_job()
    next(control.due(job, {}))
    control.fold(job, make_report(0), noon + timedelta(seconds=10))
    assert job.rate.docs_per_second == 10

    control.pause(job, orders.Pause(), noon + timedelta(seconds=10))
    assert job.rate.docs_per_second is None

    control.drained(job, None)
    control.resume(job, orders.Resume(), noon + timedelta(hours=9))
    control.fold(job, make_report(0), noon + timedelta(hours=9, seconds=10))
    assert job.rate.docs_per_second == 0


def test_resuming_a_running_job_is_no_error(make_job: Any, noon: datetime):
    job = make_job()
    control.resume(job, orders.Resume(), noon)

    assert (job.status, job.warnings) == (Status.RUNNING, [])


def test_a_throttle_of_the_operator_replaces_that_of_the_spec_in_both_directions(make_job: Any, noon: datetime):
    job = make_job(limits={"max_docs_per_second": 700})
    assert control.wanted(job).max_docs_per_second == 700
    for limit in (100, 9_000):
        control.throttle(job, orders.Throttle.model_validate({"max_docs_per_second": limit}), noon)
        assert control.wanted(job).max_docs_per_second == limit
    control.throttle(job, orders.Throttle(max_docs_per_second=None), noon)
    assert control.wanted(job).max_docs_per_second == 700


def test_an_ended_throttle_is_lifted_before_the_deadline_is_looked_at(make_job: Any, noon: datetime):
    job = make_job(limits={"deadline": "3h"})
    control.throttle(job, orders.read(orders.Throttle, [b'{"max_docs_per_second": 5, "for": "1h"}']), noon)
    assert control.next_moment(job) == noon + timedelta(hours=1)
    control.tick(job, noon + timedelta(hours=1))
    assert (job.throttle, job.status) == (None, Status.RUNNING)
    assert control.next_moment(job) == noon + timedelta(hours=3)
    control.tick(job, noon + timedelta(hours=3))
    assert (job.status, job.ending) == (Status.EXPIRING, "deadline reached: running for 3h")


def test_a_deadline_is_extended_from_where_it_stands(make_job: Any, noon: datetime):
    job = make_job(limits={"deadline": "3h"})
    control.extend_deadline(job, orders.read(orders.ExtendDeadline, [b'"30m"']))
    control.extend_deadline(job, orders.read(orders.ExtendDeadline, [b'"30m"']))

    assert job.deadline_at == noon + timedelta(hours=4)


def test_a_job_without_a_deadline_gets_none_by_extending_it(make_job: Any):
    job = make_job()
    control.extend_deadline(job, orders.read(orders.ExtendDeadline, [b'"30m"']))

    assert job.deadline_at is None
    assert job.warnings == ["extend_deadline changed nothing: this job has no deadline; it runs until it is done"]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({"stop_after": 10}, (10, "quarantined 11 > 10 (on_poison.stop_after)", 21)),
        ({"quarantine": False}, (0, "quarantined 11 > 0 (on_poison.quarantine: false)", 11)),
    ],
)
def test_resuming_after_poison_takes_on_another_allowance(
    make_job: Any, make_report: Any, noon: datetime, policy: dict[str, Any], expected: tuple[int, str, int]
):
    first_max, reason, next_max = expected
    job = make_job(on_poison=policy)
    assert control.wanted(job).poison_max == first_max
    next(control.due(job, {}))
    control.fold(job, make_report(0, SliceEnd.POISON, quarantined=11), noon)
    assert (job.status, job.pause.reason) == (Status.PAUSING, reason)

    control.resume(job, orders.Resume(), noon)
    assert (job.status, control.wanted(job).poison_max) == (Status.RUNNING, next_max)


def test_an_ordinary_resume_gives_no_new_allowance(make_job: Any, noon: datetime):
    job = make_job(on_poison={"stop_after": 10})
    control.pause(job, orders.Pause(), noon)
    control.resume(job, orders.Resume(), noon)

    assert job.poison_max == 10


def test_a_retiring_job_is_told_nothing_but_to_retire(make_job: Any, noon: datetime):
    job = make_job()
    control.stop(job, Event.CANCEL, "cancelled")
    before = control.wanted(job)
    control.throttle(job, orders.Throttle.model_validate({"max_docs_per_second": 5}), noon)
    control.pause(job, orders.Pause(), noon)

    assert before.verb is Verb.RETIRE
    assert control.wanted(job) == before
    assert len(job.warnings) == 2


def test_the_first_reason_to_end_holds(make_job: Any, noon: datetime):
    job = make_job(limits={"deadline": "1h"})
    assert control.stop(job, Event.CANCEL, "cancelled: wrong filter")
    control.tick(job, noon + timedelta(hours=2))

    assert (job.status, job.ending) == (Status.CANCELLING, "cancelled: wrong filter")


def test_a_job_of_the_most_partitions_stays_a_few_kb(make_job: Any, make_report: Any, noon: datetime):
    """The state is the argument of every continue-as-new, and travels through each history."""
    job = make_job(partitions=4_096, limits={"parallel": 64, "deadline": "9d"})
    in_flight: dict[int, None] = {}
    moment = noon
    while not control.all_done(job):
        for partition in islice(control.due(job, in_flight), 64 - len(in_flight)):
            in_flight[partition] = None
        assert len(job.tally.open) <= 64
        partition = next(iter(in_flight))
        moment += timedelta(seconds=1)
        waits = {f"read-p99 {partition} ms >= 12 ms": 1.0}
        end = SliceEnd.WAITING if job.slices % 4 == 0 else SliceEnd.DONE
        control.fold(job, make_report(partition, end, waited_s=waits), moment)
        del in_flight[partition]
        if job.slices % 500 == 0:
            job.warn("x" * 400)
            assert len(job.model_dump_json().encode()) < 24_000

    assert job.tally.done == 4_096
    assert len(job.model_dump_json().encode()) < 8_000


def test_a_state_read_back_from_its_json_is_the_same(make_job: Any, make_report: Any, noon: datetime):
    job = make_job(limits={"deadline": "3h"})
    control.throttle(job, orders.read(orders.Throttle, [b'{"max_docs_per_second": 5, "for": "1h"}']), noon)
    next(control.due(job, {}))
    control.fold(job, make_report(0), noon)
    control.pause(job, orders.Pause(reason="freeze"), noon)

    assert JobState.model_validate_json(job.model_dump_json()) == job


DEEDS = st.sampled_from(
    ["pause", "resume", "throttle", "poison", "drained", "cancel", "expire", "fail", "done", "tick"]
)


@given(st.lists(DEEDS, max_size=30))
def test_whatever_happens_in_whatever_order_the_state_stays_sound(deeds: list[str]):
    """No order raises, an ending job stays ending, and the directive always matches the status."""
    spec = parse_spec({"job": "a", "kind": "purge", "source": {"database": "b", "collection": "c"}, "everything": True})
    noon = datetime.fromisoformat("2026-11-23T12:00:00+00:00")
    job = JobState(spec=spec, status=Status.RUNNING)
    control.begin(job, noon)
    acts: dict[str, Any] = {
        "pause": lambda: control.pause(job, orders.Pause(reason="x"), noon),
        "resume": lambda: control.resume(job, orders.Resume(), noon),
        "throttle": lambda: control.throttle(job, orders.Throttle.model_validate({"max_docs_per_second": 5}), noon),
        "poison": lambda: None,
        "drained": lambda: control.drained(job, None),  # type: ignore[arg-type]
        "cancel": lambda: control.stop(job, Event.CANCEL, "cancelled"),
        "expire": lambda: control.stop(job, Event.EXPIRE, "expired"),
        "fail": lambda: control.stop(job, Event.FAIL, "failed"),
        "done": lambda: control.stop(job, Event.PARTITIONS_DONE, ""),
        "tick": lambda: control.tick(job, noon),
    }
    for deed in deeds:
        was = job.status
        acts[deed]()
        assert was not in STOPPING or job.status in STOPPING
        assert was not in ENDED
        verb = control.wanted(job).verb
        assert (verb is Verb.RETIRE) == (job.status in STOPPING)
        assert job.status not in {Status.PAUSING, Status.PAUSED} or verb is Verb.PAUSE
        assert (job.pause is None) == (job.status not in {Status.PAUSING, Status.PAUSED}) or job.status in (
            STOPPING | {Status.COMPLETING}
        )


@pytest.mark.parametrize("status", sorted(STOPPING | ENDED | {Status.COMPLETING}))
def test_an_ending_job_can_be_told_nothing(make_job: Any, status: Status):
    job = make_job()
    job.status = status

    for check in (control.check_pause, control.check_resume, control.check_throttle):
        with pytest.raises(OperatorError, match=f"cannot .* a job that is {status}"):
            check(job)


def test_a_throttled_partition_earns_the_time_it_is_left_alone_until_it_has_worked(
    make_job: Any, make_report: Any, noon: datetime
):
    """At a document in twenty minutes one rest is not enough; the rests add up, and are spent once."""
    job = make_job()
    next(control.due(job, {}))
    waiting = make_report(0, end=SliceEnd.WAITING)
    for _ in range(2):
        control.fold(job, waiting, noon)
        control.rested(job, waiting, 300.0)

    assert job.rested_s == {0: 600.0}

    control.fold(job, make_report(0, end=SliceEnd.SLICE_OVER), noon)
    assert job.rested_s == {}

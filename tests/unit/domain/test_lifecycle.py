"""The table of statuses: what can happen, and above all what cannot."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lull.domain.errors import OperatorError
from lull.domain.lifecycle import ENDED, STOPPING, TRANSITIONS, Event, Status, advance, can

S, E = Status, Event

WAYS: list[tuple[list[Event], Status]] = [
    ([E.PLANNED, E.PARTITIONS_DONE, E.CLOSED], S.COMPLETED),
    ([E.PLANNED, E.PAUSE, E.DRAINED, E.RESUME, E.PARTITIONS_DONE, E.CLOSED], S.COMPLETED),
    ([E.PLANNED, E.PAUSE, E.RESUME], S.RUNNING),
    ([E.PLANNED, E.PAUSE, E.PARTITIONS_DONE, E.CLOSED], S.COMPLETED),
    ([E.PLANNED, E.PAUSE, E.DRAINED, E.CANCEL, E.CLOSED], S.CANCELLED),
    ([E.PLANNED, E.EXPIRE, E.CLOSED], S.EXPIRED),
    ([E.PLANNED, E.CANCEL, E.FAIL, E.CLOSED], S.FAILED),
    ([E.PLANNED, E.PARTITIONS_DONE, E.FAIL, E.CLOSED], S.FAILED),
    ([E.REFUSE], S.REFUSED),
    ([E.FINISHED_BEFORE], S.COMPLETED),
    ([E.CANCEL, E.FINISHED_BEFORE], S.COMPLETED),
]


@pytest.mark.parametrize(("events", "end"), WAYS)
def test_a_job_goes_its_way(events: list[Event], end: Status):
    status = S.PLANNING
    for event in events:
        status = advance(status, event)

    assert status is end


NEVER: list[tuple[set[Status], set[Event]]] = [
    # What has ended stays ended.
    (set(ENDED), set(Event)),
    # Nothing turns back what is stopping, and nothing completes it.
    (set(STOPPING), {E.RESUME, E.PAUSE, E.PARTITIONS_DONE, E.DRAINED, E.CANCEL, E.EXPIRE}),
    # Only a pausing job is proven to be paused.
    (set(Status) - {S.PAUSING}, {E.DRAINED}),
    # Nobody but the ledger's own check ends a job.
    (set(Status) - STOPPING - {S.COMPLETING}, {E.CLOSED}),
    # A job is planned once, and refused only then.
    (set(Status) - {S.PLANNING}, {E.PLANNED, E.REFUSE}),
    # A paused job has no slice that could finish its last partition.
    ({S.PAUSED}, {E.PARTITIONS_DONE}),
    # A job whose partitions are all done is past stopping.
    ({S.COMPLETING}, {E.PAUSE, E.CANCEL, E.EXPIRE, E.RESUME}),
]


@pytest.mark.parametrize(
    ("status", "event"), sorted({pair for froms, events in NEVER for pair in itertools.product(froms, events)})
)
def test_an_arrow_that_would_lie_does_not_exist(status: Status, event: Event):
    assert not can(status, event)


@pytest.mark.parametrize(("status", "event"), [p for p in itertools.product(Status, Event) if p not in TRANSITIONS])
def test_an_impossible_event_is_refused_with_what_is_possible(status: Status, event: Event):
    with pytest.raises(OperatorError) as caught:
        advance(status, event)

    sentence = str(caught.value)
    assert sentence.startswith(f"cannot {event} a job that is {status}; what can happen to it now: ")
    for possible in (e for e in Event if can(status, e)):
        assert possible.value in sentence


@given(st.lists(st.sampled_from(list(Event)), max_size=40))
def test_every_way_that_stops_ends_and_every_status_leads_to_an_end(events: list[Event]):
    status = S.PLANNING
    for event in events:
        was = status
        status = advance(status, event) if can(status, event) else status
        assert was not in STOPPING or status in STOPPING | ENDED

    assert _reaches_an_end(status)


def _reaches_an_end(status: Status) -> bool:
    seen, edge = {status}, [status]
    while edge:
        here = edge.pop()
        onward = {to for (frm, _), to in TRANSITIONS.items() if frm is here} - seen
        seen |= onward
        edge += sorted(onward)
    return bool(seen & ENDED)


def test_every_status_can_be_reached():
    assert {S.PLANNING, *TRANSITIONS.values()} == set(Status)


def test_what_an_operator_cannot_stop_is_only_what_ends_by_itself():
    assert {s for s in Status if not can(s, E.CANCEL)} == STOPPING | ENDED | {S.COMPLETING}

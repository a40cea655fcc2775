"""What people are told about a job."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from lull.domain import orders
from lull.domain.lifecycle import Event, Status
from lull.domain.slice import SliceEnd
from lull.workflows import control, details

DETAILS_BYTES_MAX = 20_000


@pytest.fixture
def busy(make_job: Any, make_report: Any, noon: datetime) -> Any:
    """A job with one partition done, one half done, and a minute behind it."""
    job = make_job()
    due = control.due(job, {})
    next(due), next(due)
    control.fold(job, make_report(0, SliceEnd.DONE), noon + timedelta(seconds=30))
    control.fold(job, make_report(1, waited_s={"throttle 500 docs/s": 3.0}), noon + timedelta(seconds=60))
    return job


def test_progress_counts_what_is_committed(busy: Any, noon: datetime):
    seen = details.progress(busy, {1: None}, noon)

    assert (seen.counts.scanned, seen.fraction, seen.partitions_done) == (200, 0.05, 1)
    assert seen.docs_per_second == pytest.approx(200 / 60)
    assert seen.eta_s == pytest.approx(3_800 / (200 / 60))
    assert list(seen.running) == [1]


def test_the_reason_is_the_one_that_matters_in_the_status(busy: Any, noon: datetime):
    assert details.reason(busy) == "waiting: throttle 500 docs/s"
    control.throttle(busy, orders.Throttle(max_docs_per_second=500, who="ann", why="sale"), noon)
    assert details.label(busy) == "throttled to 500 docs/s by ann: sale"
    control.pause(busy, orders.Pause(reason="freeze", who="ann"), noon)
    assert details.reason(busy) == details.label(busy) == "freeze (ann)"
    control.stop(busy, Event.CANCEL, "cancelled: enough")
    assert details.reason(busy) == "cancelled: enough"


def test_a_search_attribute_does_not_change_with_every_measured_number(busy: Any):
    """Each upsert is an event in the history."""
    assert details.label(busy) == ""


@pytest.mark.parametrize("status", list(Status))
def test_every_status_has_a_next_step_and_a_story(busy: Any, noon: datetime, status: Status):
    busy.status = status

    story = details.markdown(busy, {1: None}, noon, noon)

    assert story.startswith(f"### {status}")
    assert details.next_steps(busy)
    assert all(step.startswith("lull ") for step in details.next_steps(busy))
    assert details.explain(busy, {}, noon, noon)[0].startswith(f"the job is {status}")


def test_the_longest_story_fits_into_the_web_ui(make_job: Any, noon: datetime):
    job = make_job(partitions=4_096, limits={"parallel": 64, "deadline": "3d"})
    due = control.due(job, {})
    running = {next(due): None for _ in range(64)}
    for number in range(30):
        job.warn(f"{number} " + "w" * 400)
        job.waited_s[f"reason {number}"] = 5.0
    control.throttle(job, orders.Throttle(max_docs_per_second=500, why="y" * 500), noon)

    assert len(details.markdown(job, running, noon, noon).encode()) < DETAILS_BYTES_MAX


def test_a_table_is_not_broken_by_what_people_type(busy: Any, noon: datetime):
    control.pause(busy, orders.Pause(reason="a | b <script>"), noon)

    assert "a \\| b &lt;script>" in details.markdown(busy, {}, None, noon)


def test_the_conclusion_says_what_was_and_was_not_done(busy: Any):
    control.stop(busy, Event.CANCEL, "cancelled: wrong filter")

    assert details.conclusion(busy) == (
        "cancelled: wrong filter; done: 1 of 4 partitions, 200 of about 4,000 documents passed (200 changed · 0 unchanged · "
        "0 skipped · 0 quarantined · 6 pages); not done: the rest; "
        "deleted documents are gone: cancelling keeps only what is not yet deleted"
    )

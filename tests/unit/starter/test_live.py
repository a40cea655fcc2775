"""What slices say between reports replaces what was known; nothing is added twice, and nothing older wins."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lull.domain.lifecycle import Status
from lull.domain.slice import Counts
from lull.domain.state import Progress
from lull.starter import live
from lull.starter.views import Slice, SliceState

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def test_a_heartbeat_replaces_what_was_known_of_its_partition(progress: Any, slice_of: Any):
    seen = live.merge(progress(), [slice_of()])
    assert (seen.counts.scanned, seen.counts.changed, seen.counts.pages) == (1_300, 1_300, 13)
    assert seen.running[3].scanned == 500
    assert seen.fraction == 0.13


def test_the_same_heartbeat_seen_twice_counts_once(progress: Any, slice_of: Any):
    once = live.merge(progress(), [slice_of()])
    assert live.merge(once, [slice_of()]).counts == once.counts


def test_a_heartbeat_older_than_the_report_changes_nothing(progress: Any, slice_of: Any):
    """The slice returned between the two looks, and the next one has not told anything yet."""
    old = slice_of(counts=Counts(scanned=100, seen=100, changed=100, pages=1))
    assert live.merge(progress(), [old]).counts == progress().counts


def test_a_partition_the_workflow_no_longer_runs_is_left_alone(progress: Any, slice_of: Any):
    assert live.merge(progress(), [slice_of(partition=7)]).counts == progress().counts
    assert live.merge(progress(), [slice_of(partition=None)]).counts == progress().counts


counted = st.builds(
    lambda n, pages: Counts(scanned=n, seen=n, changed=n, pages=pages), st.integers(0, 10**6), st.integers(0, 10**4)
)


@given(st.dictionaries(st.integers(0, 9), counted), st.lists(st.tuples(st.integers(0, 12), counted)))
def test_the_total_is_always_the_sum_of_its_partitions(running: dict[int, Counts], told: list[tuple[int, Counts]]):
    closed = Counts(scanned=7, seen=7, changed=7, pages=1)
    total = closed
    for counts in running.values():
        total = total.plus(counts)
    before = Progress(
        job="j", kind="update", cluster="main", namespace="a.b", status=Status.RUNNING, counts=total, running=running, as_of=NOW
    )  # fmt: skip
    after = live.merge(before, [Slice(state=SliceState.RUNNING, partition=n, counts=c) for n, c in told])
    summed = closed
    for counts in after.running.values():
        summed = summed.plus(counts)
    assert after.counts == summed
    assert after.counts.scanned >= before.counts.scanned


def test_a_running_slice_tells_the_pace_before_its_first_report(progress: Any, slice_of: Any):
    began = NOW - timedelta(seconds=10)
    seen = live.merge(progress(), [slice_of(since=began, heard_at=NOW)])
    assert seen.docs_per_second == 30.0
    assert seen.eta_s == (10_000 - 1_300) / 30


def test_a_slice_that_began_a_moment_ago_tells_no_pace(progress: Any, slice_of: Any):
    young = slice_of(since=NOW - timedelta(seconds=1), heard_at=NOW)
    again = slice_of(since=NOW - timedelta(seconds=10), heard_at=NOW, attempt=2)
    assert live.merge(progress(), [young]).docs_per_second is None
    assert live.merge(progress(docs_per_second=5.0), [young]).docs_per_second == 5.0
    assert live.merge(progress(), [again]).docs_per_second is None


def test_a_job_waits_when_every_one_of_its_slices_does(progress: Any, slice_of: Any):
    waiting, working = slice_of(waiting_for="read-p99 41 ms >= 12 ms"), slice_of(partition=4)
    assert live.merge(progress(), [waiting]).reason == "waiting: read-p99 41 ms >= 12 ms"
    assert live.merge(progress(), [waiting, working]).reason == ""
    assert live.merge(progress(reason="throttled to 5 docs/s"), [waiting]).reason == "throttled to 5 docs/s"


def test_what_keeps_slices_from_running_is_told_once(slice_of: Any):
    away = slice_of(state=SliceState.RETRYING, attempt=4, failure="cluster main is away")
    assert live.remarks([away, away]) == ("partition 3: attempt 3 failed (cluster main is away); will be tried again",)
    assert live.remarks([slice_of()]) == ()
    assert "is paused in Temporal itself" in live.remarks([slice_of(state=SliceState.HELD)])[0]
    many = [slice_of(partition=n, state=SliceState.RETRYING, attempt=2, failure="x") for n in range(50)]
    assert len(live.remarks(many)) == 5

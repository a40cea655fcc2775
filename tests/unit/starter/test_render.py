"""What people see: the figures that matter, in words they can act on."""

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console, RenderableType

from lull.domain.forecast import Bounds, Confidence, Feel, Forecast, Probed, ProbedPage, Wait
from lull.domain.guarantee import Guarantee, Promise
from lull.domain.lifecycle import Status
from lull.domain.slice import Counts, DrainProof, Outcome, Plan
from lull.domain.state import ThrottleNote
from lull.starter import render
from lull.starter.views import JobStatus, Planned, Preview, Request, Row, SliceState, Started

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
GUARANTEE = Guarantee(promise=Promise.EXACTLY_ONCE, why="one transaction")


def text(renderable: RenderableType, width: int = 160) -> str:
    """What a reader without colours sees."""
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0.0s"), (1.44, "1.4s"), (59, "59s"), (75, "1m15s"), (3_599, "59m59s"), (3_725, "1h2m"), (200_000, "2d8h")],
)
def test_a_span_has_two_units_at_most(seconds: float, shown: str):
    assert render.span(seconds) == shown


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0 B"), (999, "999 B"), (1_500, "1.5 kB"), (123_456_789, "123 MB"), (2e15, "2,000 TB")]
)
def test_a_size_has_a_unit(count: float, shown: str):
    assert render.size(count) == shown


def test_a_running_job_shows_share_documents_pace_and_time_to_go(progress: Any):
    shown = text(render.status(JobStatus(progress=progress(docs_per_second=100.0, eta_s=90.0))))
    assert "10.0%" in shown
    assert "1,000/10,000 docs" in shown
    assert "100 docs/s" in shown
    assert "about 1m30s to go" in shown


def test_a_measured_pace_replaces_the_workflows(progress: Any):
    shown = text(render.status(JobStatus(progress=progress(docs_per_second=100.0, eta_s=90.0)), rate=900.0))
    assert "900 docs/s" in shown
    assert "about 10s to go" in shown


def test_a_job_that_stands_promises_no_end(progress: Any):
    for standing in (progress(status=Status.PAUSED, eta_s=90.0, docs_per_second=5.0), progress(docs_per_second=0.0)):
        shown = text(render.status(JobStatus(progress=standing), rate=0.0))
        assert "to go" not in shown


def test_a_paused_job_shows_reason_proof_and_what_can_be_done(progress: Any):
    proof = DrainProof(raised=9, done=1, counts=Counts(), at=NOW)
    paused = progress(
        status=Status.PAUSED, reason="index build (ann)", proof=proof, next_steps=("lull resume orders-1",)
    )
    shown = text(render.status(JobStatus(progress=paused)))
    assert "paused  index build (ann)" in shown
    assert "the fences of 9 unfinished partitions were raised at majority" in shown
    assert "next: lull resume orders-1" in shown


def test_a_throttle_says_until_when_or_that_nothing_lifts_it(progress: Any):
    until = ThrottleNote(max_docs_per_second=500, until=NOW, who="ann", why="sale")
    assert "500 docs/s until 2026-" in text(render.status(JobStatus(progress=progress(throttle=until))))
    assert "(ann sale)" in text(render.status(JobStatus(progress=progress(throttle=until))))
    forever = ThrottleNote(max_docs_per_second=500)
    assert "500 docs/s, until it is lifted" in text(render.status(JobStatus(progress=progress(throttle=forever))))


def test_what_is_not_known_is_not_shown_as_zero(progress: Any):
    """Without a worker nobody has counted anything."""
    shown = text(render.status(JobStatus(progress=progress(), is_live=False, remarks=("no worker polls",))))
    assert "docs" not in shown
    assert "! no worker polls" in shown


def test_a_name_with_brackets_is_shown_as_it_is(progress: Any):
    shown = text(render.status(JobStatus(progress=progress(namespace="shop.[red]orders[/red]", reason="[bold]x"))))
    assert "shop.[red]orders[/red]" in shown
    assert "[bold]x" in shown


def test_slices_are_shown_with_what_they_wait_for_and_the_rest_counted(progress: Any, slice_of: Any):
    slices = [slice_of(partition=n, waiting_for="read-p99 41 ms >= 12 ms") for n in range(11)]
    shown = text(render.status(JobStatus(progress=progress(), slices=tuple(slices))))
    assert shown.count("read-p99 41 ms >= 12 ms") == 8
    assert "… 3 more" in shown
    retrying = slice_of(state=SliceState.RETRYING, attempt=4)
    assert "retrying (4)" in text(render.status(JobStatus(progress=progress(), slices=(retrying,))))


@pytest.mark.parametrize("width", [40, 80, 160])
def test_nothing_is_cut_off_at_any_width(progress: Any, slice_of: Any, width: int):
    seen = JobStatus(
        progress=progress(namespace="a." + "n" * 100, reason="r" * 100), slices=(slice_of(worker="w" * 60),)
    )
    shown = "".join(text(render.status(seen), width).split())
    assert shown.count("n") >= 100
    assert shown.count("r" * 40) >= 1
    assert shown.count("w") >= 60


def test_an_outcome_says_what_was_done_and_how_long_it_took():
    outcome = Outcome(
        job="orders-1", status=Status.CANCELLED, message="wrong filter (ann)", counts=Counts(changed=1_500, quarantined=2),
        partitions=10, partitions_done=3, started_at=NOW, ended_at=NOW + timedelta(minutes=2), guarantee=GUARANTEE,
    )  # fmt: skip
    shown = text(render.outcome(outcome))
    for words in ("cancelled  wrong filter (ann)", "1,500 changed", "2 quarantined", "3 of 10 done", "2m"):
        assert words in shown


def test_a_started_job_says_where_to_look_and_what_to_type():
    started = Started(
        job="orders-1", request=Request.STARTED, workflow_id="lull/orders-1", run_id="r", digest="d",
        link="http://ui/x", note="no worker",
    )  # fmt: skip
    shown = text(render.started(started))
    for words in ("orders-1  started", "http://ui/x", "! no worker", "next: lull watch orders-1"):
        assert words in shown


def test_a_list_without_jobs_says_how_to_start_one():
    assert "lull start SPEC" in text(render.rows([]))
    shown = text(render.rows([Row(job="a", status="running", fraction=0.5), Row(job="b", status="terminated")]))
    assert "50%" in shown
    assert "terminated" in shown


# -- plans -----------------------------------------------------------------------------------------------


def test_a_plan_shows_what_it_costs_and_what_cannot_be_undone():
    plan = Plan(
        guarantee=GUARANTEE, partitions=4, documents=60_000, matching=600, bytes=15_000_000, oplog_bytes=2_000_000,
        seconds=75, effect="update status", undo="changed in place", notes=("an index on status would help",),
    )  # fmt: skip
    shown = text(render.planned(Planned(job="j", digest="d", namespace="a.b", cluster="main", plan=plan)))
    for words in (
        "would update status: a.b on main", "exactly once: one transaction", "about 60,000 to pass, about 600 of them match",
        "15.0 MB", "range over index _id, 4 partitions", "about 1m15s at full speed", "2.0 MB", "changed in place",
        "! an index on status would help", "nothing was written",
    ):  # fmt: skip
        assert words in shown


def a_forecast(**fields: Any) -> Forecast:
    told: dict[str, Any] = {
        "documents": 60_000, "documents_basis": "metadata", "work_docs_per_second": Bounds(low=4_500, high=6_100),
        "work_basis": "lull's own figure", "pace": Bounds(low=0.25, high=0.5), "pace_basis": "14 min of samples",
        "docs_per_second": Bounds(low=1_000, high=3_000), "seconds": Bounds(low=20, high=60),
        "waits": (Wait(reason="shut gate", seconds=Bounds(low=2, high=12)),),
        "feels": (Feel(op="read", without_ms=2.4, beside_ms=Bounds(low=2.4, high=2.64), basis="not seen"),),
        "feel_basis": "the canary's p99", "confidence": Confidence.PARTLY, "unknown": ("the cost: lull plan SPEC --probe",),
    }  # fmt: skip
    return Forecast(**(told | fields))


def shown_plan(**fields: Any) -> str:
    plan = Plan(guarantee=GUARANTEE, documents=60_000)
    return text(render.planned(Planned(job="j", digest="d", plan=plan, **fields)), width=400)


def test_a_forecast_shows_each_figure_with_what_it_rests_on_and_what_is_not_known():
    shown = shown_plan(forecast=a_forecast())
    for words in (
        "20s to 1m, 1,000 to 3,000 docs/s; ends 20", "; partly measured", "2.0s to 12s shut gate",
        "4,500 to 6,100 docs/s (lull's own figure)", "25% to 50% (14 min of samples)",
        "p99 2.4 ms without it → 2.4 to 2.6 ms (not seen)", "? not known: the cost: lull plan SPEC --probe",
    ):  # fmt: skip
        assert words in shown
    assert shown.endswith("nothing was written\n")


def test_a_probe_says_what_was_seen_and_that_all_of_it_was_taken_back():
    page = ProbedPage(documents=602, matching=100, read_ms=1, hold_ms=8.0)
    probe = Probed(pages=(page, page), poison=3, conflicts=1, waited_s=2.5, note="ended early")
    shown = shown_plan(forecast=a_forecast(probe=probe))
    assert (
        "2 pages, 1,204 documents, 200 of them match; held for 8.0 ms; at least 3 would go to quarantine; "
        "1 met other writers; waited 2.5s for the governor; ended early"
    ) in shown
    assert shown.endswith("nothing was written: every page of the probe was taken back\n")


def test_a_forecast_of_centuries_and_one_of_nothing_can_be_shown():
    assert "ends " in shown_plan(forecast=a_forecast(seconds=Bounds(low=1, high=1e15)))
    assert "nothing to do" in shown_plan(forecast=a_forecast(documents=0, seconds=Bounds(low=0, high=0)))


def test_a_plan_without_a_forecast_says_why():
    assert "no forecast: the worker is older" in shown_plan(forecast_note="no forecast: the worker is older")


def test_a_preview_shows_only_the_fields_that_change():
    preview = Preview(
        before={"_id": {"$oid": "65"}, "same": [1, 2], "gone": 1, "deep": {"a": 1, "b": 2}, "at": {"$date": "2026"}},
        after={"_id": {"$oid": "65"}, "same": [1, 2], "deep": {"a": 1, "b": 3}, "at": {"$date": "2027"}, "new": None},
    )
    shown = text(render._preview(preview)).splitlines()
    assert shown == ['sample "65"', "  gone: 1 → -", "  deep.b: 2 → 3", '  at: "2026" → "2027"', "  new: - → null"]


def test_a_number_that_changes_only_its_type_is_a_change():
    """To Python 1, 1.0 and True are equal; to MongoDB they are not."""
    changes = render.changed_fields({"a": 1, "b": 1, "c": 1}, {"a": 1.0, "b": True, "c": 1})
    assert [path for path, _, _ in changes] == ["a", "b"]


def test_a_document_that_goes_or_stays_says_so():
    gone = Preview(before={"_id": 1}, after=None, note="delete")
    stays = Preview(before={"_id": 1}, after={"_id": 1}, note="unchanged")
    assert text(render._preview(gone)).split() == ["sample", "1", "delete"]
    assert text(render._preview(stays)).split() == ["sample", "1", "unchanged"]

"""The client asks, looks and tells through a real Temporal server, with a real worker at work or with none."""

import asyncio
import socket
import time
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import Client as TemporalClient

from lull.domain.errors import OperatorError
from lull.domain.lifecycle import Status
from lull.domain.slice import Verb
from lull.starter.client import BACKSTOP_SLACK, Client
from lull.starter.errors import NotFound, Unreachable, WorldError
from lull.starter.settings import Connection
from lull.starter.views import JobStatus, Request, SliceState

pytestmark = pytest.mark.usefixtures("clean_up")


def is_running(seen: JobStatus) -> bool:
    return seen.is_live and seen.progress.status is Status.RUNNING and seen.progress.counts.scanned > 0


# -- starting ------------------------------------------------------------------------------------


async def test_a_started_job_does_its_work_and_tells_its_outcome(client: Client, collection: Any):
    spec = collection.spec()
    started = await client.start(spec, why="OPS-7")
    outcome = await client.wait(spec.job)
    assert started.request is Request.STARTED
    assert (
        started.link == f"http://127.0.0.1:8233/namespaces/{client.door.temporal.namespace}/workflows/lull%2F{spec.job}"
    )
    assert (outcome.status, outcome.counts.changed) == (Status.COMPLETED, 3_000)
    assert collection.count(done=True) == 3_000


async def test_starting_twice_is_starting_once(client: Client, collection: Any):
    spec = collection.slow()
    first = await client.start(spec)
    second = await client.start(spec)
    assert (first.request, second.request) == (Request.STARTED, Request.ATTACHED)
    assert first.run_id == second.run_id


async def test_ten_starts_at_once_start_one_job(client: Client, collection: Any):
    spec = collection.slow()
    answers = await asyncio.gather(*(client.start(spec) for _ in range(10)))
    assert sorted(answer.request for answer in answers) == [Request.ATTACHED] * 9 + [Request.STARTED]
    assert len({answer.run_id for answer in answers}) == 1


async def test_another_spec_under_a_running_id_is_refused_with_the_differences(client: Client, collection: Any):
    spec = collection.slow()
    await client.start(spec)
    other = spec.model_validate({**spec.canonical(), "limits": {"max_docs_per_second": 200, "parallel": 4}})
    with pytest.raises(OperatorError) as caught:
        await client.start(other)
    assert "limits.max_docs_per_second: 100.0 -> 200.0" in str(caught.value)
    assert "limits.parallel: (not set) -> 4" in str(caught.value)
    assert f"lull cancel {spec.job}" in str(caught.value)
    assert await client.spec(spec.job) == spec.canonical()


async def test_a_request_that_was_completed_is_answered_with_its_outcome(client: Client, collection: Any):
    spec = collection.spec()
    await client.start(spec)
    before = await client.wait(spec.job)
    settled = await client.settle(await client.start(spec), 30)
    assert settled.request is Request.FINISHED
    assert settled.progress is not None
    assert settled.progress.outcome == before


async def test_again_runs_a_completed_job_once_more(client: Client, collection: Any):
    spec = collection.spec()
    await client.start(spec)
    first = await client.wait(spec.job)
    collection.mongo.update_many({}, {"$unset": {"done": 1}})
    await client.start(spec, again=True)
    second = await client.wait(spec.job)
    assert (first.incarnation, second.incarnation) == (1, 2)
    assert collection.count(done=True) == 3_000


async def test_again_on_a_running_job_says_that_it_is_for_ended_ones(client: Client, collection: Any):
    spec = collection.slow()
    await client.start(spec)
    assert "--again is for jobs that have ended" in (await client.start(spec, again=True)).note


async def test_a_refused_job_settles_with_the_refusal(client: Client, collection: Any):
    spec = collection.spec(source={"cluster": "unknown", "database": "shop", "collection": "orders"})
    settled = await client.settle(await client.start(spec), 30)
    assert settled.progress is not None
    assert settled.progress.status is Status.REFUSED
    assert "no cluster profile 'unknown'" in settled.progress.reason


async def test_what_the_web_ui_shows_is_there_before_any_worker(lonely: Client, collection: Any):
    spec = collection.spec(limits={"deadline": "6h"}, priority="critical")
    await lonely.start(spec, why="OPS-7")
    found = await lonely.door.describe(spec.job)
    raw = found.raw_description
    assert await found.static_summary() == f"update done on the server: {spec.source.namespace} on main"
    assert "Asked for by ann@laptop: OPS-7" in str(await found.static_details())
    assert await found.memo_value("digest", type_hint=str) == spec.digest
    assert raw.execution_config.default_workflow_task_timeout.ToTimedelta() == timedelta(seconds=5)
    assert raw.execution_config.workflow_execution_timeout.ToTimedelta() == timedelta(hours=12) + BACKSTOP_SLACK
    assert raw.workflow_execution_info.priority.priority_key == 1


# -- looking -------------------------------------------------------------------------------------


async def test_progress_is_live_between_the_reports_of_slices(client: Client, collection: Any, until: Any):
    """A slice of this pace reports after half a minute; its heartbeats tell within seconds."""
    spec = collection.slow()
    await client.start(spec)
    first = await until(lambda: client.status(spec.job), is_running)
    passed = first.progress.counts.scanned
    later = await until(
        lambda: client.status(spec.job),
        lambda seen: seen.progress.counts.scanned > passed and seen.slices and seen.slices[0].waiting_for,
    )
    assert later.progress.slices == 0, "no slice has reported yet"
    assert later.progress.counts.changed > 0
    assert [one.partition for one in later.slices] == [0]
    assert later.slices[0].waiting_for.startswith("throttle")
    assert later.progress.reason.startswith("waiting: throttle")
    assert 0 < later.progress.fraction < 1


async def test_the_pace_of_a_running_slice_is_told_before_its_first_report(client: Client, collection: Any, until: Any):
    spec = collection.slow()
    await client.start(spec)
    seen = await until(
        lambda: client.status(spec.job), lambda seen: is_running(seen) and seen.progress.docs_per_second is not None
    )
    assert 0 < seen.progress.docs_per_second < 1_000
    assert seen.progress.eta_s > 0


async def test_without_a_worker_the_status_is_what_temporal_keeps_and_says_so(lonely: Client, collection: Any):
    spec = collection.spec()
    started = await lonely.start(spec)
    seen = await lonely.status(spec.job)
    assert not seen.is_live
    assert (seen.progress.status, seen.progress.kind, seen.progress.namespace) == (
        Status.PLANNING, "update", spec.source.namespace,
    )  # fmt: skip
    assert seen.remarks == ("no worker polls the queue 'lull'; start one with lull worker",)
    assert started.note == "no worker polls the queue 'lull'; start one with lull worker; until then nothing happens"


async def test_a_worker_that_was_killed_is_missed_within_seconds(mortal: Any, collection: Any, until: Any):
    """Temporal lists its polls for minutes; the question it does not answer is what tells."""
    connection, process = mortal
    client = await Client.connect(connection)
    spec = collection.slow()
    await client.start(spec)
    await until(lambda: client.status(spec.job), is_running)
    process.kill()
    process.wait()
    began = time.monotonic()
    seen = await client.status(spec.job)
    assert time.monotonic() - began < 15
    assert not seen.is_live
    assert seen.progress.status is Status.RUNNING
    assert seen.remarks[0].startswith("the worker does not answer; it may be gone")
    slices = await until(lambda: client.status(spec.job), lambda seen: bool(seen.slices))
    assert slices.slices[0].state is SliceState.RETRYING


async def test_orders_are_recorded_while_no_worker_is_up(lonely: Client, collection: Any):
    spec = collection.spec()
    await lonely.start(spec)
    told = await lonely.pause(spec.job, "index build")
    assert "no worker polls the queue" in told.note


@pytest.mark.parametrize("ask", ["plan", "pause_and_wait", "explain", "doctor", "cancel_and_wait"])
async def test_what_needs_a_worker_says_at_once_that_there_is_none(lonely: Client, collection: Any, ask: str):
    spec = collection.spec()
    await lonely.start(spec)
    arguments = {"plan": [spec], "doctor": []}.get(ask, [spec.job])
    began = time.monotonic()
    with pytest.raises(Unreachable, match="no worker polls the queue 'lull'; start one with lull worker"):
        await getattr(lonely, ask)(*arguments)
    assert time.monotonic() - began < 5, "a silence of a minute is no answer"


async def test_a_job_that_is_not_known_is_not_found_with_the_near_one(client: Client, collection: Any):
    spec = collection.slow(job=f"nightly-archive-{time.monotonic_ns()}")
    await client.start(spec)
    near = spec.job.replace("archive", "achive")
    deadline = time.monotonic() + 30  # Visibility is a little behind.
    said = ""
    while "did you mean" not in said and time.monotonic() < deadline:
        with pytest.raises(NotFound) as caught:
            await client.status(near)
        said = str(caught.value)
    assert f"no job {near!r} is known" in said
    assert f"did you mean {spec.job}?" in said


async def test_a_list_has_one_row_for_each_job_and_its_filters_narrow_it(client: Client, collection: Any, until: Any):
    running, done = collection.slow(), collection.spec(update={"$set": {"other": 1}})
    await client.start(done)
    await client.wait(done.job)
    await client.start(done)  # a second run of the same job
    await client.wait(done.job)
    await client.start(running)
    await until(lambda: client.status(running.job), is_running)
    await _listed(client, running.job, "running")
    rows = await client.list(namespace=running.source.namespace, with_progress=True)
    assert [(row.job, row.status) for row in rows] == [(running.job, "running"), (done.job, "completed")]
    assert rows[0].fraction is not None
    assert [row.job for row in await client.list(states=["running"], namespace=running.source.namespace)] == [
        running.job
    ]
    assert await client.list(kind="purge", namespace=running.source.namespace) == []
    assert await client.list(cluster="other") == []


async def _listed(client: Client, job: str, status: str) -> None:
    """Visibility is written a moment after the job."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if [row.status for row in await client.list() if row.job == job] == [status]:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{job} was never listed as {status}")


async def test_a_filter_cannot_leave_its_quotes(client: Client):
    with pytest.raises(OperatorError, match="write the plain name"):
        await client.list(cluster="main' OR WorkflowType != '")


async def test_a_terminated_job_is_told_as_failed_and_not_cleaned_up(client: Client, collection: Any, until: Any):
    spec = collection.slow()
    await client.start(spec)
    await until(lambda: client.status(spec.job), is_running)
    await client.door.handle(spec.job).terminate("by a test")
    seen = await client.status(spec.job)
    outcome = await client.result(spec.job)
    assert (seen.progress.status, outcome.status) == (Status.FAILED, Status.FAILED)
    assert "terminated in Temporal, so nothing was cleaned up" in seen.progress.reason
    assert "terminated in Temporal" in outcome.message


async def test_the_result_of_a_running_job_is_refused_with_how_to_follow_it(client: Client, collection: Any):
    spec = collection.slow()
    await client.start(spec)
    with pytest.raises(WorldError, match=f"has not ended; follow it with lull watch {spec.job}"):
        await client.result(spec.job)


# -- telling -------------------------------------------------------------------------------------


async def test_a_pause_that_is_waited_for_comes_with_its_proof(client: Client, collection: Any, until: Any):
    spec = collection.slow()
    await client.start(spec)
    await until(lambda: client.status(spec.job), is_running)
    answer = await client.pause_and_wait(spec.job, "index build")
    seen = await client.status(spec.job)
    assert answer.status is Status.PAUSED
    assert answer.proof is not None
    assert answer.proof.raised == 1
    assert (seen.progress.pause.reason, seen.progress.pause.who) == ("index build", "ann@laptop")
    assert (await client.resume_and_wait(spec.job)).status is Status.RUNNING


async def test_a_throttle_reaches_the_ledger_with_its_end(client: Client, collection: Any, until: Any, mongo_uri: str):
    del mongo_uri
    spec = collection.slow()
    await client.start(spec)
    await until(lambda: client.status(spec.job), is_running)
    answer = await client.throttle_and_wait(spec.job, 50, lasting=timedelta(hours=2), why="sale")
    kept = collection.mongo.database.client["lull"]["jobs"].find_one({"_id": spec.job})
    seen = await client.status(spec.job)
    assert answer.max_docs_per_second == 50
    assert (kept["directive"]["verb"], kept["directive"]["max_docs_per_second"]) == (Verb.RUN, 50)
    assert (seen.progress.throttle.why, seen.progress.throttle.who) == ("sale", "ann@laptop")
    assert seen.progress.throttle.until is not None
    lifted = await client.throttle_and_wait(spec.job, None)
    assert lifted.max_docs_per_second == 100, "the spec's own limit holds again"


async def test_a_deadline_is_moved_and_its_absence_is_said(client: Client, collection: Any, until: Any):
    spec = collection.slow(limits={"deadline": "6h", "max_docs_per_second": 100})
    await client.start(spec)
    before = (await until(lambda: client.status(spec.job), is_running)).progress.deadline_at
    await client.extend_deadline(spec.job, timedelta(hours=2))
    seen = await until(lambda: client.status(spec.job), lambda seen: seen.progress.deadline_at != before)
    assert seen.progress.deadline_at == before + timedelta(hours=2)
    with pytest.raises(OperatorError, match=r"can be extended until .* at most"):
        await client.extend_deadline(spec.job, timedelta(days=300))
    other = collection.slow(overlap=True)
    await client.start(other)
    with pytest.raises(OperatorError, match="has no deadline, so there is nothing to extend"):
        await client.extend_deadline(other.job, timedelta(hours=1))


async def test_a_cancelled_job_says_what_was_done_and_by_whom(client: Client, collection: Any, until: Any):
    spec = collection.slow()
    await client.start(spec)
    await until(lambda: client.status(spec.job), is_running)
    outcome = await client.cancel_and_wait(spec.job, "wrong filter")
    assert outcome.status is Status.CANCELLED
    assert "wrong filter" in outcome.message
    assert outcome.counts.changed == collection.count(done=True)
    with pytest.raises(OperatorError, match=r"cannot pause job .*: it has ended \(cancelled\)"):
        await client.pause(spec.job)


async def test_an_update_the_job_refuses_is_the_operators_error(client: Client, collection: Any, until: Any):
    spec = collection.slow()
    await client.start(spec)
    await until(lambda: client.status(spec.job), is_running)
    with pytest.raises(OperatorError, match="cannot resume a job that is running"):
        await client.resume_and_wait(spec.job)


# -- planning and examining ----------------------------------------------------------------------


async def test_a_plan_writes_nothing(client: Client, collection: Any):
    spec = collection.spec()
    plan = await client.plan(spec)
    assert plan.documents == 3_000
    assert collection.count(done=True) == 0
    assert collection.mongo.database.client["lull"]["jobs"].count_documents({"_id": spec.job}) == 0


async def test_a_plan_that_is_refused_is_the_operators_error(client: Client, collection: Any):
    spec = collection.spec(source={"cluster": "unknown", "database": "shop", "collection": "orders"})
    with pytest.raises(OperatorError, match="no cluster profile 'unknown'"):
        await client.plan(spec)


async def test_doctor_brings_what_the_worker_found(client: Client):
    report = await client.doctor("main")
    assert {"main: reachable", "main: topology", "main: privileges"} <= {check.name for check in report.checks}


# -- connecting ----------------------------------------------------------------------------------


async def test_an_applications_own_client_serves_whatever_its_converter(worked: Connection, collection: Any):
    temporal = await TemporalClient.connect(worked.address, namespace=worked.namespace)
    client = Client(temporal)
    spec = collection.spec()
    await client.start(spec)
    assert (await client.wait(spec.job)).status is Status.COMPLETED


async def test_an_address_where_nothing_answers_is_told_within_five_seconds():
    """A port that takes connections and says nothing is what a silent firewall looks like."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        began = time.monotonic()
        with pytest.raises(Unreachable) as caught:
            await Client.connect(Connection(f"127.0.0.1:{port}", "default"))
        took = time.monotonic() - began
    assert took < 5
    assert f"cannot reach Temporal at 127.0.0.1:{port} (from the default): nothing answers there" in str(caught.value)
    assert "lull dev" in str(caught.value)


async def test_a_namespace_that_is_not_there_is_the_settings_fault(worked: Connection):
    client = await Client.connect(Connection(worked.address, "no-such-namespace"))
    with pytest.raises(
        OperatorError, match=r"has no namespace 'no-such-namespace'.*temporal operator namespace create"
    ):
        await client.status("orders-1")


async def test_a_namespace_without_our_search_attributes_is_refused_with_the_command_that_makes_them(
    bare_namespace: Connection, collection: Any
):
    client = await Client.connect(bare_namespace)
    for ask in (client.start(collection.spec()), client.list(states=["running"])):
        with pytest.raises(OperatorError, match="temporal operator search-attribute create --name LullState"):
            await ask

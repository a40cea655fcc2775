"""``lull worker`` as an operator runs it: real processes against a real Temporal server and MongoDB."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client

from lull.embedded.ports import free_port
from lull.embedded.temporal import TemporalServer
from lull.workers.records import Records

SECRET = "hunter2"


async def pollers(client: Client, queue: str) -> set[str]:
    """Who polls activities of *queue*."""
    answer = await client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=client.namespace,
            task_queue=TaskQueue(name=queue),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
        )
    )
    return {poller.identity for poller in answer.pollers}


async def poller_of(client: Client, queue: str, pid: int) -> None:
    found: set[str] = set()
    for _ in range(600):
        found = await pollers(client, queue)
        if any(name.endswith(f":{pid}") for name in found):
            return
    raise AssertionError(f"{pid} does not poll {queue}; {found} do")


async def test_a_worker_polls_its_three_queues_and_ends_with_0_on_sigterm(spawn: Any, client: Client):
    worker = spawn("--log-format", "json")
    await worker.until_ready()
    for queue in ("lull", "lull-pages", "lull-pages-critical"):
        await poller_of(client, queue, worker.process.pid)

    worker.signal()

    assert await worker.ended() == 0
    assert [line["message"].split(":")[0] for line in worker.lines] == ["ready", "SIGTERM", "drained"]


async def test_a_worker_kept_for_critical_jobs_polls_nothing_else(spawn: Any, client: Client):
    worker = spawn("--queue", "critical")
    await worker.until_ready()
    await poller_of(client, "lull-pages-critical", worker.process.pid)

    (record,) = Records(spawn.folder / "run" / "lull").live()
    assert record.queues == ("lull-pages-critical",)
    assert not any(name.endswith(f":{worker.process.pid}") for name in await pollers(client, "lull-pages"))
    worker.signal(signal.SIGINT)
    assert await worker.ended() == 0


async def test_ctrl_c_drains_as_sigterm_does_and_the_record_goes_with_the_worker(spawn: Any):
    worker = spawn()
    await worker.until_ready()
    records = Records(spawn.folder / "run" / "lull")
    assert [record.pid for record in records.live()] == [worker.process.pid]
    worker.signal(signal.SIGINT)
    assert await worker.ended() == 0
    assert not list(records.folder.glob("*.json"))


async def test_a_worker_started_before_its_server_waits_and_says_so(
    spawn: Any, tmp_path_factory: pytest.TempPathFactory
):
    """In a compose file nobody waits for anybody."""
    port = free_port()
    worker = spawn(LULL_TEMPORAL__ADDRESS=f"127.0.0.1:{port}", LULL_TEMPORAL__NAMESPACE="default")
    await worker.until_it_says(f"Temporal does not answer at 127.0.0.1:{port}; start it")

    with TemporalServer(tmp_path_factory.mktemp("late"), port=port):
        await worker.until_ready()
        worker.signal()
        assert await worker.ended() == 0


async def test_a_worker_outlives_a_temporal_server_that_is_killed_and_started_again(
    spawn: Any, tmp_path_factory: pytest.TempPathFactory
):
    with TemporalServer(tmp_path_factory.mktemp("mortal")) as server:
        worker = spawn(LULL_TEMPORAL__ADDRESS=server.address, LULL_TEMPORAL__NAMESPACE="default")
        await worker.until_ready()
        server.kill()
        server.start()
        client = await Client.connect(server.address)
        await poller_of(client, "lull-pages", worker.process.pid)
        worker.signal()
        assert await worker.ended() == 0


async def test_a_worker_that_still_waits_for_its_server_ends_at_once_on_sigterm(spawn: Any):
    worker = spawn(LULL_TEMPORAL__ADDRESS="127.0.0.1:1")
    await worker.until_it_says("trying again")
    worker.signal()
    assert await worker.ended() == 0


async def test_a_namespace_that_is_not_there_is_waited_for_too(spawn: Any):
    worker = spawn(LULL_TEMPORAL__NAMESPACE="nowhere")
    await worker.until_it_says("has no namespace 'nowhere'; create it")


def test_fail_fast_ends_with_4_when_temporal_does_not_answer(spawn: Any):
    done = spawn.run("--fail-fast", LULL_TEMPORAL__ADDRESS="127.0.0.1:1")
    assert done.returncode == 4
    assert "Temporal does not answer at 127.0.0.1:1" in done.stderr


def test_a_module_that_is_not_there_ends_the_worker_with_2_and_without_a_traceback(spawn: Any):
    done = spawn.run("--load", "jobs")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("lull worker: there is no module 'jobs' to load; start the worker in the folder")


async def test_modules_of_the_working_directory_are_loaded_and_their_transforms_served(spawn: Any):
    (spawn.folder / "jobs.py").write_text(
        "from lull.activities.transforms import SKIP, transform\n@transform('shop.vat')\ndef vat(document): return SKIP\n"
    )
    worker = spawn("--load", "jobs")
    await worker.until_it_says("transforms shop.vat")


async def test_a_cluster_that_does_not_answer_is_said_and_is_not_fatal(spawn: Any):
    worker = spawn(
        LULL_CLUSTERS__AWAY__URI=f"mongodb://root:{SECRET}@127.0.0.1:1/?serverSelectionTimeoutMS=50",
        LULL_CLUSTERS__AWAY__GOVERNOR="off",
    )
    await worker.until_ready()
    await worker.until_it_says("cluster away cannot be used now")
    assert worker.process.poll() is None
    assert SECRET not in worker.text


async def test_drain_ends_the_worker_it_names_and_leaves_the_other(spawn: Any):
    one, other = spawn(), spawn()
    await one.until_ready()
    await other.until_ready()
    assert spawn.drain().returncode == 2, "two workers: it must ask which"

    done = spawn.drain("--pid", str(one.process.pid), "--json")

    assert done.returncode == 0
    (told,) = json.loads(done.stdout)["workers"]
    assert (told["pid"], told["drained"], told["finishing"]) == (one.process.pid, True, [])
    assert await one.ended() == 0
    assert other.process.poll() is None


async def test_a_second_signal_ends_a_worker_that_still_waits_for_a_slice(spawn: Any, client: Client, until: Any):
    worker = await holding(spawn, client)
    worker.signal()
    await worker.until_it_says("SIGTERM: draining")
    await until(lambda: Records(spawn.folder / "run" / "lull").live()[0].finishing, "what it is finishing")
    assert worker.process.poll() is None

    worker.signal()

    assert await worker.ended() == 1
    assert worker.says("second signal")


async def test_drain_shows_what_a_worker_is_finishing(spawn: Any, client: Client):
    """The slice holds until its grace time is over and it is cancelled."""
    worker = await holding(spawn, client, LULL_WORKER__GRACE_S="2")
    done = spawn.drain()
    assert done.returncode == 0
    assert f"worker {worker.process.pid}: finishing held-{worker.process.pid} partition 7" in done.stdout


async def holding(spawn: Any, client: Client, **variables: str) -> Any:
    """Return a worker with a slice in hand that ends at no page boundary."""
    from lull.domain.slice import SliceTask

    (spawn.folder / "holding.py").write_text(Path(__file__).with_name("holding.txt").read_text())
    worker = spawn("--load", "holding", **variables)
    await worker.until_ready()
    task = SliceTask(job="held", cluster="main", incarnation=1, partition=7, epoch=0)
    await client.start_workflow("hold", task, id=f"lull/held-{worker.process.pid}", task_queue="lull")
    await worker.until_it_says("holding partition 7")
    return worker


async def test_several_processes_run_under_one_parent_which_replaces_a_killed_one(spawn: Any, until: Any):
    parent = spawn("--processes", "2")
    records = Records(spawn.folder / "run" / "lull")

    def ready() -> list[int]:
        return [r.pid for r in records.live() if r.parent == parent.process.pid and r.ready_at]

    first = await until(lambda: ready() if len(ready()) == 2 else None, "two processes")
    os.kill(first[0], signal.SIGKILL)
    second = await until(lambda: ready() if len(set(ready()) - {first[0]}) == 2 else None, "another process")
    assert first[1] in second
    assert parent.says("ended with SIGKILL; starting another")

    done = spawn.drain("--json")

    assert done.returncode == 0
    assert [one["pid"] for one in json.loads(done.stdout)["workers"]] == [parent.process.pid]
    assert await parent.ended() == 0
    assert not records.live()


async def test_processes_end_when_their_parent_is_killed(spawn: Any, until: Any):
    parent = spawn("--processes", "2")
    records = Records(spawn.folder / "run" / "lull")
    await until(lambda: len([r for r in records.live() if r.ready_at]) == 2, "two processes")

    parent.signal(signal.SIGKILL)

    await until(lambda: not records.live(), "their end")


async def test_a_parent_ends_with_its_processes_exit_code_when_no_restart_mends_it(spawn: Any):
    done = spawn.run("--processes", "2", "--fail-fast", LULL_TEMPORAL__ADDRESS="127.0.0.1:1")
    assert done.returncode == 4

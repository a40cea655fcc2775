"""``lull report`` against a real server, a real worker and its ledger."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pymongo
import pytest

pytestmark = pytest.mark.usefixtures("clean_up")


@pytest.fixture
def done(shell: Any, collection: Any) -> str:
    """A job that has been paused, resumed, throttled, and was then done."""
    spec = collection.written(limits={"max_docs_per_second": 500})
    job = str(spec["job"])
    assert shell("start", shell.write("job.json", spec)).code == 0
    assert shell("pause", job, "--reason", "index <build>", "--wait").code == 0
    assert shell("resume", job, "--wait").code == 0
    assert shell("throttle", job, "--max-docs-per-second", "off", "--why", "sale over").code == 0
    assert shell("watch", job).code == 0
    return job


def sampled(mongo_uri: str, job: str) -> None:
    """The ledger has samples of the last minute, as a governor would have written them."""
    seen = {"n": 20, "p50": 1.0, "p90": 2.0, "max": 9.0}
    with pymongo.MongoClient[dict[str, Any]](mongo_uri) as client:
        client["lull"]["samples"].insert_many(
            {
                "at": datetime.now(UTC) - timedelta(seconds=second), "governor": {"cluster": "main"}, "mode": "enforce",
                "zone": "keep", "is_open": True, "canary": {"read": seen, "write": seen},
                "jobs": [{"job": job, "slices": 1, "share": 0.5, "used": 0.4}],
            }
            for second in range(1, 60)
        )  # fmt: skip


def test_a_page_tells_of_the_job_its_orders_and_its_waits(shell: Any, done: str, mongo_uri: str):
    sampled(mongo_uri, done)
    typed = shell.run("report", done, "-o", "report.html")
    assert (typed.code, typed.err) == (0, ""), typed.err
    assert typed.out.startswith("wrote report.html: ")
    text = (shell.folder / "report.html").read_text()
    assert "3,000 passed of about 3,000" in text
    assert "told to pause" in text
    assert "index &lt;build&gt;" in text
    assert "told to resume" in text
    assert "no limit" in text
    assert "exactly once" in text
    again = shell("report", done, "-o", "report.html", "--since", "10s")
    assert again.code == 0


def test_the_data_has_what_the_page_draws(shell: Any, done: str, mongo_uri: str):
    sampled(mongo_uri, done)
    found = shell("report", done, "--json").document
    assert found["facts"]["counts"]["changed"] == 3_000
    assert found["timeline"]["samples"] > 0
    happened = [one["what"] for one in found["happenings"]]
    assert happened == ["started", "told to pause", "told to resume", "throttled", "completed"]
    assert found["facts"]["steps"][-1][1] == 3_000


def test_a_job_that_runs_is_told_of_with_its_waits(shell: Any, collection: Any):
    spec = collection.written(limits={"max_docs_per_second": 50})
    assert shell("start", shell.write("slow.json", spec)).code == 0
    found = shell("report", str(spec["job"]), "--json").document
    assert found["facts"]["status"] == "running"
    assert found["facts"]["active_s"] is not None
    assert found["facts"]["ended_at"] is None


def test_a_job_that_nobody_knows_is_not_found(shell: Any):
    typed = shell("report", "no-such-job", "-o", "r.html")
    assert (typed.code, typed.out) == (3, "")
    assert "no job 'no-such-job' is known" in typed.err
    assert not (shell.folder / "r.html").exists()


def test_without_a_worker_it_says_what_is_missing(quiet_shell: Any, collection: Any):
    spec = collection.written()
    assert quiet_shell("start", quiet_shell.write("job.json", spec)).code == 0
    typed = quiet_shell("report", str(spec["job"]), "-o", "r.html")
    assert typed.code == 4
    assert "lull worker" in typed.err
    unknown = quiet_shell("report", "no-such-job", "--json")
    assert unknown.code == 3
    assert json.loads(unknown.err)["exit_code"] == 3

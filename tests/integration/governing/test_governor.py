"""A governor over a real server: what it publishes, whom it hears, whom it yields to, what it keeps."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from lull.activities.governing.adapter import order
from lull.activities.store import LEARNED_ID, ORDERS_ID, SAMPLES, Store
from lull.domain.errors import FenceLost
from lull.domain.governor.budget import Mode
from lull.domain.governor.law import Zone
from lull.domain.governor.objective import Objective
from lull.domain.governor.status import Note, OrderRequest, Orders


def knows_its_base(status: Any) -> bool:
    return {"read-p90", "write-p90"} <= status.base_ms.keys()


def signal(status: Any, name: str) -> Any:
    return next(row for row in status.signals if row.name == name)


def test_it_learns_what_is_normal_and_publishes_an_open_gate_while_nobody_works(bench: Any):
    governor = bench.governor()
    status = bench.until(governor, knows_its_base)
    assert (status.zone, status.is_open, bench.budget.is_open) == (Zone.IDLE, True, True)
    assert {"queue", "tickets", "dirty-cache", "flow-control", "lag"} <= {
        row.name for row in status.signals if row.observed is not None
    }


def test_its_sequence_moves_though_nothing_changes(bench: Any):
    """Workers take a sequence that stands still for two seconds for silence."""
    governor = bench.governor()
    bench.until(governor, knows_its_base)
    before = bench.budget.sequence
    bench.until(governor, lambda _: bench.budget.sequence > before)


def test_a_later_governor_takes_over_and_the_earlier_one_says_nothing_more(bench: Any):
    earlier = bench.governor()
    bench.until(earlier, lambda _: True)
    later = bench.governor()
    bench.until(later, lambda _: True)
    fence = bench.budget.fence
    with pytest.raises(FenceLost, match="overtaken"):
        bench.until(earlier, lambda _: False)
    assert bench.budget.fence == fence


def test_it_hears_of_slices_and_divides_the_budget_by_weight(bench: Any, load: Any):
    load(200)
    bench.job("heavy", weight=3.0)
    bench.job("light", weight=1.0)
    governor = bench.governor()

    def both(status: Any) -> bool:
        bench.account("heavy", slices=2)
        bench.account("light", slices=2)
        return len(status.jobs) == 2 and {row.weight for row in status.jobs} == {1.0, 3.0} and status.duty < 4

    status = bench.until(governor, both)
    shares = {row.job: row.share for row in status.jobs}
    assert sum(shares.values()) == pytest.approx(status.duty, rel=0.01)
    assert shares["heavy"] / shares["light"] == pytest.approx(3, rel=0.05)


def test_beside_no_foreground_jobs_are_not_limited(bench: Any):
    governor = bench.governor()
    status = bench.until(governor, lambda seen: seen.zone is Zone.QUIET, slices=2)
    assert status.duty == 2
    assert bench.budget.floor == 1.0


def test_a_foreground_ends_the_quiet(bench: Any, load: Any):
    governor = bench.governor()
    bench.until(governor, lambda seen: seen.zone is Zone.QUIET, slices=2)
    load(300)
    status = bench.until(governor, lambda seen: seen.zone not in {Zone.QUIET, Zone.IDLE}, slices=2)
    assert status.foreground_ops > 25
    assert bench.budget.hold_ms < 20


def test_a_worker_that_is_not_heard_any_more_has_no_slices(bench: Any):
    governor = bench.governor()
    bench.until(governor, lambda seen: len(seen.jobs) == 1, slices=1)
    assert bench.until(governor, lambda seen: not seen.jobs).zone is Zone.IDLE


def test_an_order_to_shut_shuts_says_who_and_why_and_ends_by_itself(bench: Any, now: datetime):
    governor = bench.governor()
    bench.until(governor, knows_its_base)
    note = Note(who="ann", why="incident", at=now, until=now + timedelta(seconds=3))
    bench.order(shut=True, shut_note=note)
    status = bench.until(governor, lambda seen: not seen.is_open, slices=1)
    assert status.reason == "shut by ann: incident"
    assert bench.budget.label == "shut by an operator"
    bench.until(governor, lambda seen: seen.is_open, slices=1)


def test_a_line_written_by_hand_shuts_and_an_order_to_open_lifts_it(bench: Any):
    governor = bench.governor()
    bench.collection.update_one({"_id": ORDERS_ID}, {"$set": {"shut_by_hand": True}}, upsert=True)
    bench.until(governor, lambda seen: not seen.is_open, slices=1)
    order(Store(bench.cluster), OrderRequest(cluster="main", orders=Orders(epoch=1)))
    bench.until(governor, lambda seen: seen.is_open, slices=1)


def test_orders_never_replace_those_of_another_workflow_unread(bench: Any):
    store = Store(bench.cluster)
    mine = Orders(epoch=2, shut=True)
    assert order(store, OrderRequest(cluster="main", orders=mine)) is None
    assert order(store, OrderRequest(cluster="main", orders=mine)) is None  # tried again
    for theirs in (Orders(epoch=1), Orders(epoch=2, mode=Mode.OBSERVE)):  # of another workflow
        assert order(store, OrderRequest(cluster="main", orders=theirs)) == mine
    assert bench.collection.find_one({"_id": ORDERS_ID})["orders"]["shut"] is True


def test_observing_is_published(bench: Any):
    bench.order(mode=Mode.OBSERVE)
    governor = bench.governor()
    bench.until(governor, lambda seen: seen.mode is Mode.OBSERVE)
    assert bench.budget.mode is Mode.OBSERVE


def test_the_strictest_objective_of_profile_operators_and_running_jobs_holds(make_bench: Any, mongo_uri: str):
    bench = make_bench(mongo_uri, foreground={"read_p99": "50ms", "inflation": 1.5})
    bench.job("work", foreground={"read_p99": "20ms"})
    bench.order(limits=Objective(inflation=1.1))
    governor = bench.governor()
    status = bench.until(governor, lambda seen: seen.objective.read_p99 == 20, slices=1)
    assert status.inflation == 1.1


def test_an_objective_that_cannot_be_met_stops_jobs_and_says_which(make_bench: Any, mongo_uri: str, load: Any):
    load(200)
    bench = make_bench(mongo_uri, foreground={"write_p99": 0.001})
    governor = bench.governor()
    status = bench.until(governor, lambda seen: seen.zone is Zone.STOP and "write-p99" in seen.reason, slices=1)
    assert ">= 0.001 ms" in status.reason


def test_what_was_seen_and_decided_is_kept(bench: Any):
    governor = bench.governor()
    samples = bench.cluster.database("lull")[SAMPLES]
    bench.until(governor, lambda _: samples.find_one({"jobs.job": "work"}) is not None, slices=1)
    kept = samples.find_one({"jobs.job": "work"})
    assert {"zone", "reason", "duty", "signals", "canary", "jobs"} <= kept.keys()
    options = bench.cluster.database("lull").command("listCollections", filter={"name": SAMPLES})
    assert options["cursor"]["firstBatch"][0]["options"]["expireAfterSeconds"] == 30 * 86_400


def test_a_blank_window_has_a_sample_of_its_own_however_short_it_is(bench: Any, load: Any):
    load(200)
    governor = bench.governor()
    samples = bench.cluster.database("lull")[SAMPLES]
    blank = {"zone": "blank", "phase": "off"}
    bench.until(governor, lambda _: samples.count_documents(blank) >= 2, slices=1)
    bench.until(governor, lambda seen: seen.zone is not Zone.BLANK, slices=1)
    begins, *_, ends = samples.find(blank).sort("at", 1)
    assert ends["canary"]["read"]["n"] > 0
    assert ends["canary"]["read"]["p50"] <= ends["canary"]["read"]["p95"] <= ends["canary"]["read"]["p99"]
    assert begins["at"] < ends["at"]


def test_documents_per_second_are_told_by_job(bench: Any):
    governor = bench.governor()

    def works(status: Any) -> bool:
        bench.account("work", docs=50)
        return any(row.docs_per_s > 0 for row in status.jobs)

    bench.until(governor, works)
    samples = bench.cluster.database("lull")[SAMPLES]
    bench.until(governor, lambda seen: works(seen) and samples.find_one({"jobs.docs_per_s": {"$gt": 0}}))


def test_what_was_learned_is_there_for_the_next_governor(bench: Any):
    governor = bench.governor()
    bench.until(governor, knows_its_base)
    governor.close()
    learned = bench.collection.find_one({"_id": LEARNED_ID})
    assert len(learned["read"]) >= 20
    assert bench.until(bench.governor(), lambda _: True).base_ms.keys() >= {"read-p90", "write-p90"}

"""The least roles: whole jobs run as a user who has only these, and each action is missed when it is gone."""

import json
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from pymongo.errors import OperationFailure
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from lull.activities import doctor_governor, mongo
from lull.activities.pages import Pages
from lull.activities.transforms import Transform
from lull.domain import roles
from lull.domain.config import ClusterProfile
from lull.domain.governor.budget import Mode
from lull.domain.lifecycle import Status
from lull.domain.slice import (
    CloseRequest,
    Directive,
    DoctorRequest,
    Outcome,
    PlanRequest,
    PublishRequest,
    SliceEnd,
    SliceTask,
    Verb,
)
from lull.embedded.mongod import ReplicaSet

PASSWORD = "only for this test"


@pytest.fixture(scope="session")
def secured_set(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicaSet]:
    """A replica set of one that demands a password."""
    with ReplicaSet(tmp_path_factory.mktemp("secured"), auth=True) as replica_set:
        yield replica_set


@pytest.fixture
def guarded(secured_set: ReplicaSet, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A world whose user has what the profile's role gives, and nothing else."""
    import uuid

    make = request.getfixturevalue("make_world")
    name = f"t{uuid.uuid4().hex[:10]}"
    profile = ClusterProfile(uri=secured_set.uri, namespaces=(f"{name}.c",), governor=Mode.OFF)
    with secured_set.client() as root:
        root.admin.command("createRole", name, **{k: v for k, v in roles.role(profile).items() if k != "createRole"})
        made = make(secured_set.add_user(name, PASSWORD, [name]), name=name, namespaces=profile.namespaces)
        made.root = root
        root[name].c.insert_many([{"_id": n, "n": n % 10} for n in range(50)])
        made.registry.add(Transform("t", lambda document: {"twice": 2 * document["n"]}))
        yield made
        made.clusters.close()
        root.admin.command("dropUser", name)
        root.admin.command("dropRole", name)
        root.drop_database(name)
        root.drop_database("lull")


def without(world: Any, action: str, *, database: str | None) -> None:
    """Take *action* away from the user's role, on one database or on the cluster (None)."""
    info = world.root.admin.command("rolesInfo", world.name, showPrivileges=True)["roles"][0]
    kept = []
    for privilege in info["privileges"]:
        if privilege["resource"].get("db") == database:
            privilege["actions"] = [each for each in privilege["actions"] if each != action]
        if privilege["actions"]:
            kept.append(privilege)
    assert kept != info["privileges"] or action
    world.root.admin.command("updateRole", world.name, privileges=kept)


async def life(world: Any, spec: Any) -> Outcome:
    """The whole job: planned, opened, paused, resumed, worked through, closed."""
    await world.planning.plan(PlanRequest(spec=spec))
    opened = await world.open(spec)
    ref = dict(world.ref(spec, opened.plan.incarnation))
    for epoch, verb in enumerate((Verb.PAUSE, Verb.RUN), start=1):
        directive = Directive(verb=verb, epoch=epoch, poison_max=100)
        await world.ledger.publish(PublishRequest(**ref, directive=directive, status=Status.RUNNING))
        await world.ledger.raise_fences(world.ref(spec, opened.plan.incarnation))
    pages = Pages(world.clusters, world.registry)
    for number in range(opened.plan.partitions):
        task = SliceTask(**ref, partition=number, epoch=2)
        report = await ActivityEnvironment().run(pages.run_slice, task)
        assert report.end is SliceEnd.DONE
    return await world.ledger.close(CloseRequest(**ref, status=Status.COMPLETED))


KINDS = {
    "update": {"filter": {"n": {"$lt": 5}}},
    "transform": {"transform": "t"},
    "purge": {"filter": {"n": {"$lt": 5}}},
}


@pytest.mark.parametrize("kind", sorted(KINDS))
async def test_a_whole_job_needs_no_more_than_its_role(guarded: Any, kind: str):
    spec = guarded.spec(kind, **KINDS[kind]) if kind != "purge" else guarded.spec(kind, everything=False, **KINDS[kind])
    outcome = await life(guarded, spec)
    assert outcome.status is Status.COMPLETED
    assert outcome.counts.changed == (50 if kind == "transform" else 25)


async def test_a_draining_purge_needs_no_more(guarded: Any):
    guarded.root[guarded.name].c.create_index("n")
    spec = guarded.spec("purge", everything=False, filter={"n": {"$lt": 2}})
    outcome = await life(guarded, spec)
    assert outcome.counts.changed == 10


async def test_a_poison_document_is_recorded_with_no_more(guarded: Any):
    guarded.root[guarded.name].c.update_one({"_id": 7}, {"$set": {"n": "text"}})
    outcome = await life(guarded, guarded.spec(update={"$inc": {"n": 1}}))
    assert (outcome.counts.changed, outcome.counts.quarantined) == (49, 1)


async def test_a_job_is_started_over_with_no_more(guarded: Any):
    """Killing the sessions of a predecessor needs no privilege: they are the user's own."""
    spec = guarded.spec()
    await guarded.open(spec)
    with guarded.client.start_session(causal_consistency=False) as session:
        guarded.store.partitions.update_one(
            {"job": spec.job}, {"$set": {"status": "running", "session": session.session_id["id"]}}
        )
        session.start_transaction()
        guarded.store.partitions.update_one({"job": spec.job}, {"$set": {"counts.pages": 1}}, session=session)
        assert (await guarded.open(spec, run="run-2", again=True)).plan.incarnation == 2
        with pytest.raises(OperationFailure):
            session.commit_transaction()


NEEDED = [
    *[("lull", action) for action in sorted(roles.LEDGER_ACTIONS - {"listIndexes"})],
    *[("source", action) for action in ("find", "update", "collStats", "listIndexes", "listCollections")],
]


@pytest.mark.parametrize(("where", "action"), NEEDED)
async def test_a_job_without_an_action_fails_with_the_remedy(guarded: Any, where: str, action: str):
    """So every action of the role is needed: none of them is there by habit."""
    without(guarded, action, database="lull" if where == "lull" else guarded.name)
    with pytest.raises(ApplicationError) as caught:
        await life(guarded, guarded.spec())
    assert caught.value.type == "OperatorError"
    assert "lull doctor --print-roles" in str(caught.value)


async def test_a_ledger_whose_indexes_may_not_be_listed_is_shown_by_the_doctor(guarded: Any):
    without(guarded, "listIndexes", database="lull")
    await guarded.open(guarded.spec())
    checks = {c.name: c for c in (await guarded.planning.doctor(DoctorRequest(cluster="main"))).checks}
    assert not checks["main: ledger"].ok
    assert "lull doctor --print-roles" in checks["main: ledger"].seen


async def test_a_purge_without_remove_fails_with_the_remedy(guarded: Any):
    without(guarded, "remove", database=guarded.name)
    with pytest.raises(ApplicationError, match="lull doctor --print-roles"):
        await life(guarded, guarded.spec("purge"))


@pytest.mark.parametrize(
    ("action", "loss"),
    [
        ("splitVector", "partitions are cut by a sample"),
        ("getParameter", "featureCompatibilityVersion is not checked"),
        ("serverStatus", "the governor sees neither queues"),
        ("replSetGetStatus", "one secondary that is behind"),
    ],
)
async def test_without_an_optional_action_the_job_runs_and_the_doctor_says_what_is_lost(
    guarded: Any, action: str, loss: str
):
    without(guarded, action, database=guarded.name if action == "splitVector" else None)
    assert (await life(guarded, guarded.spec())).status is Status.COMPLETED
    checks = {c.name: c for c in (await guarded.planning.doctor(DoctorRequest(cluster="main"))).checks}
    assert checks["main: privileges"].ok
    assert loss in checks["main: privileges"].seen


class TestDoctor:
    async def checks(self, world: Any) -> Any:
        report = await world.planning.doctor(DoctorRequest())
        return {check.name.removeprefix("main: "): check for check in report.checks}

    async def test_everything_is_right_with_the_least_role(self, guarded: Any):
        await guarded.open(guarded.spec())
        checks = await self.checks(guarded)
        assert {name: check.seen for name, check in checks.items() if not check.ok} == {}
        assert checks["privileges"].seen == "all that is needed"
        assert checks["ledger"].seen == "complete"
        assert "spans" in checks["oplog"].seen
        assert f"as {guarded.name}" in checks["reachable"].seen

    async def test_a_missing_privilege_is_named_with_its_place(self, guarded: Any):
        without(guarded, "update", database=guarded.name)
        check = (await self.checks(guarded))["privileges"]
        assert (check.ok, check.seen) == (False, f"no update on {guarded.name}.c")
        assert "--print-roles" in check.remedy

    async def test_a_wrong_password_is_told_without_it(self, secured_set: ReplicaSet, make_world: Any):
        world = make_world(secured_set.uri_for("nobody", "geheim"))
        checks = await self.checks(world)
        world.clusters.close()
        assert not checks["reachable"].ok
        assert "geheim" not in str(checks)

    async def test_root_lacks_nothing(self, secured_set: ReplicaSet, make_world: Any):
        world = make_world(secured_set.uri)
        check = (await self.checks(world))["privileges"]
        world.clusters.close()
        assert check.ok

    async def test_indexes_that_were_dropped_are_missed(self, world: Any, monkeypatch: pytest.MonkeyPatch):
        from lull.activities import store

        for module in (mongo, store):
            monkeypatch.setattr(module, "LEDGER_DATABASE", world.name)
        assert (await self.checks(world))["ledger"].seen == "not there yet; the first job makes it"
        store._create(world.cluster)
        world.database.partitions.drop_index("retention")
        check = (await self.checks(world))["ledger"]
        assert (check.ok, check.seen) == (False, "missing: partitions.retention")

    async def test_a_server_that_is_away_is_one_line(self, make_world: Any, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(mongo, "SERVER_SELECTION_TIMEOUT_MS", 100)
        world = make_world("mongodb://127.0.0.1:1/")
        checks = await self.checks(world)
        world.clusters.close()
        assert list(checks) == ["worker: transforms", "reachable"]
        assert not checks["reachable"].ok

    async def test_an_unknown_profile_is_the_operators_error(self, world: Any):
        with pytest.raises(ApplicationError, match="no cluster profile 'x'"):
            await world.planning.doctor(DoctorRequest(cluster="x"))

    async def test_registered_transforms_are_listed(self, world: Any):
        world.registry.add(Transform("team.purpose", lambda _: {}))
        assert (await self.checks(world))["worker: transforms"].seen == "team.purpose"


def test_the_printed_script_is_what_the_tests_ran_with():
    """The script's document is the role that was created above, in JSON that mongosh reads."""
    profile = ClusterProfile(uri="mongodb://localhost", namespaces=("nyc.flights",))
    printed = roles.script({"main": profile})
    match = re.search(r"createRole\((\{.*?\})\);", printed, re.DOTALL)
    assert match is not None
    document = json.loads(match[1])
    assert document == {"role": roles.ROLE, **{k: v for k, v in roles.role(profile).items() if k != "createRole"}}


def ticked(world: Any, ticks: int = 30) -> Any:
    """What the world's governor has seen after some ticks."""
    from lull.activities.governing.governor import Governor

    governor = Governor(world.cluster)
    governor.start()
    try:
        for _ in range(ticks):
            governor.tick()
            threading.Event().wait(0.1)
        return governor.status
    finally:
        governor.close()


def signal(status: Any, name: str) -> Any:
    return next(row for row in status.signals if row.name == name)


def test_a_governor_needs_no_more_than_the_workers_role(guarded: Any):
    status = ticked(guarded)
    assert {"queue", "tickets", "dirty-cache", "lag"} <= {
        row.name for row in status.signals if row.observed is not None
    }
    assert {"read-p90", "write-p90"} <= status.base_ms.keys()
    assert guarded.root.lull.samples.count_documents({}) >= 1


def test_the_doctor_examines_a_governor_with_no_more_than_the_workers_role(guarded: Any):
    ticked(guarded)
    for name in ("governor's canary", "governor's samples"):
        ok, seen, _ = doctor_governor.CHECKS[name](guarded.cluster)
        assert ok, seen
    _, seen, _ = doctor_governor.CHECKS["governor's word"](guarded.cluster)
    assert seen.startswith("silent; the last word is ")


def test_without_server_status_the_governor_goes_on_by_its_canary_and_says_what_to_grant(guarded: Any):
    without(guarded, "serverStatus", database=None)
    status = ticked(guarded)
    assert status.is_open
    for name in ("queue", "tickets", "dirty-cache", "flow-control", "oplog-window"):
        assert signal(status, name).observed is None
        assert "serverStatus" in signal(status, name).note
    assert signal(status, "lag").observed is not None
    assert {"read-p90", "write-p90"} <= status.base_ms.keys()


def test_an_application_reports_with_no_more_than_the_reporters_role(
    guarded: Any, secured_set: ReplicaSet, monkeypatch: pytest.MonkeyPatch
):
    from lull.activities import foreground

    monkeypatch.setattr(foreground, "EVERY_SECONDS", 0.05)
    guarded.root.admin.command("createRole", roles.REPORTER_ROLE, privileges=list(roles.REPORTER_PRIVILEGES), roles=[])
    uri = secured_set.add_user("reporter", PASSWORD, [roles.REPORTER_ROLE])
    reporter = foreground.ForegroundReporter(uri, application="shop")
    try:
        with secured_set.client(event_listeners=[reporter]) as client:
            client[guarded.name].c.find_one({})
            for _ in range(500):
                if guarded.root.lull.foreground.find_one({"application": "shop"}):
                    return
                threading.Event().wait(0.01)
        pytest.fail("no report was written")
    finally:
        reporter.close()
        guarded.root.admin.command("dropUser", "reporter")
        guarded.root.admin.command("dropRole", roles.REPORTER_ROLE)

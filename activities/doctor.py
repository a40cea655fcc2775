"""Examines clusters for ``lull doctor``: each check says what was seen and, if it is not right, what to do."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from pymongo.errors import PyMongoError

from lull.activities import doctor_governor, sources
from lull.activities.mongo import Cluster, Clusters, describe, world_errors
from lull.activities.store import JOBS, missing_from_ledger
from lull.activities.transforms import Registry
from lull.domain import roles
from lull.domain.errors import LullError
from lull.domain.governor.budget import Mode
from lull.domain.job import Topology
from lull.domain.slice import Check, DoctorReport

SKEW_MAX = timedelta(seconds=5)
"""Expiry dates are written by workers' clocks and read by the server's."""


def examine(clusters: Clusters, registry: Registry, name: str) -> DoctorReport:
    """Return the checks of one cluster profile, or of all for an empty *name*. Raises OperatorError if it is unknown."""
    chosen = [clusters.get(name)] if name else [clusters.get(each) for each in clusters.names]
    checks = [_transforms(registry)]
    for cluster in chosen:
        checks += _cluster(cluster)
    governed = tuple(cluster.name for cluster in chosen if cluster.profile.governor is not Mode.OFF)
    return DoctorReport(checks=tuple(checks), governed=governed)


def _transforms(registry: Registry) -> Check:
    seen = ", ".join(registry) or "none; transform jobs need --load MODULE"
    return Check(name="worker: transforms", ok=True, seen=seen)


def _cluster(cluster: Cluster) -> Iterator[Check]:
    reachable = _checked(cluster, "reachable", _reachable)
    yield reachable
    if reachable.ok:
        looks = _CHECKS if cluster.profile.governor is Mode.OFF else _CHECKS | doctor_governor.CHECKS
        for name, look in looks.items():
            yield _checked(cluster, name, look)


Look = Callable[[Cluster], tuple[bool, str, str]]
"""Returns: is it right, what was seen, what to do otherwise."""


def _checked(cluster: Cluster, name: str, look: Look) -> Check:
    try:
        ok, seen, remedy = look(cluster)
    except LullError as error:
        # "It is tried again" is true of activities, not of a check.
        ok, seen, remedy = (
            False,
            str(error).removesuffix("; it is tried again until it answers"),
            _REMEDIES.get(name, ""),
        )
    except PyMongoError as error:
        ok, seen, remedy = False, describe(error), _REMEDIES.get(name, "")
    return Check(name=f"{cluster.name}: {name}", ok=ok, seen=seen, remedy="" if ok else remedy)


def _reachable(cluster: Cluster) -> tuple[bool, str, str]:
    hello = cluster.hello()
    # hello answers to anybody; what a user may do is known once he has logged in.
    with world_errors(f"cluster {cluster.name}"):
        users = cluster.client.admin.command("connectionStatus")["authInfo"]["authenticatedUsers"]
    who = f" as {users[0]['user']}" if users else ", without authentication"
    return True, f"{hello.get('me') or hello.get('msg') or 'it answers'}{who}", ""


def _version(cluster: Cluster) -> tuple[bool, str, str]:
    compatible = sources.feature_compatibility_version(cluster)
    sources.require_supported_server(cluster)
    told = f"featureCompatibilityVersion {compatible}" if compatible else "featureCompatibilityVersion not told"
    return True, f"MongoDB {sources.version(cluster)}, {told}", ""


def _topology(cluster: Cluster) -> tuple[bool, str, str]:
    if cluster.topology is Topology.REPLICA_SET:
        hello = cluster.hello()
        return True, f"replica set {hello['setName']}, {len(hello.get('hosts', []))} members", ""
    remedy = {
        Topology.STANDALONE: "make it a replica set (one member is enough): a standalone server has no transactions",
        Topology.SHARDED: "jobs need accept: [sharded]; lull is not proven on sharded clusters",
    }[cluster.topology]
    return False, str(cluster.topology), remedy


def _transactions(cluster: Cluster) -> tuple[bool, str, str]:
    with (
        world_errors("a transaction on the ledger"),
        cluster.client.start_session() as session,
        session.start_transaction(),
    ):
        cluster.client.get_database("lull").get_collection(JOBS).find_one({}, {"_id": 1}, session=session)
    return True, "a transaction on the ledger was committed", ""


def _ledger(cluster: Cluster) -> tuple[bool, str, str]:
    with world_errors("the ledger"):
        missing = missing_from_ledger(cluster)
    if JOBS in missing:
        return True, "not there yet; the first job makes it", ""
    return (
        not missing,
        f"missing: {', '.join(missing)}" if missing else "complete",
        "restart a worker and start any job",
    )


def _privileges(cluster: Cluster) -> tuple[bool, str, str]:
    with world_errors(f"cluster {cluster.name}"):
        found = cluster.client.admin.command("connectionStatus", showPrivileges=True)["authInfo"]
    if not found["authenticatedUsers"]:
        return True, "authentication is off: anybody may do anything", ""
    granted = [
        roles.Privilege(each["resource"], frozenset(each["actions"])) for each in found["authenticatedUserPrivileges"]
    ]
    lacks = roles.missing(roles.privileges(cluster.profile), granted)
    needed = [(p.resource, sorted(p.actions - roles.OPTIONAL_ACTIONS.keys())) for p in lacks]
    if any(actions for _, actions in needed):
        seen = "; ".join(f"no {', '.join(actions)} on {_resource(resource)}" for resource, actions in needed if actions)
        return False, seen, "grant what `lull doctor --print-roles` prints"
    losses = sorted({f"without {a}, {roles.OPTIONAL_ACTIONS[a]}" for p in lacks for a in p.actions})
    return True, "; ".join(["all that is needed", *losses]), ""


def _resource(resource: object) -> str:
    if not isinstance(resource, dict) or "db" not in resource:
        return "the cluster"
    return f"{resource['db'] or '*'}.{resource['collection'] or '*'}"


def _oplog(cluster: Cluster) -> tuple[bool, str, str]:
    if cluster.topology is not Topology.REPLICA_SET:
        return True, "not measured: no replica set behind this address", ""
    try:
        found = cluster.client.admin.command({"serverStatus": 1, "oplog": 1, **_OPLOG_ONLY})["oplog"]
        span = found["latestOptime"].time - found["earliestOptime"].time
    except (PyMongoError, KeyError, AttributeError) as error:
        return True, f"not measured ({describe(error)})", ""
    return True, f"spans {span / 3600:.1f} h; what jobs write shortens it for every change stream", ""


_OPLOG_ONLY = dict.fromkeys(("metrics", "wiredTiger", "tcmalloc", "repl", "locks", "transactions"), 0)
"""Sections of serverStatus that are long and not asked for."""


def _clock(cluster: Cluster) -> tuple[bool, str, str]:
    before = datetime.now(UTC)
    theirs = cluster.hello()["localTime"].replace(tzinfo=UTC)
    after = datetime.now(UTC)
    # Within the round trip any difference may be the network's.
    skew = max(before - theirs, theirs - after, timedelta(0))
    return skew <= SKEW_MAX, f"differs by {skew.total_seconds():.1f} s from this worker's", "synchronise both with NTP"


_CHECKS: dict[str, Look] = {
    "version": _version,
    "topology": _topology,
    "transactions": _transactions,
    "ledger": _ledger,
    "privileges": _privileges,
    "oplog": _oplog,
    "clock": _clock,
}
_REMEDIES = {
    "reachable": "check the address, the user and the network between this worker and the cluster",
    "version": "upgrade the cluster to MongoDB 6.0 or newer",
    "transactions": "make it a replica set (one member is enough), with roles from `lull doctor --print-roles`",
    **dict.fromkeys(doctor_governor.CHECKS, "grant what `lull doctor --print-roles` prints"),
}

"""
The least a worker's MongoDB user must be allowed, as data: what ``lull doctor --print-roles`` prints.

A test runs whole jobs as a user with exactly this role, and takes each action away in turn.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from lull.domain.config import ClusterProfile
from lull.domain.kinds import KINDS

ROLE = "lullWorker"
REPORTER_ROLE = "lullForeground"
"""Of an application that reports what it feels: it may write its report, and nothing else of lull's."""
LEDGER_ACTIONS = frozenset({"find", "insert", "update", "createIndex", "listCollections", "listIndexes"})
"""Collections are created by ``insert``'s own right; nothing is removed: what is old expires."""
SOURCE_ACTIONS = frozenset({"find", "collStats", "listIndexes", "splitVector"})
"""On what jobs read; the kinds add what they write with."""
OPTIONAL_ACTIONS: dict[str, str] = {
    "splitVector": "partitions are cut by a sample of _id instead of by the index",
    "getParameter": "featureCompatibilityVersion is not checked",
    "serverStatus": "the governor sees neither queues, tickets, dirty cache, flow control nor the oplog's window",
    "replSetGetStatus": "the governor does not see one secondary that is behind, only the majority commit point",
}
"""What is lost without an action; every other one is needed."""

REPORTER_PRIVILEGES: tuple[dict[str, Any], ...] = (
    {"resource": {"db": "lull", "collection": "foreground"}, "actions": ["insert", "update"]},
)

WHOLE_CLUSTER: dict[str, Any] = {"cluster": True}


class Privilege(NamedTuple):
    """Actions on one resource, in MongoDB's own words."""

    resource: Mapping[str, Any]
    actions: frozenset[str]

    @property
    def document(self) -> dict[str, Any]:
        """As ``createRole`` takes it."""
        return {"resource": dict(self.resource), "actions": sorted(self.actions)}


def privileges(profile: ClusterProfile) -> list[Privilege]:
    """Return what a worker needs to run the jobs that *profile* allows."""
    written = {action for kind in profile.kinds or KINDS if kind in KINDS for action in KINDS[kind].actions}
    needed = [Privilege({"db": "lull", "collection": ""}, LEDGER_ACTIONS)]
    for pattern in profile.namespaces:
        database, collection = _resource_names(pattern)
        needed.append(Privilege({"db": database, "collection": collection}, SOURCE_ACTIONS | written))
        needed.append(Privilege({"db": database, "collection": ""}, frozenset({"listCollections"})))
    needed.append(Privilege(WHOLE_CLUSTER, frozenset({"getParameter", "replSetGetStatus", "serverStatus"})))
    return _merged(needed)


def _resource_names(pattern: str) -> tuple[str, str]:
    """Return the narrowest resource that covers a pattern: MongoDB knows one name, or all ("")."""
    database, _, collection = pattern.partition(".")
    return tuple("" if "*" in name else name for name in (database, collection))  # type: ignore[return-value]


def _merged(needed: Iterable[Privilege]) -> list[Privilege]:
    by_resource: dict[str, Privilege] = {}
    for privilege in needed:
        key = json.dumps(privilege.resource, sort_keys=True)
        before = by_resource.get(key)
        by_resource[key] = Privilege(
            privilege.resource, privilege.actions | (before.actions if before else frozenset())
        )
    return list(by_resource.values())


def missing(needed: Iterable[Privilege], granted: Sequence[Privilege]) -> list[Privilege]:
    """Return what of *needed* is not covered by *granted*."""
    lacks = (
        Privilege(
            privilege.resource, frozenset(a for a in privilege.actions if not _allows(granted, privilege.resource, a))
        )
        for privilege in needed
    )
    return [privilege for privilege in lacks if privilege.actions]


def _allows(granted: Iterable[Privilege], resource: Mapping[str, Any], action: str) -> bool:
    return any(action in privilege.actions and _covers(privilege.resource, resource) for privilege in granted)


def _covers(granted: Mapping[str, Any], needed: Mapping[str, Any]) -> bool:
    if granted.get("anyResource"):
        return True
    if "cluster" in needed or "db" not in granted:
        return bool(granted.get("cluster")) and "cluster" in needed
    return all(granted[part] in ("", needed[part]) for part in ("db", "collection"))


def role(profile: ClusterProfile) -> dict[str, Any]:
    """Return the argument of ``createRole`` for a worker with this profile."""
    return {
        "createRole": ROLE,
        "privileges": [privilege.document for privilege in privileges(profile)],
        "roles": [],
    }


def script(profiles: Mapping[str, ClusterProfile]) -> str:
    """Return what to paste into mongosh, one part per cluster profile."""
    return "\n".join(_script(name, profile) for name, profile in sorted(profiles.items()))


def _script(name: str, profile: ClusterProfile) -> str:
    lines = [f"// Cluster profile {name}: jobs on {', '.join(profile.namespaces)}."]
    lines += [f"// Without {action}: {loss}." for action, loss in OPTIONAL_ACTIONS.items()]
    lines += [
        f"// {pattern} is wider as a privilege than as a pattern: MongoDB grants one collection, or all."
        for pattern in profile.namespaces
        if _is_widened(pattern)
    ]
    reporter = {"role": REPORTER_ROLE, "privileges": list(REPORTER_PRIVILEGES), "roles": []}
    document = {"role": ROLE, **{key: value for key, value in role(profile).items() if key != "createRole"}}
    lines += [
        f'db.getSiblingDB("admin").createRole({json.dumps(document, indent=2)});',
        f'db.getSiblingDB("admin").createUser({{user: "lull", pwd: passwordPrompt(), roles: ["{ROLE}"]}});',
        "// For applications that report what they feel (from lull import ForegroundReporter): grant it to their users.",
        f'db.getSiblingDB("admin").createRole({json.dumps(reporter, indent=2)});',
    ]
    return "\n".join(lines) + "\n"


def _is_widened(pattern: str) -> bool:
    database, _, collection = pattern.partition(".")
    return any(name != "*" and "*" in name for name in (database, collection))

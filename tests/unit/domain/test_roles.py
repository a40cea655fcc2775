import pytest

from lull.domain import roles
from lull.domain.config import ClusterProfile
from lull.domain.roles import Privilege


def profile(*namespaces: str, kinds: tuple[str, ...] = ()) -> ClusterProfile:
    return ClusterProfile(uri="mongodb://localhost", namespaces=namespaces, kinds=kinds)


def on(found: list[Privilege], database: str, collection: str) -> frozenset[str]:
    return next(
        (p.actions for p in found if p.resource == {"db": database, "collection": collection}), frozenset[str]()
    )


@pytest.mark.parametrize(
    ("pattern", "resource"),
    [
        ("nyc.flights", ("nyc", "flights")),
        ("nyc.*", ("nyc", "")),
        ("nyc.fl*", ("nyc", "")),
        ("*.flights", ("", "flights")),
        ("*.*", ("", "")),
        ("nyc.a.b", ("nyc", "a.b")),
    ],
)
def test_a_pattern_becomes_the_narrowest_resource_there_is(pattern: str, resource: tuple[str, str]):
    assert on(roles.privileges(profile(pattern)), *resource) >= {"find", "update", "remove"}


def test_a_profile_without_purge_removes_nothing():
    found = roles.privileges(profile("nyc.flights", kinds=("update",)))
    assert "remove" not in on(found, "nyc", "flights")
    assert "update" in on(found, "nyc", "flights")


def test_nothing_on_a_source_is_inserted_or_dropped():
    actions = on(roles.privileges(profile("*.*")), "", "")
    assert not actions & {"insert", "dropCollection", "createIndex", "dropDatabase", "bypassDocumentValidation"}


def test_a_pattern_that_grants_more_than_it_says_is_pointed_out():
    assert "nyc.fl* is wider as a privilege" in roles.script({"main": profile("nyc.fl*", "nyc.other")})
    assert "wider" not in roles.script({"main": profile("nyc.flights", "nyc.*")})


NEEDED = [Privilege({"db": "nyc", "collection": "flights"}, frozenset({"find", "update"}))]


@pytest.mark.parametrize(
    "resource",
    [
        {"db": "nyc", "collection": "flights"},
        {"db": "nyc", "collection": ""},
        {"db": "", "collection": "flights"},
        {"db": "", "collection": ""},
        {"anyResource": True},
    ],
)
def test_a_wider_grant_covers_a_narrower_need(resource: dict[str, object]):
    assert roles.missing(NEEDED, [Privilege(resource, frozenset({"find", "update", "remove"}))]) == []


@pytest.mark.parametrize(
    "resource", [{"db": "nyc", "collection": "other"}, {"db": "other", "collection": ""}, {"cluster": True}]
)
def test_a_grant_elsewhere_covers_nothing(resource: dict[str, object]):
    assert roles.missing(NEEDED, [Privilege(resource, frozenset({"find", "update"}))]) == NEEDED


def test_what_is_missing_is_told_action_by_action():
    granted = [Privilege({"db": "nyc", "collection": ""}, frozenset({"find"}))]
    assert roles.missing(NEEDED, granted) == [Privilege(NEEDED[0].resource, frozenset({"update"}))]


def test_a_need_on_the_cluster_is_met_on_the_cluster_alone():
    need = [Privilege(roles.WHOLE_CLUSTER, frozenset({"serverStatus"}))]
    assert roles.missing(need, [Privilege({"cluster": True}, frozenset({"serverStatus"}))]) == []
    assert roles.missing(need, [Privilege({"db": "", "collection": ""}, frozenset({"serverStatus"}))]) == need

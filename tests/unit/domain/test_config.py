"""Profiles decide what may run where; what is wrong in lull.toml is said when it is read."""

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from lull.domain.config import ClusterProfile, TelemetryConfig, TemporalConfig, WorkerConfig, profile_of
from lull.domain.errors import OperatorError
from lull.domain.job import JobSpec

MakeSpec = Callable[..., JobSpec]

URI = "mongodb://worker:s3cret@db.example:27017/?replicaSet=rs"


def profile(**fields: Any) -> ClusterProfile:
    return ClusterProfile(uri=SecretStr(URI), **fields)


def allows(namespaces: tuple[str, ...], database: str, collection: str, make_spec: MakeSpec) -> bool:
    spec = make_spec(source={"database": database, "collection": collection})
    try:
        profile(namespaces=namespaces).check("main", spec)
    except OperatorError:
        return False
    return True


@pytest.mark.parametrize(
    ("pattern", "database", "collection"),
    [
        ("*.*", "nyc", "flights"),
        ("*.*", "nyc", "flights.2013"),
        ("nyc.*", "nyc", "flights.2013"),
        ("nyc.flights", "nyc", "flights"),
        ("ny*.fl*s", "nyc", "flights"),
        ("*.flights.*", "nyc", "flights.2013"),
        ("nyc.a[1]?", "nyc", "a[1]?"),
        ("nyc.*", "nyc", "two\nlines"),
        ("n**c.*", "nyc", "flights"),
    ],
)
def test_a_profile_allows_what_its_patterns_name(make_spec: MakeSpec, pattern: str, database: str, collection: str):
    assert allows((pattern,), database, collection, make_spec)
    assert allows(("other.x", pattern), database, collection, make_spec)


@pytest.mark.parametrize(
    ("pattern", "database", "collection"),
    [
        ("nyc.flights", "nyc", "flights2"),
        ("nyc.flights", "nyc", "flights.2013"),
        ("nyc.flights", "nyc2", "flights"),
        ("nyc.flights", "NYC", "flights"),
        ("ny?.flights", "nyc", "flights"),  # only the star is a pattern
        ("nyc.[a-z]*", "nyc", "flights"),
        ("nyc.fl.ghts", "nyc", "flights"),
        ("prod*.orders", "production", "secret.orders"),  # the database's star ends where its name ends
        ("*.orders", "nyc", "old.orders"),
    ],
)
def test_a_profile_allows_nothing_that_its_patterns_do_not_name(
    make_spec: MakeSpec, pattern: str, database: str, collection: str
):
    assert not allows((pattern,), database, collection, make_spec)


def test_a_refused_namespace_is_told_with_what_is_allowed_and_who_can_change_it(make_spec: MakeSpec):
    with pytest.raises(OperatorError) as caught:
        profile(namespaces=("shop.*", "crm.people")).check("main", make_spec())
    assert str(caught.value) == (
        "profile 'main' does not allow nyc.flights; it allows shop.*, crm.people; "
        "the workers' operator can add it to namespaces in lull.toml"
    )


def test_a_refused_kind_is_told_with_those_allowed(make_spec: MakeSpec):
    with pytest.raises(OperatorError, match="profile 'main' does not allow purge jobs; it allows update, transform"):
        profile(kinds=("update", "transform")).check("main", make_spec("purge"))
    profile(kinds=("purge",)).check("main", make_spec("purge"))


def test_without_a_list_every_kind_and_every_ordinary_namespace_may_run(make_spec: MakeSpec):
    for kind in ("update", "transform", "purge"):
        profile().check("main", make_spec(kind))


@pytest.mark.parametrize("pattern", ["flights", "", ".", "nyc.", ".flights", "*", "a b.c", "nyc.fl ights"])
def test_a_pattern_that_names_no_namespace_is_refused(pattern: str):
    with pytest.raises(ValidationError, match="namespaces"):
        profile(namespaces=(pattern,))


@pytest.mark.parametrize("text", [str, repr, lambda value: value.model_dump_json()])
def test_credentials_are_in_no_writing_of_a_profile(text: Callable[[ClusterProfile], str]):
    assert "s3cret" not in text(profile())


def test_an_error_about_a_profile_does_not_repeat_its_credentials(make_spec: MakeSpec):
    with pytest.raises(ValidationError) as refused:
        ClusterProfile.model_validate({"uri": "postgres://worker:s3cret@db", "url": "mongodb://worker:s3cret@db"})
    with pytest.raises(OperatorError) as forbidden:
        profile(kinds=("update",)).check("main", make_spec("purge"))
    assert "s3cret" not in f"{refused.value} {forbidden.value}"


def test_an_unknown_profile_is_told_with_those_there_are():
    with pytest.raises(OperatorError, match=r"no cluster profile 'mian'; it has: main, other; add \[clusters.mian\]"):
        profile_of({"other": profile(), "main": profile()}, "mian")
    with pytest.raises(OperatorError, match="it has: none"):
        profile_of({}, "main")
    known = profile()
    assert profile_of({"main": known}, "main") is known


@pytest.mark.parametrize(
    ("model", "fields", "field"),
    [
        (WorkerConfig, {"slots": 0}, "slots"),
        (WorkerConfig, {"slots": True}, "slots"),
        (WorkerConfig, {"critical_slots": 51}, "critical_slots"),
        (WorkerConfig, {"grace_s": 0.5}, "grace_s"),
        (WorkerConfig, {"grace_s": float("inf")}, "grace_s"),
        (WorkerConfig, {"slot": 3}, "slot"),
        (TemporalConfig, {"adress": "x"}, "adress"),
        (TelemetryConfig, {"otlp_endpoint": "otel:4317"}, "otlp_endpoint"),
        (TelemetryConfig, {"service_name": ""}, "service_name"),
        (ClusterProfile, {"uri": URI, "name": "main"}, "name"),
        (ClusterProfile, {"uri": "localhost:27017"}, "uri"),
        (ClusterProfile, {}, "uri"),
    ],
)
def test_what_is_wrong_in_the_file_is_refused_by_its_field(model: type[Any], fields: dict[str, Any], field: str):
    with pytest.raises(ValidationError) as caught:
        model(**fields)
    assert [error["loc"] for error in caught.value.errors()] == [(field,)]


def test_everything_listens_and_looks_on_loopback_and_sends_nowhere_unless_told():
    assert TemporalConfig().address.startswith("127.0.0.1:")
    assert TelemetryConfig().otlp_endpoint == ""

"""What a run can promise on the topology it has."""

from collections.abc import Callable

import pytest

from lull.domain.errors import OperatorError
from lull.domain.guarantee import Promise, guarantee
from lull.domain.job import JobSpec, Topology
from lull.domain.kinds import KINDS

MakeSpec = Callable[..., JobSpec]

INCREMENT = {"update": {"$inc": {"n": 1}}}
ASSIGNMENT = {"update": {"$set": {"n": 1}}}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_replica_set_gives_every_kind_exactly_once(make_spec: MakeSpec, kind: str):
    given = guarantee(make_spec(kind), Topology.REPLICA_SET)
    assert given.promise is Promise.EXACTLY_ONCE
    assert "one majority transaction under the partition's fence" in given.why


def test_a_weaker_promise_that_was_accepted_is_not_given_where_the_stronger_one_holds(make_spec: MakeSpec):
    spec = make_spec(accept=["at_least_once", "sharded"], **INCREMENT)
    assert guarantee(spec, Topology.REPLICA_SET).promise is Promise.EXACTLY_ONCE


def test_a_standalone_server_refuses_what_would_be_wrong_when_applied_twice_and_says_both_ways_out(make_spec: MakeSpec):
    with pytest.raises(OperatorError) as caught:
        guarantee(make_spec(**INCREMENT), Topology.STANDALONE)
    assert "make it a replica set" in str(caught.value)
    assert "accept: [at_least_once]" in str(caught.value)
    assert "update n on the server is not idempotent" in str(caught.value)


def test_a_standalone_server_refuses_a_transform_because_nothing_is_known_of_a_function(make_spec: MakeSpec):
    with pytest.raises(OperatorError, match=r"transform with nyc\.speed is not idempotent"):
        guarantee(make_spec("transform"), Topology.STANDALONE)


@pytest.mark.parametrize("changes", [{**INCREMENT, "accept": ["at_least_once"]}, ASSIGNMENT, {"kind": "purge"}])
def test_a_standalone_server_gives_at_least_once_to_the_rest(make_spec: MakeSpec, changes: dict[str, object]):
    given = guarantee(make_spec(**changes), Topology.STANDALONE)
    assert given.promise is Promise.AT_LEAST_ONCE
    assert "may be applied again" in given.why


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_sharded_cluster_is_refused_until_it_is_accepted_and_then_labelled_as_unproven(
    make_spec: MakeSpec, kind: str
):
    with pytest.raises(OperatorError, match=r"main is a sharded cluster.*accept: \[sharded\]"):
        guarantee(make_spec(kind, accept=["at_least_once"]), Topology.SHARDED)
    assert "not proven" in guarantee(make_spec(kind, accept="sharded"), Topology.SHARDED).why


@pytest.mark.parametrize("topology", list(Topology))
def test_every_topology_has_an_answer_that_reads_as_one_sentence(make_spec: MakeSpec, topology: Topology):
    given = guarantee(make_spec("purge", accept=["sharded"]), topology)
    assert str(given) == f"{given.promise}: {given.why}"

"""What is decided about a job before anything is written."""

from typing import Any

import pytest
from pymongo import IndexModel
from temporalio.exceptions import ApplicationError

from lull.activities import mongo
from lull.domain.job import Walk
from lull.domain.slice import Plan, PlanRequest

DOCUMENTS = 1_000


@pytest.fixture
def documents(world: Any) -> None:
    """A tenth of the documents have a < 10."""
    world.database.c.insert_many([{"_id": n, "a": n % 100, "b": n, "l": [n, n + 1]} for n in range(DOCUMENTS)])


async def plan(world: Any, *arguments: Any, **fields: Any) -> Plan:
    return await world.planning.plan(PlanRequest(spec=world.spec(*arguments, **fields)))


async def refusal(world: Any, *arguments: Any, **fields: Any) -> str:
    with pytest.raises(ApplicationError) as caught:
        await plan(world, *arguments, **fields)
    assert caught.value.type == "OperatorError"
    return str(caught.value)


@pytest.mark.usefixtures("documents")
class TestWalks:
    async def test_a_purge_drains_the_index_of_its_filter(self, world: Any):
        world.database.c.create_index([("a", 1), ("b", -1)])
        found = await plan(world, "purge", filter={"a": {"$lt": 10}})
        assert (found.walk, found.index, found.partitions) == (Walk.DRAIN, "a_1_b_-1", 1)
        assert (found.documents, found.matching) == (100, 100)
        assert any("drains index a_1_b_-1" in note for note in found.notes)

    async def test_the_ledger_of_a_drain_names_the_index_and_has_no_bounds(self, world: Any):
        world.database.c.create_index([("a", 1), ("b", -1)])
        spec = world.spec("purge", filter={"a": {"$lt": 10}})
        await world.open(spec)
        assert world.store.job(spec.job)["walk_index"] == {"name": "a_1_b_-1", "keys": [["a", 1], ["b", -1]]}
        (partition,) = world.partitions(spec)
        assert (partition["after"], partition["upto"], partition["position"]) == (None, None, None)

    async def test_a_range_names_the_index_of_id(self, world: Any):
        spec = world.spec()
        await world.open(spec)
        assert world.store.job(spec.job)["walk_index"] == {"name": "_id_", "keys": [["_id", 1]]}

    async def test_a_purge_of_most_documents_reads_them_all_once(self, world: Any):
        world.database.c.create_index("a")
        found = await plan(world, "purge", filter={"a": {"$lt": 70}})
        assert (found.walk, found.documents) == (Walk.RANGE, DOCUMENTS)
        assert any("instead of draining index a_1" in note for note in found.notes)

    async def test_a_purge_without_filter_walks_id(self, world: Any):
        found = await plan(world, "purge")
        assert (found.walk, found.index, found.matching) == (Walk.RANGE, "_id", DOCUMENTS)

    async def test_a_missing_index_is_named_with_the_one_that_would_help(self, world: Any):
        found = await plan(world, "purge", filter={"b": {"$lt": 10}, "a": 3, "$or": [{"b": 1}, {"a": 3}]})
        assert found.walk is Walk.RANGE
        assert found.notes[0] == (
            "no index serves this filter: every document is read once; an index on {a: 1, b: 1} would let the purge drain"
        )

    @pytest.mark.parametrize(
        ("index", "filter_", "flaw"),
        [
            (IndexModel("l"), {"l": 5}, "is multikey"),
            (IndexModel("a", sparse=True), {"a": 5}, "is sparse"),
            (IndexModel("a", partialFilterExpression={"a": {"$lt": 50}}), {"a": 5}, "is partial"),
            (IndexModel([("a", "hashed")]), {"a": 5}, "is a hashed index"),
            (IndexModel([("$**", 1)]), {"a": 5}, "is a wildcard index"),
            (IndexModel("a", collation={"locale": "en"}), {"a": 5}, "has another collation"),
        ],
    )
    async def test_an_index_that_does_not_lead_to_every_document_is_not_walked(
        self, world: Any, index: IndexModel, filter_: Any, flaw: str
    ):
        world.database.c.create_indexes([index])
        found = await plan(world, "purge", filter=filter_)
        assert found.walk is Walk.RANGE
        assert any(flaw in note for note in found.notes)

    async def test_a_hidden_index_does_not_serve(self, world: Any):
        world.database.c.create_index("a", hidden=True)
        assert (await plan(world, "purge", filter={"a": 5})).walk is Walk.RANGE

    async def test_an_index_with_the_collections_own_collation_is_walked(self, world: Any):
        collation = {"locale": "en", "strength": 2}
        world.database.create_collection("d", collation=collation)
        world.database.d.create_index("s")
        world.database.d.insert_many([{"s": f"x{n}"} for n in range(100)])
        assert (await plan(world, "purge", collection="d", filter={"s": "X5"})).walk is Walk.DRAIN

    async def test_a_second_choice_is_walked_where_the_first_may_not_be(self, world: Any):
        world.database.c.create_indexes([IndexModel([("a", 1), ("b", 1)], sparse=True), IndexModel("a")])
        found = await plan(world, "purge", filter={"a": 5, "b": {"$lt": 500}})
        assert (found.walk, found.index) == (Walk.DRAIN, "a_1")

    async def test_jobs_that_change_in_place_walk_id_and_say_what_that_costs(self, world: Any):
        world.database.c.create_index("a")
        found = await plan(world, filter={"a": {"$lt": 10}})
        assert (found.walk, found.index, found.documents, found.matching) == (Walk.RANGE, "_id", DOCUMENTS, 100)
        assert any("about 100 of 1,000 documents match" in note for note in found.notes)


@pytest.mark.usefixtures("documents")
class TestEstimates:
    async def test_a_large_collection_is_sampled(self, world: Any, monkeypatch: pytest.MonkeyPatch):
        from lull.activities import survey

        monkeypatch.setattr(survey, "COUNT_ALL_MAX", 10)
        found = await plan(world, filter={"a": {"$lt": 50}})
        assert found.matching is not None
        assert 300 < found.matching < 700

    async def test_a_rate_limit_lengthens_the_estimate(self, world: Any):
        assert (await plan(world, limits={"max_docs_per_second": 10})).seconds == 100
        assert ((await plan(world)).seconds or 0) < 1

    async def test_indexes_that_must_be_written_too_are_counted(self, world: Any):
        world.database.c.create_indexes([IndexModel("a.x"), IndexModel("b"), IndexModel([("c", 1), ("b", 1)])])
        by_update = await plan(world, update={"$set": {"a": 1}})
        assert any(
            note.startswith("1 secondary index may be written for each document: a.x_1") for note in by_update.notes
        )
        by_purge = await plan(world, "purge")
        assert any(note.startswith("3 secondary indexes may be written") for note in by_purge.notes)

    async def test_mixed_ids_are_noted(self, world: Any):
        world.database.c.insert_one({"_id": "text"})
        assert "_id is of mixed types (from number to string); all of them are walked" in (await plan(world)).notes

    async def test_nothing_to_do_is_said(self, world: Any):
        found = await plan(world, filter={"a": 1_000})
        assert found.matching == 0
        assert "nothing matches the filter now" in found.notes

    async def test_a_validator_and_pre_images_are_noted(self, world: Any):
        world.database.create_collection(
            "v", validator={"a": {"$exists": True}}, changeStreamPreAndPostImages={"enabled": True}
        )
        notes = " ".join((await plan(world, collection="v")).notes)
        assert "validator" in notes
        assert "pre-images" in notes

    async def test_the_plan_writes_nothing(self, world: Any):
        spec = world.spec()
        await plan(world)
        assert world.store.job(spec.job) is None
        assert world.partitions(spec) == []

    async def test_the_plan_says_who_is_in_the_way(self, world: Any):
        await world.open(world.spec(job="one"))
        notes = (await plan(world, "purge", job="two")).notes
        assert any(note.startswith("would be refused now: job") and "-one" in note for note in notes)

    async def test_what_was_planned_is_what_is_opened(self, world: Any):
        found = await plan(world, filter={"a": 5})
        opened = await world.open(world.spec(filter={"a": 5}))
        assert opened.plan == found.model_copy(update={"incarnation": 1})


@pytest.mark.usefixtures("documents")
class TestRefusals:
    async def test_a_missing_collection_is_answered_with_the_nearest_allowed_name(self, world: Any):
        world.database.flights.insert_one({})
        assert "did you mean 'flights'?" in await refusal(world, collection="flight")

    async def test_names_the_profile_hides_are_not_suggested(self, world: Any):
        world.database.flights.insert_one({})
        hidden = type(world)(world.uri, name=world.name, namespaces=(f"{world.name}.c*", f"{world.name}.flight"))
        message = await refusal(hidden, collection="flight")
        hidden.clusters.close()
        assert "flights" not in message

    async def test_a_missing_database_is_named(self, world: Any):
        world.client.drop_database(world.name)
        assert f"no database '{world.name}'" in await refusal(world)

    async def test_a_view_is_refused(self, world: Any):
        world.database.create_collection("v", viewOn="c", pipeline=[])
        assert f"is a view on {world.name}.c" in await refusal(world, collection="v")

    async def test_a_capped_collection_is_refused(self, world: Any):
        world.database.create_collection("capped", capped=True, size=1_000)
        assert "is a capped collection" in await refusal(world, collection="capped")

    async def test_a_time_series_collection_is_refused(self, world: Any):
        world.database.create_collection("ts", timeseries={"timeField": "t"})
        assert "is a time-series collection" in await refusal(world, collection="ts")

    async def test_a_profile_refuses_what_it_does_not_allow(self, world: Any):
        narrow = type(world)(world.uri, name=world.name, namespaces=("other.*",))
        assert "does not allow" in await refusal(narrow)
        narrow.clusters.close()

    async def test_an_unknown_profile_is_named(self, world: Any):
        source = {"cluster": "nowhere", "database": world.name, "collection": "c"}
        assert "no cluster profile 'nowhere'" in await refusal(world, source=source)

    async def test_an_unknown_transform_is_named(self, world: Any):
        assert "no transform 't'" in await refusal(world, "transform")

    @pytest.mark.parametrize(
        ("fields", "where", "reason"),
        [
            ({"filter": {"a": {"$gte2": 1}}}, "source.filter", "unknown operator: $gte2"),
            ({"filter": {"a": {"$in": "x"}}}, "source.filter", "$in needs an array"),
            ({"filter": {"a": {"$regex": "("}}}, "source.filter", "Regular expression is invalid"),
            ({"filter": {"a": {"$date": "soon"}}}, "in the spec", "extended JSON"),
            ({"update": {"$inc": {"a": "x"}}}, "update", "Cannot increment with non-numeric argument"),
            ({"update": {"$set": {"a": 1, "a.b": 2}}}, "update", "conflict at 'a'"),
            ({"update": [{"$set": {"a": {"$ad": [1, 2]}}}]}, "update", "Unrecognized expression '$ad'"),
            ({"update": {"$set": {"l.$[e]": 1}}}, "update", "No array filter found for identifier 'e'"),
        ],
    )
    async def test_query_language_that_the_server_does_not_know_is_refused_with_its_reason(
        self, world: Any, fields: Any, where: str, reason: str
    ):
        message = await refusal(world, **fields)
        assert where in message
        assert reason in message

    async def test_a_regular_expression_beside_another_condition_is_not_taken_for_a_value(self, world: Any):
        world.database.c.insert_many([{"s": "ab"}, {"s": "ac"}])
        assert (await plan(world, filter={"s": {"$regex": "^a", "$ne": "ab"}})).matching == 1


async def test_a_server_that_is_away_is_the_worlds_error(world: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(mongo, "SERVER_SELECTION_TIMEOUT_MS", 100)
    dead = type(world)("mongodb://127.0.0.1:1/")
    with pytest.raises(ApplicationError) as caught:
        await plan(dead)
    dead.clusters.close()
    assert (caught.value.type, caught.value.non_retryable) == ("TransientError", False)

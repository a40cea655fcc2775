"""The error table is true of a real server: what one document causes is bisected, what somebody ended is tried again."""

from collections.abc import Iterator, Mapping, Sequence
from threading import Event, Thread
from typing import Any

import pytest
from bson import Int64
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.errors import PyMongoError

from lull.activities.mongo import error_class
from lull.domain.failure import ErrorClass

Update = Mapping[str, Any] | Sequence[Mapping[str, Any]]


@pytest.fixture(scope="module")
def client(mongo_uri: str) -> Iterator[MongoClient[dict[str, Any]]]:
    with MongoClient[dict[str, Any]](mongo_uri) as client:
        yield client
        client.drop_database("error_codes")


def error_of(collection: Collection[dict[str, Any]], update: Update) -> PyMongoError:
    """What the server says to *update* inside a transaction, as a page is written."""
    with collection.database.client.start_session() as session:
        session.start_transaction()
        try:
            collection.update_many({}, update, session=session)
        except PyMongoError as error:
            return error
        finally:
            session.abort_transaction()
    raise AssertionError(f"the server took {update}")


VALUE = {"text": "zz", "number": 1, "largest": Int64(2**63 - 1), "list": [{"b": 1}], "long": "x" * 9_000_000}


@pytest.mark.parametrize(
    ("update", "expected"),
    [
        ({"$inc": {"text": 1}}, ErrorClass.POISON),
        ({"$inc": {"largest": 1}}, ErrorClass.POISON),
        ({"$push": {"text": 1}}, ErrorClass.POISON),
        ({"$pull": {"text": 1}}, ErrorClass.POISON),
        ({"$pop": {"text": 1}}, ErrorClass.POISON),
        ({"$addToSet": {"text": 1}}, ErrorClass.POISON),
        ({"$bit": {"text": {"and": 1}}}, ErrorClass.POISON),
        ({"$set": {"number.below": 1}}, ErrorClass.POISON),
        ({"$set": {"missing.$[].b": 1}}, ErrorClass.POISON),
        ({"$rename": {"list.b": "c"}}, ErrorClass.POISON),
        ([{"$set": {"r": {"$divide": ["$number", 0]}}}], ErrorClass.POISON),
        ([{"$set": {"r": {"$add": ["$text", 1]}}}], ErrorClass.POISON),
        ([{"$set": {"r": {"$toInt": "$text"}}}], ErrorClass.POISON),
        ([{"$set": {"r": {"$toDate": "$text"}}}], ErrorClass.POISON),
        ([{"$set": {"r": {"$arrayElemAt": ["$text", 0]}}}], ErrorClass.POISON),
        ([{"$set": {"r": {"$dateToString": {"date": "$$NOW", "timezone": "$text"}}}}], ErrorClass.POISON),
        ([{"$replaceWith": "$text"}], ErrorClass.POISON),
        ([{"$replaceWith": {"_id": "$text"}}], ErrorClass.POISON),
        ([{"$set": {"twice": "$long"}}], ErrorClass.TOO_BIG),
        ([{"$set": {"r": {"$unknown": 1}}}], ErrorClass.OPERATOR),
        ([{"$set": {"r": "$$undefined"}}], ErrorClass.OPERATOR),
        ([{"$unknown": {}}], ErrorClass.OPERATOR),
    ],
    ids=str,
)
def test_what_a_documents_values_cause_is_told_from_what_was_asked_wrongly(
    client: MongoClient[dict[str, Any]], update: Update, expected: ErrorClass
):
    collection = client.error_codes.values
    collection.replace_one({"_id": 1}, VALUE, upsert=True)
    assert error_class(error_of(collection, update)) is expected


def test_validators_and_indexes_make_poison_documents(client: MongoClient[dict[str, Any]]):
    database = client.error_codes
    checked = database.create_collection("checked", validator={"n": {"$type": "int"}})
    checked.insert_one({"n": 1})
    unique, parallel, places = database.unique, database.parallel, database.places
    unique.create_index("k", unique=True)
    unique.insert_many([{"k": 1}, {"k": 2}])
    parallel.create_index([("a", 1), ("b", 1)])
    parallel.insert_one({"a": [1]})
    places.create_index([("at", "2dsphere")])
    places.insert_one({})
    errors = [
        error_of(checked, {"$set": {"n": "x"}}),
        error_of(unique, {"$set": {"k": 3}}),
        error_of(parallel, {"$set": {"b": [1]}}),
        error_of(places, {"$set": {"at": "nowhere"}}),
    ]
    assert [error_class(error) for error in errors] == [ErrorClass.POISON] * 4


def test_a_filter_that_the_server_refuses_while_planning_is_the_operators(client: MongoClient[dict[str, Any]]):
    with pytest.raises(PyMongoError) as caught:
        client.error_codes.values.find_one({"a": {"$unknown": 1}})
    assert error_class(caught.value, in_page=False) is ErrorClass.OPERATOR


def test_a_killed_session_blames_no_document_neither_at_rest_nor_in_the_middle_of_a_write(
    client: MongoClient[dict[str, Any]],
):
    collection = client.error_codes.many
    collection.insert_many([{"n": n} for n in range(2_000)])
    slow = [
        {
            "$set": {
                "r": {"$reduce": {"input": {"$range": [0, 20_000]}, "initialValue": 0, "in": {"$add": ["$$value", 1]}}}
            }
        }
    ]
    with client.start_session() as session:
        session.start_transaction()
        collection.update_one({}, {"$set": {"z": 1}}, session=session)
        client.admin.command("killSessions", [session.session_id])
        with pytest.raises(PyMongoError) as at_rest:
            collection.update_one({}, {"$set": {"z": 2}}, session=session)
        session.abort_transaction()
    with client.start_session() as session:
        session.start_transaction()
        collection.find_one(session=session)
        ended = Event()
        killer = Thread(target=kill_when_busy, args=(client, session.session_id, ended))
        killer.start()
        with pytest.raises(PyMongoError) as in_the_middle:
            collection.update_many({}, slow, session=session)
        ended.set()
        killer.join()
        session.abort_transaction()
    assert [error_class(caught.value) for caught in (at_rest, in_the_middle)] == [ErrorClass.WORLD, ErrorClass.WORLD]


def kill_when_busy(client: MongoClient[dict[str, Any]], session_id: Mapping[str, Any], ended: Event) -> None:
    """The session is killed as soon as the server shows its update at work."""
    wanted = {"ns": "error_codes.many", "op": "update", "lsid.id": session_id["id"]}
    while not client.admin.command("currentOp", wanted)["inprog"]:
        if ended.wait(0.01):
            return
    client.admin.command("killSessions", [session_id])


def test_what_transactions_cannot_do_is_the_operators(client: MongoClient[dict[str, Any]]):
    capped = client.error_codes.create_collection("capped", capped=True, size=10_000)
    capped.insert_one({"a": 1})
    assert error_class(error_of(capped, {"$set": {"a": 2}})) is ErrorClass.OPERATOR

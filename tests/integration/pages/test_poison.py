"""Documents that cannot be processed: recorded, passed over, and no other document suffers."""

import asyncio
import re
import uuid
from collections.abc import Callable
from typing import Any

import bson
import pytest
from bson.raw_bson import RawBSONDocument
from pymongo.errors import WriteError
from temporalio.exceptions import ApplicationError

from lull.activities.transforms import Replace
from lull.domain.errors import OperatorError
from lull.domain.slice import SliceEnd

Document = dict[str, Any]
BAD = (3, 4, 11, 17, 29)
DOCS = 30
MB = 1 << 20


class Unspeakable(Exception):
    """What an exception should not be, and some are."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


def raising(error: BaseException) -> Callable[[Document], Any]:
    def function(document: Document) -> Document:
        if document["_id"] in BAD:
            raise error
        return {"n": document.get("n", 0) + 1}

    return function


def returning(result: Any) -> Callable[[Document], Any]:
    return lambda document: result if document["_id"] in BAD else {"n": document.get("n", 0) + 1}


def spoiling(document: Document) -> Document:
    """Ruin the argument before failing, or before a result that is right."""
    key = document["_id"]
    n = document.get("n", 0)
    document.clear()
    document["_id"] = -1
    if key in BAD:
        raise ValueError("spoilt")
    return {"n": n + 1}


def recursing(document: Document) -> Document:
    return recursing(document) if document["_id"] in BAD else {"n": document.get("n", 0) + 1}


def nested(levels: int) -> Document:
    value: Document = {}
    for _ in range(levels):
        value = {"v": value}
    return value


EXCEPTIONS: list[tuple[Callable[[Document], Any], str]] = [
    (raising(ValueError("bad value")), "ValueError"),
    (raising(KeyError("missing")), "KeyError"),
    (raising(StopIteration()), "StopIteration"),
    (raising(SystemExit(3)), "SystemExit"),
    (raising(KeyboardInterrupt()), "KeyboardInterrupt"),
    (raising(asyncio.CancelledError()), "CancelledError"),
    (raising(MemoryError()), "MemoryError"),
    (raising(Unspeakable()), "Unspeakable"),
    (raising(ValueError("half a pair: \ud800")), "ValueError"),
    (raising(OSError("x" * 10_000)), "OSError"),
    (raising(WriteError("in disguise", 112, {"errmsg": "of a driver"})), "WriteError"),
    (spoiling, "ValueError"),
    (recursing, "RecursionError"),
]
RESULTS: list[tuple[Any, str]] = [
    (None, "BadResult"),
    ([{"n": 1}], "BadResult"),
    ({"_id": 5}, "BadResult"),
    ({"v": {1, 2}}, "InvalidDocument"),
    ({"v": 2**70}, "OverflowError"),
    ({"v": uuid.UUID(int=1)}, "ValueError"),
    ({"v": object()}, "InvalidDocument"),
    ({1: 2}, "InvalidDocument"),
    ({"v": {2: 2}}, "InvalidDocument"),
    ({"v": "\ud800"}, "UnicodeEncodeError"),
    ({"a\x00b": 1}, "InvalidDocument"),
    (Replace(5), "TypeError"),  # type: ignore[arg-type]
    (Replace({"_id": 77}), "WriteError"),
    (Replace({"$v": 1}), "WriteError"),
    ({"$v": 1}, "WriteError"),
    ({"": 1}, "WriteError"),
    ({"a..b": 1}, "WriteError"),
    ({"a": 1, "a.b": 2}, "WriteError"),
    ({"scalar.below": 1}, "WriteError"),
    ({"v": nested(200)}, "OperationFailure"),
]


async def check(world: Any, spec: Any, name: str, docs: int = DOCS) -> list[Document]:
    """Run to the end: the good ones are done once, the bad ones untouched and recorded; returns the records."""
    before = world.by_id()
    half = world.ids()[docs // 2]
    counts = await world.run(spec, cuts=[half])
    assert (counts.scanned, counts.seen, counts.changed, counts.quarantined) == (docs, docs, docs - len(BAD), len(BAD))
    for key, document in world.by_id().items():
        expected = before[key] if document["_id"] in BAD else {**before[key], "n": 1}
        assert document == expected
    records = world.quarantine(spec)
    assert [record["document_id"] for record in records] == list(BAD)
    for record in records:
        key = record["document_id"]
        assert record["_id"] == {"job": spec.job, "incarnation": 1, "id": key}
        assert record["namespace"] == f"{world.name}.c"
        assert record["partition"] == (0 if key <= half else 1)
        position = record["position"]
        assert position is None or position["k"] < key
        assert record["error"]["type"] == name
        assert len(record["error"]["message"]) <= 500
    return records


@pytest.mark.parametrize(("function", "name"), EXCEPTIONS, ids=lambda value: value if isinstance(value, str) else "")
@pytest.mark.parametrize("batch", [False, True])
async def test_documents_a_function_fails_on_are_recorded_and_all_others_done(
    world: Any, *, function: Callable[[Document], Any], name: str, batch: bool
):
    world.fill([{"_id": key, "scalar": 1} for key in range(DOCS)])
    whole = (lambda documents: [function(document) for document in documents]) if batch else function
    await check(world, world.spec("transform", transform=world.transform(whole, batch=batch), page_docs=13), name)


@pytest.mark.parametrize(("result", "name"), RESULTS, ids=lambda value: repr(value)[:40])
async def test_documents_whose_result_cannot_be_stored_are_recorded_and_all_others_done(
    world: Any, result: Any, name: str
):
    world.fill([{"_id": key, "scalar": 1} for key in range(DOCS)])
    await check(world, world.spec("transform", transform=world.transform(returning(result)), page_docs=13), name)


async def test_a_batch_that_answers_for_too_few_documents_is_bisected(world: Any):
    world.fill([{"_id": key} for key in range(DOCS)])

    def forgetful(documents: list[Document]) -> list[Document]:
        return [{"n": document.get("n", 0) + 1} for document in documents if document["_id"] not in BAD]

    spec = world.spec("transform", transform=world.transform(forgetful, batch=True), page_docs=13)
    await check(world, spec, "BadResult")


async def test_paths_outside_the_specs_writes_are_poison(world: Any):
    world.fill([{"_id": key} for key in range(DOCS)])
    spec = world.spec("transform", transform=world.transform(returning({"other": 1})), writes=["n"], page_docs=13)
    records = await check(world, spec, "ValueError")
    assert "'other'" in records[0]["error"]["message"]


async def test_a_function_cannot_move_a_document_by_changing_an_embedded_id(world: Any):
    world.fill([{"_id": {"a": key}} for key in range(10)])

    def meddling(document: Document) -> Document:
        n = document.get("n", 0)
        document["_id"]["a"] = 5
        return {"n": n + 1}

    counts = await world.run(world.spec("transform", transform=world.transform(meddling), page_docs=3))
    assert counts.changed == 10
    assert [d["n"] for d in world.by_id().values()] == [1] * 10


@pytest.mark.parametrize("page_docs", [1, 4, 100])
async def test_documents_the_collections_validator_refuses_are_recorded(world: Any, page_docs: int):
    world.fill([{"_id": key, "strict": key in BAD} for key in range(DOCS)])
    world.client[world.name].command("collMod", "c", validator={"$or": [{"strict": False}, {"n": {"$exists": False}}]})
    spec = world.spec("transform", transform=world.transform(returning({"n": 1})), page_docs=page_docs)
    records = await check(world, spec, "WriteError")
    assert {record["error"]["code"] for record in records} == {121}


async def test_documents_that_would_break_a_unique_index_are_recorded(world: Any):
    world.fill([{"_id": key, "u": key} for key in range(DOCS)])
    world.source.create_index("u", unique=True)
    spec = world.spec("transform", transform=world.transform(returning({"u": 0})), page_docs=13)
    records = await check(world, spec, "WriteError")
    assert {record["error"]["code"] for record in records} == {11000}


async def test_documents_that_would_grow_past_16_mb_are_recorded(world: Any):
    big = "x" * (16 * MB - 1_000)
    world.fill([{"_id": key, "big": big if key in BAD else ""} for key in range(DOCS)])
    spec = world.spec(
        "transform", transform=world.transform(lambda d: {"n": 1, **({"m": "y" * 2_000} if d["big"] else {})})
    )
    await check(world, spec, "WriteError")


async def test_results_that_are_no_message_any_more_are_recorded(world: Any):
    world.fill([{"_id": key} for key in range(DOCS)])
    spec = world.spec(
        "transform", transform=world.transform(lambda d: {"n": 1, **({"m": "y" * 17 * MB} if d["_id"] in BAD else {})})
    )
    counts = await world.run(spec)
    assert (counts.changed, counts.quarantined) == (DOCS - len(BAD), len(BAD))
    assert [record["document_id"] for record in world.quarantine(spec)] == list(BAD)


def broken(key: int, *, name: bool = False) -> RawBSONDocument:
    """A document with text that is no UTF-8, as drivers without a check have stored it."""
    raw = bson.encode({"_id": key, "AAAA" if name else "text": 1 if name else "AAAA"})
    return RawBSONDocument(raw.replace(b"AAAA", b"\xff\xfe\xfd\xc3"))


@pytest.mark.parametrize("name", [False, True])
@pytest.mark.parametrize("batch", [False, True])
async def test_documents_with_text_that_is_no_utf_8_are_recorded(world: Any, *, batch: bool, name: bool):
    world.fill([broken(key, name=name) if key in BAD else {"_id": key} for key in range(DOCS)])
    function = (lambda ds: [{"n": 1} for _ in ds]) if batch else (lambda _: {"n": 1})
    spec = world.spec("transform", transform=world.transform(function, batch=batch), page_docs=13)
    before = world.raw()
    counts = await world.run(spec)
    assert (counts.changed, counts.quarantined) == (DOCS - len(BAD), len(BAD))
    assert [record["document_id"] for record in world.quarantine(spec)] == list(BAD)
    assert [raw for raw in world.raw() if b"\xff" in raw] == [raw for raw in before if b"\xff" in raw]


@pytest.mark.parametrize("kind", ["transform", "update"])
async def test_an_id_that_is_no_utf_8_stops_the_job_with_a_sentence(world: Any, kind: str):
    """Nothing above it could be told from below: it cannot be walked past."""
    raw = bson.encode({"_id": "AAAA"}).replace(b"AAAA", b"\xff\xfe\xfd\xc3")
    world.source.insert_many([{"_id": "a"}, {"_id": 1}, RawBSONDocument(raw)])
    fields = {"update": {"$set": {"n": 1}}} if kind == "update" else {"transform": world.transform(lambda _: {"n": 1})}
    spec = world.spec(kind, page_docs=1, **fields)
    world.open(spec, upto={})
    with pytest.raises(ApplicationError, match="mend or remove") as stopped:
        await world.slice(spec)
    assert stopped.value.type == OperatorError.type_name


@pytest.mark.parametrize(
    ("update", "bad"),
    [
        ({"$inc": {"n": 1}}, {"n": "text"}),
        ({"$inc": {"n": 1}}, {"n": 2**63 - 1}),
        ({"$push": {"n": 1}}, {"n": 5}),
        ({"$set": {"n.m": 1}}, {"n": 5}),
        ([{"$set": {"n": {"$divide": [1, "$d"]}}}], {"d": 0}),
        ([{"$set": {"n": {"$toInt": "$t"}}}], {"t": "text"}),
    ],
)
@pytest.mark.parametrize("page_docs", [1, 7, 100])
async def test_documents_an_update_fails_on_are_recorded_and_all_others_done(
    world: Any, update: Any, bad: Document, page_docs: int
):
    good: Document = {"d": 1, "t": "1"}
    world.fill([{"_id": key, **(bad if key in BAD else good)} for key in range(DOCS)])
    before = world.by_id()
    spec = world.spec("update", update=update, page_docs=page_docs)
    counts = await world.run(spec, cuts=[14])
    assert (counts.scanned, counts.seen, counts.changed, counts.quarantined) == (DOCS, DOCS, DOCS - len(BAD), len(BAD))
    assert [record["document_id"] for record in world.quarantine(spec)] == list(BAD)
    assert all(record["error"]["code"] for record in world.quarantine(spec))
    assert all(world.by_id()[bson.encode({"": key})] == before[bson.encode({"": key})] for key in BAD)
    expected = {"$push": [1], "$set": {"m": 1}}.get(next(iter(update)), 1) if isinstance(update, dict) else 1
    assert all(d["n"] == expected for d in world.by_id().values() if d["_id"] not in BAD)


async def test_an_update_is_not_blamed_on_a_document_that_came_or_went_meanwhile(world: Any, monkeypatch: Any):
    """The page of one is asked again: by then its range holds another document beside the one it was read for."""
    from lull.activities.kinds.update import UpdatePages

    world.fill([{"_id": 10, "n": 0}, {"_id": 20, "n": 0}])
    asked = UpdatePages.suspect
    came: list[int] = []

    def suspect(self: UpdatePages, page: Any) -> Any:
        if not came:
            came.append(15)
            world.source.update_one({"_id": 20}, {"$set": {"n": 0}})
            world.source.insert_one({"_id": 15, "n": "text"})
        return asked(self, page)

    world.source.update_one({"_id": 20}, {"$set": {"n": "text"}})
    monkeypatch.setattr(UpdatePages, "suspect", suspect)
    spec = world.spec("update", update={"$inc": {"n": 1}}, page_docs=1)
    counts = await world.run(spec)
    assert [record["document_id"] for record in world.quarantine(spec)] == [15]
    assert (counts.changed, counts.quarantined) == (2, 1)
    assert [d["n"] for d in world.by_id().values()] == [1, "text", 1]


@pytest.mark.parametrize("page_docs", [1, 2, 10])
async def test_the_job_stops_when_more_than_allowed_are_in_quarantine_over_all_partitions(world: Any, page_docs: int):
    world.fill([{"_id": key} for key in range(DOCS)])
    spec = world.spec(
        "transform", transform=world.transform(raising(ValueError("x"))), page_docs=page_docs, stop_after=3
    )
    world.open(spec, cuts=[9])
    assert (await world.slice(spec, 0)).end is SliceEnd.DONE
    assert world.counts(spec).quarantined == 2
    assert (await world.slice(spec, 1)).end is SliceEnd.POISON
    stopped = world.counts(spec)
    assert 4 <= stopped.quarantined <= 3 + page_docs
    assert stopped.quarantined == len(world.quarantine(spec))

    world.publish(spec, poison_max=100)
    assert (await world.slice(spec, 1)).end is SliceEnd.DONE
    assert world.counts(spec).quarantined == len(BAD)


@pytest.mark.parametrize("kind", ["transform", "batch", "update", "refused"])
@pytest.mark.parametrize("page_docs", [1, 4, 100])
async def test_without_a_quarantine_the_slice_ends_before_the_first_and_passes_once_it_is_mended(
    world: Any, kind: str, page_docs: int
):
    world.fill([{"_id": key, "n": "text" if key in BAD else 0} for key in range(DOCS)])
    if kind == "update":
        spec = world.spec("update", update={"$inc": {"n": 1}}, quarantine=False, page_docs=page_docs)
    else:
        functions: dict[str, Any] = {
            "transform": lambda d: {"n": d["n"] + 1},
            "batch": lambda ds: [{"n": d["n"] + 1} for d in ds],
            "refused": lambda d: {"n.m": 1} if d["n"] == "text" else {"n": d["n"] + 1},
        }
        name = world.transform(functions[kind], batch=kind == "batch")
        spec = world.spec("transform", transform=name, quarantine=False, page_docs=page_docs)
    world.open(spec)
    for bad in BAD:
        report = await world.slice(spec)
        assert report.end is SliceEnd.POISON
        assert re.search("in partition 0; the position stands before it", report.note)
        assert [d["_id"] for d in world.by_id().values() if d["n"] == 1] == list(range(bad))
        assert world.partition(spec)["position"] == {"k": bad - 1}
        assert world.quarantine(spec) == []
        world.source.update_one({"_id": bad}, {"$set": {"n": 0}})
    assert (await world.slice(spec)).end is SliceEnd.DONE
    assert [d["n"] for d in world.by_id().values()] == [1] * DOCS
    assert world.counts(spec).changed == DOCS


async def test_a_first_document_that_is_poison_leaves_the_position_at_the_beginning(world: Any):
    world.fill([{"_id": key} for key in range(5)])
    spec = world.spec("transform", transform=world.transform(lambda d: 1 / d["_id"] and {"n": 1}), quarantine=False)
    world.open(spec)
    assert (await world.slice(spec)).end is SliceEnd.POISON
    assert (world.partition(spec)["position"], world.counts(spec).seen) == (None, 0)


async def test_a_page_full_of_poison_is_recorded_in_one_go(world: Any):
    world.fill([{"_id": key, "scalar": 1} for key in range(300)])
    for result in ("not a result", {"scalar.below": 1}):
        spec = world.spec("transform", transform=world.transform(lambda _, result=result: result), stop_after=1_000)
        counts = await world.run(spec)
        assert (counts.seen, counts.quarantined) == (300, 300)
        assert len(world.quarantine(spec)) == 300

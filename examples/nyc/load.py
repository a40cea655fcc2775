"""
The flights in a collection, for the demo.

    python -m examples.nyc.load --uri mongodb://127.0.0.1:27117/

Does nothing when they are there already, untouched; replaces whatever else is there.
"""

import argparse
import hashlib
import json
import struct
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.collection import Collection

from examples.nyc import flights
from lull.embedded.report import Line

NAMESPACE = "nyc.flights"
DIGEST = "98bfb61e15950b8d2166d71ca03cd7401eb92ffebe447100e4b2d7508dc2707e"
"""SHA-256 of the documents' BSON in the order of their ids."""
BATCH_DOCS = 5_000

Document = dict[str, Any]
T = TypeVar("T")


def load(collection: Collection[Any], line: Line | None = None) -> bool:
    """The collection holds the flights and nothing else; True if that took loading them."""
    line = line or Line("Flights")
    if is_loaded(collection):
        return False
    collection.drop()
    done = 0
    for batch in _batches(_raw_documents(flights.encoded(line).read_bytes()), BATCH_DOCS):
        collection.insert_many(batch, ordered=False)
        done += len(batch)
        line.going(f"loading flights: {done:,} of {flights.COUNT:,}")
    seen = digest(collection)
    if seen != DIGEST:
        raise ValueError(f"the flights' digest is {seen} after loading, not {DIGEST}; does something else write there?")
    return True


def is_loaded(collection: Collection[Document]) -> bool:
    """Whether the collection holds exactly the flights as they were loaded."""
    return collection.estimated_document_count() == flights.COUNT and digest(collection) == DIGEST


def digest(collection: Collection[Document]) -> str:
    """Return SHA-256 of all documents' BSON in the order of their ids."""
    total = hashlib.sha256()
    # The driver's types call these batches documents; they are bytes.
    batches: Iterable[Any] = collection.find_raw_batches({}, sort=[("_id", 1)], batch_size=20_000)
    for batch in batches:
        total.update(batch)
    return total.hexdigest()


def _raw_documents(encoded: bytes) -> Iterator[RawBSONDocument]:
    """Yield documents that are sent as they stand: the driver need not encode them again."""
    at = 0
    while at < len(encoded):
        (size,) = struct.unpack_from("<i", encoded, at)
        yield RawBSONDocument(encoded[at : at + size])
        at += size


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    source = iter(items)
    while batch := list(islice(source, size)):
        yield batch


def main() -> None:
    """Load the flights where the command line says; print what is there."""
    parser = argparse.ArgumentParser(description="Load New York's flights of 2013 into nyc.flights.")
    parser.add_argument("--uri", required=True, help="MongoDB address")
    uri = parser.parse_args().uri
    database, name = NAMESPACE.split(".")
    with MongoClient[Document](uri) as client:
        collection = client[database][name]
        loaded = load(collection)
        found = {"namespace": NAMESPACE, "documents": collection.estimated_document_count(), "loaded": loaded}
    print(json.dumps(found))  # noqa: T201 - a command's answer


if __name__ == "__main__":
    main()

"""
Documents as the server sends them: one BSON array, compared byte for byte and decoded in one go.

The driver's own raw batches make an object of every document, which costs more than decoding it.
"""

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import bson
from bson.codec_options import CodecOptions
from bson.raw_bson import DEFAULT_RAW_BSON_OPTIONS, RawBSONDocument
from pymongo.client_session import ClientSession
from pymongo.collection import Collection

from lull.activities.mongo import CODEC, Document

_FIRST_BATCH = b"\x04firstBatch\x00"
_LENGTH = struct.Struct("<i")


EMPTY = b"\x05\x00\x00\x00\x00"
"""No documents."""


class Found(NamedTuple):
    """What one answer of the server held."""

    array: bytes
    is_all: bool
    """False if there was more than a message holds. Says nothing of what lies behind the limit."""


def find(
    source: Collection[Document], query: Document, *, limit: int, comment: str, session: ClientSession | None = None
) -> Found:
    """Return up to *limit* documents that match *query*, in the order of ``_id``, as far as 16 MB go."""
    command: Document = {
        "find": source.name,
        "filter": query,
        "hint": {"_id": 1},
        "limit": limit,
        "batchSize": limit,
        "comment": comment,
    }
    if session is None and source.read_concern.level is not None:
        command["readConcern"] = source.read_concern.document
    cursor: RawBSONDocument = source.database.command(command, codec_options=DEFAULT_RAW_BSON_OPTIONS, session=session)[
        "cursor"
    ]
    array, rest = _cut_out(bytes(cursor.raw))
    if rest["id"]:
        source.database.command("killCursors", source.name, cursors=[rest["id"]], session=session)
    return Found(array, is_all=not rest["id"])


def _cut_out(cursor: bytes) -> tuple[bytes, Document]:
    """Return the array of documents in a cursor's first answer as it is, and the few values around it decoded."""
    # Looked for, not decoded: no name of a collection, the only text before it, holds a zero byte.
    name = cursor.index(_FIRST_BATCH)
    at = name + len(_FIRST_BATCH)
    (size,) = _LENGTH.unpack_from(cursor, at)
    around = cursor[4:name] + cursor[at + size :]
    return cursor[at : at + size], bson.decode(_LENGTH.pack(len(around) + 4) + around)


def decode(array: bytes, options: CodecOptions[Document] = CODEC) -> list[Document]:
    """Return the documents. Raises BSONError if one cannot be read."""
    return list(bson.decode(array, options).values())


def split(array: bytes) -> list[bytes]:
    """Return the documents one by one, as they are stored."""
    return list(_each(array))


def _each(array: bytes) -> Iterator[bytes]:
    at, end = 4, len(array) - 1
    while at < end:
        # An element: its type, its place as a zero-terminated text, the document.
        at = array.index(0, at) + 1
        (size,) = _LENGTH.unpack_from(array, at)
        yield array[at : at + size]
        at += size


def join(documents: Iterable[bytes]) -> bytes:
    """Return the array of *documents*, as the server would write it."""
    elements = b"".join(b"\x03%d\x00%b" % (place, each) for place, each in enumerate(documents))
    return _LENGTH.pack(len(elements) + 5) + elements + b"\x00"


def within(array: bytes, bytes_max: int) -> bytes:
    """Return as many documents as are *bytes_max* long together, from the first: at least one. Itself if that is all."""
    if len(array) <= bytes_max:
        return array
    kept: list[bytes] = []
    total = 0
    for each in _each(array):
        total += len(each)
        if kept and total > bytes_max:
            break
        kept.append(each)
    return join(kept)

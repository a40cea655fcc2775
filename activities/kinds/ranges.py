"""Pages of a range that the server works on by itself: only their boundaries are read."""

from typing import NamedTuple

from pymongo.client_session import ClientSession
from typing_extensions import override

from lull.activities.kinds import Page, PageAdapter, PartitionWork, Written
from lull.activities.mongo import ID_INDEX, Document, Key, both, decode_values, key_range
from lull.domain.slice import Counts


class Stride(NamedTuple):
    """So many documents onward, whether they match or not."""

    upto: Key | None
    """Key of the last of them; None if that is the partition's last."""
    docs: int


def stride_of(work: PartitionWork, after: Key | None, docs: int) -> Stride:
    """Return where *docs* documents above *after* end: a covered scan of ``_id``, a millisecond per thousand keys."""
    query = key_range(after, work.upto)
    cursor = work.source.find(query, {"_id": 1}, hint=ID_INDEX, skip=docs - 1, limit=1, comment=work.comment)
    found = next(cursor, None)
    if found is not None:
        return Stride(Key(found["_id"]), docs)
    return Stride(None, work.source.count_documents(query, hint=ID_INDEX, limit=docs, comment=work.comment))


def only_match(work: PartitionWork, matching: Document, page: Page) -> Key | None:
    """Return the one document in the page's range that matches now; None if there is none, or another one too."""
    query = both(key_range(page.after, page.upto), matching)
    found = list(work.source.find(query, {"_id": 1}, hint=ID_INDEX, limit=2, comment=work.comment))
    return Key(found[0]["_id"]) if len(found) == 1 else None


class ServerSidePages(PageAdapter):
    """Range pages for kinds whose write is one command with a filter, applied to the documents as they are then."""

    ops = 2.0  # the stride and the command

    def __init__(self, work: PartitionWork) -> None:
        self.work = work
        self.filter: Document = decode_values(work.spec.source.filter)

    @override
    def read(self, after: Key | None, docs: int) -> Page | None:
        upto, passed = stride_of(self.work, after, docs)
        if not passed:
            return None
        return Page(after, upto or self.work.upto, passed, last=upto is None, work=passed)

    @override
    def write(self, page: Page, session: ClientSession | None) -> Written:
        counts = self.apply(both(key_range(page.after, page.upto), self.filter), session)
        return Written(counts.model_copy(update={"scanned": page.work, "pages": 1}), page.upto, page.last)

    def apply(self, query: Document, session: ClientSession | None) -> Counts:
        """The kind's one command has run over *query*; returns what it did."""
        raise NotImplementedError

    @override
    def suspect(self, page: Page) -> Key | None:
        return only_match(self.work, self.filter, page)

    @override
    def rewind(self) -> None:
        pass

    @override
    def close(self) -> None:
        pass

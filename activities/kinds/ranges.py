"""Pages of a range that the server works on by itself: only their boundaries are read."""

from typing import Any

from pymongo.client_session import ClientSession
from typing_extensions import override

from lull.activities.kinds import Page, PageAdapter, PartitionWork, Written
from lull.activities.mongo import ID_INDEX, Document, Key, both, decode_values, key_range
from lull.domain.slice import Counts


class ServerSidePages(PageAdapter):
    """
    Range pages for kinds whose write is one command with a filter.

    A page is bounded by a covered scan of ``_id`` alone (a millisecond per thousand keys); the
    filter is applied by the write, to the documents as they are then.
    """

    def __init__(self, work: PartitionWork) -> None:
        self.work = work
        self.filter: Document = decode_values(work.spec.source.filter)

    @override
    def read(self, after: Key | None, docs: int) -> Page | None:
        upto = self._key_at(after, docs)
        if upto is not None:
            return Page(after, upto, docs, last=False, work=docs)
        left = self.work.source.count_documents(
            key_range(after, self.work.upto), hint=ID_INDEX, limit=docs, comment=self.work.comment
        )
        return Page(after, self.work.upto, left, last=True, work=left) if left else None

    def _key_at(self, after: Key | None, docs: int) -> Key | None:
        """Return the key of the document *docs* places after *after*, or None if there are fewer."""
        cursor = self.work.source.find(
            key_range(after, self.work.upto),
            {"_id": 1},
            hint=ID_INDEX,
            skip=docs - 1,
            limit=1,
            comment=self.work.comment,
        )
        found = next(cursor, None)
        return None if found is None else Key(found["_id"])

    @override
    def write(self, page: Page, session: ClientSession | None) -> Written:
        counts = self.apply(both(key_range(page.after, page.upto), self.filter), session)
        return Written(counts.model_copy(update={"scanned": page.work, "pages": 1}), page.upto, page.last)

    def apply(self, query: Document, session: ClientSession | None) -> Counts:
        """The kind's one command has run over *query*; returns what it did."""
        raise NotImplementedError

    @override
    def rewind(self) -> None:
        pass

    @override
    def suspect(self, page: Page) -> Any:
        return page.upto.value if page.upto is not None else None

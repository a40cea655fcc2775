"""``purge``: one ``delete_many`` per page, by range of ``_id`` or draining the filter's own index."""

from collections import deque
from itertools import islice
from typing import Any

from pymongo.client_session import ClientSession
from pymongo.cursor import Cursor
from pymongo.errors import PyMongoError
from typing_extensions import override

from lull.activities.kinds import Page, PageAdapter, PartitionWork, Written
from lull.activities.kinds.ranges import ServerSidePages
from lull.activities.mongo import ID_INDEX, Document, Key, both, decode_values
from lull.domain.job import Walk
from lull.domain.slice import Counts

IDS_BATCH = 2_000
"""Ids that one answer of the server carries: pages grow after the cursor was opened."""


class RangePurge(ServerSidePages):
    """Delete whatever in the page's range matches now."""

    @override
    def apply(self, query: Document, session: ClientSession | None) -> Counts:
        result = self.work.source.delete_many(query, hint=ID_INDEX, session=session, comment=self.work.comment)
        return Counts(seen=result.deleted_count, changed=result.deleted_count)


class DrainPurge(PageAdapter):
    """
    Delete the next documents that match, in the order of the filter's index.

    What was deleted is gone, so equal keys and concurrent changes need no care. Ids come from one
    cursor that lives as long as the slice: it never walks the same tombstones twice. When it is
    exhausted the index is asked once more from its beginning, for documents that came to match
    behind the cursor; the drain is done when nothing matches.
    """

    ops = 1.5  # the command, and now and then the cursor's next batch

    def __init__(self, work: PartitionWork) -> None:
        self.work = work
        self.filter: Document = decode_values(work.spec.source.filter)
        self._cursor: Cursor[Document] | None = None
        self._handed_out: deque[Page] = deque(maxlen=2)
        """One page that is written and one read ahead."""
        self._again: list[Any] = []

    @override
    def read(self, after: Key | None, docs: int) -> Page | None:
        ids = self._next_ids(docs)
        if not ids:
            return None
        page = Page(after, after, len(ids), last=False, work=ids)
        self._handed_out.append(page)
        return page

    def _next_ids(self, docs: int) -> list[Any]:
        """Return the next ids that match; none only if a walk of the whole index found none."""
        ids, self._again = self._again[:docs], self._again[docs:]
        if ids:
            return ids
        was_open = self._cursor is not None
        ids = self._fetched(docs)
        if not ids and was_open:
            ids = self._fetched(docs)
        return ids

    def _fetched(self, docs: int) -> list[Any]:
        """Return the cursor's next ids; after its last it is closed, and opened anew by the next call."""
        if self._cursor is None:
            self._cursor = self._opened()
        try:
            ids = [found["_id"] for found in islice(self._cursor, docs)]
        except PyMongoError:
            self.close()
            raise
        if len(ids) < docs:
            self.close()
        return ids

    def _opened(self) -> Cursor[Document]:
        passed_over = self.work.quarantined()
        query = both(self.filter, {"_id": {"$nin": passed_over}} if passed_over else {})
        return self.work.source.find(
            query, {"_id": 1}, hint=self.work.walk_index, batch_size=IDS_BATCH, comment=self.work.comment
        )

    @override
    def write(self, page: Page, session: ClientSession | None) -> Written:
        query = both({"_id": {"$in": page.work}}, self.filter)
        # By _id: through the filter's index the server might walk all tombstones for every page.
        result = self.work.source.delete_many(query, hint=ID_INDEX, session=session, comment=self.work.comment)
        gone = result.deleted_count
        return Written(Counts(scanned=gone, seen=gone, changed=gone, pages=1), page.upto, page.last)

    @override
    def suspect(self, page: Page) -> Key | None:
        query = both({"_id": {"$in": page.work}}, self.filter)
        found = self.work.source.find_one(query, {"_id": 1}, hint=ID_INDEX, comment=self.work.comment)
        # A drain has no position to leave it behind: whether it goes to quarantine or not, it is not asked for again.
        self._again = [key for key in self._again if key not in page.work]
        return None if found is None else Key(found["_id"])

    @override
    def rewind(self) -> None:
        # The ids alone are handed out again, those already deleted do no harm: the cursor goes on behind its tombstones.
        self._again = [key for page in self._handed_out for key in page.work] + self._again
        self._handed_out.clear()

    @override
    def close(self) -> None:
        cursor, self._cursor = self._cursor, None
        if cursor is not None:
            cursor.close()


def adapter(work: PartitionWork) -> PageAdapter:
    """Return the adapter of a purge job: draining if it was planned so."""
    return DrainPurge(work) if work.plan.walk is Walk.DRAIN else RangePurge(work)

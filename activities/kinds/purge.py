"""``purge``: one ``delete_many`` per page, by range of ``_id`` or draining the filter's own index."""

from typing import Any

from pymongo.client_session import ClientSession
from pymongo.cursor import Cursor
from typing_extensions import override

from lull.activities.kinds import Page, PageAdapter, PartitionWork, Written
from lull.activities.kinds.ranges import ServerSidePages
from lull.activities.mongo import Document, Key, both, decode_values
from lull.domain.job import Walk
from lull.domain.slice import Counts


class RangePurge(ServerSidePages):
    """Delete whatever in the page's range matches now."""

    @override
    def apply(self, query: Document, session: ClientSession | None) -> Counts:
        hint = [("_id", 1)]
        result = self.work.source.delete_many(query, hint=hint, session=session, comment=self.work.comment)
        return Counts(seen=result.deleted_count, changed=result.deleted_count)


class DrainPurge(PageAdapter):
    """
    Delete the next documents that match, in the order of the filter's index.

    What was deleted is gone, so equal keys and concurrent changes need no care. Ids come from one
    cursor that lives as long as the slice: it never walks the same tombstones twice. When it is
    exhausted the index is asked once more from its beginning, for documents that came to match
    behind the cursor; the drain is done when nothing matches.
    """

    def __init__(self, work: PartitionWork) -> None:
        self.work = work
        self.filter: Document = decode_values(work.spec.source.filter)
        self._cursor: Cursor[Document] | None = None
        self._fresh = True

    @override
    def read(self, after: Key | None, docs: int) -> Page | None:
        ids = self._next_ids(docs)
        if not ids and not self._fresh:
            self.rewind()
            ids = self._next_ids(docs)
        return Page(after, after, len(ids), last=False, work=ids) if ids else None

    def _next_ids(self, docs: int) -> list[Any]:
        if self._cursor is None:
            self._cursor = self.work.source.find(
                self.filter, {"_id": 1}, hint=self.work.walk_index, batch_size=docs, comment=self.work.comment
            )
            self._fresh = True
        ids = []
        for found in self._cursor:
            ids.append(found["_id"])
            if len(ids) == docs:
                break
        self._fresh = self._fresh and not ids
        return ids

    @override
    def write(self, page: Page, session: ClientSession | None) -> Written:
        query = both({"_id": {"$in": page.work}}, self.filter)
        result = self.work.source.delete_many(query, session=session, comment=self.work.comment)
        gone = result.deleted_count
        return Written(Counts(scanned=gone, seen=gone, changed=gone, pages=1), page.upto, page.last)

    @override
    def rewind(self) -> None:
        if self._cursor is not None:
            self._cursor.close()
        self._cursor = None

    @override
    def suspect(self, page: Page) -> Any:
        return page.work[0]


def adapter(work: PartitionWork) -> PageAdapter:
    """Return the adapter of a purge job: draining if it was planned so."""
    return DrainPurge(work) if work.plan.walk is Walk.DRAIN else RangePurge(work)

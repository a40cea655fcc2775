"""``update``: one ``update_many`` per page, on the server."""

from typing import Any

from pymongo.client_session import ClientSession
from typing_extensions import override

from lull.activities.kinds import PageAdapter, PartitionWork
from lull.activities.kinds.ranges import ServerSidePages
from lull.activities.mongo import ID_INDEX, Document, decode_values
from lull.domain.kinds import update
from lull.domain.slice import Counts


class UpdatePages(ServerSidePages):
    """Apply the spec's update to whatever in the page's range matches now."""

    def __init__(self, work: PartitionWork, spec: update.Spec) -> None:
        super().__init__(work)
        self._update: Any = decode_values(spec.update)
        self._array_filters: Any = decode_values(spec.array_filters) or None

    @override
    def apply(self, query: Document, session: ClientSession | None) -> Counts:
        result = self.work.source.update_many(
            query,
            self._update,
            array_filters=self._array_filters,
            hint=ID_INDEX,
            session=session,
            comment=self.work.comment,
        )
        matched, changed = result.matched_count, result.modified_count
        return Counts(seen=matched, changed=changed, unchanged=matched - changed)


def adapter(work: PartitionWork) -> PageAdapter:
    """Return the adapter of an update job."""
    if not isinstance(work.spec, update.Spec):
        raise TypeError(f"an update adapter was given a {work.spec.kind} job")
    return UpdatePages(work, work.spec)

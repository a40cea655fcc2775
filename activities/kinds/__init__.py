"""
The adapters of the kinds: how each reads a page and writes it inside the page's transaction.

One module per kind, of the same name as the kind's module in ``lull.domain.kinds``, found by
being here. Everything else (fences, transactions, positions, pacing, retries, quarantine) is the
page loop's and the same for all.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pymongo.client_session import ClientSession
from pymongo.collection import Collection

from lull.activities.mongo import Document, Key
from lull.activities.transforms import Registry
from lull.domain.job import JobSpec
from lull.domain.slice import Counts, Plan


@dataclass(frozen=True, slots=True)
class PartitionWork:
    """What an adapter is given: one partition of one job."""

    spec: JobSpec
    plan: Plan
    source: Collection[Document]
    upto: Key | None
    """The partition's upper bound, fixed at plan time; None for a drain, which ends when nothing matches."""
    walk_index: str
    """Name of the index that is walked."""
    transactional: bool
    registry: Registry
    comment: str
    """Stands in every command, so that a DBA sees in currentOp whose it is."""
    quarantine: bool
    """Whether poison documents are passed over; else the page ends before the first of them."""
    quarantined: Callable[[], list[Any]]
    """Asks the ledger for the ids of this partition's documents that were passed over."""


MESSAGE_CHARS_MAX = 500
"""Of a poison document's error; the quarantine is for finding documents, not for keeping logs."""


@dataclass(frozen=True, slots=True)
class Poison:
    """A document that cannot be processed, and why. Its body is never kept."""

    document_id: Any
    error_type: str
    message: str
    code: int | None = None

    @staticmethod
    def of(document_id: Any, error: BaseException) -> "Poison":
        """Return the document with what is to be known of *error*, which may be the driver's or a user's."""
        details = getattr(error, "details", None)
        message = details.get("errmsg") if isinstance(details, Mapping) else None
        code = getattr(error, "code", None)
        return Poison(
            document_id,
            type(error).__name__,
            _storable(message or _text(error)),
            code if isinstance(code, int) and abs(code) < 1 << 31 else None,
        )


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a user's exception may fail even here
        return "its message cannot be read"


def _storable(text: str) -> str:
    """Return the beginning of *text* as MongoDB can store it: half a surrogate pair is no character."""
    return text[:MESSAGE_CHARS_MAX].encode("utf-8", "replace").decode()


@dataclass(slots=True)
class Page:
    """One read batch, on its way to becoming one write batch."""

    after: Key | None
    upto: Key | None
    """The position once this page is committed."""
    docs: int
    """Documents in it when it was read: what it shrinks from when it fails."""
    last: bool
    """Nothing lies behind it in this partition."""
    work: Any = None
    """The adapter's own."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a page's transaction did, not yet committed."""

    counts: Counts
    """Of this page alone."""
    upto: Key | None
    last: bool
    poison: tuple[Poison, ...] = ()
    blocked: Poison | None = None
    """The document before which the page ended, because the policy is to pause at the first one."""
    page_bytes: int = 0
    """BSON bytes read or written, whichever is more: what the next page's size is fitted to."""


class PageAgain(Exception):
    """The adapter knows more of this page now: abort the transaction and write the same page again."""


class PageAdapter(Protocol):
    """How one kind reads and writes: from two threads, one that reads a page ahead of the one that writes."""

    ops: float
    """Reads and writes that the server counts for a page of this kind, the ledger's own not among them."""

    def read(self, after: Key | None, docs: int) -> Page | None:
        """Return the next page of about *docs* documents above *after*; None when none is left."""

    def write(self, page: Page, session: ClientSession | None) -> Written:
        """The page's effects are in the transaction of *session* (or written, without one)."""

    def suspect(self, page: Page) -> Key | None:
        """
        Return the only document that *page*, which failed and was read for one, is to blame for now.

        None if there is none or more than one by now: the page must be read again.
        """

    def rewind(self) -> None:
        """Pages handed out and not committed are forgotten: the next read returns their documents again."""

    def close(self) -> None:
        """Nothing of this slice is held open on the server."""


@dataclass(slots=True)
class _Adapters:
    known: dict[str, Callable[[PartitionWork], PageAdapter]] = field(default_factory=dict)


_ADAPTERS = _Adapters()


def adapter_for(work: PartitionWork) -> PageAdapter:
    """Return the adapter of the job's kind, from the module of that name."""
    kind = work.spec.kind
    if kind not in _ADAPTERS.known:
        _ADAPTERS.known[kind] = importlib.import_module(f"{__name__}.{kind}").adapter
    return _ADAPTERS.known[kind](work)

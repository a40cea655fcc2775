"""
The adapters of the kinds: how each reads a page and writes it inside the page's transaction.

One module per kind, of the same name as the kind's module in ``lull.domain.kinds``, found by
being here. Everything else (fences, transactions, positions, pacing, retries, quarantine) is the
page loop's and the same for all.
"""

import importlib
from collections.abc import Callable
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


@dataclass(frozen=True, slots=True)
class Poison:
    """A document that cannot be processed, and why. Its body is never kept."""

    document_id: Any
    error_type: str
    message: str
    code: int | None = None


@dataclass(slots=True)
class Page:
    """One read batch, on its way to becoming one write batch."""

    after: Key | None
    upto: Key | None
    """The position once this page is committed."""
    docs: int
    """Documents the page was read for: what it shrinks from when it fails."""
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


class PageAgain(Exception):
    """The adapter has taken one document out of the page: abort the transaction and write it again."""


class PageAdapter(Protocol):
    """How one kind reads and writes. Called from one thread at a time, reads one page ahead of writes."""

    def read(self, after: Key | None, docs: int) -> Page | None:
        """Return the next page of about *docs* documents above *after*; None when none is left."""

    def write(self, page: Page, session: ClientSession | None) -> Written:
        """The page's effects are in the transaction of *session* (or written, without one)."""

    def rewind(self) -> None:
        """Pages read ahead are forgotten; the next read may ask for the same documents again."""

    def suspect(self, page: Page) -> Any:
        """Return the ``_id`` of the one document in a page of one."""


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

"""
How big the next page is and how long to wait before it: (state, measurement) -> state.

Time arrives as an argument; nothing here measures it.
"""

from dataclasses import dataclass, replace

PAGE_DOCS_START = 100
PAGE_DOCS_MIN = 50
"""Time inflates under load; without a floor a page fitted to time alone collapses to nothing."""
_FLOOR_HOLDS_MAX = 4.0
"""Hold times that the floor may cost: fifty documents with a dozen indexes each can take half a second."""
PAGE_BYTES_MAX = 4 << 20
"""A page's oplog entries, its read-back and its messages all stay at a few MB."""
_SMOOTHING = 0.3
_GROWTH_MAX = 2.0


@dataclass(frozen=True, slots=True)
class PageSize:
    """How many documents the next page should hold."""

    docs: int = PAGE_DOCS_START
    ms_per_doc: float | None = None
    bytes_per_doc: float | None = None
    conflicts: int = 0
    """Consecutive conflicts: each halves the page below its floor, down to one document."""

    @property
    def next_docs(self) -> int:
        """Documents for the next page, at least one."""
        return max(1, self.docs >> self.conflicts)


def first(bytes_per_doc: float) -> PageSize:
    """Return the size to begin with, where documents are expected to have *bytes_per_doc* bytes; 0 for unknown."""
    docs = min(PAGE_DOCS_START, int(PAGE_BYTES_MAX / bytes_per_doc)) if bytes_per_doc > 0 else PAGE_DOCS_START
    return PageSize(docs=max(1, docs), bytes_per_doc=bytes_per_doc or None)


def fitted(
    size: PageSize, *, docs: int, hold_ms: float, page_bytes: int, hold_ms_target: float, docs_max: int
) -> PageSize:
    """
    Return the size after a page of *docs* documents held its transaction for *hold_ms*.

    Fitted to the hold time, at most doubling at a time, and not below a floor; the byte cap is
    above all of them. A page of no documents tells nothing, one of 0 bytes nothing of bytes.
    """
    if docs <= 0:
        return replace(size, conflicts=max(0, size.conflicts - 1))
    ms = _smooth(size.ms_per_doc, hold_ms / docs)
    per_doc = _smooth(size.bytes_per_doc, page_bytes / docs) if page_bytes else size.bytes_per_doc
    wanted = hold_ms_target / ms if ms > 0 else float(docs_max)
    grown = min(wanted, max(size.docs, PAGE_DOCS_MIN) * _GROWTH_MAX)
    floor = min(PAGE_DOCS_MIN, wanted * _FLOOR_HOLDS_MAX)
    by_bytes = PAGE_BYTES_MAX / per_doc if per_doc else float(docs_max)
    fit = int(max(1, min(max(grown, floor), by_bytes, docs_max)))
    return PageSize(docs=fit, ms_per_doc=ms, bytes_per_doc=per_doc, conflicts=max(0, size.conflicts - 1))


def held(size: PageSize, hold_ms_target: float) -> int:
    """Return documents for the next page under a hold time that may have become shorter since the size was fitted."""
    if not size.ms_per_doc:
        return size.next_docs
    wanted = hold_ms_target / size.ms_per_doc
    return int(max(1, min(size.next_docs, max(wanted, min(PAGE_DOCS_MIN, wanted * _FLOOR_HOLDS_MAX)))))


def after_conflict(size: PageSize, docs: int | None = None) -> PageSize:
    """
    Return a size half as big as the page of *docs* documents that failed, or as the next one would have been.

    A document that stays hot ends in a page of its own.
    """
    half = (size.next_docs if docs is None else min(docs, size.next_docs)) // 2
    conflicts = min(size.conflicts + 1, size.docs.bit_length())
    while size.docs >> conflicts > max(1, half):
        conflicts += 1
    return replace(size, conflicts=conflicts)


def conflict_pause_ms(conflicts: int, draw: float) -> float:
    """Return a jittered wait after the given number of consecutive conflicts; *draw* is in [0, 1)."""
    return min(5.0 * 2.0 ** min(conflicts, 10), 500.0) * (0.5 + draw)


def _smooth(old: float | None, new: float) -> float:
    return new if old is None else old + _SMOOTHING * (new - old)


THROTTLED_PAGE_SECONDS = 0.25
"""A throttled slice writes small pages often, not large ones seldom."""


def throttled_docs(docs: int, docs_per_second: float | None) -> int:
    """Return the page size under a rate: at most a quarter of a second's worth, at least one."""
    if docs_per_second is None:
        return docs
    return max(1, int(min(docs, docs_per_second * THROTTLED_PAGE_SECONDS)))


@dataclass(frozen=True, slots=True)
class Credit:
    """Documents a throttled slice may write by now; while it is below zero the slice owes, and waits."""

    docs: float
    at_s: float
    """Of the caller's monotonic clock."""


def owing(docs: int, *, waited_s: float, docs_per_second: float | None, now_s: float) -> Credit:
    """Return what a slice begins with: it owes a page, less what was waited for before it began."""
    earned = waited_s * docs_per_second if docs_per_second is not None else 0.0
    return Credit(min(0.0, earned - docs), now_s)


def accrued(credit: Credit, docs_per_second: float, now_s: float) -> Credit:
    """Return *credit* with what time has earned, at most a page's worth: idle time buys no burst."""
    earned = credit.docs + max(0.0, now_s - credit.at_s) * docs_per_second
    return Credit(min(earned, docs_per_second * THROTTLED_PAGE_SECONDS), now_s)


def wait_seconds(credit: Credit, docs_per_second: float) -> float:
    """Return how long until *credit* is no longer below zero."""
    return max(0.0, -credit.docs / docs_per_second)


def share(docs_per_second: float | None, live: int) -> float | None:
    """Return one slice's part of the whole job's rate."""
    return None if docs_per_second is None else docs_per_second / max(1, live)

"""What the governor said and when, and how far the work had come by then."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.beside.sizes import BEFORE_SECONDS, BLANK, CUT_PART, RECOVERED, WINDOW_SECONDS


@dataclass(frozen=True, slots=True)
class Word:
    """The governor's budget, from the moment at which it was first seen."""

    at: float
    """Seconds since the epoch."""
    is_open: bool
    duty: float
    label: str = ""
    reason: str = ""

    @property
    def is_shut(self) -> bool:
        """Whether it keeps jobs away because of what it saw."""
        return not self.is_open and self.label != BLANK


class Reaction(NamedTuple):
    """How a governor answered one surge."""

    seconds: float | None
    """Until its gate was shut or its budget cut; None if neither came."""
    was_shut: bool
    """It was so already, for another reason: no answer to be counted."""


def word_at(words: Sequence[Word], at: float) -> Word | None:
    """Return the word that was in force at this moment; None before the first one."""
    return next((word for word in reversed(words) if word.at <= at), None)


def reaction(words: Sequence[Word], begin_at: float, end_at: float) -> Reaction:
    """Return how a surge between these moments was answered; blank windows answer nothing."""
    before = word_at([word for word in words if word.label != BLANK], begin_at)
    if before is not None and before.is_shut:
        return Reaction(0.0, was_shut=True)
    for word in words:
        if word.at <= begin_at or word.at > end_at or word.label == BLANK:
            continue
        if word.is_shut or (before is not None and word.duty < before.duty * CUT_PART):
            return Reaction(word.at - begin_at, was_shut=False)
    return Reaction(None, was_shut=False)


def shut_part(words: Sequence[Word], begin_at: float, end_at: float) -> float:
    """Return the share of the time between these moments in which the gate was shut, blank windows aside."""
    first = word_at(words, begin_at)
    inside = [*([first] if first else []), *(word for word in words if begin_at < word.at < end_at)]
    shut_s = 0.0
    for word, following in itertools.zip_longest(inside, inside[1:]):
        until = following.at if following else end_at
        shut_s += (until - max(word.at, begin_at)) if word.is_shut else 0.0
    return shut_s / (end_at - begin_at)


Count = tuple[float, int]
"""A moment, and the documents done by then."""


def rate(counts: Sequence[Count], begin_at: float, end_at: float) -> float | None:
    """Return documents per second between the first and the last count within these moments; None for fewer than two."""
    inside = [count for count in counts if begin_at <= count[0] <= end_at]
    if len(inside) < 2:
        return None
    (first_at, first), (last_at, last) = inside[0], inside[-1]
    return (last - first) / (last_at - first_at)


def recovery(counts: Sequence[Count], begin_at: float, end_at: float, until_at: float) -> float | None:
    """
    Return how long after a disturbance (*begin_at* to *end_at*) the work had 90 % of its earlier rate again.

    Earlier: the ten seconds before. Again: over three seconds, so this is never less. None if it was
    not so until *until_at*, or nothing is known of before.
    """
    earlier = rate(counts, begin_at - BEFORE_SECONDS, begin_at)
    if not earlier:
        return None
    for at, _ in counts:
        if not end_at + WINDOW_SECONDS <= at <= until_at:
            continue
        now = rate(counts, at - WINDOW_SECONDS, at)
        if now is not None and now >= RECOVERED * earlier:
            return at - end_at
    return None

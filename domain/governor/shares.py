"""
One budget for all jobs of a cluster, divided: by weight, with a floor each, critical jobs first.

Method: weighted max-min fairness by a water level, as packet schedulers share a link.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

FLOOR = 0.02
"""Work-seconds per second that every job has, whatever the others weigh: nobody starves."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What one job asks for."""

    job: str
    slices: int
    """Its live ones; each can use at most one work-second per second."""
    weight: float = 1.0
    is_critical: bool = False


def divide(budget: float, claims: Sequence[Claim]) -> dict[str, float]:
    """
    Return each job's work-seconds per second.

    The sum is *budget*, or what all slices together can use where that is less. Every job has at
    least ``FLOOR``, or an equal part of a budget too small for that. Critical jobs are filled first.
    """
    asking = [claim for claim in claims if claim.slices > 0]
    if not asking or budget <= 0:
        return {claim.job: 0.0 for claim in asking}
    floor = min(FLOOR, budget / len(asking))
    shares: dict[str, float] = {}
    left, waiting = budget, len(asking)
    for is_critical in (True, False):
        group = {
            claim.job: _Bounds(claim.weight, floor, float(claim.slices))
            for claim in asking
            if claim.is_critical is is_critical
        }
        waiting -= len(group)
        filled = _fill(left - waiting * floor, group)
        left -= sum(filled.values())
        shares |= filled
    return shares


class _Bounds(NamedTuple):
    weight: float
    least: float
    most: float

    def at(self, level: float) -> float:
        """Return the share under a water level."""
        return min(max(level * self.weight, self.least), self.most)


def _fill(budget: float, bounds: dict[str, _Bounds]) -> dict[str, float]:
    """Return shares in proportion to weights, within their bounds, whose sum is *budget* or the most they can be."""
    # Between two of these levels every share grows in a straight line, or not at all.
    below = (0.0, sum(each.least for each in bounds.values()))
    level = 0.0
    for point in sorted(bound / each.weight for each in bounds.values() for bound in (each.least, each.most)):
        here = sum(each.at(point) for each in bounds.values())
        level = point
        if here >= budget:
            part = (budget - below[1]) / (here - below[1]) if here > below[1] else 0.0
            level = below[0] + part * (point - below[0])
            break
        below = (point, here)
    return {job: each.at(level) for job, each in bounds.items()}

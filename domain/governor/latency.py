"""Latencies as a histogram of powers, small enough to be reported every second and merged without loss."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping

STEPS = 16
"""Buckets per doubling: a percentile is right within five per cent."""


def bucket(latency_ms: float) -> int:
    """Return the bucket of a latency; those below a microsecond share one."""
    return round(STEPS * math.log2(max(latency_ms, 0.001)))


def bucket_ms(number: int) -> float:
    """Return the latency in the middle of a bucket."""
    return float(2.0 ** (number / STEPS))


def merged(histograms: Iterable[Mapping[str, int]]) -> Counter[int]:
    """Return the sum of histograms as they are stored: bucket numbers as text."""
    found: Counter[int] = Counter()
    for histogram in histograms:
        for name, count in histogram.items():
            found[int(name)] += int(count)
    return found


def percentile_ms(histogram: Counter[int], percent: float) -> float | None:
    """Return the latency that *percent* of the operations did not exceed; None without operations."""
    total = histogram.total()
    seen = 0
    for number in sorted(histogram):
        seen += histogram[number]
        if total and seen >= percent / 100 * total:
            return bucket_ms(number)
    return None

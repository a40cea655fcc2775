"""How busy the foreground is: what the server counts, less what is known to be ours."""

from collections import deque

WINDOW_SECONDS = 2.0
"""Over which operations that are not ours are counted."""
ACCOUNTS_LATE_SECONDS = 0.5
"""From a page to its account being read by the governor."""


class Strangers:
    """Counts operations that are not ours, from absolute numbers."""

    def __init__(self) -> None:
        self._counts: deque[tuple[float, float]] = deque()
        self.per_second: float | None = None
        """None while the server does not tell, or has been looked at for less than half a window."""

    def count(self, at_s: float, operations: float | None, *, ours: float, ours_per_second: float) -> None:
        """
        Take in that the server has counted so many *operations* of everybody by *at_s*, *ours* among them.

        *ours_per_second* is what workers do at present. They tell late: what they may have done since is
        not a foreground.
        """
        if operations is None:
            self.per_second = None
            return
        self._counts.append((at_s, operations - ours))
        while at_s - self._counts[0][0] > WINDOW_SECONDS:
            self._counts.popleft()
        since_s, before = self._counts[0]
        if at_s - since_s >= WINDOW_SECONDS / 2:
            untold = ours_per_second * ACCOUNTS_LATE_SECONDS
            self.per_second = max(0.0, (operations - ours - before - untold) / (at_s - since_s))

"""How much is measured, on what, and what is wanted."""

from typing import Any, NamedTuple

from benchmarks.bench import Document

ORDERS, OTHER, SPARE = "bench.orders", "bench.other", "bench.spare"
RATE, RATE_HIGH = 300.0, 1_000.0
"""Operations per second of the foreground."""
INCREMENT: Document = {"$inc": {"version": 1}}
UPDATE: dict[str, Any] = {"kind": "update", "update": INCREMENT}
TRANSFORM: dict[str, Any] = {"kind": "transform", "transform": "bench.total"}
PURGE: dict[str, Any] = {"kind": "purge", "everything": True}
SCRIPT_BATCH = 1_000
LAG_LIMIT_S = 1.0
"""As pt-archiver's ``--max-lag``, looked at as often as its ``--check-interval``."""

SWITCH_SECONDS = 2.0
"""After a switch from one side to the other nothing counts."""
WARM_SECONDS = 5.0
"""A governor that has just begun sees the foreground alone for this long."""
LEARN_SECONDS = 60.0
"""A governed job works for this long before it is measured: what the cluster tolerates is learned in some ten-second steps."""
REST_SECONDS = 3.0
"""After work of ours that is not measured, like seeding."""
GOVERNED_SECONDS_MAX = 60.0
FOREGROUND_SECONDS_MAX = 7_200.0
LOOK_SECONDS = 0.2
DRAWS = 400
SEED = 11

P99_LIMIT = "<= 1.1"
THROUGHPUT_LIMIT = ">= 0.25"
IDLE_LIMIT = ">= 0.9"
REACTION_LIMIT_S, REACTION_LIMIT_MAX_S = 1.0, 2.0
REACTION_PART = ">= 0.9"
RECOVERY_LIMIT_S = 30.0
FAIR_LIMIT = "<= 0.1"

BLANK = "blank window"
"""The governor's label for a stop in which it only looks: no answer to anything."""
CUT_PART = 0.95
"""A budget below this part of what it was has been cut."""
BEFORE_SECONDS = 10.0
"""For the rate before a surge."""
WINDOW_SECONDS = 3.0
"""For the rate after it: no recovery is faster."""
RECOVERED = 0.9


class Size(NamedTuple):
    """How much is measured."""

    documents: int
    """So many that a job seldom ends within a segment: between two jobs nothing is done."""
    segment_s: float
    pairs: int
    """Of segments with the governed job and without it."""
    pairs_unpaced: int
    pairs_kinds: int
    """For each of the other kinds; half as many unpaced."""
    baseline: int
    """Job-free segments before the first pair."""
    long_s: float
    pairs_long: int
    surges: int
    surges_alone: int
    """Without a job, for comparison."""
    surge_s: float
    surge_every_s: float
    surge_rate: float
    scans: int
    scan_s: float
    rounds: int
    """Of whole jobs on the idle cluster."""
    windows: int
    window_s: float
    """In which shares are compared."""


FULL = Size(2_000_000, 15, 17, 8, 17, 8, 60, 6, 10, 3, 15, 75, 1_500, 3, 40, 5, 6, 30)
QUICK = Size(1_000_000, 8, 3, 2, 2, 1, 30, 2, 3, 1, 8, 40, 1_500, 1, 20, 2, 2, 20)

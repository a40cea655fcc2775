"""Part ``kinds``: other work, another foreground, two jobs."""

from benchmarks.beside.scores import Case, hold_cases
from benchmarks.beside.sizes import RATE, RATE_HIGH, TRANSFORM, UPDATE
from benchmarks.beside.stage import Result, Stage


async def part_kinds(stage: Stage) -> Result:
    """Return the same for the other kinds, for a faster foreground and for two jobs at once."""
    pairs = stage.size.pairs_kinds
    stage = stage.sized(pairs=pairs, pairs_unpaced=max(1, pairs // 2))
    cases: dict[str, Case] = {
        "transform, 300 ops/s": (lambda mode: stage.jobs(mode, TRANSFORM), RATE),
        "purge, 300 ops/s": (stage.purging, RATE),
        "update, 1,000 ops/s": (lambda mode: stage.jobs(mode, UPDATE), RATE_HIGH),
        "two updates, 300 ops/s": (lambda mode: stage.jobs(mode, UPDATE, UPDATE), RATE),
    }
    return await hold_cases(stage, "Other kinds, another foreground, two jobs", cases)

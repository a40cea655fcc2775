"""Parts ``p99`` and ``long``: the main figures."""

from benchmarks.beside.scores import Case, hold_cases
from benchmarks.beside.sizes import RATE, UPDATE
from benchmarks.beside.stage import Result, Stage


async def part_p99(stage: Stage) -> Result:
    """Return the main figures: an update beside 300 operations a second."""
    cases: dict[str, Case] = {"update, 300 ops/s": (lambda mode: stage.jobs(mode, UPDATE), RATE)}
    return await hold_cases(stage, "The foreground beside a job", cases)


async def part_long(stage: Stage) -> Result:
    """Return the same in segments of a minute, in which the governor's slow decisions and blank windows take part."""
    size = stage.size
    slower = stage.sized(segment_s=size.long_s, pairs=size.pairs_long, pairs_unpaced=size.pairs_long, baseline=1)
    cases: dict[str, Case] = {"update, 300 ops/s": (lambda mode: slower.jobs(mode, UPDATE), RATE)}
    return await hold_cases(slower, f"The same in segments of {size.long_s:.0f} s", cases)

"""Part ``side``: lull beside the scripts that one would write by hand."""

from benchmarks.beside.arms import LagOnly, Script, Sleeping
from benchmarks.beside.scores import hold, show_scores
from benchmarks.beside.sizes import RATE, SCRIPT_BATCH, UPDATE
from benchmarks.beside.stage import Result, Stage
from lull.domain.governor.budget import Mode


async def part_side(stage: Stage) -> Result:
    """Return what scripts by hand do to the foreground, beside what lull does, and how fast each is."""
    lab, size = stage.lab, stage.size
    governed = stage.jobs(Mode.ENFORCE, UPDATE)
    governed.name = "lull"
    script = Script("script, unpaced", lab, size.documents)
    sleeping = Sleeping("script, fixed sleep", lab, size.documents, like=governed.name, unpaced=script.name)
    lag_only = LagOnly("script, lag only", lab, size.documents)
    arms = [(arm, size.pairs) for arm in (governed, script, sleeping, lag_only)]
    scores = await hold(stage, RATE, arms)
    scores[2].notes["sleep_s"] = round(sleeping.sleep_s, 4)
    show_scores(
        f"Side by side; the fixed sleep is {sleeping.sleep_s * 1_000:.0f} ms after {SCRIPT_BATCH:,} documents",
        [(score.arm, score) for score in scores],
    )
    return {"scores": [score.row() for score in scores]}

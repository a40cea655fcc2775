"""The parts that are asked for, measured, printed and written as they are done."""

import argparse
import asyncio
import json
import signal
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import bench
from benchmarks.bench import Lab, Machine
from benchmarks.beside.part_cost import part_cost
from benchmarks.beside.part_fair import part_fair
from benchmarks.beside.part_foreign import part_foreign
from benchmarks.beside.part_frontier import part_frontier
from benchmarks.beside.part_idle import part_idle
from benchmarks.beside.part_kinds import part_kinds
from benchmarks.beside.part_p99 import part_long, part_p99
from benchmarks.beside.part_side import part_side
from benchmarks.beside.part_surge import part_surge
from benchmarks.beside.sizes import FULL, ORDERS, OTHER, QUICK, Size
from benchmarks.beside.stage import Result, Stage

PARTS: dict[str, Callable[[Stage], Awaitable[Result]]] = {
    "p99": part_p99,
    "long": part_long,
    "frontier": part_frontier,
    "kinds": part_kinds,
    "side": part_side,
    "surge": part_surge,
    "foreign": part_foreign,
    "idle": part_idle,
    "fair": part_fair,
    "cost": part_cost,
}


def parse_arguments(words: Sequence[str] | None = None) -> tuple[list[str], Size]:
    """Return the parts that are asked for, in their order, and how much is measured."""
    parser = argparse.ArgumentParser(description="What a foreground feels while jobs run beside it.")
    parser.add_argument("--only", action="append", choices=PARTS, help="this part; may be repeated")
    parser.add_argument("--documents", type=int, help="of the collection")
    parser.add_argument("--segment", type=float, help="seconds of a segment")
    parser.add_argument("--surge-rate", type=float, help="operations per second in surges")
    parser.add_argument("--pairs", type=int, help="pairs of segments with the governed job and without")
    asked = parser.parse_args(words)
    size = QUICK if bench.is_quick() else FULL
    if asked.documents is not None:
        size = size._replace(documents=asked.documents)
    if asked.segment is not None:
        size = size._replace(segment_s=asked.segment)
    if asked.pairs is not None:
        size = size._replace(pairs=asked.pairs, pairs_kinds=asked.pairs)
    if asked.surge_rate is not None:
        size = size._replace(surge_rate=asked.surge_rate)
    return [name for name in PARTS if not asked.only or name in asked.only], size


def kept(path: Path) -> dict[str, Any]:
    """Return the parts that were measured before and stand in the file."""
    try:
        parts: dict[str, Any] = json.loads(path.read_text())["parts"]
    except (OSError, ValueError, KeyError):
        return {}
    return parts


async def measure(stage: Stage, name: str) -> Result:
    """Return one part, with the machine it was taken on."""
    machine = Machine()
    bench.console.print(f"[bold]{name}[/bold]")
    result = await PARTS[name](stage)
    described = machine.describe()
    bench.console.print(
        f"{described['seconds']:.0f} s; the processors idled {described['idle_percent']} % of it, "
        f"the host gave {described['steal_percent']} % to others\n"
    )
    return {"machine": described, "is_quick": bench.is_quick(), "size": stage.size._asdict(), "result": result}


async def main() -> None:
    """Measure the parts that are asked for; each is printed and written when it is done."""
    names, size = parse_arguments()
    # Told to end, it leaves nothing behind, its folder included.
    if (task := asyncio.current_task()) is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    machine = Machine()
    parts = kept(bench.OUT / "foreground.json")
    with Lab() as lab:
        lab.start_worker()
        lab.seed(ORDERS, size.documents)
        lab.copy(ORDERS, OTHER)
        stage = Stage(lab, await lab.connect(), size)
        for name in names:
            parts[name] = await measure(stage, name)
            bench.write("foreground", {"parts": {key: parts[key] for key in PARTS if key in parts}}, machine)


if __name__ == "__main__":
    asyncio.run(main())

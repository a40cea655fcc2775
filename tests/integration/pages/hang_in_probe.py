"""A probe that stops inside its first page's transaction, says so on stdout, and waits to be killed."""

import asyncio
import json
import sys
import threading
from typing import Any

from lull.activities.forecasting import Forecasting
from lull.activities.kinds.ranges import ServerSidePages
from lull.activities.mongo import Clusters
from lull.activities.planning import Planning
from lull.activities.transforms import Registry
from lull.domain.config import ClusterProfile
from lull.domain.forecast import ForecastRequest
from lull.domain.governor.budget import Mode
from lull.domain.kinds import parse_spec
from lull.domain.slice import PlanRequest


def hang_after_write() -> None:
    write = ServerSidePages.write

    def and_hang(self: ServerSidePages, *args: Any, **kwargs: Any) -> Any:
        write(self, *args, **kwargs)
        print("inside", flush=True)  # noqa: T201 - the signal
        threading.Event().wait()

    ServerSidePages.write = and_hang  # type: ignore[method-assign]


async def main(uri: str, written: str) -> None:
    clusters, registry = Clusters({"main": ClusterProfile(uri=uri, governor=Mode.OFF)}), Registry()
    spec = parse_spec(json.loads(written))
    plan = await Planning(clusters, registry).plan(PlanRequest(spec=spec))
    await Forecasting(clusters, registry).forecast(ForecastRequest(spec=spec, plan=plan, probe=True))


if __name__ == "__main__":
    hang_after_write()
    asyncio.run(main(*sys.argv[1:]))

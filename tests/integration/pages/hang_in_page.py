"""A worker that stops inside its first page's transaction, says so on stdout, and waits to be killed."""

import asyncio
import sys
import threading
from typing import Any

from temporalio.testing import ActivityEnvironment

from lull.activities.lease import Lease
from lull.activities.mongo import Clusters
from lull.activities.pages import Pages
from lull.activities.transforms import Registry, Transform
from lull.domain.config import ClusterProfile
from lull.domain.governor.budget import Mode
from lull.domain.slice import SliceTask


def hang_after_advance() -> None:
    advance = Lease.advance

    def and_hang(self: Lease, *args: Any, **kwargs: Any) -> None:
        advance(self, *args, **kwargs)
        print("inside", flush=True)  # noqa: T201 - the signal
        threading.Event().wait()

    Lease.advance = and_hang  # type: ignore[method-assign]


async def main(uri: str, job: str) -> None:
    registry = Registry()
    registry.add(Transform("t0", lambda d: {"n": d.get("n", 0) + 1}))
    pages = Pages(Clusters({"main": ClusterProfile(uri=uri, governor=Mode.OFF)}), registry)
    task = SliceTask(job=job, cluster="main", incarnation=1, partition=0, epoch=0)
    await ActivityEnvironment().run(pages.run_slice, task)


if __name__ == "__main__":
    hang_after_advance()
    asyncio.run(main(*sys.argv[1:]))

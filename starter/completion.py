"""Names for the shell's Tab, of jobs and clusters: asked of Temporal, quickly, and silently none when it does not answer."""

import asyncio
import contextlib
import os
from collections.abc import Callable, Coroutine
from typing import Any

COMPLETION_SECONDS_MAX = 1.5
"""A Tab that hangs is worse than one that knows nothing."""
_SHOWN_MAX = 100


def complete_job(incomplete: str) -> list[tuple[str, str]]:
    """Return the jobs that begin with *incomplete*, each with its state."""
    return _asked(_jobs, incomplete)


def complete_governed(incomplete: str) -> list[tuple[str, str]]:
    """Return the clusters with a governor that begin with *incomplete*, each with its governor's zone."""
    return _asked(_governed, incomplete)


def _asked(ask: Callable[[str], Coroutine[Any, Any, list[tuple[str, str]]]], incomplete: str) -> list[tuple[str, str]]:
    # Whatever goes wrong here would be printed into the line that is being typed.
    with contextlib.suppress(Exception), contextlib.redirect_stderr(open(os.devnull, "w", encoding="utf-8")):  # noqa: PTH123 - ends with this process
        return asyncio.run(asyncio.wait_for(ask(incomplete), COMPLETION_SECONDS_MAX))
    return []


async def _jobs(incomplete: str) -> list[tuple[str, str]]:
    from lull.starter.client import Client  # noqa: PLC0415 - most Tabs complete words that need no server

    client = await Client.connect()
    found = await client.list(limit=_SHOWN_MAX)
    return [(row.job, f"{row.status} {row.kind}") for row in found if row.job.startswith(incomplete)]


async def _governed(incomplete: str) -> list[tuple[str, str]]:
    from lull.starter.client import Client  # noqa: PLC0415 - most Tabs complete words that need no server

    found = await (await Client.connect()).governors.running()
    return [(cluster, zone) for cluster, zone in found.items() if cluster.startswith(incomplete)]


def complete_kind(incomplete: str) -> list[tuple[str, str]]:
    """Return the kinds that begin with *incomplete*, each with what it does."""
    from lull.domain.kinds import KINDS  # noqa: PLC0415

    return [(name, spec.gloss) for name, spec in KINDS.items() if name.startswith(incomplete)]

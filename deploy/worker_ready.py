"""Ends with 0 if every lull worker of this container polls its queues, else with 1 and the reason: a HEALTHCHECK."""

# ruff: noqa: INP001 - a script, not a module of a package

import sys

from lull.workers.records import Phase, Records

# A draining worker is healthy: it is finishing the pages in hand, and must not be killed for that.
HEALTHY = {Phase.READY, Phase.DRAINING}


def main() -> str | None:
    """Return what is wrong; None if nothing is."""
    workers = Records().live()
    if not workers:
        return "no worker runs here"
    waiting = [worker.identity for worker in workers if worker.phase not in HEALTHY]
    return f"not ready yet (does Temporal answer?): {', '.join(waiting)}" if waiting else None


if __name__ == "__main__":
    sys.exit(main())

"""The task queues: control work never waits behind pages, critical pages never behind ordinary ones."""

from lull.domain.job import Priority

CONTROL = "lull"
"""Workflows and short ledger activities."""
PAGES = "lull-pages"
PAGES_CRITICAL = "lull-pages-critical"

GOVERNOR = "lull-governor"
"""Governors: in processes of their own, where no page is ever encoded."""


def pages_queue(priority: Priority) -> str:
    """Return the queue that slices of this priority wait in."""
    return PAGES_CRITICAL if priority is Priority.CRITICAL else PAGES


def workflow_id(job: str) -> str:
    """Return the Temporal workflow id of a job: starting it twice is starting it once."""
    return f"lull/{job}"


def governor_id(cluster: str) -> str:
    """Return the workflow id of a cluster's governor: there is one."""
    return f"lull-governor/{cluster}"

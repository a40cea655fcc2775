"""What ``lull doctor`` learns of a cluster's governor from Temporal: does it live, where, what does it see."""

from collections import defaultdict

from lull.domain import queues
from lull.domain.governor.budget import Mode
from lull.domain.governor.status import GovernorStatus
from lull.domain.slice import Check
from lull.starter.client import Client
from lull.starter.errors import NotFound
from lull.starter.governor_client import LATE_SECONDS
from lull.starter.views import GovernorSeen

_MEANING = {
    Mode.ENFORCE: "jobs obey it",
    Mode.OBSERVE: "it only observes: nobody obeys it",
    Mode.OFF: "it is told to be off",
}


async def governor_checks(client: Client, cluster: str) -> list[Check]:
    """Return the findings about one governed cluster; of one whose governor never spoke, the first alone."""
    is_polled = await client.door.is_polled(queues.GOVERNOR, for_activities=True)
    try:
        seen = await client.governors.status(cluster)
    except NotFound:
        return [
            Check(
                name=f"{cluster}: governor",
                ok=False,
                seen="its workflow does not run",
                remedy="wait half a minute: every worker with this profile starts it; else read their logs",
            )
        ]
    checks = [governor(seen, is_polled=is_polled)]
    return checks + ([foreground(seen.status), signals(seen.status)] if seen.status else [])


def governor(seen: GovernorSeen, *, is_polled: bool) -> Check:
    """Return whether the governor was heard lately, and from where."""
    is_late = seen.age_s is None or seen.age_s > LATE_SECONDS
    heard = "never heard" if seen.age_s is None else f"heard {seen.age_s:.1f} s ago"
    mode = f"; {_MEANING[seen.status.mode]}" if seen.status else ""
    where = f" from {seen.worker}" if seen.worker else ", and no process has taken it"
    # What Temporal knows of the delay is more than its age says.
    remarks = "".join(f"; {remark}" for remark in seen.remarks) if is_late else ""
    if not is_polled:
        remedy = "start a worker with lull worker, without --no-governor: no process governs"
    else:
        remedy = f"read the log of {seen.worker or 'the workers'}; one that has just begun needs some seconds"
    return Check(
        name=f"{seen.cluster}: governor",
        ok=not is_late and bool(seen.worker),
        seen=f"{heard}{where}{mode}{remarks}",
        remedy=remedy,
    )


def foreground(status: GovernorStatus) -> Check:
    """Return what the governor makes of the foreground. Never wrong: to wait for it is what jobs are for."""
    gate = "gate open" if status.is_open else "gate shut"
    reason = f" ({status.reason})" if status.reason else ""
    starved = "; jobs starve: the foreground has been slow without them for a minute" if status.is_starved else ""
    ops = "" if status.foreground_ops is None else f"; {status.foreground_ops:,.0f} operations a second are not lull's"
    seen = f"zone {status.zone}, {gate}{reason}, budget {status.duty:.2f} work-seconds a second{ops}{starved}"
    return Check(name=f"{status.cluster}: foreground", ok=True, seen=seen)


def signals(status: GovernorStatus) -> Check:
    """Return which signals are off, each with the reason; a missing grant is named with what grants it."""
    off: defaultdict[str, list[str]] = defaultdict(list)
    for row in status.signals:
        if row.observed is None and row.age_s is None:
            off[row.note or "nothing was seen yet"].append(row.name)
    on = [row.name for row in status.signals if row.observed is not None or row.age_s is not None]
    seen = f"on: {', '.join(on) or 'none'}" + "".join(
        f"; off: {', '.join(names)} ({why})" for why, names in off.items()
    )
    return Check(name=f"{status.cluster}: signals", ok=True, seen=seen)

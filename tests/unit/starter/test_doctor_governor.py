"""What the doctor makes of what Temporal knows of a governor: who governs, what is off, and what would switch it on."""

from datetime import UTC, datetime
from typing import Any

import pytest

from lull.domain.governor.budget import Mode
from lull.domain.governor.law import Zone
from lull.domain.governor.status import GovernorStatus, SignalRow
from lull.starter import doctor_governor
from lull.starter.views import GovernorSeen

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
GRANT = "not granted: grant serverStatus"
WORKER = "lull-governor@host:7"


def status(**fields: Any) -> GovernorStatus:
    base = {
        "cluster": "main", "mode": Mode.ENFORCE, "zone": Zone.GROW, "is_open": True, "duty": 0.25, "hold_ms": 10.0,
        "as_of": NOW,
    }  # fmt: skip
    return GovernorStatus.model_validate(base | fields)


def seen(**fields: Any) -> GovernorSeen:
    return GovernorSeen.model_validate(
        {"cluster": "main", "status": status(), "age_s": 0.4, "worker": WORKER, "as_of": NOW} | fields
    )


def test_a_governor_that_was_heard_lately_is_right():
    check = doctor_governor.governor(seen(), is_polled=True)
    assert (check.ok, check.seen) == (True, f"heard 0.4 s ago from {WORKER}; jobs obey it")


@pytest.mark.parametrize(
    ("fields", "is_polled", "said", "remedy"),
    [
        ({"age_s": 9.0}, True, f"heard 9.0 s ago from {WORKER}", f"read the log of {WORKER}"),
        ({"age_s": None, "status": None, "worker": ""}, True, "never heard, and no process", "read the log of the workers"),
        ({"age_s": None, "status": None, "worker": ""}, False, "never heard", "start a worker with lull worker, without --no-gov"),
        ({"age_s": 9.0, "remarks": ("the governor failed",)}, True, "; the governor failed", "read the log"),
        ({"age_s": None, "status": None}, True, f"never heard from {WORKER}", f"read the log of {WORKER}"),
        ({"worker": ""}, False, "no process has taken it", "without --no-governor"),
    ],
)  # fmt: skip
def test_a_governor_that_is_late_or_nowhere_is_wrong_and_says_what_to_do(
    fields: dict[str, Any],
    is_polled: bool,  # noqa: FBT001 - a table's column
    said: str,
    remedy: str,
):
    check = doctor_governor.governor(seen(**fields), is_polled=is_polled)
    assert not check.ok
    assert said in check.seen
    assert remedy in check.remedy


def test_a_governor_that_only_observes_is_right_and_says_so():
    check = doctor_governor.governor(seen(status=status(mode=Mode.OBSERVE)), is_polled=True)
    assert check.ok
    assert "nobody obeys it" in check.seen


def test_signals_that_are_off_are_gathered_by_their_reason_with_the_grant():
    rows = (
        SignalRow(name="canary", unit="ms", effect="gate", observed=3.0, limit=9.0, age_s=0.1),
        SignalRow(name="read-p99", unit="ms", effect="cut", age_s=0.0, note="canary"),
        SignalRow(name="queue", unit="operations", effect="cut", note=GRANT),
        SignalRow(name="oplog-window", unit="h", effect="hard", note="nothing was dropped yet"),
        SignalRow(name="flow-control", unit="ms/s", effect="hard", note=GRANT),
    )
    check = doctor_governor.signals(status(signals=rows))
    assert check.ok
    assert check.seen == (
        f"on: canary, read-p99; off: queue, flow-control ({GRANT}); off: oplog-window (nothing was dropped yet)"
    )


def test_a_shut_gate_is_no_fault_and_is_told_with_its_reason():
    fields = {"is_open": False, "zone": Zone.STOP, "reason": "canary 41 ms >= 12 ms", "is_starved": True}
    check = doctor_governor.foreground(status(foreground_ops=310.4, **fields))
    assert check.ok
    for text in ("zone stop", "gate shut (canary 41 ms >= 12 ms)", "310 operations a second", "jobs starve"):
        assert text in check.seen

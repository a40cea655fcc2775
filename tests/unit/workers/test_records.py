"""What workers of this machine say of themselves, and whom a drain means."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lull.domain.errors import OperatorError
from lull.workers.drain import choose
from lull.workers.errors import NotFound
from lull.workers.records import Phase, Records, WorkerRecord, record_of_this_process, runtime_folder

START = datetime(2026, 1, 1, tzinfo=UTC)


def record(**said: Any) -> WorkerRecord:
    return record_of_this_process(
        identity="lull@host:1", queues=("lull",), slots=8, address="a", namespace="n", grace_s=30.0, **said
    )


def named(pid: int, parent: int | None = None) -> WorkerRecord:
    return record().model_copy(update={"pid": pid, "parent": parent, "started_at": START + timedelta(seconds=pid)})


def test_a_record_is_read_back_and_replaced(tmp_path: Path):
    records = Records(tmp_path / "lull")
    first = record()
    records.write(first)
    assert records.live() == [first]
    draining = first.model_copy(update={"phase": Phase.DRAINING, "finishing": ("speed partition 3",)})
    records.write(draining)
    assert records.live() == [draining]
    records.remove(first.pid)
    assert records.live() == []


def test_the_folder_is_its_owners_alone(tmp_path: Path):
    records = Records(tmp_path / "lull")
    records.write(record())
    assert (tmp_path / "lull").stat().st_mode & 0o777 == 0o700


def test_a_folder_others_can_read_or_a_link_is_refused(tmp_path: Path):
    """In /tmp anybody could have made it first, and steer what a drain signals."""
    (tmp_path / "open").mkdir(mode=0o755)
    (tmp_path / "link").symlink_to(tmp_path / "open")
    for name in ("open", "link"):
        with pytest.raises(OperatorError, match="not a folder that only you can read"):
            Records(tmp_path / name).write(record())


def test_a_record_of_a_process_number_used_again_is_not_a_worker(tmp_path: Path):
    records = Records(tmp_path / "lull")
    records.write(record().model_copy(update={"birth": "another boot:1"}))
    assert records.live() == []
    assert not list((tmp_path / "lull").glob("*.json"))


def test_a_torn_file_is_no_worker(tmp_path: Path):
    records = Records(tmp_path / "lull")
    records.write(record())
    next(tmp_path.glob("lull/*.json")).write_text("{")
    assert records.live() == []


def test_records_stand_in_the_runtime_folder_of_the_user():
    assert runtime_folder({"XDG_RUNTIME_DIR": "/run/user/7"}) == Path("/run/user/7/lull")
    assert runtime_folder({}) == Path(f"/tmp/lull-{os.getuid()}")


def test_a_drain_without_a_choice_means_the_only_worker():
    assert choose([named(1)], None, everyone=False) == [named(1)]
    with pytest.raises(NotFound, match="no worker of this user"):
        choose([], None, everyone=True)


def test_a_drain_that_could_mean_several_asks_which():
    with pytest.raises(
        OperatorError, match=r"several workers run here: 1 \(lull\), 2 \(lull\); .*--pid N, or say --all"
    ):
        choose([named(1), named(2)], None, everyone=False)
    assert choose([named(1), named(2)], None, everyone=True) == [named(1), named(2)]
    assert choose([named(1), named(2)], 2, everyone=False) == [named(2)]
    with pytest.raises(NotFound, match="no worker has pid 3; there are 1"):
        choose([named(1), named(2)], 3, everyone=False)


def test_processes_under_a_parent_are_drained_through_it():
    """The parent would start a child again that was drained behind its back."""
    family = [named(1), named(2, parent=1), named(3, parent=1)]
    assert choose(family, None, everyone=False) == [named(1)]
    assert choose(family, None, everyone=True) == [named(1)]
    assert choose([named(2, parent=1)], None, everyone=False) == [named(2, parent=1)]

"""The supervisor's arithmetic and what a state file may and may not claim."""

from pathlib import Path

import pytest

from lull.embedded.process import Identity
from lull.embedded.report import Line, elapsed
from lull.embedded.stack import end_leftovers
from lull.embedded.state import (
    AlreadyHosted,
    MongoState,
    Server,
    StackFiles,
    StackState,
    Status,
    TemporalState,
    WorkerState,
    this_process,
)
from lull.embedded.status import examine
from lull.embedded.supervisor import PAUSE_SECONDS_MAX, SOUND_SECONDS, Backoff, Kept

DEAD = Identity(2**22 + 1, "long ago")


def full_state(status: Status = Status.RUNNING) -> StackState:
    server = Server(7233, "/log", DEAD)
    return StackState(
        status,
        DEAD,
        "2026-01-01T00:00:00+00:00",
        mongo=MongoState("mongodb://127.0.0.1:1", "6.0.27", [server]),
        temporal=TemporalState("127.0.0.1:7233", "http://127.0.0.1:8233", 8233, "1.8.2", server),
        worker=WorkerState("/log", DEAD, 3),
        config="/lull.toml",
    )


def test_pauses_double_up_to_a_limit_and_begin_again_after_a_sound_life():
    backoff = Backoff()
    pauses = [backoff.pause_seconds(lived_seconds=0) for _ in range(9)]
    assert pauses == [0.5, 1, 2, 4, 8, 16, PAUSE_SECONDS_MAX, PAUSE_SECONDS_MAX, PAUSE_SECONDS_MAX]
    assert backoff.pause_seconds(lived_seconds=SOUND_SECONDS) == 0.5


def test_what_is_dead_is_started_again_only_after_its_pause():
    starts: list[str] = []
    kept = Kept("it", lambda: False, lambda: starts.append("started"))
    assert not kept.look(Line("x"))
    assert not kept.look(Line("x"))
    assert starts == []
    kept._due = 0
    assert kept.look(Line("x"))
    assert (starts, kept.restarts) == (["started"], 1)


def test_a_state_is_read_as_it_was_written(tmp_path: Path):
    files = StackFiles(tmp_path)
    files.prepare()
    files.write(full_state())
    assert files.read() == full_state()
    assert files.state.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 99}', '{"version": 1}'])
def test_a_torn_or_foreign_state_file_tells_nothing(tmp_path: Path, text: str):
    files = StackFiles(tmp_path)
    files.prepare()
    files.state.write_text(text)
    assert files.read() is None


def test_a_state_file_that_survived_a_power_loss_deceives_nobody(tmp_path: Path):
    files = StackFiles(tmp_path)
    files.prepare()
    files.write(full_state(Status.RUNNING))
    assert not files.is_hosted()
    assert examine(files) is None


def test_a_process_number_that_somebody_else_has_now_is_left_alone():
    me = Identity(this_process().pid, "another birth")
    assert end_leftovers(full_state().changed(worker=WorkerState("/log", me))) == 0


def test_a_data_folder_has_one_host(tmp_path: Path):
    first, second = StackFiles(tmp_path), StackFiles(tmp_path)
    with first.hosted():
        assert second.is_hosted()
        with pytest.raises(AlreadyHosted, match="another process hosts a stack"), second.hosted():
            pass
    assert not second.is_hosted()


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59.9, "59 s"), (410, "6 min 50 s")])
def test_time_is_written_for_people(seconds: float, text: str):
    assert elapsed(seconds) == text

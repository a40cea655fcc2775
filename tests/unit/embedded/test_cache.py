"""What the per-user cache promises: whole folders only, made once, damage noticed."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest

from lull.embedded.cache import MANIFEST, Cache, default_root, require_room
from lull.embedded.errors import StackError, of_disk
from lull.embedded.report import Line, Step, StepState


def program(folder: Path) -> None:
    (folder / "program").write_text("runs")


class Listener:
    def __init__(self) -> None:
        self.steps: list[Step] = []

    def __call__(self, step: Step) -> None:
        self.steps.append(step)

    @property
    def notes(self) -> list[str]:
        return [step.text for step in self.steps if step.state is StepState.NOTED]


def test_what_was_made_once_is_not_made_again(tmp_path: Path):
    cache = Cache(tmp_path)
    made = cache.fill("tool-1", Line("tool"), program)

    def never(_folder: Path) -> None:
        raise AssertionError("made twice")

    assert cache.fill("tool-1", Line("tool"), never) == made
    assert (made / "program").read_text() == "runs"


def test_a_making_that_fails_leaves_no_entry_and_no_rubbish(tmp_path: Path):
    def fails(folder: Path) -> None:
        program(folder)
        raise StackError("the network went away")

    cache = Cache(tmp_path)
    with pytest.raises(StackError, match="network"):
        cache.fill("tool-1", Line("tool"), fails)
    assert cache.entry("tool-1", Line("tool")) is None
    assert [path.name for path in tmp_path.iterdir()] == ["tool-1.lock"]


@pytest.mark.parametrize("damage", ["cut off", "gone", "manifest torn"])
def test_a_damaged_entry_is_named_and_made_again(tmp_path: Path, damage: str):
    cache = Cache(tmp_path)
    made = cache.fill("tool-1", Line("tool"), program)
    match damage:
        case "cut off":
            (made / "program").write_text("ru")
        case "gone":
            (made / "program").unlink()
        case _:
            (made / MANIFEST).write_text('{"files"')
    listener = Listener()
    assert (cache.fill("tool-1", Line("tool", listener), program) / "program").read_text() == "runs"
    assert len(listener.notes) == 1
    assert "is damaged" in listener.notes[0]


MAKE_SLOWLY = """
import pathlib, sys, time
from lull.embedded.cache import Cache
from lull.embedded.report import Line

def make(folder):
    with open(sys.argv[2], "a") as makings:
        makings.write("made\\n")
    time.sleep(0.3)
    (folder / "program").write_text("runs")

Cache(pathlib.Path(sys.argv[1])).fill("tool-1", Line("tool"), make)
"""


def test_of_two_first_starts_one_makes_and_the_other_waits(tmp_path: Path):
    makings = tmp_path / "makings"
    command = [sys.executable, "-c", MAKE_SLOWLY, str(tmp_path / "cache"), str(makings)]
    both = [subprocess.Popen(command) for _ in range(2)]
    assert [one.wait() for one in both] == [0, 0]
    assert makings.read_text() == "made\n"


def test_a_cache_that_cannot_be_written_says_which_variable_moves_it(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StackError, match=r"cannot write .*file.*Not a directory; set LULL_CACHE"):
        Cache(tmp_path / "file" / "cache").fill("tool-1", Line("tool"), program)


def test_a_full_disk_is_called_full(tmp_path: Path):
    def full(_folder: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StackError, match=r"the disk that holds .* is full; free some space there, or set LULL_CACHE"):
        Cache(tmp_path).fill("tool-1", Line("tool"), full)
    assert "is full" in str(of_disk(OSError(errno.ENOSPC, "x"), tmp_path, "move"))


def test_too_little_room_is_said_before_the_work_begins(tmp_path: Path):
    with pytest.raises(StackError, match=r"building a moon needs 1e\+09 GiB .* GiB are free"):
        require_room(tmp_path, 1e9, "building a moon")


def test_the_variable_decides_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LULL_CACHE", str(tmp_path / "mine"))
    assert default_root() == tmp_path / "mine"


def test_the_manifest_names_every_file_with_its_size(tmp_path: Path):
    made = Cache(tmp_path).fill("tool-1", Line("tool"), program)
    assert json.loads((made / MANIFEST).read_text()) == {"files": {"program": 4}}

"""Whatever is raised under a command ends as a sentence and an exit code."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from lull.domain.errors import InvariantBroken, OperatorError, TransientError
from lull.starter import guard
from lull.starter.errors import NotFound, Unreachable, WorldError
from lull.starter.guard import run


def raising(error: BaseException) -> Callable[[], typer.Typer]:
    """A program whose only command raises."""

    def build() -> typer.Typer:
        app = typer.Typer(pretty_exceptions_enable=False)

        @app.command()
        def fail(*, as_json: bool = typer.Option(False, "--json")) -> None:
            del as_json
            raise error

        return app

    return build


def test_ctrl_c_ends_quietly_with_the_code_every_shell_knows(capsys: pytest.CaptureFixture[str]):
    assert run(raising(KeyboardInterrupt()), []) == 130
    assert capsys.readouterr() == ("", "")


class OtherRoomsError(Exception):
    """An error of a room that starter may not know, with its own end."""

    exit_code = 3


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (OperatorError("limits.parallel is wrong; write 4"), 2, "limits.parallel is wrong; write 4"),
        (NotFound("no job 'a' is known"), 3, "no job 'a' is known"),
        (Unreachable("nobody answers"), 4, "nobody answers"),
        (WorldError("Temporal refused"), 1, "Temporal refused"),
        (TransientError("the disk is full"), 1, "the disk is full"),
        (InvariantBroken("sums differ"), 1, "sums differ (this is a defect in lull; the evidence was kept)"),
        (OtherRoomsError("no stack runs here"), 3, "no stack runs here"),
        (typer.Abort(), 2, "nothing was done"),
    ],
)
def test_an_error_is_its_sentence_and_its_code(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
):
    assert run(raising(error), []) == code
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", f"error: {said}\n")
    assert run(raising(error), ["--json"]) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert json.loads(printed.err) == {"error": said, "exit_code": code}


def test_what_nobody_expected_is_a_defect_with_its_traceback_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert run(raising(ZeroDivisionError("division by zero")), []) == 1
    said = capsys.readouterr().err
    (log,) = (tmp_path / "lull").glob("defect-*.log")
    assert said.startswith("error: this is a defect in lull (ZeroDivisionError); its traceback is in ")
    assert str(log) in said
    assert "Traceback" not in said
    assert "ZeroDivisionError: division by zero" in log.read_text()


def test_a_defect_is_told_even_where_nothing_can_be_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/nowhere")
    monkeypatch.setattr(guard.tempfile, "gettempdir", lambda: "/proc/nowhere")
    assert run(raising(ZeroDivisionError()), []) == 1
    assert "its traceback could not be written" in capsys.readouterr().err


def test_a_command_that_cannot_even_be_built_is_a_defect_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    def build() -> typer.Typer:
        raise ImportError("no module named 'rich'")

    assert run(build, []) == 1
    assert "defect in lull (ImportError)" in capsys.readouterr().err


def test_a_wrong_command_line_says_what_is_wrong_and_where_help_is(capsys: pytest.CaptureFixture[str]):
    assert run(raising(OperatorError("")), ["--jsno"]) == 2
    said = capsys.readouterr().err
    assert "no such option: --jsno" in said
    assert said.rstrip().endswith("see lull --help")


def test_nothing_a_message_quotes_steers_the_terminal(capsys: pytest.CaptureFixture[str]):
    run(raising(OperatorError("saw \x1b[2J\x9b\x07\u2028\ud800;\nwrite text")), [])
    assert capsys.readouterr().err == "error: saw \\x1b[2J\\x9b\\x07\\u2028\\ud800;\nwrite text\n"


def test_a_stderr_that_is_gone_changes_no_exit_code(monkeypatch: pytest.MonkeyPatch):
    class Gone:
        def write(self, _text: str) -> int:
            raise BrokenPipeError

        def isatty(self) -> bool:
            return False

    monkeypatch.setattr(sys, "stderr", Gone())
    assert run(raising(NotFound("no job")), []) == 3

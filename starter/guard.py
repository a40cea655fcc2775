"""
The one place where a command's errors end: a sentence on stderr and an exit code, never a traceback.

With ``--json`` the sentence is one JSON object on stderr, ``{"error": …, "exit_code": …}``; stdout
then stays empty.
"""

import atexit
import contextlib
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import typer
from typer.main import get_command

from lull.domain.errors import InvariantBroken, LullError
from lull.starter.errors import ExitCode, exit_code, printable

PROGRAM = "lull"


def run(build: Callable[[], typer.Typer], arguments: Sequence[str]) -> int:
    """Build the command, run a command line and return its exit code, whatever happens on the way."""
    words = list(arguments)
    as_json = "--json" in words
    try:
        answer = get_command(build()).main(args=words, prog_name=PROGRAM, standalone_mode=False)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except typer.Abort:
        return fail("nothing was done", ExitCode.INPUT, as_json=as_json)
    except BrokenPipeError:
        return _reader_gone()
    except SystemExit as end:
        # Typer's own ends: a completion, and a reader that has gone.
        return _reader_gone() if isinstance(end.__context__, BrokenPipeError) else _code(end)
    except Exception as error:  # noqa: BLE001 - the last place where a defect can become a sentence
        return fail(*_sentence(error), as_json=as_json)
    return answer if isinstance(answer, int) else ExitCode.DONE


def _code(end: SystemExit) -> int:
    return end.code if isinstance(end.code, int) else ExitCode.DONE if end.code is None else ExitCode.FAILED


def exit_with(build: Callable[[], typer.Typer], arguments: Sequence[str]) -> NoReturn:
    """Run a command line and end the process."""
    code = run(build, arguments)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    # The SDK's threads outlive a call that was given up, and abort an interpreter that is ending (134).
    atexit._run_exitfuncs()  # noqa: SLF001 - what sys.exit would do, and nothing more
    os._exit(int(code))


def fail(sentence: str, code: int, *, as_json: bool) -> int:
    """Say *sentence* on stderr and return *code*."""
    # Whatever came from a file or a server must not steer the terminal.
    sentence = "\n".join(map(printable, sentence.split("\n")))
    text = json.dumps({"error": sentence, "exit_code": int(code)}) if as_json else _marked(sentence)
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        return int(code)
    return int(code)


def _marked(sentence: str) -> str:
    mark = "error:"
    if sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
        mark = f"\x1b[31;1m{mark}\x1b[0m"
    return f"{mark} {sentence}"


def _sentence(error: Exception) -> tuple[str, int]:
    if isinstance(error, InvariantBroken):
        return f"{error} (this is a defect in lull; the evidence was kept)", ExitCode.FAILED
    if isinstance(error, LullError):
        return str(error), exit_code(error)
    format_message = getattr(error, "format_message", None)
    if callable(format_message):
        return _usage(error, str(format_message())), ExitCode.INPUT
    code = getattr(error, "exit_code", None)
    if isinstance(code, int):
        return str(error), code  # another room's own error, which knows its end
    return _defect(error), ExitCode.FAILED


def _usage(error: Exception, message: str) -> str:
    """Return what is wrong with the command line, and where its help is."""
    context = getattr(error, "ctx", None)
    path = getattr(context, "command_path", PROGRAM)
    first = message.replace("Value error, ", "").strip().rstrip(".") or "no command was given"
    return f"{first[:1].lower()}{first[1:]}; see {path} --help"


def _defect(error: Exception) -> str:
    where = _write_traceback(error)
    told = f"its traceback is in {where}" if where else "its traceback could not be written"
    return f"this is a defect in lull ({type(error).__name__}); {told}; please report it with the command you typed"


def _write_traceback(error: Exception) -> Path | None:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    name = f"defect-{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}.log"
    for folder in (Path(state) / PROGRAM, Path(tempfile.gettempdir())):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / name
            path.write_text("".join(traceback.format_exception(error)), encoding="utf-8", errors="replace")
        except OSError:
            continue
        return path
    return None


def _reader_gone() -> int:
    """The reader of our stdout has gone (``| head``): nothing more to say, and Python must not try either."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ExitCode.DONE

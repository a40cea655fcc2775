"""``lull report``: one page, or one JSON document, about what a job did and what the foreground felt."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lull.domain.errors import OperatorError
from lull.starter.commands import Json, duration, run
from lull.starter.completion import complete_job

if TYPE_CHECKING:
    from lull.starter.reporting import Reported

STDOUT = "-"
MADE_BY = "lull report"
"""Stands near the beginning of every report: by this one knows what may be overwritten."""
MARK_BYTES = 600


def report(
    job: Annotated[str, typer.Argument(metavar="JOB", help="The job's id.", autocompletion=complete_job)],
    *,
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Where to write; - is stdout. Default: JOB.html; stdout with --json."
        ),
    ] = "",
    since: Annotated[
        str, typer.Option("--since", metavar="DURATION", help="Only the last so long of the job, like 2h.")
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is no report.")] = False,
    as_json: Json = False,
) -> None:
    """
    Write one page about a job: what it did, what the foreground felt, and what it waited for.

    The page needs no network and can be sent as it is: it holds figures, reasons and names, no documents.
    With --json it is the same as data.
    """
    path = _path(output or (STDOUT if as_json else f"{Path(job).name}.html"))
    if path is not None:
        _require_writable(path, force=force)
    last = duration("--since", since)
    found = run(lambda client: client.report(job, last=last))
    text = _data(found) if as_json else _page(found)
    if path is None:
        sys.stdout.write(text)
        sys.stdout.flush()
    else:
        _write(path, text)
    _say(found, path, as_json=as_json)


def _path(output: str) -> Path | None:
    if output == STDOUT:
        return None
    if not output.strip("\0") or "\0" in output:
        raise OperatorError("-o needs the name of a file, or - for stdout")
    return Path(output)


def _require_writable(path: Path, *, force: bool) -> None:
    """Raise OperatorError, before anybody is asked, where the report could not or should not be written."""
    try:
        if path.is_dir():
            raise OperatorError(f"{path} is a folder; give -o the name of a file in it")
        if not path.parent.is_dir():
            raise OperatorError(f"{path} cannot be written: there is no folder {path.parent}; make it, or name another")
        if path.is_file() and not force and not _is_report(path):
            raise OperatorError(
                f"{path} is there already and is no report; name another file, or overwrite it with --force"
            )
    except OSError as error:
        raise _refused(path, error) from None


def _is_report(path: Path) -> bool:
    with path.open("rb") as file:
        beginning = file.read(MARK_BYTES)
    return not beginning or MADE_BY.encode() in beginning


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise _refused(path, error) from None


def _refused(path: Path, error: OSError) -> OperatorError:
    return OperatorError(f"{path} cannot be written: {error.strerror or error}; name another file with -o")


def _page(found: "Reported") -> str:
    from lull.starter.report_page import page  # noqa: PLC0415 - only who wants a page reads its parts

    return page(found)


def _data(found: "Reported") -> str:
    document = {"made_by": MADE_BY, **found.model_dump(mode="json")}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n"


def _say(found: "Reported", path: Path | None, *, as_json: bool) -> None:
    """People know what was written, and what is missing from it; a document on stdout stays alone there."""
    samples = found.timeline.samples if found.timeline else 0
    if path is not None:
        (sys.stderr if as_json else sys.stdout).write(f"wrote {path}: {samples:,} samples\n")
    if found.is_empty:
        sys.stderr.write(
            "no samples, so there is nothing to draw: no governor watched the cluster in that time, "
            "or it is longer ago than samples are kept (30 days)\n"
        )

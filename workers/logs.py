"""Log lines for machines (one JSON object each) and for people; credentials in neither."""

import json
import logging
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import IO, Any

from typing_extensions import override

from lull.activities.telemetry import LOG_FIELDS
from lull.domain.errors import LullError

_USER_INFO = re.compile(r"(?<=://)[^\s/'\"]*@")


class LogFormat(StrEnum):
    """How log lines are written."""

    JSON = "json"
    TEXT = "text"


def redact(text: str) -> str:
    """Return *text* without the user and password of any URI in it."""
    return _USER_INFO.sub("***@", text)


def configure_logging(chosen: LogFormat | None, stream: IO[str] | None = None) -> None:
    """
    Log lines go to *stream* (stderr), in the chosen format; text at a terminal and JSON elsewhere if None.

    Replaces what was configured before. lull speaks from INFO on, everybody else from WARNING on.
    """
    stream = stream or sys.stderr
    chosen = chosen or (LogFormat.TEXT if stream.isatty() else LogFormat.JSON)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter() if chosen is LogFormat.JSON else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("lull").setLevel(logging.INFO)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, then job, incarnation, partition, fence where known."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return redact(json.dumps(line, default=str, ensure_ascii=False))


class TextFormatter(logging.Formatter):
    """Time, level, sentence, fields; an exception only by its type and text."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        fields = "".join(f"  {name}={value}" for name, value in _fields(record).items())
        error = record.exc_info[1] if record.exc_info else None
        cause = f" ({type(error).__name__}: {error})" if error and not isinstance(error, LullError) else ""
        return redact(f"{moment} {record.levelname.lower():7} {record.getMessage()}{cause}{fields}")


def _fields(record: logging.LogRecord) -> Mapping[str, Any]:
    """Return the slice's fields, those given with ``extra={"fields": …}``, and the job of a workflow's own line."""
    said = dict(LOG_FIELDS.get())
    workflow = getattr(record, "temporal_workflow", None) or getattr(record, "temporal_activity", None)
    if isinstance(workflow, dict):
        identity = str(workflow.get("workflow_id", ""))
        if identity.startswith("lull/"):
            said.setdefault("job", identity.removeprefix("lull/"))
    return said | dict(getattr(record, "fields", {}))

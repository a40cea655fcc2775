"""What a log line says, to machines and to people, and what it never says."""

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest

from lull.activities.telemetry import log_fields
from lull.domain.errors import TransientError
from lull.workers.logs import JsonFormatter, LogFormat, TextFormatter, configure_logging, redact

SECRET = "hunter2"


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root, lull = logging.getLogger(), logging.getLogger("lull")
    before = (root.handlers[:], root.level, lull.level)
    yield
    root.handlers[:], root.level, lull.level = before


def record(message: str, *args: object, **more: object) -> logging.LogRecord:
    made = logging.LogRecord("lull.activities.pages", logging.INFO, "x.py", 1, message, args, None)
    vars(made).update(more)
    return made


def failed(error: Exception) -> logging.LogRecord:
    made = record("it failed")
    try:
        raise error
    except type(error):
        made.exc_info = sys.exc_info()
    return made


def test_a_json_line_says_time_level_logger_message_and_the_slices_fields():
    with log_fields(job="speed", incarnation=2, partition=7, fence=3):
        line = json.loads(JsonFormatter().format(record("page of %d", 100)))

    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "info",
        "logger": "lull.activities.pages",
        "message": "page of 100",
        "job": "speed",
        "incarnation": 2,
        "partition": 7,
        "fence": 3,
    }


def test_a_line_for_people_ends_with_the_same_fields():
    with log_fields(job="speed", partition=7):
        text = TextFormatter().format(record("page of %d", 100))
    assert text.endswith("info    page of 100  job=speed  partition=7")


def test_a_workflows_own_line_names_its_job():
    line = json.loads(JsonFormatter().format(record("paused", temporal_workflow={"workflow_id": "lull/speed"})))
    assert line["job"] == "speed"


def test_people_read_no_traceback_and_machines_one_field_of_it():
    assert "Traceback" not in TextFormatter().format(failed(ValueError("x")))
    assert TextFormatter().format(failed(ValueError("x"))).endswith("it failed (ValueError: x)")
    line = JsonFormatter().format(failed(ValueError("x")))
    assert "\n" not in line
    assert "ValueError: x" in json.loads(line)["exception"]


@pytest.mark.parametrize(
    "text",
    [
        f"mongodb://root:{SECRET}@db:27017/?x",
        f"cannot reach 'mongodb+srv://root:{SECRET}@a.b'",
        f"https://{SECRET}@collector",
        f"two: mongodb://a:{SECRET}@x mongodb://b:{SECRET}@y",
        f"mongodb://root:p@{SECRET}@db",
    ],
)
def test_credentials_of_a_uri_are_never_written(text: str):
    assert SECRET not in redact(text)
    assert "://***@" in redact(text)
    for formatter in (JsonFormatter(), TextFormatter()):
        assert SECRET not in formatter.format(record(text))
        assert SECRET not in formatter.format(failed(OSError(text)))
        assert SECRET not in formatter.format(record("x", fields={"uri": text}))


def test_what_has_no_credentials_is_left_as_it_is():
    text = "mongodb://db:27017/ and someone at http://127.0.0.1:4318/v1/traces, a@b"
    assert redact(text) == text


@pytest.mark.parametrize(("chosen", "is_json"), [(LogFormat.JSON, True), (LogFormat.TEXT, False), (None, True)])
def test_a_stream_that_is_no_terminal_gets_json_unless_text_is_asked_for(chosen: LogFormat | None, *, is_json: bool):
    stream = io.StringIO()
    configure_logging(chosen, stream)
    logging.getLogger("lull.workers").info("ready")
    logging.getLogger("temporalio").info("not shown")
    logging.getLogger("temporalio").warning("shown")

    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert all(line.startswith("{") for line in lines) is is_json


def test_a_terminal_gets_text():
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    configure_logging(None, stream)
    logging.getLogger("lull").error("no", exc_info=TransientError("away"))
    assert stream.getvalue().rstrip().endswith("error   no")

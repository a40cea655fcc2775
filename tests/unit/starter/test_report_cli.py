"""Where a report goes, and what it may overwrite."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lull.cli import build_app
from lull.domain.lifecycle import Status
from lull.domain.report import Facts
from lull.starter import guard, report_cli
from lull.starter.reporting import Reported

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
FACTS = Facts(
    job="orders-1", kind="update", cluster="main", namespace="shop.orders", status=Status.RUNNING, incarnation=1,
    started_at=NOW,
)  # fmt: skip


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """How often a worker was asked; it answers without samples."""
    calls: list[int] = []

    def run(_ask: Callable[[Any], Any]) -> Reported:
        calls.append(1)
        return Reported(as_of=NOW, facts=FACTS)

    monkeypatch.setattr(report_cli, "run", run)
    monkeypatch.chdir(tmp_path)
    return calls


def lull(*words: str) -> int:
    return guard.run(build_app, ["report", *words])


def test_the_page_stands_in_a_file_named_after_the_job(asked: list[int], capsys: pytest.CaptureFixture[str]):
    assert lull("orders-1") == 0
    seen = capsys.readouterr()
    assert Path("orders-1.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert seen.out == "wrote orders-1.html: 0 samples\n"
    assert "no samples, so there is nothing to draw" in seen.err
    assert asked == [1]


@pytest.mark.usefixtures("asked")
def test_a_dash_is_stdout_with_nothing_else_there(capsys: pytest.CaptureFixture[str]):
    assert lull("orders-1", "-o", "-") == 0
    assert capsys.readouterr().out.startswith("<!doctype html>")
    assert list(Path().iterdir()) == []


@pytest.mark.usefixtures("asked")
def test_json_is_one_document(capsys: pytest.CaptureFixture[str]):
    assert lull("orders-1", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["made_by"] == "lull report"
    assert document["facts"]["job"] == "orders-1"


@pytest.mark.usefixtures("asked")
def test_json_into_a_file_leaves_stdout_alone(capsys: pytest.CaptureFixture[str]):
    assert lull("orders-1", "--json", "-o", "r.json") == 0
    seen = capsys.readouterr()
    assert seen.out == ""
    assert "wrote r.json" in seen.err
    assert json.loads(Path("r.json").read_text(encoding="utf-8"))["facts"]["job"] == "orders-1"


@pytest.mark.parametrize("words", [(), ("--json",)])
@pytest.mark.usefixtures("asked")
def test_a_report_is_overwritten(words: tuple[str, ...]):
    assert lull("orders-1", "-o", "r", *words) == 0
    assert lull("orders-1", "-o", "r", *words) == 0


def test_what_is_no_report_is_not_overwritten(asked: list[int], capsys: pytest.CaptureFixture[str]):
    Path("thesis.html").write_text("years of work", encoding="utf-8")
    assert lull("orders-1", "-o", "thesis.html") == 2
    assert "is there already and is no report" in capsys.readouterr().err
    assert Path("thesis.html").read_text(encoding="utf-8") == "years of work"
    assert asked == [], "nobody is asked for what cannot be written"
    assert lull("orders-1", "-o", "thesis.html", "--force") == 0
    assert Path("thesis.html").read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("output", "said"), [("nowhere/r.html", "there is no folder nowhere"), (".", "is a folder"), ("\0", "-o needs")]
)
def test_a_place_where_nothing_can_be_written_is_refused_at_once(
    asked: list[int], capsys: pytest.CaptureFixture[str], output: str, said: str
):
    assert lull("orders-1", "-o", output) == 2
    assert said in capsys.readouterr().err
    assert asked == []


@pytest.mark.usefixtures("asked")
def test_a_disk_that_refuses_is_one_sentence(capsys: pytest.CaptureFixture[str]):
    assert lull("orders-1", "-o", "/proc/version") == 2
    assert "/proc/version" in capsys.readouterr().err
    assert lull("orders-1", "-o", "/dev/full") == 2
    assert "/dev/full cannot be written: No space left on device" in capsys.readouterr().err


@pytest.mark.usefixtures("asked")
def test_a_wrong_duration_is_named(capsys: pytest.CaptureFixture[str]):
    assert lull("orders-1", "--since", "soon") == 2
    assert "--since" in capsys.readouterr().err

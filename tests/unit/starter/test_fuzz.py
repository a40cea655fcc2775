"""
Whatever is written into a spec or typed on a command line: no traceback, and a message one can act on.

Hypothesis is derandomized, so that every run sees the same 2,500 and more inputs.
"""

import contextlib
import io
import json
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lull.domain.errors import OperatorError
from lull.domain.kinds import KINDS
from lull.starter import catalogue, cli, guard
from lull.starter.reading import decode, parse
from lull.starter.specs import load_spec, override, spec_of


def steady(examples: int) -> settings:
    """The same inputs in every run, kept nowhere."""
    quiet = [HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=examples, derandomize=True, deadline=None, database=None, suppress_health_check=quiet)


VALID: dict[str, dict[str, Any]] = {
    "update": {
        "job": "orders-1",
        "kind": "update",
        "source": {"cluster": "main", "database": "shop", "collection": "orders", "filter": {"status": "old"}},
        "update": {"$set": {"status": "done"}},
        "limits": {"max_docs_per_second": 500, "deadline": "6h", "parallel": 2},
        "on_poison": {"quarantine": True, "stop_after": 5},
    },
    "purge": {
        "job": "old-sessions",
        "kind": "purge",
        "source": {"database": "shop", "collection": "sessions", "filter": {"at": {"$lt": {"$date": "2026-01-31T00:00:00Z"}}}},
    },
    "transform": {
        "job": "speed",
        "kind": "transform",
        "source": {"database": "nyc", "collection": "flights"},
        "transform": "nyc.speed",
        "accept": ["at_least_once"],
    },
}  # fmt: skip
VOCABULARY = sorted(
    {
        "$where",
        "$set",
        "$inc",
        "$date",
        "$out",
        "_id",
        "",
        ".",
        "a.b",
        "$",
        "null",
        "jbo",
        "sourc",
        "paralel",
        "deadlin",
    }
    | {name for spec in VALID.values() for name in [*spec, *spec["source"], *spec.get("limits", {})]}
)

FIELDS = {"a spec", "the spec", "kind"} | {field.path for kind in KINDS for field in catalogue.entry(kind).fields}
FIELDS |= {path.rpartition(".")[2] for path in FIELDS} | {path.partition(".")[0] for path in FIELDS}

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=2**63, max_value=2**300),
    st.floats(),
    st.text(max_size=20),
    st.text(alphabet=st.characters(codec=None), max_size=8),  # surrogates too
    st.sampled_from(
        ["6h", "-1s", "on", "010", "*.*", "admin", "x" * 300, "system.users", "\x00", "1e999", *VOCABULARY]
    ),
    st.dates(),
    st.datetimes(),
    st.binary(max_size=5),
)
keys = st.one_of(st.sampled_from(VOCABULARY), st.text(max_size=10))
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=12
)


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(below for name, one in inner for below in paths(one, (*path, name)))]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """The value with *new* at *path*; a Missing takes the place away."""
    if not path:
        return new
    first, *rest = path
    copy = value.copy()
    if new is Missing and not rest:
        del copy[first]
    else:
        copy[first] = replaced(value[first], tuple(rest), new)
    return copy


class Missing:
    """Says that a place is to go."""


@st.composite
def bent_specs(draw: st.DrawFn) -> Any:
    """A valid spec with up to three places changed, taken away or added to."""
    spec: Any = VALID[draw(st.sampled_from(sorted(VALID)))]
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(paths(spec)))
        if draw(st.booleans()) or not path:
            target = spec
            for name in path:
                target = target[name]
            if isinstance(target, dict):
                spec = replaced(spec, path, {**target, draw(keys): draw(values)})
                continue
        if path:
            spec = replaced(spec, path, Missing if draw(st.integers(0, 4)) == 0 else draw(values))
        if not isinstance(spec, dict):
            break
    return spec


def is_actionable(message: str) -> None:
    """Every line says more than that something is wrong, fits a screen, and is no Python."""
    assert message.strip()
    for line in message.splitlines():
        assert 15 <= len(line) <= 1_500 or line.startswith("…"), line
        assert not re.search(r"Traceback|<class|object at 0x|pydantic|validation error|ctx=|Input should", line), line
        remedies = (
            "; ", ": ", "did you mean", "use ", "write ", "give ", "must ", "it takes", "is missing", "see ", "choose "
        )  # fmt: skip
        assert any(remedy in line for remedy in remedies), line


def outcome(build: Callable[[], object]) -> str:
    """The message, empty when there was none; any other exception fails the test."""
    try:
        build()
    except OperatorError as error:
        is_actionable(str(error))
        return str(error)
    return ""


@steady(700)
@given(bent_specs())
def test_a_bent_spec_is_a_spec_or_a_message_with_field_and_remedy(spec: Any):
    for line in outcome(lambda: spec_of(spec, "job.yaml")).splitlines():
        assert any(name in line for name in FIELDS) or line.startswith("…"), line


@steady(300)
@given(
    st.sampled_from(sorted(VALID)),
    st.sampled_from(["limits", "on_poison", "source"]),
    st.text("abcdefghijklmnopqrstuvwxyz_", min_size=3, max_size=12),
)
def test_an_unknown_field_is_named_with_its_place(kind: str, where: str, name: str):
    spec = VALID[kind]
    inner = spec.get(where, {})
    said = outcome(lambda: spec_of(spec | {where: inner | {name: 1}}, "job.yaml"))
    if said and "is no field" in said:
        assert f"{where}.{name} is no field of {kind} jobs; " in said


@steady(350)
@given(bent_specs())
def test_a_bent_spec_written_as_yaml_or_json_is_read_or_refused(spec: Any):
    with contextlib.suppress(yaml.YAMLError, UnicodeEncodeError):
        text = yaml.safe_dump(spec)
        outcome(lambda: spec_of(parse(text, "job.yaml"), "job.yaml"))
    text = json.dumps(spec, default=str)
    outcome(lambda: spec_of(parse(text, "job.json"), "job.json"))


@steady(400)
@given(
    st.one_of(
        st.binary(max_size=200), st.text("{}[]:,&*!|>'\"%@`-? \n\t#~<ab01.\x00\ufeff", max_size=60).map(str.encode)
    )
)
def test_any_bytes_are_a_spec_or_a_sentence(content: bytes):
    outcome(lambda: spec_of(parse(decode(content, "job.yaml"), "job.yaml"), "job.yaml"))


@steady(300)
@given(st.sampled_from(sorted(VALID)), st.text('limitsparallelsourcefilter.0123="\\[]{}:- onNaN$', max_size=30))
def test_any_override_is_obeyed_or_refused_by_name(kind: str, text: str):
    said = outcome(lambda: override(VALID[kind], [text]))
    assert not said or "--set" in said


# -- command lines -----------------------------------------------------------------------------------

COMMANDS = [
    "plan", "start", "list", "status", "watch", "explain", "pause", "resume", "throttle", "extend", "cancel", "result",
    "report", "doctor", "kinds",
]  # fmt: skip
words = st.one_of(
    st.sampled_from(COMMANDS),
    st.sampled_from([
        "--set", "--json", "--wait", "--again", "--why", "--reason", "--max-docs-per-second", "--for", "--by", "--state",
        "--kind", "--limit", "--samples", "--probe", "--yes", "-y", "-h", "--help", "--cluster", "--namespace", "--bogus", "--", "-",
        "off", "500", "-5", "nan", "1e400", "2h", "0s", "9999999d", "orders-1", "Bad Id", "lull/orders-1", "",
    ]),
    st.text(max_size=10),
)  # fmt: skip


@pytest.fixture(scope="module")
def nowhere() -> Any:
    """A place without settings, spec files or servers: whatever a command line asks, nothing can answer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
        patch.setenv("HOME", "/nonexistent")
        patch.setenv("XDG_STATE_HOME", "/nonexistent")
        patch.delenv("LULL_CONFIG", raising=False)
        yield patch


@steady(500)
@given(st.sampled_from(COMMANDS), st.lists(words, max_size=6))
def test_any_command_line_ends_in_a_sentence_and_an_exit_code(
    nowhere: pytest.MonkeyPatch, command: str, rest: list[str]
):
    nowhere.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    arguments = [command, *(word for word in rest if word not in {"--help", "-h"})]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = guard.run(cli.build_app, arguments)
    said = err.getvalue()
    assert "Traceback" not in said + out.getvalue()
    assert "defect" not in said, said
    assert code in {0, 2, 4}, (code, said)
    if code == 0:
        assert out.getvalue()
        return
    if "--json" in arguments and said:
        said = json.loads(said)["error"]
    if command != "doctor" or code != 4:
        is_actionable(said)
    if "--json" not in arguments and code == 2:
        assert out.getvalue() == ""


@steady(100)
@given(st.one_of(st.floats(), st.text(max_size=8)))
def test_any_pace_is_a_number_or_refused_with_its_option(nowhere: pytest.MonkeyPatch, pace: object):
    del nowhere
    err = io.StringIO()
    with contextlib.redirect_stderr(err):
        code = guard.run(cli.build_app, ["throttle", "orders-1", f"--max-docs-per-second={pace}"])
    is_good = isinstance(pace, float) and math.isfinite(pace) and 0 < pace <= 10_000_000
    if is_good:
        assert code == 4
    if code == 2:
        assert "--max-docs-per-second" in err.getvalue()


def test_a_spec_file_of_any_kind_is_read_or_refused(tmp_path: Path):
    for name, content in {
        "a.yaml": b"\x89PNG\r\n\x1a\n",
        "b.yaml": b"",
        "c.json": b"{",
        "d": b"\x00" * 2_000_000,
    }.items():
        (tmp_path / name).write_bytes(content)
        assert outcome(lambda path=tmp_path / name: load_spec(str(path)))

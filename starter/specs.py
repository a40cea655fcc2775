"""
From what an operator wrote to a job spec, or to one sentence for every field that is wrong.

    spec = load_spec("job.yaml", ["limits.parallel=4"])
"""

import difflib
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from lull.domain.errors import OperatorError
from lull.domain.job import JobSpec
from lull.domain.kinds import KINDS, parse_spec
from lull.starter import fields
from lull.starter.errors import printable
from lull.starter.reading import BYTES_MAX, SHOWN_CHARACTERS_MAX, decode, parse, parse_yaml, shown

STDIN = "-"
PROBLEMS_MAX = 20
"""Lines of one message; whoever has more starts from an example."""

Path_ = tuple[str | int, ...]
_SEGMENT = re.compile(r'"((?:[^"\\]|\\.)*)"|([^."=]+)')


def load_spec(source: str, overrides: Sequence[str] = ()) -> JobSpec:
    """
    Return the spec in the file *source* (``-`` is stdin), with ``path=value`` overrides applied.

    Raises OperatorError, and nothing else, with one line for each problem: the field, what was
    seen, what is accepted.
    """
    content, name = read_source(source)
    value = parse(decode(content, name), name)
    if value is None:
        raise OperatorError(f"{name} is empty; a spec needs at least job, kind and source (see lull kinds)")
    return spec_of(override(value, overrides), name)


def read_source(source: str) -> tuple[bytes, str]:
    """Return the bytes of *source* and how messages call it. Raises OperatorError if it cannot be read."""
    if source == STDIN:
        if sys.stdin is None or sys.stdin.closed:
            raise OperatorError("there is no stdin to read a spec from; name a file")
        return sys.stdin.buffer.read(BYTES_MAX + 1), "stdin"
    try:
        with Path(source).open("rb") as file:
            return file.read(BYTES_MAX + 1), source
    except FileNotFoundError:
        raise OperatorError(f"there is no file {shown(source)}; name a spec, or - for stdin") from None
    except IsADirectoryError:
        raise OperatorError(f"{shown(source)} is a directory; name a spec inside it, or - for stdin") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OperatorError(f"cannot read {shown(source)}: {reason}; name a file that can be read") from None


def spec_of(value: Any, name: str) -> JobSpec:
    """Return *value* as a spec. Raises OperatorError with one line for each field that is wrong."""
    if not isinstance(value, dict):
        raise OperatorError(f"{name} holds {_kind_of(value)}, and a spec is a mapping of fields; see lull kinds")
    try:
        return parse_spec(value)
    except ValidationError as error:
        problems = list(dict.fromkeys(_problems(error, value, KINDS[value["kind"]])))
        more = [f"… and {len(problems) - PROBLEMS_MAX} more"] if len(problems) > PROBLEMS_MAX else []
        raise OperatorError("\n".join([*problems[:PROBLEMS_MAX], *more])) from None
    except (ValueError, RecursionError) as error:
        raise OperatorError(printable(str(error))) from None


# --- overrides ------------------------------------------------------------------------------------


def override(value: Any, overrides: Sequence[str]) -> Any:
    """Return *value* with each ``path=value`` put in its place. Raises OperatorError that names the override."""
    for text in overrides:
        written, separator, new = text.partition("=")
        path = _path(written)
        if not separator or not path:
            raise OperatorError(f"--set {shown(text)} is not path=value; write it like --set limits.parallel=4")
        value = _put(value, path, parse_yaml(new, f"--set {written}"), written)
    return value


def _path(written: str) -> Path_:
    """Return the parts of a dotted path; empty if it is none. Quotes keep a dot inside a name."""
    parts: list[str | int] = []
    position = 0
    while match := _SEGMENT.match(written, position):
        quoted, plain = match.groups()
        parts.append(plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted))
        position = match.end()
        if position == len(written):
            return tuple(parts)
        if written[position] != ".":
            break
        position += 1
    return ()


def _put(value: Any, path: Path_, new: Any, written: str) -> Any:
    """Return *value* with *new* at *path*; mappings on the way are made where there is nothing."""
    if not path:
        return new
    first, *rest = path
    if isinstance(value, list):
        index = _index(first, value, written)
        inner = value[index] if index < len(value) else None
        return [*value[:index], _put(inner, tuple(rest), new, written), *value[index + 1 :]]
    if value is not None and not isinstance(value, dict):
        raise OperatorError(
            f"--set {written}: {shown(first)} would stand inside {shown(value)}, which has no fields; set that whole"
        )
    table = value or {}
    return {**table, str(first): _put(table.get(str(first)), tuple(rest), new, written)}


def _index(part: str | int, value: list[Any], written: str) -> int:
    text = str(part)
    if not (text.isascii() and text.isdigit()) or len(text) > 6 or int(text) > len(value):
        raise OperatorError(
            f"--set {written}: {shown(part)} is no place in a list of {len(value)}; use 0 to {len(value)} "
            f"({len(value)} adds one)"
        )
    return int(text)


# --- problems ---------------------------------------------------------------------------------------


def _problems(error: ValidationError, value: Mapping[str, Any], model: type[BaseModel]) -> Iterator[str]:
    found = [(_where(one["loc"], value), one) for one in error.errors(include_url=False)]
    for path, one in found:
        # A union says what is wrong with each of its branches; what stands deepest says most.
        if not any(other[: len(path)] == path and len(other) > len(path) for other, _ in found if path):
            yield _problem(path, one, value, model)


def _where(location: tuple[str | int, ...], value: Any) -> Path_:
    """Return the place in what was written: pydantic's location names the branches of unions too."""
    path: list[str | int] = []
    for number, part in enumerate(location):
        if isinstance(value, dict) and part in value:
            path.append(part)
            value = value[str(part)]
        elif isinstance(value, list) and isinstance(part, int):
            path.append(part)
            value = value[part]
        elif number == len(location) - 1 and isinstance(value, dict) and _is_name(part):
            path.append(part)
    return tuple(path)


def _is_name(part: str | int) -> bool:
    return isinstance(part, str) and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", part) is not None


def _problem(path: Path_, error: Any, value: Mapping[str, Any], model: type[BaseModel]) -> str:
    place = _written(path) or "the spec"
    match error["type"]:
        case "extra_forbidden":
            return f"{place} is no field of {value['kind']} jobs; {_suggestion(path, model)}"
        case "missing":
            return f"{place} is missing; give {_accepted(path, model)}"
        case "value_error":
            return _with_place(place, printable(str(error["ctx"]["error"])))
        case _:
            return f"{place}: saw {shown(error['input'])}; it takes {_accepted(path, model, error['msg'])}"


def _with_place(place: str, sentence: str) -> str:
    """Return a validator's own sentence, which may name the field already."""
    field = place.rpartition(".")[2]
    return sentence if place in sentence or re.search(rf"\b{re.escape(field)}\b", sentence) else f"{place}: {sentence}"


def _accepted(path: Path_, model: type[BaseModel], otherwise: str = "a value") -> str:
    info = fields.field_at(model, path)
    if info is None:
        return re.sub(r"^Input should be ", "", otherwise)
    preset = fields.default(info)
    return fields.accepts(info) + (f" (default {preset})" if preset else "")


def _suggestion(path: Path_, model: type[BaseModel]) -> str:
    """Return the field that was probably meant, here or elsewhere in the spec; else those there are."""
    name = str(path[-1])
    parent = fields.model_at(model, path[:-1])
    here = list(parent.model_fields) if parent else []
    near = difflib.get_close_matches(name, here, n=1)
    if near:
        return f"did you mean {_written((*path[:-1], near[0]))}?"
    everywhere = {one.path.rpartition(".")[2]: one.path for one in fields.every_field(model)}
    far = difflib.get_close_matches(name, everywhere, n=1)
    if far:
        return f"did you mean {everywhere[far[0]]}?"
    return f"the fields here are {', '.join(here)}"


def _written(path: Path_) -> str:
    """Return *path* as ``--set`` takes it."""
    return ".".join(_segment(str(part)) for part in path)


def _segment(name: str) -> str:
    if re.fullmatch(r"[\w$-]+", name):
        return name if len(name) <= SHOWN_CHARACTERS_MAX else f"{name[:SHOWN_CHARACTERS_MAX]}…"
    return shown(name)


def _kind_of(value: object) -> str:
    names = {bool: "a truth value", int: "a number", float: "a number", str: "one text", list: "a list"}
    return names.get(type(value), type(value).__name__)

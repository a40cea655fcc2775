"""
From what an operator wrote (``lull.toml``, environment) to settings, or to one sentence per mistake.

Pure: the room that needs settings reads the file and the environment, and hands both in. A value
is never repeated in a message: it may be a URI with a password.
"""

import difflib
import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, get_origin

from lull.domain.config import ClusterProfile, TelemetryConfig, TemporalConfig, WorkerConfig
from lull.domain.errors import OperatorError
from lull.domain.governor.objective import Foreground
from lull.domain.job import Name
from lull.domain.strict import Strict
from pydantic import BaseModel, ValidationError

PREFIX = "LULL_"
DELIMITER = "__"
"""``LULL_CLUSTERS__MAIN__URI`` is ``uri`` in ``[clusters.main]``; names are read in lower case."""


class Settings(Strict):
    """Everything ``lull.toml`` can say."""

    temporal: TemporalConfig = TemporalConfig()
    clusters: dict[Name, ClusterProfile] = {}
    worker: WorkerConfig = WorkerConfig()
    telemetry: TelemetryConfig = TelemetryConfig()


class _Setting(NamedTuple):
    """One environment variable that is ours."""

    variable: str
    path: tuple[str, ...]
    text: str


def parse_settings(table: Mapping[str, Any], environment: Mapping[str, str], where: str) -> Settings:
    """
    Return *table* (a parsed TOML file) under the ``LULL_`` variables of *environment*.

    *where* names the file in messages. Raises OperatorError with one line per mistake, each naming
    the variable or the place in the file, and what to write instead.
    """
    variables = list(_variables(environment))
    merged = _copy(table)
    for setting in variables:
        _put(merged, setting)
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        by_path = {setting.path: setting.variable for setting in variables}
        lines = [_sentence(mistake, by_path, where) for mistake in error.errors(include_input=False, include_url=False)]
        raise OperatorError("\n".join(dict.fromkeys(lines))) from None


def _variables(environment: Mapping[str, str]) -> Iterator[_Setting]:
    """Yield what is set; LULL_ names without a double underscore (LULL_CONFIG, LULL_MONGOD) are others' business."""
    for variable, text in environment.items():
        if variable.startswith(PREFIX) and DELIMITER in variable:
            path = tuple(variable.removeprefix(PREFIX).lower().split(DELIMITER))
            # "LULL_WORKER__" and "LULL___SLOTS" name nothing; pydantic then says that "" is not known.
            yield _Setting(variable, path, text)


def _copy(value: Any) -> Any:
    return {key: _copy(inner) for key, inner in value.items()} if isinstance(value, Mapping) else value


def _put(table: dict[str, Any], setting: _Setting) -> None:
    *parents, last = setting.path
    for parent in parents:
        inner = table.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise OperatorError(
                f"{setting.variable} sets a part of {parent!r}, which is given as a single value; give it as a table"
            )
        table = inner
    table[last] = _value(setting)


def _value(setting: _Setting) -> Any:
    """Return the text, as a list where the setting holds one: ``a,b`` or ``["a", "b"]``."""
    model = _model_at(setting.path[:-1])
    field = model.model_fields.get(setting.path[-1]) if model else None
    if field is None or get_origin(field.annotation) is not tuple:
        return setting.text
    if setting.text.lstrip().startswith("["):
        try:
            return json.loads(setting.text)
        except ValueError:
            raise OperatorError(f'{setting.variable} is no JSON list; write it like a,b or ["a", "b"]') from None
    return [part.strip() for part in setting.text.split(",") if part.strip()]


def _model_at(path: tuple[str | int, ...]) -> type[BaseModel] | None:
    """Return the model whose fields stand under *path*, None where there is none."""
    match path:
        case ():
            return Settings
        case ("clusters", _):
            return ClusterProfile
        case ("clusters", _, "foreground"):
            return Foreground
        case (str(table),) if table in Settings.model_fields and table != "clusters":
            annotation = Settings.model_fields[table].annotation
            return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
        case _:
            return None


def _sentence(mistake: Any, by_path: Mapping[tuple[str, ...], str], where: str) -> str:
    path = tuple(part for part in mistake["loc"] if isinstance(part, str) and part != "[key]")
    place = by_path.get(path) or _variable_below(path, by_path) or f"{where}: {_place(path)}"
    if mistake["type"] == "extra_forbidden":
        return f"{place} is no setting{_suggestion(path)}"
    if mistake["type"] == "missing":
        return f"{place} is missing; {_remedy(path)}"
    return f"{place}: {_message(mistake)}; {_remedy(path)}"


def _variable_below(path: tuple[str, ...], by_path: Mapping[tuple[str, ...], str]) -> str | None:
    """Return the variable that made an unknown table: LULL_WROKER__SLOTS makes the table "wroker"."""
    return next((variable for known, variable in by_path.items() if path and known[: len(path)] == path), None)


def _place(path: tuple[str, ...]) -> str:
    *tables, last = path or ("the file",)
    return f"{last} in [{'.'.join(tables)}]" if tables else f"[{last}]"


def _suggestion(path: tuple[str, ...]) -> str:
    model = _model_at(path[:-1])
    if model is None or not path:
        return ""
    near = difflib.get_close_matches(path[-1], model.model_fields, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; the settings here are {', '.join(model.model_fields)}"


def _message(mistake: Any) -> str:
    if mistake["type"] in {"model_type", "dict_type"}:
        return "is no table"
    if mistake["type"] == "string_pattern_mismatch":
        return "is not database.collection, with * for any part of a name"
    # Our own validators' sentences; pydantic's messages name the type and the limit, not the value.
    context = mistake.get("ctx", {})
    return str(context["error"]) if isinstance(context.get("error"), ValueError) else str(mistake["msg"])


_REMEDIES: dict[str, str] = {
    "uri": "write it like mongodb://user:password@host:27017/?replicaSet=name",
    "namespaces": 'write it like ["shop.*", "crm.people"]',
    "kinds": 'write it like ["update", "purge"]',
    "governor": 'write "enforce", "observe" or "off"',
    "load": 'write it like ["shop.jobs"]',
    "address": 'write it like "127.0.0.1:7233"',
    "otlp_endpoint": 'write it like "http://127.0.0.1:4318"',
}


def _remedy(path: tuple[str, ...]) -> str:
    known = _REMEDIES.get(path[-1]) if path else None
    if known:
        return known
    model = _model_at(path[:-1])
    field = model.model_fields.get(path[-1]) if model and path else None
    if field is None or not isinstance(field.get_default(), str | int | float):
        table = ".".join(path) or "worker"
        return f"write a table [{table}] with its settings, or variables like {_variable((*path, *_example(path)))}"
    return f"the default is {field.get_default()!r}"


def _example(path: tuple[str, ...]) -> tuple[str, ...]:
    if path == ("clusters",):
        return ("main", "uri")
    model = _model_at(path)
    return (next(iter(model.model_fields)),) if model and model is not Settings else ("worker", "slots")


def _variable(path: tuple[str, ...]) -> str:
    return PREFIX + DELIMITER.join(path).upper()

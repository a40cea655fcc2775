"""What a spec's fields accept, said from the models themselves: for errors, and for ``lull kinds``."""

import types
from collections.abc import Iterator
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

_NAMES = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    dict: "a mapping",
    timedelta: "a duration like 90s, 30m, 2h30m or 3d",
}
_PATTERNS = {
    r"^[a-z0-9][a-z0-9._-]{0,99}$": "at most 100 of a-z 0-9 . _ -, beginning with a letter or digit",
}


class Accepted(NamedTuple):
    """One field of a spec, for people."""

    path: str
    accepts: str
    default: str
    """Empty when there is none."""
    is_required: bool


def model_at(model: type[BaseModel], path: tuple[str | int, ...]) -> type[BaseModel] | None:
    """Return the model whose fields stand under *path*; None where there are no fields of ours."""
    found: type[BaseModel] | None = model
    for part in path:
        info = found.model_fields.get(str(part)) if found else None
        found = _nested(info) if info else None
    return found


def field_at(model: type[BaseModel], path: tuple[str | int, ...]) -> FieldInfo | None:
    """Return the field at *path*; None where no field of ours stands."""
    parent = model_at(model, path[:-1]) if path else None
    return parent.model_fields.get(str(path[-1])) if parent else None


def every_field(model: type[BaseModel], prefix: str = "") -> Iterator[Accepted]:
    """Yield each field of *model* and of the models inside it, by dotted path."""
    for name, info in model.model_fields.items():
        nested = _nested(info)
        if nested is not None:
            yield from every_field(nested, f"{prefix}{name}.")
        else:
            yield Accepted(f"{prefix}{name}", accepts(info), default(info), info.is_required())


def accepts(info: FieldInfo) -> str:
    """Return what the field accepts, like "a whole number from 1 to 64"."""
    base = _type_name(info.annotation)
    limits = {type(rule).__name__: rule for rule in _rules(info)}
    pattern = next((rule.pattern for rule in limits.values() if getattr(rule, "pattern", None)), None)
    if pattern:
        return f"{base}: {_PATTERNS.get(pattern, f'matching {pattern}')}"
    return base + _bounds(limits)


def default(info: FieldInfo) -> str:
    """Return the default as it would be written; empty when there is none."""
    value = info.get_default(call_default_factory=True) if not info.is_required() else PydanticUndefined
    if value is PydanticUndefined:
        return ""
    if value is None or isinstance(value, BaseModel):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, frozenset | list | tuple):
        return f"[{', '.join(sorted(map(str, value)))}]"
    return str(value)


def _nested(info: FieldInfo) -> type[BaseModel] | None:
    annotation = info.annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _rules(info: FieldInfo) -> list[Any]:
    """Return a field's constraints, those of its inner type too (``Rate | None``)."""
    inner = [rule for part in get_args(info.annotation) if get_origin(part) is Annotated for rule in get_args(part)[1:]]
    return [*info.metadata, *inner]


def _bounds(limits: dict[str, Any]) -> str:
    low = next((f"{word} {value:,}" for word, value in _lows(limits)), "")
    high = next((f"{word} {value:,}" for word, value in _highs(limits)), "")
    lengths = _lengths(limits)
    return "".join(f" {part}" for part in (low, high, lengths) if part)


def _lows(limits: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    if "Ge" in limits:
        yield "from", limits["Ge"].ge
    if "Gt" in limits:
        yield "above", limits["Gt"].gt


def _highs(limits: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    if "Le" in limits:
        yield "to", limits["Le"].le
    if "Lt" in limits:
        yield "below", limits["Lt"].lt


def _lengths(limits: dict[str, Any]) -> str:
    strings = limits.get("StringConstraints")
    least = getattr(strings, "min_length", None) or getattr(limits.get("MinLen"), "min_length", None)
    most = getattr(strings, "max_length", None) or getattr(limits.get("MaxLen"), "max_length", None)
    if least and most:
        return f"of {least} to {most}" + (" characters" if strings else " entries")
    return f"of at least {least} entry" if least else f"of at most {most} entries" if most else ""


def _type_name(annotation: Any) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is None:
        return _plain_name(annotation)
    if origin is Annotated:
        return _type_name(parts[0])
    if origin is Literal:
        return " or ".join(map(str, parts))
    if origin is dict:
        return "a mapping"
    if origin in {Union, types.UnionType}:
        return " or ".join(dict.fromkeys(_type_name(part) for part in parts if part is not type(None)))
    return f"a list of {_plural(parts[0])}"


def _plain_name(annotation: Any) -> str:
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return " or ".join(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"a mapping with {', '.join(annotation.model_fields)}"
    return _NAMES.get(annotation, "a value")


def _plural(annotation: Any) -> str:
    name = _type_name(annotation)
    return {"text": "texts", "a mapping": "mappings"}.get(name, name)

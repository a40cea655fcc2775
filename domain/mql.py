"""
What MongoDB query language a job may contain, decided without a driver.

Values are JSON, extended JSON included (``{"$date": …}``, ``{"$oid": …}``): this module looks at
operator names and field paths only, and never at what a value means.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Document = dict[str, Any]

_SERVER_SIDE_JAVASCRIPT = frozenset({"$where", "$function", "$accumulator", "$code"})
_UNWALKABLE = {
    "$text": "a text search cannot be walked in the order of an index",
    "$near": "$near sorts by distance; use $geoWithin",
    "$nearSphere": "$nearSphere sorts by distance; use $geoWithin",
}
_WRITING_STAGES = frozenset({"$out", "$merge"})
_UPDATE_STAGES = frozenset({"$set", "$addFields", "$unset", "$project", "$replaceRoot", "$replaceWith"})
_UPDATE_OPERATORS = frozenset(
    {
        "$set", "$unset", "$rename", "$min", "$max", "$mul", "$inc", "$currentDate",
        "$push", "$pop", "$pull", "$pullAll", "$addToSet", "$bit",
    }
)  # fmt: skip
_NON_IDEMPOTENT_OPERATORS = frozenset({"$inc", "$mul", "$push", "$pop", "$bit"})
_DEPTH_MAX = 100  # the server's own limit for nested documents


def walk(value: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield every (key, value) pair inside *value*. Raises ValueError beyond 100 levels."""
    if depth > _DEPTH_MAX:
        raise ValueError(f"nested deeper than {_DEPTH_MAX} levels, MongoDB's own limit; flatten it")
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield str(key), inner
            yield from walk(inner, depth + 1)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for inner in value:
            yield from walk(inner, depth + 1)


def refuse_code(value: Any, where: str) -> None:
    """Raise ValueError if *value* contains server-side JavaScript or a stage that writes elsewhere."""
    for key, _ in walk(value):
        if key in _SERVER_SIDE_JAVASCRIPT:
            raise ValueError(
                f"{key} in {where} runs JavaScript on the server, which lull never does; express it with operators"
            )
        if key in _WRITING_STAGES:
            raise ValueError(f"{key} in {where} writes past the ledger; lull writes only to the job's own collection")


def check_filter(query: Document) -> Document:
    """Return *query* unchanged, or raise ValueError if it cannot be walked page by page."""
    refuse_code(query, "filter")
    for key, _ in walk(query):
        if key in _UNWALKABLE:
            raise ValueError(f"{key} in filter: {_UNWALKABLE[key]}")
    for key in query:
        if key.startswith("$") and key not in {"$and", "$or", "$nor", "$expr", "$comment", "$jsonSchema"}:
            raise ValueError(
                f"{key} cannot stand at the top of a filter; start with a field name, $and, $or, $nor or $expr"
            )
    return query


def check_update(update: Document | list[Document]) -> Document | list[Document]:
    """Return *update* unchanged, or raise ValueError if it is neither operators nor an update pipeline."""
    refuse_code(update, "update")
    if isinstance(update, list):
        _check_pipeline(update)
    else:
        _check_operators(update)
    if "_id" in fields_written(update):
        raise ValueError("update writes _id, which MongoDB does not allow to change; copy to a new collection instead")
    return update


def _check_pipeline(pipeline: list[Document]) -> None:
    if not pipeline:
        raise ValueError("update is an empty pipeline and would change nothing")
    for stage in pipeline:
        if len(stage) != 1 or next(iter(stage)) not in _UPDATE_STAGES:
            seen = ", ".join(stage) or "an empty stage"
            raise ValueError(f"{seen} is not an update stage; use one of {', '.join(sorted(_UPDATE_STAGES))}")


def _check_operators(update: Document) -> None:
    if not update:
        raise ValueError("update is empty and would change nothing; give operators like $set, or a pipeline")
    for operator, fields in update.items():
        if operator not in _UPDATE_OPERATORS:
            hint = (
                "a whole replacement is a transform or a $replaceWith pipeline"
                if not operator.startswith("$")
                else "it is not an update operator lull runs"
            )
            raise ValueError(f"{operator!r} in update: {hint}; use one of {', '.join(sorted(_UPDATE_OPERATORS))}")
        if not isinstance(fields, Mapping) or not fields:
            raise ValueError(f"{operator} in update needs at least one field, like {{{operator}: {{field: value}}}}")


def fields_written(update: Document | list[Document]) -> frozenset[str]:
    """Return the field paths *update* may write; ``*`` stands for the whole document."""
    if isinstance(update, list):
        return frozenset(path for stage in update for path in _stage_fields(stage))
    paths = {str(path) for fields in update.values() for path in fields}
    return frozenset(paths | {str(new) for new in update.get("$rename", {}).values()})


def _stage_fields(stage: Document) -> Iterator[str]:
    name, body = next(iter(stage.items()))
    if name in {"$set", "$addFields"} and isinstance(body, Mapping):
        yield from map(str, body)
    elif name == "$unset":
        yield from [body] if isinstance(body, str) else map(str, body)
    else:
        yield "*"


def is_idempotent(update: Document | list[Document]) -> bool:
    """
    Return whether applying *update* twice surely gives what applying it once gives.

    Operators are looked up; a pipeline counts as idempotent only if it reads nothing that it writes.
    """
    if isinstance(update, dict):
        return not _NON_IDEMPOTENT_OPERATORS & update.keys()
    written = fields_written(update)
    return not any(_overlaps(path, written) for path in _fields_read(update))


def _fields_read(value: Any) -> Iterator[str]:
    if isinstance(value, str) and value.startswith("$"):
        yield ("*" if value.startswith(("$$ROOT", "$$CURRENT")) else "" if value.startswith("$$") else value[1:])
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if key == "$getField":
                yield "*"
            yield from _fields_read(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _fields_read(inner)


def _overlaps(path: str, others: frozenset[str]) -> bool:
    return bool(path) and any(paths_overlap(path, other) for other in others)


def paths_overlap(one: str, other: str) -> bool:
    """Return whether writing field path *one* can touch what lies under *other*; ``*`` touches all."""
    if "*" in {one, other}:
        return True
    return one == other or one.startswith(other + ".") or other.startswith(one + ".")

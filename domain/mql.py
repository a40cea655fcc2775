"""
What MongoDB query language a job may contain, decided without a driver.

Values are JSON, extended JSON included (``{"$date": …}``, ``{"$oid": …}``): this module looks at
operator names and field paths only, and never at what a value means.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from lull.domain.values import check_values, shown, walk

Document = dict[str, Any]

_SERVER_SIDE_JAVASCRIPT = frozenset({"$where", "$function", "$accumulator", "$code"})
_PRIVATE_PREFIX = "$_"
"""The server's internal operators; some run JavaScript ($_internalJsEmit), none is promised to stay."""
_UNWALKABLE = {
    "$text": "a text search cannot be walked in the order of an index",
    "$near": "$near sorts by distance; use $geoWithin",
    "$nearSphere": "$nearSphere sorts by distance; use $geoWithin",
    "$geoNear": "$geoNear sorts by distance; use $geoWithin",
    "$rand": "a draw gives another answer whenever a page asks again; filter on a stored value",
    "$sampleRate": "a draw gives another answer whenever a page asks again; filter on a stored value",
}
_TOP_LEVEL_OPERATORS = frozenset({"$and", "$or", "$nor", "$expr", "$comment", "$jsonSchema"})
_WRITING_STAGES = frozenset({"$out", "$merge"})
_UPDATE_STAGES = frozenset({"$set", "$addFields", "$unset", "$project", "$replaceRoot", "$replaceWith"})
_STAGES_OF_FIELDS = frozenset({"$set", "$addFields", "$project"})
_UPDATE_OPERATORS = frozenset(
    {
        "$set", "$unset", "$rename", "$min", "$max", "$mul", "$inc", "$currentDate",
        "$push", "$pop", "$pull", "$pullAll", "$addToSet", "$bit",
    }
)  # fmt: skip
_NAMES_SHOWN_MAX = 5
_STORING_OPERATORS = ("$set", "$min", "$max")
_NON_IDEMPOTENT_OPERATORS = frozenset({"$inc", "$mul", "$push", "$pop", "$bit", "$currentDate"})
_VOLATILE = frozenset({"$$NOW", "$$CLUSTER_TIME", "$rand"})
"""What gives another value when a page is applied again."""
_EXTENDED_JSON = frozenset(
    {
        "$date", "$oid", "$uuid", "$binary", "$type", "$numberInt", "$numberLong", "$numberDouble", "$numberDecimal",
        "$regularExpression", "$regex", "$options", "$timestamp", "$minKey", "$maxKey", "$symbol", "$undefined",
        "$ref", "$id", "$db", "$dbPointer", "$scope",
    }
)  # fmt: skip


def refuse_code(value: Any, where: str) -> None:
    """Raise ValueError unless *value* is JSON without server-side JavaScript and stages that write elsewhere."""
    check_values(value, where)
    for key, _ in walk(value):
        if key in _SERVER_SIDE_JAVASCRIPT:
            raise ValueError(
                f"{key} in {where} runs JavaScript on the server, which lull never does; express it with operators"
            )
        if key in _WRITING_STAGES:
            raise ValueError(f"{key} in {where} writes past the ledger; lull writes only to the job's own collection")
        if key.startswith(_PRIVATE_PREFIX):
            raise ValueError(f"{shown(key)} in {where} is internal to the server; use a documented operator")


def check_filter(query: Document) -> Document:
    """Return *query* unchanged, or raise ValueError if it cannot be walked page by page."""
    refuse_code(query, "filter")
    for key, _ in walk(query):
        if key in _UNWALKABLE:
            raise ValueError(f"{key} in filter: {_UNWALKABLE[key]}")
    for key in query:
        if key.startswith("$") and key not in _TOP_LEVEL_OPERATORS:
            raise ValueError(
                f"{shown(key)} cannot stand at the top of a filter; start with a field name, $and, $or, $nor or $expr"
            )
    return query


def matches_everything(query: Document) -> bool:
    """Return whether *query* plainly matches every document. It may do so less plainly when this says no."""
    return all(_is_no_condition(key, value) for key, value in query.items())


def _is_no_condition(key: str, value: Any) -> bool:
    match key:
        case "$comment":
            return True
        case "$and" if isinstance(value, list):
            return all(isinstance(part, dict) and matches_everything(part) for part in value)
        case "$or" if isinstance(value, list):
            return any(isinstance(part, dict) and matches_everything(part) for part in value)
        case "$expr":
            return value is True
        case "_id":
            return bool(value == {"$exists": True})
    return False


def check_update(update: Document | list[Document]) -> Document | list[Document]:
    """Return *update* unchanged, or raise ValueError if it is neither operators nor an update pipeline."""
    refuse_code(update, "update")
    if isinstance(update, list):
        _check_pipeline(update)
    else:
        _check_operators(update)
    if any(path != "*" and paths_overlap(path, "_id") for path in fields_written(update)):
        raise ValueError("update writes _id, which MongoDB does not allow to change; copy to a new collection instead")
    return update


def _check_pipeline(pipeline: list[Document]) -> None:
    if not pipeline:
        raise ValueError(
            "update is an empty pipeline and would change nothing; give it a stage, like [{$set: {field: expression}}]"
        )
    for stage in pipeline:
        if len(stage) != 1 or next(iter(stage)) not in _UPDATE_STAGES:
            seen = ", ".join(map(shown, list(stage)[:_NAMES_SHOWN_MAX])) or "an empty stage"
            raise ValueError(f"{seen} is not an update stage; use one of {', '.join(sorted(_UPDATE_STAGES))}")
        _check_stage(*next(iter(stage.items())))


def _check_stage(name: str, body: Any) -> None:
    if name in _STAGES_OF_FIELDS and not (isinstance(body, dict) and body):
        raise ValueError(f"{name} in update needs at least one field, like {{{name}: {{field: value}}}}")
    if name == "$unset" and not (body and all(isinstance(path, str) for path in _as_list(body))):
        raise ValueError("$unset in a pipeline takes a field name or a list of them, like {$unset: [field, other]}")
    if name == "$replaceRoot" and not (isinstance(body, dict) and "newRoot" in body):
        raise ValueError("$replaceRoot in update needs newRoot, like {$replaceRoot: {newRoot: expression}}")


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
            raise ValueError(f"{shown(operator)} in update: {hint}; use one of {', '.join(sorted(_UPDATE_OPERATORS))}")
        if not isinstance(fields, Mapping) or not fields:
            raise ValueError(f"{operator} in update needs at least one field, like {{{operator}: {{field: value}}}}")
    if not all(isinstance(new, str) for new in update.get("$rename", {}).values()):
        raise ValueError("$rename in update takes the new name of each field, like {$rename: {old: new}}")
    _refuse_stored_expressions(update)


def _refuse_stored_expressions(update: Document) -> None:
    """Raise ValueError where an expression would be stored as it stands: MongoDB 5 and newer do that silently."""
    for operator in _STORING_OPERATORS:
        for key, _ in walk(list(update.get(operator, {}).values())):
            if key.startswith("$") and key not in _EXTENDED_JSON:
                raise ValueError(
                    f"{shown(key)} inside {operator} would be stored as it stands, not evaluated; "
                    "expressions need a pipeline: put the stage into a list, update: [{$set: ...}]"
                )


def fields_written(update: Document | list[Document]) -> frozenset[str]:
    """Return the field paths *update* may write; ``*`` stands for the whole document."""
    if isinstance(update, list):
        return frozenset(path for stage in update for path in _stage_fields(*next(iter(stage.items()))))
    paths = {path for fields in update.values() for path in fields}
    return frozenset(paths | set(update.get("$rename", {}).values()))


def _stage_fields(name: str, body: Any) -> list[str]:
    if name in {"$set", "$addFields"}:
        return list(body)
    return _as_list(body) if name == "$unset" else ["*"]


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def is_idempotent(update: Document | list[Document]) -> bool:
    """
    Return whether applying *update* twice surely gives what applying it once gives.

    Operators are looked up, and the elements they pick must not depend on what they wrote; a
    pipeline counts as idempotent only if it reads nothing that it writes, no clock and no dice.
    """
    written = fields_written(update)
    if isinstance(update, dict):
        return not _NON_IDEMPOTENT_OPERATORS & update.keys() and _picks_once(written)
    return not any(_is_volatile(read) or _overlaps(read, written) for read in _reads(update))


def _picks_once(paths: frozenset[str]) -> bool:
    """
    Return whether the array elements that *paths* pick are the same when asked again.

    ``$`` is the first element that matches, which is another one once the first was changed. One
    ``$[name]`` sets what it picks to one value; two can hand an element to each other.
    """
    parts = [path.split(".") for path in paths]
    named = [part for part in parts if any(p.startswith("$[") and p != "$[]" for p in part)]
    return len(named) <= 1 and not any("$" in part for part in parts)


def _reads(value: Any) -> Iterator[str]:
    """Yield what expressions inside *value* read: ``$field.path``, ``$$VARIABLE``, ``$operator``; not what is literal."""
    if isinstance(value, str) and value.startswith("$"):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if key == "$literal":
                continue
            if key in {"$getField", *_VOLATILE}:
                yield key
            yield from _reads(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _reads(inner)


def _is_volatile(read: str) -> bool:
    return read.partition(".")[0] in _VOLATILE


def _overlaps(read: str, written: frozenset[str]) -> bool:
    path = _field_read(read)
    return bool(path) and any(paths_overlap(path, other) for other in written)


def _field_read(read: str) -> str:
    """Return the field path that *read* stands for, ``*`` for any, empty for a variable set from what is read elsewhere."""
    if read == "$getField":
        return "*"  # its field may be computed
    if not read.startswith("$$"):
        return read[1:]
    variable, _, path = read.partition(".")
    return (path or "*") if variable in {"$$ROOT", "$$CURRENT"} else ""


def paths_overlap(one: str, other: str) -> bool:
    """
    Return whether writing field path *one* can touch what lies under *other*; ``*`` touches all.

    Array positions (``a.0``, ``a.$``, ``a.$[]``, ``a.$[name]``) count as the array's elements: any of them
    may be the same.
    """
    if "*" in {one, other}:
        return True
    shorter, longer = sorted((_without_positions(one), _without_positions(other)), key=len)
    return longer[: len(shorter)] == shorter


def _without_positions(path: str) -> list[str]:
    first, *rest = path.split(".")
    return [first, *(part for part in rest if not (part.startswith("$") or (part.isascii() and part.isdigit())))]

"""Which index a purge may drain, why another one may not be walked, and which one is missing."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lull.activities.mongo import Document
from lull.activities.sources import Source

ID_WALK: Document = {"name": "_id_", "keys": [["_id", 1]]}
"""The index every collection has, as the ledger writes it."""
SUGGESTED_FIELDS_MAX = 4

_EQUALITY = frozenset({"$eq", "$in"})
_RANGE = frozenset({"$gt", "$gte", "$lt", "$lte", "$regex", "$exists", "$type"})


@dataclass(frozen=True, slots=True)
class Drain:
    """What the planner's choice for the filter is good for."""

    index: Document | None
    """The index to drain, as the ledger writes it; None if there is none."""
    why_not: str
    """Why the planner's own choice cannot be walked; empty when it can, or when there was none."""


def drain(explained: Document, source: Source) -> Drain:
    """Return the first index the planner thought of for the filter that a drain may walk."""
    flaws = []
    for plan in _plans(explained):
        scans = [stage for stage in _stages(plan) if "indexName" in stage]
        if len(scans) > 1:
            flaws.append("the filter needs several indexes at once")
        elif scans:
            index, flaw = _judged(scans[0], source)
            if index is not None and not flaw:
                return Drain(_walk(index), "")
            flaws.append(flaw)
    return Drain(None, flaws[0] if flaws else "")


def _judged(scan: Document, source: Source) -> tuple[Document | None, str]:
    name = scan["indexName"]
    index = next((index for index in source.indexes if index["name"] == name), None)
    if index is None:
        return None, f"index {name} is gone again"
    flaw = "is multikey" if scan.get("isMultiKey") else unwalkable(index, source.collation)
    return index, f"index {name} serves the filter but {flaw}" if flaw else ""


def _walk(index: Document) -> Document:
    return {"name": index["name"], "keys": [[field, direction] for field, direction in index["key"].items()]}


def unwalkable(index: Document, collation: Document | None) -> str:
    """Return why this index does not lead to every matching document in an order; empty if it does."""
    kinds = sorted({str(kind) for kind in index["key"].values() if not isinstance(kind, int | float)})
    if kinds:
        return f"is a {kinds[0]} index"
    if any(field == "$**" or field.endswith(".$**") for field in index["key"]):
        return "is a wildcard index"
    for option, meaning in (
        ("sparse", "is sparse"),
        ("partialFilterExpression", "is partial"),
        ("hidden", "is hidden"),
    ):
        if index.get(option):
            return meaning
    if index.get("collation") != collation:
        return "has another collation than the collection"
    return ""


def _plans(explained: Document) -> Iterator[Document]:
    """Yield the planner's choice and then what it rejected, as trees of stages."""
    planner = explained.get("queryPlanner", {})
    for plan in [planner.get("winningPlan", {}), *planner.get("rejectedPlans", [])]:
        for tree in [shard["winningPlan"] for shard in plan.get("shards", [])[:1]] or [plan]:
            # The slot-based engine wraps the tree that the classic one shows bare.
            yield tree.get("queryPlan", tree)


def _stages(plan: Document) -> Iterator[Document]:
    yield plan
    inner = [plan["inputStage"]] if "inputStage" in plan else plan.get("inputStages", [])
    for stage in inner:
        yield from _stages(stage)


def suggested(query: Mapping[str, Any]) -> Document | None:
    """
    Return the keys of an index that would serve *query*; None if none would.

    Fields compared for equality come first, then one range: an index narrows by every equality
    and by the first range only (the rule of equality, sort, range).
    """
    equal: list[str] = []
    ranged: list[str] = []
    for field, condition in _conditions(query):
        if _is_equality(condition):
            equal.append(field)
        elif isinstance(condition, Mapping) and _RANGE & condition.keys():
            ranged.append(field)
    fields = dict.fromkeys([*dict.fromkeys(equal), *dict.fromkeys(ranged)][:SUGGESTED_FIELDS_MAX], 1)
    return dict(fields) or None


def _conditions(query: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in query.items():
        if key == "$and" and isinstance(value, list):
            for part in value:
                yield from _conditions(part)
        elif not key.startswith("$"):
            yield key, value


def _is_equality(condition: Any) -> bool:
    if not isinstance(condition, Mapping):
        return True
    operators = [key for key in condition if key.startswith("$")]
    # Extended JSON looks like an operator and is a value: {"$date": ...}, {"$oid": ...}.
    return not operators or bool(_EQUALITY & condition.keys()) or operators[0] in _VALUES


_VALUES = frozenset(
    {
        "$oid", "$date", "$numberLong", "$numberInt", "$numberDouble", "$numberDecimal", "$binary", "$uuid",
        "$timestamp", "$minKey", "$maxKey", "$symbol",
    }
)  # fmt: skip


def keys_text(keys: Mapping[str, Any]) -> str:
    """Return an index's keys as they are typed: ``{a: 1, b: 1}``."""
    return "{" + ", ".join(f"{field}: {direction}" for field, direction in keys.items()) + "}"


def holding(source: Source, fields: frozenset[str]) -> list[str]:
    """Return the secondary indexes that must be written when *fields* change."""
    return [
        index["name"]
        for index in source.indexes
        if index["name"] != "_id_" and any(_touches(key, field) for key in index["key"] for field in fields)
    ]


def _touches(key: str, field: str) -> bool:
    if field == "*" or key.endswith("$**"):
        return True
    return key == field or key.startswith(field + ".") or field.startswith(key + ".")

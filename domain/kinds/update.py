"""``update``: MQL operators or an aggregation pipeline, run on the server page by page."""

import json
from typing import Any, ClassVar, Literal

from lull.domain import mql
from lull.domain.job import OPLOG_ENTRY_BYTES, JobSpec, ServerUpdate
from pydantic import Field, field_validator
from typing_extensions import override


class Spec(JobSpec):
    """Apply ``update`` to every document that matches when its page is written."""

    gloss: ClassVar[str] = "change documents with update operators or a pipeline, on the server"

    docs_per_second_expected: ClassVar[float] = 25_000

    kind: Literal["update"]
    update: dict[str, Any] | list[dict[str, Any]]
    array_filters: list[dict[str, Any]] = Field(default=[], max_length=100)

    @field_validator("update")
    @classmethod
    def _runs_page_by_page(cls, update: dict[str, Any] | list[dict[str, Any]]) -> dict[str, Any] | list[dict[str, Any]]:
        return mql.check_update(update)

    @field_validator("array_filters")
    @classmethod
    def _no_code(cls, filters: list[dict[str, Any]]) -> list[dict[str, Any]]:
        mql.refuse_code(filters, "array_filters")
        return filters

    @property
    @override
    def fields_written(self) -> frozenset[str]:
        return mql.fields_written(self.update)

    @property
    @override
    def is_idempotent(self) -> bool:
        return mql.is_idempotent(self.update)

    @property
    @override
    def server_update(self) -> ServerUpdate:
        return ServerUpdate(self.update, self.array_filters)

    @override
    def oplog_bytes(self, document_bytes: float) -> float:
        # The server logs the difference: what the update names, not the document.
        return OPLOG_ENTRY_BYTES + len(json.dumps(self.update))

    @property
    @override
    def undo(self) -> str:
        return "documents are changed in place: pages already committed stay changed"

    @property
    @override
    def effect(self) -> str:
        return f"update {', '.join(sorted(self.fields_written))} on the server"

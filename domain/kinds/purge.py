"""``purge``: delete by filter, deciding on the document as it is when it is deleted."""

from typing import ClassVar, Literal, Self

from lull.domain import mql
from lull.domain.job import OPLOG_ENTRY_BYTES, JobSpec
from pydantic import model_validator
from typing_extensions import override


class Spec(JobSpec):
    """Delete every document that matches the filter when its page is written."""

    gloss: ClassVar[str] = "delete documents by filter, through the filter's index where there is one"

    actions: ClassVar[frozenset[str]] = frozenset({"remove"})
    docs_per_second_expected: ClassVar[float] = 40_000

    kind: Literal["purge"]
    everything: bool = False
    """Must be true to purge without a filter: an empty filter is more often a slip than a wish."""

    @model_validator(mode="after")
    def _filter_or_everything(self) -> Self:
        if mql.matches_everything(self.source.filter) and not self.everything:
            raise ValueError(
                "source.filter matches every document, which deletes the whole collection; "
                "give a filter, or everything: true if that is meant"
            )
        return self

    @property
    @override
    def is_idempotent(self) -> bool:
        return True

    @property
    @override
    def may_drain(self) -> bool:
        return True

    @override
    def oplog_bytes(self, document_bytes: float) -> float:
        return OPLOG_ENTRY_BYTES

    @property
    @override
    def undo(self) -> str:
        return "deleted documents are gone: cancelling keeps only what is not yet deleted"

    @property
    @override
    def effect(self) -> str:
        return "delete"

"""``purge``: delete by filter, deciding on the document as it is when it is deleted."""

from typing import Any, ClassVar, Literal

from lull.domain.job import JobSpec
from pydantic import model_validator
from typing_extensions import override


class Spec(JobSpec):
    """Delete every document that matches the filter when its page is written."""

    gloss: ClassVar[str] = "delete documents by filter, through the filter's index where there is one"

    kind: Literal["purge"]
    everything: bool = False
    """Must be true to purge without a filter: an empty filter is more often a slip than a wish."""

    @model_validator(mode="before")
    @classmethod
    def _filter_or_everything(cls, data: Any) -> Any:
        source = data.get("source") if isinstance(data, dict) else None
        if isinstance(source, dict) and not source.get("filter") and data.get("everything") is not True:
            raise ValueError(
                "source.filter is empty, which deletes the whole collection; give a filter, or everything: true if that is meant"
            )
        return data

    @property
    @override
    def is_idempotent(self) -> bool:
        return True

    @property
    @override
    def may_drain(self) -> bool:
        return True

    @property
    @override
    def undo(self) -> str:
        return "deleted documents are gone: cancelling keeps only what is not yet deleted"

    @property
    @override
    def effect(self) -> str:
        return "delete"

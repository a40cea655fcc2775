"""``transform``: a registered Python function, document by document or in batches."""

from typing import ClassVar, Literal

from lull.domain.job import JobSpec, Name
from pydantic import Field
from typing_extensions import override


class Spec(JobSpec):
    """Write what the registered function makes of each document, never over a concurrent update."""

    gloss: ClassVar[str] = "compute new fields or whole replacements with a registered Python function"

    kind: Literal["transform"]
    transform: Name
    """The name given to ``@transform(...)`` in a module the worker loads."""
    writes: frozenset[str] = Field(default=frozenset({"*"}), min_length=1)
    """The field paths the function may write: lets jobs on other fields of the collection run beside it."""

    @property
    @override
    def fields_written(self) -> frozenset[str]:
        return self.writes

    @property
    @override
    def function(self) -> str:
        return self.transform

    @property
    @override
    def is_idempotent(self) -> bool:
        return False  # Nothing is known of a user's function.

    @property
    @override
    def undo(self) -> str:
        return "documents are changed in place: pages already committed stay changed"

    @property
    @override
    def effect(self) -> str:
        return f"transform with {self.transform}"

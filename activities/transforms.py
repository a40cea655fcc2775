"""
The user-facing registry: what ``@transform("name")`` records and a job's spec names.

A spec names a *registered* function; which modules a worker loads is its operator's decision, so
starting a job never imports code that its caller chose. This module imports no driver: users'
code and its unit tests stay light.
"""

import difflib
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Literal, TypeAlias, TypeVar, overload

from typing_extensions import override

from lull.domain.errors import OperatorError

NAME_MAX = 120
"""Characters; as long as the spec's ``transform`` may be."""


class Verdict(Enum):
    """What a function says of a document that it does not change. Both count; neither is written."""

    UNCHANGED = "unchanged"  # looked at, and right as it is
    SKIP = "skipped"  # not this job's business

    @override
    def __repr__(self) -> str:
        return self.name


class Absent(Enum):
    """The type of :data:`UNSET`."""

    UNSET = "unset"

    @override
    def __repr__(self) -> str:
        return self.name


UNCHANGED: Final = Verdict.UNCHANGED
"""The document is right as it is."""
SKIP: Final = Verdict.SKIP
"""The document is not this job's business."""
UNSET: Final = Absent.UNSET
"""As a field's new value: the field is removed."""

Document: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Replace:
    """The whole new document. Its ``_id`` may be left out; it cannot be another one."""

    document: Mapping[str, Any]


Result: TypeAlias = Mapping[str, Any] | Replace | Literal[Verdict.UNCHANGED, Verdict.SKIP]
"""Changed fields (dotted paths allowed, ``UNSET`` removes), a replacement, or a verdict."""
OneFunction: TypeAlias = Callable[[Document], Result]
BatchFunction: TypeAlias = Callable[[list[Document]], list[Result]]
_One = TypeVar("_One", bound=OneFunction)
_Batch = TypeVar("_Batch", bound=BatchFunction)
_Any = TypeVar("_Any", bound=Callable[..., Any])


class BadResult(TypeError):
    """A function returned what no document can become. The document is treated as poison."""


@dataclass(frozen=True, slots=True)
class Transform:
    """One registered function."""

    name: str
    function: Callable[..., Any]
    batch: bool = False

    def results(self, documents: list[Document]) -> list[Result]:
        """
        Return what becomes of each document, in their order.

        Raises whatever the function raises, and BadResult for what is no result. A function
        that takes batches sees all *documents* at once, the others one by one.
        """
        raw = self.function(documents) if self.batch else [self.function(document) for document in documents]
        if not isinstance(raw, list) or len(raw) != len(documents):
            raise BadResult(
                f"transform {self.name!r} takes batches: given {len(documents)} documents it must return a list of as "
                f"many results, not {_describe(raw)}"
            )
        for result in raw:
            self._check(result)
        return raw

    def _check(self, result: object) -> None:
        if isinstance(result, Verdict | Replace):
            return
        if not isinstance(result, Mapping):
            raise BadResult(
                f"transform {self.name!r} must return a dict of changed fields, Replace(document), UNCHANGED or SKIP, "
                f"not {_describe(result)}"
            )
        if "_id" in result:
            raise BadResult(f"transform {self.name!r} returned _id, which never changes; leave it out of the result")


class Registry:
    """Registered functions by name. The default one is :data:`REGISTRY`; tests make their own."""

    def __init__(self) -> None:
        self._transforms: dict[str, Transform] = {}

    def add(self, transform: Transform) -> None:
        """The function can be named in specs. Raises OperatorError for a name that is taken."""
        taken = self._transforms.get(transform.name)
        if taken is not None:
            raise OperatorError(
                f"transform {transform.name!r} is registered twice: by {_origin(taken.function)} and by "
                f"{_origin(transform.function)}; give one of them another name"
            )
        self._transforms[transform.name] = transform

    def get(self, name: str) -> Transform:
        """Return the function called *name*, or raise OperatorError that names those there are."""
        try:
            return self._transforms[name]
        except KeyError:
            raise OperatorError(self._unknown(name)) from None

    def _unknown(self, name: str) -> str:
        near = difflib.get_close_matches(name, self._transforms, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        known = ", ".join(self) or "none"
        return (
            f"no transform {name!r} is registered on this worker{hint} (known: {known}); "
            "start the worker with --load MODULE for the module that registers it"
        )

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._transforms))

    def __len__(self) -> int:
        return len(self._transforms)

    def __contains__(self, name: object) -> bool:
        return name in self._transforms


REGISTRY = Registry()
"""What ``@transform`` fills and workers serve."""


@overload
def transform(name: str, *, batch: Literal[False] = False, registry: Registry = REGISTRY) -> Callable[[_One], _One]: ...
@overload
def transform(name: str, *, batch: Literal[True], registry: Registry = REGISTRY) -> Callable[[_Batch], _Batch]: ...
def transform(name: str, *, batch: bool = False, registry: Registry = REGISTRY) -> Callable[[_Any], _Any]:
    """
    Register the decorated function under *name*; the function itself stays as it is.

    It takes a document and returns a dict of changed fields, ``Replace(document)``, ``UNCHANGED``
    or ``SKIP``; with ``batch=True`` it takes a list of documents and returns a list of as many
    results. It may run more than once for a document, on another version of it: it should
    depend on nothing but its argument. Raises OperatorError for a bad name or function.
    """
    _require_name(name)

    def register(function: _Any) -> _Any:
        if inspect.iscoroutinefunction(function):
            raise OperatorError(
                f"transform {name!r} is an async function; make it a plain one: pages call it from a thread"
            )
        registry.add(Transform(name, function, batch))
        return function

    return register


def _require_name(name: object) -> None:
    if callable(name):
        raise OperatorError(f'@transform needs a name: write @transform("team.purpose") above {_origin(name)}')
    if not isinstance(name, str) or not 1 <= len(name) <= NAME_MAX:
        raise OperatorError(f"a transform's name is a text of 1 to {NAME_MAX} characters, not {name!r}")


def _origin(function: Callable[..., Any]) -> str:
    module = getattr(function, "__module__", None) or "?"
    return f"{module}.{getattr(function, '__qualname__', type(function).__name__)}"


def _describe(value: object) -> str:
    # Type and length, never the value: it may be a document.
    length = f" of {len(value)}" if isinstance(value, list | tuple) else ""
    return f"{type(value).__name__}{length}"

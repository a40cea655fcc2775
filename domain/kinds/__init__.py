"""
The kinds of job there are: one module each, found by being here.

A kind is a :class:`~lull.domain.job.JobSpec` subclass whose ``kind`` is a one-word ``Literal``.
Its adapter is the module of the same name in ``lull.activities.kinds``.
"""

import difflib
import importlib
import pkgutil
from typing import Annotated, Any, get_args

from lull.domain.job import JobSpec
from pydantic import PlainSerializer, PlainValidator


def _discover() -> dict[str, type[JobSpec]]:
    found = {}
    for module in pkgutil.iter_modules(__path__):
        spec_type = importlib.import_module(f"{__name__}.{module.name}").Spec
        (name,) = get_args(spec_type.model_fields["kind"].annotation)
        found[name] = spec_type
    return dict(sorted(found.items()))


KINDS: dict[str, type[JobSpec]] = _discover()
_SHOWN_CHARACTERS_MAX = 40


def parse_spec(value: Any) -> JobSpec:
    """
    Return *value* (a mapping, or a spec) as the spec of its kind.

    Raises ValueError (pydantic's, with one entry per field) when it is not one.
    """
    if isinstance(value, JobSpec):
        return value
    if not isinstance(value, dict):
        raise ValueError(f"a spec is a mapping of fields, not {type(value).__name__}; see examples/")  # noqa: TRY004 - pydantic wants ValueError
    return _spec_type(value.get("kind")).model_validate(value)


def _spec_type(kind: object) -> type[JobSpec]:
    if kind is None:
        raise ValueError(f"kind is missing; use one of {', '.join(KINDS)}")
    if not isinstance(kind, str) or kind not in KINDS:
        shown = repr(kind)[:_SHOWN_CHARACTERS_MAX]
        near = difflib.get_close_matches(shown.strip("'").lower(), KINDS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(KINDS)}"
        raise ValueError(f"kind {shown} is not known; {hint}")
    return KINDS[kind]


def _dump(spec: JobSpec) -> dict[str, Any]:
    return spec.canonical()


AnySpec = Annotated[JobSpec, PlainValidator(parse_spec), PlainSerializer(_dump, return_type=dict[str, Any])]
"""A spec of any kind, as a field of a message."""

"""The kinds of job there are, and the fields of each, read from the models themselves."""

import ast
import difflib
import inspect
import textwrap

from pydantic import BaseModel

from lull.domain.errors import OperatorError
from lull.domain.kinds import KINDS
from lull.starter import fields
from lull.starter.views import Field, Kind


def entries() -> list[Kind]:
    """Return every kind with its gloss, without its fields."""
    return [Kind(kind=name, gloss=spec.gloss) for name, spec in KINDS.items()]


def entry(kind: str) -> Kind:
    """Return one kind with its fields. Raises OperatorError if there is none of this name."""
    if kind not in KINDS:
        near = difflib.get_close_matches(kind, KINDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(KINDS)}"
        raise OperatorError(f"kind {kind!r} is not known; {hint}")
    spec = KINDS[kind]
    return Kind(kind=kind, gloss=spec.gloss, fields=tuple(_field(spec, one) for one in fields.every_field(spec)))


def _field(spec: type[BaseModel], one: fields.Accepted) -> Field:
    *parents, name = one.path.split(".")
    owner = fields.model_at(spec, tuple(parents)) or spec
    return Field(
        path=one.path,
        accepts=one.accepts,
        default=one.default,
        is_required=one.is_required,
        meaning=_meaning(owner, name),
    )


def _meaning(owner: type[BaseModel], name: str) -> str:
    """Return what stands below the field in its class, where Python keeps nothing of it."""
    for model in owner.__mro__:
        if name in inspect.get_annotations(model):
            return _docstrings(model).get(name, "")
    return ""


def _docstrings(model: type) -> dict[str, str]:
    try:
        body = ast.parse(textwrap.dedent(inspect.getsource(model))).body[0]
    except (OSError, TypeError, SyntaxError):
        return {}
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
            text = below.value.value if isinstance(below.value, ast.Constant) else ""
            found[field.target.id] = inspect.cleandoc(str(text))
    return found

"""
What an operator may tell a running job, and how it may be written.

Orders arrive as signals that people type into a form, so each has a short writing (``500``,
``"index build"``) beside its full one. Reading is total: any bytes give an order or an
OperatorError whose message says what was seen and what is accepted.
"""

import difflib
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, NamedTuple, Self, TypeVar

from lull.domain.duration import Duration
from lull.domain.errors import OperatorError
from lull.domain.governor.objective import Objective
from lull.domain.strict import Strict
from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, ValidationError, model_validator

TEXT_MAX = 500
"""Characters kept of a reason: it travels in every continue-as-new and every status."""
SHOWN_MAX = 80
"""Characters of a refused payload that are repeated in the warning."""


def clean(text: str, most: int = TEXT_MAX) -> str:
    """Return *text* on one line, at most *most* characters, without what UTF-8 cannot carry."""
    line = " ".join(text.encode("utf-8", "replace").decode().split())
    return line if len(line) <= most else line[: most - 1] + "…"


def _off_is_none(value: Any) -> Any:
    return None if isinstance(value, str) and value.strip().lower() == "off" else value


Text = Annotated[str, AfterValidator(clean)]
Rate = Annotated[float, Field(gt=0, le=10_000_000)]


class Pause(Strict):
    """Stop every slice at its next page boundary."""

    reason: Text = ""
    who: Text = ""


class Resume(Strict):
    """Go on where the pages stopped."""

    who: Text = ""


class Throttle(Strict):
    """Limit the whole job, or lift the limit again."""

    max_docs_per_second: Annotated[Rate | None, BeforeValidator(_off_is_none)]
    lasting: Duration | None = Field(None, validation_alias="for", serialization_alias="for")
    who: Text = ""
    why: Text = ""

    @model_validator(mode="after")
    def _an_end_needs_a_limit(self) -> Self:
        if self.max_docs_per_second is None and self.lasting is not None:
            raise ValueError("lifting a limit has no end; give a number with for")
        return self


class ExtendDeadline(Strict):
    """Move the deadline, counted from where it stands."""

    by: Duration = Field(validation_alias=AliasChoices("by", "for"))
    who: Text = ""


class Observe(Strict):
    """The governor decides and publishes; jobs do not obey."""

    lasting: Duration | None = Field(None, validation_alias="for", serialization_alias="for")
    who: Text = ""
    why: Text = ""


class Enforce(Observe):
    """Jobs obey the governor."""


class Shut(Observe):
    """No job of the cluster begins a page."""


class Open(Strict):
    """A governor's gate that was shut by an order decides for itself again."""

    who: Text = ""
    why: Text = ""


class SetLimits(Objective):
    """What the foreground may feel at most, over what the profile says; nothing at all lifts an earlier order."""

    lasting: Duration | None = Field(None, validation_alias="for", serialization_alias="for")
    who: Text = ""
    why: Text = ""

    @property
    def objective(self) -> Objective | None:
        """The limits alone; None where none is given."""
        found = Objective(read_p99=self.read_p99, write_p99=self.write_p99, inflation=self.inflation)
        return None if found == Objective() else found


Order = Pause | Resume | Throttle | ExtendDeadline | Observe | Enforce | Shut | Open | SetLimits
OrderT = TypeVar("OrderT", Pause, Resume, Throttle, ExtendDeadline, Observe, Enforce, Shut, Open, SetLimits)


class Form(NamedTuple):
    """How one order is written."""

    name: str
    model: type[Order]
    short: Callable[[Any], dict[str, Any] | None]
    """The short writing as fields; None where it has none for this value."""
    fields: tuple[str, ...]
    accepts: str


def _text_as(field: str) -> Callable[[Any], dict[str, Any] | None]:
    return lambda value: {field: value} if isinstance(value, str) else {} if value is None else None


def _rate(value: Any) -> dict[str, Any] | None:
    return {"max_docs_per_second": value} if value is None or isinstance(value, str | int | float) else None


def _span(value: Any) -> dict[str, Any] | None:
    return {"by": value} if isinstance(value, str | int | float) else None


_TIMED = ("for", "who", "why")

JOB_FORMS: dict[type[Order], Form] = {
    form.model: form
    for form in (
        Form(
            "pause",
            Pause,
            _text_as("reason"),
            ("reason", "who"),
            'nothing, "a reason", or {"reason": "index build", "who": "ann"}',
        ),
        Form("resume", Resume, _text_as("who"), ("who",), 'nothing, or {"who": "ann"}'),
        Form(
            "throttle",
            Throttle,
            _rate,
            ("max_docs_per_second", "for", "who", "why"),
            'documents per second like 500, null or "off" to lift the limit, '
            'or {"max_docs_per_second": 500, "for": "2h", "who": "ann", "why": "sale"}',
        ),
        Form(
            "extend_deadline",
            ExtendDeadline,
            _span,
            ("by", "who"),
            'a duration like "2h", or {"by": "2h", "who": "ann"}',
        ),
    )
}
GOVERNOR_FORMS: dict[type[Order], Form] = {
    form.model: form
    for form in (
        Form(
            "observe",
            Observe,
            _text_as("why"),
            _TIMED,
            'nothing, "why", or {"for": "30m", "who": "ann", "why": "trial"}',
        ),
        Form(
            "enforce",
            Enforce,
            _text_as("why"),
            _TIMED,
            'nothing, "why", or {"for": "30m", "who": "ann", "why": "trial"}',
        ),
        Form(
            "shut", Shut, _text_as("why"), _TIMED, 'nothing, "why", or {"for": "30m", "who": "ann", "why": "incident"}'
        ),
        Form(
            "open", Open, _text_as("why"), ("who", "why"), 'nothing, "why", or {"who": "ann", "why": "incident over"}'
        ),
        Form(
            "limits",
            SetLimits,
            lambda value: {} if value is None else None,
            ("read_p99", "write_p99", "inflation", *_TIMED),
            '{"read_p99": "12ms", "inflation": 1.1, "for": "30m", "who": "ann", "why": "sale"}, or nothing to lift them',
        ),
    )
}
FORMS: dict[type[Order], Form] = JOB_FORMS | GOVERNOR_FORMS
ORDER_NAMES: tuple[str, ...] = tuple(form.name for form in JOB_FORMS.values())
GOVERNOR_ORDER_NAMES: tuple[str, ...] = tuple(form.name for form in GOVERNOR_FORMS.values())


def read(model: type[OrderT], payloads: Sequence[bytes | None]) -> OrderT:
    """
    Return the order that these payloads write: JSON each, None or empty for a payload that says nothing.

    Raises OperatorError, and nothing else, when they do not write one.
    """
    form = FORMS[model]
    if len(payloads) > 1:
        raise _refused(form, f"{len(payloads)} payloads", "one is enough")
    value = _decoded(form, payloads[0]) if payloads else None
    if model is Throttle and not any(payloads):
        # Lifting a limit by an empty form would be a slip with consequences.
        raise _refused(form, "nothing", "say the limit")
    fields = value if isinstance(value, dict) else form.short(value)
    if fields is None:
        raise _refused(form, _shown(value), f"{_kind_of(value)} means nothing here")
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise _refused(form, _shown(value), _first_fault(form, error)) from None


def unknown_to_governor(name: str) -> str:
    """Return the sentence for a signal that no governor knows, with the one that was probably meant."""
    hint = f"{_suggestion(name, GOVERNOR_ORDER_NAMES)}signals are {', '.join(GOVERNOR_ORDER_NAMES)}"
    return f"signal {_shown(name)} is not known and changed nothing; {hint}"


def unknown(name: str) -> str:
    """Return the sentence for a signal that does not exist, with the one that was probably meant."""
    if name.lower() in {"cancel", "stop", "kill", "abort", "terminate", "end"}:
        hint = "to end a job, cancel its workflow (lull cancel JOB)"
    else:
        hint = f"{_suggestion(name, ORDER_NAMES)}signals are {', '.join(ORDER_NAMES)}"
    return f"signal {_shown(name)} is not known and changed nothing; {hint}"


def _decoded(form: Form, payload: bytes | None) -> Any:
    if not payload:
        return None
    try:
        return json.loads(payload.decode("utf-8"))
    except (ValueError, RecursionError):
        raise _refused(form, _shown(payload.decode("utf-8", "replace")), "it is not JSON; text needs quotes") from None


def _refused(form: Form, seen: str, fault: str) -> OperatorError:
    return OperatorError(f"{form.name} changed nothing: saw {seen}: {fault}; it takes {form.accepts}")


def _first_fault(form: Form, error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    said = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return said
    field = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        return (
            f"{_shown(field)} is no field of it; {_suggestion(field, form.fields)}fields are {', '.join(form.fields)}"
        )
    if first["type"] == "missing":
        return f"{field} is missing"
    return clean(f"{field}: {said}", 2 * SHOWN_MAX)


def _suggestion(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name[:SHOWN_MAX].lower(), known, n=1)
    return f"did you mean {near[0]}? " if near else ""


def _shown(value: Any) -> str:
    try:
        return clean(json.dumps(value, ensure_ascii=False), SHOWN_MAX)
    except (ValueError, RecursionError):
        return f"something too large to show ({_kind_of(value)})"


def _kind_of(value: Any) -> str:
    names = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", type(None): "null"}
    return names.get(type(value), type(value).__name__)

"""The base of what operators write: frozen, and a field nobody knows is an error."""

from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator


class Strict(BaseModel):
    """Operators' input: frozen, and a field nobody knows is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, ser_json_timedelta="float")

    @field_validator("*", mode="before")
    @classmethod
    def _truth_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        # YAML reads yes and on as true, and Python takes true for 1: a job at one document per second.
        if isinstance(value, bool) and _is_numeric(cls.model_fields[str(info.field_name)].annotation):
            raise ValueError(f"must be a number, not {str(value).lower()}")
        return value


def _is_numeric(annotation: Any) -> bool:
    return annotation in {int, float} or (
        get_origin(annotation) in {Annotated, Union, UnionType} and any(map(_is_numeric, get_args(annotation)))
    )

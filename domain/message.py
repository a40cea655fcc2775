"""The base of everything that crosses a process boundary."""

from pydantic import BaseModel, ConfigDict


class Message(BaseModel):
    """
    A frozen value that is written to Temporal's history or to the ledger.

    Unknown fields are ignored on reading: during a rolling deployment the other side may be one
    version newer. Operators' input is the exception and forbids them (see ``JobSpec``).
    """

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_timedelta="float")

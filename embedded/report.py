"""How a long start says what it is doing."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class StepState(StrEnum):
    """How far a step is."""

    RUNNING = "running"
    """Under way; *text* is what it does now and replaces what it said before."""
    NOTED = "noted"
    """Worth reading, whatever comes next."""
    DONE = "done"
    """Over; *text* is the result."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing said about one part of the start."""

    name: str
    text: str
    state: StepState


Say = Callable[[Step], None]
"""Who listens. Called from several threads."""


def silent(_step: Step) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True)
class Line:
    """Everything one part says, under its name."""

    name: str
    say: Say = silent

    def going(self, text: str) -> None:
        """Replace what this part does now."""
        self.say(Step(self.name, text, StepState.RUNNING))

    def note(self, text: str) -> None:
        """Leave a line that stays."""
        self.say(Step(self.name, text, StepState.NOTED))

    def done(self, text: str) -> None:
        """Close this part with its result."""
        self.say(Step(self.name, text, StepState.DONE))


def elapsed(seconds: float) -> str:
    """``7 s`` or ``6 min 50 s``."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"

"""
What users of lull import: the transform decorator with its answers, the client, and the foreground's reporter.

    from lull import Client, ForegroundReporter, transform, UNCHANGED

Nothing is imported before it is used: a foreground application pays for what it takes.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lull.activities.foreground import ForegroundReporter as ForegroundReporter
    from lull.activities.transforms import SKIP as SKIP
    from lull.activities.transforms import UNCHANGED as UNCHANGED
    from lull.activities.transforms import UNSET as UNSET
    from lull.activities.transforms import Replace as Replace
    from lull.activities.transforms import transform as transform
    from lull.starter.client import Client as Client

__all__ = ["SKIP", "UNCHANGED", "UNSET", "Client", "ForegroundReporter", "Replace", "transform"]

_ROOMS = dict.fromkeys(("SKIP", "UNCHANGED", "UNSET", "Replace", "transform"), "lull.activities.transforms") | {
    "Client": "lull.starter.client",
    "ForegroundReporter": "lull.activities.foreground",
}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"lull has no {name}; it has {', '.join(__all__)}")
    value = getattr(importlib.import_module(_ROOMS[name]), name)
    globals()[name] = value  # the next use finds it without asking
    return value


def __dir__() -> list[str]:
    return [*__all__, *globals()]

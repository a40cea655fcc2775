"""
From adapter objects to registered activities.

An adapter overrides its port's methods without decorating them, so an override carries no
activity definition: the port's is copied onto it here. What is missing is said when the worker
starts, not when a job first needs it.
"""

import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from lull.activities.errors import as_application_error
from lull.domain import ports
from lull.domain.errors import InvariantBroken

# Where the SDK keeps what @activity.defn says; a test fails if a new SDK keeps it elsewhere.
_DEFINITION = "__temporal_activity_definition"

Activity: TypeAlias = Callable[..., Any]


class RegistrationError(InvariantBroken):
    """An adapter and its port do not fit: a defect of lull, found before anything runs."""


def all_ports() -> frozenset[type]:
    """Return every port of ``domain/ports.py``."""
    classes = (value for value in vars(ports).values() if inspect.isclass(value))
    return frozenset(c for c in classes if c.__module__ == ports.__name__ and activity_names(c))


def activity_names(port: type) -> tuple[str, ...]:
    """Return the names of the methods of *port* that are activities."""
    return tuple(name for name, method in vars(port).items() if hasattr(method, _DEFINITION))


def register(adapters: Iterable[object], *, serving: Iterable[type] | None = None) -> list[Activity]:
    """
    Return what a Worker takes as ``activities``, made from *adapters*.

    Every port in *serving* (all of ``domain/ports.py`` if None) has exactly one adapter that
    overrides each of its activities with a coroutine; anything else raises RegistrationError.
    Errors leave an activity as one sentence without documents, whatever its adapter raises.
    """
    wanted = all_ports() if serving is None else frozenset(serving)
    found: dict[type, object] = {}
    for adapter in adapters:
        for port in _ports_of(adapter):
            if port in found:
                raise RegistrationError(f"{port.__name__} has two adapters: {_name(found[port])} and {_name(adapter)}")
            found[port] = adapter
    _require_same(wanted, frozenset(found))
    return [_activity(port, name, adapter) for port, adapter in found.items() for name in activity_names(port)]


def _ports_of(adapter: object) -> list[type]:
    found = [port for port in all_ports() if isinstance(adapter, port)]
    if not found:
        raise RegistrationError(f"{_name(adapter)} is no adapter: it subclasses no port of {ports.__name__}")
    return found


def _require_same(wanted: frozenset[type], found: frozenset[type]) -> None:
    missing, extra = sorted(p.__name__ for p in wanted - found), sorted(p.__name__ for p in found - wanted)
    if missing:
        raise RegistrationError(f"no adapter for {', '.join(missing)}; give the worker an object that subclasses it")
    if extra:
        raise RegistrationError(f"{', '.join(extra)} is not served by this worker; leave its adapter out")


def _activity(port: type, name: str, adapter: object) -> Activity:
    override = getattr(adapter, name)
    if getattr(type(adapter), name) is getattr(port, name):
        raise RegistrationError(f"{_name(adapter)} does not override {port.__name__}.{name}; write that method")
    if not inspect.iscoroutinefunction(override):
        raise RegistrationError(f"{_name(adapter)}.{name} is not async, but {port.__name__}.{name} is; make it async")
    registered = as_application_error(override)
    setattr(registered, _DEFINITION, getattr(getattr(port, name), _DEFINITION))
    return registered


def _name(adapter: object) -> str:
    return type(adapter).__name__

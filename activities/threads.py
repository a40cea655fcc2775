"""How an async activity waits for the synchronous driver: in a thread, heartbeating, to its real end."""

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from temporalio import activity

R = TypeVar("R")

HEARTBEAT_SECONDS = 5.0
"""A sixth of the heartbeat timeout of the longest activity that waits like this."""


class Stopped(Exception):
    """The activity was cancelled before its next step."""


class Stop:
    """Tells work in a thread that nobody waits for it any more."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """The next :meth:`check` raises."""
        self._event.set()

    def check(self) -> None:
        """Raise Stopped if the activity was cancelled."""
        if self._event.is_set():
            raise Stopped


async def in_thread(pool: ThreadPoolExecutor, work: Callable[[Stop], R]) -> R:
    """
    Return what *work* returns in a thread of *pool*, heartbeating while it waits and runs.

    Cancelled, it tells *work* to stop and still waits for its end before it raises: whoever
    cleans up after the cancellation must not be overtaken by a thread that is still writing.
    """
    stop = Stop()
    # In the activity's own context, so that spans hang under Temporal's.
    thread = pool.submit(contextvars.copy_context().run, work, stop)
    waiting = asyncio.wrap_future(thread)
    try:
        await _end_of(waiting)
    except asyncio.CancelledError:
        stop.set()
        if not thread.cancel():  # Work that has not begun never will; the rest is waited for.
            await _end_of(waiting, patiently=True)
        raise
    return waiting.result()


async def _end_of(waiting: "asyncio.Future[R]", *, patiently: bool = False) -> None:
    """Return when *waiting* is done, heartbeating until then; *patiently*, cancellation is not heard."""
    while not waiting.done():
        _heartbeat()
        with contextlib.suppress(asyncio.CancelledError) if patiently else contextlib.nullcontext():
            await asyncio.wait([waiting], timeout=HEARTBEAT_SECONDS)
    if patiently and not waiting.cancelled():
        waiting.exception()  # Looked at, so that nobody warns of an error that nobody waits for.


def _heartbeat() -> None:
    if activity.in_activity():
        activity.heartbeat()

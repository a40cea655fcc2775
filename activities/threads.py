"""How an async activity waits for the synchronous driver: in a thread, heartbeating, to its real end."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
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


async def in_thread(work: Callable[[Stop], R]) -> R:
    """
    Return what *work* returns, heartbeating while it runs.

    Cancelled, it tells *work* to stop and still waits for its end before it raises: whoever
    cleans up after the cancellation must not be overtaken by a thread that is still writing.
    """
    stop = Stop()
    task = asyncio.create_task(asyncio.to_thread(work, stop))
    try:
        while not task.done():
            _heartbeat()
            await asyncio.wait([task], timeout=HEARTBEAT_SECONDS)
    except asyncio.CancelledError:
        stop.set()
        with contextlib.suppress(Exception):
            await task
        raise
    return task.result()


def _heartbeat() -> None:
    if activity.in_activity():
        activity.heartbeat()

"""
Two governors of one cluster: which of them may take the fence.

One Temporal namespace has one governor per cluster, and moves it from process to process: the one that comes
overtakes the one before it at once. A governor of another namespace, or of another Temporal server, is no
predecessor: were it overtaken while it lives it would do the same, and gates would shut with every turn. So
whoever comes second stands by while the first one is heard. Its jobs obey the first one's budget as well.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

from lull.domain.governor.budget import STALE_SECONDS


class Holder(NamedTuple):
    """Who has the fence, as it stands in the ledger."""

    fence: int
    sequence: int = 0
    origin: str = ""
    """Namespace and first run of the workflow that it governs for; empty where it did not say."""
    owner: str = ""
    """Host and process."""


@dataclass(frozen=True, slots=True)
class Contest:
    """What one governor knows of whoever has the fence. Moments are of its own monotonic clock."""

    origin: str
    holder: Holder | None = None
    moved_s: float = 0.0
    """When the holder was seen first, or last said something."""
    is_heard: bool = False
    """Whether it has said something since it was seen first: only then it is known to live."""

    def seen(self, holder: Holder | None, now_s: float) -> "Contest":
        """Return what is known after a look at *now_s*; None for a fence that nobody has had."""
        if holder is None or self.holder is None:
            return replace(self, holder=holder, moved_s=now_s, is_heard=False)
        if holder == self.holder:
            return self
        return replace(self, holder=holder, moved_s=now_s, is_heard=True)

    def may_take(self, now_s: float) -> bool:
        """Whether the fence is free: nobody's, a predecessor's, or that of one who was silent for two seconds."""
        if self.holder is None or self.holder.origin in {"", self.origin}:
            return True
        return now_s - self.moved_s > STALE_SECONDS

    @property
    def remark(self) -> str:
        """What an operator should know; empty while nobody else is known to govern."""
        if self.holder is None or not self.is_heard or self.holder.origin in {"", self.origin}:
            return ""
        theirs, ours = (_in_words(origin) for origin in (self.holder.origin, self.origin))
        return (
            f"another governor has this cluster: {theirs}, process {self.holder.owner or 'unknown'}; this one, {ours}, "
            "stands by until that one is silent. Jobs of both obey its budget, and it obeys orders from either. To end this, "
            "start the workers of one namespace with --no-governor, or let one of them have "
            'governor = "off" in its profile, whose jobs then obey nobody'
        )


def origin(namespace: str, run: str) -> str:
    """Return how a governor's workflow is told from those of other namespaces and servers."""
    return f"{namespace}/{run}"


def _in_words(name: str) -> str:
    namespace, _, run = name.rpartition("/")
    return f"namespace {namespace!r} run {run[:8]}" if namespace else "of no known origin"

"""What a run can promise on the topology it really has, and why. Shown, never assumed."""

from enum import StrEnum

from lull.domain.errors import OperatorError
from lull.domain.job import Accept, JobSpec, Topology
from lull.domain.message import Message
from typing_extensions import override


class Promise(StrEnum):
    """How often a page's effects are applied, whatever crashes."""

    EXACTLY_ONCE = "exactly once"
    AT_LEAST_ONCE = "at least once"


class Guarantee(Message):
    """The promise of this run and the reason it holds."""

    promise: Promise
    why: str

    @override
    def __str__(self) -> str:
        return f"{self.promise}: {self.why}"


def guarantee(spec: JobSpec, topology: Topology) -> Guarantee:
    """
    Return what *spec* gets on *topology*.

    Raises OperatorError where the weaker promise would give wrong data, or was not accepted.
    """
    if topology is Topology.STANDALONE:
        return _without_transactions(spec)
    if topology is Topology.SHARDED:
        return _sharded(spec)
    return Guarantee(
        promise=Promise.EXACTLY_ONCE,
        why="a page's writes and its position commit in one majority transaction under the partition's fence",
    )


def _without_transactions(spec: JobSpec) -> Guarantee:
    if not spec.is_idempotent and Accept.AT_LEAST_ONCE not in spec.accept:
        raise OperatorError(
            f"{spec.effect} is not idempotent, and a standalone server has no transactions: a page could be applied "
            "twice after a crash; make it a replica set (one member is enough), or accept: [at_least_once]"
        )
    return Guarantee(
        promise=Promise.AT_LEAST_ONCE,
        why="a standalone server has no transactions: after a crash the last page may be applied again",
    )


def _sharded(spec: JobSpec) -> Guarantee:
    if Accept.SHARDED not in spec.accept:
        raise OperatorError(
            f"{spec.source.cluster} is a sharded cluster, where lull is not proven by its tests; "
            "try it on a copy first, then accept: [sharded]"
        )
    return Guarantee(
        promise=Promise.EXACTLY_ONCE,
        why="by cross-shard transactions; not proven by lull's tests on sharded clusters",
    )

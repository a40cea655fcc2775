"""Two Temporal namespaces, one cluster: one governor governs, and jobs of both obey it."""

from typing import Any

import pytest

from lull.domain.errors import FenceLost

PROD, STAGING = "prod/0199aaaa", "staging/0199bbbb"


def beside(bench: Any, governor: Any, other: Any, holds: Any, *, slices: int = 0) -> Any:
    """Both tick until it is so of the second one."""

    def both(_: Any) -> bool:
        other.tick()
        return bool(holds(other.status))

    bench.until(governor, both, slices=slices)
    return other.status


def test_the_second_governor_stands_by_and_says_who_governs_and_what_to_do(bench: Any):
    first, second = bench.governor(PROD), bench.governor(STAGING)
    fence = bench.budget.fence if bench.until(first, lambda _: True) else 0
    seen = beside(bench, first, second, lambda status: status.contest)
    for words in ("namespace 'prod' run 0199aaaa", "namespace 'staging'", "--no-governor"):
        assert words in seen.contest
    assert seen.reason == "stands by: another governor has the fence"
    ticks = iter(range(40))
    beside(bench, first, second, lambda _: next(ticks) >= 39, slices=1)
    assert (bench.budget.fence, bench.budget.origin) == (fence, PROD)


def test_jobs_of_both_namespaces_share_the_one_budget(bench: Any):
    first, second = bench.governor(PROD), bench.governor(STAGING)

    def shared(_: Any) -> bool:
        bench.account("of-prod")
        bench.account("of-staging")
        return {share.job for share in bench.budget.shares} == {"of-prod", "of-staging"}

    bench.until(first, lambda _: True)
    beside(bench, first, second, shared)
    assert bench.budget.origin == PROD


def test_when_the_first_is_gone_the_second_governs_and_the_first_stands_by_when_it_wakes(bench: Any):
    first, second = bench.governor(PROD), bench.governor(STAGING)
    bench.until(first, lambda _: True)
    bench.until(second, lambda _: bench.budget.origin == STAGING)
    status = bench.until(second, lambda seen: seen.base_ms)
    assert status.contest == ""
    with pytest.raises(FenceLost, match="overtaken"):
        bench.until(first, lambda _: False)
    woken = bench.governor(PROD)
    assert "namespace 'staging'" in beside(bench, second, woken, lambda seen: seen.contest).contest


def test_a_governor_that_moves_within_its_namespace_takes_over_at_once(bench: Any):
    bench.until(bench.governor(PROD), lambda _: True)
    before = bench.budget
    bench.governor(PROD)
    assert bench.budget.fence == before.fence + 1

"""One budget for all jobs: by weight, with a floor each, critical jobs first, and nothing lost or made up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lull.domain.governor.shares import FLOOR, Claim, divide

CLAIMS = st.lists(
    st.builds(
        Claim,
        job=st.just(""),
        slices=st.integers(0, 20),
        weight=st.floats(0.01, 100),
        is_critical=st.booleans(),
    ),
    max_size=12,
).map(lambda claims: [Claim(str(n), one.slices, one.weight, one.is_critical) for n, one in enumerate(claims)])
BUDGETS = st.floats(0, 50)


# -- tables ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("budget", "claims", "shares"),
    [
        (1.0, [Claim("a", 1)], {"a": 1.0}),
        (1.0, [Claim("a", 4, 3.0), Claim("b", 4, 1.0)], {"a": 0.75, "b": 0.25}),
        (1.0, [Claim("a", 1), Claim("b", 9)], {"a": 0.5, "b": 0.5}),  # by job, not by slice
        (4.0, [Claim("a", 1), Claim("b", 9)], {"a": 1.0, "b": 3.0}),  # a slice cannot use more than all of its time
        (9.0, [Claim("a", 1), Claim("b", 2)], {"a": 1.0, "b": 2.0}),
        (1.0, [Claim("a", 1, 100.0), Claim("b", 1, 0.01)], {"a": 1.0 - FLOOR, "b": FLOOR}),
        (0.01, [Claim("a", 1, 9.0), Claim("b", 1)], {"a": 0.005, "b": 0.005}),  # too little even for floors
        (1.0, [Claim("a", 0), Claim("b", 1)], {"b": 1.0}),  # nobody there to use it
        (0.0, [Claim("a", 1)], {"a": 0.0}),
        (1.0, [], {}),
    ],
)
def test_a_budget_is_divided(budget: float, claims: list[Claim], shares: dict[str, float]):
    assert divide(budget, claims) == pytest.approx(shares)


def test_a_heavy_job_that_cannot_use_its_part_leaves_the_light_ones_no_more_than_there_is():
    """Its slice is full and the others stand on their floors, both at once: the sum is still the budget."""
    light = [Claim(f"light-{n}", 1, 0.1) for n in range(10)]
    shares = divide(1.02, [Claim("heavy", 1, 100.0), *light])
    assert sum(shares.values()) == pytest.approx(1.02)
    assert shares["heavy"] == pytest.approx(1.02 - 10 * FLOOR)


def test_a_critical_job_takes_what_it_can_use_and_leaves_the_others_their_floors():
    shares = divide(1.0, [Claim("bulk", 8, 100.0), Claim("repair", 2, 0.01, is_critical=True)])
    assert shares == pytest.approx({"repair": 1.0 - FLOOR, "bulk": FLOOR})


def test_what_a_critical_job_cannot_use_goes_to_the_others():
    shares = divide(3.0, [Claim("bulk", 8), Claim("repair", 1, is_critical=True)])
    assert shares == pytest.approx({"repair": 1.0, "bulk": 2.0})


def test_when_a_critical_job_has_gone_the_others_have_what_they_had():
    others = [Claim("a", 4, 3.0), Claim("b", 4, 1.0)]
    before = divide(1.0, others)
    divide(1.0, [*others, Claim("repair", 4, is_critical=True)])
    assert divide(1.0, [*others, Claim("repair", 0, is_critical=True)]) == before


# -- properties -----------------------------------------------------------------------------------


@given(BUDGETS, CLAIMS)
def test_shares_sum_to_the_budget_or_to_what_slices_can_use(budget: float, claims: list[Claim]):
    shares = divide(budget, claims)
    usable = sum(claim.slices for claim in claims)
    assert sum(shares.values()) == pytest.approx(min(budget, usable))


@given(BUDGETS, CLAIMS)
def test_no_job_has_less_than_its_floor_or_more_than_its_slices_can_use(budget: float, claims: list[Claim]):
    shares = divide(budget, claims)
    floor = min(FLOOR, budget / max(1, len(shares)))
    for claim in claims:
        if claim.slices:
            assert floor - 1e-12 <= shares[claim.job] <= claim.slices
        else:
            assert claim.job not in shares


@given(BUDGETS, CLAIMS)
def test_no_job_has_more_than_its_floor_while_a_critical_one_wants(budget: float, claims: list[Claim]):
    shares = divide(budget, claims)
    wants = any(claim.is_critical and claim.slices and shares[claim.job] < claim.slices - 1e-9 for claim in claims)
    others = [shares[claim.job] for claim in claims if claim.slices and not claim.is_critical]
    assert not wants or all(share <= FLOOR + 1e-9 for share in others)


@given(BUDGETS, CLAIMS)
def test_between_floor_and_most_shares_are_as_weights(budget: float, claims: list[Claim]):
    shares = divide(budget, claims)
    for is_critical in (True, False):
        levels = [
            shares[claim.job] / claim.weight
            for claim in claims
            if claim.is_critical is is_critical and FLOOR + 1e-9 < shares.get(claim.job, 0.0) < claim.slices - 1e-9
        ]
        assert levels == pytest.approx([levels[0]] * len(levels) if levels else [])


@given(BUDGETS, CLAIMS, st.floats(0, 10))
def test_a_larger_budget_takes_nothing_from_anybody(budget: float, claims: list[Claim], more: float):
    small, large = divide(budget, claims), divide(budget + more, claims)
    assert all(large[job] >= share - 1e-9 for job, share in small.items())


@given(BUDGETS, CLAIMS)
def test_the_order_of_jobs_does_not_matter(budget: float, claims: list[Claim]):
    assert divide(budget, claims[::-1]) == pytest.approx(divide(budget, claims))

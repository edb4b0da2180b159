"""What a run may spend: limits, reservations, levels, what errors say."""

from __future__ import annotations

import math

import pytest

from trouper.runtime import SPENDS, Budget, BudgetExceeded, Ledger, SpecError, Spend, Spending


# ------------------------------------------------------------------ the budget
def test_a_budget_tells_every_number_that_is_not_one_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        Budget(tokens=0, cost=-1.0, seconds=math.inf, steps=1.5, tool_calls=True, model_calls=3)  # type: ignore[arg-type]

    assert [problem.split()[0] for problem in caught.value.problems] == [
        "tokens",
        "cost",
        "seconds",
        "steps",
        "tool_calls",
    ]


@pytest.mark.parametrize("cost", [math.nan, "1", 10**400, 0, 0.0])
def test_money_is_a_finite_number_above_nothing(cost) -> None:
    with pytest.raises(SpecError, match="cost must be a finite number above 0"):
        Budget(cost=cost)


def test_a_tightened_budget_has_the_smaller_limit_of_each() -> None:
    ours = Budget(tokens=100, cost=1.0, steps=5)
    theirs = Budget(tokens=50, cost=2.0, seconds=9.0, model_calls=1)

    both = Budget(tokens=50, cost=1.0, seconds=9.0, steps=5, model_calls=1)
    assert ours.tightened(theirs) == theirs.tightened(ours) == both
    assert ours.tightened(Budget()) == ours


def test_a_budget_in_json_has_only_its_limits_and_comes_back() -> None:
    budget = Budget(tokens=100, cost=0.5)

    assert budget.as_json() == {"tokens": 100, "cost": 0.5}
    assert Budget(**budget.as_json()) == budget  # type: ignore[arg-type]
    assert Budget().as_json() == {}


# ------------------------------------------------------------------ one level
def test_what_is_reserved_leaves_no_room_for_others_before_it_is_spent() -> None:
    ledger = Ledger(Budget(model_calls=2))
    ledger.reserve("model_calls")
    ledger.reserve("model_calls")

    with pytest.raises(BudgetExceeded):
        ledger.reserve("model_calls")
    assert (ledger.used("model_calls"), ledger.reserved("model_calls"), ledger.left("model_calls")) == (0, 2, 0)


def test_a_settled_reservation_counts_what_it_came_to() -> None:
    ledger = Ledger(Budget(tokens=1000))
    ledger.reserve("tokens", 600).settle(100)

    assert (ledger.used("tokens"), ledger.reserved("tokens"), ledger.left("tokens")) == (100, 0, 900)


def test_a_spend_that_came_to_more_than_was_reserved_is_counted_and_the_next_is_refused() -> None:
    """What is spent is spent: the books say so instead of hiding it."""
    ledger = Ledger(Budget(tokens=100))
    ledger.reserve("tokens", 60).settle(150)

    assert (ledger.used("tokens"), ledger.left("tokens")) == (150, 0)
    with pytest.raises(BudgetExceeded):
        ledger.reserve("tokens", 1)


def test_a_released_reservation_was_never_spent_and_may_be_released_again() -> None:
    ledger = Ledger(Budget(steps=1))
    reservation = ledger.reserve("steps")
    reservation.release()
    reservation.release()

    assert (ledger.used("steps"), ledger.left("steps")) == (0, 1)


def test_a_reservation_is_settled_once() -> None:
    ledger = Ledger(Budget())
    reservation = ledger.reserve("steps")
    reservation.settle()

    with pytest.raises(ValueError, match="cannot be settled twice"):
        reservation.settle()
    reservation.release()
    assert ledger.used("steps") == 1


def test_a_reservation_is_settled_where_it_was_made() -> None:
    one, other = Ledger(Budget()), Ledger(Budget(), name="other")
    reservation = one.reserve("steps")

    with pytest.raises(ValueError, match="not of the ledger 'other'"):
        other.settle(reservation, 1)
    assert reservation.open


def test_leaving_the_block_of_a_reservation_releases_what_was_not_settled() -> None:
    """Whatever ends the block, also a cancellation."""
    ledger = Ledger(Budget(steps=1))
    with pytest.raises(ZeroDivisionError), ledger.reserve("steps"):
        raise ZeroDivisionError
    with ledger.reserve("steps") as reservation:
        reservation.settle()

    assert (ledger.used("steps"), ledger.reserved("steps")) == (1, 0)


def test_spending_at_once_is_refused_beyond_the_limit_and_then_not_counted() -> None:
    ledger = Ledger(Budget(tool_calls=2))
    ledger.spend("tool_calls")
    ledger.spend("tool_calls")

    with pytest.raises(BudgetExceeded):
        ledger.spend("tool_calls")
    assert ledger.used("tool_calls") == 2


def test_what_an_earlier_session_has_spent_is_charged_whatever_the_limits_say() -> None:
    ledger = Ledger(Budget(steps=2))
    ledger.charge("steps", 3)

    assert (ledger.used("steps"), ledger.left("steps"), ledger.fits("steps")) == (3, 0, False)


def test_without_a_limit_everything_is_granted_and_still_counted() -> None:
    ledger = Ledger(Budget())
    for what in SPENDS:
        ledger.reserve(what, 10**9).settle()

    assert [ledger.used(what) for what in SPENDS] == [10**9] * 5
    assert {ledger.left(what) for what in SPENDS} == {math.inf}
    assert (ledger.low, ledger.spendings()) == ((), ())


@pytest.mark.parametrize(("times", "amount"), [(10, 0.1), (1000, 0.001), (100, 0.01), (1000, 0.009), (100, 0.057)])
def test_a_sum_of_money_is_what_a_person_would_say(times: int, amount: float) -> None:
    """Ten times ten cents are one; floats say 0.9999999999999999."""
    limit = times * round(amount * 1000) / 1000
    ledger = Ledger(Budget(cost=limit))
    for _ in range(times):
        ledger.spend("cost", amount)

    assert (ledger.used("cost"), ledger.left("cost")) == (limit, 0.0)
    with pytest.raises(BudgetExceeded):
        ledger.spend("cost", 1e-9)


@pytest.mark.parametrize(
    ("what", "amount"),
    [("tokens", -1), ("tokens", 1.5), ("cost", math.nan), ("cost", math.inf), ("steps", True), ("cost", -0.1)],
)
def test_an_amount_that_is_none_is_refused_before_it_spoils_the_books(what: Spend, amount) -> None:
    ledger = Ledger(Budget())
    for spend in (ledger.reserve, ledger.spend, ledger.charge, ledger.fits):
        with pytest.raises(ValueError, match=f"{what} must be"):
            spend(what, amount)
    reservation = ledger.reserve(what, 1)
    with pytest.raises(ValueError, match=f"{what} must be"):
        reservation.settle(amount)

    reservation.settle(0)  # a refused settlement left it open
    assert ledger.used(what) == 0


def test_seconds_are_no_sum() -> None:
    """Things side by side share them; there is a deadline instead."""
    ledger = Ledger(Budget(seconds=10.0), warn_at=0.8)

    with pytest.raises(ValueError, match="a ledger counts tokens"):
        ledger.reserve("seconds", 1)  # type: ignore[arg-type]
    assert (ledger.deadline(100.0), ledger.warn_time(100.0)) == (110.0, 108.0)
    assert Ledger(Budget()).deadline(100.0) == Ledger(Budget()).warn_time(100.0) == math.inf


# ------------------------------------------------------------------ levels
def test_a_child_is_held_to_its_own_limit_and_to_its_parents() -> None:
    request = Ledger(Budget(steps=3))
    plan = request.child(Budget(steps=2))
    other = request.child(Budget(steps=2), name="other")
    plan.spend("steps")
    plan.spend("steps")

    with pytest.raises(BudgetExceeded, match="of the plan"):
        plan.spend("steps")
    other.spend("steps")
    with pytest.raises(BudgetExceeded, match="of the request"):
        other.spend("steps")
    assert (request.used("steps"), plan.used("steps"), other.used("steps")) == (3, 2, 1)


def test_a_reservation_that_one_level_refuses_is_made_in_none() -> None:
    request = Ledger(Budget(tokens=100))
    plan = request.child(Budget(tokens=1000))
    inner = plan.child(Budget(), name="sub-plan of step 3")

    for spend in (inner.reserve, inner.spend):
        with pytest.raises(BudgetExceeded):
            spend("tokens", 101)
    assert [level.reserved("tokens") + level.used("tokens") for level in inner.levels] == [0, 0, 0]
    assert inner.levels == (inner, plan, request)


def test_what_is_left_is_what_the_tightest_level_leaves() -> None:
    request = Ledger(Budget(tokens=100))
    plan = request.child(Budget(tokens=80))
    request.spend("tokens", 70)

    assert (plan.left("tokens"), plan.fits("tokens", 30), plan.fits("tokens", 31)) == (30, True, False)
    assert (plan.limited("tokens"), plan.limited("steps")) == (True, False)


def test_a_budget_is_low_from_the_share_on_that_was_asked_for_on_any_level() -> None:
    request = Ledger(Budget(tokens=100, steps=10), warn_at=0.8)
    plan = request.child(Budget(tokens=1000))
    plan.spend("tokens", 79)
    assert plan.low == request.low == ()

    plan.spend("tokens", 1)
    assert plan.low == request.low == ("tokens",)


def test_what_is_only_reserved_makes_no_budget_low() -> None:
    """An estimate is mostly too high; what it comes to decides."""
    ledger = Ledger(Budget(tokens=100))
    ledger.reserve("tokens", 95)

    assert ledger.low == ()


def test_every_limit_is_told_with_how_far_it_is_used_up() -> None:
    request = Ledger(Budget(cost=2.0))
    plan = request.child(Budget(steps=4))
    plan.charge("steps", 4)
    plan.reserve("cost", 0.5)

    assert plan.spendings() == (
        Spending(level="plan", what="steps", used=4, reserved=0, limit=4, low=True),
        Spending(level="request", what="cost", used=0.0, reserved=0.5, limit=2.0, low=False),
    )


def test_whoever_wants_to_know_is_told_once_when_a_limit_becomes_low() -> None:
    """Of each limit of each level; by a spend, a settlement or a charge, and not by what is only reserved."""
    told: list[tuple[str, str, float]] = []
    request = Ledger(Budget(steps=10, cost=1.0), warn_at=0.5, on_low=lambda s: told.append((s.level, s.what, s.used)))
    plan = request.child(Budget(steps=4), name="plan")
    held = plan.reserve("cost", 0.9)
    for _ in range(4):
        plan.spend("steps")
    assert told == [("plan", "steps", 2)]

    held.settle(0.6)
    request.charge("steps", 1)
    request.charge("steps", 1)
    assert told == [("plan", "steps", 2), ("request", "cost", 0.6), ("request", "steps", 5)]


def test_the_error_says_what_whose_how_much_and_what_to_do() -> None:
    ledger = Ledger(Budget(tool_calls=10))
    ledger.charge("tool_calls", 7)
    ledger.reserve("tool_calls", 2)

    with pytest.raises(BudgetExceeded) as caught:
        ledger.reserve("tool_calls", 2)
    assert str(caught.value) == (
        "the budget of the request does not allow 2 more tool calls: 7 used, 2 reserved by what goes on, limit 10. "
        "Raise `tool_calls` of that budget, or ask for less."
    )


@pytest.mark.parametrize("share", [0, -0.1, 1.1, math.nan, True])
def test_the_share_that_warns_is_above_nothing_and_at_most_all(share) -> None:
    with pytest.raises(ValueError, match="warn_at"):
        Ledger(Budget(), warn_at=share)

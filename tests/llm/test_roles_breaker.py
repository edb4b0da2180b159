"""The circuit breaker: when it opens, who may look, what is believed."""

from __future__ import annotations

import random

import pytest

from trouper.runtime import Breaker, BreakerRules, BreakerState

RULES = BreakerRules(failures=3, cooldown=10.0, window=60.0)


def run(breaker: Breaker, ends: str, at: float = 0.0) -> None:
    """Calls one after another at the same instant: x has failed, o has not."""
    for end in ends:
        leave = breaker.admit(at)
        assert leave is not None
        (breaker.failed if end == "x" else breaker.succeeded)(leave, at)


def opened(at: float = 0.0) -> Breaker:
    breaker = Breaker(RULES)
    run(breaker, "xxx", at=at)
    return breaker


def test_it_opens_with_the_last_failure_that_is_allowed_and_not_before() -> None:
    breaker = Breaker(RULES)
    run(breaker, "xx")
    assert breaker.state is BreakerState.CLOSED

    run(breaker, "x")
    assert (breaker.state, breaker.opened, breaker.wait(4.0)) == (BreakerState.OPEN, 1, 6.0)


@pytest.mark.parametrize(
    ("ends", "state"),
    [
        ("xoxox", BreakerState.OPEN),  # three of the last six
        ("xooxooxo", BreakerState.CLOSED),  # never three of six
        ("o" * 20 + "xx", BreakerState.CLOSED),
    ],
    ids=["every second fails", "every third fails", "mostly well"],
)
def test_it_opens_when_half_of_the_last_calls_fail(ends, state) -> None:
    breaker = Breaker(RULES)
    run(breaker, ends)

    assert breaker.state is state


def test_failures_that_are_long_ago_do_not_count() -> None:
    breaker = Breaker(RULES)
    run(breaker, "xx", at=0.0)
    run(breaker, "x", at=60.0)

    assert breaker.state is BreakerState.CLOSED


def test_nobody_gets_through_until_the_cooldown_is_over_and_then_exactly_one() -> None:
    breaker = opened()

    assert breaker.shut(9.99)
    assert breaker.admit(9.99) is None
    assert not breaker.shut(10.0)
    probe = breaker.admit(10.0)
    assert probe is not None
    assert probe.probe
    assert breaker.state is BreakerState.HALF_OPEN
    assert (breaker.admit(10.0), breaker.admit(1000.0), breaker.shut(1000.0)) == (None, None, True)


def test_the_probe_decides() -> None:
    well, ill = opened(), opened()
    well.succeeded(well.admit(10.0), 11.0)
    ill.failed(ill.admit(10.0), 11.0)

    assert well.state is BreakerState.CLOSED
    assert (ill.state, ill.wait(11.0), ill.opened) == (BreakerState.OPEN, 10.0, 2)


def test_a_probe_that_was_withdrawn_lets_the_next_one_look() -> None:
    breaker = opened()
    breaker.withdrawn(breaker.admit(10.0))

    assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.admit(10.0).probe


def test_a_call_that_was_on_its_way_before_says_nothing_about_now() -> None:
    breaker = Breaker(RULES)
    old = [breaker.admit(0.0) for _ in range(5)]
    run(breaker, "xxx")
    breaker.succeeded(old[0], 5.0)
    assert breaker.state is BreakerState.OPEN

    probe = breaker.admit(10.0)
    breaker.failed(old[1], 10.5)
    breaker.succeeded(old[2], 10.5)
    breaker.withdrawn(old[3])
    assert (breaker.state, breaker.admit(10.5)) == (BreakerState.HALF_OPEN, None)

    breaker.succeeded(probe, 11.0)
    breaker.failed(old[4], 11.0)
    run(breaker, "xx", at=11.0)
    assert breaker.state is BreakerState.CLOSED


def test_after_it_closes_it_counts_from_the_beginning() -> None:
    breaker = opened()
    breaker.succeeded(breaker.admit(10.0), 11.0)
    run(breaker, "xx", at=11.0)

    assert breaker.state is BreakerState.CLOSED


def test_a_breaker_goes_on_from_what_it_knew_without_the_probe_of_the_earlier_life() -> None:
    breaker = opened()
    assert breaker.admit(10.0).probe
    again = Breaker(RULES, breaker.kept())

    assert (again.state, again.opened) == (BreakerState.HALF_OPEN, 1)
    assert again.admit(10.0).probe


def test_what_it_remembers_is_bounded() -> None:
    breaker = Breaker(RULES)
    rng = random.Random(1)
    for n in range(1000):
        leave = breaker.admit(float(n))
        if leave is not None:
            (breaker.failed if rng.random() < 0.3 else breaker.succeeded)(leave, float(n))
        assert len(breaker.kept().last) <= 2 * RULES.failures


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_there_is_at_most_one_probe_and_an_open_breaker_always_ends(seed) -> None:
    rng = random.Random(seed)
    breaker, now = Breaker(RULES), 0.0
    passes: list = []
    for _ in range(300):
        now += rng.random()
        if rng.random() < 0.6:
            leave = breaker.admit(now)
            if leave is not None:
                passes.append(leave)
        elif passes:
            leave = passes.pop(rng.randrange(len(passes)))
            end = rng.choice(["succeeded", "failed", "failed", "withdrawn"])
            breaker.withdrawn(leave) if end == "withdrawn" else getattr(breaker, end)(leave, now)
        period = breaker.kept().period
        assert sum(p.probe and p.period == period for p in passes) == breaker.kept().probing
        assert breaker.wait(now) <= RULES.cooldown + 1e-6
    for leave in passes:
        breaker.withdrawn(leave)
    assert breaker.admit(now + RULES.cooldown) is not None


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"failures": 0}, "failures"),
        ({"failures": True}, "failures"),
        ({"cooldown": 0}, "cooldown"),
        ({"window": -1.0}, "window"),
    ],
)
def test_rules_that_make_no_sense_are_refused(wrong, told) -> None:
    with pytest.raises(ValueError, match=told):
        BreakerRules(**wrong)

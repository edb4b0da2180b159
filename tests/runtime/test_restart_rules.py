"""The rules of supervision as pure functions: who restarts, when it is too often, how long to wait."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trouper import (
    KILLED,
    NORMAL,
    SHUTDOWN,
    Actor,
    AutoShutdown,
    Backoff,
    ChildSpec,
    Directive,
    ExitReason,
    Restart,
    Strategy,
)
from trouper.runtime._dead_letters import DeadLetterGate
from trouper.runtime._intensity import RestartWindow, backoff_delay, may_restart, next_delay
from trouper.runtime._restart_rules import Ending, after_exit, directive_for, restarted_ids, shuts_down
from trouper.runtime._spec import crashed

CRASHED = crashed(ValueError("x"))
STOPPED = ExitReason.shutdown("x")


# ------------------------------------------------------------------ the end of a child
@pytest.mark.parametrize("reason", [NORMAL, SHUTDOWN, STOPPED, KILLED, CRASHED], ids=str)
def test_cases_36_to_44_restart_types_against_reasons(reason) -> None:
    unclean = reason in {KILLED, CRASHED}

    assert after_exit(Restart.PERMANENT, reason) is Ending.RESTART
    assert after_exit(Restart.TRANSIENT, reason) is (Ending.RESTART if unclean else Ending.REST)
    assert after_exit(Restart.TEMPORARY, reason) is Ending.FORGET


@pytest.mark.parametrize(("auto", "alive"), list(itertools.product(AutoShutdown, [False, True])))
def test_only_significant_children_shut_their_supervisor_down(auto, alive) -> None:
    """Any: at once; all: with the last of them; never: never."""

    def child(*, significant: bool) -> ChildSpec:
        return ChildSpec(id="a", start=Actor, restart=Restart.TRANSIENT, significant=significant)

    expected = {
        AutoShutdown.NEVER: False,
        AutoShutdown.ANY_SIGNIFICANT: True,
        AutoShutdown.ALL_SIGNIFICANT: not alive,
    }
    assert shuts_down(auto, child(significant=True), others_significant_alive=alive) is expected[auto]
    assert shuts_down(auto, child(significant=False), others_significant_alive=alive) is False


def test_the_nearest_class_of_an_error_decides() -> None:
    class Odd(KeyError, OSError):
        pass

    directives = {LookupError: Directive.RESUME, OSError: Directive.STOP, Exception: Directive.ESCALATE}

    assert directive_for(directives, KeyError("x")) is Directive.RESUME
    assert directive_for(directives, Odd()) is Directive.RESUME  # LookupError is nearer than OSError in its MRO
    assert directive_for(directives, FileNotFoundError()) is Directive.STOP
    assert directive_for(directives, ValueError()) is Directive.ESCALATE
    assert directive_for(directives, KeyboardInterrupt()) is None
    assert directive_for({**directives, KeyError: Directive.RESTART}, Odd()) is Directive.RESTART
    assert directive_for(directives, None) is None
    assert directive_for({}, ValueError()) is None


def test_a_group_counts_as_its_own_class_and_not_as_what_is_in_it() -> None:
    group = ExceptionGroup("two", [KeyError(), OSError()])

    assert directive_for({KeyError: Directive.RESUME, OSError: Directive.STOP}, group) is None
    assert directive_for({KeyError: Directive.RESUME, ExceptionGroup: Directive.STOP}, group) is Directive.STOP
    assert directive_for({BaseExceptionGroup: Directive.STOP}, group) is Directive.STOP


def test_whom_each_strategy_takes_down() -> None:
    order = ("b", "a", "d", "c")

    assert restarted_ids(Strategy.ONE_FOR_ONE, order, "a") == ("a",)
    assert restarted_ids(Strategy.SIMPLE_ONE_FOR_ONE, order, "a") == ("a",)
    assert restarted_ids(Strategy.ONE_FOR_ALL, order, "a") == order
    assert restarted_ids(Strategy.REST_FOR_ONE, order, "a") == ("a", "d", "c")
    for strategy in Strategy:
        with pytest.raises(ValueError, match="x"):
            restarted_ids(strategy, order, "x")


@given(st.lists(st.text(max_size=3), min_size=1, max_size=20, unique=True), st.data(), st.sampled_from(Strategy))
def test_those_taken_down_keep_their_order_and_include_the_failed_one(order, data, strategy) -> None:
    failed = data.draw(st.sampled_from(order))
    taken = restarted_ids(strategy, order, failed)

    assert failed in taken
    assert list(taken) == [one for one in order if one in taken]


# ------------------------------------------------------------------ restart intensity
moments = st.lists(st.floats(0, 100) | st.integers(0, 100).map(float), max_size=60).map(sorted)


@given(moments, st.integers(0, 5), st.integers(1, 30).map(float))
def test_the_window_is_exactly_the_definition(times, intensity, period) -> None:
    """Admitted: fewer than `intensity` of those admitted before are at most `period` old; nothing else."""
    window = RestartWindow(intensity, period)
    admitted: list[float] = []
    for now in times:
        allowed = sum(now - at <= period for at in admitted) < intensity
        assert may_restart(admitted, now, intensity=intensity, period=period) is allowed
        assert window.admit(now) is allowed
        if allowed:
            admitted.append(now)
        assert window.recent(now) == sum(now - at <= period for at in admitted)


def test_the_period_is_inclusive() -> None:
    """A restart that is exactly `period` old still counts; a moment later it does not."""
    window = RestartWindow(1, 5.0)

    assert window.admit(10.0)
    assert not window.admit(15.0)
    assert window.admit(math.nextafter(15.0, math.inf))


def test_an_intensity_of_zero_allows_no_restart() -> None:
    window = RestartWindow(0, 1.0)

    assert [window.admit(now) for now in (0.0, 100.0)] == [False, False]


def test_a_refused_restart_does_not_count() -> None:
    window = RestartWindow(1, 5.0)

    assert [window.admit(now) for now in (0.0, 3.0, 5.0, 5.1)] == [True, False, False, True]


def test_the_limits_of_a_living_window_can_be_changed() -> None:
    """They hold from the next restart on, for what has happened already too."""
    window = RestartWindow(2, 10.0)
    assert [window.admit(now) for now in (0.0, 1.0, 2.0)] == [True, True, False]

    window.intensity = 4
    assert [window.admit(now) for now in (3.0, 4.0, 5.0)] == [True, True, False]
    window.intensity = 1
    assert not window.admit(6.0)
    window.period = 2.0
    assert window.admit(6.5)
    window.period = 100.0
    assert window.recent(6.5) == 1  # a longer period does not bring back what was too old


def test_the_window_keeps_no_more_than_the_intensity() -> None:
    window = RestartWindow(3, 1e9)
    for now in range(1000):
        window.admit(float(now))

    assert window.recent(1000.0) == 3


# ------------------------------------------------------------------ backoff
def test_a_row_of_failures_doubles_the_wait_up_to_its_cap() -> None:
    backoff = Backoff(min=1, max=10, jitter=0)
    failures, waits = 0, []
    for _ in range(6):
        delay, failures = next_delay(backoff, 100.0, 100.0, failures, random.Random(1))
        waits.append(delay)

    assert waits == [1, 2, 4, 8, 10, 10]
    assert failures == 6


@pytest.mark.parametrize(("lived", "expected"), [(2.9, (8, 4)), (3.0, (1, 1)), (1000.0, (1, 1))])
def test_a_long_enough_life_ends_the_row(lived, expected) -> None:
    """`reset` is inclusive: who lived exactly so long starts again at `min`."""
    backoff = Backoff(min=1, max=60, jitter=0, reset=3)

    assert next_delay(backoff, 50.0 + lived, 50.0, 3, random.Random(1)) == expected


def test_a_failed_start_is_no_life() -> None:
    backoff = Backoff(min=1, max=60, jitter=0, reset=0.001)

    assert next_delay(backoff, 1e9, None, 3, random.Random(1)) == (8, 4)


def test_without_a_backoff_failures_are_only_counted() -> None:
    assert next_delay(None, 1e9, 0.0, 3, random.Random(1)) == (0.0, 4)


@given(st.integers(0, 5000), st.floats(0.001, 10), st.floats(1, 1000), st.floats(0, 3), st.integers(0, 9))
def test_jitter_only_adds_and_repeats_with_its_seed(failures, least, factor, jitter, seed) -> None:
    backoff = Backoff(min=least, max=least * factor, jitter=jitter)
    delay, now_failed = next_delay(backoff, 0.0, None, failures, random.Random(seed))
    base = next_delay(Backoff(min=least, max=least * factor, jitter=0), 0.0, None, failures, random.Random(seed))[0]

    assert now_failed == failures + 1
    assert base <= delay <= base * (1 + jitter)
    assert delay == backoff_delay(backoff, failures + 1, random.Random(seed))


# ------------------------------------------------------------------ dead letters
@given(moments, st.integers(1, 5))
def test_no_second_has_more_dead_letter_events_than_the_rate_and_none_is_uncounted(times, rate) -> None:
    """In every second that begins anywhere; admitted and suppressed together are all."""
    gate = DeadLetterGate(rate)
    admitted: list[float] = []
    told = 0
    for now in times:
        unseen = gate.admit(now)
        if unseen is not None:
            admitted.append(now)
            told += unseen
        else:
            assert sum(now - at < 1.0 for at in admitted) == rate  # suppressed only when it had to be

    assert all(sum(0 <= other - at < 1.0 for other in admitted) <= rate for at in admitted)
    assert len(admitted) + told + gate.suppressed == len(times)


def test_a_hundred_dead_letters_a_second_become_events() -> None:
    gate = DeadLetterGate()

    assert [gate.admit(n / 1000) for n in range(150)] == [0] * 100 + [None] * 50
    assert gate.admit(1.0) == 50


def test_the_next_event_says_how_many_had_none() -> None:
    gate = DeadLetterGate(rate=2)

    assert [gate.admit(now) for now in (0.0, 0.1, 0.2, 0.9, 1.0, 1.05, 1.1, 2.5)] == [0, 0, None, None, 2, None, 1, 0]

"""Several things at once: whatever the kernel's supervisor does is what it might have done one after the other.

Children die while others are being started or stopped, calls come in the middle of a restart loop or of the
supervisor's end. There is no one right trace; each must be one that the model leaves in some order of the events.
"""

from __future__ import annotations

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conformance import kernel
from tests.conformance.kernel import Pace
from tests.conformance.orders import first_departure
from tests.conformance.scenarios import AUTO_SHUTDOWNS, RESTARTS, STRATEGIES, Child, Scenario, dump

IDS = "abcd"
AGES = 10**9
"""A period that nothing falls out of, however much time things take."""

shutdowns = st.sampled_from([1000, "brutal_kill"])
restarts = st.sampled_from(RESTARTS)


@st.composite
def togethers(draw, ids: str) -> tuple:
    """A few deaths and calls at once. Each child dies at most once: who dies while it starts is another story."""
    one = st.sampled_from(ids)
    child = st.builds(Child, st.sampled_from(IDS), restarts, shutdowns)
    call = st.one_of(
        st.tuples(st.sampled_from(["terminate", "terminate", "restart", "delete"]), one),
        st.tuples(st.just("start"), child),
        st.just(("stop",)),
    )
    deaths = draw(st.lists(one, unique=True, max_size=3))
    calls = draw(st.lists(call, max_size=3 if len(deaths) < 2 else 2))
    return ("together", (*(("exit", id_, "kill") for id_ in deaths), *calls))


@st.composite
def scenarios(draw) -> Scenario:
    """After each `together` it shows in what state it is."""
    auto_shutdown = draw(st.sampled_from(AUTO_SHUTDOWNS))
    ids = "".join(draw(st.permutations(IDS)))[: draw(st.integers(1, 4))]
    children = []
    for id_ in ids:
        child = Child(id_, draw(restarts), draw(shutdowns))
        if auto_shutdown != "never" and child.restart != "permanent":
            child = attrs.evolve(child, significant=draw(st.booleans()))
        children.append(child)
    one = st.sampled_from(ids)
    ops: list[tuple] = []
    for _ in range(draw(st.integers(1, 3))):
        ops += draw(st.lists(st.tuples(st.just("fail_starts"), one, st.integers(1, 2)), max_size=2))
        ops += draw(st.lists(st.tuples(st.just("terminate"), one), max_size=1))
        ops += [draw(togethers(ids)), ("which",), ("count",)]
    return Scenario(
        name="found",
        strategy=draw(st.sampled_from(STRATEGIES)),
        intensity=draw(st.sampled_from([0, 1, 2, 3, 4, 6, 12])),
        period=AGES,
        auto_shutdown=auto_shutdown,
        children=tuple(children),
        ops=(*ops, ("stop",)),
    )


paces = st.builds(
    Pace,
    start=st.sampled_from([0.0, 1.0]),
    stop=st.sampled_from([0.0, 0.5]),
    calls=st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, 1.5, 2.25, 4.0]), max_size=4).map(tuple),
    steps=st.lists(st.integers(0, 20), max_size=4).map(tuple),
)


def assert_some_order_explains_it(scenario: Scenario, pace: Pace) -> None:
    trace = kernel.replay(scenario, pace)
    departure = first_departure(scenario, trace)

    seen = "\n".join(trace)
    assert departure is None, f"{departure}\n\nwith {pace}, found.json:\n{dump([scenario])}\nfound.txt, seen:\n{seen}"


@settings(max_examples=100, deadline=None)
@given(scenarios(), paces)
def test_what_happens_at_once_might_have_happened_in_some_order(scenario, pace) -> None:
    """No call and no death gets lost, is dealt with twice, or meets a supervisor halfway."""
    assert_some_order_explains_it(scenario, pace)


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(scenarios(), paces)
def test_what_happens_at_once_might_have_happened_in_some_order_ten_thousand_times(scenario, pace) -> None:
    """The same, further."""
    assert_some_order_explains_it(scenario, pace)


def test_a_sibling_that_never_got_its_turn_is_not_left_restarting() -> None:
    """Only who failed to start is tried again; whoever comes after it lies stopped, and can be started by hand."""
    scenario = Scenario(
        name="turn",
        strategy="one_for_all",
        intensity=5,
        period=AGES,
        auto_shutdown="never",
        children=(Child("a", "permanent", 1000), Child("b", "permanent", 1000)),
        ops=(
            ("fail_starts", "a", 1),
            ("together", (("exit", "b", "kill"), ("terminate", "a"))),
            ("which",),
            ("restart", "b"),
        ),
    )

    trace = kernel.replay(scenario, Pace(start=1.0, calls=(0.5,)))

    assert trace[-3:] == [
        "op 3 which -> [{a,undefined},{b,undefined}]",
        "op 4 {restart,b} -> {ok,pid}",
        "  started b 2",
    ]


def test_a_child_in_its_restart_loop_is_present_not_started() -> None:
    """`start_child` with its id says so, `restart_child` and `delete_child` say that it is being restarted."""
    scenario = Scenario(
        name="loop",
        strategy="rest_for_one",
        intensity=9,
        period=AGES,
        auto_shutdown="never",
        children=(Child("a", "permanent", 1000),),
        ops=(
            ("fail_starts", "a", 4),
            (
                "together",
                (("exit", "a", "kill"), ("start", Child("a", "permanent", 1000)), ("restart", "a"), ("delete", "a")),
            ),
            ("which",),
        ),
    )

    trace = kernel.replay(scenario, Pace(start=1.0, calls=(0.5, 1.5, 2.5, 3.5)))

    assert trace[2].endswith(" -> {ok,{error,already_present},{error,restarting},{error,restarting}}")
    assert trace[-1] == "op 3 which -> [{a,running}]"


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(
    "call", [("stop",), ("terminate", "a"), ("terminate", "b"), ("terminate", "c"), ("restart", "a")]
)
def test_a_call_may_come_at_any_step_of_a_restart(strategy, call) -> None:
    """A restart that is overtaken starts nobody any more, loses nobody and hurts nobody else."""
    scenario = Scenario(
        name="overtaken",
        strategy=strategy,
        intensity=9,
        period=AGES,
        auto_shutdown="never",
        children=(Child("a", "permanent", 1000), Child("b", "permanent", 1000), Child("c", "transient", "brutal_kill")),
        ops=(
            ("fail_starts", "b", 1),
            ("together", (("exit", "a", "kill"), call)),
            ("which",),
            ("restart", "b"),
            ("stop",),
        ),
    )

    for step in range(40):
        assert_some_order_explains_it(scenario, Pace(steps=(step,)))

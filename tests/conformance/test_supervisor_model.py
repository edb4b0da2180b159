"""The kernel's supervisor does what the model does, whatever happens to it.

The model is right because it leaves the traces of a real OTP supervisor (`test_otp_traces.py`); here random scenarios
go where those recordings do not: restarts that fall out of the period, empty supervisors, refused specifications.
"""

from __future__ import annotations

from itertools import chain

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conformance import kernel, model
from tests.conformance.otp import difference
from tests.conformance.scenarios import AUTO_SHUTDOWNS, RESTARTS, STRATEGIES, Child, Scenario, dump

IDS = "abcde"
REASONS = ["normal", "shutdown", ("shutdown", "x"), "crash", "crash", "kill", ("boom", 1)]

shutdowns = st.sampled_from([1000, "brutal_kill"])
restarts = st.sampled_from(RESTARTS)


def ops(ids: str) -> st.SearchStrategy[list[tuple]]:
    """One operation or a few that belong together, mostly on the children that are there at the start."""
    id_ = st.one_of(st.sampled_from(ids), st.sampled_from(ids), st.sampled_from(IDS))
    end = st.tuples(st.just("exit"), id_, st.sampled_from(REASONS))
    crash = st.tuples(st.just("exit"), id_, st.just("crash"))
    failures = st.tuples(st.just("fail_starts"), id_, st.integers(0, 4))
    call = st.tuples(st.sampled_from(["terminate", "restart", "delete"]), id_)
    start = st.tuples(st.just("start"), st.builds(Child, st.sampled_from(IDS), restarts, shutdowns, st.booleans()))
    pause = st.tuples(st.just("wait"), st.sampled_from([0, 0.5, 1, 2, 5, 5.5]))
    look = st.sampled_from([("which",), ("count",)])
    one = st.one_of(end, call, start, look).map(lambda op: [op])
    return st.one_of(
        one,
        one,
        st.tuples(failures, crash).map(list),
        st.tuples(failures, failures, crash).map(list),
        st.tuples(crash, pause, crash, pause).map(list),
        st.sampled_from(ids).map(lambda same: [("terminate", same), ("restart", same)]),
        st.sampled_from(ids).map(lambda same: [("terminate", same), ("delete", same)]),
    )


@st.composite
def scenarios(draw) -> Scenario:
    """A scenario that starts; what it ends with shows the state that a difference would have left behind."""
    auto_shutdown = draw(st.sampled_from(AUTO_SHUTDOWNS))
    ids = "".join(draw(st.permutations(IDS)))[: draw(st.integers(0, 5))]
    children = []
    for id_ in ids:
        child = Child(id_, draw(restarts), draw(shutdowns), significant=False)
        if auto_shutdown != "never" and child.restart != "permanent":
            child = attrs.evolve(child, significant=draw(st.booleans()))
        children.append(child)
    length = draw(st.integers(1, 10))
    drawn = draw(st.lists(ops(ids or IDS), min_size=length, max_size=length))
    return Scenario(
        name="found",
        strategy=draw(st.sampled_from(STRATEGIES)),
        intensity=draw(st.sampled_from([0, 1, 2, 3, 4, 6, 8, 12])),
        period=draw(st.sampled_from([1, 2, 5, 3600])),
        auto_shutdown=auto_shutdown,
        children=tuple(children),
        ops=(*chain.from_iterable(drawn), ("count",), ("which",), ("stop",)),
    )


def assert_kernel_follows_the_model(scenario: Scenario) -> None:
    expected = model.replay(scenario)
    found = difference(scenario.name, expected, kernel.replay(scenario))

    trace = "\n".join([f"scenario {scenario.name}", *expected])
    assert found is None, f"{found}\n\nfound.json:\n{dump([scenario])}\nfound.txt, by the model:\n{trace}"


@settings(max_examples=200, deadline=None)
@given(scenarios())
def test_the_kernel_does_what_the_model_does(scenario) -> None:
    """The same children are started and stopped in the same order, and every call has the same answer."""
    assert_kernel_follows_the_model(scenario)


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(scenarios())
def test_the_kernel_does_what_the_model_does_in_ten_thousand_scenarios(scenario) -> None:
    """The same, further."""
    assert_kernel_follows_the_model(scenario)


@pytest.mark.parametrize("replay", [model.replay, kernel.replay], ids=["model", "kernel"])
@pytest.mark.parametrize(
    ("intensity", "pauses", "survives"),
    [
        (1, [5], False),
        (1, [5.5], True),
        (2, [3, 3], True),
        (2, [2, 3], False),
        (2, [3, 2.5, 3, 2.5, 3], True),
        (0, [], False),
    ],
)
def test_a_restart_counts_until_it_is_more_than_one_period_ago(replay, intensity, pauses, survives) -> None:
    """The period (5 s here) is inclusive, and it slides: what counts is any stretch of that length."""
    crash = ("exit", "a", "crash")
    scenario = Scenario(
        name="period",
        strategy="one_for_one",
        intensity=intensity,
        period=5,
        auto_shutdown="never",
        children=(Child("a", "permanent", 1000),),
        ops=(crash, *chain.from_iterable((("wait", pause), crash) for pause in pauses)),
    )

    trace = replay(scenario)

    assert trace.count("  sup shutdown") == (not survives)
    assert trace[-1] == (f"  started a {len(pauses) + 2}" if survives else "  sup shutdown")

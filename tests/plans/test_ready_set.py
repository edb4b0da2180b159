"""The ready set against a naive model; levels, ranks and the critical path; big graphs counted, not timed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trouper.runtime._ready import ReadySet, critical_path, levels, rank, sequential

DIAMOND = {1: (), 2: (1,), 3: (1,), 4: (2, 3)}


@st.composite
def dags(draw: st.DrawFn, most: int = 14) -> dict[int, tuple[int, ...]]:
    """A random DAG whose plan order need not be an order to run it in."""
    ids = draw(st.lists(st.integers(0, 99), min_size=1, max_size=most, unique=True))
    graph = {
        step: tuple(draw(st.lists(st.sampled_from(ids[:n]), unique=True, max_size=4))) if n else ()
        for n, step in enumerate(ids)
    }
    order = draw(st.permutations(ids))
    return {step: graph[step] for step in order}


# ------------------------------------------------------------------ taking and ending


def test_steps_become_ready_as_soon_as_their_own_dependencies_are_done() -> None:
    ready = ReadySet({1: (), 2: (), 3: (1,), 4: (3,), 5: (2,)})

    assert ready.take() == (1, 2)
    ready.done(1)
    assert ready.take() == (3,)
    ready.done(3)
    assert ready.take() == (4,)  # step 2 still runs: no barrier
    assert ready.pending == (5,)
    assert ready.running == {2, 4}


def test_a_step_is_given_once() -> None:
    ready = ReadySet(DIAMOND)

    assert ready.take() == (1,)
    assert ready.take() == ()
    ready.done(1)
    assert ready.take(1) == (2,)
    assert ready.ready == 1
    assert ready.take(0) == ready.take(-1) == ()
    assert ready.take(5) == (3,)


def test_steps_that_are_ready_together_come_in_plan_order() -> None:
    ready = ReadySet({9: (), 4: (), 7: (9,), 2: (9,), 5: (9,)}, order=(4, 9, 5, 7, 2))

    assert ready.take() == (4, 9)
    ready.done(9)
    assert ready.take() == (5, 7, 2)


def test_a_failure_skips_its_descendants_only_and_names_the_direct_cause() -> None:
    ready = ReadySet({1: (), 2: (), 3: (1,), 4: (3,), 5: (2,), 6: (4, 5), 7: (2,)})
    ready.take()

    assert ready.failed(1) == ((3, 1), (4, 3), (6, 4))
    assert not ready.finished
    ready.done(2)
    assert ready.take() == (5, 7)
    ready.done(5)
    assert ready.failed(7) == ()
    assert ready.finished
    assert ready.pending == ()


def test_two_failures_skip_a_common_descendant_once() -> None:
    ready = ReadySet({1: (), 2: (), 3: (1, 2)})
    ready.take()

    assert ready.failed(2) == ((3, 2),)
    assert ready.failed(1) == ()
    assert ready.finished


@pytest.mark.parametrize("end", ["done", "failed"])
def test_only_a_running_step_can_end(end: str) -> None:
    ready = ReadySet(DIAMOND)

    with pytest.raises(ValueError, match="step 1 is not running"):
        getattr(ready, end)(1)
    ready.take()
    getattr(ready, end)(1)
    with pytest.raises(ValueError, match="step 1 is not running"):
        getattr(ready, end)(1)


def test_steps_of_an_earlier_run_are_not_given_again() -> None:
    """A resume: 1 and 2 are done, so is some step of an older plan."""
    ready = ReadySet(DIAMOND, done=(1, 2, 77))

    assert ready.take() == (3,)
    ready.done(3)
    assert ready.take() == (4,)
    ready.done(4)
    assert ready.finished
    assert ReadySet(DIAMOND, done=DIAMOND).finished


def test_a_finished_step_is_not_given_when_what_it_waited_for_is_run_again() -> None:
    ready = ReadySet(DIAMOND, done=(2,))
    ready.take()
    ready.done(1)

    assert ready.take() == (3,)


def test_an_empty_plan_is_finished() -> None:
    assert ReadySet({}).finished
    assert ReadySet({}).take() == ()
    assert levels({}) == ()
    assert critical_path({}) == ()


# ------------------------------------------------------------------ against a model


def naive_ready(graph: Mapping[int, Sequence[int]], done: set[int], gone: set[int]) -> set[int]:
    return {step for step, needs in graph.items() if step not in done | gone and done.issuperset(needs)}


def naive_descendants(graph: Mapping[int, Sequence[int]], step: int) -> set[int]:
    found: set[int] = set()
    while more := {s for s, needs in graph.items() if s not in found and ({step} | found) & set(needs)}:
        found |= more
    return found


@given(dags(), st.data())
def test_any_run_goes_as_the_naive_model_says(graph: dict[int, tuple[int, ...]], data: st.DataObject) -> None:
    """Steps end in any order, well or badly, with any number of slots."""
    ready = ReadySet(graph)
    done: set[int] = set()
    gone: set[int] = set()  # running, failed or skipped
    while not ready.finished:
        taken = ready.take(data.draw(st.none() | st.integers(1, 3)))
        assert set(taken) <= naive_ready(graph, done, gone)
        gone.update(taken)
        assert ready.ready == len(naive_ready(graph, done, gone))
        step = data.draw(st.sampled_from(sorted(ready.running)))
        if data.draw(st.integers(0, 4)):
            gone.discard(step)
            done.add(step)
            ready.done(step)
        else:
            skipped = ready.failed(step)
            assert {skip for skip, _ in skipped} == naive_descendants(graph, step) - gone
            for n, (skip, cause) in enumerate(skipped):
                assert cause in graph[skip]
                assert cause == step or cause in {earlier for earlier, _ in skipped[:n]}
            gone.update(skip for skip, _ in skipped)
    assert done | gone == set(graph)


@given(dags(), st.data())
def test_a_resumed_run_ends_like_one_that_never_stopped(graph: dict[int, tuple[int, ...]], data: st.DataObject) -> None:
    order = sequential(graph)
    before = order[: data.draw(st.integers(0, len(order)))]
    ready = ReadySet(graph, done=before)
    ran: list[int] = []
    while not ready.finished:
        taken = ready.take()
        for step in taken:
            ready.done(step)
        ran.extend(taken)

    assert sorted(ran) == sorted(set(order) - set(before))


# ------------------------------------------------------------------ levels and order


@given(dags())
def test_levels_are_the_longest_chains(graph: dict[int, tuple[int, ...]]) -> None:
    found = levels(graph)
    level = {step: n for n, steps in enumerate(found) for step in steps}

    assert sorted(level) == sorted(graph)
    assert all(level[step] == 1 + max((level[need] for need in graph[step]), default=-1) for step in graph)
    place = {step: n for n, step in enumerate(graph)}
    assert all(list(steps) == sorted(steps, key=place.__getitem__) for steps in found)


@given(dags())
def test_the_sequential_order_respects_dependencies_and_prefers_the_plans_own(
    graph: dict[int, tuple[int, ...]],
) -> None:
    order = sequential(graph)
    place = {step: n for n, step in enumerate(order)}

    assert sorted(order) == sorted(graph)
    assert all(place[need] < place[step] for step in graph for need in graph[step])
    by_hand: list[int] = []
    while len(by_hand) < len(graph):
        by_hand.append(next(s for s in graph if s not in by_hand and set(graph[s]) <= set(by_hand)))
    assert list(order) == by_hand


def test_steps_on_a_cycle_and_behind_it_are_on_no_level() -> None:
    assert levels({1: (), 2: (3,), 3: (2,), 4: (3,), 5: (1,)}) == ((1,), (5,))


@given(dags(), st.data())
def test_a_rank_is_the_longest_chain_that_begins_there(graph: dict[int, tuple[int, ...]], data: st.DataObject) -> None:
    durations = data.draw(st.none() | st.fixed_dictionaries({step: st.integers(0, 9) for step in graph}))
    ranks = rank(graph, durations)

    for step in graph:
        behind = [ranks[other] for other in graph if step in graph[other]]
        assert ranks[step] == (1 if durations is None else durations[step]) + max(behind, default=0)
    path = critical_path(graph, durations)
    assert sum(1 if durations is None else durations[step] for step in path) == max(ranks.values())
    assert all(one in graph[other] for one, other in pairwise(path))


def test_the_critical_path_follows_the_measured_times() -> None:
    assert critical_path(DIAMOND, {1: 1, 2: 5, 3: 6, 4: 1}) == (1, 3, 4)
    assert critical_path(DIAMOND, {1: 1, 2: 7, 3: 6, 4: 1}) == (1, 2, 4)
    assert rank(DIAMOND) == {1: 3, 2: 2, 3: 2, 4: 1}


# ------------------------------------------------------------------ cost


class Counting(dict[int, tuple[int, ...]]):
    """A graph that counts how often a step's dependencies are looked at."""

    looks = 0

    def __getitem__(self, step: int) -> tuple[int, ...]:
        self.looks += 1
        return super().__getitem__(step)


@pytest.mark.parametrize("failing", [False, True])
def test_a_run_looks_at_the_graph_a_fixed_number_of_times_a_step(failing: bool) -> None:
    """A chain of 5,000 listed backwards, where looking for ready steps after each end would be quadratic."""
    n = 5000
    graph = Counting({step: (step + 1,) if step < n else () for step in range(1, n + 1)})
    ready = ReadySet(graph)
    given_away = 0
    while taken := ready.take():
        given_away += len(taken)
        for step in taken:
            if failing and step == n // 2:
                assert len(ready.failed(step)) == n // 2 - 1
            else:
                ready.done(step)

    assert ready.finished
    assert given_away == (n // 2 + 1 if failing else n)
    assert graph.looks <= 3 * n
    assert len(levels(graph)) == n
    assert sequential(graph) == tuple(range(n, 0, -1))
    assert critical_path(graph) == tuple(range(n, 0, -1))
    assert graph.looks <= 15 * n

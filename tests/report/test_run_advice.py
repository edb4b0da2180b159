"""Which flag would have helped: only what the arithmetic shows, and never a promise that it does not keep."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.report.made_runs import graphs, scheduled
from trouper.actors.run_advice import (
    BACKGROUND,
    BARRIER,
    KINDS,
    LEAST_SAVED,
    LEAST_SHARE,
    PARALLEL,
    SLOTS,
    Scheduling,
    Work,
    advise,
    costs,
    makespan,
)


def works_of(needs, seconds) -> dict[int, Work]:
    level: dict[int, int] = {}
    for i in needs:
        level[i] = max((1 + level[d] for d in needs[i]), default=0)
    return {i: Work(needs=tuple(needs[i]), level=level[i], hold=seconds[i]) for i in needs}


def advised(works, how: Scheduling) -> dict[tuple[tuple[str, object], ...], float]:
    return {tuple(a.flags.items()): a.saves for a in advise(works, how, makespan(works, how))}


# ------------------------------------------------------------------ the model
@given(graphs(), st.integers(1, 4), st.booleans())
def test_the_model_gives_what_a_scheduler_that_looks_every_second_gives(graph, slots, barrier):
    needs, seconds = graph
    times = scheduled(needs, seconds, slots, barrier=barrier)

    modelled = makespan(works_of(needs, seconds), Scheduling(max_parallel_steps=slots, level_barrier=barrier))

    assert modelled == max(ended for _, _, ended in times.values())


@given(graphs())
def test_one_after_another_takes_the_sum(graph):
    needs, seconds = graph
    works = works_of(needs, seconds)

    assert makespan(works, Scheduling(enabled=False)) == sum(seconds.values())
    assert makespan(works, Scheduling(dependency_analysis=False)) == sum(seconds.values())
    assert makespan(works, Scheduling(dependency_analysis=False, level_barrier=True)) == sum(seconds.values())


def test_neither_approval_nor_backoff_nor_a_verdict_takes_a_slot():
    works = {
        1: Work(approval=5, hold=1),
        2: Work(hold=1, after=5),
        3: Work(hold=1, verdict=5),
        4: Work(hold=1),
    }

    assert makespan(works, Scheduling(max_parallel_steps=1)) == 7


def test_a_verdict_holds_back_dependants_only_where_it_gates_and_the_answer_always():
    behind = {1: Work(hold=1, verdict=5), 2: Work(needs=(1,), level=1, hold=3)}
    gated = {**behind, 1: Work(hold=1, verdict=5, gated=True)}

    assert makespan(behind, Scheduling()) == 6
    assert makespan(behind, Scheduling(background_verification=False)) == 9
    assert makespan(gated, Scheduling()) == 9


def test_ten_thousand_steps_are_modelled_without_recursion():
    chain = {i: Work(needs=(i - 1,) if i else (), level=i, hold=1) for i in range(10_000)}

    assert makespan(chain, Scheduling(level_barrier=True)) == 10_000


# ------------------------------------------------------------------ what would have helped
def test_more_slots_are_advised_with_what_they_save_and_no_more_than_are_needed():
    works = {i: Work(hold=1) for i in range(12)}

    assert advised(works, Scheduling(max_parallel_steps=3)) == {((SLOTS, 12),): 3}
    uneven = {0: Work(hold=20), **{i: Work(hold=1) for i in range(1, 101)}}
    assert advised(uneven, Scheduling(max_parallel_steps=3)) == {((SLOTS, 6),): 20}


def test_no_slots_are_advised_where_the_chain_is_what_takes_the_time():
    works = {i: Work(needs=(i - 1,) if i else (), level=i, hold=1) for i in range(10)}

    assert advised(works, Scheduling(max_parallel_steps=1)) == {}


def test_a_barrier_that_kept_steps_back_is_named():
    works = {
        1: Work(hold=1),
        2: Work(hold=5),
        3: Work(needs=(1,), level=1, hold=5),
        4: Work(needs=(2,), level=1, hold=1),
    }

    assert advised(works, Scheduling(level_barrier=True)) == {((BARRIER, False),): 4}
    assert advised(works, Scheduling()) == {}


def test_verdicts_that_were_awaited_are_named_unless_they_must_be():
    works = {1: Work(hold=1, verdict=4), 2: Work(needs=(1,), level=1, hold=4)}
    critical = {**works, 1: Work(hold=1, verdict=4, gated=True)}

    assert advised(works, Scheduling(background_verification=False)) == {((BACKGROUND, True),): 4}
    assert advised(critical, Scheduling(background_verification=False)) == {}


def test_parallel_execution_that_was_off_is_named_with_every_flag_that_it_takes():
    works = {i: Work(hold=1) for i in range(5)}

    assert advised(works, Scheduling(enabled=False)) == {((PARALLEL, True),): 4}
    both = advise(works, Scheduling(enabled=False, dependency_analysis=False), 5)
    assert [set(advice.flags.values()) for advice in both] == [{True}]
    assert len(both[0].flags) == 2


def test_what_saves_most_is_named_first():
    works = {**{i: Work(hold=1) for i in range(8)}, 9: Work(hold=1, verdict=1), 10: Work(needs=(9,), level=1, hold=9)}
    how = Scheduling(max_parallel_steps=1, background_verification=False)

    advice = advise(works, how, makespan(works, how))

    assert [a.saves for a in advice] == sorted((a.saves for a in advice), reverse=True)
    assert len(advice) > 0


def test_what_is_hardly_worth_it_is_not_said():
    tiny = {i: Work(hold=LEAST_SAVED / 100) for i in range(10)}
    little = {1: Work(hold=100), 2: Work(hold=1), 3: Work(hold=100)}

    assert advised(tiny, Scheduling(max_parallel_steps=1)) == {}
    assert advised(little, Scheduling(max_parallel_steps=2)) == {}


def test_nothing_is_said_of_a_run_that_the_flags_do_not_explain():
    works = {i: Work(hold=1) for i in range(10)}

    assert advise(works, Scheduling(max_parallel_steps=5), 10.0) == ()
    assert costs(works, Scheduling(max_parallel_steps=5), 10.0, KINDS) == {}
    assert advise({}, Scheduling(), 0.0) == ()


schedulings = st.builds(
    Scheduling,
    max_parallel_steps=st.integers(1, 4),
    enabled=st.booleans(),
    dependency_analysis=st.booleans(),
    level_barrier=st.booleans(),
    background_verification=st.booleans(),
)


@given(graphs(), schedulings, st.data())
def test_advice_is_never_negative_and_holds_when_it_is_followed(graph, how, data):
    needs, seconds = graph
    times = st.integers(0, 3)
    works = {
        i: Work(
            needs=work.needs,
            level=work.level,
            hold=work.hold,
            approval=data.draw(times),
            after=data.draw(times),
            verdict=data.draw(times),
            gated=data.draw(st.booleans()),
        )
        for i, work in works_of(needs, seconds).items()
    }
    before = makespan(works, how)

    for advice in advise(works, how, before):
        names = {key.rpartition(".")[2]: value for key, value in advice.flags.items()}
        if "verification" in names:
            names["background_verification"] = names.pop("verification")
        followed = Scheduling(**{**{n: getattr(how, n) for n in Scheduling.__slots__ if n != "__weakref__"}, **names})

        assert advice.saves >= LEAST_SHARE * before
        assert makespan(works, followed) == pytest.approx(before - advice.saves)
    assert all(cost >= 0 for cost in costs(works, how, before, KINDS).values())


def test_backoff_holds_back_dependants():
    assert makespan({1: Work(hold=1, after=5), 2: Work(needs=(1,), level=1, hold=1)}, Scheduling()) == 7


def test_scarce_slots_go_to_the_longest_chain_as_the_executor_gives_them():
    chain = {3: Work(hold=2), 4: Work(needs=(3,), level=1, hold=2), 5: Work(needs=(4,), level=2, hold=2)}
    works = {1: Work(hold=2), 2: Work(hold=2), **chain}

    assert makespan(works, Scheduling(max_parallel_steps=2)) == 6


def test_a_step_made_of_others_takes_no_slot_and_gives_none_back():
    works = {1: Work(hold=1, slot=False), 2: Work(hold=5), 3: Work(hold=5)}

    assert makespan(works, Scheduling(max_parallel_steps=1)) == 10

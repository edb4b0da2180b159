"""The critical path that the bench compares with: worked out by hand, and by the program."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import pytest

from trouper.adapters import bench_ideal
from trouper.adapters.bench_ideal import critical_path
from trouper.adapters.bench_record import Call, RecordedGoal, plan_offsets
from trouper.adapters.bench_setting import Setting
from trouper.adapters.bench_suite import VERIFIER, BenchGoal, make_suite
from trouper.adapters.model_server_law import RateLaw
from trouper.adapters.model_server_times import ModelTime, Network
from trouper.runtime import parse_plan

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
SETTING = Setting(
    clients=1,
    service=0.05,
    network=Network(round_trip=0.01),
    model_time=ModelTime(first=1.0, embedding=0.1),
    law=RateLaw(),
)


def chat(*texts: str) -> Call:
    return Call(CHAT, {"messages": [{"role": "user", "content": text} for text in texts]})


def recorded(goal: BenchGoal) -> RecordedGoal:
    """The calls of a goal as a troupe makes them: of a list of six, six; of a condition that does not hold, none."""
    plan = parse_plan(goal.plan)
    steps: dict[int, tuple[Call, ...]] = {}
    for step in plan.steps:
        question = (step.parameters or {}).get("question")
        if question is None or (step.condition is not None and step.id == 2):
            continue
        parts = range(6) if step.for_each is not None else range(1)
        steps[step.id] = tuple(chat(f"{question}", *(["part"] * n)) for n in parts)
    return RecordedGoal(
        goal=goal,
        plan=plan,
        recalled=Call(EMBEDDINGS, {"input": [goal.text]}),
        planned=chat(goal.text),
        steps=steps,
        verdicts={step.id: verdicts(goal, step.id, steps) for step in plan.steps if step.action != "look_up"},
        remembered=None,
    )


def verdicts(goal: BenchGoal, step: int, steps: dict[int, tuple[Call, ...]]) -> tuple[Call, ...]:
    """One for each call of the step, and one for a reply."""
    return tuple(chat(VERIFIER, f"{goal.number}.{step}", str(call.body)) for call in steps.get(step, (chat("reply"),)))


def of(*kinds: str) -> list[RecordedGoal]:
    goals = [goal for goal in make_suite(1) if goal.kind in kinds]
    return [recorded(goal) for goal in sorted(goals, key=lambda goal: kinds.index(goal.kind))]


RECALL, CALL = 0.11, 1.01
"""An embeddings call and a chat: a round trip and the model's time."""


@pytest.mark.parametrize(
    ("kind", "seconds"),
    [
        ("answer", RECALL + CALL + CALL),  # the last is the verdict on the reply
        ("pipeline", RECALL + CALL + 0.05 + 3 * CALL + CALL),
        ("fan-out", RECALL + CALL + 0.05 + 2 * CALL + CALL),
        ("diamond", RECALL + CALL + 0.05 + 2 * CALL + CALL),
        ("each", RECALL + CALL + 0.05 + CALL + CALL),
        ("branch", RECALL + CALL + 0.05 + CALL + CALL),
        ("lanes", RECALL + CALL + 0.05 + CALL + 0.05 + CALL),
        ("trip", RECALL + CALL + CALL + 0.05 + 2 * CALL + CALL),
        ("again", RECALL + CALL + CALL + 0.05 + CALL),  # the second asking of the same costs nothing
    ],
)
def test_the_critical_path_of_a_goal_is_the_longest_way_through_its_plan(kind: str, seconds: float) -> None:
    assert critical_path(of(kind), SETTING, limited=False).total_s == pytest.approx(seconds)


def test_a_client_takes_its_goals_one_after_another_and_clients_go_side_by_side() -> None:
    goals = of("pipeline", "answer")
    alone = [critical_path([goal], SETTING, limited=False).total_s for goal in goals]
    one = critical_path(goals, SETTING, limited=False)
    two = critical_path(goals, attrs.evolve(SETTING, clients=2), limited=False)

    assert one.total_s == pytest.approx(sum(alone))
    assert two.total_s == pytest.approx(max(alone))
    assert one.latencies == two.latencies == pytest.approx(sorted(alone))  # by number: the answer is the first


def test_steps_without_effect_start_while_the_plan_is_being_written(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = attrs.evolve(SETTING, model_time=ModelTime(first=1.0, embedding=0.1, per_completion_token=0.01))
    goals = of("pipeline")
    early = critical_path(goals, slow, limited=False).total_s
    monkeypatch.setattr(bench_ideal, "PURE", frozenset())
    late = critical_path(goals, slow, limited=False).total_s

    plan = 0.01 * -(-len(goals[0].goal.plan) // 4)  # its tokens, by four characters
    third = dict(plan_offsets(goals[0].goal))[3]  # by when it is written both look-ups before it have ended
    assert late - early == pytest.approx(plan * (1 - third) + 0.05)


def test_steps_with_an_effect_wait_for_the_whole_plan() -> None:
    slow = attrs.evolve(SETTING, model_time=ModelTime(first=1.0, embedding=0.1, per_completion_token=0.01))
    goals = of("remember")
    plan = 0.01 * -(-len(goals[0].goal.plan) // 4)

    assert critical_path(goals, slow, limited=False).total_s >= RECALL + CALL + plan + CALL


def refusals(goals: Sequence[RecordedGoal], rpm: int) -> tuple[float, float]:
    setting = attrs.evolve(SETTING, law=RateLaw(rpm=rpm, kind="second"), clients=len(goals))
    return tuple(critical_path(goals, setting, limited=limited).total_s for limited in (False, True))


def test_a_law_holds_calls_back_and_only_under_the_limits() -> None:
    goals = of("fan-out", "each", "trip")
    free, wide = refusals(goals, 6000)
    again, narrow = refusals(goals, 60)

    assert free == again == wide
    assert narrow > free
    calls = sum(2 + sum(map(len, goal.steps.values())) for goal in goals)
    assert narrow >= calls - 1  # one a second

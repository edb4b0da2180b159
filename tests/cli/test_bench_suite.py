"""The suite that `trouper bench` runs: enough, valid, and answered by the server as it is meant."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from trouper.adapters.bench_record import plan_offsets
from trouper.adapters.bench_setting import (
    ALL,
    FLAGS,
    QUICK,
    WAYS,
    Row,
    Setting,
    config_for,
    headline_rows,
    rows_with_only,
    rows_without,
    setting_from_json,
)
from trouper.adapters.bench_suite import BenchGoal, make_suite, rules_for
from trouper.adapters.config_yaml import load_config
from trouper.adapters.model_server_script import RuleScript, ServerRequest
from trouper.runtime import parse_plan

GOALS = Setting().goals()


def said_to(script: RuleScript, text: str) -> str:
    body = {"messages": [{"role": "user", "content": text}]}
    reply = script(ServerRequest(method="POST", path="/v1/chat/completions", headers={}, json=body))
    return reply if isinstance(reply, str) else reply.text


def test_it_has_thirty_goals_and_eight_kinds_at_least_and_all_are_different() -> None:
    kinds = Counter(goal.kind for goal in GOALS)

    assert len(GOALS) >= 30
    assert len(kinds) >= 8
    assert set(kinds.values()) == {Setting().repeats}
    assert len({goal.text for goal in GOALS}) == len(GOALS)
    assert len(set(QUICK.kinds)) >= 8


def test_it_is_the_same_each_time() -> None:
    assert make_suite(2) == make_suite(2)


@pytest.mark.parametrize("goal", GOALS, ids=lambda goal: f"{goal.number}-{goal.kind}")
def test_each_plan_is_valid_and_is_what_the_server_answers_its_goal(goal: BenchGoal) -> None:
    script = RuleScript(rules_for(GOALS))
    plan = parse_plan(said_to(script, f'Kinds of work in it: files.\nGoal: "{goal.text}"'))

    assert [step.id for step in plan.steps] == [step["id"] for step in goal.steps]
    for step in plan.steps:
        question = (step.parameters or {}).get("question")
        if question is not None:
            assert str(question).rpartition("? ")[2] in said_to(script, f"----\ntext\n----\n{question}")


def test_the_verifier_is_answered_first_whatever_else_it_says() -> None:
    told = said_to(RuleScript(rules_for(GOALS)), f"You check one step of a plan.\n{GOALS[1].text}")

    assert json.loads(told) == {"supported": True, "confidence": 0.9, "why": "it says what the text says"}


@pytest.mark.parametrize("goal", GOALS[:12], ids=lambda goal: goal.kind)
def test_each_step_is_written_after_the_one_before_and_the_last_before_the_end(goal: BenchGoal) -> None:
    offsets = dict(plan_offsets(goal))

    assert list(offsets) == [step["id"] for step in goal.steps]
    assert list(offsets.values()) == sorted(set(offsets.values()))
    for step in goal.steps:
        written = goal.plan[: round(offsets[int(str(step["id"]))] * len(goal.plan))]
        assert written.endswith(json.dumps(step, separators=(",", ":")))


# ------------------------------------------------------------------ rows and settings
def test_every_flag_is_alone_off_and_alone_on_in_some_row() -> None:
    rows = [*headline_rows(), *rows_without(), *rows_with_only()]
    off = [set(row.off) for row in rows if row.program == "troupe"]

    assert {frozenset(o) for o in off} >= {frozenset({flag}) for flag in FLAGS}
    assert {frozenset(o) for o in off} >= {frozenset(set(ALL) - {flag}) for flag in FLAGS}
    assert set() in off
    assert set(ALL) in off
    assert len({row.name for row in rows}) == len(rows)


def test_a_row_that_is_about_a_flag_differs_from_its_baseline_by_this_flag_alone() -> None:
    rows = {row.name: row for row in [*headline_rows(), *rows_without(), *rows_with_only()]}
    about = [row for row in rows.values() if row.flag is not None]

    assert len(about) == 2 * len(FLAGS)
    for row in about:
        assert set(row.off) ^ set(rows[str(row.against)].off) == {row.flag}


def test_every_flag_that_can_be_turned_off_is_in_the_bench() -> None:
    """A new flag of `performance` has a row, or is named as a way in which another one works."""
    performance = load_config(None).performance
    found = {
        f"{section}.{key}"
        for section in vars_of(performance)
        for key, value in vars_of(getattr(performance, section)).items()
        if isinstance(value, bool) or (section, key) == ("caching", "responses")
    }

    assert found - WAYS == set(FLAGS)
    assert found >= WAYS


def vars_of(record: object) -> dict[str, object]:
    return {name: getattr(record, name) for name in type(record).__annotations__}


@pytest.mark.parametrize("row", [*headline_rows(), *rows_without()], ids=lambda row: row.name)
def test_the_configuration_of_a_row_turns_off_what_the_row_says(row: Row, tmp_path) -> None:
    config = load_config(config_for(row, Setting(), "http://127.0.0.1:1/v1", None, tmp_path))

    for flag, off in FLAGS.items():
        section, _, key = flag.partition(".")
        assert (getattr(getattr(config.performance, section), key) == off) is (flag in row.off)


@pytest.mark.parametrize("setting", [Setting(), QUICK])
def test_a_setting_survives_the_way_to_another_process(setting: Setting) -> None:
    assert setting_from_json(json.loads(json.dumps(setting.as_json()))) == setting

"""Plans nobody has seen that cannot be run: every problem is told, with its kind and its step."""

from __future__ import annotations

from tests.execution.case import Bad


def ok(step: int, **more: object) -> dict[str, object]:
    """A step that is right."""
    return {"id": step, "action": "echo", **more}


def inner(*steps: object, step: int = 2, **more: object) -> dict[str, object]:
    """A step with a sub-plan."""
    return {"id": step, "plan": list(steps), **more}


def nested(depth: int) -> dict[str, object]:
    """A step inside so many sub-plans."""
    step = ok(100)
    for n in range(depth):
        step = inner(step, step=n)
    return step


GRAPHS = {
    "a_cycle_of_five": Bad(
        plan=[ok(n, dependencies=[n % 5 + 1]) for n in range(1, 6)],
        problems=[("cycle", None)],
        says=("1", "5"),
    ),
    "a_cycle_through_a_reference_and_a_condition": Bad(
        plan=[ok(1, parameters={"x": "$step3"}), ok(2, dependencies=[1]), ok(3, condition="$step2.x > 1")],
        problems=[("cycle", None)],
    ),
    "two_cycles": Bad(
        plan=[
            ok(1, dependencies=[2]),
            ok(2, dependencies=[1]),
            ok(3, dependencies=[4]),
            ok(4, dependencies=[3]),
            ok(5),
        ],
        problems=[("cycle", None), ("cycle", None)],
    ),
    "a_step_that_waits_for_itself_in_its_fallback": Bad(
        plan=[ok(1, fallback={"action": "echo", "parameters": {"x": "$step1"}})], problems=[("self_reference", 1)]
    ),
    "a_step_that_goes_through_its_own_result": Bad(plan=[ok(1, for_each="$step1")], problems=[("self_reference", 1)]),
    "a_condition_about_a_step_that_is_not_there": Bad(
        plan=[ok(1, condition="exists($step4.x)")], problems=[("dangling_dependency", 1)], says=("4",)
    ),
    "elements_of_a_step_that_is_not_there": Bad(
        plan=[ok(1), ok(2, for_each="$step3.items")], problems=[("dangling_dependency", 2)]
    ),
    "the_same_id_three_times": Bad(
        plan=[ok(1), ok(1), ok(1), ok(2)], problems=[("duplicate_id", 1), ("duplicate_id", 1)]
    ),
    "the_same_id_in_two_spellings": Bad(
        plan=[ok(1), {"id": "step_1", "action": "echo"}], problems=[("duplicate_id", 1)]
    ),
}

FIELDS = {
    "ids_that_are_none": Bad(
        plan=[{"id": value, "action": "echo"} for value in (-1, 1.5, True, [1], {}, "one", "")],
        problems=[("wrong_type", None)] * 7,
    ),
    "no_id": Bad(plan=[{"action": "echo"}, ok(2)], problems=[("missing_id", None)]),
    "actions_that_are_none": Bad(
        plan=[{"id": 1, "action": 5}, {"id": 2, "action": None}, {"id": 3, "action": ["echo"]}, {"id": 4}],
        problems=[("wrong_type", 1), ("missing_action", 2), ("wrong_type", 3), ("missing_action", 4)],
    ),
    "times_and_counts_that_are_none": Bad(
        plan=[
            ok(1, timeout_s=0), ok(2, timeout_s="5"), ok(3, timeout_s=True), ok(4, max_retries=-1),
            ok(5, max_retries=1.5), ok(6, retry_backoff_s=-0.1), ok(7, critical="yes"), ok(8, approval=5),
        ],
        problems=[("wrong_type", n) for n in range(1, 9)],
    ),
    "joins_that_are_none": Bad(
        plan=[
            ok(1), ok(2),
            ok(3, dependencies=[1, 2], join=3), ok(4, dependencies=[1, 2], join=0),
            ok(5, dependencies=[1], join="most"), ok(6, dependencies=[1], join=True), ok(7, dependencies=[1], join=1.0),
        ],
        problems=[("wrong_type", n) for n in range(3, 8)],
    ),
    "conditions_that_are_none": Bad(
        plan=[
            ok(1), ok(2, condition="Execute only if it rains"), ok(3, condition="$step1.rain >"),
            ok(4, condition="$step1.rain + 1 > 2"), ok(5, condition="__import__('os').system('x')"),
            ok(6, condition=5), ok(7, condition=""), ok(8, condition="$step1.a = 3"),
            ok(9, condition="(" * 500 + "true"),
        ],
        problems=[("wrong_type", n) for n in range(2, 10)],
    ),
    "for_each_that_is_none": Bad(
        plan=[
            ok(1), ok(2, for_each="all of $step1"), ok(3, for_each="{$step1}"), ok(4, for_each=7),
            ok(5, for_each={"items": [1], "max_parallel": 0}), ok(6, for_each={"max_parallel": 2}),
            ok(7, for_each={"items": [1], "on_failure": "ignore"}), ok(8, for_each={"items": [1, 2], "max_items": 1}),
        ],
        problems=[("wrong_type", n) for n in range(2, 9)],
    ),
    "fallbacks_that_are_none": Bad(
        plan=[
            ok(1, fallback="echo"), ok(2, fallback={"parameters": {}}),
            ok(3, compensate=[]), ok(4, compensate={"action": 1}),
        ],
        problems=[("wrong_type", 1), ("missing_action", 2), ("wrong_type", 3), ("wrong_type", 4)],
    ),
    "budgets_that_are_none": Bad(
        plan={"budget": {"tokens": 0, "cost": "much"}, "steps": [ok(1)]},
        problems=[("wrong_type", None)] * 2,
    ),
    "unknown_actions_everywhere": Bad(
        plan=[
            {"id": 1, "action": "ecko"}, ok(2, fallback={"action": "doubel", "parameters": {"n": 1}}),
            inner({"id": 30, "action": "gvie", "parameters": {"value": 1}}, step=3),
        ],
        problems=[("unknown_action", 1), ("unknown_action", 2), ("unknown_action", 30)],
        says=("echo", "double", "give"),
    ),
    "parameters_that_the_tools_do_not_take": Bad(
        plan=[
            {"id": 1, "action": "double", "parameters": {}}, {"id": 2, "action": "double", "parameters": {"m": 1}},
            {"id": 3, "action": "give", "parameters": {"value": 1, "vlaue": 2}},
        ],
        problems=[("missing_parameter", 1), ("missing_parameter", 2), ("unknown_field", 2), ("unknown_field", 3)],
    ),
}  # fmt: skip

NESTED = {
    "a_step_with_an_action_and_a_plan": Bad(plan=[{**inner(ok(11)), "action": "echo"}], problems=[("wrong_type", 2)]),
    "a_sub_plan_without_steps": Bad(plan=[{"id": 2, "plan": []}], problems=[("empty_plan", 2)]),
    "sub_plans_nested_too_deep": Bad(plan=[nested(9)], problems=[("wrong_type", 0)]),
    "an_inner_id_that_is_taken_outside": Bad(plan=[ok(1), inner(ok(1))], problems=[("duplicate_id", 1)]),
    "an_inner_id_that_is_taken_in_another_sub_plan": Bad(
        plan=[inner(ok(11), step=1), inner(ok(11), step=2)], problems=[("duplicate_id", 11)]
    ),
    "nobody_outside_sees_an_inner_step": Bad(
        plan=[inner(ok(11)), ok(3, parameters={"x": "$step11"})], problems=[("dangling_dependency", 3)]
    ),
    "nobody_inside_sees_another_sub_plan": Bad(
        plan=[inner(ok(11), step=1), inner(ok(21, dependencies=[11]), step=2)], problems=[("dangling_dependency", 21)]
    ),
    "a_cycle_inside_a_sub_plan": Bad(
        plan=[inner(ok(11, dependencies=[12]), ok(12, dependencies=[11]))], problems=[("cycle", None)]
    ),
    "a_cycle_through_a_sub_plan": Bad(
        plan=[inner(ok(11, dependencies=[3]), step=2), ok(3, dependencies=[2])], problems=[("cycle", None)]
    ),
    "an_inner_step_that_waits_for_the_step_it_is_in": Bad(
        plan=[inner(ok(11, dependencies=[2]))], problems=[("self_reference", 11)]
    ),
}

TEXTS = {
    "nothing": Bad(plan="", problems=[("invalid_json", None)]),
    "prose": Bad(plan="I cannot make a plan for that.", problems=[("invalid_json", None)]),
    "a_comma_too_many": Bad(plan='[{"id": 1, "action": "echo"},]', problems=[("invalid_json", None)], says=("comma",)),
    "a_comment": Bad(
        plan='[{"id": 1, "action": "echo"} // first\n]', problems=[("invalid_json", None)], says=("comment",)
    ),
    "single_quotes": Bad(plan="[{'id': 1, 'action': 'echo'}]", problems=[("invalid_json", None)]),
    "not_a_number": Bad(
        plan='[{"id": 1, "action": "echo", "parameters": {"x": Infinity}}]', problems=[("invalid_json", None)]
    ),
    "the_same_key_twice": Bad(
        plan='[{"id": 1, "action": "echo", "parameters": {"x": 1, "x": 2}}]', problems=[("duplicate_key", None)]
    ),
    "a_single_step": Bad(plan='{"id": 1, "action": "echo"}', problems=[("wrong_type", None)]),
    "a_number": Bad(plan="17", problems=[("wrong_type", None)]),
    "an_empty_object": Bad(plan="{}", problems=[("empty_plan", None)]),
    "steps_misspelt": Bad(
        plan={"step": [{"id": 1, "action": "echo"}]}, problems=[("wrong_type", None)], says=("steps",)
    ),
    "steps_that_are_no_list": Bad(plan={"steps": {"1": {"action": "echo"}}}, problems=[("wrong_type", None)]),
    "many_at_once": Bad(
        plan=[
            ok(1, dependencies=[1]), ok(2, dependencies=[9], timeout_s=-1), {"id": 3}, ok(3), "text",
            ok(5, condition="if it rains", join=2),
        ],
        problems=[
            ("self_reference", 1), ("dangling_dependency", 2), ("wrong_type", 2), ("missing_action", 3),
            ("duplicate_id", 3), ("wrong_type", None), ("wrong_type", 5), ("wrong_type", 5),
        ],
    ),
}  # fmt: skip

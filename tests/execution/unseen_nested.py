"""Plans nobody has seen: `for_each` and sub-plans."""

from __future__ import annotations

from tests.execution.case import Case

NUMBERS = {"id": 1, "action": "give", "parameters": {"value": {"items": [1, 2, 3], "people": [{"n": "a"}, {"n": "b"}]}}}


def each(items: object, action: str = "double", parameters: object = None, **more: object) -> dict[str, object]:
    """Step 2, for each of `items`."""
    return {
        "id": 2,
        "action": action,
        "parameters": {"n": "$item"} if parameters is None else parameters,
        "for_each": items,
        **more,
    }


FOR_EACH = {
    "for_each_of_a_list": Case(plan=[each([5, 6])], results={2: [10, 12]}, items={2: ["ok", "ok"]}),
    "for_each_of_a_reference": Case(
        plan=[NUMBERS, each("$step1.items"), {"id": 3, "action": "total", "parameters": {"numbers": "$step2"}}],
        levels=[[1], [2], [3]],
        deps={2: [1], 3: [2]},
        results={2: [2, 4, 6], 3: 12},
    ),
    "for_each_of_nothing": Case(
        plan=[each([]), {"id": 3, "action": "echo", "parameters": {"x": "$step2"}}],
        results={2: []},
        received={3: {"x": []}},
    ),
    "a_part_of_the_element_its_place_and_what_is_around_it": Case(
        plan=[
            NUMBERS,
            each("$step1.people", "echo", {
                "t": "{$index}: {$item.n} of $step1.items", "whole": "$item", "i": "$index",
            }),
        ],
        results={2: [
            {"t": "0: a of [1,2,3]", "whole": {"n": "a"}, "i": 0},
            {"t": "1: b of [1,2,3]", "whole": {"n": "b"}, "i": 1},
        ]},
    ),
    "the_order_of_the_results_is_that_of_the_elements": Case(
        plan=[each([0.3, 0.1, 0.2], "wait", {"seconds": "$item", "value": "$item"})],
        results={2: [0.3, 0.1, 0.2]},
        seconds=0.3,
    ),
    "elements_are_bound_by_max_parallel": Case(
        plan=[each({"items": [0.1] * 6, "max_parallel": 2}, "wait", {"seconds": "$item", "value": 1})],
        results={2: [1] * 6},
        seconds=0.3,
    ),
    "elements_are_bound_by_the_slots": Case(
        plan=[each([0.1] * 9, "wait", {"seconds": "$item", "value": 1})],
        sections={"performance": {"parallel_execution": {"max_parallel_steps": 3}}},
        seconds=0.3,
    ),
    "one_that_fails_fails_the_step": Case(
        plan=[each([1, 2, 3], "odd"), {"id": 3, "action": "echo", "dependencies": [2]}],
        status="failed",
        states={2: "failed", 3: "skipped"},
        causes={3: 2},
    ),
    "one_that_fails_is_null_where_that_is_allowed": Case(
        plan=[
            each({"items": [1, 2, 3], "on_failure": "continue"}, "odd"),
            {"id": 3, "action": "echo", "parameters": {"x": "$step2"}},
        ],
        status="success_with_failures",
        received={3: {"x": [1, None, 3]}},
        items={2: ["ok", "failed", "ok"]},
    ),
    "each_element_has_its_own_attempts": Case(
        plan=[each([0, 1, 2], "flaky", {"times": "$item"}, max_retries=2)],
        results={2: [{"attempt": 1}, {"attempt": 2}, {"attempt": 3}]},
    ),
    "each_element_has_its_own_fallback": Case(
        plan=[each([1, 2], "odd", fallback={"action": "echo", "parameters": {"was": "$item"}})],
        results={2: [1, {"was": 2}]},
        fallbacks=(2,),
    ),
    "outside_of_for_each_an_item_is_text": Case(
        plan=[
            {"id": 1, "action": "echo", "parameters": {"x": "$item and {$index}"}},
            each(["v"], "echo", {"x": "$$item is $item"}),
        ],
        received={1: {"x": "$item and {$index}"}},
        results={2: [{"x": "$item is v"}]},
    ),
    "an_element_is_data": Case(
        plan=[each(["$step9", "{$item}", "$index"], "echo", {"x": "$item", "t": "<{$item}>"}),
              {"id": 9, "action": "give", "parameters": {"value": "LEAK"}}],
        results={2: [
            {"x": "LEAK", "t": "<LEAK>"},  # the plan's own list: its references are references
            {"x": "{$item}", "t": "<{$item}>"},
            {"x": "$index", "t": "<$index>"},
        ]},
    ),
    "an_element_of_a_result_is_data": Case(
        plan=[{"id": 1, "action": "give", "parameters": {"value": ["x"]}},
              {"id": 3, "action": "concat", "parameters": {"parts": ["$", "step1"]}},
              {"id": 2, "action": "echo", "parameters": {"x": "$item", "t": "{$item}!"}, "for_each": ["$step3"]}],
        results={2: [{"x": "$step1", "t": "$step1!"}]},
    ),
    "more_elements_than_allowed_are_no_fan_out": Case(
        plan=[
            {"id": 1, "action": "give", "parameters": {"value": list(range(792))}},
            each({"items": "$step1", "max_items": 100}),
        ],
        status="failed",
        states={1: "ok", 2: "failed"},
        attempts={2: 0},
    ),
    "what_is_no_list_has_no_elements": Case(
        plan=[{"id": 1, "action": "give", "parameters": {"value": "text"}}, each("$step1")],
        status="failed",
        states={1: "ok", 2: "failed"},
        attempts={2: 0},
    ),
    "a_condition_decides_about_all_elements_together": Case(
        plan=[NUMBERS, each("$step1.items", condition="len($step1.items) > 3")],
        states={1: "ok", 2: "skipped"},
        reasons={2: "condition"},
    ),
}  # fmt: skip

INNER = [
    {"id": 11, "action": "give", "parameters": {"value": 2}},
    {"id": 12, "action": "total", "parameters": {"numbers": ["$step11", "$step1"]}},
]
FIVE = {"id": 1, "action": "give", "parameters": {"value": 5}}
BAD_INNER = [{"id": 11, "action": "fail"}, {"id": 12, "action": "echo", "dependencies": [11]}]

SUB_PLANS = {
    "a_sub_plan_gives_the_result_of_its_last_step": Case(
        plan=[FIVE, {"id": 2, "plan": INNER}, {"id": 3, "action": "double", "parameters": {"n": "$step2"}}],
        levels=[[1], [2], [3]],
        deps={1: [], 2: [1], 3: [2]},
        results={2: 7, 3: 14},
        inside={2: {11: "ok", 12: "ok"}},
    ),
    "a_sub_plan_gives_its_output": Case(
        plan=[
            FIVE,
            {"id": 2, "plan": {"steps": INNER, "output": {"sum": "$step12", "text": "{$step11} and {$step1}"}}},
            {"id": 3, "action": "echo", "parameters": {"x": "$step2.sum", "y": "$step2.text"}},
        ],
        received={3: {"x": 7, "y": "2 and 5"}},
    ),
    "a_sub_plan_in_a_sub_plan_in_a_sub_plan": Case(
        plan=[
            FIVE,
            {"id": 2, "plan": [
                {"id": 20, "action": "double", "parameters": {"n": "$step1"}},
                {"id": 21, "plan": [
                    {"id": 22, "action": "double", "parameters": {"n": "$step20"}},
                    {"id": 23, "plan": [
                        {"id": 24, "action": "total", "parameters": {"numbers": ["$step22", "$step20", "$step1"]}},
                    ]},
                ]},
            ]},
        ],
        levels=[[1], [2]],
        results={2: 35},
        inside={2: {20: "ok", 21: "ok"}},
    ),
    "a_failed_step_of_a_sub_plan_fails_the_outer_step": Case(
        plan=[FIVE, {"id": 2, "plan": BAD_INNER}, {"id": 3, "action": "echo", "dependencies": [2]},
              {"id": 4, "action": "echo", "dependencies": [1]}],
        status="failed",
        states={1: "ok", 2: "failed", 3: "skipped", 4: "ok"},
        inside={2: {11: "failed", 12: "skipped"}},
    ),
    "a_tolerated_failure_inside_is_tolerated_outside": Case(
        plan=[
            {"id": 2, "plan": {"steps": [
                {"id": 11, "action": "fail", "critical": False},
                {"id": 12, "action": "give", "parameters": {"value": 1}},
            ]}},
            {"id": 3, "action": "double", "parameters": {"n": "$step2"}},
        ],
        status="success_with_failures",
        results={3: 2},
        inside={2: {11: "failed", 12: "ok"}},
    ),
    "a_fallback_for_a_whole_sub_plan": Case(
        plan=[FIVE, {"id": 2, "plan": BAD_INNER, "fallback": {"action": "double", "parameters": {"n": "$step1"}}}],
        results={2: 10},
        fallbacks=(2,),
    ),
    "a_timeout_for_a_whole_sub_plan": Case(
        plan=[
            {"id": 2, "timeout_s": 0.05, "plan": [{"id": 11, "action": "give", "parameters": {"value": 1}},
                                                  {"id": 12, "action": "wait", "parameters": {"seconds": 60}}]},
        ],
        status="failed",
        states="failed",
        errors={2: "timeout"},
        started={2: 0.0},
        seconds=0.05,
    ),
    "a_condition_for_a_whole_sub_plan": Case(
        plan=[FIVE, {"id": 2, "condition": "$step1 > 9", "plan": INNER}],
        states={1: "ok", 2: "skipped"},
        reasons={2: "condition"},
    ),
    "a_condition_inside_a_sub_plan": Case(
        plan=[FIVE, {"id": 2, "plan": {"output": ["$step11", "$step12"], "steps": [
            {"id": 11, "action": "give", "parameters": {"value": "small"}, "condition": "$step1 < 3"},
            {"id": 12, "action": "give", "parameters": {"value": "large"}, "condition": "$step1 >= 3"},
        ]}}],
        results={2: [None, "large"]},
        inside={2: {11: "skipped", 12: "ok"}},
    ),
    "for_each_over_a_sub_plan": Case(
        plan=[
            {"id": 1, "action": "give", "parameters": {"value": [3, 4]}},
            {"id": 2, "for_each": "$step1", "plan": {"steps": [
                {"id": 11, "action": "double", "parameters": {"n": "$item"}},
                {"id": 12, "action": "total", "parameters": {"numbers": ["$step11", "$index"]}},
            ], "output": {"n": "$item", "got": "$step12"}}},
        ],
        results={2: [{"n": 3, "got": 6}, {"n": 4, "got": 9}]},
        items={2: ["ok", "ok"]},
    ),
    "for_each_inside_a_sub_plan": Case(
        plan=[
            {"id": 2, "plan": [
                {"id": 11, "action": "give", "parameters": {"value": [1, 2, 3]}},
                {"id": 12, "action": "double", "parameters": {"n": "$item"}, "for_each": "$step11"},
                {"id": 13, "action": "total", "parameters": {"numbers": "$step12"}},
            ]},
        ],
        results={2: 12},
    ),
    "the_steps_of_a_sub_plan_run_side_by_side": Case(
        plan=[{"id": 2, "plan": {"steps": [
            *({"id": n, "action": "wait", "parameters": {"seconds": 0.1, "value": n}} for n in (11, 12, 13, 14)),
        ], "output": ["$step11", "$step14"]}}],
        sections={"performance": {"parallel_execution": {"max_parallel_steps": 2}}},
        results={2: [11, 14]},
        seconds=0.2,
    ),
}  # fmt: skip

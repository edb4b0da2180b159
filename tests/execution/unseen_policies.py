"""Plans nobody has seen: conditions, joins, retries, fallbacks, criticality, undoing."""

from __future__ import annotations

from tests.execution.case import Case

FACTS = {
    "rain": 80, "city": "Oslo", "rows": [], "names": ["a", "b"], "ok": True, "no": False, "none": None, "zero": 0,
    "text": "or true", "deep": {"x": [1, {"y": "z"}]},
}  # fmt: skip


def decided(condition: object, **more: object) -> list[dict[str, object]]:
    """A step that runs only if a condition about `FACTS` holds."""
    return [
        {"id": 1, "action": "give", "parameters": {"value": FACTS}},
        {"id": 2, "action": "echo", "condition": condition, "dependencies": [1], **more},
    ]


HOLD = (
    "$step1.rain > 60",
    "{$step1.rain} >= 80 and $step1.city == 'Oslo'",
    "not $step1.rain < 80",
    "$step1.city in ['Oslo', \"Bergen\"]",
    "$step1.city not in ['Rom']",
    "empty($step1.rows) and not empty($step1.names)",
    "len($step1.names) == 2",
    "exists($step1.ok) and not exists($step1.nope)",
    "$step1.ok",
    "$step1.none == null",
    "$step1.zero == false or $step1.zero == 0",
    "($step1.no or $step1.ok) and ($step1.rain != 81)",
    "$step1.deep.x[1].y == 'z'",
    "'a' in $step1.names",
    "true",
    True,
)
FAIL = (
    "$step1.rain <= 60",
    "$step1.rain == '80'",  # between types == is false
    "$step1.no",
    "$step1.zero",
    "$step1.rows",
    "$step1.none",
    "not exists($step1.rain)",
    "exists($step1.nope) and $step1.nope > 3",  # what is not there is not looked at
    "$step1.text == 'x' or false",  # the text of a result is never read as a condition
    "False",
    False,
)

CONDITIONS = {
    **{f"condition_holds_{n}": Case(plan=decided(c), results={2: {}}) for n, c in enumerate(HOLD)},
    **{
        f"condition_does_not_hold_{n}": Case(
            plan=decided(c), states={1: "ok", 2: "skipped"}, reasons={2: "condition"}, errors={2: None}
        )
        for n, c in enumerate(FAIL)
    },
    "a_condition_about_what_is_not_there_fails_its_step": Case(
        plan=decided("$step1.nope > 3"),
        status="failed",
        states={1: "ok", 2: "failed"},
        errors={2: "unknown_field"},
        attempts={2: 0},
    ),
    "a_condition_that_cannot_be_decided_fails_its_step": Case(
        plan=decided("$step1.city > 3", critical=False),
        status="success_with_failures",
        states={1: "ok", 2: "failed"},
        errors={2: "condition"},
        attempts={2: 0},
    ),
    "what_needs_a_step_that_its_condition_skipped_is_skipped_and_that_is_no_failure": Case(
        plan=[
            *decided("$step1.no"),
            {"id": 3, "action": "echo", "dependencies": [2]},
            {"id": 4, "action": "echo", "parameters": {"x": "$step3.y"}},
            {"id": 5, "action": "echo", "dependencies": [1]},
        ],
        states={1: "ok", 2: "skipped", 3: "skipped", 4: "skipped", 5: "ok"},
        reasons={2: "condition", 3: "dependency", 4: "dependency"},
        causes={3: 2, 4: 3},
    ),
    "a_condition_alone_makes_a_dependency": Case(
        plan=[
            {"id": 2, "action": "echo", "condition": "$step1.ok"},
            {"id": 1, "action": "give", "parameters": {"value": FACTS}},
        ],
        levels=[[1], [2]],
        deps={2: [1]},
    ),
    "three_exclusive_branches": Case(
        plan=[
            {"id": 1, "action": "give", "parameters": {"value": {"n": 5}}},
            {"id": 2, "action": "give", "parameters": {"value": "small"}, "condition": "$step1.n < 3"},
            {"id": 3, "action": "give", "parameters": {"value": "middle"},
             "condition": "$step1.n >= 3 and $step1.n < 9"},
            {"id": 4, "action": "give", "parameters": {"value": "large"}, "condition": "$step1.n >= 9"},
            {"id": 5, "action": "echo", "parameters": {"any": ["$step2", "$step3", "$step4"]}, "join": "any"},
        ],
        states={1: "ok", 2: "skipped", 3: "ok", 4: "skipped", 5: "ok"},
        received={5: {"any": [None, "middle", None]}},
    ),
}  # fmt: skip

JOINS = {
    "any_starts_with_the_first": Case(
        plan=[
            {"id": 1, "action": "hold", "parameters": {"value": "slow"}},
            {"id": 2, "action": "wait", "parameters": {"seconds": 0.1, "value": "fast"}},
            {"id": 3, "action": "let_go", "parameters": {"a": "$step1", "b": "$step2"}, "join": "any"},
        ],
        received={3: {"a": None, "b": "fast"}},
        started={3: 0.1},
        seconds=0.1,
    ),
    "two_of_three_is_enough_although_one_fails": Case(
        plan=[
            {"id": 1, "action": "fail", "critical": False},
            {"id": 2, "action": "give", "parameters": {"value": 2}},
            {"id": 3, "action": "give", "parameters": {"value": 3}},
            {"id": 4, "action": "echo", "parameters": {"x": ["$step1", "$step2", "$step3"]}, "join": 2},
        ],
        status="success_with_failures",
        states={1: "failed", 2: "ok", 3: "ok", 4: "ok"},
        received={4: {"x": [None, 2, 3]}},
    ),
    "two_of_three_cannot_be_had_any_more": Case(
        plan=[
            {"id": 1, "action": "fail", "critical": False},
            {"id": 2, "action": "fail", "critical": False},
            {"id": 3, "action": "give", "parameters": {"value": 3}},
            {"id": 4, "action": "echo", "dependencies": [1, 2, 3], "join": 2, "critical": False},
        ],
        status="success_with_failures",
        states={1: "failed", 2: "failed", 3: "ok", 4: "skipped"},
        reasons={4: "dependency"},
    ),
    "any_of_none": Case(
        plan=[
            {"id": 1, "action": "fail"},
            {"id": 2, "action": "fail", "parameters": {"after": 0.05}},
            {"id": 3, "action": "echo", "dependencies": [1, 2], "join": "any"},
            {"id": 4, "action": "echo", "dependencies": [3]},
        ],
        status="failed",
        states={1: "failed", 2: "failed", 3: "skipped", 4: "skipped"},
        reasons={3: "dependency", 4: "dependency"},
    ),
    "all_said_aloud": Case(
        plan=[
            {"id": 1, "action": "give", "parameters": {"value": 1}},
            {"id": 2, "action": "double", "parameters": {"n": "$step1"}, "join": "all"},
        ],
        results={2: 2},
    ),
    "a_failed_branch_of_any_still_fails_the_run": Case(
        plan=[
            {"id": 1, "action": "fail"},
            {"id": 2, "action": "give", "parameters": {"value": 2}},
            {"id": 3, "action": "echo", "dependencies": [1, 2], "join": "any"},
        ],
        status="failed",
        states={1: "failed", 2: "ok", 3: "ok"},
    ),
    "join_1_is_any": Case(
        plan=[
            {"id": 1, "action": "echo", "condition": False},
            {"id": 2, "action": "give", "parameters": {"value": 2}},
            {"id": 3, "action": "echo", "parameters": {"t": "[{$step1}] {$step2}"}, "join": 1},
        ],
        states={1: "skipped", 2: "ok", 3: "ok"},
        received={3: {"t": "[null] 2"}},
    ),
}

TRIES = {
    "retries_until_it_works": Case(
        plan=[{"id": 1, "action": "flaky", "parameters": {"times": 2}, "max_retries": 3}],
        results={1: {"attempt": 3}},
        attempts={1: 3},
    ),
    "retries_run_out": Case(
        plan=[{"id": 1, "action": "flaky", "parameters": {"times": 5}, "max_retries": 2, "retry_backoff_s": 0.01}],
        status="failed",
        states="failed",
        attempts={1: 3},
        errors={1: "tool_error"},
    ),
    "what_counts_once_is_not_tried_again_whatever_the_plan_says": Case(
        plan=[{"id": 1, "action": "lose", "parameters": {"text": "x"}, "max_retries": 5}],
        status="failed",
        states="failed",
        attempts={1: 1},
    ),
    "what_counts_once_is_tried_again_if_nothing_happened": Case(
        plan=[{"id": 1, "action": "send", "parameters": {"text": "x", "times": 2}, "max_retries": 2}],
        results={1: {"sent": "x"}},
        attempts={1: 3},
    ),
    "a_timeout_counts_as_an_attempt": Case(
        plan=[{"id": 1, "action": "wait", "parameters": {"seconds": 60}, "timeout_s": 0.02, "max_retries": 2}],
        status="failed",
        states="failed",
        errors={1: "timeout"},
        attempts={1: 3},
    ),
    "the_fallback_answers_and_may_refer_to_others": Case(
        plan=[
            {"id": 1, "action": "give", "parameters": {"value": {"kept": 9}}},
            {"id": 2, "action": "fail", "fallback": {"action": "double", "parameters": {"n": "$step1.kept"}}},
            {"id": 3, "action": "echo", "parameters": {"x": "$step2"}},
        ],
        levels=[[1], [2], [3]],
        received={2: {"n": 9}, 3: {"x": 18}},
        fallbacks=(2,),
    ),
    "the_fallback_fails_too": Case(
        plan=[{"id": 1, "action": "fail", "fallback": {"action": "odd", "parameters": {"n": 2}}}],
        status="failed",
        states="failed",
        errors={1: "tool_error"},
    ),
    "a_fallback_of_the_same_action_has_its_own_parameters": Case(
        plan=[
            {"id": 1, "action": "odd", "parameters": {"n": 2}, "max_retries": 1, "retry_backoff_s": 0,
             "fallback": {"action": "odd", "parameters": {"n": 5}}},
            {"id": 2, "action": "odd", "parameters": {"n": "$item"}, "for_each": [4, 7],
             "fallback": {"action": "odd", "parameters": {"n": "$step1"}}},
        ],
        levels=[[1], [2]],
        received={1: {"n": 5}},
        results={1: 5, 2: [5, 7]},
        attempts={1: 3},
        fallbacks=(1, 2),
    ),
    "of_two_calls_that_failed_the_step_tells_its_own": Case(
        plan=[
            {"id": 1, "action": "odd", "parameters": {"n": 2},
             "fallback": {"action": "fail", "parameters": {"message": "no"}}},
        ],
        status="failed",
        states="failed",
        received={1: {"n": 2}},
        attempts={1: 2},
    ),
    "a_fallback_where_the_parameters_lead_nowhere": Case(
        plan=[
            {"id": 1, "action": "give", "parameters": {"value": {}}},
            {"id": 2, "action": "echo", "parameters": {"x": "$step1.gone"},
             "fallback": {"action": "give", "parameters": {"value": "instead"}}},
        ],
        results={2: "instead"},
        fallbacks=(2,),
    ),
    "wrong_arguments_are_not_tried_again": Case(
        plan=[
            {"id": 1, "action": "give", "parameters": {"value": "seven"}},
            {"id": 2, "action": "double", "parameters": {"n": "$step1"}, "max_retries": 3},
        ],
        status="failed",
        states={1: "ok", 2: "failed"},
        errors={2: "bad_arguments"},
        attempts={2: 1},
    ),
    "a_result_of_the_wrong_type_is_refuted_by_its_declaration": Case(
        plan=[{"id": 1, "action": "whole", "critical": True}, {"id": 2, "action": "echo", "dependencies": [1]}],
        status="failed",
        states={1: "failed", 2: "skipped"},
        errors={1: "refuted"},
    ),
    "nothing_runs_on_a_result_of_the_wrong_type_critical_or_not": Case(
        plan=[
            {"id": 1, "action": "whole", "critical": False}, {"id": 2, "action": "echo", "parameters": {"x": "$step1"}},
            {"id": 3, "action": "fail", "critical": False, "fallback": {"action": "whole"}},
            {"id": 4, "action": "echo", "dependencies": [3]},
            {"id": 5, "action": "whole", "for_each": [1, 2], "critical": False},
            {"id": 6, "action": "echo", "dependencies": [5]},
        ],
        status="success_with_failures",
        states={1: "failed", 2: "skipped", 3: "failed", 4: "skipped", 5: "failed", 6: "skipped"},
        errors={1: "refuted", 3: "refuted", 5: "refuted"},
        causes={2: 1, 4: 3, 6: 5},
        fallbacks=(3,),
    ),
    "a_tolerated_failure_and_what_hangs_on_it": Case(
        plan=[
            {"id": 1, "action": "fail", "critical": False},
            {"id": 2, "action": "echo", "dependencies": [1]},
            {"id": 3, "action": "echo"},
        ],
        status="success_with_failures",
        states={1: "failed", 2: "skipped", 3: "ok"},
    ),
    "a_critical_step_behind_a_tolerated_failure_is_not_tolerated": Case(
        plan=[
            {"id": 1, "action": "fail", "critical": False},
            {"id": 2, "action": "echo", "dependencies": [1], "critical": True},
        ],
        status="failed",
        states={1: "failed", 2: "skipped"},
    ),
    "a_refuted_step_that_is_tolerated": Case(
        plan=[{"id": 1, "action": "boast", "critical": False}, {"id": 2, "action": "echo"}],
        status="success_with_failures",
        states={1: "failed", 2: "ok"},
        errors={1: "refuted"},
    ),
}  # fmt: skip


def booking(step: int, what: str, *, after: tuple[int, ...] = (), undo: object = None) -> dict[str, object]:
    """A KEYED step that can be undone."""
    given = undo if undo is not None else {"action": "cancel", "parameters": {"booking": f"$step{step}.booking"}}
    return {
        "id": step,
        "action": "book",
        "parameters": {"what": what},
        "dependencies": list(after),
        "compensate": given,
    }


UNDOING = {
    "what_was_done_is_undone_when_the_run_fails": Case(
        plan=[booking(1, "flight"), booking(2, "hotel", after=(1,)), {"id": 3, "action": "fail", "dependencies": [2]}],
        status="failed",
        states={1: "ok", 2: "ok", 3: "failed"},
        undone={1: {"booking": "B-flight"}, 2: {"booking": "B-hotel"}},
    ),
    "nothing_is_undone_when_the_run_succeeds": Case(
        plan=[booking(1, "flight"), {"id": 2, "action": "fail", "critical": False, "dependencies": [1]}],
        status="success_with_failures",
        states={1: "ok", 2: "failed"},
        undone={},
    ),
    "what_was_never_done_is_not_undone": Case(
        plan=[{"id": 1, "action": "fail"}, booking(2, "hotel", after=(1,)), booking(3, "car")],
        status="failed",
        states={1: "failed", 2: "skipped", 3: "ok"},
        undone={3: {"booking": "B-car"}},
    ),
    "an_undoing_may_refer_to_other_steps": Case(
        plan=[
            {"id": 1, "action": "give", "parameters": {"value": {"who": "ada"}}},
            booking(2, "car", undo={"action": "cancel", "parameters": {"booking": "{$step2.booking} for $step1.who"}}),
            {"id": 3, "action": "fail", "dependencies": [2]},
        ],
        status="failed",
        states={1: "ok", 2: "ok", 3: "failed"},
        undone={2: {"booking": "B-car for ada"}},
    ),
}

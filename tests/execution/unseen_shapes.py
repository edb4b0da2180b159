"""Plans nobody has seen: shapes, ids, spellings, values, references."""

from __future__ import annotations

import json

from tests.execution.case import Case

DEEP = {"a": {"b": [None, {"c": [["x", {"d": {"e": 7}}]]}]}}

SHAPES = {
    "ids_from_zero": Case(
        plan=[
            {"id": 0, "action": "give", "parameters": {"value": 5}},
            {"id": 1, "action": "double", "parameters": {"n": "$step0"}},
        ],
        levels=[[0], [1]],
        results={1: 10},
    ),
    "ids_as_text": Case(
        plan=[
            {"id": "3", "action": "give", "parameters": {"value": "x"}},
            {"id": "step_12", "action": "echo", "parameters": {"v": "$step3"}, "dependencies": ["3"]},
            {"id": 1, "action": "echo", "parameters": {"v": "{$step12.v}!"}, "dependencies": ["step_12"]},
        ],
        levels=[[3], [12], [1]],
        results={1: {"v": "x!"}},
    ),
    "the_other_dialect": Case(
        plan={
            "goal": "double",
            "steps": [
                {"step": 1, "tool": "give", "inputs": {"value": 4}},
                {"id": 2, "tool": "double", "args": {"n": "$step1"}, "deps": [1]},
                {"id": 3, "action": "double", "arguments": {"n": "$step2"}, "depends_on": ["step_2"]},
            ],
        },
        levels=[[1], [2], [3]],
        results={3: 16},
    ),
    "null_counts_as_absent_and_unknown_keys_are_left_alone": Case(
        plan=[
            {
                "id": 1,
                "action": "give",
                "parameters": {"value": None},
                "dependencies": None,
                "critical": None,
                "timeout_s": None,
                "fallback": None,
                "title": "first",
                "reasoning": "because",
                "expected_output": "null",
            },
            {"id": 2, "action": "echo", "parameters": None, "dependencies": [1]},
        ],
        results={1: None, 2: {}},
    ),
    "one_step": Case(plan=[{"id": 7, "action": "echo"}], levels=[[7]], results={7: {}}),
    "backwards_and_far_apart_ids": Case(
        plan=[
            {"id": 999_999, "action": "total", "parameters": {"numbers": ["$step500", "$step40", "$step3"]}},
            {"id": 500, "action": "double", "parameters": {"n": "$step40"}},
            {"id": 40, "action": "double", "parameters": {"n": "$step3"}},
            {"id": 3, "action": "give", "parameters": {"value": 1}},
        ],
        levels=[[3], [40], [500], [999_999]],
        deps={999_999: [500, 40, 3]},
        results={999_999: 7},
    ),
    "the_same_dependency_many_times": Case(
        plan=[
            {"id": 1, "action": "give", "parameters": {"value": 2}},
            {"id": 2, "action": "total", "parameters": {"numbers": ["$step1"] * 5}, "dependencies": [1, 1]},
        ],
        levels=[[1], [2]],
        results={2: 10},
    ),
    "a_diamond_of_diamonds": Case(
        plan=[
            {"id": 1, "action": "give", "parameters": {"value": 1}},
            *({"id": n, "action": "double", "parameters": {"n": "$step1"}} for n in (2, 3)),
            {"id": 4, "action": "total", "parameters": {"numbers": ["$step2", "$step3"]}},
            *({"id": n, "action": "double", "parameters": {"n": "$step4"}} for n in (5, 6)),
            {"id": 7, "action": "total", "parameters": {"numbers": ["$step5", "$step6", "$step1"]}},
        ],
        levels=[[1], [2, 3], [4], [5, 6], [7]],
        results={7: 17},
    ),
    "two_plans_in_one_that_know_nothing_of_each_other": Case(
        plan=[
            {"id": 1, "action": "fail"},
            {"id": 2, "action": "echo", "dependencies": [1]},
            {"id": 11, "action": "give", "parameters": {"value": 1}},
            {"id": 12, "action": "double", "parameters": {"n": "$step11"}},
        ],
        status="failed",
        states={1: "failed", 2: "skipped", 11: "ok", 12: "ok"},
        causes={2: 1},
        errors={1: "tool_error"},
    ),
    "three_hundred_at_once_and_one_that_waits_for_all": Case(
        plan=[
            *({"id": n, "action": "give", "parameters": {"value": n}} for n in range(300)),
            {"id": 300, "action": "total", "parameters": {"numbers": [f"$step{n}" for n in range(300)]}},
        ],
        levels=[list(range(300)), [300]],
        results={300: sum(range(300))},
    ),
    "step_1_is_not_step_10": Case(
        plan=[
            {"id": 1, "action": "give", "parameters": {"value": "one"}},
            {"id": 10, "action": "give", "parameters": {"value": "ten"}},
            {"id": 100, "action": "echo", "parameters": {"x": "$step10/$step1/{$step10}0", "y": "$step10"}},
        ],
        deps={100: [1, 10]},
        received={100: {"x": "ten/one/ten0", "y": "ten"}},
    ),
    "a_deep_path": Case(
        plan=[
            {"id": 1, "action": "give", "parameters": {"value": DEEP}},
            {
                "id": 2,
                "action": "echo",
                "parameters": {
                    "one": "$step1.a.b[1].c[0][1].d.e",
                    "other": "$step1.a.b.1.c.0.1.d.e",
                    "text": "e={$step1.a.b[1].c[0][1].d.e}.",
                    "null": "$step1.a.b[0]",
                    "part": "$step1.a.b[1].c",
                },
            },
        ],
        received={2: {"one": 7, "other": 7, "text": "e=7.", "null": None, "part": [["x", {"d": {"e": 7}}]]}},
    ),
    "every_type_keeps_itself_and_becomes_compact_json_in_text": Case(
        plan=[
            {
                "id": 1,
                "action": "give",
                "parameters": {"value": [0, 0.5, "", "t", False, None, [], {}, {"k": [1, "ü"]}]},
            },
            {
                "id": 2,
                "action": "echo",
                "parameters": {
                    "kept": [f"$step1[{n}]" for n in range(9)],
                    "text": [f"{{$step1[{n}]}}" for n in range(9)],
                },
            },
        ],
        received={
            2: {
                "kept": [0, 0.5, "", "t", False, None, [], {}, {"k": [1, "ü"]}],
                "text": ["0", "0.5", "", "t", "false", "null", "[]", "{}", '{"k":[1,"ü"]}'],
            }
        },
    ),
    "where_a_bare_reference_ends": Case(
        plan=[
            {"id": 1, "action": "give", "parameters": {"value": {"n": "N", "m": {"k": "K"}, "l": ["L0"]}}},
            {
                "id": 2,
                "action": "echo",
                "parameters": {
                    "dot": "It is $step1.n.",
                    "dots": "$step1.n...",
                    "comma": "$step1.n,$step1.m.k;",
                    "percent": "$step1.n%",
                    "tick": "`$step1.n`",
                    "line": "$step1.n\n$step1.l[0]",
                    "bracket": "[$step1.n]",
                    "paren": "($step1.m.k)",
                    "quote": '"$step1.n"',
                    "dash": "$step1.n-x",
                    "slash": "$step1.n/$step1.l[0]/x",
                    "colon": "$step1.n: y",
                    "dollar": "$5 $ $$ $stepping $step",
                    "literal": "$$step1.n and $step1.n",
                    "braced": "a{$step1.n}b",
                },
            },
        ],
        received={
            2: {
                "dot": "It is N.",
                "dots": "N...",
                "comma": "N,K;",
                "percent": "N%",
                "tick": "`N`",
                "line": "N\nL0",
                "bracket": "[N]",
                "paren": "(K)",
                "quote": '"N"',
                "dash": "N-x",
                "slash": "N/L0/x",
                "colon": "N: y",
                "dollar": "$5 $ $$ $stepping $step",
                "literal": "$step1.n and N",
                "braced": "aNb",
            }
        },
    ),
    "keys_are_never_references": Case(
        plan=[
            {"id": 1, "action": "give", "parameters": {"value": "v"}},
            {"id": 2, "action": "echo", "parameters": {"$step1": "$step1", "in": {"{$step1}": 1}}, "dependencies": [1]},
        ],
        received={2: {"$step1": "v", "in": {"{$step1}": 1}}},
    ),
    "unicode_everywhere": Case(
        plan={
            "goal": "Grüße an 世界 🌍",
            "steps": [
                {"id": 1, "action": "give", "parameters": {"value": {"name": "Łukasz 🙂", "rtl": "שלום", "k": "é"}}},
                {
                    "id": 2,
                    "action": "echo",
                    "parameters": {
                        "größe": "Für {$step1.name}: „{$step1.rtl}“",
                        "匹": "$step1.k",
                        "end": "$step1.name🙂",
                        "nul": "a\u0000b",
                    },
                },
            ],
        },
        received={
            2: {
                "größe": "Für Łukasz 🙂: „שלום“",
                "匹": "é",
                "end": "Łukasz 🙂🙂",
                "nul": "a\u0000b",
            }
        },
    ),
    "injection_through_two_steps": Case(
        plan=[
            {"id": 1, "action": "concat", "parameters": {"parts": ["$", "step2 {$", "step2} $", "item $$", "step2"]}},
            {"id": 2, "action": "give", "parameters": {"value": "SECRET"}},
            {"id": 3, "action": "echo", "parameters": {"a": "$step1", "b": "<{$step1}>"}, "dependencies": [2]},
            {"id": 4, "action": "echo", "parameters": {"c": "$step3.a", "d": "{$step3.b}"}, "dependencies": [2]},
        ],
        received={
            # `$$step2` is a literal only where the plan says it; in a result it is two dollars.
            4: {"c": "$step2 {$step2} $item $$step2", "d": "<$step2 {$step2} $item $$step2>"},
        },
    ),
    "a_hundred_lists_deep": Case(
        plan=json.loads(
            '[{"id": 1, "action": "give", "parameters": {"value": 3}}, {"id": 2, "action": "echo", "parameters": {"x": '
            + "[" * 100
            + '"$step1"'
            + "]" * 100
            + "}}]"
        ),
        received={2: {"x": json.loads("[" * 100 + "3" + "]" * 100)}},
    ),
    "text_with_prose_and_a_fence": Case(
        plan='Yes!\n\n```json\n[{"id": 1, "action": "give", "parameters": {"value": "a [b] {c} ```"}}]\n```\n{ok}?',
        received={1: {"value": "a [b] {c} ```"}},
    ),
    "big_numbers_stay_what_they_are": Case(
        plan=[
            {"id": 1, "action": "give", "parameters": {"value": [2**63, -(2**70), 1e300, 0.1]}},
            {"id": 2, "action": "echo", "parameters": {"x": "$step1", "t": "{$step1[0]}"}},
        ],
        received={2: {"x": [2**63, -(2**70), 1e300, 0.1], "t": "9223372036854775808"}},
    ),
}

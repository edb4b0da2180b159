"""`trouper check`: what a plan file is worth, without running it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

SAMPLES = Path(__file__).parent.parent / "data" / "plans"
NAMES = sorted(p.name.removesuffix(".expect.json") for p in SAMPLES.glob("[0-8]*.expect.json"))
RAW = sorted(p.name.removesuffix(".expect.json") for p in (SAMPLES / "raw").glob("*.expect.json"))
GOOD = '[{"id": 1, "action": "shout", "parameters": {"text": "$step2.x"}}, {"id": 2, "action": "find"}]'


def agrees(said, expected: dict) -> None:
    if expected["outcome"] == "error" or said.code == 2:
        assert expected["outcome"] in {"error", "ok_or_error"}
        assert (said.code, said.json["ok"]) == (2, False)
        found = [[p["kind"], p["step"]] for p in said.json["problems"]]
        assert found == expected.get("errors", found)
        assert all(p["message"] and p.keys() == {"kind", "step", "path", "message"} for p in said.json["problems"])
        return
    assert said.json.keys() == {"ok", "steps", "levels", "dependencies"}
    assert (said.code, said.json["ok"], said.err) == (0, True, "")
    assert said.json["levels"] == expected.get("levels", said.json["levels"])
    assert said.json["dependencies"] == expected.get("deps", said.json["dependencies"])


@pytest.mark.parametrize("name", NAMES)
def test_each_sample_plan_is_judged_as_expected(here, name):
    expected = json.loads((SAMPLES / f"{name}.expect.json").read_text("utf-8"))
    options = []
    if "catalogue" in expected:
        (here.cwd / "catalogue.json").write_text(json.dumps(expected["catalogue"]))
        options = ["--catalogue", "catalogue.json"]

    agrees(here("check", str(SAMPLES / f"{name}.json"), "--json", *options), expected)


@pytest.mark.parametrize("name", RAW)
def test_what_a_model_said_can_be_checked_as_it_is(here, name):
    expected = json.loads((SAMPLES / "raw" / f"{name}.expect.json").read_text("utf-8"))

    agrees(here("check", "-", "--json", stdin=(SAMPLES / "raw" / f"{name}.txt").read_bytes()), expected)


def test_a_person_reads_the_levels(here):
    (here.cwd / "plan.json").write_text(GOOD)

    said = here("check", "plan.json")

    assert said.code == 0
    assert said.out == "ok: 2 steps in 2 levels\n  level 0: 2\n  level 1: 1\n"


def test_a_person_reads_every_problem_on_stderr(here):
    (here.cwd / "plan.json").write_text('[{"id": 1, "action": "a", "dependencies": [1, 7]}, {"id": 1}]')

    said = here("check", "plan.json")

    assert (said.code, said.out) == (2, "")
    assert all(f"[{kind}]" in said.err for kind in ("self_reference", "dangling_dependency", "duplicate_id"))
    assert "[missing_action]" in said.err


def test_names_are_compared_only_with_what_was_given(here):
    (here.cwd / "plan.json").write_text(GOOD)
    (here.cwd / "known.json").write_text(
        json.dumps({"shout": {"required": ["text", "volume"]}, "find": {"outputs": ["y"]}})
    )

    without = here("check", "plan.json")
    against = here("check", "plan.json", "--catalogue", "known.json", "--json")

    assert without.code == 0
    assert against.code == 2
    assert {p["kind"] for p in against.json["problems"]} == {"missing_parameter", "unknown_field"}


def test_tools_and_catalogue_add_up(here):
    (here.cwd / "plan.json").write_text(GOOD)
    (here.cwd / "known.json").write_text('{"find": {"outputs": ["x"]}}')
    (here.cwd / "shouting.py").write_text(
        "import trouper\n@trouper.tool\ndef shout(text: str) -> str:\n    'Louder.'\n    return text\n"
    )

    both = here("check", "plan.json", "--catalogue", "known.json", "--tools", "shouting:shout")
    tools = here("check", "plan.json", "--tools", "shouting:shout", "--json")

    assert both.code == 0
    assert [p["kind"] for p in tools.json["problems"]] == ["unknown_action"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("nowhere.json", None, "nowhere.json cannot be read: No such file"),
        (".", None, "cannot be read: Is a directory"),
        ("a\0b", None, "cannot be read"),
        ("plan.json", b"\xff\xfe", "is not UTF-8 text"),
        ("plan.json", b"", "[invalid_json]"),
        ("plan.json", b"no plan here", "[invalid_json]"),
        ("plan.json", b"[]", "[empty_plan]"),
    ],
)
def test_a_file_that_is_no_plan_is_one_message(here, name, content, words):
    if content is not None:
        (here.cwd / name).write_bytes(content)

    for command in ("check", "exec"):
        said = here(command, name)

        assert (said.code, said.out) == (2, "")
        assert words in said.err
        assert "Traceback" not in said.err


@pytest.mark.parametrize(
    ("content", "words"),
    [("{", "known.json is not JSON"), ("[1]", "not an object of action names"), ('{"a": {"output": []}}', "outputs")],
)
def test_a_catalogue_that_is_none_is_one_message(here, content, words):
    (here.cwd / "plan.json").write_text(GOOD)
    (here.cwd / "known.json").write_text(content)

    said = here("check", "plan.json", "--catalogue", "known.json")

    assert (said.code, said.out) == (2, "")
    assert words in said.err


def test_the_schema_of_plans_can_be_had_without_a_goal(here):
    said = here("plan", "--schema")

    assert said.code == 0
    assert "steps" in json.dumps(said.json)


def test_a_plan_that_was_planned_is_executed_as_it_was_printed(here):
    planned = here("plan", "--json", "--quiet", "What is 6 * 7?")

    assert here("check", "-", "--json", stdin=planned.out.encode()).json["levels"] == planned.json["levels"]
    assert here("exec", "-", "--quiet", stdin=planned.out.encode()).out == "6 * 7 = 42\n"


def test_exec_tells_what_is_wrong_with_the_plan_and_with_its_calls_in_one_report(here):
    plan = [{"id": 1, "action": "calculat"}, {"id": 2, "action": "reply", "dependencies": [9]}, {"action": "x"}]
    said = here("exec", "-", "--json", stdin=json.dumps(plan).encode())

    assert said.code == 2
    assert {(p["kind"], p["path"]) for p in said.json["problems"]} == {
        ("unknown_action", "steps[0].action"),
        ("dangling_dependency", "steps[1].dependencies[0]"),
        ("missing_parameter", "steps[1].parameters.message"),
        ("missing_id", "steps[2].id"),
        ("unknown_action", "steps[2].action"),
    }


def test_a_plan_that_is_no_text_is_a_problem_of_the_plan(here):
    for command in ("check", "exec"):
        said = here(command, "-", "--json", stdin=b"\xff\xfe[]")

        assert said.code == 2
        assert [(p["kind"], p["step"]) for p in said.json["problems"]] == [("invalid_json", None)]


@pytest.mark.parametrize(
    "tool",
    [
        "@trouper.tool(timeout=-1)\ndef x(a: int) -> int:\n    return a",
        "@trouper.tool(effect='pure')\ndef x(a: int) -> int:\n    return a",
        "@trouper.tool\ndef x(*a) -> int:\n    return 1",
        "x = trouper.tool(lambda a: a)",
    ],
)
def test_a_tool_that_cannot_be_made_is_looked_for_where_its_author_wrote_it(here, tool):
    (here.cwd / "mine.py").write_text(f"import trouper\n\n{tool}\n")
    said = here("check", "-", "--tools", "mine:x", stdin=GOOD.encode())

    assert said.code == 2
    assert f"failed at {here.cwd / 'mine.py'}:3: " in said.err


@pytest.mark.parametrize(
    ("value", "words"),
    [("5", "that is an int, not a tool"), ("[str]", "item 0 is the class str, not a tool"), ("print", "@trouper.tool")],
)
def test_what_is_no_tool_is_told(here, value, words):
    (here.cwd / "mine.py").write_text(f"x = {value}\n")
    said = here("check", "-", "--tools", "mine:x", stdin=GOOD.encode())

    assert (said.code, said.out) == (2, "")
    assert words in said.err

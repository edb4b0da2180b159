"""What is wrong with the command line itself is said at once, in one message, with exit code 2."""

from __future__ import annotations

import pytest

COMMANDS = ("run", "plan", "check", "exec", "runs", "show", "approve", "resume", "remember", "recall", "demo", "doctor")


def test_each_command_says_what_it_is_for(here):
    said = here("--help")

    assert said.code == 0
    assert all(f"\n  {name} " in said.out for name in COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run"], "Missing argument 'GOAL...'"),
        (["plan"], "Missing argument 'GOAL'"),
        (["bogus"], "No such command 'bogus'"),
        (["run", "x", "--timeout", "0"], "not a positive number of seconds"),
        (["run", "x", "--timeout", "nan"], "not a positive number of seconds"),
        (["run", "x", "--timeout", "soon"], "not a valid float"),
        (["run", "x", "--workdir", "nowhere"], "does not exist"),
        (["run", "x", "--quiet", "-v"], "contradict each other"),
        (["run", "-", "-"], "can be given once"),
        (["plan", "x", "--json", "--mermaid"], "give one of"),
        (["plan", "--schema", "--tools", "a:b"], "stands alone"),
        (["plan", "--schema", "x"], "stands alone"),
        (["recall", "x", "-k", "0"], "0 is not in the range"),
        (["recall", " "], "the query is empty"),
        (["remember", "-", "x"], "stands alone"),
        (["remember", " "], "nothing to remember"),
        (["demo", "--dir", ".", "--keep"], "not for --dir"),
        (["demo", "--dir", "nowhere"], "not a directory"),
        (["check", "x.json", "--timeout", "3"], "No such option"),
        (["recall", "x", "--tools", "a:b"], "No such option"),
        (["run", "caf\udce9"], "is not utf-8 text"),
    ],
)
def test_a_wrong_option_is_one_message_and_exit_2(here, arguments, words):
    said = here(*arguments)

    assert said.code == 2
    assert said.out == ""
    assert words in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (b"", "there is no goal on standard input"),
        (b"\n  \n", "there is no goal on standard input"),
        (b"caf\xe9\n", "standard input is not UTF-8 text (byte 3)"),
    ],
)
def test_goals_from_standard_input_must_be_there_and_be_text(here, given, words):
    said = here("run", "-", stdin=given)

    assert (said.code, said.out) == (2, "")
    assert words in said.err


# ------------------------------------------------------------------ configuration
CONFIG = """\
planner:
  mode: rulez
performance:
  caching:
    tool_catalog: "false"
  paralel_execution: {}
"""


def test_all_mistakes_of_a_configuration_are_reported_each_with_its_path_line_and_near_key(here):
    (here.cwd / "mine.yaml").write_text(CONFIG)

    said = here("run", "What is 2+2?", "--config", "mine.yaml")

    assert (said.code, said.out) == (2, "")
    assert "mine.yaml has 3 mistakes" in said.err
    assert "line 2: planner.mode" in said.err
    assert "line 5: performance.caching.tool_catalog: needs true or false" in said.err
    assert "line 6: performance.paralel_execution" in said.err
    assert "did you mean 'performance.parallel_execution'?" in said.err


def test_under_json_the_mistakes_of_a_configuration_are_data(here):
    (here.cwd / "mine.yaml").write_text(CONFIG)

    said = here("doctor", "--config", "mine.yaml", "--json")

    assert said.code == 2
    assert said.json["ok"] is False
    assert [(p["path"], p["line"]) for p in said.json["problems"]] == [
        ("planner.mode", 2),
        ("performance.caching.tool_catalog", 5),
        ("performance.paralel_execution", 6),
    ]


@pytest.mark.parametrize("command", [["run", "x"], ["plan", "x"], ["recall", "x"], ["remember", "x"], ["doctor"]])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--set", "run.timeout=-1"], "run.timeout: must be more than 0"),
        (["--set", "run"], "must have the form a.b.c=value"),
        (["--config", "nowhere.yaml"], "there is no such file"),
        (["--set", "planner.mode=llm"], "llm needs a model"),
    ],
)
def test_every_command_refuses_a_wrong_configuration(here, command, options, words):
    said = here(*command, *options)

    assert (said.code, said.out) == (2, "")
    assert words in said.err


# ------------------------------------------------------------------ tools
TOOLS = """\
import trouper

@trouper.tool
def shout(text: str) -> str:
    "Say it louder."
    return text.upper()

def plain(text): ...

tools = [shout]
mixed = [shout, plain]
empty = []
"""


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("my_tools", "write it as module:attribute"),
        ("./my_tools.py:tools", "write it as module:attribute"),
        ("my_tools:", "write it as module:attribute"),
        ("no_such_module:tools", "there is no module 'no_such_module'"),
        ("my_tools:tolls", "did you mean 'tools'?"),
        ("my_tools:plain", "put @trouper.tool above it"),
        ("my_tools:mixed", "item 1 is a function"),
        ("my_tools:empty", "that list is empty"),
        ("raises:tools", "raises.py:2: ValueError: broken on purpose"),
        ("leaves:tools", "SystemExit: 3"),
        ("wants:tools", "No module named 'not_installed_anywhere'"),
        ("torn:tools", "SyntaxError"),
    ],
)
def test_a_tool_that_cannot_be_loaded_is_one_clear_message(here, spec, words):
    (here.cwd / "my_tools.py").write_text(TOOLS)
    (here.cwd / "raises.py").write_text("x = 1\nraise ValueError('broken on purpose')\n")
    (here.cwd / "leaves.py").write_text("raise SystemExit(3)\n")
    (here.cwd / "wants.py").write_text("import not_installed_anywhere\n")
    (here.cwd / "torn.py").write_text("tools = [\n")
    (here.cwd / "plan.json").write_text('[{"id": 1, "action": "shout", "parameters": {"text": "a"}}]')

    said = here("check", "plan.json", "--tools", spec)

    assert (said.code, said.out) == (2, "")
    assert f"--tools {spec}: " in said.err
    assert words in said.err
    assert "Traceback" not in said.err


def test_a_tool_or_a_list_of_tools_in_the_current_directory_is_found(here):
    (here.cwd / "my_tools.py").write_text(TOOLS)
    (here.cwd / "plan.json").write_text('[{"id": 1, "action": "shout", "parameters": {"text": "a"}}]')

    one = here("check", "plan.json", "--tools", "my_tools:shout")
    several = here("check", "plan.json", "--tools", "my_tools:tools")

    assert (one.code, several.code) == (0, 0)


def test_two_tools_of_one_name_are_refused(here):
    (here.cwd / "my_tools.py").write_text(TOOLS)
    (here.cwd / "other.py").write_text(TOOLS)
    (here.cwd / "plan.json").write_text('[{"id": 1, "action": "shout", "parameters": {"text": "a"}}]')

    said = here("check", "plan.json", "--tools", "my_tools:shout", "--tools", "other:shout")

    assert said.code == 2
    assert "there is already a tool called 'shout'" in said.err


def test_the_current_directory_does_not_hide_libraries_that_are_imported_later(here):
    """It is looked through first for the tools' own module only."""
    (here.cwd / "my_tools.py").write_text(TOOLS)
    (here.cwd / "this_could_be_rich.py").write_text("")
    (here.cwd / "plan.json").write_text('[{"id": 1, "action": "shout", "parameters": {"text": "a"}}]')

    here("check", "plan.json", "--tools", "my_tools:shout")

    import sys

    assert sys.path[-1] == str(here.cwd)
    assert sys.path[0] != str(here.cwd)

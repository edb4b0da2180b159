"""`trouper run` and `trouper exec` as a user has them: a process, its two outputs, its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.io

TOOLS = """\
import subprocess
import trio
import trouper

@trouper.tool(effect=trouper.Effect.PURE)
async def slow(seconds: float) -> dict:
    "Take some time."
    await trio.sleep(seconds)
    return {"slept": seconds}

@trouper.tool
def noisy(text: str) -> str:
    "Print, and have a child print."
    print("NOISE FROM THE TOOL")
    subprocess.run(["echo", "NOISE FROM ITS CHILD"], check=True)
    return text.upper()

@trouper.tool
def broken() -> str:
    "Fail."
    raise ValueError("the boiler is cold")

tools = [slow, noisy, broken]
"""


def write_plan(user, *steps: dict, name: str = "plan.json") -> str:
    (user.cwd / name).write_text(json.dumps([{"id": n, **step} for n, step in enumerate(steps, 1)]))
    (user.cwd / "my_tools.py").write_text(TOOLS)
    return name


def exec_plan(user, *steps: dict, options: tuple[str, ...] = ()):
    return user("exec", write_plan(user, *steps), "--tools", "my_tools:tools", *options)


# ------------------------------------------------------------------ the result
def test_run_writes_the_report_and_says_so_and_stdout_has_nothing_else(user):
    (user.cwd / "src").mkdir()
    (user.cwd / "src" / "one.py").write_text("# TODO: first\nx = 1\n# TODO: second\n")

    said = user("run", "Find every TODO in the Python files under src and write a report to todo.md")

    assert said.code == 0
    assert said.err.splitlines()[0].startswith("planner: rules (")
    assert "[EXECUTOR] Executing level 0 with 1 steps" in said.err
    assert "todo.md" in said.out
    assert "[" not in said.out.replace("[TODO]", "")
    report = (user.cwd / "todo.md").read_text()
    assert "first" in report
    assert "second" in report


def test_goals_share_one_troupe_and_are_answered_in_order(user):
    said = user("run", "What is 2+3?", "What is 20*3?")

    assert said.code == 0
    first, second = said.out.splitlines()
    assert first.endswith("5")
    assert second.endswith("60")
    assert said.err.count("planner: ") == 1
    assert said.err.count("[TOOL CATALOG] Built catalog") == 1
    assert said.err.count("[TOOL CATALOG] Using cached catalog") == 1


def test_goals_from_standard_input_give_one_json_line_each(here):
    said = here("run", "-", "--json", stdin=b"What is 2+3?\n\nWhat is 20*3?\n")

    assert said.code == 0
    assert [line["goal"] for line in said.lines] == ["What is 2+3?", "What is 20*3?"]
    assert [line["status"] for line in said.lines] == ["success", "success"]
    assert said.err.count("[TOOL CATALOG] Built catalog") == 1
    assert said.err.count("[TOOL CATALOG] Using cached catalog") == 1


def test_of_several_goals_the_worst_counts_and_the_others_are_done(here):
    said = here("run", "--json", "What is 2+3?", "Delete everything", "What is 20*3?")

    assert said.code == 2
    first, refused, last = said.lines
    assert refused["ok"] is False
    assert refused["refusal"].keys() == {"reason", "unexplained", "patterns"}
    assert (first["status"], last["status"]) == ("success", "success")


def test_run_json_has_the_documented_shape(here):
    said = here("run", "--json", "What is 2+3?").json

    assert said.keys() >= {
        "run_id", "status", "answer", "attempts", "plan", "levels", "steps", "verdicts", "usage", "error",
    }  # fmt: skip
    (step,) = said["steps"].values()
    assert step.keys() >= {
        "action", "status", "attempts", "fallback", "parameters", "result", "error", "started", "ended",
    }  # fmt: skip
    assert said["levels"] == [[1]]
    assert 0 <= step["started"] <= step["ended"]


def test_exec_runs_a_plan_from_standard_input_with_references_resolved(here):
    (here.cwd / "my_tools.py").write_text(TOOLS)
    plan = [
        {"id": 1, "action": "slow", "parameters": {"seconds": 0.01}},
        {"id": 2, "action": "noisy", "parameters": {"text": "slept $step1.slept s"}},
    ]

    said = here("exec", "-", "--json", "--tools", "my_tools:tools", stdin=json.dumps(plan).encode())

    assert said.code == 0
    assert said.json["steps"]["2"]["parameters"] == {"text": "slept 0.01 s"}
    assert said.json["steps"]["2"]["result"] == "SLEPT 0.01 S"


def test_what_tools_and_their_children_print_goes_to_stderr(user):
    said = exec_plan(user, {"action": "noisy", "parameters": {"text": "a"}}, options=("--json",))

    assert said.json["status"] == "success"
    assert "NOISE FROM THE TOOL" in said.err
    assert "NOISE FROM ITS CHILD" in said.err


def test_quiet_leaves_stderr_to_what_goes_wrong(here):
    fine = here("run", "--quiet", "What is 2+3?", "What is 2+4?")
    wrong = exec_plan(here, {"action": "broken"}, options=("--quiet",))

    assert fine.err == ""
    assert wrong.code == 1
    assert len(wrong.err.splitlines()) == 1
    assert "the boiler is cold" in wrong.err


def test_a_reader_that_goes_away_is_no_error(user):
    process = user.start("run", "What is 2+3?", "What is 2+4?")
    process.stdout.close()
    with process.stderr:
        err = process.stderr.read().decode()

    assert process.wait(60) == 0
    assert "Traceback" not in err
    assert "Broken pipe" not in err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")  # noqa: PTH110 - no file to open
def test_a_result_that_cannot_be_written_is_said(user):
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
        process = user.start("run", "--quiet", "What is 2+3?", stdout=full)
        _, err = process.communicate(timeout=120)

    assert process.returncode == 1
    assert b"could not be written to standard output" in err
    assert b"Traceback" not in err


# ------------------------------------------------------------------ exit codes
def test_a_failed_run_is_1_and_says_which_step_and_why(user):
    said = exec_plan(user, {"action": "broken"}, {"action": "noisy", "parameters": {"text": "$step1"}})

    assert (said.code, said.out) == (1, "")
    assert "step 1 (broken)" in said.err
    assert "ValueError: the boiler is cold" in said.err
    assert "Traceback" not in said.err


def test_a_failure_that_the_plan_tolerates_is_success(here):
    steps = {"action": "broken", "critical": False}, {"action": "noisy", "parameters": {"text": "fine"}}

    said = exec_plan(here, *steps, options=("--json",))

    assert (said.code, said.json["status"]) == (0, "success_with_failures")
    assert "the boiler is cold" in said.err


def test_a_deadline_is_124(user):
    said = exec_plan(user, {"action": "slow", "parameters": {"seconds": 100}}, options=("--timeout", "0.3", "--json"))

    assert said.code == 124
    assert (said.json["status"], said.json["error"]["kind"]) == ("failed", "deadline")
    assert "within 0.3 s" in said.err


@pytest.mark.parametrize(
    ("plan", "kind"),
    [
        ([{"id": 1, "action": "slwo"}], "unknown_action"),
        (
            [{"id": 1, "action": "noisy", "dependencies": [2]}, {"id": 2, "action": "noisy", "dependencies": [1]}],
            "cycle",
        ),
        ([{"id": 1, "action": "noisy", "parameters": {"text": "$step9"}}], "dangling_dependency"),
    ],
)
def test_a_plan_that_cannot_be_run_is_2_before_anything_runs(here, plan, kind):
    (here.cwd / "my_tools.py").write_text(TOOLS)
    (here.cwd / "plan.json").write_text(json.dumps(plan))

    said = here("exec", "plan.json", "--tools", "my_tools:tools", "--json")

    assert said.code == 2
    assert kind in [p["kind"] for p in said.json["problems"]]
    assert "Executing" not in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    "goal",
    [
        pytest.param(b" \t", id="empty"),
        pytest.param(b"Find " + b"a" * 1_000_000, id="1 MB"),
        pytest.param(b"Rename the oldest file", id="not understood"),
    ],
)
def test_a_goal_that_is_refused_is_2_and_one_message(here, goal):
    arguments = ["run", goal.decode()] if len(goal) < 100 else ["run", "-"]

    said = here(*arguments, "--quiet", stdin=goal)

    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("trouper: the goal was refused: ")
    assert len(said.err) < 5000


# ------------------------------------------------------------------ writing
@pytest.mark.parametrize(
    ("path", "options", "words"),
    [
        ("a_file/report.md", (), "a_file"),
        ("../outside.md", (), "permissions.outside"),
        ("new.md", ("--set", "permissions.write=deny"), "permissions.write"),
        ("a_file", (), "permissions.overwrite"),
    ],
)
def test_what_may_not_be_written_is_not_and_the_message_says_why(here, path, options, words):
    (here.cwd / "a_file").write_text("as it was")
    before = sorted(p.name for p in here.cwd.parent.rglob("*.md"))
    step = {"action": "write_file", "parameters": {"path": path, "content": "new"}}

    said = exec_plan(here, step, options=options)

    assert (said.code, said.out) == (1, "")
    assert words in said.err
    assert "Traceback" not in said.err
    assert (here.cwd / "a_file").read_text() == "as it was"
    assert sorted(p.name for p in here.cwd.parent.rglob("*.md")) == before


def test_workdir_is_where_tools_work(here):
    (here.cwd / "there").mkdir()
    step = {"action": "write_file", "parameters": {"path": "new.md", "content": "new"}}

    said = exec_plan(here, step, options=("--workdir", "there"))

    assert said.code == 0
    assert (here.cwd / "there" / "new.md").read_text() == "new"
    assert not (here.cwd / "new.md").exists()


# ------------------------------------------------------------------ -v
def test_v_shows_the_debug_log_and_the_traceback_of_an_error(here):
    plain = here("exec", "nowhere.json")
    verbose = here("exec", "nowhere.json", "-v")

    assert (plain.code, verbose.code) == (2, 2)
    assert "Traceback" not in plain.err
    assert "Traceback" in verbose.err


# ------------------------------------------------------------------ start
HEAVY = ("openai", "numpy", "faiss", "httpx2", "yaml", "rich", "wordllama", "tokenizers", "simpleeval", "sqlite3")


def imported_by(user, *arguments: str) -> set[str]:
    command = [sys.executable, "-X", "importtime", "-m", "trouper", *arguments]
    done = subprocess.run(command, cwd=user.cwd, env=user.environ, capture_output=True, text=True, check=True)
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}


def test_help_imports_click_and_no_command(user):
    imported = imported_by(user, "--help")

    assert "click" in imported
    assert not imported & {*HEAVY, "trio", "attrs"}
    assert {name for name in imported if name.startswith("trouper.")} <= {
        "trouper._version",
        "trouper.adapters",
        "trouper.adapters.cli",
    }


def test_check_imports_nothing_heavy_and_no_actor(user):
    write_plan(user, {"action": "noisy"})

    imported = imported_by(user, "check", "plan.json")

    assert "click" in imported
    assert not imported & {*HEAVY, "trouper.actors.troupe", "trouper.actors.executor", "trouper.adapters.config_model"}


def test_a_file_beside_the_tools_takes_the_place_of_nothing_that_trouper_imports(user):
    """What the face imports when a name of it is used is not looked for there."""
    write_plan(user, {"action": "noisy"})
    (user.cwd / "mine.py").write_text("from trouper import open_troupe, tool\n@tool\nasync def noisy(): ...\n")
    (user.cwd / "secrets.py").write_text("raise SystemExit('taken')")
    command = [sys.executable, "-P", "-m", "trouper", "check", "--tools", "mine:noisy", "plan.json"]

    done = subprocess.run(command, cwd=user.cwd, env=user.environ, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")

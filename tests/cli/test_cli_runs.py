"""What the journal holds, through the commands: `runs`, `show`, `approve`, `resume`, and the report after a run."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.cli.test_cli_terminal import Terminal

pytestmark = pytest.mark.io

TOOLS = """\
from pathlib import Path
import trio
import trouper

@trouper.tool(effect=trouper.Effect.PURE)
async def slow(seconds: float) -> dict:
    "Take some time."
    await trio.sleep(seconds)
    return {"slept": seconds}

@trouper.tool
async def send(text: str) -> str:
    "Write a line of what was sent."
    with Path("sent.txt").open("a") as file:
        file.write(text + "\\n")
    return text

@trouper.tool
async def broken() -> str:
    "Fail."
    raise ValueError("the boiler is cold")

tools = [slow, send, broken]
"""
TOOL = ("--tools", "my_tools:tools")
SLOW = {"action": "slow", "parameters": {"seconds": 0.02}}
SEND = {"action": "send", "parameters": {"text": "slept $step1.slept"}, "approval": "May I send it?"}


def write_plan(who, *steps: dict, name: str = "plan.json") -> str:
    (who.cwd / name).write_text(json.dumps([{"id": n, **step} for n, step in enumerate(steps, 1)]))
    (who.cwd / "my_tools.py").write_text(TOOLS)
    return name


def exec_plan(who, *steps: dict, options: tuple[str, ...] = ()):
    return who("exec", write_plan(who, *steps), *TOOL, *options)


def suspended(here) -> str:
    """The name of a run that waits for leave to send."""
    said = exec_plan(here, SLOW, SEND, options=("--json",))
    assert said.json["status"] == "waiting", said
    return said.json["run_id"]


def sent(who) -> list[str]:
    file = who.cwd / "sent.txt"
    return file.read_text().splitlines() if file.exists() else []


# ------------------------------------------------------------------ the report
def test_after_a_run_stderr_has_a_gantt_with_the_critical_path(here):
    steps = (
        {"action": "slow", "parameters": {"seconds": 0.05}},
        {"action": "slow", "parameters": {"seconds": 0.2}},
        {**SLOW, "dependencies": [2]},
    )

    said = exec_plan(here, *steps)

    assert said.code == 0
    gantt = [line for line in said.err.splitlines() if re.match(r"[* ] +\d slow +\|[ .#=]+\| ", line)]
    assert sorted(line[:3] for line in gantt) == ["  1", "* 2", "* 3"]
    assert "critical path: 2 -> 3" in said.err
    assert "|" not in said.out


def test_a_flag_that_would_have_helped_is_named_with_the_seconds(here):
    one = ("--set", "performance.parallel_execution.max_parallel_steps=1")

    said = exec_plan(here, *[{"action": "slow", "parameters": {"seconds": 0.3}}] * 3, options=one)

    found = re.search(r"would have helped: .*max_parallel_steps: [23] \(-(\d+\.\d+) s, \d+%\)", said.err)
    assert found, said.err
    assert float(found[1]) >= 0.5  # two of three waits; where the machine was busy in one of them, two slots may do


@pytest.mark.parametrize("option", ["--quiet", "--json"])
def test_no_report_is_printed_where_nobody_wants_to_read_it(here, option):
    said = exec_plan(here, SLOW, options=(option,))

    assert said.code == 0
    assert "critical path" not in said.err


# ------------------------------------------------------------------ runs
def test_runs_lists_the_last_run_first_with_what_it_came_to(here):
    exec_plan(here, SLOW, {"action": "broken", "dependencies": [1]}, SLOW)
    here("run", "What is 2+3?")

    said = here("runs")

    assert said.code == 0
    head, second, first = said.out.splitlines()
    assert head.split() == ["RUN", "WHEN", "STATUS", "STEPS", "CALLS", "TOKENS", "COST", "GOAL"]
    assert re.search(r"^run-\w+ .* success +1/1 +0 +0 +What is 2\+3\?$", second)
    assert re.search(r"^run-\w+ .* failed +2/3 .*slow, broken, slow", first)


def test_runs_as_json_has_what_was_spent(here):
    here("run", "What is 2+3?")

    [run] = here("runs", "--json").json["runs"]

    assert run.keys() >= {"run_id", "created", "status", "goal", "steps", "calls", "tokens", "cost", "rate_limited"}
    assert (run["status"], run["goal"], run["steps"]) == ("success", "What is 2+3?", {"ok": 1})
    assert run["created"] > 1_700_000_000


def test_only_so_many_runs_are_listed_as_are_asked_for(here):
    here("run", "What is 2+3?", "What is 2+4?", "What is 2+5?", "--quiet")

    assert [run["goal"] for run in here("runs", "-n", "2", "--json").json["runs"]] == ["What is 2+5?", "What is 2+4?"]


def test_no_runs_is_said_and_is_no_error(here):
    said = here("runs")

    assert (said.code, said.out) == (0, "")
    assert "there are no runs in" in said.err
    assert here("runs", "--json").json == {"runs": []}


def test_a_goal_that_was_refused_is_no_run_that_could_be_gone_on_with(here):
    here("run", "Rename the oldest file", "--quiet")

    assert [run["status"] for run in here("runs", "--json").json["runs"]] in ([], ["failed"])
    assert here("resume").code == 2


def test_only_the_last_runs_are_kept_and_their_files_are_private(here):
    for n in range(4):
        here("run", f"What is {n}+3?", "--quiet", "--set", "journal.keep=2")

    files = list((here.cwd.parent / "state" / "trouper" / "runs").iterdir())
    assert len(files) == 2
    if sys.platform != "win32":
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_a_file_that_is_damaged_hides_no_other_run(here):
    here("run", "What is 2+3?", "What is 2+4?", "--quiet", "--set", "journal.path=runs")
    first, _ = sorted((here.cwd / "runs").iterdir())
    first.write_text(first.read_text().replace('"record":"PlanReady"', '"record":"Plan"').replace("RunEnded", "RunE"))

    said = here("runs", "--set", "journal.path=runs")

    assert said.code == 0
    assert "success" in said.out
    assert "unreadable" in said.out


def test_a_place_that_cannot_be_written_fails_the_run_and_says_which_key_to_change(here):
    (here.cwd / "file").write_text("")

    said = here("run", "What is 2+3?", "--set", "journal.path=file/runs")

    assert said.code == 1
    assert "journal.path" in said.err
    assert "Traceback" not in said.err


def test_the_demo_leaves_the_users_runs_alone(here):
    here("demo", "--quiet")

    assert here("runs", "--json").json == {"runs": []}


# ------------------------------------------------------------------ show
def test_show_prints_the_report_again_on_stdout(here):
    said = exec_plan(here, SLOW, {**SLOW, "dependencies": [1]})
    [run] = here("runs", "--json").json["runs"]

    shown = here("show", run["run_id"])

    report = said.err[said.err.index("step ") :]
    assert shown.code == 0
    assert shown.err == ""
    assert shown.out.endswith(report)
    assert shown.out.startswith(f"{run['run_id']}  success  ")


def test_show_as_json_is_the_outcome(here):
    outcome = exec_plan(here, SLOW, {"action": "broken"}, options=("--json",)).json

    shown = here("show", outcome["run_id"], "--json").json

    assert {key: shown[key] for key in outcome} == outcome
    assert shown["state"] == "ended"


def test_show_draws_the_plan_with_the_state_of_each_step(here):
    run_id = exec_plan(here, SLOW, {"action": "broken", "dependencies": [1]}, options=("--json",)).json["run_id"]

    drawn = here("show", run_id, "--mermaid").out.splitlines()

    assert drawn[0] == "graph TD"
    assert "  s1 --> s2" in drawn
    assert "  class s1 ok" in drawn
    assert "  class s2 failed" in drawn


def test_the_beginning_of_a_name_is_enough_if_it_is_the_only_one(here):
    ids = [exec_plan(here, SLOW, options=("--json",)).json["run_id"] for _ in range(2)]

    assert here("show", ids[0][:-1]).out.startswith(ids[0])
    several = here("show", "run-")
    assert several.code == 2
    assert "the beginning of 2 runs" in several.err
    nobody = here("show", "nobody")
    assert nobody.code == 2
    assert ids[1] in nobody.err


def test_no_secret_is_shown(here):
    (here.cwd / "more.py").write_text(
        'import trouper\n@trouper.tool\ndef login(password: str) -> str:\n    "Log in."\n    return "in"\n'
    )
    plan = write_plan(here, {"action": "login", "parameters": {"password": "hunter22"}})
    run_id = here("exec", plan, "--tools", "more:login", "--json").json["run_id"]

    shown = here("show", run_id, "--json")

    assert "hunter22" not in shown.out
    assert shown.json["steps"]["1"]["parameters"] == {"password": "[secret]"}


# ------------------------------------------------------------------ waiting for a person
def test_a_run_that_waits_is_3_and_says_what_it_asks_and_how_to_answer(here):
    said = exec_plan(here, SLOW, SEND)

    assert (said.code, said.out) == (3, "")
    assert "step 2: May I send it?" in said.err
    [approve] = re.findall(r"trouper (approve run-\w+ 2)", said.err)
    [resume] = re.findall(r"trouper (resume .*)", said.err)
    assert sent(here) == []

    assert here(*shlex.split(approve)).code == 0
    done = here(*shlex.split(resume))

    assert done.code == 0
    assert sent(here) == ["slept 0.02"]


def test_an_answer_lets_the_step_run_once_and_finished_steps_are_not_run_again(here):
    run_id = suspended(here)

    said = here("approve", run_id, "2", "--note", "go on")
    done = here("resume", run_id, *TOOL, "--json")
    again = here("resume", run_id, *TOOL, "--json")

    assert said.out == f"Step 2 of {run_id} may run.\n"
    assert (done.code, done.json["status"], done.json["run_id"]) == (0, "success", run_id)
    assert done.json["steps"]["1"]["attempts"] == 1
    assert again.json["steps"] == done.json["steps"]
    assert sent(here) == ["slept 0.02"]


def test_no_is_an_answer(here):
    run_id = suspended(here)

    declined = here("approve", run_id, "2", "--no", "--note", "not today", "--json").json
    done = here("resume", run_id, *TOOL, "--json")

    assert declined == {"ok": True, "run_id": run_id, "step": 2, "approved": False, "questions": []}
    assert (done.code, done.json["status"]) == (1, "failed")
    assert "not today" in done.json["steps"]["2"]["error"]["message"]
    assert sent(here) == []


def test_all_questions_are_asked_together_and_answered_by_step(here):
    steps = ({**SEND, "parameters": {"text": "a"}}, {**SEND, "parameters": {"text": "b"}}, SLOW)
    said = exec_plan(here, *steps, options=("--json",))
    run_id = said.json["run_id"]

    assert [question["step"] for question in said.json["questions"]] == [1, 2]
    assert said.json["steps"]["3"]["status"] == "ok"
    assert "it still asks about step 1" in here("approve", run_id, "2").out
    half = here("resume", run_id, *TOOL, "--json")
    assert (half.code, [question["step"] for question in half.json["questions"]]) == (3, [1])
    assert sent(here) == ["b"]


def test_resume_without_a_name_takes_the_last_run_that_did_not_come_to_its_end(here):
    run_id = suspended(here)
    here("run", "What is 2+3?", "--quiet")
    here("approve", run_id, "2", "--quiet")

    done = here("resume", *TOOL)

    assert done.code == 0
    assert f"run: {run_id}" in done.err
    nothing = here("resume", *TOOL)
    assert nothing.code == 2
    assert "come to its end" in nothing.err


def test_what_is_not_asked_cannot_be_answered(here):
    run_id = suspended(here)

    for arguments, words in (
        ((run_id, "1"), "it asks about step 2"),
        (("nobody", "2"), "there is no run 'nobody'"),
    ):
        said = here("approve", *arguments)
        assert said.code == 2
        assert words in said.err
        assert "Traceback" not in said.err


def test_show_says_what_a_suspended_run_asks(here):
    run_id = suspended(here)

    shown = here("show", run_id)
    here("approve", run_id, "2")
    answered = here("show", run_id, "--json").json

    assert "step 2: May I send it?" in shown.out
    assert f"trouper approve {run_id} 2" in shown.out
    assert (answered["state"], answered["status"], answered["questions"]) == ("suspended", "waiting", [])


@pytest.mark.skipif(sys.platform == "win32", reason="has no pseudo-terminals")
@pytest.mark.parametrize(
    ("typed", "code", "lines"), [(b"y\n", 0, ["slept 0.02"]), (b"\n", 1, [])], ids=["yes", "enter"]
)
def test_a_person_at_the_terminal_is_asked_and_the_run_goes_on(user, typed, code, lines):
    user.environ["TERM"] = "xterm"
    plan = write_plan(user, SLOW, SEND)

    with Terminal(user, "exec", plan, *TOOL, "--set", "run.approval_wait=3600") as terminal:
        terminal.wait_for("May I send it?")
        terminal.wait_for("[y/N] ")
        terminal.type(typed)
        ended, _ = terminal.end()

    assert ended == code
    assert sent(user) == lines
    assert "critical path" in terminal.seen


# ------------------------------------------------------------------ runs that were cut off
PATIENCE = 120.0


@contextlib.contextmanager
def at_work(user, *arguments: str, step: int) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose step is at work; killed at the end of the block if it lives."""
    process = user.start(*arguments, ctrl_c="SIG_DFL")
    folder = user.cwd.parent / "home" / "state" / "trouper" / "runs"
    begun = f'"step":{step},'
    end = time.monotonic() + PATIENCE
    try:
        while not any(begun in file.read_text() for file in folder.glob("*")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end, "the step was never started"
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_run_whose_program_was_killed_is_interrupted_and_can_be_gone_on_with(user):
    plan = write_plan(user, SLOW, {"action": "slow", "parameters": {"seconds": 600}, "dependencies": [1]})
    with at_work(user, "exec", plan, *TOOL, step=2):
        [held] = user("runs", "--json").json["runs"]
        refused = user("resume", held["run_id"], *TOOL)

    [run] = user("runs", "--json").json["runs"]
    shown = user("show", run["run_id"], "--json").json
    late = user("resume", *TOOL, "--timeout", "0.5", "--json")

    assert (held["status"], run["status"]) == ("running", "interrupted")
    assert refused.code == 2
    assert "another program has" in refused.err
    assert (shown["state"], shown["error"]["kind"]) == ("unfinished", "interrupted")
    assert {i: step["status"] for i, step in shown["steps"].items()} == {"1": "ok", "2": "cancelled"}
    assert late.code == 124
    assert late.json["run_id"] == run["run_id"]
    assert late.json["steps"]["1"] == shown["steps"]["1"]


def test_ctrl_c_is_written_down(user):
    plan = write_plan(user, {"action": "slow", "parameters": {"seconds": 600}})
    with at_work(user, "exec", plan, *TOOL, step=1) as process:
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130

    [run] = user("runs", "--json").json["runs"]
    assert run["status"] == "cancelled"


# ------------------------------------------------------------------ budgets
def test_a_budget_on_the_command_line_bounds_the_run(here):
    said = exec_plan(here, SLOW, SLOW, SLOW, options=("--budget", "steps=2", "--json"))

    assert said.code == 1
    assert said.json["error"]["kind"] == "budget"
    assert [step["status"] for step in said.json["steps"].values()].count("ok") == 2


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("tokens", "write NAME=NUMBER"),
        ("token=3", "did you mean tokens?"),
        ("tokens=many", "'many' is not a number"),
        ("steps=1.5", "'1.5' is not a number"),
        ("tokens=0", "tokens"),
        ("cost=-1", "cost"),
        ("seconds=nan", "seconds"),
    ],
)
def test_a_budget_that_is_none_is_refused(here, given, words):
    said = here("run", "What is 2+3?", "--budget", given)

    assert (said.code, said.out) == (2, "")
    assert words in said.err
    assert "Traceback" not in said.err

"""A program that is killed with a ONCE tool in hand: what `show`, `resume` and `approve` say, and what is done."""

from __future__ import annotations

import json
import time

import pytest

POST = """\
import pathlib, time
import trouper
from trouper import Effect

BOX = pathlib.Path("box.txt")


async def looked(parameters, key):
    return BOX.exists() and parameters["to"] in BOX.read_text()


def post(to: str, hang: bool) -> dict[str, str]:
    with BOX.open("a") as file:
        file.write(to + "\\n")
    while hang and not pathlib.Path("go").exists():
        time.sleep(0.01)
    return {"sent_to": to}


@trouper.tool
def send(to: str) -> dict[str, str]:
    return post(to, True)


@trouper.tool(reconcile=looked)
def send_and_look(to: str) -> dict[str, str]:
    return post(to, True)


@trouper.tool(effect=Effect.PURE)
async def note(text: str) -> dict[str, str]:
    return {"noted": text}


tools = [send, send_and_look, note]
"""
TOOLS = ("--tools", "post:tools")
PATIENCE = 120.0


def killed_while_it_sends(user, action: str) -> str:
    """The run whose program was killed; the letter is in the box, and nobody has written that down."""
    (user.cwd / "post.py").write_text(POST)
    plan = [
        {"id": 1, "action": action, "parameters": {"to": "Ann"}},
        {"id": 2, "action": "note", "parameters": {"text": "to $step1.sent_to"}},
        {"id": 3, "action": "note", "parameters": {"text": "beside it"}},
    ]
    (user.cwd / "plan.json").write_text(json.dumps(plan))
    process = user.start("exec", "--quiet", *TOOLS, "plan.json")
    box, end = user.cwd / "box.txt", time.monotonic() + PATIENCE
    try:
        while not (box.exists() and box.read_text()):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end, "nothing was sent"
            time.sleep(0.02)
    finally:
        process.kill()
        process.communicate()
    (user.cwd / "go").touch()
    [run] = user("runs", "--json").json["runs"]
    return run["run_id"]


def sent(user) -> list[str]:
    return (user.cwd / "box.txt").read_text().split()


@pytest.mark.io
def test_a_killed_run_is_in_doubt_until_a_person_says_what_has_happened(user) -> None:
    run = killed_while_it_sends(user, "send")
    shown = user("show", run, "--json").json
    resumed = user("resume", "--quiet", *TOOLS)
    told = user("resume", "--json", *TOOLS).json
    approved = user("approve", "--quiet", "--result", '{"sent_to": "Ann"}', run, "1")
    done = user("resume", "--json", *TOOLS)

    assert (shown["status"], shown["steps"]["1"]["status"]) == ("in_doubt", "in_doubt")
    assert resumed.code == 3
    assert "the run is in doubt; say what has happened:" in resumed.err
    assert (
        'step 1: Step 1 (send) was in hand with {"to": "Ann"} when the program ended. Has it happened?' in resumed.err
    )
    assert f"trouper approve {run} 1   # it has happened; or with --no" in resumed.err
    assert {i: step["status"] for i, step in told["steps"].items()} == {"1": "in_doubt", "2": "waiting", "3": "ok"}
    assert told["status"] == "in_doubt"
    assert approved.out == f"Step 1 of {run} has happened.\n"
    assert (done.code, done.json["status"]) == (0, "success")
    assert done.json["steps"]["2"]["result"] == {"noted": "to Ann"}
    assert sent(user) == ["Ann"]


@pytest.mark.io
def test_what_has_not_happened_is_done_by_the_next_program(user) -> None:
    run = killed_while_it_sends(user, "send")
    (user.cwd / "box.txt").write_text("")  # the letter was lost
    refused = user("approve", "--no", run, "1.x")
    approved = user("approve", "--quiet", "--no", run, "1")
    done = user("resume", "--json", *TOOLS)

    assert (refused.code, "is no step" in refused.err) == (2, True)
    assert approved.out == f"Step 1 of {run} has not happened.\n"
    assert (done.code, sent(user)) == (0, ["Ann"])


@pytest.mark.io
def test_a_tool_that_can_look_asks_nobody(user) -> None:
    """It finds the letter: the step is done, with no result but that."""
    killed_while_it_sends(user, "send_and_look")
    done = user("resume", "--json", *TOOLS)

    assert done.json["steps"]["1"]["status"] == "ok"
    assert done.json["verdicts"]["1"]["checks"] == ["the tool's reconcile says that it has happened"]
    assert sent(user) == ["Ann"]

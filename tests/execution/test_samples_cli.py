"""Every sample plan through the command line: `check`, and `exec` with a module of tools that a user would write."""

from __future__ import annotations

import json

import pytest

from tests.execution.stage import PLANS, sample
from tests.execution.test_samples_api import BAD, GOOD, NAMES, OUTCOMES, results_of

pytestmark = pytest.mark.io

FAKES = """\
import json
from pathlib import Path

import trio
import trouper

says = json.loads(Path("says.json").read_text())
failed = {}


def fake(action):
    async def verify(parameters, result, evidence):
        return ["it is not so"]

    @trouper.tool(
        name=action,
        effect=trouper.Effect[says["effects"].get(action, "PURE")],
        verify=verify if action in says["refuted"] else None,
    )
    async def call(ctx: trouper.ToolContext, **parameters):
        step = str(ctx.step_id)
        with Path("calls.jsonl").open("a") as calls:
            json.dump({"step": ctx.step_id, "action": action, "key": ctx.idempotency_key}, calls)
            calls.write("\\n")
        await trio.sleep(says["seconds"].get(action, says["seconds"].get(step, 0)))
        failed[step] = failed.get(step, 0) + 1
        if failed[step] <= says["fails"].get(step, 0):
            raise ValueError(f"step {step} fails")
        return says["results"].get(action, says["results"].get(step))

    return call


tools = [fake(action) for action in says["actions"]]
"""


def prepare(here, name: str, **says: object) -> dict:
    """Write the plan, what the tools shall do and the tools into the user's directory; gives the expectation."""
    plan, expected = sample(name)
    steps = plan["steps"] if isinstance(plan, dict) else plan
    actions = {step.get("action") for step in steps if isinstance(step, dict)} | {"cached", "cancel_flight"}
    told = {
        "actions": sorted((actions - {None}) if "catalogue" not in expected else expected["catalogue"]),
        "results": results_of(plan, expected) if OUTCOMES[name] != "error" else {},
        "effects": {},
        "refuted": [],
        "seconds": {},
        "fails": {},
    }
    (here.cwd / "says.json").write_text(json.dumps(told | says))
    (here.cwd / "plan.json").write_text(json.dumps(plan))
    (here.cwd / "fakes.py").write_text(FAKES)
    return expected


def execute(here, *options: str):
    return here("exec", "plan.json", "--tools", "fakes:tools", "--json", "--quiet", *options)


def calls(here) -> list[dict]:
    file = here.cwd / "calls.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def states(said) -> dict[str, str]:
    return {step: one["status"] for step, one in said.json["steps"].items()}


# ------------------------------------------------------------------ check
@pytest.mark.parametrize("name", NAMES)
def test_check_says_what_is_expected(here, name) -> None:
    """Levels and dependencies of a plan that can be run, every problem of one that cannot."""
    expected = prepare(here, name)
    catalogue: tuple[str, ...] = ()
    if "catalogue" in expected:
        (here.cwd / "catalogue.json").write_text(json.dumps(expected["catalogue"]))
        catalogue = ("--catalogue", "catalogue.json")
    said = here("check", "plan.json", "--json", *catalogue)

    if expected["outcome"] == "error":
        assert (said.code, said.json["ok"]) == (2, False)
        assert [[p["kind"], p["step"]] for p in said.json["problems"]] == expected["errors"]
        assert all(p["message"] and isinstance(p["path"], str) for p in said.json["problems"])
        assert expected.get("suggestion", "") in said.out
        assert all(f"$step{missing}" in said.out for missing in expected.get("missing", []))
        assert " -> ".join(map(str, expected.get("cycle", []))) in said.out
        return
    assert (said.code, said.json["ok"]) == (0, True)
    assert said.json["levels"] == expected.get("levels", said.json["levels"])
    assert said.json["dependencies"] == expected.get("deps", said.json["dependencies"])
    assert said.json["steps"] == expected.get("n_steps", said.json["steps"])
    assert len(said.json["levels"]) == expected.get("n_levels", len(said.json["levels"]))
    assert max(map(len, said.json["levels"])) == expected.get("widest", max(map(len, said.json["levels"])))


@pytest.mark.parametrize("name", sorted(p.name.removesuffix(".txt") for p in (PLANS / "raw").glob("*.txt")))
def test_check_reads_raw_planner_text(here, name) -> None:
    """From standard input, prose and fences and all."""
    expected = json.loads((PLANS / "raw" / f"{name}.expect.json").read_text("utf-8"))
    said = here("check", "-", "--json", stdin=(PLANS / "raw" / f"{name}.txt").read_bytes())

    if expected["outcome"] == "error":
        assert said.code == 2
        assert [[p["kind"], p["step"]] for p in said.json["problems"]] == expected["errors"]
    else:
        assert said.code == 0
        assert said.json["levels"] == expected.get("levels", said.json["levels"])


# ------------------------------------------------------------------ exec
@pytest.mark.parametrize("name", [n for n in GOOD if n not in {"85_tool_hangs", "18_retry_timeout_fallback"}])
def test_exec_runs_a_good_plan(here, name) -> None:
    """Levels, states, results and resolved parameters stand in the JSON; the exit code says how it ended."""
    expected = prepare(here, name, fails=dict.fromkeys(sample(name)[1].get("fail", {}), 10**9))
    said = execute(here, "--timeout", "10000")  # some have thousands of steps, and machines are busy

    assert said.json["levels"] == expected.get("levels", said.json["levels"])
    wanted = expected.get("step_status", {})
    if name == "27_conditional_branches":
        wanted = {"1": "ok", "2": "ok", "3": "skipped", "4": "ok"}
    assert states(said) == {step: wanted.get(step, "ok") for step in states(said)}
    failed = expected["outcome"] == "runtime_error"
    assert (said.code, said.json["status"]) == ((1, "failed") if failed else (0, "success"))
    for step, parameters in expected.get("resolved", {}).items():
        assert json.dumps(said.json["steps"][step]["parameters"]) == json.dumps(parameters)
    for step, result in expected.get("fake_results", {}).items():
        if states(said)[step] == "ok":
            assert said.json["steps"][step]["result"] == result
    called = [call["step"] for call in calls(here)]
    assert len(called) == len(set(called))
    assert {str(step) for step in called} >= {step for step, status in states(said).items() if status == "ok"}
    assert not {str(step) for step in called} & {s for s, status in states(said).items() if status == "skipped"}


@pytest.mark.parametrize("name", BAD)
def test_exec_refuses_a_bad_plan_and_calls_no_tool(here, name) -> None:
    """Exit code 2, the same problems as `check`, on stdout with `--json`."""
    expected = prepare(here, name)
    said = execute(here)

    assert (said.code, said.json["ok"]) == (2, False)
    assert [[p["kind"], p["step"]] for p in said.json["problems"]] == expected["errors"]
    assert calls(here) == []


@pytest.mark.parametrize("number", [0, 1, 2])
def test_exec_of_critical_flags(here, number) -> None:
    """Sample 16: a tolerated failure is exit code 0, any other 1."""
    plan, expected = sample("16_critical_flags")
    scenario = expected["scenarios"][number]
    refuted = [step["action"] for step in plan if str(step["id"]) in scenario.get("verify_invalid", [])]
    prepare(here, "16_critical_flags", fails=dict.fromkeys(scenario.get("fail", {}), 10**9), refuted=refuted)
    said = execute(here)

    assert (said.json["status"], said.code) == (scenario["status"], 0 if number == 0 else 1)
    for step, wanted in scenario["step_status"].items():
        assert states(said)[step] in wanted.split("_or_")
    if refuted:
        assert said.json["verdicts"]["4"]["verdict"] == "refuted"


def test_exec_of_retry_timeout_and_fallback(here) -> None:
    """Sample 18: attempts and the fallback's answer are told."""
    results = {"1": {"body": "b1"}, "2": {"body": "late"}, "cached": {"body": "kept"}, "3": "sent"}
    prepare(here, "18_retry_timeout_fallback", fails={"1": 2}, seconds={"slow": 30}, results=results)
    said = execute(here)

    assert (said.code, said.json["status"]) == (0, "success")
    assert said.json["steps"]["1"]["attempts"] == 3
    assert (said.json["steps"]["2"]["fallback"], said.json["steps"]["2"]["result"]) == (True, {"body": "kept"})
    assert said.json["steps"]["3"]["parameters"] == {"message": "b1/kept"}


def test_exec_of_a_tool_that_hangs(here) -> None:
    """Sample 85: the step's own time ends it, the run goes on and ends."""
    prepare(here, "85_tool_hangs", seconds={"1": 10**6})
    said = execute(here)

    assert said.code == 1
    assert states(said) == {"1": "failed", "2": "ok", "3": "skipped"}
    assert said.json["steps"]["1"]["error"]["kind"] == "timeout"
    assert said.json["steps"]["3"]["cause"] == 1


def test_exec_of_the_trip_hands_keys_to_the_tools_and_undoes_when_it_fails(here) -> None:
    """Sample 20: KEYED bookings; the hotel is full; the flight out is cancelled."""
    keyed = dict.fromkeys(["book_flight", "book_hotel", "cancel_flight"], "KEYED")
    prepare(here, "20_trip_booking", effects=keyed, fails={"13": 10**9})
    said = execute(here)
    keys = {call["step"]: call["key"] for call in calls(here) if call["action"] != "cancel_flight"}

    assert (said.code, said.json["status"]) == (1, "failed")
    assert (keys[11], keys[12], keys[13]) == ("flight-out", "flight-back", "hotel")
    assert [c["action"] for c in calls(here)].count("cancel_flight") == 1
    assert said.json["steps"]["11"]["compensation"]["status"] == "ok"
    assert said.json["steps"]["11"]["compensation"]["parameters"] == {"id": "booking of 11"}


def test_exec_reads_raw_planner_text_from_standard_input(here) -> None:
    """Prose and fences around a plan."""
    prepare(here, "01_seed_example", actions=["search", "reply_to_user"], results={"search": {"text": "t"}})
    text = (PLANS / "raw" / "fenced.txt").read_bytes()
    said = here("exec", "-", "--tools", "fakes:tools", "--json", "--quiet", stdin=text)

    assert said.code == 0
    assert said.json["steps"]["2"]["parameters"] == {"message": "t"}


def test_a_process_of_its_own_says_the_same(user) -> None:
    """Not in this process: stdout has the JSON and nothing else."""
    prepare(user, "80_unknown_field_at_run")
    said = execute(user)

    assert said.code == 1
    assert states(said) == {"1": "ok", "2": "failed", "3": "ok"}
    assert said.json["steps"]["2"]["error"]["kind"] == "unknown_field"
    assert {call["step"] for call in calls(user)} == {1, 3}

"""Sample plans through `trouper exec`, with tools of the user's that have the plans' names and give known results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.io

SAMPLES = Path(__file__).parent.parent / "data" / "plans"
FAKES = """\
import json
from pathlib import Path
import trouper

plan = json.loads(Path("plan.json").read_text())
results = json.loads(Path("results.json").read_text())

def fake(action):
    @trouper.tool(name=action, effect=trouper.Effect.PURE)
    async def call(ctx: trouper.ToolContext, **parameters):
        return results.get(str(ctx.step_id))
    return call

steps = plan["steps"] if isinstance(plan, dict) else plan
tools = [fake(action) for action in sorted({step["action"] for step in steps})]
"""


def exec_sample(here, name: str):
    expected = json.loads((SAMPLES / f"{name}.expect.json").read_text("utf-8"))
    (here.cwd / "plan.json").write_text((SAMPLES / f"{name}.json").read_text("utf-8"))
    (here.cwd / "results.json").write_text(json.dumps(expected["fake_results"]))
    (here.cwd / "fakes.py").write_text(FAKES)
    return here("exec", "plan.json", "--tools", "fakes:tools", "--json"), expected


@pytest.mark.parametrize(
    "name", ["02_stock_deck_email", "09_string_templates", "13_falsy_results", "26_injection_in_result"]
)
def test_each_tool_receives_its_parameters_resolved_with_their_types(here, name):
    said, expected = exec_sample(here, name)

    assert (said.code, said.json["status"]) == (0, "success")
    steps = said.json["steps"]
    assert {i: steps[i]["parameters"] for i in expected["resolved"]} == expected["resolved"]
    assert {i: steps[i]["result"] for i in expected["fake_results"]} == expected["fake_results"]
    assert said.json["levels"] == expected["levels"]


def test_a_field_that_is_not_there_fails_its_step_and_never_reaches_the_tool(here):
    said, expected = exec_sample(here, "80_unknown_field_at_run")

    assert said.code == 1
    steps = said.json["steps"]
    assert {i: s["status"] for i, s in steps.items()} == expected["step_status"]
    assert (steps["2"]["error"]["kind"], steps["2"]["parameters"]) == ("unknown_field", None)

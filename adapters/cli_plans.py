"""`trouper plan` and `trouper check`: plans, looked at and not run."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from trouper.runtime import ActionSignature, catalogue_from_json, check_json, parse_plan, plan_schema

from .cli_exit import ExitCode
from .cli_files import read_catalogue, read_plan
from .cli_options import Call, with_options
from .cli_run import checked_text
from .cli_session import Session, in_session, say_planner
from .cli_text import levels_text, plan_text
from .cli_tools import load_tools

if TYPE_CHECKING:
    from trouper.actors.messages import Planned


@click.command()
@click.argument("goal", required=False)
@click.option("--mermaid", is_flag=True, help="The plan as a Mermaid flowchart.")
@click.option("--schema", is_flag=True, help="The JSON Schema of plans, and nothing else.")
@with_options("config", "set", "tools", "timeout", "json", "quiet")
def plan(call: Call, goal: str | None, *, mermaid: bool, schema: bool) -> ExitCode:
    """Plan GOAL and show the plan; nothing is executed."""
    if mermaid + schema + call.as_json > 1:
        raise click.UsageError("give one of --mermaid, --schema and --json.")
    if schema:
        return _show_schema(call, goal)
    if goal is None:
        raise click.UsageError("Missing argument 'GOAL'.")
    return in_session(call, functools.partial(_plan, goal=checked_text(goal, "the goal"), mermaid=mermaid))


@click.command()
@click.argument("plan", metavar="PLAN.json")
@click.option("--catalogue", metavar="FILE", help='Actions to check against: {name: {"required": [...], ...}}.')
@with_options("tools", "json")
def check(call: Call, plan: str, catalogue: str | None) -> ExitCode:
    """Validate a plan (`-`: from standard input) and show its levels.

    The text of a model is fine too. Action names, parameters and output fields are checked against what
    --tools and --catalogue name, if anything.
    """
    parsed = parse_plan(read_plan(plan), catalogue=_known(call, catalogue))
    if call.as_json:
        call.results.json(check_json(parsed))
    else:
        call.results.text(f"ok: {levels_text(parsed)}")
    return ExitCode.SUCCESS


def _known(call: Call, catalogue: str | None) -> Mapping[str, ActionSignature] | None:
    """What the plan may use: the catalogue's actions and the tools', if any were given."""
    if catalogue is None and not call.tools:
        return None
    known = {} if catalogue is None else catalogue_from_json(read_catalogue(catalogue))
    return {**known, **{tool.name: tool.signature() for tool in load_tools(call.tools)}}


def _show_schema(call: Call, goal: str | None) -> ExitCode:
    if goal is not None or call.config_file or call.overrides or call.tools or call.timeout:
        raise click.UsageError("--schema stands alone: it is the schema of any plan, whatever the tools.")
    call.results.text(json.dumps(plan_schema(), indent=2))
    return ExitCode.SUCCESS


async def _plan(session: Session, goal: str, *, mermaid: bool) -> ExitCode:
    say_planner(session)
    planned = await session.in_time(lambda: session.troupe.planned(goal, timeout=session.call.timeout))
    results = session.call.results
    if session.call.as_json:
        results.json(planned_json(planned))
    elif mermaid:
        results.text(planned.plan.as_mermaid().rstrip())
    else:
        results.text(plan_text(planned.plan))
    return ExitCode.SUCCESS


def planned_json(planned: Planned) -> dict[str, object]:
    """What `plan --json` prints."""
    return {
        "ok": True,
        "planner": planned.planner,
        "form": dict(planned.form) if planned.form is not None else None,
        "plan": planned.plan.as_json(),
        "levels": [list(level) for level in planned.plan.levels],
    }

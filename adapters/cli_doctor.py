"""`trouper doctor`: is everything there, and what to do about what is not."""

from __future__ import annotations

import functools

import click

from .cli_exit import ExitCode
from .cli_options import Call, with_options
from .cli_session import configuration
from .cli_signals import run_until_signalled
from .cli_tools import load_tools
from .config_model import Config
from .doctor import REACH, Finding, examine, worst_of

_SIGNS = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}


@click.command()
@click.option("--imports", is_flag=True, help="Also import each package, in a process of its own (some seconds).")
@with_options("config", "set", "workdir", "tools", "timeout", "json")
def doctor(call: Call, *, imports: bool) -> ExitCode:
    """Show what is installed, reachable and writable, and what to do about the rest.

    Exit code 1 if something that is configured does not work, 2 if the configuration itself is wrong.
    --timeout bounds the question to the model's server.
    """
    config = configuration(call)
    own = [Finding(f"tool {tool.name}", "ok", tool.effect.value) for tool in load_tools(call.tools)]
    findings = [*run_until_signalled(functools.partial(_all, call, config, imports=imports)), *own]
    status = worst_of(findings)
    if call.as_json:
        call.results.json({"ok": status != "fail", "findings": [finding.as_json() for finding in findings]})
    else:
        call.results.text("\n".join(_line(finding) for finding in findings))
    return ExitCode.FAILED if status == "fail" else ExitCode.SUCCESS


async def _all(call: Call, config: Config, *, imports: bool) -> list[Finding]:
    source = call.config_file or "the configuration that Trouper ships"
    if call.overrides:
        source += f", with {len(call.overrides)} key{'s' if len(call.overrides) > 1 else ''} from --set"
    looking = examine(config, source=source, workdir=call.workdir, reach=call.timeout or REACH, imports=imports)
    return [finding async for finding in looking]


def _line(finding: Finding) -> str:
    advice = f"\n{'':22}-> {finding.advice}" if finding.advice and finding.status != "ok" else ""
    return f"{_SIGNS[finding.status]}  {finding.name:<14}  {finding.detail}{advice}"

"""The reference pages are complete and true: what the code has stands in them, and nothing else does."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import get_args

import attrs
import click
import pytest

import trouper
import trouper.testing
from tests.docs import speed
from tests.docs.pages import ROOT, headings, prose
from tests.docs.sections import built_in_tools, config_rows, member_cells, option_cells, tool_section
from trouper.actors import model_events, records
from trouper.actors.outcome import Outcome, RunStatus, StepOutcome, StepStatus, VerdictKind
from trouper.actors.rules.grammar import PATTERNS
from trouper.adapters.cli import command_of
from trouper.adapters.cli import trouper as command_line
from trouper.adapters.cli_exit import ExitCode
from trouper.adapters.config_yaml import known_keys
from trouper.runtime import _errors, _events
from trouper.runtime._plan_schema import plan_schema

REFERENCE = ROOT / "docs" / "reference"
HOW_TO = ROOT / "docs" / "how-to"


def text_of(name: str) -> str:
    return (REFERENCE / name).read_text(encoding="utf-8")


def first_cells(page: Path) -> list[str]:
    """What stands in code marks in the first cell of each row of the page's tables."""
    cells = re.findall(r"^\| *(.+?) *\|", prose(page), re.MULTILINE)
    return [word for cell in cells for word in re.findall(r"`([^`]+)`", cell)]


# ------------------------------------------------------------------ configuration
def test_every_key_of_the_configuration_is_in_its_page_with_default_and_range() -> None:
    page = text_of("config.md")
    assert [row for _, row in config_rows() if row not in page] == []


def test_the_configuration_page_has_no_key_that_is_not_there() -> None:
    assert sorted(first_cells(REFERENCE / "config.md")) == sorted(known_keys())


# ------------------------------------------------------------------ tools
@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, trouper.Tool]:
    return built_in_tools(str(tmp_path_factory.mktemp("memory") / "memory.sqlite"))


@pytest.mark.io
def test_every_built_in_tool_is_in_its_page_as_it_is(tools: Mapping[str, trouper.Tool]) -> None:
    """Description, effect, permission, every parameter with type and default, every field of the result."""
    page = text_of("tools.md")
    assert [tool.name for tool in tools.values() if tool_section(tool) not in page] == []


@pytest.mark.io
def test_the_tools_page_has_no_tool_that_is_not_there(tools: Mapping[str, trouper.Tool]) -> None:
    assert [h.strip("`") for h in headings(REFERENCE / "tools.md")[1:]] == list(tools)


# ------------------------------------------------------------------ the command line
def commands() -> Mapping[str, click.Command]:
    return {name: command_of(name) for name in command_line.commands}


def options_of(command: click.Command) -> set[str]:
    return {name for p in command.params if isinstance(p, click.Option) for name in p.opts}


def test_every_command_is_in_the_page_and_no_other() -> None:
    section = prose(REFERENCE / "cli.md").partition("## Commands")[2].partition("##")[0]
    named = re.findall(r"^\| `(\w+)", section, re.MULTILINE)
    assert sorted(named) == sorted(commands())


def test_every_common_option_is_listed_with_exactly_its_commands() -> None:
    page = prose(REFERENCE / "cli.md")
    common = page.partition("## Common options")[2].partition("\n## ")[0]
    own = page.partition("## Options of one command")[2].partition("\n## ")[0]
    told: dict[str, set[str]] = {name: set() for name in commands()}
    for names, who in re.findall(r"^\| (`-.+?`) \| (.+?) \|", common + own, re.MULTILINE):
        takers = set(commands()) if who == "every command" else set(re.findall(r"`(\w+)`", who)) & set(commands())
        for taker in takers:
            told[taker] |= {name.split()[0] for name in re.findall(r"`(-[^`]+)`", names)}
    assert told == {name: options_of(command) for name, command in commands().items()}


def test_every_exit_code_is_in_the_page() -> None:
    section = prose(REFERENCE / "cli.md").partition("## Exit codes")[2].partition("##")[0]
    assert {int(n) for n in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)} == {int(code) for code in ExitCode}


# ------------------------------------------------------------------ plans
def test_every_kind_of_problem_is_in_the_plan_page_and_no_other() -> None:
    section = prose(REFERENCE / "plan.md").partition("## Kinds of problems")[2].partition("\n##")[0]
    named = re.findall(r"^\| `(\w+)`", section, re.MULTILINE)
    assert sorted(named) == sorted(get_args(_errors.ProblemKind))


def test_every_key_of_a_step_is_in_the_plan_page() -> None:
    step = plan_schema()["$defs"]["plan_step"]["properties"]  # type: ignore[index]  # plain JSON
    section = prose(REFERENCE / "plan.md").partition("## A step")[2].partition("\n##")[0]
    table = {w for cell in re.findall(r"^\| (`.+?`) \|", section, re.MULTILINE) for w in re.findall(r"`(\w+)`", cell)}
    assert table == set(step)


# ------------------------------------------------------------------ outcomes
def test_every_field_and_status_of_an_outcome_is_in_its_page() -> None:
    known = set(first_cells(REFERENCE / "outcome.md"))
    wanted = {str(s.value) for kind in (RunStatus, StepStatus) for s in kind}
    wanted |= set(Outcome(run_id="r", status=RunStatus.SUCCESS).as_json())
    wanted |= {a.name for a in attrs.fields(StepOutcome)} - {"id"}
    assert wanted - known == set()
    page = text_of("outcome.md")
    assert [kind.value for kind in VerdictKind if f"`{kind.value}`" not in page] == []


# ------------------------------------------------------------------ the kernel and the Python face
PURE = (
    "_breaker",
    "_bucket",
    "_rate_books",
    "_rate_line",
    "_rate_limits",
    "_rate_queue",
    "_rate_reports",
    "_rate_statistics",
    "_server_limits",
    "_budget",
    "_condition",
    "_for_each",
    "_plan",
    "_plan_schema",
    "_plan_stream",
    "_ready",
    "_refs",
    "_resolver",
)
"""The parts of `runtime` that know nothing of actors; their names are on the page of the Python face."""
INTERNAL = {
    "EventStream": {"offer", "end"},
    "Ref": {"bind", "child_of"},
    "SupervisorRef": {"child_of"},
    "System": {"fail", "free_name", "lazy_template", "new_trace", "run"},
    "Timer": {"alarm", "message", "read"},
}
"""What has no underscore because other files of the kernel use it; users do not."""

TABLES = {
    trouper: """Down Actor OnCancel Context Timer Ref Monitor System ActorStatistics SystemStatistics ActorNode
        CellState CrashReport SupervisorSpec ChildSpec Mailbox Overflow Backoff Watchdog Strategy Restart Shutdown
        AutoShutdown Directive SupervisorRef ChildInfo ChildCounts ExitReason ExitKind EventStream""",
    trouper.testing: "When",
}
"""Whose members, all of them and no others, are the rows of the section with its name."""


def tables() -> list[type]:
    return [getattr(module, name) for module, names in TABLES.items() for name in names.split()]


def kernel_names() -> set[str]:
    """Every name of the kernel's door, as `runtime/__init__.py` imports it."""
    door = ast.parse((ROOT / "runtime" / "__init__.py").read_text(encoding="utf-8"))
    imports = [node for node in door.body if isinstance(node, ast.ImportFrom)]
    assert {node.module for node in imports} >= set(PURE)
    return {alias.name for node in imports if node.module not in PURE for alias in node.names}


def missing(names: Iterable[str], page: str) -> list[str]:
    """Those that stand neither in code marks nor in the error tree of the page."""
    return [name for name in names if not re.search(rf"`[^`\n]*\b{name}\b[^`\n]*`|── {name}\b", page)]


def section(page: str, heading: str) -> str:
    """What stands under a heading, to the next one."""
    found = re.search(rf"^### {re.escape(heading)}\n(.*?)(?=^#|\Z)", text_of(page), re.MULTILINE | re.DOTALL)
    assert found is not None, f"{page} has no heading {heading}"
    return found[1]


def cells(text: str, place: int = 0) -> list[str]:
    """One column of the tables in a text, without the heads."""
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    return [row[place] for row in rows]


def test_every_name_of_the_kernel_is_in_its_page() -> None:
    assert missing(sorted(kernel_names()), text_of("kernel.md")) == []


def test_every_public_name_is_in_the_page_of_the_kernel_or_of_the_face() -> None:
    both = text_of("kernel.md") + text_of("python.md")
    assert missing((*trouper.__all__, *trouper.testing.__all__), both) == []


@pytest.mark.parametrize("cls", tables(), ids=lambda cls: cls.__name__)
def test_the_table_of_a_class_has_its_members_with_their_options_and_no_others(cls: type) -> None:
    """Calls with parameters and defaults, fields with defaults, members of enums: as in the code, in its order."""
    wanted = member_cells(cls, internal=INTERNAL.get(cls.__name__, ()))
    assert cells(section("kernel.md", f"`{cls.__name__}`")) == wanted


@pytest.mark.parametrize(
    ("heading", "function"),
    [
        ("`handler`", trouper.handler),
        ("`open_system`", trouper.open_system),
        ("Options of `spawn`", trouper.System.spawn),
        ("Options of `start_supervisor`", trouper.System.start_supervisor),
    ],
)
def test_the_options_of_a_call_are_in_the_page_with_their_defaults(
    heading: str, function: Callable[..., object]
) -> None:
    assert cells(section("kernel.md", heading)) == option_cells(function)


def test_a_child_of_an_actor_is_spawned_with_the_same_options_but_the_supervisor() -> None:
    """So that one table describes both."""
    options = option_cells(trouper.System.spawn)
    assert [option for option in options if option != "`supervisor=None`"] == option_cells(trouper.Context.spawn)


def kernel_events() -> list[type[trouper.Event]]:
    found = [cls for cls in vars(_events).values() if isinstance(cls, type) and issubclass(cls, trouper.Event)]
    return [cls for cls in found if cls is not trouper.Event]


def test_every_event_of_the_kernel_is_in_the_page_with_its_fields_and_no_other() -> None:
    table = section("kernel.md", "The kernel's events")
    told = {name.strip("`"): fields for name, fields in zip(cells(table), cells(table, 1), strict=True)}
    own = ["at", "actor"]
    assert "with `at` and `actor`" in table
    assert told == {
        cls.__name__: ", ".join(f"`{a.name}`" for a in attrs.fields(cls) if a.name not in own)
        for cls in kernel_events()
    }


def test_every_event_and_overflow_policy_stands_in_the_how_to_of_operators_or_of_messages() -> None:
    """Somebody who meets one at night finds more than its name."""
    pages = "".join((HOW_TO / name).read_text(encoding="utf-8") for name in ("supervise.md", "use-messages.md"))
    events = [
        cls.__name__ for cls in vars(_events).values() if isinstance(cls, type) and issubclass(cls, trouper.Event)
    ]
    wanted = [*(name for name in events if name != "Event"), *(policy.name for policy in trouper.Overflow)]
    assert [name for name in wanted if not re.search(rf"\b{name}\b", pages)] == []


def test_the_error_tree_in_the_page_is_the_real_one() -> None:
    drawn = re.search(r"```text\n(TrouperError\n.*?)```", text_of("kernel.md"), re.DOTALL)
    assert drawn is not None
    path: list[str] = []
    found: dict[str, str] = {}
    for indent, name in re.findall(r"^((?:[│ ] {3})*(?:[├└]── )?)(\w+)", drawn[1], re.MULTILINE):
        del path[len(indent) // 4 :]
        found[name] = path[-1] if path else "Exception"
        path.append(name)
    errors = (v for v in vars(_errors).values() if isinstance(v, type) and issubclass(v, _errors.TrouperError))
    assert found == {error.__name__: error.__bases__[0].__name__ for error in errors}


def test_every_event_of_a_run_is_in_the_page_of_the_face_and_no_other() -> None:
    """With whether it is a record: written down, and not only told."""
    rows = section("python.md", "What happens in a run").splitlines()
    told = [line.strip("| ").split(" | ")[:2] for line in rows if line.startswith("| `")]
    found = {name: kept == "yes" for names, kept in told for name in re.findall(r"`(\w+)`", names)}
    own = (v for v in vars(records).values() if isinstance(v, type) and v.__module__ == records.__name__)
    assert found == {
        event.__name__: issubclass(event, trouper.Record) for event in own if issubclass(event, trouper.Event)
    }


def test_every_event_on_the_way_to_a_model_is_in_the_page_of_the_face_and_no_other() -> None:
    told = re.findall(r"^\| `(\w+)`", section("python.md", "What happens on the way to a model"), re.MULTILINE)
    own = (v for v in vars(model_events).values() if isinstance(v, type) and v.__module__ == model_events.__name__)
    assert sorted(told) == sorted(event.__name__ for event in own if issubclass(event, trouper.Event))


@pytest.mark.parametrize("name", ["execute", "run_plan", "approve", "resume", "plan", "remember", "recall", "forget"])
def test_the_row_of_a_call_of_a_troupe_has_every_parameter(name: str) -> None:
    row = next(cell for cell in cells(section("python.md", "`Troupe`")) if cell.startswith(f"`await {name}("))
    parameters = set(inspect.signature(getattr(trouper.Troupe, name)).parameters) - {"self"}
    assert {p for p in parameters if not re.search(rf"\b{p}\b", row)} == set()


@pytest.mark.parametrize("name", ["Troupe", "ToolContext", "Budget", "PlanStream"])
def test_every_public_member_of_the_main_classes_is_in_the_page_of_the_face(name: str) -> None:
    cls = getattr(trouper, name)
    members = {m for m in (*vars(cls), *getattr(cls, "__annotations__", {})) if not m.startswith("_")}
    page = text_of("python.md")
    assert [m for m in sorted(members) if not re.search(rf"\b{m}\b", page)] == []


# ------------------------------------------------------------------ speed
def test_every_figure_of_the_benchmarks_is_in_the_page_on_speed_with_what_is_demanded_and_no_other() -> None:
    """Each with its median and interval, or with the words that say it has not been measured."""
    told = speed.rows()
    assert list(told) == list(speed.bounds())
    assert {name: cells[-1] for name, cells in told.items()} == {name: str(b) for name, b in speed.bounds().items()}
    empty = [
        name for name, cells in told.items() if len(cells) != 5 or not (cells[3] or cells[2] == speed.NOT_MEASURED)
    ]
    assert empty == []


# ------------------------------------------------------------------ how-to pages
def test_the_offline_page_has_every_pattern_that_the_rules_name() -> None:
    page = (HOW_TO / "run-offline.md").read_text(encoding="utf-8")
    assert [pattern for pattern in PATTERNS if pattern not in page] == []


def test_every_error_class_that_users_meet_is_in_the_error_page() -> None:
    """By the word it has in JSON."""
    page = (HOW_TO / "errors.md").read_text(encoding="utf-8")
    errors = [v for v in vars(_errors).values() if isinstance(v, type) and issubclass(v, _errors.TrouperError)]
    bases = {b for error in errors for b in error.__bases__}
    met = [error for error in errors if error not in bases]
    assert [error.__name__ for error in met if f"`{error.kind}`" not in page] == []


def test_every_permission_is_in_its_page() -> None:
    page = (HOW_TO / "permissions.md").read_text(encoding="utf-8")
    keys = [key.partition(".")[2] for key in known_keys() if key.startswith("permissions.")]
    assert [key for key in keys if f"`{key}`" not in page] == []

"""Supervisor scenarios and their traces: the files that recordings of a real OTP supervisor come in.

`NAME.json` is a list of scenarios: a supervisor, its children, and operations on it one after the other.
`NAME.txt` beside it is what happened: after `scenario NAME` the lines of the start, then for each operation
`op N OP -> RESULT` followed by the lines of what it set off. Values stand there as Erlang terms.

Shutdown times are milliseconds, periods seconds, as in OTP. Two operations are ours: `["wait", SECONDS]` lets time
pass, `["together", [OP, ...]]` does several at once, each in a task of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

RESTARTS = ("permanent", "transient", "temporary")
STRATEGIES = ("one_for_one", "one_for_all", "rest_for_one")
AUTO_SHUTDOWNS = ("never", "any_significant", "all_significant")

_PLAIN_ATOM = re.compile(r"[a-z][A-Za-z0-9_@]*\Z")
_RESERVED = re.compile(
    r"(?:after|andalso|and|band|begin|bnot|bor|bsl|bsr|bxor|case|catch|cond|div|end|fun|if|let|not|of|orelse|or|receive"
    r"|rem|try|when|xor)\Z"
)


class ScenarioError(ValueError):
    """A file does not hold what a recording holds; the message says where."""


Op = tuple[Any, ...]
"""An operation: its name, then its operands; a reason is a word or a tuple, a child to start is a `Child`."""


@attrs.frozen
class Child:
    """The specification of one child."""

    id: str
    restart: str
    shutdown: int | str
    significant: bool = False


@attrs.frozen
class Scenario:
    """One supervisor and what is done to it."""

    name: str
    strategy: str
    intensity: int
    period: float
    auto_shutdown: str
    children: tuple[Child, ...]
    ops: tuple[Op, ...]


def term(value: object) -> str:
    """A value as Erlang prints it: words are atoms, lists and tuples are tuples."""
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case str():
            if _PLAIN_ATOM.match(value) and not _RESERVED.match(value):
                return value
            return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
        case list() | tuple():
            return "{" + ",".join(map(term, value)) + "}"
        case _:
            raise ScenarioError(f"{value!r} is neither a word, a number nor a list of them")


def op_term(op: Op) -> str:
    """An operation as the trace writes it; one without operands is a bare atom."""
    if len(op) == 1:
        return term(op[0])
    if op[0] == "together":
        return "{together,[" + ",".join(map(op_term, op[1])) + "]}"
    return term([attrs.astuple(part) if isinstance(part, Child) else part for part in op])


def refused_start(child: Child) -> str:
    """The answer of `start_child` when the child does not start: OTP hands its own record of the child back."""
    start = f"{{oracle,start_child,[{term(child.id)},pid]}}"
    record = ("child", "undefined", child.id, ..., child.restart, child.significant, child.shutdown, "worker")
    fields = ",".join(start if field is ... else term(field) for field in record)
    return f"{{error,{{refused,{{{fields},[oracle]}}}}}}"


def bad_child(child: Child, auto_shutdown: str) -> str | None:
    """Why a supervisor with this `auto_shutdown` does not take that specification, as a term; None if it does."""
    if child.significant and auto_shutdown == "never":
        return "{bad_combination,[{auto_shutdown,never},{significant,true}]}"
    if child.significant and child.restart == "permanent":
        return "{bad_combination,[{restart,permanent},{significant,true}]}"
    return None


def bad_supervisor(scenario: Scenario) -> str | None:
    """Why a supervisor with these flags and children does not start at all, as a term; None if it does."""
    if scenario.intensity < 0:
        return f"{{supervisor_data,{{invalid_intensity,{term(scenario.intensity)}}}}}"
    if scenario.period <= 0:
        return f"{{supervisor_data,{{invalid_period,{term(scenario.period)}}}}}"
    seen: set[str] = set()
    for child in scenario.children:
        if why := bad_child(child, scenario.auto_shutdown):
            return f"{{start_spec,{why}}}"
        if child.id in seen:
            return f"{{start_spec,{{duplicate_child_name,{term(child.id)}}}}}"
        seen.add(child.id)
    return None


def load(path: Path) -> list[Scenario]:
    """The scenarios of a recording's JSON file.

    Raises:
        ScenarioError: the file is not there, is not JSON, or holds something else.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ScenarioError(f"{path}: {error.strerror or error}") from None
    except ValueError as error:
        raise ScenarioError(f"{path}: not JSON: {error}") from None
    if not isinstance(data, list) or not data:
        raise ScenarioError(f"{path}: not a list of scenarios")
    scenarios = []
    for number, entry in enumerate(data, 1):
        try:
            scenarios.append(_scenario(entry))
        except ScenarioError as error:
            name = entry["name"] if isinstance(entry, dict) and isinstance(entry.get("name"), str) else f"#{number}"
            raise ScenarioError(f"{path}: scenario {name}: {error}") from None
    names = [scenario.name for scenario in scenarios]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ScenarioError(f"{path}: scenario {twice[0]} stands there twice")
    return scenarios


def load_traces(path: Path) -> dict[str, list[str]]:
    """The recorded lines of each scenario, by its name; the `scenario` lines themselves are not among them.

    Raises:
        ScenarioError: the file is not there, or lines stand outside any scenario.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ScenarioError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    traces: dict[str, list[str]] = {}
    lines: list[str] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("scenario "):
            name = line.removeprefix("scenario ").strip()
            if name in traces:
                raise ScenarioError(f"{path}:{number}: scenario {name} stands there twice")
            lines = traces[name] = []
        elif line.strip():
            if lines is None:
                raise ScenarioError(f"{path}:{number}: a line before the first scenario: {line[:60]!r}")
            lines.append(line.rstrip())
    return traces


def dump(scenarios: Sequence[Scenario]) -> str:
    """The scenarios as the JSON text that `load` reads, one a line."""
    return "[" + ",\n ".join(json.dumps(_plain(scenario)) for scenario in scenarios) + "]\n"


def _plain(scenario: Scenario) -> dict[str, Any]:
    return attrs.asdict(scenario) | {"ops": list(map(_plain_op, scenario.ops))}


def _plain_op(op: Op) -> list[Any]:
    if op[0] == "together":
        return ["together", list(map(_plain_op, op[1]))]
    return [list(attrs.astuple(part)) if isinstance(part, Child) else part for part in op]


def _scenario(entry: object) -> Scenario:
    if not isinstance(entry, dict):
        raise ScenarioError("not an object")
    children = _field(entry, "children", list)
    ops = _field(entry, "ops", list)
    return Scenario(
        name=_field(entry, "name", str),
        strategy=_one_of(entry, "strategy", STRATEGIES),
        intensity=_field(entry, "intensity", int),
        period=_field(entry, "period", (int, float)),
        auto_shutdown=_one_of(entry, "auto_shutdown", AUTO_SHUTDOWNS) if "auto_shutdown" in entry else "never",
        children=tuple(_numbered("child", number, _child, child) for number, child in enumerate(children, 1)),
        ops=tuple(_numbered("op", number, _op, op) for number, op in enumerate(ops, 1)),
    )


def _numbered(what: str, number: int, read: Any, value: object) -> Any:
    try:
        return read(value)
    except ScenarioError as error:
        raise ScenarioError(f"{what} {number}: {error}") from None


def _child(entry: object) -> Child:
    if isinstance(entry, list) and len(entry) == 4:  # as `start` has it
        entry = dict(zip(("id", "restart", "shutdown", "significant"), entry, strict=True))
    if not isinstance(entry, dict):
        raise ScenarioError("not a child: neither an object nor [id, restart, shutdown, significant]")
    shutdown = entry.get("shutdown")
    if shutdown not in {"brutal_kill", "infinity"}:
        shutdown = _field(entry, "shutdown", int)
        if shutdown < 0:
            raise ScenarioError("`shutdown` is below 0")
    return Child(
        id=_field(entry, "id", str),
        restart=_one_of(entry, "restart", RESTARTS),
        shutdown=shutdown,
        significant=_field(entry, "significant", bool) if "significant" in entry else False,
    )


def _op(entry: object) -> Op:
    match entry:
        case ["which" | "count" | "stop" as name]:
            return (name,)
        case ["terminate" | "restart" | "delete" as name, str(id_)]:
            return (name, id_)
        case ["exit", str(id_), reason]:
            return ("exit", id_, _reason(reason))
        case ["fail_starts", str(id_), int(count)] if count >= 0 and not isinstance(count, bool):
            return ("fail_starts", id_, count)
        case ["start", child]:
            return ("start", _child(child))
        case ["together", [*ops]]:
            return ("together", tuple(map(_op, ops)))
        case ["wait", int(seconds) | float(seconds)] if seconds >= 0:
            return ("wait", seconds)
        case _:
            raise ScenarioError(f"not an operation: {json.dumps(entry)[:80]}")


def _reason(value: object) -> object:
    term(value)
    return tuple(map(_reason, value)) if isinstance(value, list) else value


def _field(entry: Mapping[str, Any], name: str, kind: Any) -> Any:
    if name not in entry:
        raise ScenarioError(f"`{name}` is missing")
    value = entry[name]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ScenarioError(f"`{name}` is {json.dumps(value)[:60]}")
    return value


def _one_of(entry: Mapping[str, Any], name: str, words: Sequence[str]) -> str:
    value: str = _field(entry, name, str)
    if value not in words:
        raise ScenarioError(f"`{name}` is {value!r}, not one of {', '.join(words)}")
    return value

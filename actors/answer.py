"""The one answer of a run, put together in plain code from what the last steps gave.

Extractive: every figure and every line in it stands in a result. With a model's plan that ends in `reply`, its message
is the answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from trouper.runtime import Plan

from .outcome import Standing, StepOutcome, StepStatus, standings

MOST_LINES = 8
MOST_TEXT = 2000


def compose_answer(plan: Plan, steps: Mapping[int, StepOutcome]) -> str:
    """What to tell the person who asked: what came out, then what was written or remembered."""
    done = [steps[s.id] for s in plan.steps if s.id in steps and steps[s.id].status is StepStatus.OK]
    read = _read_by_others(plan)
    replies = [_reply(o) for o in done if o.action == "reply"]
    if replies:
        return "\n".join(replies)
    sinks = [o for o in done if o.action in _SINKS]
    shown = [o for o in done if o.action not in _SINKS and o.id not in read]
    parts = [_describe(o) for o in shown] + [_describe(o) for o in sinks]
    return "\n".join(part for part in parts if part)


def explain_failure(plan: Plan, steps: Mapping[int, StepOutcome]) -> str:
    """Why the run has failed, step by step in the order of the plan; what the plan tolerates is no reason."""
    counts = {i for i, standing in standings(plan, steps).items() if standing is Standing.FAILED}
    lost = [steps[s.id] for s in plan.steps if steps[s.id].status is StepStatus.FAILED]
    # If none of them counts, one that must not be left out was skipped behind one that may fail.
    failed = [o for o in lost if o.id in counts] or lost
    behind = sum(1 for i in counts if steps[i].status is StepStatus.SKIPPED and steps[i].reason == "dependency")
    lines = [_why(o) for o in failed]
    if behind:
        what = "it" if len(failed) == 1 else "them"
        lines.append(f"{behind} step{'s' if behind != 1 else ''} that needed {what} did not run")
    return "".join(f"{line}{' ' if line.endswith('.') else '; '}" for line in lines[:-1]) + "".join(lines[-1:])


def _why(outcome: StepOutcome) -> str:
    """What went wrong in a step, with its name once."""
    name, message = f"step {outcome.id} ({outcome.action})", outcome.error.message if outcome.error else "failed"
    return message if message.startswith(name) else f"{name}: {message}"


_SINKS = frozenset({"create_report", "write_file", "remember"})


def _read_by_others(plan: Plan) -> set[int]:
    """The steps whose result goes into something else than a sink."""
    return {d for s in plan.steps if s.action not in _SINKS for d in plan.dependencies[s.id]}


def _reply(outcome: StepOutcome) -> str:
    result = outcome.result
    return str(result.get("message", "")) if isinstance(result, dict) else str(result)


def _describe(outcome: StepOutcome) -> str:
    describe = _BY_ACTION.get(outcome.action)
    if describe is not None and isinstance(outcome.result, dict):
        try:
            return describe(outcome.result)
        except (KeyError, TypeError, ValueError):  # a user's tool of the same name gives other fields
            return _anything(outcome)
    return _anything(outcome)


def _anything(outcome: StepOutcome) -> str:
    result = outcome.result
    text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False, default=str)
    return f"{outcome.action}: {_cut(text)}"


def _cut(text: str) -> str:
    return text if len(text) <= MOST_TEXT else f"{text[:MOST_TEXT]}... ({len(text)} characters)"


def _first_line(text: str) -> str:
    first, _, rest = text.partition("\n")
    return _cut(first) if not rest else f"{_cut(first)} ..."


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _search(result: Mapping[str, object]) -> str:
    matches = result["matches"]
    count, pattern, path = result["count"], result["pattern"], result["path"]
    assert isinstance(matches, list)  # noqa: S101 - the caller catches what a foreign tool gives
    assert isinstance(count, int)  # noqa: S101 - the same
    where = "here" if path == "." else f"under {path}"
    of = "" if result.get("glob") in {None, "**/*"} else f" matching {result['glob']}"
    if not pattern:
        head = f"{_plural(count, 'file')}{of} {where}"
        lines = [str(m["path"]) for m in matches[:MOST_LINES]]
    else:
        head = f"{_plural(count, 'line')} with {pattern!r} in {_plural(int(str(result['files'])), 'file')}{of} {where}"
        lines = [f"{m['path']}:{m['line']}: {str(m['text']).strip()[:160]}" for m in matches[:MOST_LINES]]
    rest = [f"... and {count - len(lines)} more"] if count > len(lines) else []
    return "\n".join([f"Found {head}{':' if lines else '.'}", *(f"  {line}" for line in lines), *rest])


def _read(result: Mapping[str, object]) -> str:
    return f"{result['path']} ({_plural(int(str(result['lines'])), 'line')}):\n{_cut(str(result['content']))}"


def _summary(result: Mapping[str, object]) -> str:
    how = " (extractive: taken from the sources word for word)" if result.get("method") == "extractive" else ""
    return f"Summary{how}:\n{_cut(str(result['summary']))}"


def _recalled(result: Mapping[str, object]) -> str:
    memories = result["memories"]
    assert isinstance(memories, list)  # noqa: S101 - the caller catches what a foreign tool gives
    if not memories:
        return f"Nothing is remembered about {result['query']!r}."
    return "From memory:\n" + "\n".join(f"  - {m['content']}{_which(m)}" for m in memories)


def _which(memory: Mapping[str, object]) -> str:
    """Where it is from, for whoever wants to look it up or have it forgotten."""
    return f" (memory {memory['id']})" if "id" in memory else ""


def _found(result: Mapping[str, object]) -> str:
    passages = result["passages"]
    assert isinstance(passages, list)  # noqa: S101 - the same
    if not passages:
        return f"No indexed document says anything about {result['query']!r}."
    lines = [
        f"  {p['file']}:{p['first_line']}-{p['last_line']}: {' '.join(str(p['text']).split())[:160]}" for p in passages
    ]
    rest = [f"... and {len(lines) - MOST_LINES} more"] if len(lines) > MOST_LINES else []
    return "\n".join(["From documents:", *lines[:MOST_LINES], *rest])


def _remembered(result: Mapping[str, object]) -> str:
    texts = result["texts"]
    assert isinstance(texts, list)  # noqa: S101 - the caller catches what a foreign tool gives
    return "Remembered: " + "; ".join(_first_line(str(t)) for t in texts)


def _written(result: Mapping[str, object]) -> str:
    return f"Wrote {result['path']} ({result['bytes']} bytes)."


_BY_ACTION: dict[str, Callable[[Mapping[str, object]], str]] = {
    "search_files": _search,
    "read_file": _read,
    "recall": _recalled,
    "remember": _remembered,
    "search_documents": _found,
    "create_report": _written,
    "write_file": _written,
    "calculate": lambda r: str(r["text"]),
    "summarize": _summary,
    "analyze_content": lambda r: _cut(str(r["text"])),
    "fetch_url": lambda r: f"{r['url']}: {_cut(str(r['text']))}",
}

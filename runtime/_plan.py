"""A plan is data: steps that form a DAG. Here it is made, from what a model said or from decoded JSON.

Reading goes in three passes, each of which goes on after a mistake so that all mistakes are said at once:
find the JSON (`_plan_text`), understand each step by itself (`_plan_steps`), compare the steps
(`_plan_check`). A plan without mistakes mostly needs no more than a quicker one after the first (`_plan_quick`).
Whatever comes in, either a valid plan comes out or one `PlanError`; nothing here recurses, and the cost is linear in
the size of the plan, up to sorting each step's dependencies.
"""
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# (JSON values: what `isinstance` finds to be a dict or a list is looked at item by item.)

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ._budget import Budget
from ._collector import collector_paused
from ._errors import PlanError
from ._nearest import listed, suggestion
from ._plan_catalogue import ActionSignature, Catalogue, catalogue_from_json
from ._plan_check import check
from ._plan_data import Path, adopt
from ._plan_fields import as_id, read_budget
from ._plan_finished import Before, before, old_steps, without_finished
from ._plan_json import REPORTED, Document, is_proven
from ._plan_object import Plan
from ._plan_quick import read_quickly
from ._plan_report import Report, report_repeated_keys, shown
from ._plan_steps import read_step
from ._plan_text import read_text
from ._step import ActionCall, Compensation, Fallback, Step

__all__ = [
    "ActionCall",
    "ActionSignature",
    "Compensation",
    "Fallback",
    "Plan",
    "Step",
    "catalogue_from_json",
    "check_json",
    "parse_plan",
    "problems_json",
]

PlanSource = str | bytes | bytearray | Sequence[object] | Mapping[str, object]

_ENVELOPE = frozenset({"goal", "reasoning", "reason", "complexity", "success", "error"})
"""What an object without any steps may say beside them: the planner found nothing to do."""


def parse_plan(
    source: PlanSource,
    *,
    catalogue: Mapping[str, ActionSignature] | None = None,
    goal: str | None = None,
    finished: Mapping[int, Step] | None = None,
    taken: Collection[int] = (),
) -> Plan:
    """Make a plan of a model's answer, of JSON text, or of decoded JSON; nothing of `source` is kept.

    Text may have prose and code fences around the plan; of several plans the last counts. A step may spell
    its keys `tool`, `inputs`, `deps` (also `step` for `id`, `args` or `arguments`, `depends_on`) and its ids
    `"1"` or `"step_1"`; `null` is as good as an absent key; keys that no one knows are left alone.

    Args:
        source: Text, UTF-8 bytes, a list of steps, or a mapping with `steps`.
        catalogue: The actions there are. With it actions, parameters and the fields that references name
            are checked too.
        goal: What the plan is for; goes before what the document says.
        finished: Steps of an earlier plan that have their results. They come first in the new plan; new steps
            may refer to them, and a step that only repeats one of them is that one.
        taken: Ids that no new step may have, such as those of steps that have failed.

    Raises:
        PlanError: the plan cannot be run; `problems` has every reason, in document order.
    """
    with collector_paused():
        return _parsed(source, catalogue, goal, before(finished, taken))


def _parsed(source: PlanSource, catalogue: Catalogue | None, goal: str | None, earlier: Before) -> Plan:
    report = Report()
    document = _read(source, report)
    quick = read_quickly(document, catalogue) if report.clean and not (earlier.steps or earlier.taken) else None
    if quick is None:
        if isinstance(source, str | bytes | bytearray) and not is_proven(document):
            document = read_text(source)
        plan = _unwrapped(document.value)
        entries = _entries(plan, report)
        report.entries = entries
        if document.repeated:
            report_repeated_keys(document.value, isinstance(document.value, list), report)
        drafts = [read_step(index, entry, report) for index, entry in enumerate(entries)]
        if earlier.steps:
            drafts = without_finished(drafts, earlier)
        checked = check(drafts, catalogue, report, earlier)
    else:
        plan, drafts, checked = document.value, [], quick.checked
    notes = {} if not isinstance(plan, dict) else plan
    said_goal = _goal(notes, report)
    budget = _budget(notes, report)
    report.raise_if_any()
    reasoning = notes.get("reasoning")
    return Plan(
        steps=(*old_steps(earlier), *(draft.step() for draft in drafts)) if quick is None else quick.steps,
        dependencies=checked.dependencies,
        levels=checked.levels,
        goal=said_goal if goal is None else goal,
        reasoning=reasoning if isinstance(reasoning, str) else None,
        budget=budget,
    )


def check_json(plan: Plan) -> dict[str, object]:
    """What `trouper check --json` prints for a plan that can be run."""
    return {
        "ok": True,
        "steps": len(plan.steps),
        "levels": [list(level) for level in plan.levels],
        "dependencies": {str(step): list(needs) for step, needs in plan.dependencies.items()},
    }


def problems_json(error: PlanError) -> dict[str, object]:
    """What `trouper check --json` prints for one that cannot."""
    return {"ok": False, "problems": [problem.as_json() for problem in error.problems]}


def _read(source: object, report: Report) -> Document:
    if isinstance(source, str | bytes | bytearray):
        return read_text(source, proven=False)
    value, faults = adopt(source)
    root = ("steps",) if isinstance(value, list) else ()
    entries = value if isinstance(value, list) else value.get("steps") if isinstance(value, dict) else None
    report.entries = entries if isinstance(entries, list) else []
    for fault in faults:
        path = (*root, *fault.path)
        report.add(fault.kind, path, fault.message, step=_step_of(path, report.entries))
    return Document(value)


def _step_of(path: Path, entries: list[object]) -> int | None:
    """The id of the step that a path leads into, where that is clear."""
    place = path[1] if len(path) > 1 and path[0] == "steps" else None
    entry = entries[place] if isinstance(place, int) and entries else None
    return as_id(entry.get("id")) if isinstance(entry, dict) else None


def _unwrapped(value: object) -> object:
    """The plan in what a planner says about its success, as `trouper plan --json` does; any other value as it is."""
    if isinstance(value, dict) and "steps" not in value and True in (value.get("ok"), value.get("success")):
        plan = value.get("plan")
        if isinstance(plan, list) or (isinstance(plan, dict) and "steps" in plan):
            return plan
    return value


def _entries(value: object, report: Report) -> list[object]:
    """The steps as they came, whichever of the two shapes the plan has."""
    steps = value.get("steps") if isinstance(value, dict) else value
    if isinstance(steps, list):
        if not steps:
            report.add("empty_plan", ("steps",), "the plan has no steps")
        return steps
    if steps is REPORTED:
        return []
    if isinstance(value, dict) and "steps" not in value:
        _report_no_steps(value, report)
    else:
        path, what = (("steps",), "'steps' is") if isinstance(value, dict) else ((), "the plan is")
        wanted = "a list of steps" if isinstance(value, dict) else "a list of steps or an object with 'steps'"
        report.add("wrong_type", path, f"{what} {shown(steps)}, not {wanted}")
    return []


def _report_no_steps(value: Mapping[str, object], report: Report) -> None:
    if value.keys() <= _ENVELOPE:
        report.add("empty_plan", (), "the plan has no steps")
    elif "action" in value or "tool" in value:
        report.add("wrong_type", (), "this is a single step, not a plan; put all steps into one list")
    else:
        near = suggestion("steps", value)
        report.add("wrong_type", (), f"the object has no 'steps', only {listed(value)}{near}")


def _goal(notes: Mapping[str, object], report: Report) -> str | None:
    goal = notes.get("goal")
    if goal is None or goal is REPORTED or isinstance(goal, str):
        return goal if isinstance(goal, str) else None
    report.add("wrong_type", ("goal",), f"the goal is {shown(goal)}, not text")
    return None


def _budget(notes: Mapping[str, object], report: Report) -> Budget | None:
    limits = notes.get("budget")
    if limits is None or limits is REPORTED:
        return None
    budget, problems = read_budget(limits)
    for path, message in problems:
        report.add("wrong_type", ("budget", *path), f"{'.'.join(map(str, ('budget', *path)))!r} {message}")
    return budget

"""Reading the entries of a plan, each on its own: one normaliser for every spelling, one draft a step.

A step with a plan of its own is read with everything in it; plans stand at most `MAX_PLANS` deep in one another, which
also bounds the recursion here.
"""
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# (JSON values: what `isinstance` finds to be a dict or a list is looked at item by item.)

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from ._budget import Budget
from ._condition import read_condition
from ._for_each import read_for_each
from ._plan_data import Path, same
from ._plan_draft import NO_INPUTS, SPELLINGS, Draft, InnerDraft, listed_id
from ._plan_fields import MAX_ID, POLICIES, Unfit, as_id, read_budget
from ._plan_json import REPORTED, Repeated
from ._plan_report import Report, shown
from ._refs import Compiled, compile_value
from ._step import SUB_PLAN, TEMPLATES, ActionCall, Compensation, Fallback, Parameters

MAX_PLANS: Final = 8
"""How deep plans may stand in one another, the outermost not counted."""

_CALLS: dict[str, type[ActionCall]] = {"fallback": Fallback, "compensate": Compensation}
_MAIN_KEYS = frozenset(SPELLINGS)
_ONLY_NUMBERS = frozenset({int})
_OTHER_NAMES = frozenset(name for names in SPELLINGS.values() for name in names[1:])
_STEPS: Path = ("steps",)


@attrs.frozen
class Place:
    """Where an entry stands.

    `before`: the list it is in. `item`: `$item` means something there. `lenient`: it is inside a step that need not
    wait for everything. `depth`: in how many plans it is, the outermost not counted.
    """

    before: Path = _STEPS
    item: bool = False
    lenient: bool = False
    depth: int = 0


_TOP = Place()


def read_step(index: int, entry: object, report: Report, place: Place = _TOP) -> Draft:
    """Understand one entry as far as possible, reporting what is wrong with it on its own."""
    draft = Draft((*place.before, index), entry if isinstance(entry, dict) else {}, report)
    draft.inside_lenient = place.lenient
    if isinstance(entry, dict):
        # What runs once for each element may name it; an inner `for_each` hides the element of an outer one.
        item = place.item or draft.raw.get("for_each") is not None
        _read_main_keys(draft, item=item)
        if draft.raw.get(SUB_PLAN) is not None:
            lenient = place.lenient or draft.raw.get("join") not in (None, "all")
            _read_sub_plan(draft, draft.raw[SUB_PLAN], Place((), item, lenient, place.depth + 1))
        if not draft.raw.keys() <= _MAIN_KEYS:
            _read_policies(draft, item=item, outer_item=place.item)
    elif entry is not REPORTED:
        draft.problem("wrong_type", (), f"the step is {shown(entry)}, not an object")
    if draft.id is None:
        # Nobody can say which number it was meant to have, but its place makes these likely.
        draft.claims |= {index, index + 1}
    return draft


def _read_main_keys(draft: Draft, *, item: bool) -> None:
    """Read the id, the dependencies, and the action with its parameters if it has no plan of its own."""
    # What nearly every step says is taken as it is: a plan may have 10,000. Whatever else comes is looked at closely.
    raw = draft.raw
    plain = raw.keys().isdisjoint(_OTHER_NAMES)
    step, listed = raw.get("id"), raw.get("dependencies")
    if plain and type(step) is int and 0 <= step <= MAX_ID:
        draft.id = step
    else:
        _read_id(draft)
    if raw.get(SUB_PLAN) is None:
        action, parameters = raw.get("action"), raw.get("parameters")
        if plain and type(action) is str and type(parameters) is dict and (name := action.strip()):
            draft.action, draft.parameters = name, parameters
            draft.inputs = compile_value(parameters, item=item)
        else:
            draft.action = _read_action(draft, raw, ())
            draft.parameters, draft.inputs = _read_parameters(draft, raw, (), item=item)
    if plain and type(listed) is list and _ONLY_NUMBERS.issuperset(map(type, listed)):
        draft.listed = listed
    elif not plain or listed is not None:
        _read_dependencies(draft)


def _pick(draft: Draft, raw: dict[str, object], name: str, before: Path) -> tuple[Path, object]:
    """The value of a main key under whichever name it has; two names with different values are a mistake."""
    if raw.keys().isdisjoint(_OTHER_NAMES):
        return (*before, name), raw.get(name)
    first, *others = SPELLINGS[name]
    key, value = first, raw.get(first)
    for other in others:
        also = raw.get(other)
        if also is None or (other == "step" and as_id(also) is None):
            continue  # `step` is often a title
        if value is None:
            key, value = other, also
        elif not _same(name, value, also) and REPORTED not in (value, also):
            message = f"says something else than {key!r}; give one of the two"
            draft.problem("wrong_type", (*before, other), f"{other!r} {message}")
            if name == "id":
                draft.claims |= {step for step in (as_id(value), as_id(also)) if step is not None}
            return (*before, key), REPORTED
    return (*before, key), value


def _same(name: str, one: object, other: object) -> bool:
    if name == "id":
        return as_id(one) == as_id(other)
    if name == "dependencies" and isinstance(one, list) and isinstance(other, list):
        return [as_id(item) for item in one] == [as_id(item) for item in other]
    return same(one, other)


def _read_id(draft: Draft) -> None:
    path, value = _pick(draft, draft.raw, "id", ())
    if value is REPORTED:
        if isinstance(draft.raw, Repeated):
            draft.claims |= {step for claim in draft.raw.claims.get("id", ()) if (step := as_id(claim)) is not None}
        return
    if value is None:
        draft.problem("missing_id", path, "the step has no id")
        return
    draft.id = as_id(value)
    draft.spelt_apart = isinstance(value, str) and ("_" in value or "-" in value)
    if draft.id is None:
        if isinstance(value, int):
            draft.claims |= {value}
        most = f" and at most {MAX_ID}" if isinstance(value, int) and value > MAX_ID else ""
        draft.problem("wrong_type", path, f"the id is {shown(value)}, not a whole number, 0 or more{most}")


def _read_action(draft: Draft, raw: dict[str, object], before: Path) -> str | None:
    path, value = _pick(draft, raw, "action", before)
    if value is REPORTED:
        return None
    if value is None or (isinstance(value, str) and not value.strip()):
        draft.problem("missing_action", path, f"{_what(before)} names no action")
        return None
    if not isinstance(value, str):
        draft.problem("wrong_type", path, f"the action is {shown(value)}, not the name of a tool")
        return None
    return value.strip()


def _read_parameters(
    draft: Draft, raw: dict[str, object], before: Path, *, item: bool
) -> tuple[Parameters | None, Compiled]:
    path, value = _pick(draft, raw, "parameters", before)
    if value is REPORTED:
        return None, NO_INPUTS
    if value is None:
        return {}, NO_INPUTS
    if not isinstance(value, dict):
        draft.problem("wrong_type", path, f"the parameters are {shown(value)}, not an object of names and values")
        return None, NO_INPUTS
    return value, compile_value(value, item=item)


def _read_dependencies(draft: Draft) -> None:
    path, value = _pick(draft, draft.raw, "dependencies", ())
    if value is None or value is REPORTED:
        return
    if not isinstance(value, list):
        draft.problem("wrong_type", path, f"the dependencies are {shown(value)}, not a list of step ids")
        return
    listed: list[int] = []
    for n, item in enumerate(value):
        step = listed_id(item)
        if step is not None:
            listed.append(step)
        elif item is not REPORTED:
            draft.problem("wrong_type", (*path, n), f"a dependency is {shown(item)}, not a step id")
    draft.listed = listed


def _read_policies(draft: Draft, *, item: bool, outer_item: bool) -> None:
    for key, value in draft.raw.items():
        if value is None or value is REPORTED:
            continue
        if key in POLICIES:
            # Asked for once, but made for each element.
            _read_policy(draft, key, value, item=item if key == "idempotency_key" else outer_item)
        elif key in _CALLS:
            _read_call(draft, key, value, item=item)
        elif key == "condition":
            _read_condition(draft, value, item=outer_item)
        elif key == "for_each":
            read = read_for_each(value, item=outer_item)
            draft.for_each = read.each
            _tell(draft, key, read.problems)
        elif key == "budget":
            _read_budget(draft, value)


def _read_policy(draft: Draft, key: str, value: object, *, item: bool) -> None:
    try:
        kept = POLICIES[key](value)
    except Unfit as unfit:
        draft.problem("wrong_type", (key,), f"{key!r} {unfit}")
        return
    draft.policies = {**draft.policies, key: kept}
    if key in TEMPLATES:
        draft.templates = {**draft.templates, key: compile_value(kept, item=item)}


def _read_condition(draft: Draft, value: object, *, item: bool) -> None:
    try:
        draft.guard = read_condition(value, item=item)
    except Unfit as unfit:
        draft.problem("wrong_type", ("condition",), f"'condition' {unfit}")
        return
    draft.policies = {**draft.policies, "condition": value}


def _read_budget(draft: Draft, value: object) -> None:
    budget, problems = read_budget(value)
    _tell(draft, "budget", problems)
    if draft.raw.get(SUB_PLAN) is None:
        message = "'budget' is for a step with a plan of its own; one action is bounded by timeout_s and max_retries"
        draft.problem("wrong_type", ("budget",), message)
    else:
        _set_budget(draft, budget)


def _set_budget(draft: Draft, budget: Budget | None) -> None:
    """The budget of a step is also what its own plan says; of two the smaller limits count."""
    before = draft.policies.get("budget")
    if budget is not None:
        both = budget if not isinstance(before, Budget) else before.tightened(budget)
        draft.policies = {**draft.policies, "budget": both}


def _tell(draft: Draft, key: str, problems: list[tuple[Path, str]], before: Path = ()) -> None:
    for path, message in problems:
        name = ".".join(map(str, (key, *path)))
        draft.problem("wrong_type", (*before, key, *path), f"{name!r} {message}")


def _read_call(draft: Draft, key: str, value: object, *, item: bool) -> None:
    if not isinstance(value, dict):
        message = f"{key!r} is {shown(value)}, not an object with an action and its parameters"
        draft.problem("wrong_type", (key,), message)
        return
    action = _read_action(draft, value, (key,))
    parameters, inputs = _read_parameters(draft, value, (key,), item=item)
    # Kept even when its action is missing: what it refers to can still be checked.
    draft.calls = {**draft.calls, key: _CALLS[key](action or "", parameters or {}, inputs=inputs)}


# ------------------------------------------------------------------ plans in plans


def _read_sub_plan(draft: Draft, value: object, place: Place) -> None:
    """`plan` in the place of an action and its parameters: an object with steps, or a list of them."""
    _refuse_action(draft)
    if value is REPORTED:
        return
    if place.depth > MAX_PLANS:
        message = f"a plan inside a plan inside a plan ...: at most {MAX_PLANS} deep"
        draft.problem("wrong_type", (SUB_PLAN,), message)
        return
    at: Path = (SUB_PLAN,) if isinstance(value, list) else (SUB_PLAN, "steps")
    entries = value.get("steps") if isinstance(value, dict) else value
    if isinstance(value, dict) and "steps" not in value:
        draft.problem("wrong_type", (SUB_PLAN,), "'plan' has no 'steps'")
        return
    if entries is REPORTED:
        return
    if not isinstance(entries, list):
        message = f"the plan is {shown(entries)}, not a list of steps or an object with 'steps'"
        draft.problem("wrong_type", at if isinstance(value, dict) else (SUB_PLAN,), message)
        return
    if not entries:
        draft.problem("empty_plan", at, "the plan of the step has no steps")
        return
    inside = attrs.evolve(place, before=(*draft.at, *at))
    inner = InnerDraft(at, [read_step(n, entry, draft.report, inside) for n, entry in enumerate(entries)])
    if isinstance(value, dict):
        _read_envelope(draft, inner, value, item=place.item)
    draft.inner = inner


def _refuse_action(draft: Draft) -> None:
    path, action = _pick(draft, draft.raw, "action", ())
    if action is not None and action is not REPORTED and action != SUB_PLAN:
        message = f"the step has the action {shown(action)} and a plan of its own; give one of the two"
        draft.problem("wrong_type", path, message)
    path, parameters = _pick(draft, draft.raw, "parameters", ())
    if parameters is not None and parameters is not REPORTED and parameters != {}:
        message = "a step with a plan of its own takes no parameters: its steps refer to what they need"
        draft.problem("wrong_type", path, message)


def _read_envelope(draft: Draft, inner: InnerDraft, value: Mapping[str, object], *, item: bool) -> None:
    output = value.get("output")
    if output is not None and output is not REPORTED:
        inner.output, inner.outputs = output, compile_value(output, item=item)
    limits = value.get("budget")
    if limits is not None and limits is not REPORTED:
        budget, problems = read_budget(limits)
        _tell(draft, "budget", problems, (SUB_PLAN,))
        _set_budget(draft, budget)
    goal, reasoning = value.get("goal"), value.get("reasoning")
    inner.goal = goal if isinstance(goal, str) else None
    inner.reasoning = reasoning if isinstance(reasoning, str) else None


def _what(before: Path) -> str:
    return f"{before[0]!r}" if before else "the step"

"""What only shows when the steps of a plan are compared: ids, dependencies, cycles, and the catalogue.

One mistake gives one problem. A second step with an id that is taken is reported and then kept out of the
graph; a dependency on a number that a step with an unusable id may have been meant to have is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import chain

from ._nearest import listed, suggestion
from ._plan_catalogue import ActionSignature, Catalogue, call_problems
from ._plan_data import Path, texts
from ._plan_draft import Checked, Draft
from ._plan_finished import NOTHING_BEFORE, Before
from ._plan_report import Report, path_text, short
from ._step import Step
from ._sub_plan import Known, compare, with_inner

_LOOKS_LIKE_A_REFERENCE = re.compile(r"\$step[_-][0-9]+")


def check(
    drafts: Sequence[Draft], catalogue: Catalogue | None, report: Report, earlier: Before = NOTHING_BEFORE
) -> Checked:
    """Report everything that is wrong between the steps, and with their actions if there is a catalogue."""
    everyone = list(with_inner(drafts))
    first, taken_twice = _by_id(everyone, earlier)
    claimed = {step for draft in everyone for step in draft.claims}
    checked = compare(drafts, Known(first, claimed, earlier.taken, report), earlier.graph)
    _report_odd_references(drafts, everyone)
    if catalogue is not None:
        actions = {step: draft.action for step, draft in first.items() if draft.for_each is None}
        actions |= {step: _plain_action(done) for step, done in earlier.steps.items()}
        for step in taken_twice:
            actions.pop(step, None)
        _report_actions(everyone, catalogue)
        _report_fields(everyone, catalogue, actions)
    return checked


def check_alone(draft: Draft, catalogue: Catalogue | None = None) -> None:
    """Report what is wrong with one step whatever the other steps are, its own plan included.

    Afterwards `draft.step()` can be called, if nothing was wrong. References to steps that are not known yet are left
    to `check`.
    """
    everyone = list(with_inner([draft]))
    first, _ = _by_id(everyone, NOTHING_BEFORE)
    claimed = {step for one in everyone for step in one.claims}
    compare([draft], Known(first, claimed, (), draft.report, alone=True), {})
    if catalogue is not None:
        _report_actions(everyone, catalogue)


def _by_id(drafts: Sequence[Draft], earlier: Before) -> tuple[dict[int, Draft], set[int]]:
    first: dict[int, Draft] = {}
    twice: set[int] = set()
    for draft in drafts:
        step = draft.id
        if step is None:
            continue
        where = ""
        if step in earlier.steps:
            where = f"is that of a finished step, {earlier.steps[step].action!r}: take a new one"
        elif step in earlier.taken:
            where = "was that of a step of the earlier plan: take a new one"
        elif step in first:
            where = f"is that of {path_text(first[step].at)} already"
        else:
            first[step] = draft
        if where:
            twice.add(step)
            draft.problem("duplicate_id", (draft.key("id"),), f"the id {step} {where}")
    return first, twice


def _plain_action(step: Step) -> str | None:
    return None if step.plan is not None or step.for_each is not None else step.action


# ------------------------------------------------------------------ references and actions


def _report_odd_references(drafts: Sequence[Draft], everyone: Sequence[Draft]) -> None:
    """In a plan whose ids read `step_1`, `$step_1` was meant as a reference and would stay plain text."""
    if not any(draft.spelt_apart for draft in everyone):
        return
    for draft in drafts:
        for key, value in draft.raw.items():
            for path, text in texts(value):
                if found := _LOOKS_LIKE_A_REFERENCE.search(text):
                    right = found[0].replace("_", "").replace("-", "")
                    message = f"{found[0]} is no reference; write {right}"
                    draft.problem("dangling_dependency", (key, *path), message)


def _report_actions(drafts: Sequence[Draft], catalogue: Catalogue) -> None:
    known = {name: _Takes(signature) for name, signature in catalogue.items()}
    for draft in drafts:
        if draft.calls or draft.action not in known or not known[draft.action].fits(draft.parameters):
            _report_calls(draft, catalogue)


class _Takes:
    """The parameters of an action, for a quick look: what fits has no problems."""

    __slots__ = ("_all", "_required")

    def __init__(self, signature: ActionSignature) -> None:
        self._required: frozenset[str] = frozenset(signature.required)
        self._all: frozenset[str] | None = None
        if signature.parameters is not None:
            self._all = self._required.union(signature.parameters)

    def fits(self, parameters: Mapping[str, object] | None) -> bool:
        return (
            parameters is not None
            and self._required.issubset(parameters)
            and (self._all is None or self._all.issuperset(parameters))
        )


def _report_calls(draft: Draft, catalogue: Catalogue) -> None:
    names: dict[Path, tuple[str | None, Mapping[str, object] | None]] = {(): (draft.action, draft.parameters)}
    names |= {(name,): (call.action or None, call.parameters) for name, call in draft.calls.items()}
    for before, (action, parameters) in names.items():
        for kind, path, message in call_problems(action, parameters, catalogue):
            written = (draft.key(str(path[0]), before), *path[1:])
            draft.problem(kind, (*before, *written), message)


def _report_fields(drafts: Sequence[Draft], catalogue: Catalogue, actions: Mapping[int, str | None]) -> None:
    gives = {name: frozenset(known.outputs) for name, known in catalogue.items() if known.outputs is not None}
    outputs = {step: gives[action] for step, action in actions.items() if action in gives}
    for draft in drafts if outputs else ():
        # A quick look first: where in the document a field is named matters only if it is not there.
        if not draft.plain or draft.inputs.names_beyond(outputs):
            _report_draft_fields(draft, catalogue, actions)


def _report_draft_fields(draft: Draft, catalogue: Catalogue, actions: Mapping[int, str | None]) -> None:
    said: set[tuple[int, str]] = set()
    for reference, path in chain(draft.uses(), draft.output_uses()):
        action, field = actions.get(reference.step), reference.field
        if action is None or field is None:
            continue
        signature = catalogue.get(action)
        if signature is None or signature.gives(field) or (reference.step, field) in said:
            continue
        said.add((reference.step, field))
        gives = signature.outputs or ()
        message = f"{short(reference.text)}: {action!r} gives {listed(gives)}, not {field!r}"
        draft.problem("unknown_field", path, message + suggestion(field, gives))

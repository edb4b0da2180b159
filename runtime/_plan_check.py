"""What only shows when the steps of a plan are compared: ids, dependencies, cycles, and the catalogue.

One mistake gives one problem. A second step with an id that is taken is reported and then kept out of the
graph; a dependency on a number that a step with an unusable id may have been meant to have is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import attrs

from ._nearest import listed, suggestion
from ._plan_catalogue import Catalogue, call_problems
from ._plan_data import Path, texts
from ._plan_report import Report, short, step_text
from ._plan_steps import Draft
from ._ready import Graph, levels

_SHOWN_OF_A_CYCLE = 40
_LOOKS_LIKE_A_REFERENCE = re.compile(r"\$step[_-][0-9]+")


@attrs.frozen
class Checked:
    """The graph of the plan: dependencies in plan order, and the levels that follow."""

    dependencies: dict[int, tuple[int, ...]]
    levels: tuple[tuple[int, ...], ...]


def check(drafts: Sequence[Draft], catalogue: Catalogue | None, report: Report) -> Checked:
    """Report everything that is wrong between the steps, and with their actions if there is a catalogue."""
    first, taken_twice = _by_id(drafts)
    place = {step: n for n, step in enumerate(first)}
    claimed = {step for draft in drafts for step in draft.claims}
    graph: dict[int, tuple[int, ...]] = {}
    for draft in drafts:
        needs = _known_needs(draft, place, claimed)
        if draft.id is not None and first[draft.id] is draft:
            graph[draft.id] = tuple(sorted(needs, key=place.__getitem__)) if len(needs) > 1 else tuple(needs)
    by_level = levels(graph)
    _report_cycles(graph, by_level, first, report)
    _report_odd_references(drafts)
    if catalogue is not None:
        _report_actions(drafts, catalogue)
        _report_fields(drafts, catalogue, {k: d for k, d in first.items() if k not in taken_twice})
    return Checked(graph, by_level)


def _by_id(drafts: Sequence[Draft]) -> tuple[dict[int, Draft], set[int]]:
    first: dict[int, Draft] = {}
    twice: set[int] = set()
    for draft in drafts:
        if draft.id is None:
            continue
        if draft.id in first:
            twice.add(draft.id)
            where = f"steps[{first[draft.id].index}]"
            draft.problem("duplicate_id", (draft.key("id"),), f"the id {draft.id} is that of {where} already")
        else:
            first[draft.id] = draft
    return first, twice


def _known_needs(draft: Draft, place: Mapping[int, int], claimed: set[int]) -> list[int]:
    """The other steps of the plan that it depends on; itself and steps that are not there are reported."""
    known: list[int] = []
    for step in draft.needs():
        if step == draft.id:
            path, said = draft.mention(step)
            draft.problem("self_reference", path, f"step {step} waits for itself: it names {said}")
        elif step in place:
            known.append(step)
        elif step not in claimed:
            path, said = draft.mention(step)
            draft.problem(
                "dangling_dependency", path, f"{said}: there is no {step_text(step)}; there are {listed(place)}"
            )
    return known


# ------------------------------------------------------------------ cycles


def _report_cycles(graph: Graph, by_level: Sequence[Sequence[int]], first: Mapping[int, Draft], report: Report) -> None:
    left = set(graph).difference(*by_level)
    if not left:
        return
    inside = {step: [other for other in graph[step] if other in left] for step in graph if step in left}
    for group in _components(inside):
        if len(group) > 1:
            cycle = _cycle_in(group, inside)
            draft = first[cycle[0]]
            path, _ = draft.mention(cycle[1])
            message = f"steps wait for each other in a circle: {_drawn(cycle)}"
            report.add("cycle", ("steps", draft.index, *path), message)


def _components(graph: Mapping[int, Sequence[int]]) -> Iterator[list[int]]:
    """The strongly connected components (Tarjan, with its own stack), each in plan order."""
    number: dict[int, int] = {}
    low: dict[int, int] = {}
    open_steps: dict[int, None] = {}  # a stack with quick membership
    place = {step: n for n, step in enumerate(graph)}
    for root in graph:
        if root in number:
            continue
        number[root] = low[root] = len(number)
        open_steps[root] = None
        work = [(root, iter(graph[root]))]
        while work:
            step, others = work[-1]
            for other in others:
                if other not in number:
                    number[other] = low[other] = len(number)
                    open_steps[other] = None
                    work.append((other, iter(graph[other])))
                    break
                if other in open_steps:
                    low[step] = min(low[step], number[other])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[step])
                if low[step] == number[step]:
                    group = [open_steps.popitem()[0]]
                    while group[-1] != step:
                        group.append(open_steps.popitem()[0])
                    yield sorted(group, key=place.__getitem__)


def _cycle_in(group: Sequence[int], graph: Mapping[int, Sequence[int]]) -> list[int]:
    """A shortest way from the first step of a component back to it; both ends are that step."""
    start, members = group[0], set(group)
    came_from: dict[int, int] = {}
    front = [start]
    while start not in came_from:
        following: list[int] = []
        for step in front:
            for other in graph[step]:
                if other in members and other not in came_from:
                    came_from[other] = step
                    following.append(other)
        front = following
    way = [start]
    while len(way) == 1 or way[-1] != start:
        way.append(came_from[way[-1]])
    return way[::-1]


def _drawn(cycle: Sequence[int]) -> str:
    if len(cycle) <= _SHOWN_OF_A_CYCLE:
        return " -> ".join(map(str, cycle))
    shown = " -> ".join(map(str, cycle[: _SHOWN_OF_A_CYCLE - 2]))
    return f"{shown} -> ... -> {cycle[-1]} ({len(cycle) - 1} steps)"


# ------------------------------------------------------------------ references and actions


def _report_odd_references(drafts: Sequence[Draft]) -> None:
    """In a plan whose ids read `step_1`, `$step_1` was meant as a reference and would stay plain text."""
    if not any(draft.spelt_apart for draft in drafts):
        return
    for draft in drafts:
        for key, value in draft.raw.items():
            for path, text in texts(value):
                if found := _LOOKS_LIKE_A_REFERENCE.search(text):
                    right = found[0].replace("_", "").replace("-", "")
                    message = f"{found[0]} is no reference; write {right}"
                    draft.problem("dangling_dependency", (key, *path), message)


def _report_actions(drafts: Sequence[Draft], catalogue: Catalogue) -> None:
    for draft in drafts:
        names: dict[Path, tuple[str | None, Mapping[str, object] | None]] = {(): (draft.action, draft.parameters)}
        names |= {(name,): (call.action or None, call.parameters) for name, call in draft.calls.items()}
        for before, (action, parameters) in names.items():
            for kind, path, message in call_problems(action, parameters, catalogue):
                written = (draft.key(str(path[0]), before), *path[1:])
                draft.problem(kind, (*before, *written), message)


def _report_fields(drafts: Sequence[Draft], catalogue: Catalogue, by_id: Mapping[int, Draft]) -> None:
    for draft in drafts:
        said: set[tuple[int, str]] = set()
        for reference, path in draft.uses():
            target, field = by_id.get(reference.step), reference.field
            if target is None or field is None or target.action is None or "for_each" in target.templates:
                continue
            signature = catalogue.get(target.action)
            if signature is None or signature.gives(field) or (reference.step, field) in said:
                continue
            said.add((reference.step, field))
            gives = signature.outputs or ()
            message = f"{short(reference.text)}: {target.action!r} gives {listed(gives)}, not {field!r}"
            draft.problem("unknown_field", path, message + suggestion(field, gives))

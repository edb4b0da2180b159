"""Steps that wait for each other in a circle: each tangle is told once, along a shortest circle in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ._plan_draft import Draft
from ._plan_report import Report
from ._ready import Graph

_SHOWN_OF_A_CYCLE = 40


def report_cycles(graph: Graph, by_level: Sequence[Sequence[int]], first: Mapping[int, Draft], report: Report) -> None:
    """Note one problem for each tangle of steps that is in no level because its steps wait for each other."""
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
            report.add("cycle", (*draft.at, *path), message)


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

"""Who sees whom when plans stand in one another.

Ids belong to the whole document. A step sees the steps beside it and those beside every step that it is inside of,
like a name in nested blocks; nobody sees into a plan from outside. What an inner step needs from outside, the step
whose plan it is in waits for: so a plan inside a step has everything before it starts, and its own graph has only its
own steps.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Final

import attrs

from ._nearest import listed
from ._plan_cycles import report_cycles
from ._plan_data import Path
from ._plan_draft import Checked, Draft, InnerDraft
from ._plan_report import Report, short, shown, step_text
from ._ready import levels


@attrs.frozen
class Known:
    """What is known of the whole document when its steps are compared.

    `first`: for each id the step that has it, at any depth. `claimed`: ids that a step with an unusable one may have
    been meant to have. `lost`: steps of an earlier plan that have no result. `alone`: the steps around are not known,
    so an id that is not found may be one of theirs.
    """

    first: Mapping[int, Draft]
    claimed: Collection[int]
    lost: Collection[int]
    report: Report
    alone: bool = False


@attrs.frozen(eq=False)
class _Scope:
    """The steps of one plan by id, in plan order; the step whose plan it is, and the plan around that."""

    place: Mapping[int, int]
    owner: Draft | None = None
    around: _Scope | None = None


_NONE: Final[dict[int, None]] = {}


def with_inner(drafts: Iterable[Draft]) -> Iterator[Draft]:
    """Every draft, each followed by those of its own plan."""
    for draft in drafts:
        yield draft
        if draft.inner is not None:
            yield from with_inner(draft.inner.drafts)


def compare(drafts: Sequence[Draft], known: Known, before: Mapping[int, tuple[int, ...]]) -> Checked:
    """The graph of a plan and of every plan in it, `before` being steps that are done; report what is wrong with it."""
    return _compare(drafts, known, dict(before), None, None)


def _compare(
    drafts: Sequence[Draft],
    known: Known,
    graph: dict[int, tuple[int, ...]],
    owner: Draft | None,
    around: _Scope | None,
) -> Checked:
    first = known.first
    own = [draft.id for draft in drafts if draft.id is not None and first.get(draft.id) is draft]
    place = {step: n for n, step in enumerate((*graph, *own))}
    scope = _Scope(place, owner, around)
    for draft in drafts:
        needs, missing = draft.needs(), _NONE
        if draft.id in needs or not needs.keys() <= place.keys():
            needs, missing = _known_needs(needs, draft, scope, known)
        if draft.inner is not None:
            _compare_inner(draft, draft.inner, scope, known)
            missing = dict(missing)
            for step in draft.borrowed or ():
                (needs if step in place else missing).setdefault(step)
        if draft.policies:
            _check_join(draft, len(needs) + len(missing))
        if draft.id is not None and first.get(draft.id) is draft:
            graph[draft.id] = tuple(sorted(needs, key=place.__getitem__)) if len(needs) > 1 else tuple(needs)
    by_level = _levels_in_order(graph) or levels(graph)
    report_cycles(graph, by_level, known.first, known.report)
    return Checked(graph, by_level)


def _levels_in_order(graph: Mapping[int, tuple[int, ...]]) -> tuple[tuple[int, ...], ...] | None:
    """The levels if every step stands behind those that it waits for, as most planners write it; None if not."""
    level: dict[int, int] = {}
    found: list[list[int]] = []
    for step, needs in graph.items():
        try:
            level[step] = here = max([level[one] for one in needs]) + 1 if needs else 0
        except KeyError:
            return None
        if here == len(found):
            found.append([])
        found[here].append(step)
    return tuple(map(tuple, found))


def _compare_inner(draft: Draft, inner: InnerDraft, around: _Scope, known: Known) -> None:
    inner.checked = _compare(inner.drafts, known, {}, draft, around)
    scope = _Scope(dict.fromkeys(inner.checked.dependencies, 0), draft, around)
    said: set[int] = set()
    for reference, path in draft.output_uses():
        if reference.step not in said and reference.step not in scope.place:
            said.add(reference.step)
            _look_outward(reference.step, scope, known, draft, (path, short(reference.text)))


def _known_needs(
    needs: Iterable[int], draft: Draft, scope: _Scope, known: Known
) -> tuple[dict[int, None], dict[int, None]]:
    """The steps beside it that it depends on, and those that it names and that are not there.

    Itself and steps that are not there are reported; what lies further out is lent to the step that it is inside of.
    """
    found: dict[int, None] = {}
    missing: dict[int, None] = {}
    for step in needs:
        if step == draft.id:
            path, said = draft.mention(step)
            draft.problem("self_reference", path, f"step {step} waits for itself: it names {said}")
        elif step in scope.place:
            found[step] = None
        elif not _look_outward(step, scope, known, draft, None):
            missing[step] = None
    return found, missing


def _look_outward(step: int, scope: _Scope, known: Known, draft: Draft, mention: tuple[Path, str] | None) -> bool:
    """Whether a step outside of this plan can be seen from it; if so, the step that has the plan waits for it."""
    unknown = step not in known.first and step not in known.claimed
    place = scope
    while place.owner is not None and place.around is not None:
        owner, place = place.owner, place.around
        if step == owner.id:
            path, said = mention or draft.mention(step)
            draft.problem("self_reference", path, f"{said}: this is inside step {step}, which cannot wait for itself")
            return True
        if step in place.place or (known.alone and unknown and place.owner is None):
            path, said = mention or draft.mention(step)
            owner.borrowed = {} if owner.borrowed is None else owner.borrowed
            owner.borrowed.setdefault(step, ((*draft.at, *path)[len(owner.at) :], said))
            return True
    if step not in known.claimed and not (known.alone and unknown):
        path, said = mention or draft.mention(step)
        draft.problem("dangling_dependency", path, f"{said}: {_why_not(step, scope, known)}")
    return False


def _why_not(step: int, scope: _Scope, known: Known) -> str:
    if step in known.first:
        return f"{step_text(step)} is inside the plan of another step and cannot be seen from here; name that step"
    there = listed(chain.from_iterable(_visible(scope)))
    if step in known.lost:
        return f"{step_text(step)} of the earlier plan has no result; there are {there}"
    return f"there is no {step_text(step)}; there are {there}"


def _visible(scope: _Scope) -> Iterator[Iterable[int]]:
    """The ids that can be named from a plan, its own first; not those that the plan is inside of."""
    inside: int | None = None
    place: _Scope | None = scope
    while place is not None:
        yield (step for step in place.place if step != inside)
        inside = None if place.owner is None else place.owner.id
        place = place.around


def _check_join(draft: Draft, dependencies: int) -> None:
    join = draft.policies.get("join")
    if isinstance(join, int) and join > dependencies:
        steps = "step" if dependencies == 1 else "steps"
        message = f"'join' is {shown(join)}, more than the {dependencies} {steps} that it waits for"
        draft.problem("wrong_type", ("join",), message)

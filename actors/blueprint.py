"""What can be worked out about a plan before it is run: who waits for whom, who goes first, which steps are plain.

It depends on the plan, the tools and the limits only, so it is made once and kept as long as the plan lives; a run
copies the counters and shares the rest. A *plain* step is one about which nothing has to be asked on its way: a PURE
tool in the event loop, without deadline, retries, fallback, condition, approval, permission or a cap of its own.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping

from trouper.runtime import Form, Own, Plan, ReadySet, Step, filler, form_of, sequential, written

from .dispatch import Caps, Priority
from .tool import Effect, Tool
from .tool_quick import Alike, QuickTool
from .tool_shapes import Anything, DictOf, Shape

ALIKE = 24
"""Steps of one form for which it pays to make functions."""

_LIKE_NO_OTHER = Alike()


class Recipe:
    """One step, as far as it is the same in every run of its plan."""

    __slots__ = (
        "action",
        "alike",
        "behind",
        "caps",
        "id",
        "index",
        "level",
        "own",
        "place",
        "plain",
        "priority",
        "quick",
        "retries",
        "step",
        "sure",
        "tool",
    )

    def __init__(self, step: Step, tool: Tool | None, caps: tuple[str, ...], *, plain: bool = False) -> None:
        self.step: Step = step
        self.id: int = step.id
        self.action: str = step.action
        self.tool: Tool | None = tool
        """None for a sub-plan."""
        self.caps: tuple[str, ...] = caps
        self.retries: int = step.max_retries if step.max_retries is not None else tool.retries if tool else 0
        self.plain: bool = plain
        self.quick: QuickTool
        """Of a plain step, like the next two."""
        self.alike: Alike = _LIKE_NO_OTHER
        self.own: Own = ()
        """What the functions that `alike` has need of it."""
        self.sure: type | None = None
        """The class of results that are what the tool declares, whatever is in them; None if nothing is declared."""
        self.level: int = 0
        self.index: int = 0
        """Its place in the `ReadySet`."""
        self.place: int = 0
        """Its place among all steps of the plan in the order of priority: the smallest goes first."""
        self.behind: int = 0
        """How many steps have ended, in this order, when the last of those that it depends on has."""
        self.priority: Priority = (0.0,)

    @property
    def called(self) -> Tool:
        """The tool of a step that has one."""
        assert self.tool is not None  # noqa: S101 - only a sub-plan has none
        return self.tool


class Blueprint:
    """A plan as it can be run: its steps by id and in the order of priority, its levels, its counters."""

    __slots__ = ("by_index", "enough", "in_order", "others", "place_of", "ready", "recipes", "sizes")

    def __init__(self, plan: Plan, tools: Mapping[str, Tool], caps: Caps, *, ranked: bool) -> None:
        kinds: dict[str, _Kind] = {}
        self.recipes: dict[int, Recipe] = {}
        for step in plan.steps:
            if step.plan is not None:
                self.recipes[step.id] = Recipe(step, None, ())
                continue
            kind = kinds.get(step.action)
            if kind is None:
                kind = kinds[step.action] = _Kind(tools[step.action], caps)
            self.recipes[step.id] = kind.recipe(step)
        for kind in kinds.values():
            kind.look_for_alike()
        self.sizes: tuple[int, ...] = tuple(map(len, plan.levels))
        for number, ids in enumerate(plan.levels):
            for step_id in ids:
                self.recipes[step_id].level = number
        if ranked:
            ranks = _ranks(plan)
            for number, (step_id, recipe) in enumerate(self.recipes.items()):
                recipe.priority = (-ranks[step_id], number)
        else:
            for number, step_id in enumerate(sequential(plan.dependencies)):
                self.recipes[step_id].priority = (number,)
        self.in_order: tuple[Recipe, ...] = tuple(sorted(self.recipes.values(), key=lambda recipe: recipe.priority))
        places: dict[int, int] = {}
        for place, recipe in enumerate(self.in_order):
            recipe.place = places[recipe.id] = place
        for step_id, needs in plan.dependencies.items():
            if needs:
                self.recipes[step_id].behind = 1 + max(map(places.__getitem__, needs))
        self.enough: dict[int, int] = {s.id: s.enough(len(plan.dependencies[s.id])) for s in plan.steps if s.lenient}
        self.ready: ReadySet = ReadySet(plan.dependencies, enough=self.enough or None)
        self.by_index: tuple[Recipe, ...] = tuple(map(self.recipes.__getitem__, self.ready.counters().steps))
        for index, recipe in enumerate(self.by_index):
            recipe.index = index
        self.place_of: list[int] = [recipe.place for recipe in self.by_index]
        self.others: frozenset[int] = frozenset(step.id for step in self.recipes.values() if not step.plain)
        """The steps that are not plain."""


class _Kind:
    """The steps of one tool."""

    def __init__(self, tool: Tool, caps: Caps) -> None:
        self.tool = tool
        self.caps: tuple[str, ...] = caps.of(tool)
        self.plain: bool = not self.caps and _may_be_plain(tool)
        self.quick = QuickTool(tool)
        self.sure = _sure(tool.gives) if tool.gives is not None else None
        self.forms: dict[Form, list[Recipe]] = {}

    def recipe(self, step: Step) -> Recipe:
        plain = self.plain and _is_plain(step)
        recipe = Recipe(step, self.tool, self.caps, plain=plain)
        if plain:
            recipe.quick, recipe.sure = self.quick, self.sure
            found = form_of(step.inputs)
            if found is not None:
                form, recipe.own = found
                self.forms.setdefault(form, []).append(recipe)
        return recipe

    def look_for_alike(self) -> None:
        for form, recipes in self.forms.items():
            if len(recipes) >= ALIKE:
                alike, picked = Alike(form, filler(form)), written(form).picked
                self.quick.alike.append(alike)
                for recipe in recipes:
                    recipe.alike, recipe.own = alike, picked(recipe.own)


def blueprint_of(plan: Plan, tools: Mapping[str, Tool], caps: Caps, *, ranked: bool) -> Blueprint:
    """The blueprint of a plan: the one that was made for the run before, if it was for the same tools and caps."""
    found = _made.get(id(plan))
    if found is not None:
        of, its_tools, its_caps, its_ranked, blueprint = found
        if of() is plan and its_tools is tools and its_caps is caps and its_ranked == ranked:
            return blueprint
    blueprint = Blueprint(plan, tools, caps, ranked=ranked)
    key = id(plan)
    # By identity: the hash of a plan is that of everything in it.
    _made[key] = weakref.ref(plan, lambda _: _made.pop(key, None)), tools, caps, ranked, blueprint
    return blueprint


_made: dict[int, tuple[weakref.ref[Plan], Mapping[str, Tool], Caps, bool, Blueprint]] = {}


def recipe_of(step: Step, tools: Mapping[str, Tool], caps: Caps) -> Recipe:
    """What there is to know about a step of which the plan is not complete."""
    tool = tools[step.action] if step.plan is None else None
    return Recipe(step, tool, caps.of(tool) if tool is not None else ())


def _may_be_plain(tool: Tool) -> bool:
    if tool.effect is not Effect.PURE or not tool.light or tool.wants_context:
        return False
    return tool.permission is None and tool.timeout is None and not tool.retries


def _is_plain(step: Step) -> bool:
    if step.condition is not None or step.approval or step.max_retries or step.timeout_s is not None:
        return False
    return step.for_each is None and step.fallback is None and step.critical is not True and not step.lenient


def _sure(gives: Shape) -> type:
    if isinstance(gives, DictOf) and isinstance(gives.value, Anything):
        return dict
    return gives.exact()


def _ranks(plan: Plan) -> dict[int, float]:
    """The length of the longest chain that begins with each step; the levels are an order to count it in."""
    ranks = dict.fromkeys(plan.dependencies, 1.0)
    for level in reversed(plan.levels):
        for step in level:
            beyond = ranks[step] + 1.0
            for dependency in plan.dependencies[step]:
                ranks[dependency] = max(ranks[dependency], beyond)
    return ranks

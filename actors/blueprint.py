"""What can be worked out about a plan before it is run: who waits for whom, who goes first, which steps are plain.

It depends on the plan, the tools and the limits only, so it is made once and kept as long as the plan lives; a run
copies the counters and shares the rest. A *plain* step is one about which nothing has to be asked on its way: a PURE
tool in the event loop, without deadline, retries, fallback, condition, approval, permission or a cap of its own.
"""

from __future__ import annotations

import weakref
from collections.abc import Awaitable, Callable, Mapping

from trouper.runtime import Plan, ReadySet, Step, resolver, sequential

from .dispatch import Caps, Priority
from .protocols import Json
from .tool import Effect, Tool
from .tool_context import ToolContext
from .tool_drive import Suspended
from .tool_place import ToolPlace
from .tool_quick import Begin, quick_begin
from .tool_shapes import Anything, DictOf, Shape

GoOn = Callable[[Suspended, ToolContext, ToolPlace], Awaitable[Json]]


class Recipe:
    """One step, as far as it is the same in every run of its plan."""

    __slots__ = (
        "action",
        "asks",
        "begin",
        "caps",
        "go_on",
        "id",
        "level",
        "place",
        "plain",
        "priority",
        "resolve",
        "retries",
        "step",
        "sure",
        "tool",
    )

    def __init__(self, step: Step, tool: Tool | None, caps: tuple[str, ...]) -> None:
        self.step: Step = step
        self.id: int = step.id
        self.action: str = step.action
        self.tool: Tool | None = tool
        """None for a sub-plan."""
        self.caps: tuple[str, ...] = caps
        self.begin: Begin
        self.go_on: GoOn
        self.retries: int = step.max_retries if step.max_retries is not None else tool.retries if tool else 0
        self.asks: bool = step.condition is not None or bool(step.approval)
        """Something is asked before it may start."""
        self.plain: bool = not self.asks and not caps and not self.retries and _plain(step, tool)
        self.resolve: Callable[[Mapping[int, object]], object] = resolver(step.inputs)
        self.sure: type | None = _sure(tool.gives) if tool is not None and tool.gives is not None else None
        """The class of results that are what the tool declares, whatever is in them; None if nothing is declared."""
        self.level: int = 0
        self.place: int = 0
        """Its place among all steps of the plan in the order of priority: the smallest goes first."""
        self.priority: Priority = (0.0,)

    @property
    def called(self) -> Tool:
        """The tool of a step that has one."""
        assert self.tool is not None  # noqa: S101 - only a sub-plan has none
        return self.tool


class Blueprint:
    """A plan as it can be run: its steps by id and in the order of priority, its levels, its counters."""

    __slots__ = ("enough", "in_order", "ready", "recipes", "sizes")

    def __init__(self, plan: Plan, tools: Mapping[str, Tool], caps: Caps, *, ranked: bool) -> None:
        self.recipes: dict[int, Recipe] = {step.id: recipe_of(step, tools, caps) for step in plan.steps}
        # One for each tool, not for each step: what all steps share stays in the processor's cache.
        begins = {recipe.tool: quick_begin(recipe.called) for recipe in self.recipes.values() if recipe.plain}
        for recipe in self.recipes.values():
            if recipe.plain:
                recipe.begin, recipe.go_on = begins[recipe.tool], recipe.called.go_on
        self.sizes: tuple[int, ...] = tuple(map(len, plan.levels))
        for number, ids in enumerate(plan.levels):
            for step in ids:
                self.recipes[step].level = number
        if ranked:
            ranks = _ranks(plan)
            for number, (step, recipe) in enumerate(self.recipes.items()):
                recipe.priority = (-ranks[step], number)
        else:
            for number, step in enumerate(sequential(plan.dependencies)):
                self.recipes[step].priority = (number,)
        self.in_order: tuple[Recipe, ...] = tuple(sorted(self.recipes.values(), key=lambda recipe: recipe.priority))
        for place, recipe in enumerate(self.in_order):
            recipe.place = place
        self.enough: dict[int, int] = {s.id: s.enough(len(plan.dependencies[s.id])) for s in plan.steps if s.lenient}
        self.ready: ReadySet = ReadySet(plan.dependencies, enough=self.enough or None)


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
    """What there is to know about a step."""
    tool = tools[step.action] if step.plan is None else None
    return Recipe(step, tool, caps.of(tool) if tool is not None else ())


def _plain(step: Step, tool: Tool | None) -> bool:
    if tool is None or tool.effect is not Effect.PURE or not tool.light or tool.wants_context:
        return False
    if tool.permission is not None or tool.timeout is not None or step.timeout_s is not None:
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

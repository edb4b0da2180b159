"""One step on its way through a run: what was worked out once, and what changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from trouper.runtime import Step

from .dispatch import Claim, Priority
from .tool import Effect, Tool

if TYPE_CHECKING:
    from .blueprint import Recipe
    from .level import Level


class Job:
    """A step, its tool and its level; `holding` says whether it has a slot now. One for each step: no more than slots.

    Also what runs the elements of a `for_each` has one each, so that every slot has one holder.
    """

    __slots__ = (
        "caps",
        "claim",
        "holding",
        "level",
        "priority",
        "ready",
        "recipe",
        "retries",
        "step",
        "tool",
        "waits",
    )

    def __init__(self, recipe: Recipe) -> None:
        self.recipe: Recipe = recipe
        self.step: Step = recipe.step
        self.tool: Tool | None = recipe.tool
        """None for a sub-plan."""
        self.caps: tuple[str, ...] = recipe.caps
        self.retries: int = recipe.retries
        self.level: Level | None = None
        self.priority: Priority | None = None
        self.claim: Claim | None = None
        """Its wish for a slot, once it stood in line."""
        self.holding: bool = False
        self.ready: float = 0.0
        self.waits: dict[str, float] | None = None

    def waited(self, what: str, seconds: float) -> None:
        """Add to what the step has waited for."""
        if seconds > 0:
            self.waits = self.waits if self.waits is not None else {}
            self.waits[what] = self.waits.get(what, 0.0) + seconds

    def again(self) -> Job:
        """The same step for another of its elements."""
        job = Job(self.recipe)
        job.level, job.priority, job.ready = self.level, self.priority, self.ready
        return job

    @property
    def early(self) -> bool:
        """It may start before the plan is complete: nothing in it has an effect, and nobody is asked."""
        return not self.step.approval and _pure(self.step, self.tool)


class Jobs(dict[int, Job]):
    """The jobs of a plan, each made when it is first asked for: a plain step that succeeds never needs one."""

    __slots__ = ("_levels", "_recipes")

    def __init__(self, recipes: Mapping[int, Recipe], levels: Sequence[Level]) -> None:
        super().__init__()
        self._recipes = recipes
        self._levels = levels

    def __missing__(self, step: int) -> Job:
        recipe = self._recipes[step]
        job = self[step] = Job(recipe)
        job.level, job.priority = self._levels[recipe.level], recipe.priority
        return job


def _pure(step: Step, tool: Tool | None) -> bool:
    # A sub-plan waits for the whole plan: what is in it would have to be looked through.
    return step.plan is None and tool is not None and tool.effect is Effect.PURE and step.fallback is None

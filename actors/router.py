"""Which agent a goal goes to. An agent is a route: a subset of the tools, a model role, and limits.

Routing is plain code, not a model call: it must be right about what it shuts out, cheap, and the same each time. A
narrow route makes a short catalogue, and a model that sees six tools misuses fewer than one that sees sixty. When the
words of a goal do not single out a route, the goal gets every tool.
"""

from __future__ import annotations

import logging
from collections.abc import Collection

import attrs

from trouper.runtime import Actor, handler

from .intent import read_intent
from .messages import Route, RouteGoal

log: logging.Logger = logging.getLogger("trouper.router")


@attrs.frozen(kw_only=True)
class Agent:
    """A specialist: the kinds of work it does, its tools, the model role that plans for it, its limits."""

    name: str
    kinds: frozenset[str]
    tools: tuple[str, ...]
    role: str = "planner"
    max_steps: int = 64


AGENTS: tuple[Agent, ...] = (
    Agent(
        name="arithmetic",
        kinds=frozenset({"arithmetic", "report", "memory"}),
        tools=("calculate", "create_report", "write_file", "remember", "reply"),
        max_steps=16,
    ),
    Agent(
        name="memory",
        kinds=frozenset({"memory", "report", "analysis"}),
        tools=("remember", "recall", "search_documents", "summarize", "create_report", "reply"),
        max_steps=16,
    ),
    Agent(
        name="files",
        kinds=frozenset({"files", "report", "analysis", "memory", "arithmetic"}),
        tools=(
            "search_files",
            "read_file",
            "analyze_content",
            "summarize",
            "create_report",
            "write_file",
            "calculate",
            "remember",
            "recall",
            "search_documents",
            "reply",
        ),
    ),
)
"""From narrow to wide: the first that covers every kind of work in a goal, and does its main one, takes it."""


def choose_route(goal: str, available: Collection[str], agents: tuple[Agent, ...] = AGENTS) -> Route:
    """The first agent that covers the goal; every tool when none does, or when the user brought tools of his own.

    A user's own tools are in every route: their author put them there to be used.
    """
    kinds = set(read_intent(goal).kinds)
    built_in = {name for agent in agents for name in agent.tools} | {"fetch_url"}
    own = tuple(sorted(set(available) - built_in))
    for agent in agents:
        if agent.name in kinds and kinds <= agent.kinds:
            tools = tuple(name for name in agent.tools if name in available)
            return Route(name=agent.name, tools=tools + own, role=agent.role, max_steps=agent.max_steps)
    return Route(name="everything", tools=tuple(sorted(available)))


class Router(Actor):
    """Answers `RouteGoal` for a fixed set of tools."""

    def __init__(self, tools: Collection[str]) -> None:
        self._tools = tuple(sorted(tools))

    @handler
    async def route(self, message: RouteGoal) -> Route:
        """See `choose_route`."""
        route = choose_route(message.goal, self._tools)
        log.info("[ROUTER] %s: %d of %d tools", route.name, len(route.tools), len(self._tools))
        return route

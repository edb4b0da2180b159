"""The tool that answers."""

from __future__ import annotations

from typing import TypedDict

from trouper.actors.tool import Effect, Tool, tool

from .step_results import as_text


class Reply(TypedDict):
    """What reply gives."""

    message: str


def make() -> list[Tool]:
    """reply, which needs nothing."""
    return [tool(effect=Effect.PURE, isolation="task")(reply)]


def reply(message: object) -> Reply:
    """Answer the person who asked.

    Args:
        message: the answer; a result of another step is told as readable text.
    """
    return Reply(message=as_text(message))

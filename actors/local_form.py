"""Planning with a small model: the rules first, then a form that the model fills in, else the refusal of the rules.

Rules and model end in the same form and the same compiler. What the rules explain word by word needs no model. For the
rest the model chooses among what the goal says; what it chose is acted on only where the goal bears it out. Nothing is
repaired and nothing is guessed: below that a goal is refused, and the refusal says what was missing on either side.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable

import attrs

from trouper.runtime import GoalRefused

from .intent_form import Choices, Unfilled
from .intent_form_evidence import unsupported
from .intent_form_prompt import form_prompt
from .protocols import ChatMessage, ChatReply, ChatRequest
from .rules import Form, parse_goal

log: logging.Logger = logging.getLogger("trouper.planner")

ANSWER = 512
"""Tokens of a filled-in form, white space between its parts included."""

AskModel = Callable[[ChatRequest], Awaitable[ChatReply]]


@attrs.frozen
class Understood:
    """A goal as a form; `by` is who has understood it: `rules` or `local-form`."""

    form: Form
    by: str


async def understand(goal: str, ask: AskModel, *, role: str = "planner") -> Understood:
    """The form of a goal, by the rules if they can, else by the model that `ask` asks.

    Raises:
        GoalRefused: neither has understood it.
        LLMError: the model could not be asked, or was cut off.
    """
    try:
        return Understood(parse_goal(goal), "rules")
    except GoalRefused as refusal:
        by_rules = refusal
    try:
        choices = Choices.of(goal)
    except ValueError:
        raise by_rules from None
    reply = await ask(form_request(choices, role=role))
    try:
        filled = json.loads(reply.text)
        form = choices.form(filled)
    except ValueError as wrong:
        log.info("[PLANNER] the form of the model is refused: %s", wrong)
        raise _refused(by_rules, f"The model could not fill in a form for it either: {wrong}.") from wrong
    missing = unsupported(choices, filled, form)
    if missing:
        log.info("[PLANNER] the form of the model is refused for %s: %s", missing, reply.text)
        words = ", ".join(dict.fromkeys(map(repr, missing)))
        raise _refused(by_rules, f"The model filled in a form for it, which this goal does not bear out: {words}.")
    return Understood(form, "local-form")


def form_request(choices: Choices, *, role: str = "planner") -> ChatRequest:
    """What the model is asked: fixed text first, the goal last, the answer bound to what the goal offers."""
    return ChatRequest(
        messages=(ChatMessage("system", form_prompt()), ChatMessage("user", f"Goal: {' '.join(choices.goal.split())}")),
        schema=choices.schema(),
        schema_name="form",
        max_tokens=ANSWER,
        role=role,
        seed=0,
    )


def _refused(refusal: GoalRefused, why: str) -> GoalRefused:
    """What the rules said, and what became of the model's try."""
    return GoalRefused(f"{refusal.reason}\n{why}", unexplained=refusal.unexplained, patterns=refusal.patterns)


__all__ = ["AskModel", "Understood", "Unfilled", "form_request", "understand"]

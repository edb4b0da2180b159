"""The form that a small model fills in: what is offered, what is taken, and who plans when."""

from __future__ import annotations

import json
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.goals.judge import verdict
from tests.goals.rate import SETS, load
from trouper.actors.intent_form import OTHER, Choices, Unfilled
from trouper.actors.intent_form_evidence import unsupported
from trouper.actors.intent_form_prompt import EXAMPLES, form_prompt
from trouper.actors.local_form import form_request, understand
from trouper.actors.protocols import ChatReply
from trouper.actors.rules.form_compiler import ACTIONS, compile_form
from trouper.runtime import GoalRefused, ModelUnavailable, parse_plan

ALL = {**SETS, "loose": ("loose", None)}
GOALS = [goal for name in ALL for goal in load(*ALL[name])]
WORDED = "My colleague left handover.md here; I would love a short recap of it"


def fills(choices: Choices, chance: random.Random, number: int):
    """Forms as a model fills them in that answers at random."""
    for _ in range(number):
        variant = chance.choice(choices.schema()["anyOf"])
        yield {key: chance.choice(part["enum"]) for key, part in variant["properties"].items()}


def taken(choices: Choices, filled: object) -> list[dict[str, object]] | None:
    """The steps of a filled-in form that is acted on."""
    try:
        form = choices.form(filled)
        return None if unsupported(choices, filled, form) else compile_form(form, actions=ACTIONS)
    except (Unfilled, GoalRefused):
        return None


def at_random(number: int) -> tuple[int, list[str], list[str]]:
    """Of all goals: how many a model that answers at random plans rightly, and which wrongly, which against reason."""
    right, wrong, unreasonable = 0, [], []
    for goal in GOALS:
        choices = Choices.of(goal["goal"])
        plans = [taken(choices, filled) for filled in fills(choices, random.Random(goal["goal"]), number)]
        plans = [plan for plan in plans if plan is not None]
        if not goal.get("possible", True):
            unreasonable += [goal["goal"]] * bool(plans)
            continue
        verdicts = [verdict(goal, plan) for plan in plans]
        right += "" in verdicts
        wrong += [goal["goal"]] * any(verdicts)
    return right, wrong, unreasonable


MORE = [
    ", then delete it",
    "and email it to Bob",
    "in French",
    "but only the first page",
    "every Monday",
    "and translate it",
    "except for the last part",
    "and print it",
    "and post it on Slack",
    ", sorted by date",
    "and ask Anna about it",
    "and call me",
    "and fix it",
    "with pictures",
    "unless it is empty",
    "and rename it to x.md",
    "and upload it",
    "as a poem",
    "and hum a tune",
    "and explain it to my grandmother",
    "twice",
    "before noon",
    "and frame it",
    "and bin the rest",
    "as a spreadsheet",
    "and polish the wording",
    "for each of my colleagues",
]
"""Wishes that no tool can fulfil, to be hung on goals that can be."""


def with_a_wish_more(goals) -> list[tuple[str, dict[str, object]]]:
    """Forms that are acted on although the goal has such a wish; what is remembered word for word holds it as well."""
    found: list[tuple[str, dict[str, object]]] = []
    for goal in goals:
        for more in MORE:
            text = f"{goal['goal'].rstrip('.?! ')} {more}"
            choices = Choices.of(text)
            some = fills(choices, random.Random(text), 5)
            found += [(text, one) for one in some if one["do"] != "note" and taken(choices, one) is not None]
    return found


def test_a_wish_more_that_no_tool_can_fulfil_ends_every_goal() -> None:
    """Six goals with 27 wishes each."""
    possible = [goal for goal in GOALS if goal.get("possible", True)]

    assert with_a_wish_more(random.Random(7).sample(possible, 6)) == []


@pytest.mark.slow
def test_a_wish_more_ends_all_goals_but_a_few_in_a_thousand() -> None:
    possible = [goal for goal in GOALS if goal.get("possible", True)]
    found = {text for text, _ in with_a_wish_more(possible)}

    assert len(found) <= 0.002 * len(possible) * len(MORE), found


def test_a_model_that_answers_at_random_gets_no_wrong_plan_past_the_gate() -> None:
    """350 goals, 150 of them impossible; the two bounds are a hundredth of each kind."""
    right, wrong, unreasonable = at_random(12)

    assert right >= 90  # else this would be easy
    assert len(wrong) <= 2, wrong
    assert len(unreasonable) <= 1, unreasonable


@pytest.mark.slow
def test_not_even_in_a_thousand_answers_for_each_goal() -> None:
    right, wrong, unreasonable = at_random(1000)

    assert right >= 150
    assert len(wrong) <= 2, wrong
    assert len(unreasonable) <= 2, unreasonable


@pytest.mark.parametrize(("goal", "filled"), [(goal, filled) for goal, filled in EXAMPLES if filled["do"] != OTHER])
def test_each_example_of_the_prompt_is_one_that_would_be_acted_on(goal, filled) -> None:
    assert taken(Choices.of(goal), filled)


@pytest.mark.parametrize("goal", [goal for goal, filled in EXAMPLES if filled["do"] == OTHER])
def test_what_the_prompt_calls_something_else_cannot_be_planned_by_chance(goal) -> None:
    choices = Choices.of(goal)

    assert not any(taken(choices, filled) for filled in fills(choices, random.Random(goal), 200))


@given(st.text(max_size=300) | st.sampled_from([goal["goal"] for goal in GOALS]), st.randoms(use_true_random=False))
@settings(max_examples=80, deadline=None)
def test_every_text_that_is_offered_stands_in_the_goal_and_every_form_taken_is_a_plan(goal, chance) -> None:
    fixed = {"read", "search", "list", "recall", "note", "calculate", "nothing", "summarise", "compare", "count lines"}
    fixed |= {"outline", OTHER, "", "here"}
    choices = Choices.of(goal)
    for variant in choices.schema()["anyOf"]:
        for part in variant["properties"].values():
            texts = [value for value in part["enum"] if isinstance(value, str) and value not in fixed]
            assert all(piece in goal for text in texts for piece in text.split(" + "))
    for filled in fills(choices, chance, 5):
        plan = taken(choices, filled)
        if plan is not None:
            parse_plan({"goal": "g", "steps": plan}, catalogue=None)


@pytest.mark.parametrize(
    ("goal", "filled"),
    [
        ("Summarise a.md into b.md", {"files": "b.md", "then": "summarise", "save_as": "a.md"}),
        ("Summarise a.md", {"files": "a.md", "then": "nothing"}),
        ("Open a.md", {"files": "a.md", "then": "summarise"}),
        ("Open a.md", {"files": "a.md", "remember": True}),
        ("Open a.md and remember it", {"files": "a.md"}),
        ("Open a.md and b.md", {"files": "a.md"}),
        ("Open a.md", {"files": "c.md"}),
        ("Open a.md", {"files": "a.md", "about": "the passwords"}),
        ("Open a.md", {"files": "a.md", "steps": []}),
        ("Open a.md", []),
    ],
)
def test_a_form_that_says_more_or_less_than_its_goal_is_not_acted_on(goal, filled) -> None:
    whole = {"do": "read", "then": "nothing", "about": "", "save_as": "", "remember": False}

    assert taken(Choices.of(goal), {**whole, **filled} if isinstance(filled, dict) else filled) is None


@pytest.mark.parametrize(
    "goal",
    [
        "My colleague left handover.md here; email a short recap of it",
        "My colleague left handover.md here; I would love a German recap of it",
        "My colleague left handover.md here; I would love a recap of it without names",
        "My colleague left handover.md here; I would love a recap of it, then shred it",
        "My colleague left handover.md and old.md here; ignore one, I would love a short recap",
    ],
)
def test_one_word_more_that_no_tool_can_do_and_the_goal_is_refused(goal) -> None:
    choices = Choices.of(goal)
    filled = [*fills(choices, random.Random(1), 500)]

    assert taken(Choices.of(WORDED), right(WORDED))
    assert not any(taken(choices, one) for one in filled)


def right(goal: str) -> dict[str, object]:
    """How a good model fills the form in for `WORDED`."""
    return {"do": "read", "files": "handover.md", "then": "summarise", "about": "", "save_as": "", "remember": False}


# ------------------------------------------------------------------ who understands a goal
class Model:
    """Says one thing and counts."""

    def __init__(self, said: object) -> None:
        self.said = said
        self.asked: list[object] = []

    async def __call__(self, request) -> ChatReply:
        self.asked.append(request)
        if isinstance(self.said, Exception):
            raise self.said
        return ChatReply(text=self.said if isinstance(self.said, str) else json.dumps(self.said))


async def test_what_the_rules_explain_needs_no_model() -> None:
    model = Model(ModelUnavailable("down"))

    understood = await understand("Read README.md and summarise it", model)

    assert (understood.by, model.asked) == ("rules", [])


async def test_what_they_refuse_the_model_fills_in() -> None:
    model = Model(right(WORDED))

    understood = await understand(WORDED, model)
    steps = compile_form(understood.form, actions=ACTIONS)

    assert understood.by == "local-form"
    assert [step["action"] for step in steps] == ["read_file", "summarize"]
    assert len(model.asked) == 1


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"do": OTHER}, "found nothing here"),
        ("I would rather chat", "could not fill in a form"),
        ({**right(WORDED), "files": "other.md"}, "could not fill in a form"),
        ([1], "no object"),
    ],
)
async def test_where_the_model_fails_too_the_goal_is_refused_with_the_words_of_the_rules(said, why) -> None:
    with pytest.raises(GoalRefused, match=why) as refused:
        await understand(WORDED, Model(said))

    assert refused.value.patterns
    assert "I do not understand" in refused.value.reason


async def test_a_form_that_the_goal_does_not_bear_out_is_refused_and_names_the_words() -> None:
    goal = "My colleague left handover.md here; I would love a short recap of it, framed on the wall"

    with pytest.raises(GoalRefused, match="does not bear out: 'framed'"):
        await understand(goal, Model(right(goal)))


async def test_a_model_that_cannot_be_asked_is_no_refusal() -> None:
    with pytest.raises(ModelUnavailable):
        await understand(WORDED, Model(ModelUnavailable("down")))


async def test_a_goal_too_long_for_a_small_model_is_refused_without_asking_it() -> None:
    model = Model("{}")

    with pytest.raises(GoalRefused):
        await understand(f"{WORDED} {'and more ' * 300}", model)
    assert model.asked == []


def test_the_prompt_begins_alike_for_every_goal_and_the_goal_comes_last() -> None:
    one, other = (form_request(Choices.of(goal)) for goal in ("Open a.md", WORDED))

    assert one.messages[0] == other.messages[0]
    assert one.messages[0].content == form_prompt()
    assert one.messages[-1].content == "Goal: Open a.md"
    assert (one.seed, one.temperature) == (0, 0.0)
    assert math.isfinite(one.max_tokens)

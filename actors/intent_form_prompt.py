"""What a small model is told before it fills in the form: the same for every goal, so that a server computes it once.

All examples stand in it for every goal: a fixed text of 1,500 tokens costs nothing from the second goal on, and picking
the likest examples gave worse forms. The goal comes last. Each example is a goal that the form can express, filled in
as this file's test checks: it is among what that goal offers, and it passes the gate.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping

from .intent_form import OTHER

Filled = Mapping[str, object]


def _read(files: str, then: str = "nothing", about: str = "", save_as: str = "", *, remember: bool = False) -> Filled:
    return {"do": "read", "files": files, "then": then, "about": about, "save_as": save_as, "remember": remember}


def _search(
    text: str, place: str, then: str = "nothing", about: str = "", save_as: str = "", *, remember: bool = False
) -> Filled:
    return {
        "do": "search",
        "text": text,
        "in": place,
        "then": then,
        "about": about,
        "save_as": save_as,
        "remember": remember,
    }


def _list(place: str) -> Filled:
    return {"do": "list", "in": place, "save_as": "", "remember": False}


def _recall(topic: str, then: str = "nothing", save_as: str = "") -> Filled:
    return {"do": "recall", "topic": topic, "then": then, "save_as": save_as}


def _calculate(expression: str, save_as: str = "", *, remember: bool = False) -> Filled:
    return {"do": "calculate", "expression": expression, "save_as": save_as, "remember": remember}


_OTHER: Filled = {"do": OTHER}

EXAMPLES: tuple[tuple[str, Filled], ...] = (
    ("Open plan.md", _read("plan.md")),
    ("Give me a short overview of docs/setup.md", _read("docs/setup.md", "summarise")),
    ("Email report.md to the team", _OTHER),
    ("Read budget.txt and save a summary in budget.md", _read("budget.txt", "summarise", save_as="budget.md")),
    ("Find FIXME in ./lib", _search("FIXME", "./lib")),
    ("What did I tell you about the garage key?", _recall("the garage key")),
    ("Compare old.yaml and new.yaml", _read("old.yaml + new.yaml", "compare")),
    ("Work out 12 * 14", _calculate("Work out 12 * 14")),
    ("Remember that the printer is on floor 3", {"do": "note", "fact": "the printer is on floor 3"}),
    ("Delete all files in ./tmp", _OTHER),
    (
        "Search ./logs for 'out of memory' and write the lines to memory.md",
        _search("'out of memory'", "./logs", save_as="memory.md"),
    ),
    ("How many lines does data.csv have? Count them", _read("data.csv", "count lines")),
    ("Recall the travel plans and put them into travel.md", _recall("the travel plans", save_as="travel.md")),
    ("Summarise intro.md and remember it", _read("intro.md", "summarise", remember=True)),
    ("Look for TODO in ./app and summarise what you find", _search("TODO", "./app", "summarise")),
    ("Tell me a joke", _OTHER),
    ("What is 15% of 80? Save it to tip.txt", _calculate("What is 15% of 80", "tip.txt")),
    (
        "Contrast a.txt with b.txt and write the differences into changes.md",
        _read("a.txt + b.txt", "compare", save_as="changes.md"),
    ),
    ("Show the outline of thesis.md", _read("thesis.md", "outline")),
    ("Explain the licence terms in contract.txt", _read("contract.txt", "summarise", "the licence terms")),
    (
        "List the Python files in ./tools",
        {"do": "list", "in": "Python files in ./tools", "save_as": "", "remember": False},
    ),
    ("What is the capital of France?", _OTHER),
    (
        "Extract the open questions from minutes.md and store them in questions.md",
        _read("minutes.md", "summarise", "the open questions", "questions.md"),
    ),
    ("Calculate 7 * 24 and remember the result", _calculate("Calculate 7 * 24", remember=True)),
    ("Grep ./src for 'import os' and remember the hits", _search("'import os'", "./src", remember=True)),
    ("Read one.md, two.md and three.md and summarise them", _read("one.md + two.md + three.md", "summarise")),
)
"""Goals and how they are filled in."""

_HEAD = f"""\
Fill in a form for a goal. Answer with one JSON object and nothing else. "do" says what is to be done:
read: one or more files. search: a text in files. list: names of files. recall: what was remembered before.
note: remember a fact. calculate: arithmetic. {OTHER}: whatever is none of these.
"then": what is done with it. "about": the question, in the words of the goal, if there is one.
"save_as": the file that is written, if the goal names one. "remember": true only if the goal says so.
Use only words of the goal. Do not add anything that the goal does not ask for."""


@functools.cache
def form_prompt() -> str:
    """The fixed part of the prompt."""
    lines = [_HEAD]
    for goal, filled in EXAMPLES:
        lines += [f"Goal: {goal}", json.dumps(filled, separators=(",", ":"))]
    return "\n".join(lines)

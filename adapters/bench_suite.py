"""The goals that `trouper bench` runs: twelve kinds of work, each several times, with the plans a model would write.

The shapes are those of plans that agents are seen to make: an answer at once, a pipeline, a fan-out and a join, a
diamond, lanes of unequal speed, one step for each element of a list, branches, a trip with many bookings, things to
remember and to recall, and the same question once more. Everything is data and depends on nothing but `repeats`: the
server that plays the model is given the very same plans and answers as rules.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence

import attrs

from .model_server_script import ServerRule

Step = dict[str, object]

SERVICE_SECONDS = 0.05
"""What `look_up` takes: a service of the user's own, beside the model."""

VERIFIER = "You check one step of a plan"
"""How the verifier's prompt begins."""

SUBJECTS = ("harbour", "orchard", "library", "foundry", "museum", "vineyard", "airfield", "quarry")
TOPICS = ("cost", "staff", "risk", "delay", "energy", "safety", "demand", "supply")


@attrs.frozen(kw_only=True)
class BenchGoal:
    """One goal of the suite, and the plan that the model answers it with."""

    number: int
    kind: str
    text: str
    steps: tuple[Mapping[str, object], ...]
    answers: tuple[ServerRule, ...]
    """What the model says to the tools of its steps."""

    @property
    def plan(self) -> str:
        """What the model writes, goal and all."""
        return json.dumps({"reasoning": f"a plan for {self.kind}", "steps": list(self.steps)}, separators=(",", ":"))


# ------------------------------------------------------------------ steps
def _look(number: int, topic: str) -> Step:
    return {"id": number, "action": "look_up", "parameters": {"topic": topic}}


def _reply(number: int, message: str, **more: object) -> Step:
    return {"id": number, "action": "reply", "parameters": {"message": message}, **more}


class _Draft:
    """A goal that is being written: gives its steps that ask the model their questions, and keeps the answers."""

    def __init__(self, case: int) -> None:
        self.case = case
        self.subject = SUBJECTS[case % len(SUBJECTS)]
        self.answers: list[ServerRule] = []

    def topic(self, n: int) -> str:
        """A topic that no other goal looks up."""
        return f"{self.subject} {TOPICS[n % len(TOPICS)]} {self.case}"

    def ask(self, number: int, content: object, question: str, *, mark: str | None = None, **more: object) -> Step:
        """A step that has the model read `content`. The same `mark` makes it the same question."""
        tag = f"({mark if mark is not None else f'{self.case}.{number}'})"
        subject = self.subject if mark is None else "house"
        said = f"Of {question} it says, {tag}: {' '.join(TOPICS)} are as planned for the {subject}."
        self.answers.append(ServerRule(when=f"{question}? {tag}", text=said))
        parameters = {"content": content, "question": f"{question}? {tag}"}
        return {"id": number, "action": "summarize", "parameters": parameters, **more}


# ------------------------------------------------------------------ kinds
def _answer(d: _Draft) -> tuple[str, list[Step]]:
    return f"Say what the {d.subject} is called", [_reply(1, f"It is called {d.subject} {d.case}.")]


def _pipeline(d: _Draft) -> tuple[str, list[Step]]:
    steps = [
        _look(1, d.topic(0)),
        _look(2, d.topic(1)),
        d.ask(3, ["$step1.text", "$step2.text"], "What matters"),
        d.ask(4, "$step3.summary", "What is its outline"),
        d.ask(5, "$step4.summary", "What are its slides"),
        _reply(6, "The slides: {$step5.summary}"),
    ]
    return f"Make slides on cost and staff of the {d.subject}", steps


def _fan_out(d: _Draft) -> tuple[str, list[Step]]:
    looks = [_look(n, d.topic(n)) for n in range(1, 7)]
    asks = [d.ask(6 + n, f"$step{n}.text", "What is new") for n in range(1, 7)]
    join = d.ask(13, [f"$step{6 + n}.summary" for n in range(1, 7)], "Which one is best")
    return f"Rank six sides of the {d.subject}", [*looks, *asks, join, _reply(14, "$step13.summary")]


def _diamond(d: _Draft) -> tuple[str, list[Step]]:
    steps = [
        _look(1, d.topic(2)),
        d.ask(2, "$step1.text", "What speaks for it"),
        d.ask(3, "$step1.text", "What speaks against it"),
        d.ask(4, ["$step2.summary", "$step3.summary"], "What is the verdict"),
        _reply(5, "$step4.summary"),
    ]
    return f"Weigh the {d.subject}'s risk", steps


def _report(d: _Draft) -> tuple[str, list[Step]]:
    report = {"path": f"case-{d.case}.md", "content": "$step3.summary", "title": d.subject}
    steps = [
        _look(1, d.topic(3)),
        _look(2, d.topic(4)),
        d.ask(3, ["$step1.text", "$step2.text"], "What must be reported"),
        {"id": 4, "action": "create_report", "parameters": report},
        _reply(5, "It is in {$step4.path}."),
    ]
    return f"Put delay and energy of the {d.subject} into case-{d.case}.md", steps


def _lanes(d: _Draft) -> tuple[str, list[Step]]:
    """Three lanes whose slow step is in another place each: a barrier after each level would wait three times."""
    steps = [
        d.ask(1, f"the {d.subject} by day", "What is slow"),
        _look(2, d.topic(5)),
        _look(3, d.topic(6)),
        _look(4, f"{d.subject} after $step1.summary"),
        d.ask(5, "$step2.text", "What is safe"),
        _look(6, "{$step3.topic} again"),
        _look(7, "{$step4.topic} again"),
        _look(8, "$step5.summary"),
        d.ask(9, "$step6.text", "What is wanted"),
        _reply(10, "{$step7.text} {$step8.text} {$step9.summary}"),
    ]
    return f"Follow three threads of the {d.subject}", steps


def _each(d: _Draft) -> tuple[str, list[Step]]:
    steps = [
        _look(1, d.topic(7)),
        d.ask(2, "$item", "What does this part say", for_each="$step1.parts"),
        _reply(3, "$step2"),
    ]
    return f"Go through every part of the {d.subject}'s supply", steps


def _branch(d: _Draft) -> tuple[str, list[Step]]:
    steps = [
        _look(1, d.topic(1)),
        d.ask(2, "$step1.text", "Who is missing", condition="$step1.count > 3", dependencies=[1]),
        d.ask(3, "$step1.text", "Who is there", condition="$step1.count <= 3", dependencies=[1]),
        _reply(4, "done", dependencies=[2, 3], join="any"),
    ]
    return f"Look after the staff of the {d.subject}", steps


def _trip(d: _Draft) -> tuple[str, list[Step]]:
    steps = [
        d.ask(1, f"three days at the {d.subject}", "Where does it go"),
        *(_look(n, f"{d.subject} leg {n} $step1.method") for n in range(2, 7)),
        d.ask(7, "$step2.text", "Which way out"),
        d.ask(8, "$step3.text", "Which way back"),
        d.ask(9, "$step4.text", "Which house"),
        d.ask(10, ["$step5.text", "$step6.text"], "Which days"),
        d.ask(11, [f"$step{n}.summary" for n in (7, 8, 9, 10)], "What is the itinerary"),
        _reply(12, "$step11.summary"),
    ]
    return f"Arrange three days at the {d.subject}", steps


def _facts(d: _Draft) -> list[str]:
    return [f"The {topic} of the {d.subject} {d.case} is settled." for topic in TOPICS]


def _remember(d: _Draft) -> tuple[str, list[Step]]:
    fact = {"fact": _facts(d)}
    steps = [{"id": 1, "action": "remember", "parameters": fact}, _reply(2, "{$step1.stored} are kept.")]
    return f"Remember what is settled of the {d.subject}", steps


def _recall(d: _Draft) -> tuple[str, list[Step]]:
    query = {"query": _facts(d)[d.case % len(TOPICS)], "k": 2}
    steps = [
        {"id": 1, "action": "recall", "parameters": query},
        d.ask(2, "$step1.text", "Is it settled"),
        _reply(3, "$step2.summary"),
    ]
    return f"Recall whether all is settled of the {d.subject}", steps


def _again(d: _Draft) -> tuple[str, list[Step]]:
    """A question that every goal of this kind asks, of the same text, and twice."""
    rules = "the rules of the house"
    steps = [
        d.ask(1, rules, "What do they forbid", mark="again.1"),
        d.ask(2, rules, "What do they allow", mark="again.2"),
        _look(3, "$step1.method"),
        d.ask(4, rules, "What do they forbid", mark="again.1", dependencies=[3]),
        _reply(5, "{$step1.summary} {$step2.summary} {$step4.summary}"),
    ]
    return f"Check the rules of the house for the {d.subject}", steps


KINDS: Mapping[str, Callable[[_Draft], tuple[str, list[Step]]]] = {
    "answer": _answer,
    "pipeline": _pipeline,
    "fan-out": _fan_out,
    "diamond": _diamond,
    "report": _report,
    "lanes": _lanes,
    "each": _each,
    "branch": _branch,
    "trip": _trip,
    "remember": _remember,
    "recall": _recall,
    "again": _again,
}


EIGHT = ("remember", "pipeline", "diamond", "lanes", "recall", "each", "branch", "again")
"""Enough kinds to see what each flag changes; with four clients the one that remembers is the one that recalls."""


def make_suite(repeats: int, kinds: Sequence[str] = tuple(KINDS)) -> list[BenchGoal]:
    """Every kind `repeats` times, one after another; what is recalled was to be remembered before."""
    return list(_goals(repeats, kinds))


def _goals(repeats: int, kinds: Sequence[str]) -> Iterator[BenchGoal]:
    number = 0
    for turn in range(repeats):
        for kind in kinds:
            number += 1
            # Recalled is what was remembered a turn before: then it has been, whoever is quicker.
            turns = {"remember": turn, "recall": max(0, turn - 1)}
            case = 10 * turns[kind] + 7 if kind in turns else 100 + number
            draft = _Draft(case)
            text, steps = KINDS[kind](draft)
            yield BenchGoal(
                number=number,
                kind=kind,
                text=f"{text} (case {number:02})",
                steps=tuple(steps),
                answers=tuple(draft.answers),
            )


def rules_for(goals: Sequence[BenchGoal]) -> list[ServerRule]:
    """What the server answers: the verifier yes, the planner each goal's plan, the tools what they asked."""
    verdict = json.dumps({"supported": True, "confidence": 0.9, "why": "it says what the text says"})
    verdicts = ServerRule(when=VERIFIER, text=verdict)
    plans = [ServerRule(when=goal.text, path="/v1/chat/completions", text=goal.plan) for goal in goals]
    answers = {rule.when: rule for goal in goals for rule in goal.answers}
    return [verdicts, *plans, *answers.values()]

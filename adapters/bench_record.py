"""The calls of the suite, written down: what each goal asks of the model, with no optimisation that would spare any.

The plain program of the bench makes these very calls, and the ideal schedule is worked out from them. They are recorded
from a troupe with one client and every cache off, against a server that is near and quick.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import attrs

from trouper.runtime import Plan, Seconds, Step, parse_plan

from .bench_setting import Row, Setting, config_for
from .bench_suite import VERIFIER, BenchGoal, rules_for
from .model_server import CHAT, EMBEDDINGS, Served
from .model_server_apart import ModelServerProcess
from .model_server_script import RuleScript, ServerReply, ServerRequest
from .model_server_times import Thinking, ThinkingTimes

RECORDING = Row(
    name="recording",
    off=("batch_embeddings.enabled", "caching.embeddings", "caching.responses", "rate_limiting.enabled"),
)


@attrs.frozen(eq=False)
class Call:
    """One call of the recording: where it goes, and its body."""

    path: str
    body: Mapping[str, object]

    @property
    def request(self) -> ServerRequest:
        """As the server reads it."""
        return ServerRequest(method="POST", path=self.path, headers={}, json=self.body)


@attrs.frozen(kw_only=True)
class RecordedGoal:
    """The calls of one goal, each where it belongs."""

    goal: BenchGoal
    plan: Plan
    recalled: Call
    """The embedding of the goal, by which the planner looks for memories."""
    planned: Call
    steps: Mapping[int, tuple[Call, ...]]
    """What each step asks; several calls for the elements of a list. Those that were skipped ask nothing."""
    verdicts: Mapping[int, tuple[Call, ...]]
    """What the verifier asks about each step that rules cannot judge; several calls for the elements of a list."""
    remembered: Call | None
    """The embedding of what was done, behind the answer."""

    def skipped(self, step: int) -> bool:
        """Whether the step's condition did not hold."""
        return self.plan.step(step).condition is not None and not self.steps.get(step)


def near(setting: Setting) -> ModelServerProcess:
    """A server with the same answers, next door and without limits."""
    return ModelServerProcess(rules_for(setting.goals()), seed=setting.seed)


async def record(setting: Setting, server: ModelServerProcess) -> list[list[Served]]:
    """Run the suite goal by goal; gives what the server was asked for each."""
    from .bench_row import look_up_tool
    from .wiring import open_troupe

    found: list[list[Served]] = []
    with tempfile.TemporaryDirectory(prefix="trouper-bench-") as folder:
        config = config_for(RECORDING, setting, server.base_url, server.ca_file, Path(folder))
        async with open_troupe(config, tools=[look_up_tool(0.0)]) as troupe:
            for goal in setting.goals():
                await server.reset()
                await troupe.execute(goal.text)
                await troupe.settle()
                found.append(await server.served())
    return found


def sort_out(setting: Setting, served: Sequence[Sequence[Served]]) -> list[RecordedGoal]:
    """Put the recorded calls of each goal where they belong."""
    pairs = zip(setting.goals(), served, strict=True)
    return [_sorted(goal, [one for one in calls if one.status == 200]) for goal, calls in pairs]


def _sorted(goal: BenchGoal, served: Sequence[Served]) -> RecordedGoal:
    calls = [Call(one.path, one.json) for one in served if isinstance(one.json, dict)]
    chats = [call for call in calls if call.path == CHAT]
    texts = {call: call.request.texts for call in calls if call.path == EMBEDDINGS}
    verdicts = [call for call in chats if VERIFIER in call.request.said]
    asked = [call for call in chats if call not in verdicts]
    plan = parse_plan(goal.plan)
    steps: dict[int, tuple[Call, ...]] = {}
    for step in plan.steps:
        parameters = step.parameters or {}
        question = parameters.get("question")
        if isinstance(question, str):
            steps[step.id] = tuple(call for call in asked if question in call.request.said)
        elif step.action == "remember" and isinstance(parameters["fact"], list | tuple):
            steps[step.id] = (_one_call([str(fact) for fact in parameters["fact"]], calls),)
        elif step.action == "recall":
            steps[step.id] = (_one_call([str(parameters["query"])], calls),)
    behind = [call for call, given in texts.items() if any(text.startswith(f"{goal.text} -> ") for text in given)]
    return RecordedGoal(
        goal=goal,
        plan=plan,
        recalled=_one_call([goal.text], calls),
        planned=next(call for call in asked if goal.text in call.request.said),
        steps=steps,
        verdicts={step.id: found for step in plan.steps if (found := _about(step, verdicts))},
        remembered=behind[0] if behind else None,
    )


def _about(step: Step, verdicts: Sequence[Call]) -> tuple[Call, ...]:
    """The verdicts that are about `step`: of a question those that quote it, of a reply that which has a message."""
    question = (step.parameters or {}).get("question")
    if isinstance(question, str):
        return tuple(call for call in verdicts if question in call.request.said)
    if step.action != "reply":
        return ()
    return tuple(call for call in verdicts if '"question":' not in call.request.said)[:1]


def _one_call(texts: Sequence[str], calls: Sequence[Call]) -> Call:
    """One embeddings call for `texts`, as the recorded ones are."""
    like = next(call for call in calls if call.path == EMBEDDINGS)
    return Call(EMBEDDINGS, {**like.body, "input": list(texts)})


# ------------------------------------------------------------------ what they take
class CallTimes:
    """What the model takes for each recorded call, by the very code that the server runs."""

    def __init__(self, setting: Setting) -> None:
        self._times = ThinkingTimes(setting.model_time, setting.seed)
        self._script = RuleScript(rules_for(setting.goals()))
        self._round_trip = setting.network.round_trip

    def thinking(self, call: Call) -> Thinking:
        """Tokens and seconds of the model."""
        if call.path == EMBEDDINGS:
            return self._times.embeddings(call.request.texts)
        reply = self._script(call.request)
        return self._times.chat(call.request.messages, reply.text if isinstance(reply, ServerReply) else reply)

    def seconds(self, thinking: Thinking) -> Seconds:
        """A round trip and the model's time."""
        return self._round_trip + thinking.seconds


def plan_offsets(goal: BenchGoal) -> Iterator[tuple[int, float]]:
    """The id of each step with the share of the plan's text after which it has been written."""
    text, at = goal.plan, 0
    for step in goal.steps:
        at = text.index(f'{{"id":{step["id"]},', at) + 1
        after = text.find(',{"id":', at)
        yield int(str(step["id"])), (after if after > 0 else len(text) - 2) / len(text)

"""Whatever a supervisor may do when several things come at once: the model, in every order.

An OTP supervisor does one thing at a time, but in which order calls and deaths reach it is open. So a `together` of a
scenario has many right traces. `first_departure` walks along a trace with all of the states that the model may be in by
then; a trace is wrong from the operation on that none of them can explain.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import attrs

from tests.conformance.model import Supervisor, World, perform, taken
from tests.conformance.scenarios import Op, Scenario, op_term, term

SHOWN = 5
"""Right traces of one operation that a message shows."""

FULFILLED = frozenset({"sup_gone", "{error,not_found}"})
"""OTP's answers to a `terminate` that somebody else has been faster with; ours may say that it is done."""


@attrs.frozen
class Outcome:
    """One way an operation may go: what is seen of it, and the supervisor afterwards."""

    lines: tuple[str, ...]
    supervisor: Supervisor = attrs.field(eq=False)


def outcomes(supervisor: Supervisor, number: int, op: Op) -> Iterator[Outcome]:
    """Every way in which the operation may go; ways that look alike and end alike come once."""
    ops = op[1] if op[0] == "together" else (op,)
    twin = supervisor.fork()
    there = {slot.spec.id for slot in twin.slots} | {op[1].id for op in ops if op[0] == "start"}
    # Deaths come first, to who lives then: no call has had time to do anything. That they are noticed may come late.
    answers = {place: perform(twin, op) for place, op in enumerate(ops) if op[0] == "exit"}
    known = set()
    open_ends = [(twin, answers)]
    while open_ends:
        twin, answers = open_ends.pop()
        state = (*_state(twin), *twin.world.lines, *sorted(answers.items()))
        if state in known:
            continue
        known.add(state)
        if len(answers) == len(ops) and not twin.inbox:
            said = (
                answers[0] if op[0] != "together" else "{" + ",".join(answers[place] for place in range(len(ops))) + "}"
            )
            yield Outcome((f"op {number} {op_term(op)} -> {said}", *taken(twin.world)), twin)
        for place in range(len(ops)):
            if place not in answers:
                after = twin.fork()
                answer = perform(after, ops[place])
                open_ends.append((after, {**answers, place: answer}))
                if ops[place][0] != "terminate":
                    continue
                if ops[place][1] in there and answer in FULFILLED:
                    open_ends.append((after.fork(), {**answers, place: "ok"}))
                if overtaken := _without_start(twin, ops[place][1]):
                    open_ends.append((overtaken, {**answers, place: perform(overtaken, ops[place])}))
        for place in range(len(twin.inbox)):
            after = twin.fork()
            after.handle(after.inbox.pop(place))
            open_ends.append((after, answers))


def _without_start(supervisor: Supervisor, id_: str) -> Supervisor | None:
    """As if the child, if a restart in this operation has started it, had not come so far: counted, but never alive.

    OTP's supervisor has started it before it reads the call to terminate it; ours is told while it starts it.
    """
    twin = supervisor.fork()
    for slot in twin.slots:
        line = f"  started {term(id_)} {slot.generation}"
        if slot.spec.id == id_ and slot.state == "running" and line in twin.world.lines:
            twin.world.lines.remove(line)
            twin.world.generations[id_] -= 1
            slot.state = "undefined"
            return twin
    return None


def first_departure(scenario: Scenario, trace: Sequence[str]) -> str | None:
    """From which operation on no order of events explains the trace, and what would have been right; None: all is."""
    if any(line.startswith("!") for line in trace):
        return "\n".join(trace)  # it broke off
    supervisor = Supervisor(scenario, World())
    start, *rest = _by_op(trace)
    expected = taken(supervisor.world)
    if start != expected:
        return f"the start was {start}, not {expected}"
    supervisors = [supervisor]
    for number, (op, seen) in enumerate(zip(scenario.ops, rest, strict=True), 1):
        ways = [way for supervisor in supervisors for way in outcomes(supervisor, number, op)]
        fitting = {
            _state(way.supervisor): way.supervisor for way in ways if _settled(way.lines, op) == _settled(seen, op)
        }
        supervisors = [*fitting.values()]
        if not supervisors:
            right = ["\n".join(lines) for lines in sorted({way.lines for way in ways})]
            return "\n".join(["seen:", *seen, f"of {len(right)} right ones:", *right[:SHOWN]])
    return None


def _settled(lines: Sequence[str], op: Op) -> list[str]:
    """The lines so that two supervisors compare equal which, in this operation, come to their end in their own ways.

    OTP's does one thing to its end before the next. Ours, once it gives up, does not start whom it would stop at once,
    and when it is stopped while it terminates a child it does not wait for that one with the others.
    """
    if "  sup shutdown" not in lines:
        return list(lines)
    begun = [line.removeprefix("  started ") for line in lines if line.startswith("  started ")]
    overtaken = tuple(f"  {what} {life}" for life in begun for what in ("started", "stopped"))
    rest = [line for line in lines if not line.startswith(("  start_failed ", *overtaken))]
    terminated = tuple(
        f"  stopped {term(call[1])} " for call in (op[1] if op[0] == "together" else ()) if call[0] == "terminate"
    )
    return sorted(rest, key=lambda line: line.startswith(terminated))


def _by_op(trace: Iterable[str]) -> list[list[str]]:
    """The lines of the start, and those of each operation."""
    parts: list[list[str]] = [[]]
    for line in trace:
        if line.startswith("op "):
            parts.append([])
        parts[-1].append(line)
    return parts


def _state(supervisor: Supervisor) -> tuple[object, ...]:
    """All that decides what it does from here on, and the notices that are not void."""
    world = supervisor.world
    supervisor.inbox = [notice for notice in supervisor.inbox if notice.slot in supervisor.slots]
    return (
        supervisor.alive,
        tuple((slot.spec, slot.state, slot.generation) for slot in supervisor.slots),
        tuple(supervisor.restarts),
        tuple((type(notice), notice.slot.spec.id) for notice in supervisor.inbox),
        frozenset(world.failing.items()),
        frozenset(world.generations.items()),
    )

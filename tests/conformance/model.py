"""A supervisor as OTP has it, without processes: what it does, worked out step by step on plain data.

It exists to be compared with: against recordings of a real OTP supervisor (so that it is right) and against the
kernel on random scenarios (so that the kernel is). It knows no trio and no actor; time is a number it is told.

The supervisor does one thing at a time, as in OTP: it handles a call, or a notice from its inbox that a child has died
or is to be tried again. `replay` follows each operation until the inbox is empty, as the recordings were made: there no
call ever meets a restarting child. `orders.py` has what may come of several operations at once.
"""

from __future__ import annotations

import copy
from collections import Counter
from typing import Literal

import attrs

from tests.conformance.scenarios import Child, Op, Scenario, bad_child, bad_supervisor, op_term, refused_start, term


@attrs.define(eq=False)
class Slot:
    """A place in the supervisor's list of children: a specification, and what lives there."""

    spec: Child
    state: Literal["running", "dead", "restarting", "undefined"] = "undefined"
    """`dead`: it has died, and the supervisor has not noticed: to whoever asks it, the child runs."""
    generation: int = 0

    @property
    def temporary(self) -> bool:
        """Whether its end, by whatever cause, is also the end of its specification."""
        return self.spec.restart == "temporary"

    @property
    def shown(self) -> str:
        """How the supervisor calls it."""
        return "running" if self.state == "dead" else self.state


@attrs.define
class World:
    """What lies outside the supervisor: whether a child's start succeeds, and what everybody can see happen."""

    lines: list[str] = attrs.Factory(list)
    failing: Counter[str] = attrs.Factory(Counter)
    generations: Counter[str] = attrs.Factory(Counter)
    now: float = 0.0

    def start(self, slot: Slot) -> bool:
        """Start a child; False if it fails, which uses up one of the failures it was told to have."""
        id_ = slot.spec.id
        if self.failing[id_] > 0:
            self.failing[id_] -= 1
            self.lines.append(f"  start_failed {term(id_)}")
            return False
        self.generations[id_] += 1
        slot.state, slot.generation = "running", self.generations[id_]
        self.lines.append(f"  started {term(id_)} {slot.generation}")
        return True

    def ended(self, slot: Slot, reason: object) -> None:
        """A child that still had its say has ended; one that was killed is not told of."""
        self.lines.append(f"  stopped {term(slot.spec.id)} {slot.generation} {term(reason)}")

    def fork(self) -> World:
        """One that goes its own way from here."""
        return World(list(self.lines), Counter(self.failing), Counter(self.generations), self.now)


@attrs.frozen
class Died:
    """In the inbox: a child has ended by itself."""

    slot: Slot
    reason: object


@attrs.frozen
class TryAgain:
    """In the inbox: the start of that child failed during a restart."""

    slot: Slot


class Supervisor:
    """The supervisor: `slots` oldest first, the instants of its restarts, and the inbox."""

    def __init__(self, scenario: Scenario, world: World) -> None:
        self.flags = scenario
        self.world = world
        self.alive = True
        self.slots = [Slot(child) for child in scenario.children]
        self.restarts: list[float] = []
        self.inbox: list[Died | TryAgain] = []
        for slot in self.slots:
            world.start(slot)

    def fork(self) -> Supervisor:
        """One that goes its own way from here."""
        twin = copy.copy(self)
        twin.world, twin.restarts = self.world.fork(), list(self.restarts)
        twins = {id(slot): copy.copy(slot) for slot in self.slots}
        twin.slots = [*twins.values()]
        notices = [attrs.evolve(note, slot=twins[id(note.slot)]) for note in self.inbox if id(note.slot) in twins]
        twin.inbox = notices
        return twin

    # What happens to it

    def die(self, id_: str, reason: object) -> str:
        """A child ends by itself, or is killed from outside; the supervisor does not know it yet."""
        slot = self._find(id_)
        if slot is None or slot.shown != "running":
            return "not_running"
        if slot.state == "running":
            slot.state = "dead"
            if reason != "kill":
                self.world.ended(slot, reason)
            self.inbox.append(Died(slot, reason))
        return "ok"

    def handle(self, notice: Died | TryAgain) -> None:
        """Deal with one notice; it is void if the child has gone another way meanwhile."""
        slot = notice.slot
        if slot not in self.slots:
            return
        match notice:
            case Died(_, reason) if slot.state == "dead":
                unclean = slot.spec.restart == "transient" and not is_clean(reason)
                if slot.spec.restart == "permanent" or unclean:
                    self._restart(slot)
                    return
                slot.state = "undefined"
                self._drop_if_temporary(slot)
                if slot.spec.significant and self._is_over():
                    self.stop()
            case TryAgain() if slot.state == "restarting":
                self._restart(slot)

    # What it is asked

    def start(self, child: Child) -> str:
        """`start_child`: a new specification, started at once; forgotten again if that fails."""
        if why := bad_child(child, self.flags.auto_shutdown):
            return f"{{error,{why}}}"
        if known := self._find(child.id):
            return "{error,{already_started,pid}}" if known.shown == "running" else "{error,already_present}"
        slot = Slot(child)
        if not self.world.start(slot):
            return refused_start(child)
        self.slots.append(slot)
        return "{ok,pid}"

    def terminate(self, id_: str) -> str:
        """`terminate_child`: no restart, no end of the supervisor follows, whoever the child was."""
        slot = self._find(id_)
        if slot is None:
            return "{error,not_found}"
        self._stop(slot)
        self._drop_if_temporary(slot)
        return "ok"

    def restart(self, id_: str) -> str:
        """`restart_child`: only one that lies stopped; not counted."""
        slot = self._find(id_)
        if slot is None:
            return "{error,not_found}"
        if slot.state != "undefined":
            return f"{{error,{slot.shown}}}"
        return "{ok,pid}" if self.world.start(slot) else "{error,refused}"

    def delete(self, id_: str) -> str:
        """`delete_child`: only one that lies stopped."""
        slot = self._find(id_)
        if slot is None:
            return "{error,not_found}"
        if slot.state != "undefined":
            return f"{{error,{slot.shown}}}"
        self.slots.remove(slot)
        return "ok"

    def which(self) -> str:
        """`which_children`, oldest first as the recordings have it."""
        return "[" + ",".join(f"{{{term(slot.spec.id)},{slot.shown}}}" for slot in self.slots) + "]"

    def count(self) -> str:
        """`count_children`: every child of a scenario is a worker."""
        active = sum(slot.state == "running" for slot in self.slots)
        return f"[{{specs,{len(self.slots)}}},{{active,{active}}},{{supervisors,0}},{{workers,{len(self.slots)}}}]"

    def stop(self) -> str:
        """Everything stops, youngest first, and the supervisor ends as `shutdown`: by order or by its own decision."""
        for slot in reversed(self.slots):
            self._stop(slot)
        self.alive = False
        self.inbox.clear()
        self.world.lines.append("  sup shutdown")
        return "ok"

    # What it decides

    def _restart(self, slot: Slot) -> None:
        """One restart, counted before it is tried; when it fails, whoever failed is to be tried again (and counted)."""
        now = self.world.now
        self.restarts = [instant for instant in self.restarts if now - instant <= self.flags.period]
        self.restarts.append(now)
        slot.state = "undefined"
        if len(self.restarts) > self.flags.intensity:
            self.stop()
            return
        match self.flags.strategy:
            case "one_for_one":
                failed = None if self.world.start(slot) else slot
            case "rest_for_one":
                failed = self._restart_from(self.slots.index(slot))
            case _:
                failed = self._restart_from(0)
        if failed:
            failed.state = "restarting"
            self.inbox.append(TryAgain(failed))

    def _restart_from(self, first: int) -> Slot | None:
        """Stop whoever lives from there on, youngest first, then start all that are not temporary, also those that lay
        stopped before. The first that fails ends it, is returned, and leaves the ones behind it stopped.
        """
        for slot in reversed(self.slots[first:]):
            self._stop(slot)
        self.slots[first:] = [slot for slot in self.slots[first:] if not slot.temporary]
        return next((slot for slot in self.slots[first:] if not self.world.start(slot)), None)

    def _stop(self, slot: Slot) -> None:
        if slot.state == "running" and slot.spec.shutdown != "brutal_kill":
            self.world.ended(slot, "shutdown")
        slot.state = "undefined"

    def _drop_if_temporary(self, slot: Slot) -> None:
        if slot.temporary:
            self.slots.remove(slot)

    def _is_over(self) -> bool:
        """Whether the end of a significant child is the end of the supervisor."""
        if self.flags.auto_shutdown == "all_significant":
            return not any(slot.spec.significant and slot.state != "undefined" for slot in self.slots)
        return self.flags.auto_shutdown == "any_significant"

    def _find(self, id_: str) -> Slot | None:
        return next((slot for slot in self.slots if slot.spec.id == id_), None)


def is_clean(reason: object) -> bool:
    """Whether a child that ends so has ended as it should: normal, shutdown, or shutdown with a word why."""
    return reason in {"normal", "shutdown"} or (
        isinstance(reason, tuple) and len(reason) == 2 and reason[0] == "shutdown"
    )


def replay(scenario: Scenario) -> list[str]:
    """The trace of a scenario, as a real supervisor would leave it."""
    if why := bad_supervisor(scenario):
        return [f"start -> {{error,{why}}}"]
    world = World()
    supervisor = Supervisor(scenario, world)
    trace = taken(world)
    for number, op in enumerate(scenario.ops, 1):
        answer = perform(supervisor, op)
        while supervisor.inbox:
            supervisor.handle(supervisor.inbox.pop(0))
        trace += [f"op {number} {op_term(op)} -> {answer}", *taken(world)]
    return trace


def taken(world: World) -> list[str]:
    """The lines since the last time."""
    lines, world.lines = world.lines, []
    return lines


def perform(supervisor: Supervisor, op: Op) -> str:
    """Do one operation, and nothing that follows from it; gives its answer."""
    match op:
        case ("wait", seconds):
            supervisor.world.now += seconds
            return "ok"
        case ("fail_starts", id_, count):
            supervisor.world.failing[id_] = count
            return "ok"
        case ("together", ops):  # in one of the orders they may come in
            return "{" + ",".join(perform(supervisor, op) for op in ops) + "}"
        case ("stop",) if not supervisor.alive:
            return "ok"
        case _ if not supervisor.alive:
            return "sup_gone"
        case ("exit", id_, reason):
            return supervisor.die(id_, reason)
        case (name, *operands):
            answer: str = getattr(supervisor, name)(*operands)
            return answer
    raise AssertionError(op)

"""Scenarios replayed against Trouper itself, through its public face, on a virtual clock.

Every child is an actor that says what happens to it; every operation is followed until all tasks are blocked, and what
was said meanwhile stands behind the operation in the trace.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

import attrs
import trio
import trio.testing

from tests.conformance.scenarios import Child, Op, Scenario, bad_child, bad_supervisor, op_term, refused_start, term
from trouper import (
    Actor,
    ActorStopped,
    AutoShutdown,
    ChildError,
    ChildSpec,
    ExitKind,
    ExitReason,
    Restart,
    Shutdown,
    SpecError,
    StartFailed,
    Strategy,
    SupervisorRef,
    SupervisorSpec,
    System,
    Tell,
    handler,
    open_system,
)

ENDLESS = 10_000
"""Lines after which a scenario is taken to be a loop that never ends."""

HANGS = 86_400.0
"""Virtual seconds an operation may take: nothing here takes any, so who is not back by then hangs."""

SETTLES = 900.0
"""Virtual seconds after which nothing moves any more where things take time."""


@attrs.frozen
class Exit(Tell):
    """The child is to end with that reason."""

    reason: object


class Ended(Exception):
    """How a child ends uncleanly."""

    def __init__(self, reason: object) -> None:
        super().__init__(reason)
        self.reason = reason


class StartRefused(Exception):
    """How a child does not start."""


@attrs.frozen
class Pace:
    """Virtual seconds that things take: by default none at all."""

    start: float = 0.0
    stop: float = 0.0
    calls: tuple[float, ...] = ()
    """When the calls of a `together` are made; deaths come at once."""
    steps: tuple[int, ...] = ()
    """So many steps of trio's scheduler later than that."""

    @property
    def takes_time(self) -> bool:
        """Whether an operation must be given time until nothing moves any more."""
        return bool(self.start or self.stop or self.calls)

    async def wait_turn(self, place: int) -> None:
        """Wait until the call at that place is to be made."""
        if self.calls:
            await trio.sleep(self.calls[place % len(self.calls)])
        if self.steps:
            for _ in range(self.steps[place % len(self.steps)]):
                await trio.lowlevel.checkpoint()


AT_ONCE = Pace()


@attrs.define
class World:
    """What the children of one scenario share."""

    scope: trio.CancelScope
    pace: Pace
    lines: list[str] = attrs.Factory(list)
    failing: Counter[str] = attrs.Factory(Counter)
    generations: Counter[str] = attrs.Factory(Counter)
    written: int = 0

    def say(self, line: str) -> None:
        """Write a line; whoever writes without end ends the scenario."""
        self.lines.append(line)
        self.written += 1
        if self.written > ENDLESS:
            self.scope.cancel()


class Worker(Actor):
    """A child: starts or fails to as it was told, ends as it is told, and says so."""

    def __init__(self, world: World, id_: str) -> None:
        self.world = world
        self.id = id_
        self.generation = 0

    async def on_start(self) -> None:
        if self.world.pace.start:
            await trio.sleep(self.world.pace.start)
        if self.world.failing[self.id] > 0:
            self.world.failing[self.id] -= 1
            self.world.say(f"  start_failed {term(self.id)}")
            raise StartRefused(self.id)
        self.world.generations[self.id] += 1
        self.generation = self.world.generations[self.id]
        self.world.say(f"  started {term(self.id)} {self.generation}")

    async def on_stop(self, reason: ExitReason) -> None:
        if self.world.pace.stop:
            await trio.sleep(self.world.pace.stop)
        self.world.say(f"  stopped {term(self.id)} {self.generation} {reason_term(reason)}")

    @handler
    async def exit(self, message: Exit) -> None:
        match message.reason:
            case "normal":
                self.ctx.exit()
            case "shutdown":
                self.ctx.exit(ExitReason.shutdown())
            case ("shutdown", why):
                self.ctx.exit(ExitReason.shutdown(why))
            case reason:
                raise Ended(reason)


def reason_term(reason: ExitReason) -> str:
    """An exit reason as Erlang would print it."""
    if isinstance(reason.error, Ended):
        return term(reason.error.reason)
    if reason.kind is ExitKind.SHUTDOWN and reason.term is not None:
        return term(("shutdown", reason.term))
    return term(reason.kind.value)


def replay(scenario: Scenario, pace: Pace = AT_ONCE) -> list[str]:
    """The trace of a scenario, as the kernel leaves it."""
    return trio.run(_replay, scenario, pace, clock=trio.testing.MockClock(autojump_threshold=0))


async def _replay(scenario: Scenario, pace: Pace) -> list[str]:
    trace: list[str] = []
    with trio.CancelScope() as scope:
        world = World(scope, pace)
        try:
            async with open_system() as system:
                await _perform(system, world, scenario, trace)
                await system.stop()
        except Exception as error:  # noqa: BLE001 - whatever it is belongs into the trace, where nobody expects it
            trace.append(f"! {type(error).__name__}: {error}")
    if scope.cancelled_caught:
        trace += [*world.lines[:20], f"! still not over after {ENDLESS} lines"]
    return trace


async def _perform(system: System, world: World, scenario: Scenario, trace: list[str]) -> None:
    """Start the supervisor and do one operation after the other, each until nothing moves any more."""
    try:
        spec = _supervisor_spec(world, scenario)
    except SpecError as error:
        trace.append(f"start -> {{error,{bad_supervisor(scenario) or error}}}")
        return
    async with trio.open_nursery() as nursery:
        # TEMPORARY: that it gives up is what many scenarios are about, and no business of the system.
        supervisor = await system.start_supervisor(spec, name="sup", restart=Restart.TEMPORARY)
        await nursery.start(_watch, supervisor, world)
        await _settle(world)
        trace += _taken(world)
        for number, op in enumerate(scenario.ops, 1):
            answer = await _bounded(_answer, supervisor, world, op, scenario.auto_shutdown)
            await _settle(world)
            trace += [f"op {number} {op_term(op)} -> {answer}", *_taken(world)]
        nursery.cancel_scope.cancel()


async def _settle(world: World) -> None:
    if world.pace.takes_time:
        await trio.sleep(SETTLES)
    await trio.testing.wait_all_tasks_blocked()


async def _watch(supervisor: SupervisorRef, world: World, *, task_status: trio.TaskStatus[None]) -> None:
    with supervisor.monitor() as monitor:
        task_status.started()
        down = await monitor.down()
        world.say(f"  sup {reason_term(down.reason)}")


def _taken(world: World) -> list[str]:
    lines = list(world.lines)
    world.lines.clear()
    return lines


async def _bounded(call: Callable[..., Awaitable[str]], *args: object) -> str:
    with trio.move_on_after(HANGS):
        return await call(*args)
    return "hangs"


async def _together(supervisor: SupervisorRef, world: World, ops: Sequence[Op], auto_shutdown: str) -> str:
    answers = dict.fromkeys(range(len(ops)), "")

    async def one(place: int) -> None:
        if ops[place][0] != "exit":
            await world.pace.wait_turn(place)
        answers[place] = await _answer(supervisor, world, ops[place], auto_shutdown)

    async with trio.open_nursery() as nursery:
        for place in answers:
            nursery.start_soon(one, place)
    return "{" + ",".join(answers.values()) + "}"


async def _answer(supervisor: SupervisorRef, world: World, op: Op, auto_shutdown: str) -> str:
    if op[0] == "together":
        return await _together(supervisor, world, op[1], auto_shutdown)
    try:
        return await _asked(supervisor, world, op)
    except ActorStopped:
        return "sup_gone"
    except ChildError as error:
        return "{error,{already_started,pid}}" if error.reason == "already_started" else f"{{error,{error.reason}}}"
    except StartFailed as error:
        if isinstance(error.__cause__, ActorStopped):  # the supervisor ended while it started the child
            return "sup_gone"
        if not isinstance(error.__cause__, StartRefused):
            return f"{{error,{error}}}"
        return refused_start(op[1]) if op[0] == "start" else "{error,refused}"
    except SpecError as error:
        return f"{{error,{bad_child(op[1], auto_shutdown) or error}}}"


async def _asked(supervisor: SupervisorRef, world: World, op: Op) -> str:
    match op:
        case ("wait", seconds):
            await trio.sleep(seconds)
            return "ok"
        case ("fail_starts", id_, count):
            world.failing[id_] = count
            return "ok"
        case ("exit", id_, reason):
            running = {child.id: child.ref for child in supervisor.which_children() if child.state == "running"}
            if id_ not in running:
                return "not_running"
            if reason == "kill":
                running[id_].kill()
            else:
                await running[id_].tell(Exit(reason))
            return "ok"
        case ("start", child):
            supervisor.count_children()  # One that has ended refuses no spec, however bad: it is gone.
            started = await supervisor.start_child(_child_spec(world, child))
            return "{ok,undefined}" if started is None else "{ok,pid}"
        case ("restart", id_):
            started = await supervisor.restart_child(id_)
            return "{ok,undefined}" if started is None else "{ok,pid}"
        case ("terminate", id_):
            await supervisor.terminate_child(id_)
            return "ok"
        case ("delete", id_):
            await supervisor.delete_child(id_)
            return "ok"
        case ("which",):
            children = reversed(supervisor.which_children())
            return "[" + ",".join(f"{{{term(child.id)},{child.state}}}" for child in children) + "]"
        case ("count",):
            counts = supervisor.count_children()
            fields = ("specs", "active", "supervisors", "workers")
            return "[" + ",".join(f"{{{field},{getattr(counts, field)}}}" for field in fields) + "]"
        case ("stop",):
            await supervisor.stop()
            return "ok"
    raise AssertionError(op)


def _supervisor_spec(world: World, scenario: Scenario) -> SupervisorSpec:
    return SupervisorSpec(
        strategy=Strategy[scenario.strategy.upper()],
        intensity=scenario.intensity,
        period=scenario.period,
        auto_shutdown=AutoShutdown[scenario.auto_shutdown.upper()],
        children=[_child_spec(world, child) for child in scenario.children],
    )


def _child_spec(world: World, child: Child) -> ChildSpec:
    match child.shutdown:
        case "brutal_kill":
            shutdown: float | Shutdown = Shutdown.BRUTAL
        case "infinity":
            shutdown = Shutdown.INFINITY
        case milliseconds:
            shutdown = milliseconds / 1000
    return ChildSpec(
        id=child.id,
        start=lambda: Worker(world, child.id),
        restart=Restart[child.restart.upper()],
        shutdown=shutdown,
        significant=child.significant,
    )

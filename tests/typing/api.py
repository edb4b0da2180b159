"""What the types of the public face promise: checked by mypy and pyright, never run."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal, assert_type

import attrs

import trouper
from trouper import (
    KILLED,
    NORMAL,
    SHUTDOWN,
    Actor,
    ActorCrashed,
    ActorEnded,
    ActorNode,
    ActorStatistics,
    Ask,
    AskCycle,
    AutoShutdown,
    Backoff,
    Budget,
    ChildCounts,
    ChildError,
    ChildInfo,
    ChildSpec,
    CrashReport,
    DeadLetter,
    Directive,
    Down,
    Event,
    ExitKind,
    ExitReason,
    Feed,
    Ignore,
    Items,
    Mailbox,
    MailboxFull,
    Monitor,
    OnCancel,
    Outcome,
    Overflow,
    Plan,
    Question,
    Ref,
    Replan,
    Restart,
    Shutdown,
    SpecError,
    StartFailed,
    Strategy,
    Stream,
    Stuck,
    SupervisorRef,
    SupervisorSpec,
    System,
    SystemStatistics,
    Tell,
    Timer,
    Tool,
    Unstoppable,
    Watchdog,
    carry,
    handler,
    open_system,
    tool,
)


# ------------------------------------------------------------------ messages and handlers
@attrs.frozen
class Add(Ask[int]):
    amount: int


@attrs.frozen
class Show(Ask[str | None]):
    pass


@attrs.frozen
class Reset(Tell):
    pass


@attrs.frozen
class Tail(Stream[bytes]):
    last: int = 10


class Counter(Actor):
    def __init__(self, start: int = 0, *, step: int = 1) -> None:
        self.value = start
        self.step = step

    async def on_start(self) -> None:
        if not self.step:
            raise Ignore

    async def on_stop(self, reason: ExitReason) -> None:
        assert_type(reason.kind, ExitKind)
        assert_type(reason.error, BaseException | None)
        assert_type(reason.clean, bool)

    @handler
    async def add(self, message: Add) -> int:
        self.value += message.amount
        return self.value

    @handler(concurrent=2, raises=(ValueError,), on_cancel=OnCancel.FINISH)
    async def reset(self, message: Reset) -> None:
        self.value = 0

    @handler(inline=True, raises=(LookupError,))
    def show(self, message: Show) -> str | None:
        return str(self.value)

    @handler
    async def tail(self, message: Tail) -> AsyncIterator[bytes]:
        for _ in range(message.last):
            yield b""

    @handler(context=True)
    async def down(self, message: Down) -> None:
        assert_type(message.ref, Ref[Actor] | SupervisorRef)
        assert_type(message.reason, ExitReason)
        assert_type(message.incarnation, int)


class Tailor(Actor):
    @handler(concurrent=4)
    async def tail(self, message: Tail) -> AsyncIterator[bytes]:
        yield b""


async def a_handler_keeps_its_type(counter: Counter) -> None:
    assert_type(await counter.add(Add(1)), int)
    assert_type(counter.show(Show()), str | None)
    assert_type(counter.tail(Tail()), AsyncIterator[bytes])


# ------------------------------------------------------------------ what others do with an actor
async def a_ref(counter: Ref[Counter]) -> None:
    assert_type(await counter.ask(Add(2)), int)
    assert_type(await counter.ask(Show(), timeout=2), str | None)
    assert_type(await counter.ask_many([Add(1), Add(2)]), list[int])
    assert_type(await counter.ask_many((Add(n) for n in range(3)), timeout=2, return_exceptions=False), list[int])
    assert_type(await counter.ask_many([Add(1)], return_exceptions=True), list[int | Exception])
    await counter.tell(Reset())
    await counter.tell_many([Reset()])
    counter.tell_nowait(Reset())
    async with counter.stream(Tail(), timeout=60, buffer=8) as items:
        assert_type(items, Items[bytes])
        async for item in items:
            assert_type(item, bytes)
    assert_type(counter.name, str)
    assert_type(counter.incarnation, int)
    assert_type(counter.statistics(), ActorStatistics)
    assert_type(counter.crash_reports(), tuple[CrashReport, ...])
    counter.stop()
    counter.kill()
    await counter.wait_stopped()


async def orders(counter: Ref[Counter]) -> None:
    await counter.suspend()
    await counter.resume(timeout=2)
    assert_type(await counter.get_state(), Any)
    await counter.replace_state({"value": 3})
    await counter.swap(Counter)
    await counter.swap(lambda: Counter(3, step=2), lambda old: old["value"], timeout=2)


async def monitors(counter: Ref[Counter], cast: SupervisorRef) -> None:
    with counter.monitor() as monitor:
        assert_type(monitor, Monitor)
        assert_type(await monitor.down(), Down)
        assert_type(monitor.down_nowait(), Down | None)
    with cast.monitor() as monitor:
        assert_type((await monitor.down()).reason, ExitReason)


def any_actor(ref: Ref[Counter], others: list[Ref[Actor]]) -> None:
    """A ref of a subclass is a ref of its base."""
    base: Ref[Actor] = ref
    others.append(base)


# ------------------------------------------------------------------ what an actor does itself
class Parent(Actor):
    async def on_start(self) -> None:
        counter = await self.ctx.spawn(Counter, 3, name="counter", shutdown=Shutdown.BRUTAL, lazy=True)
        assert_type(counter, Ref[Counter])
        assert_type(await self.ctx.spawn(functools.partial(Counter, step=2), restart=Restart.TEMPORARY), Ref[Counter])
        self.ctx.monitor(counter)
        self.ctx.demonitor(counter)
        self.ctx.link(counter)
        self.ctx.unlink(counter)
        assert_type(self.ctx.send_after(1, Reset()), Timer)
        assert_type(self.ctx.every(0.5, Reset()), Timer)
        self.ctx.every(1, Reset()).cancel()
        self.ctx.stash()
        self.ctx.unstash_all()
        assert_type(self.ctx.publish("topic", Reset()), int)
        self.ctx.subscribe("topic", bound=4)
        self.ctx.unsubscribe("topic")
        self.ctx.progress()
        self.ctx.exit()
        self.ctx.exit(ExitReason.shutdown("moved"))
        assert_type(self.ctx.ref, Ref[Actor])
        assert_type(self.ctx.peer("planner"), Ref[Actor])
        assert_type(self.ctx.name, str)
        assert_type(self.ctx.incarnation, int)
        assert_type(self.ctx.deadline, float)
        assert_type(self.ctx.trace, str)
        assert_type(self.ctx.baggage, Mapping[str, object])
        if self.ctx.listening:
            self.ctx.emit(Event(at=0.0, actor=self.ctx.name))


# ------------------------------------------------------------------ systems
async def a_system() -> None:
    async with open_system("name", ask_timeout=10, cleanup_bound=2, seed=7) as system:
        assert_type(system, System)
        assert_type(await system.spawn(Counter, 3, name="counter"), Ref[Counter])
        assert_type(await system.spawn(Counter), Ref[Counter])
        assert_type(await system.spawn(Counter, lazy=True, intensity=3, period=5), Ref[Counter])
        assert_type(await system.spawn(a_factory, "text"), Ref[Counter])
        assert_type(await system.spawn(lambda: Counter(step=3)), Ref[Counter])
        await system.spawn(
            Counter,
            1,
            mailbox=Mailbox(capacity=8, overflow=Overflow.LATEST_BY_KEY, key=type, redeliver=2),
            restart=Restart.TRANSIENT,
            backoff=Backoff(min=0.1, max=5, jitter=0.5, reset=None),
            shutdown=2,
            directives={KeyError: Directive.RESUME, Exception: Directive.RESTART},
            watchdog=Watchdog(limit=30, restart=True),
        )
        assert_type(system.find("counter"), Ref[Actor] | None)
        assert_type(await system.wait_registered("counter"), Ref[Actor])
        assert_type(system.tree(), ActorNode)
        assert_type(system.tree().children, tuple[ActorNode, ...])
        assert_type(system.statistics(), SystemStatistics)
        assert_type(system.incarnations(), dict[str, int])
        assert_type(system.publish("topic", Reset()), int)
        with system.subscribe("topic", capacity=8) as feed:
            assert_type(feed, Feed)
            async for message in feed:
                assert_type(message, Tell)
        await system.stop()


def a_factory(text: str) -> Counter:
    return Counter(len(text))


async def events(system: System) -> None:
    with system.events(capacity=16) as listener:
        assert_type(listener.dropped, int)
        assert_type(listener.take_nowait(), tuple[Event, ...])
        async for event in listener:
            assert_type(event, Event)
            match event:
                case ActorEnded():
                    assert_type(event.reason, ExitReason)
                case DeadLetter():
                    assert_type(event.suppressed, int)
                case Stuck() | Unstoppable():
                    assert_type(event.stack, str)
                case _:
                    pass


async def baggage(counter: Ref[Counter]) -> None:
    with carry(tenant="a", attempt=2):
        await counter.ask(Add(1))


# ------------------------------------------------------------------ supervisors
CAST = SupervisorSpec(
    strategy=Strategy.REST_FOR_ONE,
    intensity=2,
    period=10,
    auto_shutdown=AutoShutdown.ALL_SIGNIFICANT,
    children=[
        ChildSpec(id="counter", start=Counter),
        ChildSpec(id="three", start=functools.partial(Counter, 3), shutdown=Shutdown.INFINITY),
        ChildSpec(id="made", start=lambda: Counter(4), restart=Restart.TRANSIENT, significant=True),
        ChildSpec(id="below", start=SupervisorSpec(children=(ChildSpec(id="leaf", start=Counter),))),
    ],
)


async def a_supervisor(system: System, counter: Ref[Counter]) -> None:
    cast = await system.start_supervisor(CAST, name="cast", restart=Restart.TEMPORARY, intensity=1, period=60)
    assert_type(cast, SupervisorRef)
    assert_type(await system.spawn(Counter, supervisor=cast), Ref[Counter])
    assert_type(cast.name, str)
    assert_type(cast.incarnation, int)
    assert_type(cast.child("counter"), Ref[Actor])
    assert_type(await cast.start_child(ChildSpec(id="late", start=Counter)), Ref[Actor] | SupervisorRef | None)
    assert_type(await cast.start_child(1, "what the one spec's `start` takes"), Ref[Actor] | SupervisorRef | None)
    assert_type(await cast.restart_child("late"), Ref[Actor] | SupervisorRef | None)
    await cast.terminate_child("late")
    await cast.terminate_child(counter)
    await cast.terminate_child(cast)
    await cast.delete_child("late")
    assert_type(cast.which_children(), tuple[ChildInfo, ...])
    for info in cast.which_children():
        assert_type(info.id, str)
        assert_type(info.ref, Ref[Actor] | SupervisorRef | None)
        assert_type(info.state, Literal["running", "restarting", "undefined"])
        assert_type(info.kind, Literal["actor", "supervisor"])
    assert_type(cast.count_children(), ChildCounts)
    assert_type(cast.get_childspec("counter"), ChildSpec)
    await cast.change(attrs.evolve(CAST, intensity=5))
    await cast.stop()
    await cast.wait_stopped()


def reasons(spec: ChildSpec) -> None:
    assert_type((NORMAL, SHUTDOWN, KILLED), tuple[ExitReason, ExitReason, ExitReason])
    assert_type(spec.significant, bool)
    assert_type(spec.directives, Mapping[type[BaseException], Directive])


def errors(error: Exception) -> None:
    match error:
        case ActorCrashed():
            assert_type(error.incarnation, int)
        case AskCycle():
            assert_type(error.chain, tuple[str, ...])
        case ChildError():
            text: str = error.reason
            assert error.reason != "not_found", text
            assert_type(error.ref, Ref[Actor] | SupervisorRef | None)
        case SpecError():
            assert_type(error.problems, tuple[str, ...])
        case StartFailed() | MailboxFull():
            assert_type(error.actor, str)
        case _:
            pass


# ------------------------------------------------------------------ troupes
@tool
async def double(number: int) -> int:
    """Twice the number."""
    return number * 2


async def pieces() -> AsyncIterator[str]:
    """A plan whose text arrives in pieces."""
    yield '[{"id": 1, "action": "reply"}]'


async def troupe() -> None:
    assert_type(double, Tool)
    async with trouper.open_troupe("config.yaml", tools=[double]) as open_one:
        outcome = await open_one.execute("What is 6 times 7?", timeout=60)
        assert_type(outcome, Outcome)
        assert_type(await open_one.run_plan([{"id": 1, "action": "reply"}], budget=Budget(steps=1)), Outcome)
        assert_type(await open_one.run_plan(pieces()), Outcome)
        plan = await open_one.plan("What is 6 times 7?")
        assert_type(plan, Plan)
        assert_type(await open_one.run_plan(plan), Outcome)
        async with open_one.stream("What is 6 times 7?", timeout=60) as events:
            async for event in events:
                assert_type(event, Event)
            assert_type(events.outcome, Outcome)
        await open_one.approve(outcome.run_id, 1, ok=True, note="go on")
        await open_one.approve(outcome.run_id, "3.1.7", ok=True, result={"sent": 1})
        assert_type(await open_one.resume(outcome.run_id), Outcome)
        assert_type(outcome.questions, tuple[Question, ...])
        assert_type(outcome.replans, tuple[Replan, ...])
        assert_type(outcome.answer, str | None)
        assert_type(outcome.steps[1].status, trouper.StepStatus)


def plain() -> None:
    assert_type(trouper.execute("What is 6 times 7?"), Outcome)

"""Uses that must be type errors: a complaint that is no longer made is an ignore comment that nothing needs."""

from __future__ import annotations

from collections.abc import AsyncIterator

from tests.typing.api import Add, Counter, Reset, Show, Tail
from trouper import (
    Actor,
    ChildSpec,
    Down,
    Mailbox,
    Overflow,
    Ref,
    Strategy,
    SupervisorRef,
    SupervisorSpec,
    System,
    Watchdog,
    handler,
    open_system,
)


async def sending(counter: Ref[Counter]) -> None:
    await counter.ask(Reset())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # a Tell has no answer
    await counter.ask(Tail())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # a Stream has many
    await counter.ask(Add)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # the class in place of a message
    await counter.tell(Add(1))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # an Ask has an answer that nobody would get
    counter.tell_nowait(Add(1))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # the same
    await counter.tell_many([Add(1)])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]  # the same
    await counter.tell_many(Reset())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # one in place of many
    await counter.ask_many([Reset()])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # a Tell has no answer
    counter.stream(Add(1))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # an Ask has one answer
    text: str = await counter.ask(Add(1))  # type: ignore[arg-type]  # pyright: ignore[reportAssignmentType]  # the answer is an int
    answer: int = counter.ask(Add(1))  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]  # a missing `await`
    del text, answer
    async for _ in counter.stream(Tail()):  # type: ignore[attr-defined]  # pyright: ignore[reportUnknownVariableType, reportGeneralTypeIssues]  # a stream is entered first
        pass
    async with counter.stream(Tail()) as items:
        for _ in items:  # type: ignore[attr-defined]  # pyright: ignore[reportUnknownVariableType, reportGeneralTypeIssues]  # items come with `async for`
            pass


async def spawning(system: System) -> None:
    await system.spawn(Counter, "three")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # the constructor takes a number
    await system.spawn(Counter, 3, 4)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # and only one
    await system.spawn(Counter(3))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # an actor in place of its class
    await system.spawn(str)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]  # no actor
    await system.spawn(Counter, mailbox=64)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # a number in place of a Mailbox
    await system.spawn(Counter, restart="permanent")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # a text in place of a Restart
    await system.spawn(Counter, lasy=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]  # a misspelt keyword
    await system.spawn(Counter, supervisor=SupervisorSpec())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # a spec in place of a ref
    counter: Counter = await system.spawn(Counter)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]  # a ref is not the actor
    del counter


async def opening() -> None:
    system = open_system()
    await system.spawn(Counter)  # type: ignore[attr-defined]  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]  # outside of `async with`


def supervising(cast: SupervisorRef) -> None:
    ChildSpec(id="a", start=Counter())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # an actor in place of its class
    ChildSpec(id="a", start=str)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # no actor
    ChildSpec("a", Counter)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]  # by name only
    SupervisorSpec(children=[SupervisorSpec()])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]  # without a ChildSpec around it
    SupervisorSpec(strategy="one_for_all")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # a text in place of a Strategy
    Mailbox(overflow=Overflow)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # the enum in place of a member
    Watchdog()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]  # without its limit
    cast.ask(Add(1))  # type: ignore[attr-defined]  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]  # a supervisor is no actor
    cast.flags = Strategy.ONE_FOR_ALL  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]  # and has no public attributes
    cast.name = "other"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]  # or none that can be set


def frozen(message: Add, down: Down) -> None:
    message.amount = 3  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]  # a message cannot be changed
    down.reason = None  # type: ignore[misc, assignment]  # pyright: ignore[reportAttributeAccessIssue]  # nor what the kernel gives


class Handlers(Actor):
    @handler  # type: ignore[type-var]  # pyright: ignore[reportArgumentType, reportUntypedFunctionDecorator]
    def show(self, message: Show) -> str:  # a plain function is a handler only with `inline`
        return ""

    @handler(inline=True, concurrent=2)  # type: ignore[call-overload, untyped-decorator]  # pyright: ignore[reportArgumentType, reportUntypedFunctionDecorator]
    def add(self, message: Add) -> int:  # nothing runs beside an inline handler
        return 1

    @handler(raises=(int,))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    async def reset(self, message: Reset) -> None:  # no class of exceptions
        pass

    @handler(concurrent="two")  # type: ignore[call-overload, untyped-decorator]  # pyright: ignore[reportArgumentType]
    async def tail(self, message: Tail) -> AsyncIterator[bytes]:  # no number
        yield b""


class Loud(Actor):
    async def on_stop(self) -> None:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]  # the reason is missing
        self.ctx.every(1, Show())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # an Ask in place of a Tell
        await self.ctx.spawn(Counter, start="x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]  # arguments are positional


def covariant(one: Ref[Actor], many: list[Ref[Counter]]) -> None:
    counter: Ref[Counter] = one  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]  # some other actor may be behind it
    many.append(one)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # the same
    del counter

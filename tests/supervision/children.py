"""Children for the supervision tests: they note what happens to them, and do what they are told."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping

import attrs
import trio
import trio.testing

from trouper import (
    Actor,
    ActorEnded,
    Ask,
    ChildSpec,
    EventStream,
    ExitReason,
    Ignore,
    Ref,
    SupervisorRef,
    Tell,
    handler,
)


@attrs.frozen
class Ping(Ask[int]):
    """Answered with the generation: 1 for the first one that ever started under its label."""


@attrs.frozen
class Crash(Tell):
    """Raise."""


@attrs.frozen
class End(Tell):
    """End by yourself with that reason."""

    reason: ExitReason


@attrs.frozen
class Work(Tell):
    """Be busy for so long, then crash or end with the reason, if there is one."""

    seconds: float
    reason: ExitReason | None = None
    crash: bool = False


@attrs.frozen
class Hang(Tell):
    """Be busy for so long, whatever anybody says."""

    seconds: float


class Boom(Exception):
    """What a `Worker` crashes with."""


@attrs.frozen(eq=False)
class Book:
    """What the children of one test have noted, and what they are to do.

    `log` has `+a1` for the first start of `a`, `-a1 shutdown` for its end, `!a` for a start that failed, `?a` for one
    that was declined.
    """

    log: list[str] = attrs.field(factory=list)
    generation: Counter[str] = attrs.field(factory=Counter)
    failing: Counter[str] = attrs.field(factory=Counter)
    """How many of its next starts fail."""
    declining: set[str] = attrs.field(factory=set)
    stopping_takes: dict[str, float] = attrs.field(factory=dict)

    def child(self, label: str, **options: object) -> ChildSpec:
        """The spec of the child `label`."""
        return ChildSpec(id=label, start=functools.partial(Worker, self, label), **options)

    def template(self, **options: object) -> ChildSpec:
        """The spec of a dynamic supervisor's children: `start_child(label)`."""
        return ChildSpec(id="worker", start=functools.partial(Worker, self), **options)

    def take(self) -> list[str]:
        """What was noted since the last time."""
        noted = self.log[:]
        self.log.clear()
        return noted


class Worker(Actor):
    """A child that notes its starts and ends in the `Book`."""

    def __init__(self, book: Book, label: str) -> None:
        self.book = book
        self.label = label
        self.generation = 0

    async def on_start(self) -> None:
        if self.book.failing[self.label] > 0:
            self.book.failing[self.label] -= 1
            self.book.log.append(f"!{self.label}")
            raise Boom(f"{self.label} cannot start")
        if self.label in self.book.declining:
            self.book.log.append(f"?{self.label}")
            raise Ignore
        self.book.generation[self.label] += 1
        self.generation = self.book.generation[self.label]
        self.book.log.append(f"+{self.label}{self.generation}")

    async def on_stop(self, reason: ExitReason) -> None:
        await trio.sleep(self.book.stopping_takes.get(self.label, 0))
        self.book.log.append(f"-{self.label}{self.generation} {reason.kind.value}")

    @handler
    async def ping(self, message: Ping) -> int:
        return self.generation

    @handler
    async def crash(self, message: Crash) -> None:
        raise Boom(f"{self.label} was told to crash")

    @handler
    async def end(self, message: End) -> None:
        self.ctx.exit(message.reason)

    @handler
    async def hang(self, message: Hang) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(message.seconds)

    @handler
    async def work(self, message: Work) -> None:
        try:
            await trio.sleep(message.seconds)
        finally:
            self.book.log.append(f"~{self.label}{self.generation}")
        if message.crash:
            raise Boom(f"{self.label} broke at work")
        if message.reason is not None:
            self.ctx.exit(message.reason)


async def settle() -> None:
    """Until nothing moves any more without time passing."""
    await trio.testing.wait_all_tasks_blocked()


async def told(ref: Ref[Actor], message: Tell) -> None:
    """Tell `message`, and wait until what came of it has come."""
    await ref.tell(message)
    await settle()


def ends(events: EventStream) -> Mapping[str, ExitReason]:
    """Why each actor that has ended since the last time did; the last reason of each."""
    return {e.actor.rpartition("/")[2]: e.reason for e in events.take_nowait() if isinstance(e, ActorEnded)}


def states(top: SupervisorRef) -> list[str]:
    """Every child as `id state`, newest first."""
    return [f"{info.id} {info.state}" for info in top.which_children()]

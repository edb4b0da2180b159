"""Further actors for the supervision tests: they fail in several ways, keep state, ask each other, or are busy."""

from __future__ import annotations

import functools

import attrs
import trio

from tests.supervision.children import Book, Boom, Worker
from trouper import (
    Actor,
    Ask,
    Backoff,
    ChildSpec,
    Ref,
    Strategy,
    SupervisorRef,
    SupervisorSpec,
    Tell,
    handler,
)

ALWAYS = 10**6
"""An intensity that nobody exceeds."""

TEN_SECONDS = Backoff(min=10, max=10, jitter=0)


@attrs.frozen
class Fail(Tell):
    """Raise this error."""

    error: Exception


@attrs.frozen
class AskFail(Ask[None]):
    """Raise this error, while somebody waits."""

    error: Exception


@attrs.frozen
class Note(Tell):
    """Write it down."""

    text: str


@attrs.frozen
class Notes(Ask[tuple[str, ...]]):
    """What this life has written down."""


@attrs.frozen
class Poison(Tell):
    """Crash whoever handles it, every time."""


@attrs.frozen
class Nap(Ask[str]):
    """Be busy for so long, then answer."""

    seconds: float


@attrs.frozen
class Doze(Ask[str]):
    """As `Nap`, several at a time."""

    seconds: float


class Keeper(Actor):
    """Keeps notes in memory; what happens to it, in the `Book` of the test."""

    def __init__(self, book: Book, label: str = "k") -> None:
        self.book = book
        self.label = label
        self.notes: list[str] = []

    async def on_start(self) -> None:
        if self.book.failing[self.label] > 0:
            self.book.failing[self.label] -= 1
            raise Boom(f"{self.label} cannot start")
        self.book.log.append(f"+{self.label}")

    @handler
    async def fail(self, message: Fail) -> None:
        raise message.error

    @handler
    async def ask_fail(self, message: AskFail) -> None:
        raise message.error

    @handler
    async def note(self, message: Note) -> None:
        self.notes.append(message.text)
        self.book.log.append(message.text)

    @handler
    async def tell(self, message: Notes) -> tuple[str, ...]:
        return tuple(self.notes)

    @handler
    async def poison(self, message: Poison) -> None:
        self.book.log.append("poisoned")
        raise Boom("poison")

    @handler
    async def nap(self, message: Nap) -> str:
        try:
            await trio.sleep(message.seconds)
        except trio.Cancelled:
            self.book.log.append("woken")
            raise
        return "rested"

    @handler(concurrent=4)
    async def doze(self, message: Doze) -> str:
        try:
            await trio.sleep(message.seconds)
        except trio.Cancelled:
            self.book.log.append("woken")
            raise
        return "rested"


class Saver(Keeper):
    """A keeper whose notes outlive its crashes."""

    def snapshot(self) -> tuple[str, ...]:
        return tuple(self.notes)

    def restore(self, state: tuple[str, ...]) -> None:
        self.notes = list(state)


@attrs.frozen
class Adopt(Ask[Ref[Actor]]):
    """Spawn a child and give its ref."""

    label: str
    intensity: int = 3


class Parent(Worker):
    """A `Worker` with children of its own; they may have children in turn."""

    @handler
    async def adopt(self, message: Adopt) -> Ref[Actor]:
        return await self.ctx.spawn(
            Parent, self.book, message.label, name=message.label, intensity=message.intensity, period=1000
        )


@attrs.frozen
class Relay(Ask[float]):
    """Ask the next one along; the last one is busy for `seconds` and answers with its deadline."""

    seconds: float
    path: tuple[str, ...] = ()


class Link(Actor):
    """One of a chain of actors that ask each other."""

    def __init__(self, book: Book, label: str) -> None:
        self.book = book
        self.label = label

    @handler
    async def relay(self, message: Relay) -> float:
        self.book.log.append(f"{self.label} until {self.ctx.deadline:g}")
        try:
            if message.path:
                return await self.ctx.peer(message.path[0]).ask(Relay(message.seconds, message.path[1:]))
            await trio.sleep(message.seconds)
        except trio.Cancelled:
            self.book.log.append(f"{self.label} cancelled")
            raise
        return self.ctx.deadline

    @handler
    async def fail(self, message: Fail) -> None:
        raise message.error


def keeper(book: Book, label: str = "k", actor: type[Keeper] = Keeper, **options: object) -> ChildSpec:
    """The spec of a keeper `label`."""
    return ChildSpec(id=label, start=functools.partial(actor, book, label), **options)


def only(*children: ChildSpec, strategy: Strategy = Strategy.ONE_FOR_ONE, intensity: int = ALWAYS) -> SupervisorSpec:
    """A supervisor of these children that does not give up by itself."""
    return SupervisorSpec(strategy=strategy, intensity=intensity, children=children)


def below(top: SupervisorRef, child_id: str) -> SupervisorRef:
    """The supervisor with that id under `top`."""
    [ref] = [info.ref for info in top.which_children() if info.id == child_id]
    assert isinstance(ref, SupervisorRef)
    return ref

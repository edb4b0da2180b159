"""The watchdog: a handler that makes no progress is named with its stack, and restarted if so configured."""

from __future__ import annotations

import functools

import attrs
import pytest
import trio

from tests.supervision.children import Book, Crash, Ping, Worker, settle, told
from trouper import (
    Actor,
    ActorCrashed,
    ActorEnded,
    Ask,
    ChildSpec,
    EventStream,
    Ref,
    Stuck,
    SupervisorSpec,
    System,
    Tell,
    Watchdog,
    handler,
    open_system,
)

LIMIT = 10


@attrs.frozen
class Toil(Ask[str]):
    """Work for so long; with `progress` it says so that often."""

    seconds: float
    progress: float | None = None


@attrs.frozen
class Chore(Tell):
    """Work for so long."""

    seconds: float


@attrs.frozen
class Errand(Ask[str]):
    """Work for so long beside others."""

    seconds: float


@attrs.frozen
class Deaf(Tell):
    """Hear nothing for so long, not even a cancellation."""

    seconds: float


class Toiler(Worker):
    """Works, and may say that it gets on."""

    @handler
    async def toil(self, message: Toil) -> str:
        if message.progress is None:
            await trio.sleep(message.seconds)
        else:
            for _ in range(int(message.seconds / message.progress)):
                await trio.sleep(message.progress)
                self.ctx.progress()
        return "done"

    @handler
    async def chore(self, message: Chore) -> None:
        await trio.sleep(message.seconds)

    @handler(concurrent=8)
    async def errand(self, message: Errand) -> str:
        await trio.sleep(message.seconds)
        return "done"


async def toiler(system: System, *, restart: bool = False, book: Book | None = None) -> Ref[Actor]:
    watchdog = Watchdog(limit=LIMIT, restart=restart)
    return await system.spawn(Toiler, book or Book(), "t", name="t", watchdog=watchdog, intensity=1000)


def stuck(events: EventStream) -> list[Stuck]:
    return [event for event in events.take_nowait() if isinstance(event, Stuck)]


@pytest.mark.parametrize("begun", [0, 1, 4.9, 5, 7, 23.3])
@pytest.mark.parametrize("before", [0, 3, 12])
async def test_a_stuck_handler_is_named_after_one_limit_and_before_two(autojump_clock, begun, before) -> None:
    """Whenever it began, and whatever the actor had been busy with; once; with the line it is at."""
    async with open_system() as system:
        ref = await toiler(system)
        with system.events() as events:
            if before:
                await ref.ask(Toil(before, progress=1))
            await trio.sleep_until(begun + before)
            start = trio.current_time()
            assert await ref.ask(Toil(1000), timeout=2000) == "done"
            [report] = stuck(events)

        assert LIMIT <= report.at - start <= 2 * LIMIT
        assert report.waited >= LIMIT
        assert (report.actor, report.message) == ("t", "Toil")
        assert "in Toiler.toil" in report.stack
        assert "await trio.sleep(message.seconds)" in report.stack
        assert (ref.incarnation, ref.statistics().handled) == (1, 2 if before else 1)


async def test_a_handler_that_ends_within_its_limit_is_not_named(autojump_clock) -> None:
    """However many there are, one after the other."""
    async with open_system() as system:
        ref = await toiler(system)
        with system.events() as events:
            for _ in range(50):
                await ref.ask(Toil(9.9))
            assert stuck(events) == []


async def test_the_same_message_again_and_again_is_not_one_long_one(autojump_clock) -> None:
    """A constant that is told many times, or what a timer sends: each handling is one of its own."""
    chore = Chore(6)
    async with open_system() as system:
        ref = await toiler(system, restart=True)
        with system.events() as events:
            for _ in range(20):
                await ref.tell(chore)
            await trio.sleep(200)
            assert stuck(events) == []

        assert (ref.incarnation, ref.statistics().handled) == (1, 20)


async def test_progress_begins_the_limit_anew(autojump_clock) -> None:
    """As long as it says so in time, it may take for ever; when it stops saying so the limit counts from there."""
    async with open_system() as system:
        ref = await toiler(system)
        with system.events() as events:
            assert await ref.ask(Toil(10_000, progress=9), timeout=20_000) == "done"
            assert stuck(events) == []
            start = trio.current_time()
            assert await ref.ask(Toil(300, progress=150), timeout=1000) == "done"
            reports = stuck(events)

        assert LIMIT <= reports[0].at - start <= 2 * LIMIT
        assert LIMIT <= reports[1].at - (start + 150) <= 2 * LIMIT
        assert len(reports) == 2


async def test_with_restart_the_actor_is_restarted_and_its_asker_told(autojump_clock) -> None:
    """It counts as a crash, with an error that says for how long; what waits is handled by the next life."""
    book = Book()
    async with open_system() as system:
        ref = await toiler(system, restart=True, book=book)
        with system.events() as events:
            answers: list[object] = []

            async def ask(message: Toil | Ping) -> None:
                try:
                    answers.append(await ref.ask(message, timeout=1000))
                except ActorCrashed as error:
                    answers.append((type(error.__cause__).__name__, trio.current_time()))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, Toil(500))
                await settle()
                nursery.start_soon(ask, Ping())
            seen = events.take_nowait()

        [(kind, when), generation] = answers
        assert kind == "HandlerStuck"
        assert LIMIT <= when <= 2 * LIMIT
        assert generation == 2
        assert [event.reason.error.kind for event in seen if isinstance(event, ActorEnded)] == ["handler_stuck"]
        assert book.log == ["+t1", "-t1 crashed", "+t2"]
        assert ref.crash_reports()[0].handling == ("Toil",)
        assert "made no progress with Toil" in str(ref.crash_reports()[0].error)


async def test_without_restart_nothing_happens_to_it(autojump_clock) -> None:
    """It is named once, and may still end well."""
    async with open_system() as system:
        ref = await toiler(system)
        with system.events() as events:
            assert await ref.ask(Toil(500), timeout=1000) == "done"
            assert len(stuck(events)) == 1

        assert ref.crash_reports() == ()


async def test_each_concurrent_handler_has_its_own_limit(autojump_clock) -> None:
    """Only those that are stuck are named, each once, with its own stack."""
    async with open_system() as system:
        ref = await toiler(system)
        with system.events() as events:
            async with trio.open_nursery() as nursery:
                for begun, seconds in ((0, 9), (3, 100), (6, 9), (7, 100), (14, 9)):
                    await trio.sleep_until(begun)
                    nursery.start_soon(functools.partial(ref.ask, Errand(seconds), timeout=1000))
            reports = stuck(events)

        assert len(reports) == 2
        assert 3 + LIMIT <= reports[0].at <= 3 + 2 * LIMIT
        assert 7 + LIMIT <= reports[1].at <= 7 + 2 * LIMIT
        assert all("in Toiler.errand" in report.stack for report in reports)


async def test_a_stuck_concurrent_handler_is_restarted_with_all_that_were_in_hand(autojump_clock) -> None:
    """The crash fails every ask in flight."""
    async with open_system() as system:
        ref = await toiler(system, restart=True)
        failed: list[float] = []

        async def ask(seconds: float) -> None:
            with pytest.raises(ActorCrashed):
                await ref.ask(Errand(seconds), timeout=1000)
            failed.append(trio.current_time())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, 500)
            nursery.start_soon(ask, 600)
        await settle()

        assert failed[0] == failed[1]
        assert ref.incarnation == 2


async def test_an_idle_actor_costs_no_alarm(autojump_clock) -> None:
    """Nothing is due in the whole system when nobody does anything; and a thousand messages leave nothing behind."""
    async with open_system() as system:
        refs = [await system.spawn(Toiler, Book(), "t", watchdog=Watchdog(limit=LIMIT)) for _ in range(5)]
        await settle()
        assert trio.lowlevel.current_statistics().seconds_to_next_deadline == float("inf")

        for ref in refs:
            for _ in range(200):
                await ref.ask(Ping())
        await trio.sleep(1000)
        await settle()

        assert trio.lowlevel.current_statistics().seconds_to_next_deadline == float("inf")


async def test_it_watches_again_after_the_actor_was_idle(autojump_clock) -> None:
    """And in the next life."""
    async with open_system() as system:
        ref = await toiler(system)
        with system.events() as events:
            for _ in range(3):
                await trio.sleep(100)
                await ref.ask(Toil(30))
                await told(ref, Crash())
            assert len(stuck(events)) == 3

        assert ref.incarnation == 4


async def test_a_suspended_or_waiting_actor_is_not_stuck(autojump_clock) -> None:
    """Only a handler can be: messages that wait for their turn, or for the end of a suspension, do not count."""
    async with open_system() as system:
        ref = await toiler(system, restart=True)
        with system.events() as events:
            await ref.suspend()
            await ref.tell(Chore(1))
            await trio.sleep(500)
            await ref.resume()
            await trio.sleep(5)
            assert stuck(events) == []

        assert (ref.incarnation, ref.statistics().handled) == (1, 1)


async def test_a_watchdog_stands_in_a_child_spec_as_well(autojump_clock) -> None:
    """Under a supervisor, the restart of a stuck child counts for the intensity."""
    book = Book()
    child = ChildSpec(id="t", start=functools.partial(Toiler, book, "t"), watchdog=Watchdog(limit=LIMIT, restart=True))
    async with open_system() as system:
        top = await system.start_supervisor(SupervisorSpec(intensity=1, period=1000, children=[child]), intensity=1)
        for _ in range(2):
            await told(top.child("t"), Chore(500))
            await trio.sleep(100)

        assert top.incarnation == 2
        assert book.generation["t"] == 3


async def test_a_stuck_handler_that_ignores_its_cancellation_is_still_named(autojump_clock) -> None:
    """The restart waits for it, because nothing may outlive its life."""

    class Stone(Toiler):
        @handler
        async def deaf(self, message: Deaf) -> None:
            with trio.CancelScope(shield=True):
                await trio.sleep(message.seconds)

    async with open_system() as system:
        ref = await system.spawn(Stone, Book(), "s", watchdog=Watchdog(limit=LIMIT, restart=True))
        with system.events() as events:
            await told(ref, Deaf(100))
            assert await ref.ask(Ping(), timeout=1000) == 2
            [report] = stuck(events)

        assert report.at <= 2 * LIMIT
        assert "in test_a_stuck" in report.stack
        assert trio.current_time() == 100

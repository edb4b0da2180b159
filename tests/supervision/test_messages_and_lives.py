"""What becomes of messages, state and timers when a life ends: nothing is lost, nothing comes twice."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio

from tests.supervision.actors import (
    TEN_SECONDS,
    AskFail,
    Doze,
    Fail,
    Keeper,
    Nap,
    Note,
    Notes,
    Poison,
    Saver,
    below,
    keeper,
    only,
)
from tests.supervision.children import Book, Boom, Crash, Ping, Worker, settle, states, told
from trouper import (
    Actor,
    ActorCrashed,
    ActorStopped,
    AskTimeout,
    Backoff,
    ChildSpec,
    DeadLetter,
    Mailbox,
    MailboxFull,
    Overflow,
    Ref,
    Strategy,
    Tell,
    handler,
    open_system,
)


# ------------------------------------------------------------------ messages and lives
async def test_messages_that_wait_outlive_a_crash_in_their_order(autojump_clock) -> None:
    """Also over several lives, also through a backoff; none is lost, none comes twice."""
    book = Book()
    async with open_system() as system:
        top = await system.start_supervisor(only(keeper(book, backoff=Backoff(min=1, max=1, jitter=0))))
        ref = top.child("k")
        for number in range(10):
            await ref.tell(Note(str(number)))
            if number % 3 == 0:
                await ref.tell(Fail(Boom()))
        await ref.tell(Note("last"))
        notes = await ref.ask(Notes())

        assert [line for line in book.log if line != "+k"] == [*map(str, range(10)), "last"]
        assert notes == ("last",)
        assert (ref.incarnation, trio.current_time()) == (5, 4)


@pytest.mark.parametrize("how", ["crash", "kill"])
async def test_what_a_life_had_set_aside_is_for_the_next_one(autojump_clock, how) -> None:
    """In its order, before whatever waits; its asks stay open."""

    class Reluctant(Keeper):
        @handler
        async def note(self, message: Note) -> None:
            if self.ctx.incarnation == 1 and message.text != "now":
                self.ctx.stash()
            else:
                await super().note(message)

        @handler
        async def tell(self, message: Notes) -> tuple[str, ...]:
            if self.ctx.incarnation == 1:
                self.ctx.stash()
            return tuple(self.notes)

    book = Book()
    async with open_system() as system:
        ref = await system.spawn(Reluctant, book)
        answers: list[object] = []

        async def ask() -> None:
            answers.append(await ref.ask(Notes()))

        async with trio.open_nursery() as nursery:
            for text in ("a", "b", "now"):
                await told(ref, Note(text))
            nursery.start_soon(ask)
            await settle()
            assert (book.take(), ref.statistics().stashed) == (["+k", "now"], 3)
            if how == "kill":
                ref.kill()
            else:
                ref.tell_nowait(Fail(Boom()))
            ref.tell_nowait(Note("behind"))

        await settle()
        assert answers == [("a", "b")]
        assert book.log == ["+k", "a", "b", "behind"]


@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])
async def test_messages_that_wait_for_a_sibling_outlive_the_restart_of_the_group(autojump_clock, strategy) -> None:
    """It was not stopped for good: the next life answers, and nobody who waits for its stop is told of one."""
    book = Book()
    async with open_system() as system:
        top = await system.start_supervisor(only(keeper(book, "a"), keeper(book, "b"), strategy=strategy))
        a, b = top.child("a"), top.child("b")
        stopped: list[float] = []
        answers: list[object] = []

        async def wait_stopped() -> None:
            await b.wait_stopped()
            stopped.append(trio.current_time())

        async def ask(message: Nap | Notes) -> None:
            answers.append(await b.ask(message))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_stopped)
            nursery.start_soon(ask, Nap(1))
            await settle()
            await b.tell(Note("kept"))
            nursery.start_soon(ask, Notes())
            await settle()
            await told(a, Fail(Boom()))
            await trio.sleep(100)

            assert answers == ["rested", ("kept",)]
            assert stopped == []
            assert system.find(b.name) == b
            nursery.cancel_scope.cancel()


async def test_an_actor_that_was_spawned_under_a_group_is_restarted_with_it() -> None:
    """It is a child like the others, as one that `start_child` added."""
    book = Book()
    async with open_system() as system:
        top = await system.start_supervisor(only(book.child("a"), strategy=Strategy.ONE_FOR_ALL))
        ref = await system.spawn(Worker, book, "s", name="s", supervisor=top)
        await told(top.child("a"), Crash())

        assert await ref.ask(Ping()) == 2
        assert states(top) == ["s running", "a running"]


@pytest.mark.parametrize("order", ["ab", "ba"])
@pytest.mark.parametrize("seed", range(4))
async def test_a_stop_for_good_holds_during_the_restart_of_the_group(autojump_clock, order, seed) -> None:
    """Whoever of the two gets to the child's end first."""
    trio._core._run._r.seed(seed)  # trio turns half of its batches around, by chance
    book = Book(stopping_takes={"b": 2})
    children = [book.child(label) for label in order]
    async with open_system() as system:
        top = await system.start_supervisor(only(*children, strategy=Strategy.ONE_FOR_ALL))
        b = top.child("b")
        await told(top.child("a"), Crash())
        await trio.sleep(1)
        b.stop()
        with trio.fail_after(10):
            await b.wait_stopped()
        await trio.sleep(10)

        assert states(top) == ["a running"]
        assert book.generation == {"a": 2, "b": 1}


@pytest.mark.parametrize("seed", range(4))
async def test_the_stop_of_a_supervisor_holds_during_the_restart_of_the_group(autojump_clock, seed) -> None:
    """As that of an actor does."""
    trio._core._run._r.seed(seed)
    book = Book(stopping_takes={"b": 2})
    inner = ChildSpec(id="inner", start=only(book.child("b")))
    async with open_system() as system:
        top = await system.start_supervisor(only(inner, book.child("a"), strategy=Strategy.ONE_FOR_ALL))
        middle = below(top, "inner")
        await told(top.child("a"), Crash())
        await trio.sleep(1)
        with trio.fail_after(10):
            await middle.stop()
        await trio.sleep(10)

        assert "inner running" not in states(top)
        assert book.generation == {"a": 2, "b": 1}


async def test_an_ask_made_between_two_lives_is_answered_by_the_next_one(autojump_clock) -> None:
    """Unless its own time is over first."""
    book = Book()
    async with open_system() as system:
        ref = await system.spawn(Worker, book, "a", backoff=TEN_SECONDS)
        await told(ref, Crash())
        with pytest.raises(AskTimeout):
            await ref.ask(Ping(), timeout=9)
        assert trio.current_time() == 9

        assert await ref.ask(Ping(), timeout=2) == 2
        assert trio.current_time() == 10


async def test_the_ask_that_crashed_is_not_asked_again() -> None:
    """Its asker is told at once, and of which life; those behind it are answered by the next one."""
    book = Book()
    async with open_system() as system:
        ref = await system.spawn(Keeper, book)
        errors: list[ActorCrashed] = []
        answers: list[object] = []

        async def fail() -> None:
            with pytest.raises(ActorCrashed) as caught:
                await ref.ask(AskFail(Boom("once")))
            errors.append(caught.value)

        async def ask() -> None:
            answers.append(await ref.ask(Notes()))

        async with trio.open_nursery() as nursery:
            for call in (fail, ask):
                nursery.start_soon(call)
                await trio.lowlevel.checkpoint()

        assert [(error.incarnation, str(error.__cause__)) for error in errors] == [(1, "once")]
        assert answers == [()]
        assert ref.incarnation == 2


@pytest.mark.parametrize("redeliver", [0, 1, 3])
async def test_a_poison_message_is_a_dead_letter_after_so_many_crashes(redeliver) -> None:
    """It is tried again, before whatever waits; then the next message has its turn."""
    book = Book()
    async with open_system() as system:
        top = await system.start_supervisor(only(keeper(book, mailbox=Mailbox(redeliver=redeliver))), name="top")
        ref = top.child("k")
        with system.events() as events:
            await ref.tell(Poison())
            await told(ref, Note("behind"))
            letters = [event for event in events.take_nowait() if isinstance(event, DeadLetter)]

        assert book.log == ["+k", *["poisoned", "+k"] * (redeliver + 1), "behind"]
        assert [(letter.actor, letter.message) for letter in letters] == ([("top/k", "Poison")] if redeliver else [])
        assert ref.statistics().dead_letters == len(letters)
        assert all(report.handling == ("Poison",) for report in ref.crash_reports())


async def test_every_message_has_redeliveries_of_its_own() -> None:
    """Two poisonous ones, the second of which is tried as often as the first; a good one is handled once."""
    book = Book()
    async with open_system() as system:
        top = await system.start_supervisor(only(keeper(book, mailbox=Mailbox(redeliver=2))))
        ref = top.child("k")
        for message in (Poison(), Note("good"), Poison(), Note("also good")):
            await ref.tell(message)
        await settle()

        assert book.log.count("poisoned") == 6
        assert [line for line in book.log if "good" in line] == ["good", "also good"]
        assert ref.statistics().dead_letters == 2


async def test_an_ask_is_never_delivered_again() -> None:
    """Its asker has been told of the crash; to handle it once more would be to handle it for nobody."""
    book = Book()
    async with open_system() as system:
        top = await system.start_supervisor(only(keeper(book, mailbox=Mailbox(redeliver=5))))
        with pytest.raises(ActorCrashed):
            await top.child("k").ask(AskFail(Boom()))
        await settle()

        assert top.child("k").incarnation == 2


async def test_the_last_good_state_is_restored_into_the_next_life() -> None:
    """Before `on_start`; what the crashed handler did to it is not in it. One without a snapshot begins anew."""
    book = Book()

    class Clumsy(Saver):
        @handler
        async def fail(self, message: Fail) -> None:
            self.notes.append("half done")
            raise message.error

    async with open_system() as system:
        children = [keeper(book, "s", Clumsy), keeper(book, "k")]
        top = await system.start_supervisor(only(*children))
        for label in "sk":
            for text in ("one", "two"):
                await told(top.child(label), Note(text))
            await told(top.child(label), Fail(Boom()))

        assert await top.child("s").ask(Notes()) == ("one", "two")
        assert await top.child("k").ask(Notes()) == ()


@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])
async def test_the_state_of_a_sibling_is_restored_as_well(strategy) -> None:
    """It did not even crash."""
    book = Book()
    async with open_system() as system:
        children = [keeper(book, "a"), keeper(book, "s", Saver)]
        top = await system.start_supervisor(only(*children, strategy=strategy))
        await told(top.child("s"), Note("kept"))
        await told(top.child("a"), Fail(Boom()))

        assert top.child("s").incarnation == 2
        assert await top.child("s").ask(Notes()) == ("kept",)


class Impatient(Keeper):
    """Sets timers in its first life only."""

    async def on_start(self) -> None:
        await super().on_start()
        if self.ctx.incarnation == 1:
            self.ctx.send_after(5, Note("once"))
            self.ctx.every(2, Note("tick"))


@pytest.mark.parametrize("how", ["crash", "kill", "group"])
async def test_a_timer_of_one_life_never_fires_into_the_next(autojump_clock, how) -> None:
    """However it ended."""
    book = Book()
    async with open_system() as system:
        children = [keeper(book, "a"), keeper(book, "i", Impatient)]
        top = await system.start_supervisor(only(*children, strategy=Strategy.REST_FOR_ONE))
        await trio.sleep(3)
        assert book.take() == ["+a", "+i", "tick"]
        if how == "kill":
            top.child("i").kill()
        else:
            await told(top.child("a" if how == "group" else "i"), Fail(Boom()))
        await trio.sleep(100)
        await settle()

        assert top.child("i").incarnation == 2
        assert trio.lowlevel.current_statistics().seconds_to_next_deadline == float("inf")
        assert [line for line in book.log if not line.startswith("+")] == []


async def test_a_timer_that_is_due_when_its_life_ends_does_not_fire_into_the_next(autojump_clock) -> None:
    """It was waiting behind the very message that crashed."""
    book = Book()

    class Late(Impatient):
        @handler
        async def nap(self, message: Nap) -> str:
            await trio.sleep(message.seconds)
            raise Boom

    async with open_system() as system:
        top = await system.start_supervisor(only(keeper(book, "i", Late)))
        with pytest.raises(ActorCrashed):
            await top.child("i").ask(Nap(30))
        await trio.sleep(100)

        assert book.log == ["+i", "+i"]


# ------------------------------------------------------------------ a full mailbox between two lives
@attrs.frozen
class Reading(Tell):
    """Something of which only the newest counts."""

    sensor: str
    value: int


class Reader(Worker):
    """Writes down what it reads."""

    @handler
    async def read(self, message: Reading) -> None:
        self.book.log.append(f"{message.sensor}{message.value}")


READINGS = [Reading("x", 1), Reading("y", 1), Reading("x", 2), Reading("y", 2), Reading("z", 1)]


@pytest.mark.parametrize(
    ("overflow", "key", "read", "dropped"),
    [
        (Overflow.DROP_NEW, None, "x1 y1 x2", 2),
        (Overflow.DROP_OLD, None, "x2 y2 z1", 2),
        (Overflow.LATEST_BY_KEY, lambda message: getattr(message, "sensor", ""), "x2 y2 z1", 2),
        (Overflow.FAIL, None, "x1 y1 x2", 2),
        (Overflow.WAIT, None, "x1 y1 x2 y2 z1", 0),
    ],
)
async def test_a_mailbox_that_fills_up_between_two_lives_does_what_it_says(
    autojump_clock, overflow, key, read, dropped
) -> None:
    """The next life finds exactly what the policy has kept, in order; what was dropped is counted."""
    book = Book()
    mailbox = Mailbox(capacity=3, overflow=overflow, key=key)
    async with open_system() as system:
        ref = await system.spawn(Reader, book, "r", mailbox=mailbox, backoff=TEN_SECONDS)
        await told(ref, Crash())
        book.take()
        with system.events() as events:
            async with trio.open_nursery() as nursery:

                async def send() -> None:
                    for message in READINGS:
                        try:
                            await ref.tell(message)
                        except MailboxFull:
                            assert overflow is Overflow.FAIL

                nursery.start_soon(send)
                await settle()
                assert (trio.current_time(), ref.statistics().queued) == (0, 3)
            await trio.sleep_until(10)
            await settle()
            letters = [event for event in events.take_nowait() if isinstance(event, DeadLetter)]

        assert book.log == ["+r2", *read.split()]
        assert ref.statistics().dropped == dropped
        assert len(letters) == (0 if overflow in {Overflow.WAIT, Overflow.FAIL} else dropped)


@pytest.mark.parametrize("overflow", [Overflow.DROP_NEW, Overflow.DROP_OLD, Overflow.FAIL])
async def test_an_ask_that_a_full_mailbox_drops_fails_at_once(autojump_clock, overflow) -> None:
    """Under every policy but WAIT somebody is told: whoever asks, or whoever's ask made room."""
    async with open_system() as system:
        mailbox = Mailbox(capacity=1, overflow=overflow)
        ref = await system.spawn(Worker, Book(), "a", mailbox=mailbox, backoff=TEN_SECONDS)
        await told(ref, Crash())
        outcomes: list[tuple[float, str, object]] = []

        async def ask(who: str) -> None:
            try:
                outcome: object = await ref.ask(Ping())
            except MailboxFull:
                outcome = "full"
            outcomes.append((trio.current_time(), who, outcome))

        async with trio.open_nursery() as nursery:
            for who in ("first", "second"):
                nursery.start_soon(ask, who)
                await settle()

        loser, winner = ("first", "second") if overflow is Overflow.DROP_OLD else ("second", "first")
        assert outcomes == [(0, loser, "full"), (10, winner, 2)]


# ------------------------------------------------------------------ dead letters
async def test_what_waits_for_an_actor_that_stops_for_good_is_dead(autojump_clock) -> None:
    """Tells become events with the reason, and are counted; asks fail."""
    book = Book()
    async with open_system() as system:
        top = await system.start_supervisor(only(keeper(book, shutdown=1)), name="top")
        ref = top.child("k")
        outcomes: list[type] = []

        async def ask() -> None:
            with pytest.raises(ActorStopped):
                await ref.ask(Notes())
            outcomes.append(ActorStopped)

        with system.events() as events:
            async with trio.open_nursery() as nursery:

                async def nap() -> None:
                    with pytest.raises(ActorStopped):
                        await ref.ask(Nap(100))

                nursery.start_soon(nap)
                await settle()
                for text in ("x", "y"):
                    ref.tell_nowait(Note(text))
                nursery.start_soon(ask)
                await settle()
                await top.terminate_child("k")
            letters = [event for event in events.take_nowait() if isinstance(event, DeadLetter)]

        assert [(letter.actor, letter.message, letter.at) for letter in letters] == [("top/k", "Note", 1)] * 2
        assert "stopped" in letters[0].why
        assert outcomes == [ActorStopped]
        assert ref.statistics().dead_letters == 2


async def test_a_storm_of_dead_letters_is_counted_and_told_of_a_hundred_times_a_second(autojump_clock) -> None:
    """The next one that is told says how many were not; the counter has them all."""
    book = Book()
    async with open_system() as system:
        mailbox = Mailbox(capacity=1, overflow=Overflow.DROP_NEW)
        ref = await system.spawn(Keeper, book, mailbox=mailbox, backoff=Backoff(min=50, max=50, jitter=0))
        await told(ref, Fail(Boom()))
        with system.events() as events:
            for _ in range(351):
                ref.tell_nowait(Note("x"))
            first = [event for event in events.take_nowait() if isinstance(event, DeadLetter)]
            await trio.sleep(1)
            ref.tell_nowait(Note("x"))
            [later] = [event for event in events.take_nowait() if isinstance(event, DeadLetter)]

        assert len(first) == 100
        assert {letter.suppressed for letter in first} == {0}
        assert later.suppressed == 250
        assert ref.statistics().dead_letters == 351


# ------------------------------------------------------------------ cancelled asks
@asynccontextmanager
async def busy(ref: Ref[Actor]) -> AsyncGenerator[None]:
    """Something else is in hand meanwhile."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ref.ask, Nap(1000))
        await settle()
        yield
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def full(ref: Ref[Actor]) -> AsyncGenerator[None]:
    """Something else is in hand, and there is no room."""
    async with busy(ref):
        for _ in range(ref.statistics().capacity):
            ref.tell_nowait(Note("waits"))
        yield


@asynccontextmanager
async def between_lives(ref: Ref[Actor]) -> AsyncGenerator[None]:
    """It has crashed, and its backoff runs."""
    await told(ref, Fail(Boom()))
    yield


@asynccontextmanager
async def suspended(ref: Ref[Actor]) -> AsyncGenerator[None]:
    """It handles nothing."""
    await ref.suspend()
    yield
    await ref.resume()


@asynccontextmanager
async def idle(ref: Ref[Actor]) -> AsyncGenerator[None]:
    """It begins at once."""
    yield


@pytest.mark.parametrize(
    ("state", "message", "woken"),
    [
        (busy, Nap(5), 0),
        (full, Nap(5), 0),
        (between_lives, Nap(5), 0),
        (suspended, Nap(5), 0),
        (idle, Nap(5), 1),
        (idle, Doze(5), 1),
        (busy, Doze(5), 0),
    ],
)
@pytest.mark.parametrize("how", ["cancelled", "timed out"])
async def test_an_ask_that_is_given_up_leaves_no_trace(autojump_clock, state, message, woken, how) -> None:
    """Wherever its message is: its place is free at once, its handler cancelled if it runs, and the actor lives on."""
    book = Book()
    async with open_system() as system:
        ref = await system.spawn(Keeper, book, mailbox=Mailbox(capacity=2), backoff=TEN_SECONDS)
        async with state(ref):
            before = ref.statistics()
            book.take()
            begun = trio.current_time()
            if how == "cancelled":
                with trio.move_on_after(1):
                    await ref.ask(message)
            else:
                with pytest.raises(AskTimeout):
                    await ref.ask(message, timeout=1)
            assert trio.current_time() == begun + 1
            after = ref.statistics()
            assert (after.queued, after.senders) == (before.queued, before.senders)
            await settle()
            assert book.take() == ["woken"] * woken
        await settle()
        book.take()

        assert await ref.ask(Nap(1), timeout=20) == "rested"
        assert await ref.ask(Doze(1), timeout=20) == "rested"
        assert ref.statistics().queued == 0
        assert "woken" not in book.take()


async def test_asks_given_up_between_two_lives_free_the_whole_mailbox(autojump_clock) -> None:
    """Sixty-four of them; then there is room for sixty-four tells."""
    book = Book()
    async with open_system() as system:
        ref = await system.spawn(Keeper, book, backoff=TEN_SECONDS)
        await told(ref, Fail(Boom()))
        with trio.move_on_after(1):
            async with trio.open_nursery() as nursery:
                for _ in range(64):
                    nursery.start_soon(ref.ask, Notes())
        for number in range(64):
            ref.tell_nowait(Note(str(number)))
        with pytest.raises(MailboxFull):
            ref.tell_nowait(Note("one too many"))
        await trio.sleep(10)
        await settle()

        assert await ref.ask(Notes()) == tuple(map(str, range(64)))

"""Timers of an actor: on a lane of their own, in order, one unread tick at most, gone with the incarnation."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.runtime.player import (
    AtOnce,
    Beside,
    Broken,
    Do,
    Note,
    Perform,
    Player,
    Read,
    answer,
    begin,
    call,
    end_of,
    nap,
    settle,
)
from trouper import Mailbox, MailboxFull, Ref, open_system
from trouper.runtime.testing import crash


def in_handler(function: Any) -> Do:
    """Answered with what `function(actor)` gives: for what is no coroutine."""

    async def play(me: Player) -> object:
        return function(me)

    return Do(play)


def after(*delays: float) -> Do:
    """Start a timer for each delay, whose message is the delay."""
    return in_handler(lambda me: [me.ctx.send_after(delay, Note(delay)) for delay in delays])


class Clocked(Player):
    """Notes when things came."""

    async def note(self, message: Note) -> None:
        self.log.append((message.what, trio.current_time()))


# ------------------------------------------------------------------ send_after
async def test_a_message_comes_after_its_delay_and_once(autojump_clock) -> None:
    async with open_system() as system:
        ref = await system.spawn(Clocked)
        await trio.sleep(1)
        await ref.ask(after(3, 1, 2, 1))
        await trio.sleep(100)

        assert await ref.ask(Read()) == [(1, 2), (1, 2), (2, 3), (3, 4)]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 8), max_size=20), st.integers(1, 10))
def test_timers_come_in_the_order_of_their_instants_also_to_a_busy_actor(delays, busy) -> None:
    async def main() -> None:
        async with open_system() as system, trio.open_nursery() as nursery:
            ref = await system.spawn(Clocked)
            await ref.ask(after(*delays))
            call(nursery, ref.ask, nap(busy))
            await trio.sleep(20)

            due = sorted(delays)
            assert await ref.ask(Read()) == [(n, max(n, busy)) for n in due]

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_a_full_mailbox_does_not_keep_a_timer_out_and_it_comes_first(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player, mailbox=Mailbox(capacity=2))
        await ref.ask(after(1, 2))
        await begin(nursery, ref.ask, nap(5))
        for n in "ab":
            ref.tell_nowait(Note(n))
        with pytest.raises(MailboxFull):
            ref.tell_nowait(Note("c"))
        await trio.sleep(6)

        assert await ref.ask(Read()) == [1, 2, "a", "b"]


async def test_timers_keep_their_order_while_concurrent_handlers_are_at_work(autojump_clock) -> None:
    """An exclusive message waits for them; those that come due meanwhile wait behind it, not before it."""
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player)
        await ref.ask(after(1, 2, 3))
        await begin(nursery, ref.ask, Beside(lambda me: nap(5).play(me)))
        await begin(nursery, ref.tell, Note("told"))
        await trio.sleep(10)

        assert await ref.ask(Read()) in ([1, 2, 3, "told"], ["told", 1, 2, 3])


async def test_no_delay_means_before_the_next_message(autojump_clock) -> None:
    async def plays(me: Player) -> None:
        me.ctx.ref.tell_nowait(Note("queued"))
        me.ctx.send_after(0, Note("at once"))
        await trio.sleep(1)

    async with open_system() as system:
        ref = await system.spawn(Player)
        await ref.ask(Do(plays))

        assert await ref.ask(Read()) == ["at once", "queued"]


async def test_an_endless_delay_never_comes(autojump_clock) -> None:
    async with open_system() as system:
        ref = await system.spawn(Player)
        await ref.ask(in_handler(lambda me: me.ctx.send_after(float("inf"), Note("never"))))
        await trio.sleep(50_000)

        assert await ref.ask(Read()) == []


# ------------------------------------------------------------------ every
async def test_a_tick_comes_every_interval_and_does_not_drift(autojump_clock) -> None:
    """From the instant it was due, however late the last one was read."""

    class Slow(Clocked):
        async def note(self, message: Note) -> None:
            await super().note(message)
            await trio.sleep(0.25)

    async with open_system() as system:
        ref = await system.spawn(Slow)
        await ref.ask(in_handler(lambda me: me.ctx.every(1, Note("tick"))))
        await trio.sleep(5.5)

        assert await ref.ask(Read()) == [("tick", n) for n in (1, 2, 3, 4, 5)]


@pytest.mark.parametrize("by", ["an exclusive handler", "a concurrent handler", "suspension", "a slow tick"])
async def test_a_tick_is_left_out_while_the_last_one_is_unread(by, autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Clocked)
        await ref.ask(in_handler(lambda me: me.ctx.every(1, Note("tick"))))
        if by == "an exclusive handler":
            await begin(nursery, ref.ask, nap(10.5))
        elif by == "a concurrent handler":
            await begin(nursery, ref.ask, Beside(nap(10.5).play))
        elif by == "suspension":
            await ref.suspend()
        else:
            ref.tell_nowait(Perform(lambda me: nap(10.5).play(me)))
        await trio.sleep(10.5)
        await ref.resume()
        await trio.sleep(2)

        assert await ref.ask(Read()) == [("tick", 10.5), ("tick", 11), ("tick", 12)]


def test_a_stall_gives_one_tick_not_one_for_each_that_was_missed() -> None:
    clock = trio.testing.MockClock(autojump_threshold=0)

    async def main() -> None:
        async with open_system() as system:
            ref = await system.spawn(Clocked)
            await ref.ask(in_handler(lambda me: me.ctx.every(1, Note("tick"))))
            clock.jump(1000.5)
            await settle()

            assert await ref.ask(Read()) == [("tick", 1000.5)]
            await trio.sleep(2)
            assert len(await ref.ask(Read())) in {2, 3}

    trio.run(main, clock=clock)


def test_a_late_tick_does_not_make_the_following_ones_late() -> None:
    clock = trio.testing.MockClock(autojump_threshold=0)

    async def main() -> None:
        async with open_system() as system:
            ref = await system.spawn(Clocked)
            await ref.ask(in_handler(lambda me: me.ctx.every(1, Note("tick"))))
            clock.jump(1.25)
            await settle()
            await trio.sleep(2)

            assert await ref.ask(Read()) == [("tick", 1.25), ("tick", 2), ("tick", 3)]

    trio.run(main, clock=clock)


# ------------------------------------------------------------------ cancel
async def test_a_cancelled_timer_does_not_come_also_when_it_is_due_and_unread(autojump_clock) -> None:
    async def plays(me: Player) -> None:
        early = me.ctx.send_after(1, Note("due"))
        late = me.ctx.send_after(10, Note("later"))
        ticks = me.ctx.every(1, Note("tick"))
        await trio.sleep(2)
        for timer in (early, late, ticks):
            timer.cancel()
            timer.cancel()

    async with open_system() as system:
        ref = await system.spawn(Player)
        await ref.ask(Do(plays))
        await trio.sleep(20)

        assert await ref.ask(Read()) == []


async def test_a_timer_may_be_cancelled_while_its_message_is_handled_and_after_it(autojump_clock) -> None:
    async with open_system() as system:
        ref = await system.spawn(Player)
        timers: list[Any] = []

        async def tick(me: Player) -> None:
            me.log.append("tick")
            if len(me.log) == 3:
                timers[0].cancel()

        timers.append(await ref.ask(in_handler(lambda me: me.ctx.every(1, Perform(tick)))))
        once = await ref.ask(in_handler(lambda me: me.ctx.send_after(1, Note("once"))))
        await trio.sleep(1.5)
        once.cancel()
        await trio.sleep(10)

        assert sorted(await ref.ask(Read())) == ["once", "tick", "tick"]


async def test_a_timer_cancelled_from_outside_while_concurrent_handlers_hold_it_up(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player)
        timers = await ref.ask(after(1, 2, 3))
        await begin(nursery, ref.ask, Beside(nap(5).play))
        await trio.sleep(4)
        timers[1].cancel()
        await trio.sleep(4)

        assert await ref.ask(Read()) == [1, 3]


# ------------------------------------------------------------------ with the incarnation
@pytest.mark.parametrize("end", ["crash", "kill", "exit", "stop", "injected"])
async def test_timers_die_with_the_incarnation_that_started_them(end, autojump_clock) -> None:
    log: list[Any] = []
    async with open_system() as system:
        ref = await system.spawn(Player, log)
        await ref.ask(after(1, 2, 0.5))
        await ref.ask(in_handler(lambda me: me.ctx.every(1, Note("tick"))))
        if end == "crash":

            async def breaks(me: Player) -> None:
                await trio.sleep(0.75)  # one is due and unread
                raise Broken

            await end_of(ref.ask, Do(breaks))
        elif end == "kill":
            ref.kill()
        elif end == "exit":
            await ref.ask(in_handler(lambda me: me.ctx.exit()))
        elif end == "stop":
            ref.stop()
        else:
            crash(ref)
        await trio.sleep(10)

        assert log == []
        assert not [entry for entry in system.alarms._heap if entry[2].callback is not None]
        if end != "stop":
            assert ref.incarnation == 2


async def test_what_on_stop_starts_dies_too(autojump_clock) -> None:
    class Late(Player):
        async def on_stop(self, reason: object) -> None:
            self.ctx.every(1, Note("tick"))
            self.ctx.send_after(1, Note("once"))

    log: list[Any] = []
    async with open_system() as system:
        ref = await system.spawn(Late, log)
        crash(ref)
        await trio.sleep(10)

        assert ref.incarnation == 2
        assert log == []
        assert not [entry for entry in system.alarms._heap if getattr(entry[2], "callback", None) is not None]


async def test_timers_of_on_start_come_to_every_life_anew(autojump_clock) -> None:
    class Ticks(Clocked):
        async def on_start(self) -> None:
            self.ctx.send_after(1, Note(self.ctx.incarnation))

    log: list[Any] = []
    async with open_system() as system:
        ref = await system.spawn(Ticks, log)
        await trio.sleep(0.5)
        crash(ref)
        await trio.sleep(5)

        assert log == [(2, 1.5)]


async def test_a_timer_that_is_due_at_once_in_on_start_waits_for_the_start(autojump_clock) -> None:
    class Starts(Clocked):
        async def on_start(self) -> None:
            self.ctx.send_after(0, Note("first"))
            await trio.sleep(2)

    async with open_system() as system:
        ref = await system.spawn(Starts)

        assert await ref.ask(Read()) == [("first", 2)]


# ------------------------------------------------------------------ misuse, and what they carry
async def test_wrong_times_and_messages_are_refused_at_once(autojump_clock) -> None:
    async with open_system() as system:
        ref: Ref[Player] = await system.spawn(Player)

        async def tries(me: Player) -> list[str]:
            found = []
            for attempt in (
                lambda: me.ctx.send_after(-1, Note(1)),
                lambda: me.ctx.send_after(float("nan"), Note(1)),
                lambda: me.ctx.every(0, Note(1)),
                lambda: me.ctx.every(-1, Note(1)),
                lambda: me.ctx.every(float("nan"), Note(1)),
                lambda: me.ctx.every(1e-300, Note(1)),
                lambda: me.ctx.send_after(1, answer(1)),
                lambda: me.ctx.send_after(1, AtOnce(lambda me: 1)),
            ):
                try:
                    attempt()
                except (ValueError, TypeError) as error:
                    found.append(type(error).__name__)
            return found

        assert await ref.ask(Do(tries)) == ["ValueError"] * 6 + ["TypeError"] * 2
        await trio.sleep(5)
        assert await ref.ask(Read()) == []


async def test_a_timers_message_carries_nothing_of_what_started_it(autojump_clock) -> None:
    """No deadline, trace or baggage of a message that was answered long ago."""
    import trouper

    seen: list[Any] = []

    async def look(me: Player) -> None:
        seen.append((me.ctx.deadline, dict(me.ctx.baggage), me.ctx.trace))

    async with open_system() as system:
        ref = await system.spawn(Player)
        with trouper.carry(tenant="a"):
            trace = await ref.ask(in_handler(lambda me: (me.ctx.send_after(1, Perform(look)), me.ctx.trace)[1]))
        await trio.sleep(2)

        assert seen[0][:2] == (float("inf"), {})
        assert seen[0][2] != trace


async def test_a_thousand_timers_at_one_instant_all_come(autojump_clock) -> None:
    async with open_system() as system:
        ref = await system.spawn(Player)
        await ref.ask(in_handler(lambda me: [me.ctx.send_after(1, Note(n)) for n in range(3000)]))
        await trio.sleep(2)

        assert await ref.ask(Read()) == list(range(3000))

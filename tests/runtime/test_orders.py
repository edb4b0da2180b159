"""Orders to living actors: suspend, resume, get_state, replace_state, swap, between two messages."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import trio
import trio.testing

from tests.runtime.player import (
    AtOnce,
    Beside,
    Broken,
    Do,
    Note,
    Player,
    Read,
    Show,
    accounts,
    answer,
    begin,
    breaks,
    call,
    declares,
    end_of,
    nap,
    settle,
)
from trouper import (
    Actor,
    ActorCrashed,
    ActorStopped,
    Ask,
    AskTimeout,
    Backoff,
    Mailbox,
    MailboxFull,
    Restart,
    Resumed,
    Suspended,
    Tell,
    handler,
    open_system,
)
from trouper.runtime.testing import crash

ORDERS = ["suspend", "resume", "get_state", "replace_state", "swap"]


@attrs.frozen
class Add(Ask[int]):
    amount: int


@attrs.frozen
class Double(Ask[int]):
    pass


@attrs.frozen
class Clear(Tell):
    pass


@attrs.frozen(eq=False)
class Busy(Ask[int]):
    seconds: float


@attrs.frozen(eq=False)
class Aside(Ask[int]):
    seconds: float


class Counter(Actor):
    def __init__(self, value: int = 0) -> None:
        self.value = value

    @handler
    async def add(self, message: Add) -> int:
        if not message.amount:
            raise Broken
        self.value += message.amount
        return self.value

    @handler
    async def clear(self, message: Clear) -> None:
        self.value = 0

    @handler
    async def busy(self, message: Busy) -> int:
        await trio.sleep(message.seconds)
        return self.value

    @handler(concurrent=2)
    async def aside(self, message: Aside) -> int:
        await trio.sleep(message.seconds)
        self.value += 1
        return self.value


class Keeping(Counter):
    def snapshot(self) -> int:
        return self.value

    def restore(self, state: int) -> None:
        self.value = state


class Doubling(Counter):
    """The next version: it has a message more, and one less."""

    clear = None  # type: ignore[assignment]  # dropped on purpose

    @handler
    async def double(self, message: Double) -> int:
        self.value *= 2
        return self.value


class KeepingDoubling(Doubling):
    def snapshot(self) -> int:
        return self.value

    def restore(self, state: int) -> None:
        self.value = state


# ------------------------------------------------------------------ the system lane
@pytest.mark.parametrize("order", ORDERS)
async def test_a_full_mailbox_never_blocks_an_order_and_it_comes_before_what_waits(order, autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Counter, mailbox=Mailbox(capacity=1))
        await begin(nursery, ref.ask, Busy(3))
        await begin(nursery, ref.ask, Busy(100))
        await begin(nursery, ref.ask, Busy(100))
        options = {"replace_state": [{"value": 1}], "swap": [Counter]}.get(order, [])
        one = await begin(nursery, getattr(ref, order), *options)
        assert not one.over  # not while a message is in hand
        await trio.sleep(5)

        assert one.error is None
        assert one.at == 3
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("order", ORDERS)
async def test_an_order_that_nobody_waits_for_any_more_is_not_carried_out(order, autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Counter, 5)
        await begin(nursery, ref.ask, Busy(3))
        options = {"replace_state": [{"value": 1}], "swap": [Doubling]}.get(order, [])
        late = await begin(nursery, getattr(ref, order), *options, timeout=1)
        gone = await begin(nursery, getattr(ref, order), *options)
        gone.scope.cancel()
        await trio.sleep(5)

        assert (late.end, late.at) == ("AskTimeout", 1)
        assert await ref.ask(Add(1), timeout=1) == 6
        assert await ref.ask(Add(1), timeout=1) == 7
        with pytest.raises(TypeError):
            await ref.ask(Double())  # type: ignore[arg-type]  # not handled: it was not swapped


@pytest.mark.parametrize("order", ORDERS)
async def test_orders_to_an_actor_that_is_gone_or_goes_say_so(order, autojump_clock) -> None:
    options = {"replace_state": [{"value": 1}], "swap": [Doubling]}.get(order, [])
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Counter)
        await begin(nursery, ref.ask, Busy(3))
        ref.stop()
        one = await begin(nursery, getattr(ref, order), *options)
        await trio.sleep(5)

        assert one.over
        assert one.end == "ActorStopped" or one.error is None
        with pytest.raises(ActorStopped):
            await getattr(ref, order)(*options)


@pytest.mark.parametrize("order", ORDERS)
async def test_an_order_between_two_lives_waits_for_the_next(order, autojump_clock) -> None:
    options = {"replace_state": [{"value": 7}], "swap": [Doubling]}.get(order, [])
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Counter, backoff=Backoff(min=5, max=5, jitter=0))
        assert isinstance(await end_of(ref.ask, Add(0)), ActorCrashed)
        late = await begin(nursery, getattr(ref, order), *options, timeout=1)
        one = await begin(nursery, getattr(ref, order), *options)
        await trio.sleep(10)

        assert (late.end, late.at) == ("AskTimeout", 1)
        assert (one.error, one.at) == (None, 5)
        if order == "suspend":
            assert isinstance(await end_of(ref.ask, Add(1), timeout=1), AskTimeout)
        elif order == "replace_state":
            assert await ref.ask(Add(1)) == 8


async def test_orders_of_one_client_are_carried_out_in_order(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Counter, 1)
        await begin(nursery, ref.ask, Busy(1))
        calls = [
            await begin(nursery, ref.get_state),
            await begin(nursery, ref.replace_state, {"value": 2}),
            await begin(nursery, ref.get_state),
            await begin(nursery, ref.suspend),
            await begin(nursery, ref.replace_state, {"value": 3}),
            await begin(nursery, ref.get_state),
            await begin(nursery, ref.resume),
        ]
        await trio.sleep(2)

        assert [one.end for one in calls] == [{"value": 1}, None, {"value": 2}, None, None, {"value": 3}, None]
        assert await ref.ask(Add(1)) == 4


# ------------------------------------------------------------------ suspend, resume
async def test_a_suspended_actor_handles_nothing_until_it_is_resumed(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player, mailbox=Mailbox(capacity=8))
        with system.events() as events:
            await ref.suspend()
            await ref.suspend()
            calls = [
                await begin(nursery, ref.ask, answer("asked")),
                await begin(nursery, ref.ask, Beside(lambda me: answer("beside").play(me))),
                await begin(nursery, ref.ask, AtOnce(lambda me: "inline")),
                await begin(nursery, ref.ask_many, [answer("many")]),
            ]
            ref.tell_nowait(Note("told"))
            late = await begin(nursery, ref.ask, answer("late"), timeout=1)
            await trio.sleep(5)
            assert not any(one.over for one in calls)
            assert (late.end, late.at) == ("AskTimeout", 1)
            await ref.resume()
            await ref.resume()
            await settle()

            assert [one.end for one in calls] == ["asked", "beside", "inline", ["many"]]
            assert await ref.ask(Read()) == ["told"]
            assert [type(e) for e in events.take_nowait()] == [Suspended, Resumed]
        assert accounts(ref) == (0, 0, 0)


async def test_suspend_gives_when_the_message_in_hand_has_ended(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player)
        hand = await begin(nursery, ref.ask, nap(3, "whole"))
        one = await begin(nursery, ref.suspend)
        await trio.sleep(5)

        assert (hand.end, hand.at) == ("whole", 3)
        assert one.at == 3


async def test_the_places_of_asks_to_a_suspended_actor_are_free_when_they_time_out(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player)
        await ref.suspend()
        for n in range(64):
            call(nursery, ref.ask, answer(n), timeout=1)
        await settle()
        with pytest.raises(MailboxFull):
            ref.tell_nowait(Note(0))
        await trio.sleep(2)
        for n in range(64):
            ref.tell_nowait(Note(n))
        await ref.resume()

        assert await ref.ask(Read()) == list(range(64))


@pytest.mark.parametrize("end", ["crash", "kill"])
async def test_a_restart_ends_a_suspension(end, autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player)
        await ref.suspend()
        waiting = await begin(nursery, ref.ask, answer("waited"))
        {"crash": crash, "kill": type(ref).kill}[end](ref)
        await settle()

        assert ref.incarnation == 2
        assert waiting.end == "waited"
        assert await ref.ask(answer("free")) == "free"


async def test_a_suspended_actor_can_be_stopped_and_its_timers_wait(autojump_clock) -> None:
    async def starts(me: Player) -> None:
        me.ctx.send_after(1, Note("timer"))

    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player)
        await ref.ask(Do(starts))
        await ref.suspend()
        await trio.sleep(5)
        await ref.resume()
        assert await ref.ask(Read()) == ["timer"]

        await ref.suspend()
        waiting = await begin(nursery, ref.ask, answer(1))
        ref.stop()
        await ref.wait_stopped()
        await settle()
        assert waiting.end == "ActorStopped"


async def test_concurrent_handlers_in_flight_go_on_while_suspended(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player)
        flying = await begin(nursery, ref.ask, Beside(lambda me: nap(5, "landed").play(me)))
        await ref.suspend()
        await trio.sleep(6)

        assert (flying.end, flying.at) == ("landed", 5)
        assert isinstance(await end_of(ref.ask, answer(1), timeout=1), AskTimeout)


# ------------------------------------------------------------------ state
async def test_the_state_is_what_snapshot_gives_or_a_shallow_copy_of_the_attributes(autojump_clock) -> None:
    async with open_system() as system:
        plain, keeping = await system.spawn(Counter, 3), await system.spawn(Keeping, 4)

        state = await plain.get_state()
        assert state == {"value": 3}
        assert await keeping.get_state() == 4
        state["value"] = 100
        assert await plain.ask(Add(1)) == 4
        await plain.replace_state({"value": 10})
        await keeping.replace_state(20)
        assert [await plain.ask(Add(1)), await keeping.ask(Add(1))] == [11, 21]


async def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(autojump_clock) -> None:
    class Picky(Keeping):
        def restore(self, state: int) -> None:
            if not isinstance(state, int):
                raise TypeError("an int")
            super().restore(state)

        def snapshot(self) -> int:
            if self.value == 13:
                raise ValueError("not now")
            return self.value

    async with open_system() as system:
        plain, picky = await system.spawn(Counter, 3), await system.spawn(Picky, 3)
        with pytest.raises(TypeError, match="dict of its attributes"):
            await plain.replace_state(5)
        with pytest.raises(TypeError, match="an int"):
            await picky.replace_state("five")

        assert [await ref.ask(Add(1)) for ref in (plain, picky)] == [4, 4]
        assert [ref.statistics().crashes for ref in (plain, picky)] == [0, 0]


async def test_a_get_state_that_raises_is_the_askers_error_not_a_crash(autojump_clock) -> None:
    class Shy(Keeping):
        shy = True

        def snapshot(self) -> int:
            if self.shy and self.value == 13:
                raise ValueError("not now")
            return self.value

    actor = Shy(13)
    async with open_system() as system:
        ref = await system.spawn(lambda: actor)
        with pytest.raises(ValueError, match="not now"):
            await ref.get_state()
        actor.shy = False
        assert await ref.ask(Add(1)) == 14
        assert ref.incarnation == 1


async def test_a_replaced_state_survives_a_crash_of_an_actor_that_keeps_its_state(autojump_clock) -> None:
    async with open_system() as system:
        ref = await system.spawn(Keeping, 1)
        await ref.ask(Add(1))
        await ref.replace_state(50)
        assert isinstance(await end_of(ref.ask, Add(0)), ActorCrashed)

        assert await ref.ask(Add(1)) == 51


# ------------------------------------------------------------------ swap
async def test_swap_goes_on_with_the_state_and_the_messages_of_the_new_class(autojump_clock) -> None:
    async with open_system() as system:
        ref: Any = await system.spawn(Counter, 3)
        await ref.swap(Doubling)

        assert await ref.ask(Double()) == 6
        assert await ref.ask(Add(1)) == 7
        assert ref.incarnation == 1
        with pytest.raises(TypeError, match="no handler for Clear"):
            await ref.tell(Clear())


async def test_what_waited_when_the_class_was_swapped_is_handled_by_the_new_one(autojump_clock) -> None:
    """All of it: not one message more goes to the old instance. What the new class does not handle is a dead letter."""
    async with open_system() as system, trio.open_nursery() as nursery:
        ref: Any = await system.spawn(Counter, 3, mailbox=Mailbox(capacity=4))
        await begin(nursery, ref.ask, Busy(2))
        ref.tell_nowait(Clear())
        calls = [await begin(nursery, ref.ask, Add(1)) for _ in range(5)]
        swap = await begin(nursery, ref.swap, Doubling)
        await trio.sleep(5)

        assert (swap.error, swap.at) == (None, 2)
        assert [one.end for one in calls] == [4, 5, 6, 7, 8]
        assert ref.statistics().dead_letters == 1
        assert await ref.ask(Double()) == 16
        assert await ref.get_state() == {"value": 16}
        assert accounts(ref) == (0, 0, 0)


async def test_an_ask_that_the_new_class_does_not_handle_is_told_so(autojump_clock) -> None:
    class Deaf(Actor):
        @handler
        async def double(self, message: Double) -> int:
            return 0

    async with open_system() as system, trio.open_nursery() as nursery:
        ref: Any = await system.spawn(Counter)
        await begin(nursery, ref.ask, Busy(1))
        waiting = await begin(nursery, ref.ask, Add(1))
        await begin(nursery, ref.swap, Deaf)
        await trio.sleep(2)

        assert waiting.end == "TypeError"
        assert await ref.ask(Double()) == 0
        assert ref.statistics().crashes == 0


async def test_later_lives_are_of_the_new_class(autojump_clock) -> None:
    async with open_system() as system:
        ref: Any = await system.spawn(Counter, 3)
        await ref.swap(lambda: Doubling(5))
        assert await ref.ask(Double()) == 6
        assert isinstance(await end_of(ref.ask, Add(0)), ActorCrashed)

        assert await ref.ask(Double()) == 10  # made by the factory, as an actor without snapshots is
        assert ref.incarnation == 2


async def test_the_state_of_a_swapped_actor_survives_a_crash_if_it_keeps_it(autojump_clock) -> None:
    async with open_system() as system:
        ref: Any = await system.spawn(Keeping, 3)
        await ref.ask(Add(1))
        await ref.swap(KeepingDoubling)
        assert isinstance(await end_of(ref.ask, Add(0)), ActorCrashed)

        assert await ref.ask(Double()) == 8


async def test_convert_makes_the_new_state_of_the_old(autojump_clock) -> None:
    async with open_system() as system:
        ref: Any = await system.spawn(Counter, 3)
        await ref.swap(KeepingDoubling, convert=lambda state: state["value"] * 100)

        assert await ref.ask(Add(1)) == 301
        await ref.swap(Counter, convert=lambda state: {"value": -state})
        assert await ref.ask(Add(1)) == -300


@pytest.mark.parametrize("at", ["factory", "convert", "restore", "no actor"])
async def test_a_swap_that_fails_changes_nothing(at, autojump_clock) -> None:
    def factory() -> Actor:
        if at == "factory":
            raise Broken("factory")
        if at == "no actor":
            return 5  # type: ignore[return-value]  # on purpose
        return KeepingDoubling()

    def convert(state: Any) -> Any:
        if at == "convert":
            raise Broken("convert")
        return state["value"] if at != "restore" else None

    class Strict(KeepingDoubling):
        def restore(self, state: int) -> None:
            raise Broken("restore")

    async with open_system() as system:
        ref: Any = await system.spawn(Counter, 3)
        with pytest.raises((Broken, TypeError)):
            await ref.swap(factory if at != "restore" else Strict, convert)

        assert await ref.ask(Add(1)) == 4
        with pytest.raises(TypeError):
            await ref.ask(Double())
        assert isinstance(await end_of(ref.ask, Add(0)), ActorCrashed)
        assert await ref.ask(Add(1)) == 4  # still made by the old factory


async def test_swap_waits_for_concurrent_handlers_so_that_nothing_they_do_is_lost(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref: Any = await system.spawn(Counter, 0)
        flying = await begin(nursery, ref.ask, Aside(5))
        swap = await begin(nursery, ref.swap, Doubling)
        after = await begin(nursery, ref.ask, Add(10))
        await trio.sleep(6)

        assert flying.end == 1
        assert (swap.error, swap.at) == (None, 5)
        assert after.end == 11
        assert await ref.ask(Double()) == 22


async def test_a_swap_that_nobody_waits_for_any_more_does_not_hold_up_concurrent_messages(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref: Any = await system.spawn(Counter, 0)
        await begin(nursery, ref.ask, Aside(50))
        late = await begin(nursery, ref.swap, Doubling, timeout=1)
        other = await begin(nursery, ref.ask, Aside(3))
        await trio.sleep(10)

        assert (late.end, late.at) == ("AskTimeout", 1)
        assert (other.end, other.at) == (1, 4)


async def test_on_start_and_on_stop_do_not_run_at_a_swap_and_timers_live_on(autojump_clock) -> None:
    log: list[Any] = []

    class Loud(Player):
        async def on_start(self) -> None:
            log.append("start")
            self.ctx.send_after(2, Note("timer"))

        async def on_stop(self, reason: object) -> None:
            log.append("stop")

    async with open_system() as system:
        ref = await system.spawn(Loud)
        await trio.sleep(1)
        await ref.swap(Loud)
        await trio.sleep(2)

        assert log == ["start"]
        assert await ref.ask(Read()) == ["timer"]


async def test_what_was_stashed_is_handled_by_the_new_class(autojump_clock) -> None:
    class Stashing(Counter):
        @handler
        async def add(self, message: Add) -> int:
            self.ctx.stash()
            return -1

    class Handling(Counter):
        @handler
        async def clear(self, message: Clear) -> None:
            self.ctx.unstash_all()

    async with open_system() as system, trio.open_nursery() as nursery:
        ref: Any = await system.spawn(Stashing, 3)
        calls = [await begin(nursery, ref.ask, Add(1)) for _ in range(3)]
        await ref.swap(Handling)
        await ref.tell(Clear())
        await settle()

        assert [one.end for one in calls] == [4, 5, 6]


async def test_an_inline_message_may_become_an_ordinary_one_and_the_other_way(autojump_clock) -> None:
    class Inline(Actor):
        @handler(inline=True)
        def add(self, message: Add) -> int:
            return message.amount

    class Ordinary(Actor):
        @handler
        async def add(self, message: Add) -> int:
            await trio.sleep(1)
            return -message.amount

    async with open_system() as system:
        ref: Any = await system.spawn(Inline)
        await settle()
        assert await ref.ask(Add(1)) == 1
        await ref.swap(Ordinary)
        assert await ref.ask(Add(1)) == -1
        await ref.swap(Inline)
        assert await ref.ask(Add(1)) == 1


@pytest.mark.parametrize("order", ORDERS)
async def test_orders_come_between_two_messages_never_into_one(order, autojump_clock) -> None:
    """Not into a stream, not beside a declared error, not into a handler that waits."""
    options: list[Any] = {"replace_state": [{"log": []}], "swap": [Player]}.get(order, [])

    async def play(me: Player) -> Any:
        yield 1
        await trio.sleep(3)
        yield 2

    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player)

        async def consumes() -> list[Any]:
            async with ref.stream(Show(play)) as items:
                return [item async for item in items]

        stream = await begin(nursery, consumes)
        one = await begin(nursery, getattr(ref, order), *options)
        await trio.sleep(5)
        assert stream.end == [1, 2]
        assert one.at == 3
        await ref.resume()
        assert type(await end_of(ref.ask, Do(declares))).__name__ == "Declared"
        assert isinstance(await end_of(ref.ask, Do(breaks)), ActorCrashed)


async def test_an_order_to_a_temporary_actor_that_crashes_meanwhile_ends(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Counter, restart=Restart.TEMPORARY)
        await begin(nursery, ref.ask, Busy(2))
        one = await begin(nursery, ref.get_state)
        crash(ref)
        await settle()

        assert one.end == "ActorStopped"

"""Setting messages aside: bounded, in order, and every ask still ends exactly once."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

import trouper
from tests.runtime.player import (
    AtOnce,
    Beside,
    Broken,
    Declared,
    Do,
    Player,
    Read,
    Save,
    Show,
    accounts,
    answer,
    begin,
    breaks,
    call,
    end_of,
    nap,
    settle,
)
from trouper import (
    Actor,
    ActorCrashed,
    ActorStopped,
    Ask,
    DeadLetter,
    Directive,
    Mailbox,
    Ref,
    Tell,
    handler,
    open_system,
)
from trouper.runtime.testing import crash


@attrs.frozen
class Item(Ask[int]):
    number: int


@attrs.frozen
class Mark(Tell):
    number: int


@attrs.frozen
class Open(Tell):
    pass


@attrs.frozen
class Close(Tell):
    pass


class Door(Actor):
    """Sets items and marks aside while it is closed."""

    def __init__(self, log: list[int] | None = None) -> None:
        self.open = False
        self.log = log if log is not None else []

    @handler
    async def item(self, message: Item) -> int:
        if not self.open:
            self.ctx.stash()
            return -1
        self.log.append(message.number)
        return message.number

    @handler
    async def mark(self, message: Mark) -> None:
        if not self.open:
            self.ctx.stash()
            return
        self.log.append(message.number)

    @handler
    async def opens(self, message: Open) -> None:
        self.open = True
        self.ctx.unstash_all()

    @handler
    async def closes(self, message: Close) -> None:
        self.open = False

    @handler
    async def do(self, message: Do) -> Any:
        return await message.play(self)  # type: ignore[arg-type]  # plays with any actor

    @handler
    async def read(self, message: Read) -> list[Any]:
        return list(self.log)


# ------------------------------------------------------------------ what it is for
async def test_what_was_set_aside_comes_back_in_front_and_in_order(autojump_clock) -> None:
    """Its asks stay open meanwhile, and get the answer of the second handling."""
    async with open_system() as system, trio.open_nursery() as nursery:
        log: list[int] = []
        ref = await system.spawn(Door, log)
        calls = [await begin(nursery, ref.ask, Item(n)) for n in (0, 1)]
        ref.tell_nowait(Mark(2))
        calls.append(await begin(nursery, ref.ask, Item(3)))
        assert (ref.statistics().stashed, ref.statistics().queued) == (4, 0)
        assert not any(one.over for one in calls)
        await begin(nursery, ref.ask, nap(1))
        ref.tell_nowait(Open())
        ref.tell_nowait(Mark(4))
        calls.append(await begin(nursery, ref.ask, Item(5)))
        await trio.sleep(2)

        assert log == [0, 1, 2, 3, 4, 5]
        assert [one.end for one in calls] == [0, 1, 3, 5]
        assert ref.statistics().stashed == 0
        assert accounts(ref) == (0, 0, 0)


async def test_unstashing_nothing_is_nothing(autojump_clock) -> None:
    async with open_system() as system:
        ref = await system.spawn(Door)
        await ref.tell(Open())
        await ref.tell(Open())

        assert await ref.ask(Item(1)) == 1


async def test_messages_may_be_set_aside_again_and_keep_their_order(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        log: list[int] = []
        ref = await system.spawn(Door, log)
        for n in range(5):
            call(nursery, ref.ask, Item(n))
            await settle()
        for _ in range(3):
            ref.tell_nowait(Open())
            ref.tell_nowait(Close())
        await settle()  # what comes back is in front of `Close`
        assert log == [0, 1, 2, 3, 4]

        for n in range(5, 8):
            call(nursery, ref.ask, Item(n))
            await settle()
        assert ref.statistics().stashed == 3
        ref.tell_nowait(Open())
        await settle()
        assert log == list(range(8))


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.sampled_from(["item", "mark", "open", "close", "crash", "give up"]), max_size=40), st.integers(1, 50)
)
def test_every_message_is_handled_once_and_in_order_whatever_the_door_does(steps, capacity) -> None:
    """Also over crashes; an ask whose asker gave up is the only one that is left out."""

    async def main() -> None:
        log: list[int] = []
        async with open_system(ask_timeout=1e9) as system, trio.open_nursery() as nursery:
            ref = await system.spawn(Door, log, mailbox=Mailbox(capacity=capacity), intensity=1000)
            expected: list[int] = []
            aside: list[int] = []
            calls: dict[int, Any] = {}
            is_open = False
            for number, step in enumerate(steps):
                if step in {"item", "mark"}:
                    if not is_open and len(aside) == capacity:
                        continue
                    if step == "item":
                        calls[number] = await begin(nursery, ref.ask, Item(number))
                    else:
                        await ref.tell(Mark(number))
                    (expected if is_open else aside).append(number)
                elif step == "open":
                    await ref.tell(Open())
                    is_open = True
                    expected += aside
                    aside = []
                elif step == "close":
                    await ref.tell(Close())
                    is_open = False
                elif step == "crash":
                    crash(ref)  # the next life begins closed, with what was set aside in front: it sets it aside again
                    is_open = False
                else:
                    gone = [n for n in aside if n in calls]
                    if gone:
                        calls[gone[0]].scope.cancel()
                        aside.remove(gone[0])
                await settle()
                assert log == expected
            await ref.tell(Open())
            await settle()
            assert log == expected + aside
            for number, one in calls.items():
                assert one.over
                assert (one.end == number) is (number in log)
            assert ref.statistics().stashed == 0
            assert accounts(ref) == (0, 0, 0)
            assert not system.alarms.young

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


# ------------------------------------------------------------------ the asks of what was set aside
async def test_an_ask_that_was_set_aside_times_out_at_its_instant_and_is_not_handled_again(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        log: list[int] = []
        ref = await system.spawn(Door, log)
        late = await begin(nursery, ref.ask, Item(0), timeout=2)
        gone = await begin(nursery, ref.ask, Item(1))
        kept = await begin(nursery, ref.ask, Item(2))
        gone.scope.cancel()
        await trio.sleep(5)
        await ref.tell(Open())
        await settle()

        assert (late.end, late.at) == ("AskTimeout", 2)
        assert kept.end == 2
        assert log == [2]


async def test_withdrawn_asks_do_not_use_up_the_stash(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Door, mailbox=Mailbox(capacity=3))
        for _ in range(4):
            for n in range(3):
                call(nursery, ref.ask, Item(n), timeout=1)
            await settle()
            await trio.sleep(2)
        kept = [await begin(nursery, ref.ask, Item(n)) for n in range(3)]

        assert ref.incarnation == 1
        assert not any(one.over for one in kept)


async def test_many_asks_that_were_set_aside_are_answered_together(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Door)
        many = await begin(nursery, ref.ask_many, [Item(n) for n in range(4)])
        late = await begin(nursery, ref.ask_many, [Item(n) for n in range(4)], timeout=1, return_exceptions=True)
        await trio.sleep(2)
        await ref.tell(Open())
        await settle()

        assert many.end == [0, 1, 2, 3]
        assert [type(one).__name__ for one in late.value] == ["AskTimeout"] * 4
        assert late.at == 1
        assert accounts(ref) == (0, 0, 0)


async def test_a_handler_that_stashes_and_then_waits_is_cancelled_with_its_ask(autojump_clock) -> None:
    """The message is set aside when the handler returns: until then it is in hand like any other."""
    log: list[object] = []

    async def stashes_and_waits(me: Player) -> None:
        me.ctx.stash()
        try:
            await trio.sleep(100)
        finally:
            log.append(trio.current_time())

    async with open_system() as system:
        ref = await system.spawn(Player)
        await end_of(ref.ask, Do(stashes_and_waits), timeout=3)
        await settle()

        assert log == [3]
        assert ref.statistics().stashed == 0
        assert await ref.ask(answer("next")) == "next"


# ------------------------------------------------------------------ stash, and then something goes wrong
@pytest.mark.parametrize("redeliver", [0, 1])
async def test_a_handler_that_stashes_and_crashes_has_crashed(redeliver, autojump_clock) -> None:
    """Its ask fails once, and its message does not come again out of the stash."""
    seen: list[int] = []

    async def stashes_and_breaks(me: Player) -> None:
        seen.append(me.ctx.incarnation)
        me.ctx.stash()
        raise Broken

    async with open_system() as system:
        ref = await system.spawn(Player, mailbox=Mailbox(redeliver=redeliver))
        ended = await end_of(ref.ask, Do(stashes_and_breaks))
        await trio.sleep(1)

        assert isinstance(ended, ActorCrashed)
        assert seen == [1]
        assert ref.statistics().stashed == 0
        assert await ref.ask(answer("next")) == "next"


@pytest.mark.parametrize("error", [Declared, Broken])
async def test_an_answer_after_a_stash_that_came_to_nothing_reaches_its_own_asker(error, autojump_clock) -> None:
    """A declared error, or one to go on after, is the answer; the next message is not taken for the stashed one."""

    async def stashes_and_raises(me: Player) -> None:
        me.ctx.stash()
        raise error

    async with open_system() as system:
        ref = await system.spawn(Player, directives={Broken: Directive.RESUME})
        first = await end_of(ref.ask, Do(stashes_and_raises), timeout=1)
        assert isinstance(first, error if error is Declared else ActorCrashed)
        assert await ref.ask(answer("mine"), timeout=1) == "mine"
        assert ref.statistics().stashed == 0
        assert ref.incarnation == 1


@pytest.mark.parametrize("end", ["crash", "kill"])
async def test_what_was_set_aside_waits_for_the_next_life_in_front_of_the_rest(end, autojump_clock) -> None:
    log: list[int] = []

    class Opens(Door):
        async def on_start(self) -> None:
            self.open = self.ctx.incarnation > 1

    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Opens, log)
        calls = [await begin(nursery, ref.ask, Item(n)) for n in range(3)]
        await begin(nursery, end_of, lambda: ref.ask(nap(10)))
        calls += [await begin(nursery, ref.ask, Item(n)) for n in range(3, 5)]
        {"crash": crash, "kill": Ref.kill}[end](ref)
        await settle()

        assert log == [0, 1, 2, 3, 4]
        assert [one.end for one in calls] == [0, 1, 2, 3, 4]


async def test_a_stop_answers_the_asks_that_were_set_aside_and_tells_are_dead_letters(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Door, name="door")
        asked = await begin(nursery, ref.ask, Item(0))
        await ref.tell(Mark(1))
        await settle()
        with system.events() as events:
            ref.stop()
            await ref.wait_stopped()
            await settle()
            letters = [e.message for e in events.take_nowait() if isinstance(e, DeadLetter)]

        assert isinstance(asked.error, ActorStopped)
        assert letters == ["Mark"]


# ------------------------------------------------------------------ bounds and misuse
async def test_the_stash_holds_as_many_as_the_mailbox(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Door, mailbox=Mailbox(capacity=3))
        calls = [await begin(nursery, ref.ask, Item(n)) for n in range(4)]

        assert calls[3].end == "ActorCrashed"
        assert "MailboxFull" in str(calls[3].error)
        assert ref.incarnation == 2
        # Those three wait in front of the next life, which sets them aside in turn.
        assert ref.statistics().stashed == 3
        await ref.tell(Open())
        await settle()
        assert [one.end for one in calls[:3]] == [0, 1, 2]


async def test_a_full_stash_may_be_caught_and_answered(autojump_clock) -> None:
    class Polite(Door):
        @handler(raises=(trouper.MailboxFull,))
        async def item(self, message: Item) -> int:
            return await super().item(message)

    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Polite, mailbox=Mailbox(capacity=1))
        first = await begin(nursery, ref.ask, Item(0))
        second = await begin(nursery, ref.ask, Item(1))
        assert second.end == "MailboxFull"
        await ref.tell(Open())
        await settle()

        assert first.end == 0
        assert ref.incarnation == 1


@pytest.mark.parametrize("kind", [Beside, AtOnce])
async def test_only_an_exclusive_handler_can_set_its_message_aside(kind, autojump_clock) -> None:
    async def stashes(me: Player) -> None:
        me.ctx.stash()

    async with open_system() as system:
        ref = await system.spawn(Player)
        await settle()
        ended = await end_of(ref.ask, kind(stashes if kind is Beside else lambda me: me.ctx.stash()))

        assert isinstance(ended, ActorCrashed)
        assert isinstance(ended.__cause__, RuntimeError)
        assert ref.statistics().stashed == 0
        assert await ref.ask(answer("mine"), timeout=1) == "mine"


async def test_a_message_is_set_aside_once_and_only_while_it_is_in_hand(autojump_clock) -> None:
    async def twice(me: Player) -> None:
        me.ctx.stash()
        with pytest.raises(RuntimeError, match="twice"):
            me.ctx.stash()

    actor = Player()
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(lambda: actor)
        asked = await begin(nursery, ref.ask, Do(twice))
        with pytest.raises(RuntimeError, match="in hand"):
            actor.ctx.stash()
        assert ref.statistics().stashed == 1
        actor.ctx.unstash_all()  # from outside: it is stashed again, the same way
        assert not asked.over
        nursery.cancel_scope.cancel()


async def test_stash_works_inside_a_carry_block_and_in_a_finish_handler(autojump_clock) -> None:
    tries: list[int] = []

    async def carries(me: Player) -> str:
        tries.append(1)
        if len(tries) == 1:
            with trouper.carry(a=1):
                me.ctx.stash()
            me.ctx.unstash_all()  # not yet there: it is set aside when this handler returns
        return "done"

    async def opens(me: Player) -> None:
        me.ctx.unstash_all()

    for kind in (Do, Save):
        tries.clear()
        async with open_system() as system, trio.open_nursery() as nursery:
            ref = await system.spawn(Player)
            one = await begin(nursery, ref.ask, kind(carries))
            await ref.ask(Do(opens))
            await settle()

            assert one.end == "done"
            assert len(tries) == 2


async def test_a_finish_message_that_was_set_aside_and_withdrawn_is_not_begun_again(autojump_clock) -> None:
    tries: list[int] = []

    async def stashes(me: Player) -> None:
        tries.append(1)
        me.ctx.stash()
        await trio.sleep(2)

    async def opens(me: Player) -> None:
        me.ctx.unstash_all()

    async with open_system() as system:
        ref = await system.spawn(Player)
        for timeout in (1, 3):  # while it is in hand; when it has been set aside
            tries.clear()
            await end_of(ref.ask, Save(stashes), timeout=timeout)
            await ref.ask(Do(opens))
            await trio.sleep(5)
            assert tries == [1]


async def test_a_stream_can_be_set_aside_before_its_first_item(autojump_clock) -> None:
    tries: list[int] = []

    async def play(me: Player) -> Any:
        tries.append(1)
        if len(tries) == 1:
            me.ctx.stash()
            return
        yield "item"

    async def opens(me: Player) -> None:
        me.ctx.unstash_all()

    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player)

        async def consumes() -> list[Any]:
            async with ref.stream(Show(play)) as items:
                return [item async for item in items]

        one = await begin(nursery, consumes)
        assert not one.over
        await ref.ask(Do(opens))
        await settle()

        assert one.end == ["item"]


async def test_a_crash_report_and_the_counters_do_not_count_a_stashed_message_as_lost(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Door)
        await begin(nursery, ref.ask, Item(0))
        await end_of(ref.ask, Do(breaks))
        await settle()

        assert ref.crash_reports()[0].handling == ("Do",)
        nursery.cancel_scope.cancel()

"""What travels with a message: trace, deadline, baggage, and the asker's contextvars where a handler asks for them."""

from __future__ import annotations

import contextvars
import math
from functools import partial
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
    InContext,
    Note,
    Perform,
    Player,
    Save,
    Show,
    begin,
    breaks,
    call,
    end_of,
    settle,
)
from trouper import Ask, Ref, Tell, carry, handler, open_system

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nobody's")


async def baggage(me: Player) -> dict[str, object]:
    return dict(me.ctx.baggage)


async def trace(me: Player) -> str:
    return me.ctx.trace


async def whose(_: Player) -> str:
    return variable.get()


async def never(_: Player) -> None:
    await trio.sleep_forever()


async def passes_on(me: Player, ref: Ref[Any], message: Ask[Any]) -> object:
    return await ref.ask(message)


async def tells_on(me: Player, ref: Ref[Any], message: Tell, way: str) -> None:
    if way == "tell":
        await ref.tell(message)
    elif way == "tell_nowait":
        ref.tell_nowait(message)
    else:
        await ref.tell_many([message])


# ------------------------------------------------------------------ baggage
@pytest.mark.parametrize("kind", [Do, Beside, Save, InContext])
async def test_baggage_reaches_the_handler_and_whatever_it_asks(kind, autojump_clock) -> None:
    async with open_system() as system:
        first, second, third = [await system.spawn(Player) for _ in range(3)]
        nested = kind(
            partial(passes_on, ref=second, message=kind(partial(passes_on, ref=third, message=kind(baggage))))
        )
        with carry(tenant="a", user=1):
            assert await first.ask(nested) == {"tenant": "a", "user": 1}
            assert await first.ask_many([nested, nested]) == [{"tenant": "a", "user": 1}] * 2
        assert await first.ask(nested) == {}


@pytest.mark.parametrize("way", ["tell", "tell_nowait", "tell_many"])
async def test_baggage_travels_with_tells_as_far_as_they_lead(way, autojump_clock) -> None:
    seen: list[object] = []

    async def look(me: Player) -> None:
        seen.append((dict(me.ctx.baggage), me.ctx.deadline))

    async with open_system() as system:
        first, second = await system.spawn(Player), await system.spawn(Player)
        onward = Perform(partial(tells_on, ref=second, message=Perform(look), way=way))
        with carry(tenant="a"):
            await tells_on(None, ref=first, message=onward, way=way)  # type: ignore[arg-type]  # nobody's handler
        await tells_on(None, ref=first, message=onward, way=way)  # type: ignore[arg-type]  # nobody's handler
        await settle()

        assert seen == [({"tenant": "a"}, math.inf), ({}, math.inf)]


async def test_baggage_of_a_block_within_a_block_is_added_and_taken_away_again(autojump_clock) -> None:
    async def inner(me: Player, ref: Ref[Any]) -> list[object]:
        seen: list[object] = [dict(me.ctx.baggage)]
        with carry(b=2, a="new"):
            seen.append(await ref.ask(Do(baggage)))
            seen.append(dict(me.ctx.baggage))
        seen.append(await ref.ask(Do(baggage)))
        return seen

    async with open_system() as system:
        first, second = await system.spawn(Player), await system.spawn(Player)
        with carry(a=1):
            with carry(c=3):
                assert await first.ask(Do(baggage)) == {"a": 1, "c": 3}
            assert await first.ask(Do(partial(inner, ref=second))) == [
                {"a": 1},
                {"a": "new", "b": 2},
                {"a": "new", "b": 2},
                {"a": 1},
            ]


async def test_baggage_cannot_be_changed_on_the_way(autojump_clock) -> None:
    async def changes(me: Player) -> None:
        me.ctx.baggage["a"] = 2  # type: ignore[index]  # on purpose

    async with open_system() as system:
        ref = await system.spawn(Player)
        with carry(a=1):
            ended = await end_of(ref.ask, Do(changes))
            assert isinstance(ended.__cause__, TypeError)  # type: ignore[union-attr]  # an ActorCrashed
            assert await ref.ask(Do(baggage)) == {"a": 1}


async def test_carry_keeps_the_deadline_and_the_trace_of_what_is_in_hand(autojump_clock) -> None:
    async def carries(me: Player) -> tuple[float, float, bool]:
        before, first = me.ctx.deadline, me.ctx.trace
        with carry(a=1):
            return before, me.ctx.deadline, me.ctx.trace == first

    async with open_system() as system:
        ref = await system.spawn(Player)

        assert await ref.ask(Do(carries), timeout=5) == (5, 5, True)


async def test_baggage_reaches_inline_handlers_and_streams(autojump_clock) -> None:
    async def play(me: Player) -> Any:
        yield dict(me.ctx.baggage)

    async with open_system() as system:
        ref = await system.spawn(Player)
        await settle()
        with carry(a=1):
            assert await ref.ask(AtOnce(lambda me: dict(me.ctx.baggage))) == {"a": 1}
            async with ref.stream(Show(play)) as items:
                assert [item async for item in items] == [{"a": 1}]
        assert await ref.ask(AtOnce(lambda me: dict(me.ctx.baggage))) == {}


# ------------------------------------------------------------------ trace
async def test_all_that_one_message_causes_has_one_trace_and_two_messages_have_two(autojump_clock) -> None:
    seen: list[str] = []

    async def note(me: Player) -> None:
        seen.append(me.ctx.trace)

    async def causes(me: Player, ref: Ref[Any]) -> str:
        await ref.tell(Perform(note))
        ref.tell_nowait(Perform(note))
        await ref.ask(Do(note))
        await ref.ask_many([Beside(note), Do(note)])
        await ref.ask(AtOnce(lambda me: seen.append(me.ctx.trace)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ref.ask, Do(note))
        return me.ctx.trace

    async with open_system() as system:
        first, second = await system.spawn(Player), await system.spawn(Player)
        traces = [await first.ask(Do(partial(causes, ref=second))) for _ in range(3)]
        await settle()

        assert len(set(traces)) == 3
        assert seen == [one for one in traces for _ in range(7)]


async def test_a_trace_does_not_depend_on_who_looks_first(autojump_clock) -> None:
    """The last of a chain looks, then those before it: all see the same."""

    async def hop(me: Player, ref: Ref[Any] | None) -> list[str]:
        below = await ref.ask(Do(partial(hop, ref=None))) if ref is not None else []
        return [*below, me.ctx.trace]

    async with open_system() as system:
        first, second = await system.spawn(Player), await system.spawn(Player)
        two = await first.ask(Do(partial(hop, ref=second)))

        assert two[0] == two[1] != ""


async def test_there_is_no_trace_outside_of_messages(autojump_clock) -> None:
    seen: list[str] = []

    class Looks(Player):
        async def on_start(self) -> None:
            seen.append(self.ctx.trace)

        async def on_stop(self, reason: object) -> None:
            seen.append(self.ctx.trace)

    async with open_system() as system:
        ref = await system.spawn(Looks)
        await ref.tell(Perform(trace))
        await ref.ask(Do(trace))
        ref.stop()
        await ref.wait_stopped()

        assert seen == ["", ""]


# ------------------------------------------------------------------ nothing leaks
async def test_nothing_of_a_message_is_left_for_the_next(autojump_clock) -> None:
    """Whatever became of the first: answered, declared, crashed, cancelled, set aside."""
    seen: list[tuple[str, object]] = []

    async def look(me: Player) -> tuple[str, dict[str, object], float]:
        return me.ctx.trace, dict(me.ctx.baggage), me.ctx.deadline

    async def look_quietly(me: Player) -> None:
        seen.append((me.ctx.trace, (dict(me.ctx.baggage), me.ctx.deadline)))

    async def stashes(me: Player) -> None:
        me.ctx.stash()

    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player, intensity=100)
        for first in (
            Do(look),
            Do(breaks),
            Save(look),
            Beside(look),
            Do(never),
            Do(stashes),
            InContext(look),
            AtOnce(lambda me: me.ctx.trace),
        ):
            with carry(secret=1):
                traced = await end_of(ref.ask, first, timeout=1)
            tellers = [await begin(nursery, ref.tell, Perform(look_quietly))]
            second = await ref.ask(Do(look), timeout=7)

            assert second[1] == {}
            assert second[2] == trio.current_time() + 7
            assert seen[-1][1] == ({}, math.inf)
            assert len({second[0], seen[-1][0], str(traced)}) == 3
            assert tellers[0].over
        nursery.cancel_scope.cancel()


async def test_a_spawned_actor_inherits_nothing_of_the_message_that_spawned_it(autojump_clock) -> None:
    seen: list[object] = []

    class Child(Player):
        async def on_start(self) -> None:
            seen.append((self.ctx.trace, dict(self.ctx.baggage), self.ctx.deadline, variable.get()))

    async def spawns(me: Player) -> tuple[object, ...]:
        variable.set("the parent's")
        child = await me.ctx.spawn(Child)
        variable.set("nobody's")
        return await child.ask(Do(whose)), await child.ask(Do(baggage))

    async with open_system() as system:
        ref = await system.spawn(Player)
        with carry(tenant="a"):
            # The ask to the child is caused by this message, its life is not.
            assert await ref.ask(Do(spawns), timeout=5) == ("nobody's", {"tenant": "a"})

        assert seen == [("", {}, math.inf, "nobody's")]


@pytest.mark.parametrize("how", ["spawn", "lazy", "restart", "supervised restart"])
async def test_no_contextvars_of_a_stranger_get_into_an_actor(how, autojump_clock) -> None:
    """Not the spawner's, not those of the first client of a lazy actor, not those of a life that crashed."""

    async def sets_and_breaks(me: Player) -> None:
        variable.set("the crashed life's")
        raise Broken

    async def client(ref: Ref[Any]) -> object:
        variable.set("the client's")
        return await ref.ask(Do(whose))

    async with open_system() as system, trio.open_nursery() as nursery:
        if how == "spawn":
            variable.set("the spawner's")
        ref = await system.spawn(Player, lazy=how == "lazy")
        variable.set("nobody's")
        if how == "restart":
            await end_of(ref.ask, Do(sets_and_breaks))
        if how == "supervised restart":

            async def kills() -> None:
                variable.set("the killer's")
                ref.kill()

            await begin(nursery, kills)
        one = await begin(nursery, client, ref)

        assert one.end == "nobody's"
        assert await ref.ask(Beside(whose)) == "nobody's"


async def test_concurrent_handlers_do_not_see_each_others_contextvars(autojump_clock) -> None:
    async def sets(me: Player, name: str) -> str:
        variable.set(name)
        await trio.sleep(1)
        return variable.get()

    async with open_system() as system:
        ref = await system.spawn(Player)
        got = await ref.ask_many([Beside(partial(sets, name=name)) for name in "abc"])

        assert got == ["a", "b", "c"]
        assert await ref.ask(Do(whose)) == "nobody's"


# ------------------------------------------------------------------ context=True
@attrs.frozen
class Told(Tell):
    pass


@attrs.frozen
class AskedBeside(Ask[str]):
    pass


@attrs.frozen
class Plain(Ask[str]):
    pass


class Sees(Player):
    @handler(context=True)
    async def told(self, message: Told) -> None:
        self.log.append(variable.get())

    @handler(context=True, concurrent=3)
    async def asked_beside(self, message: AskedBeside) -> str:
        await trio.sleep(1)
        return variable.get()

    @handler
    async def plain(self, message: Plain) -> str:
        return variable.get()


async def as_(name: str, function: Any, *args: Any) -> Any:
    variable.set(name)
    return await function(*args)


async def test_a_handler_sees_the_askers_contextvars_where_it_asks_for_them(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Sees)
        calls = [call(nursery, as_, name, ref.ask, InContext(whose)) for name in "abc"]
        beside = [call(nursery, as_, name, ref.ask, AskedBeside()) for name in "def"]
        many = call(nursery, as_, "g", ref.ask_many, [InContext(whose), AskedBeside(), Plain()])
        plain = call(nursery, as_, "h", ref.ask, Plain())
        await trio.sleep(5)

        assert [one.end for one in calls] == ["a", "b", "c"]
        assert [one.end for one in beside] == ["d", "e", "f"]
        assert many.end == ["g", "g", "nobody's"]
        assert plain.end == "nobody's"


@pytest.mark.parametrize("way", ["tell", "tell_nowait", "tell_many"])
async def test_a_told_handler_sees_the_contextvars_of_the_teller(way, autojump_clock) -> None:
    log: list[str] = []
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Sees, log)
        for name in "abc":
            await begin(nursery, as_, name, tells_on, None, ref, Told(), way)
        await settle()

        assert log == ["a", "b", "c"]


async def test_what_a_handler_sets_in_the_askers_context_stays_there_and_reaches_nobody(autojump_clock) -> None:
    """It is a copy: neither the asker nor the next message sees it. Whatever becomes of the handler."""

    async def sets(me: Player, then: str) -> str:
        variable.set("the handler's")
        if then == "crash":
            raise Broken
        if then == "wait":
            await trio.sleep_forever()
        return variable.get()

    async with open_system() as system:
        ref = await system.spawn(Sees)
        variable.set("mine")
        for then in ("return", "crash", "wait"):
            await end_of(ref.ask, InContext(partial(sets, then=then)), timeout=1)
            assert variable.get() == "mine"
            assert await ref.ask(Plain()) == "nobody's"
            assert await ref.ask(InContext(whose)) == "mine"
            assert await ref.ask(Plain()) == "nobody's"


async def test_trace_baggage_and_deadline_are_the_messages_in_the_askers_context_too(autojump_clock) -> None:
    async def look(me: Player) -> tuple[dict[str, object], float, str]:
        return dict(me.ctx.baggage), me.ctx.deadline, variable.get()

    async def asks(me: Player, ref: Ref[Any]) -> object:
        variable.set("the first handler's")
        return await ref.ask(InContext(look)), await ref.ask(InContext(partial(tells_itself, log=[])))

    async def tells_itself(me: Player, log: list[Any]) -> int:
        await me.ctx.ref.tell(Note("told"))
        return len(me.log)

    async with open_system() as system:
        first, second = await system.spawn(Player), await system.spawn(Player)
        with carry(a=1):
            seen, _ = await first.ask(InContext(partial(asks, ref=second)), timeout=5)

        assert seen == ({"a": 1}, 5, "the first handler's")


async def test_an_order_and_a_timer_need_no_context(autojump_clock) -> None:
    log: list[str] = []
    async with open_system() as system:
        ref = await system.spawn(Sees, log)

        async def starts(me: Player) -> None:
            me.ctx.send_after(1, Told())

        await ref.ask(Do(starts))
        await trio.sleep(2)
        system.publish("x", Told())
        await ref.get_state()

        assert log == ["nobody's"]


async def test_the_cancel_scopes_of_a_handler_in_context_are_its_own(autojump_clock) -> None:
    """The scope and the task are the actor's, only the contextvars are the asker's: cancellation works as ever."""
    ended: list[float] = []

    async def waits(me: Player) -> None:
        try:
            with trio.move_on_after(2):
                await trio.sleep(5)
            await trio.sleep_forever()
        finally:
            ended.append(trio.current_time())

    async with open_system() as system:
        ref = await system.spawn(Player)
        with trio.move_on_after(4):
            await ref.ask(InContext(waits))
        await settle()

        assert ended == [4]
        assert await ref.ask(InContext(whose)) == "nobody's"

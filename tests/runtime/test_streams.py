"""Streams: one item at a time, as fast as the asker takes them, and ended from either side."""

from __future__ import annotations

import contextvars
import math
from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.runtime.player import (
    Beside,
    Broken,
    Declared,
    Do,
    Note,
    Player,
    Read,
    Show,
    ShowAll,
    ShowBeside,
    accounts,
    answer,
    begin,
    call,
    end_of,
    nap,
    settle,
)
from trouper import (
    ActorCrashed,
    ActorStopped,
    AskTimeout,
    Mailbox,
    MailboxFull,
    Overflow,
    Ref,
    StartFailed,
    Stream,
    handler,
    open_system,
)
from trouper.runtime.testing import crash

KINDS = [Show, ShowBeside, ShowAll]
Play = Callable[[Player], AsyncGenerator[Any, None]]


def counts(to: int, made: list[int] | None = None, pause: float = 0) -> Play:
    """Yields 0, 1, 2 ... and notes in `made` what it has made."""

    async def play(me: Player) -> AsyncGenerator[int, None]:
        for n in range(to):
            if pause:
                await trio.sleep(pause)
            if made is not None:
                made.append(n)
            yield n

    return play


def then(error: Exception | None, to: int = 2, log: list[Any] | None = None) -> Play:
    """Yields a few, then raises `error`, or sleeps for ever."""

    async def play(me: Player) -> AsyncGenerator[int, None]:
        try:
            for n in range(to):
                yield n
            if error is not None:
                raise error
            await trio.sleep_forever()
        finally:
            if log is not None:
                log.append(("over", trio.current_time()))

    return play


async def collected(ref: Ref[Any], message: Stream[Any], **options: Any) -> tuple[list[Any], object]:
    """What came, and the error that ended it."""
    got: list[Any] = []
    try:
        async with ref.stream(message, **options) as items:
            async for item in items:
                got.append(item)  # noqa: PERF401 - what came before an error counts
    except Exception as error:  # noqa: BLE001 - it is what the test looks at
        return got, error
    return got, None


# ------------------------------------------------------------------ back-pressure
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("buffer", [0, 1, 5])
async def test_the_handler_is_never_more_than_the_buffer_ahead_of_the_asker(kind, buffer, autojump_clock) -> None:
    made: list[int] = []
    async with open_system() as system:
        ref = await system.spawn(Player)
        async with ref.stream(kind(counts(20, made)), buffer=buffer) as items:
            taken = 0
            async for _ in items:
                taken += 1
                await settle()
                # One is made and waits at its `yield`; `buffer` more lie ready.
                assert len(made) <= taken + buffer + 1
                assert len(made) == min(20, taken + buffer + 1)

        assert taken == 20
        assert accounts(ref) == (0, 0, 0)


async def test_the_handler_waits_for_a_slow_asker_and_the_asker_for_a_slow_handler(autojump_clock) -> None:
    made: list[int] = []
    async with open_system(ask_timeout=1000) as system:
        ref = await system.spawn(Player)
        async with ref.stream(Show(counts(5, made, pause=1)), timeout=math.inf) as items:
            await trio.sleep(100)
            assert made == [0]
            got = [(item, trio.current_time()) async for item in items]

        assert got == [(0, 100), (1, 101), (2, 102), (3, 103), (4, 104)]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=12), st.lists(st.integers(0, 3), max_size=12), st.integers(0, 3))
def test_every_item_comes_once_and_in_order_whatever_the_pace_of_both_sides(making, taking, buffer) -> None:
    async def play(me: Player) -> AsyncGenerator[int, None]:
        for n, pause in enumerate(making):
            await trio.sleep(pause)
            yield n

    async def main() -> None:
        async with open_system() as system:
            ref = await system.spawn(Player)
            got: list[int] = []
            async with ref.stream(Show(play), buffer=buffer) as items:
                pauses = iter(taking)
                async for item in items:
                    got.append(item)
                    await trio.sleep(next(pauses, 0))
            assert got == list(range(len(making)))
            assert await ref.ask(answer("alive")) == "alive"

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_a_cancelled_take_loses_no_item(autojump_clock) -> None:
    async with open_system() as system:
        ref = await system.spawn(Player)
        async with ref.stream(Show(counts(4, pause=1))) as items:
            got = []
            while len(got) < 4:
                with trio.move_on_after(0.3):
                    got.append(await anext(items))
            assert got == [0, 1, 2, 3]
            with pytest.raises(StopAsyncIteration):
                await anext(items)
            with pytest.raises(StopAsyncIteration):
                await anext(items)


async def test_a_stream_without_items_ends_at_once(autojump_clock) -> None:
    async with open_system() as system:
        ref = await system.spawn(Player)

        assert await collected(ref, Show(counts(0))) == ([], None)
        assert accounts(ref) == (0, 0, 0)


# ------------------------------------------------------------------ the asker goes
@pytest.mark.parametrize("kind", [Show, ShowBeside])
@pytest.mark.parametrize("how", ["break", "raise", "cancel", "not begun", "not iterated"])
async def test_leaving_the_block_cancels_the_handler_at_once(kind, how, autojump_clock) -> None:
    log: list[Any] = []
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player)
        if how == "not begun":
            await begin(nursery, ref.ask, nap(1))

        async def consumer() -> None:
            async with ref.stream(kind(then(None, log=log))) as items:
                if how == "not iterated":
                    await settle()
                    return
                if how == "not begun":
                    return
                async for item in items:
                    if how == "break" and item == 1:
                        break
                    if how == "raise" and item == 1:
                        raise KeyError(item)

        one = await begin(nursery, consumer)
        if how == "cancel":
            assert not one.over
            one.scope.cancel()
        await settle()

        assert one.end == {"raise": "KeyError", "cancel": "Cancelled"}.get(how)
        assert log == ([("over", 0)] if how != "not begun" else [])
        assert await ref.ask(answer("alive")) == "alive"
        assert accounts(ref) == (0, 0, 0)
        assert ref.statistics().crashes == 0


async def test_a_handler_that_cleans_up_slowly_keeps_the_next_message_waiting(autojump_clock) -> None:
    async def play(me: Player) -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(3)

    async with open_system() as system:
        ref = await system.spawn(Player)
        async with ref.stream(Show(play)) as items:
            await anext(items)
        assert trio.current_time() == 0

        assert await ref.ask(answer("next")) == "next"
        assert trio.current_time() == 3


@pytest.mark.parametrize("buffer", [0, 2])
@pytest.mark.parametrize("how", ["break", "timeout", "cancel"])
async def test_a_finish_stream_goes_on_to_its_end_without_its_asker(how, buffer, autojump_clock) -> None:
    made: list[int] = []
    async with open_system() as system:
        ref = await system.spawn(Player)
        with trio.move_on_after(2.5 if how == "cancel" else 100):
            try:
                async with ref.stream(
                    ShowAll(counts(6, made, pause=1)), buffer=buffer, timeout=2.5 if how == "timeout" else None
                ) as items:
                    async for item in items:
                        if how == "break" and item == 1:
                            break
            except AskTimeout:
                assert how == "timeout"
        assert len(made) == 2
        await trio.sleep(10)

        assert made == [0, 1, 2, 3, 4, 5]
        assert ref.statistics().crashes == 0
        assert await ref.ask(answer("alive")) == "alive"


# ------------------------------------------------------------------ the handler ends it
@pytest.mark.parametrize("kind", KINDS)
async def test_a_crash_comes_out_of_the_iteration_at_once(kind, autojump_clock) -> None:
    async with open_system() as system:
        ref = await system.spawn(Player, name="a")
        got, error = await collected(ref, kind(then(Broken("broken"))))

        assert got == [0, 1]
        assert isinstance(error, ActorCrashed)
        assert isinstance(error.__cause__, Broken)
        assert "'a' crashed with" in str(error)
        assert trio.current_time() == 0
        assert await ref.ask(answer("next life")) == "next life"
        assert ref.incarnation == 2


async def test_a_crash_of_somebody_else_in_the_actor_ends_the_stream_too(autojump_clock) -> None:
    async def breaks_later(me: Player) -> None:
        await trio.sleep(3)
        raise Broken

    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player)
        one = await begin(nursery, collected, ref, ShowBeside(then(None)))
        other = await begin(nursery, ref.ask, Beside(breaks_later))
        await trio.sleep(5)

        got, error = one.value  # type: ignore[misc]  # a pair
        assert got == [0, 1]
        assert isinstance(error, ActorCrashed)
        assert one.at == other.at == 3


async def test_a_crash_reaches_an_asker_that_was_not_looking(autojump_clock) -> None:
    async with open_system() as system:
        ref = await system.spawn(Player)
        async with ref.stream(Show(then(Broken(), to=1))) as items:
            await anext(items)
            await trio.sleep(5)
            with pytest.raises(ActorCrashed):
                await anext(items)
            with pytest.raises(StopAsyncIteration):
                await anext(items)


async def test_an_asker_that_leaves_without_looking_misses_the_crash_as_it_chose_to(autojump_clock) -> None:
    async with open_system() as system:
        ref = await system.spawn(Player)
        async with ref.stream(Show(then(Broken(), to=1))) as items:
            await anext(items)
            await trio.sleep(5)

        assert ref.incarnation == 2


async def test_a_declared_error_is_an_answer_after_the_items(autojump_clock) -> None:
    async with open_system() as system:
        ref = await system.spawn(Player)
        got, error = await collected(ref, Show(then(Declared("no more"))), buffer=5)

        assert got == [0, 1]
        assert isinstance(error, Declared)
        assert ref.incarnation == 1


async def test_a_killed_or_stopped_actor_ends_the_stream(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        for end, kinds in (
            (lambda ref: ref.kill(), (ActorStopped, ActorCrashed)),
            (crash, (ActorCrashed,)),
            (lambda ref: ref.stop(), (ActorStopped,)),
        ):
            ref = await system.spawn(Player, shutdown=2)
            began = trio.current_time()
            running = await begin(nursery, collected, ref, Show(then(None)))
            waiting = await begin(nursery, collected, ref, Show(counts(3)))
            end(ref)
            await trio.sleep(10)

            got, error = running.value  # type: ignore[misc]  # a pair
            assert got == [0, 1]
            assert isinstance(error, kinds)
            stops = kinds == (ActorStopped,)
            assert running.at == began + (2 if stops else 0)
            got, error = waiting.value  # type: ignore[misc]  # a pair
            assert (got, error) == ([0, 1, 2], None) if not stops else isinstance(error, ActorStopped)


# ------------------------------------------------------------------ deadlines
@pytest.mark.parametrize("kind", [Show, ShowBeside])
async def test_the_timeout_bounds_the_whole_stream(kind, autojump_clock) -> None:
    log: list[Any] = []

    async def play(me: Player) -> AsyncGenerator[int, None]:
        try:
            async for n in counts(100, pause=1)(me):
                yield n
        finally:
            log.append(trio.current_time())

    async with open_system() as system:
        ref = await system.spawn(Player)
        got, error = await collected(ref, kind(play), timeout=3.5)
        await settle()

        assert got == [0, 1, 2]
        assert isinstance(error, AskTimeout)
        assert trio.current_time() == 3.5
        assert log == [3.5]
        assert await ref.ask(answer("alive")) == "alive"


async def test_a_timeout_while_the_asker_is_elsewhere_frees_the_actor_at_once(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player)
        async with ref.stream(Show(counts(5)), timeout=2) as items:
            assert await anext(items) == 0
            other = await begin(nursery, ref.ask, answer("next"))
            await trio.sleep(10)
            assert (other.end, other.at) == ("next", 2)
            with pytest.raises(AskTimeout):
                async for _ in items:
                    pass


async def test_a_stream_inherits_the_deadline_and_its_handler_sees_it(autojump_clock) -> None:
    seen: list[float] = []

    async def inner(me: Player) -> AsyncGenerator[int, None]:
        seen.append(me.ctx.deadline)
        yield 1
        await trio.sleep_forever()

    async def outer(me: Player) -> None:
        await collected(second, Show(inner), timeout=100)

    async with open_system() as system:
        first, second = await system.spawn(Player), await system.spawn(Player)
        ended = await end_of(first.ask, Do(outer), timeout=4)
        await settle()

        assert isinstance(ended, AskTimeout)
        assert seen == [4]
        assert trio.current_time() == 4
        assert first.statistics().crashes == second.statistics().crashes == 0
        assert await second.ask(answer("free")) == "free"


# ------------------------------------------------------------------ the mailbox
async def test_a_stream_waits_for_room_and_gives_its_place_back(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player, mailbox=Mailbox(capacity=1))
        await begin(nursery, ref.ask, nap(5))
        await begin(nursery, ref.tell, Note(1))
        short = await begin(nursery, collected, ref, Show(counts(2)), timeout=2)
        long = await begin(nursery, collected, ref, Show(counts(2)))
        await trio.sleep(10)

        got, error = short.value  # type: ignore[misc]  # a pair
        assert (got, type(error), short.at) == ([], AskTimeout, 2)
        assert (long.value, long.at) == (([0, 1], None), 5)
        assert accounts(ref) == (0, 0, 0)


ONE_PLACE = {
    Overflow.DROP_OLD: Mailbox(capacity=1, overflow=Overflow.DROP_OLD),
    Overflow.LATEST_BY_KEY: Mailbox(capacity=1, overflow=Overflow.LATEST_BY_KEY, key=lambda m: "same"),
}


@pytest.mark.parametrize("overflow", [Overflow.DROP_OLD, Overflow.LATEST_BY_KEY])
async def test_a_queued_stream_that_is_dropped_fails_at_once(overflow, autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player, mailbox=ONE_PLACE[overflow])
        await begin(nursery, ref.ask, nap(5))
        one = await begin(nursery, collected, ref, Show(counts(2)))
        assert not one.over
        ref.tell_nowait(Note(1))
        await settle()

        got, error = one.value  # type: ignore[misc]  # a pair
        assert (got, one.at) == ([], 0)
        assert isinstance(error, MailboxFull)


async def test_a_stream_to_an_actor_that_has_stopped_or_cannot_start_says_so(autojump_clock) -> None:
    class Broke(Player):
        async def on_start(self) -> None:
            raise OSError("no port")

    async with open_system() as system:
        ref = await system.spawn(Player)
        ref.stop()
        await ref.wait_stopped()
        assert isinstance((await collected(ref, Show(counts(1))))[1], ActorStopped)
        lazy = await system.spawn(Broke, lazy=True)
        assert isinstance((await collected(lazy, Show(counts(1))))[1], StartFailed)


# ------------------------------------------------------------------ further
async def test_streams_side_by_side_do_not_mix_their_items(autojump_clock) -> None:
    async with open_system(ask_timeout=1000) as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player)
        calls = [call(nursery, collected, ref, ShowBeside(counts(10, pause=0.5 + n))) for n in range(5)]
        await trio.sleep(100)

        assert [one.value for one in calls] == [(list(range(10)), None)] * 5


async def test_a_stream_handler_may_ask_others_and_stream_on(autojump_clock) -> None:
    async def doubles(me: Player) -> AsyncGenerator[int, None]:
        async with second.stream(Show(counts(3))) as items:
            async for item in items:
                yield item * await third.ask(answer(2))

    async with open_system() as system:
        first, second, third = [await system.spawn(Player) for _ in range(3)]
        assert await collected(first, Show(doubles)) == ([0, 2, 4], None)
        with trio.move_on_after(0):
            async with first.stream(Show(doubles)) as items:
                await anext(items)
        await settle()

        for ref in (first, second, third):
            assert accounts(ref) == (0, 0, 0)
            assert await ref.ask(answer("free")) == "free"


async def test_state_changed_by_a_stream_handler_is_kept(autojump_clock) -> None:
    class Keeps(Player):
        def snapshot(self) -> list[Any]:
            return list(self.log)

        def restore(self, state: list[Any]) -> None:
            self.log = state

    async def notes(me: Player) -> AsyncGenerator[int, None]:
        me.log.append("noted")
        yield 1

    async with open_system() as system:
        ref = await system.spawn(Keeps)
        await collected(ref, Show(notes))
        crash(ref)
        await settle()

        assert await ref.ask(Read()) == ["noted"]


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nobody's")


@attrs.frozen
class Whose(Stream[str]):
    times: int


@attrs.frozen
class WhoseBeside(Stream[str]):
    times: int


class Sees(Player):
    @handler(context=True)
    async def whose(self, message: Whose) -> AsyncGenerator[str, None]:
        for _ in range(message.times):
            yield variable.get()

    @handler(context=True, concurrent=2)
    async def whose_beside(self, message: WhoseBeside) -> AsyncGenerator[str, None]:
        for _ in range(message.times):
            yield variable.get()


@pytest.mark.parametrize("kind", [Whose, WhoseBeside])
async def test_a_stream_handler_may_see_the_contextvars_of_its_asker(kind, autojump_clock) -> None:
    async def client(name: str) -> list[str]:
        variable.set(name)
        return (await collected(ref, kind(3)))[0]

    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Sees)
        calls = [call(nursery, partial(client, name)) for name in "abc"]
        await settle()

        assert [one.value for one in calls] == [["a"] * 3, ["b"] * 3, ["c"] * 3]

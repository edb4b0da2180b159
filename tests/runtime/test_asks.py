"""Asking: one and many, deadlines, circles, inline handlers, late replies, actors that start, stop and restart."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from functools import partial
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.runtime.player import (
    AtOnce,
    Beside,
    Broken,
    Declared,
    Do,
    Note,
    Perform,
    Player,
    Read,
    Save,
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
    ActorCrashed,
    ActorStopped,
    Ask,
    AskCycle,
    AskTimeout,
    Backoff,
    Directive,
    Mailbox,
    MailboxFull,
    Overflow,
    Ref,
    StartFailed,
    handler,
    open_system,
)
from trouper.runtime.testing import crash

CRASH = Do(breaks)
DECLARE = Do(declares)


# ------------------------------------------------------------------ deadlines
async def test_an_ask_times_out_exactly_at_its_instant(autojump_clock) -> None:
    """Wherever the message is then: in hand, queued, in the line before a full mailbox, set aside, in no hands yet."""

    async def stashes(me: Player) -> None:
        me.ctx.stash()

    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player, mailbox=Mailbox(capacity=2))
        set_aside = await begin(nursery, ref.ask, Do(stashes), timeout=0.75)
        in_hand = await begin(nursery, ref.ask, nap(1000), timeout=3.25)
        queued = [await begin(nursery, ref.ask, nap(1000), timeout=1.5 + n) for n in range(2)]
        in_line = [await begin(nursery, ref.ask, nap(1000), timeout=0.125 + n) for n in range(3)]
        many = await begin(nursery, ref.ask_many, [nap(1000), nap(1000)], timeout=0.375)
        await trio.sleep(10)

        for one, when in zip(
            (set_aside, in_hand, *queued, *in_line, many),
            (0.75, 3.25, 1.5, 2.5, 0.125, 1.125, 2.125, 0.375),
            strict=True,
        ):
            assert isinstance(one.error, AskTimeout)
            assert one.at == when
        assert accounts(ref) == (0, 0, 0)


async def test_a_timeout_says_who_was_asked_what_and_what_it_is_doing(autojump_clock) -> None:
    async with open_system() as system:
        ref = await system.spawn(Player, name="slow")
        with pytest.raises(AskTimeout) as caught:
            await ref.ask(nap(10), timeout=1)

        assert isinstance(caught.value, trio.TooSlowError)
        assert caught.value.actor == "slow"
        for word in ("'slow'", "Do", "running"):
            assert word in str(caught.value)


async def test_the_answer_at_the_instant_of_the_deadline_is_one_end_not_two(autojump_clock) -> None:
    """Which of the two it is may depend on the order of things; that it is exactly one may not."""
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player)
        calls = [await begin(nursery, ref.ask, Beside(lambda me: _after(5)), timeout=5 - n) for n in (0, 1e-9, -1e-9)]
        await trio.sleep(6)

        assert all(one.over for one in calls)
        assert calls[0].end in {5, "AskTimeout"}
        assert [one.end for one in calls[1:]] == ["AskTimeout", 5]
        assert await ref.ask(answer("alive")) == "alive"


async def _after(seconds: float) -> float:
    await trio.sleep(seconds)
    return seconds


@pytest.mark.parametrize("timeout", [0, -1, -math.inf])
async def test_no_time_at_all_is_a_timeout_at_once_and_the_actor_is_not_hurt(timeout, autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player)
        await begin(nursery, ref.ask, nap(1))
        for attempt in (
            lambda: ref.ask(answer(1), timeout=timeout),
            lambda: ref.ask_many([answer(1), answer(2)], timeout=timeout),
            lambda: ref.get_state(timeout=timeout),
        ):
            assert isinstance(await end_of(attempt), AskTimeout)
        assert trio.current_time() == 0
        await trio.sleep(2)
        assert await ref.ask(answer("alive")) == "alive"


async def test_an_infinite_timeout_waits_longer_than_the_systems_default(autojump_clock) -> None:
    async with open_system(ask_timeout=10) as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player)
        endless = await begin(nursery, ref.ask, nap(10_000, "at last"), timeout=math.inf)
        default = await begin(nursery, ref.ask, answer(1))
        await trio.sleep(20_000)

        assert (default.end, default.at) == ("AskTimeout", 10)
        assert (endless.end, endless.at) == ("at last", 10_000)


async def test_the_deadline_travels_through_three_actors(autojump_clock) -> None:
    """And a longer timeout there does not lengthen it; a shorter one shortens it for what follows."""
    seen: dict[str, float] = {}

    async with open_system() as system:
        last, third, second, first = [await system.spawn(Player, name=name) for name in "zcba"]

        async def hop(me: Player, ref: Ref[Any], message: Ask[Any], timeout: float | None = None) -> object:
            seen[me.ctx.name] = me.ctx.deadline
            return await end_of(ref.ask, message, timeout=timeout)

        async def look(me: Player) -> None:
            seen["z"] = me.ctx.deadline
            await trio.sleep_forever()

        message = Do(partial(hop, ref=last, message=Do(look), timeout=100))
        message = Do(partial(hop, ref=third, message=message, timeout=3))
        message = Do(partial(hop, ref=second, message=message))
        ended = await end_of(first.ask, message, timeout=7)

        assert seen == {"a": 7, "b": 7, "c": 3, "z": 3}
        # What the inner ones ended with is `c`'s answer: the timeout of the last.
        assert isinstance(ended, AskTimeout)
        assert trio.current_time() == 3
        assert [ref.statistics().crashes for ref in (first, second, third, last)] == [0, 0, 0, 0]


async def test_when_the_common_deadline_passes_only_the_first_asker_is_told(autojump_clock) -> None:
    """The actors between are cancelled, not crashed by the AskTimeout of what they asked."""
    async with open_system() as system, trio.open_nursery() as nursery:
        third, second, first = [await system.spawn(Player, mailbox=Mailbox(capacity=1)) for _ in range(3)]

        async def hop(me: Player, ref: Ref[Any], message: Ask[Any]) -> object:
            return await ref.ask(message)

        async def hop_many(me: Player, ref: Ref[Any], message: Ask[Any]) -> object:
            return await ref.ask_many([message] * 4)

        chain = Do(partial(hop, ref=second, message=Do(partial(hop_many, ref=third, message=nap(1000)))))
        calls = [
            await begin(nursery, first.ask, chain, timeout=5),
            await begin(nursery, first.ask_many, [answer(1), chain, chain, chain], timeout=9),
        ]
        await trio.sleep(20)

        assert [(one.end, one.at) for one in calls] == [("AskTimeout", 5), ("AskTimeout", 9)]
        for ref in (first, second, third):
            assert ref.statistics().crashes == 0
            assert accounts(ref) == (0, 0, 0)
            assert await ref.ask(answer("alive")) == "alive"


async def test_what_a_tell_causes_has_the_systems_time_not_the_tellers(autojump_clock) -> None:
    seen: list[float] = []

    async def look(me: Player) -> None:
        seen.append(me.ctx.deadline)

    async def tells(me: Player, ref: Ref[Any]) -> None:
        await ref.tell(Perform(look))
        ref.tell_nowait(Perform(look))

    async with open_system() as system:
        second, first = await system.spawn(Player), await system.spawn(Player)
        await first.ask(Do(partial(tells, ref=second)), timeout=1)
        await settle()

        assert seen == [math.inf, math.inf]


async def test_thousands_of_asks_at_once_each_end_at_their_own_instant(autojump_clock) -> None:
    """Some are answered, some time out; nothing is left in the system's alarms."""
    async with open_system() as system, trio.open_nursery() as nursery:
        refs = [await system.spawn(Player, mailbox=Mailbox(capacity=1000)) for _ in range(3)]
        for ref in refs:
            call(nursery, ref.ask, nap(64), timeout=100)
        await settle()
        calls = [(call(nursery, refs[n % 3].ask, answer(n), timeout=(n * 7 % 128) / 2), n) for n in range(3, 3000)]
        await trio.sleep(100)

        for one, n in calls:
            timeout = (n * 7 % 128) / 2
            assert one.end == "AskTimeout"
            assert one.at == timeout
        assert not system.alarms.young
        assert len(system.alarms._heap) < 100
        assert [accounts(ref) for ref in refs] == [(0, 0, 0)] * 3
        for _ in range(3):  # again, with the alarms' task having slept through all of it
            assert isinstance(await end_of(refs[0].ask, nap(10), timeout=0.5), AskTimeout)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 40), st.integers(0, 40)), max_size=40))
def test_alarms_fire_at_their_instants_whatever_comes_and_goes_between(jobs) -> None:
    """(begin, timeout, how long the handler takes): the end of each ask is the earlier of the two."""

    async def main() -> None:
        async with open_system() as system, trio.open_nursery() as nursery:
            ref = await system.spawn(Pool)
            calls = []

            async def one(start: int, timeout: int, takes: int) -> None:
                await trio.sleep(start / 4)
                calls.append((call(nursery, ref.ask, Wait(takes / 4), timeout=timeout / 4), start, timeout, takes))

            for job in jobs:
                nursery.start_soon(one, *job)
            await trio.sleep(50)
            assert len(calls) == len(jobs)
            for ended, start, timeout, takes in calls:
                assert ended.at == (start + min(timeout, takes)) / 4
                assert ended.end == ("AskTimeout" if timeout < takes else takes / 4 if takes < timeout else ended.end)
            assert not system.alarms.young

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@attrs.frozen
class Wait(Ask[float]):
    seconds: float


class Pool(Player):
    @handler(concurrent=100)
    async def wait(self, message: Wait) -> float:
        await trio.sleep(message.seconds)
        return message.seconds


# ------------------------------------------------------------------ ask_many
async def test_many_asks_are_answered_in_the_order_of_the_messages(autojump_clock) -> None:
    async with open_system() as system:
        ref = await system.spawn(Pool, mailbox=Mailbox(capacity=2))

        assert await ref.ask_many([Wait(n / 10) for n in (5, 1, 4, 2, 3)]) == [0.5, 0.1, 0.4, 0.2, 0.3]
        assert trio.current_time() == 0.5
        assert await ref.ask_many([]) == []
        assert await ref.ask_many(answer(n) for n in range(200)) == list(range(200))
        same = answer("same")
        assert await ref.ask_many([same, same]) == ["same", "same"]


async def test_the_first_error_withdraws_the_rest_and_is_raised_at_once(autojump_clock) -> None:
    log: list[object] = []

    async def note(me: Player) -> None:
        log.append(trio.current_time())

    async def declares_later(me: Player) -> None:
        await trio.sleep(1)
        raise Declared

    async def sees_the_end(me: Player) -> None:
        try:
            await trio.sleep_forever()
        finally:
            log.append(("cancelled", trio.current_time()))

    async with open_system() as system:
        ref = await system.spawn(Player, mailbox=Mailbox(capacity=3))
        with pytest.raises(Declared):
            await ref.ask_many([answer(0), Do(declares_later), *[Do(note)] * 10])
        with pytest.raises(Declared):
            await ref.ask_many([Beside(sees_the_end), Beside(declares_later), Do(note)])
        await settle()

        assert log == [("cancelled", 2)]
        assert trio.current_time() == 2
        assert accounts(ref) == (0, 0, 0)
        assert ref.statistics().crashes == 0


async def test_a_crash_fails_many_asks_at_once_also_while_they_wait_for_room(autojump_clock) -> None:
    async def breaks_later(me: Player) -> None:
        await trio.sleep(1)
        raise Broken

    async with open_system() as system:
        ref = await system.spawn(Player, mailbox=Mailbox(capacity=1), backoff=Backoff(min=50, max=50, jitter=0))
        with pytest.raises(ActorCrashed):
            await ref.ask_many([Do(breaks_later), *[answer(n) for n in range(5)]])

        assert trio.current_time() == 1
        assert ref.statistics().queued == 0
        assert ref.statistics().senders == 0


async def test_errors_stand_in_the_list_if_they_are_wanted_there(autojump_clock) -> None:
    async with open_system() as system:
        ref = await system.spawn(Player, mailbox=Mailbox(capacity=2))
        got = await ref.ask_many([answer(1), DECLARE, CRASH, answer(4)], return_exceptions=True)

        assert got[0] == 1
        assert [type(one) for one in got[1:3]] == [Declared, ActorCrashed]
        assert got[3] == 4
        assert isinstance(got[2].__cause__, Broken)

        began = trio.current_time()
        late = await ref.ask_many([nap(1, n) for n in range(6)], timeout=2.5, return_exceptions=True)
        assert late[:2] == [0, 1]
        assert [type(one) for one in late[2:]] == [AskTimeout] * 4
        assert trio.current_time() == began + 2.5
        assert accounts(ref) == (0, 0, 0)


async def test_many_asks_to_an_actor_that_stops_all_end(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player, mailbox=Mailbox(capacity=2))
        as_values = await begin(nursery, ref.ask_many, [nap(2, n) for n in range(6)], return_exceptions=True)
        plain = await begin(nursery, ref.ask_many, [nap(2, n) for n in range(6)])
        await trio.sleep(1)
        ref.stop()
        await ref.wait_stopped()
        await settle()

        assert trio.current_time() == 2
        assert (plain.end, plain.at) == ("ActorStopped", 2)
        values: Any = as_values.value
        assert values[0] == 0
        assert [type(one) for one in values[1:]] == [ActorStopped] * 5


async def test_many_asks_to_a_full_mailbox_that_refuses(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player, mailbox=Mailbox(capacity=2, overflow=Overflow.FAIL))
        await begin(nursery, ref.ask, nap(1))
        with pytest.raises(MailboxFull):
            await ref.ask_many([answer(n) for n in range(4)])
        await settle()
        assert ref.statistics().queued == 0
        got = await ref.ask_many([answer(n) for n in range(4)], return_exceptions=True)

        assert got[:2] == [0, 1]
        assert [type(one) for one in got[2:]] == [MailboxFull] * 2


async def test_a_wrong_message_among_many_withdraws_those_before_it(autojump_clock) -> None:
    log: list[int] = []

    async def note(me: Player) -> None:
        log.append(1)

    async with open_system() as system:
        ref = await system.spawn(Player)
        wrong: Any = Note(1)
        with pytest.raises(TypeError, match="tell"):
            await ref.ask_many([Do(note), wrong, Do(note)])
        with pytest.raises(TypeError, match="ask"):
            await ref.tell_many([Note(1), CRASH])
        await settle()

        assert log == []
        assert await ref.ask(Read()) == [1]
        assert accounts(ref) == (0, 0, 0)


async def test_cancelled_many_asks_leave_nothing_in_hand_or_in_the_mailbox(autojump_clock) -> None:
    log: list[object] = []

    async def waits(me: Player) -> None:
        try:
            await trio.sleep(10)
        finally:
            log.append(trio.current_time())

    async with open_system() as system:
        for capacity in (1, 3, 64):
            ref = await system.spawn(Player, mailbox=Mailbox(capacity=capacity))
            log.clear()
            began = trio.current_time()
            with trio.move_on_after(1):
                await ref.ask_many([Beside(waits)] * 2 + [Do(waits)] * 5)
            await settle()

            assert log == [began + 1] * 2
            assert accounts(ref) == (0, 0, 0)
            assert await ref.ask(answer("alive")) == "alive"


async def test_many_tells_wait_for_room_and_those_that_found_it_were_sent(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player, mailbox=Mailbox(capacity=4))
        await begin(nursery, ref.ask, nap(10))
        one = await begin(nursery, ref.tell_many, [Note(n) for n in range(1000)])
        await trio.sleep(5)
        assert ref.statistics().queued == 4
        assert not one.over
        one.scope.cancel()
        await trio.sleep(10)

        assert await ref.ask(Read()) == [0, 1, 2, 3]
        await ref.tell_many([Note(n) for n in range(1000)])
        assert (await ref.ask(Read()))[4:] == list(range(1000))


async def test_many_tells_to_an_actor_that_stops_say_so(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player, mailbox=Mailbox(capacity=4))
        await begin(nursery, ref.ask, nap(1))
        one = await begin(nursery, ref.tell_many, [Note(n) for n in range(1000)])
        ref.stop()
        await trio.sleep(2)

        assert (one.end, one.at) == ("ActorStopped", 1)


# ------------------------------------------------------------------ crashes and late replies
async def test_an_ask_that_was_lost_in_a_crash_is_not_answered_by_the_next_life(autojump_clock) -> None:
    """Each answer belongs to an ask of its own incarnation; those that waited are answered by the next one."""
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player)

        async def who(me: Player) -> int:
            return me.ctx.incarnation

        lost = await begin(nursery, ref.ask, nap(5, "first life"))
        waiting = await begin(nursery, ref.ask, Do(who))
        await trio.sleep(1)
        ref.kill()
        await settle()

        assert isinstance(lost.error, ActorStopped | ActorCrashed)
        assert lost.at == 1
        assert (waiting.end, waiting.at) == (2, 1)
        await trio.sleep(10)
        assert await ref.ask(answer("third")) == "third"


async def test_a_reply_that_comes_after_the_end_of_its_life_is_dropped(autojump_clock) -> None:
    """A handler shielded against its cancellation finishes after its ask was failed: nobody gets that answer."""
    done: list[float] = []

    async def stubborn(me: Player) -> str:
        with trio.CancelScope(shield=True):
            await trio.sleep(5)
        done.append(trio.current_time())
        return "late"

    for message in (Do(stubborn), Beside(stubborn), Save(stubborn)):
        done.clear()
        async with open_system() as system, trio.open_nursery() as nursery:
            ref = await system.spawn(Player)
            began = trio.current_time()
            lost = await begin(nursery, ref.ask, message)
            await trio.sleep(1)
            crash(ref)
            await settle()
            assert (lost.end, lost.at) == ("ActorCrashed", began + 1)

            next_ = await begin(nursery, ref.ask, answer("next"))
            await trio.sleep(10)
            assert done == [began + 5]
            assert (next_.end, next_.at) == ("next", began + 5)


async def test_a_crash_names_the_cause_and_the_incarnation(autojump_clock) -> None:
    async with open_system() as system:
        ref = await system.spawn(Player, name="a")
        for number in (1, 2):
            with pytest.raises(ActorCrashed, match="'a' crashed with Do in hand") as caught:
                await ref.ask(CRASH)
            assert isinstance(caught.value.__cause__, Broken)
            assert caught.value.incarnation == number


async def test_resume_fails_the_ask_and_the_actor_goes_on_with_its_state(autojump_clock) -> None:
    async with open_system() as system:
        ref = await system.spawn(Player, directives={Broken: Directive.RESUME})
        await ref.tell(Note("kept"))
        with pytest.raises(ActorCrashed):
            await ref.ask(CRASH)
        with pytest.raises(ActorCrashed):
            await ref.ask(Beside(breaks))

        assert await ref.ask(Read()) == ["kept"]
        assert ref.incarnation == 1


async def test_asks_to_a_restarting_actor_wait_for_its_next_life(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player, backoff=Backoff(min=5, max=5, jitter=0), mailbox=Mailbox(capacity=1))
        assert isinstance(await end_of(ref.ask, CRASH), ActorCrashed)
        calls = [
            await begin(nursery, ref.ask, answer("queued")),
            await begin(nursery, ref.ask, answer("in line")),
            await begin(nursery, ref.ask, AtOnce(lambda me: "inline")),
            await begin(nursery, ref.ask, answer("too late"), timeout=2),
        ]
        await trio.sleep(10)

        assert [one.end for one in calls] == ["queued", "in line", "inline", "AskTimeout"]
        assert [one.at for one in calls] == [5, 5, 5, 2]


async def test_asks_to_a_stopping_actor_are_told_when_it_has_stopped(autojump_clock) -> None:
    class Slow(Player):
        async def on_stop(self, reason: object) -> None:
            await trio.sleep(2)

    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Slow)
        ref.stop()
        await settle()
        calls = [
            await begin(nursery, ref.ask, answer(1)),
            await begin(nursery, ref.ask, AtOnce(lambda me: 1)),
            await begin(nursery, ref.ask_many, [answer(1)]),
        ]
        in_time = await begin(nursery, ref.ask, answer(1), timeout=1)
        await trio.sleep(5)

        assert [(one.end, one.at) for one in calls] == [("ActorStopped", 2)] * 3
        assert (in_time.end, in_time.at) == ("AskTimeout", 1)
        with pytest.raises(ActorStopped, match="has stopped"):
            await ref.ask(answer(1))


# ------------------------------------------------------------------ lazy actors
async def test_the_first_asks_of_a_lazy_actor_whose_start_fails_all_get_the_cause(autojump_clock) -> None:
    class Broke(Player):
        async def on_start(self) -> None:
            await trio.sleep(1)
            raise OSError("no port")

    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Broke, lazy=True, name="lazy", mailbox=Mailbox(capacity=2))
        assert ref.incarnation == 0
        asks = [call(nursery, ref.ask, answer(n)) for n in range(5)]
        many = call(nursery, ref.ask_many, [answer(n) for n in range(5)])
        await trio.sleep(2)

        assert {(one.end, one.at) for one in (*asks, many)} == {("StartFailed", 1)}
        assert all(isinstance(one.error.__cause__, OSError) for one in asks if one.error is not None)
        with pytest.raises(ActorStopped):
            await ref.ask(answer(1))
        again = await system.spawn(Player, name="lazy")
        assert await again.ask(answer("the name is free")) == "the name is free"


async def test_a_lazy_actor_starts_once_however_many_ask_first(autojump_clock) -> None:
    starts: list[int] = []

    class Slow(Player):
        async def on_start(self) -> None:
            starts.append(1)
            await trio.sleep(3)

    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Slow, lazy=True)
        calls = [call(nursery, ref.ask, answer(n)) for n in range(20)]
        given_up = call(nursery, ref.ask, answer("x"), timeout=1)
        await trio.sleep(5)

        assert [one.end for one in calls] == list(range(20))
        assert given_up.end == "AskTimeout"
        assert starts == [1]


async def test_a_cancelled_first_ask_leaves_a_lazy_actor_usable(autojump_clock) -> None:
    class Slow(Player):
        async def on_start(self) -> None:
            await trio.sleep(3)

    async with open_system() as system:
        ref = await system.spawn(Slow, lazy=True)
        with trio.move_on_after(1):
            await ref.ask(answer(1))

        assert await ref.ask(answer(2)) == 2
        assert trio.current_time() == 3


# ------------------------------------------------------------------ circles
async def ring(system: Any, length: int, kind: type = Do, entry: type = Do) -> tuple[list[Ref[Player]], Ask[Any]]:
    """Actors a, b, c... and a message to the first that goes round all of them and comes back to the first."""
    refs = [await system.spawn(Player, name=chr(ord("a") + n)) for n in range(length)]
    message: Any = answer("never")
    for ref in (refs[0], *reversed(refs[1:])):
        message = kind(partial(_pass_on, ref=ref, message=message))
    return refs, entry(message.play)


async def _pass_on(me: Player, ref: Ref[Any], message: Ask[Any]) -> object:
    return await ref.ask(message)


@pytest.mark.parametrize("length", [1, 2, 3, 7])
async def test_a_circle_of_asks_of_any_length_is_an_error_that_names_it(length, autojump_clock) -> None:
    async with open_system() as system:
        refs, message = await ring(system, length)
        ended = await end_of(refs[0].ask, message)

        assert trio.current_time() == 0
        found = ended
        while isinstance(found, ActorCrashed):
            found = found.__cause__
        assert isinstance(found, AskCycle)
        names = tuple(ref.name for ref in refs)
        assert found.chain == (*names, "a")
        for name in names:
            assert name in str(found)


@pytest.mark.parametrize("way", ["ask", "ask_many", "stream", "get_state", "suspend", "swap", "in a task", "carry"])
async def test_every_way_to_wait_for_oneself_is_found(way, autojump_clock) -> None:
    import trouper

    caught: list[object] = []

    async def wait(me: Player) -> None:
        ref = other if me.ctx.name == "a" else first
        if way == "ask_many":
            await ref.ask_many([Do(wait)])
        elif way == "stream":
            async with ref.stream(Show(wait_yielding)) as items:
                async for _ in items:
                    pass
        elif way == "in a task":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ref.ask, Do(wait))
        elif way == "carry":
            with trouper.carry(a=1):
                await ref.ask(Do(wait))
        elif way == "ask" or me.ctx.name == "a":
            await ref.ask(Do(wait))
        elif way == "swap":
            await ref.swap(Player)
        else:
            await getattr(ref, way)()

    async def wait_yielding(me: Player) -> AsyncGenerator[int, None]:
        await wait(me)
        yield 1

    async def catches(me: Player) -> None:
        try:
            await wait(me)
        except Exception as error:  # noqa: BLE001 - looked at below
            caught.append(error)

    async with open_system() as system:
        first, other = await system.spawn(Player, name="a"), await system.spawn(Player, name="b")
        await first.ask(Do(catches), timeout=5)

        assert trio.current_time() == 0
        found = caught[0]
        while isinstance(found, ActorCrashed | ExceptionGroup):
            found = found.exceptions[0] if isinstance(found, ExceptionGroup) else found.__cause__
        assert isinstance(found, AskCycle)
        assert found.chain == ("a", "b", "a")


async def test_an_ask_from_on_start_works_and_one_to_oneself_is_a_circle(autojump_clock) -> None:
    class Starts(Player):
        def __init__(self, other: Ref[Player] | None) -> None:
            super().__init__()
            self.other = other

        async def on_start(self) -> None:
            ref = self.other if self.other is not None else self.ctx.ref
            self.log.append(await ref.ask(answer("asked"), timeout=5))

    async with open_system() as system:
        ref = await system.spawn(Starts, await system.spawn(Player))
        assert await ref.ask(Read()) == ["asked"]
        with pytest.raises(StartFailed) as caught:
            await system.spawn(Starts, None)
        assert isinstance(caught.value.__cause__, AskCycle)


async def test_a_tell_on_the_way_breaks_the_circle(autojump_clock) -> None:
    """Nobody waits for a tell: what it leads to may ask the teller, once that is free."""
    got: list[object] = []

    async def asks_back(me: Player) -> None:
        got.append(await first.ask(answer("back")))

    async def tells(me: Player) -> None:
        await second.tell(Perform(asks_back))
        await trio.sleep(1)

    async with open_system() as system:
        first, second = await system.spawn(Player), await system.spawn(Player)
        await first.ask(Do(tells))
        await settle()

        assert got == ["back"]


async def test_a_concurrent_handler_may_be_asked_back(autojump_clock) -> None:
    """While one of its handlers waits the actor goes on with others: no circle."""

    async def asks_back(me: Player) -> object:
        return await pool.ask(Beside(lambda me: _after(1)))

    async def through(me: Player) -> object:
        return await single.ask(Do(asks_back))

    async with open_system() as system:
        pool, single = await system.spawn(Player), await system.spawn(Player)

        assert await pool.ask(Beside(through), timeout=5) == 1
        assert pool.statistics().crashes == single.statistics().crashes == 0


async def test_a_task_that_outlives_its_handler_may_ask_the_same_actor(autojump_clock) -> None:
    """The handler it was started in is over; nothing waits for anything."""
    got: list[object] = []

    async def later(ref: Ref[Any]) -> None:
        await trio.sleep(1)
        got.append(await ref.ask(answer("fine")))

    async with trio.open_nursery() as nursery, open_system() as system:
        ref = await system.spawn(Player)

        async def leaves_a_task(me: Player) -> None:
            nursery.start_soon(later, me.ctx.ref)

        await ref.ask(Do(leaves_a_task))
        await trio.sleep(2)

        assert got == ["fine"]


# ------------------------------------------------------------------ inline handlers
async def where_it_runs(ref: Ref[Player]) -> bool:
    """Whether an inline ask of this task is handled in this task."""
    mine = trio.lowlevel.current_task()
    return await ref.ask(AtOnce(lambda me: trio.lowlevel.current_task() is mine))


async def test_an_idle_actor_answers_inline_and_a_busy_one_in_its_turn(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player)
        await settle()
        assert await where_it_runs(ref)

        await begin(nursery, ref.ask, nap(1))
        began = trio.current_time()
        assert not await where_it_runs(ref)
        assert trio.current_time() == began + 1
        await settle()
        assert await where_it_runs(ref)


@pytest.mark.parametrize("hindrance", ["a queued tell", "a concurrent handler", "suspended", "a due timer", "stopping"])
async def test_an_inline_handler_never_overtakes_or_runs_beside_anything(hindrance, autojump_clock) -> None:
    order: list[str] = []

    async def waits(me: Player) -> None:
        await trio.sleep(2)
        order.append("other")

    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player, order)
        await settle()
        if hindrance == "a queued tell":
            ref.tell_nowait(Note("other"))
        elif hindrance == "a concurrent handler":
            await begin(nursery, ref.ask, Beside(waits))
        elif hindrance == "suspended":
            await ref.suspend()
        elif hindrance == "a due timer":
            await ref.ask(Do(partial(_in_no_time, message=Note("other"))))
        else:
            ref.stop()
        one = call(nursery, ref.ask, AtOnce(lambda me: order.append("inline")), timeout=5)
        if hindrance == "suspended":
            await trio.sleep(1)
            order.append("other")
            await ref.resume()
        await trio.sleep(6)

        assert order == (["other", "inline"] if hindrance != "stopping" else [])
        assert one.error is None or hindrance == "stopping"


async def _in_no_time(me: Player, message: Note) -> None:
    me.ctx.send_after(0, message)


async def test_an_inline_handler_that_raises_crashes_the_actor_and_fails_only_its_ask(autojump_clock) -> None:
    def crash(me: Player) -> None:
        me.log.append("crashed")
        raise Broken("inline")

    log: list[object] = []
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player, log, name="a", mailbox=Mailbox(redeliver=3))
        await settle()
        with pytest.raises(ActorCrashed, match="AtOnce") as caught:
            await ref.ask(AtOnce(crash))
        assert isinstance(caught.value.__cause__, Broken)
        await settle()

        assert log == ["crashed"]
        assert ref.incarnation == 2
        assert (ref.statistics().crashes, ref.crash_reports()[0].handling) == (1, ("AtOnce",))
        assert await where_it_runs(ref)

        await begin(nursery, ref.ask, nap(1))
        assert isinstance(await end_of(ref.ask, AtOnce(crash)), ActorCrashed)
        assert log == ["crashed"] * 2


async def test_an_inline_handler_answers_with_declared_errors_and_may_go_on_after_others(autojump_clock) -> None:
    def declare(me: Player) -> None:
        raise Declared("inline")

    def crash(me: Player) -> None:
        raise Broken("inline")

    async with open_system() as system:
        ref = await system.spawn(Player, directives={Broken: Directive.RESUME})
        await settle()
        for _ in range(2):
            with pytest.raises(Declared):
                await ref.ask(AtOnce(declare))
            with pytest.raises(ActorCrashed):
                await ref.ask(AtOnce(crash))

        assert (ref.incarnation, ref.statistics().crashes) == (1, 0)
        assert await where_it_runs(ref)


async def test_an_inline_ask_of_a_cancelled_task_does_nothing(autojump_clock) -> None:
    ran: list[int] = []
    async with open_system() as system:
        ref = await system.spawn(Player)
        await settle()
        with trio.CancelScope() as scope:
            scope.cancel()
            await ref.ask(AtOnce(lambda me: ran.append(1)))

        assert scope.cancelled_caught
        assert ran == []


async def test_an_inline_ask_is_one_checkpoint_whatever_comes_of_it(autojump_clock) -> None:
    def declare(me: Player) -> None:
        raise Declared

    async with open_system() as system:
        ref = await system.spawn(Player)
        await settle()
        with trio.testing.assert_checkpoints():
            await ref.ask(AtOnce(lambda me: 1))
        with trio.testing.assert_checkpoints(), pytest.raises(Declared):
            await ref.ask(AtOnce(declare))


async def test_an_inline_handler_knows_its_deadline_and_its_state_is_kept(autojump_clock) -> None:
    class Keeps(Player):
        def snapshot(self) -> list[Any]:
            return list(self.log)

        def restore(self, state: list[Any]) -> None:
            self.log = state

    async with open_system() as system:
        ref = await system.spawn(Keeps)
        await settle()
        assert await ref.ask(AtOnce(lambda me: me.ctx.deadline), timeout=5) == 5
        assert await ref.ask(AtOnce(lambda me: me.ctx.deadline)) == 60
        await ref.ask(AtOnce(lambda me: me.log.append("kept")))
        await end_of(ref.ask, CRASH)
        await settle()

        assert await ref.ask(Read()) == ["kept"]
        assert ref.statistics().handled == 4


async def test_an_inline_handler_cannot_stash_in_another_task_and_loses_nobodys_answer(autojump_clock) -> None:
    """Whatever `stash()` says there, the next ask has its answer."""
    async with open_system() as system:
        ref = await system.spawn(Player)
        await settle()
        await end_of(ref.ask, AtOnce(lambda me: me.ctx.stash()))
        await settle()

        assert await ref.ask(answer("mine"), timeout=1) == "mine"
        assert ref.statistics().stashed == 0


async def test_an_inline_handler_may_tell_its_own_actor_and_end_it(autojump_clock) -> None:
    def tells(me: Player) -> None:
        me.ctx.ref.tell_nowait(Note("told"))

    async with open_system() as system:
        ref = await system.spawn(Player)
        await settle()
        await ref.ask(AtOnce(tells))
        assert await ref.ask(Read()) == ["told"]
        await settle()
        await ref.ask(AtOnce(lambda me: me.ctx.exit()))
        await settle()

        assert ref.incarnation == 2
        assert await ref.ask(Read()) == []


async def test_an_inline_ask_is_found_in_a_circle(autojump_clock) -> None:
    async def asks_itself(me: Player) -> None:
        await me.ctx.ref.ask(AtOnce(lambda me: 1), timeout=5)

    async with open_system() as system:
        ref = await system.spawn(Player)
        ended = await end_of(ref.ask, Do(asks_itself))

        assert isinstance(ended, ActorCrashed)
        assert isinstance(ended.__cause__, AskCycle)


# ------------------------------------------------------------------ many classes of messages
async def test_an_actor_handles_more_classes_of_messages_than_it_remembers() -> None:
    """The cache of routes is bounded; what it has no room for is looked up, and handled all the same."""

    class Broad(Player):
        pass

    async with open_system() as system:
        ref = await system.spawn(Broad)
        for n in range(1100):
            await ref.tell(type(f"Note{n}", (Note,), {})(n))
        for n in range(5):
            assert await ref.ask(type(f"Do{n}", (Do,), {})(answer(n).play), timeout=5) == n

        assert await ref.ask(Read()) == list(range(1100))
        assert ref.statistics().dead_letters == 0
        assert len(Broad.__routes__) <= 1100

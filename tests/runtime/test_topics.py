"""Topics: every subscriber has a bound of its own, nobody waits, and a subscription ends with its incarnation."""

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
    Beside,
    Do,
    Note,
    Perform,
    Player,
    Read,
    accounts,
    answer,
    begin,
    call,
    end_of,
    nap,
    settle,
)
from trouper import ActorStopped, DeadLetter, Mailbox, Overflow, Ref, System, Tell, open_system
from trouper.runtime.testing import crash

POLICIES = list(Overflow)


class Reader(Player):
    """Subscribes when it starts, and notes what comes."""

    def __init__(self, *topics: str, bound: int = 64, log: list[Any] | None = None) -> None:
        super().__init__(log)
        self.topics = topics
        self.bound = bound

    async def on_start(self) -> None:
        for topic in self.topics:
            self.ctx.subscribe(topic, self.bound)


async def reader(
    system: System, *topics: str, bound: int = 64, log: list[Any] | None = None, **options: Any
) -> Ref[Any]:
    return await system.spawn(lambda: Reader(*topics, bound=bound, log=log), **options)


# ------------------------------------------------------------------ who gets what
async def test_every_subscriber_gets_what_is_published_in_order_and_nobody_else(autojump_clock) -> None:
    async with open_system() as system:
        a, b, c = await reader(system, "x"), await reader(system, "x", "y"), await reader(system, "z")
        with system.subscribe("x") as feed:
            counts = [system.publish(topic, Note((topic, n))) for n in range(3) for topic in "xyw"]
            got = [await anext(feed) for _ in range(3)]

        assert counts == [3, 1, 0] * 3
        assert got == [Note(("x", n)) for n in range(3)]
        assert await a.ask(Read()) == [("x", n) for n in range(3)]
        assert await b.ask(Read()) == [(topic, n) for n in range(3) for topic in "xy"]
        assert await c.ask(Read()) == []
        assert system.statistics().topics == {"x": 2, "y": 1, "z": 1}


async def test_an_actor_may_publish_also_to_itself(autojump_clock) -> None:
    async def publishes(me: Player) -> int:
        return me.ctx.publish("x", Note("mine"))

    async with open_system() as system:
        ref = await reader(system, "x")

        assert await ref.ask(Do(publishes)) == 1
        assert await ref.ask(Read()) == ["mine"]


async def test_subscribing_twice_is_once_and_the_new_bound_counts(autojump_clock) -> None:
    async def again(me: Player) -> None:
        me.ctx.subscribe("x", bound=2)
        await trio.sleep(1)

    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await reader(system, "x")
        await begin(nursery, ref.ask, Do(again))
        counts = [system.publish("x", Note(n)) for n in range(3)]
        await trio.sleep(2)

        assert counts == [1, 1, 0]
        assert await ref.ask(Read()) == [0, 1]


async def test_after_unsubscribing_only_what_was_published_before_comes(autojump_clock) -> None:
    async def leaves(me: Player) -> None:
        await trio.sleep(1)
        me.ctx.unsubscribe("x")
        me.ctx.unsubscribe("x")
        me.ctx.unsubscribe("never subscribed")

    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await reader(system, "x")
        await begin(nursery, ref.ask, Do(leaves))
        system.publish("x", Note("before"))
        await trio.sleep(2)

        assert system.publish("x", Note("after")) == 0
        assert await ref.ask(Read()) == ["before"]
        assert system.statistics().topics == {}


# ------------------------------------------------------------------ the bound
async def test_a_subscriber_with_its_bound_unread_misses_the_next_as_a_dead_letter(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        slow, quick = await reader(system, "x", bound=3, name="slow"), await reader(system, "x", name="quick")
        await begin(nursery, slow.ask, nap(5))
        with system.events() as events:
            counts = [system.publish("x", Note(n)) for n in range(5)]
            letters = [(e.actor, e.message) for e in events.take_nowait() if isinstance(e, DeadLetter)]

        assert counts == [2, 2, 2, 1, 1]
        assert letters == [("slow", "Note")] * 2
        assert slow.statistics().dead_letters == 2
        assert await quick.ask(Read()) == list(range(5))
        await trio.sleep(6)
        assert [system.publish("x", Note(n)) for n in (5, 6, 7)] == [2] * 3
        assert await slow.ask(Read()) == [0, 1, 2, 5, 6, 7]


async def test_each_topic_has_its_own_bound(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await reader(system, "x", "y", bound=1)
        await begin(nursery, ref.ask, nap(1))

        assert [system.publish(topic, Note(topic)) for topic in "xyxy"] == [1, 1, 0, 0]
        await trio.sleep(2)
        assert await ref.ask(Read()) == ["x", "y"]


@pytest.mark.parametrize("overflow", POLICIES)
async def test_a_full_mailbox_loses_messages_of_topics_but_never_the_subscription(overflow, autojump_clock) -> None:
    """Nobody waits; what is dropped counts as read, so that the bound is not used up by it."""
    async with open_system() as system, trio.open_nursery() as nursery:
        key = (lambda message: message.what if isinstance(message, Note) else None) if overflow is POLICIES[4] else None
        mailbox = Mailbox(capacity=2, overflow=overflow, key=key)
        ref = await reader(system, "x", bound=5, mailbox=mailbox)
        for round_ in range(4):
            await begin(nursery, ref.ask, nap(5))
            counts = [system.publish("x", Note((round_, n))) for n in range(20)]
            began = trio.current_time()
            assert counts[:2] == [1, 1]
            keeps_new = overflow in {Overflow.DROP_OLD, Overflow.LATEST_BY_KEY}
            assert sum(counts) == (20 if keeps_new else 2)
            await trio.sleep(6)
            assert trio.current_time() == began + 6

        kept = (18, 19) if keeps_new else (0, 1)
        assert await ref.ask(Read()) == [(round_, n) for round_ in range(4) for n in kept]
        assert accounts(ref) == (0, 0, 0)


async def test_what_was_read_out_of_order_does_not_use_up_the_bound(autojump_clock) -> None:
    """The oldest is set aside, or waits for concurrent handlers: those behind it are read all the same."""
    log: list[Any] = []

    async def stashes(me: Player) -> None:
        me.ctx.stash()

    async with open_system() as system:
        await reader(system, "x", bound=2, log=log)
        system.publish("x", Perform(stashes))
        await settle()
        for n in range(10):
            assert system.publish("x", Note(n)) == 1
            await settle()

        assert log == list(range(10))


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("xyz"), st.booleans()), max_size=40),
    st.lists(st.tuples(st.sets(st.sampled_from("xyz")), st.integers(1, 5)), max_size=4),
)
def test_each_subscriber_gets_exactly_what_its_bounds_allow(published, subscribers) -> None:
    """`published`: a topic, and whether everybody reads what is there before the next."""

    async def main() -> None:
        async with open_system() as system:
            refs = [await reader(system, *sorted(topics), bound=bound) for topics, bound in subscribers]
            await settle()
            expected: list[list[Any]] = [[] for _ in subscribers]
            unread: list[dict[str, int]] = [dict.fromkeys(topics, 0) for topics, _ in subscribers]
            for number, (topic, read) in enumerate(published):
                takers = 0
                for (_, bound), log, waiting in zip(subscribers, expected, unread, strict=True):
                    if topic in waiting and waiting[topic] < bound:
                        waiting[topic] += 1
                        log.append(number)
                        takers += 1
                assert system.publish(topic, Note(number)) == takers
                if read:
                    await settle()
                    unread = [dict.fromkeys(waiting, 0) for waiting in unread]
            assert [await ref.ask(Read()) for ref in refs] == expected

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


# ------------------------------------------------------------------ with the incarnation
@pytest.mark.parametrize("end", ["crash", "kill", "stop"])
async def test_a_subscription_ends_with_its_incarnation(end, autojump_clock) -> None:
    class Once(Player):
        async def on_start(self) -> None:
            if self.ctx.incarnation == 1:
                self.ctx.subscribe("x")

        async def on_stop(self, reason: object) -> None:
            self.ctx.subscribe("late")

    async with open_system() as system:
        ref = await system.spawn(Once)
        {"crash": crash, "kill": Ref.kill, "stop": Ref.stop}[end](ref)
        await settle()

        assert system.statistics().topics == {}
        assert system.publish("x", Note(1)) == system.publish("late", Note(1)) == 0


async def test_what_was_published_before_a_crash_is_read_by_the_next_life(autojump_clock) -> None:
    log: list[Any] = []
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await reader(system, "x", bound=2, log=log)
        call(nursery, end_of, lambda: ref.ask(nap(5)))
        await settle()
        assert [system.publish("x", Note(n)) for n in range(3)] == [1, 1, 0]
        crash(ref)
        await settle()
        assert [system.publish("x", Note(n)) for n in (3, 4)] == [1, 1]
        await settle()

        assert log == [0, 1, 3, 4]


async def test_a_failed_start_leaves_no_subscription(autojump_clock) -> None:
    class Broke(Player):
        async def on_start(self) -> None:
            self.ctx.subscribe("x")
            raise OSError

    async with open_system() as system:
        assert isinstance(await end_of(system.spawn, Broke), trouper.StartFailed)
        assert system.statistics().topics == {}


async def test_a_context_of_an_ended_life_cannot_subscribe(autojump_clock) -> None:
    actor = Player()
    async with open_system() as system:
        ref = await system.spawn(lambda: actor)
        ref.stop()
        await ref.wait_stopped()
        with pytest.raises(ActorStopped):
            actor.ctx.subscribe("x")

        assert system.statistics().topics == {}


# ------------------------------------------------------------------ feeds
async def test_a_feed_drops_what_it_has_no_room_for_and_counts_it(autojump_clock) -> None:
    async with open_system() as system:
        with system.subscribe("x", capacity=2) as feed:
            assert [system.publish("x", Note(n)) for n in range(5)] == [1, 1, 0, 0, 0]
            assert feed.dropped == 3
            assert [await anext(feed) for _ in range(2)] == [Note(0), Note(1)]
            with trio.move_on_after(1):
                await anext(feed)
            system.publish("x", Note(5))
            assert await anext(feed) == Note(5)
        assert system.publish("x", Note(6)) == 0


async def test_a_feed_ends_with_its_system(autojump_clock) -> None:
    got: list[Any] = []

    async def follow(system: System, task_status: trio.TaskStatus[None]) -> None:
        with system.subscribe("x") as feed:
            task_status.started()
            got.extend([message async for message in feed])
        got.append("over")

    async with trio.open_nursery() as nursery, open_system() as system:
        await nursery.start(follow, system)
        system.publish("x", Note(1))

    assert got == [Note(1), "over"]


# ------------------------------------------------------------------ misuse, and what travels
async def test_only_tells_are_published_and_bounds_are_whole_numbers(autojump_clock) -> None:
    async with open_system() as system:
        ref = await system.spawn(Player)
        wrong: Any = answer(1)
        with pytest.raises(TypeError, match="Tell"):
            system.publish("x", wrong)

        async def tries(me: Player) -> int:
            refused = 0
            for bound in (0, -1, 1.5, True, None):
                try:
                    me.ctx.subscribe("x", bound)  # type: ignore[arg-type]  # on purpose
                except ValueError:
                    refused += 1
            return refused

        assert await ref.ask(Do(tries)) == 5
        assert system.statistics().topics == {}


async def test_a_message_nobody_there_handles_is_a_dead_letter_and_hurts_nobody(autojump_clock) -> None:
    @attrs.frozen
    class Strange(Tell):
        pass

    async with open_system() as system:
        ref = await reader(system, "x", bound=1)
        for _ in range(3):
            system.publish("x", Strange())
            await settle()
        system.publish("x", Note("fine"))

        assert await ref.ask(Read()) == ["fine"]
        assert ref.statistics().dead_letters == 3
        assert ref.statistics().crashes == 0


async def test_one_subscribers_key_that_raises_does_not_keep_the_others_from_the_message(autojump_clock) -> None:
    def key(message: Any) -> str:
        raise KeyError("no key")

    async with open_system() as system:
        await reader(system, "x", mailbox=Mailbox(overflow=Overflow.LATEST_BY_KEY, key=key))
        other = await reader(system, "x")
        assert system.publish("x", Note(1)) == 1

        assert await other.ask(Read()) == [1]


async def test_trace_and_baggage_travel_with_what_is_published_the_deadline_does_not(autojump_clock) -> None:
    seen: list[Any] = []

    async def look(me: Player) -> None:
        seen.append((me.ctx.trace, dict(me.ctx.baggage), me.ctx.deadline))

    async def publishes(me: Player) -> str:
        me.ctx.publish("x", Perform(look))
        return me.ctx.trace

    async with open_system() as system:
        await reader(system, "x")
        publisher = await system.spawn(Player)
        with trouper.carry(tenant="a"):
            trace = await publisher.ask(Do(publishes), timeout=1)
        await settle()

        assert seen == [(trace, {"tenant": "a"}, float("inf"))]


async def test_an_inline_or_concurrent_handler_takes_messages_of_topics_too(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await reader(system, "x", bound=2)
        await begin(nursery, ref.ask, Beside(nap(3).play))
        assert [system.publish("x", Note(n)) for n in range(2)] == [1, 1]
        await trio.sleep(5)

        assert await ref.ask(Read()) == [0, 1]

"""The queue before an actor: bounds, order, the five overflow policies, dead letters."""

from __future__ import annotations

from random import Random
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.runtime.player import (
    AtOnce,
    Call,
    Do,
    Note,
    Player,
    Read,
    Show,
    accounts,
    answer,
    begin,
    call,
    end_of,
    nap,
    settle,
)
from trouper import (
    ActorStopped,
    Ask,
    AskTimeout,
    DeadLetter,
    Mailbox,
    MailboxFull,
    Overflow,
    Ref,
    Tell,
    handler,
    open_system,
)
from trouper.runtime._dead_letters import DeadLetterGate
from trouper.runtime._envelope import WITHDRAWN, Envelope
from trouper.runtime._overflow import mailbox_queue

POLICIES = list(Overflow)


@attrs.frozen
class Price(Tell):
    of: str
    amount: int


@attrs.frozen
class Quote(Ask[int]):
    of: str
    amount: int = 0


class Trader(Player):
    @handler
    async def price(self, message: Price) -> None:
        self.log.append((message.of, message.amount))

    @handler
    async def quote(self, message: Quote) -> int:
        self.log.append((message.of, message.amount))
        return message.amount


def by_name(message: object) -> str | None:
    return getattr(message, "of", None)


def box(overflow: Overflow, capacity: int = 3) -> Mailbox:
    return Mailbox(capacity=capacity, overflow=overflow, key=by_name if overflow is Overflow.LATEST_BY_KEY else None)


async def busy(nursery: trio.Nursery, ref: Ref[Any], seconds: float = 10) -> Call:
    """Give it something to do."""
    return await begin(nursery, ref.ask, nap(seconds))


# ------------------------------------------------------------------ WAIT
async def test_waiting_is_the_default_and_a_teller_waits_until_there_is_room(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player, mailbox=Mailbox(capacity=2))
        await busy(nursery, ref)
        tells = [await begin(nursery, ref.tell, Note(n)) for n in range(4)]
        waiting = ref.statistics()

        assert [one.over for one in tells] == [True, True, False, False]
        assert (waiting.queued, waiting.senders, waiting.capacity) == (2, 2, 2)
        with pytest.raises(MailboxFull):
            ref.tell_nowait(Note("now"))
        assert await ref.ask(Read()) == [0, 1, 2, 3]
        await settle()
        assert {one.at for one in tells[2:]} == {10}
        assert ref.statistics().dropped == 0


async def test_nobody_overtakes_the_senders_that_wait_for_room(autojump_clock) -> None:
    """A place that a woken sender was promised is not given to a newcomer, in the very step in which it is free."""
    seen: list[object] = []

    async def look(me: Player) -> None:
        # The message in hand has left its place to the first who waited; that one has not run yet.
        try:
            ref.tell_nowait(Note("newcomer"))
        except MailboxFull:
            seen.append("full")

    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player, mailbox=Mailbox(capacity=1))
        await busy(nursery, ref, 1)
        await begin(nursery, ref.ask, Do(look))
        for n in range(3):
            await begin(nursery, ref.tell, Note(n))
        await trio.sleep(2)

        assert seen == ["full"]
        assert await ref.ask(Read()) == [0, 1, 2]
        assert accounts(ref) == (0, 0, 0)


@pytest.mark.parametrize("capacity", [1, 2, 5])
async def test_senders_that_wait_are_admitted_in_their_order_whatever_they_send(capacity, autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player, mailbox=Mailbox(capacity=capacity))
        await busy(nursery, ref)
        for n in range(0, 24, 4):
            call(nursery, ref.tell, Note(n))
            call(nursery, ref.ask, Do(lambda me, n=n + 1: end_of(_note, me, n)))
            call(nursery, ref.tell_many, [Note(n + 2)])
            call(nursery, ref.ask_many, [Do(lambda me, n=n + 3: end_of(_note, me, n))])
            # Tasks that are started together run in an order that trio chooses.
            await settle()
        await trio.sleep(11)
        log = await ref.ask(Read())

        assert sorted(log) == list(range(24))
        assert [n // 4 for n in log] == [n for n in range(6) for _ in range(4)]
        assert accounts(ref) == (0, 0, 0)


async def _note(me: Player, what: object) -> None:
    me.log.append(what)


async def test_a_sender_that_gives_up_leaves_nothing_behind_and_the_next_moves_up(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player, mailbox=Mailbox(capacity=1))
        await busy(nursery, ref)
        calls = [await begin(nursery, ref.tell, Note(n)) for n in range(4)]
        calls[1].scope.cancel()
        calls[3].scope.cancel()
        await settle()

        assert ref.statistics().senders == 1
        assert await ref.ask(Read()) == [0, 2]
        assert accounts(ref) == (0, 0, 0)


async def test_a_sender_cancelled_in_the_step_that_gives_it_a_place_still_sends(autojump_clock) -> None:
    """It was woken with a place: giving the place up silently would leave a hole in the mailbox."""
    calls: list[Call] = []

    async def cancel_the_next(me: Player) -> None:
        # This message has just left the mailbox: its place is promised to the sender that is now cancelled.
        calls[1].scope.cancel()

    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player, mailbox=Mailbox(capacity=1))
        await busy(nursery, ref)
        messages = (Do(cancel_the_next), answer("second"), answer("third"))
        calls.extend([await begin(nursery, ref.ask, message) for message in messages])
        await trio.sleep(20)

        assert calls[0].over
        assert isinstance(calls[1].error, trio.Cancelled)
        assert calls[2].end == "third"
        assert accounts(ref) == (0, 0, 0)


async def test_64_timed_out_asks_to_a_stuck_actor_leave_64_places(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player)
        await busy(nursery, ref, 1000)
        asks = [call(nursery, ref.ask, answer(n), timeout=1) for n in range(64)]
        await settle()
        with pytest.raises(MailboxFull):
            ref.tell_nowait(Note("too early"))
        await trio.sleep(1)
        await settle()

        assert {one.end for one in asks} == {"AskTimeout"}
        assert ref.statistics().queued == 0
        for n in range(64):
            ref.tell_nowait(Note(n))
        with pytest.raises(MailboxFull):
            ref.tell_nowait(Note("one too many"))
        assert await ref.ask(Read(), timeout=2000) == list(range(64))
        assert accounts(ref) == (0, 0, 0)


async def test_a_waiting_sender_gets_the_place_of_an_asker_that_goes_at_once(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player, mailbox=Mailbox(capacity=2))
        await busy(nursery, ref, 1000)
        short = await begin(nursery, ref.ask, answer(0), timeout=3)
        long = await begin(nursery, ref.ask, answer(0), timeout=2000)
        waiting = await begin(nursery, ref.tell, Note("admitted"))
        assert not waiting.over
        await trio.sleep(5)

        assert (short.end, short.at) == ("AskTimeout", 3)
        assert waiting.at == 3
        assert not long.over
        assert await ref.ask(Read(), timeout=2000) == ["admitted"]


async def test_an_actor_that_skips_what_was_withdrawn_keeps_its_books(autojump_clock) -> None:
    """Withdrawn messages that nobody needed the room of are met when their turn comes, and counted once."""
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player)
        await busy(nursery, ref, 10)
        for n in range(5):
            call(nursery, ref.ask, answer(n), timeout=1)
        await settle()
        await trio.sleep(20)

        assert accounts(ref) == (0, 0, 0)
        assert ref.statistics().queued == 0
        # Whoever times out next is told how many wait: the count must be one.
        await busy(nursery, ref, 10)
        assert isinstance(await end_of(ref.ask, answer(0), timeout=1), AskTimeout)
        assert await ref.ask(answer("alive")) == "alive"


async def test_a_capacity_of_one_is_enough_for_everything(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player, mailbox=Mailbox(capacity=1))
        calls = [await begin(nursery, ref.ask, nap(1, n)) for n in range(10)]
        many = call(nursery, ref.ask_many, [nap(1, n) for n in range(10)])
        tells = call(nursery, ref.tell_many, [Note(n) for n in range(10)])
        await trio.sleep(30)

        assert [one.end for one in calls] == list(range(10))
        assert many.end == list(range(10))
        assert tells.over
        assert await ref.ask(Read()) == list(range(10))
        assert accounts(ref) == (0, 0, 0)


# ------------------------------------------------------------------ FAIL
async def test_fail_raises_at_once_for_every_way_to_send(autojump_clock) -> None:
    async def nothing(me: Player) -> Any:
        yield 1

    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player, mailbox=Mailbox(capacity=1, overflow=Overflow.FAIL))
        await busy(nursery, ref)
        await ref.tell(Note("fits"))

        for attempt in (
            lambda: ref.ask(answer(1)),
            lambda: ref.ask(AtOnce(lambda me: 1)),
            lambda: ref.ask_many([answer(1), answer(2)]),
            lambda: ref.tell(Note(1)),
            lambda: ref.tell_many([Note(1)]),
        ):
            with pytest.raises(MailboxFull, match=r"1 messages"):
                await attempt()
        with pytest.raises(MailboxFull):
            ref.tell_nowait(Note(1))
        with pytest.raises(MailboxFull):
            async with ref.stream(Show(nothing)):
                pass
        assert trio.current_time() == 0
        assert ref.statistics().dropped == 7
        assert await end_of(ref.ask_many, [answer(1), answer(2)], return_exceptions=True) != []
        await trio.sleep(20)
        assert await ref.ask(Read()) == ["fits"]
        assert accounts(ref) == (0, 0, 0)


async def test_a_full_mailbox_error_is_a_would_block(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player, mailbox=Mailbox(capacity=1))
        await busy(nursery, ref)
        ref.tell_nowait(Note(1))

        with pytest.raises(trio.WouldBlock):
            ref.tell_nowait(Note(2))


# ------------------------------------------------------------------ DROP_NEW, DROP_OLD
async def test_drop_new_lets_the_new_message_go_and_fails_its_asker_at_once(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player, name="a", mailbox=box(Overflow.DROP_NEW, 2))
        await busy(nursery, ref)
        with system.events() as events:
            await ref.tell_many([Note(n) for n in range(4)])
            ref.tell_nowait(Note(4))
            asked = await end_of(ref.ask, answer(1))
            letters = [e for e in events.take_nowait() if isinstance(e, DeadLetter)]

        assert isinstance(asked, MailboxFull)
        assert trio.current_time() == 0
        assert [(e.actor, e.message) for e in letters] == [("a", "Note")] * 3 + [("a", "Do")]
        assert (ref.statistics().dropped, ref.statistics().dead_letters) == (4, 4)
        assert await _later(ref) == [0, 1]


async def _later(ref: Ref[Any]) -> list[Any]:
    """The log, once there is room to ask for it."""
    await trio.sleep(11)
    return await ref.ask(Read())


async def test_drop_old_makes_room_by_dropping_the_oldest_and_fails_its_asker_at_once(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player, name="a", mailbox=box(Overflow.DROP_OLD, 3))
        hand = await busy(nursery, ref)
        asked = call(nursery, ref.ask, answer(1))
        await settle()
        with system.events() as events:
            for n in range(6):
                ref.tell_nowait(Note(n))
            await settle()
            letters = [e.message for e in events.take_nowait() if isinstance(e, DeadLetter)]

        assert (asked.end, asked.at) == ("MailboxFull", 0)
        assert not hand.over
        assert letters == ["Do", "Note", "Note", "Note"]
        assert ref.statistics().dropped == 4
        assert await _later(ref) == [3, 4, 5]


async def test_drop_old_does_not_drop_the_living_while_there_are_withdrawn_ones(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player, mailbox=box(Overflow.DROP_OLD, 3))
        await busy(nursery, ref)
        ref.tell_nowait(Note("oldest"))
        for _ in range(2):
            call(nursery, ref.ask, answer(1), timeout=1)
        await settle()
        await trio.sleep(1)
        await settle()
        ref.tell_nowait(Note("younger"))
        ref.tell_nowait(Note("youngest"))

        assert ref.statistics().dropped == 0
        assert await _later(ref) == ["oldest", "younger", "youngest"]


async def test_no_policy_ever_makes_a_teller_wait_but_the_one_called_so(autojump_clock) -> None:
    for overflow in POLICIES[2:]:
        async with open_system() as system, trio.open_nursery() as nursery:
            ref = await system.spawn(Player, mailbox=box(overflow, 1))
            await busy(nursery, ref)
            began = trio.current_time()
            await ref.tell_many([Note(n) for n in range(100)])
            await ref.tell(Note(100))

            assert trio.current_time() == began
            assert ref.statistics().dropped == 100


# ------------------------------------------------------------------ LATEST_BY_KEY
async def test_latest_by_key_keeps_the_newest_in_the_place_of_the_first(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Trader, mailbox=box(Overflow.LATEST_BY_KEY, 3))
        await busy(nursery, ref)
        for n in range(5):
            for of in "abc":
                ref.tell_nowait(Price(of, n))

        assert ref.statistics().queued == 3
        assert ref.statistics().dropped == 12
        assert await _later(ref) == [("a", 4), ("b", 4), ("c", 4)]


async def test_latest_by_key_drops_the_oldest_when_there_are_too_many_keys(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Trader, mailbox=box(Overflow.LATEST_BY_KEY, 3))
        await busy(nursery, ref)
        for n, of in enumerate("abcdbe"):
            ref.tell_nowait(Price(of, n))

        assert await _later(ref) == [("c", 2), ("d", 3), ("e", 5)]
        ref.tell_nowait(Price("a", 7))  # a key that was dropped starts anew
        assert (await ref.ask(Read()))[-1] == ("a", 7)


async def test_messages_without_a_key_are_not_put_together(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Trader, mailbox=box(Overflow.LATEST_BY_KEY, 4))
        await busy(nursery, ref)
        for n in range(3):
            ref.tell_nowait(Note(n))
            ref.tell_nowait(Price("a", n))

        assert await _later(ref) == [0, ("a", 2), 1, 2]


async def test_an_ask_that_is_replaced_by_a_newer_one_fails_at_once(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Trader, mailbox=box(Overflow.LATEST_BY_KEY, 2))
        await busy(nursery, ref)
        asks = [await begin(nursery, ref.ask, Quote("a", n)) for n in range(3)]
        ref.tell_nowait(Price("b", 0))
        await trio.sleep(11)

        assert [one.end for one in asks] == ["MailboxFull", "MailboxFull", 2]
        assert [one.at for one in asks] == [0, 0, 10]
        assert await ref.ask(Read()) == [("a", 2), ("b", 0)]
        assert accounts(ref) == (0, 0, 0)


@pytest.mark.parametrize("room", [True, False])
async def test_a_withdrawn_ask_does_not_come_back_through_its_key(room, autojump_clock) -> None:
    """The withdrawn one is no message any more: a newer one with its key is not counted as a replacement."""
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Trader, mailbox=box(Overflow.LATEST_BY_KEY, 4 if room else 2))
        await busy(nursery, ref)
        gone = call(nursery, ref.ask, Quote("a", 1), timeout=1)
        await settle()
        ref.tell_nowait(Price("b", 1))
        await trio.sleep(1)
        await settle()
        again = call(nursery, ref.ask, Quote("a", 2))
        await settle()
        ref.tell_nowait(Price("c", 1) if room else Price("b", 2))
        await trio.sleep(11)

        assert (gone.end, again.end) == ("AskTimeout", 2)
        assert ref.statistics().dropped == (0 if room else 1)
        assert accounts(ref) == (0, 0, 0)
        assert ref.statistics().queued == 0


async def test_a_key_that_cannot_be_computed_is_the_senders_error_and_changes_nothing(autojump_clock) -> None:
    def key(message: object) -> str:
        raise KeyError("no key")

    async with open_system() as system, trio.open_nursery() as nursery:
        mailbox = Mailbox(capacity=2, overflow=Overflow.LATEST_BY_KEY, key=key)
        ref = await system.spawn(Trader, mailbox=mailbox)
        for attempt in (
            lambda: ref.ask(Quote("a")),
            lambda: ref.ask_many([Quote("a")]),
            lambda: ref.tell(Price("a", 1)),
            lambda: ref.tell_many([Price("a", 1)]),
        ):
            with pytest.raises(KeyError):
                await attempt()
        with pytest.raises(KeyError):
            ref.tell_nowait(Price("a", 1))

        assert accounts(ref) == (0, 0, 0)
        assert ref.statistics().queued == 0
        nursery.cancel_scope.cancel()


# ------------------------------------------------------------------ the end of an actor
@pytest.mark.parametrize("overflow", POLICIES)
async def test_whoever_waits_when_the_actor_stops_is_told(overflow, autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Trader, name="a", mailbox=box(overflow, 2))
        hand = await busy(nursery, ref, 1)
        with system.events() as events:
            queued = call(nursery, ref.ask, Quote("a", 1))
            await settle()
            ref.tell_nowait(Price("b", 1))
            waiting = [call(nursery, ref.ask, Quote("c")), call(nursery, ref.tell, Price("d", 1))]
            await settle()
            open_calls = [one for one in (queued, *waiting) if not one.over]
            ref.stop()
            await ref.wait_stopped()
            await settle()
            letters = [e for e in events.take_nowait() if isinstance(e, DeadLetter)]

        assert hand.at == 1
        assert {one.end for one in open_calls} == {"ActorStopped"}
        assert {one.at for one in open_calls} == {1}
        if overflow is Overflow.WAIT:
            assert len(open_calls) == 3
        assert any(e.message == "Price" for e in letters)
        for attempt in (
            lambda: ref.ask(Quote("a")),
            lambda: ref.ask_many([Quote("a")]),
            lambda: ref.tell(Price("a", 1)),
            lambda: ref.tell_many([Price("a", 1)]),
        ):
            with pytest.raises(ActorStopped):
                await attempt()
        with pytest.raises(ActorStopped):
            ref.tell_nowait(Price("a", 1))


@pytest.mark.parametrize("overflow", POLICIES)
async def test_queued_messages_and_waiting_senders_survive_a_restart_in_order(overflow, autojump_clock) -> None:
    log: list[object] = []

    async def crash(me: Player) -> None:
        await trio.sleep(1)
        raise ValueError

    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Trader, log, mailbox=box(overflow, 2))
        call(nursery, ref.ask, Do(crash))
        await settle()
        await ref.tell(Price("a", 1))
        await ref.tell(Price("b", 2))
        if overflow is Overflow.WAIT:
            call(nursery, ref.tell, Price("c", 3))
        await trio.sleep(2)

        assert log == [("a", 1), ("b", 2), ("c", 3)][: 3 if overflow is Overflow.WAIT else 2]
        assert ref.incarnation == 2
        assert accounts(ref) == (0, 0, 0)


# ------------------------------------------------------------------ dead letters
async def test_a_storm_of_dead_letters_is_counted_and_few_become_events(autojump_clock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player, mailbox=box(Overflow.DROP_NEW, 1))
        await busy(nursery, ref)
        await ref.tell(Note("fits"))
        with system.events(capacity=10_000) as events:
            for n in range(1000):
                ref.tell_nowait(Note(n))
            first = [e for e in events.take_nowait() if isinstance(e, DeadLetter)]
            untold = system.statistics().suppressed
            await trio.sleep(1)
            ref.tell_nowait(Note("later"))
            ref.tell_nowait(Note("and one more"))
            then = [e for e in events.take_nowait() if isinstance(e, DeadLetter)]

        assert len(first) == 100
        assert {e.suppressed for e in first} == {0}
        assert untold == 900
        assert [e.suppressed for e in then] == [900, 0]
        assert ref.statistics().dead_letters == 1002


@given(st.lists(st.floats(0, 0.3), max_size=300), st.integers(1, 10))
def test_dead_letters_never_exceed_the_rate_in_any_second_and_none_is_forgotten(gaps, rate) -> None:
    gate = DeadLetterGate(rate)
    now, admitted, suppressed = 0.0, [], 0
    for gap in gaps:
        now += gap
        told = gate.admit(now)
        if told is not None:
            admitted.append(now)
            suppressed += told

    assert all(later - earlier >= 1.0 for earlier, later in zip(admitted, admitted[rate:], strict=False))
    assert len(admitted) + suppressed + gate.suppressed == len(gaps)


# ------------------------------------------------------------------ order
@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(["tell", "nowait", "ask", "many", "tells"]), max_size=12), max_size=5),
    st.integers(1, 6),
    st.integers(0, 5),
    st.integers(0, 2**32),
)
def test_messages_of_one_sender_are_handled_in_their_order(scripts, capacity, crashes, seed) -> None:
    """Whatever the others send, how full it is, and how often it crashes in between."""
    log: list[tuple[int, int]] = []
    random = Random(seed)

    async def note(me: Player, entry: tuple[int, int]) -> None:
        log.append(entry)
        if random.random() < 0.3:
            await trio.sleep(random.random())

    async def client(ref: Ref[Any], number: int, script: list[str]) -> None:
        count = 0
        for verb in script:
            if random.random() < 0.3:
                await trio.sleep(random.random())
            entries = [(number, count + n) for n in range(3)]
            if verb == "tell":
                await ref.tell(NoteSlowly(entries[0]))
                count += 1
            elif verb == "ask":
                await ref.ask(Do(lambda me, entry=entries[0]: note(me, entry)))
                count += 1
            elif verb == "many":
                await ref.ask_many([Do(lambda me, entry=entry: note(me, entry)) for entry in entries])
                count += 3
            elif verb == "tells":
                await ref.tell_many([NoteSlowly(entry) for entry in entries])
                count += 3
            else:
                try:
                    ref.tell_nowait(NoteSlowly(entries[0]))
                    count += 1
                except MailboxFull:
                    pass
        sent[number] = count

    @attrs.frozen
    class NoteSlowly(Tell):
        entry: tuple[int, int]

    class Slow(Player):
        @handler
        async def slowly(self, message: NoteSlowly) -> None:
            await note(self, message.entry)

    sent: dict[int, int] = {}

    async def main() -> None:
        async with open_system() as system:
            ref = await system.spawn(Slow, mailbox=Mailbox(capacity=capacity), intensity=100)
            async with trio.open_nursery() as nursery:
                for number, script in enumerate(scripts):
                    nursery.start_soon(client, ref, number, script)
                for _ in range(crashes):
                    await trio.sleep(random.random())
                    await end_of(ref.ask, Do(_breaks))
            await ref.ask(answer("all before it is done"))

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    for number in range(len(scripts)):
        assert [n for sender, n in log if sender == number] == list(range(sent[number]))


async def _breaks(me: Player) -> None:
    raise ValueError


# ------------------------------------------------------------------ against a pure model
@attrs.frozen
class Entry(Tell):
    number: int
    key: str


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["tell", "ask", "ask", "take", "withdraw", "withdraw", "sweep"]),
        st.integers(0, 7),
        st.sampled_from(["a", "b", "c", "", ""]),
    ),
    max_size=60,
)


@settings(max_examples=300)
@given(st.sampled_from(POLICIES), st.integers(1, 5), STEPS)
def test_the_queue_does_what_the_pure_model_does(overflow, capacity, steps) -> None:
    """Random offers, withdrawals and takes: the same order, the same drops, the same count, in every policy."""
    dropped: list[Entry] = []
    queue = mailbox_queue(
        Mailbox(
            capacity=capacity,
            overflow=overflow,
            key=(lambda m: m.key or None) if overflow is Overflow.LATEST_BY_KEY else None,
        ),
        lambda item, why: dropped.append(item.message if isinstance(item, Envelope) else item),
    )
    cell: Any = SimpleNamespace(mailbox=queue)
    model: list[Entry] = []  # what lives in the queue
    model_dropped: list[Entry] = []
    open_asks: dict[Entry, Envelope] = {}
    for number, (what, which, key) in enumerate(steps):
        entry = Entry(number, key)
        if what in {"tell", "ask"}:
            item: Any = entry
            if what == "ask":
                item = open_asks[entry] = Envelope(entry, cell)
            accepted = queue.offer(item)
            assert accepted == _model_offer(model, model_dropped, entry, overflow, capacity)
            if not accepted:
                open_asks.pop(entry, None)
        elif what == "withdraw":
            alive = [e for e in model if e in open_asks]
            if alive:
                gone = alive[which % len(alive)]
                open_asks.pop(gone).withdraw()
                model.remove(gone)
        elif what == "take":
            taken = _take_living(queue)
            assert taken == (model.pop(0) if model else None)
        elif queue.count:
            queue._sweep()
        assert len(queue) == len(model)
        assert dropped == model_dropped
        assert queue.count <= capacity
        assert queue.dead == queue.count - len(model)
    assert [item.message if isinstance(item, Envelope) else item for item in queue.close()] == model
    assert not queue.offer(Entry(0, "a"))


def _model_offer(model: list[Entry], dropped: list[Entry], entry: Entry, overflow: Overflow, capacity: int) -> bool:
    if overflow is Overflow.LATEST_BY_KEY and entry.key:
        for place, old in enumerate(model):
            if old.key == entry.key:
                dropped.append(old)
                model[place] = entry
                return True
    if len(model) < capacity:
        model.append(entry)
        return True
    if overflow in {Overflow.DROP_OLD, Overflow.LATEST_BY_KEY}:
        dropped.append(model.pop(0))
        model.append(entry)
        return True
    return False


def _take_living(queue: Any) -> object:
    """As the actor does: skip what was withdrawn."""
    while queue.count:
        item = queue.take()
        if isinstance(item, Envelope) and item.state == WITHDRAWN:
            queue.dead -= 1
            continue
        return item.message if isinstance(item, Envelope) else item
    return None


class _Model:
    """One message in hand, a bounded queue, senders in a line: what `WAIT` means, without trio."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.hand: int | None = None
        self.queue: list[int] = []
        self.line: list[int] = []
        self.handled: list[int] = []
        self.refused: set[int] = set()

    def send(self, number: int, *, wait: bool) -> None:
        if len(self.queue) < self.capacity and not self.line:
            self.queue.append(number)
        elif wait:
            self.line.append(number)
        else:
            self.refused.add(number)
        self.go_on()

    def cancel(self, number: int, *, asked: bool) -> None:
        if number in self.line:
            self.line.remove(number)
        elif asked and number in self.queue:
            self.queue.remove(number)
        elif asked and number == self.hand:
            self.hand = None
        self.go_on()

    def release(self) -> None:
        self.hand = None
        self.go_on()

    def go_on(self) -> None:
        while True:
            if self.hand is None and self.queue:
                self.hand = self.queue.pop(0)
                self.handled.append(self.hand)
            elif self.line and len(self.queue) < self.capacity:
                self.queue.append(self.line.pop(0))
            else:
                return


@settings(max_examples=120, deadline=None)
@given(
    st.integers(1, 4),
    st.lists(
        st.tuples(st.sampled_from(["tell", "ask", "ask", "nowait", "cancel", "cancel", "release"]), st.integers(0, 20)),
        max_size=40,
    ),
)
def test_waiting_senders_withdrawals_and_handling_go_as_in_the_pure_model(capacity, steps) -> None:
    """What is handled and in which order, who waits, who is refused, after every step."""
    model = _Model(capacity)

    async def main() -> None:
        handled: list[int] = []
        gate = trio.Semaphore(0)
        calls: dict[int, tuple[str, Call]] = {}

        async def play(me: Player, number: int) -> None:
            handled.append(number)
            await gate.acquire()

        @attrs.frozen
        class Play(Tell):
            number: int

        class Gated(Player):
            @handler
            async def play(self, message: Play) -> None:
                await play(self, message.number)

        async with open_system(ask_timeout=1e9) as system, trio.open_nursery() as nursery:
            ref = await system.spawn(Gated, mailbox=Mailbox(capacity=capacity))
            for number, (what, which) in enumerate(steps):
                if what == "ask":
                    message = Do(lambda me, number=number: play(me, number))
                    calls[number] = (what, call(nursery, ref.ask, message))
                    model.send(number, wait=True)
                elif what == "tell":
                    calls[number] = (what, call(nursery, ref.tell, Play(number)))
                    model.send(number, wait=True)
                elif what == "nowait":
                    try:
                        ref.tell_nowait(Play(number))
                    except MailboxFull:
                        assert number not in model.handled
                        model.send(number, wait=False)
                        assert number in model.refused
                    else:
                        model.send(number, wait=False)
                        assert number not in model.refused
                elif what == "cancel":
                    alive = [n for n, (_, one) in calls.items() if not one.over]
                    if alive:
                        gone = alive[which % len(alive)]
                        verb, one = calls[gone]
                        one.scope.cancel()
                        model.cancel(gone, asked=verb == "ask")
                elif model.hand is not None:
                    gate.release()
                    model.release()
                await settle()
                statistics = ref.statistics()
                assert handled == model.handled
                assert (statistics.queued, statistics.senders) == (len(model.queue), len(model.line))
                open_tells = {n for n, (verb, one) in calls.items() if verb == "tell" and not one.over}
                assert open_tells == {n for n in model.line if calls[n][0] == "tell"}
            nursery.cancel_scope.cancel()
            ref.kill()
            gate.release()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))

"""Messages, deadlines, cancellation and crashes of one actor."""

from __future__ import annotations

import attrs
import pytest
import trio
import trio.testing

from trouper.runtime import (
    Actor,
    ActorCrashed,
    ActorStopped,
    Ask,
    AskCycle,
    AskTimeout,
    ExitReason,
    Mailbox,
    MailboxFull,
    OnCancel,
    Ref,
    StartFailed,
    Tell,
    handler,
    open_system,
)


@attrs.frozen
class Add(Ask[int]):
    amount: int


@attrs.frozen
class Reset(Tell):
    pass


@attrs.frozen
class Boom(Ask[None]):
    pass


@attrs.frozen
class Nap(Ask[str]):
    seconds: float


@attrs.frozen
class Declared(Ask[int]):
    pass


class QuotaError(Exception):
    pass


class Counter(Actor):
    def __init__(self, start: int = 0) -> None:
        self.value = start
        self.cancelled = 0

    @handler
    async def add(self, message: Add) -> int:
        self.value += message.amount
        return self.value

    @handler
    async def reset(self, message: Reset) -> None:
        self.value = 0

    @handler
    async def boom(self, message: Boom) -> None:
        raise KeyError("boom")

    @handler(raises=(QuotaError,))
    async def declared(self, message: Declared) -> int:
        raise QuotaError("no more")

    @handler
    async def nap(self, message: Nap) -> str:
        try:
            await trio.sleep(message.seconds)
        except trio.Cancelled:
            self.cancelled += 1
            raise
        return "rested"


async def test_ask_and_tell_are_handled_in_order() -> None:
    async with open_system() as system:
        counter = await system.spawn(Counter, 3, name="counter")
        await counter.tell(Reset())

        assert await counter.ask(Add(2), timeout=1) == 2
        assert await counter.ask(Add(2)) == 4


async def test_a_crash_fails_the_ask_at_once_and_the_next_incarnation_answers(autojump_clock) -> None:
    async with open_system() as system:
        counter = await system.spawn(Counter, 3, name="counter")
        began = trio.current_time()
        with pytest.raises(ActorCrashed, match="boom") as caught:
            await counter.ask(Boom(), timeout=60)

        assert trio.current_time() == began
        assert isinstance(caught.value.__cause__, KeyError)
        assert caught.value.incarnation == 1
        assert await counter.ask(Add(1)) == 4
        assert counter.incarnation == 2


async def test_queued_messages_survive_the_crash_of_the_one_before(autojump_clock) -> None:
    async with open_system() as system:
        counter = await system.spawn(Counter, 0, name="counter")
        answers: dict[int, object] = {}

        async def ask(number: int, message: Ask[object]) -> None:
            try:
                answers[number] = await counter.ask(message)
            except ActorCrashed as error:
                answers[number] = type(error).__name__

        async with trio.open_nursery() as nursery:
            for number, message in enumerate((Nap(1), Boom(), Add(1), Add(1))):
                nursery.start_soon(ask, number, message)
                await trio.testing.wait_all_tasks_blocked()

        assert answers == {0: "rested", 1: "ActorCrashed", 2: 1, 3: 2}


async def test_a_declared_exception_is_an_answer() -> None:
    async with open_system() as system:
        counter = await system.spawn(Counter, name="counter")
        with pytest.raises(QuotaError):
            await counter.ask(Declared())

        assert counter.incarnation == 1
        assert counter.statistics().crashes == 0


async def test_a_timed_out_ask_cancels_its_handler_and_the_actor_lives_on(autojump_clock) -> None:
    async with open_system() as system:
        actor = Counter()
        counter = await system.spawn(lambda: actor, name="counter")
        with pytest.raises(AskTimeout, match="counter"):
            await counter.ask(Nap(100), timeout=1)

        assert await counter.ask(Add(1)) == 1
        assert actor.cancelled == 1
        assert counter.incarnation == 1


async def test_timed_out_asks_leave_their_places_in_the_mailbox_free(autojump_clock) -> None:
    async with open_system() as system:
        counter = await system.spawn(Counter, name="counter")

        async def ask(seconds: float) -> None:
            with pytest.raises(AskTimeout):
                await counter.ask(Nap(1000), timeout=seconds)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, 500)
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(64):
                nursery.start_soon(ask, 1)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(MailboxFull):
                counter.tell_nowait(Reset())
            await trio.sleep(2)
            for _ in range(64):
                counter.tell_nowait(Reset())
            with pytest.raises(MailboxFull):
                counter.tell_nowait(Reset())


async def test_senders_waiting_for_room_are_admitted_in_order_and_when_an_asker_gives_up(autojump_clock) -> None:
    async with open_system() as system:
        counter = await system.spawn(Counter, name="counter", mailbox=Mailbox(capacity=1))

        async def give_up(seconds: float) -> None:
            with pytest.raises(AskTimeout):
                await counter.ask(Nap(50), timeout=seconds)

        sent: list[int] = []

        async def tell(number: int) -> None:
            await counter.tell(Reset())
            sent.append(number)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(give_up, 40)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(give_up, 5)
            await trio.testing.wait_all_tasks_blocked()
            for number in range(3):
                nursery.start_soon(tell, number)
                await trio.testing.wait_all_tasks_blocked()

            assert sent == []
            await trio.sleep(6)
            assert sent == [0]

        assert sorted(sent) == [0, 1, 2]  # woken in one batch, in any order; the messages stand in order


async def test_nested_asks_inherit_the_deadline(autojump_clock) -> None:
    @attrs.frozen
    class Relay(Ask[str]):
        pass

    seen: list[float] = []

    class Front(Actor):
        def __init__(self, back: Ref[Counter]) -> None:
            self.back = back

        @handler
        async def relay(self, message: Relay) -> str:
            seen.append(self.ctx.deadline - trio.current_time())
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.in_a_child_task)
            return "never"

        async def in_a_child_task(self) -> None:
            await self.back.ask(Nap(1000))

    async with open_system() as system:
        instance = Counter()
        back = await system.spawn(lambda: instance, name="back")
        front = await system.spawn(Front, back, name="front")
        with pytest.raises(AskTimeout):
            await front.ask(Relay(), timeout=7)
        await trio.testing.wait_all_tasks_blocked()

        assert seen == [7]
        assert instance.cancelled == 1
        assert await back.ask(Add(1), timeout=1) == 1


async def test_a_finish_handler_ends_although_its_asker_has_gone(autojump_clock) -> None:
    @attrs.frozen
    class Save(Ask[None]):
        pass

    saved: list[str] = []

    class Store(Actor):
        @handler(on_cancel=OnCancel.FINISH)
        async def save(self, message: Save) -> None:
            await trio.sleep(5)
            saved.append("whole")

    async with open_system() as system:
        store = await system.spawn(Store)
        with pytest.raises(AskTimeout):
            await store.ask(Save(), timeout=1)
        assert saved == []
        await trio.sleep(10)

        assert saved == ["whole"]


async def test_concurrent_handlers_run_side_by_side_up_to_their_bound(autojump_clock) -> None:
    @attrs.frozen
    class Work(Ask[int]):
        pass

    class Pool(Actor):
        def __init__(self) -> None:
            self.now = self.most = 0

        @handler(concurrent=3)
        async def work(self, message: Work) -> int:
            self.now += 1
            self.most = max(self.most, self.now)
            await trio.sleep(1)
            self.now -= 1
            return self.most

        @handler
        async def alone(self, message: Add) -> int:
            return self.now

    async with open_system() as system:
        pool = await system.spawn(Pool)
        answers: list[int] = []

        async def one() -> None:
            answers.append(await pool.ask(Work()))

        async with trio.open_nursery() as nursery:
            for _ in range(7):
                nursery.start_soon(one)

        assert len(answers) == 7
        assert max(answers) == 3
        assert trio.current_time() == 3
        assert await pool.ask(Add(0)) == 0


async def test_a_crash_in_a_concurrent_handler_fails_every_ask_in_flight(autojump_clock) -> None:
    @attrs.frozen
    class Work(Ask[None]):
        fails: bool

    class Pool(Actor):
        @handler(concurrent=4)
        async def work(self, message: Work) -> None:
            await trio.sleep(1)
            if message.fails:
                raise ValueError("bad work")
            await trio.sleep(100)

    async with open_system() as system:
        pool = await system.spawn(Pool)
        ends: list[str] = []

        async def one(*, fails: bool) -> None:
            with pytest.raises(ActorCrashed):
                await pool.ask(Work(fails))
            ends.append(f"{trio.current_time():g}")

        async with trio.open_nursery() as nursery:
            for fails in (False, False, True):
                nursery.start_soon(lambda fails=fails: one(fails=fails))

        assert ends == ["1", "1", "1"]


async def test_an_ask_circle_raises_instead_of_hanging(autojump_clock) -> None:
    @attrs.frozen
    class Call(Ask[str]):
        pass

    class Node(Actor):
        next: Ref[Actor] | None = None

        @handler(raises=(AskCycle,))
        async def call(self, message: Call) -> str:
            assert self.next is not None
            return await self.next.ask(Call())

    async with open_system() as system:
        first, second = Node(), Node()
        a = await system.spawn(lambda: first, name="a")
        b = await system.spawn(lambda: second, name="b")
        first.next, second.next = b, a
        with pytest.raises(AskCycle) as caught:
            await a.ask(Call())

        assert caught.value.chain == ("a", "b", "a")


async def test_stopping_answers_the_waiting_and_runs_on_stop(autojump_clock) -> None:
    reasons: list[str] = []

    class Slow(Counter):
        async def on_stop(self, reason: ExitReason) -> None:
            await trio.sleep(1)
            reasons.append(reason.kind.value)

    async with open_system() as system:
        slow = await system.spawn(Slow, name="slow")
        ends: list[str] = []

        async def ask(message: Ask[object]) -> None:
            try:
                ends.append(str(await slow.ask(message)))
            except ActorStopped:
                ends.append("stopped")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, Nap(2))
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(ask, Add(1))
            await trio.testing.wait_all_tasks_blocked()
            slow.stop()
            await slow.wait_stopped()

        assert sorted(ends) == ["rested", "stopped"]
        assert reasons == ["shutdown"]
        with pytest.raises(ActorStopped, match="slow"):
            await slow.ask(Add(1))


async def test_snapshot_is_restored_in_the_next_incarnation() -> None:
    class Keeping(Counter):
        def snapshot(self) -> int:
            return self.value

        def restore(self, state: int) -> None:
            self.value = state

    async with open_system() as system:
        counter = await system.spawn(Keeping, 10)
        await counter.ask(Add(5))
        with pytest.raises(ActorCrashed):
            await counter.ask(Boom())

        assert await counter.ask(Add(1)) == 16


async def test_a_failed_start_names_the_cause_and_frees_the_name() -> None:
    class Broken(Actor):
        async def on_start(self) -> None:
            raise OSError("no such port")

    async with open_system() as system:
        with pytest.raises(StartFailed, match="no such port") as caught:
            await system.spawn(Broken, name="server")

        assert isinstance(caught.value.__cause__, OSError)
        counter = await system.spawn(Counter, name="server")
        assert await counter.ask(Add(1)) == 1
        with pytest.raises(StartFailed, match="taken"):
            await system.spawn(Counter, name="server")


def test_handler_mistakes_are_type_errors_when_the_class_is_created() -> None:
    with pytest.raises(TypeError, match="async def"):
        handler(lambda self, message: None)
    with pytest.raises(TypeError, match="one annotated parameter"):

        class NoAnnotation(Actor):
            @handler
            async def add(self, message):
                return 1

    with pytest.raises(TypeError, match="both 'one' and 'two' handle"):

        class Twice(Actor):
            @handler
            async def one(self, message: Reset) -> None: ...

            @handler
            async def two(self, message: Reset) -> None: ...

    with pytest.raises(TypeError, match="answered with int"):

        class WrongAnswer(Actor):
            @handler
            async def add(self, message: Add) -> str:
                return ""

    with pytest.raises(TypeError, match="not a message"):

        class NotAMessage(Actor):
            @handler
            async def add(self, message: int) -> None: ...


async def test_wrong_use_of_a_ref_says_the_right_line() -> None:
    @attrs.frozen
    class Unknown(Tell):
        pass

    async with open_system() as system:
        counter = await system.spawn(Counter)
        with pytest.raises(TypeError, match="is a class: send an instance"):
            await counter.ask(Add)
        with pytest.raises(TypeError, match=r"await ref\.tell"):
            await counter.ask(Reset())
        with pytest.raises(TypeError, match="no handler for"):
            counter.tell_nowait(Unknown())


async def test_telling_itself_into_its_own_full_mailbox_raises_instead_of_waiting_for_ever(autojump_clock) -> None:
    """Only this very handler's end could make room; through another actor it is the same circle."""

    @attrs.frozen
    class Flood(Ask[str]):
        pass

    class Talker(Actor):
        @handler
        async def flood(self, message: Flood) -> str:
            try:
                for _ in range(3):
                    await self.ctx.ref.tell(Reset())
            except MailboxFull as full:
                return str(full)
            return "there was room"

        @handler
        async def reset(self, message: Reset) -> None:
            pass

    async with open_system() as system:
        talker = await system.spawn(Talker, name="talker", mailbox=Mailbox(capacity=2))

        assert "'talker' is full (2 messages)" in await talker.ask(Flood(), timeout=5)

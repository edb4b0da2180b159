"""Random cancellations of everything at once: no orphans, no leaked tasks, one end for each ask.

The storm: clients send random asks (also many at once, streams, asks that ask further) to actors of every kind, and are
cancelled at random virtual times; the actors crash, are killed, stopped, suspended, and stash. Times lie on a grid, so
that many things happen at the same instant. A handler knows through its message's ticket whether its asker still waits:

* it never begins after that;
* if it is still at work then, it sees the cancellation within one scheduler step;
* an answer reaches the ask that it belongs to.

`STEPS` counts trio's scheduler passes. A failure names its seed: `storm(seed, cancellations)` replays it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from functools import partial
from random import Random
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from tests.runtime.player import (
    Beside,
    Broken,
    Call,
    Declared,
    Do,
    Player,
    Save,
    SaveBeside,
    Show,
    ShowBeside,
    accounts,
    answer,
    begin,
    end_of,
    nap,
    settle,
)
from trouper import (
    Actor,
    ActorCrashed,
    ActorError,
    ActorStopped,
    Ask,
    AskTimeout,
    Backoff,
    Mailbox,
    MailboxFull,
    OnCancel,
    Overflow,
    Ref,
    Restart,
    Stream,
    System,
    Tell,
    handler,
    open_system,
)


class Steps(trio.abc.Instrument):
    """Counts the passes of trio's scheduler."""

    def __init__(self) -> None:
        self.now = 0

    def before_io_wait(self, timeout: float) -> None:
        self.now += 1


# ------------------------------------------------------------------ within one scheduler step
@attrs.define(eq=False)
class Seen:
    """When the handler saw its cancellation."""

    steps: Steps
    at: int | None = None

    async def play(self, _: Player) -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            self.at = self.steps.now
            raise

    async def show(self, _: Player) -> AsyncIterator[int]:
        try:
            yield 1
            await trio.sleep_forever()
        finally:
            self.at = self.steps.now


@pytest.mark.parametrize("kind", [Do, Beside, Show, ShowBeside])
@pytest.mark.parametrize("how", ["cancelled", "deadline", "timeout", "ask_many", "nested"])
async def test_a_handler_sees_the_end_of_its_ask_within_one_scheduler_step(kind, how, autojump_clock) -> None:
    """Whatever ends the ask, and however the handler runs; three actors deep it is still one step."""
    steps = Steps()
    trio.lowlevel.add_instrument(steps)
    async with open_system() as system, trio.open_nursery() as nursery:
        ref, middle, outer = [await system.spawn(Player) for _ in range(3)]
        seen = Seen(steps)
        send: Callable[..., Awaitable[object]]
        if kind in {Show, ShowBeside}:
            if how == "ask_many":
                return

            async def send(timeout: float | None = None) -> None:
                async with ref.stream(kind(seen.show), timeout=timeout) as items:
                    async for _ in items:
                        pass
        elif how == "ask_many":
            send = partial(ref.ask_many, [kind(seen.play), answer(1)])
        else:
            send = partial(ref.ask, kind(seen.play))
        if how == "nested":
            send = partial(middle.ask, Do(lambda me, inner=send: inner()))
            send = partial(outer.ask, Do(lambda me, inner=send: inner()))
        one = Call()
        if how == "deadline":
            one.scope.deadline = 5
        nursery.start_soon(partial(one.run, send, timeout=5) if how == "timeout" else partial(one.run, send))
        await settle()
        assert seen.at is None
        if how in {"deadline", "timeout"}:
            await trio.sleep(5)
        else:
            one.scope.cancel()
        began = steps.now
        while not one.over and steps.now < began + 10:
            await trio.lowlevel.checkpoint()
        ended = steps.now

        for _ in range(3):
            await trio.lowlevel.checkpoint()
        assert seen.at is not None
        assert abs(seen.at - ended) <= 1, (seen.at, ended)
        assert one.end in {"Cancelled", "AskTimeout"}
        assert await ref.ask(answer("alive")) == "alive"
        assert accounts(ref) == (0, 0, 0)
    trio.lowlevel.remove_instrument(steps)


async def test_the_next_message_begins_after_the_clean_up_of_the_cancelled_one(autojump_clock) -> None:
    """And the stale cancellation does not reach it, however long it waits."""
    log: list[object] = []

    async def slow_to_go(me: Player) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(3)
            log.append(("gone", trio.current_time()))

    async def waits(me: Player) -> str:
        log.append(("next", trio.current_time()))
        for _ in range(5):
            await trio.sleep(1)
        return "whole"

    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player)
        first = await begin(nursery, ref.ask, Do(slow_to_go), timeout=2)
        second = await begin(nursery, ref.ask, Do(waits))
        await trio.sleep(20)

        assert (first.end, first.at) == ("AskTimeout", 2)
        assert (second.end, second.at) == ("whole", 10)
        assert log == [("gone", 5), ("next", 5)]


@pytest.mark.parametrize("kind", [Save, SaveBeside])
async def test_a_finish_handler_is_not_cancelled_and_its_answer_goes_nowhere(kind, autojump_clock) -> None:
    done: list[float] = []

    async def play(me: Player) -> str:
        await trio.sleep(5)
        done.append(trio.current_time())
        return "too late"

    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player)
        one = await begin(nursery, ref.ask, kind(play), timeout=1)
        next_ = await begin(nursery, ref.ask, answer("next"))
        await trio.sleep(10)

        assert (one.end, one.at) == ("AskTimeout", 1)
        assert (next_.end, next_.at) == ("next", 5)
        assert done == [5]


async def test_a_finish_message_that_nobody_waits_for_any_more_is_not_begun(autojump_clock) -> None:
    begun: list[int] = []

    async def play(me: Player) -> None:
        begun.append(1)

    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player)
        await begin(nursery, ref.ask, nap(5))
        for kind in (Save, SaveBeside):
            await begin(nursery, ref.ask, kind(play), timeout=1)
        await trio.sleep(10)

        assert begun == []
        assert accounts(ref) == (0, 0, 0)


async def test_a_cancelled_handler_that_answers_anyway_answers_nobody(autojump_clock) -> None:
    """It swallows the cancellation and returns, or raises: the asker has its one end, the actor lives or crashes."""

    async def swallows(me: Player) -> str:
        with trio.move_on_after(100):
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                return "ignored"
        return "never"

    async def turns_it_into_an_error(me: Player) -> str:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            raise Broken from None

    async with open_system() as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Player)
        quiet = await begin(nursery, ref.ask, Do(swallows), timeout=1)
        after = await begin(nursery, ref.ask, nap(0.5, "after"))
        await trio.sleep(2)
        assert (quiet.end, after.end, ref.incarnation) == ("AskTimeout", "after", 1)

        loud = await begin(nursery, ref.ask, Do(turns_it_into_an_error), timeout=1)
        after = await begin(nursery, ref.ask, nap(0.5, "after"))
        await trio.sleep(2)
        assert (loud.end, after.end, ref.incarnation) == ("AskTimeout", "after", 2)


async def test_a_cancelled_ask_was_never_handled_if_its_turn_had_not_come(autojump_clock) -> None:
    """Also when the cancellation comes before the first step of the asker's wait."""
    begun: list[object] = []

    async def play(me: Player) -> None:
        begun.append(1)

    async with open_system() as system:
        ref = await system.spawn(Player)
        await settle()
        with trio.CancelScope() as scope:
            scope.cancel()
            await ref.ask(Do(play))
        with trio.CancelScope() as scope:
            scope.cancel()
            await ref.ask_many([Do(play), Beside(play)])
        await settle()

        assert begun == []
        assert accounts(ref) == (0, 0, 0)
        assert await ref.ask(answer(1)) == 1


# ------------------------------------------------------------------ the storm
@attrs.define(eq=False)
class Ticket:
    """Of one message: whether its asker still waits, and whether its handler is at work."""

    number: int
    over: int | None = None
    running: bool = False
    begun: int = 0
    spared: bool = False
    """Its handler may go on: FINISH, or a clean-up that takes time."""
    most: int = 1
    """Steps within which it must see the cancellation. A `trio.lowlevel.checkpoint` takes two, and one more where the
    handler may just then be in a checkpoint that cannot be cancelled (after an item was given, an inline ask)."""


@attrs.frozen(eq=False)
class Job(Ask[int]):
    ticket: Ticket
    seconds: float = 0.0
    what: str = ""
    inner: Callable[[], Awaitable[object]] | None = None
    key: int = 0


class SaveJob(Job):
    pass


class PoolJob(Job):
    pass


class SavePoolJob(Job):
    pass


class InlineJob(Job):
    pass


@attrs.frozen(eq=False)
class StreamJob(Stream[int]):
    ticket: Ticket
    seconds: float
    items: int
    what: str = ""
    key: int = 0


class StreamPoolJob(StreamJob):
    pass


@attrs.frozen
class Unstash(Tell):
    pass


@attrs.frozen
class Nothing(Tell):
    key: int = 0


@attrs.define(eq=False)
class Watch:
    """What the handlers and clients of one storm have seen."""

    steps: Steps
    faults: list[str] = attrs.field(factory=list)
    ends: Counter[str] = attrs.field(factory=Counter)
    begun: int = 0
    ended: int = 0
    cancellations: int = 0
    handled: int = 0
    cut: int = 0

    def begin(self, ticket: Ticket) -> None:
        if ticket.over is not None:
            self.faults.append(f"{ticket} begins although nobody waits, at step {self.steps.now}")
        if ticket.running:
            self.faults.append(f"{ticket} is handled twice at once")
        ticket.running = True
        ticket.begun += 1
        self.handled += 1

    def end(self, ticket: Ticket) -> None:
        ticket.running = False
        if ticket.over is not None and not ticket.spared and self.steps.now - ticket.over > ticket.most:
            self.faults.append(f"{ticket} ran on until step {self.steps.now}")

    def over(self, ticket: Ticket) -> None:
        if ticket.over is not None:
            self.faults.append(f"{ticket} ended twice")
        ticket.over = self.steps.now
        if ticket.running and not ticket.spared:
            self.lately.append(ticket)

    lately: list[Ticket] = attrs.field(factory=list)
    """Asks that ended with their handlers at work: each must have stopped when this is looked at again."""

    def look(self) -> None:
        """Call it now and then: finds handlers that go on for ever, whom `end` never sees."""
        left = []
        for ticket in self.lately:
            if ticket.running and not ticket.spared:
                if ticket.over is not None and self.steps.now - ticket.over > ticket.most:
                    self.faults.append(f"{ticket} still runs at step {self.steps.now}")
                else:
                    left.append(ticket)
        self.lately = left


class Worker(Actor):
    """Handles every kind of job; a job says how long it takes and how it ends."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.alone = False
        self.together: Counter[type] = Counter()

    async def _work(self, message: Job | StreamJob) -> int:
        self.watch.begin(message.ticket)
        try:
            return await self._play(message)
        finally:
            self.watch.end(message.ticket)

    async def _play(self, message: Job | StreamJob) -> int:
        ticket, what = message.ticket, message.what
        try:
            if what == "inner" and isinstance(message, Job) and message.inner is not None:
                ticket.most = 3
                await message.inner()
            elif what == "shield":
                ticket.spared = True
                try:
                    await trio.sleep(message.seconds)
                finally:
                    with trio.CancelScope(shield=True):
                        await trio.sleep(1 / 64)
            elif message.seconds:
                await trio.sleep(message.seconds)
            if what == "crash":
                raise Broken
            if what == "declare":
                raise Declared
        except trio.Cancelled:
            self.watch.cut += 1
            raise
        return ticket.number

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if self.alone or self.together:
            self.watch.faults.append(f"{self.ctx.name}: an exclusive handler is not alone")
        self.alone = True
        try:
            yield
        finally:
            self.alone = False

    @contextmanager
    def _together(self, kind: type) -> Iterator[None]:
        self.together[kind] += 1
        if self.alone or self.together[kind] > 2:
            self.watch.faults.append(f"{self.ctx.name}: {self.together} side by side, {self.alone}")
        try:
            yield
        finally:
            self.together[kind] -= 1
            self.together += Counter()

    async def _stream(self, message: StreamJob) -> AsyncIterator[int]:
        message.ticket.most = 3
        self.watch.begin(message.ticket)
        try:
            yield message.ticket.number
            for _ in range(message.items):
                await self._play(message)
                yield message.ticket.number
        finally:
            self.watch.end(message.ticket)

    @handler(raises=(Declared,))
    async def job(self, message: Job) -> int:
        if message.what == "stash" and not message.ticket.begun:
            message.ticket.begun += 1
            if self.ctx.ref.statistics().stashed < 8:
                self.ctx.stash()
                return 0
        with self._alone():
            return await self._work(message)

    @handler(on_cancel=OnCancel.FINISH, raises=(Declared,))
    async def save(self, message: SaveJob) -> int:
        message.ticket.spared = True
        with self._alone():
            return await self._work(message)

    @handler(concurrent=2, raises=(Declared,))
    async def pool(self, message: PoolJob) -> int:
        with self._together(type(message)):
            return await self._work(message)

    @handler(concurrent=2, on_cancel=OnCancel.FINISH, raises=(Declared,))
    async def save_pool(self, message: SavePoolJob) -> int:
        message.ticket.spared = True
        with self._together(type(message)):
            return await self._work(message)

    @handler(inline=True, raises=(Declared,))
    def inline(self, message: InlineJob) -> int:
        with self._alone():
            self.watch.begin(message.ticket)
            self.watch.end(message.ticket)
        if message.what == "crash":
            raise Broken
        if message.what == "declare":
            raise Declared
        return message.ticket.number

    @handler(raises=(Declared,))
    async def stream(self, message: StreamJob) -> AsyncIterator[int]:
        with self._alone():
            async with aclosing(self._stream(message)) as items:
                async for item in items:
                    yield item

    @handler(concurrent=2, raises=(Declared,))
    async def stream_pool(self, message: StreamPoolJob) -> AsyncIterator[int]:
        with self._together(type(message)):
            async with aclosing(self._stream(message)) as items:
                async for item in items:
                    yield item

    @handler
    async def unstash(self, message: Unstash) -> None:
        self.ctx.unstash_all()

    @handler
    async def nothing(self, message: Nothing) -> None: ...


KINDS = (Job, Job, Job, SaveJob, PoolJob, PoolJob, SavePoolJob, InlineJob, InlineJob)
WHATS = ("", "", "", "", "", "", "crash", "declare", "shield", "stash", "inner", "inner")
EXPECTED = (ActorCrashed, ActorStopped, AskTimeout, MailboxFull, Declared)
GRID = 64
"""Instants a second at which things happen."""


class Storm:
    """See the head of this file."""

    def __init__(self, seed: int, cancellations: int, clients: int = 100) -> None:
        self.seed = seed
        self.wanted = cancellations
        self.clients = clients
        self.random = Random(seed)
        self.steps = Steps()
        self.watch = Watch(self.steps)
        self.refs: list[Ref[Worker]] = []
        self.numbers = 0

    def soon(self, most: float = 0.25) -> float:
        return self.random.randrange(int(most * GRID)) / GRID

    @property
    def over(self) -> bool:
        return self.watch.cancellations >= self.wanted or bool(self.watch.faults)

    # -------------------------------------------------------------- what is sent
    def ticket(self) -> Ticket:
        self.numbers += 1
        return Ticket(self.numbers)

    def job(self, depth: int = 0) -> Job:
        kind = self.random.choice(KINDS)
        what = self.random.choice(WHATS)
        inner = None
        if what == "inner":
            # Only ever to an actor further on: these asks are nested, not circular, and no two wait for each other.
            where = self.random.randrange(depth, len(self.refs)) + 1
            if where >= len(self.refs):
                what = ""
            else:
                inner = partial(self.ask, self.refs[where], where)
        seconds = self.soon(self.random.choice((0.03, 0.1, 0.25)))
        return kind(self.ticket(), seconds, what, inner, self.random.randrange(12))

    async def ask(self, ref: Ref[Worker], where: int) -> None:
        """One call of any kind, which ends exactly once, with its own answer or an error that may be expected."""
        random, watch = self.random, self.watch
        choice = random.random()
        timeout = self.soon(1) + 1 / GRID if random.random() < 0.3 else None
        tickets: list[Ticket] = []
        watch.begun += 1
        began = trio.current_time()
        end = "?"
        try:
            if choice < 0.70:
                job = self.job(where)
                tickets = [job.ticket]
                value = await ref.ask(job, timeout=timeout)
                if value != job.ticket.number:
                    watch.faults.append(f"{job} was answered with {value}")
            elif choice < 0.85:
                jobs = [self.job(where) for _ in range(random.randrange(1, 5))]
                tickets = [job.ticket for job in jobs]
                as_values = random.random() < 0.5
                values = await ref.ask_many(jobs, timeout=timeout, return_exceptions=as_values)
                for job, value in zip(jobs, values, strict=True):
                    if value != job.ticket.number and not (as_values and isinstance(value, EXPECTED)):
                        watch.faults.append(f"{job} was answered with {value!r}")
            else:
                kind = random.choice((StreamJob, StreamPoolJob))
                items = random.randrange(4)
                message = kind(self.ticket(), self.soon(), items, random.choice(("", "", "crash", "declare", "shield")))
                tickets = [message.ticket]
                got, most = 0, random.randrange(6)
                async with ref.stream(message, timeout=timeout, buffer=random.randrange(3)) as stream:
                    async for item in stream:
                        if item != message.ticket.number:
                            watch.faults.append(f"{message} gave {item}")
                        got += 1
                        if got > most:
                            break
                if got <= most and got != items + 1:
                    watch.faults.append(f"{message} ended after {got} items without an error")
            end = "answered"
        except EXPECTED as error:
            end = type(error).__name__
            if isinstance(error, AskTimeout) and timeout is not None and trio.current_time() > began + timeout + 1e-9:
                watch.faults.append(f"timed out {trio.current_time() - began - timeout} s late")
            if where and random.random() < 0.5:  # in a handler: let it crash, or declare
                raise Declared from error
        except trio.Cancelled:
            end = "Cancelled"
            raise
        except BaseException as error:
            end = type(error).__name__
            watch.faults.append(f"unexpected {error!r}")
            raise
        finally:
            watch.ended += 1
            watch.ends[end] += 1
            for ticket in tickets:
                watch.over(ticket)

    async def client(self) -> None:
        random, watch = self.random, self.watch
        while not self.over:
            where = random.randrange(len(self.refs))
            scope = trio.CancelScope()
            if random.random() < 0.9:
                scope.deadline = trio.current_time() + self.soon(0.2)
            with scope, suppress(Declared):
                await self.ask(self.refs[where], where)
            if scope.cancelled_caught:
                watch.cancellations += 1
            watch.look()
            if random.random() < 0.1:
                await trio.sleep(self.soon())

    # -------------------------------------------------------------- what happens to the actors
    async def trouble(self, nursery: trio.Nursery) -> None:
        random = self.random
        while not self.over:
            await trio.sleep(self.soon() + 1 / GRID)
            ref = random.choice(self.refs)
            choice = random.random()
            if choice < 0.1:
                ref.kill()
            elif choice < 0.3:
                nursery.start_soon(self.suspension, ref)
            elif choice < 0.4:
                nursery.start_soon(end_of, partial(ref.get_state, timeout=0.5))
            else:
                for one in self.refs:
                    with suppress(ActorError):
                        one.tell_nowait(random.choice((Unstash(), Unstash(), Nothing(random.randrange(3)))))

    async def suspension(self, ref: Ref[Worker]) -> None:
        with trio.move_on_after(self.soon()):
            await end_of(partial(ref.suspend, timeout=1))
            await trio.sleep(self.soon(1))
        await end_of(partial(ref.resume, timeout=1))

    async def mortals(self, system: System, place: int) -> None:
        """An actor that is stopped and made anew, again and again."""
        while not self.over:
            await trio.sleep(self.soon(0.5) + 1 / GRID)
            self.refs[place].stop()
            if self.random.random() < 0.5:
                await self.refs[place].wait_stopped()
            self.refs[place] = await self.spawn(system, lazy=self.random.random() < 0.5, restart=Restart.TRANSIENT)

    async def spawn(self, system: System, **options: Any) -> Ref[Worker]:
        return await system.spawn(partial(Worker, self.watch), intensity=10**6, period=0.01, **options)

    # -------------------------------------------------------------- all of it
    async def run(self) -> None:
        trio.lowlevel.add_instrument(self.steps)
        async with open_system(ask_timeout=3.0) as system:
            self.refs = [
                await self.spawn(system, mailbox=mailbox, **options)
                for mailbox, options in (
                    (Mailbox(), {}),
                    (Mailbox(capacity=1), {}),
                    (Mailbox(capacity=3), {"backoff": Backoff(min=1 / 64, max=0.25, jitter=0)}),
                    (Mailbox(capacity=6, overflow=Overflow.FAIL), {}),
                    (Mailbox(capacity=5, overflow=Overflow.DROP_NEW), {}),
                    (Mailbox(capacity=5, overflow=Overflow.DROP_OLD), {}),
                    (Mailbox(capacity=6, overflow=Overflow.LATEST_BY_KEY, key=lambda m: getattr(m, "key", None)), {}),
                    (Mailbox(capacity=8, redeliver=1), {}),
                    (Mailbox(), {}),
                    (Mailbox(), {}),
                )
            ]
            await settle()
            baseline = trio.lowlevel.current_statistics().tasks_living
            async with trio.open_nursery() as nursery:
                for _ in range(self.clients):
                    nursery.start_soon(self.client)
                nursery.start_soon(self.trouble, nursery)
                nursery.start_soon(self.mortals, system, len(self.refs) - 1)
            await self.check(system, baseline)
        trio.lowlevel.remove_instrument(self.steps)

    async def check(self, system: System, baseline: int) -> None:
        """Nothing is left of all that."""
        watch = self.watch
        for ref in self.refs:
            await ref.resume()
            await ref.tell(Unstash())
        await trio.sleep(5)  # FINISH handlers end
        await settle()
        watch.look()
        where = f"seed {self.seed}"
        assert not watch.faults, (where, watch.faults[:5])
        assert watch.begun == watch.ended, where
        assert not watch.lately, where
        assert not system.alarms.young, where
        for ref in self.refs:
            cell = ref._cell
            assert accounts(ref) == (0, 0, 0), (where, ref)
            assert not cell.front, (where, ref)
            assert not cell.stash, (where, ref)
            assert not cell.lane, (where, ref)
            assert cell.life is not None, (where, ref)
            assert cell.life.in_hand is None, (where, ref)
            assert not cell.life.flying, (where, ref)
            assert cell.life.running == 0, (where, ref)
            ticket = self.ticket()
            assert await ref.ask(Job(ticket), timeout=1) == ticket.number, (where, ref)
        await settle()
        assert trio.lowlevel.current_statistics().tasks_living == baseline, where


def storm(seed: int, cancellations: int, clients: int = 100) -> Watch:
    """One storm in virtual time; raises if anything is left of it, or went wrong. The same seed is the same storm."""
    one = Storm(seed, cancellations, clients)
    with pytest.MonkeyPatch.context() as patch:
        # Trio shuffles the tasks of a step with a generator of its own; this is how its own tests repeat a run.
        patch.setattr(trio._core._run, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
        patch.setattr(trio._core._run, "_r", Random(seed))
        trio.run(one.run, clock=trio.testing.MockClock(autojump_threshold=0))
    return one.watch


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(4))
def test_thousands_of_random_cancellations_leave_nothing_behind(seed, caplog) -> None:
    caplog.set_level("CRITICAL")
    watch = storm(seed, 5_000)

    # The storm was one: everything that may happen did.
    assert watch.cancellations >= 5_000
    assert watch.cut > 300
    for end in ("answered", "Cancelled", "ActorCrashed", "ActorStopped", "AskTimeout", "MailboxFull", "Declared"):
        assert watch.ends[end] >= 10, watch.ends


@pytest.mark.slow
def test_a_million_random_cancellations_leave_nothing_behind(caplog, capsys) -> None:
    caplog.set_level("CRITICAL")
    total: Counter[str] = Counter()
    for seed in range(1000, 1040):
        watch = storm(seed, 25_000, clients=Random(seed).choice((25, 50, 100, 300)))
        total.update(
            cancellations=watch.cancellations, asks=watch.ended, handled=watch.handled, handlers_cancelled=watch.cut
        )
        total.update({f"ended {end}": count for end, count in watch.ends.items()})
    with capsys.disabled():
        print("\n" + "\n".join(f"{count:>10,} {what}" for what, count in total.items()))

    assert total["cancellations"] >= 1_000_000

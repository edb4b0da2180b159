"""What OTP's supervisor does not have: deadlines across a tree, interrupts, stacks of the unstoppable, reports."""

from __future__ import annotations

import functools
import itertools

import pytest
import trio

from tests.supervision.actors import (
    ALWAYS,
    Doze,
    Fail,
    Keeper,
    Link,
    Relay,
    keeper,
    only,
)
from tests.supervision.children import Book, Boom, Crash, Hang, Ping, Worker, settle, told
from trouper import (
    ActorCrashed,
    ActorEnded,
    ActorRestarting,
    ActorStarted,
    AskCycle,
    AskTimeout,
    ChildSpec,
    Mailbox,
    Shutdown,
    StartFailed,
    SupervisorRef,
    SupervisorSpec,
    System,
    Unstoppable,
    handler,
    open_system,
)


# ------------------------------------------------------------------ asks from handlers
async def chain(system: System, book: Book, labels: str) -> SupervisorRef:
    children = [ChildSpec(id=label, start=functools.partial(Link, book, label)) for label in labels]
    return await system.start_supervisor(only(*children), name="top")


async def test_a_deadline_is_inherited_through_three_actors(autojump_clock) -> None:
    """All have the same instant; when it comes all handlers are cancelled, and everybody lives on."""
    book = Book()
    async with open_system() as system:
        top = await chain(system, book, "abc")
        await trio.sleep(3)
        assert await top.child("a").ask(Relay(2, ("b", "c")), timeout=4) == 7
        assert book.take() == ["a until 7", "b until 7", "c until 7"]
        assert trio.current_time() == 5

        with pytest.raises(AskTimeout):
            await top.child("a").ask(Relay(100, ("b", "c")), timeout=4)
        assert trio.current_time() == 9
        await settle()
        assert book.take()[:3] == ["a until 9", "b until 9", "c until 9"]
        assert await top.child("a").ask(Relay(1, ("b", "c")), timeout=4) == 13
        assert set(system.incarnations().values()) == {1}


async def test_an_ask_that_is_cancelled_takes_the_whole_chain_with_it(autojump_clock) -> None:
    """Within one step of the scheduler for each; nobody crashes."""
    book = Book()
    async with open_system() as system:
        top = await chain(system, book, "abc")
        with trio.move_on_after(1):
            await top.child("a").ask(Relay(100, ("b", "c")))
        await settle()

        assert trio.current_time() == 1
        assert sorted(line for line in book.log if "cancelled" in line) == [f"{label} cancelled" for label in "abc"]
        assert set(system.incarnations().values()) == {1}


async def test_a_crash_at_the_end_of_a_chain_is_told_at_once(autojump_clock) -> None:
    """The actor that was asked crashed; so did those that did not expect it, each restarted by itself."""
    book = Book()
    async with open_system() as system:
        top = await chain(system, book, "abc")
        async with trio.open_nursery() as nursery:
            errors: list[BaseException] = []

            async def ask() -> None:
                try:
                    await top.child("a").ask(Relay(100, ("b", "c")))
                except ActorCrashed as error:
                    errors.append(error)

            nursery.start_soon(ask)
            await settle()
            top.child("c").kill()
        await settle()

        assert trio.current_time() == 0
        assert [error.actor for error in errors] == ["top/a"]
        assert top.child("c").incarnation == 2
        assert await top.child("a").ask(Relay(1, ("b", "c"))) > 0


@pytest.mark.parametrize("path", ["a", "ba", "bca"])
async def test_an_ask_that_would_wait_for_itself_names_the_chain(autojump_clock, path) -> None:
    """One's own handler, two actors, three: the error comes at once, with everybody on the way."""
    book = Book()
    async with open_system() as system:
        top = await chain(system, book, "abc")
        with pytest.raises(ActorCrashed) as caught:
            await top.child("a").ask(Relay(1, tuple(path)))
        await settle()
        error: BaseException | None = caught.value
        while error is not None and not isinstance(error, AskCycle):
            error = error.__cause__

        assert trio.current_time() == 0
        assert isinstance(error, AskCycle)
        assert error.chain == tuple(f"top/{label}" for label in "a" + path)
        assert all(name in str(error) for name in error.chain)


# ------------------------------------------------------------------ what cannot be stopped
@pytest.mark.parametrize("shutdown", [2, Shutdown.BRUTAL])
async def test_an_unstoppable_child_is_reported_with_its_stack(autojump_clock, shutdown) -> None:
    """Once, after its own time and that of its clean-up; the stack names the line it hangs at. It is waited for."""
    book = Book()
    async with open_system(cleanup_bound=3) as system:
        top = await system.start_supervisor(only(book.child("a", shutdown=shutdown)), name="top")
        await told(top.child("a"), Hang(seconds=100))
        with system.events() as events:
            await top.stop()
            told_of = [event for event in events.take_nowait() if isinstance(event, Unstoppable)]

        assert [event.actor for event in told_of] == ["top/a"]
        assert told_of[0].at == (2 if shutdown == 2 else 0) + told_of[0].waited
        assert 3 <= told_of[0].waited <= 6
        assert "in Worker.hang" in told_of[0].stack
        assert "trio.sleep(message.seconds)" in told_of[0].stack
        assert trio.current_time() == 100


async def test_a_child_that_stops_in_time_is_not_reported(autojump_clock) -> None:
    """Nor one whose clean-up is cut, nor one that was already being restarted."""
    book = Book(stopping_takes={"b": 1000})
    async with open_system(cleanup_bound=3) as system:
        top = await system.start_supervisor(only(book.child("a"), book.child("b", shutdown=1)))
        await told(top.child("a"), Hang(seconds=4))
        with system.events() as events:
            await top.stop()
            told_of = [event for event in events.take_nowait() if isinstance(event, Unstoppable)]

        assert told_of == []


# ------------------------------------------------------------------ interrupts
class Interrupted(Worker):
    """Where Ctrl-C happens to come."""

    def __init__(self, book: Book, label: str, error: type[BaseException], where: str) -> None:
        super().__init__(book, label)
        self.error = error
        self.where = where

    async def on_start(self) -> None:
        await super().on_start()
        if self.where == "start":
            raise self.error

    @handler
    async def crash(self, message: Crash) -> None:
        raise self.error


def around(spec: ChildSpec, book: Book, depth: int) -> SupervisorSpec:
    """`spec` so many supervisors deep, each with a sibling."""
    for level in range(depth):
        inner = only(book.child(f"s{level}"), spec, intensity=20)
        spec = ChildSpec(id=f"level{level}", start=inner)
    return only(spec, intensity=20)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("depth", [0, 1, 3])
@pytest.mark.parametrize("where", ["handler", "start"])
async def test_an_interrupt_goes_through_the_whole_tree_and_comes_out_as_itself(error, depth, where) -> None:
    """It is no crash: nobody is restarted, nothing outlives it, and `except KeyboardInterrupt` catches it."""
    book = Book()
    child = ChildSpec(id="i", start=functools.partial(Interrupted, book, "i", error, where))
    with pytest.raises(error):
        async with open_system() as system:
            await system.start_supervisor(around(child, book, depth), name="top")
            name = "/".join(["top", *(f"level{level}" for level in reversed(range(depth))), "i"])
            ref = system.find(name)
            assert ref is not None
            await ref.tell(Crash())
            await trio.sleep_forever()

    assert set(book.generation.values()) == {1}
    assert system.incarnations() == {}


async def test_an_interrupt_of_the_block_stops_the_tree_in_order() -> None:
    """As any other end of the block does; each has its `on_stop`."""
    book = Book()
    with pytest.raises(KeyboardInterrupt):
        async with open_system() as system:
            await system.start_supervisor(around(book.child("i"), book, 2), name="top")
            book.take()
            raise KeyboardInterrupt

    assert book.log == [f"-{label}1 shutdown" for label in ("i", "s0", "s1")]


# ------------------------------------------------------------------ reports
async def test_the_last_eight_crashes_are_kept_with_what_was_in_hand(autojump_clock) -> None:
    """Of all lives together, oldest first; each says when, which life, what, and where."""
    book = Book()
    async with open_system() as system:
        ref = await system.spawn(Keeper, book, intensity=ALWAYS)
        assert ref.crash_reports() == ()
        for number in range(11):
            await trio.sleep(1)
            await told(ref, Fail(Boom(f"number {number}")))
        reports = ref.crash_reports()

        assert [str(report.error) for report in reports] == [f"number {number}" for number in range(3, 11)]
        assert [report.incarnation for report in reports] == [*range(4, 12)]
        assert [report.at for report in reports] == [*range(4, 12)]
        assert {report.handling for report in reports} == {("Fail",)}
        assert "in Keeper.fail" in reports[0].traceback
        assert "raise message.error" in reports[0].traceback
        assert "\n" not in str(reports[0])
        assert "number 3" in str(reports[0])


async def test_a_report_names_every_message_that_was_in_hand(autojump_clock) -> None:
    """Of concurrent handlers all; each of their askers is told at once."""
    book = Book()

    class Dozer(Keeper):
        @handler(concurrent=4)
        async def doze(self, message: Doze) -> str:
            await trio.sleep(message.seconds)
            raise Boom(f"after {message.seconds}")

    async with open_system() as system:
        ref = await system.spawn(Dozer, book)
        failed: list[float] = []

        async def ask(seconds: float) -> None:
            with pytest.raises(ActorCrashed):
                await ref.ask(Doze(seconds))
            failed.append(trio.current_time())

        async with trio.open_nursery() as nursery:
            for seconds in (1, 50, 60):
                nursery.start_soon(ask, seconds)
        await settle()
        [report] = ref.crash_reports()

        assert failed == [1, 1, 1]
        assert report.handling == ("Doze",) * 3


async def test_a_crash_in_the_start_is_reported_outside_of_any_message() -> None:
    """A restart that fails leaves a report as well."""
    book = Book()
    async with open_system() as system:
        ref = await system.spawn(Keeper, book)
        book.failing["k"] = 1
        await told(ref, Fail(Boom("first")))
        reports = ref.crash_reports()

        assert [(report.incarnation, report.handling) for report in reports] == [(1, ("Fail",)), (2, ())]
        assert "k cannot start" in str(reports[1])
        assert ref.incarnation == 3


# ------------------------------------------------------------------ storms
async def test_a_storm_of_crashes_in_one_child_does_not_keep_the_others_from_working() -> None:
    """A thousand crashes in a row without a backoff: between any two of them the sibling may answer."""
    book = Book()
    async with open_system() as system:
        top = await system.start_supervisor(only(keeper(book, "a", mailbox=Mailbox(capacity=1000)), book.child("b")))
        for _ in range(1000):
            top.child("a").tell_nowait(Fail(Boom()))
        lives = []
        while top.child("a").incarnation < 1000:
            assert await top.child("b").ask(Ping()) == 1
            lives.append(top.child("a").incarnation)
        steps = [later - earlier for earlier, later in itertools.pairwise(lives)]

        assert len(lives) > 100
        assert max(steps, default=0) <= 10


async def test_events_tell_a_restart_in_order() -> None:
    """Ended with the reason, restarting with the delay, started: of the right life each."""
    book = Book()
    async with open_system() as system:
        top = await system.start_supervisor(only(book.child("a")), name="top")
        with system.events() as events:
            await told(top.child("a"), Crash())
            told_of = events.take_nowait()

        assert [(type(event), event.actor, event.incarnation) for event in told_of] == [
            (ActorEnded, "top/a", 1),
            (ActorRestarting, "top/a", 2),
            (ActorStarted, "top/a", 2),
        ]


async def test_a_start_that_fails_leaves_nothing_of_the_supervisor() -> None:
    """Nested: those that had started are stopped in reverse, on both levels; the names are free."""
    book = Book()
    book.failing["c"] = 1
    inner = ChildSpec(id="inner", start=only(book.child("b"), book.child("c")))
    async with open_system() as system:
        with pytest.raises(StartFailed):
            await system.start_supervisor(only(book.child("a"), inner), name="top")
        assert book.take() == ["+a1", "+b1", "!c", "-b1 shutdown", "-a1 shutdown"]
        assert system.tree().children == ()
        await system.start_supervisor(only(book.child("a"), inner), name="top")

        assert system.incarnations() == {"top/a": 1, "top/inner/b": 1, "top/inner/c": 1}

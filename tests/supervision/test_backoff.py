"""The period of restarts, and the backoff between them: exact to the instant, and to the seed."""

from __future__ import annotations

import random

import pytest
import trio

from tests.supervision.actors import (
    ALWAYS,
    TEN_SECONDS,
    only,
)
from tests.supervision.children import Book, Crash, Ping, Worker, settle, states, told
from trouper import (
    Actor,
    ActorRestarting,
    ActorStopped,
    Backoff,
    Ref,
    Restart,
    RestartIntensityExceeded,
    Strategy,
    SupervisorSpec,
    System,
    open_system,
)

EVERY_STATIC = pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ONE, Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])


# ------------------------------------------------------------------ the period
@EVERY_STATIC
@pytest.mark.parametrize(("apart", "gives_up"), [(5.0, True), (5.001, False)])
async def test_a_restart_counts_until_it_is_older_than_the_period(autojump_clock, strategy, apart, gives_up) -> None:
    """The period is inclusive, as in OTP: one that is exactly as old still counts."""
    book = Book()
    async with open_system() as system:
        spec = SupervisorSpec(strategy=strategy, intensity=1, period=5, children=[book.child("a")])
        top = await system.start_supervisor(spec, restart=Restart.TEMPORARY)
        await told(top.child("a"), Crash())
        await trio.sleep(apart)
        await told(top.child("a"), Crash())

        assert book.generation["a"] == (2 if gives_up else 3)
        assert (system.tree().children == ()) is gives_up


@pytest.mark.parametrize(("apart", "gives_up"), [(5.0, True), (5.001, False)])
async def test_the_period_of_an_actor_that_was_spawned_is_inclusive_as_well(autojump_clock, apart, gives_up) -> None:
    """Its budget is its own."""
    book = Book()
    outcome = None
    try:
        async with open_system() as system:
            ref = await system.spawn(Worker, book, "a", intensity=1, period=5)
            await told(ref, Crash())
            await trio.sleep(apart)
            await told(ref, Crash())
            outcome = await ref.ask(Ping())
    except RestartIntensityExceeded:
        outcome = "gave up"

    assert outcome == ("gave up" if gives_up else 3)


async def test_the_window_slides(autojump_clock) -> None:
    """Two restarts in any 10 s: at 0, 4, 10.5, 14.5, 21 is fine; one more within 10 s of two others is not."""
    book = Book()
    async with open_system() as system:
        spec = SupervisorSpec(intensity=2, period=10, children=[book.child("a")])
        top = await system.start_supervisor(spec, restart=Restart.TEMPORARY)
        for at in (0, 4, 10.5, 14.5, 21):
            await trio.sleep_until(at)
            await told(top.child("a"), Crash())
        assert book.generation["a"] == 6
        await trio.sleep_until(24.5)
        await told(top.child("a"), Crash())

        assert book.generation["a"] == 6
        assert system.tree().children == ()


async def test_a_failed_start_counts_at_the_time_it_fails(autojump_clock) -> None:
    """With a backoff between them the failures leave the period, and the child is tried for ever."""
    book = Book()
    async with open_system() as system:
        child = book.child("a", backoff=Backoff(min=3, max=3, jitter=0))
        top = await system.start_supervisor(SupervisorSpec(intensity=2, period=5, children=[child]), name="top")
        book.failing["a"] = 20
        await told(top.child("a"), Crash())

        assert await top.child("a").ask(Ping(), timeout=100) == 2
        assert trio.current_time() == 21 * 3


# ------------------------------------------------------------------ backoff
def expected(seed: int, backoff: Backoff, bases: list[float]) -> list[float]:
    """What the source of chance gives for these waits."""
    rng = random.Random(seed)
    return [base * (1 + rng.random() * backoff.jitter) for base in bases]


async def waits(system: System, ref: Ref[Actor], lives: list[float]) -> list[float]:
    """Let it live so long, crash, and wait for the next life; how long that took each time."""
    waited = []
    for life in lives:
        await trio.sleep(life)
        crashed_at = trio.current_time()
        await told(ref, Crash())
        await ref.ask(Ping(), timeout=1000)
        waited.append(trio.current_time() - crashed_at)
    return waited


@pytest.mark.parametrize("seed", [0, 1, 12345])
async def test_the_backoff_schedule_is_exact_to_the_seed(autojump_clock, seed) -> None:
    """Doubling from min to max, each with its jitter; the events say it beforehand."""
    backoff = Backoff(min=1, max=8, jitter=0.5)
    async with open_system(seed=seed) as system:
        ref = await system.spawn(Worker, Book(), "a", backoff=backoff, intensity=ALWAYS)
        with system.events() as events:
            waited = await waits(system, ref, [0] * 6)
            announced = [event.delay for event in events.take_nowait() if isinstance(event, ActorRestarting)]

    assert announced == expected(seed, backoff, [1, 2, 4, 8, 8, 8])
    assert waited == pytest.approx(announced)


@pytest.mark.parametrize(
    ("reset", "life", "starts_again"),
    [(None, 4.5, True), (None, 4.4, False), (2, 2, True), (2, 1.9, False), (float("inf"), 900, False)],
)
async def test_a_life_of_a_certain_length_resets_the_backoff(autojump_clock, reset, life, starts_again) -> None:
    """By default halfway between min and max; until then the row goes on."""
    backoff = Backoff(min=1, max=8, jitter=0.5, reset=reset)
    async with open_system(seed=3) as system:
        ref = await system.spawn(Worker, Book(), "a", backoff=backoff, intensity=ALWAYS)
        waited = await waits(system, ref, [0, 0, life, 0])

    assert waited == pytest.approx(expected(3, backoff, [1, 2, 1, 2] if starts_again else [1, 2, 4, 8]))


async def test_starts_that_fail_go_on_with_the_row(autojump_clock) -> None:
    """However long they took: a start is not a life."""

    class Slow(Worker):
        async def on_start(self) -> None:
            await trio.sleep(100)
            await super().on_start()

    book = Book()
    backoff = Backoff(min=1, max=8, jitter=0)
    async with open_system() as system:
        ref = await system.spawn(Slow, book, "a", backoff=backoff, intensity=ALWAYS)
        book.failing["a"] = 3
        with system.events() as events:
            await told(ref, Crash())
            await ref.ask(Ping(), timeout=10_000)
            delays = [event.delay for event in events.take_nowait() if isinstance(event, ActorRestarting)]

        assert delays == [1, 2, 4, 8]


async def test_a_life_counts_from_the_end_of_its_start(autojump_clock) -> None:
    """A start that takes long and a crash right after it go on with the row as well."""

    class Slow(Worker):
        async def on_start(self) -> None:
            await trio.sleep(100)
            await super().on_start()

    backoff = Backoff(min=1, max=8, jitter=0)
    async with open_system() as system:
        ref = await system.spawn(Slow, Book(), "a", backoff=backoff, intensity=ALWAYS)

        assert await waits(system, ref, [0] * 4) == [101, 102, 104, 108]


async def test_without_a_backoff_no_time_passes_between_two_lives(autojump_clock) -> None:
    async with open_system() as system:
        ref = await system.spawn(Worker, Book(), "a", intensity=ALWAYS)

        assert await waits(system, ref, [0] * 5) == [0] * 5


@EVERY_STATIC
async def test_a_backoff_of_one_child_holds_up_only_those_that_are_restarted_with_it(autojump_clock, strategy) -> None:
    """In a group the siblings go on meanwhile, and are taken down when its time has come."""
    book = Book()
    children = [book.child("a"), book.child("b", backoff=TEN_SECONDS), book.child("c")]
    async with open_system() as system:
        top = await system.start_supervisor(only(*children, strategy=strategy))
        book.take()
        await told(top.child("b"), Crash())
        assert states(top) == ["c running", "b restarting", "a running"]
        assert book.take() == ["-b1 crashed"]
        await trio.sleep(10)
        await settle()

        down = {Strategy.ONE_FOR_ONE: "", Strategy.ONE_FOR_ALL: "ca", Strategy.REST_FOR_ONE: "c"}[strategy]
        up = sorted({*down, "b"})
        assert book.log == [*(f"-{label}1 shutdown" for label in down), *(f"+{label}2" for label in up)]
        assert trio.current_time() == 10


@EVERY_STATIC
@pytest.mark.parametrize("how", ["stop", "terminate", "for good", "system"])
async def test_a_stop_during_a_backoff_takes_no_time_and_nothing_is_started_afterwards(
    autojump_clock, strategy, how
) -> None:
    """Whatever is stopped: the supervisor, the child, the system."""
    book = Book()
    async with open_system() as system:
        top = await system.start_supervisor(only(book.child("a", backoff=TEN_SECONDS), strategy=strategy))
        ref = top.child("a")
        await told(ref, Crash())
        await trio.sleep(5)
        if how == "stop":
            await top.stop()
        elif how == "terminate":
            await top.terminate_child("a")
        elif how == "for good":
            ref.stop()
        else:
            await system.stop()
        await ref.wait_stopped()
        assert trio.current_time() == 5
        await trio.sleep(100)

        assert book.log == ["+a1", "-a1 crashed"]
        with pytest.raises(ActorStopped):
            await ref.ask(Ping())


async def test_a_child_that_was_terminated_in_its_backoff_and_restarted_is_not_restarted_again(autojump_clock) -> None:
    """The time that was set for the old life means nothing to the new one."""
    book = Book()
    async with open_system() as system:
        top = await system.start_supervisor(only(book.child("a", backoff=TEN_SECONDS)))
        await told(top.child("a"), Crash())
        await top.terminate_child("a")
        await top.restart_child("a")
        await trio.sleep(5)
        await told(top.child("a"), Crash())
        await trio.sleep(6)
        assert states(top) == ["a restarting"]
        await trio.sleep(100)

        assert book.log == ["+a1", "-a1 crashed", "+a2", "-a2 crashed", "+a3"]


async def test_a_child_killed_in_its_backoff_comes_back_when_it_would_have(autojump_clock) -> None:
    """There is nothing to kill."""
    book = Book()
    async with open_system() as system:
        top = await system.start_supervisor(only(book.child("a", backoff=TEN_SECONDS)))
        await told(top.child("a"), Crash())
        top.child("a").kill()

        assert await top.child("a").ask(Ping()) == 2
        assert (trio.current_time(), top.child("a").incarnation) == (10, 2)

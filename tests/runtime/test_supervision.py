"""Restarts, intensity, backoff, order of stopping, events."""

from __future__ import annotations

import random

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from trouper.runtime import (
    Actor,
    ActorCrashed,
    ActorEnded,
    ActorRestarting,
    ActorStarted,
    ActorStopped,
    Ask,
    Backoff,
    ChildSpec,
    ExitReason,
    Restart,
    RestartIntensityExceeded,
    StartFailed,
    SupervisorSpec,
    Unstoppable,
    handler,
    open_system,
)
from trouper.runtime._intensity import backoff_delay, may_restart
from trouper.runtime.testing import When, crash, wait_incarnation


@attrs.frozen
class Ping(Ask[int]):
    pass


@attrs.frozen
class Fail(Ask[None]):
    pass


class Worker(Actor):
    @handler
    async def ping(self, message: Ping) -> int:
        return self.ctx.incarnation

    @handler
    async def fail(self, message: Fail) -> None:
        raise RuntimeError("worker broke")


async def test_a_root_that_gives_up_cancels_the_block_and_raises(autojump_clock) -> None:
    with pytest.raises(RestartIntensityExceeded, match="worker broke") as caught:
        async with open_system() as system:
            worker = await system.spawn(Worker, name="worker", intensity=2, period=10)
            for _ in range(3):
                with pytest.raises(ActorCrashed):
                    await worker.ask(Fail())
            await trio.sleep_forever()

    assert "'worker'" in str(caught.value)
    assert isinstance(caught.value.__cause__, RuntimeError)


async def test_crashes_that_are_far_enough_apart_are_restarted_for_ever(autojump_clock) -> None:
    async with open_system() as system:
        worker = await system.spawn(Worker, intensity=1, period=5)
        for _ in range(6):
            with pytest.raises(ActorCrashed):
                await worker.ask(Fail())
            await trio.sleep(5.1)

        assert await worker.ask(Ping()) == 7


async def test_messages_wait_while_a_backoff_runs(autojump_clock) -> None:
    async with open_system(seed=1) as system:
        worker = await system.spawn(Worker, intensity=5, period=100, backoff=Backoff(min=1, max=60, jitter=0))
        times: list[float] = []
        for _ in range(3):
            with pytest.raises(ActorCrashed):
                await worker.ask(Fail(), timeout=90)
            times.append(trio.current_time())
        await worker.ask(Ping(), timeout=90)

        # 1 s after the first crash, 2 after the second; the answer to Ping 4 after the third.
        assert times == [0, 1, 3]
        assert trio.current_time() == 7


async def test_restart_types_decide_after_a_crash() -> None:
    async with open_system() as system:
        for restart, comes_back in ((Restart.PERMANENT, True), (Restart.TRANSIENT, True), (Restart.TEMPORARY, False)):
            worker = await system.spawn(Worker, name=restart.value, restart=restart)
            with pytest.raises(ActorCrashed):
                await worker.ask(Fail())
            if comes_back:
                assert await worker.ask(Ping()) == 2
            else:
                with pytest.raises(ActorStopped):
                    await worker.ask(Ping())
                assert system.find(restart.value) is None


async def test_children_start_in_order_and_stop_in_reverse_also_when_cancelled(autojump_clock) -> None:
    log: list[str] = []

    class Logged(Actor):
        def __init__(self, name: str) -> None:
            self.label = name

        async def on_start(self) -> None:
            log.append(f"+{self.label}")

        async def on_stop(self, reason: ExitReason) -> None:
            await trio.sleep(0.5)
            log.append(f"-{self.label}")

    def spec(label: str) -> ChildSpec:
        return ChildSpec(id=label, start=lambda: Logged(label))

    with trio.move_on_after(3) as outer:
        async with open_system() as system:
            await system.start_supervisor(SupervisorSpec(children=[spec("a"), spec("b"), spec("c")]), name="top")
            assert [n.name for n in system.tree().children[0].children] == ["top/a", "top/b", "top/c"]
            await trio.sleep_forever()

    assert outer.cancelled_caught
    assert log == ["+a", "+b", "+c", "-c", "-b", "-a"]


async def test_a_failed_start_stops_those_before_it() -> None:
    ended: list[str] = []

    class Fine(Actor):
        async def on_stop(self, reason: ExitReason) -> None:
            ended.append("fine")

    class Broken(Actor):
        async def on_start(self) -> None:
            raise OSError("nope")

    async with open_system() as system:
        with pytest.raises(StartFailed, match="nope"):
            await system.start_supervisor(
                SupervisorSpec(children=[ChildSpec(id="fine", start=Fine), ChildSpec(id="broken", start=Broken)])
            )

        assert ended == ["fine"]
        assert system.incarnations() == {}


async def test_the_shared_budget_of_a_supervisor_escalates_to_the_root(autojump_clock) -> None:
    with pytest.raises(RestartIntensityExceeded):
        async with open_system() as system:
            top = await system.start_supervisor(
                SupervisorSpec(intensity=1, children=[ChildSpec(id="a", start=Worker), ChildSpec(id="b", start=Worker)])
            )
            for child in ("a", "b"):
                with pytest.raises(ActorCrashed):
                    await top.child(child).ask(Fail())
            await trio.sleep_forever()


async def test_a_failed_restart_counts_and_escalates() -> None:
    starts: list[int] = []

    class Flaky(Worker):
        async def on_start(self) -> None:
            starts.append(1)
            if len(starts) > 1:
                raise OSError("cannot come back")

    with pytest.raises(RestartIntensityExceeded, match="cannot come back"):
        async with open_system() as system:
            worker = await system.spawn(Flaky, intensity=3)
            with pytest.raises(ActorCrashed):
                await worker.ask(Fail())
            await trio.sleep_forever()

    assert len(starts) == 4


async def test_events_tell_the_story_and_a_slow_listener_costs_nothing() -> None:
    async with open_system() as system:
        with system.events() as events, system.events(capacity=1) as slow:
            worker = await system.spawn(Worker, name="w")
            with pytest.raises(ActorCrashed):
                await worker.ask(Fail())
            await worker.ask(Ping())
            story = events.take_nowait()

            assert [type(e) for e in story] == [ActorStarted, ActorEnded, ActorRestarting, ActorStarted]
            assert story[1].handling == ("Fail",)
            assert slow.dropped == 3
        assert not system.event_bus.active


async def test_an_actor_that_ignores_cancellation_is_named(autojump_clock) -> None:
    class Stubborn(Actor):
        @handler
        async def ping(self, message: Ping) -> int:
            with trio.CancelScope(shield=True):
                await trio.sleep(100)
            return 1

    async with open_system(cleanup_bound=1) as system:
        with system.events() as events:
            worker = await system.spawn(Stubborn, name="stubborn", shutdown=1)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stop_when_busy, worker)
                assert await worker.ask(Ping(), timeout=1000) == 1
            story = events.take_nowait()

            assert [e.actor for e in story if isinstance(e, Unstoppable)] == ["stubborn"]
            assert trio.current_time() == 100


async def stop_when_busy(worker) -> None:
    await trio.testing.wait_all_tasks_blocked()
    worker.stop()


@pytest.mark.parametrize("when", list(When))
async def test_a_crash_injected_at_each_moment_leaves_no_ask_hanging(when, autojump_clock) -> None:
    async with open_system() as system:
        worker = await system.spawn(Worker, name="w")
        fault = crash(worker, when)
        answers: list[object] = []

        async def ask() -> None:
            try:
                answers.append(await worker.ask(Ping(), timeout=5))
            except ActorCrashed:
                answers.append("crashed")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            nursery.start_soon(ask)
        await wait_incarnation(worker, 2)

        assert fault.happened
        assert worker.incarnation == 2
        assert sorted(answers, key=str) == ([2, 2] if when in {When.QUEUED, When.NOW} else [2, "crashed"])


async def test_what_the_block_raises_comes_out_as_itself() -> None:
    cause = ValueError("the first")
    error = KeyError("mine")
    error.__cause__ = cause
    with pytest.raises(KeyError) as caught:
        async with open_system() as system:
            await system.spawn(Worker)
            raise error

    assert caught.value is error
    assert caught.value.__cause__ is cause


@given(st.lists(st.floats(0, 100), max_size=20), st.integers(0, 5), st.floats(0.1, 50))
def test_exactly_intensity_restarts_are_allowed_in_any_period(times, intensity, period) -> None:
    admitted: list[float] = []
    for now in sorted(times):
        if may_restart(admitted, now, intensity=intensity, period=period):
            admitted.append(now)

    for at in admitted:
        assert sum(at <= other <= at + period for other in admitted) <= intensity


@given(st.integers(1, 5000), st.floats(0.001, 10), st.floats(1, 100), st.floats(0, 1))
def test_backoff_grows_to_its_cap_and_jitter_only_adds(failures, least, factor, jitter) -> None:
    backoff = Backoff(min=least, max=least * factor, jitter=jitter)
    delay = backoff_delay(backoff, failures, random.Random(1))

    assert least <= delay <= least * factor * (1 + jitter) * (1 + 1e-9)
    assert backoff_delay(None, failures, random.Random(1)) == 0

"""Memory and scale: entries 82 to 85 of OTP's suite (see INDEX.md)."""

from __future__ import annotations

import functools
import gc
import logging
import sys
import time
import weakref
from typing import ClassVar, Self

import pytest
import trio

from tests.supervision.children import Book, Boom, Crash, End, settle, states, told
from trouper import (
    NORMAL,
    Actor,
    ChildSpec,
    Restart,
    Strategy,
    SupervisorSpec,
    handler,
    open_system,
)

DYNAMIC = Strategy.SIMPLE_ONE_FOR_ONE
GROUPS = (Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE)
EVERY_STATIC = pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ONE, *GROUPS])


# ------------------------------------------------------------------ memory
class Burden:
    """Something a child is started with, whose end can be seen."""


class Bearer(Actor):
    """Knows its burden only in its constructor."""

    lives: ClassVar[list[weakref.ref[Actor]]] = []

    def __init__(self, burden: Burden) -> None:
        self.lives.append(weakref.ref(self))

    @handler
    async def crash(self, message: Crash) -> None:
        raise Boom

    @handler
    async def end(self, message: End) -> None:
        self.ctx.exit(message.reason)


def burdened(child_id: str, **options: object) -> tuple[ChildSpec, weakref.ref[Burden]]:
    burden = Burden()
    return ChildSpec(id=child_id, start=functools.partial(Bearer, burden), **options), weakref.ref(burden)


@EVERY_STATIC
async def test_case_82_start_arguments_of_a_living_temporary_child_are_not_kept(strategy) -> None:
    """It is never started again. Those of a child that may be started again are."""
    async with open_system() as system:
        top = await system.start_supervisor(SupervisorSpec(strategy=strategy))
        kept = {}
        for restart in Restart:
            spec, kept[restart] = burdened(restart.value, restart=restart)
            await top.start_child(spec)
            del spec
        gc.collect()

        assert kept[Restart.TEMPORARY]() is None
        assert None not in {kept[Restart.PERMANENT](), kept[Restart.TRANSIENT]()}
        assert [info.state for info in top.which_children()] == ["running"] * 3


@EVERY_STATIC
@pytest.mark.parametrize("how", ["normal", "crash", "kill", "terminate", "stop", "bystander"])
async def test_case_83_nothing_is_kept_of_a_temporary_child_that_has_ended(strategy, how, caplog) -> None:
    """However it ended: no spec, no arguments, no instance, no name."""
    caplog.set_level(logging.CRITICAL)  # pytest keeps log records, and with them the error and its frames
    book = Book()
    Bearer.lives.clear()
    async with open_system() as system:
        spec_of_all = SupervisorSpec(strategy=strategy, intensity=100, children=[book.child("a")])
        top = await system.start_supervisor(spec_of_all)
        kept = []
        for _ in range(3):
            spec, burden = burdened("t", restart=Restart.TEMPORARY)
            ref = await top.start_child(spec)
            kept += [burden, weakref.ref(spec)]
            del spec
            if how in {"normal", "crash"}:
                await told(ref, Crash() if how == "crash" else End(NORMAL))
            elif how == "kill":
                ref.kill()
            elif how == "stop":
                ref.stop()
            elif how == "bystander" and strategy is not Strategy.ONE_FOR_ONE:
                await told(top.child("a"), Crash())
            else:
                await top.terminate_child("t")
            await settle()
            del ref
        gc.collect()

        assert [one() for one in (*kept, *Bearer.lives)] == [None] * 9
        assert states(top) == ["a running"]
        assert system.find("supervisor/t") is None


async def test_case_83_a_thousand_temporary_dynamic_children_leave_nothing_behind() -> None:
    """Whatever the supervisor remembers of them is gone with them."""

    kept = []

    class Brief(Actor):
        async def on_start(self) -> None:
            kept.append(weakref.ref(self))
            self.ctx.exit(NORMAL)

    async with open_system() as system:
        template = ChildSpec(id="brief", start=Brief, restart=Restart.TEMPORARY)
        top = await system.start_supervisor(SupervisorSpec(strategy=DYNAMIC, children=[template]))
        for _ in range(1000):
            await top.start_child()
        await settle()
        gc.collect()

        assert len(kept) == 1000
        assert [one for one in kept if one() is not None] == []
        assert top.which_children() == ()
        assert system.incarnations() == {}


# ------------------------------------------------------------------ scale
class Idle(Actor):
    """Does nothing, a great many times."""

    @handler
    async def end(self, message: End) -> None:
        self.ctx.exit(message.reason)


class Meter(trio.abc.Instrument):
    """Counts the turns of tasks and the calls of functions: what it costs, without a clock.

    A step of a generator is a call as well, so that a loop over all children at each child's end shows.
    """

    def __init__(self) -> None:
        self.cost = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.cost += 1

    def _count(self, frame: object, event: str, argument: object) -> None:
        self.cost += event == "call"

    def __enter__(self) -> Self:
        trio.lowlevel.add_instrument(self)
        self._before = sys.getprofile()
        sys.setprofile(self._count)
        return self

    def __exit__(self, *exc: object) -> None:
        sys.setprofile(self._before)
        trio.lowlevel.remove_instrument(self)


async def many_temporary(count: int, how: str) -> int:
    """What it costs to stop so many temporary dynamic children."""
    async with open_system() as system:
        template = ChildSpec(id="idle", start=Idle, restart=Restart.TEMPORARY)
        top = await system.start_supervisor(SupervisorSpec(strategy=DYNAMIC, children=[template]))
        refs = [await top.start_child() for _ in range(count)]
        with Meter() as meter:
            if how == "stop":
                await top.stop()
            elif how == "end":
                for ref in refs:
                    ref.tell_nowait(End(NORMAL))
                await settle()
            else:
                for ref in refs:
                    await top.terminate_child(ref)
        assert [ref for ref in refs if ref.statistics().state != "stopped"] == []
        return meter.cost


@pytest.mark.parametrize("how", ["stop", "end", "terminate"])
async def test_case_84_stopping_ten_times_as_many_temporary_dynamic_children_costs_ten_times_as_much(how) -> None:
    """Together, each by itself, or one after the other; counted, at most twelve times."""
    few, many = await many_temporary(50, how), await many_temporary(500, how)

    assert many <= 12 * few


async def static_children(count: int) -> tuple[int, int]:
    """What it costs to start and to stop so many static children."""
    children = [ChildSpec(id=str(number), start=Idle) for number in range(count)]
    spec = SupervisorSpec(children=children)
    async with open_system() as system:
        with Meter() as start:
            top = await system.start_supervisor(spec)
        with Meter() as stop:
            await top.stop()
    return start.cost, stop.cost


async def test_case_85_starting_and_stopping_ten_times_as_many_static_children_costs_ten_times_as_much() -> None:
    """Counted, at most one and a half times the ratio."""
    few, many = await static_children(50), await static_children(500)

    assert many[0] <= 1.5 * 10 * few[0]
    assert many[1] <= 1.5 * 10 * few[1]


@pytest.fixture
def no_collector():
    """Python's collector costs more for each object the more there are, and is not what is measured."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.slow
async def test_case_84_stopping_ten_thousand_temporary_children_is_linear(
    no_collector,
) -> None:
    """At most twelve times a thousand, in CPU time, the best of three."""

    async def seconds(count: int) -> float:
        async with open_system() as system:
            template = ChildSpec(id="idle", start=Idle, restart=Restart.TEMPORARY)
            top = await system.start_supervisor(SupervisorSpec(strategy=DYNAMIC, children=[template]))
            for _ in range(count):
                await top.start_child()
            begun = time.process_time()
            await top.stop()
            return time.process_time() - begun

    few = min([await seconds(1000) for _ in range(3)])
    many = min([await seconds(10_000) for _ in range(3)])

    assert many <= 12 * few


@pytest.mark.slow
async def test_case_85_a_hundred_thousand_static_children_start_and_stop_in_linear_time(no_collector) -> None:
    """Against a thousand, in CPU time, the best of two: at most one and a half times the ratio."""

    async def seconds(count: int) -> tuple[float, float]:
        spec = SupervisorSpec(children=[ChildSpec(id=str(number), start=Idle) for number in range(count)])
        gc.collect()
        async with open_system() as system:
            begun = time.process_time()
            top = await system.start_supervisor(spec)
            between = time.process_time()
            await top.stop()
            return between - begun, time.process_time() - between

    few = [await seconds(1000) for _ in range(10)]
    many = [await seconds(100_000) for _ in range(2)]

    for part in (0, 1):
        assert min(one[part] for one in many) <= 1.5 * 100 * min(one[part] for one in few)

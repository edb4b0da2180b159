"""Trees, restart loops and names: entries 77 to 81 and 86 of OTP's suite (see INDEX.md)."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable

import pytest
import trio

from tests.supervision.actors import below, only
from tests.supervision.children import Book, Boom, Crash, End, Hang, Ping, Worker, settle, states, told
from trouper import (
    NORMAL,
    Actor,
    ActorStopped,
    AutoShutdown,
    ChildError,
    ChildSpec,
    ExitKind,
    Restart,
    RestartIntensityExceeded,
    Shutdown,
    StartFailed,
    Strategy,
    SupervisorRef,
    SupervisorSpec,
    System,
    handler,
    open_system,
)

DYNAMIC = Strategy.SIMPLE_ONE_FOR_ONE
GROUPS = (Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE)
EVERY_STATIC = pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ONE, *GROUPS])


# ------------------------------------------------------------------ trees
async def test_case_77_a_supervisor_that_is_restarted_starts_its_static_children_again_and_no_others(
    autojump_clock,
) -> None:
    """Those that were added by hand are gone; a deleted one and a temporary one of its spec are back, in order."""
    book = Book()
    inner = SupervisorSpec(
        intensity=0,
        children=[book.child("t", restart=Restart.TEMPORARY), book.child("p"), book.child("d"), book.child("q")],
    )
    spec = SupervisorSpec(intensity=1, children=[book.child("a"), ChildSpec(id="inner", start=inner), book.child("z")])
    async with open_system() as system:
        top = await system.start_supervisor(spec, name="top")
        middle = below(top, "inner")
        await middle.start_child(book.child("by_hand"))
        await middle.terminate_child("d")
        await middle.delete_child("d")
        by_hand = middle.child("by_hand")
        book.take()
        await told(middle.child("p"), Crash())

        stopped = ["-by_hand1 shutdown", "-q1 shutdown", "-t1 shutdown"]
        assert book.take() == ["-p1 crashed", *stopped, "+t2", "+p2", "+d2", "+q2"]
        assert states(middle) == ["q running", "d running", "p running", "t running"]
        assert (below(top, "inner"), middle.incarnation) == (middle, 2)
        with pytest.raises(ActorStopped):
            await by_hand.ask(Ping())
        assert [top.child(label).incarnation for label in "az"] == [1, 1]
        await middle.stop()
        assert book.take() == ["-q2 shutdown", "-d2 shutdown", "-p2 shutdown", "-t2 shutdown"]


async def test_case_77_dynamic_children_are_not_made_again_when_their_supervisor_is() -> None:
    """Only the supervisor is; new ones can be started under it."""
    book = Book()
    pool = SupervisorSpec(strategy=DYNAMIC, intensity=0, children=[book.template()])
    spec = SupervisorSpec(intensity=1, children=[ChildSpec(id="pool", start=pool), book.child("z")])
    async with open_system() as system:
        top = await system.start_supervisor(spec, name="top")
        workers = below(top, "pool")
        refs = [await workers.start_child(label) for label in "abc"]
        await told(refs[1], Crash())

        assert workers.incarnation == 2
        assert workers.which_children() == ()
        assert workers.count_children().active == 0
        for ref in refs:
            with pytest.raises(ActorStopped):
                await ref.ask(Ping())
        again = await workers.start_child("a")
        assert again not in refs
        assert await again.ask(Ping()) == 2
        assert await top.child("z").ask(Ping()) == 1


@pytest.mark.parametrize(("restart", "comes_back"), [(Restart.PERMANENT, True), (Restart.TRANSIENT, False)])
async def test_case_77_a_supervisor_that_gives_up_is_restarted_if_it_is_permanent(restart, comes_back) -> None:
    """It ends with shutdown: clean for a transient one, so that this is where the escalation stops."""
    book = Book()
    inner = ChildSpec(id="inner", start=SupervisorSpec(intensity=0, children=[book.child("c")]), restart=restart)
    async with open_system() as system:
        top = await system.start_supervisor(SupervisorSpec(children=[book.child("a"), inner]), name="top")
        middle = below(top, "inner")
        with middle.monitor() as monitor:
            await told(middle.child("c"), Crash())
            down = await monitor.down()

        assert down.reason.kind is ExitKind.SHUTDOWN
        assert isinstance(down.reason.error, RestartIntensityExceeded)
        assert states(top) == [f"inner {'running' if comes_back else 'undefined'}", "a running"]
        assert book.generation == {"a": 1, "c": 2 if comes_back else 1}


async def test_case_77_giving_up_goes_up_level_by_level_each_with_its_own_limit() -> None:
    """Three levels that allow one restart each: the leaf is started eight times before the root gives up."""
    book = Book()
    spec = SupervisorSpec(intensity=1, period=1e9, children=[book.child("leaf")])
    for level in ("low", "middle"):
        children = [ChildSpec(id=level, start=spec), book.child(f"beside {level}")]
        spec = SupervisorSpec(intensity=1, period=1e9, children=children)
    with pytest.raises(RestartIntensityExceeded) as caught:
        async with open_system() as system:
            await system.start_supervisor(spec, name="top")
            while True:
                leaf = system.find("top/middle/low/leaf")
                assert leaf is not None
                await told(leaf, Crash())

    assert book.generation == {"leaf": 8, "beside low": 2, "beside middle": 1}
    causes: list[BaseException] = [caught.value]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    assert isinstance(causes[-1], Boom)


@pytest.mark.parametrize("strategy", GROUPS)
async def test_case_77_a_supervisor_takes_part_in_the_restart_of_a_group(strategy) -> None:
    """All that is under it goes down with it, in reverse, and comes back, in order."""
    book = Book()
    inner = ChildSpec(id="inner", start=SupervisorSpec(children=[book.child("c"), book.child("d")]))
    spec = SupervisorSpec(strategy=strategy, children=[book.child("a"), inner, book.child("z")])
    async with open_system() as system:
        top = await system.start_supervisor(spec, name="top")
        book.take()
        await told(top.child("a"), Crash())

        stopped = ["-z1 shutdown", "-d1 shutdown", "-c1 shutdown"]
        assert book.log == ["-a1 crashed", *stopped, "+a2", "+c2", "+d2", "+z2"]
        assert below(top, "inner").incarnation == 2


async def test_case_77_the_tree_stops_in_exactly_the_reverse_order_of_its_start() -> None:
    """Depth first, three levels deep."""
    book = Book()

    def level(name: str, *children: ChildSpec) -> ChildSpec:
        return ChildSpec(id=name, start=SupervisorSpec(children=children))

    left = level("left", book.child("a"), level("deep", book.child("b"), book.child("c")), book.child("d"))
    right = level("right", book.child("e"))
    async with open_system() as system:
        top = await system.start_supervisor(SupervisorSpec(children=[left, book.child("m"), right]), name="top")
        up = book.take()
        await top.stop()

        assert up == [f"+{label}1" for label in "abcdme"]
        assert book.log == [f"-{label}1 shutdown" for label in reversed("abcdme")]


class Slow(Worker):
    """Takes its time to start."""

    async def on_start(self) -> None:
        await trio.sleep(50)
        await super().on_start()


@pytest.mark.parametrize("depth", [0, 1, 2])
async def test_case_77_a_start_that_is_cancelled_leaves_nothing(autojump_clock, depth) -> None:
    """Those that had started are stopped in reverse, the one that was starting within its own time; names are free."""
    book = Book()
    spec = only(book.child("a"), ChildSpec(id="s", start=functools.partial(Slow, book, "s"), shutdown=2))
    for level in range(depth):
        spec = only(book.child(f"beside{level}"), ChildSpec(id="inner", start=spec))
    async with open_system() as system:
        with trio.move_on_after(5) as scope:
            await system.start_supervisor(spec, name="top")
        assert scope.cancelled_caught
        await trio.sleep(3)

        started = [line[1:] for line in book.log if line.startswith("+")]
        assert len(started) == 1 + depth
        assert book.log[len(started) :] == [f"-{line} shutdown" for line in reversed(started)]
        assert system.tree().children == ()
        assert system.incarnations() == {}


@pytest.mark.parametrize("how", ["stop", "give up", "automatic"])
@pytest.mark.parametrize("call", ["stop", "start", "kill", "terminate"])
async def test_case_77_at_every_step_of_its_end_a_supervisor_says_that_it_has_ended(how, call) -> None:
    """Or still does what it is asked; never anything else, however close a call comes to the last moment."""
    book = Book()
    for steps in range(40):
        child = book.child("a", restart=Restart.TRANSIENT, significant=True)
        spec = SupervisorSpec(intensity=0, auto_shutdown=AutoShutdown.ANY_SIGNIFICANT, children=[child])
        async with open_system() as system:
            top = await system.start_supervisor(spec, name="top", restart=Restart.TEMPORARY)
            ref = top.child("a")
            async with trio.open_nursery() as nursery:
                if how == "stop":
                    nursery.start_soon(top.stop)
                else:
                    ref.tell_nowait(Crash() if how == "give up" else End(NORMAL))
                for _ in range(steps):
                    await trio.lowlevel.cancel_shielded_checkpoint()
                try:
                    if call == "start":
                        await top.start_child(book.child("b"))
                    elif call == "terminate":
                        await top.terminate_child("a")
                    else:
                        (ref.stop if call == "stop" else ref.kill)()
                except (ActorStopped, StartFailed, ChildError):
                    pass
            await settle()


# ------------------------------------------------------------------ children that make it hard
class Stubborn(Worker):
    """Does what it can so that its supervisor does not learn of its end."""

    async def on_start(self) -> None:
        await super().on_start()
        self.ctx.monitor(self.ctx.ref)
        self.ctx.unlink(self.ctx.ref)

    async def on_stop(self, reason) -> None:
        self.ctx.exit(NORMAL)
        raise Boom("and on_stop raises")


@EVERY_STATIC
@pytest.mark.parametrize("shutdown", [5, Shutdown.BRUTAL, Shutdown.INFINITY])
async def test_case_78_a_child_that_detaches_itself_cannot_hang_its_supervisor(strategy, shutdown) -> None:
    """Nothing it can do to its own links hides its end: termination, restart and stop come to theirs."""
    book = Book()
    child = ChildSpec(id="s", start=functools.partial(Stubborn, book, "s"), shutdown=shutdown)
    async with open_system() as system:
        spec = SupervisorSpec(strategy=strategy, intensity=3, children=[book.child("a"), child])
        top = await system.start_supervisor(spec, name="top")
        await top.terminate_child("s")
        assert states(top) == ["s undefined", "a running"]
        await top.restart_child("s")
        top.child("s").kill()
        await settle()
        assert states(top) == ["s running", "a running"]
        await top.stop()

        assert book.generation["s"] == 3


async def test_case_78_a_child_that_shields_itself_holds_up_nobody_but_those_who_wait_for_its_end(
    autojump_clock,
) -> None:
    """The nearest thing to unlinking that trio has. Its supervisor answers meanwhile, and is told of its end."""
    book = Book()
    async with open_system(cleanup_bound=1) as system:
        spec = SupervisorSpec(children=[book.child("a"), book.child("b", shutdown=1)])
        top = await system.start_supervisor(spec, name="top")
        await told(top.child("b"), Hang(seconds=100))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(top.terminate_child, "b")
            await trio.sleep(50)
            assert await top.child("a").ask(Ping()) == 1
            assert states(top) == ["b running", "a running"]

        assert trio.current_time() == 100
        assert states(top) == ["b undefined", "a running"]


# ------------------------------------------------------------------ restart loops that do not end
TRIES = 3000
"""So many starts fail before one succeeds: far more than a test looks on, and an end if something hangs."""

TURNS = 300
"""Turns of the scheduler within which a supervisor has to answer."""


async def answered(call: Callable[..., Awaitable[object]], *args: object) -> None:
    """The call comes back within so many turns. (Time does not pass in such a loop, so that no time-out would help.)"""
    done = trio.Event()

    async def run() -> None:
        await call(*args)
        done.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        for _ in range(TURNS):
            if done.is_set():
                return
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    pytest.fail(f"no answer within {TURNS} turns")


async def in_its_loop(system: System, book: Book, strategy: Strategy, labels: str, failing: str) -> SupervisorRef:
    """A supervisor whose child `failing` has crashed and cannot start any more."""
    children = [book.child(label) for label in labels]
    spec = SupervisorSpec(strategy=strategy, intensity=10**9, children=children)
    top = await system.start_supervisor(spec, name="top")
    book.failing[failing] = TRIES
    await top.child(failing).tell(Crash())
    await loops(book, failing)
    return top


async def loops(book: Book, label: str) -> None:
    """Until the child has failed to start a few times; it goes on to."""
    while book.failing[label] > TRIES - 5:
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ONE, Strategy.ONE_FOR_ALL])
async def test_case_79_a_supervisor_answers_while_a_child_is_in_its_restart_loop(strategy) -> None:
    """What it has is shown; the child, restarting, is neither restarted nor deleted; others can be added."""
    book = Book()
    async with open_system() as system:
        top = await in_its_loop(system, book, strategy, "ab", "a")
        shown = {info.id: (info.ref, info.state) for info in top.which_children()}
        refusals = []
        for call in (top.restart_child, top.delete_child):
            with pytest.raises(ChildError) as caught:
                await call("a")
            refusals.append(caught.value.reason)
        counts = top.count_children()
        await answered(top.start_child, book.child("new"))
        in_the_loop = book.failing["a"]
        await answered(top.terminate_child, "a")

        assert shown["a"] == (None, "restarting")
        assert refusals == ["restarting", "restarting"]
        assert counts.specs == 2
        assert counts.active == (1 if strategy is Strategy.ONE_FOR_ONE else 0)
        assert 0 < in_the_loop < TRIES
        assert "a undefined" in states(top)
        left = book.failing["a"]
        await settle()
        assert book.failing["a"] == left


@EVERY_STATIC
async def test_case_79_a_supervisor_can_be_stopped_while_a_child_is_in_its_restart_loop(strategy) -> None:
    """What runs is stopped in reverse order; the loop ends."""
    book = Book()
    async with open_system() as system:
        top = await in_its_loop(system, book, strategy, "ab", "b")
        await answered(top.stop)

        assert 0 < book.failing["b"] < TRIES
        assert book.log[-1] == f"-a{book.generation['a']} shutdown"


async def test_case_79_a_child_whose_start_hangs_in_the_loop_can_be_terminated(autojump_clock) -> None:
    """Its start is given the time of a stop, then cancelled."""
    started = 0

    class Hanging(Actor):
        async def on_start(self) -> None:
            nonlocal started
            started += 1
            if started > 1:
                await trio.sleep_forever()

        @handler
        async def crash(self, message: Crash) -> None:
            raise Boom

    book = Book()
    async with open_system() as system:
        spec = SupervisorSpec(children=[book.child("a"), ChildSpec(id="h", start=Hanging, shutdown=2)])
        top = await system.start_supervisor(spec)
        await told(top.child("h"), Crash())
        assert await top.child("a").ask(Ping()) == 1
        await top.terminate_child("h")

        assert trio.current_time() == 2
        assert started == 2
        assert states(top) == ["h undefined", "a running"]


async def test_case_80_under_rest_for_one_it_answers_while_a_child_is_in_its_restart_loop() -> None:
    """The elder goes on, the younger wait; without the child that could not start they are started by hand."""
    book = Book()
    async with open_system() as system:
        top = await in_its_loop(system, book, Strategy.REST_FOR_ONE, "abc", "b")
        assert states(top) == ["c undefined", "b restarting", "a running"]
        assert await top.child("a").ask(Ping()) == 1
        await answered(top.terminate_child, "b")

        assert 0 < book.failing["b"] < TRIES
        assert states(top) == ["c undefined", "b undefined", "a running"]
        book.failing.clear()
        for label in "bc":
            await top.restart_child(label)
        assert [await top.child(label).ask(Ping()) for label in "abc"] == [1, 2, 2]


async def test_case_81_a_dynamic_supervisor_answers_while_a_child_is_in_its_restart_loop() -> None:
    """The child is addressed by its ref; terminated, it is gone."""
    book = Book()
    async with open_system() as system:
        spec = SupervisorSpec(strategy=DYNAMIC, intensity=10**9, children=[book.template()])
        top = await system.start_supervisor(spec, name="top")
        looping, other = await top.start_child("a"), await top.start_child("b")
        book.failing["a"] = TRIES
        await looping.tell(Crash())
        await loops(book, "a")
        shown = [info.state for info in top.which_children()]
        await answered(top.start_child, "c")
        assert await other.ask(Ping()) == 1
        await answered(top.terminate_child, looping)

        assert shown == ["running", "restarting"]
        assert 0 < book.failing["a"] < TRIES
        assert [info.state for info in top.which_children()] == ["running", "running"]


async def test_case_81_a_dynamic_supervisor_can_be_stopped_while_its_children_are_in_their_loops() -> None:
    """All of them at once."""
    book = Book()
    async with open_system() as system:
        spec = SupervisorSpec(strategy=DYNAMIC, intensity=10**9, children=[book.template()])
        top = await system.start_supervisor(spec, name="top")
        for label in "abcde":
            ref = await top.start_child(label)
            book.failing[label] = TRIES
            await ref.tell(Crash())
        await loops(book, "e")
        await answered(top.stop)

        assert all(0 < book.failing[label] < TRIES for label in "abcde")


# ------------------------------------------------------------------ names
@pytest.mark.parametrize("how", ["kill", "crash", "exit"])
async def test_case_86_a_named_actor_comes_back_under_its_name(how) -> None:
    """Killed or ended, the same name and the same ref lead to the next life, from the first moment on."""
    book = Book()
    async with open_system() as system:
        ref = await system.spawn(Worker, book, "w", name="the worker")
        if how == "kill":
            ref.kill()
        else:
            await ref.tell(Crash() if how == "crash" else End(NORMAL))
        await settle()

        assert system.find("the worker") == ref
        assert await system.wait_registered("the worker") == ref
        assert await ref.ask(Ping()) == 2
        assert system.incarnations() == {"the worker": 2}


@pytest.mark.parametrize("restart", [Restart.PERMANENT, Restart.TRANSIENT])
async def test_case_86_a_named_supervisor_comes_back_under_its_name(restart) -> None:
    """Its ref and those of its children stay valid, and so do their names."""
    book = Book()
    inner = ChildSpec(id="inner", start=SupervisorSpec(intensity=0, children=[book.child("c")]))
    async with open_system() as system:
        top = await system.start_supervisor(SupervisorSpec(intensity=2, children=[inner]), name="top", restart=restart)
        middle, ref = below(top, "inner"), system.find("top/inner/c")
        assert ref is not None
        for life in (2, 3):
            await told(ref, Crash())
            assert (middle.name, middle.incarnation) == ("top/inner", life)
            assert (system.find("top/inner/c"), ref.incarnation) == (ref, life)
            assert below(top, "inner") == middle

        assert await ref.ask(Ping()) == 3


async def test_case_86_a_name_is_free_once_its_actor_has_stopped_for_good() -> None:
    """And can be used again at once, for an actor that has nothing to do with the first."""
    book = Book()
    async with open_system() as system:
        first = await system.spawn(Worker, book, "w", name="w")
        first.stop()
        await first.wait_stopped()
        assert system.find("w") is None
        second = await system.spawn(Worker, book, "w", name="w")

        assert second != first
        assert second.incarnation == 1
        with pytest.raises(ActorStopped):
            await first.ask(Ping())

"""The likeliest mistakes: each error shows the line as it was written and the line as it should be."""

import dataclasses
import functools
import gc
import re
import warnings
from collections.abc import AsyncIterator, Callable
from types import new_class

import attrs
import pytest
import trio

import trouper
from trouper import (
    Actor,
    ActorCrashed,
    ActorStopped,
    Ask,
    AskCycle,
    ChildSpec,
    OnCancel,
    Ref,
    StartFailed,
    Stream,
    System,
    Tell,
    handler,
    open_system,
)


@attrs.frozen
class Add(Ask[int]):
    amount: int


@attrs.frozen
class Total(Ask[int]):
    pass


@attrs.frozen
class Reset(Tell):
    pass


@attrs.frozen
class Tail(Stream[str]):
    pass


class Counter(Actor):
    def __init__(self, start: int = 0) -> None:
        self.value = start

    @handler
    async def add(self, message: Add) -> int:
        self.value += message.amount
        return self.value

    @handler
    async def reset(self, message: Reset) -> None:
        self.value = 0

    @handler
    async def tail(self, message: Tail) -> AsyncIterator[str]:
        yield "line"


class Silent(Actor):
    pass


async def fetch() -> Add:
    return Add(2)


def make() -> Add:
    return Add(2)


def shown(error: object) -> tuple[str, str, str]:
    """What an error says: what is wrong, the wrong line, the right line, each without its indentation."""
    found = re.fullmatch(r"(?P<what>.+)\n  wrong: (?P<wrong>.+)\n  right: (?P<right>.+)", str(error), re.DOTALL)
    assert found is not None, f"no wrong and right line in:\n{error}"
    return found["what"], *(found[part].replace("\n         ", "\n") for part in ("wrong", "right"))


def lines(error: object) -> tuple[str, str]:
    """The wrong line and the right one."""
    return shown(error)[1:]


def never_awaited(call: Callable[[], object]) -> str:
    """What Python warns of when the coroutine that `call` gives is dropped."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
        gc.collect()
    [warning] = caught
    return str(warning.message)


# ------------------------------------------------------------------ missing `await`
async def test_the_warning_about_a_dropped_ask_shows_the_line_with_await() -> None:
    async with open_system() as system:
        counter = await system.spawn(Counter)

        warning = never_awaited(lambda: counter.ask(Add(2)))

    assert warning == (
        "coroutine 'Ref.ask (wrong: ref.ask(message)    right: answer = await ref.ask(message))' was never awaited"
    )


@pytest.mark.parametrize("verb", ["ask", "ask_many", "tell", "tell_many", "wait_stopped"])
async def test_the_warning_about_any_dropped_call_of_a_ref_shows_the_line_with_await(verb: str) -> None:
    async with open_system() as system:
        counter = await system.spawn(Counter)
        arguments = [] if verb == "wait_stopped" else [[Reset()]]

        warning = never_awaited(lambda: getattr(counter, verb)(*arguments))

    assert f"wrong: ref.{verb}(" in warning
    assert re.search(rf"right: (\w+ = )?await ref\.{verb}\(", warning)


async def test_the_warning_about_a_dropped_spawn_shows_the_line_with_await() -> None:
    async with open_system() as system:
        warning = never_awaited(lambda: system.spawn(Counter, 3))

    assert "wrong: system.spawn(Counter)" in warning
    assert "right: counter = await system.spawn(Counter)" in warning


def test_functions_keep_their_name_in_tracebacks_and_profiles() -> None:
    assert Ref.ask.__name__ == Ref.ask.__code__.co_name == "ask"
    assert Ref.ask.__code__.co_qualname == "Ref.ask"


@pytest.mark.filterwarnings("error")  # the coroutine that was handed over is closed: no second complaint
@pytest.mark.parametrize(
    ("verb", "wrong"),
    [
        ("ask", "await ref.ask(other.ask(...))"),
        ("tell", "await ref.tell(other.ask(...))"),
        ("tell_nowait", "ref.tell_nowait(other.ask(...))"),
    ],
)
async def test_a_coroutine_in_place_of_a_message_shows_where_the_await_is_missing(verb: str, wrong: str) -> None:
    async with open_system() as system:
        counter = await system.spawn(Counter)
        with pytest.raises(TypeError, match="called without `await`") as caught:
            await getattr(counter, verb)(counter.ask(Add(2)))
        gc.collect()

    assert lines(caught.value) == (wrong, wrong.replace("other.ask", "await other.ask"))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("concurrent", [None, 2])
async def test_a_handler_that_gives_back_a_coroutine_crashes_with_the_line_that_lacks_await(concurrent) -> None:
    class Forgetful(Actor):
        def __init__(self, other: Ref[Counter]) -> None:
            self.other = other

        @handler(concurrent=concurrent)
        async def total(self, message: Total) -> int:
            return self.other.ask(Add(2))

    async with open_system() as system:
        counter = await system.spawn(Counter)
        forgetful = await system.spawn(Forgetful, counter)
        with pytest.raises(ActorCrashed) as caught:
            await forgetful.ask(Total())
        gc.collect()

    what, *shown_lines = shown(caught.value.__cause__)
    assert "Forgetful.total gave back a coroutine" in what
    assert shown_lines == ["return other.ask(...)", "return await other.ask(...)"]


# ------------------------------------------------------------------ a coroutine passed instead of called
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("given", "wrong", "right"),
    [
        (fetch, "await system.spawn(fetch)", "await system.spawn(Counter, 3)    or    nursery.start_soon(fetch)"),
        (lambda: fetch(), "await system.spawn(fetch(...))", "await system.spawn(Counter, 3)"),
        (Counter, "await system.spawn(Counter(...))", "await system.spawn(Counter, ...)"),
        (Silent, "await system.spawn(Silent())", "await system.spawn(Silent)"),
        (lambda: Add, "await system.spawn(Add)", "class Add(Actor): ...\nawait system.spawn(Add)"),
        (lambda: int, "await system.spawn(int)", "await system.spawn(Counter, 3)"),
        (lambda: "counter", "await system.spawn('counter')", "await system.spawn(Counter, 3)"),
    ],
)
async def test_spawning_anything_but_a_class_shows_the_line_with_one(given, wrong: str, right: str) -> None:
    async with open_system() as system:
        with pytest.raises(TypeError, match="an actor is started from its class") as caught:
            await system.spawn(given if given is fetch else given())
        gc.collect()
        assert system.statistics().actors == ()

    assert lines(caught.value) == (wrong, right)


@pytest.mark.filterwarnings("error")
async def test_a_factory_that_gives_no_actor_fails_the_start_with_the_line_that_does() -> None:
    async def later() -> Counter:
        return Counter()

    def nothing() -> None:
        pass

    async with open_system() as system:
        with pytest.raises(StartFailed) as coroutine:
            await system.spawn(lambda: later())
        with pytest.raises(StartFailed) as none:
            await system.spawn(functools.partial(nothing))
        gc.collect()

    assert lines(coroutine.value.__cause__) == (
        "async def start(): return Counter(3)",
        "def start(): return Counter(3)",
    )
    assert lines(none.value.__cause__) == ("def nothing(): return None", "def nothing(): return Counter(3)")


@pytest.mark.parametrize(("function", "called"), [(fetch, "await fetch(...)"), (make, "make(...)")])
async def test_a_function_in_place_of_a_message_is_to_be_called(function, called: str) -> None:
    async with open_system() as system:
        counter = await system.spawn(Counter)
        with pytest.raises(TypeError, match="is a function, not a message") as caught:
            await counter.ask(function)

    assert lines(caught.value) == (f"await ref.ask({function.__name__})", f"await ref.ask({called})")


# ------------------------------------------------------------------ a message nobody handles
async def test_an_unhandled_message_names_what_is_handled_and_what_is_near() -> None:
    @attrs.frozen
    class Rest(Tell):
        pass

    async with open_system() as system:
        counter = await system.spawn(Counter)
        with pytest.raises(TypeError) as caught:
            counter.tell_nowait(Rest())

    what, wrong, right = shown(caught.value)
    assert what == "Counter has no handler for Rest; it handles Add, Reset, Tail (did you mean Reset?)"
    assert wrong == "ref.tell_nowait(Rest())"
    assert right == "class Counter(Actor):\n    @handler\n    async def rest(self, message: Rest) -> None: ..."


async def test_an_unhandled_message_with_the_name_of_a_handled_one_says_where_each_comes_from() -> None:
    twin = attrs.frozen(new_class("Reset", (Tell,)))
    twin.__module__ = "__main__"

    async with open_system() as system:
        counter = await system.spawn(Counter)
        with pytest.raises(TypeError, match=rf"that is {__name__}\.Reset, this is __main__\.Reset"):
            await counter.tell(twin())


async def test_a_class_in_place_of_a_message_shows_the_instance() -> None:
    async with open_system() as system:
        counter = await system.spawn(Counter)
        with pytest.raises(TypeError, match="Add is a class: send an instance") as one:
            await counter.ask(Add)
        with pytest.raises(TypeError, match="Reset is a class: send an instance") as none:
            await counter.tell(Reset)
        with pytest.raises(TypeError, match="Add is a class: send an instance") as other:
            counter.tell_nowait(Add)

    assert lines(one.value) == ("await ref.ask(Add)", "await ref.ask(Add(...))")
    assert lines(none.value) == ("await ref.tell(Reset)", "await ref.tell(Reset())")
    assert lines(other.value) == ("ref.tell_nowait(Add)", "await ref.ask(Add(...))")


async def test_what_is_no_message_shows_how_to_make_one() -> None:
    async with open_system() as system:
        counter = await system.spawn(Counter)
        with pytest.raises(TypeError, match="5 is not a message") as caught:
            await counter.ask(5)
        with pytest.raises(TypeError, match="int is a class") as a_class:
            await counter.tell(int)

    right = "@attrs.frozen\nclass YourMessage(Ask[...]): ...\nawait ref.ask(YourMessage(...))"
    assert lines(caught.value) == ("await ref.ask(5)", right)
    assert lines(a_class.value)[0] == "await ref.tell(int)"
    assert "class YourMessage(Tell): ..." in lines(a_class.value)[1]


async def test_a_long_value_in_place_of_a_message_is_cut() -> None:
    async with open_system() as system:
        counter = await system.spawn(Counter)
        with pytest.raises(TypeError) as caught:
            await counter.ask("x" * 100_000)

    assert len(str(caught.value)) < 500


async def test_several_messages_in_place_of_one_show_the_method_for_many() -> None:
    async with open_system() as system:
        counter = await system.spawn(Counter)
        with pytest.raises(TypeError, match="a list of 2") as asked:
            await counter.ask([Add(1), Add(2)])
        with pytest.raises(TypeError, match="a tuple of 1") as told:
            await counter.tell((Reset(),))
        with pytest.raises(TypeError, match="a list of 1") as streamed:
            async with counter.stream([Tail()]):
                pass

    assert lines(asked.value) == ("await ref.ask([...])", "await ref.ask_many([...])")
    assert lines(told.value) == ("await ref.tell([...])", "await ref.tell_many([...])")
    assert lines(streamed.value)[1].startswith("for message in [...]:\n    async with ref.stream(message)")


# ------------------------------------------------------------------ two handlers
def test_two_handlers_for_one_class_name_both() -> None:
    with pytest.raises(TypeError, match="Twice: both 'one' and 'two' handle Reset; keep one") as caught:

        class Twice(Actor):
            @handler
            async def one(self, message: Reset) -> None: ...

            @handler
            async def two(self, message: Reset) -> None: ...

    one, two = (f"@handler\nasync def {name}(self, message: Reset): ..." for name in ("one", "two"))
    assert lines(caught.value) == (f"{one}\n{two}", one)


def test_two_handlers_of_one_name_are_refused_because_python_would_drop_the_first() -> None:
    with pytest.raises(TypeError, match=r"Same\.handle: two handlers have this name") as caught:

        class Same(Actor):
            @handler
            async def handle(self, message: Add) -> int: ...

            @handler(concurrent=2)
            async def handle(self, message: Reset) -> None: ...  # noqa: F811 - that is the point

    first, second = "async def handle(self, message: Add) -> int: ...", "(self, message: Reset) -> None: ..."
    assert lines(caught.value) == (f"{first}\nasync def handle{second}", f"{first}\nasync def handle_too{second}")


def test_a_handler_may_have_the_name_of_one_in_another_class_or_of_a_local_function() -> None:
    @handler
    async def reset(self: Actor, message: Reset) -> None: ...

    class Other(Actor):
        @handler
        async def reset(self, message: Reset) -> None: ...

    assert Other.__handlers__[Reset].function is not reset


def test_a_handler_that_hides_one_for_another_message_needs_another_name() -> None:
    with pytest.raises(
        TypeError, match=r"Hiding\.add handles Reset and hides Counter\.add, which handles Add"
    ) as caught:

        class Hiding(Counter):
            @handler
            async def add(self, message: Reset) -> None: ...

    assert lines(caught.value) == (
        "async def add(self, message: Reset) -> None: ...",
        "async def add_reset(self, message: Reset) -> None: ...",
    )


# ------------------------------------------------------------------ an ask from one's own handler
async def test_an_ask_from_ones_own_handler_shows_the_call_of_the_method() -> None:
    class Own(Counter):
        @handler(raises=(AskCycle,))
        async def total(self, message: Total) -> int:
            return await self.ctx.ref.ask(Add(0))

    async with open_system() as system:
        own = await system.spawn(Own, name="own")
        with pytest.raises(AskCycle, match="would wait for itself: own -> own") as caught:
            await own.ask(Total())

    assert caught.value.chain == ("own", "own")
    assert lines(caught.value) == ("await self.ctx.ref.ask(Add(...))", "await self.add(Add(...))")


async def test_an_order_from_ones_own_handler_shows_the_state_at_hand() -> None:
    class Own(Actor):
        @handler(raises=(AskCycle,))
        async def total(self, message: Total) -> int:
            return await self.ctx.ref.get_state()

    async with open_system() as system:
        own = await system.spawn(Own, name="own")
        with pytest.raises(AskCycle, match="own -> own") as caught:
            await own.ask(Total())

    assert lines(caught.value) == ("state = await self.ctx.ref.get_state()", "state = self.snapshot()")


async def test_a_longer_circle_of_asks_names_the_chain_and_the_way_out() -> None:
    class Node(Actor):
        next: Ref[Actor]

        @handler(raises=(AskCycle,))
        async def total(self, message: Total) -> int:
            return await self.next.ask(Total())

    async with open_system() as system:
        first, second = Node(), Node()
        a = await system.spawn(lambda: first, name="a")
        b = await system.spawn(lambda: second, name="b")
        first.next, second.next = b, a
        with pytest.raises(AskCycle, match=r"a -> b -> a.*use tell for one leg") as caught:
            await a.ask(Total())

    assert caught.value.actor == "a"
    wrong, right = lines(caught.value)
    assert wrong == "await a.ask(Total())    # in a handler of 'b'"
    assert right.startswith("@handler(concurrent=8)")


# ------------------------------------------------------------------ an ask with a Tell, and the like
@pytest.mark.parametrize(
    ("verb", "message", "wrong", "right"),
    [
        ("ask", Reset(), "await ref.ask(Reset())", "await ref.tell(Reset())"),
        ("ask", Tail(), "await ref.ask(Tail())", "async with ref.stream(Tail()) as items: ..."),
        ("tell", Add(1), "await ref.tell(Add(...))", "await ref.ask(Add(...))"),
        ("tell", Tail(), "await ref.tell(Tail())", "async with ref.stream(Tail()) as items: ..."),
        ("tell_nowait", Add(1), "ref.tell_nowait(Add(...))", "await ref.ask(Add(...))"),
    ],
)
async def test_a_message_of_another_kind_shows_the_method_that_is_meant_for_it(verb, message, wrong, right) -> None:
    async with open_system() as system:
        counter = await system.spawn(Counter)
        with pytest.raises(TypeError, match="cannot be sent with") as caught:
            await getattr(counter, verb)(message)

    assert lines(caught.value) == (wrong, right)


@pytest.mark.parametrize(
    ("verb", "message", "right"),
    [
        ("ask_many", Reset(), "await ref.tell(Reset())"),
        ("tell_many", Add(1), "await ref.ask(Add(...))"),
    ],
)
async def test_a_batch_with_a_message_of_another_kind_shows_the_same(verb, message, right) -> None:
    async with open_system() as system:
        counter = await system.spawn(Counter)
        with pytest.raises(TypeError, match="cannot be sent with") as caught:
            await getattr(counter, verb)([message])

    assert lines(caught.value)[1] == right


@pytest.mark.parametrize(
    ("message", "right"), [(Reset(), "await ref.tell(Reset())"), (Add(1), "await ref.ask(Add(...))")]
)
async def test_a_stream_of_what_is_no_stream_shows_the_method_that_is_meant_for_it(message, right) -> None:
    async with open_system() as system:
        counter = await system.spawn(Counter)
        with pytest.raises(TypeError, match="cannot be sent with `stream`") as caught:
            async with counter.stream(message) as items:
                async for _ in items:
                    pass

    assert lines(caught.value)[1] == right


def test_a_message_class_of_two_kinds_is_refused() -> None:
    class Both(Ask[int], Tell):
        pass

    with pytest.raises(TypeError, match="Both is Ask and Tell at once") as caught:

        class Confused(Actor):
            @handler
            async def both(self, message: Both) -> int: ...

    assert lines(caught.value) == ("class Both(Ask[int], Tell): ...", "class Both(Ask[...]): ...")


# ------------------------------------------------------------------ a message that can be changed
def _actor_for(message: type) -> type[Actor]:
    class Taking(Actor):
        @handler
        async def take(self, message: message) -> None: ...

    return Taking


@attrs.define
class Draft(Tell):
    text: str


@dataclasses.dataclass
class Sketch(Tell):
    text: str


def test_a_message_class_that_is_not_frozen_is_refused_with_the_decorator_that_is_right() -> None:
    with pytest.raises(TypeError, match="Draft can be changed after it was sent") as defined:
        _actor_for(Draft)
    with pytest.raises(TypeError, match="Sketch can be changed after it was sent") as made:
        _actor_for(Sketch)

    assert lines(defined.value) == (
        "@attrs.define\nclass Draft(Tell): ...",
        "@attrs.frozen\nclass Draft(Tell): ...",
    )
    assert lines(made.value) == (
        "@dataclasses.dataclass\nclass Sketch(Tell): ...",
        "@dataclasses.dataclass(frozen=True)\nclass Sketch(Tell): ...",
    )


async def test_a_changeable_subclass_of_a_handled_class_is_refused_each_time_it_is_sent() -> None:
    class Note(Tell):
        pass

    @attrs.define
    class LongNote(Note):
        text: str

    async with open_system() as system:
        taking = await system.spawn(_actor_for(Note))
        for _ in range(2):
            with pytest.raises(TypeError, match="LongNote can be changed") as caught:
                await taking.tell(LongNote(""))

    assert lines(caught.value)[1] == "@attrs.frozen\nclass LongNote(Note): ..."


def test_what_cannot_be_changed_and_what_we_cannot_know_of_is_fine() -> None:
    @dataclasses.dataclass(frozen=True)
    class Frozen(Tell):
        text: str

    @attrs.frozen(slots=False)
    class WithoutSlots(Tell):
        text: str

    class Louder(WithoutSlots):
        pass

    @attrs.define
    class Bare(Tell):
        pass

    class ByHand(Tell):
        def __init__(self, text: str) -> None:
            self.text = text

    @dataclasses.dataclass
    class BareToo(Tell):
        pass

    for message in (Frozen, WithoutSlots, Louder, Bare, BareToo, ByHand):
        assert set(_actor_for(message).__handlers__) == {message}


# ------------------------------------------------------------------ use after the system has closed
@pytest.mark.parametrize("call", ["spawn", "start_supervisor"])
async def test_starting_something_in_a_closed_system_shows_the_line_inside_the_block(call: str) -> None:
    async with open_system("shop") as system:
        pass
    argument = Counter if call == "spawn" else trouper.SupervisorSpec(children=[ChildSpec(id="a", start=Counter)])

    with pytest.raises(RuntimeError, match="the system 'shop' is closed") as caught:
        await getattr(system, call)(argument)

    wrong, right = lines(caught.value)
    head = "async with trouper.open_system() as system:"
    assert wrong == f"{head} ...\nawait system.{call}(...)"
    assert right == f"{head}\n    await system.{call}(...)"


async def test_a_ref_used_after_its_system_has_closed_shows_the_line_inside_the_block() -> None:
    async with open_system("shop") as system:
        counter = await system.spawn(Counter, name="counter")

    with pytest.raises(ActorStopped, match="'counter' has stopped with its system 'shop'") as asked:
        await counter.ask(Add(1))
    with pytest.raises(ActorStopped, match="'counter' has stopped with its system 'shop'") as told:
        counter.tell_nowait(Reset())

    spawned = "async with trouper.open_system() as system:\n    ref = await system.spawn(...)\n"
    assert lines(asked.value) == (f"{spawned}await ref.ask(...)", f"{spawned}    await ref.ask(...)")
    assert lines(told.value) == (f"{spawned}ref.tell_nowait(...)", f"{spawned}    ref.tell_nowait(...)")


# ------------------------------------------------------------------ handlers that are written wrongly
def _parameters_of(method) -> type[Actor]:
    return type("Wrong", (Actor,), {method.__name__: method})


def test_a_handler_without_annotation_shows_where_it_goes() -> None:
    with pytest.raises(TypeError, match=r"Wrong\.add does not say which messages it handles") as caught:

        class Wrong(Actor):
            @handler
            async def add(self, message): ...

    assert lines(caught.value) == (
        "async def add(self, message): ...",
        "async def add(self, message: YourMessage): ...",
    )


def test_a_handler_takes_self_and_one_message() -> None:
    async def none(self): ...

    async def two(self, message: Add, more: int = 0): ...

    async def keyword(self, *, message: Add): ...

    async def any_number(self, *messages: Add): ...

    for method in (none, two, keyword, any_number):
        with pytest.raises(TypeError, match=rf"Wrong\.{method.__name__} does not take one message") as caught:
            type("Wrong", (Actor,), {method.__name__: handler(method)})

        wrong, right = lines(caught.value)
        assert wrong.startswith(f"async def {method.__name__}(self")
        assert right == f"async def {method.__name__}(self, message: YourMessage): ..."


def test_a_handler_for_what_is_no_message_shows_a_message_class() -> None:
    with pytest.raises(TypeError, match=r"Wrong\.add: int is not a message") as caught:

        class Wrong(Actor):
            @handler
            async def add(self, message: int) -> None: ...

    wrong, right = lines(caught.value)
    assert wrong == "async def add(self, message: int) -> None: ..."
    assert right == (
        "@attrs.frozen\nclass YourMessage(Tell): ...\nasync def add(self, message: YourMessage) -> None: ..."
    )


def test_a_handler_for_a_union_shows_one_handler_for_each() -> None:
    with pytest.raises(TypeError, match=r"not Add \| Reset; write one for each") as caught:

        class Wrong(Actor):
            @handler
            async def both(self, message: Add | Reset): ...

    assert lines(caught.value)[1] == (
        "async def both(self, message: Add): ...\nasync def both(self, message: Reset): ..."
    )


def test_an_annotation_that_is_unknown_at_run_time_shows_the_import() -> None:
    with pytest.raises(TypeError, match="'Missing', is unknown there") as caught:

        class Wrong(Actor):
            @handler
            async def missing(self, message: "Missing") -> None: ...  # noqa: F821 - that is the point

    assert isinstance(caught.value.__cause__, NameError)
    assert lines(caught.value) == ("if TYPE_CHECKING:\n    from ... import Missing", "from ... import Missing")


def test_a_plain_function_is_no_handler_unless_it_is_inline() -> None:
    with pytest.raises(TypeError, match=r"Wrong\.add is not async") as caught:

        class Wrong(Actor):
            @handler
            def add(self, message: Add) -> int: ...

    assert lines(caught.value) == (
        "@handler\ndef add(self, message: Add) -> int: ...",
        "@handler\nasync def add(self, message: Add) -> int: ...",
    )


def test_an_inline_handler_is_a_plain_function_that_returns() -> None:
    async def coroutine(self, message: Add) -> int: ...

    async def stream(self, message: Tail) -> AsyncIterator[str]:
        yield ""

    def generator(self, message: Add) -> int:
        yield 1

    for method in (coroutine, stream):
        with pytest.raises(TypeError, match=r"is inline: .* a plain `def`") as caught:
            handler(inline=True)(method)
        wrong, right = lines(caught.value)
        assert f"async def {method.__name__}(" in wrong
        assert f"\ndef {method.__name__}(" in right

    with pytest.raises(TypeError, match="a `return`, not a `yield`"):
        handler(inline=True)(generator)


@pytest.mark.parametrize(
    ("options", "written"),
    [
        ({"concurrent": 3}, "concurrent=3"),
        ({"context": True}, "context=True"),
        ({"on_cancel": OnCancel.FINISH}, "on_cancel=OnCancel.FINISH"),
    ],
)
def test_an_inline_handler_takes_no_option_about_its_task(options: dict[str, object], written: str) -> None:
    with pytest.raises(TypeError, match=f"leave `{next(iter(options))}` out") as caught:
        handler(inline=True, **options)

    assert lines(caught.value) == (
        f"@handler(inline=True, {written})",
        f"@handler(inline=True)    or for an `async def`    @handler({written})",
    )


@pytest.mark.parametrize("concurrent", [0, -1, True, False, 1.5, "8"])
def test_concurrent_is_a_whole_number_of_at_least_one(concurrent: object) -> None:
    with pytest.raises(ValueError, match="a whole number of at least 1") as caught:
        handler(concurrent=concurrent)

    assert lines(caught.value) == (f"@handler(concurrent={concurrent!r})", "@handler(concurrent=8)")


@pytest.mark.parametrize(
    ("raises", "wrong"),
    [
        ((trio.Cancelled,), "@handler(raises=(Cancelled,))"),
        ((KeyError, KeyboardInterrupt), "@handler(raises=(KeyError, KeyboardInterrupt,))"),
        ((BaseException,), "@handler(raises=(BaseException,))"),
        ((int,), "@handler(raises=(int,))"),
        ((KeyError("x"),), "@handler(raises=(KeyError('x'),))"),
        ("KeyError", "@handler(raises='KeyError')"),
    ],
)
def test_only_exceptions_can_be_answers(raises: object, wrong: str) -> None:
    with pytest.raises(TypeError, match="does not derive from Exception") as caught:
        handler(raises=raises)

    assert lines(caught.value) == (wrong, "@handler(raises=(LookupError,))")


def test_a_single_exception_is_to_be_put_into_a_tuple() -> None:
    with pytest.raises(TypeError, match="a tuple of exception classes") as caught:
        handler(raises=KeyError)

    assert lines(caught.value) == ("@handler(raises=KeyError)", "@handler(raises=(KeyError,))")


def test_on_cancel_is_a_member_of_its_enum() -> None:
    with pytest.raises(TypeError) as caught:
        handler(on_cancel="finish")

    assert lines(caught.value) == ("@handler(on_cancel='finish')", "@handler(on_cancel=OnCancel.FINISH)")


@pytest.mark.parametrize("wrapper", [staticmethod, classmethod])
@pytest.mark.parametrize("outside", [True, False])
def test_a_handler_is_a_method(wrapper, outside: bool) -> None:
    async def add(self, message: Add) -> int: ...

    with pytest.raises(TypeError, match=f"this is @{wrapper.__name__}") as caught:
        type("Wrong", (Actor,), {"add": wrapper(handler(add)) if outside else handler(wrapper(add))})

    assert lines(caught.value) == (
        f"@handler\n@{wrapper.__name__}\nasync def ...",
        "@handler\nasync def add(self, message: Add) -> int: ...",
    )


def test_a_handler_is_no_value() -> None:
    with pytest.raises(TypeError, match="this is 8") as caught:
        handler(8)

    assert lines(caught.value)[0] == "handler(8)"


def test_an_ask_that_is_answered_with_something_else_shows_the_right_annotation() -> None:
    with pytest.raises(TypeError, match=r"Wrong\.add returns str, but Add is answered with int") as caught:

        class Wrong(Actor):
            @handler
            async def add(self, message: Add) -> str: ...

    assert lines(caught.value) == (
        "async def add(self, message: Add) -> str: ...",
        "async def add(self, message: Add) -> int: ...",
    )


def test_a_tell_is_answered_with_nothing() -> None:
    with pytest.raises(TypeError, match=r"Wrong\.reset returns int, but Reset has no answer") as caught:

        class Wrong(Actor):
            @handler
            async def reset(self, message: Reset) -> int: ...

    assert lines(caught.value)[1] == "async def reset(self, message: Reset) -> None: ..."


def test_a_stream_without_yield_shows_the_generator() -> None:
    with pytest.raises(TypeError, match=r"Wrong\.tail does not yield: Tail is a Stream") as caught:

        class Wrong(Actor):
            @handler
            async def tail(self, message: Tail) -> list[str]: ...

    assert lines(caught.value) == (
        "async def tail(self, message: Tail) -> list[str]: return ...",
        "async def tail(self, message: Tail) -> AsyncIterator[str]: yield ...",
    )


def test_an_ask_or_a_tell_that_yields_shows_the_return_and_the_stream() -> None:
    async def add(self, message: Add):
        yield 1

    async def reset(self, message: Reset):
        yield 1

    with pytest.raises(TypeError, match="Add is an Ask, whose handler returns once") as asked:
        type("Wrong", (Actor,), {"add": handler(add)})
    with pytest.raises(TypeError, match="Reset is a Tell, whose handler returns once") as told:
        type("Wrong", (Actor,), {"reset": handler(reset)})

    assert lines(asked.value) == (
        "async def add(self, message: Add): yield ...",
        "async def add(self, message: Add) -> int: return ...    or    class Add(Stream[int]): ...",
    )
    assert "class Reset(Stream[...]): ..." in lines(told.value)[1]


def test_the_form_is_checked_again_below_a_decorator_and_for_what_overrides_a_handler() -> None:
    def waiting_for_nobody(method):
        @functools.wraps(method)
        def wrapper(self, message):
            return method(self, message)

        return wrapper

    with pytest.raises(TypeError, match="is not async"):

        class Decorated(Actor):
            @waiting_for_nobody
            @handler
            async def add(self, message: Add) -> int: ...

    with pytest.raises(TypeError, match=r"Overriding\.add is not async"):

        class Overriding(Counter):
            def add(self, message: Add) -> int: ...


@pytest.mark.parametrize(
    ("name", "wrong", "right"),
    [
        ("on_start", "def on_start(self): ...", "async def on_start(self): ..."),
        (
            "on_stop",
            "def on_stop(self, reason: ExitReason): ...",
            "async def on_stop(self, reason: ExitReason): ...",
        ),
        ("snapshot", "async def snapshot(self): ...", "def snapshot(self): ..."),
        ("restore", "async def restore(self, state): ...", "def restore(self, state): ..."),
    ],
)
def test_hooks_have_the_colour_in_which_they_are_called(name: str, wrong: str, right: str) -> None:
    def plain(self, *_): ...

    async def waiting(self, *_): ...

    what = "awaited" if name.startswith("on_") else "called, not awaited"
    with pytest.raises(TypeError, match=rf"Wrong\.{name} is {what}: write") as caught:
        type("Wrong", (Actor,), {name: plain if wrong.startswith("def") else waiting})

    assert lines(caught.value) == (wrong, right)


# ------------------------------------------------------------------ spawn outside `async with`
def test_a_system_that_was_not_entered_shows_the_block() -> None:
    system = open_system()

    with pytest.raises(AttributeError) as caught:
        system.spawn(Counter)

    what, wrong, right = shown(caught.value)
    assert "is entered with `async with`" in what
    assert wrong == "system = trouper.open_system()\nsystem.spawn"
    assert right == "async with trouper.open_system() as system:\n    system.spawn"


async def test_a_system_that_was_awaited_or_entered_without_async_shows_the_block() -> None:
    right = "async with trouper.open_system() as system:\n    ..."
    with pytest.raises(TypeError) as awaited:
        await open_system()
    with pytest.raises(TypeError) as entered, open_system():
        pass

    assert lines(awaited.value) == ("system = await trouper.open_system()", right)
    assert lines(entered.value) == ("with trouper.open_system() as system: ...", right)


async def test_a_stream_that_was_not_entered_shows_the_block() -> None:
    async with open_system() as system:
        counter = await system.spawn(Counter)
        with pytest.raises(TypeError) as caught:
            async for _ in counter.stream(Tail()):
                pass

    assert lines(caught.value) == (
        "async for item in ref.stream(message): ...",
        "async with ref.stream(message) as items:\n    async for item in items: ...",
    )


async def test_what_was_entered_is_the_system_itself() -> None:
    """Only what has not been entered is in the way of misspelt names."""
    opening = open_system("shop")
    async with opening as system:
        assert type(system) is System
        assert not hasattr(opening, "name")
        with pytest.raises(AttributeError, match="'_name_of_nothing'"):
            _ = opening._name_of_nothing

"""From a class of message to the method that handles it. Annotations here are strings, which is the harder way."""

from __future__ import annotations

import functools
import sys
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping
from typing import Annotated, Any, Generic, Literal, NoReturn, Protocol, TypedDict, TypeVar

import attrs
import pytest
import trio

from trouper import Actor, Ask, OnCancel, Stream, Tell, handler

T = TypeVar("T")


@attrs.frozen
class Add(Ask[int]):
    amount: int = 1


@attrs.frozen
class Reset(Tell):
    pass


@attrs.frozen
class Tail(Stream[str]):
    pass


class Plain(Actor):
    @handler
    async def add(self, message: Add) -> int:
        return message.amount

    @handler
    async def reset(self, message: Reset) -> None:
        pass

    @handler
    async def tail(self, message: Tail) -> AsyncIterator[str]:
        yield "line"


# ------------------------------------------------------------------ what a route says
@pytest.mark.parametrize(("message", "kind"), [(Add, "ask"), (Reset, "tell"), (Tail, "stream")])
def test_a_route_says_which_kind_its_message_is(message: type, kind: str) -> None:
    route = Plain.__handlers__[message]

    assert route.message is message
    assert route.kind == kind
    assert [route.is_ask, route.is_tell, route.is_stream] == [kind == "ask", kind == "tell", kind == "stream"]
    assert route.function is vars(Plain)[message.__name__.lower()]


def test_a_bare_handler_is_exclusive_cancelled_with_its_asker_and_declares_no_exception() -> None:
    route = Plain.__handlers__[Add]

    assert (route.exclusive, route.concurrent) == (True, None)
    assert (route.inline, route.context, route.finish, route.raises) == (False, False, False, ())


def test_options_of_a_handler_are_attributes_of_its_route() -> None:
    class Full(Actor):
        @handler(concurrent=3, context=True, on_cancel=OnCancel.FINISH, raises=(KeyError, ValueError))
        async def add(self, message: Add) -> int:
            return 1

        @handler(inline=True)
        def reset(self, message: Reset) -> None:
            pass

    add, reset = Full.__handlers__[Add], Full.__handlers__[Reset]
    assert (add.exclusive, add.concurrent, add.inline) == (False, 3, False)
    assert (add.context, add.finish, add.raises) == (True, True, (KeyError, ValueError))
    assert (reset.exclusive, reset.inline, reset.is_tell) == (True, True, True)


def test_a_class_knows_which_hooks_it_has() -> None:
    class Hooks(Actor):
        async def on_start(self) -> None: ...

    class More(Hooks):
        async def on_stop(self, reason: object) -> None: ...

        def snapshot(self) -> int:
            return 1

        def restore(self, state: int) -> None: ...

    class Half(Actor):
        def snapshot(self) -> int:
            return 1

    def hooks(cls: type[Actor]) -> tuple[bool, bool, bool]:
        return cls.__starts__, cls.__stops__, cls.__snapshots__

    assert hooks(Plain) == (False, False, False)
    assert hooks(Hooks) == (True, False, False)
    assert hooks(More) == (True, True, True)
    assert hooks(Half) == (False, False, False)


def test_keywords_of_the_class_go_on_to_mixins() -> None:
    class Named:
        def __init_subclass__(cls, *, label: str, **kwargs: object) -> None:
            super().__init_subclass__(**kwargs)
            cls.label = label

    class Counter(Actor, Named, label="counter"):
        pass

    assert Counter.label == "counter"


# ------------------------------------------------------------------ dispatch
def test_a_message_goes_to_the_handler_of_the_nearest_class_in_its_mro() -> None:
    class Base(Tell):
        pass

    class Special(Base):
        pass

    class VerySpecial(Special):
        pass

    class Sorting(Actor):
        @handler
        async def base(self, message: Base) -> None: ...

        @handler
        async def special(self, message: Special) -> None: ...

    assert Sorting.__route__(Base).function is Sorting.base
    assert Sorting.__route__(VerySpecial).function is Sorting.special
    assert Sorting.__route__(Reset) is None


def test_a_handler_of_a_base_class_takes_every_message_of_that_kind() -> None:
    class Log(Actor):
        @handler
        async def anything(self, message: Tell) -> None: ...

    assert Log.__route__(Reset).function is Log.anything
    assert Log.__route__(Add) is None


def test_what_was_found_is_remembered_also_that_there_is_none() -> None:
    class Louder(Add):
        pass

    class Fresh(Plain):
        pass

    assert set(Fresh.__routes__) == {Add, Reset, Tail}
    found, none = Fresh.__route__(Louder), Fresh.__route__(int)

    assert found is Plain.__handlers__[Add]
    assert none is None
    assert Fresh.__routes__[Louder] is found
    assert Fresh.__routes__[int] is None
    assert Louder not in Plain.__routes__


def test_the_memory_of_routes_is_bounded_and_dispatch_goes_on_without_it() -> None:
    class Fresh(Plain):
        pass

    for _ in range(1100):
        last = type("Louder", (Add,), {})
        assert Fresh.__route__(last).function is Plain.add

    assert len(Fresh.__routes__) == 1024
    assert last not in Fresh.__routes__


def test_a_generic_message_is_handled_by_its_class() -> None:
    class Get(Ask[T], Generic[T]):
        pass

    class GetText(Get[str]):
        pass

    class Shelf(Actor):
        @handler
        async def get(self, message: Get[Any]) -> object:
            return None

    assert Shelf.__route__(Get).function is Shelf.get
    assert Shelf.__route__(GetText).function is Shelf.get


# ------------------------------------------------------------------ inheritance
def test_a_subclass_has_the_handlers_of_its_base_and_its_own() -> None:
    @attrs.frozen
    class More(Tell):
        pass

    class Longer(Plain):
        @handler
        async def more(self, message: More) -> None: ...

    assert set(Longer.__handlers__) == {Add, Reset, Tail, More}
    assert More not in Plain.__handlers__


def test_a_method_that_overrides_a_handler_takes_its_place_and_keeps_its_options() -> None:
    class Several(Actor):
        @handler(concurrent=4, raises=(KeyError,))
        async def add(self, message: Add) -> int:
            return 1

    class Doubled(Several):
        async def add(self, message: Add) -> int:
            return 2

    class Declared(Several):
        @handler
        async def add(self, message: Add) -> int:
            return 3

    doubled, declared = Doubled.__handlers__[Add], Declared.__handlers__[Add]
    assert doubled.function is Doubled.add
    assert (doubled.concurrent, doubled.raises) == (4, (KeyError,))
    assert declared.function is Declared.add
    assert (declared.concurrent, declared.raises) == (None, ())
    assert Several.__handlers__[Add].function is Several.add


def test_none_instead_of_a_method_drops_the_handler() -> None:
    class Deaf(Plain):
        reset = None

    class Deafer(Deaf):
        pass

    assert set(Deaf.__handlers__) == set(Deafer.__handlers__) == {Add, Tail}


def test_the_nearest_class_in_the_mro_of_the_actor_wins() -> None:
    class Left(Plain):
        pass

    class Right(Plain):
        @handler
        async def plus(self, message: Add) -> int:
            return 2

    class Both(Left, Right):
        pass

    assert Both.__handlers__[Add].function is Right.plus


def test_a_mixin_that_is_no_actor_brings_its_handlers() -> None:
    class Resettable:
        @handler
        async def reset(self, message: Reset) -> None: ...

    class Counter(Resettable, Actor):
        pass

    class Before(Resettable, Plain):
        pass

    class Behind(Plain, Resettable):
        pass

    assert Counter.__handlers__[Reset].function is Resettable.reset
    assert Before.__handlers__[Reset].function is Resettable.reset
    assert Behind.__handlers__[Reset].function is Plain.reset


def test_a_wider_handler_may_take_the_name_of_a_narrower_one() -> None:
    class Wide(Plain):
        @handler
        async def reset(self, message: Tell) -> None: ...

    assert set(Wide.__handlers__) == {Add, Tail, Tell}
    assert Wide.__route__(Reset).function is Wide.reset


# ------------------------------------------------------------------ names
def test_a_message_class_may_be_local_to_a_function_around() -> None:
    def around() -> type[Actor]:
        @attrs.frozen
        class Local(Ask[int]):
            pass

        def inner() -> type[Actor]:
            def innermost() -> type[Actor]:
                class Deep(Actor):
                    @handler
                    async def local(self, message: Local) -> int:
                        return 1

                return Deep

            return innermost()

        return inner()

    assert [message.__name__ for message in around().__handlers__] == ["Local"]


def test_the_nearest_of_several_local_classes_of_one_name_is_meant() -> None:
    @attrs.frozen
    class Add(Tell):
        pass

    def inner() -> tuple[type, type[Actor]]:
        @attrs.frozen
        class Add(Tell):
            pass

        class Near(Actor):
            @handler
            async def add(self, message: Add) -> None: ...

        return Add, Near

    class Here(Actor):
        @handler
        async def add(self, message: Add) -> None: ...

    near, actor = inner()
    assert set(actor.__handlers__) == {near}
    assert set(Here.__handlers__) == {Add}


def test_a_local_class_is_found_after_its_function_has_returned_if_a_method_uses_it() -> None:
    def around():
        @attrs.frozen
        class Local(Ask[int]):
            pass

        def inner() -> type[Actor]:
            class Late(Actor):
                @handler
                async def local(self, message: Local) -> int:
                    return 1

                async def example(self) -> Local:
                    return Local()

            return Late

        return inner

    assert [message.__name__ for message in around()().__handlers__] == ["Local"]


async def test_a_message_class_may_be_local_to_a_coroutine() -> None:
    @attrs.frozen
    class Local(Tell):
        pass

    await trio.lowlevel.checkpoint()

    class Counter(Actor):
        @handler
        async def local(self, message: Local) -> None: ...

    assert set(Counter.__handlers__) == {Local}


def test_a_message_class_may_stand_in_the_body_of_the_actor_and_the_answer_be_the_actor_itself() -> None:
    class Nested(Actor):
        @attrs.frozen
        class Copy(Ask["Nested"]):
            pass

        @handler
        async def copy(self, message: Copy) -> Nested:
            return self

    assert set(Nested.__handlers__) == {Nested.Copy}


def test_an_actor_may_be_an_attrs_class_which_is_made_twice() -> None:
    @attrs.frozen
    class Local(Ask[int]):
        pass

    @attrs.define
    class Slotted(Actor):
        start: int = 3

        @handler
        async def local(self, message: Local) -> int:
            return self.start

    assert set(Slotted.__handlers__) == {Local}
    assert Slotted.__handlers__[Local].function is Slotted.local
    assert Slotted(4).start == 4


def test_a_class_made_by_calling_type_finds_local_names() -> None:
    @attrs.frozen
    class Local(Tell):
        pass

    @handler
    async def local(self: Actor, message: Local) -> None: ...

    made = type("Made", (Actor,), {"local": local})

    assert made.__handlers__[Local].function is local


def test_a_function_brings_what_it_uses_from_where_it_was_defined() -> None:
    def around():
        @attrs.frozen
        class Local(Ask[int]):
            pass

        @handler
        async def local(self: Actor, message: Local) -> int:
            return 1 if isinstance(message, Local) else 0

        return local

    made = type("Made", (Actor,), {"local": around()})

    assert [message.__name__ for message in made.__handlers__] == ["Local"]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="type parameters are newer")
def test_type_parameters_of_the_class_and_the_method_are_known() -> None:
    source = """
class Shelf[T](Actor):
    @handler
    async def add[M: Add](self, message: "Add") -> "T | M": ...
"""
    exec(source, names := dict(globals()))

    assert set(names["Shelf"].__handlers__) == {Add}


def test_an_annotation_may_be_in_quotes_although_all_are_strings() -> None:
    class Quoted(Actor):
        @handler
        async def add(self, message: "Add") -> "int":  # noqa: UP037 - that is the point
            return 1

    assert set(Quoted.__handlers__) == {Add}


def test_annotated_stands_for_what_it_annotates() -> None:
    class Noted(Actor):
        @handler
        async def add(self, message: Annotated[Add, "one more"]) -> Annotated[int, "the sum"]:
            return 1

    assert set(Noted.__handlers__) == {Add}


def test_decorators_above_and_below_are_fine_if_they_use_wraps() -> None:
    def logged(method):
        @functools.wraps(method)
        async def wrapper(self, message):
            return await method(self, message)

        return wrapper

    class Logged(Actor):
        @handler(concurrent=2)
        @logged
        async def add(self, message: Add) -> int:
            return 1

        @logged
        @handler(concurrent=3)
        async def reset(self, message: Reset) -> None: ...

    assert Logged.__handlers__[Add].concurrent == 2
    assert Logged.__handlers__[Reset].function is Logged.reset


# ------------------------------------------------------------------ answers that fit
class Page(TypedDict):
    text: str


class Sized(Protocol):
    """What fits a protocol is left to the type checker."""

    size: int


def _asked_for(answer: object) -> type:
    class Question(Ask[answer]):
        pass

    return Question


_FITTING = [
    (int, int), (int, bool), (float, int), (complex, float), (None, None), (object, int), (Any, str), (int, Any),
    (int, NoReturn), (int | None, int), (int | None, None), (int | None, int | None), (list[str], list[str]),
    (list[str], list[int]), (Mapping[str, int], dict[str, int]), (tuple[int, ...], tuple[int, int]), (Page, dict),
    (Page, Page), (Literal["yes"], str), (Sized, Page), (Sized, int),
]  # fmt: skip
_NOT_FITTING = [
    (int, str), (int, None), (None, int), (int, float), (int | None, str), (int, int | None), (list[str], str),
    (dict[str, int], list[str]), (str, Page),
]  # fmt: skip


@pytest.mark.parametrize(("wanted", "given"), _FITTING)
def test_a_return_annotation_that_fits_is_fine(wanted: object, given: object) -> None:
    message = _asked_for(wanted)

    async def answer(self, message): ...

    answer.__annotations__ = {"message": message, "return": given}

    assert set(type("Answering", (Actor,), {"answer": handler(answer)}).__handlers__) == {message}


@pytest.mark.parametrize(("wanted", "given"), _NOT_FITTING)
def test_a_return_annotation_that_does_not_fit_is_a_type_error(wanted: object, given: object) -> None:
    async def answer(self, message): ...

    answer.__annotations__ = {"message": _asked_for(wanted), "return": given}

    with pytest.raises(TypeError, match="is answered with"):
        type("Answering", (Actor,), {"answer": handler(answer)})


def test_an_ask_that_does_not_say_its_answer_takes_any() -> None:
    class Anything(Ask):
        pass

    class Answering(Actor):
        @handler
        async def anything(self, message: Anything) -> int:
            return 1

    assert set(Answering.__handlers__) == {Anything}


@pytest.mark.parametrize(
    "given",
    [AsyncIterator[str], AsyncGenerator[str, None], AsyncIterable[str], AsyncIterator, AsyncIterator[Any], Any],
)
def test_a_stream_is_answered_by_an_async_iterator_of_its_items(given: object) -> None:
    async def tail(self, message):
        yield ""

    tail.__annotations__ = {"message": Tail, "return": given}

    assert type("Following", (Actor,), {"tail": handler(tail)}).__handlers__[Tail].is_stream


@pytest.mark.parametrize("given", [AsyncIterator[int], AsyncGenerator[int, None], str, list[str], None])
def test_an_iterator_of_something_else_is_a_type_error(given: object) -> None:
    async def tail(self, message):
        yield ""

    tail.__annotations__ = {"message": Tail, "return": given}

    with pytest.raises(TypeError, match=r"right: async def tail\(self, message: Tail\) -> AsyncIterator\[str\]"):
        type("Following", (Actor,), {"tail": handler(tail)})


def test_a_stream_that_does_not_say_its_items_takes_any_but_only_an_iterator() -> None:
    class Anything(Stream):
        pass

    async def fine(self, message: Anything) -> AsyncIterator[int]:
        yield 1

    async def wrong(self, message: Anything) -> int:
        yield 1

    assert set(type("Streaming", (Actor,), {"fine": handler(fine)}).__handlers__) == {Anything}
    with pytest.raises(TypeError, match=r"-> AsyncIterator\[\.\.\.\]"):
        type("Streaming", (Actor,), {"wrong": handler(wrong)})


def test_the_answer_of_a_forward_reference_is_checked_once_it_is_known() -> None:
    class Wrong(Actor):
        @handler
        async def later(self, message: Later) -> Page:
            return {"text": ""}

    assert set(Wrong.__handlers__) == {Later}
    with pytest.raises(TypeError, match="is answered with Plain"):

        class Wronger(Actor):
            @handler
            async def known(self, message: Known) -> str:
                return ""


class Later(Ask["DefinedNowhere"]):
    pass


class Known(Ask["Plain"]):
    pass

"""Makers: what they make is what the class itself would have made, and frozen; what they cannot make they refuse."""

from __future__ import annotations

import copy
import pickle

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trouper.runtime import Event, maker


@attrs.frozen(kw_only=True)
class Happened(Event):
    """A record as the cast has them: its base has the slot for weak references."""

    step: int
    words: str = "nothing"
    details: dict[str, object] = attrs.field(factory=dict)


@attrs.frozen(weakref_slot=False)
class Alone:
    """A class without a base."""

    first: int
    second: object = None


def happened(at: float = 1.5, actor: str = "a", step: int = 3, **rest: object) -> Happened:
    return Happened(at=at, actor=actor, step=step, **rest)


@given(st.floats(allow_nan=False), st.text(), st.integers(), st.text())
def test_what_is_made_is_what_the_class_would_have_made(at: float, actor: str, step: int, words: str) -> None:
    """By equality, hash where there is one, text, type, and through copy and pickle."""
    made = maker(Happened, "step", "words", "actor", "at")(step, words, actor, at)
    expected = happened(at, actor, step, words=words)

    assert made == expected
    assert type(made) is Happened
    assert repr(made) == repr(expected)
    assert copy.copy(made) == expected
    assert attrs.evolve(made, step=step + 1) == happened(at, actor, step + 1, words=words)
    assert pickle.loads(pickle.dumps(made)) == expected


def test_what_is_made_is_hashed_like_its_class() -> None:
    assert hash(maker(Alone, "first", "second")(1, "x")) == hash(Alone(1, "x"))


def test_fields_that_are_not_named_get_their_defaults_and_each_its_own_mutable_one() -> None:
    make = maker(Happened, "at", "actor", "step")

    one, other = make(1.5, "a", 3), make(1.5, "a", 3)

    assert one == happened()
    assert one.words == "nothing"
    assert one.details == {}
    assert one.details is not other.details


@pytest.mark.parametrize("field", ["step", "at", "words", "unknown"])
def test_what_is_made_is_frozen(field: str) -> None:
    made = maker(Happened, "at", "actor", "step")(1.5, "a", 3)

    with pytest.raises((attrs.exceptions.FrozenInstanceError, AttributeError)):
        setattr(made, field, 4)
    with pytest.raises((attrs.exceptions.FrozenInstanceError, AttributeError)):
        delattr(made, field)
    assert made == happened()


def test_a_maker_takes_exactly_the_fields_it_was_made_for() -> None:
    make = maker(Alone, "first")

    with pytest.raises(TypeError, match="positional argument"):
        make(1, 2)
    with pytest.raises(TypeError, match="first"):
        make()


@attrs.define
class Open:
    x: int


@attrs.frozen(slots=False)
class WithDict:
    x: int


@attrs.frozen
class WithWeakReference:
    x: int


@attrs.frozen(weakref_slot=False)
class WithHook:
    x: int

    def __attrs_post_init__(self) -> None: ...


@attrs.frozen(weakref_slot=False)
class WithValidator:
    x: int = attrs.field(validator=attrs.validators.ge(0))


@attrs.frozen(weakref_slot=False)
class WithConverter:
    x: int = attrs.field(converter=int)


@attrs.frozen(weakref_slot=False)
class FromItself:
    x: int
    y: int = attrs.field(default=attrs.Factory(lambda self: self.x, takes_self=True))


class ChildOfFrozen(Alone):
    """No attrs class of its own: it has a dict."""


@pytest.mark.parametrize(
    ("cls", "names", "why"),
    [
        (Open, ("x",), "frozen and has slots"),
        (WithDict, ("x",), "frozen and has slots"),
        (ChildOfFrozen, ("first",), "frozen and has slots"),
        (WithWeakReference, ("x",), "weakref_slot=False"),
        (WithHook, ("x",), "__attrs_post_init__ would not be called"),
        (WithValidator, ("x",), "validator of 'x'"),
        (WithConverter, ("x",), "converter of 'x'"),
        (FromItself, ("x",), "'y' is made from the other fields"),
        (Alone, ("first", "third"), "no field 'third'; it has first, second"),
        (Alone, ("first", "first"), "named twice"),
        (Alone, ("second",), "'first' has no default"),
    ],
)
def test_what_cannot_be_made_like_this_is_refused_and_named(cls: type, names: tuple[str, ...], why: str) -> None:
    with pytest.raises(TypeError, match=why) as caught:
        maker(cls, *names)
    assert str(caught.value).startswith(f"maker({cls.__name__}): ")


def test_a_class_of_the_user_that_inherits_from_what_has_slots_is_made_too() -> None:
    """Nothing is asked of a class but its form."""

    @attrs.frozen
    class Further(Happened):
        more: int = 0

    made = maker(Further, "at", "actor", "step", "more")(1.5, "a", 3, 9)

    assert made == Further(at=1.5, actor="a", step=3, more=9)

"""Orders to a living actor on its system lane: carried out between two messages, never behind a full mailbox."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from ._envelope import HELD, Envelope
from ._events import Resumed, Suspended

if TYPE_CHECKING:
    from ._actor import Actor
    from ._cell import Cell
    from ._clock import Seconds
    from ._incarnation import Incarnation


class Order(Envelope):
    """One thing to do to an incarnation, and who waits for it to be done."""

    __slots__ = ("act", "quiet")

    def __init__(
        self, cell: Cell, deadline: Seconds, act: Callable[[Incarnation], object], *, quiet: bool = False
    ) -> None:
        super().__init__(self, cell, deadline)
        self.state: int = HELD
        self.act: Callable[[Incarnation], object] = act
        self.quiet: bool = quiet  # only while no concurrent handler runs

    def carry_out(self, life: Incarnation) -> None:
        """Do it, and answer whoever waits."""
        if self.state == HELD:
            try:
                value = self.act(life)
            except Exception as error:  # noqa: BLE001 - it is the answer; the actor's own state is as it was
                self.fail(error)
            else:
                self.answer(value)


def suspend(life: Incarnation) -> None:
    """No further message is handled until `resume`."""
    if not life.suspended:
        life.suspended = True
        _say(life, Suspended)


def resume(life: Incarnation) -> None:
    """Go on handling messages."""
    if life.suspended:
        life.suspended = False
        _say(life, Resumed)


def _say(life: Incarnation, kind: type[Suspended | Resumed]) -> None:
    system = life.cell.system
    if system.event_bus.active:
        system.event_bus.emit(kind(at=system.clock.now(), actor=life.cell.name, incarnation=life.number))


def get_state(life: Incarnation) -> object:
    """What `snapshot` gives, or a shallow copy of the attributes."""
    return _state(life.actor)


def replace_state(state: object) -> Callable[[Incarnation], None]:
    """Hand `state` to `restore`, or put it in the place of the attributes."""

    def act(life: Incarnation) -> None:
        _restore(life.actor, state)
        life.take_snapshot()

    return act


def swap(factory: Callable[[], Actor], convert: Callable[[Any], object] | None) -> Callable[[Incarnation], None]:
    """Go on as another instance, with the state of the old one."""

    def act(life: Incarnation) -> None:
        old_state = _state(life.actor)
        new = life.make(factory)
        _restore(new, old_state if convert is None else convert(old_state))
        life.take_over(new, factory)

    return act


def _state(actor: Actor) -> object:
    if type(actor).__snapshots__:
        return cast("Any", actor).snapshot()
    return {name: value for name, value in vars(actor).items() if name != "ctx"}


def _restore(actor: Actor, state: object) -> None:
    if type(actor).__snapshots__:
        cast("Any", actor).restore(state)
        return
    if not isinstance(state, dict):
        raise TypeError(
            f"the state of a {type(actor).__qualname__} is a dict of its attributes, not {type(state).__qualname__}; "
            "give a dict, or define `snapshot` and `restore`"
        )
    ctx = actor.ctx
    vars(actor).clear()
    vars(actor).update(cast("dict[str, object]", state))
    actor.ctx = ctx

"""Supervision as data: how a child is started, restarted and stopped. Checked when built, not when a child dies."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import attrs

from ._clock import Seconds

if TYPE_CHECKING:
    from ._actor import Actor

ActorFactory = Callable[[], "Actor"]
"""Builds one incarnation; called again for each restart."""


class Restart(enum.Enum):
    """When a child that has ended is started again."""

    PERMANENT = "permanent"
    """Always, also after a normal end."""
    TRANSIENT = "transient"
    """Only after a crash."""
    TEMPORARY = "temporary"
    """Never; it is forgotten when it ends."""


class Strategy(enum.Enum):
    """Who is restarted along with a crashed child."""

    ONE_FOR_ONE = "one_for_one"
    """Nobody else."""


class ExitKind(enum.Enum):
    """Why an incarnation ended."""

    NORMAL = "normal"
    SHUTDOWN = "shutdown"
    KILLED = "killed"
    CRASHED = "crashed"


@attrs.frozen
class ExitReason:
    """Why an incarnation ended, and the error if it crashed."""

    kind: ExitKind
    error: BaseException | None = None

    @property
    def clean(self) -> bool:
        """Whether a transient child stays down after this."""
        return self.kind in {ExitKind.NORMAL, ExitKind.SHUTDOWN}

    def __str__(self) -> str:
        return f"{self.kind.value} ({self.error!r})" if self.error is not None else self.kind.value


NORMAL = ExitReason(ExitKind.NORMAL)
SHUTDOWN = ExitReason(ExitKind.SHUTDOWN)
KILLED = ExitReason(ExitKind.KILLED)


def crashed(error: BaseException) -> ExitReason:
    """The reason of an incarnation whose handler, start or background task raised `error`."""
    return ExitReason(ExitKind.CRASHED, error)


def _positive(_: object, attribute: attrs.Attribute[float], value: float) -> None:
    if not (isinstance(value, int | float) and not isinstance(value, bool) and value > 0):
        raise ValueError(f"{attribute.name} must be a positive number, not {value!r}")


def _not_negative(_: object, attribute: attrs.Attribute[float], value: float) -> None:
    if not (isinstance(value, int | float) and not isinstance(value, bool) and value >= 0):
        raise ValueError(f"{attribute.name} must be a number that is not negative, not {value!r}")


@attrs.frozen(kw_only=True)
class Backoff:
    """How long to wait before the n-th restart in a row: `min * 2**n` up to `max`, plus up to `jitter` of itself."""

    min: Seconds = attrs.field(default=0.05, validator=_positive)
    max: Seconds = attrs.field(default=5.0, validator=_positive)
    jitter: float = attrs.field(default=0.2, validator=_not_negative)

    def __attrs_post_init__(self) -> None:
        if self.max < self.min:
            raise ValueError(f"Backoff(min={self.min}, max={self.max}): max is smaller than min")


@attrs.frozen(kw_only=True)
class Mailbox:
    """How many messages may wait for one actor; senders of more wait (`tell_nowait` raises `MailboxFull`)."""

    capacity: int = attrs.field(default=64)

    @capacity.validator
    def _check_capacity(self, _: object, value: int) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"Mailbox(capacity={value!r}): give a whole number of at least 1")


@attrs.frozen(kw_only=True)
class ChildSpec:
    """How one child is started, restarted and stopped.

    `shutdown` is what a polite stop may take, in seconds, before the child is cancelled.
    """

    id: str
    start: ActorFactory
    restart: Restart = Restart.PERMANENT
    shutdown: Seconds = attrs.field(default=5.0, validator=_not_negative)
    backoff: Backoff | None = None
    mailbox: Mailbox = Mailbox()

    def __attrs_post_init__(self) -> None:
        if not self.id:
            raise ValueError("ChildSpec needs an id: the name by which its supervisor knows the child")
        if not callable(self.start):
            raise TypeError(f"ChildSpec({self.id!r}).start must be callable and give an actor, not {self.start!r}")


def _children(children: Sequence[ChildSpec]) -> tuple[ChildSpec, ...]:
    return tuple(children)


@attrs.frozen(kw_only=True)
class SupervisorSpec:
    """A supervisor and its children, in start order.

    More than `intensity` restarts within `period` seconds and it gives up: stops all children and fails its parent.
    """

    children: Sequence[ChildSpec] = attrs.field(default=(), converter=_children)
    strategy: Strategy = Strategy.ONE_FOR_ONE
    intensity: int = attrs.field(default=1)
    period: Seconds = attrs.field(default=5.0, validator=_positive)

    @intensity.validator
    def _check_intensity(self, _: object, value: int) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ValueError(f"intensity must be a whole number that is not negative, not {value!r}")

    def __attrs_post_init__(self) -> None:
        seen: set[str] = set()
        for child in self.children:
            if child.id in seen:
                raise ValueError(f"two children are called {child.id!r}: ids must differ within a supervisor")
            seen.add(child.id)
        if not math.isfinite(self.period):
            raise ValueError(f"period must be finite, not {self.period!r}")

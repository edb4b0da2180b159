"""Supervision as data: how a child is started, restarted and stopped. Checked when built, not when a child dies.

Every mistake of a spec, wrong types included, comes in one `SpecError`: field validators of attrs would stop at the
first, so each class has one `__attrs_post_init__` that collects.
"""
# mypy: no-warn-unreachable
# (The checks are there for values that are not what their annotation says.)

from __future__ import annotations

import enum
import inspect
import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

import attrs

from ._clock import Seconds
from ._shown import shown
from ._spec_check import Mistakes, write_instead

if TYPE_CHECKING:
    from ._actor import Actor

ActorFactory = Callable[..., "Actor"]
"""Builds one incarnation; called again for each restart, with the arguments of `start_child` if there were any."""

POLITE: Seconds = 5.0
"""What a polite stop of an actor may take when its spec says nothing."""


class Restart(enum.Enum):
    """When a child that has ended is started again."""

    PERMANENT = "permanent"
    """Always, also after a normal end."""
    TRANSIENT = "transient"
    """Only after an unclean end: a crash or a kill."""
    TEMPORARY = "temporary"
    """Never; it is forgotten when it ends."""


class Strategy(enum.Enum):
    """Who is restarted along with a child that ended."""

    ONE_FOR_ONE = "one_for_one"
    """Nobody else."""
    ONE_FOR_ALL = "one_for_all"
    """All: stopped in reverse order, then started in order."""
    REST_FOR_ONE = "rest_for_one"
    """Those that were started after it: stopped in reverse order, then started in order."""
    SIMPLE_ONE_FOR_ONE = "simple_one_for_one"
    """Nobody else; all children are copies of one spec, started by `start_child(*args)` and stopped in parallel."""


class AutoShutdown(enum.Enum):
    """Whether a supervisor ends when its significant children have ended by themselves."""

    NEVER = "never"
    """It does not."""
    ANY_SIGNIFICANT = "any_significant"
    """When one of them has."""
    ALL_SIGNIFICANT = "all_significant"
    """When the last of them has."""


class Shutdown(enum.Enum):
    """How a child is stopped, where it is not a number of seconds."""

    BRUTAL = "brutal"
    """Cancelled at once; `on_stop` does not run, `finally` blocks do."""
    INFINITY = "infinity"
    """Asked to stop, and waited for however long it takes."""


class Directive(enum.Enum):
    """What a crash with a certain class of error leads to."""

    RESUME = "resume"
    """The actor goes on with the state it has; only the message in hand is lost."""
    RESTART = "restart"
    """What the restart type says: the way to take a class out of a wider directive."""
    STOP = "stop"
    """It stays down, whatever the restart type says."""
    ESCALATE = "escalate"
    """The supervisor gives up at once."""


class Overflow(enum.Enum):
    """What happens to a message for a mailbox that is full."""

    WAIT = "wait"
    """Its sender waits for room; `tell_nowait` raises `MailboxFull`."""
    FAIL = "fail"
    """Its sender gets `MailboxFull`."""
    DROP_NEW = "drop_new"
    """It is dropped."""
    DROP_OLD = "drop_old"
    """The one that has waited longest is dropped for it."""
    LATEST_BY_KEY = "latest_by_key"
    """It takes the place of a waiting one with the same `key`; where there is none, as DROP_OLD."""


class ExitKind(enum.Enum):
    """Why an incarnation ended."""

    NORMAL = "normal"
    SHUTDOWN = "shutdown"
    KILLED = "killed"
    CRASHED = "crashed"


@attrs.frozen
class ExitReason:
    """Why an incarnation ended: the `error` if it crashed, the `term` that a shutdown was given."""

    kind: ExitKind
    error: BaseException | None = attrs.field(default=None, repr=shown)
    term: object = attrs.field(default=None, repr=shown, hash=False)

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.kind, ExitKind):
            wrong = Mistakes()
            wrong.member("kind", self.kind, ExitKind)
            wrong.raise_all("ExitReason")

    @classmethod
    def shutdown(cls, term: object = None) -> ExitReason:
        """A clean end that says more: `ExitReason.shutdown("moved to another host")`."""
        return cls(ExitKind.SHUTDOWN, None, term)

    @property
    def clean(self) -> bool:
        """Whether a transient child stays down after this."""
        return self.kind is ExitKind.NORMAL or self.kind is ExitKind.SHUTDOWN

    def __str__(self) -> str:
        said = self.error if self.error is not None else self.term
        return self.kind.value if said is None else f"{self.kind.value} ({shown(said)})"


NORMAL = ExitReason(ExitKind.NORMAL)
SHUTDOWN = ExitReason(ExitKind.SHUTDOWN)
KILLED = ExitReason(ExitKind.KILLED)


def crashed(error: BaseException) -> ExitReason:
    """The reason of an incarnation whose handler, start or background task raised `error`."""
    return ExitReason(ExitKind.CRASHED, error)


@attrs.frozen(kw_only=True)
class Backoff:
    """How long to wait before the n-th restart in a row: `min * 2**(n-1)` up to `max`, plus up to `jitter` of itself.

    An incarnation that lived for `reset` seconds ends the row: after it the wait is `min` again.
    """

    min: Seconds = 0.05
    max: Seconds = 5.0
    jitter: float = 0.2
    reset: Seconds | None = None
    """None: halfway between `min` and `max`."""

    def __attrs_post_init__(self) -> None:
        wrong = Mistakes()
        ordered = wrong.number("min", self.min)
        ordered &= wrong.number("max", self.max)
        if ordered and self.max < self.min:
            wrong.add(f"max must be at least min, which is {self.min}, not {self.max}")
        wrong.number("jitter", self.jitter, zero=True)
        if self.reset is not None:
            wrong.number("reset", self.reset, endless=True, right="seconds above 0 (math.inf: never) or None")
        wrong.raise_all("Backoff")

    @property
    def reset_after(self) -> Seconds:
        """Seconds of life after which a row of failures has ended."""
        return self.min / 2 + self.max / 2 if self.reset is None else self.reset


@attrs.frozen(kw_only=True)
class Mailbox:
    """How many messages may wait for one actor, and what happens to one more.

    A tell that crashed its handler is handed to the next incarnation again, at most `redeliver` times; then it is a
    dead letter.
    """

    capacity: int = 64
    overflow: Overflow = Overflow.WAIT
    key: Callable[..., Hashable] | None = None
    """For `Overflow.LATEST_BY_KEY`: which messages replace each other."""
    redeliver: int = 0

    def __attrs_post_init__(self) -> None:
        wrong = Mistakes()
        wrong.whole("capacity", self.capacity, 1)
        known = wrong.member("overflow", self.overflow, Overflow)
        if self.key is not None and not callable(self.key):
            wrong.wrong("key", "a function of a message, or None", self.key)
        elif known and self.key is None and self.overflow is Overflow.LATEST_BY_KEY:
            wrong.add("key is missing: Overflow.LATEST_BY_KEY needs it, as in key=lambda message: message.topic")
        elif known and self.key is not None and self.overflow is not Overflow.LATEST_BY_KEY:
            wrong.add(f"key is only read with Overflow.LATEST_BY_KEY, and overflow is {self.overflow}; leave it out")
        wrong.whole("redeliver", self.redeliver, 0)
        wrong.raise_all("Mailbox")


@attrs.frozen(kw_only=True)
class Watchdog:
    """A handler that makes no progress for `limit` seconds is reported as `Stuck`, and with `restart` restarted.

    `self.ctx.progress()` in the handler tells that it is alive.
    """

    limit: Seconds
    restart: bool = False

    def __attrs_post_init__(self) -> None:
        wrong = Mistakes()
        wrong.number("limit", self.limit)
        wrong.flag("restart", self.restart)
        wrong.raise_all("Watchdog")


DEFAULT_MAILBOX = Mailbox()


def _read_only(given: Mapping[type[BaseException], Directive] | None) -> Mapping[type[BaseException], Directive]:
    """A copy nobody can change; what is no mapping is left for the check to name."""
    if given is None:
        return MappingProxyType({})
    return MappingProxyType(dict(given)) if isinstance(given, Mapping) else given


@attrs.frozen(kw_only=True)
class ChildSpec:
    """How one child is started, restarted and stopped.

    `start` gives the actor, or is the `SupervisorSpec` of a supervisor below this one. `shutdown` is what a polite
    stop may take, in seconds, before the child is cancelled; `directives` say for classes of errors what a crash leads
    to (the nearest class counts).
    """

    id: str
    start: ActorFactory | SupervisorSpec
    restart: Restart = Restart.PERMANENT
    shutdown: Seconds | Shutdown | None = None
    """None: 5 seconds for an actor, `Shutdown.INFINITY` for a supervisor."""
    significant: bool = False
    backoff: Backoff | None = None
    directives: Mapping[type[BaseException], Directive] = attrs.field(default=None, converter=_read_only, hash=False)
    mailbox: Mailbox = DEFAULT_MAILBOX
    watchdog: Watchdog | None = None

    def __attrs_post_init__(self) -> None:
        wrong = Mistakes()
        if not isinstance(self.id, str) or not self.id:
            wrong.wrong("id", "a text that is not empty (its supervisor knows the child by it)", self.id)
        self._check_start(wrong)
        known = wrong.member("restart", self.restart, Restart)
        self._check_shutdown(wrong)
        known &= wrong.flag("significant", self.significant)
        if known and self.significant and self.restart is Restart.PERMANENT:
            wrong.add("significant=True needs Restart.TRANSIENT or TEMPORARY: a permanent child never ends by itself")
        wrong.instance("backoff", self.backoff, Backoff, example="Backoff(min=0.1, max=5)")
        self._check_directives(wrong)
        if not isinstance(self.mailbox, Mailbox):
            wrong.wrong("mailbox", "a Mailbox", self.mailbox, "; write mailbox=Mailbox(capacity=64)")
        wrong.instance("watchdog", self.watchdog, Watchdog, example="Watchdog(limit=30)")
        if self.is_supervisor:
            self._check_supervisor(wrong)
        wrong.raise_all(f"ChildSpec({shown(self.id, 60)})")

    def _check_start(self, wrong: Mistakes) -> None:
        right = "a class or function that gives an actor, or a SupervisorSpec"
        if not callable(self.start) and not self.is_supervisor:
            kind = type(self.start).__name__
            wrong.wrong(
                "start", right, self.start, f"; write start={kind if hasattr(self.start, 'on_start') else 'Worker'}"
            )
        elif inspect.iscoroutinefunction(self.start):
            wrong.wrong("start", f"{right}: a plain `def`", self.start, "; what has to wait belongs into `on_start`")

    def _check_shutdown(self, wrong: Mistakes) -> None:
        if self.shutdown is not None and not isinstance(self.shutdown, Shutdown):
            wrong.number(
                "shutdown",
                self.shutdown,
                zero=True,
                endless=True,
                right="seconds of at least 0, Shutdown.BRUTAL or Shutdown.INFINITY",
                hint=write_instead(self.shutdown, Shutdown),
            )

    def _check_directives(self, wrong: Mistakes) -> None:
        if not isinstance(self.directives, Mapping):
            wrong.wrong("directives", "a dict from classes of errors to directives", self.directives)
            return
        for error, directive in self.directives.items():
            if not (isinstance(error, type) and issubclass(error, BaseException)):
                wrong.wrong("a key of directives", "a class of errors", error)
            wrong.member(f"directives[{getattr(error, '__name__', shown(error, 60))}]", directive, Directive)

    def _check_supervisor(self, wrong: Mistakes) -> None:
        """Options that only an actor reads would silently do nothing."""
        given = {"mailbox": self.mailbox != DEFAULT_MAILBOX, "watchdog": self.watchdog, "directives": self.directives}
        for name in (name for name, value in given.items() if value):
            wrong.add(f"{name} belongs to an actor, and start is a SupervisorSpec; leave it out")

    @property
    def is_supervisor(self) -> bool:
        """Whether the child is a supervisor itself."""
        return isinstance(self.start, SupervisorSpec)

    @property
    def grace(self) -> Seconds:
        """What a polite stop may take: 0 for BRUTAL, infinite for INFINITY, the default where none was given."""
        if self.shutdown is Shutdown.BRUTAL:
            return 0.0
        if self.shutdown is Shutdown.INFINITY or (self.shutdown is None and self.is_supervisor):
            return math.inf
        return POLITE if self.shutdown is None else float(self.shutdown)


def _children(given: Iterable[ChildSpec]) -> tuple[ChildSpec, ...]:
    """A tuple; what cannot be one is left for the check to name."""
    several = isinstance(given, Iterable) and not isinstance(given, str | bytes)
    return tuple(given) if several else cast("tuple[ChildSpec, ...]", given)


@attrs.frozen(kw_only=True)
class SupervisorSpec:
    """A supervisor and its children, in start order.

    More than `intensity` restarts within `period` seconds and it gives up: it stops all children and ends with the
    reason shutdown, so that a permanent supervisor is started anew by its own supervisor and a transient one is not.
    """

    strategy: Strategy = Strategy.ONE_FOR_ONE
    intensity: int = 1
    period: Seconds = 5.0
    auto_shutdown: AutoShutdown = AutoShutdown.NEVER
    children: Sequence[ChildSpec] = attrs.field(default=(), converter=_children)

    def __attrs_post_init__(self) -> None:
        wrong = Mistakes()
        known = wrong.member("strategy", self.strategy, Strategy)
        wrong.whole("intensity", self.intensity, 0)
        wrong.number("period", self.period)
        automatic = wrong.member("auto_shutdown", self.auto_shutdown, AutoShutdown)
        if not isinstance(self.children, tuple):
            wrong.wrong("children", "a list of ChildSpec", self.children, "; write children=[ChildSpec(...)]")
        else:
            _check_children(wrong, self.children)
            if known:
                self._check_dynamic(wrong)
            if automatic and self.auto_shutdown is AutoShutdown.NEVER:
                _check_significant(wrong, self.children)
        wrong.raise_all("SupervisorSpec")

    def _check_dynamic(self, wrong: Mistakes) -> None:
        if self.strategy is not Strategy.SIMPLE_ONE_FOR_ONE:
            return
        if len(self.children) != 1:
            wrong.add(
                f"children must be exactly one with Strategy.SIMPLE_ONE_FOR_ONE, not {len(self.children)}: "
                "the spec that `start_child(*args)` starts copies of"
            )
        if isinstance(self.auto_shutdown, AutoShutdown) and self.auto_shutdown is not AutoShutdown.NEVER:
            wrong.add(
                f"auto_shutdown must be AutoShutdown.NEVER with Strategy.SIMPLE_ONE_FOR_ONE, not {self.auto_shutdown}"
            )


def _check_children(wrong: Mistakes, children: Iterable[object]) -> None:
    seen: set[str] = set()
    for place, child in enumerate(children):
        if isinstance(child, SupervisorSpec):
            right = "a ChildSpec around it, ChildSpec(id=..., start=SupervisorSpec(...))"
            wrong.wrong(f"children[{place}]", right, child)
        elif not isinstance(child, ChildSpec):
            wrong.wrong(f"children[{place}]", "a ChildSpec", child)
        elif child.id in seen:
            wrong.add(f"children[{place}]: {shown(child.id)} is the id of an earlier child; ids must differ")
        else:
            seen.add(child.id)


def _check_significant(wrong: Mistakes, children: Iterable[object]) -> None:
    for child in children:
        if isinstance(child, ChildSpec) and child.significant:
            wrong.add(
                f"child {shown(child.id)} is significant, which means nothing under AutoShutdown.NEVER; "
                "set auto_shutdown, or leave significant out"
            )

"""`spawn`: from a class and its arguments to a child of a supervisor, eager or lazy."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from ._clock import Seconds
from ._errors import ChildError, StartFailed
from ._intensity import RestartWindow
from ._lazy import Dormant
from ._mistakes import check_factory
from ._ref import Ref
from ._spec import DEFAULT_MAILBOX, Backoff, ChildSpec, Directive, Mailbox, Restart, Shutdown, SupervisorSpec, Watchdog

if TYPE_CHECKING:
    from ._actor import Actor
    from ._supervisor import Supervisor


def _template() -> Actor:
    raise AssertionError("the template of lazy actors is never started")


def spec_of(
    start: Callable[[], Actor],
    name: str,
    *,
    mailbox: Mailbox | None,
    restart: Restart,
    backoff: Backoff | None,
    shutdown: Seconds | Shutdown,
    directives: Mapping[type[BaseException], Directive] | None,
    watchdog: Watchdog | None,
) -> ChildSpec:
    """The spec that the keywords of `spawn` make."""
    return ChildSpec(
        id=name,
        start=start,
        restart=restart,
        shutdown=shutdown,
        backoff=backoff,
        directives=directives if directives is not None else {},
        mailbox=mailbox if mailbox is not None else DEFAULT_MAILBOX,
        watchdog=watchdog,
    )


async def spawn_under(
    supervisor: Supervisor,
    actor: Callable[..., Actor],
    args: tuple[object, ...],
    *,
    name: str | None,
    intensity: int,
    period: Seconds,
    lazy: bool,
    **options: Any,
) -> Ref[Any]:
    """Start an actor under `supervisor`; see `System.spawn`."""
    check_factory(actor, "await system.spawn({})" if supervisor.owner is None else "await self.ctx.spawn({})")
    registry = supervisor.system.registry
    if name is None:
        stem = (getattr(actor, "__name__", None) or type(actor).__name__).lower()
        name = registry.unique(stem)
        while name in supervisor.children:
            name = registry.unique(stem, name)
    start = functools.partial(actor, *args) if args else actor
    if (intensity, period) != (3, 5.0):  # a wrong one is an error now, not at the first crash
        SupervisorSpec(intensity=intensity, period=period)
    if lazy:
        supervisor.require_open(name)
        template = supervisor.system.lazy_template(options, intensity, period)
        dormant = Dormant(supervisor, name, start, template)
        supervisor.add_dormant(dormant)
        return dormant.ref
    spec = spec_of(start, name, **options)
    try:
        child = await supervisor.start_child(spec, name=name, window=RestartWindow(intensity, period), kept=False)
    except ChildError as error:
        raise StartFailed(
            f"the name {name!r} is taken by a living actor; stop that one first, or choose another name", actor=name
        ) from error
    if child is None:
        raise StartFailed(f"actor {name!r} declined to start (its on_start raised Ignore)", actor=name)
    return cast("Ref[Any]", child.ref)


def template_of(options: Mapping[str, Any]) -> ChildSpec:
    """What all lazy actors with these options share."""
    return spec_of(_template, "lazy", **options)

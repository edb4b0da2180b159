"""What the end of a child leads to: pure functions of specs and reasons, exactly as OTP has them.

Why they are here and not in the supervisor: a model-based test runs the same rules against a second, independent
model, and a reader can check them against the documentation of OTP without following a task.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence

from ._spec import AutoShutdown, ChildSpec, Directive, ExitReason, Restart, Strategy


class Ending(enum.Enum):
    """What a supervisor does with a child that ended by itself."""

    RESTART = "restart"
    """It is started again; this counts for the intensity."""
    REST = "rest"
    """Its spec is kept; it is not running."""
    FORGET = "forget"
    """Its spec goes with it."""


def after_exit(restart: Restart, reason: ExitReason) -> Ending:
    """What a child of this restart type does after that end."""
    if restart is Restart.TEMPORARY:
        return Ending.FORGET
    if restart is Restart.TRANSIENT and reason.clean:
        return Ending.REST
    return Ending.RESTART


def shuts_down(auto: AutoShutdown, ended: ChildSpec, *, others_significant_alive: bool) -> bool:
    """Whether the supervisor ends now that `ended` has ended by itself for good (`REST` or `FORGET`).

    Ask only then: neither a child that is restarted, nor one that a sibling's restart or `terminate_child` took down,
    ever shuts its supervisor down.
    """
    if not ended.significant or auto is AutoShutdown.NEVER:
        return False
    return auto is AutoShutdown.ANY_SIGNIFICANT or not others_significant_alive


def directive_for(directives: Mapping[type[BaseException], Directive], error: BaseException | None) -> Directive | None:
    """What the nearest class of `error` in `directives` says; None: as the restart type says.

    An exception group counts as its own class, never as what is in it: which of several would decide?
    """
    if not directives or error is None:
        return None
    return next((directives[cls] for cls in type(error).__mro__ if cls in directives), None)


def restarted_ids(strategy: Strategy, order: Sequence[str], failed: str) -> Sequence[str]:
    """Who is taken down and started again with `failed`, itself included, in start order.

    Raises:
        ValueError: `failed` is not in `order`.
    """
    place = order.index(failed)
    if strategy is Strategy.ONE_FOR_ALL:
        return tuple(order)
    if strategy is Strategy.REST_FOR_ONE:
        return tuple(order[place:])
    return (failed,)

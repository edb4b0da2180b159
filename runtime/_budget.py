"""What a run may spend, and the books of what it has spent.

A spend is reserved before it is made, in the ledger of the sub-plan, of the plan and of the request at once, so that
things that go on side by side cannot pass a limit together which each of them would keep alone. What was reserved is
settled with what it came to, or released. Everything here is arithmetic on values: nothing waits, no clock is read.

Money is kept as a whole number of 1e-12, because a sum of a million floats is not what the million floats sum up to.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, Self, TypeVar, get_args

import attrs

from ._clock import Seconds
from ._errors import BudgetExceeded
from ._shown import shown
from ._spec_check import Mistakes, is_number

Spend = Literal["tokens", "cost", "steps", "tool_calls", "model_calls"]
"""What a ledger counts. Seconds are no sum: things side by side share them; see `Ledger.deadline`."""

SPENDS: tuple[Spend, ...] = get_args(Spend)

GRAINS_OF_MONEY = 10**12

_Number = TypeVar("_Number", int, float)


@attrs.frozen(kw_only=True)
class Budget:
    """What may be spent in all, above 0; None: no limit.

    Raises:
        SpecError: with every number that is not one, in `.problems`.
    """

    tokens: int | None = None
    cost: float | None = None
    seconds: Seconds | None = None
    steps: int | None = None
    tool_calls: int | None = None
    model_calls: int | None = None

    def __attrs_post_init__(self) -> None:
        wrong = Mistakes()
        for name, value in attrs.asdict(self).items():
            if value is not None and name in {"cost", "seconds"}:
                wrong.number(name, value)
            elif value is not None:
                wrong.whole(name, value, 1)
        wrong.raise_all("Budget")

    def tightened(self, other: Budget) -> Budget:
        """The smaller limit of the two, each."""
        return Budget(
            tokens=_smaller(self.tokens, other.tokens),
            cost=_smaller(self.cost, other.cost),
            seconds=_smaller(self.seconds, other.seconds),
            steps=_smaller(self.steps, other.steps),
            tool_calls=_smaller(self.tool_calls, other.tool_calls),
            model_calls=_smaller(self.model_calls, other.model_calls),
        )

    def as_json(self) -> dict[str, object]:
        """The limits that are set."""
        return attrs.asdict(self, filter=lambda _, value: value is not None)


def _smaller(one: _Number | None, other: _Number | None) -> _Number | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)


@attrs.frozen(kw_only=True)
class Spending:
    """How far one limit of one ledger is used up. `reserved` is what is being spent now, at most."""

    level: str
    what: Spend
    used: float
    reserved: float
    limit: float
    low: bool


class Reservation:
    """A part of a budget that is set aside. As a context manager: what was not settled in the block is released."""

    __slots__ = ("_grains", "_ledger", "_open", "_what")

    def __init__(self, ledger: Ledger, what: Spend, grains: int) -> None:
        self._ledger: Ledger = ledger
        self._what: Spend = what
        self._grains: int = grains
        self._open: bool = True

    @property
    def what(self) -> Spend:
        """Of what."""
        return self._what

    @property
    def amount(self) -> float:
        """How much of it."""
        return _amount(self._what, self._grains)

    def settle(self, actual: float | None = None) -> None:
        """It came to `actual` (as much as was reserved, if None): see `Ledger.settle`."""
        self._ledger.settle(self, self.amount if actual is None else actual)

    def release(self) -> None:
        """Nothing was spent; one that is settled or released already is left as it is."""
        self._ledger.release(self)

    def close(self, ledger: Ledger) -> int:
        """What it held, 0 if it is closed already. For the ledger that it belongs to."""
        if ledger is not self._ledger:
            raise ValueError(f"{self!r} is not of the ledger {ledger.name!r}: settle it where it was reserved")
        held = self._grains if self._open else 0
        self._open = False
        return held

    @property
    def open(self) -> bool:
        """Whether it is still set aside."""
        return self._open

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()

    def __repr__(self) -> str:
        state = "" if self._open else " (closed)"
        return f"<Reservation of {self.amount:g} {self._what} in {self._ledger.name!r}{state}>"


class Ledger:
    """The books of one budget; what is spent in it is spent in its parents too.

    Args:
        budget: The limits of this level.
        parent: The level above.
        warn_at: The share of a limit from which on it is `low`.
        name: What errors call this level: `request`, `plan`, `the sub-plan of step 3`.
        on_low: Called once for each limit, of this level and of those below, that becomes low; it must not raise.
    """

    __slots__ = ("_chain", "_held", "_limits", "_on_low", "_unwarned", "_used", "budget", "name", "warn_at")

    def __init__(
        self,
        budget: Budget,
        parent: Ledger | None = None,
        warn_at: float = 0.8,
        *,
        name: str = "request",
        on_low: Callable[[Spending], None] | None = None,
    ) -> None:
        if not is_number(warn_at) or not 0 < warn_at <= 1:
            raise ValueError(f"Ledger(warn_at={shown(warn_at)}): give a share above 0 and at most 1")
        self.budget: Budget = budget
        self.name: str = name
        self.warn_at: float = warn_at
        self._chain: tuple[Ledger, ...] = (self, *(parent.levels if parent is not None else ()))
        self._limits: dict[Spend, int] = {
            what: _grains(what, limit) for what in SPENDS if (limit := getattr(budget, what)) is not None
        }
        self._on_low: Callable[[Spending], None] | None = on_low
        self._unwarned: set[Spend] = set(self._limits) if on_low is not None else set()
        self._used: dict[Spend, int] = dict.fromkeys(SPENDS, 0)
        self._held: dict[Spend, int] = dict.fromkeys(SPENDS, 0)

    @property
    def levels(self) -> tuple[Ledger, ...]:
        """This ledger, its parent, the parent's parent ..."""
        return self._chain

    def child(self, budget: Budget, *, name: str = "plan") -> Ledger:
        """A ledger for a part of what this one pays for: it has its own limits and keeps to those of this one."""
        return Ledger(budget, self, self.warn_at, name=name, on_low=self._on_low)

    # ------------------------------------------------------------ spending
    def reserve(self, what: Spend, amount: float = 1) -> Reservation:
        """Set `amount` aside here and in every level above, or nowhere.

        Raises:
            BudgetExceeded: a limit does not allow it; the message says which, of what level, and what to do.
        """
        grains = _grains(what, amount)
        for level in self._chain:
            if what in level._limits:
                level.check(what, grains)
        for level in self._chain:
            level._held[what] += grains
        return Reservation(self, what, grains)

    def settle(self, reservation: Reservation, actual: float) -> None:
        """Give back what was set aside and count what it came to, which may be more: what is spent is spent.

        Raises:
            ValueError: it is settled or released already, or of another ledger.
        """
        grains = _grains(reservation.what, actual)
        if not reservation.open:
            raise ValueError(f"{reservation!r} cannot be settled twice")
        held = reservation.close(self)
        for level in self._chain:
            level._held[reservation.what] -= held
        self._count(reservation.what, grains)

    def release(self, reservation: Reservation) -> None:
        """Give back what was set aside: nothing was spent. One that is closed already changes nothing."""
        held = reservation.close(self)
        for level in self._chain:
            level._held[reservation.what] -= held

    def spend(self, what: Spend, amount: float = 1) -> None:
        """Reserve and settle at once.

        Raises:
            BudgetExceeded: a limit does not allow it; nothing is counted.
        """
        grains = _grains(what, amount)
        for level in self._chain:
            if what in level._limits:
                level.check(what, grains)
        self._count(what, grains)

    def charge(self, what: Spend, amount: float = 1) -> None:
        """Count what is spent already, whatever the limits say: a run that goes on after a stop."""
        self._count(what, _grains(what, amount))

    def _count(self, what: Spend, grains: int) -> None:
        for level in self._chain:
            level._used[what] += grains
        for level in self._chain:  # all books first: whoever is warned may look at any
            if level._unwarned and what in level._unwarned and level.is_low(what):
                level._warn(what)

    def _warn(self, what: Spend) -> None:
        self._unwarned.discard(what)
        if self._on_low is not None:
            self._on_low(self._spending(what, self._limits[what]))

    def check(self, what: Spend, grains: int) -> None:
        """Refuse what would pass the limit of this level, in grains."""
        limit = self._limits.get(what)
        if limit is not None and self._used[what] + self._held[what] + grains > limit:
            raise self._exceeded(what, grains, limit)

    # ------------------------------------------------------------ reading
    def used(self, what: Spend) -> float:
        """What is spent and settled."""
        return _amount(what, self._used[_known(what)])

    def reserved(self, what: Spend) -> float:
        """What is set aside and not settled yet."""
        return _amount(what, self._held[_known(what)])

    def left(self, what: Spend) -> float:
        """What can still be reserved, by the tightest level of all; infinite without a limit."""
        rooms = [limit - level._used[what] - level._held[what] for level, limit in self._limiting(what)]
        return _amount(what, max(0, min(rooms))) if rooms else math.inf

    def limited(self, what: Spend) -> bool:
        """Whether this level or one above it limits that."""
        return any(what in level._limits for level in self._chain)

    def fits(self, what: Spend, amount: float = 1) -> bool:
        """Whether a reservation of so much would be granted now."""
        grains = _grains(what, amount)
        return all(level._used[what] + level._held[what] + grains <= limit for level, limit in self._limiting(what))

    @property
    def low(self) -> tuple[Spend, ...]:
        """Of what `warn_at` of a limit is spent, here or above."""
        return tuple(what for what in SPENDS if any(level.is_low(what) for level in self._chain))

    def is_low(self, what: Spend) -> bool:
        """Whether `warn_at` of this level's limit is spent."""
        limit = self._limits.get(what)
        return limit is not None and self._used[what] >= self.warn_at * limit

    def spendings(self) -> tuple[Spending, ...]:
        """Every limit, of this level first, with how far it is used up."""
        return tuple(level._spending(what, limit) for level in self._chain for what, limit in level._limits.items())

    def _spending(self, what: Spend, limit: int) -> Spending:
        return Spending(
            level=self.name,
            what=what,
            used=self.used(what),
            reserved=self.reserved(what),
            limit=_amount(what, limit),
            low=self.is_low(what),
        )

    def deadline(self, began: Seconds) -> Seconds:
        """When the seconds of this level are over, for what began at `began`; infinite without a limit."""
        return began + self.budget.seconds if self.budget.seconds is not None else math.inf

    def warn_time(self, began: Seconds) -> Seconds:
        """When `warn_at` of its seconds are over."""
        return began + self.warn_at * self.budget.seconds if self.budget.seconds is not None else math.inf

    def _limiting(self, what: Spend) -> list[tuple[Ledger, int]]:
        return [(level, level._limits[what]) for level in self._chain if what in level._limits]

    def _exceeded(self, what: Spend, grains: int, limit: int) -> BudgetExceeded:
        def told(number: int) -> str:
            return f"{_amount(what, number):.12g}"

        held = f", {told(self._held[what])} reserved by what goes on" if self._held[what] else ""
        more = _WORDS[what] if grains == 1 or what == "cost" else f"{_WORDS[what]}s"
        return BudgetExceeded(
            f"the budget of the {self.name} does not allow {told(grains)} more {more}: "
            f"{told(self._used[what])} used{held}, limit {told(limit)}. Raise `{what}` of that budget, or ask for less."
        )

    def __repr__(self) -> str:
        spent = ", ".join(f"{s.what} {s.used:g}/{s.limit:g}" for s in self.spendings() if s.level == self.name)
        return f"<Ledger {self.name!r}: {spent or 'no limit'}>"


_WORDS: dict[Spend, str] = {
    "tokens": "token",
    "cost": "cost",
    "steps": "step",
    "tool_calls": "tool call",
    "model_calls": "model call",
}


def _known(what: Spend) -> Spend:
    if what not in _WORDS:
        raise ValueError(f"a ledger counts {', '.join(SPENDS)}; not {shown(what)}")
    return what


def _grains(what: Spend, amount: float) -> int:
    """An amount as a whole number: money in grains, all else as it is."""
    if type(amount) is int and amount >= 0 and what != "cost" and what in _WORDS:
        return amount  # by far the most
    money = _known(what) == "cost"
    if not is_number(amount) or math.isinf(amount) or amount < 0 or not (money or amount == int(amount)):
        raise ValueError(f"{what} must be {'a' if money else 'a whole'} number of at least 0, not {shown(amount)}")
    return round(amount * GRAINS_OF_MONEY) if money else int(amount)


def _amount(what: Spend, grains: int) -> float:
    return grains / GRAINS_OF_MONEY if what == "cost" else grains

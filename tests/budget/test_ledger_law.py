"""Whatever is done to the books of several levels, in any order: no limit is passed and every sum is exact."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from trouper.runtime import SPENDS, Budget, BudgetExceeded, Ledger, Reservation, Spend

WHOLE = [what for what in SPENDS if what != "cost"]
CENTS = st.integers(0, 300).map(lambda cents: cents / 100)
LIMITS = st.none() | st.integers(1, 60)


def budgets() -> st.SearchStrategy[Budget]:
    return st.builds(
        Budget,
        tokens=LIMITS,
        steps=LIMITS,
        tool_calls=LIMITS,
        model_calls=LIMITS,
        cost=st.none() | st.integers(1, 500).map(lambda cents: cents / 100),
    )


def exact(amount: float) -> Fraction:
    """What a person means by 0.1."""
    return Fraction(repr(amount))


class Books(RuleBasedStateMachine):
    """A tree of ledgers beside a model that counts in fractions and knows only sums."""

    ledgers = Bundle("ledgers")
    open = Bundle("open")

    @initialize(target=ledgers, budget=budgets())
    def request(self, budget: Budget) -> Ledger:
        self.all: list[Ledger] = []
        self.spent: dict[tuple[int, Spend], Fraction] = {}
        self.held: dict[tuple[int, Spend], Fraction] = {}
        self.over: set[tuple[int, Spend]] = set()
        return self._known(Ledger(budget))

    @rule(target=ledgers, parent=ledgers, budget=budgets())
    def child(self, parent: Ledger, budget: Budget) -> Ledger:
        return self._known(parent.child(budget))

    def _known(self, ledger: Ledger) -> Ledger:
        self.all.append(ledger)
        return ledger

    def _add(self, sums: dict[tuple[int, Spend], Fraction], ledger: Ledger, what: Spend, amount: Fraction) -> None:
        for level in ledger.levels:
            sums[id(level), what] = sums.get((id(level), what), Fraction()) + amount

    def _room(self, ledger: Ledger, what: Spend, amount: float) -> bool:
        def total(level: Ledger) -> Fraction:
            key = (id(level), what)
            return self.spent.get(key, Fraction()) + self.held.get(key, Fraction()) + exact(amount)

        limits = [(level, getattr(level.budget, what)) for level in ledger.levels]
        return all(limit is None or total(level) <= exact(limit) for level, limit in limits)

    @rule(target=open, ledger=ledgers, what=st.sampled_from(WHOLE), amount=st.integers(0, 20))
    def reserve(self, ledger: Ledger, what: Spend, amount: int) -> object:
        return self._reserve(ledger, what, amount)

    @rule(target=open, ledger=ledgers, amount=CENTS)
    def reserve_money(self, ledger: Ledger, amount: float) -> object:
        return self._reserve(ledger, "cost", amount)

    def _reserve(self, ledger: Ledger, what: Spend, amount: float) -> object:
        room = self._room(ledger, what, amount)
        assert ledger.fits(what, amount) == room
        try:
            reservation = ledger.reserve(what, amount)
        except BudgetExceeded:
            assert not room
            return None
        assert room
        self._add(self.held, ledger, what, exact(amount))
        return (ledger, reservation, amount)

    @rule(ledger=ledgers, what=st.sampled_from(WHOLE), amount=st.integers(0, 20))
    def spend(self, ledger: Ledger, what: Spend, amount: int) -> None:
        room = self._room(ledger, what, amount)
        try:
            ledger.spend(what, amount)
        except BudgetExceeded:
            assert not room
            return
        assert room
        self._add(self.spent, ledger, what, Fraction(amount))

    @rule(made=consumes(open), share=st.sampled_from([0, 1, None]), more=st.booleans())
    def settle(self, made: tuple[Ledger, Reservation, float] | None, share: int | None, more: bool) -> None:
        if made is None:
            return
        ledger, reservation, amount = made
        actual = amount if share is None else share * amount
        if more:
            actual = amount + 5 if reservation.what != "cost" else float(exact(amount) + 5)
            self.over |= {(id(level), reservation.what) for level in ledger.levels}
        reservation.settle(actual)
        self._add(self.held, ledger, reservation.what, -exact(amount))
        self._add(self.spent, ledger, reservation.what, exact(actual))

    @rule(made=consumes(open))
    def release(self, made: tuple[Ledger, Reservation, float] | None) -> None:
        if made is not None:
            ledger, reservation, amount = made
            reservation.release()
            self._add(self.held, ledger, reservation.what, -exact(amount))

    @invariant()
    def the_sums_are_exact_and_no_limit_is_passed(self) -> None:
        for ledger in self.all:
            for what in SPENDS:
                key = (id(ledger), what)
                used, held = self.spent.get(key, Fraction()), self.held.get(key, Fraction())
                assert exact(ledger.used(what)) == used
                assert exact(ledger.reserved(what)) == held
                limit = getattr(ledger.budget, what)
                assert limit is None or used + held <= exact(limit) or key in self.over


TestBooks = Books.TestCase
TestBooks.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)

"""Batches: what many ask for at the same time goes out in few calls.

Values that wait are collected into batches; one that two askers want at the same time is sent once. Nothing waits when
nothing is under way, and at most some milliseconds otherwise: the calls under way are what makes others wait, and so
what fills the next batch.

A flight belongs to everybody who waits for one of its values, and runs in a task of its own (`launch` starts it). An
asker who goes takes only those values along that nobody else wants and that have not been sent; a flight that has lost
all who waited is cancelled.

What somebody waits for goes before what is done in the background, and every fourth batch the other way round.

A request that is not accepted because of what is in it is halved until the bad value is alone: k bad ones of n cost at
most 1 + 2k log2 n calls. After a failure that may pass the whole batch is sent again, as long as somebody has time.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from itertools import chain, islice
from typing import Generic, TypeVar

import attrs
import trio

from trouper.runtime import Backoff, BadRequest, BadResponse, LLMError, Seconds

from .batch_items import Asker, Flight, Item, Waiter
from .protocols import Priority

log: logging.Logger = logging.getLogger("trouper.batches")

T = TypeVar("T", bound=Hashable)
R = TypeVar("R")

ON_THE_WAY = 4
"""Scheduler passes without a new value before a batch goes: what a sender needs who waits for room in the mailbox (to
be let in, to be taken out, to get a task, to join the queue)."""
PATIENCE = 4
"""Every fourth batch takes what is not urgent first, so that it gets on however much is urgent."""
ABOUT_THE_INPUT = frozenset({None, 400, 413, 422})
"""The statuses of a `BadRequest` that may be due to one value. A wrong address or model is everybody's trouble."""


@attrs.frozen(kw_only=True)
class BatchRules:
    """How values share calls.

    `max_weight` is what the weights of a batch add up to at most; a value that is heavier goes alone. `linger` is how
    long a batch that is not full waits while others are under way. Not `shares`: two who want the same send it twice.
    """

    max_items: int = attrs.field(default=100, validator=attrs.validators.ge(1))
    max_weight: int = attrs.field(default=100_000, validator=attrs.validators.ge(1))
    max_flights: int = attrs.field(default=2, validator=attrs.validators.ge(1))
    linger: Seconds = attrs.field(default=0.005, validator=attrs.validators.ge(0))
    shares: bool = True
    max_retries: int = attrs.field(default=2, validator=attrs.validators.ge(0))
    backoff: Backoff = attrs.field(factory=lambda: Backoff(min=0.5, max=8.0, jitter=0.5))


@attrs.frozen(kw_only=True)
class BatchCounts:
    """Counters: `items` values went out in `calls`, of which `retries` were repeated; `shared` were on their way."""

    shared: int = 0
    calls: int = 0
    items: int = 0
    retries: int = 0
    failed: int = 0
    called_off: int = 0


Send = Callable[[Sequence[Item[T, R]]], Awaitable[Sequence[R | LLMError]]]
"""Asks for some values at once: one result or error each, in their order. Raises an `LLMError` that is all's."""


class Batches(Generic[T, R]):
    """See the head of this file.

    Args:
        send: Makes one call. What it raises besides `LLMError` is a bug and leaves `fly`.
        launch: Has `fly` run in a task of its own soon; it is called at most once for each flight.
        rules: See `BatchRules`.
        weigh: The weight of a value.
        landed: Called in the flight with its settled items; until it returns, who asks again shares them.
        seed: Makes the jitter between repeated calls repeatable.
    """

    def __init__(
        self,
        send: Send[T, R],
        launch: Callable[[], None],
        rules: BatchRules,
        *,
        weigh: Callable[[T], int] = lambda _: 1,
        landed: Callable[[Sequence[Item[T, R]]], Awaitable[None]] | None = None,
        seed: int | None = None,
    ) -> None:
        self._send = send
        self._launch = launch
        self._rules = rules
        self._weigh = weigh
        self._landed = landed
        self._random = random.Random(seed)  # noqa: S311 - jitter, not secrets
        # In order; bounded by the askers, of whom the mailbox has a bound.
        self._queues: dict[Priority, dict[Item[T, R], None]] = {"interactive": {}, "background": {}}
        self._queued = self._queued_weight = self._boarded = 0
        self._known: dict[T, Item[T, R]] = {}  # queued or under way, to be shared
        self._flying: set[Flight[T, R]] = set()
        self._boarding: trio.Event | None = None  # of the flight that takes values now; set when it is full
        self._counts = dict.fromkeys(("shared", "calls", "items", "retries", "failed", "called_off"), 0)

    def counts(self) -> BatchCounts:
        """Counters so far."""
        return BatchCounts(**self._counts)

    @property
    def under_way(self) -> int:
        """How many flights there are, with the one that is boarding."""
        return len(self._flying) + (self._boarding is not None)

    @property
    def idle(self) -> bool:
        """Whether there is nothing under way, and nothing is kept of what was."""
        return not (self.under_way or self._queued or self._known or self._queued_weight)

    # ------------------------------------------------------------ waiting
    async def settle(self, values: Sequence[T], asker: Asker) -> list[Item[T, R]]:
        """Wait until it is known what becomes of each value: their items, in order.

        Cancelled: values that nobody else waits for are not sent, or their flight is cancelled.
        """
        waiter = Waiter(asker)
        items = [self._item(value, waiter) for value in values]
        try:
            self._depart()
            await waiter.wait()
        finally:
            self._release(items, waiter)
        return items

    def _item(self, value: T, waiter: Waiter) -> Item[T, R]:
        """The item of `value`: one that is on its way already, or a new one in the queue."""
        item = self._known.get(value) if self._rules.shares else None
        if item is not None:
            self._counts["shared"] += 1
            if waiter.asker.priority == "interactive" and item in self._queues["background"]:
                self._unqueue(item)
                self._enqueue(item, "interactive")
        else:
            item = Item(value, self._weigh(value), waiter.asker)
            self._enqueue(item, waiter.asker.priority)
            if self._rules.shares:
                self._known[value] = item
            if self._boarding is not None and self._full:
                self._boarding.set()
        item.join(waiter)
        return item

    def _enqueue(self, item: Item[T, R], priority: Priority) -> None:
        self._queues[priority][item] = None
        self._queued += 1
        self._queued_weight += item.weight

    def _unqueue(self, item: Item[T, R]) -> bool:
        """Take it out of its queue, if it is in one."""
        for queue in self._queues.values():
            if item in queue:
                del queue[item]
                self._queued -= 1
                self._queued_weight -= item.weight
                return True
        return False

    def _release(self, items: Iterable[Item[T, R]], waiter: Waiter) -> None:
        """One waits no longer. Values that nobody waits for leave the queue; an empty flight is cancelled."""
        for item in items:
            item.leave(waiter)
            if item.wanted or item.settled:
                continue
            if self._unqueue(item):
                self._forget([item])
            elif item.flight is not None and item.flight.deserted:
                self._forget(item.flight.items)  # who comes now must not wait for what is called off
                if not item.flight.scope.cancel_called:
                    self._counts["called_off"] += 1
                item.flight.scope.cancel(reason="nobody waits for this batch")

    def _forget(self, items: Iterable[Item[T, R]]) -> None:
        for item in items:
            if self._known.get(item.value) is item:
                del self._known[item.value]

    @property
    def _full(self) -> bool:
        return self._queued >= self._rules.max_items or self._queued_weight >= self._rules.max_weight

    # ------------------------------------------------------------ flying
    def _depart(self) -> None:
        """Have another flight begin, if there is something to take and room for one more."""
        if self._queued and self._boarding is None and len(self._flying) < self._rules.max_flights:
            self._boarding = trio.Event()
            self._launch()

    async def fly(self) -> None:
        """One flight: collect a batch, send it, settle its items. Run it once for each `launch`.

        Cancelled from outside: whoever waited for its values has to be told by others.
        """
        flight: Flight[T, R] = Flight()
        boarding = self._boarding
        try:
            with flight.scope:
                await self._collect()
                boarding = None
                self._board(flight)
                await self._ask_for(flight.items)
                if self._landed is not None and flight.items:
                    await self._landed(flight.items)
        finally:
            if boarding is not None:
                self._boarding = None
            self._flying.discard(flight)
            self._forget(flight.items)
        self._depart()

    async def _collect(self) -> None:
        """Let others in: those who are on their way already, and while others fly for `linger` seconds more."""
        before, idle = 0, 0
        while not self._full and idle < ON_THE_WAY:
            idle = 0 if self._queued > before else idle + 1
            before = self._queued
            await trio.lowlevel.checkpoint()
        if self._flying and self._rules.linger and not self._full and self._boarding is not None:
            with trio.move_on_after(self._rules.linger):
                await self._boarding.wait()

    def _board(self, flight: Flight[T, R]) -> None:
        self._boarding = None
        self._boarded += 1
        queues = list(self._queues.values())
        if self._boarded % PATIENCE == 0:
            queues.reverse()
        weight = 0
        for item in tuple(islice(chain(*queues), self._rules.max_items)):
            weight += item.weight
            if flight.items and weight > self._rules.max_weight:
                break
            self._unqueue(item)
            item.flight = flight
            flight.items.append(item)
        self._flying.add(flight)
        self._depart()  # somebody takes care of the rest

    async def _ask_for(self, group: Sequence[Item[T, R]]) -> bool:
        """Settle all of these that are still wanted when their turn comes; whether they were accepted as they were."""
        tries = 0
        while group := self._still_wanted(group):
            try:
                self._accept(group, await self._call(group))
            except LLMError as error:
                if _about_the_input(error) and len(group) > 1:
                    await self._halve(group)
                    return False
                group = await self._spared(group, error, tries)
                tries += 1
            else:
                return True
        return False

    async def _halve(self, group: Sequence[Item[T, R]]) -> None:
        """Find what is refused in `group`. If it is not in the smaller half, the other need not be tried as a whole.

        A value alone always is: it may have been their number that was refused.
        """
        middle = len(group) // 2
        accepted = await self._ask_for(group[:middle])
        rest = group[middle:]
        if accepted and len(rest) > 1:
            await self._halve(rest)
        else:
            await self._ask_for(rest)

    def _still_wanted(self, group: Sequence[Item[T, R]]) -> list[Item[T, R]]:
        """Those of a group that anybody waits for. The others are given up, and no longer to be shared."""
        self._forget(item for item in group if not item.wanted)
        return [item for item in group if item.wanted]

    async def _call(self, group: Sequence[Item[T, R]]) -> Sequence[R | LLMError]:
        self._counts["calls"] += 1
        self._counts["items"] += len(group)
        return await self._send(group)

    def _accept(self, group: Sequence[Item[T, R]], outcomes: Sequence[R | LLMError]) -> None:
        if len(outcomes) != len(group):
            raise BadResponse(f"there are {len(outcomes)} results for {len(group)} values")
        for item, outcome in zip(group, outcomes, strict=True):
            if isinstance(outcome, LLMError):
                self._fail(item, outcome, own=True)
            else:
                item.settle(outcome, own=False)

    def _fail(self, item: Item[T, R], error: LLMError, *, own: bool) -> None:
        self._counts["failed"] += 1
        self._forget([item])  # who asks from now on may have more luck, or more time
        item.settle(error, own=own)

    async def _spared(self, group: Sequence[Item[T, R]], error: LLMError, tries: int) -> list[Item[T, R]]:
        """What is to be sent again, after a pause; the rest of `group` has failed with `error`."""
        wait = error.retry_after if error.retry_after is not None else self._pause(tries)
        again = trio.current_time() + wait
        tired = not error.retryable or tries >= self._rules.max_retries
        spared: list[Item[T, R]] = []
        for item in group:
            if tired or item.deadline <= again:
                self._fail(item, error, own=_about_the_input(error))
            else:
                spared.append(item)
        if spared:
            log.info("[BATCHES] %d values failed (%s), again in %.3g s", len(group), error.kind, wait)
            await trio.sleep_until(again)
            self._counts["retries"] += 1
        return spared

    def _pause(self, tries: int) -> Seconds:
        backoff = self._rules.backoff
        return min(backoff.max, backoff.min * 2.0**tries) * (1.0 + backoff.jitter * self._random.random())


def _about_the_input(error: LLMError) -> bool:
    return isinstance(error, BadRequest) and error.status in ABOUT_THE_INPUT

"""What the suite would take if nothing but the model, the network and the limits took any time.

The recorded calls are scheduled again under a virtual clock: every call goes out in the instant in which what it needs
is there and the server's law lets it go, over a connection that is open already; no call is made twice; nothing is
computed. Steps start while the plan is still being written, as far as they have no effect. What remains is the critical
path: no program that makes these calls can be quicker, whatever its flags.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
import trio
import trio.testing

from trouper.runtime import Seconds, Step

from .bench_record import Call, CallTimes, RecordedGoal, plan_offsets
from .bench_setting import Setting
from .model_server import CHAT, EMBEDDINGS
from .model_server_law import RateBook, RateLaw

PURE = frozenset({"look_up", "summarize", "reply", "recall"})
"""Steps that may start while the plan is being written."""


@attrs.frozen(kw_only=True)
class Bound:
    """What cannot be beaten: the suite's seconds, and each goal's."""

    total_s: Seconds
    latencies: tuple[Seconds, ...]


def critical_path(recorded: Sequence[RecordedGoal], setting: Setting, *, limited: bool) -> Bound:
    """The bound: without the server's law, or under it."""
    clock = trio.testing.MockClock(autojump_threshold=0)
    law = setting.law if limited else RateLaw()
    return trio.run(_Ideal(recorded, setting, law).run, clock=clock)


class _Ideal:
    """One schedule."""

    def __init__(self, recorded: Sequence[RecordedGoal], setting: Setting, law: RateLaw) -> None:
        self._recorded = recorded
        self._setting = setting
        self._times = CallTimes(setting)
        self._doors = {path: (RateBook(law), trio.Lock()) for path in (CHAT, EMBEDDINGS)}  # a model each
        self._known: dict[str, trio.Event] = {}
        self._took: dict[int, Seconds] = {}

    async def run(self) -> Bound:
        """The whole suite."""
        async with trio.open_nursery() as behind:
            self._behind = behind
            async with trio.open_nursery() as nursery:
                for number in range(self._setting.clients):
                    nursery.start_soon(self._client, number)
            total = trio.current_time()
            behind.cancel_scope.cancel()
        return Bound(total_s=total, latencies=tuple(self._took[number] for number in sorted(self._took)))

    async def _client(self, number: int) -> None:
        for one in self._recorded[number :: self._setting.clients]:
            began = trio.current_time()
            await self._call(one.recalled)
            await self._call(one.planned, self._then(one))
            self._took[one.goal.number] = trio.current_time() - began
            if one.remembered is not None:
                self._behind.start_soon(self._call, one.remembered)

    def _then(self, one: RecordedGoal) -> Callable[[Seconds, Seconds], Run]:
        return lambda first, last: Run(self, one, first, last)

    async def _call(self, call: Call, streamed: Callable[[Seconds, Seconds], Run] | None = None) -> None:
        """Make a call, unless it has been made: then its answer is there, or on its way.

        Of a plan the answer is streamed: `streamed` is given the seconds of its first and its last token.
        """
        key = repr((call.path, call.body.get("messages"), call.body.get("input")))
        known = self._known.get(key)
        if known is not None:
            await known.wait()
            if streamed is not None:
                now = trio.current_time()
                await streamed(now, now).run()
            return
        done = self._known[key] = trio.Event()
        thinking = self._times.thinking(call)
        await self._admitted(call.path, thinking.prompt_tokens)
        if streamed is None:
            await trio.sleep(self._times.seconds(thinking))
        else:
            first = trio.current_time() + self._setting.network.round_trip + thinking.before
            await streamed(first, first + thinking.writing).run()
        done.set()

    async def _admitted(self, path: str, tokens: int) -> None:
        book, turn = self._doors[path]
        async with turn:  # first come, first served
            while True:
                admission = book.admit(trio.current_time(), tokens)
                if admission.admitted:
                    return
                await trio.sleep(admission.retry_after + 1e-6)

    async def step(self, one: RecordedGoal, step: Step) -> None:
        """What a step takes, and then the verdict on it."""
        calls = one.steps.get(step.id, ())
        if step.action == "look_up":
            await trio.sleep(self._setting.service)
        async with trio.open_nursery() as nursery:
            for call in calls:
                nursery.start_soon(self._call, call)

    async def verdict(self, one: RecordedGoal, step: Step) -> None:
        """The verifier's word."""
        async with trio.open_nursery() as nursery:
            for call in one.verdicts.get(step.id, ()):
                nursery.start_soon(self._call, call)


class Run:
    """One plan: its steps from the instant in which each was written, to the last verdict."""

    def __init__(self, ideal: _Ideal, one: RecordedGoal, first: Seconds, last: Seconds) -> None:
        self._ideal = ideal
        self._one = one
        self._first, self._last = first, last
        self._offsets = dict(plan_offsets(one.goal))
        self._ended = {step.id: trio.Event() for step in one.plan.steps}

    async def run(self) -> None:
        """All of it."""
        async with trio.open_nursery() as nursery:
            for step in self._one.plan.steps:
                nursery.start_soon(self._step, step)
            await trio.sleep_until(self._last)

    async def _step(self, step: Step) -> None:
        written = self._first + self._offsets[step.id] * (self._last - self._first)
        await trio.sleep_until(written if step.action in PURE else self._last)
        for need in self._one.plan.dependencies[step.id]:
            await self._ended[need].wait()
        if not self._one.skipped(step.id):
            await self._ideal.step(self._one, step)
        self._ended[step.id].set()
        await self._ideal.verdict(self._one, step)

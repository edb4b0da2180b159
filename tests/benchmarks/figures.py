"""Every figure of the kernel: what is demanded, how it is measured."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager

import attrs

from . import checks, footprint, raw, subjects
from .interval import Bound, Figure, at_least, at_most
from .raw import Work
from .slices import alternate, per_operation

PAIRS = 200
"""Fewer pairs than this are not judged."""

LONG = 40
"""So many rounds are enough where one slice is half a second of work."""

Subject = AbstractAsyncContextManager[Work]


@attrs.frozen(kw_only=True)
class Size:
    """How much is measured: everything scales with it, for a try-out in seconds."""

    pairs: int = PAIRS
    processes: int = 8
    """Fresh processes for a memory figure; six are the fewest that give a 95 % interval."""
    eager: int = 10_000
    lazy: int = 100_000
    stopped: tuple[int, int] = (1_000, 10_000)
    crashes: int = 1_000
    slice: float = 1.0
    """The operations of a slice, times this."""

    def operations(self, number: int) -> int:
        """So many operations to a slice, whole hundreds."""
        return max(100, round(number * self.slice / 100) * 100)


QUICK = Size(pairs=3, processes=1, eager=300, lazy=1_000, stopped=(20, 200), crashes=10, slice=0.1)


@attrs.frozen(kw_only=True)
class Sample:
    """The values of a figure and a few words on them."""

    values: Sequence[float]
    detail: str
    needed: int = PAIRS


@attrs.frozen(kw_only=True)
class Measurement:
    """One run that gives one figure or several."""

    bounds: dict[str, Bound]
    run: Callable[[Size], Awaitable[dict[str, Sample]]]


def figures(measurement: Measurement, samples: dict[str, Sample]) -> list[Figure]:
    """What was measured beside what is demanded."""
    return [
        Figure(
            name=name,
            bound=bound,
            values=tuple(samples[name].values),
            needed=samples[name].needed,
            detail=samples[name].detail,
        )
        for name, bound in measurement.bounds.items()
    ]


def micro(values: Sequence[float]) -> str:
    """The median of some CPU seconds, in microseconds."""
    return f"{statistics.median(values) * 1e6:.2f} us"


def _pairs(theirs: Callable[[], Subject], ours: Callable[[], Subject], operations: tuple[int, int], name: str):
    async def run(size: Size) -> dict[str, Sample]:
        async with theirs() as by_hand, ours() as with_actors:
            rows = await alternate(
                per_operation(by_hand, size.operations(operations[0])),
                per_operation(with_actors, size.operations(operations[1])),
                rounds=size.pairs,
            )
        hand, actor = zip(*rows, strict=True)
        return {name: Sample(values=[a / b for a, b in rows], detail=f"by hand {micro(hand)}, Trouper {micro(actor)}")}

    return run


def faster(
    name: str, limit: float, theirs: Callable[[], Subject], ours: Callable[[], Subject], operations: tuple[int, int]
) -> Measurement:
    """How many times the CPU time of the hand-written way is ours."""
    return Measurement(bounds={name: at_least(limit)}, run=_pairs(theirs, ours, operations, name))


async def _restart(size: Size) -> dict[str, Sample]:
    crash, ping = object(), object()
    operations = max(5, round(25 * size.slice))
    async with raw.restarting_nursery(crash, ping) as by_hand, subjects.crashing() as with_actors:
        rows = await alternate(
            per_operation(by_hand, operations), per_operation(with_actors, operations), rounds=size.pairs
        )
    hand, actor = zip(*rows, strict=True)
    queued = 10
    lost = await subjects.lost_over(size.crashes, queued)
    return {
        "crash_to_answer": Sample(
            values=[b / a for a, b in rows], detail=f"by hand {micro(hand)}, Trouper {micro(actor)}"
        ),
        "lost_at_a_crash": Sample(
            values=[lost], needed=1, detail=f"of {size.crashes * queued} queued behind {size.crashes} crashes"
        ),
    }


async def _stop(size: Size) -> dict[str, Sample]:
    few, many = size.stopped
    small = await alternate(raw.stop_tasks(few), subjects.stop_actors(few), rounds=size.pairs)
    # A slice of the large ones takes half a second: fewer of them, and not in the rounds of the small ones.
    rounds = max(LONG, size.pairs // 5) if size.pairs >= PAIRS else size.pairs
    large = await alternate(raw.stop_tasks(many), subjects.stop_actors(many), subjects.stop_actors(few), rounds=rounds)
    hand, actor, small_actor = zip(*large, strict=True)
    return {
        "stop_1000": Sample(
            values=[b / a for a, b in small],
            detail=f"{few} actors; each by hand {micro([a for a, _ in small])}, Trouper {micro([b for _, b in small])}",
        ),
        "stop_10000": Sample(
            values=[b / a for a, b, _ in large],
            needed=LONG,
            detail=f"{many} actors; each by hand {micro(hand)}, Trouper {micro(actor)}",
        ),
        "stop_linear": Sample(
            values=[b / c for _, b, c in large],
            needed=LONG,
            detail=f"one of {many} against one of {few}: {micro(actor)}, {micro(small_actor)}",
        ),
    }


async def _eager(size: Size) -> dict[str, Sample]:
    grown = [footprint.measured("eager", size.eager) / size.eager for _ in range(size.processes)]
    by_hand, used = (footprint.measured(kind, size.eager) / size.eager / 1e3 for kind in ("raw", "used"))
    return {
        "eager_actor": Sample(
            values=[each / 1e3 for each in grown],
            needed=6,
            detail=f"each of {size.eager}, resident; asked once {used:.2f}, a bare task and channel {by_hand:.2f}",
        )
    }


async def _lazy(size: Size) -> dict[str, Sample]:
    grown = [footprint.measured("lazy", size.lazy) for _ in range(size.processes)]
    each = statistics.median(grown) / size.lazy
    return {
        "lazy_actors": Sample(
            values=[every / 1e6 for every in grown],
            needed=6,
            detail=f"{size.lazy} of them, resident; {each:.0f} B each",
        )
    }


async def _events(size: Size) -> dict[str, Sample]:
    count = await checks.checks_in_an_ask()
    async with subjects.asking(subjects.Echo(1)) as ask:
        rows = await alternate(
            checks.loop_with_check(),
            checks.loop_without,
            per_operation(ask, size.operations(300)),
            rounds=size.pairs,
        )
    cost = [with_check - without for with_check, without, _ in rows]
    return {
        "events_unheard": Sample(
            values=[100 * count * each / row[2] for each, row in zip(cost, rows, strict=True)],
            detail=f"{count:g} checks in an ask, {statistics.median(cost) * 1e9:.0f} ns each",
        )
    }


_ASK, _NOTE = subjects.Echo(1), subjects.Note(1)

MEASUREMENTS: dict[str, Measurement] = {
    "ask": faster("ask", 1.25, lambda: raw.ping_pong(_ASK), lambda: subjects.asking(_ASK), (300, 300)),
    "ask_100": faster(
        "ask_100", 1.7, lambda: raw.channel_and_event(_ASK), lambda: subjects.asking_at_once(_ASK), (2000, 2000)
    ),
    "ask_inline": faster(
        "ask_inline", 3.5, lambda: raw.ping_pong(_ASK), lambda: subjects.asking_inline(_ASK), (300, 900)
    ),
    "tell_nowait": faster(
        "tell_nowait", 8.0, lambda: raw.send_and_receive(_NOTE), lambda: subjects.filling_untraced(_NOTE), (600, 4800)
    ),
    "tell_nowait_traced": faster(
        "tell_nowait_traced",
        5.0,
        lambda: raw.send_and_receive(_NOTE),
        lambda: subjects.filling_traced(_NOTE),
        (600, 3000),
    ),
    "tell_nowait_carried": faster(
        "tell_nowait_carried",
        5.0,
        lambda: raw.send_and_receive(_NOTE),
        lambda: subjects.filling_carried(_NOTE),
        (600, 3000),
    ),
    "tell_many": faster(
        "tell_many", 5.0, lambda: raw.send_and_receive(_NOTE), lambda: subjects.telling_many(_NOTE), (600, 3000)
    ),
    "tell": faster("tell", 1.0, lambda: raw.send_and_receive(_NOTE), lambda: subjects.telling(_NOTE), (600, 600)),
    "restart": Measurement(
        bounds={"crash_to_answer": at_most(1.3), "lost_at_a_crash": at_most(0, "messages")}, run=_restart
    ),
    "stop": Measurement(
        bounds={"stop_1000": at_most(2.0), "stop_10000": at_most(2.0), "stop_linear": at_most(1.5)}, run=_stop
    ),
    "eager": Measurement(bounds={"eager_actor": at_most(8.0, "KB")}, run=_eager),
    "lazy": Measurement(bounds={"lazy_actors": at_most(60.0, "MB")}, run=_lazy),
    "events": Measurement(bounds={"events_unheard": at_most(2.0, "% of an ask")}, run=_events),
}

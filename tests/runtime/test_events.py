"""The event stream: bounded, nobody waits for a listener, no event is lost or told twice."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from trouper.runtime._events import Event, EventBus, EventStream


def event(number: int) -> Event:
    return Event(at=float(number), actor="a")


def numbers(events: tuple[Event, ...] | list[Event]) -> list[int]:
    return [int(one.at) for one in events]


async def read(stream: EventStream, into: list[Event]) -> None:
    async for one in stream:
        into.append(one)  # noqa: PERF401 - what was read must be there when it is cancelled


def test_a_full_listener_misses_what_follows_and_counts_it_and_another_does_not() -> None:
    bus = EventBus()
    with bus.open(2) as small, bus.open(10) as large:
        for number in range(5):
            bus.emit(event(number))

        assert numbers(small.take_nowait()) == [0, 1]
        assert small.dropped == 3
        assert numbers(large.take_nowait()) == [0, 1, 2, 3, 4]
        assert large.dropped == 0
        bus.emit(event(5))
        assert numbers(small.take_nowait()) == [5]


async def test_a_reader_that_waits_gets_the_event_in_the_next_turn_and_all_in_order() -> None:
    bus, told = EventBus(), []
    with bus.open(100) as stream:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, stream, told)
            await trio.testing.wait_all_tasks_blocked()
            bus.emit(event(0))
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()
            assert numbers(told) == [0]
            for number in range(1, 50):
                bus.emit(event(number))
            await trio.testing.wait_all_tasks_blocked()
            bus.close()  # ends the reader

    assert numbers(told) == list(range(50))


async def test_a_cancelled_reader_loses_nothing_and_the_next_one_goes_on() -> None:
    """Cancelled while it waits, in the turn in which an event comes, and with events waiting."""
    bus, told = EventBus(), []
    with bus.open(100) as stream:
        for emit_first in (True, False):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(read, stream, told)
                    await trio.testing.wait_all_tasks_blocked()
                    for step in (lambda: bus.emit(event(len(told))), scope.cancel)[:: 1 if emit_first else -1]:
                        step()
        told += stream.take_nowait()
        with trio.CancelScope() as scope:
            scope.cancel()
            bus.emit(event(2))
            await read(stream, told)
        told += stream.take_nowait()

    assert numbers(told) == [0, 1, 2]


async def test_two_readers_of_one_stream_share_the_events_and_neither_stays_asleep() -> None:
    bus, first, second = EventBus(), [], []
    with bus.open(100) as stream:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, stream, first)
            nursery.start_soon(read, stream, second)
            for number in range(10):
                await trio.testing.wait_all_tasks_blocked()
                bus.emit(event(2 * number))
                bus.emit(event(2 * number + 1))
            await trio.testing.wait_all_tasks_blocked()
            bus.close()

    assert sorted(numbers(first + second)) == list(range(20))
    assert first
    assert second


async def test_what_was_kept_before_the_end_is_still_read() -> None:
    bus, told = EventBus(), []
    with bus.open(3) as stream:
        bus.emit(event(0))
        bus.emit(event(1))
        bus.close()
        stream.offer(event(2))
        await read(stream, told)

    assert numbers(told) == [0, 1]
    assert stream.dropped == 1


async def test_leaving_the_block_ends_a_waiting_reader_and_later_ones_with_a_clear_error() -> None:
    bus = EventBus()
    async with trio.open_nursery() as nursery:
        with bus.open(3) as stream:
            nursery.start_soon(expect_closed, stream)
            await trio.testing.wait_all_tasks_blocked()
            assert bus.active
    await expect_closed(stream)
    stream.offer(event(1))

    assert not bus.active
    assert stream.take_nowait() == ()
    assert stream.dropped == 1


async def expect_closed(stream: EventStream) -> None:
    with pytest.raises(trio.ClosedResourceError):
        await anext(stream)


async def test_reading_is_a_checkpoint_even_when_events_wait() -> None:
    bus = EventBus()
    with bus.open(3) as stream:
        bus.emit(event(0))
        with trio.testing.assert_checkpoints():
            await anext(stream)

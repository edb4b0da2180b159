"""What comes out of a tool is a value, a `ToolError`, or a cancellation of its own step; nothing else."""

import pytest
import trio

from trouper.actors.tool import ToolContext, tool
from trouper.runtime import BadResult, ToolError

CTX = ToolContext(run_id="r", step_id=3)


async def raised_by(tool):
    """What a call raises. Not `pytest.raises`: a stray `Cancelled` would end the test without failing it."""
    try:
        await tool.call({}, CTX)
    except BaseException as error:  # noqa: BLE001 - whatever it is
        return error
    return None


async def test_a_cancelled_of_another_scope_is_a_failure_and_cancels_nobody(autojump_clock):
    @tool
    async def confused():
        kept = None
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.sleep(1)
            except trio.Cancelled as error:
                kept = error
                raise
        raise kept

    error = await raised_by(confused)

    assert type(error) is ToolError
    assert "Cancelled although its step was not cancelled" in str(error)


async def test_a_group_of_foreign_cancelleds_is_a_failure_too():
    @tool
    async def confused():
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.sleep(1)
            except trio.Cancelled as error:
                kept = error
        raise BaseExceptionGroup("two", [kept, BaseExceptionGroup("inner", [kept])])

    error = await raised_by(confused)

    assert type(error) is ToolError
    assert "Cancelled although its step was not cancelled" in str(error)


async def test_an_error_while_it_is_cancelled_counts_more_than_the_cancellation(autojump_clock):
    """A group of both is no cancellation: what failed in the clean-up has failed."""

    @tool
    async def clumsy():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail_at_the_end)
            await trio.sleep_forever()

    async def fail_at_the_end():
        try:
            await trio.sleep_forever()
        finally:
            raise OSError("no disk")

    with trio.move_on_after(1), pytest.raises(ToolError, match="clumsy raised OSError: no disk"):
        await clumsy.call({}, CTX)


async def test_a_cancelled_of_its_own_step_passes_in_a_group_as_well(autojump_clock):
    @tool
    async def parallel():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(trio.sleep_forever)

    with trio.move_on_after(1) as scope:
        await parallel.call({}, CTX)

    assert scope.cancelled_caught


class Odd(BaseException):
    pass


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (GeneratorExit(), "raised GeneratorExit"),
        (SystemExit(3), "raised SystemExit: 3"),
        (Odd("odd"), "raised Odd: odd"),
        (StopAsyncIteration(), "raised StopAsyncIteration"),
        (StopIteration(), "raised RuntimeError: coroutine raised StopIteration"),
        (RecursionError("deep"), "raised RecursionError: deep"),
        (ExceptionGroup("two", [KeyError("a"), OSError("b")]), "raised 2 errors: KeyError: 'a'; OSError: b"),
        (BaseExceptionGroup("odd", [Odd("a"), OSError("b")]), "raised 2 errors: Odd: a; OSError: b"),
        (ExceptionGroup("many", [KeyError(n) for n in range(9)]), "KeyError: 4 and 4 more"),
    ],
)
async def test_whatever_it_raises_before_or_after_waiting_is_a_tool_error(error, message, late):
    @tool
    async def work():
        if late:
            await trio.lowlevel.checkpoint()
        raise error

    with pytest.raises(ToolError) as caught:
        await work.call({}, CTX)

    assert message in str(caught.value)


@pytest.mark.parametrize("late", [False, True])
async def test_an_interrupt_passes(late):
    @tool
    async def work():
        if late:
            await trio.lowlevel.checkpoint()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await work.call({}, CTX)


async def test_an_error_that_cannot_say_what_it_is_or_says_too_much_is_told_in_bounds():
    class Broken(Exception):
        def __str__(self):
            raise ValueError("broken")

    @tool
    async def work(error: str):
        raise Broken if error == "broken" else OSError("x" * 5_000_000)

    with pytest.raises(ToolError, match=r"raised Broken: .its message could not be read"):
        await work.call({"error": "broken"}, CTX)
    with pytest.raises(ToolError, match="5,000,000 characters") as caught:
        await work.call({"error": "long"}, CTX)
    assert len(str(caught.value)) < 3000


async def test_a_tool_for_another_library_fails_and_the_loop_lives():
    @tool
    async def asyncio_like():
        class Future:
            def __await__(self):
                yield "a future"

        await Future()

    with pytest.raises(ToolError, match="asyncio_like raised TypeError"):
        await asyncio_like.call({}, CTX)


def test_a_call_that_is_thrown_away_closes_the_tool():
    """Nobody drives it any more: what stands in its `finally` is done, and nothing else happens."""
    done = []

    @tool
    async def work():
        try:
            await trio.sleep_forever()
        finally:
            done.append("closed")

    async def main():
        call = work.call({}, CTX)
        call.send(None)
        call.close()

    trio.run(main)

    assert done == ["closed"]


async def test_a_huge_text_is_refused_without_being_looked_at():
    """A hundred megabytes: the length says enough."""

    class Text(str):
        __slots__ = ()

        def encode(self, *_):
            raise AssertionError("it was encoded")

        def isascii(self):
            raise AssertionError("it was scanned")

    @tool
    async def talkative(kind: str):
        text = Text("é" * 20_000_000)
        return {"text": text, "list": [text], "alone": text}[kind]

    for kind in ("text", "list", "alone"):
        with pytest.raises(BadResult, match="larger than 10,000,000 bytes"):
            await talkative.call({"kind": kind}, CTX)

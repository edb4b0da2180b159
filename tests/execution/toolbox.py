"""Tools of a user's own for plans that nobody has seen before: what happens stands in the plan itself.

This file needs nothing but `trouper`, so that it can be copied into a user's directory and given with `--tools`.
"""

import json
from pathlib import Path

import trio

import trouper
from trouper import Effect, ToolContext, ToolError, tool

DIARY = Path("diary.jsonl")
"""Where effects are written down, if this file exists: what a test looks at when the command has ended."""


def note(**entry: object) -> None:
    """An effect."""
    if DIARY.exists():
        with DIARY.open("a") as diary:
            diary.write(json.dumps(entry) + "\n")


@tool(effect=Effect.PURE)
async def give(value: object) -> object:
    """Give what it is given."""
    return value


@tool(effect=Effect.PURE)
async def echo(**parameters: object) -> dict[str, object]:
    """Give all parameters, under their names."""
    return parameters


@tool(effect=Effect.PURE)
async def wait(seconds: float, value: object = None) -> object:
    """Give `value` after a while."""
    await trio.sleep(seconds)
    return value


_held: list[trio.Event] = []


@tool(effect=Effect.PURE)
async def hold(value: object) -> object:
    """Give `value` when another step lets go, however long that takes."""
    _held.append(let := trio.Event())
    await let.wait()
    return value


@tool(effect=Effect.PURE)
async def let_go(**parameters: object) -> dict[str, object]:
    """Give all parameters, under their names; what is held is held no longer."""
    while _held:
        _held.pop().set()
    return parameters


@tool(effect=Effect.PURE)
async def double(n: int) -> int:
    """Twice as much."""
    return n * 2


@tool(effect=Effect.PURE)
async def total(numbers: list[int]) -> int:
    """The sum."""
    return sum(numbers)


@tool(effect=Effect.PURE)
async def concat(parts: list[str]) -> str:
    """All texts as one."""
    return "".join(parts)


@tool(effect=Effect.PURE)
async def fail(message: str = "it cannot be done", after: float = 0) -> None:
    """Fail."""
    await trio.sleep(after)
    raise ValueError(message)


@tool(effect=Effect.PURE)
async def odd(n: int) -> int:
    """Give odd numbers back, fail with even ones."""
    if n % 2 == 0:
        raise ValueError(f"{n} is even")
    return n


@tool(effect=Effect.PURE)
async def flaky(ctx: ToolContext, times: int) -> dict[str, int]:
    """Fail at the first `times` attempts."""
    if ctx.attempt <= times:
        raise ToolError(f"attempt {ctx.attempt} fails")
    return {"attempt": ctx.attempt}


@tool(effect=Effect.KEYED)
async def book(what: str, ctx: ToolContext) -> dict[str, str]:
    """Book something; the same key books once."""
    note(did="book", what=what, key=ctx.idempotency_key)
    return {"booking": f"B-{what}"}


@tool(effect=Effect.KEYED)
async def cancel(booking: str) -> dict[str, str]:
    """Give a booking back."""
    note(did="cancel", booking=booking)
    return {"cancelled": booking}


@tool(effect=Effect.ONCE)
async def send(text: str, times: int = 0, ctx: ToolContext = ToolContext()) -> dict[str, str]:  # noqa: B008
    """Send a text: each call counts. Fails at the first `times` attempts, and says that nothing happened."""
    if ctx.attempt <= times:
        raise ToolError("the line is busy", effect=False)
    note(did="send", text=text)
    return {"sent": text}


@tool(effect=Effect.ONCE)
async def lose(text: str) -> None:
    """Send a text, and fail without saying whether it went."""
    note(did="lose", text=text)
    raise ValueError("the line went dead")


async def _not_so(parameters: object, result: object, evidence: object) -> list[str]:
    return ["it is not so"]


@tool(effect=Effect.PURE, verify=_not_so)
async def boast(value: object = None) -> object:
    """Claim something; whoever looks again finds that it is not so."""
    return value


@tool(effect=Effect.PURE)
async def whole() -> list[int]:
    """Declare numbers and give text."""
    return "no number"  # type: ignore[return-value]


tools = [value for value in list(globals().values()) if isinstance(value, trouper.Tool)]

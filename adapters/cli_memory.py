"""`trouper remember` and `trouper recall`: the memory, by hand."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import click

from trouper.actors.memory import Recalled

from .cli_exit import BadInput, ExitCode
from .cli_options import Call, with_options
from .cli_output import tell
from .cli_run import checked_text, read_lines
from .cli_session import Session, in_session


@click.command()
@click.argument("texts", nargs=-1, required=True, metavar="TEXT...")
@with_options("config", "set", "timeout", "json", "quiet")
def remember(call: Call, texts: tuple[str, ...]) -> ExitCode:
    """Remember each TEXT (`-`: one memory a line from standard input)."""
    if "-" in texts and len(texts) > 1:
        raise BadInput("`-` stands alone: the memories are the lines of standard input")
    found = read_lines("memory") if texts == ("-",) else [checked_text(text, "a memory").strip() for text in texts]
    if not all(found):
        raise BadInput("there is nothing to remember in an empty text")
    return in_session(call, functools.partial(_remember, texts=found))


@click.command()
@click.argument("query")
@click.option("-k", "count", metavar="N", type=click.IntRange(1, 1000), help="At most so many; else `memory.k`.")
@with_options("config", "set", "timeout", "json", "quiet")
def recall(call: Call, query: str, count: int | None) -> ExitCode:
    """Show what is remembered about QUERY, best first."""
    if not checked_text(query, "the query").strip():
        raise BadInput("the query is empty; say what to look for")
    return in_session(call, functools.partial(_recall, query=query, count=count))


async def _remember(session: Session, texts: Sequence[str]) -> ExitCode:
    ids = await session.in_time(lambda: session.troupe.remember(texts))
    if session.call.as_json:
        session.call.results.json({"ids": list(ids)})
    else:
        many = "memory" if len(ids) == 1 else "memories"
        session.call.results.text(f"Remembered {len(ids)} {many} ({', '.join(map(str, ids))}).")
    return ExitCode.SUCCESS


async def _recall(session: Session, query: str, count: int | None) -> ExitCode:
    found = await session.in_time(lambda: session.troupe.recall(query, k=count))
    if session.call.as_json:
        session.call.results.json({"memories": [_memory_json(memory) for memory in found]})
    elif found:
        session.call.results.text("\n".join(f"{m.score:5.2f}  {m.content}" for m in found))
    elif not session.call.quiet:
        tell("nothing is remembered about that")
    return ExitCode.SUCCESS


def _memory_json(memory: Recalled) -> dict[str, object]:
    return {
        "id": memory.id,
        "content": memory.content,
        "score": memory.score,
        "created": memory.created,
        "meta": dict(memory.meta),
    }

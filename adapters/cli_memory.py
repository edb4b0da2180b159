"""`trouper remember`, `recall`, `forget` and `memory`: the memory, by hand."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import click

from .cli_exit import BadInput, ExitCode
from .cli_files import read_stdin
from .cli_options import Call, with_options
from .cli_output import tell
from .cli_run import checked_text, read_lines
from .cli_session import Session, in_session

if TYPE_CHECKING:
    from trouper.actors.memory_data import Scalar
    from trouper.actors.memory_messages import Recalled

F = TypeVar("F", bound=Callable[..., Any])

_namespace = click.option("--namespace", metavar="NAME", help="Whose memory; else `memory.namespace`.")
_tags = click.option("--tag", "tags", metavar="TAG", multiple=True, help="Repeatable; all of them.")
_where = click.option(
    "--where",
    metavar="KEY=VALUE",
    multiple=True,
    help="What the metadata says; the value is JSON or a text. Repeatable.",
)


@click.command()
@click.argument("texts", nargs=-1, required=True, metavar="TEXT...")
@_namespace
@_tags
@click.option("--category", metavar="NAME", help="What kind of memory it is; else `fact`.")
@click.option("--ttl", metavar="S", type=float, help="Seconds until it is not found any more; else `memory.ttl`.")
@click.option(
    "--meta",
    metavar="KEY=VALUE",
    multiple=True,
    help="Metadata, for `--where`; the value is JSON or a text. Repeatable.",
)
@with_options("config", "set", "timeout", "json", "quiet")
def remember(
    call: Call,
    texts: tuple[str, ...],
    namespace: str | None,
    tags: tuple[str, ...],
    category: str | None,
    ttl: float | None,
    meta: tuple[str, ...],
) -> ExitCode:
    """Remember each TEXT (`-`: one memory a line from standard input)."""
    if "-" in texts and len(texts) > 1:
        raise BadInput("`-` stands alone: the memories are the lines of standard input")
    if ttl is not None and not (ttl > 0 and math.isfinite(ttl)):
        raise BadInput(f"--ttl {ttl:g} is not a positive number of seconds")
    found = read_lines("memory") if texts == ("-",) else [checked_text(text, "a memory").strip() for text in texts]
    if not all(found):
        raise BadInput("there is nothing to remember in an empty text")
    said = {"meta": metadata(meta), "namespace": namespace, "category": category, "tags": tags, "ttl": ttl}
    return in_session(call, functools.partial(_remember, texts=found, said=said))


@click.command()
@click.argument("query")
@click.option("-k", "count", metavar="N", type=click.IntRange(1, 1000), help="At most so many; else `memory.k`.")
@_namespace
@_tags
@_where
@click.option(
    "--category",
    "categories",
    metavar="NAME",
    multiple=True,
    help="Of this kind; else of all but `episode`, `turn`, `summary` and `profile`. Repeatable.",
)
@click.option("--superseded", is_flag=True, help="Also what was superseded or has expired.")
@with_options("config", "set", "timeout", "json", "quiet")
def recall(
    call: Call,
    query: str,
    count: int | None,
    namespace: str | None,
    tags: tuple[str, ...],
    where: tuple[str, ...],
    categories: tuple[str, ...],
    superseded: bool,
) -> ExitCode:
    """Show what is remembered about QUERY, best first."""
    if not checked_text(query, "the query").strip():
        raise BadInput("the query is empty; say what to look for")
    options = {
        "categories": categories,
        "tags": tags,
        "where": conditions(where),
        "superseded": superseded,
    }
    return in_session(call, functools.partial(_recall, query=query, count=count, namespace=namespace, options=options))


@click.command()
@click.argument("ids", nargs=-1, type=click.IntRange(1), metavar="[ID...]")
@_namespace
@_tags
@_where
@click.option("--category", "categories", metavar="NAME", multiple=True, help="Of this kind. Repeatable.")
@click.option("--all", "everything", is_flag=True, help="Everything in the namespace.")
@with_options("config", "set", "timeout", "json", "quiet")
def forget(
    call: Call,
    ids: tuple[int, ...],
    namespace: str | None,
    tags: tuple[str, ...],
    where: tuple[str, ...],
    categories: tuple[str, ...],
    everything: bool,
) -> ExitCode:
    """Erase memories for good: those of each ID, or those that are as the options say."""
    if not (ids or tags or where or categories or everything):
        raise BadInput("say what to forget: ids as `trouper recall --json` gives them, --tag, --where, or --all")
    if everything and (ids or tags or where or categories):
        raise BadInput("--all stands alone, or with --namespace")
    options = {"tags": tags, "where": conditions(where), "categories": categories, "everything": everything}
    return in_session(call, functools.partial(_forget, ids=ids or None, namespace=namespace, options=options))


@click.command()
@click.argument("action", type=click.Choice(["stats", "export", "import"]))
@click.argument("file", default="-", type=click.Path(dir_okay=False, allow_dash=True))
@_namespace
@with_options("config", "set", "timeout", "json", "quiet")
def memory(call: Call, action: str, file: str, namespace: str | None) -> ExitCode:
    """Look at the memory as a whole, or carry it from one place to another.

    `stats` shows what it holds. `export` writes every memory as a line of JSON to FILE (`-`: standard output), those
    that were superseded too, and without --namespace those of all namespaces. `import` remembers what `export` wrote;
    what is known already stays as it is, and with --namespace all goes into that one.
    """
    if action == "stats":
        return in_session(call, _stats)
    if action == "export":
        return in_session(call, functools.partial(_export, file=file, namespace=namespace))
    try:
        text = read_stdin() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{file} cannot be read: {error}") from error
    # Not `splitlines`: a text may hold what that takes for the end of a line.
    lines = text.removeprefix("\ufeff").split("\n")
    return in_session(call, functools.partial(_import, lines=lines, namespace=namespace))


def conditions(given: Sequence[str]) -> dict[str, Scalar | Sequence[Scalar]]:
    """`--where project=x --where done=true` as what metadata is filtered by.

    Raises:
        BadInput: one is no condition.
    """
    read = {name: (text, value) for name, text, value in _pairs(given, "--where", "a condition")}
    return {name: text if isinstance(value, dict) else value for name, (text, value) in read.items()}


def metadata(given: Sequence[str]) -> dict[str, object]:
    """`--meta project=x --meta done=true` as metadata.

    Raises:
        BadInput: one is none.
    """
    return {name: value for name, _, value in _pairs(given, "--meta", "metadata")}


def _pairs(given: Sequence[str], option: str, what: str) -> Iterator[tuple[str, str, Any]]:
    """Name, text and what JSON the text is (else itself)."""
    for one in given:
        name, equals, text = checked_text(one, what).partition("=")
        if not equals or not name:
            raise BadInput(f"{option} {one!r}: write KEY=VALUE")
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = text
        yield name, text, value


# ------------------------------------------------------------------ within a session
async def _remember(session: Session, texts: Sequence[str], said: dict[str, Any]) -> ExitCode:
    ids = await session.in_time(lambda: session.troupe.remember(texts, **said))
    merged = [{"index": one.index, "id": one.id, "score": one.score} for one in ids.near]
    if session.call.as_json:
        session.call.results.json({"ids": list(ids), **({"superseded": merged} if merged else {})})
    else:
        many = "memory" if len(ids) == 1 else "memories"
        session.call.results.text(f"Remembered {len(ids)} {many} ({', '.join(map(str, ids))}).")
        for one in ids.near:
            tell(f"memory {ids[one.index]} stands for {one.id} now, which is nearly the same")
    return ExitCode.SUCCESS


async def _recall(
    session: Session, query: str, count: int | None, namespace: str | None, options: dict[str, Any]
) -> ExitCode:
    from trouper.actors.memory_data import OWN

    memories = session.troupe.memories if namespace is None else session.troupe.memories.of(namespace)
    without = () if options["categories"] else OWN
    found = await session.in_time(lambda: memories.recall(query, count, without=without, **options))
    if session.call.as_json:
        session.call.results.json({"memories": [_memory_json(memory) for memory in found]})
    elif found:
        session.call.results.text("\n".join(f"{m.score:5.2f}  {m.content}" for m in found))
    elif not session.call.quiet:
        tell("nothing is remembered about that")
    return ExitCode.SUCCESS


async def _forget(
    session: Session, ids: Sequence[int] | None, namespace: str | None, options: dict[str, Any]
) -> ExitCode:
    memories = session.troupe.memories if namespace is None else session.troupe.memories.of(namespace)
    count = await session.in_time(lambda: memories.forget(ids, **options))
    if session.call.as_json:
        session.call.results.json({"forgotten": count})
    else:
        session.call.results.text(f"Forgot {count} {'memory' if count == 1 else 'memories'}.")
    return ExitCode.SUCCESS


async def _stats(session: Session) -> ExitCode:
    found = await session.in_time(session.troupe.memories.statistics)
    store = found.store
    if session.call.as_json:
        session.call.results.json({**attrs.asdict(store), "embedder": found.embedder})
        return ExitCode.SUCCESS
    lines = [
        f"{store.memories} memories in {store.namespaces} namespaces, {store.bytes / 1e6:.1f} MB",
        *(f"  {count:7} {category}" for category, count in sorted(store.categories.items())),
        f"{store.superseded} superseded, {store.expired} expired",
        f"embedder: {found.embedder or 'none, found by their words only'}",
        *(f"  {count:7} vectors of {name}" for name, count in sorted(store.embedded.items())),
    ]
    session.call.results.text("\n".join(lines))
    return ExitCode.SUCCESS


async def _export(session: Session, file: str, namespace: str | None) -> ExitCode:
    memories = session.troupe.memories if namespace is None else session.troupe.memories.of(namespace)

    async def collect() -> list[str]:
        return [line async for line in memories.export(everybody=namespace is None)]

    lines = await session.in_time(collect)
    text = "\n".join(lines)
    if file == "-":
        if lines:
            session.call.results.text(text)
        return ExitCode.SUCCESS
    try:
        Path(file).write_text(text + "\n" if lines else "", encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{file} cannot be written: {error}") from error
    if session.call.as_json:
        session.call.results.json({"exported": len(lines), "file": file})
    else:
        session.call.results.text(f"Wrote {len(lines)} {'memory' if len(lines) == 1 else 'memories'} to {file}.")
    return ExitCode.SUCCESS


async def _import(session: Session, lines: Sequence[str], namespace: str | None) -> ExitCode:
    memories = session.troupe.memories if namespace is None else session.troupe.memories.of(namespace)
    count = await session.in_time(lambda: memories.import_lines(lines))
    if session.call.as_json:
        session.call.results.json({"imported": count})
    else:
        session.call.results.text(f"Imported {count} {'memory' if count == 1 else 'memories'}.")
    return ExitCode.SUCCESS


def _memory_json(memory: Recalled) -> dict[str, object]:
    return {
        "id": memory.id,
        "content": memory.content,
        "score": memory.score,
        "created": memory.created,
        "namespace": memory.namespace,
        "category": memory.category,
        "tags": list(memory.tags),
        "meta": dict(memory.meta),
    }

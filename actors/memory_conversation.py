"""Conversations and what is known of a person, kept as memories like all others.

A turn is a memory of the category `turn`. When a conversation has many, the older ones are told in a summary, which
stands for them from then on: they are kept, and not found any more. What is known of a person is a memory of the
category `profile` for each attribute; a new value supersedes the old one, so that what was believed before can be
looked up. Both belong to a namespace, are exported with it, and are erased with it.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence

import attrs

from trouper.runtime import Ask, MemoryRefused, Seconds, Tell

from .memory_data import (
    PROFILE,
    SUMMARY,
    TURN,
    KeptMemory,
    MemoryFilter,
    MemoryRow,
    NewMemory,
    check_writable,
)
from .memory_messages import check_texts
from .memory_writing import Writing
from .protocols import MemoryStore

log: logging.Logger = logging.getLogger("trouper.memory")

_LONGEST_NAME = 200
_MOST_ATTRIBUTES = 1_000
_MOST_TURNS = 1_000

Summarise = Callable[[str], Awaitable[str]]
"""Makes of a conversation, as lines, a short text."""


@attrs.frozen(kw_only=True)
class Talking:
    """How many turns of a conversation are kept as they were said, and how many when it is time to sum up."""

    kept: int = attrs.field(default=20, validator=attrs.validators.ge(1))
    most: int = attrs.field(default=40, validator=attrs.validators.ge(2))


@attrs.frozen
class ConversationTurn:
    """What somebody said. `said` is seconds since 1970."""

    speaker: str
    text: str
    said: float


@attrs.frozen
class Conversation:
    """A conversation as far as it is remembered: what came before in short, then the last turns, oldest first."""

    summary: str | None
    turns: tuple[ConversationTurn, ...]


@attrs.frozen(kw_only=True)
class KeepTurn(Ask[int]):
    """Remember what somebody said; gives the id. With a `key` the same turn is kept once, however often it is sent."""

    conversation: str
    speaker: str
    text: str
    key: str | None = None
    namespace: str | None = None


@attrs.frozen(kw_only=True)
class ReadConversation(Ask[Conversation]):
    """What is remembered of a conversation, at most the last `turns` turns."""

    conversation: str
    turns: int = 20
    namespace: str | None = None


@attrs.frozen(kw_only=True)
class SetProfile(Ask[None]):
    """Remember attributes of whom the namespace belongs to; None erases one, with all that was believed before."""

    entries: Mapping[str, str | None]
    namespace: str | None = None


@attrs.frozen(kw_only=True)
class ReadProfile(Ask[Mapping[str, str]]):
    """What is known of whom the namespace belongs to, by attribute."""

    namespace: str | None = None


@attrs.frozen(kw_only=True)
class SummariseTurns(Tell):
    """A conversation has many turns."""

    conversation: str
    namespace: str


class Conversations:
    """Turns, summaries and profiles, in terms of the store and of writing to it."""

    def __init__(
        self,
        store: MemoryStore,
        writing: Writing,
        talking: Talking,
        summarise: Summarise,
        *,
        ttl: Seconds | None,
        now: Callable[[], float],
    ) -> None:
        """Give what it stands on; after `ttl` what was said and what is known is forgotten, like all memories."""
        self._store = store
        self._writing = writing
        self._talking = talking
        self._summarise = summarise
        self._ttl = ttl
        self._now = now

    async def keep_turn(self, message: KeepTurn, namespace: str) -> tuple[int, bool]:
        """Store a turn; gives its id, and whether it is time to sum up."""
        name = check_name(message.conversation, "conversation")
        speaker = check_name(message.speaker, "speaker")
        key = message.key if message.key is not None else secrets.token_hex(8)
        row = NewMemory(
            content=message.text,
            namespace=namespace,
            category=TURN,
            distinct=f"{len(name)}#{name}#{key}",
            meta={"conversation": name, "speaker": speaker},
            expires=self._until,
        )
        # Not `put`: a turn that is told again, after a summary has taken its place, would be alive again.
        (number,) = await self._writing.restore([KeptMemory(memory=row)])
        alive = await self._store.select(_of(namespace, TURN, name))
        return number, alive.count > self._talking.most

    async def read(self, message: ReadConversation, namespace: str) -> Conversation:
        """The summary, if there is one, and the last turns."""
        most = message.turns
        if isinstance(most, bool) or not isinstance(most, int) or not 0 <= most <= _MOST_TURNS:
            raise MemoryRefused(f"turns is {message.turns!r}; give a whole number from 0 to {_MOST_TURNS}")
        turns = await self._rows(namespace, TURN, message.conversation)
        summaries = await self._rows(namespace, SUMMARY, message.conversation)
        last = turns[len(turns) - message.turns :] if message.turns < len(turns) else turns
        said = tuple(ConversationTurn(str(row.meta.get("speaker", "")), row.content, row.created) for row in last)
        return Conversation(summaries[-1].content if summaries else None, said)

    async def sum_up(self, conversation: str, namespace: str) -> bool:
        """Let a summary stand for the older turns; False: there was nothing to do. Cancelled: nothing was changed."""
        turns = await self._rows(namespace, TURN, conversation)
        if len(turns) <= self._talking.most:
            return False
        old = turns[: len(turns) - self._talking.kept]
        before = await self._rows(namespace, SUMMARY, conversation)
        lines = [f"Before: {_in_a_line(row.content)}" for row in before]
        lines += [f"{_in_a_line(str(row.meta.get('speaker', '')))}: {_in_a_line(row.content)}" for row in old]
        text = (await self._summarise("\n".join(lines))).strip()
        if not text:
            log.warning("[MEMORY] the conversation %r was not summed up: the summary is empty", conversation)
            return False
        row = NewMemory(
            content=text,
            namespace=namespace,
            category=SUMMARY,
            distinct=f"{conversation}#{old[-1].id}",
            meta={"conversation": conversation, "up_to": old[-1].id},
            expires=self._until,
        )
        await self._writing.supersede([one.id for one in (*before, *old)], row)
        return True

    async def set_profile(self, entries: Mapping[str, str | None], namespace: str) -> None:
        """Store attributes; a new value supersedes the old one."""
        known = {str(row.meta.get("attribute")): row for row in await self._rows(namespace, PROFILE)}
        for name, value in entries.items():
            check_name(name, "attribute")
            if value is not None and (not isinstance(value, str) or not value.strip()):
                raise MemoryRefused(f"{name} is {value!r}; give a text, or None to erase it")
            if value is not None:
                check_writable(value, f"the value of {name!r}")
                check_texts((f"{name}: {value}",))
        for name, value in entries.items():
            if value is None:
                every = MemoryFilter(namespace=namespace, categories=(PROFILE,), where={"attribute": name}, dead=True)
                await self._writing.erase(tuple(await self._store.select(every)))
                continue
            row = NewMemory(
                content=f"{name}: {value}",
                namespace=namespace,
                category=PROFILE,
                distinct=name,
                meta={"attribute": name, "value": value},
                expires=self._until,
            )
            old = known.get(name)
            if old is not None and old.content != row.content:
                await self._writing.supersede([old.id], row)
            elif old is None or old.expires is not None:  # said again, it lives longer
                await self._writing.put([row])

    async def profile(self, namespace: str) -> Mapping[str, str]:
        """The attributes that are known now."""
        return {
            str(row.meta.get("attribute")): str(row.meta.get("value")) for row in await self._rows(namespace, PROFILE)
        }

    @property
    def _until(self) -> float | None:
        return None if self._ttl is None else self._now() + self._ttl

    async def _rows(self, namespace: str, category: str, conversation: str | None = None) -> list[MemoryRow]:
        meant = _of(namespace, category, conversation)
        rows: list[MemoryRow] = []
        most = _MOST_ATTRIBUTES if category == PROFILE else _MOST_TURNS
        while part := await self._store.page(rows[-1].id if rows else 0, most, meant):
            rows += part
        return rows


def _in_a_line(text: str) -> str:
    """So that what somebody said looks neither like another's words nor like the end of the conversation."""
    return " ".join(text.split())


def _of(namespace: str, category: str, conversation: str | None) -> MemoryFilter:
    where = {} if conversation is None else {"conversation": conversation}
    return MemoryFilter(namespace=namespace, categories=(category,), where=where)


def check_name(name: str, what: str) -> str:
    """The name; raises `MemoryRefused` if it cannot be one."""
    if not isinstance(name, str) or not name.strip() or len(name) > _LONGEST_NAME:
        raise MemoryRefused(f"{what} {name!r}: give a name of 1 to {_LONGEST_NAME} characters")
    check_writable(name, f"the {what}")
    return name


def shortened(text: str, most: int = 1_000) -> str:
    """A summary without any understanding: the beginning and the end, cut between lines."""
    if len(text) <= most:
        return text
    lines: Sequence[str] = text.splitlines()
    head: list[str] = []
    tail: list[str] = []
    room = most - 5
    while lines and room > 0:
        line = lines[0] if len(head) <= len(tail) else lines[-1]
        lines = lines[1:] if len(head) <= len(tail) else lines[:-1]
        line = line[: max(40, most // 8)]
        room -= len(line) + 1
        if room < 0:
            break
        (head if len(head) <= len(tail) else tail).append(line)
    return "\n".join([*head, "[...]", *reversed(tail)])

"""Answers that are kept for requests made again word for word: an exact cache, and nothing cleverer.

The key is a hash of everything that the model is told: the model itself, the messages, the tools, the schema, the
sampling and the seed. Two questions that only mean the same are two questions. A cache that answers by likeness gives
wrong answers to negations and to reversed questions, so there is none.

By default only what is deterministic is remembered: a temperature of 0, or a seed. An answer is kept in this process,
and behind that in a store, if there is one. The store may fail in any way: that is a miss and one warning.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal, Protocol, TypeVar

import attrs

from trouper.runtime import Seconds

from .protocols import ChatReply, ChatRequest, ToolCall, Usage

T = TypeVar("T")
log: logging.Logger = logging.getLogger("trouper.cache")

ResponseCaching = Literal["off", "deterministic", "all"]
"""Which requests are remembered: none, those with a temperature of 0 or a seed, or every one."""

MOST_ANSWERS = 1_000
MOST_BYTES = 16 << 20
"""Of answers in this process. The store has bounds of its own."""
KEPT_FOR: Seconds = 86_400.0
"""A day: models change behind their names."""

_FORM = 1
_WHOLE = ("stop", "tool_calls")
"""Why a model stops that has said all it had to say."""


class ResponseStore(Protocol):
    """Port: answers by key, as bytes. It may forget what it likes; a failure is a miss."""

    async def get(self, key: bytes) -> bytes | None:
        """What was put under `key` last."""
        ...

    async def put(self, key: bytes, answer: bytes) -> None:
        """Keep it."""
        ...

    async def forget(self, key: bytes) -> None:
        """Keep it no longer; an unknown key changes nothing."""
        ...


@attrs.frozen(kw_only=True)
class ResponseCacheStatistics:
    """Counters since the start. `bytes` and `answers` are in this process now."""

    hits: int
    misses: int
    stored: int
    answers: int
    bytes: int


@attrs.frozen
class _Kept:
    at: Seconds
    reply: ChatReply
    size: int


class ResponseCache:
    """What models have answered, by the exact request.

    Args:
        store: Where answers outlive the process; None: they do not.
        mode: See `ResponseCaching`.
        ttl: Seconds after which an answer is not used any more; None: never.
        max_items: Answers in this process.
        max_bytes: And their size, about.
        now: The time of day, in seconds since 1970: the store outlives the process, and so do its times.
    """

    def __init__(
        self,
        store: ResponseStore | None = None,
        *,
        mode: ResponseCaching = "deterministic",
        ttl: Seconds | None = KEPT_FOR,
        max_items: int = MOST_ANSWERS,
        max_bytes: int = MOST_BYTES,
        now: Callable[[], Seconds] = time.time,
    ) -> None:
        self._store = store
        self._mode: ResponseCaching = mode
        self._ttl = ttl
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._now = now
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        self._bytes = self._hits = self._misses = self._stored = 0
        self._warned = False

    def statistics(self) -> ResponseCacheStatistics:
        """Counters so far."""
        return ResponseCacheStatistics(
            hits=self._hits, misses=self._misses, stored=self._stored, answers=len(self._kept), bytes=self._bytes
        )

    def remembers(self, request: ChatRequest) -> bool:
        """Whether the answer to such a request is kept, and an earlier one used."""
        return self._mode == "all" or (self._mode == "deterministic" and is_deterministic(request))

    def key(self, model: str, request: ChatRequest) -> bytes | None:
        """See `request_key`."""
        return request_key(model, request)

    async def get(self, key: bytes | None) -> ChatReply | None:
        """The earlier answer: marked `cached`, with no usage, for nothing was sent. Never raises but `Cancelled`."""
        if key is None:
            return None
        kept = self._kept.get(key)
        if kept is None:
            kept = await self._from_store(key)
        if kept is None or self._too_old(kept):
            self._drop(key)
            self._misses += 1
            return None
        self._hits += 1
        if key in self._kept:
            self._kept.move_to_end(key)
        log.info("[RESPONSE CACHE] an earlier answer is used again (%s)", key.hex()[:8])
        return kept.reply

    async def put(self, key: bytes | None, reply: ChatReply) -> None:
        """Keep an answer that is whole; one from the cache, cut short or empty is not. Never raises but `Cancelled`."""
        if key is None or not _worth_keeping(reply):
            return
        at = self._now()
        clean = attrs.evolve(reply, usage=Usage(), limits=None, cached=True)
        text = _encode(clean, at)
        self._keep(key, _Kept(at, clean, len(text)))
        self._stored += 1
        if self._store is not None:
            await self._tried(self._store.put(key, text))

    async def forget(self, key: bytes | None) -> None:
        """An answer turned out to be of no use: it is not given again. Never raises but `Cancelled`."""
        if key is None:
            return
        self._drop(key)
        if self._store is not None:
            await self._tried(self._store.forget(key))

    async def _from_store(self, key: bytes) -> _Kept | None:
        if self._store is None:
            return None
        text = await self._tried(self._store.get(key))
        kept = _decode(text) if text is not None else None
        if kept is not None and not self._too_old(kept):
            self._keep(key, kept)
        return kept

    async def _tried(self, work: Awaitable[T]) -> T | None:
        try:
            return await work
        except Exception as error:  # noqa: BLE001 - a failing cache never fails a call
            if not self._warned:
                self._warned = True
                log.warning("[RESPONSE CACHE] it cannot be used (%s): models are asked again", error)
            return None

    def _too_old(self, kept: _Kept) -> bool:
        return self._ttl is not None and self._now() - kept.at > self._ttl

    def _keep(self, key: bytes, kept: _Kept) -> None:
        self._drop(key)
        self._kept[key] = kept
        self._bytes += kept.size
        while len(self._kept) > self._max_items or self._bytes > self._max_bytes:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: bytes) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._bytes -= kept.size


# ------------------------------------------------------------------ pure
def is_deterministic(request: ChatRequest) -> bool:
    """Whether the same request is meant to have the same answer: a temperature of 0, or a seed."""
    return request.temperature == 0 or request.seed is not None


def request_key(model: str, request: ChatRequest) -> bytes | None:
    """A hash of everything that the model is told, or None if that is no JSON.

    `model` says which model behind which address and key, so that two endpoints never share. Who asks and how
    urgently is not in it, and neither is the order of an object's keys.
    """
    told = {
        "form": _FORM,
        "model": model,
        "named": request.model,
        "messages": [[m.role, m.content, _calls(m.tool_calls), m.tool_call_id] for m in request.messages],
        "max_tokens": request.max_tokens,
        "temperature": _number(request.temperature),
        "top_p": _number(request.top_p),
        "stop": list(request.stop),
        "seed": request.seed,
        "schema": request.schema,
        "schema_name": request.schema_name if request.schema is not None else None,
        "tools": [[tool.name, tool.description, tool.schema] for tool in request.tools],
        "tool_choice": request.tool_choice,
    }
    try:
        text = json.dumps(told, sort_keys=True, separators=(",", ":"), default=_plain)
    except (TypeError, ValueError, RecursionError):  # keys of several kinds, objects, circles: not to be compared
        return None
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)  # 0 and 0.0 are the same temperature


def _calls(calls: Sequence[ToolCall]) -> list[list[str]]:
    return [[call.id, call.name, call.arguments] for call in calls]


def _worth_keeping(reply: ChatReply) -> bool:
    return not reply.cached and reply.finish_reason in _WHOLE and bool(reply.text or reply.tool_calls)


def _encode(reply: ChatReply, at: Seconds) -> bytes:
    kept = [_FORM, at, reply.text, reply.model, reply.finish_reason, _calls(reply.tool_calls)]
    return json.dumps(kept, separators=(",", ":")).encode()


def _decode(text: bytes) -> _Kept | None:
    """What `_encode` wrote, or None."""
    try:
        form, at, said, model, finish_reason, calls = json.loads(text)
        if form != _FORM:
            return None
        made = tuple(ToolCall(id=str(i), name=str(name), arguments=str(arguments)) for i, name, arguments in calls)
        reply = ChatReply(
            text=str(said), model=str(model), finish_reason=str(finish_reason), tool_calls=made, cached=True
        )
        return _Kept(float(at), reply, len(text))
    except (ValueError, TypeError):
        return None

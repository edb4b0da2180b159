"""Answers are used again for the very same request only; the cache fails alone."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import MappingProxyType

import attrs
import pytest

from trouper.actors.protocols import ChatMessage, ChatReply, ChatRequest, ToolCall, ToolSpec, Usage
from trouper.actors.response_cache import ResponseCache, is_deterministic, request_key
from trouper.adapters.cache_memory import InMemoryResponseStore
from trouper.adapters.cache_responses import SqliteResponseStore
from trouper.runtime import ServerLimits

ASK = ChatRequest(messages=(ChatMessage("system", "be brief"), ChatMessage("user", "hello")))
REPLY = ChatReply(
    text="hi \ud800",
    model="m-2026",
    usage=Usage(prompt_tokens=7, completion_tokens=2, calls=1, cost=0.5),
    limits=ServerLimits(remaining_requests=3),
)
KEPT = attrs.evolve(REPLY, usage=Usage(), limits=None, cached=True)
KEY = request_key("m", ASK)


class Clock:
    def __init__(self) -> None:
        self.time = 1e9

    def __call__(self) -> float:
        return self.time


# ------------------------------------------------------------------ the key

OTHERS = {
    "messages": {"messages": (ChatMessage("system", "be brief"), ChatMessage("user", "Hello"))},
    "their order": {"messages": ASK.messages[::-1]},
    "their roles": {"messages": (ASK.messages[0], ChatMessage("assistant", "hello"))},
    "where they end": {"messages": (ChatMessage("system", "be briefhello"),)},
    "tool calls": {
        "messages": (
            ASK.messages[0],
            ChatMessage("user", "hello", tool_calls=(ToolCall(id="1", name="f", arguments=""),)),
        )
    },
    "what is answered": {"messages": (ASK.messages[0], ChatMessage("user", "hello", tool_call_id="1"))},
    "model": {"model": "other"},
    "max_tokens": {"max_tokens": 5},
    "temperature": {"temperature": 0.1},
    "no temperature": {"temperature": None},
    "seed": {"seed": 1},
    "schema": {"schema": {"type": "object"}},
    "top_p": {"top_p": 0.5},
    "stop": {"stop": ("x",)},
    "tools": {"tools": (ToolSpec(name="f", schema={"type": "object"}),)},
    "tool_choice": {"tool_choice": "none"},
}


@pytest.mark.parametrize("what", OTHERS)
def test_whatever_the_model_is_told_is_in_the_key(what: str) -> None:
    assert request_key("m", attrs.evolve(ASK, **OTHERS[what])) != KEY


def test_every_field_of_a_request_is_in_the_key_or_left_out_on_purpose() -> None:
    """A field that somebody adds must be told here."""
    told = {"messages", "model", "max_tokens", "temperature", "seed", "schema", "top_p", "stop", "tools", "tool_choice"}
    left_out = {"role", "priority"}  # who asks, not what
    with_a_schema = {"schema_name"}

    assert {field.name for field in attrs.fields(ChatRequest)} == told | left_out | with_a_schema


def test_what_the_model_is_not_told_is_not_in_the_key() -> None:
    same = attrs.evolve(ASK, role="verifier", priority="background", temperature=0, schema_name="unused")

    assert request_key("m", same) == KEY
    assert request_key("other endpoint", ASK) != KEY


def test_the_order_of_an_objects_keys_does_not_count() -> None:
    one = attrs.evolve(ASK, schema={"type": "object", "properties": {"a": {}, "b": {}}})
    two = attrs.evolve(
        ASK, schema=MappingProxyType({"properties": MappingProxyType({"b": {}, "a": {}}), "type": "object"})
    )

    assert request_key("m", one) == request_key("m", two)
    assert request_key("m", attrs.evolve(one, schema_name="other")) != request_key("m", one)


def test_a_request_that_is_no_json_has_no_key() -> None:
    circle: dict = {}
    circle["self"] = circle
    for schema in ({"x": object()}, {1: 1, "a": 1}, circle):
        assert request_key("m", attrs.evolve(ASK, schema=schema)) is None


def test_deterministic_is_a_temperature_of_zero_or_a_seed() -> None:
    asks = [{}, {"temperature": 0.7}, {"temperature": None}, {"temperature": 0.7, "seed": 0}]

    assert [is_deterministic(attrs.evolve(ASK, **ask)) for ask in asks] == [True, False, False, True]


@pytest.mark.parametrize(
    ("mode", "wanted"), [("off", (False, False)), ("deterministic", (True, False)), ("all", (True, True))]
)
def test_the_mode_says_what_is_remembered(mode, wanted: tuple[bool, bool]) -> None:
    cache = ResponseCache(mode=mode)

    assert (cache.remembers(ASK), cache.remembers(attrs.evolve(ASK, temperature=1.0))) == wanted


# ------------------------------------------------------------------ the cache


@pytest.fixture(params=["none", "memory", pytest.param("sqlite", marks=pytest.mark.io)])
async def store(request: pytest.FixtureRequest, tmp_path: Path):
    made = {
        "none": lambda: None,
        "memory": InMemoryResponseStore,
        "sqlite": lambda: SqliteResponseStore(tmp_path / "r.sqlite"),
    }[request.param]()
    yield made
    if made is not None:
        await made.aclose()


async def test_an_answer_is_used_again_marked_and_for_nothing(store) -> None:
    cache = ResponseCache(store)
    assert await cache.get(KEY) is None
    await cache.put(KEY, REPLY)

    assert await cache.get(KEY) == KEPT
    statistics = cache.statistics()
    assert (statistics.hits, statistics.misses, statistics.stored, statistics.answers) == (1, 1, 1, 1)
    assert await cache.get(request_key("m", attrs.evolve(ASK, seed=1))) is None


async def test_it_outlives_the_process_where_there_is_a_store(store) -> None:
    await ResponseCache(store).put(KEY, REPLY)

    assert await ResponseCache(store).get(KEY) == (KEPT if store is not None else None)


async def test_tool_calls_are_kept(store) -> None:
    calls = (ToolCall(id="1", name="f", arguments="{"), ToolCall(id="2", name="g", arguments="{}"))
    reply = ChatReply(text="", finish_reason="tool_calls", tool_calls=calls)
    await ResponseCache(store).put(KEY, reply)
    found = await ResponseCache(store).get(KEY)

    assert found == (attrs.evolve(reply, cached=True) if store is not None else None)


async def test_an_answer_that_was_of_no_use_is_not_given_again(store) -> None:
    cache = ResponseCache(store)
    other = request_key("m", attrs.evolve(ASK, seed=1))
    await cache.put(KEY, REPLY)
    await cache.put(other, REPLY)
    for key in (KEY, KEY, None):
        await cache.forget(key)

    assert await cache.get(KEY) is None
    assert await ResponseCache(store).get(KEY) is None
    assert await cache.get(other) == KEPT


async def test_an_answer_grows_old(store) -> None:
    """Also in the store, and also while the clock of the machine is put back."""
    clock = Clock()
    cache = ResponseCache(store, ttl=60, now=clock)
    await cache.put(KEY, REPLY)
    for seconds in (59, -1000):
        clock.time = 1e9 + seconds
        assert await cache.get(KEY) == KEPT
    clock.time = 1e9 + 61
    assert await cache.get(KEY) is None
    assert await ResponseCache(store, ttl=60, now=clock).get(KEY) is None
    assert cache.statistics().answers == 0
    for_ever = ResponseCache(store, ttl=None, now=clock)
    await for_ever.put(KEY, REPLY)
    clock.time = 9e9
    assert await for_ever.get(KEY) == KEPT


@pytest.mark.parametrize(
    "change", [{"cached": True}, {"finish_reason": "length"}, {"finish_reason": "content_filter"}, {"text": ""}]
)
async def test_what_is_no_whole_answer_is_not_kept(change: dict) -> None:
    store = InMemoryResponseStore()
    await ResponseCache(store).put(KEY, attrs.evolve(REPLY, **change))

    assert await store.get(KEY) is None


async def test_without_a_key_nothing_is_kept_or_found() -> None:
    cache = ResponseCache(InMemoryResponseStore())
    await cache.put(None, REPLY)

    assert await cache.get(None) is None
    assert cache.statistics().stored == 0


async def test_it_is_bounded_by_number_and_by_size() -> None:
    few, small = ResponseCache(max_items=3), ResponseCache(max_bytes=1_000)
    keys = [bytes([n]) * 16 for n in range(10)]
    for n, key in enumerate(keys):
        await few.put(key, attrs.evolve(REPLY, text=str(n)))
        await small.put(key, attrs.evolve(REPLY, text="x" * 300))
        await few.get(keys[0])

    assert few.statistics().answers == 3
    assert (await few.get(keys[0])) is not None  # it was used
    assert (await few.get(keys[1])) is None
    assert 0 < small.statistics().bytes <= 1_000
    await small.put(keys[0], attrs.evolve(REPLY, text="x" * 5_000))
    assert small.statistics().bytes <= 1_000
    for n in range(100):
        await small.put(keys[0], attrs.evolve(REPLY, text="y" * n))
    assert small.statistics().bytes < 400


class Broken:
    async def get(self, key: bytes) -> bytes | None:
        raise ZeroDivisionError("get")

    async def put(self, key: bytes, answer: bytes) -> None:
        raise OSError("put")

    async def forget(self, key: bytes) -> None:
        raise OSError("forget")


async def test_a_store_that_fails_is_a_miss_and_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    cache = ResponseCache(Broken())
    with caplog.at_level(logging.WARNING, "trouper.cache"):
        assert await cache.get(KEY) is None
        await cache.put(KEY, REPLY)
        assert await cache.get(KEY) == KEPT  # from this process
        await cache.forget(KEY)
        assert await cache.get(KEY) is None

    assert len([r for r in caplog.records if r.levelno == logging.WARNING]) == 1


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b"null",
        b'[1,"x","a","b","c",[]]',
        b'[2,0,"a","b","stop",[]]',
        b'[1,0,"a","b","c",[1]]',
    ],
)
async def test_what_cannot_be_read_is_a_miss(text: bytes) -> None:
    store = InMemoryResponseStore()
    await store.put(KEY, text)

    assert await ResponseCache(store).get(KEY) is None


@pytest.mark.io
async def test_the_file_is_private_and_holds_no_prompt(tmp_path: Path) -> None:
    store = SqliteResponseStore(tmp_path / "r.sqlite")
    await ResponseCache(store).put(KEY, REPLY)
    await store.aclose()

    assert (tmp_path / "r.sqlite").stat().st_mode & 0o077 == 0
    assert b"be brief" not in (tmp_path / "r.sqlite").read_bytes()
    assert json.dumps("hi")[1:-1].encode() in (tmp_path / "r.sqlite").read_bytes()


@pytest.mark.io
async def test_a_file_that_is_no_cache_costs_nothing_but_the_cache(tmp_path: Path) -> None:
    (tmp_path / "r.sqlite").write_bytes(b"no database" * 1000)
    cache = ResponseCache(SqliteResponseStore(tmp_path / "r.sqlite"))
    await cache.put(KEY, REPLY)

    assert await cache.get(KEY) == KEPT

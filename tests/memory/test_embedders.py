"""Every offline embedder keeps the port's promises; what each can find is measured and stated."""

from __future__ import annotations

import math
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from trouper.actors.protocols import PreparedEmbedder
from trouper.actors.vectors import fault_of
from trouper.adapters import embed_wordllama
from trouper.adapters.config_model import Config, Embeddings, Llm
from trouper.adapters.config_rules import Secret
from trouper.adapters.embed_choice import choose_embedder
from trouper.adapters.embed_hash import HashEmbedder, hash_vector
from trouper.adapters.embed_wordllama import WordLlamaEmbedder, wordllama_folder
from trouper.runtime import BadRequest, ConfigError, ModelUnavailable

TEXTS = ["one fact", "another fact", "日本語 🤷", "???", "a" * 3_000, "a\0b", "\ud800 half", "x"]


@pytest.fixture(params=["hash", pytest.param("wordllama", marks=pytest.mark.io)])
def embedder(request: pytest.FixtureRequest):
    return HashEmbedder() if request.param == "hash" else WordLlamaEmbedder()


def cosine(a: bytes, b: bytes) -> float:
    n = len(a) // 4
    return math.fsum(x * y for x, y in zip(struct.unpack(f"<{n}f", a), struct.unpack(f"<{n}f", b), strict=True))


async def test_one_sound_vector_a_text_in_order(embedder) -> None:
    texts = [t for t in TEXTS if "\ud800" not in t]
    vectors = await embedder.embed(texts)

    assert [fault_of(v, embedder.dim) for v in vectors] == [None] * len(texts)
    alone = [(await embedder.embed([text]))[0] for text in reversed(texts)]
    assert tuple(reversed(alone)) == vectors
    assert await embedder.embed([]) == ()


@pytest.mark.parametrize("empty", ["", " ", "\n\t"])
async def test_an_empty_text_is_an_error_and_never_a_zero_vector(embedder, empty: str) -> None:
    with pytest.raises(BadRequest, match="text 2 of 3"):
        await embedder.embed(["a", empty, "b"])


async def test_half_a_character_is_an_answer_or_a_typed_error(embedder) -> None:
    try:
        (vector,) = await embedder.embed(["\ud800 half"])
    except BadRequest:
        return
    assert fault_of(vector, embedder.dim) is None


async def test_a_very_long_text_is_embedded(embedder) -> None:
    (vector,) = await embedder.embed(["some words and others " * 4_000])

    assert fault_of(vector, embedder.dim) is None


async def test_embedding_is_a_checkpoint_and_can_be_cancelled(embedder) -> None:
    await embedder.embed(["load"])
    for texts in ([], ["a"]):
        with trio.CancelScope() as scope:
            scope.cancel()
            await embedder.embed(texts)
        assert scope.cancelled_caught
    await embedder.aclose()
    await embedder.aclose()


async def test_texts_that_share_words_are_nearer_than_those_that_do_not() -> None:
    a, b, c = await HashEmbedder().embed(["the red car drives", "a RED car drove", "seven quiet mountains"])

    assert cosine(a, b) > 0.3 > cosine(a, c)


@pytest.mark.io
def test_hashing_gives_the_same_vectors_in_every_process() -> None:
    code = "from trouper.adapters.embed_hash import hash_vector; print(hash_vector('one fact', 384).hex())"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)

    assert run.stdout.strip() == hash_vector("one fact", 384).hex()


def test_a_name_stands_for_one_space() -> None:
    assert HashEmbedder().name == "hash-ngrams"
    assert HashEmbedder(64).name != HashEmbedder().name
    with pytest.raises(ValueError, match="at least 8"):
        HashEmbedder(4)


# ------------------------------------------------------------------ wordllama

FACTS = {
    "The office coffee machine is on the second floor.": "Where can I get an espresso at work?",
    "Maria's birthday is on the fourth of July.": "When was Maria born?",
    "The production database runs on PostgreSQL 15.": "Which database system do we use in production?",
    "Our staging server was moved to Frankfurt.": "In which city is the staging machine located?",
    "The user prefers short answers without bullet points.": "How does the user like replies to be written?",
    "Invoices are sent on the last Friday of each month.": "When do customers get their bills?",
    "The cat is allergic to chicken.": "What food must the cat not eat?",
    "Backups are kept for ninety days.": "How long do we retain backups?",
    "The build breaks when Python 3.10 is used.": "Which interpreter version fails to compile the project?",
    "Tom leads the mobile team.": "Who is in charge of the phone app group?",
}


async def hits_at_one(embedder) -> float:
    facts = await embedder.embed(list(FACTS))
    questions = await embedder.embed(list(FACTS.values()))
    best = [max(range(len(facts)), key=lambda i, q=q: cosine(q, facts[i])) for q in questions]
    return sum(found == wanted for wanted, found in enumerate(best)) / len(facts)


@pytest.mark.io
async def test_paraphrased_questions_find_their_fact() -> None:
    """Ten facts, ten questions that hardly share a word: wordllama finds at least eight (measured: ten)."""
    assert await hits_at_one(WordLlamaEmbedder()) >= 0.8


async def test_hashed_ngrams_are_no_substitute() -> None:
    """What the docs say about the last rung stays true: it finds shared words, not meaning (measured: 0.3)."""
    assert await hits_at_one(HashEmbedder()) < 0.6


@pytest.mark.io
async def test_the_vectors_are_those_of_the_package_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read from its files, without its loader, and yet the same."""
    import logging

    handlers = list(logging.root.handlers)
    level = logging.root.level
    import wordllama

    logging.root.handlers[:] = handlers  # importing it configures the root logger, which is why we do not
    logging.root.setLevel(level)
    folder = wordllama_folder()
    assert folder is not None
    model = wordllama.WordLlama.load(cache_dir=folder, disable_download=True)
    texts = ["hello world", *FACTS]
    theirs = model.embed(texts, norm=True)
    ours = await WordLlamaEmbedder().embed(texts)

    for mine, other in zip(ours, theirs, strict=True):
        assert cosine(mine, other.astype("<f4").tobytes()) > 0.9999


@pytest.mark.io
async def test_nothing_touches_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)

    assert len(await WordLlamaEmbedder().embed(["offline"])) == 1


@pytest.mark.io
async def test_the_model_is_loaded_once_for_many_first_askers(monkeypatch: pytest.MonkeyPatch) -> None:
    from trouper.adapters import embed_wordllama

    loads = 0
    load = embed_wordllama._load

    def counted():
        nonlocal loads
        loads += 1
        return load()

    monkeypatch.setattr(embed_wordllama, "_load", counted)
    embedder = WordLlamaEmbedder()
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(embedder.embed, ["x"])

    assert loads == 1


@pytest.mark.io
async def test_a_package_that_is_missing_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trouper.adapters.embed_wordllama.wordllama_folder", lambda: None)

    with pytest.raises(ModelUnavailable, match=r"pip install wordllama.*embeddings\.provider") as caught:
        await WordLlamaEmbedder().embed(["x"])

    assert not caught.value.retryable  # nobody tries again what cannot change


@pytest.mark.io
def test_loading_leaves_the_process_as_it_was() -> None:
    """No root logger configured, no HTTP client, no hub library: what importing the package itself would bring.

    Nor the libraries that hold the interpreter's lock while they read its files.
    """
    code = (
        "import logging, sys, trio; from trouper.adapters.embed_wordllama import WordLlamaEmbedder;"
        "trio.run(WordLlamaEmbedder().embed, ['x']);"
        "assert not logging.root.handlers, logging.root.handlers;"
        "unwanted = ('requests', 'huggingface_hub', 'wordllama', 'pydantic', 'tokenizers', 'safetensors');"
        "print([m for m in unwanted if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)

    assert run.stdout.strip() == "[]"


# ------------------------------------------------------------------ which one


@pytest.mark.parametrize(
    ("embeddings", "llm", "installed", "provider"),
    [
        (Embeddings(), Llm(), True, "wordllama"),
        (Embeddings(), Llm(), False, "none"),
        (Embeddings(), Llm(api_key=Secret("k")), True, "wordllama"),
        (Embeddings(model="m"), Llm(api_key=Secret("k")), True, "openai"),
        (Embeddings(model="m"), Llm(base_url="http://127.0.0.1:1/v1"), True, "openai"),
        (Embeddings(model="m"), Llm(), True, "wordllama"),
        (Embeddings(model="m", base_url="http://127.0.0.1:1/v1"), Llm(), True, "openai"),
        (Embeddings(provider="openai", api_key=Secret("k")), Llm(), True, "openai"),
        (Embeddings(provider="hash"), Llm(api_key=Secret("k")), True, "hash"),
        (Embeddings(provider="openai"), Llm(api_key=Secret("k")), True, "openai"),
        (Embeddings(provider="wordllama"), Llm(), False, "wordllama"),
        (Embeddings(provider="none"), Llm(api_key=Secret("k")), True, "none"),
    ],
)
def test_the_ladder(embeddings: Embeddings, llm: Llm, *, installed: bool, provider: str) -> None:
    choice = choose_embedder(
        Config(embeddings=embeddings, llm=llm), find=lambda: Path("somewhere") if installed else None
    )

    assert choice.provider == provider
    assert choice.why


def test_an_endpoint_that_is_wanted_and_missing_is_a_mistake_of_the_configuration() -> None:
    with pytest.raises(ConfigError, match=r"embeddings\.provider.*OPENAI_API_KEY"):
        choose_embedder(Config(embeddings=Embeddings(provider="openai")))


def test_a_named_model_that_is_not_used_is_said_so() -> None:
    assert "no endpoint" in choose_embedder(Config(embeddings=Embeddings(model="m"))).why


@pytest.mark.io
async def test_what_was_prepared_is_there_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = WordLlamaEmbedder()
    await embedder.prepare()
    monkeypatch.setattr(embed_wordllama, "_load", None)
    await embedder.prepare()

    assert [fault_of(v, embedder.dim) for v in await embedder.embed(["one fact"])] == [None]
    assert isinstance(embedder, PreparedEmbedder)
    assert not isinstance(HashEmbedder(), PreparedEmbedder)

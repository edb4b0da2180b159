"""The word pieces of the offline embedder: the same as its library's, read and cut without holding anybody up."""

from __future__ import annotations

import json
from array import array
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trouper.adapters import embed_pieces, embed_wordllama
from trouper.adapters.embed_pieces import WordPieces, read_pieces
from trouper.adapters.embed_wordllama import wordllama_folder
from trouper.runtime import ModelUnavailable

DOCS = Path(__file__).parents[2] / "docs"

pytestmark = [
    pytest.mark.io,
    pytest.mark.skipif(wordllama_folder() is None, reason="wordllama has no wheel for this platform"),
]


def real_file() -> Path:
    folder = wordllama_folder()
    assert folder is not None
    return folder / embed_wordllama._TOKENIZER


@cache
def real_pieces() -> WordPieces:
    pieces = read_pieces(real_file())
    assert pieces is not None
    return pieces


@cache
def library() -> Any:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(real_file()))
    tokenizer.no_truncation()
    return tokenizer


def numbers(pieces: Any, text: str) -> list[int]:
    return array("I", pieces.cut(text)).tolist()


def as_the_library(text: str) -> bool:
    return numbers(real_pieces(), text) == library().encode(text, add_special_tokens=False).ids


def small_plan(**model: object) -> dict[str, Any]:
    """A tokenizer of the kind that is known, with the fewest pieces."""
    pieces = ["<unk>", *(f"<0x{value:02X}>" for value in range(256)), "\u2581", "a", "b", "ab", "\u2581a", "aa"]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": 0,
                "content": "<unk>",
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
        ],
        "normalizer": embed_pieces._NORMALIZER,
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": {piece: number for number, piece in enumerate(pieces)},
            "merges": ["a b", "\u2581 a", "a a"],
            **model,
        },
    }


def written(path: Path, plan: object, indent: int | None = 2) -> Path:
    file = path / "tokenizer.json"
    file.write_text(json.dumps(plan, ensure_ascii=False, indent=indent) + "\n", encoding="utf-8")
    return file


# ------------------------------------------------------------------ the same numbers
LETTERS = st.one_of(
    st.sampled_from(list(" \u2581\n\t<>/sunk0x1Aaeinotr_.,'\u00e9\u0301\u4e2d\u6587\U0001f937")),
    st.characters(exclude_categories=["Cs"]),
)


@settings(deadline=None)  # the first one reads the file
@given(st.lists(st.one_of(LETTERS, st.sampled_from(["<s>", "</s>", "<unk>", "the ", " inter", "ation", "   "]))))
@example(["<s>", " ", "<s>"])
@example(["\u2581", " ", "\u2581", "a"])
def test_any_text_is_cut_as_the_library_cuts_it(parts: list[str]) -> None:
    assert as_the_library("".join(parts))


@settings(deadline=None)
@given(st.text(alphabet="ab", max_size=300))
def test_equal_neighbours_are_joined_from_the_left(text: str) -> None:
    """Where one rule applies at many places, and each joining makes room for others."""
    assert as_the_library(text)


def test_every_piece_is_cut_as_the_library_cuts_it() -> None:
    """Alone and behind another: each rule of the file is asked for."""
    pieces = sorted(library().get_vocab())

    assert [piece for piece in pieces if not as_the_library(piece)] == []
    assert [piece for piece in pieces if not as_the_library("x" + piece)] == []


def test_real_texts_are_cut_as_the_library_cuts_them() -> None:
    texts = [page.read_text(encoding="utf-8") for page in sorted(DOCS.rglob("*.md"))]

    assert sum(map(len, texts)) > 100_000
    assert [text[:50] for text in texts if not as_the_library(text)] == []


def test_what_was_cut_before_is_cut_the_same_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Words are kept, up to a bound; what is kept beyond it is let go, and nothing changes by that."""
    monkeypatch.setattr(embed_pieces, "_KEPT_WORDS", 3)
    pieces = read_pieces(real_file())
    assert pieces is not None
    text = "one two one three four one two five six"
    first = pieces.cut(text)

    assert pieces.cut(text) == first == real_pieces().cut(text)
    assert 1 <= len(pieces._kept) <= 3


def test_a_word_that_never_ends_is_cut_in_bounded_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time and memory that one word takes have a bound, whatever is sent."""
    sizes: list[int] = []
    joined = WordPieces._joined
    monkeypatch.setattr(WordPieces, "_joined", lambda self, parts: (sizes.append(len(parts)), joined(self, parts))[1])
    length = embed_pieces._LONGEST
    pieces = read_pieces(real_file())
    assert pieces is not None
    found = numbers(pieces, "a" * (2 * length + 5))

    assert sum(sizes) == 2 * length + 6  # a space goes before it
    assert max(sizes) == length
    assert library().decode(found) == "a" * (2 * length + 5)
    assert as_the_library("a" * (length - 1))


# ------------------------------------------------------------------ files
def test_the_file_is_read_in_small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that reads all of it holds the interpreter's lock, and with it the loop, for 25 ms."""
    read: list[int] = []
    loads = json.loads
    monkeypatch.setattr(embed_pieces.json, "loads", lambda raw: (read.append(len(raw)), loads(raw))[1])
    pieces = read_pieces(real_file())

    assert pieces is not None
    assert max(read) < 2 * embed_pieces._PART
    assert sum(read) > 0.9 * real_file().stat().st_size
    assert pieces._numbers == library().get_vocab()


@pytest.mark.parametrize("indent", [None, 0, 1, 2, 4])
def test_however_the_file_is_laid_out_it_says_the_same(tmp_path: Path, indent: int | None) -> None:
    plan = small_plan()
    plan["truncation"] = {"odd": '"vocab": {\n "merges": [\n', '"vocab"': {"},\n": "]\n"}}
    plan["model"]["vocab"] |= {'"vocab":{': 263, "},": 264, "]": 265, "}": 266, '"': 267}
    pieces = read_pieces(written(tmp_path, plan, indent))

    assert pieces is not None
    assert pieces._numbers == plan["model"]["vocab"]
    assert list(pieces._ranks) == plan["model"]["merges"]


OTHERS: dict[str, Any] = {
    "no BPE": small_plan(type="Unigram"),
    "chance": small_plan(dropout=0.1),
    "letters that are unknown": small_plan(byte_fallback=False),
    "words that are pieces": small_plan(ignore_merges=True),
    "a sign before what goes on": small_plan(continuing_subword_prefix="##"),
    "a sign at the end of words": small_plan(end_of_word_suffix="</w>"),
    "rules as pairs": small_plan(merges=[["a", "b"]]),
    "a rule without its piece": small_plan(merges=["b a"]),
    "a byte is missing": small_plan(vocab={"a": 0}),
    "a space inside a piece": small_plan(vocab={**small_plan()["model"]["vocab"], "a\u2581": 262}, merges=["a \u2581"]),
    "bytes that are joined": small_plan(vocab={**small_plan()["model"]["vocab"], "<0x0A>a": 262}, merges=["<0x0A> a"]),
    "another normaliser": {**small_plan(), "normalizer": {"type": "NFC"}},
    "words are cut before": {**small_plan(), "pre_tokenizer": {"type": "Whitespace"}},
    "a mark that takes spaces": {
        **small_plan(),
        "added_tokens": [{**small_plan()["added_tokens"][0], "lstrip": True}],
    },
    "no such plan": {"model": 1},
    "no plan": [],
}


@pytest.mark.parametrize("why", OTHERS)
def test_a_file_that_wants_something_else_is_left_to_the_library(tmp_path: Path, why: str) -> None:
    assert read_pieces(written(tmp_path, small_plan())) is not None
    assert read_pieces(written(tmp_path, OTHERS[why])) is None


def test_the_library_cuts_what_is_left_to_it(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models

    file = tmp_path / "words.json"
    Tokenizer(models.WordLevel({"yes": 0, "no": 7, "?": 1}, "?")).save(str(file))
    pieces = embed_wordllama._pieces(file)

    assert not isinstance(pieces, WordPieces)
    assert numbers(pieces, "no") == [7]
    with pytest.raises(UnicodeEncodeError):
        pieces.cut("\ud800")


def test_the_weights_are_those_of_the_file() -> None:
    from safetensors import safe_open

    folder = wordllama_folder()
    assert folder is not None
    with safe_open(folder / embed_wordllama._WEIGHTS, framework="np") as file:
        wanted = file.get_tensor(embed_wordllama._TENSOR)
    found = embed_wordllama._weights(folder / embed_wordllama._WEIGHTS)

    assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
    assert np.array_equal(found, wanted)


def test_weights_of_another_kind_are_left_to_the_library(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    wanted = np.arange(6, dtype=np.float32).reshape(2, 3)
    save_file({embed_wordllama._TENSOR: wanted}, tmp_path / "other")

    assert np.array_equal(embed_wordllama._weights(tmp_path / "other"), wanted)


@pytest.mark.parametrize("broken", [embed_wordllama._WEIGHTS, embed_wordllama._TOKENIZER])
@pytest.mark.parametrize("left", [0, 5, 3_000])
def test_files_that_end_too_early_say_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str, left: int
) -> None:
    folder = wordllama_folder()
    assert folder is not None
    for name in (embed_wordllama._WEIGHTS, embed_wordllama._TOKENIZER):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(folder / name)
    start = (tmp_path / broken).read_bytes()[:left]
    (tmp_path / broken).unlink()
    (tmp_path / broken).write_bytes(start)
    monkeypatch.setattr(embed_wordllama, "wordllama_folder", lambda: tmp_path)

    with pytest.raises(ModelUnavailable, match="install it again") as caught:
        embed_wordllama._load()

    assert not caught.value.retryable

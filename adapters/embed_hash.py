"""An embedder without weights: hashed words and letter n-grams. Honest about it: `hash-ngrams`.

It finds texts that share words or parts of words and knows nothing of meaning. It is the fake beside the
real embedders and the last rung where no model is installed. Nothing but the standard library, no thread,
the same vectors on every machine.
"""

from __future__ import annotations

import math
import re
import struct
import zlib
from collections.abc import Sequence
from functools import lru_cache

import trio

from trouper.actors.protocols import Vector
from trouper.runtime import BadRequest

_WORD = re.compile(r"\w+")
_CHARS_A_SLICE = 10_000
"""How much is hashed between two checkpoints: some milliseconds."""


class HashEmbedder:
    """Port `Embedder` by feature hashing: each feature adds plus or minus its weight at a place of its own."""

    def __init__(self, dim: int = 384) -> None:
        if dim < 8:
            raise ValueError(f"HashEmbedder(dim={dim}): give at least 8, or everything falls on the same places")
        self.dim = dim
        self.name: str = "hash-ngrams" if dim == 384 else f"hash-ngrams-{dim}"

    async def embed(self, texts: Sequence[str]) -> tuple[Vector, ...]:
        """One L2-normalised vector a text, in order. Cancelled: nothing is left behind.

        Raises:
            BadRequest: a text is empty.
        """
        vectors: list[Vector] = []
        left = _CHARS_A_SLICE
        await trio.lowlevel.checkpoint()
        for number, text in enumerate(texts, 1):
            if left <= 0:
                await trio.lowlevel.checkpoint()
                left = _CHARS_A_SLICE
            left -= len(text) + 10
            vectors.append(hash_vector(text, self.dim, f"text {number} of {len(texts)}"))
        return tuple(vectors)

    async def aclose(self) -> None:
        """Nothing is open."""
        await trio.lowlevel.checkpoint()


def hash_vector(text: str, dim: int, which: str = "the text") -> Vector:
    """The vector of one text: pure."""
    sums = [0.0] * dim
    folded = text.casefold()
    for word in _WORD.findall(folded) or folded.split():
        for place, weight in _features(word):
            sums[place % dim] += weight
    norm = math.hypot(*sums)
    if norm == 0.0:
        raise BadRequest(f"{which} has nothing to embed: it is empty")
    return struct.pack(f"<{dim}f", *(s / norm for s in sums))


@lru_cache(maxsize=20_000)
def _features(word: str) -> tuple[tuple[int, float], ...]:
    """Places and signed weights: the word itself, and its letters by three and four."""
    marked = f"<{word[:64]}>"
    grams = [marked[i : i + n] for n in (3, 4) for i in range(len(marked) - n + 1)]
    share = 1.0 / max(1, len(grams))
    return (_place(word, 1.0), *(_place(f"#{gram}", share) for gram in grams))


def _place(feature: str, weight: float) -> tuple[int, float]:
    # crc32, not hash(): the same on every run, and good enough to spread words.
    number = zlib.crc32(feature.encode("utf-8", "surrogatepass"))
    return number >> 1, weight if number & 1 else -weight

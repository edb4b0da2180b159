"""The embedder that is none: where no model of vectors is installed or wanted, words alone find."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from trouper.actors.memory import NO_VECTORS
from trouper.actors.protocols import Vector
from trouper.runtime import ModelUnavailable


class NoEmbedder:
    """Port `Embedder` that makes no vectors, and says so. Who knows its name does not ask it."""

    name = NO_VECTORS
    dim = 0

    async def embed(self, texts: Sequence[str]) -> tuple[Vector, ...]:
        """Nothing.

        Raises:
            ModelUnavailable: always.
        """
        await trio.lowlevel.checkpoint()
        raise ModelUnavailable(
            f"{len(texts)} texts cannot be embedded: there is no embedder. `pip install wordllama` and let "
            "`embeddings.provider` be `auto`, or configure `embeddings.model` and an endpoint"
        )

    async def aclose(self) -> None:
        """Nothing is open."""
        await trio.lowlevel.checkpoint()

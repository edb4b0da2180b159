"""Embeddings from any OpenAI-compatible server, checked before anybody stores them.

A vector that is missing, misplaced, of another length, not finite or zero would poison an index silently, so each
of these is a `BadResponse`. What passes is L2-normalised little-endian float32, as the port says.
"""

from __future__ import annotations

from binascii import a2b_base64
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

import trio

from trouper.actors.protocols import EmbedReply, Vector
from trouper.runtime import LLMError, ModelTimeout, Seconds

from .http_seam import HttpPool
from .openai_endpoint import OPENAI_URL, OpenAIEndpoint
from .wire_errors import Asked, bad_response
from .wire_openai import parse_object, usage_of

if TYPE_CHECKING:
    import numpy as np
    import openai

PATH = "/embeddings"


class OpenAIEmbedder:
    """Port `MeteredEmbedder` over one server. One call is one request; batching and retries are done above it.

    Args:
        model: The embedding model.
        base_url: The API's address, usually ending in `/v1`.
        api_key: None for a server that wants none.
        dimensions: Ask for shorter vectors, where the model can; None takes what it gives. `dim` is this number,
            or 0 until the first answer has shown it; from then on another length is an error.
        pool: Connections shared with others; without it the embedder has its own and closes them.
        timeout: Seconds that one call may take in all.
        sdk: Ask through this client of the openai SDK: see `OpenAIModel`.
    """

    def __init__(
        self,
        *,
        model: str,
        base_url: str = OPENAI_URL,
        api_key: str | None = None,
        dimensions: int | None = None,
        pool: HttpPool | None = None,
        timeout: Seconds = 60.0,
        sdk: openai.AsyncOpenAI | None = None,
    ) -> None:
        self.name: str = model if dimensions is None else f"{model}@{dimensions}"
        self.dim: int = dimensions or 0
        self._model = model
        self._dimensions = dimensions
        self._endpoint = OpenAIEndpoint(base_url=base_url, api_key=api_key, pool=pool, sdk=sdk)
        self._timeout = timeout

    async def embed(self, texts: Sequence[str]) -> tuple[Vector, ...]:
        """One L2-normalised vector a text, in order. No texts: no request.

        Cancelled: the connection is closed.

        Raises:
            LLMError: some kind of it; `BadResponse` if a vector is missing, misplaced, odd in length or not finite.
        """
        return (await self.embed_metered(texts)).vectors

    async def embed_metered(self, texts: Sequence[str]) -> EmbedReply:
        """The same with the tokens that the server counted, and what its headers said of its limits.

        Cancelled: the connection is closed.

        Raises:
            LLMError: as `embed`.
        """
        if not texts:
            await trio.lowlevel.checkpoint()
            return EmbedReply(vectors=())
        asked = self._endpoint.asked(PATH, self._model)
        self._endpoint.load(asked)
        body: dict[str, object] = {"model": self._model, "input": list(texts), "encoding_format": "base64"}
        if self._dimensions is not None:
            body["dimensions"] = self._dimensions
        with trio.move_on_after(self._timeout):
            async with aclosing(await self._endpoint.post(PATH, body, asked)) as answer:
                content = await answer.read()
            try:
                payload = parse_object(asked, content, answer.content_type)
                vectors, self.dim = vectors_of(asked, payload, len(texts), self.dim)
            except LLMError as error:
                error.limits = answer.limits
                raise
            return EmbedReply(vectors=vectors, usage=usage_of(payload.get("usage")), limits=answer.limits)
        raise ModelTimeout(
            f"{asked} was too slow: no {len(texts)} vectors within {self._timeout:g} s. "
            "Embed fewer texts at once (performance.batch_embeddings.batch_size)."
        )

    async def aclose(self) -> None:
        """Close the connections, unless they are shared. Idempotent."""
        await self._endpoint.aclose()


def vectors_of(asked: Asked, payload: Mapping[str, object], count: int, dim: int) -> tuple[tuple[Vector, ...], int]:
    """The `count` vectors of an answer in order of their index, and their dimension (`dim` unless that is 0).

    Raises:
        BadResponse: there are not exactly these, or one of them is not a usable vector.
    """
    data = payload.get("data")
    if not isinstance(data, list) or len(data) != count:
        found = f"{len(data)} vectors" if isinstance(data, list) else "no `data`"
        raise bad_response(asked, f"it has {found} for {count} texts")
    embeddings: dict[int, object] = {}
    for entry in data:
        index = entry.get("index") if isinstance(entry, Mapping) else None
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < count or index in embeddings:
            raise bad_response(asked, f"its vectors are not numbered 0 to {count - 1} (found {index!r})")
        embeddings[index] = entry.get("embedding")
    in_order = [embeddings[i] for i in range(count)]
    # All at once where nothing is odd, which costs a tenth; one by one to find what is.
    return _at_once(in_order, dim) or _one_by_one(asked, in_order, dim)


def _at_once(embeddings: Sequence[object], dim: int) -> tuple[tuple[Vector, ...], int] | None:
    """The vectors of base64 texts of one length; None if anything is odd, or written otherwise."""
    import numpy as np

    try:
        raw = [a2b_base64(text, strict_mode=True) for text in embeddings if isinstance(text, str)]
    except ValueError:
        return None
    size = len(raw[0]) if len(raw) == len(embeddings) else 0
    if not size or size % 4 or (dim and size != 4 * dim) or any(len(one) != size for one in raw):
        return None
    wide = np.frombuffer(b"".join(raw), dtype="<f4").reshape(len(raw), -1).astype("<f8")
    lengths = np.sqrt(np.einsum("ij,ij->i", wide, wide))
    if not (np.isfinite(lengths).all() and (lengths > 0).all()):
        return None
    flat = (wide / lengths[:, None]).astype("<f4").tobytes()
    return tuple(flat[i : i + size] for i in range(0, len(flat), size)), size // 4


def _one_by_one(asked: Asked, embeddings: Sequence[object], dim: int) -> tuple[tuple[Vector, ...], int]:
    vectors: list[Vector] = []
    for index, embedding in enumerate(embeddings):
        vector = _normalised(asked, index, embedding)
        dim = dim or len(vector) // 4
        if len(vector) != 4 * dim:
            raise bad_response(asked, f"vector {index} has {len(vector) // 4} dimensions, not {dim}")
        vectors.append(vector)
    return tuple(vectors), dim


def _normalised(asked: Asked, index: int, embedding: object) -> Vector:
    import numpy as np

    vector = _numbers(embedding)
    if vector is None or not vector.size:
        raise bad_response(asked, f"vector {index} is not a list of numbers")
    if not np.isfinite(vector).all():
        raise bad_response(asked, f"vector {index} has numbers that are not finite")
    wide = vector.astype("<f8")  # the squares of large float32 numbers overflow a float32
    with np.errstate(over="ignore"):  # what overflows is told below, as an error of ours
        length = float(np.sqrt(np.dot(wide, wide)))
    if not 0.0 < length < float("inf"):
        raise bad_response(asked, f"vector {index} has length {length:g} and cannot be normalised")
    return (wide / length).astype("<f4").tobytes()


def _numbers(embedding: object) -> np.ndarray | None:
    """The numbers of base64 float32 or of a JSON list: servers answer with either, whatever was asked for."""
    import numpy as np

    try:
        if isinstance(embedding, str):
            return np.frombuffer(a2b_base64(embedding, strict_mode=True), dtype="<f4")
        if isinstance(embedding, list) and all(type(number) in {int, float} for number in embedding):
            return np.array(embedding, dtype="<f8")
    except (ValueError, OverflowError):
        return None
    return None

"""The bodies a well-behaved OpenAI server sends: completions, streams, embeddings, errors. Pure."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import struct
from collections.abc import Mapping, Sequence

import attrs

from trouper.actors.tokens import estimate_tokens

PIECE = 8
"""Characters of one streamed piece."""

MODELS = ("test", "test-embed")

MOST_NUMBERS = 100_000
"""Of one vector, whatever is asked for."""


@attrs.frozen
class Counts:
    """Tokens of one call; the cached ones are among those of the prompt."""

    prompt: int
    cached: int
    completion: int


def _encoded(value: object) -> bytes:
    return json.dumps(value).encode()


def error_body(message: str, code: str) -> bytes:
    """An error report as providers write it."""
    return _encoded({"error": {"message": message, "type": code, "param": None, "code": code}})


def models_reply() -> bytes:
    """The list of models."""
    return _encoded({"object": "list", "data": [{"id": name, "object": "model"} for name in MODELS]})


def chat_reply(
    request: Mapping[str, object],
    said: str | Sequence[str],
    finish_reason: str | None,
    refusal: str | None,
    counted: Counts | None,
    *,
    done: bool,
) -> bytes | list[bytes]:
    """The answer to a chat request: one body, or the pieces of a stream if it asked for one.

    `counted` is told as its usage; None tells none.

    A text is streamed in pieces of `PIECE` characters after one that only names the role, as most servers do it; a
    sequence of texts in exactly these pieces.
    """
    text = said if isinstance(said, str) else "".join(said)
    counts = _usage(counted) if counted is not None else None
    model = request.get("model", "test")
    if request.get("stream") is True:
        return _stream(model, said, finish_reason, refusal, counts if _wants_usage(request) else None, done=done)
    message = {"role": "assistant", "content": None if refusal else text, "refusal": refusal}
    choice = {"index": 0, "message": message, "finish_reason": finish_reason}
    return _encoded(
        {"id": "chatcmpl-1", "object": "chat.completion", "model": model, "choices": [choice], "usage": counts}
    )


def _wants_usage(request: Mapping[str, object]) -> bool:
    options = request.get("stream_options")
    return isinstance(options, Mapping) and options.get("include_usage") is True


def _usage(counted: Counts) -> dict[str, object]:
    return {
        "prompt_tokens": counted.prompt,
        "completion_tokens": counted.completion,
        "total_tokens": counted.prompt + counted.completion,
        "prompt_tokens_details": {"cached_tokens": counted.cached},
    }


def sse(value: object) -> bytes:
    """One event of a stream."""
    return b"data: " + _encoded(value) + b"\n\n"


def chunk(model: object, delta: Mapping[str, object], finish_reason: str | None = None) -> dict[str, object]:
    """One chunk of a streamed completion."""
    choice = {"index": 0, "delta": dict(delta), "finish_reason": finish_reason}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": model, "choices": [choice]}


def _stream(
    model: object,
    said: str | Sequence[str],
    finish_reason: str | None,
    refusal: str | None,
    usage: dict[str, object] | None,
    *,
    done: bool,
) -> list[bytes]:
    whole, key = (refusal, "refusal") if refusal else (said, "content")
    words = ["", *(whole[i : i + PIECE] for i in range(0, len(whole), PIECE))] if isinstance(whole, str) else whole
    deltas: list[dict[str, object]] = [{key: word} for word in words]
    deltas[0] = {"role": "assistant", "content": ""} | deltas[0]
    pieces = [sse(chunk(model, delta)) for delta in deltas]
    if finish_reason is not None:
        pieces.append(sse(chunk(model, {}, finish_reason)))
    if usage is not None:
        pieces.append(sse({"id": "chatcmpl-1", "model": model, "choices": [], "usage": usage}))
    if done:
        pieces.append(b"data: [DONE]\n\n")
    return pieces


def embeddings_reply(request: Mapping[str, object], texts: Sequence[str], dim: int) -> bytes:
    """Vectors for the texts of an embeddings request, in the encoding that it asks for."""
    wanted = request.get("dimensions")
    dim = min(wanted, MOST_NUMBERS) if isinstance(wanted, int) and wanted > 0 else dim
    as_base64 = request.get("encoding_format") == "base64"
    data = []
    for i, text in enumerate(texts):
        numbers = text_vector(text, dim)
        packed = base64.b64encode(struct.pack(f"<{dim}f", *numbers)).decode()
        data.append({"object": "embedding", "index": i, "embedding": packed if as_base64 else numbers})
    tokens = sum(estimate_tokens(text) for text in texts)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return _encoded({"object": "list", "model": request.get("model"), "data": data, "usage": usage})


def text_vector(text: str, dim: int) -> list[float]:
    """A unit vector that depends on `text` alone and says nothing about its meaning."""
    numbers = [
        int.from_bytes(hashlib.blake2b(f"{i}:{text}".encode(), digest_size=4).digest(), "little") / 2**31 - 1.0
        for i in range(dim)
    ]
    length = math.sqrt(math.fsum(number * number for number in numbers)) or 1.0
    return [number / length for number in numbers]

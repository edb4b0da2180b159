"""How far away a server is and how long its model thinks: the artificial times of the model server. Pure."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence

import attrs

from trouper.actors.tokens import estimate_tokens
from trouper.runtime import Seconds

KEPT_PREFIXES = 10_000


def _not_negative(_: object, attribute: attrs.Attribute[float], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise ValueError(f"{attribute.name} must be a number of at least 0, not {value!r}")


@attrs.frozen(kw_only=True)
class Network:
    """The way to the server.

    Args:
        round_trip: Seconds that a byte takes there and back. A new connection costs one, a TLS handshake another one
            (TLS 1.3), and each request one.
        tls: Speak TLS, with a certificate of an authority made for this server; `server.ca_file` is what to trust.
    """

    round_trip: Seconds = attrs.field(default=0.0, validator=_not_negative)
    tls: bool = False


@attrs.frozen(kw_only=True)
class ModelTime:
    """How long the model thinks.

    Args:
        first: Seconds before the first token of the answer to a chat.
        embedding: Seconds of an embeddings call, before its texts count.
        per_prompt_token: Seconds for each token of the prompt, before the first token of the answer.
        per_completion_token: Seconds for each token of the answer; a stream is sent at this pace.
        per_embedded_token: Seconds for each token of the texts of an embeddings call.
        spread: The share by which a call may be slower or faster; the same call always by the same.
        prefix_cache: Whether messages that began an earlier prompt are known: they then cost no time, and are told as
            `cached_tokens`.
    """

    first: Seconds = attrs.field(default=0.0, validator=_not_negative)
    embedding: Seconds = attrs.field(default=0.0, validator=_not_negative)
    per_prompt_token: Seconds = attrs.field(default=0.0, validator=_not_negative)
    per_completion_token: Seconds = attrs.field(default=0.0, validator=_not_negative)
    per_embedded_token: Seconds = attrs.field(default=0.0, validator=_not_negative)
    spread: float = attrs.field(default=0.0, validator=[_not_negative, attrs.validators.lt(1)])
    prefix_cache: bool = False


@attrs.frozen(kw_only=True)
class Thinking:
    """What one call costs: tokens, and the seconds before the first and between the first and the last token."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    before: Seconds = 0.0
    writing: Seconds = 0.0

    @property
    def seconds(self) -> Seconds:
        """All of it."""
        return self.before + self.writing


class ThinkingTimes:
    """Works out `Thinking` for one request after another; remembers the prefixes it has seen."""

    def __init__(self, model_time: ModelTime, seed: int) -> None:
        self._time = model_time
        self._seed = seed
        self._prefixes: OrderedDict[bytes, None] = OrderedDict()

    def chat(self, messages: Sequence[object], answer: str) -> Thinking:
        """What a chat costs that is answered with `answer`."""
        prompt, cached = self._prompt(messages)
        written = estimate_tokens(answer)
        factor = self._factor(repr(messages))
        return Thinking(
            prompt_tokens=prompt,
            cached_tokens=cached,
            completion_tokens=written,
            before=factor * (self._time.first + (prompt - cached) * self._time.per_prompt_token),
            writing=factor * written * self._time.per_completion_token,
        )

    def embeddings(self, texts: Sequence[str]) -> Thinking:
        """What an embeddings call costs."""
        tokens = sum(map(estimate_tokens, texts))
        seconds = self._factor(repr(texts)) * (self._time.embedding + tokens * self._time.per_embedded_token)
        return Thinking(prompt_tokens=tokens, before=seconds)

    def _prompt(self, messages: Sequence[object]) -> tuple[int, int]:
        """Tokens of the prompt, and how many of them are known from an earlier one."""
        total = cached = 0
        so_far = hashlib.blake2b(digest_size=16)
        for message in messages:
            so_far.update(repr(message).encode(errors="surrogatepass"))
            key = so_far.digest()
            total += message_tokens(message)
            if key in self._prefixes:  # which stands for this message and all before it
                cached = total
            if self._time.prefix_cache:
                self._prefixes[key] = None
                self._prefixes.move_to_end(key)
        while len(self._prefixes) > KEPT_PREFIXES:
            self._prefixes.popitem(last=False)
        return total, cached

    def _factor(self, what: str) -> float:
        """By how much this call is slower or faster than its tokens say."""
        digest = hashlib.blake2b(f"{self._seed}:{what}".encode(errors="surrogatepass"), digest_size=4).digest()
        return 1.0 + self._time.spread * (int.from_bytes(digest, "little") / 2**31 - 1.0)


def message_tokens(message: object) -> int:
    """About how many tokens a message is: four for its role, and its text."""
    content = message.get("content") if isinstance(message, Mapping) else None
    return 4 + estimate_tokens(content if isinstance(content, str) else "")

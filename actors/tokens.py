"""How many tokens a text or a request is: counted by the model's own tokenizer where there is one, else estimated.

Four characters a token is the rule of thumb providers give for English. It is low for code and for scripts that
use several bytes a character, so bytes are counted, not characters: a Chinese character is three bytes and about
one token. An estimate only has to be good enough to reserve by; settling corrects it with what was counted. And each
answer says how far it was off: `TokenEstimates` learns a factor for each model from that.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping

import attrs

from .protocols import ChatRequest, TokenCounter

BYTES_PER_TOKEN = 4
MESSAGE_OVERHEAD = 4
"""Tokens that each message costs for its role and its frame."""

DEFAULT_ANSWER = 1024
"""What is reserved for an answer when the request sets no `max_tokens`."""

LONGEST_COUNTED = 20_000
"""Characters that a tokenizer is given of one text: 5 ms at most. Of a longer one its beginning and its end count."""
LEAST_LEARNED = 32
"""Tokens of a request below which nothing is learned: there it is the frame that counts."""
SMALLEST_FACTOR, LARGEST_FACTOR = 0.25, 4.0
"""How far off an estimate is believed to be. A count that says more is taken for somebody's mistake."""
MOST_MODELS = 64
_SLOWEST = 0.05
"""The weight of one answer in what is learned, once there were twenty."""


def estimate_tokens(text: str) -> int:
    """About how many tokens `text` is: its bytes by four, rounded up."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN)


def estimate_prompt(request: ChatRequest) -> int:
    """About how many tokens the messages of `request` are, with the tools and the schema that go along."""
    return sum(map(estimate_tokens, prompt_texts(request))) + MESSAGE_OVERHEAD * _frames(request)


def estimate_request(request: ChatRequest) -> int:
    """What to reserve for `request`: its messages, and `max_tokens` (1024 where it sets none) for the answer."""
    return estimate_prompt(request) + answer_tokens(request)


def answer_tokens(request: ChatRequest) -> int:
    """How long the answer may get: `max_tokens`, or 1024."""
    return request.max_tokens if request.max_tokens is not None else DEFAULT_ANSWER


def prompt_texts(request: ChatRequest) -> Iterator[str]:
    """Every text of `request` that the model reads."""
    for message in request.messages:
        yield message.content
        for call in message.tool_calls:
            yield call.name
            yield call.arguments
    for tool in request.tools:
        yield tool.name
        yield tool.description
        yield _shown(tool.schema)
    if request.schema is not None:
        yield _shown(request.schema)


def _frames(request: ChatRequest) -> int:
    return len(request.messages) + len(request.tools)


def _shown(schema: Mapping[str, object]) -> str:
    return json.dumps(schema, separators=(",", ":"), default=str, ensure_ascii=False)


@attrs.frozen(kw_only=True)
class TokenFactor:
    """What was learned of one model: what it counted for a token of ours, and by how much that spreads."""

    mean: float = 1.0
    spread: float = 0.0
    answers: int = 0

    def after(self, counted: int, estimated: int) -> TokenFactor:
        """The same with one answer more."""
        ratio = min(LARGEST_FACTOR, max(SMALLEST_FACTOR, counted / estimated))
        weight = max(_SLOWEST, 1 / (self.answers + 1))
        off = ratio - self.mean
        spread = abs(off) if self.answers == 1 else self.spread + weight * (abs(off) - self.spread)
        return TokenFactor(
            mean=self.mean + weight * off, spread=spread if self.answers else 0.0, answers=self.answers + 1
        )

    @property
    def safe(self) -> float:
        """What to multiply by so that most requests keep within it: the mean and one spread."""
        return min(LARGEST_FACTOR, self.mean + self.spread)


class TokenEstimates:
    """Estimates for several models, each with its own tokenizer or what was learned of it.

    Args:
        counters: Tokenizers by the names of their models. What a model without one costs is estimated.

    Nothing is learned of a model that has a tokenizer, except where its count is wrong: the factor of an exact count
    stays at one by itself. It is bounded: the factors of at most 64 models are kept, between a quarter and four.
    """

    def __init__(self, counters: Mapping[str, TokenCounter] | None = None) -> None:
        self._counters = dict(counters or {})
        self._learned: OrderedDict[str, TokenFactor] = OrderedDict()

    def factor(self, model: str) -> TokenFactor:
        """What is learned of a model so far."""
        return self._learned.get(model, _UNKNOWN)

    def text(self, text: str, model: str = "") -> int:
        """About how many tokens `text` is to `model`."""
        return self._scaled(self._raw((text,), model), model)

    def prompt(self, request: ChatRequest, model: str = "") -> int:
        """About how many tokens `model` reads for `request`."""
        return self._scaled(self._raw_prompt(request, model), model)

    def request(self, request: ChatRequest, model: str = "") -> int:
        """What to reserve for `request`: what is read, and `max_tokens` (1024 where it sets none) for the answer."""
        return self.prompt(request, model) + answer_tokens(request)

    def learn(self, request: ChatRequest, prompt_tokens: int, model: str = "") -> None:
        """`model` has counted `prompt_tokens` for reading `request`."""
        self._learn(self._raw_prompt(request, model), prompt_tokens, model)

    def learn_texts(self, texts: Iterable[str], tokens: int, model: str = "") -> None:
        """`model` has counted `tokens` for these texts."""
        self._learn(self._raw(texts, model), tokens, model)

    def _raw_prompt(self, request: ChatRequest, model: str) -> int:
        return self._raw(prompt_texts(request), model) + MESSAGE_OVERHEAD * _frames(request)

    def _raw(self, texts: Iterable[str], model: str) -> int:
        counter = self._counters.get(model)
        return sum(estimate_tokens(text) if counter is None else count_tokens(counter, text) for text in texts)

    def _scaled(self, raw: int, model: str) -> int:
        factor = self._learned.get(model)
        return raw if factor is None else max(1, round(raw * factor.safe)) if raw else 0

    def _learn(self, raw: int, counted: int, model: str) -> None:
        if raw < LEAST_LEARNED or counted < 1:
            return
        self._learned[model] = self.factor(model).after(counted, raw)
        self._learned.move_to_end(model)
        if len(self._learned) > MOST_MODELS:
            self._learned.popitem(last=False)


_UNKNOWN = TokenFactor()


def count_tokens(counter: TokenCounter, text: str) -> int:
    """How many tokens `text` is; of a very long one the ends are counted and the middle taken to be like them."""
    if len(text) <= LONGEST_COUNTED:
        return counter.count(text)
    half = LONGEST_COUNTED // 2
    counted = counter.count(text[:half]) + counter.count(text[-half:])
    return -(-counted * len(text) // (2 * half))

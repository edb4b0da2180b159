"""How many tokens a text or a request is likely to cost, without a tokenizer.

Four characters a token is the rule of thumb providers give for English. It is low for code and for scripts that
use several bytes a character, so bytes are counted, not characters: a Chinese character is three bytes and about
one token. An estimate only has to be good enough to reserve by; `Settle` corrects it with what was counted.
"""

from __future__ import annotations

from .protocols import ChatRequest

BYTES_PER_TOKEN = 4
MESSAGE_OVERHEAD = 4
"""Tokens that each message costs for its role and its frame."""

DEFAULT_ANSWER = 1024
"""What is reserved for an answer when the request sets no `max_tokens`."""


def estimate_tokens(text: str) -> int:
    """About how many tokens `text` is: its bytes by four, rounded up."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN)


def estimate_prompt(request: ChatRequest) -> int:
    """About how many tokens the messages of `request` are."""
    return sum(estimate_tokens(message.content) + MESSAGE_OVERHEAD for message in request.messages)


def estimate_request(request: ChatRequest) -> int:
    """What to reserve for `request`: its messages, and `max_tokens` (1024 where it sets none) for the answer."""
    return estimate_prompt(request) + (request.max_tokens if request.max_tokens is not None else DEFAULT_ANSWER)

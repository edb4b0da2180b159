"""What the model server answers: a script of replies, a function, or rules that can be written down as JSON."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import Literal

import attrs

from trouper.runtime import Seconds


class End(Enum):
    """What happens to the connection when a reply has been sent, or cut."""

    KEEP = "keep"
    """It is kept, as HTTP/1.1 does."""
    CLOSE = "close"
    """It is closed."""
    RESET = "reset"
    """It is reset: the client's next read fails."""
    HANG = "hang"
    """Nothing more is sent, and nothing closed."""


@attrs.frozen(kw_only=True)
class ServerReply:
    """What to answer one request with. The defaults are a good answer; every field but `text` is for bad ones.

    Args:
        text: What the model says.
        words: What it says instead of `text`, streamed in exactly these pieces.
        before: Awaited with the number of each streamed piece before it is sent, so that a test can hold the model up
            in the middle of its answer.
        finish_reason: Why it stopped; None leaves it out.
        refusal: The model declines with these words instead.
        usage: Whether token counts are told.
        delay: Seconds before the headers.
        pace: Seconds before each streamed piece, or before each byte of a body when `drip` is set.
        drip: Send the body byte by byte.
        status: The status.
        headers: Further headers; they replace those of the same name.
        body: The body instead of the one made from `text`; for a stream all of its bytes.
        pieces: A stream's pieces, one write each, instead of those made from `text`.
        done: Whether a stream ends with `[DONE]`.
        cut: Send so many bytes of the body at most, then do what `end` says.
        end: What happens to the connection then.
        raw: Send exactly these bytes instead of an HTTP answer.
    """

    text: str = "hello"
    words: Sequence[str] = ()
    before: Callable[[int], Awaitable[None]] | None = None
    finish_reason: str | None = "stop"
    refusal: str | None = None
    usage: bool = True
    delay: Seconds = 0.0
    pace: Seconds = 0.0
    drip: bool = False
    status: int = 200
    headers: Mapping[str, str] = attrs.field(factory=dict)
    body: bytes | None = None
    pieces: Sequence[bytes] | None = None
    done: bool = True
    cut: int | None = None
    end: End = End.KEEP
    raw: bytes | None = None


@attrs.frozen(kw_only=True)
class ServerRequest:
    """One request as the server read it; header names in lower case, `json` None if the body is none."""

    method: str
    path: str
    headers: Mapping[str, str]
    json: object

    @property
    def payload(self) -> Mapping[str, object]:
        """The body, empty if it is no object."""
        return self.json if isinstance(self.json, dict) else {}

    @property
    def messages(self) -> Sequence[object]:
        """The messages of a chat."""
        found = self.payload.get("messages")
        return found if isinstance(found, list) else []

    @property
    def texts(self) -> Sequence[str]:
        """The texts of an embeddings call."""
        given = self.payload.get("input")
        return [given] if isinstance(given, str) else [str(text) for text in given] if isinstance(given, list) else []

    @property
    def said(self) -> str:
        """All that was said to the model, in one text."""
        parts = [m.get("content") for m in self.messages if isinstance(m, dict)]
        return "\n".join([*(part for part in parts if isinstance(part, str)), *self.texts])


Entry = str | ServerReply
ServerScript = Iterable[Entry] | Callable[[ServerRequest], Entry]


# ------------------------------------------------------------------ rules
@attrs.frozen(kw_only=True)
class ServerRule:
    """When to answer what: a script that also a server in a process of its own can be given.

    Args:
        when: A text that must occur in what the model is told; empty: any request.
        path: Only for requests to this path, as `/v1/embeddings`.
        times: How often the rule answers; None: always. A rule that is used up is passed over.
        text: What the model says.
        status: The status, for errors.
        headers: Further headers, as `{"retry-after": "2"}`.
        delay: Seconds before the headers, besides the model's own time.
        finish_reason: Why the model stopped; `length` and `content_filter` are errors.
        refusal: The model declines with these words.
        end: What happens to the connection then: `keep`, `close`, `reset` or `hang`.
    """

    when: str = ""
    path: str | None = None
    times: int | None = None
    text: str = "hello"
    status: int = 200
    headers: Mapping[str, str] = attrs.field(factory=dict)
    delay: Seconds = 0.0
    finish_reason: str | None = "stop"
    refusal: str | None = None
    end: Literal["keep", "close", "reset", "hang"] = "keep"

    def reply(self) -> ServerReply:
        """What it answers."""
        return ServerReply(
            text=self.text,
            status=self.status,
            headers=self.headers,
            delay=self.delay,
            finish_reason=self.finish_reason,
            refusal=self.refusal,
            end=End(self.end),
        )


class RuleScript:
    """A script of rules: the first that fits answers. A request that none fits is echoed."""

    def __init__(self, rules: Iterable[ServerRule]) -> None:
        self._rules = [(rule, rule.reply()) for rule in rules]
        self._left = [rule.times for rule, _ in self._rules]

    def __call__(self, request: ServerRequest) -> Entry:
        """What to answer `request` with."""
        said = request.said
        for n, (rule, reply) in enumerate(self._rules):
            left = self._left[n]
            if left == 0 or rule.when not in said or rule.path not in {None, request.path}:
                continue
            if left is not None:
                self._left[n] = left - 1
            return reply
        return echo(request)


def echo(request: ServerRequest) -> str:
    """The last message back."""
    last = request.messages[-1] if request.messages else {}
    return f"echo: {last.get('content', '')}" if isinstance(last, dict) else "echo: "


def rules_from_json(text: str) -> list[ServerRule]:
    """Rules from a JSON list of objects with the fields of `ServerRule`.

    Raises:
        ValueError: it is none; the message says which object is wrong.
    """
    given = json.loads(text)
    if not isinstance(given, list):
        raise ValueError('a script is a list of rules: [{"when": "...", "text": "..."}, ...]')  # noqa: TRY004 - a value
    names = {field.name for field in attrs.fields(ServerRule)}
    rules = []
    for n, one in enumerate(given):
        strange = sorted(set(one) - names) if isinstance(one, dict) else []
        if not isinstance(one, dict) or strange:
            what = f"it has {', '.join(strange)}" if strange else "it is no object"
            raise ValueError(f"rule {n} of the script: {what}; a rule has {', '.join(sorted(names))}")
        rules.append(ServerRule(**one))
    return rules


def rules_to_json(rules: Iterable[ServerRule]) -> str:
    """The same rules as JSON."""
    return json.dumps([attrs.asdict(rule) for rule in rules])

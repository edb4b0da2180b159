"""Taking secrets out of data before it goes where it need not be known: to the verifier, into a journal, a prompt.

Three things are taken for secrets: a value under a key that names one (`password`, `api_key`, `Authorization`), the
texts that are known to be secret, and what looks like nothing else inside a text (the password of a URL, a bearer
token, a private key). A field or a file may still hold a secret that none of them sees; what must not be known at all
must not be in a plan. Ordinary code that mentions `token = ...` is left alone: a text that is changed without need is
a result that can no longer be checked.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, TypeVar, cast

T = TypeVar("T")

MARK = "[secret]"
"""What stands in a secret's place."""

SHORTEST = 4
"""Known secrets shorter than this are in too many texts to be looked for."""

_NAMES = frozenset(
    {"password", "passwd", "pwd", "passphrase", "passcode", "secret", "secrets", "token", "apikey", "auth", "jwt"}
    | {"authorization", "authentication", "bearer", "cookie", "cookies", "credential", "credentials"}
)
_KINDS_OF_KEY = frozenset({"api", "private", "secret", "access", "signing", "encryption", "auth", "ssh", "master"})
_RUN_TOGETHER = ("password", "passwd", "passphrase", "secret", "token", "apikey", "privatekey", "accesskey")
_ASIDES = frozenset({"value", "text", "plain", "raw", "hash", "hex", "base64", "new", "old", "current", "header"})
"""What may follow the name of a secret without making it something else: `password_hash`, `token_value`."""
_OTHER_TOKENS = frozenset(
    {"page", "next", "previous", "prev", "continuation", "cursor", "sync"}
    | {"first", "last", "stop", "end", "eos", "bos", "pad", "unk"}
)
"""Tokens that open nothing: places in a list, and words of a language model."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

_LOOKS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (needle, re.compile(look, re.DOTALL))
    for needle, look in (
        ("://", r"""(?P<kept>\b[a-zA-Z][a-zA-Z0-9+.-]{1,20}://[^\s/:@'"]{0,256}:)[^\s/@'"]{1,256}(?=@)"""),
        ("Bearer ", r"(?P<kept>\bBearer +)(?=[A-Za-z._~+/-]{0,99}[0-9])[A-Za-z0-9._~+/=-]{12,}"),
        ("Basic ", r"(?P<kept>\bBasic +)(?=[A-Za-z+/]{0,99}[0-9=])[A-Za-z0-9+/=]{12,}"),
        ("PRIVATE KEY", r"(?P<kept>)-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}KEY-----|\Z)"),
        ("sk-", r"(?P<kept>)\bsk-(?=[A-Za-z_-]{0,60}\d)[A-Za-z0-9_-]{20,}"),
        ("k_live_", r"(?P<kept>)\b[sr]k_live_[A-Za-z0-9]{16,}"),
        ("gh", r"(?P<kept>)\bgh[pousr]_[A-Za-z0-9]{30,}"),
        ("github_pat_", r"(?P<kept>)\bgithub_pat_[A-Za-z0-9_]{30,}"),
        ("xox", r"(?P<kept>)\bxox[abeoprs]-[A-Za-z0-9-]{10,}"),
        ("AKIA", r"(?P<kept>)\bAKIA[A-Z0-9]{16}\b"),
        ("AIza", r"(?P<kept>)\bAIza[A-Za-z0-9_-]{30,}"),
        ("eyJ", r"(?P<kept>)\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
    )
)
"""What must be in a text for it to be searched, and the pattern: each is bounded, or takes the rest of the text."""


_REFERENCE = re.compile(
    r"(?:(?:Bearer|Basic|Token) +)?(\{)?\$(?:step\d+|item|index)(?![A-Za-z0-9_])[\w.\[\]-]*(?(1)\})"
)
"""What a plan writes in a secret's place is none: `$step3.password`, `Bearer {$step1.token}`."""


def redact(value: T, known: Collection[str] = ()) -> T:
    """`value`, plain data, with `[secret]` wherever a secret stands; itself if there is none.

    `None`, booleans, empty values and the references of a plan are no secrets. A number becomes text, a tuple a list.
    Not recursive: any depth.
    """
    hide = _Hiding(known)
    return cast("T", hide.copy(value)) if hide.finds(value) else value


def hides_secret(value: object) -> bool:
    """Whether something was taken out of this data."""
    return any(isinstance(text, str) and MARK in text for text in _leaves(value))


def is_blurred(value: object) -> bool:
    """Whether something was taken out of the middle of a text: the text is no longer what it was compared with."""
    return any(isinstance(text, str) and MARK in text and text != MARK for text in _leaves(value))


def names_secret(key: str) -> bool:
    """Whether a value under this key is a secret: `apiKey`, `X-Api-Key`, `DB_PASSWORD`; not `max_tokens`."""
    return _names_secret(key[-200:])


@functools.lru_cache(maxsize=4096)
def _names_secret(key: str) -> bool:
    words = [word.lower() for word in _WORD.findall(key)]
    while words and (words[-1].isdigit() or words[-1] in _ASIDES):
        words.pop()
    if not words:
        return False
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    if last == "token":
        return before not in _OTHER_TOKENS
    return last in _NAMES or (last == "key" and before in _KINDS_OF_KEY) or last.endswith(_RUN_TOGETHER)


class _Hiding:
    """How to take out what is secret, given what is known to be."""

    def __init__(self, known: Collection[str]) -> None:
        self._known = sorted({text for text in known if len(text) >= SHORTEST}, key=len, reverse=True)

    def text(self, text: str) -> str:
        """The text without secrets. Known ones first, the longest before those that are parts of it."""
        for secret in self._known:
            text = text.replace(secret, MARK)
        for needle, look in _LOOKS:
            if needle in text:
                text = look.sub(_mark, text)
        return text

    def finds(self, value: object) -> bool:
        """Whether there is anything to hide."""
        todo = [value]
        while todo:
            item = todo.pop()
            if isinstance(item, str):
                if self.text(item) != item:
                    return True
            elif isinstance(item, Mapping):
                if any(_is_secret(item, key) for key in item):
                    return True
                todo.extend(item)
                todo.extend(item.values())
            elif isinstance(item, list | tuple):
                todo.extend(item)
        return False

    def copy(self, value: object) -> object:
        """A copy of the data without secrets."""
        whole = [value]
        todo: list[tuple[object, Any, Any]] = [(value, whole, 0)]  # what, into which container, at which place
        while todo:
            item, into, at = todo.pop()
            if isinstance(item, str):
                into[at] = self.text(item)
            elif isinstance(item, Mapping):
                into[at] = fields = {}
                for key, inner in item.items():
                    name = self.text(key) if isinstance(key, str) else key
                    fields[name] = MARK  # keeps the order, and stays where the value is secret
                    if not _is_secret(item, key):
                        todo.append((inner, fields, name))
            elif isinstance(item, list | tuple):
                into[at] = items = list(item)
                todo.extend((inner, items, n) for n, inner in enumerate(item))
            else:
                into[at] = item
        return whole[0]


def _is_secret(fields: Mapping[object, object], key: object) -> bool:
    """Whether the value under `key` is one: by its key, or as the `value` beside a `name` (a list of headers)."""
    value = fields[key]
    if not isinstance(key, str) or value is None or isinstance(value, bool) or value in ("", [], {}, MARK):
        return False
    if isinstance(value, str) and _REFERENCE.fullmatch(value):
        return False
    if key == "value":
        name = fields.get("name", fields.get("key"))
        return isinstance(name, str) and names_secret(name)
    return names_secret(key)


def _mark(found: re.Match[str]) -> str:
    return str(found["kept"]) + MARK


def _leaves(value: object) -> Iterator[object]:
    """Every value that holds no others, and every key."""
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, Mapping):
            todo.extend(item)
            todo.extend(item.values())
        elif isinstance(item, list | tuple):
            todo.extend(item)
        else:
            yield item

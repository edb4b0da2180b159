"""What a server did, as one of our errors: every fault of the wire ends in the closed set of `LLMError` kinds.

Messages are for the person at night: whom we asked (never with the key), what came back, what to do now. What the
server said is quoted, with the key struck out: servers do echo it.
"""

from __future__ import annotations

import email.utils
import json
import math
import time
from collections.abc import Mapping

import attrs

from trouper.runtime import (
    AuthFailed,
    BadRequest,
    BadResponse,
    LLMError,
    ModelTimeout,
    ModelUnavailable,
    RateLimited,
)

from .wire_limits import server_limits

QUOTE = 200
"""Characters of the server's answer that an error message shows."""

KEEP = 4000
"""Characters of it that `LLMError.said` keeps."""

DOCTOR = "`trouper doctor` shows what is reachable."


SHORTEST = 4
"""Secrets shorter than this are in too many texts to be struck out: servers that want no key are given `x` or `-`."""


def shown_by(*secrets: str) -> tuple[str, ...]:
    """How an answer may show these secrets, the longest first: as they are, and as JSON may spell them."""
    spelled = {way for secret in secrets for way in (secret, secret.replace("/", r"\/"), json.dumps(secret)[1:-1])}
    return tuple(sorted((way for way in spelled if len(way) >= SHORTEST), key=len, reverse=True))


def printable_url(url: str) -> str:
    """`url` without user, password and query, all of which may be secret."""
    scheme, separator, rest = url.partition("://")
    rest = rest.partition("?")[0].partition("#")[0]
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"


@attrs.frozen
class Asked:
    """Whom a request went to, for messages. `secrets` are the key and whatever else no message may show."""

    url: str = attrs.field(converter=printable_url)
    model: str = ""
    secrets: tuple[str, ...] = attrs.field(default=(), repr=False)

    def __str__(self) -> str:
        return f"the model server at {self.url}" + (f" (model {self.model!r})" if self.model else "")

    def clean(self, text: str) -> str:
        """`text` without secrets, and as something that can be written down: JSON can spell half a character."""
        text = text if text.isascii() else text.encode("utf-8", "replace").decode()
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text

    def said(self, body: bytes | str) -> str:
        """What the server answered, for `LLMError.said`."""
        text = body if isinstance(body, str) else body[: KEEP * 4].decode("utf-8", "replace")
        return self.clean(text)[:KEEP]


def quoted(said: str) -> str:
    """The first words of an answer, on one line."""
    line = " ".join(said.split())
    if not line:
        return "nothing"
    return repr(line if len(line) <= QUOTE else line[:QUOTE] + "...")


def retry_after(headers: Mapping[str, str], *, wall: float | None = None) -> float | None:
    """Seconds the server wishes us to wait: `retry-after-ms`, or `retry-after` as a number or a date.

    None where it did not say, or said something that is not a time. `wall` is the time of day (seconds since
    the epoch) that a date is measured against.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value.partition(",")[0]) * unit  # one that comes twice is joined by a comma
        except ValueError:
            seconds = _until(value, time.time() if wall is None else wall)
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
    return None


def _until(date: str, wall: float) -> float:
    try:
        return max(0.0, email.utils.parsedate_to_datetime(date).timestamp() - wall)
    except (ValueError, TypeError, OverflowError):
        return math.nan


def status_error(asked: Asked, status: int, headers: Mapping[str, str], body: bytes) -> LLMError:
    """The error for an answer whose status is not 200; header names are in lower case."""
    error = _status_error(asked, status, headers, body)
    error.limits = server_limits(headers)
    return error


def _status_error(asked: Asked, status: int, headers: Mapping[str, str], body: bytes) -> LLMError:
    said = asked.said(body)
    text = f"{asked} answered {status}: {quoted(said)}."
    wait = retry_after(headers)
    if status in {401, 403}:
        return AuthFailed(
            f"{text} The key was not accepted: check llm.api_key (or OPENAI_API_KEY) and what it may use.",
            status=status,
            said=said,
        )
    if status == 429:
        return _limited(text, said, wait)
    if status == 408:
        return ModelTimeout(f"{text} It gave up waiting; try again.", status=status, retry_after=wait, said=said)
    if status >= 500 or status in {409, 425}:
        return ModelUnavailable(
            f"{text} The server failed; try again later. {DOCTOR}", status=status, retry_after=wait, said=said
        )
    if 300 <= status < 400:
        where = quoted(asked.clean(printable_url(headers.get("location", ""))))
        return BadRequest(
            f"{asked} redirects ({status}) to {where}. Redirects are not followed, they would take the key "
            "along: set llm.base_url to the right address.",
            status=status,
            said=said,
        )
    if status < 300:
        return BadResponse(f"{text} A completion comes with status 200. {DOCTOR}", status=status, said=said)
    advice = (
        f"Check llm.base_url (it usually ends in /v1) and llm.model. {DOCTOR}"
        if status in {404, 405}
        else "The request was not accepted as it is; see what the server says about it."
    )
    return BadRequest(f"{text} {advice}", status=status, said=said)


def _limited(text: str, said: str, wait: float | None) -> RateLimited:
    if "insufficient_quota" in said:
        error = RateLimited(f"{text} The account has no quota left: see its billing.", status=429, said=said)
        error.retryable = False  # waiting does not fill an account
        return error
    return RateLimited(
        f"{text} Too much for its limits: lower performance.rate_limiting, or try again"
        + (f" in {wait:g} s." if wait is not None else " later."),
        status=429,
        retry_after=wait,
        said=said,
    )


_WORDS = (
    ("rate_limit", 429),
    ("insufficient_quota", 429),
    ("server_error", 503),
    ("overloaded", 503),
    ("invalid_api_key", 401),
    ("authentication", 401),
    ("permission", 403),
    ("context_length", 400),
    ("invalid_request", 400),
)
"""What providers call an error, and the status that it would have had."""


def payload_error(asked: Asked, error: object) -> LLMError:
    """The error for `{"error": ...}` inside an answer or a stream that came with status 200."""
    body = json.dumps({"error": error}, ensure_ascii=False, default=str).encode("utf-8", "replace")
    if isinstance(error, Mapping):
        words = f"{error.get('code')} {error.get('type')}".lower()
        code = error.get("code") or error.get("status")
        number = int(code) if isinstance(code, int | str) and str(code).isdecimal() and len(str(code)) == 3 else None
        if number is not None and 400 <= number < 600:
            return status_error(asked, number, {}, body)
        for said, status in _WORDS:
            if said in words:
                return status_error(asked, status, {}, body)
    said = asked.said(body)
    return BadResponse(f"{asked} reports an error inside its answer: {quoted(said)}. {DOCTOR}", status=200, said=said)


def whole_text(asked: Asked, text: str) -> str:
    """`text`, if it is Unicode throughout: JSON can spell half a character, which nobody could write down again.

    Two halves that stand side by side are put together.

    Raises:
        BadResponse: it has such a half.
    """
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        what = f"its text is not Unicode ({error.reason} at character {error.start})"
        raise bad_response(asked, what, text.encode(errors="replace")) from error
    return text


def bad_response(asked: Asked, what: str, body: bytes | str = b"") -> BadResponse:
    """The error for an answer that is not what was asked for; `what` says in which way."""
    said = asked.said(body)
    return BadResponse(
        f"{asked} answered what is not a completion: {asked.clean(what)}. It said {quoted(said)}. "
        f"Check that llm.base_url is an OpenAI-compatible API (it usually ends in /v1). {DOCTOR}",
        said=said,
    )

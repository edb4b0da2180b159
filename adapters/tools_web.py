"""The tool that fetches from the web: fetch_url, which the default policy refuses.

An address is judged after it was resolved, and the connection goes to the very address that was judged (the
name travels in `Host` and in TLS), so that a name server which answers twice differently gains nothing. Each
redirect is judged again. Proxies of the environment are not used: behind one nobody could judge an address.
"""

from __future__ import annotations

import functools
import hashlib
import html.parser
import ipaddress
import re
from typing import TYPE_CHECKING, TypedDict

import trio

from trouper.actors.permissions import Decision, PermissionPolicy
from trouper.actors.tool import Effect, Tool, tool
from trouper.runtime import BadArguments, ToolError

from .http_seam import ca_store, leave

if TYPE_CHECKING:
    import httpx2

MAX_BYTES = 2_000_000
MAX_REDIRECTS = 5
SECONDS = 30.0

_HEADERS = {"user-agent": "trouper", "accept": "text/*, application/json, */*;q=0.1", "accept-encoding": "identity"}
_TEXTUAL = re.compile(r"text/|application/(?:[\w.-]+\+)?(?:json|xml)|application/(?:javascript|yaml|toml)")


class Page(TypedDict):
    """What fetch_url gives; `text` is the page without its markup."""

    url: str
    status: int
    content_type: str
    title: str
    text: str
    bytes: int
    sha256: str


def make(policy: PermissionPolicy, *, seconds: float = SECONDS, max_bytes: int = MAX_BYTES) -> list[Tool]:
    """fetch_url under `policy`: `network` for public addresses, `private_network` for the others too.

    `seconds` and `max_bytes` bound one page, redirects included.
    """

    async def fetch_url(url: str) -> Page:
        """Fetch a web page or a text file over http or https.

        Args:
            url: the full address.
        """
        if policy.network is Decision.DENY:  # the executor asks for leave; a refusal is worth saying twice
            await policy.require("network", f"fetch {_shown(url)}")
        with trio.move_on_after(seconds):
            return await _fetch(url, policy, max_bytes)
        raise ToolError(f"{_shown(url)} did not answer in full within {seconds:g} s")

    return [tool(effect=Effect.PURE, permission="network", max_concurrency=8)(fetch_url)]


async def _fetch(url: str, policy: PermissionPolicy, max_bytes: int) -> Page:
    import httpx2

    # `timeout` would start anew with each read; the whole fetch has one deadline instead.
    async with httpx2.AsyncClient(verify=ca_store(), trust_env=False, timeout=None) as client:
        for _ in range(MAX_REDIRECTS + 1):
            target = _target(url)
            addresses = await _judged(target, policy)
            try:
                found = await _ask(client, target, addresses, max_bytes)
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                raise ToolError(f"cannot fetch {target}: {str(error) or type(error).__name__}") from error
            if not isinstance(found, str):
                return found
            url = found
    raise ToolError(f"{_shown(url)} is one redirect too many (at most {MAX_REDIRECTS})", retry_possible=False)


async def _ask(client: httpx2.AsyncClient, target: httpx2.URL, addresses: list[str], max_bytes: int) -> Page | str:
    """The page, or where it was redirected to. Each address is tried until one can be connected to."""
    import httpx2

    for i, address in enumerate(addresses):
        try:
            async with client.stream(
                "GET",
                target.copy_with(host=address),
                headers={"host": target.netloc.decode("ascii"), **_HEADERS},
                extensions={"sni_hostname": target.raw_host.decode("ascii")},  # certificates are for the name
                follow_redirects=False,
            ) as response:
                if response.has_redirect_location:
                    return str(target.join(response.headers["location"]))
                return await _page(response, target, max_bytes)
        except httpx2.ConnectError:
            if i + 1 == len(addresses):
                raise
    raise ToolError(f"{target.host} has no address")


def _target(url: str) -> httpx2.URL:
    """The address as parts, if it is one that may be asked at all.

    Raises:
        BadArguments: no http or https, no host, or a password in it.
    """
    import httpx2

    try:
        target = httpx2.URL(url)
    except (httpx2.InvalidURL, TypeError, ValueError) as error:
        raise BadArguments(f"url {_shown(url)} is no address: {error}") from error
    if target.scheme not in ("http", "https"):
        raise BadArguments(f"url {_shown(url)}: only http and https can be fetched")
    if not target.host:
        raise BadArguments(f"url {_shown(url)} names no host")
    if target.port is not None and not 0 < target.port < 65536:
        raise BadArguments(f"url {_shown(url)}: {target.port} is no port")
    if target.userinfo:
        raise BadArguments("url: an address with a password in it is not fetched, it would end up in logs")
    return target


async def _judged(target: httpx2.URL, policy: PermissionPolicy) -> list[str]:
    """The IP addresses to connect to, once every address of the host was found fit."""
    port = target.port or (443 if target.scheme == "https" else 80)
    host = target.raw_host.decode("ascii").strip("[]")
    try:
        found = await trio.socket.getaddrinfo(host, port, type=trio.socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ToolError(f"cannot find the host {target.host!r}: {error}") from error
    addresses = [str(sockaddr[0]) for *_, sockaddr in found]
    if inner := [a for a in addresses if not is_public(a)]:
        await policy.require("private_network", f"fetch from {target.host} ({inner[0]}, no public address)")
    return list(dict.fromkeys(addresses))


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open internet, also if it is wrapped into an IPv6 one."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo or (None, None))[1]
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            ip = inner
    return ip.is_global and not ip.is_multicast


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


async def _page(response: httpx2.Response, target: httpx2.URL, max_bytes: int) -> Page:
    if not response.is_success:
        raise ToolError(f"{target} answered {response.status_code} {response.reason_phrase}".rstrip())
    content_type = response.headers.get("content-type", "text/plain").lower()
    if not _TEXTUAL.match(content_type):
        raise ToolError(f"{target} is {content_type}, which is no text", retry_possible=False)
    if (encoding := response.headers.get("content-encoding", "identity")) != "identity":
        # Unasked-for compression may unfold to a thousand times its size within one read.
        raise ToolError(f"{target} answered {encoding} although asked not to compress", retry_possible=False)
    data = bytearray()
    chunks = response.aiter_raw()
    try:
        async for chunk in chunks:
            data += chunk
            if len(data) > max_bytes:
                raise ToolError(f"{target} has more than {max_bytes:,} bytes", retry_possible=False)
    finally:
        await leave(response, chunks)
    page = functools.partial(_read, bytes(data), content_type, response.charset_encoding or "utf-8")
    title, text = await trio.to_thread.run_sync(page, abandon_on_cancel=True)
    return Page(
        url=str(target),
        status=response.status_code,
        content_type=content_type,
        title=title,
        text=text,
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
    )


def _read(data: bytes, content_type: str, charset: str) -> tuple[str, str]:
    """The title and the text of a page."""
    try:
        text = data.decode(charset, errors="replace")
    except LookupError:  # a character set that nobody knows
        text = data.decode(errors="replace")
    if "html" not in content_type:
        return "", text
    reader = _Markup()
    reader.feed(text)
    reader.close()
    return reader.result()


_TAGS = "p div br li ul ol tr table h1 h2 h3 h4 h5 h6 section article header footer pre blockquote"
_BLOCKS = frozenset(_TAGS.split())
_SPACES = str.maketrans("\r\n\t", "   ")
_HIDDEN = frozenset(("script", "style", "noscript", "template", "svg"))


class _Markup(html.parser.HTMLParser):
    """What of a page a person would read."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._texts: list[str] = []
        self._titles: list[str] = []
        self._hidden = 0
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 - the base's shape
        if tag in _BLOCKS:
            self._texts.append("\n")
        self._hidden += tag in _HIDDEN
        self._in_title |= tag == "title"

    def handle_endtag(self, tag: str) -> None:
        if tag in _BLOCKS:
            self._texts.append("\n")
        if tag in _HIDDEN and self._hidden:
            self._hidden -= 1
        self._in_title &= tag != "title"

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self._titles.append(data)
        elif not self._hidden:
            self._texts.append(data.translate(_SPACES))

    def result(self) -> tuple[str, str]:
        lines = [" ".join(line.split()) for line in "".join(self._texts).split("\n")]
        text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
        return " ".join("".join(self._titles).split()), text


def _shown(url: str) -> str:
    """An address for a message: short, without a password."""
    bare = re.sub(r"//[^/@]*@", "//", url)
    return bare if len(bare) <= 120 else bare[:117] + "..."

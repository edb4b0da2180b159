"""What a pool of connections is told and what it tells, as plain records. Pure: no HTTP library, no I/O."""

from __future__ import annotations

import hashlib
import urllib.parse
import urllib.request

import attrs

from trouper.runtime import Seconds

LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
"""This machine's own names: a proxy from the environment is not for them."""


def _at_least_one(_: object, attribute: attrs.Attribute[int], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{attribute.name} must be a whole number of at least 1, not {value!r}")


def _whole(_: object, attribute: attrs.Attribute[int], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{attribute.name} must be a whole number that is not negative, not {value!r}")


def _not_negative(_: object, attribute: attrs.Attribute[float], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise ValueError(f"{attribute.name} must be a number that is not negative, not {value!r}")


@attrs.frozen(kw_only=True)
class ConnectionPooling:
    """How connections to model servers are kept.

    Args:
        enabled: False: every request opens a connection of its own and closes it.
        max_connections: Most connections open at once to one server; further requests wait in order of arrival, under
            their own deadline. It is also the most requests in progress, with HTTP/2 too.
        max_keepalive: Most idle connections that are kept.
        keepalive_expiry: Seconds after which an idle connection is closed.
    """

    enabled: bool = True
    max_connections: int = attrs.field(default=100, validator=_at_least_one)
    max_keepalive: int = attrs.field(default=50, validator=_whole)
    keepalive_expiry: Seconds = attrs.field(default=30.0, validator=_not_negative)


@attrs.frozen(kw_only=True)
class ClientKey:
    """The configuration of one client: requests with equal keys share its connections, others never do."""

    scheme: str
    host: str
    port: int | None
    pooling: ConnectionPooling
    http2: bool = False
    ca_file: str | None = None
    uds: str | None = None
    proxy: str | None = attrs.field(default=None, repr=False)
    """A proxy's address may carry its password."""

    @property
    def origin(self) -> str:
        """The server, for messages."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + (f":{self.port}" if self.port is not None else "")

    @property
    def name(self) -> str:
        """A short hash of the configuration, for logs and statistics; the same in every process."""
        told = "\0".join(f"{name}={value!r}" for name, value in sorted(attrs.asdict(self).items()))
        return hashlib.blake2b(told.encode(), digest_size=6).hexdigest()


def proxy_for(scheme: str, host: str) -> str | None:
    """The proxy that the environment wants for this server (`HTTPS_PROXY`, `NO_PROXY` ...); None for none."""
    if host in LOCAL or urllib.request.proxy_bypass(host):
        return None
    proxies = urllib.request.getproxies()
    proxy = proxies.get(scheme) or proxies.get("all")
    if proxy is None:
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def key_of(
    base_url: str,
    pooling: ConnectionPooling,
    *,
    http2: bool = False,
    ca_file: str | None = None,
    uds: str | None = None,
) -> ClientKey:
    """The key of the client for `base_url`.

    Raises:
        ValueError: it is no address of a web server.
    """
    parts = urllib.parse.urlsplit(base_url)
    if parts.scheme not in {"http", "https"}:
        raise ValueError(f"it has to begin with http:// or https://, not {parts.scheme or base_url!r}")
    host = parts.hostname
    if not host:
        raise ValueError("it names no host")
    return ClientKey(
        scheme=parts.scheme,
        host=host,
        port=parts.port,  # raises ValueError for what is none
        pooling=pooling,
        http2=http2 and parts.scheme == "https",  # without TLS nobody agrees on it
        ca_file=ca_file if parts.scheme == "https" else None,
        uds=uds,
        proxy=None if uds is not None else proxy_for(parts.scheme, host),
    )


@attrs.frozen(kw_only=True)
class ClientStatistics:
    """One client's counters. Sockets are counted only where Trouper opens them: not those of a caller's own client."""

    client: str
    origin: str
    in_progress: int = 0
    waiting: int = 0
    sent: int = 0
    opened: int = 0
    open: int = 0
    warm: int = 0
    """Connections opened beforehand that nobody has used yet."""
    rebuilt: int = 0


@attrs.frozen(kw_only=True)
class PoolStatistics:
    """The counters of every client of a pool."""

    clients: tuple[ClientStatistics, ...] = ()

    def total(self, name: str) -> int:
        """The sum of one counter over all clients."""
        return sum(int(getattr(client, name)) for client in self.clients)

"""The one place where traffic to models touches an HTTP library.

It is httpx2, the maintained continuation of httpx that the openai SDK is built on. Plain httpx 0.28 loses its pool
for ever in a storm of cancellations (all slots stuck in CONNECTING), and Trouper cancels by design.

There is one pooled client for each configuration (server, certificates, HTTP/2, proxy, limits), shared by every model
and embedder that is given the pool, and each is watched (`http_watchdog`). The certificates are read once a process:
loading the system's store costs about 40 ms of CPU, more than twenty requests. Errors leave as `LLMError` kinds; the
body of an answer whose status is not 200 is read here, bounded, so that nothing further up can be fed without end.

Importing this, and creating a pool, loads no HTTP library.
"""

from __future__ import annotations

import importlib.util
import inspect
import logging
import ssl
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import trio

from trouper.actors.model_events import PoolRebuilt
from trouper.runtime import BadRequest, ConfigError, ConfigProblem, ModelUnavailable, Seconds

from .http_answer import AnswerBytes, leave, raise_status
from .http_faults import StatusAnswered, wire_faults
from .http_pooling import ClientKey, ClientStatistics, ConnectionPooling, PoolStatistics, key_of
from .http_trust import unfit
from .wire_errors import Asked

if TYPE_CHECKING:
    import httpx2

    from .http_network import Network
    from .http_watchdog import Watched
    from .http_ways import CallersClient

log: logging.Logger = logging.getLogger(__name__)

SLACK: Seconds = 5.0
"""Beyond the two timeouts of connecting (TCP and TLS), before a pool is taken for broken."""


class HttpPool:
    """Connections to model servers, shared by all models of a troupe. Importing and creating it costs nothing.

    Give it to `OpenAIModel` and `OpenAIEmbedder`, and close it after them.

    Args:
        pooling: How connections are kept.
        connect_timeout: Seconds that TCP may take, and TLS as much again.
        write_timeout: Seconds that sending a request may stand still.
        http2: Offer HTTP/2 to servers with TLS (needs the package h2): one connection for many calls.
        ca_file: Trust the certificates in this file and no others; None: those of this machine.
        uds: Reach every server through this socket of the file system, whatever its address says.
        client: An `AsyncClient` of httpx2 or httpx to send everything through, or, better, a function that makes
            one. One that is handed in as it is cannot be replaced when it breaks, and you close it.
        patience: Seconds within which a request that has its place must be on its way before the pool is taken for
            broken; None: twice `connect_timeout` and 5 more.
        on_rebuilt: Called with each `PoolRebuilt`; it must not raise.

    Raises:
        ConfigError: HTTP/2 without h2, or a `ca_file` that is not there or has no certificates.
        TypeError: `client` is none that can be awaited.
    """

    def __init__(
        self,
        pooling: ConnectionPooling | None = None,
        *,
        connect_timeout: Seconds = 10.0,
        write_timeout: Seconds = 30.0,
        http2: bool = False,
        ca_file: str | Path | None = None,
        uds: str | Path | None = None,
        client: CallersClient | Callable[[], CallersClient] | None = None,
        patience: Seconds | None = None,
        on_rebuilt: Callable[[PoolRebuilt], None] | None = None,
    ) -> None:
        _check(http2=http2, ca_file=ca_file)
        self.pooling: ConnectionPooling = pooling if pooling is not None else ConnectionPooling()
        self.timeouts: dict[str, float | None] = {
            # No read timeout: a model may think for minutes before the first byte, and a per-read timeout does
            # not stop a server that drips. The caller's total deadline does both.
            "connect": connect_timeout,
            "write": write_timeout,
            "read": None,
            "pool": None,
        }
        self._http2 = http2
        self._ca_file = str(ca_file) if ca_file is not None else None
        self._uds = str(uds) if uds is not None else None
        self._callers = client
        self._patience = patience if patience is not None else 2 * connect_timeout + SLACK
        self.on_rebuilt: Callable[[PoolRebuilt], None] | None = on_rebuilt
        self._open: dict[ClientKey, _Client] = {}
        self._keys: dict[str, ClientKey] = {}
        self._closed = False
        if client is not None:
            _warn(client)

    # ------------------------------------------------------------ asking
    def transport(self, base_url: str) -> Watched:
        """The watched pool for `base_url`, made when first needed.

        Raises:
            ModelUnavailable: the pool is closed.
            BadRequest: that is no address.
        """
        return self._client(base_url).watched

    def client(self, base_url: str) -> httpx2.AsyncClient:
        """An HTTP client over the same connections, for whoever needs one: the SDK, or you. It belongs to the pool.

        An answer with another status than 200 raises `StatusAnswered` inside it.

        Raises:
            ModelUnavailable: the pool is closed.
            BadRequest: that is no address.
        """
        return self._client(base_url).face()

    def _client(self, base_url: str) -> _Client:
        if self._closed:
            raise ModelUnavailable("the connections to the model server are closed: the troupe has ended")
        key = self._keys.get(base_url)
        if key is None:
            try:
                key = key_of(base_url, self.pooling, http2=self._http2, ca_file=self._ca_file, uds=self._uds)
            except ValueError as error:
                asked = Asked(base_url)
                raise BadRequest(f"{asked} cannot be asked: {error}. Check llm.base_url.") from error
            self._keys[base_url] = key
        client = self._open.get(key)
        if client is None:
            client = self._open[key] = self._make(key)
        return client

    def _make(self, key: ClientKey) -> _Client:
        from .http_network import Network
        from .http_watchdog import Watched
        from .http_ways import Through, way_of

        network = Network()
        callers = self._callers
        used = False

        def way() -> httpx2.AsyncBaseTransport:
            nonlocal used
            if callers is None:
                return way_of(key, network)
            if callable(callers):
                return Through(_made(callers), owned=True)
            if used:
                raise ModelUnavailable(
                    f"the HTTP client that was handed in gives no connection to {key.origin} any more, and Trouper "
                    "cannot make another: hand in a function that makes one, as HttpPool(client=...)"
                )
            used = True
            return Through(callers, owned=False)

        slots = callers is None and not key.http2
        watched = Watched(way, key=key, patience=self._patience, slots=slots, told=self._tell)
        return _Client(key, network, watched, self.timeouts)

    def _tell(self, event: PoolRebuilt) -> None:
        if self.on_rebuilt is not None:
            self.on_rebuilt(event)

    # ------------------------------------------------------------ beforehand, and after
    async def warm_up(self, base_url: str, connections: int = 1) -> int:
        """Open `connections` connections to the server before anybody asks it; gives how many could be opened.

        No request is sent, so that no limit is touched: only the round trips of TCP and TLS are saved. The first
        calls take these connections, within `keepalive_expiry` seconds. A server that is not there is no error here:
        the log says so, and the first call will. Nothing is opened for a proxy, a socket of the file system or a
        client of the caller's own, or while pooling is off.

        Cancelled: those that were opened are kept.
        """
        from .http_ways import context_of

        client = self._client(base_url)
        key, pooling = client.key, self.pooling
        if key.proxy or key.uds or self._callers is not None or not pooling.enabled:
            await trio.lowlevel.checkpoint()
            return 0
        before = client.network.warm

        async def one() -> None:
            try:
                await client.network.warm_up(
                    key.host,
                    key.port if key.port is not None else {"http": 80, "https": 443}[key.scheme],
                    keep=pooling.keepalive_expiry,
                    timeout=self.timeouts["connect"] or 10.0,
                    tls=context_of(key) if key.scheme == "https" else None,
                    alpn=("h2", "http/1.1") if key.http2 else ("http/1.1",),
                )
            except Exception as error:  # noqa: BLE001 - told in the log: nothing depends on a warm connection
                log.info("[HTTP] no warm connection to %s: %s", key.origin, error)

        with wire_faults(Asked(base_url)):
            async with trio.open_nursery() as nursery:
                for _ in range(min(connections, pooling.max_connections)):
                    nursery.start_soon(one)
        return client.network.warm - before

    def statistics(self) -> PoolStatistics:
        """Counters of every client so far."""
        return PoolStatistics(clients=tuple(client.statistics() for client in self._open.values()))

    async def aclose(self) -> None:
        """Close all connections. Idempotent. Cancelled: they are closed all the same."""
        self._closed = True
        clients, self._open = self._open, {}
        for client in clients.values():
            await client.aclose()
        await trio.lowlevel.checkpoint()


@attrs.define
class _Client:
    """One configuration's connections."""

    key: ClientKey
    network: Network
    watched: Watched
    timeouts: dict[str, float | None]
    _face: httpx2.AsyncClient | None = None

    def face(self) -> httpx2.AsyncClient:
        """The same connections as an HTTP client."""
        import httpx2

        if self._face is None:
            self._face = httpx2.AsyncClient(
                transport=self.watched,
                timeout=httpx2.Timeout(**self.timeouts),
                # A short answer gains nothing by compression; a hostile one could unfold to a thousand times its size.
                headers={"accept-encoding": "identity"},
                event_hooks={"response": [raise_status]},
                trust_env=False,
            )
        return self._face

    def statistics(self) -> ClientStatistics:
        watched, network = self.watched, self.network
        return ClientStatistics(
            client=self.key.name,
            origin=self.key.origin,
            in_progress=watched.in_progress,
            waiting=watched.waiting,
            sent=watched.sent,
            opened=network.opened,
            open=network.open,
            warm=network.warm,
            rebuilt=watched.rebuilt,
        )

    async def aclose(self) -> None:
        await self.watched.aclose()
        await self.network.aclose()


def _check(*, http2: bool, ca_file: str | Path | None) -> None:
    problems: list[ConfigProblem] = []
    if http2 and importlib.util.find_spec("h2") is None:
        what = "HTTP/2 needs the package h2, which is not installed: pip install h2, or write false"
        problems.append(ConfigProblem(path="llm.http2", message=what))
    wrong = unfit(str(ca_file)) if ca_file is not None else None
    if wrong is not None:
        problems.append(ConfigProblem(path="llm.ca_file", message=wrong))
    if problems:
        raise ConfigError(problems)


def _made(make: Callable[[], CallersClient]) -> CallersClient:
    """A client by the caller's own function.

    Raises:
        BadRequest: it failed, or gave something else.
    """
    try:
        client = make()
        _check_client(client)
    except Exception as error:
        what = f"the function that makes HTTP clients, HttpPool(client=...), failed: {type(error).__name__}: {error}"
        raise BadRequest(what) from error
    return client


def _check_client(client: object) -> None:
    """A client that blocks would stop everything until its answer has come."""
    if not inspect.iscoroutinefunction(getattr(client, "send", None)):
        raise TypeError(
            "HttpPool(client=...) takes an AsyncClient of httpx2 or httpx, or a function that makes one, not a "
            f"{type(client).__name__}"
        )


def _warn(client: CallersClient | Callable[[], CallersClient]) -> None:
    if not callable(client):
        _check_client(client)
    module = type(client).__module__.partition(".")[0]
    if module == "httpx":
        warnings.warn(
            "plain httpx loses its pool for ever when calls are cancelled while they connect, and Trouper cancels by "
            "design; at many calls at once it also costs several times the CPU. It is used behind a watchdog that "
            "notices, but a client that was handed in cannot be replaced. Use httpx2, or hand in a function.",
            UserWarning,
            stacklevel=3,
        )
    elif callable(client):
        warnings.warn(
            "HTTP clients of your own are used behind a watchdog that replaces one that gives no connection any more; "
            "their limits should be at least performance.connection_pooling.max_connections, or that is mistaken for "
            "such a one. Let it make clients of httpx2: plain httpx loses its pool when calls are cancelled.",
            UserWarning,
            stacklevel=3,
        )
    else:
        warnings.warn(
            "an HTTP client that was handed in as it is cannot be replaced when it gives no connection any more: hand "
            "in a function that makes one. Its limit should be at least "
            "performance.connection_pooling.max_connections.",
            UserWarning,
            stacklevel=3,
        )


def ca_store(ca_file: str | None = None) -> ssl.SSLContext:
    """The certificates of this machine, or those of `ca_file`, read once a process: about 40 ms of CPU otherwise."""
    from .http_ways import ca_store as read

    return read(ca_file)


__all__ = [
    "AnswerBytes",
    "ConnectionPooling",
    "HttpPool",
    "PoolRebuilt",
    "PoolStatistics",
    "StatusAnswered",
    "ca_store",
    "leave",
    "wire_faults",
]

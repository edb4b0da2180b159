"""The actor that has the local model's server: started when it is first needed, ended when nobody has needed it.

A call to the model is made by whoever wants the answer; from here it gets a place for it (`UseServer`): the server's
address with its key, and a slot. The place is a stream of one item that ends when the asker leaves it, by whatever
way, so that nobody can forget to give it back. What the process does is this actor's life: if it dies under the calls,
or stops answering, the actor crashes with it, and its supervisor decides whether and when there is another one. What
would go wrong again (no such file, not the pinned one, an engine for another processor) is an answer instead.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from typing import Literal

import attrs
import trio

from trouper.actors.tool_children import kill_session
from trouper.runtime import Actor, Ask, LLMError, ModelUnavailable, Ref, Seconds, Stream, Tell, handler

from .http_seam import ConnectionPooling, HttpPool
from .local_prefixes import KeptPrefixes, prefix_key
from .local_process import LocalRefused, ServerProcess, illegal, open_server
from .local_settings import LocalSettings
from .local_slots import Slots
from .openai_endpoint import OpenAIEndpoint

log: logging.Logger = logging.getLogger("trouper.local")

PLACES = 256
"""Calls that may have a place, or wait for one, at once."""

QUIET: Seconds = 15.0
"""What saving or restoring a prefix may take; a call waits for it no longer."""

PREFIX: Seconds = 600.0
"""What computing a prefix alone may take, behind the answer that needed it."""

ServerState = Literal["stopped", "starting", "running", "refused"]


@attrs.frozen(kw_only=True)
class ServerPlace:
    """Where one call goes: `life` is another one for each process."""

    life: int
    base_url: str
    key: str = attrs.field(repr=False)
    pool: HttpPool = attrs.field(repr=False)
    slot: int | None


@attrs.frozen(kw_only=True)
class UseServer(Stream[ServerPlace]):
    """Gives one `ServerPlace`, which is yours until you leave the stream. `prefix` is what the prompt begins with."""

    role: str = ""
    prefix: str = ""


@attrs.frozen
class KeepPrefix(Tell):
    """A prompt of this role that began with `text` was answered: compute it alone and keep it, if it is not kept."""

    role: str
    text: str


@attrs.frozen
class GetLocalStatistics(Ask["LocalStatistics"]):
    """What the local server is doing."""


@attrs.frozen(kw_only=True)
class LocalStatistics:
    """A look at the local server, and counters of this incarnation."""

    state: ServerState
    pid: int | None = None
    users: int = 0
    starts: int = 0
    idle_stops: int = 0
    started_in: Seconds | None = None
    prefixes_kept: int = 0
    prefixes_read: int = 0


@attrs.frozen
class _Run(Tell):
    """To itself: have the server whenever it is wanted, for as long as this life lasts."""


@attrs.frozen(kw_only=True)
class _Serving:
    """A server that answers, and what goes with it."""

    life: int
    process: ServerProcess
    pool: HttpPool
    endpoint: OpenAIEndpoint
    slots: Slots
    kept: KeptPrefixes | None
    tried: set[str] = attrs.field(factory=set)
    """Prefixes that this life has read, or has tried to."""
    unproven: set[str] = attrs.field(factory=set)
    """Of these, what no answer has used yet: the engine may still die of it."""
    hopeless: set[str] = attrs.field(factory=set)
    """Prefixes that it could not write."""


class LocalServer(Actor):
    """Answers `UseServer`.

    Args:
        settings: What is served, and how.
        announce: Is told this actor's ref when it begins: the model is made before the actor.
    """

    def __init__(self, settings: LocalSettings, announce: Callable[[Ref[Actor]], None]) -> None:
        self._settings = settings
        self._announce = announce
        self._users: int = 0
        self._starts: int = 0
        self._idle_stops: int = 0
        self._kept: int = 0
        self._read: int = 0
        self._keeping: bool = False
        self._refused: str | None = None
        self._serving: _Serving | None = None
        self._wanted: trio.Event = trio.Event()
        self._changed: trio.Event = trio.Event()

    async def on_start(self) -> None:
        """Say where it is; the server itself begins with the first call."""
        self.ctx.send_after(0.0, _Run())
        self._announce(self.ctx.ref)

    @handler(concurrent=PLACES, raises=(LLMError,))
    async def use(self, message: UseServer) -> AsyncIterator[ServerPlace]:
        """Give a place, once there is a server; take it back when the asker leaves.

        Raises:
            ModelUnavailable: there will be no server; `retryable` is False.
        """
        self._users += 1
        self._wanted.set()
        slot: int | None = None
        serving: _Serving | None = None
        try:
            serving = await self._started()
            slot = serving.slots.take(message.role)
            if slot is not None and message.prefix:
                await self._restore(serving, slot, message.prefix)
            yield ServerPlace(
                life=serving.life,
                base_url=f"{serving.process.base_url}/v1",
                key=serving.process.key,
                pool=serving.pool,
                slot=slot,
            )
            await trio.sleep_forever()
        finally:
            if serving is not None:
                serving.slots.give_back(slot)
            self._users -= 1
            self._tell_change()

    async def _started(self) -> _Serving:
        while True:
            if self._refused is not None:
                error = ModelUnavailable(self._refused)
                error.retryable = False
                raise error
            if self._serving is not None:
                return self._serving
            self._wanted.set()
            await self._changed.wait()

    def _tell_change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    @handler(concurrent=PLACES)
    async def keep(self, message: KeepPrefix) -> None:
        """Compute a prefix alone, so that nothing of a goal is kept with it, and have the server write it down.

        One at a time, and a slot that is in use is left alone: the next answer brings the next try. What has been read
        from a file, and has now been answered with, may be read again.
        """
        serving = self._serving
        if serving is None or serving.kept is None:
            return
        key = self._key(serving, message.text)
        if key in serving.unproven:
            serving.unproven.remove(key)
            serving.kept.release(key, good=True)
        if self._keeping or key in serving.hopeless or serving.kept.has(key):
            return
        slot = serving.slots.take(message.role)
        if slot is None:
            return
        self._keeping = True
        self._users += 1
        try:
            good = await self._save(serving, slot, key, message.text)
            serving.kept.publish(key, good=good)
            self._kept += good
            if not good:
                serving.hopeless.add(key)
        finally:
            self._keeping = False
            serving.slots.give_back(slot)
            self._users -= 1
            self._tell_change()

    @handler(concurrent=8)
    async def statistics(self, _: GetLocalStatistics) -> LocalStatistics:
        """Counters so far."""
        state: ServerState = "stopped"
        serving = self._serving
        if self._refused is not None:
            state = "refused"
        elif serving is not None:
            state = "running"
        elif self._wanted.is_set():
            state = "starting"
        return LocalStatistics(
            state=state,
            pid=serving.process.process.pid if serving is not None else None,
            users=self._users,
            starts=self._starts,
            idle_stops=self._idle_stops,
            started_in=serving.process.started_in if serving is not None else None,
            prefixes_kept=self._kept,
            prefixes_read=self._read,
        )

    # ------------------------------------------------------------ the life of the process
    @handler(concurrent=1)
    async def run(self, _: _Run) -> None:
        """Have a server whenever somebody wants one.

        Raises:
            ModelUnavailable: it died; that is a crash, and the supervisor's business.
        """
        while self._refused is None:
            await self._wanted.wait()
            error = await self._one_life()
            if isinstance(error, LocalRefused):
                self._refused = str(error)
                log.error("[LOCAL] there will be no local model: %s", error)
                self._tell_change()
            elif error is not None:
                raise error
            else:
                self._idle_stops += 1

    async def _one_life(self) -> LocalRefused | ModelUnavailable | None:
        """One process from its start to its end, and why it ended; None if nobody needed it any more."""
        settings = self._settings
        kept = KeptPrefixes(settings.prefixes) if settings.prefixes is not None else None
        if kept is not None and not kept.prepare():
            log.warning("[LOCAL] %s cannot be written: no prefix is kept", kept.folder)
            kept = None
        self._starts += 1
        async with trio.open_nursery() as nursery:
            try:
                async with open_server(settings, nursery) as process:
                    log.info("[LOCAL] %s answers after %.1f s", settings.gguf.name, process.started_in)
                    await self._attend(process, kept)
            except (LocalRefused, ModelUnavailable) as error:
                return error
            finally:
                nursery.cancel_scope.cancel()
        return None

    async def _attend(self, process: ServerProcess, kept: KeptPrefixes | None) -> None:
        """Let it be used until nobody has used it for `idle_stop` seconds.

        Raises:
            ModelUnavailable: it died, or does not answer any more.
            LocalRefused: it died of an instruction that this processor does not have.
        """
        pool = HttpPool(ConnectionPooling(max_connections=2 * PLACES), uds=process.uds)
        serving = _Serving(
            life=self._starts,
            process=process,
            pool=pool,
            endpoint=OpenAIEndpoint(base_url=process.base_url, api_key=process.key, pool=pool),
            slots=Slots(self._settings.slots),
            kept=kept,
        )
        ends: list[Exception] = []

        async def end_with(error: Exception) -> None:
            ends.append(error)
            nursery.cancel_scope.cancel()

        async def watch_process() -> None:
            how = await process.wait_ended()
            if process.process.returncode == -signal.SIGILL:
                await end_with(LocalRefused(illegal(how)))
            else:
                await end_with(ModelUnavailable(f"the local model's server {how}"))

        async def watch_answers() -> None:
            await self._until_silent(serving)
            kill_session(process.process)  # it would not hear a polite word either
            await end_with(
                ModelUnavailable(
                    f"the local model's server has not said a word for {self._settings.stuck_after:g} s and is killed"
                )
            )

        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch_process)
                nursery.start_soon(watch_answers)
                self._serving = serving
                self._tell_change()
                await self._until_idle()
                nursery.cancel_scope.cancel()
        finally:
            self._serving = None
            await pool.aclose()
        if ends:
            raise ends[0]
        log.info("[LOCAL] nobody has asked for %g s: the server is ended", self._settings.idle_stop)

    async def _until_idle(self) -> None:
        """Wait until there was no user for `idle_stop` seconds. From then on nobody finds the server."""
        while True:
            while self._users:
                await self._changed.wait()
            self._wanted = trio.Event()
            with trio.move_on_after(self._settings.idle_stop):
                await self._wanted.wait()
            if not self._users:
                self._serving = None
                return

    async def _until_silent(self, serving: _Serving) -> None:
        """Wait until calls wait for the server and it does not even say how they get on.

        It answers this between two batches of tokens, so a server that is alive and turns in circles says nothing.
        """
        patience = self._settings.stuck_after
        while True:
            while not self._users:
                await self._changed.wait()
            with trio.move_on_after(patience) as waiting:
                try:
                    asked = serving.endpoint.asked("/slots")
                    async with aclosing(await serving.endpoint.get("/slots", asked)) as answer:
                        await answer.read()
                except LLMError as error:
                    log.debug("[LOCAL] looking at the slots: %s", error)
            if waiting.cancelled_caught:
                return
            await trio.sleep(patience / 4)

    # ------------------------------------------------------------ prefixes
    def _key(self, serving: _Serving, text: str) -> str:
        process = serving.process
        return prefix_key(text, model=process.model, engine=process.engine, context=self._settings.context)

    async def _restore(self, serving: _Serving, slot: int, text: str) -> None:
        """Once a life: have the server read what was computed in an earlier one."""
        key = self._key(serving, text)
        if serving.kept is None or key in serving.tried:
            return
        serving.tried.add(key)
        name = serving.kept.claim(key)
        if name is None:
            return
        good = await self._order(serving, f"/slots/{slot}?action=restore", {"filename": name}, QUIET)
        self._read += good
        if good:
            serving.unproven.add(key)
        else:
            serving.kept.release(key, good=False)

    async def _save(self, serving: _Serving, slot: int, key: str, text: str) -> bool:
        assert serving.kept is not None  # noqa: S101 - asked by whoever calls
        alone = {
            "messages": [{"role": "system", "content": text}, {"role": "user", "content": ""}],
            "max_tokens": 1,
            "id_slot": slot,
            "cache_prompt": True,
        }
        if not await self._order(serving, "/v1/chat/completions", alone, PREFIX):
            return False
        return await self._order(serving, f"/slots/{slot}?action=save", {"filename": serving.kept.draft(key)}, QUIET)

    async def _order(self, serving: _Serving, path: str, body: Mapping[str, object], bound: Seconds) -> bool:
        """Have the server do something; whether it did. Cancelled: nobody knows whether it did."""
        with trio.move_on_after(bound):
            try:
                asked = serving.endpoint.asked(path)
                async with aclosing(await serving.endpoint.post(path, body, asked)) as answer:
                    await answer.read()
            except LLMError as error:
                log.debug("[LOCAL] %s", error)
                return False
            return True
        log.debug("[LOCAL] %s was not done within %g s", path, bound)
        return False

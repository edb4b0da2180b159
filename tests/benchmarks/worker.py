"""One library's ask, measured on command: `python -m tests.benchmarks.worker LIBRARY`.

Says `ready VERSION`, then reads a number a line, makes so many asks, one after another, of an actor that answers with
what it was sent, and prints the CPU seconds they took, all threads together. Ends with its input.
"""

from __future__ import annotations

import gc
import os
import platform
import sys
import time
from collections.abc import Awaitable, Callable
from importlib import metadata
from types import SimpleNamespace

WARM_UP = 200


def _announce(distribution: str) -> None:
    try:
        version = metadata.version(distribution)
    except metadata.PackageNotFoundError:
        version = "(this checkout)"
    print("ready", version, "on Python", platform.python_version(), flush=True)


async def _serve(distribution: str, ask: Callable[[int], Awaitable[None]]) -> None:
    """Nothing else runs in this process: that reading blocks the loop between two slices disturbs nobody."""
    await ask(WARM_UP)
    _announce(distribution)
    for line in sys.stdin:
        gc.collect()
        gc.disable()
        began = time.process_time()
        await ask(int(line))
        print(time.process_time() - began, flush=True)
        gc.enable()


def trouper() -> None:
    """An actor under the root of a system, the default deadline on every ask."""
    import trio

    from .subjects import Echo, asking

    async def main() -> None:
        async with asking(Echo(1)) as ask:
            await _serve("trouper", ask)

    trio.run(main)


def triotp() -> None:
    """A gen_server and its `call`."""
    from triotp import application, gen_server, node

    async def init(_argument: object) -> int:
        return 0

    async def handle_call(message: object, _caller: object, state: int) -> tuple[object, int]:
        return gen_server.Reply(message), state

    async def terminate(_reason: object, _state: int) -> None:
        pass

    module = SimpleNamespace(__name__="server", init=init, handle_call=handle_call, terminate=terminate)

    async def ask(times: int) -> None:
        for number in range(times):
            await gen_server.call("server", number)

    async def start(_argument: object) -> None:
        import trio
        import trio.testing

        async with trio.open_nursery() as nursery:
            nursery.start_soon(gen_server.start, module, None, "server")
            await trio.testing.wait_all_tasks_blocked()
            await _serve("triotp", ask)
            nursery.cancel_scope.cancel()

    program = SimpleNamespace(__name__="program", start=start)
    node.run(apps=[application.app_spec(module=program, start_arg=None, permanent=False)])


def tapio() -> None:
    """A behaviour that replies to the ref that came with the message; its validation is on, as by default."""
    import asyncio
    from datetime import timedelta
    from typing import Any

    from tapio import ActorSystem, Behavior, Behaviors, Message
    from tapio.actor import ActorContext, ActorRef

    class Reply(Message):
        number: int

    class Request(Message):
        number: int
        reply_to: ActorRef[Reply]

    async def receive(_context: ActorContext[Any], message: Request) -> Behavior[Any]:
        message.reply_to.tell(Reply(number=message.number))
        return Behaviors.same()

    receive.__annotations__ = {"_context": ActorContext[Any], "message": Request, "return": Behavior[Any]}

    async def main() -> None:
        async with ActorSystem("bench") as system:
            ref = system.spawn(Behaviors.receive(receive), name="server")

            async def ask(times: int) -> None:
                for number in range(times):
                    await ref.ask(
                        lambda reply_to, number=number: Request(number=number, reply_to=reply_to),
                        expect=Reply,
                        timeout=timedelta(seconds=60),
                    )

            await _serve("tapio-py", ask)

    asyncio.run(main())


def autogen_core() -> None:
    """A routed agent of the single-threaded runtime, its tracing off."""
    os.environ["AUTOGEN_DISABLE_RUNTIME_TRACING"] = "true"
    import asyncio
    from dataclasses import dataclass

    from autogen_core import AgentId, MessageContext, RoutedAgent, SingleThreadedAgentRuntime, message_handler

    @dataclass
    class Request:
        number: int

    async def answer(self: RoutedAgent, message: Request, ctx: MessageContext) -> Request:
        return message

    answer.__annotations__ = {"message": Request, "ctx": MessageContext, "return": Request}

    class Server(RoutedAgent):
        on_request = message_handler(answer)

    async def main() -> None:
        runtime = SingleThreadedAgentRuntime()
        await Server.register(runtime, "server", lambda: Server("answers"))
        runtime.start()
        agent = AgentId("server", "default")

        async def ask(times: int) -> None:
            for number in range(times):
                await runtime.send_message(Request(number), agent)

        await _serve("autogen-core", ask)
        await runtime.stop()

    asyncio.run(main())


def pykka() -> None:
    """A thread and its blocking `ask`."""
    import asyncio

    from pykka import ThreadingActor

    class Server(ThreadingActor):
        def on_receive(self, message: object) -> object:
            return message

    ref = Server.start()

    async def ask(times: int) -> None:
        for number in range(times):
            ref.ask(number)

    asyncio.run(_serve("pykka", ask))  # the loop only drives `_serve`; the asks block it, as they block any caller
    ref.stop()


LIBRARIES = {"trouper": trouper, "triotp": triotp, "tapio-py": tapio, "autogen-core": autogen_core, "pykka": pykka}

if __name__ == "__main__":
    LIBRARIES[sys.argv[1]]()

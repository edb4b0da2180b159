"""What tests of your own actors and tools need: injected crashes, a scripted model, a real model server."""

from trouper.adapters.llm_scripted import BreakOff, Delay, Pieces, ScriptedModel
from trouper.adapters.model_server import (
    End,
    ModelServer,
    ModelTime,
    Network,
    RateLaw,
    Served,
    ServerReply,
    ServerRequest,
    ServerRule,
    ServerStatistics,
    model_server,
)
from trouper.adapters.model_server_apart import ModelServerProcess, ServerProcessFailed
from trouper.runtime.testing import Crash, InjectedCrash, When, crash, wait_incarnation

__all__ = [
    "BreakOff",
    "Crash",
    "Delay",
    "End",
    "InjectedCrash",
    "ModelServer",
    "ModelServerProcess",
    "ModelTime",
    "Network",
    "Pieces",
    "RateLaw",
    "ScriptedModel",
    "Served",
    "ServerProcessFailed",
    "ServerReply",
    "ServerRequest",
    "ServerRule",
    "ServerStatistics",
    "When",
    "crash",
    "model_server",
    "wait_incarnation",
]

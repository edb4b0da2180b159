"""What tests of your own actors and tools need: injected crashes, a scripted model, a real model server."""

from trouper.adapters.llm_scripted import BreakOff, Delay, Pieces, ScriptedModel
from trouper.adapters.model_server import End, ServerReply, model_server
from trouper.runtime.testing import Crash, InjectedCrash, When, crash, wait_incarnation

__all__ = [
    "BreakOff",
    "Crash",
    "Delay",
    "End",
    "InjectedCrash",
    "Pieces",
    "ScriptedModel",
    "ServerReply",
    "When",
    "crash",
    "model_server",
    "wait_incarnation",
]

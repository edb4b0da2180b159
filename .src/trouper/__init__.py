"""Trouper: a supervised actor runtime for language-model agents, on trio.

The public face: what stands here is what users and tests rely on. The code lives in three rings, `runtime`
<- `actors` <- `adapters`, which in a checkout are folders at the repository's root and here are links to them.

A name is imported from its ring when it is first used (PEP 562), so a program pays for what it takes from the face:
all of it is 350 classes and costs three times what trio does. Type checkers are shown the plain imports.
"""

import importlib as _importlib
import os.path as _path
from typing import TYPE_CHECKING

from ._version import __version__ as __version__

if TYPE_CHECKING:
    # isort would give each name that is exported, which is what `as` itself says, a statement of its own.
    # isort: off
    from trouper.actors.documents import IndexReport as IndexReport, Passage as Passage
    from trouper.actors.memories import Memories as Memories
    from trouper.actors.memory_conversation import Conversation as Conversation, ConversationTurn as ConversationTurn
    from trouper.actors.memory_data import MemoryRow as MemoryRow
    from trouper.actors.memory_messages import (
        MemoryStatistics as MemoryStatistics,
        NearDuplicate as NearDuplicate,
        Recalled as Recalled,
        Remembered as Remembered,
    )
    from trouper.actors.memory_ranking import Blend as Blend
    from trouper.actors.outcome import (
        ErrorInfo as ErrorInfo,
        Outcome as Outcome,
        Question as Question,
        Replan as Replan,
        RunStatus as RunStatus,
        StepOutcome as StepOutcome,
        StepStatus as StepStatus,
        Verdict as Verdict,
        VerdictKind as VerdictKind,
    )
    from trouper.actors.protocols import (
        ChatChunk as ChatChunk,
        ChatMessage as ChatMessage,
        ChatModel as ChatModel,
        ChatReply as ChatReply,
        ChatRequest as ChatRequest,
        Embedder as Embedder,
        EmbedReply as EmbedReply,
        MeteredEmbedder as MeteredEmbedder,
        SkippedFile as SkippedFile,
        ToolCall as ToolCall,
        ToolSpec as ToolSpec,
        Usage as Usage,
    )
    from trouper.actors.tool import (
        Checked as Checked,
        Effect as Effect,
        Tool as Tool,
        ToolContext as ToolContext,
        tool as tool,
    )
    from trouper.actors.troupe_ref import Troupe as Troupe
    from trouper.adapters.config_model import Config as Config
    from trouper.adapters.config_yaml import load_config as load_config
    from trouper.adapters.wiring import execute as execute, open_troupe as open_troupe, run_plan as run_plan
    from trouper.runtime import *  # noqa: F403 - the kernel's door has an `__all__`
else:
    _FACE = {
        "actors.documents": "IndexReport Passage",
        "actors.memories": "Memories",
        "actors.memory_conversation": "Conversation ConversationTurn",
        "actors.memory_data": "MemoryRow",
        "actors.memory_messages": "MemoryStatistics NearDuplicate Recalled Remembered",
        "actors.memory_ranking": "Blend",
        "actors.outcome": "ErrorInfo Outcome Question Replan RunStatus StepOutcome StepStatus Verdict VerdictKind",
        "actors.protocols": "ChatChunk ChatMessage ChatModel ChatReply ChatRequest Embedder EmbedReply MeteredEmbedder "
        "SkippedFile ToolCall ToolSpec Usage",
        "actors.tool": "Checked Effect Tool ToolContext tool",
        "actors.troupe_ref": "Troupe",
        "adapters.config_model": "Config",
        "adapters.config_yaml": "load_config",
        "adapters.wiring": "execute open_troupe run_plan",
    }
    """What the face shows of each file of the cast. All of the kernel's door is part of it too."""

    _PLACES = {name: file for file, names in _FACE.items() for name in names.split()}
    _RINGS = ("runtime", "actors", "adapters")

    def __getattr__(name: str) -> object:
        if name == "__all__":
            value = sorted({*_PLACES, *_importlib.import_module(".runtime", __name__).__all__, "__version__"})
        elif name in _RINGS:
            return _importlib.import_module(f".{name}", __name__)
        elif name in _PLACES:
            value = getattr(_importlib.import_module(f".{_PLACES[name]}", __name__), name)
        elif not name.startswith("_") and name in (kernel := _importlib.import_module(".runtime", __name__)).__all__:
            value = getattr(kernel, name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value  # found at once from now on
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__getattr__("__all__"), *_RINGS})


_runtime = _path.join(_path.dirname(_path.realpath(__file__)), "runtime")  # noqa: PTH118, PTH120 - pathlib takes 10 ms
if _path.islink(_runtime):  # noqa: PTH114 - the same
    # In a checkout tracebacks and breakpoints shall name the files that people edit, not the links to them.
    __path__.insert(0, _path.dirname(_path.realpath(_runtime)))  # noqa: F405, PTH120 - the same

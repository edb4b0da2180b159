"""Trouper: a supervised actor runtime for language-model agents, on trio.

The public face: what stands here is what users and tests rely on. The code lives in three rings, `runtime`
<- `actors` <- `adapters`, which in a checkout are folders at the repository's root and here are links to them.
"""

from pathlib import Path as _Path

from ._version import __version__

_here = _Path(__file__).resolve().parent
if (_here / "runtime").is_symlink():
    # In a checkout tracebacks and breakpoints shall name the files that people edit, not the links to them.
    __path__.insert(0, str((_here / "runtime").resolve().parent))

from trouper.actors.documents import IndexReport, Passage  # noqa: E402 - the path must be right first
from trouper.actors.memories import Memories  # noqa: E402 - the same
from trouper.actors.memory_conversation import Conversation, ConversationTurn  # noqa: E402 - the same
from trouper.actors.memory_data import MemoryRow  # noqa: E402 - the same
from trouper.actors.memory_messages import (  # noqa: E402 - the same
    MemoryStatistics,
    NearDuplicate,
    Recalled,
    Remembered,
)
from trouper.actors.memory_ranking import Blend  # noqa: E402 - the same
from trouper.actors.outcome import (  # noqa: E402 - the same
    ErrorInfo,
    Outcome,
    Question,
    Replan,
    RunStatus,
    StepOutcome,
    StepStatus,
    Verdict,
    VerdictKind,
)
from trouper.actors.protocols import (  # noqa: E402 - the same
    ChatChunk,
    ChatMessage,
    ChatModel,
    ChatReply,
    ChatRequest,
    Embedder,
    EmbedReply,
    MeteredEmbedder,
    SkippedFile,
    ToolCall,
    ToolSpec,
    Usage,
)
from trouper.actors.tool import Checked, Effect, Tool, ToolContext, tool  # noqa: E402 - the same
from trouper.actors.troupe_ref import Troupe  # noqa: E402 - the same
from trouper.adapters.config_model import Config  # noqa: E402 - the same
from trouper.adapters.config_yaml import load_config  # noqa: E402 - the same
from trouper.adapters.wiring import execute, open_troupe, run_plan  # noqa: E402 - the same
from trouper.runtime import *  # noqa: F403, E402 - the kernel's door is part of the face; it has an `__all__`
from trouper.runtime import __all__ as _kernel  # noqa: E402 - the same

__all__ = [
    "Blend",
    "ChatChunk",
    "ChatMessage",
    "ChatModel",
    "ChatReply",
    "ChatRequest",
    "Checked",
    "Config",
    "Conversation",
    "ConversationTurn",
    "Effect",
    "EmbedReply",
    "Embedder",
    "ErrorInfo",
    "IndexReport",
    "Memories",
    "MemoryRow",
    "MemoryStatistics",
    "MeteredEmbedder",
    "NearDuplicate",
    "Outcome",
    "Passage",
    "Question",
    "Recalled",
    "Remembered",
    "Replan",
    "RunStatus",
    "SkippedFile",
    "StepOutcome",
    "StepStatus",
    "Tool",
    "ToolCall",
    "ToolContext",
    "ToolSpec",
    "Troupe",
    "Usage",
    "Verdict",
    "VerdictKind",
    "__version__",
    "execute",
    "load_config",
    "open_troupe",
    "run_plan",
    "tool",
]
__all__ += _kernel  # noqa: PLE0605 - a list of names, concatenated

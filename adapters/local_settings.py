"""How a local model is to be served: the file, the shape of its server, and what it may take.

Threads: all cores but one. With a thread for every core the engine waits at a barrier for the one that the tools have
pushed aside, and on a busy machine writes twelve times slower than with one thread less; on an idle machine one
thread less costs about a third.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import attrs

from trouper.runtime import Seconds


def spare_threads(cores: int | None = None) -> int:
    """All cores but one, of those that this process may use; at least one."""
    if cores is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores - 1)


def cache_home() -> Path:
    """Where what can be computed again is kept: `$XDG_CACHE_HOME/trouper`, else `~/.cache/trouper`."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if Path(home).is_absolute() else Path("~/.cache").expanduser()) / "trouper"


@attrs.frozen(kw_only=True)
class LocalSettings:
    """One model in a file, and its server.

    Args:
        gguf: The file.
        sha256: Its digest; another file is refused. None takes any, which is for trying things out.
        threads: Of the engine.
        slots: Answers that are written at once; each has a prompt cache of its own.
        context: Tokens of one request, its answer included.
        cache_ram_mb: Prompts that no slot holds any more, kept in the server's memory.
        prefixes: Where computed prompt prefixes outlive the process; None: nowhere.
        idle_stop: Seconds without a call after which the process is ended.
        start_timeout: Seconds that checking the file and loading it may take.
        stuck_after: Seconds that the server may leave a question about itself unanswered while calls wait.
        socket: Listen on a socket in a directory of its own; False: on a free port of this machine.
        environment: What the process gets besides the few variables that every process needs.
    """

    gguf: Path = attrs.field(converter=Path)
    sha256: str | None
    threads: int = attrs.field(factory=spare_threads)
    slots: int = 2
    context: int = 4096
    cache_ram_mb: int = 256
    prefixes: Path | None = None
    idle_stop: Seconds = 300.0
    start_timeout: Seconds = 60.0
    stuck_after: Seconds = 120.0
    socket: bool = True
    environment: Mapping[str, str] = attrs.field(factory=dict)

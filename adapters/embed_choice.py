"""Which embedder a configuration means: a pure decision with its reason, for the wiring and for `doctor`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import attrs

from trouper.runtime import ConfigError, ConfigProblem

from .config_model import Config
from .embed_wordllama import wordllama_folder

Provider = Literal["openai", "wordllama", "hash"]


@attrs.frozen
class EmbedderChoice:
    """The provider, and in a few words why."""

    provider: Provider
    why: str


def choose_embedder(config: Config, *, find: Callable[[], Path | None] = wordllama_folder) -> EmbedderChoice:
    """`embeddings.provider` as given; `auto` is a ladder.

    A model that is configured for chat is not asked for embeddings on its own account: many servers have
    none, and memories would leave the machine without anybody having said so. Naming `embeddings.model` says so.

    Raises:
        ConfigError: `openai` is wanted and no endpoint is configured.
    """
    wanted, model = config.embeddings.provider, config.embeddings.model
    if wanted == "openai" and not config.llm.configured:
        message = "openai needs an endpoint: set OPENAI_API_KEY or llm.base_url, or write `auto` or `wordllama`"
        raise ConfigError([ConfigProblem(path="embeddings.provider", message=message)])
    if wanted != "auto":
        return EmbedderChoice(wanted, f"embeddings.provider is {wanted}")
    if model is not None and config.llm.configured:
        return EmbedderChoice("openai", f"embeddings.model is {model} and an endpoint is configured")
    why = (
        f"embeddings.model is {model}, but no endpoint is configured" if model else "no embeddings.model is configured"
    )
    if find() is not None:
        return EmbedderChoice("wordllama", f"the offline default; {why}")
    return EmbedderChoice("hash", f"wordllama is not installed, recall finds shared words only; {why}")

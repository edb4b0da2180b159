"""Which embedder a configuration means: a pure decision with its reason, for the wiring and for `doctor`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import attrs

from trouper.actors.protocols import Embedder
from trouper.runtime import ConfigError, ConfigProblem

from .config_model import Config
from .embed_hash import HashEmbedder
from .embed_wordllama import WordLlamaEmbedder, wordllama_folder

Provider = Literal["openai", "wordllama", "hash", "none"]


@attrs.frozen
class EmbedderChoice:
    """The provider, and in a few words why. With `none` memories are found by their words only."""

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
    endpoint = config.llm.configured or config.embeddings.base_url is not None or config.embeddings.api_key is not None
    if wanted == "openai" and not endpoint:
        message = (
            "openai needs an endpoint: set OPENAI_API_KEY, llm.base_url or embeddings.base_url, "
            "or write `auto` or `wordllama`"
        )
        raise ConfigError([ConfigProblem(path="embeddings.provider", message=message)])
    if wanted != "auto":
        return EmbedderChoice(wanted, f"embeddings.provider is {wanted}")
    if model is not None and endpoint:
        return EmbedderChoice("openai", f"embeddings.model is {model} and an endpoint is configured")
    why = (
        f"embeddings.model is {model}, but no endpoint is configured" if model else "no embeddings.model is configured"
    )
    if find() is not None:
        return EmbedderChoice("wordllama", f"the offline default; {why}")
    return EmbedderChoice("none", f"wordllama is not installed, recall finds shared words only; {why}")


def offline_embedder(name: str) -> Embedder | None:
    """The embedder that made vectors under this name, if it is one that is here and needs no endpoint."""
    if name == WordLlamaEmbedder.name and wordllama_folder() is not None:
        return WordLlamaEmbedder()
    family, _, dim = name.removeprefix("hash-ngrams").partition("-")
    if name.startswith("hash-ngrams") and not family and (not dim or dim.isdecimal()):
        return HashEmbedder(int(dim)) if dim else HashEmbedder()
    return None

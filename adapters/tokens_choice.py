"""Which tokenizer counts for a model: the file that is configured, tiktoken for OpenAI's own, or none."""

from __future__ import annotations

from trouper.actors.protocols import TokenCounter


def choose_counter(model: str, tokenizer: str | None = None, *, key: str = "llm.tokenizer") -> TokenCounter | None:
    """The counter for `model`; None: what it costs is estimated, and learned from what it says.

    Never asks a network. `tokenizer` is the path of a `tokenizer.json`, `key` where the configuration has it.

    Raises:
        ConfigError: that file cannot be used.
    """
    if tokenizer is not None:
        from .tokens_file import file_counter

        return file_counter(tokenizer, key=key)
    from .tokens_tiktoken import tiktoken_counter

    return tiktoken_counter(model)

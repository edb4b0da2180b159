"""The tokenizer of any open model: the `tokenizer.json` that comes with its weights."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING

from trouper.runtime import ConfigError, ConfigProblem

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class FileCounter:
    """Port `TokenCounter` by a `tokenizer.json`."""

    def __init__(self, tokenizer: Tokenizer, name: str) -> None:
        self.name: str = name
        self._tokenizer = tokenizer

    def count(self, text: str) -> int:
        """How many tokens `text` is, without those that frame a message."""
        # Half a character (a lone surrogate) is no text to it; a server replaces it too.
        clean = text.encode("utf-8", "replace").decode()
        return len(self._tokenizer.encode(clean, add_special_tokens=False).ids)


def file_counter(path: str | os.PathLike[str], *, key: str = "llm.tokenizer") -> FileCounter:
    """The counter of a tokenizer file (0.1 s); `key` is where the configuration names it.

    Raises:
        ConfigError: there is no such file, it is no tokenizer, or the package `tokenizers` is missing.
    """
    if importlib.util.find_spec("tokenizers") is None:
        raise _wrong(key, "the package `tokenizers` is not installed: `pip install tokenizers`, or set it to null")
    from tokenizers import Tokenizer

    file = Path(path)
    if not file.is_file():
        raise _wrong(key, f"there is no file {str(file)!r}")
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises plain Exception
        raise _wrong(key, f"{str(file)!r} is no tokenizer.json: {error}") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return FileCounter(tokenizer, file.name)


def _wrong(path: str, message: str) -> ConfigError:
    return ConfigError([ConfigProblem(path=path, message=message)])

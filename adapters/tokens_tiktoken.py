"""OpenAI's own tokenizer, if the package `tiktoken` is installed and its vocabulary is on this machine already.

The package downloads a vocabulary when it has none. That is not done here: a count is wanted while calls are made, and
an estimate is good enough. So a file is looked for where the package keeps it (`TIKTOKEN_CACHE_DIR`, else a folder
`data-gym-cache` among the temporary files) and its checksum is compared first, for the package would fetch a damaged
one anew. To have it there call `tiktoken.encoding_for_model(NAME)` once, with a network.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

_ADDRESS = "https://openaipublic.blob.core.windows.net/encodings/{file}.tiktoken"
_FILES = {
    "o200k_base": ("o200k_base", "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"),
    "o200k_harmony": ("o200k_base", "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"),
    "cl100k_base": ("cl100k_base", "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"),
}
"""The vocabularies of models that are still served: the file of each and its sha256, as the package has them."""


class Encoding(Protocol):
    """What is used of `tiktoken.Encoding`."""

    name: str

    def encode_ordinary(self, text: str) -> Sequence[int]:
        """The tokens of a text without any special ones."""
        ...


class TiktokenCounter:
    """Port `TokenCounter` by an encoding of tiktoken."""

    def __init__(self, encoding: Encoding) -> None:
        self.name: str = f"tiktoken {encoding.name}"
        self._encode = encoding.encode_ordinary  # what looks like a special token is plain text in a message

    def count(self, text: str) -> int:
        """How many tokens `text` is."""
        return len(self._encode(text))


def tiktoken_counter(model: str) -> TiktokenCounter | None:
    """The counter of an OpenAI model (0.3 s), or None: another model, no package, or no vocabulary on this machine."""
    if importlib.util.find_spec("tiktoken") is None:
        return None
    tiktoken = importlib.import_module("tiktoken")  # by name: it is no dependency, also not of the type checker
    try:
        encoding = tiktoken.encoding_name_for_model(model)
    except KeyError:
        return None
    if encoding not in _FILES or not _is_here(*_FILES[encoding]):
        return None
    return TiktokenCounter(tiktoken.get_encoding(encoding))


def _is_here(file: str, sha256: str) -> bool:
    name = hashlib.sha1(_ADDRESS.format(file=file).encode(), usedforsecurity=False).hexdigest()
    folder = os.environ.get("TIKTOKEN_CACHE_DIR", os.environ.get("DATA_GYM_CACHE_DIR"))
    path = Path(folder if folder is not None else Path(tempfile.gettempdir()) / "data-gym-cache") / name
    if folder == "" or not path.is_file():
        return False
    return hashlib.sha256(path.read_bytes()).hexdigest() == sha256

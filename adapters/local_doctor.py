"""What `trouper doctor` says of a local model: the file, its digest, the engine. Nothing is started.

The digest is read in a thread, a gigabyte a second or so; the engine is asked for in the package metadata, since
importing it loads a hundred megabytes.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from pathlib import Path

import attrs
import trio

from trouper.runtime import Seconds

ENGINE = "xllamacpp"
READING: Seconds = 60.0
_MAGIC = b"GGUF"


@attrs.frozen
class LocalLook:
    """What was found; `advice` is empty if the model can be served."""

    detail: str
    advice: str = ""


async def look_at_local(gguf: str, sha256: str | None, *, bound: Seconds = READING) -> LocalLook:
    """Look at a model in a file, within `bound` seconds. Raises nothing."""
    file = Path(gguf).expanduser()
    try:
        engine = importlib.metadata.version(ENGINE)
    except importlib.metadata.PackageNotFoundError:
        return LocalLook(f"{file}, but the engine {ENGINE} is not installed", "pip install 'trouper[local]'")
    digest: str | None = None
    try:
        with trio.move_on_after(bound):
            digest = await trio.to_thread.run_sync(_digest, file, abandon_on_cancel=True)
    except OSError as error:
        why = f"{file} cannot be read: {error.strerror or error}"
        return LocalLook(why, "set local_llm.gguf to a model that you have")
    if digest is None:
        return LocalLook(f"{file} could not be read within {bound:g} s", "put it on a faster disk")
    if not digest:
        return LocalLook(f"{file} is no GGUF file", "set local_llm.gguf to a model in this format")
    if sha256 is not None and digest != sha256.lower():
        advice = f"if this is the model that you mean, set local_llm.sha256 to {digest}"
        return LocalLook(f"{file} is not the file that is pinned", advice)
    size = file.stat().st_size / 1_000_000
    return LocalLook(f"{file} ({size:,.0f} MB, as pinned), served by {ENGINE} {engine} with the first call")


def _digest(file: Path) -> str:
    """The SHA-256 of a GGUF file, "" if it is none."""
    with file.open("rb") as opened:
        if opened.read(len(_MAGIC)) != _MAGIC:
            return ""
        opened.seek(0)
        return hashlib.file_digest(opened, "sha256").hexdigest()

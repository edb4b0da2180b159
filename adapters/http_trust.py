"""The certificates in a file of the user's, read once a process. Loads no HTTP library."""

from __future__ import annotations

import functools
import ssl
from pathlib import Path


@functools.lru_cache(maxsize=16)
def trust_of(ca_file: str) -> ssl.SSLContext:
    """Trust the certificates in that file and no others.

    Raises:
        OSError: it cannot be read, or has no certificates.
    """
    return ssl.create_default_context(cafile=ca_file)


def unfit(ca_file: str) -> str | None:
    """What is wrong with a file of certificates; None if it has some."""
    if not Path(ca_file).is_file():
        return f"there is no file {ca_file!r}"
    try:
        trust_of(ca_file)
    except OSError as error:
        return f"{ca_file!r} has no certificates that can be read ({error})"
    return None

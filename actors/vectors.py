"""What a vector must be before anybody stores it, looked at without numpy. Pure."""

from __future__ import annotations

import hashlib
import math
import struct

from .protocols import Vector


def fault_of(vector: Vector, dim: int) -> str | None:
    """Why `vector` is no sound embedding of `dim` numbers (0: of any length), or `None` if it is one.

    A NaN, a zero vector or one of another length would not fail: it would quietly be found never or always.
    """
    count, rest = divmod(len(vector), 4)
    if rest or not count or (dim and count != dim):
        return f"it has {len(vector)} bytes, not {f'4 x {dim}' if dim else 'a multiple of 4'}"
    norm = math.hypot(*struct.unpack(f"<{count}f", vector))
    return None if abs(norm - 1.0) < 0.01 else f"its length is {norm:.3g}, not 1"


def looks_sound(vector: Vector, dim: int) -> bool:
    """Whether `vector`, which was sound when it was put away, can still be: by its length, and not all zeros.

    `fault_of` looks at every number: 9 us for 384 of them, against a quarter of one here.
    """
    count, rest = divmod(len(vector), 4)
    return not rest and count > 0 and (not dim or count == dim) and any(vector)


def embedding_key(embedder: str, text: str) -> bytes:
    """Under which a vector is cached: the same for the same text and the same vector space only."""
    told = f"{embedder}\0{text}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(told, digest_size=16).digest()

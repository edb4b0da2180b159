"""The offline embedder of a fresh machine: the static word vectors that the wordllama package carries.

The package's two files are read directly. Its own loader gives the same vectors, but importing it configures the
root logger, brings an HTTP client, costs half a second more, and pads every text of a batch to the longest (a text
of 1 MB beside 63 short ones would want 19 GB). The libraries by which it reads them hold the interpreter's lock for
50 ms at a time, and the event loop with it; they are asked only where its files are of another form than we know.
Reading the files also means that no code path here knows a hub: offline by construction.
"""

from __future__ import annotations

import importlib.util
import json
import struct
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import attrs
import trio

from trouper.actors.protocols import Vector
from trouper.actors.question_words import without_common_words
from trouper.runtime import BadRequest, ModelUnavailable

from .embed_pieces import read_pieces
from .native_loading import map_ahead, map_numpy_ahead

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_WEIGHTS = "weights/l2_supercat_256.safetensors"
_TOKENIZER = "tokenizers/l2_supercat_tokenizer_config.json"
_TENSOR = "embedding.weight"
_INLINE_CHARS = 2_000
"""More text than this is embedded in a worker thread: three milliseconds of the loop's time, where no word is known."""
_TOKENS_A_SLICE = 4_096
_TURN = 0.001
_BREATH = 0.000_05
"""Seconds that a thread works before it lets others have the interpreter, and for how long."""


def wordllama_folder() -> Path | None:
    """Where the installed package keeps its two files, or `None`. Nothing is imported."""
    spec = importlib.util.find_spec("wordllama")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent
    return folder if (folder / _WEIGHTS).is_file() and (folder / _TOKENIZER).is_file() else None


class _Pieces(Protocol):
    def cut(self, text: str) -> bytes:
        """The numbers of the pieces, four bytes each. Raises `UnicodeEncodeError` at half a character."""
        ...


@attrs.frozen
class _Model:
    pieces: _Pieces
    weights: NDArray[np.float16]


class WordLlamaEmbedder:
    """Port `Embedder` over wordllama's vectors: 256 numbers a text, no network, no torch.

    The model is loaded in a worker thread on first use, or by `prepare` (0.1 s, 40 MB); give it a real clock.
    """

    name = "wordllama-l2-supercat-256"
    dim = 256

    def __init__(self) -> None:
        self._model: _Model | None = None
        self._loading = trio.Lock()

    async def embed(self, texts: Sequence[str]) -> tuple[Vector, ...]:
        """One L2-normalised vector a text, in order. Cancelled: work that a thread has begun is dropped.

        Raises:
            BadRequest: a text is empty.
            ModelUnavailable: the package or its files are missing.
        """
        model = await self._loaded()
        if sum(map(len, texts)) <= _INLINE_CHARS:
            await trio.lowlevel.checkpoint()
            return _vectors(model, texts)
        return await trio.to_thread.run_sync(_vectors_apart, model, texts)

    def as_query(self, text: str) -> str:
        """A question as it is best embedded: a mean of word vectors is blurred by words that say nothing."""
        return without_common_words(text)

    async def prepare(self) -> None:
        """Load the model now, in a thread. Cancelled: it may be loaded. Raises `ModelUnavailable`."""
        await self._loaded()

    async def aclose(self) -> None:
        """Let the model go."""
        await trio.lowlevel.checkpoint()
        self._model = None

    async def _loaded(self) -> _Model:
        async with self._loading:
            if self._model is None:
                self._model = await trio.to_thread.run_sync(_load)
            return self._model


def _load() -> _Model:
    folder = wordllama_folder()
    if folder is None:
        error = ModelUnavailable(
            "the wordllama package or its files are not installed: `pip install wordllama`, "
            "or set `embeddings.provider` to `hash` or `openai`"
        )
        error.retryable = False  # they will not be there in a second
        raise error
    map_numpy_ahead()
    try:
        return _Model(_pieces(folder / _TOKENIZER), _weights(folder / _WEIGHTS))
    except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
        broken = ModelUnavailable(
            f"the files of the wordllama package in {folder} cannot be read ({error}): install it again, "
            "or set `embeddings.provider` to `hash` or `openai`"
        )
        broken.retryable = False
        raise broken from error


def _pieces(file: Path) -> _Pieces:
    return read_pieces(file) or _LibraryPieces(file)


class _LibraryPieces:
    """The same from the library, for a file that `embed_pieces` does not know. It holds up the loop."""

    def __init__(self, file: Path) -> None:
        map_ahead("tokenizers", "tokenizers*.so")
        from tokenizers import Tokenizer

        self._tokenizer: Tokenizer = Tokenizer.from_file(str(file))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def cut(self, text: str) -> bytes:
        """See `WordPieces.cut`."""
        text.encode()  # half a character is no text to it, and its own error says something else
        # One by one: `encode_batch` starts a thread pool of its own, which a forked child inherits broken.
        numbers = self._tokenizer.encode(text, add_special_tokens=False).ids
        return struct.pack(f"={len(numbers)}I", *numbers)


def _weights(file: Path) -> NDArray[np.float16]:
    """The one table of the file, read where it lies (a length, a description in JSON, the numbers): 16 MB.

    The library makes it twice and holds the interpreter's lock meanwhile.
    """
    import numpy as np

    with file.open("rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        table = json.loads(opened.read(length))[_TENSOR]
        if table["dtype"] != "F16":
            return _library_weights(file)
        weights = np.empty(table["shape"], dtype="<f2")
        opened.seek(8 + length + table["data_offsets"][0])
        if opened.readinto(weights.reshape(-1).view(np.uint8).data) != weights.nbytes:
            raise ValueError(f"{file.name} ends too early")
    return weights


def _library_weights(file: Path) -> NDArray[np.float16]:
    map_ahead("safetensors", "_safetensors_rust*.so")
    from safetensors import safe_open

    with safe_open(file, framework="np") as opened:
        weights: NDArray[np.float16] = opened.get_tensor(_TENSOR)
    return weights


def _vectors(model: _Model, texts: Sequence[str]) -> tuple[Vector, ...]:
    return tuple(_vector(model, text, f"text {n} of {len(texts)}") for n, text in enumerate(texts, 1))


def _vectors_apart(model: _Model, texts: Sequence[str]) -> tuple[Vector, ...]:
    """The same in a thread of its own, which lets go of the interpreter often.

    Else the loop waits up to 5 ms (`sys.getswitchinterval`) for each thread that wants it too: while documents were
    indexed 120 of 2,700 of its turns came more than 5 ms late, and 15 of 3,500 with this, which costs 2 % of the time.
    """
    found: list[Vector] = []
    since = time.perf_counter()
    for number, text in enumerate(texts, 1):
        found.append(_vector(model, text, f"text {number} of {len(texts)}"))
        if time.perf_counter() - since > _TURN:
            time.sleep(_BREATH)
            since = time.perf_counter()
    return tuple(found)


def _vector(model: _Model, text: str, which: str) -> Vector:
    """The mean of the words' vectors, normalised; long texts are summed in slices."""
    import numpy as np

    if not text.strip():
        raise BadRequest(f"{which} has nothing to embed: it is empty")
    try:
        ids = np.frombuffer(model.pieces.cut(text), dtype=np.uint32)
    except UnicodeEncodeError as error:  # a lone surrogate
        raise BadRequest(f"{which} cannot be embedded: it holds half a character") from error
    total = np.zeros(model.weights.shape[1], dtype=np.float64)
    for start in range(0, len(ids), _TOKENS_A_SLICE):
        total += model.weights[ids[start : start + _TOKENS_A_SLICE]].sum(axis=0, dtype=np.float64)
    norm = float(np.linalg.norm(total))
    if not norm > 0.0:
        raise BadRequest(f"{which} has nothing to embed: no word of it is known")
    return bytes((total / norm).astype("<f4").tobytes())

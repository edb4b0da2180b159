"""The ports: what the cast asks of the outside world, as Protocols and plain records.

An adapter implements a port; the fake beside it implements the same port and passes the same contract
suite. Nothing here imports a third party that does I/O: a vector is `bytes` (little-endian float32,
`4 * dim` long), so that it can travel, be stored and be compared without numpy.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Literal, Protocol, runtime_checkable

import attrs

from trouper.runtime import Seconds, ServerLimits

from .chunking import Chunk, Shape
from .memory_data import KeptMemory, MemoryFilter, MemoryRow, NewMemory, Selection, StoreStatistics
from .tool_context import ToolContext

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
"""What a plan, a parameter or a result is made of."""

Vector = bytes
"""One embedding: little-endian float32, L2-normalised, `4 * dim` bytes."""

Role = Literal["system", "user", "assistant", "tool"]

Priority = Literal["interactive", "background"]
"""Whether somebody waits for the answer, or it is work behind an answer that has been given."""


@attrs.frozen(kw_only=True)
class ToolSpec:
    """A function that a model may ask for; `schema` is the JSON Schema of its arguments, an object."""

    name: str
    description: str = ""
    schema: Mapping[str, object] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class ToolCall:
    """What a model asks for. `arguments` is its own text: JSON if the model kept its word, to be checked by you."""

    id: str
    name: str
    arguments: str


@attrs.frozen
class ChatMessage:
    """One message of a conversation.

    An assistant's message may carry the `tool_calls` it asked for; a message of the role `tool` answers the one
    called `tool_call_id`.
    """

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = attrs.field(default=(), kw_only=True)
    tool_call_id: str | None = attrs.field(default=None, kw_only=True)


@attrs.frozen(kw_only=True)
class ChatRequest:
    """One call to a chat model. `schema` asks for JSON of that shape (`schema_name` names it)."""

    messages: tuple[ChatMessage, ...]
    model: str = ""
    max_tokens: int | None = None
    temperature: float | None = 0.0
    seed: int | None = None
    schema: Mapping[str, object] | None = None
    schema_name: str = "answer"
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: str | None = None
    """`auto`, `none`, `required`, or the name of a tool; None leaves it to the server."""
    role: str = "planner"
    """Who asks (planner, verifier, tool ...): for limits, logs and the scripted model."""
    priority: Priority = "interactive"


@attrs.frozen(kw_only=True)
class Usage:
    """Tokens that the provider counted; zero where it did not say."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    calls: int = 0
    cost: float = 0.0
    """By the prices that are configured."""
    rate_limited: int = 0
    """Calls that the server declined because of its limits (429)."""

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            calls=self.calls + other.calls,
            cost=self.cost + other.cost,
            rate_limited=self.rate_limited + other.rate_limited,
        )

    @property
    def total_tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens


@attrs.frozen(kw_only=True)
class ChatReply:
    """A finished answer: `text` is complete and `finish_reason` was said by the server."""

    text: str
    model: str = ""
    finish_reason: str = "stop"
    usage: Usage = Usage()
    tool_calls: tuple[ToolCall, ...] = ()
    """What the model asks for instead of answering, if `tools` were offered."""
    limits: ServerLimits | None = None
    """What the server said of its rate limits with this answer."""
    cached: bool = False
    """Whether this is an earlier answer to the same request, for which nothing was sent."""


@attrs.frozen(kw_only=True)
class ChatChunk:
    """A piece of a streamed answer; the last one carries `reply`."""

    text: str = ""
    reply: ChatReply | None = None


@runtime_checkable
class ChatModel(Protocol):
    """Port: a chat model. Raises `LLMError` kinds and nothing else (and lets `Cancelled` through)."""

    name: str

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Ask and wait for the whole answer. Cancelled: the connection is closed, nothing is retried."""
        ...

    def stream(self, request: ChatRequest) -> AbstractAsyncContextManager[AsyncIterator[ChatChunk]]:
        """Ask and read the answer as it comes; ends only after the model's finish reason."""
        ...

    async def aclose(self) -> None:
        """Close what is open. Idempotent."""
        ...


class TokenCounter(Protocol):
    """Port: a model's own tokenizer."""

    name: str

    def count(self, text: str) -> int:
        """How many tokens `text` is. For any text, also for half a character; takes about a microsecond a token."""
        ...


@runtime_checkable
class Embedder(Protocol):
    """Port: text to vectors. `name` identifies the vector space: change it and vectors do not compare."""

    name: str
    dim: int

    async def embed(self, texts: Sequence[str]) -> tuple[Vector, ...]:
        """One L2-normalised vector a text, in order. Raises `LLMError` kinds."""
        ...

    async def aclose(self) -> None:
        """Close what is open. Idempotent."""
        ...


@runtime_checkable
class QueryingEmbedder(Embedder, Protocol):
    """Port: an embedder that wants a question to be put in another way than what is to be found."""

    def as_query(self, text: str) -> str:
        """The text to embed for a question."""
        ...


@runtime_checkable
class PreparedEmbedder(Embedder, Protocol):
    """Port: an embedder that has something to load before it can embed."""

    async def prepare(self) -> None:
        """Load it now, so that nobody has to wait for it later. Idempotent. Raises `LLMError` kinds."""
        ...


@attrs.frozen(kw_only=True)
class EmbedReply:
    """Vectors that cost something: one a text, in order, and what the server counted."""

    vectors: tuple[Vector, ...]
    usage: Usage = Usage()
    limits: ServerLimits | None = None


@runtime_checkable
class MeteredEmbedder(Embedder, Protocol):
    """Port: an embedder whose calls are limited and counted: an endpoint."""

    async def embed_metered(self, texts: Sequence[str]) -> EmbedReply:
        """The same as `embed`, with what it used. Raises `LLMError` kinds."""
        ...


class VectorIndex(Protocol):
    """Port: nearest neighbours by inner product, ids given by the caller. A rebuildable cache, never the truth.

    For one owner, who does not change it while it is searched or saved.
    """

    dim: int

    @property
    def kind(self) -> str:
        """How it is built: `flat`, `fp16`, `ivf`, `hnsw`, `numpy`."""
        ...

    @property
    def error(self) -> float:
        """How far a score may be from the product of two vectors of length one, because of how they are kept.

        What float32 itself rounds comes on top of it.
        """
        ...

    def expect(self, count: int) -> None:
        """So many will be inside: an empty index may prepare for them, one with vectors does nothing."""
        ...

    def clear(self) -> None:
        """Let everything go, with as little as possible left for whoever lets the index itself go."""
        ...

    def add(self, ids: Sequence[int], vectors: Sequence[Vector]) -> None:
        """Add; an id that is there already is replaced."""
        ...

    def remove(self, ids: Sequence[int]) -> int:
        """Remove; gives how many were there."""
        ...

    def search(self, vector: Vector, k: int, among: Selection | None = None) -> tuple[tuple[int, float], ...]:
        """At most `k` pairs of id and score, best first; equal scores by smaller id.

        With `among` only those ids are looked at: none of the others takes a place from them.
        """
        ...

    def scores(self, vector: Vector, ids: Sequence[int]) -> dict[int, float]:
        """The score of each of `ids` that is inside."""
        ...

    def alike(self, ids: Sequence[int]) -> tuple[tuple[float, ...], ...]:
        """How alike these are, a row for each; all of them must be inside."""
        ...

    def ids(self) -> frozenset[int]:
        """The ids inside."""
        ...

    def __contains__(self, number: int) -> bool: ...

    def outgrown(self) -> bool:
        """Whether another kind would suit this number of vectors better."""
        ...

    def successor(self) -> Callable[[], VectorIndex]:
        """What makes an index of the kind that suits, with the vectors that are inside now.

        What is given may compute for minutes and does not touch this index any more.
        """
        ...

    def save(self, path: str, *, stamp: str = "") -> None:
        """Write atomically, with a checksum and `stamp` beside it. Raises `MemoryFailed`."""
        ...

    def erase_at(self, path: str) -> None:
        """Remove the snapshot there, if there is one. Raises `MemoryFailed`."""
        ...

    def stamp_at(self, path: str) -> str | None:
        """With which stamp the snapshot there was saved, None if there is none; it may not be whole."""
        ...

    def load(self, path: str, *, stamp: str = "") -> bool:
        """Read what `save` wrote; False (and unchanged) if absent, damaged, or of another dimension or stamp."""
        ...

    def __len__(self) -> int: ...


@attrs.frozen
class Generation:
    """Which state of the store this is: what was derived from another one is stale.

    `number` grows by one with each change that is committed, by whomever. `mark` is new and random with each, so
    that a store that was made anew, or put back from a backup, is not taken for the one that it was before.
    """

    number: int
    mark: str = ""


@attrs.frozen
class Question:
    """A vector to compare those of one vector space with."""

    embedder: str
    vector: Vector


@attrs.frozen
class Looked:
    """What a close look at some memories shows, all of it of one state of the store.

    `likeness` has the product of the question's vector with that of each row that has one.
    """

    generation: Generation
    rows: tuple[MemoryRow, ...]
    likeness: Mapping[int, float]


class MemoryStore(Protocol):
    """Port: the truth about memories (SQLite). Each method is one transaction, durable when it returns.

    All raise `MemoryFailed`. Ids grow and are never used twice; the vector of an id never changes.
    """

    async def add(self, rows: Sequence[NewMemory]) -> tuple[int, ...]:
        """Put memories in, all or none; ids in order.

        One whose text is there keeps its id and what it says, and lives as long as the longer of both; one that is
        there but superseded or expired begins anew under its old id. Raises `MemoryRefused`.
        """
        ...

    async def restore(self, rows: Sequence[KeptMemory]) -> tuple[int, ...]:
        """Put memories in as they were elsewhere, all or none; ids in order. What is known stays as it is.

        One that was superseded is not found here either. Raises `MemoryRefused`.
        """
        ...

    async def supersede(self, ids: Sequence[int], row: NewMemory) -> int:
        """Put `row` in, in the place of others, which are kept and not found any more. Raises `MemoryRefused`."""
        ...

    async def get(self, ids: Sequence[int]) -> tuple[MemoryRow, ...]:
        """The rows that exist, in the order asked."""
        ...

    async def page(self, after: int, limit: int, meant: MemoryFilter) -> tuple[MemoryRow, ...]:
        """At most `limit` memories that are meant, whose ids are larger than `after`, by id."""
        ...

    async def select(self, meant: MemoryFilter) -> Selection:
        """The ids of what is meant, now."""
        ...

    async def select_among(self, filters: Sequence[MemoryFilter], ids: Sequence[int]) -> tuple[Selection, ...]:
        """Which of `ids` each of the filters means, now."""
        ...

    async def find_words(
        self, query: str, limit: int, among: Selection, *, thorough: bool = False
    ) -> tuple[tuple[int, float], ...]:
        """At most `limit` memories of `among` that share words with `query`: id and score (0 to 1), best first.

        Words that many have may be left out, unless `thorough`, for the time that they take.
        """
        ...

    async def vary(
        self, embedder: str, dim: int, scores: Mapping[int, float], k: int, diversity: float
    ) -> tuple[int, ...]:
        """At most `k` of the memories in `scores`, each chosen for its score and for being unlike those before it.

        Maximal marginal relevance: `(1 - diversity) * score - diversity * likeness`, the likeness by the vectors of
        that embedder and length; 0 for a memory without one. Equal ones by smaller id.
        """
        ...

    async def look(self, ids: Sequence[int], question: Question | None = None) -> Looked:
        """The rows that exist, in the order asked, how near they are to a question, and of which state that is."""
        ...

    async def mark_superseded(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Let the second of each pair stand for the first; pairs that are not both there are passed over."""
        ...

    async def set_vectors(self, rows: Sequence[tuple[int, Vector, str]]) -> None:
        """Store `(id, vector, embedder)`; what is gone is passed over, and so is a vector that is there."""
        ...

    async def drop_vectors(self, embedder: str, dim: int) -> None:
        """Let the vectors of an embedder go."""
        ...

    async def vector_ids(self, embedder: str, dim: int) -> tuple[int, ...]:
        """The ids that have a vector of this embedder and length."""
        ...

    async def vectors(self, embedder: str, dim: int, after: int, limit: int) -> Sequence[tuple[int, Vector]]:
        """At most `limit` of those vectors whose ids are larger than `after`, by id."""
        ...

    async def vectors_of(self, embedder: str, dim: int, ids: Sequence[int]) -> Sequence[tuple[int, Vector]]:
        """Those vectors of these memories, as far as there are any."""
        ...

    async def without_vector(self, embedder: str, dim: int, after: int, limit: int) -> tuple[tuple[int, str], ...]:
        """At most `limit` memories that have no such vector, whose ids are larger than `after`: id and text."""
        ...

    async def embedders(self) -> Mapping[tuple[str, int], int]:
        """How many vectors there are by embedder and dimension."""
        ...

    async def embedder_names(self) -> frozenset[str]:
        """Who has made vectors that are here, or was to."""
        ...

    async def count_uses(self, uses: Mapping[int, int]) -> None:
        """Add to how often memories were recalled. No change of what is found: the generation stays."""
        ...

    async def expired(self, limit: int) -> tuple[int, ...]:
        """At most `limit` memories whose time has passed."""
        ...

    async def texts(self, ids: Sequence[int]) -> tuple[str, ...]:
        """What these memories say, as far as they are there; of damaged ones, what is in their place."""
        ...

    async def delete(self, ids: Sequence[int]) -> int:
        """Erase; gives how many were there. `scrub` afterwards."""
        ...

    async def scrub(self) -> None:
        """See to it that no file holds a byte of what was erased. Does nothing if nothing was."""
        ...

    async def count(self) -> int:
        """How many there are, dead ones too."""
        ...

    async def generation(self) -> Generation:
        """Which state this is: what was derived from another one is stale."""
        ...

    async def knows(self, state: Generation) -> bool:
        """Whether the store was in this state before; False for one that it does not remember."""
        ...

    async def statistics(self) -> StoreStatistics:
        """What there is."""
        ...

    async def aclose(self) -> None:
        """Close. Idempotent."""
        ...


class EmbeddingCache(Protocol):
    """Port: vectors already paid for. A failing cache never fails a call: it misses."""

    async def get_many(self, keys: Sequence[bytes]) -> tuple[Vector | None, ...]:
        """What is known, `None` where nothing is."""
        ...

    async def put_many(self, items: Sequence[tuple[bytes, Vector]]) -> None:
        """Keep these."""
        ...

    async def forget(self, keys: Sequence[bytes]) -> None:
        """Keep these no longer, in no file."""
        ...


# ---------------------------------------------------------------- documents
@attrs.frozen(kw_only=True)
class FoundFile:
    """A file that may be indexed: its absolute path."""

    path: str
    size: int


@attrs.frozen(kw_only=True)
class SkippedFile:
    """A file, or a directory, that is not indexed, and why."""

    path: str
    reason: str


@attrs.frozen(kw_only=True)
class Found:
    """What lies below the `roots` that were asked for; both lists in the order of their paths."""

    roots: tuple[str, ...]
    files: tuple[FoundFile, ...]
    skipped: tuple[SkippedFile, ...] = ()
    missing: Mapping[str, str] = attrs.field(factory=dict)
    """Roots that are not there, and how they were written."""


@attrs.frozen(kw_only=True)
class ReadDocument:
    """The text of a file. `digest` is that of its bytes, `recipe` names the way in which text was made of them.

    `lines` has the line of the file for each line of the text, where they differ (empty: they are the same), and
    `pages` the offsets at which pages begin, where there are any.
    """

    path: str
    digest: bytes
    size: int
    changed: int
    """When the file was last changed, in nanoseconds."""
    text: str
    shape: Shape
    recipe: str
    pages: tuple[int, ...] = ()
    lines: tuple[int, ...] = ()


class DocumentSource(Protocol):
    """Port: the files that are indexed."""

    async def find(self, paths: Sequence[str]) -> Found:
        """The files at and below `paths`. Raises `DocumentsRefused` if one of them cannot be looked at."""
        ...

    async def read(self, path: str, *, unless: bytes | None = None) -> ReadDocument | SkippedFile | None:
        """The text of a file; None if the digest of its bytes is `unless`."""
        ...

    async def changed(self, paths: Sequence[str]) -> tuple[tuple[int, int] | None, ...]:
        """Size and time of the last change (nanoseconds) of each file now; None if it is gone."""
        ...

    @property
    def recipe(self) -> str:
        """How text is made of files here: what was made in another way is read again."""
        ...


@attrs.frozen(kw_only=True)
class KnownDocument:
    """What the store knows of a file."""

    digest: bytes
    recipe: str
    embedder: str


@attrs.frozen(kw_only=True)
class NewDocument:
    """A file with its pieces, each with its vector, or None where nothing of it could be embedded."""

    document: ReadDocument
    recipe: str
    embedder: str
    pieces: Sequence[tuple[Chunk, Vector | None]]


@attrs.frozen(kw_only=True)
class PassageRow:
    """A piece of a document as the store has it; its lines are those of the file."""

    id: int
    path: str
    text: str
    first_line: int
    last_line: int
    page: int | None = None
    headings: tuple[str, ...] = ()
    size: int = 0
    changed: int = 0
    """Size and time of the file when it was read."""


@attrs.frozen(kw_only=True)
class DocumentCounts:
    """How much is indexed."""

    files: int = 0
    passages: int = 0


class VectorRows(Protocol):
    """What an index of vectors is made from: rows by ids of which none is used twice, and no vector ever changes."""

    async def vector_ids(self, embedder: str, dim: int) -> tuple[int, ...]:
        """The ids that have a vector of this embedder and length, ascending."""
        ...

    async def vectors(self, embedder: str, dim: int, after: int, limit: int) -> Sequence[tuple[int, Vector]]:
        """At most `limit` of those vectors whose ids are larger than `after`, by id."""
        ...

    async def vectors_of(self, embedder: str, dim: int, ids: Sequence[int]) -> Sequence[tuple[int, Vector]]:
        """Those vectors of these rows, as far as there are any."""
        ...

    async def knows(self, state: Generation) -> bool:
        """Whether what is here now came from `state`, by changes only."""
        ...


class DocumentStore(VectorRows, Protocol):
    """Port: indexed documents (SQLite). Each method is one transaction; all raise `DocumentsFailed`."""

    async def known(self) -> Mapping[str, KnownDocument]:
        """Every indexed file by its path."""
        ...

    async def replace(self, documents: Sequence[NewDocument]) -> None:
        """Put these files in the place of what was known of them, all or none."""
        ...

    async def remove(self, paths: Sequence[str]) -> int:
        """Forget these files; gives how many were known."""
        ...

    async def passages(self, ids: Sequence[int]) -> tuple[PassageRow, ...]:
        """The pieces that exist, in the order asked."""
        ...

    async def matching(self, query: str, k: int) -> tuple[tuple[int, float], ...]:
        """At most `k` pieces that share words with `query`, best first, with a score that is larger for better ones."""
        ...

    async def counts(self) -> DocumentCounts:
        """How much there is."""
        ...

    async def generation(self) -> int:
        """Which state this is: it grows with each change, by whatever process."""
        ...

    async def aclose(self) -> None:
        """Close. Idempotent."""
        ...


@attrs.frozen(kw_only=True)
class ProcessCall:
    """One call of a tool that is to run in a process of its own."""

    tool: str
    function: Callable[..., object]
    """To be found again by its module and its qualified name."""
    parameters: Json
    """As the plan gave them: they are checked and converted there."""
    context: ToolContext | None = None
    """What the function is told, if it wants to be; None if it does not."""


class ProcessHost(Protocol):
    """Port: runs a function in a process of its own, within limits."""

    async def run(self, call: ProcessCall) -> Json:
        """Run it and give its result.

        Cancelled: the process is killed with all its children before this returns.

        Raises:
            ToolError: what the function raised there, of the same kind.
            ToolDied: the process ended without a result.
        """
        ...


@attrs.frozen(kw_only=True)
class Spent:
    """Requests that went together under one scope of rate limits, `age` seconds ago."""

    scope: str
    requests: int
    tokens: int
    age: Seconds = 0.0


class SpendLog(Protocol):
    """Port: what the last minute has used of rate limits, so that the next process knows it. It never raises."""

    def load(self) -> Sequence[Spent]:
        """What was spent within the last minute, by whatever process."""
        ...

    def note(self, spent: Sequence[Spent]) -> None:
        """This goes now. It is written down when this returns, or said in the log that it cannot be."""
        ...

    def close(self) -> None:
        """Let go of it. Idempotent."""
        ...


class Evidence(Protocol):
    """Port: what the verifier may look at to check a claim, confined like the tools are."""

    async def read(self, path: str) -> bytes | None:
        """The file's bytes now, `None` if there is no such file (or it may not be read)."""
        ...

"""What the tests of documents look through."""

from __future__ import annotations

from typing import NamedTuple

from trouper.adapters.embed_hash import HashEmbedder
from trouper.adapters.store_documents import SqliteDocumentStore
from trouper.runtime import Actor, Ref, System


class Opened(NamedTuple):
    """A running `Documents` actor and what it stands on."""

    documents: Ref[Actor]
    embedder: Counting
    store: SqliteDocumentStore
    system: System


class Counting(HashEmbedder):
    """Counts the texts it is given; refuses those that say so."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.fail: Exception | None = None

    async def embed(self, texts):
        if self.fail is not None:
            raise self.fail
        self.texts += texts
        return await super().embed(texts)

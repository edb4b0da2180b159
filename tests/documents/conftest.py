"""A real store and real files; vectors come from hashed words, without threads of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.documents.counting import Counting, Opened
from trouper.actors.batcher import EmbeddingBatcher
from trouper.actors.chunking import Chunking
from trouper.actors.documents import Documents
from trouper.actors.protocols import VectorIndex
from trouper.adapters.document_files import DocumentFiles
from trouper.adapters.index_numpy import NumpyIndex
from trouper.adapters.store_documents import SqliteDocumentStore
from trouper.runtime import ChildSpec, SupervisorSpec, open_system


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small tree of documents of several kinds."""
    root = tmp_path / "tree"
    (root / "docs").mkdir(parents=True)
    (root / "docs" / "guide.md").write_text(
        "# Guide\n\nHow to begin.\n\n## Backups\n\nA backup is made every night at two.\n\n## Restore\n\nCall Anna.\n"
    )
    (root / "docs" / "page.html").write_text(
        "<html><head><title>x</title><script>var hidden = 'backup';</script></head>\n<body>\n<h1>Prices</h1>\n"
        "<p>A licence costs\n nine euros.</p></body></html>"
    )
    (root / "main.py").write_text("def connect():\n    '''Open the socket.'''\n    return 1\n")
    (root / "notes.txt").write_text("The garden gate is painted green.\n")
    (root / "logo.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0")
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("secret backup\n")
    (root / "node_modules").mkdir()
    (root / "node_modules" / "x.txt").write_text("backup\n")
    return root


@pytest.fixture
def opened(tmp_path: Path):
    """A system with documents and a batcher, for the length of a block."""

    @asynccontextmanager
    async def _opened(
        *,
        batch_size: int = 100,
        chunking: Chunking | None = None,
        files: DocumentFiles | None = None,
        embedder: Counting | None = None,
        index: Callable[[int], VectorIndex] = NumpyIndex,
    ) -> AsyncIterator[Opened]:
        embedder = embedder if embedder is not None else Counting()
        store = SqliteDocumentStore(tmp_path / "documents.sqlite")
        source = files if files is not None else DocumentFiles()

        def documents() -> Documents:
            return Documents(store, source, index, embedder=embedder.name, chunking=chunking, batch_size=batch_size)

        spec = SupervisorSpec(
            children=[
                ChildSpec(id="batcher", start=lambda: EmbeddingBatcher(embedder)),
                ChildSpec(id="documents", start=documents),
            ]
        )
        try:
            async with open_system() as system:
                supervisor = await system.start_supervisor(spec, name="cast")
                yield Opened(supervisor.child("documents"), embedder, store, system)
        finally:
            await store.aclose()

    return _opened

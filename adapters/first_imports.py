"""What is imported when the first troupe is opened, and not before: in turns with the event loop.

`import trouper` and `trouper --help` do without these modules. Imported in one go they take 40 ms, once in a process,
and whoever opens a troupe beside other tasks would hold them up for as long.
"""

from __future__ import annotations

import importlib

import trio

IN_TURNS = (
    "sqlite3",
    ".memory_rows",
    ".store_pieces",
    ".store_vectors",
    ".store_insert",
    ".store_sqlite",
    ".index_snapshot",
    ".index_faiss_kinds",
    ".index_faiss",
    ".cache_layered",
    ".cache_sqlite",
    "html.parser",
    "zipfile",
    ".document_text",
    ".text_search",
    ".document_files",
    ".store_documents",
    "fractions",
    ".tools_calc",
    ".file_access",
    ".tools_files",
    ".text_units",
    ".text_summary",
    ".tools_text",
    ".tools_web",
    ".tools_memory",
    ".tools_documents",
)
"""Each takes some milliseconds or less, after those before it."""


async def import_in_turns() -> None:
    """Import what most troupes are made of. Cancelled: the rest is imported where it is needed."""
    for name in IN_TURNS:
        importlib.import_module(name, __package__)
        await trio.lowlevel.checkpoint()

"""What is installed, reachable and writable, and what to do about the rest. Nothing is changed by looking.

Versions are read from the packages' metadata: importing them all would take seconds. `imports` does import them, each
in a process of its own, because a broken binary may take its process down with it.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import attrs
import trio

from trouper.runtime import DocumentsFailed, LLMError, MemoryFailed, Seconds

from .config_model import DEFAULT_MODEL, Config
from .embed_choice import EmbedderChoice, choose_embedder
from .journal_files import journal_directory

if TYPE_CHECKING:
    from .http_seam import HttpPool
    from .wiring_models import DescribedModel

Status = Literal["ok", "warn", "fail"]

PACKAGES = {
    "trio": "trio",
    "attrs": "attrs",
    "openai": "openai",
    "httpx2": "httpx2",
    "numpy": "numpy",
    "faiss-cpu": "faiss",
    "wordllama": "wordllama",
    "pyyaml": "yaml",
    "simpleeval": "simpleeval",
    "rich": "rich",
    "click": "click",
}
"""What Trouper stands on: the package, and what is imported of it."""

REACH: Seconds = 5.0
"""How long the model's server may take to list its models."""
IMPORT: Seconds = 30.0
NO_LIST = frozenset({404, 405, 501})
"""By these a server says that it does not tell what models it has."""
_OLDEST = (3, 11)


@attrs.frozen
class Finding:
    """One thing that was looked at. `advice` says what to do if it is not ok."""

    name: str
    status: Status
    detail: str
    advice: str = ""

    def as_json(self) -> dict[str, object]:
        """The shape of a finding in `doctor --json`."""
        return attrs.asdict(self)


async def examine(
    config: Config, *, source: str, workdir: str | None, reach: Seconds = REACH, imports: bool = False
) -> AsyncIterator[Finding]:
    """Look at everything a configuration needs, each wait bounded. `source` says where it came from.

    Raises:
        ConfigError: the configuration is valid in each key and wrong as a whole.
    """
    for finding in (*_installed(), Finding("config", "ok", source), _planner(config)):
        yield finding
    if imports:
        for package, module in PACKAGES.items():
            yield await _imported(package, module)
    async for finding in _models(config, reach):
        yield finding
    yield _embedder(choose_embedder(config))
    yield await _memory(config.memory.file())
    yield await _documents(config.documents.file(config.memory.file()))
    yield _journal(journal_directory(config.journal.path))
    yield _workdir(Path(workdir if workdir is not None else config.tools.workdir))


def worst_of(findings: list[Finding]) -> Status:
    """The status of all of them together."""
    order: tuple[Status, ...] = ("ok", "warn", "fail")
    return max((f.status for f in findings), key=order.index, default="ok")


# ------------------------------------------------------------------ installed
def _installed() -> Iterator[Finding]:
    here = platform.python_version()
    if sys.version_info[:2] < _OLDEST:
        yield Finding("python", "fail", here, "Trouper needs Python 3.11 or newer")
    else:
        yield Finding("python", "ok", f"{here} at {sys.executable}")
    for package in ("trouper", *PACKAGES):
        try:
            yield Finding(package, "ok", importlib.metadata.version(package))
        except importlib.metadata.PackageNotFoundError:
            yield _missing(package)


def _missing(package: str) -> Finding:
    if package == "wordllama":
        advice = "pip install wordllama, or set embeddings.provider; without it recall finds shared words only"
        return Finding(package, "warn", "not installed", advice)
    if package == "trouper":
        return Finding(package, "warn", "runs from its sources", "pip install -e . makes the command `trouper`")
    return Finding(package, "fail", "not installed", f"pip install {package}")


async def _imported(package: str, module: str) -> Finding:
    name = f"import {module}"
    with trio.move_on_after(IMPORT):
        done = await trio.run_process(
            [sys.executable, "-c", f"import {module}"], check=False, capture_stdout=True, capture_stderr=True
        )
        if done.returncode == 0:
            return Finding(name, "ok", "can be imported")
        last = (done.stderr.decode("utf-8", "replace").strip().splitlines() or [_death(done)])[-1]
        return Finding(name, "fail", last, f"pip install --force-reinstall {package}")
    return Finding(name, "fail", f"did not end within {IMPORT:g} s", f"pip install --force-reinstall {package}")


def _death(done: subprocess.CompletedProcess[bytes]) -> str:
    return f"its process ended with {done.returncode}"


# ------------------------------------------------------------------ planner, model, embedder
def _planner(config: Config) -> Finding:
    from .wiring_models import choose_planner

    choice = choose_planner(config)
    return Finding("planner", "ok", f"{choice.mode}: {choice.why}")


async def _models(config: Config, reach: Seconds) -> AsyncIterator[Finding]:
    """The models behind an address, each asked what it has; `model` is that of `llm`, the others have their name."""
    from .wiring_models import build_pool, described_models

    described = described_models(config)
    if not described and config.local_llm.gguf is None:
        yield Finding("model", "ok", "none is configured; goals are planned by rules, offline")
    if config.local_llm.gguf is not None:
        from .local_doctor import look_at_local

        look = await look_at_local(config.local_llm.gguf, config.local_llm.sha256)
        yield Finding("model local", "fail" if look.advice else "ok", look.detail, look.advice)
    pool = build_pool(config)  # with the configured certificates, else a company's own would count as a failure
    try:
        for name, one in described.items():
            yield await _model("model" if name == DEFAULT_MODEL else f"model {name}", one, pool, reach)
    finally:
        with trio.move_on_after(reach, shield=True):
            await pool.aclose()


async def _model(what: str, one: DescribedModel, pool: HttpPool, reach: Seconds) -> Finding:
    from .llm_openai import OpenAIModel
    from .wire_errors import printable_url

    key = one.api_key.reveal() if one.api_key is not None else None
    where = printable_url(one.base_url)
    settings = "llm" if what == "model" else f"llm.models.{what.removeprefix('model ')}"
    try:
        model = OpenAIModel(model=one.model, base_url=one.base_url, api_key=key, pool=pool, timeout=reach)
        try:
            names = await model.models()
        finally:
            with trio.move_on_after(reach, shield=True):
                await model.aclose()
    except LLMError as error:
        if error.status in NO_LIST:  # many servers have a way to ask and none to look
            seen = f"{where} answers, but has no list of models ({error.status})"
            return Finding(what, "warn", seen, f"if it does not plan, mend {settings}.base_url: it usually ends in /v1")
        return Finding(
            what, "fail", str(error), f"start the server, or mend {settings}.base_url and {settings}.api_key"
        )
    if one.model in names:
        return Finding(what, "ok", f"{one.model} at {where}")
    known = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "") if names else "none"
    advice = f"set {settings}.model to one of: {known}"
    return Finding(what, "warn", f"{where} answers, but does not list {one.model!r}", advice)


def _embedder(choice: EmbedderChoice) -> Finding:
    fallback = choice.provider in {"hash", "none"}
    advice = "pip install wordllama, or configure embeddings.model" if fallback else ""
    return Finding("embedder", "warn" if fallback else "ok", f"{choice.provider}: {choice.why}", advice)


# ------------------------------------------------------------------ writable
async def _memory(file: Path) -> Finding:
    advice = "set memory.path to a file that you may write"
    if (why := _not_writable(file.parent)) is not None:
        return Finding("memory", "fail", f"{file}: {why}", advice)
    if not file.exists():
        return Finding("memory", "ok", f"{file} (will be made)")
    from .store_sqlite import SqliteMemoryStore

    store = SqliteMemoryStore(file)
    try:
        count = await store.count()
    except MemoryFailed as error:
        return Finding("memory", "fail", str(error), advice)
    finally:
        await store.aclose()
    return Finding("memory", "ok", f"{file} ({count} memories)")


async def _documents(file: Path) -> Finding:
    """What is indexed, and which heavy kinds of documents can be read."""
    from .document_text import readable_kinds
    from .store_documents import SqliteDocumentStore

    missing = [kind for kind, here in readable_kinds().items() if not here]
    unread = f"; {' and '.join(missing)} need pip install 'trouper[documents]'" if missing else ""
    advice = "set documents.path to a file that you may write, or delete it and index again"
    if (why := _not_writable(file.parent)) is not None:
        return Finding("documents", "fail", f"{file}: {why}", advice)
    if not file.exists():
        return Finding("documents", "ok", f"{file} (will be made){unread}")
    store = SqliteDocumentStore(file)
    try:
        counts = await store.counts()
    except DocumentsFailed as error:
        return Finding("documents", "fail", str(error), advice)
    finally:
        await store.aclose()
    return Finding("documents", "ok", f"{file} ({counts.passages} passages of {counts.files} files){unread}")


def _journal(folder: Path) -> Finding:
    """Where runs are written down: without it none can begin on the command line."""
    if (why := _not_writable(folder)) is not None:
        return Finding("journal", "fail", f"{folder}: {why}", "set journal.path to a directory that you may write")
    return Finding("journal", "ok", str(folder) if folder.is_dir() else f"{folder} (will be made)")


def _workdir(folder: Path) -> Finding:
    if not folder.is_dir():
        return Finding("workdir", "fail", f"{folder} is no directory", "give --workdir, or set tools.workdir")
    if (why := _not_writable(folder)) is not None:
        return Finding("workdir", "warn", f"{folder.resolve()}: {why}", "tools can read there, and write no report")
    return Finding("workdir", "ok", str(folder.resolve()))


def _not_writable(folder: Path) -> str | None:
    """Why no file could be made in `folder`, or in the nearest one above it that exists; None if it could."""
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return f"{folder} cannot be written: {error.strerror or error}"

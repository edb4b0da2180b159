"""What `trouper doctor` says of a local model."""

from __future__ import annotations

import hashlib
import importlib.metadata

import pytest

from trouper.adapters.local_doctor import look_at_local

pytestmark = pytest.mark.io


@pytest.fixture
def engine(monkeypatch) -> None:
    """As if it were installed; whether it is does not matter here."""
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2026.10")


@pytest.fixture
def model(tmp_path):
    file = tmp_path / "m.gguf"
    file.write_bytes(b"GGUF and the rest")
    return file


async def test_a_model_that_can_be_served_is_named_with_its_engine(engine, model) -> None:
    look = await look_at_local(str(model), hashlib.sha256(model.read_bytes()).hexdigest().upper())

    assert look.advice == ""
    assert "xllamacpp 2026.10" in look.detail


async def test_another_file_than_the_pinned_one_comes_with_the_digest_to_pin(engine, model) -> None:
    look = await look_at_local(str(model), "0" * 64)

    assert "not the file that is pinned" in look.detail
    assert hashlib.sha256(model.read_bytes()).hexdigest() in look.advice


@pytest.mark.parametrize(("content", "why"), [(b"PK", "no GGUF file"), (None, "cannot be read: No such file")])
async def test_what_is_no_model_is_said(engine, model, content, why) -> None:
    model.unlink()
    if content is not None:
        model.write_bytes(content)

    look = await look_at_local(str(model), None)

    assert why in look.detail
    assert look.advice


async def test_without_the_engine_it_says_what_to_install(monkeypatch, model) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)

    assert "trouper[local]" in (await look_at_local(str(model), None)).advice

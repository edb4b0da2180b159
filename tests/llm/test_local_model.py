"""The local model with a stand-in for the engine: the process, the socket and the HTTP are real, the words are not."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import attrs
import pytest
import trio

from tests.llm.local_promises import LocalPromises
from tests.llm.local_stage import PREFIX, dies_with_its_starter, form, patiently, request, staged
from trouper.adapters import local_child
from trouper.adapters.llm_local import LocalModel
from trouper.adapters.local_prefixes import prefix_key
from trouper.adapters.local_settings import LocalSettings
from trouper.runtime import Backoff, ModelUnavailable

pytestmark = pytest.mark.io

ENGINE = Path(__file__).parent / "local_engine"


def model_file(folder: Path, **behaviour: object) -> Path:
    file = folder / "stand-in.gguf"
    file.write_bytes(b"GGUF" + json.dumps(behaviour).encode())
    return file


@pytest.fixture
def settings(tmp_path) -> LocalSettings:
    file = model_file(tmp_path, pace=0.01)
    return LocalSettings(
        gguf=file,
        sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
        threads=1,
        context=2048,
        environment={"PYTHONPATH": str(ENGINE)},
    )


class TestLocalModelOnASocket(LocalPromises):
    """Behind a Unix socket, as everywhere where there are any."""


async def test_without_sockets_it_listens_on_a_free_port(settings) -> None:
    async with staged(attrs.evolve(settings, socket=False)) as stage:
        reply = await stage.model.complete(form())
        async with stage.server() as server:
            address = server._endpoint.base_url

    assert reply.text
    assert address.startswith("http://127.0.0.1:")


async def test_a_path_too_long_for_a_socket_falls_back_to_a_port(settings, tmp_path, monkeypatch) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    async with staged(settings) as stage:
        await stage.model.complete(form())
        async with stage.server() as server:
            address = server._endpoint.base_url

    assert address.startswith("http://127.0.0.1:")
    assert list(long.iterdir()) == []


@pytest.mark.parametrize("name", ["SIGILL", "SIGKILL", "SIGABRT"])
async def test_death_while_loading_is_told_with_its_last_words(settings, tmp_path, name) -> None:
    """An illegal instruction will be there next time too; anything else is the supervisor's business."""
    dying = attrs.evolve(settings, gguf=model_file(tmp_path, die=name), sha256=None)
    async with staged(dying) as stage:
        with pytest.raises(ModelUnavailable, match=f"{name}.*about to die") as caught:
            await stage.model.complete(form())

    assert caught.value.retryable == (name != "SIGILL")


async def test_a_server_that_dies_again_and_again_stays_down_and_takes_nobody_along(settings, tmp_path) -> None:
    dying = attrs.evolve(settings, gguf=model_file(tmp_path, die="SIGKILL"), sha256=None)
    async with staged(dying, backoff=Backoff(min=0.01, max=0.1)) as stage:
        ends: list[ModelUnavailable] = []
        with trio.fail_after(60):
            while not ends or ends[-1].retryable:
                with pytest.raises(ModelUnavailable) as caught:
                    await stage.model.complete(form())
                ends.append(caught.value)
        for _ in range(3):
            with pytest.raises(ModelUnavailable, match="died too often"):
                await stage.model.complete(form())

    assert len(ends) == 7


async def test_a_model_that_loads_too_long_is_given_up(settings, tmp_path) -> None:
    slow = attrs.evolve(settings, gguf=model_file(tmp_path, load=600), sha256=None, start_timeout=0.3)
    async with staged(slow) as stage:
        with pytest.raises(ModelUnavailable, match=r"not ready within 0\.3 s"):
            await stage.model.complete(form())


async def test_it_dies_with_whoever_started_it_in_the_middle_of_loading(settings, tmp_path) -> None:
    """The engine holds the process then, so that nothing of Python runs in it: the kernel must end it."""
    slow = attrs.evolve(settings, gguf=model_file(tmp_path, load=600), sha256=None)
    await dies_with_its_starter(slow, tmp_path, "loading")


async def test_it_ends_though_its_starter_was_gone_before_it_could_listen(tmp_path) -> None:
    """The request lay in the pipe, and the pipe's other end was closed, before the child had begun to watch it."""
    wanted = {
        "gguf": str(model_file(tmp_path, load=600)),
        "sha256": None,
        "host": "127.0.0.1",
        "threads": 1,
        "slots": 2,
        "context": 2048,
        "cache_ram_mb": 0,
        "prefixes": None,
    }
    child = [sys.executable, "-P", local_child.__file__]
    environment = {**os.environ, local_child.KEY: "k", "PYTHONPATH": str(ENGINE)}
    with trio.fail_after(120):
        ended = await trio.run_process(
            child, stdin=json.dumps(wanted).encode() + b"\n", env=environment, check=False, capture_stdout=True
        )

    assert (ended.returncode, ended.stdout) == (1, b"")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"MZ\x90", "is no GGUF file"),
        (None, "cannot be read: No such file"),
        ("folder", "cannot be read: Is a directory"),
        ("device", "is no file"),
    ],
)
async def test_what_is_no_model_is_named(settings, tmp_path, content, why) -> None:
    file = tmp_path / "other.gguf"
    if content == "folder":
        file.mkdir()
    elif content == "device":
        file.symlink_to("/dev/null")
    elif content is not None:
        file.write_bytes(content)
    async with staged(attrs.evolve(settings, gguf=file, sha256=None)) as stage:
        with pytest.raises(ModelUnavailable, match=why) as caught:
            await stage.model.complete(form())

    assert not caught.value.retryable


async def test_without_the_engine_it_says_what_to_install(settings, tmp_path) -> None:
    (tmp_path / "xllamacpp.py").write_text("raise ImportError('no such engine')")
    without = attrs.evolve(settings, environment={"PYTHONPATH": str(tmp_path)})
    async with staged(without) as stage:
        with pytest.raises(ModelUnavailable, match=r"pip install 'trouper\[local\]'"):
            await stage.model.complete(form())


async def test_outside_of_a_troupe_it_says_so() -> None:
    with pytest.raises(ModelUnavailable, match="not part of a running troupe"):
        await LocalModel(LocalSettings(gguf=Path("model.gguf"), sha256=None)).complete(request())


async def orders(stage) -> list[str]:
    async with stage.server() as server:
        answer = await server._endpoint.get("/../orders", server._endpoint.asked("/orders"))
        said = json.loads(await answer.read())
        await answer.aclose()
    return said


async def test_each_role_goes_to_its_slot_and_a_stranger_goes_where_the_server_likes(settings) -> None:
    async with staged(settings) as stage:
        for role in ("planner", "verifier", "tool", "planner"):
            await stage.model.complete(form(role=role))
        said = await orders(stage)
    slots = [json.loads(order.partition(" ")[2]).get("id_slot") for order in said]

    assert slots == [0, 1, None, 0]


async def test_nothing_of_a_goal_is_kept_on_disk(settings, tmp_path) -> None:
    kept = attrs.evolve(settings, prefixes=tmp_path / "prefixes")
    async with staged(kept) as stage:
        await stage.model.complete(form("Remember my password swordfish"))
        await stage.until(lambda seen: seen.prefixes_kept == 1)
    (file,) = (tmp_path / "prefixes").iterdir()

    assert "swordfish" not in file.read_text()
    assert "tools" in file.read_text()


@pytest.mark.parametrize("behaviour", ["dies", "poisons"])
async def test_a_prefix_that_kills_the_server_is_never_read_again(behaviour, settings, tmp_path) -> None:
    """Whether the engine dies of reading it, or in the answer after it."""
    kept = attrs.evolve(settings, prefixes=tmp_path / "prefixes", sha256=None)
    async with staged(kept) as stage:
        await stage.model.complete(form())
        await stage.until(lambda seen: seen.prefixes_kept == 1)
    (kept_file,) = (tmp_path / "prefixes").iterdir()
    fragile = attrs.evolve(kept, gguf=model_file(tmp_path, pace=0.01, restore=behaviour))
    digest = hashlib.sha256(fragile.gguf.read_bytes()).hexdigest()
    # The same prefix, under the name that the fragile engine gives it.
    key = prefix_key(PREFIX, model=digest, engine="stand-in", context=settings.context)
    kept_file.rename(tmp_path / "prefixes" / f"{key}.prefix")
    async with staged(fragile) as stage:
        with pytest.raises(ModelUnavailable):
            await stage.model.complete(form())
        reply = await patiently(stage.model)
        seen = await stage.look()

    assert reply.text
    assert seen.prefixes_read == 0


async def test_a_prefix_that_was_read_and_answered_with_is_read_by_every_later_life(settings, tmp_path) -> None:
    kept = attrs.evolve(settings, prefixes=tmp_path / "prefixes")
    async with staged(kept) as stage:
        await stage.model.complete(form())
        await stage.until(lambda seen: seen.prefixes_kept == 1)
    for _ in range(2):
        async with staged(kept) as stage:
            await stage.model.complete(form())
            await stage.until(lambda seen: seen.prefixes_read == 1)
            await stage.until(lambda seen: not list((tmp_path / "prefixes").glob("*.reading")))
            assert (await stage.look()).prefixes_kept == 0


async def test_the_directory_of_a_killed_owner_is_swept_up(settings, tmp_path, monkeypatch) -> None:
    short = Path(tempfile.mkdtemp(dir="/tmp"))
    monkeypatch.setattr("tempfile.tempdir", str(short))
    gone = subprocess.Popen([sys.executable, "-c", ""])  # noqa: ASYNC220 - over in a moment
    gone.wait()
    (short / f"trouper-local-{gone.pid}-abc").mkdir()
    (short / f"trouper-local-{os.getpid()}-abc").mkdir()
    (short / "trouper-local-notes").mkdir()
    async with staged(settings) as stage:
        await stage.model.complete(form())

    assert sorted(place.name for place in short.iterdir()) == [
        f"trouper-local-{os.getpid()}-abc",
        "trouper-local-notes",
    ]

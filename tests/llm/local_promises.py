"""What the local model keeps, whoever is the engine: the same tests with the stand-in and with the real one.

Nothing here looks at what the model says; only at what becomes of the call, the process and the files.
"""

from __future__ import annotations

import json
import os
import signal
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from tests.llm.local_stage import (
    ENDLESS,
    alive,
    ask_endlessly,
    dies_with_its_starter,
    form,
    patiently,
    request,
    short_path,
    staged,
)
from trouper.adapters.llm_local import LocalModel
from trouper.runtime import (
    AuthFailed,
    BadRequest,
    LengthCut,
    LLMError,
    ModelUnavailable,
    StreamTruncated,
)


async def fails(model: LocalModel) -> None:
    with pytest.raises(ModelUnavailable):
        await model.complete(form())


class LocalPromises:
    """Subclass it with a fixture `settings`, a `LocalSettings` for a model that works."""

    # ------------------------------------------------------------ answers
    async def test_an_answer_has_text_and_counted_tokens(self, settings) -> None:
        async with staged(settings) as stage:
            reply = await stage.model.complete(form())

        assert reply.text
        assert reply.usage.prompt_tokens > 10
        assert reply.usage.completion_tokens > 0

    async def test_a_streamed_answer_comes_in_pieces_that_make_the_reply(self, settings) -> None:
        async with staged(settings) as stage, stage.model.stream(form()) as chunks:
            got = [chunk async for chunk in chunks]

        assert len(got) > 2
        assert got[-1].reply is not None
        assert "".join(chunk.text for chunk in got) == got[-1].reply.text

    async def test_a_schema_is_kept_to(self, settings) -> None:
        async with staged(settings) as stage:
            reply = await stage.model.complete(form())
        answer = json.loads(reply.text)

        assert set(answer) == {"kind", "save"}
        assert answer["kind"] in {"read", "search"}
        assert isinstance(answer["save"], bool)

    async def test_an_answer_cut_at_its_limit_is_said_to_be_cut(self, settings) -> None:
        async with staged(settings) as stage:
            with pytest.raises(LengthCut):
                await stage.model.complete(request(ENDLESS, max_tokens=3))

    async def test_a_prompt_longer_than_the_context_is_a_bad_request_that_says_so(self, settings) -> None:
        async with staged(settings) as stage:
            with pytest.raises(BadRequest, match="context size") as caught:
                await stage.model.complete(form("much too long " * settings.context))

        assert not caught.value.retryable

    async def test_nobody_without_the_key_is_served(self, settings) -> None:
        async with staged(settings) as stage:
            await stage.model.complete(form())
            async with stage.server(key="guessed") as stranger:
                with pytest.raises(AuthFailed):
                    await stranger.complete(form())

    # ------------------------------------------------------------ slots
    async def test_a_cancelled_call_frees_its_slot(self, settings) -> None:
        async with staged(settings) as stage:
            for stream in (False, True):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(partial(ask_endlessly, stage.model, stream=stream))
                    await stage.until_slots(busy=True)
                    nursery.cancel_scope.cancel()
                await stage.until_slots(busy=False)

                assert (await stage.look()).users == 0

    async def test_two_calls_are_answered_side_by_side(self, settings) -> None:
        """The second one is answered while the first one is still being written."""
        async with staged(settings) as stage, trio.open_nursery() as nursery:
            nursery.start_soon(partial(ask_endlessly, stage.model, stream=True))
            await stage.until_slots(busy=True)
            reply = await stage.model.complete(form(role="verifier"))
            still = await stage.slots()
            nursery.cancel_scope.cancel()

        assert reply.text
        assert any(still)

    async def test_what_begins_like_the_prompt_before_is_not_computed_again(self, settings) -> None:
        async with staged(settings) as stage:
            first = await stage.model.complete(form("Read notes.md"))
            again = await stage.model.complete(form("Search ./src for TODO"))

        assert first.usage.cached_tokens == 0
        assert again.usage.cached_tokens > again.usage.prompt_tokens / 2

    async def test_a_prefix_outlives_the_process(self, settings, tmp_path) -> None:
        kept = attrs.evolve(settings, prefixes=tmp_path / "prefixes")
        async with staged(kept) as stage:
            first = await stage.model.complete(form("Read notes.md"))
            await stage.until(lambda seen: seen.prefixes_kept == 1)
        (file,) = (tmp_path / "prefixes").iterdir()
        modes = (tmp_path / "prefixes").stat().st_mode & 0o777, file.stat().st_mode & 0o777
        async with staged(kept) as stage:
            again = await stage.model.complete(form("Search ./src for TODO"))
            seen = await stage.look()

        assert first.usage.cached_tokens == 0
        assert again.usage.cached_tokens > again.usage.prompt_tokens / 2
        assert seen.prefixes_read == 1
        assert modes == (0o700, 0o600)

    # ------------------------------------------------------------ the process
    async def test_the_server_starts_with_the_first_call_and_stops_when_nobody_calls(self, settings) -> None:
        async with staged(attrs.evolve(settings, idle_stop=0.2)) as stage:
            before = await stage.look()
            await stage.model.complete(form())
            idle = await stage.until(lambda seen: seen.idle_stops == 1 and seen.state == "stopped")
            await stage.model.complete(form())
            after = await stage.look()

        assert (before.state, before.starts) == ("stopped", 0)
        assert idle.pid is None
        assert after.starts == 2

    async def test_a_server_that_waits_for_a_long_answer_is_not_idle(self, settings) -> None:
        async with staged(attrs.evolve(settings, idle_stop=0.2)) as stage, stage.server():
            pid = (await stage.look()).pid
            await trio.sleep(0.5)
            seen = await stage.look()

        assert seen.pid == pid
        assert seen.idle_stops == 0

    async def test_killed_under_load_it_fails_its_calls_at_once_and_is_restarted(self, settings) -> None:
        async with staged(settings) as stage:
            await stage.model.complete(form())
            pid = (await stage.look()).pid
            failures: list[LLMError] = []

            async def ask(stream: bool) -> None:
                try:
                    await ask_endlessly(stage.model, stream=stream)
                except LLMError as error:
                    failures.append(error)

            async with trio.open_nursery() as nursery:
                for stream in (False, True, False, True):
                    nursery.start_soon(ask, stream)
                await stage.until_slots(busy=True)
                os.kill(pid, signal.SIGKILL)
            reply = await patiently(stage.model)
            seen = await stage.look()

        assert {type(error) for error in failures} <= {ModelUnavailable, StreamTruncated}
        assert [error.retryable for error in failures] == [True] * 4
        assert reply.text
        assert seen.pid not in {None, pid}

    async def test_a_server_that_says_nothing_any_more_is_killed_and_replaced(self, settings, mock_clock) -> None:
        mock_clock.rate = 1.0  # real, for a process is asked; and put forward when it is stuck
        async with staged(attrs.evolve(settings, stuck_after=30.0)) as stage:
            await stage.model.complete(form())
            pid = (await stage.look()).pid
            os.kill(pid, signal.SIGSTOP)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fails, stage.model)
                await stage.until(lambda seen: seen.users == 1)
                for _ in range(2):  # it may have been resting between two looks
                    await trio.testing.wait_all_tasks_blocked(0.1)
                    mock_clock.jump(31.0)
            await patiently(stage.model)
            seen = await stage.look()

        assert seen.pid not in {None, pid}
        assert not alive(pid)

    async def test_an_illegal_instruction_is_for_ever(self, settings) -> None:
        async with staged(settings) as stage:
            await stage.model.complete(form())
            os.kill((await stage.look()).pid, signal.SIGILL)
            await stage.until(lambda seen: seen.state == "refused")
            with pytest.raises(ModelUnavailable, match="AVX2") as caught:
                await stage.model.complete(form())
            seen = await stage.look()

        assert not caught.value.retryable
        assert seen.starts == 1

    async def test_it_dies_with_whoever_started_it(self, settings, tmp_path) -> None:
        """Also when that one is killed and can say nothing, and also while the model is still being loaded."""
        for moment in ("starting", "running"):
            await dies_with_its_starter(settings, tmp_path, moment)

    async def test_it_ends_with_its_system_and_leaves_no_socket(self, settings, tmp_path, monkeypatch) -> None:
        short = Path("/tmp") if not settings.socket else short_path(tmp_path)
        monkeypatch.setattr("tempfile.tempdir", str(short))
        async with staged(settings) as stage:
            await stage.model.complete(form())
            pid = (await stage.look()).pid
            places = [(place, place.stat().st_mode & 0o777) for place in short.glob("trouper-local-*")]

        assert not alive(pid)
        assert [mode for _, mode in places] == [0o700] * settings.socket
        assert not any(place.exists() for place, _ in places)

    async def test_neither_arguments_nor_environment_give_a_key_away(self, settings, monkeypatch) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-of-another-server")
        async with staged(settings) as stage, stage.server() as server:
            key = server._endpoint._key
            pid = (await stage.look()).pid
            arguments = Path(f"/proc/{pid}/cmdline").read_text()
            environment = Path(f"/proc/{pid}/environ").read_text()

        assert key
        assert key not in arguments
        assert "sk-of-another-server" not in environment

    # ------------------------------------------------------------ refusals
    async def test_another_file_than_the_pinned_one_is_refused_for_good(self, settings) -> None:
        async with staged(attrs.evolve(settings, sha256="0" * 64)) as stage:
            for _ in range(2):
                with pytest.raises(ModelUnavailable, match="not the model that was pinned") as caught:
                    await stage.model.complete(form())
            seen = await stage.look()

        assert not caught.value.retryable
        assert (seen.state, seen.starts) == ("refused", 1)

    async def test_a_damaged_model_is_refused_with_the_words_of_the_engine(self, settings, tmp_path) -> None:
        damaged = tmp_path / "damaged.gguf"
        damaged.write_bytes(settings.gguf.read_bytes()[:200_000].rstrip(b"}"))
        async with staged(attrs.evolve(settings, gguf=damaged, sha256=None)) as stage:
            with pytest.raises(ModelUnavailable, match=r"cannot load.*load") as caught:
                await stage.model.complete(form())
            seen = await stage.look()

        assert not caught.value.retryable
        assert (seen.state, seen.starts) == ("refused", 1)

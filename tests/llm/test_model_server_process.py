"""The model server in a process of its own: it answers, it is asked, and it never outlives whoever started it."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys

import attrs
import httpx2
import pytest
import trio

from trouper.testing import (
    ModelServerProcess,
    Network,
    RateLaw,
    ServerProcessFailed,
    ServerRule,
)

pytestmark = pytest.mark.io

HI = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}

STARTER = """
import sys, trio
from trouper.testing import ModelServerProcess

async def main():
    async with ModelServerProcess() as server:
        print(server._process.pid, flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


async def post(server: ModelServerProcess) -> httpx2.Response:
    verify = str(server.ca_file) if server.ca_file else True
    import ssl

    context = ssl.create_default_context(cafile=verify) if server.ca_file else ssl.create_default_context()
    async with httpx2.AsyncClient(verify=context, timeout=60) as client:
        return await client.post(f"{server.base_url}/chat/completions", json=HI)


async def test_it_answers_by_rules_under_its_law_and_tells_what_it_has_done() -> None:
    law = RateLaw(rpm=2, kind="sliding")
    rules = [ServerRule(when="hi", text="once", times=1), ServerRule(text="ever after")]
    async with ModelServerProcess(rules, network=Network(tls=True), law=law, api_key=None) as server:
        answers = [await post(server) for _ in range(3)]
        counted, served = await server.statistics(), await server.served()
        await server.reset()
        after = await server.statistics()

    assert [a.status_code for a in answers] == [200, 200, 429]
    assert [a.json()["choices"][0]["message"]["content"] for a in answers[:2]] == ["once", "ever after"]
    assert (counted.chats, counted.rate_limited, counted.connections) == (2, 1, 3)
    assert [(one.path, one.status) for one in served] == [("/v1/chat/completions", n) for n in (200, 200, 429)]
    assert served[0].json == HI
    assert attrs.evolve(after, connections_open=0) == attrs.evolve(type(after)(), connections_open=0)


async def test_it_ends_with_the_block() -> None:
    with pytest.raises(KeyError):
        async with ModelServerProcess() as server:
            process = server._process
            raise KeyError

    assert process is not None
    assert process.returncode == 0


async def test_it_ends_when_whoever_started_it_is_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", STARTER], stdout=subprocess.PIPE)  # noqa: ASYNC220 - to be killed
    try:
        assert parent.stdout is not None
        with trio.fail_after(60):
            line = await trio.to_thread.run_sync(parent.stdout.readline)
        child = os.pidfd_open(int(line))
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        parent.stdout.close()
    try:
        with trio.fail_after(60):
            await trio.lowlevel.wait_readable(child)  # readable when the process has ended
        assert select.select([child], [], [], 0)[0]
    finally:
        os.close(child)


async def test_a_server_that_does_not_start_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    async with ModelServerProcess() as first:
        port = int(first.base_url.split(":")[2].removesuffix("/v1"))
        with pytest.raises(ServerProcessFailed, match="ended with exit code 1"):
            await ModelServerProcess(port=port).__aenter__()

    assert "Address already in use" in capfd.readouterr().err


def test_a_script_that_is_none_is_a_usage_error(tmp_path: object) -> None:
    command = [sys.executable, "-m", "trouper.adapters.model_server_process"]
    file = f"{tmp_path}/rules.json"
    with open(file, "w", encoding="utf-8") as out:  # noqa: PTH123 - one line
        json.dump([{"wenn": "a"}], out)
    ended = subprocess.run([*command, "--script", file], capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 2
    assert "rule 0 of the script: it has wenn" in ended.stderr
    assert not ended.stdout

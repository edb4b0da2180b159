"""A model that is down, or answers nonsense: one clear message, exit 1; and one that answers is used."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio

from trouper.adapters.model_server import ModelServer, ServerReply, ServerScript, model_server
from trouper.adapters.model_server_replies import MODELS

pytestmark = pytest.mark.io

PLAN = 'Here is the plan:\n```json\n[{"id": 1, "action": "calculate", "parameters": {"expression": "2+3"}}]\n```\n'
GOAL = "What is 2+3?"


@contextmanager
def served(script: ServerScript | None = None) -> Iterator[ModelServer]:
    """The model server in a loop of its own, beside the command line's."""
    running: queue.Queue[tuple[ModelServer, trio.CancelScope, trio.lowlevel.TrioToken]] = queue.Queue()

    async def serve() -> None:
        async with model_server(script) as server:
            with trio.CancelScope() as scope:
                running.put((server, scope, trio.lowlevel.current_trio_token()))
                await trio.sleep_forever()

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    server, scope, token = running.get(timeout=120)
    try:
        yield server
    finally:
        token.run_sync_soon(scope.cancel)
        thread.join(120)


@contextmanager
def silent_address() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


@pytest.fixture
def unused_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/v1"


def at(base_url: str) -> tuple[str, ...]:
    return ("--set", f"llm.base_url={base_url}", "--set", "llm.max_retries=0")


def test_a_server_that_is_down_is_one_message_and_1(user, unused_address):
    said = user("run", GOAL, "--quiet", *at(unused_address))

    assert (said.code, said.out) == (1, "")
    assert unused_address in said.err
    assert "Traceback" not in said.err


def test_plan_tells_the_kind_of_the_failure(here, unused_address):
    said = here("plan", GOAL, "--json", *at(unused_address))

    assert said.code == 1
    assert (said.json["ok"], said.json["error"]["kind"]) == (False, "model_unavailable")


def test_a_server_that_answers_html_is_one_message_and_1(here):
    page = ServerReply(body=b"<html><h1>Log in to the hotel</h1></html>", headers={"content-type": "text/html"})
    with served(lambda _request: page) as server:
        said = here("run", GOAL, "--quiet", *at(server.base_url))

    assert (said.code, said.out) == (1, "")
    assert "Log in to the hotel" in said.err
    assert "Traceback" not in said.err


def test_a_model_whose_plan_does_not_parse_is_asked_again_so_often_and_quoted(here):
    with served(lambda _request: "I would rather write a poem.") as server:
        said = here("run", GOAL, "--json", "--set", "planner.max_repairs=1", *at(server.base_url))
        asked = [request.method for request in server.requests]

    assert said.code == 1
    assert asked == ["POST", "POST"]
    assert (said.json["status"], said.json["error"]["kind"], said.json["plan"]) == ("failed", "plan_unusable", None)
    assert "rather write a poem" in said.err
    assert "Traceback" not in said.err


def test_a_model_that_answers_plans_the_run_and_the_first_line_says_so(here):
    with served(lambda _request: PLAN) as server:
        said = here("run", GOAL, *at(server.base_url))

    assert said.code == 0
    assert said.err.splitlines()[0].startswith("planner: llm (")
    assert said.out.strip().endswith("5")


def test_planning_that_takes_too_long_is_124(here):
    with served(lambda _request: ServerReply(text=PLAN, delay=60)) as server:
        said = here("plan", GOAL, "--json", "--timeout", "0.5", *at(server.base_url))

    assert said.code == 124
    assert said.json["error"]["kind"] == "deadline"


# ------------------------------------------------------------------ doctor
def model_finding(said) -> dict:
    (found,) = [f for f in said.json["findings"] if f["name"] == "model"]
    return found


@pytest.mark.parametrize(("model", "status"), [(MODELS[0], "ok"), ("no-such-model", "warn")])
def test_doctor_asks_the_server_for_its_models(here, model, status):
    with served() as server:
        said = here("doctor", "--json", "--set", f"llm.model={model}", *at(server.base_url))

    assert said.code == 0
    assert model_finding(said)["status"] == status
    assert (MODELS[0] in model_finding(said)["advice"]) == (status == "warn")


def test_a_server_that_has_no_list_of_models_is_there_all_the_same(here):
    with served() as server:
        said = here("doctor", "--json", *at(f"{server.base_url}/elsewhere"))

    assert (said.code, model_finding(said)["status"]) == (0, "warn")
    assert "404" in model_finding(said)["detail"]
    assert "llm.base_url" in model_finding(said)["advice"]


def test_doctor_fails_for_a_server_that_is_down(here, unused_address):
    said = here("doctor", "--json", *at(unused_address))

    assert said.code == 1
    assert model_finding(said)["status"] == "fail"
    assert "llm.base_url" in model_finding(said)["advice"]


def test_doctor_waits_for_a_server_no_longer_than_it_is_told(here):
    with silent_address() as address:
        said = here("doctor", "--json", "--timeout", "0.2", *at(address))

    assert said.code == 1
    assert "0.2 s" in model_finding(said)["detail"] or "no list of models came" in model_finding(said)["detail"]


def test_the_key_is_shown_nowhere(here, monkeypatch, unused_address):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-a-real-secret")

    said = [here(*command, *at(unused_address), "-v") for command in (["doctor"], ["run", GOAL])]

    assert [s.code for s in said] == [1, 1]
    assert "sk-a-real-secret" not in "".join(s.out + s.err for s in said)

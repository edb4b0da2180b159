"""A stand-in for the engine of the same name, found by PYTHONPATH: the parts that Trouper uses, without a model.

Real process, real sockets, real HTTP; only the words are made up. The same suite of promises runs against it and
against the real engine. A "model" for it is a file of four letters, `GGUF`, and a line of JSON that says how to behave.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import select
import signal
import socket
import socketserver
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

__version__ = "stand-in"


class CommonParams:
    """Takes any setting, as the real one takes its own."""

    def __init__(self) -> None:
        self.model = SimpleNamespace(path="")
        self.cpuparams = SimpleNamespace(n_threads=-1)
        self.cpuparams_batch = SimpleNamespace(n_threads=-1)
        self.slot_save_path = ""


class Server:
    """Serves from the moment it is made."""

    def __init__(self, wanted: CommonParams) -> None:
        content = Path(wanted.model.path).read_bytes()
        try:
            self.behaviour = json.loads(content[4:])
        except ValueError:
            print("model: failed to load the tensors", file=sys.stderr, flush=True)
            raise RuntimeError("cannot load that") from None
        if "die" in self.behaviour:
            print("about to die", file=sys.stderr, flush=True)
            _die(self.behaviour["die"])
        time.sleep(self.behaviour.get("load", 0.0))
        self.wanted = wanted
        self.slots = [Slot(number) for number in range(wanted.n_parallel)]
        self.free = threading.Condition()
        self.orders: list[str] = []
        host = wanted.hostnames[0]
        if host.endswith(".sock"):
            made = _UnixServer(host, _Answers)
            self.listening_address = f"unix://{host}"
        else:
            made = http.server.ThreadingHTTPServer((host, 0), _Answers)
            self.listening_address = f"http://{host}:{made.server_address[1]}"
        made.daemon_threads = True
        made.engine = self
        threading.Thread(target=made.serve_forever, daemon=True).start()

    def take(self, wanted: int | None, words: list[str]) -> Slot:
        """Wait for the slot that is asked for, else for any: the one whose last prompt is most alike."""
        with self.free:
            while True:
                fit = [slot for slot in self.slots if not slot.busy and (wanted is None or slot.number == wanted)]
                if fit:
                    slot = max(fit, key=lambda slot: slot.common(words))
                    slot.busy = True
                    return slot
                self.free.wait()

    def give_back(self, slot: Slot) -> None:
        with self.free:
            slot.busy = False
            self.free.notify_all()


class Slot:
    """Remembers the words of its last prompt, as the real one remembers what it computed of them."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.busy = False
        self.words: list[str] = []
        self.poisoned = False
        """What was read into it ends the process as soon as it is used."""

    def common(self, words: list[str]) -> int:
        """How many words at the beginning are the same."""
        number = 0
        for mine, other in zip(self.words, words, strict=False):
            if mine != other:
                break
            number += 1
        return number


class _UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    def server_bind(self) -> None:
        super().server_bind()
        self.server_name, self.server_port = "local", 0


class _Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Nothing: the real one is as quiet."""

    def address_string(self) -> str:
        return "local"

    @property
    def engine(self) -> Server:
        return self.server.engine

    def do_GET(self) -> None:
        if not self._allowed():
            return
        if self.path == "/slots":
            self._say(200, [{"id": slot.number, "is_processing": slot.busy} for slot in self.engine.slots])
        elif self.path == "/orders":
            self._say(200, self.engine.orders)
        elif self.path == "/v1/models":
            self._say(200, {"object": "list", "data": [{"id": "local", "object": "model"}]})
        else:
            self._say(404, {"error": {"message": "File Not Found", "type": "not_found_error", "code": 404}})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if not self._allowed():
            return
        self.engine.orders.append(f"{self.path} {json.dumps(body)[:4000]}")
        if self.path == "/v1/chat/completions":
            self._chat(body)
        else:
            self._keep(body)

    def _allowed(self) -> bool:
        if self.headers.get("authorization") == f"Bearer {self.engine.wanted.api_keys[0]}":
            return True
        self._say(401, {"error": {"message": "Invalid API Key", "type": "authentication_error", "code": 401}})
        return False

    def _keep(self, body: dict) -> None:
        """`/slots/N?action=save` and `restore`."""
        slot = self.engine.slots[int(self.path.split("/")[2].split("?")[0])]
        file = Path(self.engine.wanted.slot_save_path) / body["filename"]
        if self.path.endswith("save"):
            file.write_text(json.dumps(slot.words))
        else:
            if self.engine.behaviour.get("restore") == "dies":
                _die("SIGABRT")
            slot.words = json.loads(file.read_text())
            slot.poisoned = self.engine.behaviour.get("restore") == "poisons"
        self._say(200, {"id_slot": slot.number, "filename": body["filename"]})

    def _chat(self, body: dict) -> None:
        said = [f"<{message['role']}> {message['content']}" for message in body["messages"]]
        words = " ".join(said).split()
        room = self.engine.wanted.n_ctx // self.engine.wanted.n_parallel
        if len(words) >= room:
            problem = f"request ({len(words)} tokens) exceeds the available context size ({room} tokens)"
            self._say(400, {"error": {"code": 400, "message": problem, "type": "exceed_context_size_error"}})
            return
        slot = self.engine.take(body.get("id_slot"), words)
        if slot.poisoned:
            _die("SIGSEGV")
        try:
            cached = slot.common(words)
            pieces, reason = self._pieces(body)
            usage = {
                "prompt_tokens": len(words),
                "completion_tokens": len(pieces),
                "total_tokens": len(words) + len(pieces),
                "prompt_tokens_details": {"cached_tokens": cached},
            }
            slot.words = words
            with contextlib.suppress(OSError):  # whoever asked has gone
                self._tell(body, pieces, reason, usage)
        finally:
            self.engine.give_back(slot)

    def _pieces(self, body: dict) -> tuple[list[str], str]:
        if "response_format" in body:
            text = json.dumps(_instance(body["response_format"]["json_schema"]["schema"]))
            return [text[at : at + 4] for at in range(0, len(text), 4)], "stop"
        most = body.get("max_tokens") or 10_000
        wanted = 10_000 if "endless" in body["messages"][-1]["content"] else 5
        return ["word "] * min(most, wanted), "length" if most < wanted else "stop"

    def _tell(self, body: dict, pieces: list[str], reason: str, usage: dict) -> None:
        pace = self.engine.behaviour.get("pace", 0.0)
        if not body.get("stream"):
            for _ in pieces:
                self._pause(pace)
            message = {"role": "assistant", "content": "".join(pieces)}
            choices = [{"index": 0, "finish_reason": reason, "message": message}]
            self._say(200, {"object": "chat.completion", "model": "local", "choices": choices, "usage": usage})
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for piece in pieces:
            self._pause(pace)
            self._event({"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]})
        self._event({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
        self._event({"choices": [], "usage": usage})
        self._chunk(b"data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def _pause(self, pace: float) -> None:
        """One token's time; ends early when the asker has hung up."""
        readable, _, _ = select.select([self.connection], [], [], pace)
        if readable and not self.connection.recv(1, socket.MSG_PEEK):
            raise ConnectionResetError

    def _event(self, data: dict) -> None:
        self._chunk(b"data: " + json.dumps({"object": "chat.completion.chunk", **data}).encode() + b"\n\n")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def _say(self, status: int, data: object) -> None:
        content = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _die(name: str) -> None:
    """By that signal, and without another step: the process has threads, and the kernel may take its time."""
    os.kill(os.getpid(), getattr(signal, name))
    time.sleep(600)


def _instance(schema: dict) -> object:
    """The first value that fits a schema of the kinds that Trouper sends."""
    if "anyOf" in schema:
        return _instance(schema["anyOf"][0])
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("type") == "object":
        return {name: _instance(part) for name, part in schema["properties"].items()}
    return {"boolean": False, "integer": 0, "string": "text", "array": []}[schema["type"]]

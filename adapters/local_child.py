"""The inside of the local model's process: one engine, one model, one server, until nobody listens any more.

Run by path by `local_server`, with nothing of ours imported. The first line of stdin says what to serve; the API key
comes in the environment, where `ps` does not show it. One line of JSON on what was stdout answers: `ready` with the
address, or `refused` with a reason that will be the same next time. Everything else the engine prints goes to stderr.
After that stdin is the life line: its end is ours, and so no server outlives whoever started it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib
import json
import os
import select
import signal
import stat
import time
from typing import Any

KEY = "TROUPER_LOCAL_KEY"
_MAGIC = b"GGUF"
_BATCH = 64
"""Tokens between two looks at who has gone and who has come; the engine's own 2,048 are 20 s at 100 tokens a second.

So few cost nothing on a CPU: 451 tokens of prompt took 3.8 and 4.2 s of it, with 256 in a batch 3.8 and 4.1.
"""


class Refused(Exception):
    """Nothing is served, and trying again changes nothing: `args` are the kind of reason and the sentence."""


def main() -> None:
    """Serve what the first line of stdin says."""
    lifeline = os.dup(0)
    answers = os.dup(1)
    os.dup2(2, 1)
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - its number is wanted, not its path
        os.dup2(nothing.fileno(), 0)
    wanted = json.loads(_line(lifeline))
    _watch(lifeline)
    try:
        server, said = _serve(wanted)
        answer: dict[str, object] = {"ready": said}
    except Refused as refusal:
        server, answer = None, {"refused": {"kind": refusal.args[0], "message": refusal.args[1]}}
    with contextlib.suppress(BrokenPipeError):
        os.write(answers, json.dumps(answer).encode() + b"\n")
    os.close(answers)
    if server is not None:
        _wait_for_end(lifeline)
    os._exit(0)  # without the engine's own farewell, which waits for requests in flight


def _line(number: int) -> bytes:
    """One line, and not a byte more: what comes after it is the life line."""
    line = bytearray()
    while not line.endswith(b"\n"):
        piece = os.read(number, 1)
        if not piece:
            os._exit(1)
        line += piece
    return bytes(line)


def _watch(lifeline: int) -> None:
    """While the engine loads it holds the interpreter, so the kernel ends us if the life line breaks meanwhile."""
    if not hasattr(fcntl, "F_SETOWN") or not hasattr(os, "O_ASYNC"):
        return
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    with contextlib.suppress(OSError):  # a stdin that cannot do this is read later all the same
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    # Broken before the kernel was told to watch: no signal comes for what has happened already. The starter may have
    # been killed while this interpreter was starting, with the request in the pipe. Only its end can be read here.
    if select.select([lifeline], [], [], 0)[0]:
        os._exit(1)


def _wait_for_end(lifeline: int) -> None:
    while True:
        try:
            if not os.read(lifeline, 4096):
                return
        except InterruptedError:
            continue


def _serve(wanted: dict[str, Any]) -> tuple[object, dict[str, object]]:
    """Start the server and say where it is."""
    key = os.environ.pop(KEY, "")
    if not key:
        raise Refused("key", f"no key came in {KEY}")
    began = time.monotonic()
    digest = _checked(wanted["gguf"], wanted["sha256"])
    checked = time.monotonic()
    try:
        xllamacpp: Any = importlib.import_module("xllamacpp")
    except ImportError as error:
        raise Refused("engine", f"xllamacpp cannot be imported ({error}): pip install 'trouper[local]'") from error
    try:
        server = xllamacpp.Server(_parameters(xllamacpp, wanted, key))
    except (RuntimeError, ValueError) as error:
        raise Refused("model", f"the engine cannot load {wanted['gguf']}: {error}") from error
    return server, {
        "address": server.listening_address,
        "sha256": digest,
        "engine": str(xllamacpp.__version__),
        "check_s": round(checked - began, 3),
        "load_s": round(time.monotonic() - checked, 3),
    }


def _checked(path: str, sha256: str | None) -> str:
    """The digest of the file, if it is a model and the one that was meant."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - no pathlib: this process imports as little as it can
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise Refused("gguf", f"{path} is no file")
            if file.read(4) != _MAGIC:
                raise Refused("gguf", f"{path} is no GGUF file")
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise Refused("gguf", f"{path} cannot be read: {error.strerror or error}") from error
    if sha256 is not None and digest != sha256.lower():
        raise Refused("sha256", f"{path} is not the model that was pinned: its sha256 is {digest}, not {sha256}")
    return digest


def _parameters(xllamacpp: Any, wanted: dict[str, Any], key: str) -> Any:
    made = xllamacpp.CommonParams()
    made.model.path = wanted["gguf"]
    made.model_alias = {"local"}
    made.hostnames = [wanted["host"]]  # the path of a socket, or an address
    made.port = 0
    made.api_keys = [key]
    made.cpuparams.n_threads = made.cpuparams_batch.n_threads = wanted["threads"]
    made.n_parallel = wanted["slots"]
    made.n_ctx = wanted["context"] * wanted["slots"]  # of one request, times the requests
    made.n_batch = made.n_ubatch = _BATCH
    made.cache_ram_mib = wanted["cache_ram_mb"]
    made.n_gpu_layers = 0
    made.endpoint_slots = True
    if wanted["prefixes"]:
        made.slot_save_path = os.path.join(wanted["prefixes"], "")  # noqa: PTH118 - it must end with a slash
    # Nothing but what Trouper asks for: no page, no downloads, no tools of its own, no other page's scripts.
    made.ui = False
    made.offline = True
    made.server_tools = []
    made.endpoint_props = False
    made.cors_origins = "http://localhost"
    made.cors_credentials = False
    made.verbosity = 2
    return made


if __name__ == "__main__":
    main()

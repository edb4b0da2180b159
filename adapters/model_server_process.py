"""`python -m trouper.adapters.model_server_process`: the model server in a process of its own.

Its work then costs the measured process nothing, and clients in any language can use it. One JSON line on standard
output says where it is: `{"base_url": ..., "ca_file": ...}`. With `--lifeline` it ends when its standard input does, so
that it never outlives whoever started it, and answers the lines `statistics`, `served` and `reset` with one JSON line
each. Without, it runs until it is interrupted.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import attrs
import click
import trio

from .model_server import ModelServer
from .model_server_law import LAWS, Charged, LawKind, RateLaw
from .model_server_script import RuleScript, rules_from_json
from .model_server_times import ModelTime, Network


@click.command()
@click.option("--port", type=int, default=0, help="Where to listen on 127.0.0.1; 0 takes any free port.")
@click.option("--api-key", help="Without this key every request is answered 401.")
@click.option("--script", type=click.Path(exists=True, dir_okay=False), help="A JSON list of rules.")
@click.option("--dim", type=int, default=32, help="The length of its vectors.")
@click.option("--seed", type=int, default=0, help="Of the spread of the model's time.")
@click.option("--tls", is_flag=True, help="Speak TLS; `ca_file` is what to trust.")
@click.option("--round-trip", type=float, default=0.0, help="Seconds there and back.")
@click.option("--first", type=float, default=0.0, help="Seconds before the first token.")
@click.option("--embedding", type=float, default=0.0, help="Seconds of an embeddings call, besides its tokens.")
@click.option("--per-prompt-token", type=float, default=0.0, help="Seconds.")
@click.option("--per-completion-token", type=float, default=0.0, help="Seconds.")
@click.option("--per-embedded-token", type=float, default=0.0, help="Seconds.")
@click.option("--spread", type=float, default=0.0, help="The share by which a call may be slower or faster.")
@click.option("--prefix-cache", is_flag=True, help="The beginning of a prompt that is known costs no time.")
@click.option("--rpm", type=int, help="Requests a minute; not limited if left out.")
@click.option("--tpm", type=int, help="Tokens a minute; not limited if left out.")
@click.option("--law", type=click.Choice(LAWS), default="sliding", help="How the minute is counted.")
@click.option("--charge", type=click.Choice(["estimate", "actual"]), default="actual", help="What a chat costs.")
@click.option("--refused-count", is_flag=True, help="A refused request counts as a request too.")
@click.option("--lifeline", is_flag=True, help="End with standard input, and answer its lines.")
def main(
    *,
    port: int,
    api_key: str | None,
    script: str | None,
    dim: int,
    seed: int,
    tls: bool,
    round_trip: float,
    first: float,
    embedding: float,
    per_prompt_token: float,
    per_completion_token: float,
    per_embedded_token: float,
    spread: float,
    prefix_cache: bool,
    rpm: int | None,
    tpm: int | None,
    law: LawKind,
    charge: Charged,
    refused_count: bool,
    lifeline: bool,
) -> None:
    """A local server that speaks the OpenAI protocol: as far away, as slow and as strict as you like."""
    try:
        server = ModelServer(
            None if script is None else RuleScript(rules_from_json(Path(script).read_text(encoding="utf-8"))),
            api_key=api_key,
            dim=dim,
            port=port,
            network=Network(round_trip=round_trip, tls=tls),
            model_time=ModelTime(
                first=first,
                embedding=embedding,
                per_prompt_token=per_prompt_token,
                per_completion_token=per_completion_token,
                per_embedded_token=per_embedded_token,
                spread=spread,
                prefix_cache=prefix_cache,
            ),
            law=RateLaw(rpm=rpm, tpm=tpm, kind=law, charge=charge, refused_count=refused_count),
            seed=seed,
        )
    except (ValueError, TypeError) as error:
        raise click.UsageError(str(error)) from error
    try:
        trio.run(_serve, server, lifeline)
    except OSError as error:
        raise click.ClickException(f"it cannot listen on 127.0.0.1, port {port}: {error}") from error


async def _serve(server: ModelServer, lifeline: bool) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with server, trio.open_nursery() as nursery:
            _say({"base_url": server.base_url, "ca_file": str(server.ca_file) if server.ca_file else None})
            if lifeline:
                nursery.start_soon(_listen, server, nursery.cancel_scope)
            async for _ in signals:
                nursery.cancel_scope.cancel()
                break


async def _listen(server: ModelServer, life: trio.CancelScope) -> None:
    """Answer the lines of standard input; its end is ours."""
    kept = bytearray()
    async with trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as stream:
        async for piece in stream:
            kept += piece
            *lines, rest = kept.split(b"\n")
            kept = bytearray(rest)
            for line in lines:
                _say(_told(server, line.decode(errors="replace").strip()))
    life.cancel()


def _told(server: ModelServer, order: str) -> object:
    if order == "statistics":
        return attrs.asdict(server.statistics)
    if order == "served":
        return [attrs.asdict(served) for served in server.served]
    if order == "reset":
        server.reset()
        return {}
    return {"error": f"{order!r} is not statistics, served or reset"}


def _say(value: object) -> None:
    try:
        sys.stdout.write(json.dumps(value) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:  # whoever started us has gone; with a lifeline we end too
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - it stays open, like the other


if __name__ == "__main__":
    main(prog_name="python -m trouper.adapters.model_server_process")

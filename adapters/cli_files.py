"""Reading what the user points at: plans, catalogues and standard input, bounded and with one clear message."""

from __future__ import annotations

import json
import sys
from typing import BinaryIO

from .cli_exit import BadInput

MAX_INPUT = 64 << 20
"""Bytes that are read of any of them."""


def read_plan(path: str) -> bytes:
    """The text of a plan as it stands in a file; `-` is standard input. Whether it is text is a matter of the plan.

    Raises:
        BadInput: it cannot be read.
    """
    return _read_stdin() if path == "-" else _read_file(path)


def read_catalogue(path: str) -> object:
    """The JSON of a catalogue.

    Raises:
        BadInput: it cannot be read, or is not JSON.
    """
    text = _text(_read_file(path), path)
    try:
        return json.loads(text)
    except RecursionError as error:
        raise BadInput(f"{path} is nested too deeply to be a catalogue") from error
    except ValueError as error:
        raise BadInput(f"{path} is not JSON: {error}") from error


def read_stdin() -> str:
    """All of standard input, as text.

    Raises:
        BadInput: it is closed, too much, or not text.
    """
    return _text(_read_stdin(), "standard input")


def _read_stdin() -> bytes:
    if sys.stdin is None:
        raise BadInput("standard input is closed")
    return _read(sys.stdin.buffer, "standard input")


def _read_file(path: str) -> bytes:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - what the user typed, also when it is no possible Path
            return _read(file, path)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        why = getattr(error, "strerror", None) or str(error)
        raise BadInput(f"{path} cannot be read: {why}") from error


def _read(file: BinaryIO, name: str) -> bytes:
    raw = file.read(MAX_INPUT + 1)
    if len(raw) > MAX_INPUT:
        raise BadInput(f"{name} is larger than {MAX_INPUT >> 20} MiB")
    return raw


def _text(raw: bytes, name: str) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"{name} is not UTF-8 text (byte {error.start:,})") from error

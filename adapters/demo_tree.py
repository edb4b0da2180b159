"""A small project on disk for the demo: real files, with things to find in them, the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

_PARTS = ("orders", "stock", "prices", "shipping", "returns", "accounts", "search", "reports")
_CHORES = (
    "round half up, as the invoices do",
    "take the currency from the account",
    "this is slow for more than 1,000 rows",
    "remove when the old shop is gone",
    "say which row was wrong",
    "test this with an empty list",
    "retry when the warehouse does not answer",
    "move the limit into the configuration",
    "check the sum against the ledger",
)
_DEEDS = ("load", "check", "save", "merge", "count", "close")
_EVENTS = (
    ("INFO", "started"),
    ("INFO", "imported 212 rows"),
    ("WARNING", "the warehouse answered after 4.1 s"),
    ("ERROR", "no connection to the warehouse"),
    ("INFO", "stopped"),
)


def build_tree(root: Path, *, seed: int = 1) -> None:
    """Write the project below `root`, which exists: Python sources with TODO comments, a README, notes, a log.

    Different seeds give different files and different numbers of comments.
    """
    for path, text in _files(random.Random(seed)):  # noqa: S311 - a demo, not a secret
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def _files(chance: random.Random) -> Iterator[tuple[str, str]]:
    parts = chance.sample(_PARTS, 5)
    chores = list(_CHORES)
    chance.shuffle(chores)
    todos = chance.randint(6, len(chores))
    for n, part in enumerate(parts):
        folder = "src/shop" if n < 3 else "src/shop/jobs"
        yield f"{folder}/{part}.py", _module(part, chores[n:todos:5], chance)
    yield "src/shop/__init__.py", '"""A shop."""\n'
    # Not Python: a search in the Python files must leave it out.
    yield "src/shop/schema.sql", "-- TODO: an index on orders.placed\ncreate table orders (id integer primary key);\n"
    yield "README.md", f"# Shop\n\nA small shop: {', '.join(parts)}.\n\nRun it with `python -m shop`.\n"
    yield "notes/meeting.md", _notes(parts)
    yield "logs/shop.log", "".join(_log(chance))


def _module(part: str, chores: list[str], chance: random.Random) -> str:
    deeds = chance.sample(_DEEDS, 3)
    lines = [f'"""What the shop does about {part}."""', "", "import csv", ""]
    for n, deed in enumerate(deeds):
        lines += ["", f"def {deed}_{part}(path):", f'    """{deed.title()} the {part} of one day."""']
        lines += [f"    # TODO: {chore}" for chore in chores[n :: len(deeds)]]
        lines += ["    with open(path, newline='') as file:", "        return list(csv.DictReader(file))", ""]
    return "\n".join(lines)


def _notes(parts: list[str]) -> str:
    decisions = f"Decided: {parts[0]} first, then {parts[1]}.\n\nAction: Ana writes to the warehouse.\n"
    return f"# Meeting\n\nWe talked about {parts[0]} and {parts[1]}.\n\n{decisions}"


def _log(chance: random.Random) -> Iterator[str]:
    minute = 0
    for _ in range(60):
        minute += chance.randint(1, 9)
        level, text = chance.choice(_EVENTS)
        yield f"2026-03-02 {8 + minute // 60:02}:{minute % 60:02} {level} {text}\n"

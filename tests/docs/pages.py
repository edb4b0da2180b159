"""The pages of the documentation as data: their code blocks, headings and links.

A block's info string says what is done with it:

    python                      run; all such blocks of a page share one namespace, in order
    python title="fragment"     compiled only
    LANG title="NAME.EXT"       written to the page's directory, for the commands of the page (Python is compiled too)
    console                     lines after `$ ` are run, the lines below are what must come out
    sh                          commands only

In a console block a line `...` stands for any lines, and `# exit N` behind a command for its exit code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import attrs

ROOT = Path(__file__).resolve().parents[2]

OURS = ("trouper ", "python ", "grep ", "cat ", "printf ", "ls ", "cd ", "mkdir ", "echo ")
SET_UP = ("sudo ", "git ", "uv ", ".venv/", "python3 -m venv", "bash .ci/run", "ruff ", "export ")
"""What a newcomer types that a test must not: `.ci/run` does."""
DEMO = "&& .venv/bin/trouper demo"
"""How the README's first command ends."""

_FENCE = re.compile(
    r"^(?P<indent> *)(?P<ticks>`{3,})(?P<info>[^`\n]*)\n(?P<body>.*?)^ *(?P=ticks) *$", re.MULTILINE | re.DOTALL
)
_TITLE = re.compile(r'title="([^"]+)"')
_EXIT = re.compile(r"\s+# exit (\d+)$")


@attrs.frozen
class Block:
    """One fenced block: where it stands, its language, its title, its text."""

    page: Path
    line: int
    language: str
    title: str
    text: str

    @property
    def where(self) -> str:
        """`docs/why.md:12`, for messages."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def is_file(self) -> bool:
        """It is to be written to a file of that name."""
        return "." in self.title


@attrs.frozen
class Command:
    """One command of a console block, the exit code it is to have, and the lines that are to come out."""

    where: str
    line: str
    code: int
    output: tuple[str, ...]
    compared: bool


def pages() -> list[Path]:
    """Every page a user reads."""
    found = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / ".github").glob("*.md"))]
    return found + sorted(p for p in (ROOT / "docs").rglob("*.md") if p.parent.name != "changelog.d")


def name_of(page: Path) -> str:
    """A page's name, for test ids."""
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [_block(page, text, found) for found in _FENCE.finditer(text)]


def _block(page: Path, text: str, found: re.Match[str]) -> Block:
    language, _, rest = found["info"].strip().partition(" ")
    title = _TITLE.search(rest)
    indent = len(found["indent"])
    body = "".join(
        line[indent:] if line[:indent].isspace() else line for line in found["body"].splitlines(keepends=True)
    )
    line = text.count("\n", 0, found.start()) + 1
    return Block(page, line, language, title[1] if title else "", body)


def commands(block: Block) -> Iterator[Command]:
    """The commands of a `console` or `sh` block, in order."""
    compared = block.language == "console"
    lines = block.text.splitlines()
    starts = [n for n, line in enumerate(lines) if line.startswith("$ ") or (not compared and line.strip())]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        line = lines[start].removeprefix("$ ")
        if line.lstrip().startswith("#"):
            continue
        output = lines[start + 1 : end]
        # A here-document goes on below its command.
        if document := re.search(r"<<'?(\w+)'?", line):
            stop = output.index(document[1]) + 1
            line, output = "\n".join([line, *output[:stop]]), output[stop:]
        code = _EXIT.search(line)
        where = f"{name_of(block.page)}:{block.line + 1 + start}"
        yield Command(where, _EXIT.sub("", line), int(code[1]) if code else 0, tuple(output), compared and bool(output))


def prose(page: Path) -> str:
    """The page without its code blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def headings(page: Path) -> list[str]:
    """The headings of a page, in order."""
    return re.findall(r"^#{1,6} (.+?) *#*$", prose(page), re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The fragments that links into the page may have, by GitHub's rule."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings(page)}


def links(page: Path) -> list[str]:
    """The targets of the links in a page."""
    return re.findall(r"\]\(([^)\s]+)\)", prose(page))

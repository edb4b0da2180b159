"""Copy what commands really print into the pages: `python -m tests.docs.refresh [PAGE...]`, all pages by default.

Only outputs that a page shows and that differ are replaced; those with a `...` line are reported and left alone.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.docs.pages import DEMO, ROOT, SET_UP, Block, Command, blocks, commands, name_of, pages
from tests.docs.terminal import Place, differs


def main(names: list[str]) -> None:
    """Refresh the pages named, or every one."""
    for page in [(ROOT / name) for name in names] or pages():
        with tempfile.TemporaryDirectory() as folder:
            place = Place(Path(folder, "work"), Path(folder, "home"))
            place.prepare()
            for block in blocks(page):
                _refresh(block, place)


def _refresh(block: Block, place: Place) -> None:
    if block.is_file:
        place.write(block.title, block.text)
    if block.language != "console":
        return
    for command in commands(block):
        line = "trouper demo" if command.line.endswith(DEMO) else command.line
        if line.startswith(SET_UP):
            continue
        shown = place.run(line)
        if shown.code != command.code:
            print(f"{command.where}: exit code {shown.code}, the page says {command.code}")
        elif command.compared and differs(command.output, shown.lines):
            _replace(block.page, command, shown.lines)


def _replace(page: Path, command: Command, lines: tuple[str, ...]) -> None:
    if "..." in (line.strip() for line in command.output):
        print(f"{command.where}: differs, and is left alone because of its `...`")
        return
    text = page.read_text(encoding="utf-8")
    old = "\n".join([command.line.split("\n")[-1], *command.output])
    if command.code:
        old = "\n".join(command.output)
    if text.count(old) != 1:
        print(f"{command.where}: the output stands {text.count(old)} times in {name_of(page)}, so it is left alone")
        return
    new = "\n".join([command.line.split("\n")[-1], *lines] if not command.code else lines)
    page.write_text(text.replace(old, new), encoding="utf-8")
    print(f"{command.where}: refreshed")


if __name__ == "__main__":
    main(sys.argv[1:])

"""Glob patterns over relative paths: `*.py` at any depth, `docs/**/*.md`, `*.{yml,yaml}`."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence

from trouper.runtime import BadArguments

_MAX_LENGTH = 300
_MAX_BRANCHES = 64


@functools.lru_cache(maxsize=64)
def glob_matcher(glob: str) -> Callable[[str], bool]:
    """Whether a path relative to the searched directory (with `/`) fits `glob`.

    Without a `/` the pattern is about the file's name, wherever it lies, like `grep --include`.
    A part `**` stands for any number of directories, `*` and `?` never cross a `/`, `[a-z]` and `[!a-z]` are
    one character, `{a,b}` is either.

    Raises:
        BadArguments: a bracket that does not close, more than 300 characters, or too many alternatives.
    """
    if len(glob) > _MAX_LENGTH:
        raise BadArguments(f"glob: {len(glob)} characters, at most {_MAX_LENGTH}")
    parts = [_parts(branch) for branch in _branches(glob)]
    return lambda path: any(_fits(branch, path.split("/")) for branch in parts)


_Part = re.Pattern[str] | None
"""What one part of a path must look like; None for any number of parts."""


def _parts(glob: str) -> list[_Part]:
    names = [name for name in glob.split("/") if name not in ("", ".")]
    if len(names) == 1 and "/" not in glob.removeprefix("./"):
        names = ["**", *names]
    if not names or names[-1] == "**":
        names += ["**", "*"]  # what is below a directory, and not the directory; nothing at all means anything
    return [None if name == "**" else _pattern(name, glob) for name in names]


def _fits(parts: Sequence[_Part], names: Sequence[str]) -> bool:
    """Follow all ways to match at once, so that the effort is bounded by parts times names."""
    at = _past_any(parts, {0})
    for name in names:
        step: set[int] = set()
        for i in at - {len(parts)}:
            part = parts[i]
            if part is None:
                step.add(i)
            elif part.fullmatch(name):
                step.add(i + 1)
        at = _past_any(parts, step)
    return len(parts) in at


def _past_any(parts: Sequence[_Part], at: set[int]) -> set[int]:
    """The places that can be reached without another name: a `**` may stand for none."""
    reached = set(at)
    for i, part in enumerate(parts):
        if i in reached and part is None:
            reached.add(i + 1)
    return reached


def _branches(glob: str) -> list[str]:
    """The globs without braces that one with braces stands for."""
    found = re.search(r"\{([^{}]*)\}", glob)
    if found is None:
        return [glob]
    before, after = glob[: found.start()], glob[found.end() :]
    branches = [g for option in found[1].split(",") for g in _branches(before + option + after)]
    if len(branches) > _MAX_BRANCHES:
        raise BadArguments(f"glob {glob!r}: the braces stand for more than {_MAX_BRANCHES} patterns")
    return branches


_PIECE = re.compile(r"\*+|\?|\[!?\]?[^\]]*\]|.", re.DOTALL)


def _pattern(name: str, glob: str) -> re.Pattern[str]:
    """The regular expression of one part of a path.

    What stands between two stars is looked for once and never again further on (an atomic group): the first
    place is as good as any later one, and trying them all takes time exponential in the number of stars.
    """
    runs: list[list[str]] = [[]]
    for piece in _PIECE.findall(name):
        if piece[0] == "*":
            runs.append([])
        else:
            runs[-1].append(_one(piece, glob))
    first, *inner, last = ["".join(run) for run in runs] if len(runs) > 1 else ["".join(runs[0]), ""]
    middle = "".join(f"(?>.*?{run})" for run in inner)
    try:
        return re.compile(first + middle + (f".*{last}" if len(runs) > 1 else ""), re.DOTALL)
    except re.error as error:
        raise BadArguments(f"glob {glob!r}: {error}") from error


def _one(piece: str, glob: str) -> str:
    """One character of a name."""
    if piece == "?":
        return "."
    if piece == "[":
        raise BadArguments(f"glob {glob!r}: a '[' is not closed")
    if piece[0] != "[" or len(piece) == 1:
        return re.escape(piece)
    inner = piece[1:-1].replace("\\", "\\\\").replace("[", "\\[")
    return f"[^{inner[1:]}]" if inner.startswith("!") else f"[{inner}]"

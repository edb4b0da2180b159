"""Any object as one bounded line that is safe to print: the reason of a crash may be anything, also hostile.

A crash report must come out whatever crashed: `repr` may raise, give megabytes, or carry line breaks and terminal
escapes that would forge a second line in a log.
"""

from __future__ import annotations

LINE = 200
"""Characters of one shown object."""


def one_line(text: str, most: int = LINE) -> str:
    """`text` with white space collapsed and what cannot be printed escaped, cut after `most` characters."""
    # Cut before the work, so that a text of megabytes costs nothing; doubled, because collapsing makes it shorter.
    line = " ".join(text[: 2 * most].split())
    if not line.isprintable():
        line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    whole = len(line) <= most and len(text) <= 2 * most
    return line if whole else f"{line[: most - 3]}..."


def shown(value: object, most: int = LINE) -> str:
    """`repr(value)` as one bounded line; the class's name where `repr` raises. Raises nothing itself."""
    try:
        return one_line(repr(value), most)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - a report of a crash must not crash
        return f"<{name_of(type(value))} whose repr raises {name_of(type(error))}>"


def name_of(cls: type) -> str:
    """The class's name, bounded; never raises, whatever its metaclass does."""
    return one_line(type.__dict__["__name__"].__get__(cls), 60)

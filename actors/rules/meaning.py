"""What the parts of a sentence mean, before they are put together to a form."""

from __future__ import annotations

import attrs

from .form import Analysis, Sink, Source


@attrs.frozen(kw_only=True)
class Pattern:
    """A text to search for.

    `certain` when it is surely meant literally: quoted, an identifier, a marker. `hinted` when a word beside it
    says that it stands in text: `deprecated calls`. `literal` when it means nothing but text, wherever it stands.
    """

    text: str
    literal: bool = False
    quoted: bool = False
    certain: bool = False
    hinted: bool = False
    ignore_case: bool = False
    regex: bool = False


@attrs.frozen(kw_only=True)
class Place:
    """Where to search. `bare` when the name alone does not show that it is a folder."""

    path: str = "."
    glob: str = "**/*"
    bare: bool = False


@attrs.frozen(kw_only=True)
class Thing:
    """What a sink clause speaks of: `topic` is empty for `it`, `the result` and the like."""

    topic: str = ""


@attrs.frozen(kw_only=True)
class Clause:
    """What one clause of the goal asks for.

    `refers`: it speaks of what an earlier clause brought, so there must be one.
    `thing`: what it speaks of, where that may ask for an analysis of its own.
    `placeless`: it searches, but does not say where.
    `preparing`: it only names what a later clause works on.
    `operation`: the calculation before goes on with this operator and operand.
    """

    sources: tuple[Source, ...] = ()
    analysis: Analysis | None = None
    sinks: tuple[Sink, ...] = ()
    refers: bool = False
    thing: Thing | None = None
    operation: tuple[str, str] | None = None
    placeless: bool = False
    preparing: bool = False

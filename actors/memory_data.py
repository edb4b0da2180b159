"""Memories as data: what is stored, what is read, which of them are meant. Pure, without numpy and without SQL."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs

from trouper.runtime import MemoryRefused, Seconds

DEFAULT_NAMESPACE = "default"
CONFIGURED = ""
"""In a filter that goes to the memory: the namespace that is configured."""
FACT = "fact"
EPISODE, TURN, SUMMARY, PROFILE = "episode", "turn", "summary", "profile"
OWN = (EPISODE, TURN, SUMMARY, PROFILE)
"""Categories that are kept by runs and conversations, and found only by who asks for them by name."""

MOST_TAGS = 64
"""Of one memory, and so of one question."""
_MOST_CATEGORIES = 500
_MOST_CONDITIONS = 64
_MOST_VALUES = 10_000
"""Of one name in `where`. What is looked for is compared with every memory of the namespace."""

Scalar = str | int | float | bool | None
"""A value that metadata can be filtered by."""


@attrs.frozen(kw_only=True)
class NewMemory:
    """A memory on its way into the store."""

    content: str
    namespace: str = DEFAULT_NAMESPACE
    category: str = FACT
    tags: tuple[str, ...] = ()
    salience: float = 0.5
    """How much it matters, 0 to 1."""
    half_life: Seconds | None = None
    """In this time without a use half of the salience fades; None: it does not."""
    expires: float | None = None
    """Seconds since 1970; from then on it is not found any more."""
    meta: Mapping[str, object] = attrs.field(factory=dict)
    distinct: str = ""
    """Two memories with the same text, namespace and `distinct` are one."""
    created: float | None = None
    """Seconds since 1970; None: now."""
    vector: bytes | None = None
    embedder: str = ""

    def embedded(self, vector: bytes, embedder: str) -> NewMemory:
        """The same with this vector; `attrs.evolve` takes five times as long, which a thousand rows notice."""
        return NewMemory(
            content=self.content,
            namespace=self.namespace,
            category=self.category,
            tags=self.tags,
            salience=self.salience,
            half_life=self.half_life,
            expires=self.expires,
            meta=self.meta,
            distinct=self.distinct,
            created=self.created,
            vector=vector,
            embedder=embedder,
        )


@attrs.frozen(kw_only=True)
class KeptMemory:
    """A memory as it was kept elsewhere."""

    memory: NewMemory
    superseded: bool = False
    """Something else stood for it there."""
    accesses: int = 0
    accessed: float | None = None


@attrs.frozen(kw_only=True)
class MemoryRow:
    """One memory as the store has it. Times are seconds since 1970."""

    id: int
    content: str
    created: float
    namespace: str = DEFAULT_NAMESPACE
    category: str = FACT
    tags: tuple[str, ...] = ()
    salience: float = 0.5
    half_life: Seconds | None = None
    expires: float | None = None
    meta: Mapping[str, object] = attrs.field(factory=dict)
    distinct: str = ""
    superseded_by: int | None = None
    accesses: int = 0
    """How often it was recalled."""
    accessed: float | None = None

    def alive(self, now: float) -> bool:
        """Whether it can be found: neither superseded nor expired."""
        return self.superseded_by is None and (self.expires is None or self.expires > now)


def _pairs(meta: Mapping[str, object] | Iterable[tuple[str, object]]) -> tuple[tuple[str, tuple[Scalar, ...]], ...]:
    """Metadata conditions in one order, each with the values that will do."""
    try:
        given = dict(meta)
    except (TypeError, ValueError) as error:
        raise MemoryRefused(f"where is {meta!r:.100}: give a mapping, `{{'project': 'x'}}`") from error
    if len(given) > _MOST_CONDITIONS:
        raise MemoryRefused(f"where has {len(given):,} conditions; at most {_MOST_CONDITIONS} are looked for")
    found: list[tuple[str, tuple[Scalar, ...]]] = []
    for name in sorted(given, key=str):
        value = given[name]
        values = tuple(value) if isinstance(value, list | tuple | set | frozenset) else (value,)
        if len(values) > _MOST_VALUES:
            raise MemoryRefused(
                f"where {name!r:.100} has {len(values):,} values; at most {_MOST_VALUES:,} are looked for"
            )
        for one in values:
            finite = not isinstance(one, float) or math.isfinite(one)
            if not (one is None or isinstance(one, str | int | float)) or not finite or not isinstance(name, str):
                raise MemoryRefused(f"where {name!r} is {one!r}: give a text, a number, true, false, null, or a list")
            if isinstance(one, int) and not -(2**63) <= one < 2**63:
                raise MemoryRefused(f"where {name!r} is a whole number of more than 64 bits: none is looked for")
            check_writable(name, "a name in `where`")
            if isinstance(one, str):
                check_writable(one, f"where {name!r}: the text")
        found.append((name, values))
    return tuple(found)


def check_writable(text: str, what: str) -> None:
    """Raise `MemoryRefused` if `text` can neither be stored nor looked for: no text, or half a character in it."""
    if not isinstance(text, str):
        raise MemoryRefused(f"{what} is {text!r}, which is no text")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise MemoryRefused(
            f"{what} holds half a character (a lone surrogate at place {error.start}) and cannot be stored as UTF-8"
        ) from error


@attrs.frozen(kw_only=True)
class MemoryFilter:
    """Which memories are meant: all of what is given must hold."""

    namespace: str | None = DEFAULT_NAMESPACE
    """None: those of everybody."""
    categories: tuple[str, ...] = ()
    """One of these; empty: any."""
    without: tuple[str, ...] = ()
    """None of these categories."""
    tags: tuple[str, ...] = ()
    """All of these."""
    where: tuple[tuple[str, tuple[Scalar, ...]], ...] = attrs.field(default=(), converter=_pairs)
    """Metadata, as a mapping: the value under the name is this one, or one of this list."""
    dead: bool = False
    """Also what was superseded or has expired."""

    def __attrs_post_init__(self) -> None:
        """Refuse what no store can look for, before a store is asked."""
        if self.namespace is not None:
            check_writable(self.namespace, "the namespace")
        if len(self.tags) > MOST_TAGS or len(self.categories) + len(self.without) > _MOST_CATEGORIES:
            raise MemoryRefused(
                f"{len(self.tags):,} tags and {len(self.categories) + len(self.without):,} categories: at most "
                f"{MOST_TAGS} and {_MOST_CATEGORIES} are looked for"
            )
        for category in (*self.categories, *self.without):
            check_writable(category, "a category")
        for tag in self.tags:
            check_writable(tag, "a tag")

    @property
    def key(self) -> str:
        """The same for the same filter only: 1 and True are not the same."""
        names = [sorted(self.categories), sorted(self.without), sorted(self.tags)]
        return json.dumps([self.namespace, names, self.where, self.dead])

    def matches(self, row: MemoryRow, now: float) -> bool:
        """Whether `row` is meant. The store's SQL says the same; the tests compare them."""
        return (
            (self.namespace is None or row.namespace == self.namespace)
            and (not self.categories or row.category in self.categories)
            and row.category not in self.without
            and all(tag in row.tags for tag in self.tags)
            and all(holds(row.meta, name, values) for name, values in self.where)
            and (self.dead or row.alive(now))
        )


def holds(meta: Mapping[str, object], name: str, wanted: Sequence[Scalar]) -> bool:
    """Whether metadata has one of these values under the name."""
    return name in meta and any(_same(meta[name], one) for one in wanted)


def _same(value: object, wanted: Scalar) -> bool:
    """JSON's equality: true is no number, 1 and 1.0 are one."""
    if isinstance(value, bool) or isinstance(wanted, bool) or wanted is None:
        return value is wanted
    if isinstance(wanted, str):
        return isinstance(value, str) and value == wanted
    return isinstance(value, int | float) and value == wanted


def day(moment: float) -> str:
    """The day of a moment (seconds since 1970) as `2026-11-23`, in UTC; `unknown` for one that no calendar has."""
    try:
        return datetime.datetime.fromtimestamp(moment, datetime.UTC).date().isoformat()
    except (OverflowError, ValueError, OSError):
        return "unknown"


@attrs.define(eq=False)
class Selection:
    """A set of ids as one bit each: what an index is told to search among. Grows as ids are added."""

    bits: bytearray = attrs.field(factory=bytearray)
    count: int = 0
    until: float | None = None
    """When the first of them expires, seconds since 1970: from then on it is not true any more."""

    def __contains__(self, number: int) -> bool:
        place = number >> 3
        return place < len(self.bits) and bool(self.bits[place] >> (number & 7) & 1)

    def __iter__(self) -> Iterator[int]:
        for place, byte in enumerate(self.bits):
            if byte:
                yield from (8 * place + bit for bit in range(8) if byte >> bit & 1)

    def add(self, number: int, expires: float | None = None) -> None:
        """Put one in."""
        if number not in self:
            place = number >> 3
            if place >= len(self.bits):
                self.bits.extend(bytes(place + 1 - len(self.bits)))
            self.bits[place] |= 1 << (number & 7)
            self.count += 1
        if expires is not None:
            self.until = expires if self.until is None else min(self.until, expires)

    def discard(self, number: int) -> None:
        """Take one out, if it is in."""
        if number in self:
            self.bits[number >> 3] &= ~(1 << (number & 7))
            self.count -= 1

    def replace(self, ids: Iterable[int], meant: Selection) -> None:
        """Let those of `ids` be in that are in `meant`, and the others not."""
        for number in ids:
            if number in meant:
                self.add(number)
            else:
                self.discard(number)
        if meant.until is not None:
            self.until = meant.until if self.until is None else min(self.until, meant.until)


def selection_of(ids: Iterable[int]) -> Selection:
    """These ids."""
    selection = Selection()
    for number in ids:
        selection.add(number)
    return selection


@attrs.frozen(kw_only=True)
class StoreStatistics:
    """What the store holds."""

    memories: int
    superseded: int
    expired: int
    namespaces: int
    categories: Mapping[str, int]
    embedded: Mapping[str, int]
    """By embedder: how many have a vector of it."""
    bytes: int
    generation: int

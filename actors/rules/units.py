"""Units: what they are called, how many of one make another, and the conversion as an expression.

The factors are written out (`3 * 24 * 60 * 60`), so that a reader of the plan can check them. Where a
conversion depends on which month or year is meant there is none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from .arithmetic import operand
from .match import Reading

NAMES = {
    "millisecond": "millisecond milliseconds ms",
    "second": "second seconds sec secs s",
    "minute": "minute minutes min mins",
    "hour": "hour hours hr hrs h",
    "day": "day days",
    "week": "week weeks",
    "fortnight": "fortnight fortnights",
    "month": "month months",
    "year": "year years",
    "decade": "decade decades",
    "century": "century centuries",
    "mm": "mm millimetre millimetres millimeter millimeters",
    "cm": "cm centimetre centimetres centimeter centimeters",
    "m": "m metre metres meter meters",
    "km": "km kms kilometre kilometres kilometer kilometers",
    "mile": "mile miles mi",
    "yard": "yard yards yd",
    "foot": "foot feet ft",
    "inch": "inch inches",
    "mg": "mg milligram milligrams milligramme milligrammes",
    "g": "g gram grams gramme grammes",
    "kg": "kg kilo kilos kilogram kilograms kilogramme kilogrammes",
    "tonne": "tonne tonnes ton tons",
    "pound": "lb lbs pound pounds",
    "ounce": "oz ounce ounces",
    "ml": "ml millilitre millilitres milliliter milliliters",
    "cl": "cl centilitre centilitres",
    "litre": "l litre litres liter liters",
    "gallon": "gallon gallons",
    "bit": "bit bits",
    "byte": "byte bytes b",
    "kb": "kb kilobyte kilobytes kib",
    "mb": "mb megabyte megabytes mib",
    "gb": "gb gigabyte gigabytes gib gig gigs",
    "tb": "tb terabyte terabytes tib",
    "celsius": "celsius centigrade \u00b0c",
    "fahrenheit": "fahrenheit \u00b0f",
}
UNITS = {word: unit for unit, listed in NAMES.items() for word in listed.split()}

LARGER = (
    ("second", "millisecond", "1000"),
    ("minute", "second", "60"),
    ("hour", "minute", "60"),
    ("day", "hour", "24"),
    ("week", "day", "7"),
    ("fortnight", "day", "14"),
    ("year", "day", "365"),
    ("year", "month", "12"),
    ("decade", "year", "10"),
    ("century", "year", "100"),
    ("cm", "mm", "10"),
    ("m", "cm", "100"),
    ("km", "m", "1000"),
    ("mile", "km", "1.609344"),
    ("foot", "inch", "12"),
    ("yard", "foot", "3"),
    ("inch", "cm", "2.54"),
    ("g", "mg", "1000"),
    ("kg", "g", "1000"),
    ("tonne", "kg", "1000"),
    ("pound", "kg", "0.45359237"),
    ("pound", "ounce", "16"),
    ("cl", "ml", "10"),
    ("litre", "cl", "100"),
    ("gallon", "litre", "3.785411784"),
    ("byte", "bit", "8"),
    ("kb", "byte", "1024"),
    ("mb", "kb", "1024"),
    ("gb", "mb", "1024"),
    ("tb", "gb", "1024"),
)
"""(unit, smaller unit, how many); sizes of data in steps of 1024."""

_EDGES: dict[str, list[tuple[str, str]]] = {}
for _large, _small, _factor in LARGER:
    _EDGES.setdefault(_large, []).append((_small, f"* {_factor}"))
    _EDGES.setdefault(_small, []).append((_large, f"/ {_factor}"))

_DEPENDS = ({"month", "day"}, {"week", "year"}, {"fortnight", "year"})
"""No conversion goes through both: months differ in length, years are no whole number of weeks."""


def convert(amount: str, unit: str, wanted: str) -> str | None:
    """`amount` of `unit` in `wanted` as an expression, or None where there is no fixed answer."""
    if (unit, wanted) == ("celsius", "fahrenheit"):
        return f"{amount} * 9 / 5 + 32"
    if (unit, wanted) == ("fahrenheit", "celsius"):
        return f"({amount} - 32) * 5 / 9"
    if unit == wanted:
        return None
    waiting = deque([(unit, amount, frozenset({unit}))])
    seen = {unit}
    while waiting:
        here, text, path = waiting.popleft()
        if here == wanted:
            return None if any(pair <= path for pair in _DEPENDS) else text
        for there, factor in _EDGES.get(here, ()):
            if there not in seen:
                seen.add(there)
                waiting.append((there, f"{text} {factor}", path | {there}))
    return None


def unit(reading: Reading, at: int) -> Iterator[tuple[int, str]]:
    """The name of a unit."""
    start = at + 1 if reading.low(at) in {"degrees", "degree"} else at
    if reading.low(start) in UNITS:
        yield start + 1, UNITS[reading.low(start)]


def quantity(reading: Reading, at: int) -> Iterator[tuple[int, tuple[tuple[str, str], ...]]]:
    """A measure: `3 days`, `an hour`, `2 hours and 30 minutes`."""
    first = _measure(reading, at)
    if first is None:
        return
    end, found = first[0], [first[1]]
    yield end, tuple(found)
    while len(found) < 4:
        joint = end + 1 if reading.low(end) in {"and", ","} else end
        following = _measure(reading, joint)
        if following is None:
            return
        end = following[0]
        found.append(following[1])
        yield end, tuple(found)


def _measure(reading: Reading, at: int) -> tuple[int, tuple[str, str]] | None:
    if reading.low(at) == "half" and reading.low(at + 1) in {"a", "an"} and reading.low(at + 2) in UNITS:
        return at + 3, ("0.5", UNITS[reading.low(at + 2)])
    if reading.low(at) in {"a", "an", "one"} and reading.low(at + 1) in UNITS:
        return at + 2, ("1", UNITS[reading.low(at + 1)])
    for end, amount in operand(reading, at):
        start = end + 1 if reading.low(end) in {"degrees", "degree"} else end
        if not amount.percent and reading.low(start) in UNITS:
            return start + 1, (amount.text, UNITS[reading.low(start)])
    return None


def converted(measures: tuple[tuple[str, str], ...], wanted: str) -> str | None:
    """All measures together in one unit."""
    parts = [amount if unit == wanted else convert(amount, unit, wanted) for amount, unit in measures]
    if None in parts or (len(parts) == 1 and measures[0][1] == wanted):
        return None
    return " + ".join(part for part in parts if part is not None)

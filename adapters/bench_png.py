"""A picture made of rectangles and small letters, written as a PNG with the standard library alone.

`trouper bench --png` needs bars, lines and words, and nothing that would be worth a plotting library on every machine
that runs it. The picture is the same bytes for the same figures.

Source: the PNG specification (signature, IHDR, one zlib stream of unfiltered rows, IEND).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

Colour = tuple[int, int, int]

WHITE: Colour = (255, 255, 255)
BLACK: Colour = (30, 30, 34)

# Each letter is nine rows of five points from top to bottom, the baseline below the seventh; a row is one digit of
# base 32, its highest bit the leftmost point. There are small letters only: text is drawn in lower case.
_LETTERS = {
    "a": "00e1fhf00",
    "b": "gguhhhu00",
    "c": "00fgggf00",
    "d": "11fhhhf00",
    "e": "00ehvgf00",
    "f": "68u888800",
    "g": "00fhhhf1e",
    "h": "gguhhhh00",
    "i": "40c444e00",
    "j": "2062222ic",
    "k": "ggikoki00",
    "l": "c44444e00",
    "m": "00qllll00",
    "n": "00uhhhh00",
    "o": "00ehhhe00",
    "p": "00uhhhugg",
    "q": "00fhhhf11",
    "r": "00moggg00",
    "s": "00fge1u00",
    "t": "88u888600",
    "u": "00hhhhf00",
    "v": "00hhha400",
    "w": "00lllla00",
    "x": "00ha4ah00",
    "y": "00hhhhf1e",
    "z": "00v248v00",
    "0": "ehjlphe00",
    "1": "4c4444e00",
    "2": "eh168gv00",
    "3": "u11e11u00",
    "4": "26aiv2200",
    "5": "vgu11he00",
    "6": "68guhhe00",
    "7": "v12448800",
    "8": "ehhehhe00",
    "9": "ehhf12c00",
    ".": "00000cc00",
    ",": "00000cc48",
    ":": "00cc0cc00",
    "-": "000v00000",
    "_": "0000000v0",
    "+": "044v44000",
    "=": "00v0v0000",
    "/": "122488g00",
    "%": "pq248bj00",
    "(": "248884200",
    ")": "842224800",
    "'": "448000000",
    " ": "000000000",
}
_DIGITS = "0123456789abcdefghijklmnopqrstuv"
LETTER_WIDTH = 6
"""Points from one letter to the next, at scale 1."""
LETTER_HEIGHT = 9


class Picture:
    """A canvas of `width` x `height` points, white at first; what is drawn outside of it is not seen."""

    def __init__(self, width: int, height: int) -> None:
        self.width: int = width
        self.height: int = height
        self._rows = [bytearray(bytes(WHITE) * width) for _ in range(height)]

    def box(self, left: float, top: float, width: float, height: float, colour: Colour) -> None:
        """Fill a rectangle."""
        first, last = max(0, round(left)), min(self.width, round(left + width))
        if last <= first:
            return
        line = bytes(colour) * (last - first)
        for y in range(max(0, round(top)), min(self.height, round(top + height))):
            self._rows[y][3 * first : 3 * last] = line

    def dashes(self, left: float, top: float, height: float, colour: Colour, *, thick: int = 2) -> None:
        """Draw a dashed line downwards."""
        for y in range(round(top), round(top + height), 10):
            self.box(left, y, thick, min(6.0, top + height - y), colour)

    def text(self, left: float, top: float, words: str, *, scale: int = 2, colour: Colour = BLACK) -> None:
        """Write one line of text; its first letter begins at `left`, its capitals would at `top`."""
        for n, letter in enumerate(words.lower()):
            for x, y in _points(letter):
                self.box(left + (n * LETTER_WIDTH + x) * scale, top + y * scale, scale, scale, colour)

    def png(self) -> bytes:
        """The picture as a file."""
        head = struct.pack(">IIBBBBB", self.width, self.height, 8, 2, 0, 0, 0)
        rows = zlib.compress(b"".join(b"\0" + bytes(row) for row in self._rows), 9)
        return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")


def text_width(words: str, *, scale: int = 2) -> int:
    """How many points a line of text takes."""
    return len(words) * LETTER_WIDTH * scale


def _points(letter: str) -> Iterator[tuple[int, int]]:
    for y, digit in enumerate(_LETTERS.get(letter, _LETTERS["-"])):
        bits = _DIGITS.index(digit)
        for x in range(5):
            if bits >> (4 - x) & 1:
                yield x, y


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

"""Server-sent events: the same events however the bytes are cut, and no line without a bound."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trouper.adapters.wire_sse import SseDecoder, SseError, SseEvent


def decode(*chunks: bytes, **bounds: int) -> list[SseEvent]:
    decoder = SseDecoder(**bounds)
    return [event for chunk in chunks for event in decoder.feed(chunk)]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_the_three_line_ends_are_the_same(end: bytes) -> None:
    lines = [b"\xef\xbb\xbf: comment", b"event: note", b"data: one", b"data:two", b"id: 7", b"", b"data:  x", b"", b""]

    assert decode(end.join(lines)) == [SseEvent("one\ntwo", "note"), SseEvent(" x")]


def test_an_event_without_data_is_none_and_an_unfinished_one_is_not_given_out() -> None:
    assert decode(b"event: empty\n\ndata: cut\n") == []


lines = st.sampled_from(
    [b"data: a", b"data: \xc3\xb6\xe6\xbc\xa2", b": note", b"event: error", b"", b"", b"data", b"id: 1"]
)


@given(
    parts=st.lists(st.tuples(lines, st.sampled_from([b"\n", b"\r\n", b"\r"])), max_size=12),
    cuts=st.lists(st.integers(0, 120), max_size=12),
)
@example(parts=[(b"data: a", b"\r\n"), (b"", b"\r\n")], cuts=[8, 10])
def test_any_cut_gives_the_same_events(parts, cuts) -> None:
    whole = b"".join(line + end for line, end in parts)
    places = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    pieces = [whole[a:b] for a, b in pairwise(places)]

    assert decode(*pieces) == decode(whole) == decode(*[bytes([byte]) for byte in whole])


def test_a_line_and_an_event_have_bounds() -> None:
    with pytest.raises(SseError, match="a line is longer than 100 bytes"):
        decode(*[b"x" * 10] * 11, max_line=100)
    with pytest.raises(SseError, match="an event is longer than 100 bytes"):
        decode(*[b"data: 123456789\n"] * 11, max_event=100)


def test_a_line_that_is_not_utf8_is_an_error() -> None:
    with pytest.raises(SseError, match="not UTF-8"):
        decode(b"data: \xff\n\n")

"""Claims that any tool makes are checked from the outside; what has no known shape is not judged."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trouper.actors.claims import check_claims
from trouper.actors.tool import Checked

TEXT = b"one\ntwo TODO\nthree"
SHA = hashlib.sha256(TEXT).hexdigest()


class Files:
    def __init__(self, **files):
        self.files = files
        self.reads = []

    async def read(self, path):
        self.reads.append(path)
        return self.files.get(path)


def evidence():
    return Files(**{"a.txt": TEXT})


MATCHES = [{"path": "a.txt", "line": 2, "text": "two TODO"}]


@pytest.mark.parametrize(
    "claim",
    [
        {"path": "a.txt", "sha256": SHA, "bytes": len(TEXT), "lines": 3},
        {"path": "a.txt", "lines": 2},  # as `wc -l` counts
        {"file": "a.txt", "size": len(TEXT), "words": 4},
        {"filename": "a.txt", "sha256": SHA.upper()},
        {"path": "a.txt", "exists": True},
        {"path": "b.txt", "exists": False, "bytes": 0},
        {"count": 1, "matches": MATCHES},
        {"total": 1, "matches": [{"path": "a.txt", "line": 2, "text": "  two TODO "}]},
        {"count": 9, "truncated": True, "matches": [{"path": "a.txt", "line": 2, "text": "two…"}]},
        {"count": 3, "by_file": {"a.txt": 1, "b.txt": 2}, "files": 2},
        {"count": 2, "memories": [{}, {}]},
        [{"path": "a.txt", "bytes": len(TEXT)}],
    ],
)
async def test_a_true_claim_is_ok(claim):
    checked = await check_claims(claim, evidence())

    assert checked.verdict == "ok", checked


@pytest.mark.parametrize(
    ("claim", "problem"),
    [
        ({"path": "a.txt", "sha256": "0" * 64}, "claims sha256"),
        ({"path": "a.txt", "bytes": 17}, "claims bytes 17, the file has 18"),
        ({"path": "a.txt", "lines": 999}, "claims lines 999, the file has 3"),
        ({"path": "a.txt", "words": 1}, "claims words 1"),
        ({"path": "a.txt", "exists": False}, "claims exists False"),
        ({"path": "b.txt", "lines": 1}, "b.txt: there is no such file"),
        ({"count": 2, "matches": MATCHES}, "claims 2 matches and lists 1"),
        ({"count": 5, "items": []}, "claims 5 items and lists 0"),
        ({"matches": [{"path": "a.txt", "line": 1, "text": "two TODO"}]}, "a.txt:1 does not read 'two TODO'"),
        ({"matches": [{"path": "a.txt", "line": 4, "text": "x"}]}, "a.txt:4"),
        ({"matches": [{"path": "nowhere", "line": 1, "text": "x"}]}, "nowhere:1"),
        ({"count": 4, "by_file": {"a": 1, "b": 2}}, "claims 4 in total and 3 over its files"),
        ({"files": 3, "by_file": {"a": 1}}, "claims 3 files and lists 1"),
        ([{"path": "a.txt", "lines": 3}, {"path": "a.txt", "lines": 7}], "claims lines 7"),
    ],
)
async def test_a_false_claim_is_refuted(claim, problem):
    checked = await check_claims(claim, evidence())

    assert checked.verdict == "refuted"
    assert any(problem in p for p in checked.problems), checked


@pytest.mark.parametrize(
    "result",
    [
        None,
        3,
        "path",
        [],
        {},
        {"path": "a.txt"},
        {"path": 3, "lines": 3},
        {"path": "a.txt", "sha256": "short"},
        {"path": "a.txt", "lines": "3"},
        {"path": "a.txt", "lines": True},
        {"items": [{"price": 3}], "total": 30},  # a sum of money
        {"count": 5},
        {"count": 2, "items": [1], "matches": []},
        {"url": "http://x", "bytes": 3},
        {"matches": [{"path": "a.txt", "line": 0, "text": ""}]},
        {"matches": ["a", None]},
        {"by_file": {"a": "x"}, "count": 1},
    ],
)
async def test_what_has_no_known_shape_is_unverifiable(result):
    assert await check_claims(result, evidence()) == Checked()
    assert (await check_claims(result, evidence())).verdict == "unverifiable"


async def test_each_file_is_read_once_and_at_most_a_bounded_number():
    files = evidence()
    many = [{"path": f"f{i}", "line": 1, "text": "x"} for i in range(5000)]

    await check_claims({"matches": MATCHES * 50, "path": "a.txt", "lines": 3}, files)
    assert files.reads == ["a.txt"]
    await check_claims({"matches": many}, files)
    assert len(files.reads) <= 201


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.just("a.txt"),
        lambda inner: st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["path", "lines", "bytes", "sha256", "matches", "count", "by_file", "files", "text", "line"]
            ),
            inner,
            max_size=5,
        ),
    )
)
async def test_no_result_breaks_the_check(result):
    checked = await check_claims(result, evidence())

    assert checked.verdict in ("ok", "refuted", "unverifiable")

"""What a vector index promises beside its answers: what it expects, how wrong it may be, that it lets go."""

from __future__ import annotations

import _ctypes
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from trouper.actors.memory_data import selection_of
from trouper.adapters import index_faiss
from trouper.adapters.index_faiss import FaissIndex
from trouper.adapters.index_numpy import NumpyIndex
from trouper.adapters.index_vectors import ids_in
from trouper.adapters.native_loading import map_ahead

DIM = 16


def matrix_of(count: int, seed: int = 0, *, around: int = 0, dim: int = DIM, spread: float = 0.25) -> np.ndarray:
    """Vectors of length one; without any order, or around so many centres."""
    rng = np.random.default_rng(seed)
    made = rng.normal(size=(count, dim))
    if around:
        made = spread * made + np.random.default_rng(7).normal(size=(around, dim))[rng.integers(0, around, count)]
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype("<f4")


def put(index, matrix: np.ndarray, first: int = 1):
    index.add(range(first, first + len(matrix)), [row.tobytes() for row in matrix])
    return index


def best_of(matrix: np.ndarray, query: np.ndarray, k: int, among: set[int]) -> list[int]:
    """Ids from 1, by float64."""
    scores = matrix.astype(float) @ query.astype(float)
    return sorted((n + 1 for n in range(len(matrix)) if n + 1 in among), key=lambda n: (-scores[n - 1], n))[:k]


def half_of_many(dim: int) -> FaissIndex:
    """One in half precision."""
    index = FaissIndex(dim)
    index.expect(60_000)
    return index


# ------------------------------------------------------------------ expecting
def test_what_is_expected_decides_the_kind_of_an_empty_index() -> None:
    """100,000 vectors are not first put into an index for 50,000 that is then made again."""
    index = FaissIndex(DIM)
    index.expect(100_000)

    assert index.kind == "fp16"
    put(index, matrix_of(300))
    assert [n for n, _ in index.search(matrix_of(300)[8].tobytes(), 1)] == [9]
    index.expect(10)
    assert index.kind == "fp16", "it has vectors: it is made again elsewhere"


@pytest.mark.parametrize(
    ("wanted", "count", "kind"),
    [
        ("auto", 10, "flat"),
        ("auto", 10**6, "fp16"),
        ("flat", 10**5, "flat"),
        ("ivf", 10**5, "flat"),
        ("hnsw", 9, "hnsw"),
    ],
)
def test_what_is_expected_is_never_a_kind_that_needs_training(wanted, count: int, kind: str) -> None:
    index = FaissIndex(4, wanted)
    index.expect(count)

    assert index.kind == kind
    assert index.search(matrix_of(1, dim=4)[0].tobytes(), 3) == ()


@pytest.mark.parametrize("make", [FaissIndex, NumpyIndex])
def test_a_wrong_expectation_changes_no_answer(make) -> None:
    matrix = matrix_of(200)
    index = make(DIM)
    for count in (7, 0, 500, 7):
        index.expect(count)
    put(index, matrix)
    index.expect(10**9)

    query = matrix_of(1, 5)[0]
    assert [n for n, _ in index.search(query.tobytes(), 20)] == best_of(matrix, query, 20, set(range(1, 201)))


@pytest.mark.parametrize("make", [FaissIndex, NumpyIndex])
def test_a_cleared_index_has_nothing_and_takes_vectors_again(make) -> None:
    index = put(make(DIM), matrix_of(50))
    index.clear()

    assert (len(index), index.ids(), 3 in index) == (0, frozenset(), False)
    assert index.search(matrix_of(50)[2].tobytes(), 5) == ()
    put(index, matrix_of(5))
    assert [n for n, _ in index.search(matrix_of(5)[2].tobytes(), 1)] == [3]


@pytest.mark.parametrize("wanted", ["flat", "ivf"])
def test_clearing_leaves_nothing_for_whoever_lets_the_index_go(wanted) -> None:
    """FAISS holds the interpreter's lock while it destroys an index: that has to be little."""
    index = put(FaissIndex(DIM, wanted), matrix_of(2_500))
    index = index.successor()() if index.outgrown() else index
    inside = index._index
    index.clear()

    assert index.kind == wanted
    if wanted == "ivf":
        assert sum(inside.invlists.list_size(n) for n in range(inside.nlist)) == 0
    else:
        assert inside.ntotal == 0


@pytest.mark.io
@pytest.mark.parametrize("make", [FaissIndex, half_of_many])
def test_room_that_was_made_is_not_written_down(make, tmp_path: Path) -> None:
    """What was loaded and saved again is the same file, and what was expected and did not come is not in it."""
    path, again = tmp_path / "index", tmp_path / "again"
    index = make(DIM)
    index.expect(1_000)
    put(index, matrix_of(90)).save(str(path), stamp="s")
    loaded = FaissIndex(DIM)
    assert loaded.load(str(path), stamp="s")
    loaded.save(str(again), stamp="s")

    assert path.read_bytes() == again.read_bytes()
    assert path.stat().st_size < 90 * (4 * DIM + 8) + 1_000
    assert FaissIndex(DIM).load(str(again), stamp="s")


@pytest.mark.parametrize("make", [FaissIndex, NumpyIndex])
def test_of_many_vectors_all_go_in_or_none(make) -> None:
    """They are put in piece by piece; the last of 5,000 is wrong, and it says which."""
    index, matrix = make(DIM), matrix_of(5_001)
    many = [row.tobytes() for row in matrix]
    with pytest.raises(ValueError, match="vector 5000 has 60 bytes"):
        index.add(range(5_001), [*many[:-1], many[-1][:-4]])
    assert len(index) == 0

    index.add(range(5_001), many)
    assert index.ids() == frozenset(range(5_001))
    for number in (0, 1_999, 2_000, 4_000, 5_000):
        assert index.search(many[number], 1)[0][0] == number


# ------------------------------------------------------------------ being wrong
@pytest.mark.parametrize("seed", range(5))
def test_no_score_is_further_off_than_the_index_says(seed: int) -> None:
    """Vectors without order, nearly equal ones, ones with a single large number, and what is too small for fp16."""
    rng = np.random.default_rng(seed)
    matrix = matrix_of(400, seed, dim=64)
    matrix[:50] = matrix[0] + 1e-4 * rng.normal(size=(50, 64))
    matrix[50:100] = 1e-6 * rng.normal(size=(50, 64))
    matrix[50:100, 3] = 1
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    for index, most in (
        (put(half_of_many(64), matrix), 5e-4),
        (put(FaissIndex(64), matrix), 0.0),
        (put(NumpyIndex(64), matrix), 0.0),
    ):
        assert index.error == most
        for query in matrix[::20]:
            true = matrix.astype(float) @ query.astype(float)
            found = index.search(query.tobytes(), 400)
            assert len(found) == 400
            worst = max(abs(score - true[number - 1]) for number, score in found)
            assert worst <= most + 1e-6
            scores = index.scores(query.tobytes(), range(1, 401))
            assert max(abs(scores[n] - true[n - 1]) for n in scores) <= most + 1e-6


@pytest.mark.io
def test_what_was_rounded_once_stays_rounded(tmp_path: Path) -> None:
    """An index that shrinks becomes exact in how it compares, not in what it compares; its snapshot knows that too."""
    path = str(tmp_path / "index")
    other = put(half_of_many(DIM), matrix_of(300)).successor()()
    assert (other.kind, other.error) == ("flat", 5e-4)
    other.save(path, stamp="s")

    loaded = FaissIndex(DIM)
    assert loaded.load(path, stamp="s")
    assert (loaded.kind, loaded.error) == ("flat", 5e-4)
    put(FaissIndex(DIM), matrix_of(9)).save(path, stamp="s")
    exact = FaissIndex(DIM)
    assert exact.load(path, stamp="s")
    assert exact.error == 0.0


# ------------------------------------------------------------------ filters
@pytest.mark.parametrize("share", [0.21, 0.5, 0.9])
@pytest.mark.parametrize("seed", range(3))
def test_a_filter_that_lets_many_through_gives_the_best_of_them(seed: int, share: float) -> None:
    """Whether those that are meant lie about, are the nearest, or the farthest; with equal scores at every place."""
    rng = random.Random(seed)
    matrix = matrix_of(600, seed, around=20)
    matrix[300:] = matrix[:300]
    index = put(FaissIndex(DIM), matrix)
    for query in matrix_of(4, seed + 50, around=20):
        by_score = best_of(matrix, query, 600, set(range(1, 601)))
        count = int(600 * share)
        for meant in (rng.sample(by_score, count), by_score[:count], by_score[-count:]):
            found = index.search(query.tobytes(), 7, selection_of([*meant, 5_000]))
            wanted = best_of(matrix, query, 7, set(meant))
            assert [n for n, _ in found] == wanted


def test_equal_scores_behind_a_filter_come_by_smaller_id() -> None:
    """Which of them FAISS puts among the best of all is its affair: so nobody relies on that."""
    index = FaissIndex(DIM)
    index.add(range(200, 0, -1), [matrix_of(1)[0].tobytes()] * 200)

    found = index.search(matrix_of(1)[0].tobytes(), 3, selection_of(range(2, 201, 2)))

    assert [n for n, _ in found] == [2, 4, 6]


@pytest.mark.parametrize("seed", range(5))
def test_the_ids_of_a_selection_are_found_at_once(seed: int) -> None:
    meant = random.Random(seed).sample(range(10**5), 10**seed // 10)

    assert ids_in(selection_of(meant)) == sorted(meant)


# ------------------------------------------------------------------ clusters
@pytest.mark.parametrize(("around", "few"), [(40, True), (0, False)])
def test_as_many_clusters_are_looked_into_as_the_vectors_need(around: int, *, few: bool) -> None:
    """Of vectors that lie about without any order more than of those that lie together; nearly all are found."""
    matrix = matrix_of(8_000, around=around, dim=32)
    index = put(FaissIndex(32, "ivf"), matrix)
    index = index.successor()()
    assert index.kind == "ivf"

    probes = index._index.nprobe
    assert (probes <= 20) is few
    hits = 0
    for query in matrix_of(50, 3, around=around, dim=32):
        found = {n for n, _ in index.search(query.tobytes(), 10)}
        hits += len(found.intersection(best_of(matrix, query, 10, set(range(1, 8_001)))))
    assert hits >= 0.97 * 500


@pytest.mark.parametrize("share", [2, 10, 100])
@pytest.mark.parametrize(("around", "dim"), [(2_000, 32), (400, 200), (0, 32)])
def test_a_filter_before_clusters_costs_no_memory_its_place(around: int, dim: int, share: int, monkeypatch) -> None:
    """Where few of each group are meant, the nearest of them are in other groups: more of the lists are looked into."""
    monkeypatch.setattr(index_faiss, "_ONE_BY_ONE", 10)
    matrix = matrix_of(12_000, around=around, dim=dim, spread=0.8)
    index = put(FaissIndex(dim, "ivf"), matrix).successor()()
    meant = set(random.Random(share).sample(range(1, 12_001), 12_000 // share))
    hits = 0
    for query in matrix_of(40, 3, around=around, dim=dim, spread=0.8):
        found = {n for n, _ in index.search(query.tobytes(), 10, selection_of(meant))}
        hits += len(found.intersection(best_of(matrix, query, 10, meant)))

    assert hits >= 0.97 * 400


def test_equal_vectors_do_not_look_as_if_they_were_hard_to_find() -> None:
    """The same text in the memories of two hundred people: which ten of them are found does not matter."""
    matrix = np.repeat(matrix_of(40, dim=32), 200, axis=0)
    index = put(FaissIndex(32, "ivf"), matrix).successor()()

    assert index._index.nprobe <= 20
    assert [round(score, 3) for _, score in index.search(matrix[0].tobytes(), 10)] == [1.0] * 10


@pytest.mark.io
def test_how_many_clusters_are_looked_into_is_kept(tmp_path: Path) -> None:
    index = put(FaissIndex(32, "ivf"), matrix_of(4_000, dim=32)).successor()()
    index.save(str(tmp_path / "index"), stamp="s")
    loaded = FaissIndex(32, "ivf")
    assert loaded.load(str(tmp_path / "index"), stamp="s")

    assert loaded._index.nprobe == index._index.nprobe > 16
    assert loaded.error == index.error == 5e-4


# ------------------------------------------------------------------ libraries
ONLY_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="asks /proc what is mapped, and knows its libraries")


@pytest.mark.io
@ONLY_LINUX
def test_the_library_is_mapped_before_it_is_imported() -> None:
    """Then the import, which holds the interpreter's lock, has little left to do; and nothing but that is different."""
    code = (
        "import sys; from pathlib import Path\n"
        "from trouper.adapters.native_loading import map_ahead, map_numpy_ahead\n"
        "mapped = lambda name: name in Path('/proc/self/maps').read_text()\n"
        "print(mapped('_multiarray_umath'), map_numpy_ahead(), mapped('_multiarray_umath'), 'numpy' in sys.modules)\n"
        "import numpy; print(int(numpy.arange(4).sum()), map_numpy_ahead())\n"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)

    assert run.stdout.split() == ["False", "True", "True", "False", "6", "False"]


@ONLY_LINUX
def test_what_cannot_be_mapped_is_left_to_the_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No such package, no such file, several of them, one that is no library."""
    assert not map_ahead("there_is_no_such_package", "*.so")
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "odd_package").mkdir()
    (tmp_path / "odd_package" / "__init__.py").write_text("")
    assert not map_ahead("odd_package", "*.so")
    (tmp_path / "odd_package" / "one.so").write_text("no library")
    assert not map_ahead("odd_package", "*.so")
    shutil.copy(_ctypes.__file__, tmp_path / "odd_package" / "one.so")
    assert map_ahead("odd_package", "*.so")
    shutil.copy(_ctypes.__file__, tmp_path / "odd_package" / "two.so")
    assert not map_ahead("odd_package", "*.so")

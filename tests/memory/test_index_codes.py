"""An index of lists looks by small codes and answers by the vectors: what is forgotten, added, filtered or saved."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from trouper.actors.memory_data import selection_of
from trouper.adapters import index_faiss_lists
from trouper.adapters.index_faiss import FaissIndex
from trouper.adapters.index_faiss_kinds import ROUNDING

DIM = 32


def matrix_of(count: int, seed: int = 0) -> np.ndarray:
    """Vectors of length one around 60 centres."""
    rng = np.random.default_rng(seed)
    made = np.random.default_rng(7).normal(size=(60, DIM))[rng.integers(0, 60, count)]
    made += 0.6 * rng.normal(size=(count, DIM))
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype("<f4")


def bytes_of(matrix: np.ndarray) -> list[bytes]:
    return [row.tobytes() for row in matrix]


def index_of(matrix: np.ndarray) -> FaissIndex:
    """One that was trained, with ids from 1."""
    index = FaissIndex(matrix.shape[1], "ivf")
    index.add(range(1, len(matrix) + 1), bytes_of(matrix))
    return index.successor()()


def codes_of(index: FaissIndex) -> dict[int, tuple[int, ...]]:
    """The code that is kept for each id, as it would be read by a search."""
    import faiss

    inside = faiss.downcast_InvertedLists(index._lists.codes.index.invlists)
    packer = index._lists.codes.index.get_CodePacker()
    found: dict[int, tuple[int, ...]] = {}
    code = np.empty(packer.code_size, dtype=np.uint8)
    for number in range(inside.nlist):
        size = inside.list_size(number)
        ids = faiss.rev_swig_ptr(inside.get_ids(number), size).tolist() if size else []
        for place, id_ in enumerate(ids):
            packer.unpack_1_c(inside.get_codes(number), place, faiss.swig_ptr(code))
            assert id_ not in found, "one vector, one code"
            found[id_] = tuple(code.tolist())
    return found


def hits(index: FaissIndex, inside: dict[int, np.ndarray], queries: np.ndarray, among: set[int] | None = None) -> float:
    """The share of the ten nearest that is found; every score is that of the vector."""
    ids = np.array([number for number in inside if among is None or number in among])
    matrix = np.array([inside[number] for number in ids.tolist()])
    share = 0
    for query in queries:
        true = matrix.astype(float) @ query.astype(float)
        best = set(ids[np.argsort(-true)[:10]].tolist())
        found = index.search(query.tobytes(), 10, None if among is None else selection_of(among))
        assert len(found) == 10
        by_id = dict(zip(ids.tolist(), true.tolist(), strict=True))
        assert all(abs(by_id[number] - score) <= ROUNDING + 1e-6 for number, score in found)
        assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
        share += len(best.intersection(number for number, _ in found))
    return share / (10 * len(queries))


@pytest.fixture(autouse=True)
def _worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """With as few vectors as here codes save no time: they are to be used nevertheless."""
    monkeypatch.setattr(index_faiss_lists, "_WORTH", 0)


@pytest.fixture(scope="module")
def matrix() -> np.ndarray:
    return matrix_of(5_000)


def test_what_is_found_by_codes_is_scored_by_its_vector(matrix: np.ndarray) -> None:
    index = index_of(matrix)

    assert index._lists.codes is not None
    assert index._lists.codes.to_compare(10) is not None
    inside = dict(enumerate(matrix, 1))
    assert hits(index, inside, matrix_of(60, 3)) >= 0.97
    assert hits(index, inside, matrix_of(60, 3), set(range(1, 5_001, 2))) >= 0.97


def test_what_goes_leaves_nothing_of_its_code_and_what_comes_has_its_own(matrix: np.ndarray) -> None:
    """A code that is mixed with the one that was at its place before is looked for at a wrong place, and missed."""
    index = index_of(matrix)
    codes = codes_of(index)
    rng = random.Random(4)
    gone = rng.sample(range(1, 5_001), 2_500)
    index.remove(gone)
    assert codes_of(index) == {number: code for number, code in codes.items() if number not in set(gone)}

    index.add(gone, [matrix[number - 1].tobytes() for number in gone])
    assert codes_of(index) == codes, "the same vectors have the same codes, wherever they lie"


@pytest.mark.parametrize("seed", range(4))
def test_any_history_of_changes_finds_what_is_inside_and_nothing_else(matrix: np.ndarray, seed: int) -> None:
    rng = random.Random(seed)
    index, inside = index_of(matrix), dict(enumerate(matrix, 1))
    fresh = iter(matrix_of(3_000, 50 + seed))
    for _ in range(12):
        gone = rng.sample(sorted(inside), rng.choice([1, 30, 300]))
        assert index.remove([*gone, 10**9]) == len(gone)
        for number in gone:
            del inside[number]
        come = [*rng.sample(gone, len(gone) // 2 + 1), *rng.sample(sorted(inside), 5), rng.randrange(5_001, 9_000)]
        made = [next(fresh) for _ in come]
        index.add(come, [row.tobytes() for row in made])
        inside.update(zip(come, made, strict=True))
        assert index.ids() == inside.keys()
        assert codes_of(index).keys() == inside.keys()
        assert hits(index, inside, matrix_of(5, rng.randrange(10**6))) >= 0.9
    assert hits(index, inside, matrix_of(60, 3)) >= 0.97
    for number in rng.sample(sorted(inside), 40):
        assert index.search(inside[number].tobytes(), 1)[0][0] == number


@pytest.mark.parametrize("wanted", [1, 50, 900, 5_000])
def test_as_many_are_found_as_are_wanted(matrix: np.ndarray, wanted: int) -> None:
    index = index_of(matrix)

    found = index.search(matrix[3].tobytes(), wanted)

    assert len(found) == len({number for number, _ in found}) == wanted
    assert found[0][0] == 4


def test_vectors_that_do_not_come_apart_have_no_codes_and_are_found() -> None:
    rng = np.random.default_rng(1)
    matrix = rng.normal(size=(2_500, 37)).astype("<f4")
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    index = FaissIndex(37, "ivf")
    index.add(range(1, 2_501), bytes_of(matrix))
    index = index.successor()()

    assert (index.kind, index.outgrown()) == ("ivf", False)
    assert index._lists.codes is None
    for number in range(1, 2_500, 100):
        assert index.search(matrix[number - 1].tobytes(), 1)[0][0] == number
    index.remove([5])
    assert 5 not in {number for number, _ in index.search(matrix[4].tobytes(), 20)}


def test_where_few_are_looked_at_there_are_no_codes(matrix: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()

    index = index_of(matrix)

    assert index._lists.codes is None
    assert not index.outgrown()
    assert hits(index, dict(enumerate(matrix, 1)), matrix_of(40, 3)) >= 0.97


def test_a_question_of_nothing_but_zeros_is_answered(matrix: np.ndarray) -> None:
    index = index_of(matrix)

    found = index.search(bytes(4 * DIM), 10)

    assert [score for _, score in found] == [0.0] * 10


@pytest.mark.io
def test_codes_are_saved_with_the_vectors_and_answer_the_same(matrix: np.ndarray, tmp_path: Path) -> None:
    path = str(tmp_path / "index")
    index = index_of(matrix)
    index.remove(range(1, 300))
    index.save(path, stamp="s")

    loaded = FaissIndex(DIM, "ivf")
    assert loaded.load(path, stamp="s")
    assert not loaded.outgrown()
    assert codes_of(loaded) == codes_of(index)
    assert loaded._lists.codes.fetch == index._lists.codes.fetch
    for query in matrix_of(20, 3):
        assert loaded.search(query.tobytes(), 10) == index.search(query.tobytes(), 10)
    loaded.add([1], [matrix[0].tobytes()])
    loaded.remove([400])
    assert codes_of(loaded).keys() == loaded.ids()


@pytest.mark.io
def test_an_index_of_an_earlier_version_is_read_and_trained_again(matrix: np.ndarray, tmp_path: Path) -> None:
    """Its centres were compared one by one, and it had no codes."""
    import faiss

    from trouper.adapters.index_snapshot import write_snapshot

    former = faiss.IndexIVFScalarQuantizer(faiss.IndexFlatIP(DIM), DIM, 100, faiss.ScalarQuantizer.QT_fp16, 0)
    former.by_residual = False
    former.train(matrix)
    former.set_direct_map_type(faiss.DirectMap.Hashtable)
    former.add_with_ids(matrix, np.arange(1, 5_001))
    former.nprobe = 40
    path = str(tmp_path / "index")
    write_snapshot(path, lambda p: faiss.write_index(former, p), kind="faiss-ivf", dim=DIM, count=5_000, stamp="s")

    index = FaissIndex(DIM, "ivf")
    assert index.load(path, stamp="s")
    inside = dict(enumerate(matrix, 1))
    assert hits(index, inside, matrix_of(40, 3)) >= 0.97
    index.remove([3])
    assert index.outgrown()
    index.save(path, stamp="s")
    assert FaissIndex(DIM, "ivf").load(path, stamp="s")
    successor = index.successor()()
    assert successor._lists.codes is not None
    assert not successor.outgrown()
    assert successor.ids() == set(range(1, 5_001)) - {3}


@pytest.mark.io
def test_codes_of_other_vectors_are_not_believed(matrix: np.ndarray, tmp_path: Path) -> None:
    """A whole file with a seal that fits, whose codes are fewer than its vectors, or are no codes, or are missing."""
    import faiss

    from trouper.adapters.index_faiss_lists import write_codes
    from trouper.adapters.index_snapshot import write_snapshot

    index = index_of(matrix)

    def fits(write) -> bool:
        path = str(tmp_path / "index")
        write_snapshot(path, write, kind="faiss-ivf-codes", dim=DIM, count=5_000, stamp="s")
        return FaissIndex(DIM, "ivf").load(path, stamp="s")

    def twice(path: str) -> None:
        writer = faiss.FileIOWriter(path)
        faiss.write_index(index._index, writer)
        faiss.write_index(index._index, writer)

    assert fits(lambda path: write_codes(faiss, index._lists, path))
    assert not fits(lambda path: faiss.write_index(index._index, path))
    assert not fits(twice)
    index._lists.codes.index.remove_ids(np.array([7]))
    assert not fits(lambda path: write_codes(faiss, index._lists, path))


def test_a_cleared_index_has_no_codes_left(matrix: np.ndarray) -> None:
    index = index_of(matrix)
    codes = index._lists.codes.index
    index.clear()

    assert sum(codes.invlists.list_size(n) for n in range(codes.nlist)) == 0
    assert index.search(matrix[0].tobytes(), 3) == ()
    index.add([9], [matrix[0].tobytes()])
    assert index.search(matrix[0].tobytes(), 3)[0][0] == 9

"""An `ivf` index as a whole: the vectors in lists, the centres to choose lists by, and the codes to choose vectors by.

The vectors, in half precision, are what counts: what is not among them is never found, and every score is of them. The
centres and codes only say where it is worth looking; a search that they cannot serve does without them.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, BinaryIO

from trouper.actors.memory_data import Selection

from .index_faiss_clusters import Centres, clustered, look
from .index_faiss_codes import Codes, coded, enough_fetched
from .index_faiss_trial import Trial, to_be_left, to_be_tried
from .index_vectors import scores_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .index_vectors import Matrix

_FOR_CODES = 0.25
"""Where fewer are meant it is quicker to pass the others by than to compare their codes."""
_AMONG = 32
"""Where one of so many is meant, at least so many times as many lists are looked into."""
_WORTH = 60
"""To find a vector by its code and compare it then costs as much as codes save for so many vectors in the lists."""
_LIST_BITS = 32
"""Behind the list in which a vector is, FAISS's map has its place in it."""


class Lists:
    """Vectors in lists; for one owner, who does not change them while they are searched.

    Args:
        vectors: FAISS's index of the vectors, with a map of where each id is.
        codes: Those of all the vectors, if there are any.
    """

    def __init__(self, faiss: ModuleType, vectors: Any, codes: Codes | None) -> None:
        self.vectors: Any = vectors
        self.codes: Codes | None = codes
        self._centres = Centres(faiss, vectors)

    def search(
        self, faiss: ModuleType, query: Matrix, fetch: int, among: Selection | None, *, everywhere: bool = False
    ) -> list[tuple[int, float]]:
        """Ids and scores of the nearest that are meant, in any order, at least `fetch` if there are so many near."""
        near = self._centres.near(query, self.vectors.nlist if everywhere else self._probes(among))
        selector = None if among is None else among_only(faiss, among)
        codes = self.codes
        share = 1.0 if among is None else among.count / max(1, self.vectors.ntotal)
        compared = None if codes is None or everywhere or share < _FOR_CODES else codes.to_compare(fetch)
        if codes is not None and compared is not None:
            _, found = look(faiss, codes.index, query, compared, near, selector)
            ids = found[0][found[0] >= 0]
            if len(ids) >= fetch:
                return list(scores_of(self.vectors.reconstruct_batch(ids), query[0], ids.tolist()).items())
        scores, found = look(faiss, self.vectors, query, fetch, near, selector)
        return [pair for pair in zip(found[0].tolist(), scores[0].tolist(), strict=True) if pair[0] >= 0]

    def add(self, matrix: Matrix, ids: NDArray[np.int64]) -> None:
        """Add vectors under ids that are not there."""
        self.vectors.add_with_ids(matrix, ids)
        if self.codes is not None:
            self.codes.index.add_with_ids(matrix, ids)

    def remove(self, faiss: ModuleType, ids: NDArray[np.int64]) -> None:
        """Remove ids that are there."""
        if self.codes is not None:
            where = self.vectors.direct_map
            self.codes.remove(faiss, ids, [where.get(number) >> _LIST_BITS for number in ids.tolist()])
        self.vectors.remove_ids(ids)

    def outdated(self, faiss: ModuleType) -> bool:
        """Whether it was read from a file of an earlier version, which had neither cells nor codes."""
        return not isinstance(faiss.downcast_index(self.vectors.quantizer), faiss.IndexIVFFlat)

    def _probes(self, among: Selection | None) -> int:
        """Into how many lists to look.

        Where one of a hundred is meant, the nearest of them lie further away. How many more lists it takes was tried:
        690,000 passages want ten times as many, whether those that are meant lie about or are about one subject; and
        vectors in tight groups a hundred times their few, for what is nearest then lies in other groups.
        """
        probes: int = self.vectors.nprobe
        if among is not None:
            one_of = max(1.0, self.vectors.ntotal / max(1, among.count))
            probes = int(max(probes * one_of**0.5, _AMONG * one_of))
        lists: int = self.vectors.nlist
        return min(lists, probes)


def among_only(faiss: ModuleType, among: Selection) -> Any:
    """What lets only the ids of a selection pass."""
    import numpy as np

    return faiss.IDSelectorBitmap(np.frombuffer(bytes(among.bits) or b"\0", dtype=np.uint8))


def write_codes(faiss: ModuleType, lists: Lists, path: str) -> None:
    """Write the vectors, their codes, and how many of these have to be found, into one file."""
    import numpy as np

    if lists.codes is None:
        raise ValueError("there are no codes to be written")
    writer = faiss.FileIOWriter(path)
    faiss.write_index(lists.vectors, writer)
    faiss.write_index(lists.codes.index, writer)
    del writer  # which closes the file
    with Path(path).open("ab") as file:
        file.write(np.int64(lists.codes.fetch).astype("<i8").tobytes())


def read_codes(faiss: ModuleType, vectors: Any, reader: Any, file: BinaryIO) -> Codes:
    """What `write_codes` wrote behind the vectors. Raises ValueError: these are not their codes."""
    index = faiss.read_index(reader)
    fetch = int.from_bytes(file.read(8), "little")
    fits = isinstance(index, faiss.IndexIVFPQFastScan) and (index.d, index.nlist) == (vectors.d, vectors.nlist)
    if not fits or index.ntotal != vectors.ntotal or not fetch:
        raise ValueError("the codes in it are not those of its vectors")
    return Codes(index, fetch)


def made_of(faiss: ModuleType, ids: NDArray[np.int64], matrix: Matrix) -> Lists:
    """These vectors in lists, `ids` ascending; of a million it takes a minute or two."""
    tried = to_be_tried(len(ids))
    vectors, where = clustered(faiss, ids, matrix, to_be_left(tried, len(ids)))
    made = Lists(faiss, vectors, None)
    trial = Trial(faiss, ids, matrix, tried)
    vectors.nprobe, within = trial.enough_probes(made._centres, where, vectors.nlist)
    codes = coded(faiss, vectors, ids, matrix, where)
    if codes is None:
        return made
    near = made._centres.near(trial.queries, vectors.nprobe)
    fetch = enough_fetched(faiss, codes, trial, near, within)
    looked_at = vectors.nprobe * len(ids) / vectors.nlist
    if fetch is not None and looked_at >= _WORTH * fetch:
        codes.fetch = fetch
        made.codes = codes
    return made

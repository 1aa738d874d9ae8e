"""A kind of index of one's own, outside of the package and of the SavedModel: it never finds one of the rows."""

import numpy as np

from tfrs_twotower.configuration import config
from tfrs_twotower.index import SERVER, IndexKind, TopK


@config
class Blind(IndexKind):
    """Exact search of all rows but one."""

    place = SERVER
    row: int = 2

    def build(self, vectors, settings, seed=0):
        BlindIndex.built += 1
        return BlindIndex(vectors, self.row)

    def save(self, index, folder):
        np.save(folder / "vectors.npy", index.vectors)

    def load(self, folder):
        return BlindIndex(np.load(folder / "vectors.npy"), self.row)


class BlindIndex:
    """A `CandidateIndex`, NumPy in and out."""

    exact, built, broken = False, 0, False

    def __init__(self, vectors, row):
        self.vectors, self.row = vectors, row
        self.size, self.dim = vectors.shape

    def search(self, queries, k):
        assert isinstance(queries, np.ndarray) and isinstance(k, int)
        if self.broken:
            raise OSError("no answer")
        scores = queries @ self.vectors.T
        scores[:, self.row] = -np.inf
        rows = np.argsort(-scores, axis=1, kind="stable")[:, :k].astype(np.int32)
        scores = np.take_along_axis(scores, rows, axis=1)
        return TopK(scores, np.where(np.isfinite(scores), rows, -1))

    def settings(self):
        return {"kind": "blind", "row": self.row}

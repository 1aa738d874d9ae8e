"""EASE's weights between the most frequent items, factorised into vectors for an inner product."""

from pathlib import Path

import numpy as np
from scipy import sparse

from tfrs_twotower.durable import DAMAGED_NPZ, written_aside
from tfrs_twotower.errors import EvaluationError, TrainingError
from tfrs_twotower.evaluation import EASE
from tfrs_twotower.evaluation.baselines import ease
from tfrs_twotower.models import NeighbourVectors

FILE = "neighbours.npz"
_OVERSAMPLING, _ITERATIONS = 10, 4
_NOTHING = 1e-6  # a sum of vectors that is shorter is rounding error


class NeighbourFit:
    """`NeighbourVectors` of training events, for any penalty.

    B are EASE's weights for the most frequent items (Steck 2019), V the r leading eigenvectors of (X B)ᵀ X B. Of all
    matrices C of rank r, C = B V Vᵀ minimises |X B − X C| (Eckart and Young). So the vector of a history is a sum of
    rows of B V, and that of an item is a row of V. As V's columns are orthonormal, |x B V| is the size of the scores
    of a history x. With its direction alone, all users' scores have the same size.

    Users and items have weights (Park et al. 2025, "Why is Normalization Necessary for Linear Recommenders?"). A user
    with m items counts m^−`user_power` times in XᵀX, so that a few users with thousands of items do not decide. The
    scores of an item that c users have are multiplied by c^−`item_power`, before the eigenvectors are computed.

    Args:
      visits: float32 CSR [users, n] X: 1 for each pair of a user and an item.
      items: the number of most frequent items that have vectors.
      user_power: 0 or more; 0: each user counts once.
    """

    def __init__(self, visits: sparse.csr_matrix, items: int, user_power: float = 0.0) -> None:
        counts = np.asarray(visits.sum(axis=0)).ravel()
        most = np.argsort(-counts, kind="stable")[:items]
        self._kept, self._catalogue = most[counts[most] > 0], visits.shape[1]
        self._counts = counts[self._kept]
        visits = sparse.csr_matrix(visits[:, self._kept])
        sizes = np.maximum(np.asarray(visits.sum(axis=1)).ravel(), 1.0)
        weights = sizes**-user_power
        weights *= sizes.sum() / (weights * sizes).sum()  # so that a penalty means the same for all powers
        self._visits = sparse.csr_matrix(sparse.diags(np.sqrt(weights).astype(np.float32)) @ visits)
        self._gram = (self._visits.T @ self._visits).toarray()
        self._last: tuple[float, np.ndarray] | None = None

    def expected_seconds(self) -> float:
        """Estimated seconds of `weights` of a new penalty."""
        return ease.expected_seconds(len(self._kept))

    def vectors(self, penalty: float, dim: int, seed: int = 0, item_power: float = 0.0) -> NeighbourVectors:
        """The `NeighbourVectors`.

        Args:
          penalty: λ of EASE. It is raised tenfold if the weights would not be exact.
          item_power: 0 or more; above 0 frequent items get smaller scores.
          dim: length of the vectors; if fewer items are known, the rest is zeros.
          seed: of the eigenvectors' start.
        """
        past, found = (np.zeros([self._catalogue, dim], np.float32) for _ in range(2))
        rank = min(dim, len(self._kept))
        if rank > 1:
            weights = self.weights(penalty) * (self._counts / self._counts.mean()) ** np.float32(-item_power)
            basis = _leading(weights, self._gram, rank, seed)
            rows = weights @ basis
            rows[np.linalg.norm(rows, axis=1) < _NOTHING] = 0.0
            # Items are about as long as the towers' unit vectors.
            past[self._kept, :rank], found[self._kept, :rank] = rows, basis * np.sqrt(len(self._kept) / rank)
        return NeighbourVectors(past, found)

    def has(self, penalty: float) -> bool:
        """Whether `weights` of this penalty are those that were asked for last."""
        return self._last is not None and self._last[0] == penalty

    def weights(self, penalty: float) -> np.ndarray:
        """float32 [kept items, kept items]: EASE's weights. The last ones are kept, for vectors of several lengths."""
        if len(self._kept) < 2:
            return np.zeros(2 * [len(self._kept)], np.float32)
        asked = penalty
        while not self.has(asked):
            try:
                self._last = asked, EASE(self._visits, penalty, self._gram).weights
            except EvaluationError:
                penalty *= 10.0
        return self._last[1]  # type: ignore[index]  # it has them


def keep(folder: str | Path, keys: np.ndarray, vectors: NeighbourVectors) -> None:
    """Writes `NeighbourVectors` into a training's folder. keys: int64 [n], the items' keys in other runs."""
    known, folder = vectors.items.any(axis=1), Path(folder)
    with written_aside(folder / FILE) as f:
        np.savez(f, keys=keys[known], past=vectors.past[known], items=vectors.items[known])


def kept(folder: str | Path, keys: np.ndarray) -> NeighbourVectors:
    """The `NeighbourVectors` that `keep` wrote, in the order of `keys`; zeros for an item that they lack.

    Raises:
      TrainingError: they cannot be read.
    """
    file = Path(folder) / FILE
    try:
        with np.load(file, allow_pickle=False) as arrays:
            names, parts = arrays["keys"], (arrays["past"], arrays["items"])
    except DAMAGED_NPZ as error:
        raise TrainingError(f"{file} cannot be read ({error}). Train the run anew.") from error
    order = np.argsort(names)
    place = np.searchsorted(names[order], keys)
    at = np.append(order, len(names))[place]  # a row of zeros is at the end
    at[np.append(names, 0)[at] != keys] = len(names)
    return NeighbourVectors(*(np.pad(part, [(0, 1), (0, 0)])[at] for part in parts))


def pooled(history: sparse.csr_matrix, past: np.ndarray) -> np.ndarray:
    """float32 [q, dim]: each row's sum of `past` vectors, scaled to the length √dim; zeros without a known item.

    Args:
      history: float CSR [q, n], a row for each history: 1 for each of its items.
      past: as in `NeighbourVectors`.
    """
    sums = np.asarray(history @ past, np.float32)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.sqrt(np.float32(past.shape[1])) * sums / np.maximum(lengths, _NOTHING)


def _leading(weights: np.ndarray, gram: np.ndarray, rank: int, seed: int) -> np.ndarray:
    """float32 [n, rank], orthonormal: the leading eigenvectors of weightsᵀ gram weights, by subspace iteration."""
    rng, size = np.random.default_rng(seed), len(weights)
    basis = rng.normal(size=(size, min(rank + _OVERSAMPLING, size))).astype(np.float32)
    for _ in range(_ITERATIONS):
        basis = np.linalg.qr(basis)[0]
        basis = weights.T @ (gram @ (weights @ basis))
    basis = np.linalg.qr(basis)[0]
    image = weights @ basis
    order = np.linalg.eigh(image.T @ (gram @ image))[1][:, ::-1]
    return (basis @ order)[:, :rank]

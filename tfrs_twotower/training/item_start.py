"""Start vectors of items, from the items near them in the users' histories, in place of random ones."""

from typing import Annotated

import numpy as np
import scipy.sparse

from tfrs_twotower import columns as c
from tfrs_twotower.configuration import config
from tfrs_twotower.data import blocks
from tfrs_twotower.data.grouping import grouped
from tfrs_twotower.errors import ConfigError, invalid
from tfrs_twotower.features import IdField, PastField, derive_seed
from tfrs_twotower.models import TwoTowerModel
from tfrs_twotower.ranges import Above, AtMost, Count
from tfrs_twotower.towers import EnsembleTower, MLPEncoder, SequenceEncoder, Tower
from tfrs_twotower.training.examples import Examples

_LENGTH = 0.25  # of a start vector; random ones are about as long
_NOISE = 0.1  # of a projection beside the identity, so that inputs beside the item's vector count too
_SMOOTHING = 0.75  # of the counts of contexts, as in word2vec
_EVENTS = 5_000_000  # only this number of newest events is counted
_PAIRS = 10_000_000  # only this number of the largest values is factorised
_OVERSAMPLING, _ITERATIONS = 10, 5
_DEPENDENT = 1e-12  # of the largest square: what is smaller is rounding
_ROWS = 65_536  # of a tall array, at a time


@config
class CoVisits:
    """Item vectors start from a factorisation of pairs of items that are near each other in the users' histories.

    A pair counts `decay`^(events between the two), up to `window` events apart. The positive pointwise mutual
    information of these counts is factorised; word2vec does this implicitly, by sampling (Levy and Goldberg 2014).
    Training starts from these vectors, and needs a fraction of the epochs.

    Attributes:
      window: the largest distance of a pair, in events.
      decay: above 0, at most 1. 1 suits histories without a meaningful order.
    """

    window: Count = 10
    decay: Annotated[float, Above(0), AtMost(1)] = 0.7


def start_items(model: TwoTowerModel, examples: Examples, rows: np.ndarray, settings: CoVisits, seed: int) -> None:
    """Sets a new model's table of item ids to the start vectors, and both towers' projections near the identity.

    The latter only in a tower without a hidden layer between the items' vectors and its projection.

    Args:
      model: a `TwoTowerModel` with its weights made.
      examples: an `Examples`.
      rows: int64, the training rows of the log.
      settings: a `CoVisits`.
      seed: of the factorisation.

    Raises:
      ConfigError: the candidate tower is that of an ensemble, or reads no table of item ids.
    """
    towers = (model.query_tower, model.candidate_tower)
    fields = [f for tower in towers[1:] if isinstance(tower, Tower) for f in tower.fields if isinstance(f, IdField)]
    field = next((f for f in fields if f.feature.column == c.ITEM_ID and not f.feature.buckets), None)
    if field is None:
        rule, way_out = "be null without an Id of `item_id` that has a vocabulary", "Add it to `schema.candidate`."
        raise ConfigError(invalid("model.item_start", rule, settings, way_out))
    log = examples.log
    newest = np.asarray(rows)[-_EVENTS:]
    order = newest[grouped(log.user[newest], log.users.num_rows)]
    items = examples.item_rows(field)
    vectors = co_visit_vectors(
        log.user[order], items[log.item[order]], field.rows, field.feature.dim, settings, derive_seed(seed, "start")
    )
    start = field.table.numpy()
    np.multiply(vectors, _LENGTH, out=start, where=vectors.any(axis=1, keepdims=True))
    field.table.assign(start)
    for tower in towers:
        _pass_on(tower, field)


def co_visit_vectors(
    users: np.ndarray, items: np.ndarray, size: int, dim: int, settings: CoVisits, seed: int = 0
) -> np.ndarray:
    """float32 [size, dim], of length 1; zeros for items without a neighbour.

    Args:
      users, items: int [n], the events, each user's one after the other in order; items are below `size`.
      size: the number of items.
      dim: length of the vectors.
      settings: a `CoVisits`.
      seed: of the factorisation.
    """
    left, values = factors(mutual_information(co_visits(users, items, size, settings)), dim, seed)
    vectors = np.multiply(left, np.sqrt(values), out=left)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    np.divide(vectors, lengths, out=vectors, where=lengths > 1e-6)
    vectors[lengths[:, 0] <= 1e-6] = 0.0
    return vectors


def co_visits(users: np.ndarray, items: np.ndarray, size: int, settings: CoVisits) -> scipy.sparse.csr_matrix:
    """float32 CSR [size, size], symmetric: the nearness of two items, summed over all histories."""
    counts = scipy.sparse.csr_matrix((size, size), dtype=np.float32)
    for apart in range(1, settings.window + 1):
        both = users[apart:] == users[:-apart]
        if not both.any():
            break
        weight = np.full(both.sum(), settings.decay ** (apart - 1), np.float32)
        pairs = (items[:-apart][both], items[apart:][both])
        counts += scipy.sparse.csr_matrix((weight, pairs), (size, size))
    return counts + counts.T


def mutual_information(counts: scipy.sparse.csr_matrix) -> scipy.sparse.csr_matrix:
    """CSR: max(0, log(N(i, j) · N / (N(i) · N(j)))), N(j) smoothed by a power of 0.75 (Levy et al. 2015).

    It keeps the ten million largest values.
    """
    pairs = counts.tocoo()
    total = np.asarray(counts.sum(axis=1)).ravel()
    smoothed = total**_SMOOTHING
    values = np.log(pairs.data * smoothed.sum() / (total[pairs.row] * smoothed[pairs.col]))
    least = 0.0 if len(values) <= _PAIRS else max(0.0, np.partition(values, -_PAIRS)[-_PAIRS])
    kept = values > least
    return scipy.sparse.csr_matrix((values[kept].astype(np.float32), (pairs.row[kept], pairs.col[kept])), counts.shape)


def factors(matrix: scipy.sparse.csr_matrix, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(left singular vectors [n, count], singular values [count]), padded with zeros.

    By a random projection and power iterations (Halko et al. 2011). Nothing is decomposed that is larger than the
    projection is wide: decompositions of the tall arrays take many times as long, and several copies of them. Values
    below a thousandth of the largest are lost in rounding, and may be zeros.
    """
    rng, width = np.random.default_rng(seed), min(count + _OVERSAMPLING, *matrix.shape)
    basis = np.empty((matrix.shape[1], width), np.float32)
    for part in blocks.parts(basis, _ROWS):
        part[:] = rng.normal(size=part.shape)
    for _ in range(_ITERATIONS):
        basis = _orthonormal(matrix.T @ (matrix @ basis))
    basis = _orthonormal(matrix @ basis)
    squares, turn = np.linalg.eigh(_inner_products(matrix.T @ basis))  # the smallest first
    values, turn = np.sqrt(np.maximum(squares[::-1], 0.0))[:count], turn[:, ::-1][:, :count]
    left, missing = basis @ turn.astype(np.float32), count - len(values)
    return np.pad(left, [(0, 0), (0, missing)]), np.pad(values, (0, missing)).astype(np.float32)


def _orthonormal(columns: np.ndarray) -> np.ndarray:
    """An orthonormal basis of the columns, in their place. Where they depend on each other, it has columns of zeros."""
    squares, turn = np.linalg.eigh(_inner_products(columns))
    scale = np.where(squares > _DEPENDENT * squares[-1], squares, np.inf) ** -0.5
    turn = (turn * scale).astype(np.float32)
    for part in blocks.parts(columns, _ROWS):
        part[:] = part @ turn
    return columns


def _inner_products(columns: np.ndarray) -> np.ndarray:
    """float64 [columns, columns]."""
    found = np.zeros([columns.shape[1]] * 2)
    for part in blocks.parts(columns, _ROWS):
        exact = part.astype(np.float64)
        found += exact.T @ exact
    return found


def _pass_on(tower: Tower | EnsembleTower, field: IdField) -> None:
    """Sets a tower's projection to the identity on the items' vectors, plus a tenth of its random start."""
    place = _place(tower, field)
    if place is None:
        return
    kernel = tower.projection.kernel
    start = _NOISE * kernel.numpy()
    size = min(field.feature.dim, kernel.shape[1])
    start[place: place + size, :size] += np.eye(size, dtype=np.float32)
    kernel.assign(start)


def _place(tower: Tower | EnsembleTower, field: IdField) -> int | None:
    """The position of the items' vectors in the input of a tower's projection; None if a layer is between."""
    if tower.projection is None:
        return None
    if isinstance(tower.encoder, SequenceEncoder):
        return 0  # its state comes first; of the encoders with residual paths it begins as the last item
    if not isinstance(tower.encoder, MLPEncoder) or not tower.encoder.keeps_zero:
        return None
    before = 0
    for f in tower.fields:
        if f is field or (isinstance(f, PastField) and f.items is field):
            return before
        before += f.feature.dim
    return None

"""Large requests in parts: between two of them others get their turn, and one that nobody waits for any more ends."""

import sys
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.serving.model import DEFAULT_SIGNATURE, LoadedModel

_ROWS = 256  # of a block at most
_LIST_NUMBERS = 2**24  # 64 MB of float32: vectors of the ids in the lists of a block
_SEARCHED_NUMBERS = 2**29  # of vectors and scores in a search of the whole catalogue: 0.3 s of one processor
_PER_ITEM = 64  # what the choice of the best costs, in such numbers
_SEARCHES = frozenset((
    DEFAULT_SIGNATURE, c.RECOMMEND_EXACT, c.RECOMMEND_BY_VECTOR, c.RECOMMEND_FRESH, c.RECOMMEND_FRESH_BY_VECTOR,
    c.RECOMMEND_FOUND_BY_VECTOR, c.SIMILAR_ITEMS,
))
_BY_ROW = _SEARCHES | {c.EMBED_QUERY, c.EMBED_CANDIDATE, c.SCORE_PAIRS}  # a row's answer does not depend on others
_WHOLE = (c.OVERLAY_IDS, c.OVERLAY_VECTORS, c.WITHDRAWN_IDS)  # inputs without a row for each row of the answer


def blocks(model: LoadedModel, name: str, tensors: Mapping[str, tf.Tensor]) -> list[Mapping[str, tf.Tensor]]:
    """The inputs of a signature in blocks of rows that cost little each; one where it is not one of ours.

    Args:
      model: a `LoadedModel`.
      name: of its signature.
      tensors: {input name: tensor}, checked. Those of one row are for all rows.
    """
    batched = {n: len(t) for n, t in tensors.items() if t.shape.rank and n not in (*_WHOLE, c.K)}
    rows, size = max(batched.values(), default=1), _rows(model, name, tensors)
    if rows <= size:
        return [tensors]
    if c.K in tensors:  # the largest counts for all rows
        tensors = {**tensors, c.K: tf.reduce_max(tensors[c.K])}
    cut = [n for n, length in batched.items() if length == rows]
    return [{**tensors, **{n: tensors[n][start:start + size] for n in cut}} for start in range(0, rows, size)]


def together(
    parts: Sequence[Mapping[str, tf.Tensor]], run: Callable[[Mapping[str, tf.Tensor]], dict[str, np.ndarray]],
    pause: Callable[[], None],
) -> dict[str, np.ndarray]:
    """What `run` answers to each part, one below the other; `pause` is called before each of several."""
    if len(parts) == 1:
        return run(parts[0])
    answers = []
    for part in parts:
        pause()
        answers.append(run(part))
    # Items that come or go meanwhile can change how many there are at most.
    widths = {name: min(a[name].shape[1] for a in answers) for name, v in answers[0].items() if v.ndim > 1}
    return {
        name: np.concatenate([a[name][:, : widths[name]] if name in widths else a[name] for a in answers])
        for name in answers[0]
    }


def _rows(model: LoadedModel, name: str, tensors: Mapping[str, tf.Tensor]) -> int:
    """Rows of a block; no end of them where rows may depend on each other."""
    if model.catalogue is None or name not in _BY_ROW:
        return sys.maxsize
    lists = sum(t.shape[1] for n, t in tensors.items() if t.shape.rank == 2 and n not in _WHOLE)
    dim = model.catalogue.dim
    searched = len(model.catalogue) * (dim + _PER_ITEM) if name in _SEARCHES else 1
    return max(min(_ROWS, _LIST_NUMBERS // max(lists * dim, 1), _SEARCHED_NUMBERS // searched), 1)

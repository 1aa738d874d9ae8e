"""Large requests in blocks. Between two blocks other requests get their turn, and a request whose client left ends."""

import sys
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tfrs_twotower import columns as c
from tfrs_twotower.exporting import BY_ROW, SEARCHES
from tfrs_twotower.serving.model import LoadedModel
from tfrs_twotower.serving.signature import Value

_ROWS = 256  # batch rows of a block at most
_LIST_NUMBERS = 2**24  # 64 MB of float32: numbers in the vectors of the ids in the lists of a block
_SEARCHED_NUMBERS = 2**29  # numbers in the vectors and scores of an exact search: 0.3 s of one processor
_PER_ITEM = 64  # the cost of choosing the top K, for each item, in the unit of _SEARCHED_NUMBERS
WHOLE = (c.OVERLAY_IDS, c.OVERLAY_VECTORS, c.WITHDRAWN_IDS)  # inputs that are not one row for each batch row


def blocks(model: LoadedModel, name: str, inputs: Mapping[str, Value]) -> list[Mapping[str, Value]]:
    """Splits the inputs of a signature into blocks of batch rows. Inputs of a foreign signature are one block.

    Args:
      model: a `LoadedModel`.
      name: the signature's name.
      inputs: {input name: array or tensor}, checked. One of one row applies to all batch rows.
    """
    batched = {n: len(v) for n, v in inputs.items() if v.ndim and n not in (*WHOLE, c.K)}
    rows = max(batched.values(), default=1)
    if rows <= 1 or rows <= (size := rows_of_block(model, name, inputs)):
        return [inputs]
    if c.K in inputs:  # the largest k applies to all batch rows
        inputs = {**inputs, c.K: np.max(np.asarray(inputs[c.K]))}
    cut = [n for n, length in batched.items() if length == rows]
    return [{**inputs, **{n: inputs[n][start:start + size] for n in cut}} for start in range(0, rows, size)]


def together(
    parts: Sequence[Mapping[str, Value]], run: Callable[[Mapping[str, Value]], dict[str, np.ndarray]],
    pause: Callable[[], None],
) -> dict[str, np.ndarray]:
    """Runs each block and concatenates the answers. If there are several blocks, calls `pause` before each."""
    if len(parts) == 1:
        return run(parts[0])
    answers = []
    for part in parts:
        pause()
        answers.append(run(part))
    # Items that come or go between two blocks can change the length of an answer.
    widths = {name: min(a[name].shape[1] for a in answers) for name, v in answers[0].items() if v.ndim > 1}
    return {
        name: np.concatenate([a[name][:, : widths[name]] if name in widths else a[name] for a in answers])
        for name in answers[0]
    }


def rows_of_block(model: LoadedModel, name: str, inputs: Mapping[str, Value]) -> int:
    """The number of batch rows of a block; unlimited if batch rows may depend on each other."""
    if model.catalogue is None or name not in BY_ROW:
        return sys.maxsize
    lists = sum(v.shape[1] for n, v in inputs.items() if v.ndim == 2 and n not in WHOLE)
    dim = model.catalogue.dim
    searched = len(model.catalogue) * (dim + _PER_ITEM) if name in SEARCHES else 1
    return max(min(_ROWS, _LIST_NUMBERS // max(lists * dim, 1), _SEARCHED_NUMBERS // searched), 1)

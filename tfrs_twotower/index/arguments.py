"""What callers pass to an index that changes: ids as keys of one type, and vectors, all checked."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfrs_twotower.errors import IndexingError, invalid
from tfrs_twotower.ids import missing_id
from tfrs_twotower.index import checks

_LEAST, _LARGEST = np.iinfo(np.int64).min, np.iinfo(np.int64).max
_WAY_OUT = "Pass a list of the item ids that the index was made for."


def keys(ids: Sequence[Any] | np.ndarray, id_type: type) -> list[Any]:
    """A flat list of str (from str, bytes or their arrays) or of int.

    Raises:
      IndexingError: an id of another type, the missing id, text that is no UTF-8, or an integer beyond int64.
    """
    if isinstance(ids, (str, bytes)) or not hasattr(ids, "__len__"):
        raise IndexingError(invalid("ids", "be a list of ids", ids, _WAY_OUT))
    values = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
    return [_key(value, id_type) for value in values]


def vectors(values: np.ndarray, count: int, dim: int) -> np.ndarray:
    """float32 [count, dim]. Raises `IndexingError` for another shape, NaN or infinity."""
    values = np.asarray(values, np.float32)
    if values.shape != (count, dim) and (count or values.size):
        raise IndexingError(
            invalid("vectors", f"have the shape [{count}, {dim}], one row an id", values.shape,
                    "Use the candidate tower that this index was made for.")
        )
    return checks.candidate_vectors(values) if count else values


def _key(value: object, id_type: type) -> str | int:
    if id_type is str:
        key: str | int = _text(value)
    else:
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not _LEAST <= value <= _LARGEST:
            raise IndexingError(invalid("ids", "be integers of 64 bits", value, _WAY_OUT))
        key = int(value)
    if key == missing_id(id_type):
        raise IndexingError(invalid("ids", "not hold the missing id", value, "It stands for no item: leave it out."))
    return key


def _text(value: Any) -> str:
    try:
        text = value.decode() if isinstance(value, bytes) else value
        text.encode()  # a lone surrogate is no text that a log or a model can hold
        return str(text)
    except (AttributeError, UnicodeError) as error:
        raise IndexingError(invalid("ids", "be text in UTF-8", value, _WAY_OUT)) from error

"""Rows of different lengths as two flat arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from tfrs_twotower.errors import DataError


@dataclasses.dataclass(frozen=True, eq=False)
class Ragged:
    """Row i is `values[offsets[i]:offsets[i + 1]]`.

    Attributes:
      values: int32 [total]
      offsets: int64 [rows + 1], from 0, ascending
    """

    values: np.ndarray
    offsets: np.ndarray

    def __post_init__(self) -> None:
        offsets, total = self.offsets, len(self.values)
        if len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != total or np.any(np.diff(offsets) < 0):
            raise DataError(
                f"`offsets` must ascend from 0 to the number of values ({total}). "
                f"Received: {offsets!r}. Build ragged rows with Ragged.from_lists or Ragged.from_lengths."
            )

    @classmethod
    def from_lists(cls, lists: Iterable[np.ndarray | Sequence[int]]) -> Ragged:
        """[[1, 2], [], [3]] → three rows."""
        lists = [np.asarray(row, np.int32) for row in lists]
        values = np.concatenate(lists) if lists else np.zeros(0, np.int32)
        return cls.from_lengths(values, [len(row) for row in lists])

    @classmethod
    def from_lengths(cls, values: np.ndarray | Sequence[int], lengths: np.ndarray | Sequence[int]) -> Ragged:
        """Cuts `values` into rows of the given lengths."""
        offsets = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        return cls(np.asarray(values, np.int32), offsets)

    @property
    def lengths(self) -> np.ndarray:
        """int64 [rows]"""
        return np.diff(self.offsets)

    def row(self, i: int) -> np.ndarray:
        """int32 [lengths[i]]: a view of row i, counted from 0."""
        if not 0 <= i < len(self):
            raise IndexError(f"`i` must be a row, from 0 to {len(self) - 1}. Received: i={i}.")
        return self.values[self.offsets[i]:self.offsets[i + 1]]

    def take(self, rows: np.ndarray) -> Ragged:
        """Ragged: the rows with the given numbers, in this order; a row may come several times."""
        begin = self.offsets[rows]
        lengths = self.offsets[np.asarray(rows) + 1] - begin
        return Ragged.from_lengths(self.values[ranges(begin, begin + lengths)], lengths)

    def padded(self, rows: np.ndarray, width: int) -> np.ndarray:
        """int32 [r, width]: the first `width` values of the rows with the given numbers; −1 pads."""
        at = self.offsets[rows][:, None] + np.arange(width)
        real = at < self.offsets[np.asarray(rows) + 1][:, None]
        if not len(self.values):
            return np.full(at.shape, -1, np.int32)
        return np.where(real, self.values[np.where(real, at, 0)], -1)

    def __len__(self) -> int:
        return len(self.offsets) - 1


def ranges(begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    """[begin[0], …, end[0] − 1, begin[1], …] as int64."""
    lengths = end - begin
    shift = begin - (np.cumsum(lengths) - lengths)
    return np.arange(lengths.sum()) + np.repeat(shift, lengths)

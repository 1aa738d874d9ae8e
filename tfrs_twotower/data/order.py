"""The order of the batches: a function of (seed, epoch), so that training resumes by arithmetic."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfrs_twotower.errors import DataError, invalid

_BLOCKS_PER_BUFFER = 16


def batch_count(n: int, batch_size: int) -> int:
    """Batches of an epoch. The remainder is dropped; fewer than `batch_size` rows make one batch."""
    return max(n // batch_size, 1) if n else 0


class Stretches(Sequence):
    """Batches of rows that follow each other: int64 arrays of row numbers. The order of the batches is drawn.

    The rows that fill no batch are the first or the last ones, another number of them in each epoch.

    Args: as of `Batches`.
    """

    def __init__(self, n: int, batch_size: int, seed: int, epoch: int, in_order: bool = False) -> None:
        rng, count = np.random.default_rng((seed, epoch)), batch_count(n, batch_size)
        self._size = min(batch_size, n)
        self._first = int(rng.integers(n - count * self._size + 1))
        self._order = np.arange(count) if in_order else rng.permutation(count)

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, i: int) -> np.ndarray:  # type: ignore[override]  # no slices
        begin = self._first + int(self._order[i]) * self._size
        return np.arange(begin, begin + self._size)


class Batches(Sequence):
    """int64 arrays of row numbers, the batches of one epoch. Batch i is computed when it is asked for.

    Blocks of rows are permuted; then rows are shuffled within windows of `buffer` rows. With n <= buffer that is one
    uniform shuffle. A row comes at most once per epoch. Memory grows with `buffer` and the number of blocks, and not
    with n.

    Args:
      n: rows
      batch_size: rows of a batch
      seed, epoch: integers of at least 0; equal ones give equal batches
      buffer: rows of a window, at least 1
      in_order: True keeps the order of the blocks, so that rows move only within their window
    """

    def __init__(self, n: int, batch_size: int, seed: int, epoch: int, buffer: int, in_order: bool = False) -> None:
        at_least = {"n": (n, 0), "batch_size": (batch_size, 1), "buffer": (buffer, 1), "seed": (seed, 0),
                    "epoch": (epoch, 0)}
        for name, (value, least) in at_least.items():
            if value < least:
                raise DataError(invalid(name, f"be at least {least}", value, f"Use {least} or more."))
        self._n, self._key, self._buffer = n, (seed, epoch), buffer
        self._size, self._count = min(batch_size, n), batch_count(n, batch_size)
        # Without a second window there is nothing to mix between windows.
        self._block = max(buffer // _BLOCKS_PER_BUFFER, 1) if n > buffer else max(n, 1)
        blocks = -(-n // self._block)
        self._blocks = np.arange(blocks) if in_order else np.random.default_rng(self._key).permutation(blocks)
        sizes = np.minimum(n - self._blocks * self._block, self._block)
        self._ends = np.cumsum(sizes)
        self._window: tuple[int, np.ndarray] = (-1, np.zeros(0, np.int64))  # the last one and its number

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, i: int) -> np.ndarray:  # type: ignore[override]  # no slices
        if not 0 <= i < self._count:
            raise IndexError(f"`i` must be a batch, from 0 to {self._count - 1}. Received: i={i}.")
        begin, end = i * self._size, (i + 1) * self._size
        parts = []
        while begin < end:
            number, offset = divmod(begin, self._buffer)
            count = min(end - begin, self._buffer - offset)
            parts.append(self._shuffled(number)[offset:offset + count])
            begin += count
        return np.concatenate(parts)

    def _shuffled(self, number: int) -> np.ndarray:
        last, window = self._window
        if number != last:
            begin, end = number * self._buffer, min((number + 1) * self._buffer, self._n)
            window = self._positions(begin, end)
            # Plus one: NumPy reads a key that ends in 0 as the key without it, which permutes the blocks.
            np.random.default_rng((*self._key, number + 1)).shuffle(window)
            self._window = number, window
        return window

    def _positions(self, begin: int, end: int) -> np.ndarray:
        """Rows at the positions [begin, end) of the permuted blocks."""
        first, last = np.searchsorted(self._ends, [begin, end - 1], side="right")
        starts = self._blocks[first:last + 1] * self._block
        parts = [np.arange(start, min(start + self._block, self._n)) for start in starts]
        skipped = self._ends[first - 1] if first else 0
        return np.concatenate(parts)[begin - skipped:end - skipped]

"""The order of the batches: a function of (seed, epoch), so that training resumes by arithmetic."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tfrs_twotower.errors import DataError, invalid

_BLOCKS_PER_BUFFER = 16


def batch_count(n: int, batch_size: int) -> int:
    """Batches of an epoch. The remainder is dropped; fewer than `batch_size` rows make one batch."""
    return max(n // batch_size, 1) if n else 0


def batches(
    n: int, batch_size: int, seed: int, epoch: int, buffer: int, start: int = 0, worker: int = 0, workers: int = 1,
    in_order: bool = False,
) -> Iterator[np.ndarray]:
    """Yields int64 arrays of row numbers, the batches of one epoch from batch `start` on.

    Blocks of rows are permuted; then rows are shuffled within windows of `buffer` rows. With
    n <= buffer that is one uniform shuffle. A row comes at most once per epoch. Memory grows with
    `buffer` and the number of blocks. Batch `start` is computed without the batches before it.

    Args:
      n: rows
      batch_size: rows of a batch over all workers
      seed, epoch: integers of at least 0; equal ones give equal batches
      buffer: rows of a window, at least 1
      start: the first batch to yield
      worker, workers: this worker gets its slice of each batch; the workers' slices, one after the
        other, are the batch
      in_order: True keeps the order of the blocks, so that rows move only within their window
    """
    at_least = {"n": (n, 0), "batch_size": (batch_size, 1), "buffer": (buffer, 1), "seed": (seed, 0),
                "epoch": (epoch, 0), "start": (start, 0), "workers": (workers, 1)}
    for name, (value, least) in at_least.items():
        if value < least:
            raise DataError(invalid(name, f"be at least {least}", value, f"Use {least} or more."))
    if not 0 <= worker < workers:
        raise DataError(invalid("worker", f"be from 0 to {workers - 1}", worker, "Count workers from 0."))
    return _batches(n, batch_size, _Order(n, seed, epoch, buffer, in_order), start, worker, workers)


def _batches(
    n: int, batch_size: int, order: _Order, start: int, worker: int, workers: int
) -> Iterator[np.ndarray]:
    size = min(batch_size, n)
    begin, end = size * worker // workers, size * (worker + 1) // workers
    for batch in range(start, batch_count(n, batch_size)):
        yield order.rows(batch * size + begin, batch * size + end)


class _Order:
    """A permutation of range(n), read by position."""

    def __init__(self, n: int, seed: int, epoch: int, buffer: int, in_order: bool = False) -> None:
        self._n, self._key, self._buffer = n, (seed, epoch), buffer
        # Without a second window there is nothing to mix between windows.
        self._block = max(buffer // _BLOCKS_PER_BUFFER, 1) if n > buffer else max(n, 1)
        blocks = -(-n // self._block)
        self._blocks = np.arange(blocks) if in_order else np.random.default_rng(self._key).permutation(blocks)
        sizes = np.minimum(n - self._blocks * self._block, self._block)
        self._ends = np.cumsum(sizes)
        self._window_number: int | None = None
        self._window: np.ndarray | None = None

    def rows(self, begin: int, end: int) -> np.ndarray:
        """int64 [end - begin]"""
        parts = []
        while begin < end:
            number, offset = divmod(begin, self._buffer)
            count = min(end - begin, self._buffer - offset)
            parts.append(self._shuffled(number)[offset:offset + count])
            begin += count
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    def _shuffled(self, number: int) -> np.ndarray:
        if number != self._window_number:
            begin, end = number * self._buffer, min((number + 1) * self._buffer, self._n)
            window = self._positions(begin, end)
            # Plus one: NumPy reads a key that ends in 0 as the key without it, which permutes the blocks.
            np.random.default_rng((*self._key, number + 1)).shuffle(window)
            self._window_number, self._window = number, window
        return self._window  # type: ignore[return-value]  # there is one once it has a number

    def _positions(self, begin: int, end: int) -> np.ndarray:
        """Rows at the positions [begin, end) of the permuted blocks."""
        first, last = np.searchsorted(self._ends, [begin, end - 1], side="right")
        starts = self._blocks[first:last + 1] * self._block
        parts = [np.arange(start, min(start + self._block, self._n)) for start in starts]
        skipped = self._ends[first - 1] if first else 0
        return np.concatenate(parts)[begin - skipped:end - skipped]

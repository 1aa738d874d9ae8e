"""Bad rows: counted by reason and written to a file; too many are an error."""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tfrs_twotower.errors import DataError

SCHEMA = pa.schema([
    ("reason", pa.string()),
    ("file", pa.string()),
    ("row", pa.int64()),     # counted from 0 in its file, a CSV's header not counted
    ("value", pa.string()),  # the value at fault, as text; null where it is missing
])


class Checks:
    """The checks of one batch: a row fails for the first reason found."""

    def __init__(self, rows: int) -> None:
        self.code = np.zeros(rows, np.int32)
        self.reasons: list[tuple[str, pa.Array | pa.ChunkedArray]] = [
            (None, None)  # type: ignore[list-item]  # code 0 is no reason: nobody reads it
        ]

    @property
    def ok(self) -> np.ndarray:
        """bool [rows]"""
        return self.code == 0

    def fail(self, bad: np.ndarray, reason: str, values: pa.Array | pa.ChunkedArray) -> None:
        """Marks the rows where `bad` is true; `values` is the array at fault."""
        bad = bad & self.ok
        if bad.any():
            self.code[bad] = len(self.reasons)
            self.reasons.append((reason, values))


class Rejects:
    """Collects failed rows over all batches.

    Args:
      path: a Parquet file for the rows, replaced; or None: they are only counted
    """

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        self.path = Path(path) if path is not None else None
        self.counts = {}
        self._examples = {}
        self._writer: pq.ParquetWriter | None = None
        if self.path:
            self.path.unlink(missing_ok=True)

    def add(self, checks: Checks, file: str, rows: np.ndarray) -> None:
        """Adds the failed rows of a batch; `rows` int64 [n] are the numbers of the batch's rows in `file`."""
        for code, (reason, values) in enumerate(checks.reasons):
            index = np.flatnonzero(checks.code == code)
            if code and len(index):
                self.counts[reason] = self.counts.get(reason, 0) + len(index)
                self._examples.setdefault(reason, values[int(index[0])].as_py())
                if self.path:
                    self._write(reason, file, rows[index], values.take(pa.array(index)).to_pylist())

    def _write(self, reason: str, file: str, rows: np.ndarray, values: Sequence[Any]) -> None:
        n = len(rows)
        texts = [None if value is None else str(value) for value in values]
        self._write_table(pa.table([[reason] * n, [file] * n, rows, texts], schema=SCHEMA))

    def _write_table(self, table: pa.Table) -> None:
        if self._writer is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(self.path, SCHEMA)
        self._writer.write(table)

    def take(self, other: Rejects) -> None:
        """Adds the counts of another, and the rows of its file, which is removed."""
        for reason, n in other.counts.items():
            self.counts[reason] = self.counts.get(reason, 0) + n
            self._examples.setdefault(reason, other._examples[reason])
        if other.path and other.counts:
            if self.path:
                self._write_table(pq.read_table(other.path))
            other.path.unlink()

    def check(self, what: str, total: int, limit: float, counts: Mapping[str, int], hint: str = "") -> None:
        """Raises `DataError` when more than `limit` (a fraction) of `total` rows failed.

        Args:
          counts: {reason: rows}
          hint: a sentence about the failed rows
        """
        bad = sum(counts.values())
        if bad > limit * total:
            self.close()
            by_count = sorted(counts.items(), key=lambda c: -c[1])
            reasons = "; ".join(f"{reason}: {n}{self._example(reason)}" for reason, n in by_count)
            where = f"The rows are in {self.path}" if self.path else "Give `rejected_to` a path to see them"
            raised = f"{max(0.05, math.ceil(100 * bad / total) / 100):g}"
            less = (f", or raise `rejected_limit` (`--set rejected_limit={raised}`; of `twotower prepare`: "
                    f"`--rejected-limit {raised}`; an argument of `ingest`: `limit`)")
            raise DataError(
                f"{what}: {bad} of {total} rows are bad ({100 * bad / total:.3g}%; the limit is {100 * limit:.3g}%). "
                f"{reasons}. {where}. {hint}Correct the data{less if bad < total else ''}."
            )

    def _example(self, reason: str) -> str:
        value = self._examples.get(reason)
        return "" if value is None else f", such as {textwrap.shorten(repr(value), 80)}"

    def close(self) -> None:
        """Ends the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

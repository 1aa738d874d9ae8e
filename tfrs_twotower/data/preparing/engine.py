"""What `prepare` asks of an engine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from tfrs_twotower.data.checking import Reader
from tfrs_twotower.data.preparing.shards import Spilled
from tfrs_twotower.data.source import Source


class Session(Protocol):
    """An engine at work."""

    def spill(
        self, source: Source, reader: Reader, batches: Iterator[pa.RecordBatch], folder: Path
    ) -> list[Spilled]:
        """Reads the source through the reader into shards.

        Args:
          batches: all of the source; an engine that reads the source's shards apart needs but the first.

        Returns:
          One `Spilled` for each shard, in the order of the source.
        """

    def table(self, name: str, files: Sequence[str]) -> None:
        """Gives Parquet files of one schema a name in SQL."""

    def rows(self, query: str) -> Iterator[pa.RecordBatch]:
        """The rows of a query, in its order, without all of them in memory."""


class Engine(Protocol):
    """The configuration of an engine: `DuckDB` or `Spark`."""

    def session(self, work: Path) -> contextlib.AbstractContextManager[Session]:
        """Starts the engine. It may keep files in the folder `work`."""

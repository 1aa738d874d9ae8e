"""DuckDB: one machine; what does not fit its memory goes to the disk."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from tfrs_twotower.configuration import config
from tfrs_twotower.data.checking import Reader
from tfrs_twotower.data.preparing.shards import Spilled, spill
from tfrs_twotower.data.source import Source
from tfrs_twotower.errors import DataError, invalid
from tfrs_twotower.extras import require

_ROWS = 1 << 17  # of a batch


@config
class DuckDB:
    """Prepares a log on this machine.

    Attributes:
      memory: for joins and sorting, such as 1GB or 500MB. Beyond it the disk is used.
    """

    memory: str = "1GB"

    @contextlib.contextmanager
    def session(self, work: Path) -> Iterator[_Session]:
        """Opens a database in memory, which keeps in `work` what its memory does not hold."""
        duckdb = require("duckdb")
        settings = {"temp_directory": str(work / "duckdb"), "autoinstall_known_extensions": False,
                    "autoload_known_extensions": False, "preserve_insertion_order": False}
        try:
            database = duckdb.connect(config={**settings, "memory_limit": self.memory})
        except duckdb.Error as error:
            rule = "be a size that DuckDB knows"
            raise DataError(invalid("memory", rule, self.memory, f"Write for example 2GB. ({error})")) from error
        try:
            yield _Session(database)
        except duckdb.OutOfMemoryException as error:
            rule = "be enough for the joins and the sorting"
            raise DataError(invalid("memory", rule, self.memory, f"Give more. ({error})")) from error
        finally:
            database.close()


class _Session:
    def __init__(self, database: Any) -> None:
        self._database = database

    def spill(
        self, source: Source, reader: Reader, batches: Iterator[pa.RecordBatch], folder: Path
    ) -> list[Spilled]:
        return [spill(reader, batches, folder, 0)]

    def table(self, name: str, files: Sequence[str]) -> None:
        texts = ", ".join("'" + file.replace("'", "''") + "'" for file in files)
        self._database.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet([{texts}])")

    def rows(self, query: str) -> Iterator[pa.RecordBatch]:
        yield from self._database.sql(query).to_arrow_reader(_ROWS)

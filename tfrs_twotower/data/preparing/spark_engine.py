"""Spark: many machines, each of which does some of the tasks."""

from __future__ import annotations

import contextlib
import os
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from tfrs_twotower.configuration import config
from tfrs_twotower.data.checking import Reader
from tfrs_twotower.data.preparing.shards import Spilled, spill
from tfrs_twotower.data.rejects import Rejects
from tfrs_twotower.data.source import Source
from tfrs_twotower.errors import TwoTowerError
from tfrs_twotower.extras import require

_ROWS = 1 << 17  # of a batch

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


@config
class Spark:
    """A cluster that prepares a log or answers a batch. All executors need this package, and under the same absolute
    paths the folders that are read and written.

    Attributes:
      settings: ((name, value), ...) of Spark, such as ("spark.master", "spark://host:7077"). What `spark-submit` gave
        counts where it is not set here.
    """

    settings: tuple[tuple[str, str], ...] = ()

    @contextlib.contextmanager
    def session(self, work: Path) -> Iterator[_Session]:
        """A session that prepares a log."""
        with self._started() as spark:
            yield _Session(spark, work)

    def each(self, function: Callable[[_Task], _Result], tasks: Sequence[_Task]) -> list[_Result]:
        """`function` of each task, in their order; Spark runs them at once, and may try one again or run it twice.

        Raises:
          TwoTowerError: a task raised it.
        """
        with self._started() as spark:
            return _each(spark, function, tasks)

    @contextlib.contextmanager
    def _started(self) -> Iterator[Any]:
        """Starts or joins a Spark session. One that was started here is stopped at the end."""
        sql = require("pyspark.sql")
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        running = sql.SparkSession.getActiveSession() is not None
        builder = sql.SparkSession.builder.appName("twotower")
        for name, value in self.settings:
            builder = builder.config(name, value)
        spark = builder.getOrCreate()
        try:
            yield spark
        finally:
            if not running:
                spark.stop()


class _Session:
    def __init__(self, spark: Any, work: Path) -> None:
        self._spark, self._work, self._queries = spark, work, 0

    def spill(
        self, source: Source, reader: Reader, batches: Iterator[pa.RecordBatch], folder: Path
    ) -> list[Spilled]:
        """Each shard is a task. All of them take the unit of times and the types of ids from the first batch."""
        first = reader.apart(Rejects(None))
        first.read(next(batches))
        reader.notes += first.notes
        known = self._spark.sparkContext.broadcast(first.apart(Rejects(None)))

        def read(shard: int) -> tuple[Spilled, Reader]:
            # Two attempts at a task may overlap, so each has a file of its own.
            own = known.value.apart(Rejects(folder / f"{uuid.uuid4().hex}.rejected"))
            return spill(own, source.shard(shard), folder, shard), own.ended()

        found = _each(self._spark, read, range(source.shards()))
        for _, ended in found:
            reader.take(ended)
        return [spilled for spilled, _ in found]

    def table(self, name: str, files: Sequence[str]) -> None:
        self._spark.read.parquet(*(_address(Path(file)) for file in files)).createOrReplaceTempView(name)

    def rows(self, query: str) -> Iterator[pa.RecordBatch]:
        folder = self._work / f"query-{self._queries}"
        self._queries += 1
        self._spark.sql(query).write.parquet(_address(folder))
        for path in sorted(folder.glob("part-*.parquet")):  # sorting gave each a range of its own
            with pq.ParquetFile(path) as file:
                yield from file.iter_batches(_ROWS)


def _address(path: Path) -> str:
    return f"file://{path.absolute()}"  # Spark reads the %20 of a URI as these three characters


def _each(spark: Any, function: Callable[[_Task], _Result], tasks: Sequence[_Task]) -> list[_Result]:
    def run(task: _Task) -> _Result | TwoTowerError:
        try:
            return function(task)
        except TwoTowerError as error:  # raised, it would be tried again, and come as Spark's error
            return error

    found = spark.sparkContext.parallelize(tasks, len(tasks)).map(run).collect()
    for result in found:
        if isinstance(result, TwoTowerError):
            raise result
    return found

"""A log prepared on disk: checked, coded and sorted by an engine that need not hold it in memory."""

from tfrs_twotower.data.preparing.duckdb_engine import DuckDB
from tfrs_twotower.data.preparing.engine import Engine
from tfrs_twotower.data.preparing.prepare import append_prepared, prepare
from tfrs_twotower.data.preparing.spark_engine import Spark

__all__ = ["DuckDB", "Engine", "Spark", "append_prepared", "prepare"]

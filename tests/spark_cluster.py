"""A Spark cluster on this machine for the tests: two executors, each a process of its own."""

import contextlib
import os
import shutil
import sys
from pathlib import Path

import pytest

MASTER = "local-cluster[2,1,1024]"
# Of a JVM that lives for two minutes, the second compiler takes more time than its code saves.
_JVM = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"


@contextlib.contextmanager
def spark():
    """Starts it; without Java the test is skipped, or fails in CI, where it has to be there."""
    if shutil.which("java") is None:
        reason = "needs Java for Spark, which is not installed (Debian: apt install default-jre-headless)"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    from pyspark.sql import SparkSession

    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.master(MASTER).appName("tests").config("spark.driver.host", "127.0.0.1")
    for name, value in {
        "spark.driver.bindAddress": "127.0.0.1", "spark.ui.enabled": "false", "spark.sql.shuffle.partitions": "3",
        "spark.executorEnv.PYTHONPATH": Path(__file__).parents[1],
        "spark.driver.extraJavaOptions": _JVM, "spark.executor.extraJavaOptions": _JVM,
    }.items():
        builder = builder.config(name, str(value))
    session = builder.getOrCreate()
    try:
        yield session
    finally:
        session.stop()

"""Ingestion of a CSV: rows a second, and peak memory against the size of the file.

usage: python -m bench.bench_ingest [ROWS ...]

Each size is written to a temporary file and read by a process of its own, whose peak memory is compared
with that of a process that reads a file of ten rows.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from bench.common import record

_ROWS = (1_000_000, 4_000_000)
_CHUNK = 500_000


def main(sizes):
    """Measures each size."""
    with tempfile.TemporaryDirectory() as folder:
        _, _, idle = measure(write(Path(folder) / "few.csv", 10))
        figures = []
        for rows in sizes:
            path = write(Path(folder) / "log.csv", rows)
            seconds, cpu, peak = measure(path)
            size = path.stat().st_size / 2**20
            figures.append({
                "rows": rows, "seconds": seconds, "cpu_seconds": cpu, "rows_per_cpu_second": rows / cpu,
                "file_mib": size, "peak_above_idle_mib": peak - idle, "peak_over_file": (peak - idle) / size,
            })
    record("ingest", figures)


def write(path, rows):
    """A log with text ids, ISO times, a price and a text of 80 letters that nobody reads."""
    rng = np.random.default_rng(0)
    with open(path, "wb") as file:
        for start in range(0, rows, _CHUNK):
            n = min(_CHUNK, rows - start)
            table = pa.table({
                "user_id": [f"user-{u:08}" for u in rng.integers(0, max(rows // 20, 1), n)],
                "item_id": [f"item-{i:08}" for i in (100_000 * rng.random(n) ** 3).astype(int)],
                "timestamp": np.datetime_as_string(
                    np.datetime64("2024-01-01") + rng.integers(0, 31_536_000, n).astype("timedelta64[s]")
                ),
                "price": np.round(rng.lognormal(2, 1, n), 2),
                "comment": ["x" * 80] * n,
            })
            pyarrow.csv.write_csv(table, file, pyarrow.csv.WriteOptions(include_header=start == 0))
    return path


def measure(path):
    """(seconds of `ingest`, its CPU seconds, peak memory of its process in MiB)"""
    output = subprocess.run(
        [sys.executable, "-m", "bench.bench_ingest", "--read", str(path)],
        check=True, capture_output=True, text=True,
    ).stdout
    return tuple(map(float, output.split()))


def read(path):
    """What the measured process does."""
    from tfrs_twotower.data import Columns, Files, ingest

    start, cpu = time.perf_counter(), time.process_time()
    ingest(Files(path, columns=Columns(context=("price",))))
    print(time.perf_counter() - start, time.process_time() - cpu, peak_mib())


def peak_mib():
    """Peak memory of this process. On Linux not ru_maxrss: a child inherits its parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    if sys.argv[1:2] == ["--read"]:
        read(sys.argv[2])
    else:
        main([int(n) for n in sys.argv[1:]] or _ROWS)

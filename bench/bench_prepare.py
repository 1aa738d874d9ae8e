"""A prepared dataset against the same log read into memory and kept: seconds and peak memory of a process of its own.

usage: python -m bench.bench_prepare [ROWS ...]

Both begin with a CSV of `bench_ingest` and end with the files of a log. DuckDB may take 256 MB. `peak_mib` counts
mapped pages of files too, which the system can take back; `own_peak_mib` is what it cannot (sampled). Those of a log of
ten rows are subtracted.
"""

import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from bench.bench_ingest import write
from bench.common import median, record

_ROWS, _ROUNDS, _MEMORY = (1_000_000, 5_000_000), 3, "256MB"
_WAYS = ("ingest", "prepare")


def main(sizes):
    """Measures each size, both ways in turn."""
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        few = write(Path(folder) / "few.csv", 10)
        idle = {way: measure(way, few) for way in _WAYS}
        for rows in sizes:
            path = write(Path(folder) / "log.csv", rows)
            runs = {way: [] for way in _WAYS}
            for _ in range(_ROUNDS):
                for way in _WAYS:
                    runs[way].append(measure(way, path))
            for way in _WAYS:
                seconds, cpu, peak, own, size = (median([run[i] for run in runs[way]]) for i in range(5))
                ratios = [run[0] / other[0] for run, other in zip(runs[way], runs["ingest"])]
                figures.append({
                    "rows": rows, "way": way, "seconds": seconds, "cpu_seconds": cpu, "seconds_over_ingest":
                    median(ratios), "peak_mib": peak - idle[way][2], "own_peak_mib": own - idle[way][3],
                    "log_mib": size,
                })
    record("prepare", figures)


def measure(way, path):
    """(seconds, CPU seconds, peak MiB, peak of its own MiB, MiB of the log's files) of a process"""
    output = subprocess.run(
        [sys.executable, "-m", "bench.bench_prepare", "--read", way, str(path)],
        check=True, capture_output=True, text=True,
    ).stdout
    return tuple(map(float, output.split()))


def read(way, path):
    """What the measured process does."""
    from tfrs_twotower.data import Columns, DuckDB, Files, ingest, keep_log, prepare

    source = Files(path, columns=Columns(context=("price",)))
    own, done = [0.0], threading.Event()
    sampler = threading.Thread(target=_sample, args=(own, done))
    with tempfile.TemporaryDirectory(dir=Path(path).parent) as folder:
        sampler.start()
        start, cpu = time.perf_counter(), time.process_time()
        if way == "ingest":
            keep_log(*ingest(source), f"{folder}/1")
        else:
            prepare(source, folder, DuckDB(_MEMORY))
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        done.set()
        sampler.join()
        size = sum(file.stat().st_size for file in Path(folder, "1").iterdir()) / 2**20
    print(seconds, cpu, _status("VmHWM"), own[0], size)


def _sample(own, done):
    while not done.wait(0.02):
        own[0] = max(own[0], _status("RssAnon"))


def _status(name):
    """MiB, of a line of /proc/self/status (Linux)."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) / 2**10


if __name__ == "__main__":
    if sys.argv[1:2] == ["--read"]:
        read(*sys.argv[2:])
    else:
        main([int(n) for n in sys.argv[1:]] or _ROWS)

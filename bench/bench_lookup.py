"""Should an id be found by Keras' `StringLookup`, or by the `FingerprintLookup` of this package?

For each number of string ids, each layer in a process of its own: seconds to make it of its vocabulary, to take up 1%
more ids at the end, to write and to read a SavedModel that looks ids up; the size of that SavedModel and of its graph;
memory that the process gained by the layer and, in a fresh process, by the SavedModel; and the time of one lookup of
a batch of 1,024 (half of them known), by the SavedModel on one thread.

    python -m bench.bench_lookup [--sizes 10000 1000000 10000000]
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from bench.common import median, record
from tfrs_twotower.features.lookup import FingerprintLookup, grown, keras_lookup

import tensorflow as tf  # isort: skip

LAYERS = {"Keras StringLookup": keras_lookup, "FingerprintLookup": FingerprintLookup}
BATCH, ROUNDS = 1024, 200


def ids(first, count):
    """Arrow strings, as long as many shops' ids are."""
    return pa.array(np.char.add("customer-", np.char.zfill(np.arange(first, first + count).astype("U8"), 8)),
                    pa.large_string())


def memory():
    """The most that this process has held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def made(name, size, folder):
    """The figures of making, growing and writing a layer."""
    known, more = ids(0, size), ids(size, size // 100)
    LAYERS[name](known[:100])(tf.constant(["a"]))  # what the first layer of a process costs is not counted
    before, start = memory(), time.perf_counter()
    layer = LAYERS[name](known)
    found = {"make_s": time.perf_counter() - start, "make_mb": memory() - before}
    module = tf.Module()
    module.layer = layer
    module.run = tf.function(layer, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    start = time.perf_counter()
    tf.saved_model.save(module, folder)
    found["write_s"] = time.perf_counter() - start
    found["saved_mb"] = sum(f.stat().st_size for f in Path(folder).rglob("*") if f.is_file()) / 2**20
    found["graph_kb"] = (Path(folder) / "saved_model.pb").stat().st_size / 1024
    start = time.perf_counter()
    grown(layer, LAYERS[name](more))
    found["grow_s"] = time.perf_counter() - start
    return found


def served(name, size, folder):
    """The figures of reading a layer and looking ids up."""
    before, start = memory(), time.perf_counter()
    loaded = tf.saved_model.load(folder)
    found = {"read_s": time.perf_counter() - start}
    drawn = np.random.default_rng(0).integers(0, 2 * size, (ROUNDS, BATCH))
    seconds = []
    for numbers in drawn:
        batch = tf.constant(np.char.add("customer-", np.char.zfill(numbers.astype("U8"), 8)))
        start = time.perf_counter()
        rows = loaded.run(batch)
        seconds.append(time.perf_counter() - start)
        assert (rows.numpy() == np.where(numbers < size, numbers + 1, 0)).all()
    return {**found, "read_mb": memory() - before, "lookup_ms": 1000 * median(seconds[10:])}


def figures(size):
    """One row for each layer."""
    rows = []
    for name in LAYERS:
        row = {"layer": name, "ids": size}
        with tempfile.TemporaryDirectory() as folder:
            for step in ("made", "served"):
                command = [sys.executable, "-m", "bench.bench_lookup", "--step", step, name, str(size), folder]
                environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": "1"}
                ended = subprocess.run(command, env=environment, capture_output=True, text=True)
                if ended.returncode:
                    raise SystemExit(ended.stderr)
                row.update(json.loads(ended.stdout.splitlines()[-1]))
        rows.append(row)
        print(row, flush=True)
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 1_000_000, 10_000_000])
    parser.add_argument("--step", nargs=4, help="one measurement, of a process of its own")
    arguments = parser.parse_args()
    if arguments.step:
        step, layer, ids_, place = arguments.step
        print(json.dumps({"made": made, "served": served}[step](layer, int(ids_), place)))
    else:
        record("lookup", [row for size in arguments.sizes for row in figures(size)])

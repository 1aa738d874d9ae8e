"""What a log of a million events and more costs on one machine: seconds and memory of each stage, from files to export.

    python -m bench.bench_scale                         # 1, 5 and 20 million events
    python -m bench.bench_scale --events 100000000 --stages train --large
    python -m bench.bench_scale --events 20000000 --stages train --candidate pooled --steps 1000

The log is synthetic: eleven events a user, twenty an item, popularity by a power of 4. The recipe is the one of `plain`
that pools a user's history, for one epoch: id tables of 64 numbers, uniform negatives, 2,000 validation queries, 20,000
test queries, 30 seconds for the baselines. Every size is a process of its own. `anonymous_gib` is the peak of memory
that no file backs, sampled twenty times a second: a process needs it. `resident_gib` is the peak with the files that
are mapped; the system takes these pages back when it needs them. `exponent` compares CPU seconds with the size before:
1 is proportional. `--large` is what docs/scale.md advises for logs of this size: id tables of 32 numbers, batches of
8,192, and row-wise Adagrad, which keeps one number a row beside the weights, where Adam keeps two a weight. `--steps`
ends the epoch after so many steps, to measure all other stages sooner. `--candidate` takes that candidate of `plain` in
place of the recipe, with its tables of 128 numbers and its start vectors of items. Rows of other sizes and settings
stay in the record. A fit and an evaluation also have rows for parts of them.
"""

import argparse
import contextlib
import dataclasses
import math
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench import common
from tfrs_twotower import columns as c
from tfrs_twotower import recipes
from tfrs_twotower.data import DuckDB, Files, Prepared, Temporal, ingest, prepare
from tfrs_twotower.evaluation import EvaluationConfig
from tfrs_twotower.features import History, Id, Schema
from tfrs_twotower.losses import SampledSoftmax
from tfrs_twotower.pipeline import racing
from tfrs_twotower.recipe import ModelConfig, Recipe
from tfrs_twotower.recommender import Recommender
from tfrs_twotower.sampling import NoLogQ, Uniform
from tfrs_twotower.towers import MLP
from tfrs_twotower.training import LazyAdamConfig, RowWiseAdagradConfig, TrainingConfig
from tfrs_twotower.updates import update_users

import tensorflow as tf  # isort: skip

NAME, SIZES = "scale", (1_000_000, 5_000_000, 20_000_000)
_CHUNK, _NEW, _DIM = 5_000_000, 1_000, 64


def candidate_of(folder, name):
    """A candidate of `plain`, for one epoch, on a prepared dataset."""
    recipe = recipes.load("plain").on(Prepared(str(folder)))
    log, _ = ingest(recipe.source)
    recipe = racing.candidates(recipe, log, recipe.split.split(log, seed=0))[name]
    return dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, epochs=1))


def recipe_of(folder, large):
    """The recipe, on a prepared dataset."""
    dim = 32 if large else _DIM
    optimizer = RowWiseAdagradConfig(learning_rate=0.1) if large else LazyAdamConfig(learning_rate=0.002)
    return Recipe(
        name="scale", source=Prepared(str(folder)), split=Temporal(0.01, 0.01),
        schema=Schema(query=(History(length=20, pooling="decay"), Id(c.USER_ID, dim=dim, dropout=0.2)),
                      candidate=(Id(c.ITEM_ID, dim=dim),)),
        model=ModelConfig(dim=dim, query_encoder=MLP(widths=()), candidate_encoder=MLP(widths=()),
                          loss=SampledSoftmax(), negatives=(Uniform(1024),), logq=NoLogQ()),
        training=TrainingConfig(epochs=1, batch_size=8192 if large else 1024, optimizer=optimizer),
        evaluation=EvaluationConfig(validation_queries=2_000, bootstrap=100, baseline_seconds=30),
    )


def write(path, events, start=1_700_000_000, days=100, seed=0, known=None):
    """Parquet files of about so many events, in a folder. known: the events of the log whose users and items come."""
    known = known or events
    users, items, rng = known // 11, known // 20, np.random.default_rng(seed)
    path.mkdir()
    for number, begin in enumerate(range(0, events, _CHUNK)):
        n = min(_CHUNK, events - begin)
        item = (items * rng.random(n) ** 4).astype(np.int64)
        moment = start + rng.integers(0, 86_400 * days, n)
        table = {c.USER_ID: rng.integers(0, users, n), c.ITEM_ID: item, c.TIMESTAMP: moment}
        pq.write_table(pa.table(table), path / f"{number}.parquet")
    return Files(str(path))


class Meter:
    """Wall and CPU seconds and peak memory of stages and of their parts.

    Attributes:
      rows: {name: its figures}, in the order that they end.
    """

    def __init__(self):
        self.rows, self._lock = {}, threading.Lock()
        self._last, self._peak = (time.perf_counter(), time.process_time()), [0, 0]
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self):
        while True:
            with self._lock:
                self._see()
            time.sleep(0.05)

    def _see(self):
        lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        found = [int(lines[name].split()[0]) / 2**20 for name in ("RssAnon", "VmRSS")]
        self._peak = [max(pair) for pair in zip(self._peak, found)]

    def _since(self):
        """The figures since the last call."""
        now = time.perf_counter(), time.process_time()
        with self._lock:
            self._see()
            (wall, cpu), (anonymous, resident) = self._last, self._peak
            self._last, self._peak = now, [0, 0]
        return {"seconds": now[0] - wall, "cpu_seconds": now[1] - cpu, "anonymous_gib": anonymous,
                "resident_gib": resident}

    def part(self, name, said=True):
        """Adds what came since the last part to the row of this one."""
        self.rows[name] = _together([*([self.rows[name]] if name in self.rows else []), self._since()])
        if said:
            print(name, self.rows[name], flush=True)

    @contextlib.contextmanager
    def stage(self, name):
        self._since()
        before = set(self.rows)
        yield
        parts = [self.rows[part] for part in self.rows if part not in before]
        self.rows[name] = _together([*parts, self._since()])
        print(name, self.rows[name], flush=True)


def _together(rows):
    of_key = {"seconds": sum, "cpu_seconds": sum, "anonymous_gib": max, "resident_gib": max}
    return {key: join([row[key] for row in rows]) for key, join in of_key.items()}


class FitParts(tf.keras.callbacks.Callback):
    """The parts of a fit of one epoch, as rows of a `Meter`; it ends after so many steps, if not None."""

    def __init__(self, meter, steps):
        super().__init__()
        self._meter, self._steps = meter, steps

    def on_train_begin(self, logs=None):
        self._meter.part("fit: reading the log, making the tables")

    def on_train_batch_end(self, batch, logs=None):
        self._meter.part("fit: steps", said=batch % 1000 == 0)
        if batch + 1 == self._steps:
            self.model.stop_training = True

    def on_epoch_end(self, epoch, logs=None):
        self._meter.part("fit: validation, checkpoint")


def measured(folder, events, stages, large, steps, candidate):
    """The rows of one size."""
    meter = Meter()
    files = write(folder / "log", events)
    with meter.stage("prepare"):
        prepare(files, folder / "dataset", DuckDB())
    dataset = folder / "dataset"
    recipe = candidate_of(dataset, candidate) if candidate else recipe_of(dataset, large)
    trained = Recommender(recipe, directory=folder / "run")
    with meter.stage("fit, one epoch"):
        trained.fit(verbose=2, callbacks=[FitParts(meter, steps)])
    if stages == "all":
        with meter.stage("evaluate"):
            trained.assembly.fitted_baselines
            meter.part("evaluate: fitting baselines")
            trained.evaluate()
        with meter.stage("index"):
            trained.index()
        with meter.stage("export"):
            trained.export()
        day = write(folder / "day", _NEW, start=1_700_000_000 + 86_400 * 100, days=1, seed=1, known=events)
        with meter.stage(f"update_users, {_NEW:,} events"):
            update_users(folder / "run", day)
    log, settings = trained.served.log, _said(large, steps, candidate)
    size = {"events": events, "settings": settings, "users": len(log.users), "items": len(log.items)}
    return [{**size, "stage": stage, **row} for stage, row in meter.rows.items()]


def _said(large, steps, candidate):
    settings = f"candidate {candidate}" if candidate else "large" if large else "as plain"
    return settings + (f", {steps:,} steps" if steps else "")


def exponents(rows):
    """Adds `exponent` to each row: against the next smaller size of its stage."""
    for row in rows:
        same = [r for r in rows if all(r[key] == row[key] for key in ("stage", "settings"))]
        smaller = [r for r in same if r["events"] < row["events"]]
        before = max(smaller, key=lambda r: r["events"], default=None)
        row["exponent"] = before and math.log(row["cpu_seconds"] / before["cpu_seconds"]) / math.log(
            row["events"] / before["events"])
    return rows


def _settings(args):
    return [*(["--large"] if args.large else []), *(["--steps", str(args.steps)] if args.steps else []),
            *(["--candidate", args.candidate] if args.candidate else [])]


def main():
    """Measures each size in a process of its own, and records it when it is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, nargs="+", default=SIZES)
    parser.add_argument("--stages", choices=("all", "train"), default="all")
    parser.add_argument("--steps", type=int, help="of the epoch, at most")
    parser.add_argument("--folder", help="for the files; default: a temporary one")
    parser.add_argument("--large", action="store_true", help="settings for large logs")
    parser.add_argument("--candidate", choices=("sequence", "pooled"), help="of `plain`, in place of the recipe")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not args.one:
        for events in args.events:
            more = [*(["--folder", args.folder] if args.folder else []), *_settings(args)]
            subprocess.run([sys.executable, "-m", "bench.bench_scale", "--one", "--events", str(events), "--stages",
                            args.stages, *more], check=True)
        return
    (events,) = args.events
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        rows = measured(Path(folder), events, args.stages, args.large, args.steps, args.candidate)
    key = events, rows[0]["settings"]
    kept = [row for row in common.recorded(NAME) if (row["events"], row["settings"]) != key]
    figures = sorted([*kept, *rows], key=lambda row: row["events"])
    mine = {str(row["events"]): None for row in figures if row["settings"] == rows[0]["settings"]}
    # The record names the command that a person gives.
    sys.argv = [sys.argv[0], "--events", *mine, *_settings(args)]
    common.record(NAME, exponents(figures))


if __name__ == "__main__":
    main()

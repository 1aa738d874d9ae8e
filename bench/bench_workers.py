"""Two workers against one: what each reads, what a step's input costs it, and the examples a second of the training.

    python -m bench.bench_workers [--events 400000] [--rounds 3]

The log and the recipe are those of `bench_scale`, from a prepared dataset. One worker has batches of 4,096. Two workers
have the same batch, and one twice as large, in which each takes as many rows as the one. A worker is a process with one
core and one thread for operations, so two workers have twice the machine of one. They talk over the local network.
Rounds alternate between the three; the figures are medians over the rounds. `input_cpu_ms` are the
CPU milliseconds in which a worker gathers its rows of a batch from its log. `step_ms` are wall milliseconds of a step,
`step_cpu_ms` those of CPU of the process, all threads. `anonymous_gib` is the peak of memory that no file backs, in an
epoch with its validation. `faster` is the examples a second against one worker's, by rounds.
"""

import argparse
import dataclasses
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import common
from bench.bench_scale import Meter, recipe_of, write
from tfrs_twotower.data import DuckDB, prepare
from tfrs_twotower.recommender import Recommender
from tfrs_twotower.training import strategy

# After tfrs_twotower, which sets up legacy Keras.
import tensorflow as tf  # isort: skip

NAME = "workers"
_VARIANTS = ((1, 4096), (2, 4096), (2, 8192))  # workers, rows of a batch
_INPUTS = 100  # batches that are only gathered


def worker(folder, directory, number, workers, batch_size):
    """Trains an epoch as one of the workers; returns its figures."""
    devices = strategy("workers" if workers > 1 else None)
    recipe = recipe_of(folder, large=False)
    recipe = dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, batch_size=batch_size))
    steps, meter = Steps(), Meter()
    with devices.scope():
        run = Recommender(recipe, directory=directory)
        with meter.stage("fit"):
            run.fit(verbose=0, callbacks=[tf.keras.callbacks.LambdaCallback(on_train_batch_end=steps)])
    batches, a = run.assembly.batches, run.assembly
    started = time.thread_time()
    rows = [len(batches.batch(step, number, workers)["candidate_id"]) for step in range(_INPUTS)]
    return {
        "events_read": len(a.log), "users_read": len(a.log.users), "rows_a_step": sum(rows) / _INPUTS,
        "input_cpu_ms": 1000 * (time.thread_time() - started) / _INPUTS,
        "step_ms": 1000 * steps.wall / steps.count, "step_cpu_ms": 1000 * steps.cpu / steps.count,
        "anonymous_gib": meter.rows["fit"]["anonymous_gib"],
        "examples_per_second": batches.batch_size * steps.count / steps.wall,
    }


class Steps:
    """Adds up the wall and CPU seconds of all steps but the first ten, which trace."""

    def __init__(self):
        self.wall = self.cpu = 0.0
        self.count, self._last = -10, None

    def __call__(self, batch, logs):
        now = time.perf_counter(), time.process_time()
        self.count += 1
        if self.count > 0:
            self.wall += now[0] - self._last[0]
            self.cpu += now[1] - self._last[1]
        self._last = now


def measured(folder, directory, workers, batch_size):
    """The figures of the workers of one training."""
    ports = random.sample(range(15_000, 32_000), workers)
    cluster = {"worker": [f"localhost:{port}" for port in ports]}
    running = []
    for number in range(workers):
        environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": "1", "OMP_NUM_THREADS": "1"}
        if workers > 1:
            environment["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": number}})
        command = ["taskset", "-c", str(number), sys.executable, "-m", "bench.bench_workers", "--folder", str(folder),
                   "--run", str(directory), "--worker", str(number), "--of", str(workers),
                   "--batch-size", str(batch_size)]
        running.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
    found = []
    for process in running:
        said, _ = process.communicate()
        if process.returncode:
            raise SystemExit("A worker failed; its message is above.")
        found.append(json.loads(said.splitlines()[-1]))
    return found


def main():
    """Measures both in turn, and records the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=400_000)
    parser.add_argument("--rounds", type=int, default=3)
    for name in ("--folder", "--run", "--worker", "--of", "--batch-size"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        numbers = int(args.worker), int(args.of), int(args.batch_size)
        print(json.dumps(worker(Path(args.folder), Path(args.run), *numbers)))
        return
    rounds = {variant: [] for variant in _VARIANTS}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        prepare(write(folder / "log", args.events), folder / "dataset", DuckDB())
        for number in range(args.rounds):
            for (workers, batch_size), done in rounds.items():
                run = folder / f"run-{workers}-{batch_size}-{number}"
                done.append(measured(folder / "dataset", run, workers, batch_size))
            common.record(NAME, figures_of(args.events, rounds))  # after each round, in case the next one is stopped


def figures_of(events, rounds):
    """A row for each worker: medians of {(workers, rows of a batch): the figures of the workers in each round}."""
    speed = {variant: [found[0]["examples_per_second"] for found in done] for variant, done in rounds.items()}
    one = speed[_VARIANTS[0]]
    return [
        {"events": events, "rounds": len(done), "workers": variant[0], "batch_size": variant[1], "worker": place + 1,
         **{name: common.median([found[place][name] for found in done]) for name in done[0][place]},
         "faster": common.median([these / first for these, first in zip(speed[variant], one)])}
        for variant, done in rounds.items() for place in range(variant[0])
    ]


if __name__ == "__main__":
    main()

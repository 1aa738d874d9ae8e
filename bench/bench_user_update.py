"""What `twotower update --users-only` with a thousand new events costs behind logs of more and more events.

    python -m bench.bench_user_update                               # one and five million events
    python -m bench.bench_user_update --before ../before            # in turns with another checkout of this project

It is the whole command, as a person or cron starts it: a process that imports TensorFlow, reads the new events, trains
and publishes the rows of their users. `import_cpu_s` is that of a process which imports the package's updates as the
command does, and does nothing: no such command can cost less. The logs and the recipe are those of `bench_scale`. Each
run is trained for a few batches, as the update costs the same, and has a version that holds its manifest alone. Its
first update, which also learns the events that the training held out, is not measured. `peak_gib` counts pages of
mapped files.
"""

import argparse
import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import bench_scale, common
from tfrs_twotower.data import DuckDB, prepare
from tfrs_twotower.exporting import manifest, user_deltas
from tfrs_twotower.pipeline import runs
from tfrs_twotower.recommender import Recommender

import tensorflow as tf  # isort: skip

NAME, _NEW, _START, _DAY, _BATCHES = "user_update", 1_000, 1_700_000_000, 86_400, 20
_IMPORTS = """
try:
    from tfrs_twotower.cli.importing import importing
except ImportError:  # of an earlier checkout
    from contextlib import nullcontext as importing
with importing():
    import tfrs_twotower.updates
"""


class _Stop(tf.keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        self.model.stop_training = batch + 1 >= _BATCHES


def trained(folder, events):
    """The folder of a run on so many events, with a version that holds its manifest alone. One that is there is used.
    """
    run = folder / "run"
    if run.exists():
        user_deltas.clear(run / runs.EXPORT, 1)
        return run
    folder.mkdir(parents=True)
    prepare(bench_scale.write(folder / "log", events, _START), folder / "dataset", DuckDB())
    recipe = bench_scale.recipe_of(folder / "dataset", large=False)
    recipe = dataclasses.replace(recipe, evaluation=dataclasses.replace(recipe.evaluation, validation_queries=100))
    Recommender(recipe, directory=run).fit(verbose=0, callbacks=[_Stop()])
    version = run / runs.EXPORT / "1"
    version.mkdir(parents=True)
    manifest.write(version, {"embedding_space": runs.read_config(run).embedding_space})
    return run


def process(arguments, code):
    """(wall seconds, CPU seconds, peak GiB) of a Python process with the package of the folder `code`."""
    start = time.perf_counter()
    started = subprocess.Popen(  # the working directory comes before PYTHONPATH
        [sys.executable, *arguments], cwd=code, env={**os.environ, "PYTHONPATH": str(code)}, stdout=subprocess.DEVNULL
    )
    _, status, used = os.wait4(started.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(arguments)} failed.")
    return time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20


def measured(run, events, checkouts, rounds, folder):
    """A row for each checkout: medians of commands taken in turns, each with a day of its own, written to `folder`."""
    found = {name: [] for name in checkouts}
    days = iter(range(100, 200))

    def update(code):
        day = next(days)
        bench_scale.write(folder / f"day{day}", _NEW, _START + _DAY * day, days=1, seed=day, known=events)
        update = ["-m", "tfrs_twotower", "update", str(run), "--users-only", "--interactions"]
        return process([*update, str(folder / f"day{day}")], code)

    update(checkouts["now"])
    for _ in range(rounds):
        for name, code in checkouts.items():
            imported = process(["-c", _IMPORTS], code)
            found[name].append((*update(code), imported[1]))
    size = {"events": events, "users": events // 11, "items": events // 20, "new_events": _NEW}
    keys = ("wall_s", "cpu_s", "peak_gib", "import_cpu_s")
    return [{**size, "code": name, **dict(zip(keys, map(common.median, zip(*took))))} for name, took in found.items()]


def main():
    """Measures, prints and records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--events", type=int, nargs="+", default=[1_000_000, 5_000_000], help="sizes of the log")
    parser.add_argument("--before", type=Path, help="another checkout of this project, measured in turns")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="for the runs, which stay there for the next time")
    parser.add_argument("--note", default="", help="what else to say, for the record")
    args = parser.parse_args()
    here = Path(__file__).resolve().parents[1]
    checkouts = {**({"before": args.before.resolve()} if args.before else {}), "now": here}
    figures = []
    for events in args.events:
        with tempfile.TemporaryDirectory() as aside:
            run = trained((args.folder or Path(aside)).resolve() / f"events-{events}", events)
            figures += measured(run, events, checkouts, args.rounds, Path(aside))
        print(figures[-1], flush=True)
    # The record names the command without the folders of this machine.
    sizes = [] if args.events == parser.get_default("events") else ["--events", *map(str, args.events)]
    rounds = [] if args.rounds == parser.get_default("rounds") else ["--rounds", str(args.rounds)]
    sys.argv = [sys.argv[0], *sizes, *rounds, *(["--before", "../before"] if args.before else [])]
    common.record(NAME, [{**row, "note": args.note} for row in figures])


if __name__ == "__main__":
    main()

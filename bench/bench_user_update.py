"""What `update_users` costs beside the size of the user table: a thousand new events, more and more users.

    python -m bench.bench_user_update              # 10,000, 100,000 and 1,000,000 users

Each run is trained on one event of every user and 1,000 items, for one epoch, with rows of 16 numbers. The update reads
the whole log again, as histories and counts are of all of it: `log_events` grows with the table. Its own part is the
steps on the new events and a delta of the rows that moved. No server and no index take part.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench import common
from tfrs_twotower import columns as c
from tfrs_twotower.data import Files, Temporal, ingest, joined
from tfrs_twotower.exporting import manifest
from tfrs_twotower.features import Id, Schema
from tfrs_twotower.pipeline import runs
from tfrs_twotower.recipe import ModelConfig, Recipe
from tfrs_twotower.recommender import Recommender
from tfrs_twotower.towers import MLP
from tfrs_twotower.training import TrainingConfig
from tfrs_twotower.updates import update_users

_ITEMS, _NEW, _DIM = 1_000, 1_000, 16


def write_log(path, users, start):
    """One event of each of `users`, a second apart."""
    items = np.random.default_rng(0).integers(1, _ITEMS + 1, len(users))
    times = start + np.arange(len(users))
    pq.write_table(pa.table({c.USER_ID: users, c.ITEM_ID: items, c.TIMESTAMP: times}), path)
    return Files(path=str(path))


def trained(folder, users):
    """The folder of a run on one event of each user, with a version that holds its manifest alone."""
    source = write_log(folder / "log.parquet", 1 + np.arange(users), 1_600_000_000)
    encoder = MLP(widths=())
    recipe = Recipe(
        name="bench", source=source, split=Temporal(200 / users, 200 / users),
        schema=Schema(query=(Id(c.USER_ID, dim=_DIM),), candidate=(Id(c.ITEM_ID, dim=_DIM),)),
        model=ModelConfig(dim=_DIM, query_encoder=encoder, candidate_encoder=encoder),
        training=TrainingConfig(epochs=1, batch_size=4096),
    )
    Recommender(recipe, directory=folder / "run").fit(verbose=0)
    version = folder / "run" / runs.EXPORT / "1"
    version.mkdir(parents=True)
    manifest.write(version, {"embedding_space": runs.read_config(folder / "run").embedding_space})
    return folder / "run"


def measured(folder, users):
    """The table's row of one size."""
    run = trained(folder, users)
    seconds, reading = [], []
    for number in range(3):  # each goes on from the deltas of those before
        some = 1 + np.random.default_rng(number).choice(users, _NEW, replace=False)
        day = write_log(folder / f"day{number}.parquet", some, 1_700_000_000 + number * _NEW)
        start = time.perf_counter()
        ingest(joined(runs.read_config(run).recipe.source, day))
        reading.append(time.perf_counter() - start)
        start = time.perf_counter()
        delta = update_users(run, day)
        seconds.append(time.perf_counter() - start)
    checkpoint = sum(p.stat().st_size for p in (run / runs.CHECKPOINT / "best").rglob("*") if p.is_file())
    return {
        "users": users, "log_events": users, "new_events": _NEW, "update_s": common.median(seconds),
        "of_it_reading_the_log_s": common.median(reading), "delta_kib": delta.stat().st_size / 1024,
        "checkpoint_kib": checkpoint / 1024,
    }


def main():
    """Measures, prints and records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--users", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="sizes of the table")
    parser.add_argument("--note", default="", help="what else to say, for the record")
    args = parser.parse_args()
    figures = []
    for users in args.users:
        with tempfile.TemporaryDirectory() as folder:
            figures.append(measured(Path(folder), users))
        print(figures[-1], flush=True)
    for row in figures:
        row["ratio_to_first"] = row["update_s"] / figures[0]["update_s"]
        row["note"] = args.note
    common.record("user_update", figures)


if __name__ == "__main__":
    main()

"""What the replays of the grocery log share: the model, the days, and how answers and arms are compared."""

import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import tfrs_twotower  # noqa: F401
from tfrs_twotower import recipes
from tfrs_twotower.data import Queries, Split, Temporal
from tfrs_twotower.evaluation.bootstrap import resampled_means
from tfrs_twotower.index import IndexConfig
from tfrs_twotower.pipeline import runs
from tfrs_twotower.pipeline.assembling import assemble
from tfrs_twotower.pipeline.learned_fields import read_fields
from tfrs_twotower.recipe import ModelConfig

DAY = 86_400
K = 100
METRICS = ("recall@10", "recall@100", "ndcg@10")


def add_days(parser):
    """Adds the options that say what is replayed to an `ArgumentParser`."""
    parser.add_argument("--start", default="2017-12-10", help="the first day that is replayed")
    parser.add_argument("--days", type=int, default=14)
    parser.add_argument("--weeks", type=int, default=12, help="of the log before the first day, to train on")
    parser.add_argument("--cuts", type=int, nargs="*", default=[16], help="hours that end a part of a day")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--folder", type=Path, help="keep the files there; a model that is there is not trained again")


def folders(args):
    """(seed, its folder) of each seed; without `--folder` they are gone at the end."""
    with tempfile.TemporaryDirectory() as aside:
        for seed in args.seeds:
            folder = (args.folder or Path(aside)).resolve() / f"seed-{seed}"
            folder.mkdir(parents=True, exist_ok=True)
            yield seed, folder


def recipe(seed):
    """`retail` with towers alone, smaller batches for small days, and an index that costs nothing to build."""
    found = recipes.load("retail")
    return dataclasses.replace(
        found,
        model=ModelConfig(),  # what ages is what the towers learned
        split=Temporal(0.005, 0.005),  # what it holds out is learned by the first update; so it is little
        index=IndexConfig(kind="exact"),
        training=dataclasses.replace(found.training, batch_size=256, epochs=5, patience=2, seed=seed),
    )


class Days:
    """The file of a `Files` source, cut by time; stretches of it are written to `folder`."""

    def __init__(self, source, folder):
        self._source, self._folder = source, Path(folder)
        self._table = pq.read_table(source.path)
        milliseconds = pc.cast(self._table[source.columns.timestamp].cast(pa.timestamp("ms")), "int64")
        self._seconds = pc.divide(milliseconds, 1000)

    def between(self, start, stop):
        """The source of the events from `start` to before `stop`, in seconds since 1970."""
        mask = pc.and_(pc.greater_equal(self._seconds, start), pc.less(self._seconds, stop))
        path = self._folder / f"{start}-{stop}.parquet"
        pq.write_table(self._table.filter(mask), path)
        return dataclasses.replace(self._source, path=str(path))


def examples_of(run, log):
    """The `Examples` of all rows of a log by a run's fields: for the features that a request carries."""
    split = Split(np.arange(len(log)), Queries.none(), Queries.none())
    return assemble(runs.read_config(run).recipe, log, read_fields(runs.weights(run).folder), split=split).examples


def metrics(answer, wanted):
    """The metrics of one query: ids in their order against the distinct ids to be found."""
    hits = np.isin(answer, wanted)
    gains = 1 / np.log2(2 + np.arange(10))
    return np.array([
        hits[:10].sum() / len(wanted), hits.sum() / len(wanted), (hits[:10] * gains).sum() / gains[:len(wanted)].sum()
    ])


def means(rows, name, day=None):
    """The mean metrics of an arm or baseline, of one day or all."""
    return np.mean([figures[name] for d, _, figures in rows if day in (None, d)], axis=0)


def against(rows, name, other):
    """95% intervals of the difference of two arms: households are drawn, with all that they were asked."""
    users = np.array([user for _, user, _ in rows])
    difference = np.array([figures[name] - figures[other] for _, _, figures in rows])
    _, of = np.unique(users, return_inverse=True)
    totals = np.stack([np.bincount(of, column) for column in (*difference.T, np.ones(len(of)))], axis=1)
    drawn = resampled_means(totals, 2000, seed=0)
    return np.percentile(drawn[:, :-1] / drawn[:, -1:], [2.5, 97.5], axis=0).T

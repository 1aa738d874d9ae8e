"""Cold users and cold films of MovieLens, by a split in time: the slices of `bench_cold_start` and `bench_few_shot`.

The last tenth of the events by time is the test, the tenth before it validation. A tenth of the films, drawn at
random, loses all events before the test, as if they came out then: with the films that have none by themselves they
are the cold items. Cold users have no event before the test.
"""

import argparse
import dataclasses

import numpy as np

import tfrs_twotower  # noqa: F401
from bench import common
from bench.bench_quality import trained
from tfrs_twotower import columns as c
from tfrs_twotower import recipes
from tfrs_twotower.data import MovieLens, Ragged, Temporal, ingest
from tfrs_twotower.evaluation import compare, evaluate
from tfrs_twotower.evaluation.bootstrap import intervals
from tfrs_twotower.features import History, Id

import tensorflow as tf  # isort: skip

PICKS = 5  # films that stand for what a cold user picks at sign-up
TEST, VALIDATION, WITHHELD = 0.1, 0.1, 0.1
KS = (10, 50)


def measured(name, dropouts, rows, doc, seeds=1, **model):
    """Trains the `movielens` recipe for each pair of shares, and records the rows.

    Args:
      name: of the record.
      dropouts: pairs (share of dropped ids, share of dropped pasts).
      rows: function (the trainings' `Assembly`s, one for each seed, and the pair) → rows of the table.
      doc: of the benchmark.
      seeds: the number of trainings for each pair, by default.
      model: changes of the recipe's `ModelConfig`.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=("100k", "1m"), default="100k")
    parser.add_argument("--seeds", type=int, default=seeds)
    args = parser.parse_args()
    base = recipes.load("movielens")
    base = dataclasses.replace(base, source=MovieLens(args.data), model=dataclasses.replace(base.model, **model))
    log, split = without(ingest(base.source)[0], WITHHELD)
    figures = []
    for dropout in dropouts:
        changed = with_dropout(base, dropout, split)
        found = [*rows([trained(with_seed(changed, seed), log) for seed in range(args.seeds)], dropout)]
        print(common.table(found), flush=True)
        figures += found
    figures.sort(key=lambda row: row["cold"], reverse=True)
    common.record(name if args.data == "100k" else f"{name}_{args.data}", figures)


def without(log, share, seed=0):
    """(the log without the events before the test of a share of the items, its split)."""
    hidden = np.random.default_rng(seed).random(log.items.num_rows) < share
    start = Temporal(VALIDATION, TEST).split(log).test.timestamp.min()
    kept = np.flatnonzero(~(hidden[log.item] & (log.timestamp < start)))
    left = dataclasses.replace(
        log, user=log.user[kept], item=log.item[kept], timestamp=log.timestamp[kept], weight=log.weight[kept],
        context=log.context.take(kept),
    )
    test = int((left.timestamp >= start).sum()) / len(left)
    return left, Temporal(VALIDATION, test)


def with_dropout(recipe, dropout, split):
    """The recipe with other shares of dropped ids and pasts."""
    shares = {Id: dropout[0], History: dropout[1]}

    def changed(side):
        features = getattr(recipe.schema, side)
        return tuple(
            dataclasses.replace(f, dropout=shares[type(f)]) if type(f) in shares else f for f in features
        )

    schema = dataclasses.replace(recipe.schema, query=changed("query"), candidate=changed("candidate"))
    return dataclasses.replace(recipe, schema=schema, split=split)


def with_seed(recipe, seed):
    """The recipe with another seed."""
    return dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, seed=seed))


def mean(evaluations):
    """The `Evaluation` of the mean over trainings: each query's figures, their means and intervals."""
    per_query = {name: np.mean([e.per_query[name] for e in evaluations], axis=0) for name in evaluations[0].per_query}
    bounds = intervals(np.stack([*per_query.values()], axis=1))
    return dataclasses.replace(
        evaluations[0], per_query=per_query, metrics={name: np.nanmean(values) for name, values in per_query.items()},
        intervals=dict(zip(per_query, bounds.tolist())),
    )


class ColdUsers:
    """The queries of users without a training event, cut into what they picked and what is to be found."""

    def __init__(self, a):
        self.a, queries = a, a.split.test
        cold = a._cold_users(queries) & (queries.targets.lengths > PICKS)
        self.rows, targets = queries.row[cold], queries.targets.take(np.flatnonzero(cold))
        items = [targets.row(i) for i in range(len(targets))]
        self.picks = [row[:PICKS] for row in items]
        self._targets = Ragged.from_lists([a.positions(row[PICKS:]) for row in items])
        self._exclude = Ragged.from_lists([p[p >= 0] for p in map(a.positions, self.picks)])

    def __len__(self):
        return len(self.rows)

    def evaluate(self, scorer):
        """The `Evaluation` of a scorer."""
        return evaluate(scorer, self._targets, self._exclude, self.a.train_counts, ks=KS)

    def requests(self, profile=True, histories=None):
        """Raw features: of the profile or nothing, with a list of item rows as a past of this moment."""
        raw = self.a.examples.raw_queries(self.rows)
        unknown = {tf.string: "", tf.int64: -1, tf.float32: np.nan}
        for name in ([] if profile else ["age", "gender", "occupation"]):
            raw[name] = tf.fill(raw[name].shape, tf.constant(unknown[raw[name].dtype], raw[name].dtype))
        ids = np.array([*self.a.log.items[c.ITEM_ID].to_pylist(), ""], object)
        if histories is not None:
            width = max(map(len, histories))
            rows = np.array([[*row, *[-1] * (width - len(row))] for row in histories])
            raw[c.HISTORY_ITEM_ID] = tf.constant(ids[rows].tolist(), tf.string)
            raw[c.HISTORY_TIMESTAMP] = tf.zeros(rows.shape, tf.int64)  # no time: of age 0
        return raw


def cold_items(a):
    """(log rows of the queries, targets, what they have seen): those with a cold item among their targets."""
    queries = a.split.test
    lists = [a.positions(queries.targets.row(i)) for i in range(len(queries))]
    lists = [row[(row >= 0) & (a.train_counts[row] == 0)] for row in lists]
    asked = [i for i, row in enumerate(lists) if len(row)]
    seen = [a.positions(queries.seen.row(i)) for i in asked]
    targets = Ragged.from_lists([lists[i] for i in asked])
    return queries.row[asked], targets, Ragged.from_lists([row[row >= 0] for row in seen])


def gain(evaluation, first):
    """What a device adds to the first one."""
    if evaluation is first:
        return {}
    found = compare(evaluation, first)["recall@50"]
    low, high = found["interval"]
    return {"gain": f"{found['difference']:+.4f} [{low:+.3f}, {high:+.3f}]"}


def shown(evaluation, metric):
    low, high = evaluation.intervals[metric]
    return f"{evaluation.metrics[metric]:.4f} [{low:.3f}, {high:.3f}]"


def line(side, device, dropout, evaluation, more=None):
    """One line of the table."""
    return {
        "cold": side, "device": device,
        **dict(zip(("ids dropped", "pasts dropped"), map(str, dropout) if dropout else (None, None))),
        "queries": evaluation.queries, "targets": evaluation.targets,
        **{metric: shown(evaluation, metric) for metric in ("recall@10", "ndcg@10", "recall@50")}, **(more or {}),
    }

"""Cold users and cold items of MovieLens, by a split in time, with and without each device.

    .venv/bin/python -m bench.bench_cold_start               MovieLens-100K: four trainings of the `movielens` recipe
    .venv/bin/python -m bench.bench_cold_start --data 1m     MovieLens-1M

The last tenth of the events by time is the test, the tenth before it validation. A tenth of the films, drawn at
random, loses all events before the test, as if they came out then: with the films that have none by themselves they
are the cold items. Each training has another share of dropped ids (`Id.dropout`, of users and items alike).

Cold users have no event before the test. Of each, the first five films of the test stand for what a person picks at
sign-up; what comes after them is to be found, in the whole catalogue without those five. "genres picked" are the three
most frequent genres of the five, and the past is the five most popular films of each; "films picked": the five
themselves. β is the popularity correction of the request: −1 adds log p(item) to the score. "gain" is the paired
difference of recall@50 to the same training's first device, `profile` or `content`, with its 95% interval.

Cold items are asked of every test query that has one among its targets: in the whole catalogue, and among the cold
items alone (`among cold`), where chance is known.
"""

import argparse
import collections
import dataclasses

import numpy as np
import pyarrow as pa

import tfrs_twotower  # noqa: F401
from bench import common
from bench.bench_quality import trained
from tfrs_twotower import columns as c
from tfrs_twotower import recipes
from tfrs_twotower.coldstart import CategoryMeans, representatives
from tfrs_twotower.data import MovieLens, Ragged, Temporal, ingest
from tfrs_twotower.evaluation import DotScorer, Popularity, compare, evaluate, recent_counts
from tfrs_twotower.features import History, Id

import tensorflow as tf  # isort: skip

DROPOUTS = ((0.0, 0.0), (0.05, 0.0), (0.3, 0.0), (0.2, 0.2))  # of ids, of pasts
TEST, VALIDATION, WITHHELD = 0.1, 0.1, 0.1
PICKS, GENRES, FILMS_A_GENRE = 5, 3, 5
GENRE = "movie_genres"
KS = (10, 50)
AMONG = f"among cold, recall@{KS[0]}"


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
        self.log_popularity = np.log(np.maximum(a.train_counts, 1) / a.train_counts.sum()).astype(np.float32)

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

    def scorer(self, beta=0.0, **request):
        """The model's, for such requests."""
        a, tower = self.a, self.a.model.query_tower
        raw = self.requests(**request)
        vectors = np.concatenate([
            tower(tower.encode({name: v[i:i + 256] for name, v in raw.items()}), training=False).numpy()
            for i in range(0, len(self), 256)
        ])
        # β · log p(item) as one more dimension of both vectors
        vectors = np.concatenate([vectors / a.model.temperature, np.ones((len(self), 1))], axis=1)
        return DotScorer(vectors, np.concatenate([a.candidate_vectors(), -beta * self.log_popularity[:, None]], axis=1))

    def genres(self):
        """For each user the item rows that stand for the genres of what they picked."""
        items = self.a.log.items
        standing = representatives(items, GENRE, self.a.log.item_counts(self.a.split.train), FILMS_A_GENRE)
        row = {str(item): i for i, item in enumerate(items[c.ITEM_ID].to_pylist())}
        of_item = items[GENRE].to_pylist()
        found = []
        for picks in self.picks:
            counted = collections.Counter(str(genre) for item in picks for genre in of_item[item] or ())
            best = sorted(counted, key=lambda genre: (-counted[genre], genre))[:GENRES]
            found.append(list(dict.fromkeys(row[item] for genre in best for item in standing.get(genre, []))))
        return found


def of_users(a, dropout):
    """Rows of the cold users."""
    cold = ColdUsers(a)
    devices = {
        "profile": {},
        "nothing known": {"profile": False},
        "profile, β = −1": {"beta": -1.0},
        "profile + genres picked as past": {"histories": cold.genres()},
        "profile + films picked as past": {"histories": cold.picks},
    }
    evaluated = {name: cold.evaluate(cold.scorer(**request)) for name, request in devices.items()}
    for name, evaluation in evaluated.items():
        yield line("users", name, dropout, evaluation, gain(evaluation, evaluated["profile"]))


def of_no_training(a):
    """Rows that no training has a part in."""
    cold, train = ColdUsers(a), a.split.train
    items, times = a.positions(a.log.item[train]), a.log.timestamp[train]
    counts = {"popularity": a.train_counts, "popularity, last week": recent_counts(items, times, len(a.catalogue))}
    for name, count in counts.items():
        yield line("users", name, None, cold.evaluate(Popularity(count, len(cold))))
    queries, targets, exclude = cold_items(a)
    yield line("items", "popularity", None, evaluate(
        Popularity(a.train_counts, len(queries)), targets, exclude, a.train_counts, ks=KS
    ), {AMONG: f"{KS[0] / int((a.train_counts == 0).sum()):.4f} by chance"})


def cold_items(a):
    """(log rows of the queries, targets, what they have seen): those with a cold item among their targets."""
    queries = a.split.test
    lists = [a.positions(queries.targets.row(i)) for i in range(len(queries))]
    lists = [row[(row >= 0) & (a.train_counts[row] == 0)] for row in lists]
    asked = [i for i, row in enumerate(lists) if len(row)]
    seen = [a.positions(queries.seen.row(i)) for i in asked]
    targets = Ragged.from_lists([lists[i] for i in asked])
    return queries.row[asked], targets, Ragged.from_lists([row[row >= 0] for row in seen])


def of_items(a, dropout):
    """Rows of the cold items: the tower's vectors of what is known of them, and means of their genres."""
    rows, targets, exclude = cold_items(a)
    cold = a.train_counts == 0
    content, queries = a.candidate_vectors(), a.query_vectors(rows)
    table = a.log.items.take(pa.array(a.catalogue))
    means = CategoryMeans(content, table, GENRE, ~cold).vectors(table, GENRE, unit=True)
    both = content + means
    both /= np.linalg.norm(both, axis=1, keepdims=True)
    place = np.full(len(cold), -1)
    place[cold] = np.arange(cold.sum())
    within = Ragged(place[targets.values].astype(np.int32), targets.offsets)
    first = None
    for name, vectors in (("content", content), ("mean of its genres", means), ("mean of both", both)):
        mixed = np.where(cold[:, None], vectors, content)
        whole = evaluate(DotScorer(queries, mixed), targets, exclude, a.train_counts, ks=KS)
        among = evaluate(DotScorer(queries, mixed[cold]), within, None, a.train_counts[cold], ks=KS[:1])
        first = first or whole
        yield line("items", name, dropout, whole, {**gain(whole, first), AMONG: shown(among, f"recall@{KS[0]}")})


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


def warm(a, dropout):
    """What the model is worth where nothing is cold: the recall of all test queries."""
    evaluation = a.evaluate(a.split.test, a.model_scorer(a.split.test))
    return line("(all test queries)", "none", dropout, evaluation)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=("100k", "1m"), default="100k")
    args = parser.parse_args()
    base = dataclasses.replace(recipes.load("movielens"), source=MovieLens(args.data))
    log, split = without(ingest(base.source)[0], WITHHELD)
    figures = []
    for dropout in DROPOUTS:
        a = trained(with_dropout(base, dropout, split), log)
        if not figures:
            figures += of_no_training(a)
        figures += [warm(a, dropout), *of_users(a, dropout), *of_items(a, dropout)]
        print(common.table(figures[-9:]), flush=True)
    figures.sort(key=lambda row: row["cold"], reverse=True)
    common.record("cold_start" if args.data == "100k" else f"cold_start_{args.data}", figures)


if __name__ == "__main__":
    main()

"""Cold users and cold items of MovieLens, by a split in time, with and without each device.

    .venv/bin/python -m bench.bench_cold_start               MovieLens-100K: four trainings of the `movielens` recipe
    .venv/bin/python -m bench.bench_cold_start --data 1m     MovieLens-1M

The split and the slices are those of `bench.cold_slices`. Each training has another share of dropped ids
(`Id.dropout`, of users and items alike).

Of each cold user, the first five films of the test stand for what a person picks at
sign-up; what comes after them is to be found, in the whole catalogue without those five. "genres picked" are the three
most frequent genres of the five, and the past is the five most popular films of each; "films picked": the five
themselves. β is the popularity correction of the request: −1 adds log p(item) to the score. "gain" is the paired
difference of recall@50 to the same training's first device, `profile` or `content`, with its 95% interval.

Cold items are asked of every test query that has one among its targets: in the whole catalogue, and among the cold
items alone (`among cold`), where chance is known.
"""

import collections

import numpy as np
import pyarrow as pa

import tfrs_twotower  # noqa: F401
from bench.cold_slices import KS, ColdUsers, cold_items, gain, line, measured, shown
from tfrs_twotower import columns as c
from tfrs_twotower.coldstart import CategoryMeans, representatives
from tfrs_twotower.data import Ragged
from tfrs_twotower.evaluation import DotScorer, Popularity, evaluate, recent_counts

DROPOUTS = ((0.0, 0.0), (0.05, 0.0), (0.3, 0.0), (0.2, 0.2))  # of ids, of pasts
GENRES, FILMS_A_GENRE = 3, 5
GENRE = "movie_genres"
AMONG = f"among cold, recall@{KS[0]}"


def scorer(cold, beta=0.0, **request):
    """The model's, for such requests."""
    a, tower = cold.a, cold.a.model.query_tower
    log_popularity = np.log(np.maximum(a.train_counts, 1) / a.train_counts.sum()).astype(np.float32)
    raw = cold.requests(**request)
    vectors = np.concatenate([
        tower(tower.encode({name: v[i:i + 256] for name, v in raw.items()}), training=False).numpy()
        for i in range(0, len(cold), 256)
    ])
    # β · log p(item) as one more dimension of both vectors
    vectors = np.concatenate([vectors / a.model.temperature, np.ones((len(cold), 1))], axis=1)
    return DotScorer(vectors, np.concatenate([a.candidate_vectors(), -beta * log_popularity[:, None]], axis=1))


def genres(cold):
    """For each user the item rows that stand for the genres of what they picked."""
    items = cold.a.log.items
    standing = representatives(items, GENRE, cold.a.log.item_counts(cold.a.split.train), FILMS_A_GENRE)
    row = {str(item): i for i, item in enumerate(items[c.ITEM_ID].to_pylist())}
    of_item = items[GENRE].to_pylist()
    found = []
    for picks in cold.picks:
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
        "profile + genres picked as past": {"histories": genres(cold)},
        "profile + films picked as past": {"histories": cold.picks},
    }
    evaluated = {name: cold.evaluate(scorer(cold, **request)) for name, request in devices.items()}
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


def warm(a, dropout):
    """What the model is worth where nothing is cold: the recall of all test queries."""
    evaluation = a.evaluate(a.split.test, a.model_scorer(a.split.test))
    return line("(all test queries)", "none", dropout, evaluation)


def rows(trainings, dropout):
    """All rows of a training."""
    a, = trainings
    if dropout == DROPOUTS[0]:
        yield from of_no_training(a)
    yield warm(a, dropout)
    yield from of_users(a, dropout)
    yield from of_items(a, dropout)


if __name__ == "__main__":
    measured("cold_start", DROPOUTS, rows, __doc__)

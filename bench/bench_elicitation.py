"""Questions to strangers, on MovieLens-1M: what the answers are worth, by which films were asked about.

    .venv/bin/python -m bench.bench_elicitation                 three trainings, about a quarter of an hour on 2 cores
    .venv/bin/python -m bench.bench_elicitation --seeds 1

600 people (others for each seed) are strangers: the `movielens` recipe is trained without them, on ratings of 4 and 5
alone. A random half of a stranger's ratings is what the person can answer: "like" for 4 and 5, "dislike" below, and "I
do not know it" for every other film. To be found are the films of the other half that the person rated 4 or 5, in the
whole catalogue without all that the person can answer, whether it was asked about or not: so nobody gains by asking
films out of the list. Strangers with five such films count.

Who asks: "popular" asks about the best-known films, "random" draws among the thousand best-known, "information" asks by
`Elicitation`, all questions at once or each after the answers before it (`adaptive`). Who reads: "people" is the mean
vector of `Elicitation`, "history" the query tower with the likes as a past, "both" the sum of these two. "gain" is the
paired difference of recall@50 to "popular" with as many questions and the same reader, with its 95% interval over the
strangers of all seeds.
"""

import argparse
import dataclasses
import tempfile
from pathlib import Path

import numpy as np

import tfrs_twotower as tt
from bench import common, movielens_1m
from tfrs_twotower import columns as c
from tfrs_twotower.channels import Elicitation
from tfrs_twotower.data import Ragged
from tfrs_twotower.evaluation import DotScorer, Popularity, evaluate
from tfrs_twotower.evaluation.bootstrap import intervals
from tfrs_twotower.pipeline.requests import live_requests
from tfrs_twotower.pipeline.searching import people

import tensorflow as tf  # isort: skip

LIKED, STRANGERS, LEAST, KS = 4.0, 600, 5, (10, 50)
ASKED = (5, 15)
METRIC = "recall@50"
NONE = np.zeros(0, int)


class Strangers:
    """The people that a training knows nothing of: what they can answer, and what they like besides."""

    def __init__(self, ratings, ids, seed):
        row = {item: i for i, item in enumerate(ids)}
        rng = np.random.default_rng(seed)
        ratings = ratings[ratings.item_id.isin(row)]
        self.answers, self.targets = [], []
        for _, own in ratings.groupby("user_id"):
            half = rng.random(len(own)) < 0.5
            rows, liked = own.item_id.map(row).to_numpy(), (own.rating >= LIKED).to_numpy()
            if (liked & ~half).sum() >= LEAST:
                self.answers.append(dict(zip(rows[half].tolist(), liked[half].tolist())))
                self.targets.append(rows[liked & ~half].astype(np.int32))
        self.known = Ragged.from_lists([np.array([*own], np.int32) for own in self.answers])

    def ask(self, strategy, elicitation, n, seed):
        """For each stranger the answers to n questions in order: [(row, True, False or None)]."""
        order = np.argsort(-elicitation.known, kind="stable")
        if strategy == "random":
            order = np.random.default_rng(seed).permutation(elicitation.rows)
        if strategy == "information, at once":
            order = [row for row, _ in elicitation.questions(n, NONE, NONE, NONE)]
        if strategy != "information, adaptive":
            return [[(int(row), own.get(int(row))) for row in order[:n]] for own in self.answers]
        return [self._adaptive(own, elicitation, n) for own in self.answers]

    @staticmethod
    def _adaptive(own, elicitation, n):
        said = {True: [], False: [], None: []}
        found = []
        for _ in range(n):
            (row, _), = elicitation.questions(1, *(np.array(said[liked], int) for liked in (True, False, None)))
            said[own.get(row)].append(row)
            found.append((row, own.get(row)))
        return found


def by_history(a, likes):
    """[strangers, dim]: the query tower's vectors for a past of these films, without times."""
    raw, _ = live_requests(a, ["nobody"] * len(likes))
    ids = np.array([*a.log.items[c.ITEM_ID].take(a.catalogue).to_pylist(), ""], object)
    width = max(map(len, likes))
    rows = np.array([[*own, *[-1] * (width - len(own))] for own in likes], int).reshape(len(likes), width)
    raw = {**raw, c.HISTORY_ITEM_ID: tf.constant(ids[rows].tolist(), tf.string, rows.shape),
           c.HISTORY_TIMESTAMP: tf.zeros(rows.shape, tf.int64)}
    tower = a.model.query_tower
    return tower(tower.encode(raw), training=False).numpy()


def measured(a, strangers, answers):
    """{reader: Evaluation} of the answers so far."""
    likes = [[row for row, liked in own if liked] for own in answers]
    dislikes = [[row for row, liked in own if liked is False] for own in answers]
    asked = elicitation_of(a)
    mean = np.stack([asked.vector(np.array(y, int), np.array(n, int)) for y, n in zip(likes, dislikes)])
    past = by_history(a, likes)
    targets, bias = Ragged.from_lists(strangers.targets), a.weights.popularity * a.log_popularity
    return {
        reader: evaluate(
            DotScorer(vectors / a.model.temperature, a.candidate_vectors(), bias), targets, strangers.known,
            a.train_counts, ks=KS,
        )
        for reader, vectors in {"people": mean, "history": past, "both": (mean + past) / 2}.items()
    }


def elicitation_of(a):
    """The `Elicitation` of a training."""
    return Elicitation(
        *people(a), a.candidate_vectors(), a.log_popularity, 1 / a.model.temperature, a.weights.popularity
    )


def of_seed(seed, folder):
    """Yields (strategy, questions, reader, Evaluation, answers known of those asked)."""
    ratings, users, films = movielens_1m.read()
    everyone = np.sort(ratings.user_id.unique())
    hidden = set(np.random.default_rng(seed).permutation(everyone)[:STRANGERS])
    known = ratings[(ratings.rating >= LIKED) & ~ratings.user_id.isin(hidden)]
    base = tt.recipes.load("movielens")
    training = dataclasses.replace(base.training, epochs=6, seed=seed)
    recipe = dataclasses.replace(base, source=None, split=tt.Temporal(0.05, 0.05), training=training)
    a = tt.Recommender(recipe, known, users, films, directory=folder / str(seed)).fit(verbose=0).assembly
    ids = a.log.items[c.ITEM_ID].take(a.catalogue).to_pylist()
    strangers = Strangers(ratings[ratings.user_id.isin(hidden)], ids, seed)
    elicitation = elicitation_of(a)
    targets = Ragged.from_lists(strangers.targets)
    popular = evaluate(Popularity(a.train_counts, len(targets)), targets, strangers.known, a.train_counts, ks=KS)
    yield "no question", 0, "popularity", popular, None
    for reader, found in measured(a, strangers, [[]] * len(targets)).items():
        yield "no question", 0, reader, found, None
    for strategy in ("popular", "random", "information, at once", "information, adaptive"):
        said = strangers.ask(strategy, elicitation, max(ASKED), seed)
        for n in ASKED:
            answers = [own[:n] for own in said]
            share = np.mean([liked is not None for own in answers for _, liked in own])
            for reader, found in measured(a, strangers, answers).items():
                yield strategy, n, reader, found, share


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--runs", metavar="FOLDER", help="keep the trainings here, and use those that are there")
    args = parser.parse_args()
    values, known = {}, {}  # {(strategy, questions, reader): {metric: [strangers]}}, {…: [seeds]}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(args.seeds):
            for *key, found, share in of_seed(seed, Path(args.runs or folder)):
                for metric in ("recall@10", "ndcg@10", METRIC):
                    values.setdefault(tuple(key), {}).setdefault(metric, []).append(found.per_query[metric])
                known.setdefault(tuple(key), []).append(share)
    common.record("elicitation", [line(key, values, known) for key in values])


def line(key, values, known):
    """One line of the table."""
    strategy, n, reader = key
    own = {metric: np.concatenate(parts) for metric, parts in values[key].items()}
    row = {"asked": strategy, "questions": n, "reader": reader, "strangers": len(own[METRIC])}
    if known[key][0] is not None:
        row["answered"] = round(float(np.mean(known[key])), 3)
    for metric, found in own.items():
        low, high = intervals(found[:, None])[0]
        row[metric] = f"{found.mean():.4f} [{low:.3f}, {high:.3f}]"
    if n and strategy != "popular":
        gain = own[METRIC] - np.concatenate(values["popular", n, reader][METRIC])
        low, high = intervals(gain[:, None])[0]
        row["gain"] = f"{gain.mean():+.4f} [{low:+.3f}, {high:+.3f}]"
    return row


if __name__ == "__main__":
    main()

"""Our evaluation against TFRS's `FactorizedTopK`, used as the TFRS retrieval tutorial uses it.

    python -m bench.bench_evaluation [--users 943] [--events 20000] [--candidates 1682 10000] [--rounds 5]

Same towers (string lookup and embedding of 32), same test events, same question: how often is the event's
item among the user's best 1, 5, 10, 50, 100 of the whole catalogue? Both sides start from string ids.
`tfrs evaluate` is `model.evaluate` on batches of 4,096 events, which also computes the tutorial's loss;
`tfrs metric` is the metric's update alone. Ours is timed with the ranking metrics, coverage, novelty and
slices, with and without 1,000 bootstrap replicates.
"""

import argparse

import numpy as np

from bench.common import interleaved, median, record
from tfrs_twotower.data.ragged import Ragged
from tfrs_twotower.evaluation import DotScorer, evaluate

# TFRS needs legacy Keras, which tfrs_twotower sets up, so these come after it.
import tensorflow as tf  # isort: skip
import tensorflow_recommenders as tfrs  # isort: skip

KS = (1, 5, 10, 50, 100)


def main():
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--users", type=int, default=943)
    parser.add_argument("--events", type=int, default=20_000, help="about this many: an equal number a user")
    parser.add_argument("--candidates", type=int, nargs="+", default=[1682, 10_000])
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    figures = []
    for candidates in args.candidates:
        figures += compare_at(args.users, args.events // args.users, candidates, args.rounds)
    record("evaluation", figures)


def compare_at(users, events_per_user, candidates, rounds):
    """The rows of one catalogue size; checks that both sides agree."""
    tf.keras.utils.set_random_seed(0)
    generator = np.random.default_rng(0)
    user_ids = np.char.add("user ", np.arange(users).astype(str))
    movie_ids = np.char.add("movie ", np.arange(candidates).astype(str))
    wanted = [generator.choice(candidates, events_per_user, replace=False) for _ in range(users)]
    targets = Ragged.from_lists(wanted)
    counts = generator.integers(0, 500, candidates)
    model = TutorialModel(user_ids, movie_ids)
    model.compile()
    order = generator.permutation(len(targets.values))
    events = {
        "user_id": np.repeat(user_ids, events_per_user)[order],
        "movie_title": movie_ids[targets.values][order],
    }
    test = tf.data.Dataset.from_tensor_slices(events).batch(4096).cache()

    def ours(bootstrap):
        scorer = DotScorer(model.user_model(tf.constant(user_ids)), model.movie_model(tf.constant(movie_ids)))
        return evaluate(scorer, targets, None, counts, ks=KS, bootstrap=bootstrap)

    runs = {
        "tfrs evaluate": lambda: model.evaluate(test, verbose=0, return_dict=True),
        "tfrs metric": lambda: model.metric_alone(test),
        "ours": lambda: ours(bootstrap=0),
        "ours, intervals": lambda: ours(bootstrap=1000),
    }
    theirs = runs["tfrs evaluate"]()
    # Each user has as many events as any other, so the mean over users is the mean over events.
    differences = [
        abs(theirs[f"factorized_top_k/top_{k}_categorical_accuracy"] - runs["ours"]().metrics[f"recall@{k}"])
        for k in KS
    ]
    seconds = interleaved(runs, rounds)
    base = seconds["tfrs evaluate"]
    return [
        {
            "candidates": candidates,
            "users": users,
            "events": len(targets.values),
            "what": name,
            "seconds": median(seconds[name]),
            "times as fast": median([a / b for a, b in zip(base, seconds[name])]),
            "largest difference in top-k accuracy": max(differences),
        }
        for name in runs
    ]


class TutorialModel(tfrs.Model):
    """The model of TFRS's basic retrieval tutorial."""

    def __init__(self, user_ids, movie_ids):
        super().__init__()
        self.user_model, self.movie_model = _tower(user_ids), _tower(movie_ids)
        movies = tf.data.Dataset.from_tensor_slices(movie_ids)
        metrics = tfrs.metrics.FactorizedTopK(candidates=movies.batch(128).map(self.movie_model), ks=KS)
        self.task = tfrs.tasks.Retrieval(metrics=metrics)

    def compute_loss(self, features, training=False):
        return self.task(self.user_model(features["user_id"]), self.movie_model(features["movie_title"]))

    @tf.function
    def _update(self, features):
        queries, positives = self.user_model(features["user_id"]), self.movie_model(features["movie_title"])
        for metric in self.task.factorized_metrics:
            metric.update_state(queries, positives)

    def metric_alone(self, test):
        """The accuracies, by the metric alone."""
        self.reset_metrics()
        for features in test:
            self._update(features)
        return [float(value) for metric in self.task.factorized_metrics for value in metric.result()]


def _tower(ids):
    lookup = tf.keras.layers.StringLookup(vocabulary=ids, mask_token=None)
    return tf.keras.Sequential([lookup, tf.keras.layers.Embedding(len(ids) + 1, 32, _coarse)])


def _coarse(shape, dtype=None):
    """Multiples of 1/256: inner products are exact in float32, in whatever order either side adds them up."""
    return tf.round(tf.random.uniform(shape, -256, 256)) / 256


if __name__ == "__main__":
    main()

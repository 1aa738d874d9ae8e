"""Training throughput against the TFRS retrieval tutorial's model.

Same towers (embeddings of 32), batch (4096), data (MovieLens-shaped string ids with Zipf popularity, as
many users as items) and machine, steps in turn. Stock is the tutorial's model: StringLookup and Embedding
towers, `tfrs.tasks.Retrieval`, Keras' Adam or the tutorial's Adagrad(0.1);

- "as in the tutorial": `FactorizedTopK` over all items in every training step;
- "no metrics": the same with `compute_metrics=False`.

Ours is `Retrieval` with streaming logQ and accidental hits removed (stock does neither), with lazy Adam or
row-wise Adagrad. "ids encoded" gets integer ids, as this package's training does (strings are looked up
once, before training); "strings" looks them up in every step, as stock does. At a million ids, stock with
metrics scores 4 billion pairs a step: it is left out unless --metrics-at-all-sizes is given.

    python -m bench.bench_training [--batch 4096] [--steps 4] [--rounds 5]

Other work on the machine slows wall times, and the one that waits for memory most; `step_cpu_ms` and
`ours_takes_less_cpu_by` are of the CPU seconds of all threads.

Targets: 2 times "as in the tutorial" at 10 thousand ids, 5 times stock Adam at a million.
"""

import argparse
import time

import numpy as np

from bench.common import interleaved, median, record
from tfrs_twotower.models import Retrieval
from tfrs_twotower.sampling import StreamingCorrection
from tfrs_twotower.training.optimizers import LazyAdam, RowWiseAdagrad

# TFRS needs legacy Keras, which tfrs_twotower sets up, so these come after it.
import tensorflow as tf  # isort: skip
import tensorflow_recommenders as tfrs  # isort: skip

DIM, SIZES, METRICS_UP_TO = 32, (10_000, 1_000_000), 10_000


class Stock(tfrs.Model):
    """The tutorial's model."""

    def __init__(self, users, items, with_metrics):
        super().__init__()
        self.user_model, self.item_model = string_tower(users), string_tower(items)
        metrics = None
        if with_metrics:
            candidates = tf.data.Dataset.from_tensor_slices(items).batch(128).map(self.item_model)
            metrics = tfrs.metrics.FactorizedTopK(candidates=candidates)
        self.task = tfrs.tasks.Retrieval(metrics=metrics)
        self._with_metrics = with_metrics

    def compute_loss(self, features, training=False):
        user, item = self.user_model(features["user_id"]), self.item_model(features["movie_title"])
        return self.task(user, item, compute_metrics=self._with_metrics)


class Ours(tfrs.Model):
    """The same towers with this package's task."""

    def __init__(self, user_model, item_model, logq):
        super().__init__()
        self.user_model, self.item_model = user_model, item_model
        self.task = Retrieval(logq=logq, temperature=0.05, remove_accidental_hits=True, reduction="mean")

    def compute_loss(self, features, training=False):
        user, item = self.user_model(features["user_id"]), self.item_model(features["movie_title"])
        return self.task(user, item, candidate_ids=features["movie_title"], training=training)


def string_tower(vocabulary):
    return tf.keras.Sequential(
        [
            tf.keras.layers.StringLookup(vocabulary=vocabulary, mask_token=None),
            tf.keras.layers.Embedding(len(vocabulary) + 1, DIM),
        ]
    )


def datasets(size, batch, steps):
    """(string vocabularies, cached dataset of strings, the same of rows)."""
    rng = np.random.default_rng(0)
    popularity = 1 / np.arange(1, size + 1)
    items = rng.choice(size, batch * steps, p=popularity / popularity.sum())
    users = rng.integers(0, size, batch * steps)
    user_names = np.char.add("user ", np.arange(size).astype(str))
    item_names = np.char.add("Movie title (1995) ", np.arange(size).astype(str))
    strings = {"user_id": user_names[users], "movie_title": item_names[items]}
    rows = {"user_id": users.astype(np.int32), "movie_title": items.astype(np.int32)}
    ready = [tf.data.Dataset.from_tensor_slices(d).batch(batch).cache().prefetch(2) for d in (strings, rows)]
    return (user_names, item_names), *ready


def epochs(size, batch, steps, with_metrics):
    """{name: () -> None}: one epoch of each model."""
    (users, items), strings, rows = datasets(size, batch, steps)
    streaming = {"buckets": size, "alpha": 0.01}

    def embedding():
        return tf.keras.layers.Embedding(size + 1, DIM)

    models = {
        "stock Adam, no metrics": (Stock(users, items, False), tf.keras.optimizers.Adam(), strings),
        "stock Adagrad, no metrics": (Stock(users, items, False), tf.keras.optimizers.Adagrad(0.1), strings),
        "ours LazyAdam, ids encoded": (
            Ours(embedding(), embedding(), StreamingCorrection(**streaming)), LazyAdam(), rows,
        ),
        "ours RowWiseAdagrad, ids encoded": (
            Ours(embedding(), embedding(), StreamingCorrection(**streaming)), RowWiseAdagrad(), rows,
        ),
        "ours LazyAdam, strings": (
            Ours(string_tower(users), string_tower(items), StreamingCorrection(**streaming, hashes=2)),
            LazyAdam(), strings,
        ),
    }
    if with_metrics:
        models["stock Adam, as in the tutorial"] = (
            Stock(users, items, True), tf.keras.optimizers.Adam(), strings,
        )
        models["stock Adagrad, as in the tutorial"] = (
            Stock(users, items, True), tf.keras.optimizers.Adagrad(0.1), strings,
        )
    for model, optimizer, _ in models.values():
        model.compile(optimizer)
    return {name: lambda m=m, d=d: m.fit(d, verbose=0) for name, (m, _, d) in models.items()}


def run(batch, steps, rounds, sizes=SIZES, metrics_up_to=METRICS_UP_TO):
    """The figures of all models and vocabulary sizes."""
    figures = []
    for size in sizes:
        cpu = {}

        def counted(name, epoch, spent=cpu):
            def run():
                start = time.process_time()
                epoch()
                spent.setdefault(name, []).append(time.process_time() - start)

            return run

        found = epochs(size, batch, steps, size <= metrics_up_to)
        seconds = interleaved({name: counted(name, epoch) for name, epoch in found.items()}, rounds)
        name = "ours LazyAdam, ids encoded"
        ours, ours_cpu = seconds[name], cpu[name][-rounds:]
        for name, times in seconds.items():
            used = cpu[name][-rounds:]
            figures.append(
                {
                    "ids": size,
                    "model": name,
                    "batch": batch,
                    "examples_per_second": batch * steps / median(times),
                    "step_ms": 1000 * median(times) / steps,
                    "ours_is_faster_by": median([t / o for t, o in zip(times, ours)]),
                    "step_cpu_ms": 1000 * median(used) / steps,
                    "ours_takes_less_cpu_by": median([u / o for u, o in zip(used, ours_cpu)]),
                }
            )
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--steps", type=int, default=4, help="steps of an epoch")
    parser.add_argument("--rounds", type=int, default=5, help="timed epochs of each model")
    parser.add_argument("--metrics-at-all-sizes", action="store_true")
    arguments = parser.parse_args()
    limit = max(SIZES) if arguments.metrics_at_all_sizes else METRICS_UP_TO
    record("training", run(arguments.batch, arguments.steps, arguments.rounds, metrics_up_to=limit))

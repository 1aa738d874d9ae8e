"""Does a training step cost what its batch touches, or what its embedding table holds?

One step of a two-tower model (an item table of `rows` × 32, a user table of 10,000 × 32, in-batch softmax)
with lazy Adam, row-wise Adagrad and Keras' Adam, the table growing from 10 thousand to 10 million rows. Items
are drawn uniformly, which is the worst case: nearly every row of a batch is distinct and cold in the cache.
`update_ms` is the same without the softmax: lookup, gradient and update of the item table alone.
Keras' Adam reads and writes the whole table in every step; it is left out at 10 million rows.

    python -m bench.bench_vocabulary [--batch 2048] [--rounds 40]

Target: a step at 10 million rows within 1.2 times that at 10 thousand.
"""

import argparse
import itertools

from bench.common import interleaved, median, record
from tfrs_twotower.models import Retrieval
from tfrs_twotower.training.optimizers import LazyAdam, RowWiseAdagrad

# tfrs_twotower sets legacy Keras up, so this comes after it.
import tensorflow as tf  # isort: skip

DIM, USERS = 32, 10_000
ROWS = (10_000, 1_000_000, 10_000_000)
OPTIMIZERS = {
    "LazyAdam": LazyAdam,
    "RowWiseAdagrad": RowWiseAdagrad,
    "Keras Adam": tf.keras.optimizers.Adam,
}
LARGEST = {"Keras Adam": 1_000_000}


def batches(rows, batch):
    """Endless: 64 fixed batches of item rows, so that the next one is not in the cache."""
    drawn = [tf.random.uniform([batch], maxval=rows, dtype=tf.int32, seed=i) for i in range(64)]
    return itertools.cycle(drawn)


def training_step(rows, batch, make):
    """() -> None: one step of the whole model."""
    items = tf.Variable(tf.random.normal([rows, DIM], stddev=0.05))
    users = tf.Variable(tf.random.normal([USERS, DIM], stddev=0.05))
    task, optimizer = Retrieval(temperature=0.05, remove_accidental_hits=True, reduction="mean"), make()

    @tf.function
    def step(user, item):
        with tf.GradientTape() as tape:
            loss = task(tf.gather(users, user), tf.gather(items, item), candidate_ids=item, training=True)
        optimizer.apply_gradients(zip(tape.gradient(loss, [users, items]), [users, items]))
        return loss

    user, item = batches(USERS, batch), batches(rows, batch)
    return lambda: step(next(user), next(item)).numpy()


def update_step(rows, batch, make):
    """() -> None: lookup, gradient and update of the item table alone."""
    items, optimizer = tf.Variable(tf.random.normal([rows, DIM], stddev=0.05)), make()

    @tf.function
    def step(item):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(tf.gather(items, item)))
        optimizer.apply_gradients([(tape.gradient(loss, items), items)])
        return loss

    item = batches(rows, batch)
    return lambda: step(next(item)).numpy()


def run(batch, rounds, sizes=ROWS):
    """The figures of all optimizers and table sizes."""
    cases = [(name, rows) for name in OPTIMIZERS for rows in sizes if rows <= LARGEST.get(name, rows)]
    seconds = {}
    for kind, make_step in (("step_ms", training_step), ("update_ms", update_step)):
        steps = {(name, rows): make_step(rows, batch, OPTIMIZERS[name]) for name, rows in cases}
        seconds[kind] = interleaved(steps, rounds, warmup=5)
    figures = []
    for name, rows in cases:
        row = {"optimizer": name, "rows": rows, "batch": batch}
        for kind, times in seconds.items():
            here, small = times[name, rows], times[name, sizes[0]]
            row[kind] = 1000 * median(here)
            row[kind.replace("_ms", "_to_smallest")] = median([h / s for h, s in zip(here, small)])
        figures.append(row)
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()
    record("vocabulary", run(arguments.batch, arguments.rounds))

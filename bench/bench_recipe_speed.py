"""Examples a second of every recipe's training step on MovieLens-100K, each beside the step of `movielens`.

    python -m bench.bench_recipe_speed                   some minutes on 2 cores
    python -m bench.bench_recipe_speed --only fm mind    some; the rows of the others stay

A recipe's compiled step takes batches of its own pipeline, as in `twotower train`, in turn with a `movielens` model's.
A machine that does other work slows both, so the ratio of their times per example (`times_movielens`) holds where
seconds do not. `examples_per_second` is therefore one figure for all: the median of the `movielens` step over the
whole run, divided by the recipe's ratio; as large as the machine was free. The row `movielens` is the recipe against
itself: how far its ratio is from 1 is an error that the others have too. Two runs on a machine with four times as
much to do as it had cores differed by up to a fifth.

An example is a positive: of a sequence, each event that follows another. The first steps, which trace and compile, are
not timed. Nor is what a training does between steps: evaluation, checkpoints, averages of the weights, and the
refresh of hard negatives. Peak memory is that of whole trainings, each in its own process: see the table `recipes`.
"""

import argparse
import functools

import tfrs_twotower  # noqa: F401
from bench import common
from bench.bench_recipes import NAMES, on
from tfrs_twotower.data import ingest
from tfrs_twotower.pipeline.assembling import assemble
from tfrs_twotower.training.optimizers import build

import tensorflow as tf  # isort: skip

_EXAMPLES = 8192  # of one timed call, about


@functools.cache
def _log(source):
    return ingest(source)[0]


class Steps:
    """Training steps of a recipe: each call takes some, over about `_EXAMPLES` examples, and notes how many they were.

    Args:
      name: of the recipe.
    """

    def __init__(self, name):
        recipe, _ = on("100k", name)
        a = assemble(recipe, _log(recipe.source))
        model, data = a.model, a.batches.dataset(0, 10**6)
        model.compile(optimizer=build(a.recipe.training.optimizer, 1000))
        self._batches, self._count = iter(data), max(1, round(_EXAMPLES / a.batches.batch_size))
        model.create_weights(next(self._batches))
        model.optimizer.build(model.trainable_variables)
        if getattr(model.objective, "hard", None) is not None:
            model.objective.refresh_hard()
        self.batch_size, self.examples = a.batches.batch_size, []
        self._step = tf.function(model.train_step, input_signature=[data.element_spec])

    def __call__(self):
        self.examples.append(0)
        for _ in range(self._count):
            batch = next(self._batches)
            loss = self._step(batch)["loss"]
            self.examples[-1] += len(batch["candidate_id"])
        return float(loss)


def beside(name, movielens, rounds):
    """(a recipe's row without examples a second, the seconds per example of `movielens`, a `Steps`, beside it)."""
    both = {"recipe": Steps(name), "movielens": movielens}
    seconds = common.interleaved(both, rounds)
    own, theirs = ([s / n for s, n in zip(seconds[key], steps.examples[-rounds:])] for key, steps in both.items())
    ratio = common.median([a / b for a, b in zip(own, theirs)])
    return {"recipe": name, "batch": both["recipe"].batch_size, "times_movielens": round(ratio, 2)}, theirs


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="RECIPE")
    args = parser.parse_args()
    seconds, movielens = [], Steps("movielens")
    rows = {row["recipe"]: row for row in common.recorded("recipe_speed")}
    for name in args.only:
        rows[name], theirs = beside(name, movielens, args.rounds)
        seconds += theirs
        speed = 1 / common.median(seconds)
        common.record("recipe_speed", [
            {**row, "examples_per_second": round(speed / row["times_movielens"])} for row in rows.values()
        ])


if __name__ == "__main__":
    main()

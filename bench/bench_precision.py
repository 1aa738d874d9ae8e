"""Training in 16 bits and with XLA against float32 without, on one machine, epochs in turn.

One model (ids of 64, encoders of `--width` and half of it, in-batch softmax with streaming logQ), planted data, the
same batches. Figures of one processor say nothing of another.

    python -m bench.bench_precision [--batch 1024] [--width 512] [--steps 4] [--rounds 5]
"""

import argparse
import contextlib

from bench.common import interleaved, median, record
from tfrs_twotower.data import ingest, synthetic
from tfrs_twotower.features import History, Id, Schema
from tfrs_twotower.pipeline.assembling import assemble
from tfrs_twotower.recipe import ModelConfig, Recipe
from tfrs_twotower.towers import MLP
from tfrs_twotower.training import TrainingConfig
from tfrs_twotower.training.optimizers import build
from tfrs_twotower.training.precision import compiled_dense

VARIANTS = [(precision, xla) for precision in ("float32", "bfloat16", "float16") for xla in (False, True)]


def epochs(log, batch, width, steps):
    """{variant: () -> None}: `steps` steps of each."""
    found = {}
    for precision, xla in VARIANTS:
        encoder = MLP(widths=(width, width // 2))
        recipe = Recipe(
            name="precision",
            model=ModelConfig(query_encoder=encoder, candidate_encoder=encoder),
            training=TrainingConfig(batch_size=batch, precision=precision, xla=xla),
            schema=Schema(query=(Id("user_id", dim=64), History(length=10)), candidate=(Id("item_id", dim=64),)),
        )
        assembly = assemble(recipe, log)
        model, data = assembly.model, assembly.batches.dataset(0, steps).cache()
        model.compile(optimizer=build(recipe.training.optimizer, steps))
        model.create_weights(next(iter(data)))

        def epoch(model=model, data=data, within=compiled_dense if xla else contextlib.nullcontext):
            with within(model):  # the graph is traced once, in the first epoch
                model.fit(data, verbose=0)

        found[precision, xla] = epoch
    return found


def run(batch, width, steps, rounds):
    """The figures of all variants; ratios are of times that ran next to each other."""
    log, _ = ingest(synthetic(users=2000, items=5000, clusters=20, events=20, noise=0.1, seed=0)[0])
    seconds = interleaved(epochs(log, batch, width, steps), rounds)
    plain = seconds["float32", False]
    return [
        {
            "precision": precision,
            "xla": "yes" if xla else "no",
            "batch": batch,
            "width": width,
            "examples_per_second": batch * steps / median(times),
            "times_float32_without_xla": median([p / t for p, t in zip(plain, times)]),
        }
        for (precision, xla), times in seconds.items()
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--steps", type=int, default=4, help="steps of an epoch")
    parser.add_argument("--rounds", type=int, default=5, help="timed epochs of each variant")
    arguments = parser.parse_args()
    record("precision", run(arguments.batch, arguments.width, arguments.steps, arguments.rounds))

"""The logQ ablation: no, static, streaming and refined correction × in-batch and mixed negatives, by popularity.

    .venv/bin/python -m bench.bench_logq                        MovieLens-100K, 3 seeds, about an hour on 2 cores
    .venv/bin/python -m bench.bench_logq --data 1m --seeds 1    MovieLens-1M, one seed, about three hours

Every training is by the `movielens` recipe (temporal split) with the loss, logQ, negatives or seed changed;
validation chooses the epoch, test is measured once. "mixed" adds 512 uniform negatives to the in-batch ones. "refined"
is `RefinedSampledSoftmax` with the streaming estimate. Figures are means over the seeds, the lowest and highest in
brackets. `recall@100 d1` … `d10` is that of the targets in that popularity decile of the catalogue, 1 the least
popular.
"""

import argparse
import dataclasses

import numpy as np

import tfrs_twotower  # noqa: F401
from bench import common
from bench.bench_quality import trained
from tfrs_twotower import recipes
from tfrs_twotower.data import MovieLens, ingest
from tfrs_twotower.evaluation.slices import DECILES
from tfrs_twotower.losses import RefinedSampledSoftmax, SampledSoftmax
from tfrs_twotower.pipeline.assembling import assemble
from tfrs_twotower.sampling import InBatch, NoLogQ, StaticLogQ, StreamingLogQ, Uniform

NEGATIVES = {"in-batch": (InBatch(),), "mixed": (InBatch(), Uniform(512))}
CORRECTIONS = {
    "none": (SampledSoftmax(), NoLogQ()),
    "static": (SampledSoftmax(), StaticLogQ()),
    "streaming": (SampledSoftmax(), StreamingLogQ()),
    "refined": (RefinedSampledSoftmax(), StreamingLogQ()),
}
SHOWN = ("recall@10", "ndcg@10", "recall@100", "coverage@10", "novelty@10")
_DECILE = "recall@100 d{}"


def variant(recipe, negatives, correction, seed):
    """The recipe with other negatives, another correction and another seed."""
    loss, logq = CORRECTIONS[correction]
    return dataclasses.replace(
        recipe,
        model=dataclasses.replace(recipe.model, negatives=NEGATIVES[negatives], loss=loss, logq=logq),
        training=dataclasses.replace(recipe.training, seed=seed),
    )


def row(names, evaluations):
    """One line of the table: the mean, and the range where there are several, over the seeds."""
    line = {**names, "seeds": len(evaluations)}
    for metric in SHOWN:
        values = [e.metrics[metric] for e in evaluations]
        spread = f" [{min(values):.4f}, {max(values):.4f}]" if len(values) > 1 else ""
        line[metric] = f"{np.mean(values):.4f}{spread}"
    for decile in range(1, DECILES + 1):
        parts = [e.slices.get(f"item_decile_{decile}") for e in evaluations]
        shown = round(float(np.mean([p["recall@100"] for p in parts])), 4) if all(parts) else None
        line[_DECILE.format(decile)] = shown
    return line


def targets(evaluation):
    """The line that says how many targets each decile has."""
    counts = {_DECILE.format(d): evaluation.slices.get(f"item_decile_{d}", {"targets": 0})["targets"]
              for d in range(1, DECILES + 1)}
    return {"negatives": "–", "correction": "number of targets", "seeds": None, **dict.fromkeys(SHOWN), **counts}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=("100k", "1m"), default="100k")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    base = dataclasses.replace(recipes.load("movielens"), source=MovieLens(args.data))
    log, _ = ingest(base.source)
    a = assemble(base, log)
    evaluated = {name: a.evaluate(a.split.test, scorer) for name, scorer in a.baselines(a.split.test).items()}
    figures = [targets(evaluated["popularity"])]
    figures += [row({"negatives": "–", "correction": name}, [evaluation]) for name, evaluation in evaluated.items()]
    found = {(negatives, correction): [] for negatives in NEGATIVES for correction in CORRECTIONS}
    for seed in range(args.seeds):
        for negatives, correction in found:
            a = trained(variant(base, negatives, correction, seed), log)
            evaluation = a.evaluate(a.split.test, a.model_scorer(a.split.test))
            found[negatives, correction].append(evaluation)
            print(seed, row({"negatives": negatives, "correction": correction}, [evaluation]), flush=True)
        rows = [row({"negatives": n, "correction": c}, evaluations) for (n, c), evaluations in found.items()]
        common.record("logq" if args.data == "100k" else f"logq_{args.data}", figures + rows)


if __name__ == "__main__":
    main()

"""Quality on MovieLens-100K: splits × logQ × seeds, beside the baselines.

    .venv/bin/python -m bench.bench_quality              all rows, about a quarter of an hour on 2 cores
    .venv/bin/python -m bench.bench_quality --seeds 1    one seed

The recipe's own correction (streaming) is trained with each seed, the other two with the first.

Each row is one training by the `movielens` recipe with the split, logQ or seed changed; validation chooses the
epoch, test is measured once. "beats by" is the paired difference to a baseline on the same test queries, with its 95%
bootstrap interval; "below" names the baselines that are better. Last week's popularity knows which films are new, in a
split in time; without logQ a model recommends rare films.
"""

import argparse
import dataclasses
import tempfile

import tfrs_twotower  # noqa: F401
from bench import common
from tfrs_twotower import recipes
from tfrs_twotower.data import LeaveLastOut, Temporal, ingest
from tfrs_twotower.evaluation import compare
from tfrs_twotower.pipeline.assembling import assemble
from tfrs_twotower.sampling import NoLogQ, StaticLogQ, StreamingLogQ
from tfrs_twotower.training import fit

SPLITS = {"temporal": Temporal(), "leave-last-out": LeaveLastOut()}
LOGQ = {"none": NoLogQ(), "static": StaticLogQ(), "streaming": StreamingLogQ()}
SHOWN = ("recall@10", "recall@100", "ndcg@10")
_NOISE = " (within the interval)"


def variant(recipe, split, logq, seed):
    """The recipe with another split, logQ and seed."""
    return dataclasses.replace(
        recipe,
        split=split,
        model=dataclasses.replace(recipe.model, logq=logq),
        training=dataclasses.replace(recipe.training, seed=seed),
    )


def trained(recipe, log):
    """An assembly after training, with its best epoch's weights."""
    a = assemble(recipe, log)

    def validate():
        return a.evaluate(a.split.validation, a.model_scorer(a.split.validation), bootstrap=0).metrics

    with tempfile.TemporaryDirectory() as folder:
        fit(a.model, a.batches, recipe.training, validate, folder, verbose=0)
    return a


def baselines(a):
    """{name: Evaluation} on the test queries."""
    queries = a.split.test
    return {name: a.evaluate(queries, scorer) for name, scorer in a.baselines(queries).items()}


def row(split, name, seed, evaluation, others=()):
    """One line of the table."""
    line = {"split": split, "model": name, "seed": seed, "queries": evaluation.queries}
    for metric in SHOWN:
        low, high = evaluation.intervals[metric]
        line[metric] = f"{evaluation.metrics[metric]:.4f} [{low:.3f}, {high:.3f}]"
    line["coverage@10"] = round(evaluation.metrics["coverage@10"], 3)
    lost = []
    for other, evaluated in dict(others).items():
        found = compare(evaluation, evaluated)
        lost += [f"{metric} of {other}{_NOISE if found[metric]['interval'][1] >= 0 else ''}"
                 for metric in SHOWN if found[metric]["difference"] < 0]
        line[f"beats {other} by"] = "; ".join(
            f"{metric} {found[metric]['difference']:+.3f} [{found[metric]['interval'][0]:+.3f}, "
            f"{found[metric]['interval'][1]:+.3f}]" for metric in SHOWN
        )
    return {**line, "below": ", ".join(lost)} if others else line


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    base = recipes.load("movielens")
    log, _ = ingest(base.source)
    figures = []
    for split_name, split in SPLITS.items():
        evaluated = baselines(assemble(variant(base, split, NoLogQ(), 0), log))
        figures += [row(split_name, name, "–", evaluation) for name, evaluation in evaluated.items()]
        for name, logq in LOGQ.items():
            for seed in range(args.seeds if logq == base.model.logq else 1):
                a = trained(variant(base, split, logq, seed), log)
                evaluation = a.evaluate(a.split.test, a.model_scorer(a.split.test))
                figures.append(row(split_name, f"logQ {name}", seed, evaluation, evaluated))
                print(figures[-1], flush=True)
    common.record("quality", figures)


if __name__ == "__main__":
    main()

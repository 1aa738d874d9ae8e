"""Every recipe on MovieLens-100K, leave-last-out, beside popularity, item-kNN, EASE and iALS.

    .venv/bin/python -m bench.bench_recipes                   all of them, about an hour on 2 cores
    .venv/bin/python -m bench.bench_recipes --only fm mind    some; the rows of the others stay

Each recipe is trained once, in a process of its own, as `twotower train RECIPE` does it, with its split changed to
leave-last-out: the whole catalogue is ranked without what the user has seen, validation chooses the epoch, and the test
is measured once. What a person did minutes before is known to all of them. iALS needs the package `implicit`.
"""

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile

import numpy as np
import scipy.sparse

import tfrs_twotower  # noqa: F401
from bench import common
from tfrs_twotower import recipes
from tfrs_twotower.assembly import assemble
from tfrs_twotower.data import LeaveLastOut, ingest
from tfrs_twotower.evaluation import DotScorer, Popularity, recent_counts
from tfrs_twotower.extras import available
from tfrs_twotower.recommender import Recommender

NAMES = [name for name in recipes.names() if name not in ("plain", "retail")]
SHOWN = ("recall@10", "ndcg@10", "recall@50", "recall@100", "mrr", "coverage@10")
RECORD = common.RESULTS / "recipes.json"
_EASE_PENALTY, _IALS_FACTORS, _IALS_PASSES = 300.0, 64, 15


def one(name):
    """The row of one recipe."""
    recipe = dataclasses.replace(recipes.load(name), split=LeaveLastOut())
    with tempfile.TemporaryDirectory() as folder:
        recommender = Recommender(recipe, directory=f"{folder}/{name}/run").fit(verbose=0)
        metrics = recommender.evaluate()
    training = metrics["training"]
    return {
        "model": name, **{metric: round(metrics["test"][metric], 4) for metric in SHOWN},
        "epochs": training["epochs"], "seconds": round(training["seconds"]),
        "examples_per_second": round(training["examples_per_second"]),
        "peak_memory_mb": round(training["peak_memory_mb"]),
    }


def baselines():
    """Rows of what is no neural network."""
    recipe = dataclasses.replace(recipes.load("movielens"), split=LeaveLastOut())
    a = assemble(recipe, ingest(recipe.source)[0])
    queries, train = a.split.test, a.split.train
    scorers = a.baselines(queries)
    items = a.positions(a.log.item[train])
    week = recent_counts(items, a.log.timestamp[train], len(a.catalogue))
    scorers["popularity, last week"] = Popularity(week, len(queries))
    seen = a.positions(queries.seen.values)
    rows = np.repeat(np.arange(len(queries)), np.diff(queries.seen.offsets))
    shape = (len(queries), len(a.catalogue))
    asked = scipy.sparse.csr_matrix((np.ones(len(rows), np.float32), (rows, seen)), shape)[:, : shape[1]]
    taken = scipy.sparse.csr_matrix(
        (np.ones(len(train), np.float32), (a.log.user[train], items)), (len(a.log.users), shape[1])
    )
    taken.data[:] = 1
    scorers["EASE"] = ease(taken, asked)
    if available("implicit"):
        scorers["iALS"] = ials(taken, queries.user)
    for name, scorer in scorers.items():
        metrics = a.judge(queries, scorer, bootstrap=0).metrics
        yield {"model": name, **{metric: round(metrics[metric], 4) for metric in SHOWN}}


def ease(taken, asked):
    """Steck 2019, "Embarrassingly shallow autoencoders": B = −P / diag(P), P = (XᵀX + λI)⁻¹."""
    gram = (taken.T @ taken).toarray().astype(np.float64)
    inverse = np.linalg.inv(gram + _EASE_PENALTY * np.eye(len(gram)))
    weights = inverse / -np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    return DotScorer(asked.toarray(), weights.T.astype(np.float32))


def ials(taken, users):
    """Hu et al. 2008, by the package `implicit`."""
    from implicit.als import AlternatingLeastSquares

    model = AlternatingLeastSquares(_IALS_FACTORS, iterations=_IALS_PASSES, random_state=0)
    model.fit(taken, show_progress=False)
    return DotScorer(model.user_factors[users], model.item_factors)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="RECIPE")
    parser.add_argument("--row", choices=NAMES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.row:
        print(json.dumps(one(args.row)))
        return
    rows = {row["model"]: row for row in baselines()}
    known = json.loads(RECORD.read_text())["figures"] if RECORD.exists() else []
    rows.update({row["model"]: row for row in known if row["model"] in NAMES})
    for name in args.only:
        done = subprocess.run(
            [sys.executable, "-m", "bench.bench_recipes", "--row", name], stdout=subprocess.PIPE, text=True, check=True
        )
        rows[name] = json.loads(done.stdout.splitlines()[-1])
        common.record("recipes", list(rows.values()))


if __name__ == "__main__":
    main()

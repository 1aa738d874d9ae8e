"""Every recipe on MovieLens, beside popularity, item-kNN, EASE and iALS.

    .venv/bin/python -m bench.bench_recipes                   MovieLens-100K, leave-last-out; about an hour on 2 cores
    .venv/bin/python -m bench.bench_recipes --data 1m         MovieLens-1M, split in time (see movielens_1m.py); hours
    .venv/bin/python -m bench.bench_recipes --only fm mind    some; the rows of the others stay
    .venv/bin/python -m bench.bench_recipes --set training.epochs=5      as in `twotower train`

Each recipe is trained once, in a process of its own, as `twotower train RECIPE` does it, with the split changed: the
whole catalogue is ranked without what the user has seen, validation chooses the epoch, and the test is measured once:
one film a user. What a person did minutes before is known to all of them.
A recipe with a reranker has the figures of its retrieval alone beside its own. How fast each learns is measured by
bench_recipe_speed: rows that were trained hours apart, beside other work, would not compare.
"""

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile

import tfrs_twotower  # noqa: F401
from bench import common, movielens_1m
from tfrs_twotower import recipes
from tfrs_twotower.configuration import override
from tfrs_twotower.data import Frames, LeaveLastOut, ingest
from tfrs_twotower.pipeline.assembling import assemble
from tfrs_twotower.recommender import Recommender

NAMES = [name for name in recipes.names() if name not in ("plain", "retail")]
SHOWN = ("recall@10", "ndcg@10", "recall@50", "recall@100", "mrr", "coverage@10")
_DECIDES = ("recall@10", "ndcg@10")  # a recipe that is below a baseline in one of these loses to it
_CAUSES: dict = {  # of losing, as measured: {recipe: cause}
    "100k": {
        "cold": "within noise; ndcg@10 -.003 [-.010, .005] here, +.004 [-.003, .013] on validation, which chose",
    },
    "1m": {},
}


def on(data, name, settings=()):
    """(the recipe with the protocol's split, what `Recommender` takes besides) on "100k" or "1m"."""
    recipe = recipes.load(name)
    if data == "100k":
        return override(dataclasses.replace(recipe, split=LeaveLastOut()), settings), {}
    ratings, users, films = movielens_1m.read(temporal=True)
    if name == "multimodal":
        texts = dataclasses.replace(recipe.source, source=Frames(ratings, users, films))
        films = texts.items()
    recipe = override(dataclasses.replace(recipe, source=None), [movielens_1m.TEMPORAL, *settings])
    return recipe, {"interactions": ratings, "users": users, "items": films}


def one(data, name, settings):
    """The row of one recipe."""
    recipe, frames = on(data, name, settings)
    with tempfile.TemporaryDirectory() as folder:
        recommender = Recommender(recipe, **frames, directory=f"{folder}/{name}/run").fit(verbose=0)
        metrics = recommender.evaluate()
    training, retrieval = metrics["training"], metrics["baselines"].get("retrieval")
    return {
        "model": name, **({"settings": " ".join(settings)} if settings else {}),
        **{metric: round(metrics["test"][metric], 4) for metric in SHOWN},
        **({f"retrieval {metric}": round(retrieval[metric], 4) for metric in _DECIDES} if retrieval else {}),
        "epochs": training["epochs"], "peak_memory_mb": round(training["peak_memory_mb"]),
    }


def baselines(data):
    """Rows of what is no neural network."""
    recipe, frames = on(data, "movielens")
    a = assemble(recipe, ingest(Frames(*frames.values()) if frames else recipe.source)[0])
    queries = a.split.test
    for name, scorer in a.baselines(queries).items():
        metrics = a.evaluate(queries, scorer, bootstrap=0).metrics
        yield {"model": name, **{metric: round(metrics[metric], 4) for metric in SHOWN}}


def noted(data, rows):
    """The rows, each recipe's with a `note` that names what is above it and why: baselines, and its own retrieval.

    Args:
      rows: {model: row}.
    """
    plain = [row for model, row in rows.items() if model not in NAMES]
    notes = {}
    for model in rows.keys() & set(NAMES):
        above = [b["model"] for b in plain if any(b[metric] > rows[model][metric] for metric in _DECIDES)]
        if any(rows[model].get(f"retrieval {metric}", 0.0) > rows[model][metric] for metric in _DECIDES):
            above.append("its retrieval alone")
        if above:
            notes[model] = {"note": f"below {', '.join(above)}: {_CAUSES[data].get(model, 'cause not sought')}"}
    return [{**{k: v for k, v in row.items() if k != "note"}, **notes.get(model, {})} for model, row in rows.items()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=["100k", "1m"], default="100k")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="RECIPE")
    parser.add_argument("--row", choices=NAMES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.row:
        print(json.dumps(one(args.data, args.row, args.set)))
        return
    record = "recipes" if args.data == "100k" else "recipes_1m_temporal"
    rows = {row["model"]: row for row in baselines(args.data)}
    rows.update({row["model"]: row for row in common.recorded(record) if row["model"] in NAMES})
    common.record(record, noted(args.data, rows))
    for name in args.only:
        command = ["--data", args.data, "--row", name, *(f"--set={setting}" for setting in args.set)]
        done = subprocess.run(
            [sys.executable, "-m", "bench.bench_recipes", *command], stdout=subprocess.PIPE, text=True, check=True
        )
        rows[name] = json.loads(done.stdout.splitlines()[-1])
        common.record(record, noted(args.data, rows))


if __name__ == "__main__":
    main()

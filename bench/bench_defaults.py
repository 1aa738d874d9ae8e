"""The defaults for one's own files, `twotower train plain`, beside every baseline, on logs of many kinds.

    python -m bench.bench_defaults                                  all logs, three seeds of the small ones; hours
    python -m bench.bench_defaults --logs "Online Retail" Yelp --seeds 0 1

Each log (bench/logs.py) is given to the recipe `plain` as files of events, items and users, with nothing set but the
protocol's split. There are two rows a run, one for each metric. A baseline's cell has its figure and by how much the
model is above it on the same test queries, with the paired 95% bootstrap interval; "against the best" says what that is
of the best baseline. `seconds` is the whole training with all that it tries, `judging seconds` the evaluation with
all baselines. The rows of earlier runs stay, but for those of the same log and seed.
"""

import argparse
import dataclasses
import tempfile
import time
from pathlib import Path

from bench import common
from bench.logs import LOGS
from tfrs_twotower import recipes
from tfrs_twotower.configuration import override, to_dict
from tfrs_twotower.data import Files
from tfrs_twotower.evaluation import compare
from tfrs_twotower.recommender import Recommender

METRICS = ("ndcg@10", "recall@100")
SMALL = 600_000  # events: up to here a log is trained with three seeds


def recipe_for(log, seed, folder, assignments=()):
    """The recipe `plain` over the log's files, which are written into `folder`."""
    paths = {"path": log.interactions, "items_path": log.items, "users_path": log.users}
    files = {name: str(Path(folder) / f"{name}.parquet") for name, frame in paths.items() if frame is not None}
    for name, path in files.items():
        paths[name].to_parquet(path, index=False)
    plain = recipes.load("plain")
    return override(dataclasses.replace(
        plain, source=Files(**files, columns=log.columns), split=log.split,
        training=dataclasses.replace(plain.training, seed=seed),
        evaluation=dataclasses.replace(plain.evaluation, test_queries=0),  # all
    ), assignments)


def run(name, log, seed, assignments=()):
    """The rows of one log and one seed."""
    with tempfile.TemporaryDirectory() as folder:
        given = recipe_for(log, seed, folder, assignments)
        start = time.perf_counter()
        recommender = Recommender(given, directory=Path(folder) / "run").fit(verbose=0)
        trained = time.perf_counter()
        figures = recommender.evaluate()
        evaluated = time.perf_counter()
    evaluations = dict(recommender.evaluations)
    model = evaluations.pop("model")
    shared = {"log": name, "split": type(log.split).__name__, "seed": seed, "queries": model.queries}
    costs = {
        "seconds": round(trained - start), "judging seconds": round(evaluated - trained),
        "best epoch": figures["training"]["best_epoch"], "popularity weight": figures["popularity_weight"],
        "neighbour weight": figures["neighbour_weight"], "repeat weight": figures["repeat_weight"],
        "chosen": changes(given, recommender.recipe),
    }
    return [{**shared, **row(metric, model, evaluations), **costs} for metric in METRICS]


def row(metric, model, baselines):
    """The cells of one metric: the model, which baseline is best and how far the model is from it, each baseline."""
    best = max(baselines, key=lambda name: baselines[name].metrics[metric])
    found = {name: compare(model, baseline)[metric] for name, baseline in baselines.items()}
    low, high = found[best]["interval"]
    cells = {
        name: "{:.4f}: {:+.4f} [{:+.4f}, {:+.4f}]".format(
            baselines[name].metrics[metric], value["difference"], *value["interval"]
        ) for name, value in found.items()
    }
    verdict = "above" if low > 0 else "below" if high < 0 else "within the interval"
    return {"metric": metric, "model": round(model.metrics[metric], 4), "best baseline": best,
            "against the best": verdict, **cells}


def changes(given, trained):
    """What the training chose: the settings that differ from the given ones, the schema aside."""
    before, after = (dict(_leaves(to_dict(recipe))) for recipe in (given, trained))
    return "; ".join(f"{name}={value}" for name, value in after.items()
                     if before.get(name) != value and not name.startswith("schema"))


def _leaves(value, name=""):
    if not isinstance(value, dict):
        yield name, value
        return
    for key, inner in value.items():
        yield from _leaves(inner, f"{name}.{key}".lstrip("."))


def summary(rows):
    """Lines of text: of how many logs the model is above, within and below the best baseline, by its worst seed."""
    ranks = ("below", "within the interval", "above")
    for metric in METRICS:
        worst = {}
        for line in (line for line in rows if line["metric"] == metric):
            rank = ranks.index(line["against the best"])
            worst[line["log"]] = min(rank, worst.get(line["log"], rank))
        counts = ", ".join(f"{ranks[i]}: {list(worst.values()).count(i)}" for i in (2, 1, 0))
        yield f"{metric} against the best baseline, {len(worst)} logs, by the worst seed: {counts}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logs", nargs="+", default=list(LOGS), choices=LOGS, metavar="LOG", help=", ".join(LOGS))
    parser.add_argument("--seeds", type=int, nargs="+", help=f"default: 0 1 2 up to {SMALL:,} events, else 0")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="as in `twotower train`")
    args = parser.parse_args()
    for name in args.logs:
        log = LOGS[name]()
        for seed in args.seeds or ((0, 1, 2) if len(log.interactions) <= SMALL else (0,)):
            rows = run(name, log, seed, args.set)
            print(common.table(rows), flush=True)
            kept = [line for line in common.recorded("defaults") if (line["log"], line["seed"]) != (name, seed)]
            common.record("defaults", sorted(kept + rows, key=lambda line: list(LOGS).index(line["log"])))
    print("\n".join(summary(common.recorded("defaults"))))


if __name__ == "__main__":
    main()

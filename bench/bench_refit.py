"""Whether a model that learned from all of a log is better later on than the one that was evaluated on its newest part.

    .venv/bin/python -m bench.bench_refit                                                    two logs, three seeds
    .venv/bin/python -m bench.bench_refit --seeds 1 --events 20000 --set training.epochs=2   a try

The newest tenth of each log is cut away: the later window. `plain` trains on the rest as `twotower train` does, which
holds the newest fifth of it out, and then once more on all of the rest (`Recommender.refit`). Both models are asked
what each user takes in the window, at the first of their events there, with the history that a server then has. The
item table is of the items before the window. "better by" is refit − held out, with its 95% interval, paired over the
queries.
"""

import argparse
import dataclasses
import tempfile
from pathlib import Path

import numpy as np

from bench import common, logs
from tfrs_twotower import recipes
from tfrs_twotower.configuration import override
from tfrs_twotower.data import Frames, Queries, Split, ingest
from tfrs_twotower.data.queries import QueryBuilder
from tfrs_twotower.evaluation.bootstrap import intervals
from tfrs_twotower.pipeline import runs
from tfrs_twotower.pipeline.assembling import assemble
from tfrs_twotower.pipeline.learned_fields import read_fields
from tfrs_twotower.recommender import Recommender
from tfrs_twotower.training import warm_start

LATER = 0.1  # of the events
LOGS = ("MovieLens latest-small", "Online Retail")
SHOWN = ("ndcg@10", "recall@100")


def cut(log, items, columns):
    """(events in time order, those before the later window, the items of these): frames."""
    log = log.sort_values(columns.timestamp, kind="stable")
    moment = log[columns.timestamp].iloc[int((1 - LATER) * len(log))]
    early = log[log[columns.timestamp] < moment]
    return log, early, items[items[columns.item_id].isin(early[columns.item_id])]


def later(log, start):
    """`Queries`: each user with events from log row `start` on, at the first of them."""
    builder = QueryBuilder(log)
    _, first, last = builder.spans(np.arange(start, len(log)))
    return builder.build(first, last)


def evaluated(recommender, folder, log, train, queries):
    """The `Evaluation` of one of a run's models; `train`: the rows of the whole log that it learned from."""
    split = Split(train, Queries.none(), queries)
    a = assemble(recommender.recipe, log, read_fields(folder), split=split)
    a.model(next(iter(a.batches.dataset(0, 1))))
    warm_start(a.model, folder)
    a.weigh(runs.score_weights(recommender.directory), folder)
    return a.evaluate(queries, a.model_scorer(queries))


def figures_of(name, recipe, frames, columns, folder):
    """The lines of one log and one seed."""
    whole, early, items = frames
    log, _ = ingest(Frames(whole, items=items, columns=columns))
    queries = later(log, len(early))
    recommender = Recommender(recipe, early, items=items, columns=columns, directory=folder)
    recommender.fit(verbose=0).refit(verbose=0)
    trained = {
        "held out": (runs.CHECKPOINT, recommender.assembly.split.train), "refit": (runs.REFIT, np.arange(len(early))),
    }
    found = {
        model: evaluated(recommender, folder / kept, log, rows, queries) for model, (kept, rows) in trained.items()
    }
    lines = []
    for model, evaluation in found.items():
        line = {"log": name, "model": model, "seed": recipe.training.seed, "events": len(trained[model][1]),
                "queries": len(queries)}
        for metric in SHOWN:
            low, high = evaluation.intervals[metric]
            line[metric] = f"{evaluation.metrics[metric]:.4f} [{low:.3f}, {high:.3f}]"
            difference = evaluation.per_query[metric] - found["held out"].per_query[metric]
            ((low, high),) = intervals(difference[:, np.newaxis])
            if model == "refit":
                line[f"{metric} better by"] = f"{difference.mean():+.4f} [{low:+.4f}, {high:+.4f}]"
        lines.append(line)
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--events", type=int, help="the first so many of each log alone, and nothing is recorded")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="NAME=VALUE")
    args = parser.parse_args()
    figures = []
    for name in LOGS:
        found = logs.LOGS[name]()
        log, items, columns = found.interactions, found.items, found.columns
        log = log.sort_values(columns.timestamp, kind="stable").iloc[:args.events]
        for seed in range(args.seeds):
            recipe = override(recipes.load("plain"), args.overrides)
            recipe = dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, seed=seed))
            with tempfile.TemporaryDirectory() as folder:
                figures += figures_of(name, recipe, cut(log, items, columns), columns, Path(folder) / "run")
            print(common.table(figures[-2:]), flush=True)
    if args.events is None:
        common.record("refit", figures)


if __name__ == "__main__":
    main()

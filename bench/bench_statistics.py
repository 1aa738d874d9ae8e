"""Whether statistics that move (`ItemStatistic`) make a better model where items come into fashion and go.

    .venv/bin/python -m bench.bench_statistics                       Online Retail, three seeds
    .venv/bin/python -m bench.bench_statistics --seeds 1 --epochs 1  a try

A year of a shop's invoices, split by time. One query is a customer on a day of the last tenth: what does the basket of
that day hold? The history ends before it, and the statistics are as of the hour of its first item, as a server that
counts has them. All models know the ids, the texts and the history, and train for the same epochs, of which validation
keeps the best. "with" also knows the counts of the last day, week, month and of all time, the distinct customers of the
week, and the days since the last sale. "without, same batches" has the batches and negatives of "with", and no
statistics. "popularity of the week" ranks by the counts of the week alone, and has no seed. Differences are to
"without", with 95% intervals, paired over the queries, of the mean over the seeds.
"""

import argparse
import dataclasses
import time

import numpy as np

from bench import common, logs
from tfrs_twotower import columns as c
from tfrs_twotower.data import Frames, ingest
from tfrs_twotower.data.queries import QueryBuilder
from tfrs_twotower.data.statistics import HOUR
from tfrs_twotower.evaluation import DotScorer, EvaluationConfig
from tfrs_twotower.evaluation.bootstrap import intervals
from tfrs_twotower.features import History, Id, ItemStatistic, Schema, Text
from tfrs_twotower.pipeline.assembling import assemble
from tfrs_twotower.recipe import ModelConfig, Recipe
from tfrs_twotower.towers import MLP
from tfrs_twotower.training import LazyAdamConfig, TrainingConfig
from tfrs_twotower.training.optimizers import build

LOG, METRICS, QUERIES = "Online Retail", ("recall@10", "ndcg@10", "recall@100"), 3_000
WEEK = ItemStatistic(hours=(24, 168, 720, 0))
MOVING = {
    "without": (), "without, same batches": (ItemStatistic(event="of no event"),),  # which is always 0
    "with": (WEEK, ItemStatistic("users", hours=(168,)), ItemStatistic("recency")),
}


def recipe(seed, epochs, model):
    """The `Recipe` of a model of `MOVING`."""
    query = (Id(c.USER_ID, dropout=0.2), History(length=50, dropout=0.2))
    candidate = (Id(c.ITEM_ID), Text("Description"))
    return Recipe(
        name="statistics", schema=Schema(query, (*candidate, *MOVING[model])),
        model=ModelConfig(dim=64, query_encoder=MLP(widths=(64,)), candidate_encoder=MLP(widths=(64,))),
        training=TrainingConfig(epochs=epochs, batch_size=2048, optimizer=LazyAdamConfig(3e-3), seed=seed,
                                known_positives=0),  # people buy again what they bought
        evaluation=EvaluationConfig(ks=(10, 100), bootstrap=0, baseline_seconds=0, exclude_seen=False),
    )


def days(log, rows):
    """`Queries`: one for each user and day among log rows, or a sample of them."""
    builder = QueryBuilder(log)
    mine = builder.order[np.isin(builder.order, rows)]
    key = np.stack([log.user[mine], log.timestamp[mine] // (24 * HOUR)])
    starts = np.flatnonzero(np.append(True, (key[:, 1:] != key[:, :-1]).any(axis=0)))
    ends = np.append(starts[1:], len(mine)) - 1
    queries = builder.build(mine[starts], mine[ends])
    drawn = np.random.default_rng(0).permutation(len(queries))[:QUERIES]
    return queries.take(drawn[np.argsort(queries.timestamp[drawn], kind="stable")])


def trained(log, seed, epochs, model):
    """(the `Assembly` with the weights of its best epoch on the days of validation, seconds of the steps)."""
    a = assemble(recipe(seed, epochs, model), log)
    steps, best, seconds = a.batches.steps_per_epoch, (-1.0, None), 0.0
    a.model.compile(optimizer=build(a.recipe.training.optimizer, steps * epochs))
    first, last = (a.split.validation.row.min(), a.split.test.row.min())
    validation = days(log, np.arange(first, last))
    for epoch in range(epochs):
        start = time.perf_counter()
        a.model.fit(a.batches.dataset(epoch * steps, (epoch + 1) * steps), steps_per_epoch=steps, verbose=0)
        seconds += time.perf_counter() - start
        found = evaluated(a, validation).metrics["ndcg@10"]
        if found > best[0]:
            best = found, [weight.numpy() for weight in a.model.trainable_variables]
    for weight, value in zip(a.model.trainable_variables, best[1]):
        weight.assign(value)
    return a, seconds


def evaluated(a, queries):
    """The `Evaluation` of a model: all items may be the answer."""
    return a.evaluate(queries, a.model_scorer(queries), bootstrap=0, view="all")


def by_popularity(a, queries):
    """The `Evaluation` of the counts of the week before each query's hour."""
    hours, at = a._moments(queries)
    counts = [a.examples.statistics.values(a.catalogue, hour)[WEEK.column][:, 1] for hour in hours]
    scorer = DotScorer(np.ones([len(queries), 1]), np.stack(counts)[:, :, np.newaxis], at=at)
    return a.evaluate(queries, scorer, bootstrap=0, view="all")


def line(model, found, base, seconds):
    """A row of the record, of the evaluations of each seed."""
    row = {"log": LOG, "model": model, "seeds": len(found), "queries": found[0].queries}
    for metric in METRICS:
        values = np.mean([e.per_query[metric] for e in found], axis=0)
        row[metric] = float(np.nanmean(values))
        if base is not None:
            differences = values - np.mean([e.per_query[metric] for e in base], axis=0)
            low, high = intervals(differences[:, np.newaxis], 1000, 0)[0]
            row[f"{metric} better by"] = f"{np.nanmean(differences):+.4f} [{low:+.4f}, {high:+.4f}]"
    return {**row, "training_seconds": float(np.mean(seconds)) if seconds else None}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    args = parser.parse_args()
    given = logs.LOGS[LOG]()
    log, _ = ingest(Frames(given.interactions, items=given.items, columns=dataclasses.replace(given.columns)))
    evaluations, seconds = ({model: [] for model in MOVING} for _ in range(2))
    for seed in range(args.seeds):
        for model, found in evaluations.items():
            a, took = trained(log, seed, args.epochs, model)
            queries = days(log, np.arange(a.split.test.row.min(), len(log)))
            found.append(evaluated(a, queries))
            seconds[model].append(took)
            print(seed, model, {m: round(found[-1].metrics[m], 4) for m in METRICS}, round(took), flush=True)
        base = evaluations["without"]
        figures = [line("popularity of the week", [by_popularity(a, queries)], base, [])]
        figures += [line(n, found, None if found is base else base, seconds[n]) for n, found in evaluations.items()]
        common.record("statistics", figures)


if __name__ == "__main__":
    main()

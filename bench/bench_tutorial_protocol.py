"""MovieLens-100K by the protocol of TensorFlow Recommenders' tutorial: random 80/20, all films, top-100 accuracy.

    .venv/bin/python -m bench.bench_tutorial_protocol          about ten minutes on 2 cores

Every held-out rating is one query, all 1,682 films are candidates. "unfiltered" ranks films that the user rated in
training too, as the tutorial does; "filtered" leaves them out. A tenth of the ratings, held out at random as well,
chooses the epoch.

Two models, because they know different things. "user alone" is what the tutorial's query is: an id and a profile.
"with history" is the `movielens` recipe: it also reads the user's training events before the query's moment. With a
random split those lie minutes away from the held-out one, which is much of why it wins.
"""

import dataclasses

import tfrs_twotower  # noqa: F401
from bench import common
from bench.bench_quality import trained
from tfrs_twotower import recipes
from tfrs_twotower.data import RandomHoldout, ingest
from tfrs_twotower.evaluation import EvaluationConfig, Popularity
from tfrs_twotower.features import History, Schema, Time

K = 100


def accuracy(a, scorer, exclude_seen):
    """Top-100 accuracy with its 95% interval over the held-out ratings."""
    evaluated = dataclasses.replace(a, recipe=dataclasses.replace(a.recipe, evaluation=_evaluation(exclude_seen)))
    found = evaluated.evaluate(a.split.test, scorer)
    low, high = found.intervals[f"hit_rate@{K}"]
    return f"{found.metrics[f'hit_rate@{K}']:.4f} [{low:.3f}, {high:.3f}]"


def _evaluation(exclude_seen):
    return EvaluationConfig(ks=(K,), exclude_seen=exclude_seen, bootstrap=200)


def main():
    base = recipes.load("movielens")
    base = dataclasses.replace(
        base,
        split=RandomHoldout(validation=0.1, test=0.2),
        evaluation=_evaluation(exclude_seen=False),
        training=dataclasses.replace(base.training, monitor=f"hit_rate@{K}"),
    )
    alone = tuple(f for f in base.schema.query if not isinstance(f, (History, Time)))
    schemas = {"user alone": Schema(alone, base.schema.candidate), "with history": base.schema}
    log, _ = ingest(base.source)
    figures = []
    for name, schema in schemas.items():
        a = trained(dataclasses.replace(base, schema=schema), log)
        scorers = {f"two towers, {name}": a.model_scorer(a.split.test)}
        if not figures:
            scorers = {"popularity": Popularity(a.train_counts, len(a.split.test)), **scorers}
        for model, scorer in scorers.items():
            figures.append({
                "model": model, "queries": len(a.split.test),
                "top-100 accuracy, unfiltered": accuracy(a, scorer, False), "filtered": accuracy(a, scorer, True),
            })
            print(figures[-1], flush=True)
    common.record("tutorial_protocol", figures)


if __name__ == "__main__":
    main()

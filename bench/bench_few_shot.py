"""New users and items after their first events: a few steps from a meta-learned start (`coldstart.FewShot`).

    .venv/bin/python -m bench.bench_few_shot               MovieLens-100K: two trainings of the `movielens` recipe
    .venv/bin/python -m bench.bench_few_shot --data 1m     MovieLens-1M

The cold users and items are those of `bench_cold_start`, by the same split. The first five films of a cold user are its
first events; what comes after them is to be found in the whole catalogue. Of a cold film, the first three test queries
that have it among their targets are its first events; it is to be found for all later ones, among the whole catalogue.

"profile" and "content" are the tower's vectors without an id. "past" gives the tower the five films as a history.
"steps" are five of gradient descent on the first events. "start" is learned by Reptile, on 1,000 users (or films) of
the training as if they were new, each with as many first events. "ids dropped" is the share of `Id.dropout`. "gain" is
the paired difference of recall@50 to the first row of the same training, with its 95% interval.
"""

import argparse
import dataclasses

import numpy as np

import tfrs_twotower  # noqa: F401
from bench import common
from bench.bench_cold_start import KS, WITHHELD, ColdUsers, gain, line, with_dropout, without
from bench.bench_quality import trained
from tfrs_twotower import columns as c
from tfrs_twotower import recipes
from tfrs_twotower.coldstart import FewShot, Reptile
from tfrs_twotower.data import MovieLens, Ragged, ingest
from tfrs_twotower.evaluation import DotScorer, evaluate

import tensorflow as tf  # isort: skip

DROPOUTS = ((0.0, 0.0), (0.05, 0.0))
NEWCOMERS, FIRST_FILMS, FIRST_USERS = 1000, 5, 3


def steps_of(others, scale, learned, vectors, first, tasks, settings=Reptile()):
    """The vectors of newcomers after the steps; with `learned`, from a start of the training's `tasks`."""
    few = FewShot(others, scale, settings)
    if learned:
        few.learn(*tasks)
    return few.adapted(vectors, first)


def as_new_users(a):
    """(vectors of training users without id and past, means of the vectors of their first films)."""
    train, log = a.split.train, a.log
    own = [rows[:FIRST_FILMS] for rows in np.split(
        train[np.argsort(log.user[train], kind="stable")], np.cumsum(np.bincount(log.user[train]))[:-1]
    ) if len(rows) >= FIRST_FILMS]
    own = [own[i] for i in np.random.default_rng(0).permutation(len(own))[:NEWCOMERS]]
    raw = a.examples.raw_queries([rows[0] for rows in own])  # at the first event, so the past is empty
    raw[c.USER_ID] = tf.fill(raw[c.USER_ID].shape, "")
    tower, items = a.model.query_tower, a.candidate_vectors()
    first = np.stack([items[a.positions(log.item[rows])].mean(axis=0) for rows in own])
    return tower(tower.encode(raw), training=False).numpy(), first


def of_users(a, dropout):
    """Rows of the cold users."""
    cold, items, scale = ColdUsers(a), a.candidate_vectors(), 1 / a.model.temperature
    tower = a.model.query_tower
    profile, past = (
        tower(tower.encode(cold.requests(**request)), training=False).numpy()
        for request in ({}, {"histories": cold.picks})
    )
    first = np.stack([items[a.positions(own)].mean(axis=0) for own in cold.picks])
    tasks = as_new_users(a)
    devices = {
        "profile": profile, "past": past,
        "profile + steps": steps_of(items, scale, False, profile, first, tasks),
        "profile + start + steps": steps_of(items, scale, True, profile, first, tasks),
        "past + steps": steps_of(items, scale, False, past, first, tasks),
    }
    found = {name: cold.evaluate(DotScorer(vectors * scale, items)) for name, vectors in devices.items()}
    for name, evaluation in found.items():
        yield line("users", name, dropout, evaluation, gain(evaluation, found["profile"]))


def content_of(a, rows):
    """The candidate tower's vectors of item rows, without their ids."""
    encoded = a.examples.candidates(rows)
    name = next(f.name for f in a.model.candidate_tower.fields if c.ITEM_ID in f.inputs())
    encoded[name] = {part: tf.zeros_like(values) for part, values in encoded[name].items()}  # row 0: unknown
    return a.model.candidate_tower(encoded, training=False).numpy()


def of_items(a, dropout):
    """Rows of the cold items."""
    log, queries, train = a.log, a.split.test, a.split.train
    lists = [a.positions(queries.targets.row(i)) for i in range(len(queries))]
    asked = {}  # cold position: its queries, in their order
    for query, own in enumerate(lists):
        for position in own[(own >= 0)]:
            if a.train_counts[position] == 0:
                asked.setdefault(int(position), []).append(query)
    asked = {position: own for position, own in asked.items() if len(own) > FIRST_USERS}
    cold, users = np.array([*asked]), a.query_vectors(queries.row)
    content = content_of(a, a.catalogue[cold])
    first = np.stack([users[own[:FIRST_USERS]].mean(axis=0) for own in asked.values()])
    rng = np.random.default_rng(0)
    others = a.query_vectors(np.sort(rng.permutation(train)[:NEWCOMERS]))
    rows = train[np.argsort(log.item[train], kind="stable")]
    own = [part[:FIRST_USERS] for part in np.split(rows, np.cumsum(np.bincount(log.item[train]))[:-1])
           if len(part) >= FIRST_USERS]
    own = [own[i] for i in rng.permutation(len(own))[:NEWCOMERS]]
    tasks = content_of(a, log.item[[part[0] for part in own]]), np.stack(
        [a.query_vectors(part).mean(axis=0) for part in np.stack(own)])
    scale = 1 / a.model.temperature
    devices = {
        "content": content,
        "content + steps": steps_of(others, scale, False, content, first, tasks),
        "content + start + steps": steps_of(others, scale, True, content, first, tasks),
    }
    later = [[position for position, its in asked.items() if query in its[FIRST_USERS:]]
             for query in range(len(queries))]
    kept = [query for query, own in enumerate(later) if own]
    targets = Ragged.from_lists([np.array(later[query], np.int32) for query in kept])
    seen = [a.positions(queries.seen.row(query)) for query in kept]
    exclude, found = Ragged.from_lists([own[own >= 0] for own in seen]), {}
    for name, vectors in devices.items():
        mixed = a.candidate_vectors().copy()
        mixed[cold] = vectors
        found[name] = evaluate(DotScorer(users[kept] * scale, mixed), targets, exclude, a.train_counts, ks=KS)
        yield line("items", name, dropout, found[name], gain(found[name], found["content"]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=("100k", "1m"), default="100k")
    args = parser.parse_args()
    base = dataclasses.replace(recipes.load("movielens"), source=MovieLens(args.data))
    log, split = without(ingest(base.source)[0], WITHHELD)
    figures = []
    for dropout in DROPOUTS:
        a = trained(with_dropout(base, dropout, split), log)
        figures += [*of_users(a, dropout), *of_items(a, dropout)]
        print(common.table(figures[-8:]), flush=True)
    figures.sort(key=lambda row: row["cold"], reverse=True)
    common.record("few_shot" if args.data == "100k" else f"few_shot_{args.data}", figures)


if __name__ == "__main__":
    main()

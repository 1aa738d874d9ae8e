"""New users and items after their first events: a few steps from a meta-learned start (`ModelConfig.few_shot`).

    .venv/bin/python -m bench.bench_few_shot               MovieLens-100K: three seeds of the `movielens` recipe, twice
    .venv/bin/python -m bench.bench_few_shot --data 1m     MovieLens-1M
    .venv/bin/python -m bench.bench_few_shot --seeds 1     a try

The cold users and items are those of `bench.cold_slices`. The first five films of a cold user are its first events;
what comes after them is to be found in the whole catalogue. Of a cold film, the first three test queries that have it
among their targets are its first events; it is to be found for all later ones, among the whole catalogue.

"profile" and "content" are the tower's vectors without an id. "past" gives the tower the five films as a history.
"steps" are five of gradient descent on the first events. "start" is learned by Reptile, on 1,000 users (or films) of
the training as if they were new. "past + start + steps" is what an export with `few_shot.users` answers, and
"content + start + steps" what a server makes of a new film. "ids dropped" is the share of `Id.dropout`. Figures are
means over the seeds. "gain" is the paired difference of recall@50 to the first row of the same trainings, with its 95%
interval over the queries.
"""

import tempfile
from pathlib import Path

import numpy as np

import tfrs_twotower  # noqa: F401
from bench.cold_slices import KS, PICKS, ColdUsers, gain, line, mean, measured
from tfrs_twotower.coldstart import FewShot, Reptile
from tfrs_twotower.data import Ragged
from tfrs_twotower.evaluation import DotScorer, evaluate
from tfrs_twotower.pipeline.few_shot import learn_few_shot
from tfrs_twotower.pipeline.searching import people, retriever

DROPOUTS = ((0.0, 0.0), (0.05, 0.0))
FIRST_USERS = 3
SETTINGS = Reptile(users=True, events=PICKS)


def of_users(a):
    """{device: `Evaluation`} of the cold users."""
    cold, items, scale = ColdUsers(a), a.candidate_vectors(), 1 / a.model.temperature
    tower, steps = a.model.query_tower, FewShot(items, scale, SETTINGS)
    picked = cold.requests(histories=cold.picks)
    profile, past = (tower(tower.encode(raw), training=False).numpy() for raw in (cold.requests(), picked))
    first = np.stack([items[a.positions(own)].mean(axis=0) for own in cold.picks])
    devices = {
        "profile": profile, "past": past,
        "profile + steps": steps.adapted(profile, first).numpy(),
        "past + steps": steps.adapted(past, first).numpy(),
        "past + start + steps": retriever(a, None).embed_query(picked).numpy(),
    }
    return {name: cold.evaluate(DotScorer(vectors * scale, items)) for name, vectors in devices.items()}


def of_items(a):
    """{device: `Evaluation`} of the cold items."""
    queries, scale = a.split.test, 1 / a.model.temperature
    lists = [a.positions(queries.targets.row(i)) for i in range(len(queries))]
    asked = {}  # cold position: its queries, in their order
    for query, own in enumerate(lists):
        for position in own[(own >= 0)]:
            if a.train_counts[position] == 0:
                asked.setdefault(int(position), []).append(query)
    asked = {position: own for position, own in asked.items() if len(own) > FIRST_USERS}
    cold, users = np.array([*asked]), a.query_vectors(queries.row)
    content = a.item_vectors(cold, known=False)
    first = np.stack([users[own[:FIRST_USERS]].mean(axis=0) for own in asked.values()])
    devices = {
        "content": content,
        "content + steps": FewShot(people(a).vectors, scale, SETTINGS).adapted(content, first).numpy(),
        "content + start + steps": a.new_items.adapted(content, first).numpy(),
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
    return found


def rows(trainings, dropout):
    """All rows of a share of dropped ids."""
    for a in trainings:
        with tempfile.TemporaryDirectory() as folder:
            learn_few_shot(a, Path(folder))
    for side, devices in (("users", of_users), ("items", of_items)):
        found = [devices(a) for a in trainings]
        means = {name: mean([own[name] for own in found]) for name in found[0]}
        first, *_ = means.values()
        for name, evaluation in means.items():
            yield line(side, name, dropout, evaluation, gain(evaluation, first))


if __name__ == "__main__":
    measured("few_shot", DROPOUTS, rows, __doc__, seeds=3, few_shot=SETTINGS)

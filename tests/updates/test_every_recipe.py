"""Every recipe on a log that has grown: what is served of raw features is what the catalogue and training hold.

Nothing is trained: the parent's weights are those that its model starts with.
"""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from tfrs_twotower import recipes
from tfrs_twotower.data import Frames, Newest, Queries, Split, Temporal, ingest
from tfrs_twotower.errors import TrainingError
from tfrs_twotower.features import ItemStatistic, is_user_table, to_tensor, weights_loaded_next
from tfrs_twotower.pipeline.assembling import assemble
from tfrs_twotower.pipeline.learned_fields import of_ids_in
from tfrs_twotower.training import warm_start
from tfrs_twotower.updates import user_update

import tensorflow as tf  # isort: skip

USERS, ITEMS, EVENTS, OLD = 40, 30, 400, 300
ANEW = ("time", "last_seen", "mean_gap", "sights", "log_p")  # how frequent items are: of the whole log, by its rows


def log(rows, order=1):
    """The first `rows` events of one log, with the columns of the recipes; the later ones bring new users and items."""
    rng = np.random.default_rng(0)
    group = rng.integers(0, 2, EVENTS)  # people of even numbers take items of even numbers
    known = np.where(np.arange(EVENTS) < OLD, 0.5, 1.0)  # the share of users and items that there are
    user, item = (2 * rng.integers(0, known * size / 2) + group for size in (USERS, ITEMS))
    events = pd.DataFrame({"user_id": user, "item_id": item, "timestamp": 10**9 + 3600 * np.arange(EVENTS)})
    users, items = np.arange(USERS), np.arange(ITEMS)
    people = pd.DataFrame({"user_id": users, "age": users + 20, "gender": users % 2, "occupation": users % 5})
    films = pd.DataFrame({
        "item_id": items, "movie_title": [f"word{i} word{i % 7}" for i in items], "release_year": 1950 + items,
        "movie_genres": [[f"genre{i % 3}", f"genre{i % 5}"] for i in items],
        "title_vector": rng.normal(size=(ITEMS, 4)).tolist(),
    })
    seen = events[:rows]
    there = films["item_id"].isin(seen["item_id"])  # so that a second log's items stand in other rows
    return ingest(Frames(seen, people[people["user_id"].isin(seen["user_id"])], films[there][::order]))[0]


def small(name):
    recipe = dataclasses.replace(recipes.load(name), race=None)
    training = dataclasses.replace(recipe.training, batch_size=32, shuffle_buffer=64)
    return dataclasses.replace(recipe, source=None, title=None, split=Temporal(0.1, 0.1), training=training)


def states(model):
    return {"query": model.query_tower.state(), "candidate": model.candidate_tower.state()}


def served(tower, log):
    """{item id: vector} by `embed_candidate`, of the items' raw features."""
    raw = {name: to_tensor(log.items[name], spec, name) for name, spec in tower.inputs().items()}
    return dict(zip(log.items["item_id"].to_pylist(), tower(tower.encode(raw)).numpy()))


def vectors(a):
    """(of four queries, of the catalogue): the towers on what was encoded for the training; makes their weights."""
    queries, items = a.examples.queries(a.split.test.row[:4]), a.examples.candidates(a.catalogue)
    return a.model.query_tower(queries).numpy(), a.model.candidate_tower(items).numpy()


@pytest.mark.parametrize("name", recipes.names())
def test_what_is_served_is_what_the_catalogue_holds(name, tmp_path):
    old = assemble(small(name), log(OLD))
    vectors(old)
    tf.train.Checkpoint(model=old.model).save(str(tmp_path / "best" / "ckpt"))
    since = int(old.log.timestamp[old.split.train[-1]]) + 1
    recipe = dataclasses.replace(old.recipe, split=Newest(since, 0.1))
    new = assemble(recipe, log(EVENTS, order=-1), states(old.model), grow=lambda field: True)
    vectors(new)
    variables = [v for v in new.model.variables if isinstance(v, tf.Variable)]  # Keras counts its lookups too
    anew = {i: v.numpy() for i, v in enumerate(variables) if v.name.split(":")[0] in ANEW}
    warm_start(new.model, tmp_path)

    queries, catalogue = vectors(new)
    by_item = served(new.model.candidate_tower, new.log)
    ids = new.log.items["item_id"].take(new.catalogue).to_pylist()
    assert len(ids) > len(old.catalogue)
    np.testing.assert_allclose(catalogue, [by_item[i] for i in ids], atol=1e-5)
    tower, raw = new.model.query_tower, new.examples.raw_queries(new.split.test.row[:4])
    np.testing.assert_allclose(queries, tower(tower.encode({n: raw[n] for n in tower.inputs()})), atol=1e-5)
    for i, value in anew.items():
        np.testing.assert_array_equal(variables[i], value)


@pytest.mark.parametrize("name", recipes.names())
def test_a_part_of_the_ids_has_the_vectors_of_the_whole(name, tmp_path):
    """As an update of user rows reads it: the events of some users, and the items of these and a few."""
    old = assemble(small(name), log(OLD))
    if old.recipe.ensemble or any(isinstance(f, ItemStatistic) for f in old.recipe.schema.candidate):
        pytest.skip("such a model has no such part")
    old.model(next(iter(old.batches.dataset(0, 1))))
    for variable in old.model.trainable_variables:
        variable.assign(tf.random.stateless_uniform(variable.shape, (1, 2), -0.5, 0.5, variable.dtype))
    tf.train.Checkpoint(model=old.model).save(str(tmp_path / "best" / "ckpt"))
    even = old.log.users["user_id"].to_numpy() % 2 == 0  # they have even items alone
    part, rows = old.log.of_users(np.flatnonzero(even), np.arange(3))
    assert len(part.items) < len(old.log.items)
    found, places = of_ids_in(part, old.recipe.schema, states(old.model))
    split = Split(np.arange(len(part)), Queries.none(), Queries.none(), past=np.zeros(0, np.int64))
    new = assemble(old.recipe, part, found, split=split, grow=is_user_table, whole=(part, np.ones(len(part), bool)))
    new.model(next(iter(new.batches.dataset(0, 1))))
    towers = {"query": new.model.query_tower, "candidate": new.model.candidate_tower}
    warm_start(new.model, tmp_path, [
        (f.table, places[side][f.name]) for side, tower in towers.items() for f in tower.fields
        if f.name in places[side]
    ])
    np.testing.assert_allclose(new.tower_vectors(np.arange(len(part))), old.tower_vectors(rows), atol=1e-5)
    all_items = dict(zip(old.log.items["item_id"].take(old.catalogue).to_pylist(), old.item_vectors()))
    ids = part.items["item_id"].to_pylist()
    np.testing.assert_allclose(new.item_vectors(), [all_items[i] for i in ids], atol=1e-5)


def test_all_vectors_of_new_users_start_from_that_of_unknown_ones(tmp_path):
    """Also those that the update does not learn: the version that takes the rows in has no others."""
    old, whole = assemble(small("dual_augmented"), log(OLD)), log(EVENTS)
    old.model(next(iter(old.batches.dataset(0, 1))))
    tf.train.Checkpoint(model=old.model).save(str(tmp_path / "best" / "ckpt"))
    unknown = {f.name: f.table.numpy()[0] for f in filter(is_user_table, old.model.query_tower.fields)}
    a, rows = user_update._assembled(old.recipe, whole, np.arange(EVENTS) >= OLD, states(old.model))
    with weights_loaded_next():
        a.model(next(iter(a.batches.dataset(0, 1))))
    user_update._start_from(tmp_path, [], a, rows)
    fields = list(filter(is_user_table, a.model.query_tower.fields))
    assert len(fields) == 2
    for field in fields:
        new = field.table.numpy()[len(rows["query"][field.name]):]
        assert len(new) and unknown[field.name].any()
        np.testing.assert_array_equal(new, np.broadcast_to(unknown[field.name], new.shape))

    (data,) = (tmp_path / "best").glob("*.data-*")
    data.write_bytes(data.read_bytes()[:1000])
    with pytest.raises(TrainingError, match="ckpt-1 cannot be read .*Train that run anew"):
        user_update._start_from(tmp_path, [], a, rows)

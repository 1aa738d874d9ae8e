"""The items of a version after any changes equal those that are made at once, and share the catalogue's vectors."""

import tracemalloc
import types

import numpy as np
import pytest
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.exporting import Similarity
from tfrs_twotower.exporting.similarity import measured
from tfrs_twotower.features import fingerprints
from tfrs_twotower.serving.catalogue import Catalogue
from tfrs_twotower.serving.current_items import CurrentItems, current_items
from tfrs_twotower.serving.model import LoadedModel

DIM = 3
VECTORS = np.random.default_rng(0).normal(size=(8, DIM)).astype(np.float32)


def catalogue(ids, vectors=VECTORS):
    root = types.SimpleNamespace(
        item_ids=tf.constant(ids), vectors=tf.Variable(vectors), similarity=Similarity(vectors),
        log_popularity=tf.zeros(len(ids)),
    )
    return Catalogue(root, None)


def found(items):
    """All that is said of the items, by id."""
    inputs, measures = items.inputs, np.stack(items.overlay_measured)
    ids = [i.decode() if isinstance(i, bytes) else i for i in inputs[c.OVERLAY_IDS].numpy().tolist()]
    assert ids == items.overlay_ids and items.place == {item: place for place, item in enumerate(ids)}
    codes = fingerprints(inputs[c.OVERLAY_IDS]).numpy()
    assert (np.diff(codes) > 0).all()  # as `recommend_fresh` is fastest
    vectors = inputs[c.OVERLAY_VECTORS].numpy()
    np.testing.assert_array_equal(items.vectors(ids), vectors)
    return {
        "vectors": dict(zip(ids, vectors.tolist())), "rows": dict(zip(ids, items.overlay_rows.tolist())),
        "withdrawn": sorted(items.withdrawn), "exported": items.exported.tolist(), "newest": items.newest,
    }, measures


@pytest.mark.parametrize("kind", [str, int])
def test_changes_one_by_one_equal_all_at_once(kind):
    known = catalogue(np.array([kind(n) for n in range(8)], object if kind is str else np.int64))
    generator, items, latest = np.random.default_rng(1), CurrentItems(known), {}
    items.overlay_measured  # asked for, so that it is taken over from here on
    for _ in range(60):
        changes = {}
        for n in generator.choice(14, generator.integers(1, 4), replace=False).tolist():
            vector = generator.normal(size=DIM).astype(np.float32)
            changes[kind(n)] = None if generator.random() < 0.4 else ({}, vector)
        before, said = items, found(items)[0]
        items = items.after(changes)
        assert found(before)[0] == said  # a moment stays as it was
        for item, change in changes.items():
            latest.pop(item, None)
            latest[item] = change
        at_once, measures = found(CurrentItems(known).after(latest))
        assert found(items)[0] == at_once
        np.testing.assert_allclose(found(items)[1], measures, atol=1e-6)
        sample = known.similarity.sample.numpy()
        np.testing.assert_allclose(measures, np.stack(measured(items.overlay_vectors, sample)), atol=1e-6)
        there = {item: change for item, change in latest.items() if change is not None}
        assert at_once["vectors"] == {item: vector.tolist() for item, (_, vector) in there.items()}
        assert at_once["newest"] == [item for item in reversed(there) if int(item) >= 8]
        assert at_once["withdrawn"] == sorted(i for i, change in latest.items() if change is None and int(i) < 8)


def test_only_what_changed_is_looked_up(monkeypatch):
    known, asked = catalogue(np.array(list("abcdefgh"), object)), []
    items = CurrentItems(known).after({item: ({}, VECTORS[0]) for item in "abx"})
    rows = known.rows
    monkeypatch.setattr(known, "rows", lambda ids: asked.extend(ids) or rows(ids))
    items.after({"y": ({}, VECTORS[1]), "b": None})
    assert sorted(asked) == ["b", "y"]


def test_the_vectors_of_the_catalogue_are_not_copied():
    size, dim = 2_000, 1_024
    known = catalogue(np.arange(size), np.ones([size, dim], np.float32))
    items = CurrentItems(known)
    known.rows([0])
    tracemalloc.start()
    for n in range(3):
        zero = {}, np.zeros(dim, np.float32)
        items = items.after({n: zero, size + n: zero, 9 + n: None})
        assert items.inputs[c.OVERLAY_VECTORS].shape == [2 * n + 2, dim] and items.exported.sum() == size - 2 * n - 2
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < size * dim * 4 / 4  # of the 8 MB that they are


def test_a_version_without_changes_has_one_object_for_all_requests():
    model = LoadedModel(1, {}, "", {}, {}, None, catalogue(list("abcdefgh")))
    items = current_items(model)
    assert items.exported.tolist() == [True] * 8
    assert current_items(model) is items

"""Validation and test rows teach nothing: neither weights, nor vocabularies, nor statistics."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import toy

from tfrs_twotower.data import Frames, Split, Splitter, Temporal, ingest
from tfrs_twotower.pipeline.assembling import assemble
from tfrs_twotower.training.optimizers import build


@dataclasses.dataclass(frozen=True)
class _CutAt(Splitter):
    """A temporal split whose training rows end at a given moment, whatever comes after."""

    moment: int

    def split(self, log, seed=0):
        found = Temporal().split(log, seed)
        train = np.flatnonzero(log.timestamp < self.moment)
        return Split(train, found.validation, found.test)


def _learned(frame, tables, cut):
    """Trains a few steps: (weights, states of the fields, item counts by id)."""
    log, _ = ingest(Frames(frame, **tables))
    recipe = dataclasses.replace(toy.recipe(), split=_CutAt(cut))
    a = assemble(recipe, log)
    a.model.compile(optimizer=build(recipe.training.optimizer, 10))
    a.model.fit(a.batches.dataset(0, 10), steps_per_epoch=10, verbose=0)
    states = {
        (tower.name, field, key): value
        for tower in (a.model.query_tower, a.model.candidate_tower)
        for field, state in tower.state().items() for key, value in state.items()
    }
    counts = dict(zip(log.items["item_id"].to_pylist(), log.item_counts(a.split.train).tolist()))
    return [v.numpy() for v in a.model.trainable_variables], states, counts


@pytest.fixture(scope="module")
def original():
    frames, _ = toy.planted()
    frame = frames.pop("interactions").sort_values("timestamp", kind="stable", ignore_index=True)
    cut = int(frame["timestamp"].quantile(0.8))
    return frame, frames, cut, _learned(frame, frames, cut)


def _assert_same(a, b):
    assert len(a[0]) == len(b[0]) and all(np.array_equal(x, y) for x, y in zip(a[0], b[0]))
    assert a[1].keys() == b[1].keys() and all(np.array_equal(a[1][k], b[1][k]) for k in a[1])
    assert a[2] == b[2]


def test_shuffled_and_deleted_test_rows_change_nothing(original):
    frame, tables, cut, learned = original
    later = frame["timestamp"] >= cut
    shuffled = frame.copy()
    rng = np.random.default_rng(1)
    for column in ("user_id", "item_id"):
        shuffled.loc[later, column] = rng.permutation(frame.loc[later, column].to_numpy())
    assert not shuffled.equals(frame)
    _assert_same(_learned(shuffled.drop(index=np.flatnonzero(later)[::2]), tables, cut), learned)


def test_an_item_of_the_test_rows_alone_is_unknown_to_the_vocabulary(original):
    frame, tables, cut, _ = original
    named = frame.copy()
    named.loc[len(named) - 1, "item_id"] = "only in test"
    log, _ = ingest(Frames(named, **tables))
    a = assemble(dataclasses.replace(toy.recipe(), split=_CutAt(cut)), log)
    field = next(f for f in a.model.candidate_tower.fields if f.name == "id_item_id")
    known = field.encode({"item_id": tf.constant(["only in test", "i1"])})["index"].numpy()
    assert known[0] == 0 and known[1] > 0
    assert field.size == frame[frame["timestamp"] < cut]["item_id"].nunique()


def test_a_changed_training_row_does_change_the_weights(original):
    """The tests above can fail: what they compare depends on the data."""
    frame, tables, cut, learned = original
    changed = frame.copy()
    changed.loc[0, "item_id"] = "i99" if changed.loc[0, "item_id"] != "i99" else "i98"
    weights, _, _ = _learned(changed, tables, cut)
    assert any(not np.array_equal(x, y) for x, y in zip(weights, learned[0]))

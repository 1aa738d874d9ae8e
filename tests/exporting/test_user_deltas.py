"""Deltas of user rows: order, checks, taking back; and the overlay that serves them."""

import numpy as np
import pytest
import tensorflow as tf

from tfrs_twotower.errors import ExportError
from tfrs_twotower.exporting import user_deltas
from tfrs_twotower.exporting.user_deltas import UserDelta
from tfrs_twotower.exporting.user_rows import UserRows
from tfrs_twotower.features import fingerprints


def delta(keys, value, until=1, space="s"):
    keys = np.asarray(keys, np.int64)
    return UserDelta(space, until, keys, np.full([len(keys), 2], value, np.float32))


def test_deltas_are_read_in_order_and_the_last_row_counts(tmp_path):
    first = user_deltas.publish(tmp_path, 3, delta([7, 5], 1.0, until=10))
    second = user_deltas.publish(tmp_path, 3, delta([5, 9], 2.0, until=20))
    assert [first.name, second.name] == ["000001.npz", "000002.npz"]
    found = user_deltas.read(tmp_path, 3, "s")
    assert [d.trained_until for d in found] == [10, 20]
    keys, rows = user_deltas.merged(found)
    assert dict(zip(keys.tolist(), rows[:, 0].tolist())) == {5: 2.0, 7: 1.0, 9: 2.0}
    assert user_deltas.read(tmp_path, 4, "s") == []


def test_rows_that_lie_column_by_column_are_read_as_they_are(tmp_path):
    rows = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(3, 2))
    user_deltas.publish(tmp_path, 1, UserDelta("s", 1, np.array([4, 5, 6]), rows))
    (found,) = user_deltas.read(tmp_path, 1, "s")
    assert found.keys.tolist() == [4, 5, 6] and found.rows.tolist() == [[0, 1], [2, 3], [4, 5]]


def test_a_delta_cut_short_does_not_count(tmp_path):
    user_deltas.publish(tmp_path, 1, delta([1], 1.0))
    half = tmp_path / "deltas" / "1" / "000002.npz"
    half.write_bytes(b"half a file")
    (half.with_suffix(".writing")).write_text("{")
    assert len(user_deltas.read(tmp_path, 1, "s")) == 1
    user_deltas.publish(tmp_path, 1, delta([2], 1.0))  # takes its place
    assert [d.keys.tolist() for d in user_deltas.read(tmp_path, 1, "s")] == [[1], [2]]


def test_what_is_damaged_missing_or_of_another_space_is_refused(tmp_path):
    path = user_deltas.publish(tmp_path, 1, delta([1], 1.0))
    user_deltas.publish(tmp_path, 1, delta([2], 1.0))
    with pytest.raises(ExportError, match="another embedding space"):
        user_deltas.read(tmp_path, 1, "other")
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ExportError, match="checksum"):
        user_deltas.read(tmp_path, 1, "s")
    path.with_suffix(".json").unlink()
    with pytest.raises(ExportError, match="delta 1 is missing"):
        user_deltas.read(tmp_path, 1, "s")


def test_the_newest_can_be_taken_back(tmp_path):
    for value in (1.0, 2.0):
        user_deltas.publish(tmp_path, 1, delta([4], value))
    assert user_deltas.withdraw(tmp_path, 1).name == "000002.npz"
    assert user_deltas.read(tmp_path, 1, "s")[-1].rows[0, 0] == 1.0
    assert user_deltas.withdraw(tmp_path, 1) and user_deltas.withdraw(tmp_path, 1) is None


def test_the_overlay_finds_what_it_was_given(tmp_path):
    overlay = UserRows(2)
    ids = tf.constant(["a", "b", "c"])
    assert not np.any(overlay.overlay(ids)["fresh"])
    keys = fingerprints(tf.constant(["c", "a", "c"]))
    assert int(overlay.replace(keys, tf.constant([[1.0, 1], [2, 2], [3, 3]]))) == 3
    found = overlay.overlay(ids)
    assert found["fresh"].numpy().tolist() == [True, False, True]
    np.testing.assert_array_equal(found["row"].numpy()[[0, 2]], [[2, 2], [3, 3]])
    overlay.replace(tf.zeros([0], tf.int64), tf.zeros([0, 2]))
    assert not np.any(overlay.overlay(ids)["fresh"])

"""Rows of the user table that are newer than the export. A running server takes them in as an overlay."""

import numpy as np
import tensorflow as tf

from tfrs_twotower.features import fingerprints

_LOWEST = np.iinfo(np.int64).min  # the first key, so that every search finds a key that is not larger


class UserRows(tf.Module):
    """Table rows by the fingerprint of the user's id. They replace the rows of the exported table.

    A user may be new.

    Args:
      dim: the length of a table row.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(name="user_rows")
        self.dim = dim
        self._keys = tf.Variable([_LOWEST], trainable=False, shape=[None], dtype=tf.int64, name="keys")
        self._rows = tf.Variable(tf.zeros([1, dim]), trainable=False, shape=[None, dim], name="rows")

    def replace(self, keys: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """Replaces all earlier rows by these; returns their number. If a key occurs twice, its last row counts.

        Args:
          keys: int64 [n], fingerprints of user ids.
          rows: float32 [n, dim].
        """
        count = tf.size(keys)
        # The last of equal keys comes first, and a search from the left finds it.
        order = tf.argsort(tf.reverse(keys, axis=[0]), stable=True)
        place = count - 1 - order
        self._rows.assign(tf.concat([tf.zeros([1, self.dim]), tf.gather(rows, place)], axis=0))
        self._keys.assign(tf.concat([[_LOWEST], tf.gather(keys, place)], axis=0))
        return count

    def overlay(self, ids: tf.Tensor) -> dict[str, tf.Tensor]:
        """{"fresh": bool [b], "row": float32 [b, dim]} for user ids [b]. `row` is valid only where `fresh` is True."""
        keys, wanted = self._keys.read_value(), fingerprints(ids)
        place = tf.minimum(tf.searchsorted(keys, wanted), tf.size(keys) - 1)
        return {"fresh": tf.gather(keys, place) == wanted, "row": tf.gather(self._rows.read_value(), place)}

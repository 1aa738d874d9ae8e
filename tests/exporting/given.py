"""A tower that trains nothing, for tests of what lies around towers."""

import numpy as np
import tensorflow as tf

DIM = 16


class Given(tf.Module):
    """A tower whose raw feature is its vector."""

    user_table = None

    def inputs(self):
        return {"vector": tf.TensorSpec([None, DIM], tf.float32)}

    def encode(self, raw):
        return raw

    def __call__(self, encoded, training=False):
        return encoded["vector"]


def unit(rows, seed):
    """float32 [rows, DIM] of length 1."""
    vectors = np.random.default_rng(seed).normal(size=(rows, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

"""The base of encoders that make a tower's vector themselves."""

import tensorflow as tf


class VectorEncoder(tf.keras.layers.Layer):
    """Base of the encoders whose output is the tower's vector: no projection and no normalisation follow.

    Each number of their vectors has a meaning of its own, which a projection would destroy. They are made as
    `layer(configuration, seed, dim)`, and their call returns [batch, dim].

    If an encoder differs between the two sides, its configuration has a `side`: "query" or "candidate".
    """

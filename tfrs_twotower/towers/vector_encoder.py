"""What the encoders are that make a tower's vector themselves."""

import tensorflow as tf


class VectorEncoder(tf.keras.layers.Layer):
    """Base of the encoders whose output is the tower's vector: no projection and no normalisation follow.

    Their inner product has a meaning number by number, which a projection would distort. They are made as
    `layer(configuration, seed, dim)`, and their call returns [batch, dim].

    The configuration of one that differs between the two sides says its `side`: "query" or "candidate".
    """

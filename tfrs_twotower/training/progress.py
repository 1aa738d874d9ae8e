"""The progress of a training, in variables, so that a checkpoint holds it beside the weights."""

import tensorflow as tf


class Progress(tf.Module):
    """Step counter and early-stopping state."""

    def __init__(self) -> None:
        super().__init__(name="progress")
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        self.best = tf.Variable(float("-inf"), dtype=tf.float64, trainable=False, name="best")
        self.best_epoch = tf.Variable(-1, dtype=tf.int64, trainable=False, name="best_epoch")
        self.done = tf.Variable(False, trainable=False, name="done")

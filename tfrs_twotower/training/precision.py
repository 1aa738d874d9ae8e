"""Arithmetic in 16 bits, and XLA."""

import contextlib

import tensorflow as tf

from tfrs_twotower.models import Retrieval
from tfrs_twotower.towers import Tower

_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


@contextlib.contextmanager
def computing_in(precision):
    """Layers that are made within compute in `precision`, a `TrainingConfig.precision`; weights stay float32."""
    before = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy(_POLICIES[precision])
    try:
        yield
    finally:
        tf.keras.mixed_precision.set_global_policy(before)


def compile_dense(model):
    """Lets XLA compile what is dense in a training step: each encoder, and the loss from scores on.

    Lookups, masks, estimates and the optimizer's sparse rows stay outside: `tf.unique`, which they need, has no XLA
    kernel. So does what learns from every event of a sequence, whose count changes from batch to batch. Call it when
    the model has its weights. Exports are not compiled.
    """
    for part in model.submodules:
        if isinstance(part, Tower):
            part.encoder.call = _when_training(part.encoder.call)
        elif isinstance(part, Retrieval):
            part.loss = tf.function(part.loss, jit_compile=True, autograph=False)


def _when_training(call):
    compiled = tf.function(lambda embeddings: call(embeddings, training=True), jit_compile=True, autograph=False)
    return lambda embeddings, training=False: compiled(embeddings) if training else call(embeddings, training=False)

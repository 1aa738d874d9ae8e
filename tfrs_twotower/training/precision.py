"""Arithmetic in 16 bits, and XLA."""

import contextlib
from collections.abc import Callable, Iterator

import tensorflow as tf

from tfrs_twotower.models import Retrieval, TwoTowerModel
from tfrs_twotower.towers import Tower

_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


@contextlib.contextmanager
def computing_in(precision: str) -> Iterator[None]:
    """A context: layers made in it compute in `precision`, a `TrainingConfig.precision`; weights stay float32."""
    before = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy(_POLICIES[precision])
    try:
        yield
    finally:
        tf.keras.mixed_precision.set_global_policy(before)


@contextlib.contextmanager
def compiled_dense(model: TwoTowerModel) -> Iterator[None]:
    """Lets XLA compile the dense parts of a training step: each encoder, and the loss from scores on.

    Lookups, masks, estimates and the optimizer's sparse rows stay outside: `tf.unique`, which they need, has no XLA
    kernel. Sequence models stay outside too, as their number of events changes from batch to batch. Enter the context
    when the model has its weights. At its end the model is as before, so that exports are not compiled.
    """
    encoders = [part.encoder for part in model.submodules if isinstance(part, Tower)]
    losses = [(part, part.loss) for part in model.submodules if isinstance(part, Retrieval)]
    for encoder in encoders:
        encoder.call = _when_training(encoder.call)
    for task, loss in losses:
        task.loss = tf.function(lambda *scored, loss=loss: loss(*scored), jit_compile=True, autograph=False)
    try:
        yield
    finally:
        for encoder in encoders:
            del encoder.call
        for task, loss in losses:
            task.loss = loss


def _when_training(call: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    compiled = tf.function(lambda embeddings: call(embeddings, training=True), jit_compile=True, autograph=False)
    return lambda embeddings, training=False: compiled(embeddings) if training else call(embeddings, training=False)

"""After a step that was not finite: finds the batch and the feature of the fault."""

from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower.models import TwoTowerModel


def _not_finite(value: tf.Tensor | tf.Variable) -> bool:
    array = np.asarray(value)
    return np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all()


def culprit(model: TwoTowerModel, batch: dict[str, Any]) -> str:
    """One sentence that names the first thing in `batch` or `model` that is not finite.

    Args:
      model: a `TwoTowerModel`.
      batch: the training batch of the failing step, histories encoded.
    """
    for side, tower in (("query", model.query_tower), ("candidate", model.candidate_tower)):
        for field in tower.fields:
            encoded = batch[side][field.name]
            if any(_not_finite(v) for v in tf.nest.flatten(encoded)):
                return f"The {side} feature `{field.name}` holds a value that is not finite."
            if any(_not_finite(w) for w in field.trainable_variables):
                return f"The weights of the {side} feature `{field.name}` are not finite."
            if any(_not_finite(v) for v in tf.nest.flatten(field(encoded, training=False))):
                return f"The embedding of the {side} feature `{field.name}` is not finite."
    for side, vectors in zip(("query", "candidate"), model(batch, training=False)):
        if _not_finite(vectors):
            return f"All features are finite, but the {side} tower's output is not."
    if _not_finite(batch["weight"]):
        return "An example weight is not finite."
    return "All features, weights and vectors are finite: the loss itself overflows."
